//! A task's head: scores from the last row of each sequence, and the loss of each example from its sequences' scores.

use super::decoder::Decoder;
use super::parameters::ParameterData;
use super::tensors::TaskHead;
use crate::Result;
use crate::config::Task;
use crate::gpu::{Matrix, Recorder};
use crate::ops::column_sum::{ColumnSum, column_sum};
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::gather_rows::{IndexedRows, gather_rows, scatter_rows_add};
use crate::ops::matmul::{Epilogue, Form, Matmul, Side};
use crate::ops::task_loss::{Logits, TaskLoss, task_loss};
use crate::ops::{RowCount, StepValues};
use crate::philox::{Site, place};

impl Decoder<'_> {
    /// Records losses and logits of a task's examples, from the last block's output. With `backward`, also adds the gradients
    /// of their mean to dx and to those of the head. Does nothing if the model has no head.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn task_loss(&self, rec: &mut Recorder<StepValues>, backward: bool) -> Result<()> {
        let weights = TaskHead::new(self.config, self.parameters, ParameterData::Weights);
        let (Some(task), Some(weights)) = (&self.config.task, weights) else { return Ok(()) };
        let (acts, layout) = (&self.activations.task, self.layout);
        let states = &acts.states;
        let access = self.kernels.row_wise(rec.device().caps(), states.columns, &[self.output(), states]);
        let rows = IndexedRows {
            input: self.output(),
            index: &layout.extract_rows,
            output: states,
            count: RowCount::Sequences,
        };
        gather_rows(rec, access, &rows)?;
        self.drop_states(rec, states)?;
        let (form, epilogue, rows) = (Form::ABt, Epilogue::None, RowCount::Sequences);
        let (a, b, c) = (states, &weights.weight, &acts.scores);
        self.product(rec, Matmul { form, a, b, c, rows, epilogue, accumulate: false, gradient: None, parts: None })?;
        self.example_losses(rec, task, &weights)?;
        if !backward {
            return Ok(());
        }
        // The scores' gradient is stored in place of the scores.
        let dscores = &acts.scores;
        let (form, a, b, c) = (Form::AB, dscores, &weights.weight, &acts.dstates);
        self.product(
            rec,
            Matmul { form, a, b, c, rows, epilogue, accumulate: false, gradient: Some(Side::A), parts: None },
        )?;
        if let Some(TaskHead { weight, bias }) = TaskHead::new(self.config, self.parameters, ParameterData::Gradients) {
            let (form, a, b, c) = (Form::AtB, dscores, states, &weight);
            self.product(
                rec,
                Matmul { form, a, b, c, rows, epilogue, accumulate: true, gradient: Some(Side::A), parts: None },
            )?;
            if let Some(dbias) = bias {
                let (input, partial, output) = (&acts.dlogits, &self.partial(dbias.columns), &dbias);
                column_sum(rec, self.access(rec, input), &ColumnSum { input, partial, output, rows })?;
            }
        }
        self.drop_states(rec, &acts.dstates)?;
        let rows = IndexedRows {
            input: &acts.dstates,
            index: &layout.extract_rows,
            output: &self.activations.dx,
            count: RowCount::Sequences,
        };
        scatter_rows_add(rec, access, &rows)
    }

    fn example_losses(&self, rec: &mut Recorder<StepValues>, task: &Task, head: &TaskHead) -> Result<()> {
        let acts = &self.activations.task;
        let call = TaskLoss {
            kind: Logits::of(task),
            examples: &self.layout.examples,
            bias: &head.bias.as_ref().unwrap_or(&acts.no_bias).view,
            scores: &acts.scores,
            logits: &acts.logits,
            dlogits: &acts.dlogits,
            losses: &acts.losses.view,
        };
        task_loss(rec, self.kernels.scalars(rec.device().caps()), &call)
    }

    fn drop_states(&self, rec: &mut Recorder<StepValues>, x: &Matrix) -> Result<()> {
        let call = Dropout {
            x,
            positions: &self.layout.extract_positions,
            sequences: &self.layout.extract_sequences,
            rows: RowCount::Sequences,
            rate: self.dropout_rate(self.config.summary_first_dropout),
            place: place(0, 0, Site::Classifier),
        };
        dropout(rec, self.access(rec, x), &call)
    }
}
