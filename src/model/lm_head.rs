//! The language model's head: logits by the token table, and the loss, a chunk of rows at a time.

use super::decoder::{Decoder, RowProduct};
use super::parameters::ParameterData;
use super::tensors::TOKENS_EMBED;
use crate::Result;
use crate::gpu::{Matrix, Recorder};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::matmul::{Epilogue, Form, Matmul, Side};
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
            let (dlogits, epilogue, gradient) = (logits, Epilogue::None, Some(Side::A));
            let dhidden = &self.activations.dx.rows_from(skip, count);
            let (form, a, b, c) = (Form::AB, dlogits, &table, dhidden);
            self.product(rec, Matmul { form, a, b, c, rows, epilogue, accumulate: false, gradient, parts: None })?;
            let hidden = &self.output().rows_from(skip, count);
            let dtable = &self.parameters.tensor(ParameterData::Gradients, TOKENS_EMBED);
            let (form, a, b, c) = (Form::AtB, dlogits, hidden, dtable);
            self.product(rec, Matmul { form, a, b, c, rows, epilogue, accumulate: true, gradient, parts: None })?;
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
        let call = Matmul {
            form: Form::ABt,
            a: &hidden,
            b: &self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED),
            c: &logits,
            rows: RowCount::Chunk { skip: skip as u32, at_most: count as u32 },
            epilogue: Epilogue::None,
            accumulate: false,
            gradient: None,
            parts: None,
        };
        self.product(rec, call)?;
        Ok(logits)
    }

    /// Records all logits [N, V] into `logits`.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn logits(&self, rec: &mut Recorder<StepValues>, logits: &Matrix) -> Result<()> {
        let weight = &self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        let (form, input, epilogue) = (Form::ABt, self.output(), Epilogue::None);
        self.row_product(rec, RowProduct { form, input, weight, output: logits, epilogue, gradient: None })
    }
}
