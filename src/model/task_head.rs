//! A task's head: the states at each sequence's last row, scored, and an example's loss from the scores of its sequences.
//! The backward pass stands behind the forward pass, in mirror order.

use super::decoder::Decoder;
use super::parameters::ParameterData;
use crate::Result;
use crate::config::Task;
use crate::gpu::{Matrix, Recorder};
use crate::ops::column_sum::column_sum;
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::gather_rows::{Rows, gather_rows, scatter_rows_add};
use crate::ops::matmul::{Epilogue, Form, Matmul};
use crate::ops::task_loss::{Logits, TaskLoss, task_loss};
use crate::ops::{RowCount, StepValues};
use crate::philox::{Site, place};

impl Decoder<'_> {
    fn head_tensor(&self, data: ParameterData, i: usize) -> Option<Matrix> {
        self.config.head().and_then(|mut head| head.nth(i)).map(|at| self.parameters.tensor(data, at))
    }

    /// Losses and logits of a task's examples, from the last block's output; with `backward`, dx and the head's gradients
    /// grow by those of their mean. Nothing where the model has no head.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn task_head(&self, rec: &mut Recorder<StepValues>, backward: bool) -> Result<()> {
        let (Some(task), Some(weight)) = (&self.config.task, self.head_tensor(ParameterData::Weights, 0)) else {
            return Ok(());
        };
        let (room, layout) = (&self.activations.task, self.layout);
        let states = &room.states;
        let io = self.kernels.row_wise(rec.device().caps(), states.columns, &[self.last(), states]);
        let rows = Rows { x: self.last(), index: &layout.extract_rows, out: states, count: RowCount::Sequences };
        gather_rows(rec, io, &rows)?;
        self.drop_states(rec, states)?;
        self.of_sequences(rec, Form::ABt, [states, &weight, &room.scores], false)?;
        self.examples(rec, task)?;
        if !backward {
            return Ok(());
        }
        let dscores = &room.scores;
        self.of_sequences(rec, Form::AB, [dscores, &weight, &room.dstates], false)?;
        if let Some(dweight) = self.head_tensor(ParameterData::Gradients, 0) {
            self.of_sequences(rec, Form::AtB, [dscores, states, &dweight], true)?;
        }
        if let Some(dbias) = self.head_tensor(ParameterData::Gradients, 1) {
            let sums = [&room.dlogits, &self.partial(0, dbias.columns), &dbias];
            column_sum(rec, self.io(rec, &room.dlogits), sums, RowCount::Sequences)?;
        }
        self.drop_states(rec, &room.dstates)?;
        let rows = Rows {
            x: &room.dstates,
            index: &layout.extract_rows,
            out: &self.activations.dx,
            count: RowCount::Sequences,
        };
        scatter_rows_add(rec, io, &rows)
    }

    fn examples(&self, rec: &mut Recorder<StepValues>, task: &Task) -> Result<()> {
        let room = &self.activations.task;
        let bias = self.head_tensor(ParameterData::Weights, 1).map(|bias| bias.view);
        let call = TaskLoss {
            kind: Logits::of(task),
            examples: &self.layout.examples,
            bias: bias.as_ref().unwrap_or(&room.no_bias),
            scores: &room.scores,
            logits: &room.logits,
            dlogits: &room.dlogits,
            losses: &room.losses,
        };
        task_loss(rec, self.kernels.scalars(rec.device().caps()), &call)
    }

    /// A product over the rows of sequences.
    fn of_sequences(
        &self,
        rec: &mut Recorder<StepValues>,
        form: Form,
        [a, b, c]: [&Matrix; 3],
        accumulate: bool,
    ) -> Result<()> {
        let (rows, epilogue) = (RowCount::Sequences, Epilogue::None);
        self.product(rec, Matmul { form, a, b, c, rows, epilogue, accumulate })
    }

    fn drop_states(&self, rec: &mut Recorder<StepValues>, x: &Matrix) -> Result<()> {
        let call = Dropout {
            x,
            positions: &self.layout.extract_positions,
            sequences: &self.layout.extract_sequences,
            rows: RowCount::Sequences,
            rate: self.rate(self.config.summary_first_dropout),
            place: place(0, 0, Site::Classifier),
        };
        dropout(rec, self.io(rec, x), &call)
    }
}
