//! The loss of a task's examples, their logits, and the gradient of the scores in place.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::config::{Answers, Task};
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const SOURCE: &str = include_str!("../../shaders/task_loss.wgsl");

/// Classes above which a group of eight invocations would have too many turns: llvmpipe ends loops after 65,535.
const MANY: usize = 1 << 14;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    examples: u32,
    outputs: u32,
    pitch: u32,
    scale: f32,
}

/// What the logits of an example mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// One class a column.
    Classes = 0,
    /// One number.
    Score = 1,
    /// One candidate a sequence.
    Candidates = 2,
}

impl Logits {
    /// All of them.
    pub const ALL: [Logits; 3] = [Logits::Classes, Logits::Score, Logits::Candidates];

    /// The logits of a task.
    pub fn of(task: &Task) -> Logits {
        match task.answers {
            Answers::Labels(_) => Logits::Classes,
            Answers::Score => Logits::Score,
            Answers::Candidate => Logits::Candidates,
        }
    }
}

fn variant(access: RowAccess, logits: Logits) -> Variant {
    access.apply(Variant::trusted("task_loss", SOURCE)).constant("ANSWERS", logits as u32)
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().flat_map(|access| Logits::ALL.map(|logits| variant(access, logits))).collect()
}

/// Operands: the examples of a batch.
pub struct TaskLoss<'a> {
    /// What the logits are.
    pub kind: Logits,
    /// (first sequence, end, answer) of each example.
    pub examples: &'a View,
    /// L numbers, zero for a head without bias.
    pub bias: &'a View,
    /// [B, L], a row a sequence; becomes its gradient.
    pub scores: &'a Matrix,
    /// Out [B, L]: in the row of an example's first sequence, or of each candidate; 0 elsewhere.
    pub logits: &'a Matrix,
    /// Out [B, L]: their gradient, whose column sums are the bias's.
    pub dlogits: &'a Matrix,
    /// Out: a loss an example, 0 where the answer is not known.
    pub losses: &'a View,
}

/// Records losses, logits and gradients. The gradients are those of the mean over the examples of the whole optimizer step.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn task_loss(rec: &mut Recorder<StepValues>, access: RowAccess, call: &TaskLoss) -> Result<()> {
    let l = call.scores.columns;
    let access = if access == RowAccess::Image && l > MANY { RowAccess::buffer(l) } else { access };
    let (rows, count) = (RowCount::Sequences.at(rec.capacity()), RowCount::Examples.at(rec.capacity()) as usize);
    let matrices = [call.scores, call.logits, call.dlogits].map(|matrix| MatrixNeed { matrix, rows, columns: l });
    let lists = [
        ListNeed { list: call.examples, words: 3 * count },
        ListNeed { list: call.bias, words: l },
        ListNeed { list: call.losses, words: count },
    ];
    check_shapes("task_loss", &matrices, &lists)?;
    let binds = [
        Bind::Read(call.examples),
        Bind::Read(call.bias),
        Bind::Update(&call.scores.view),
        Bind::Write(&call.logits.view),
        Bind::Write(&call.dlogits.view),
        Bind::Write(call.losses),
    ];
    let (outputs, pitch) = (l as u32, dims::pitch(l) as u32);
    rec.dispatch(&variant(access, call.kind), &binds, move |values| {
        let scale = 1.0 / values.loss_counts.examples.max(1) as f32;
        Launch::new(Params { examples: values.examples, outputs, pitch, scale }, grid_of(values.examples))
    })
}
