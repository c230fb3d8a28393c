//! The language model's head: logits by the token table, and the loss, a chunk of rows at a time.

use super::decoder::{Decoder, RowProduct, SumOverRows};
use super::parameters::ParameterData;
use super::tensors::TOKENS_EMBED;
use crate::Result;
use crate::gpu::{Matrix, Recorder};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::matmul::{Epilogue, Form, Side};
use crate::ops::{RowCount, StepValues};

impl Decoder<'_> {
    /// Records the losses of all rows. With a weight for the backward pass, also dx and the token table's gradient of the mean
    /// loss times that weight; logits and their gradients share one matrix, so that both passes take a chunk at a time.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn lm_loss(&self, rec: &mut Recorder<StepValues>, backward_weight: Option<f32>) -> Result<()> {
        let rows = self.output().rows;
        let chunk = self.activations.logits.rows;
        let table = self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        for skip in (0..rows).step_by(chunk) {
            let count = chunk.min(rows - skip);
            let rows = RowCount::Chunk { skip: skip as u32, at_most: count as u32 };
            let logits = &self.chunk_logits(rec, skip)?;
            let (targets, losses) =
                (&self.layout.targets_from(skip, count), &self.activations.losses.view.part(skip, count));
            let weight = backward_weight.unwrap_or(1.0);
            cross_entropy(rec, self.access(rec, logits), &CrossEntropy { logits, targets, losses, rows, weight })?;
            if backward_weight.is_none() {
                continue;
            }
            let dlogits = logits;
            let (dhidden, hidden) = (self.activations.dx.rows_from(skip, count), self.output().rows_from(skip, count));
            let (form, epilogue, gradient) = (Form::AB, Epilogue::None, Some(Side::A));
            let (input, weight, output) = (dlogits, &table, &dhidden);
            self.row_product(rec, rows, RowProduct { form, input, weight, output, epilogue, gradient })?;
            let sum = &self.parameters.tensor(ParameterData::Gradients, TOKENS_EMBED);
            self.sum_over_rows(rec, rows, SumOverRows { a: dlogits, b: &hidden, sum, gradient: Side::A })?;
        }
        Ok(())
    }

    /// Records the logits of a chunk of rows, from row `skip` on, as many as `Activations::logits` has. Returns their matrix, which all
    /// chunks share.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn chunk_logits(&self, rec: &mut Recorder<StepValues>, skip: usize) -> Result<Matrix> {
        let rows = self.output().rows;
        let count = self.activations.logits.rows.min(rows - skip);
        let (hidden, logits) = (self.output().rows_from(skip, count), self.activations.logits.rows_from(0, count));
        let rows = RowCount::Chunk { skip: skip as u32, at_most: count as u32 };
        let weight = &self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        let (form, input, output, epilogue) = (Form::ABt, &hidden, &logits, Epilogue::None);
        self.row_product(rec, rows, RowProduct { form, input, weight, output, epilogue, gradient: None })?;
        Ok(logits)
    }

    /// Records all logits [N, V] into `logits`.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn logits(&self, rec: &mut Recorder<StepValues>, logits: &Matrix) -> Result<()> {
        let weight = &self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        let (form, input, epilogue) = (Form::ABt, self.output(), Epilogue::None);
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input, weight, output: logits, epilogue, gradient: None },
        )
    }
}
