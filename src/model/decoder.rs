//! The decoder's passes, recorded door by door: embedding, blocks, head; under each forward pass its backward pass, in mirror
//! order. Gradients of parameters are `+=`, of activations `=`.

use super::activations::{Activations, Block, chunk_rows};
use super::cache::Cache;
use super::learning::{Learning, new_rows};
use super::parameters::{ParameterData, Parameters};
use crate::config::{AttentionKind, KvNull, KvScale, LayerTensor as Of, ModelConfig};
use crate::gpu::{Matrix, Recorder};
use crate::ops::attention::{self, Attention, Gradients, KeyValues};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::embedding::{self, Embedding, EmbeddingBackward, Table, embedding};
use crate::ops::gather_rows::{Rows, gather_rows};
use crate::ops::kernels::Kernels;
use crate::ops::kv_compress::{self, Compress};
use crate::ops::layer_norm::{self, LayerNorm, LayerNormBackward, layer_norm};
use crate::ops::layout::LayoutBuffer;
use crate::ops::matmul::{self, Epilogue, Form, Matmul};
use crate::ops::{RowAccess, RowCount, RowRange, StepValues, column_sum};
use crate::philox::{Site, place};
use crate::{Error, Result, dims};

pub(super) const TOKENS: usize = 0;
const POSITIONS: usize = 1;

/// What a recording needs.
pub struct Decoder<'a> {
    /// The model's numbers.
    pub config: &'a ModelConfig,
    /// Its tensors.
    pub parameters: &'a Parameters,
    /// The step's memory.
    pub activations: &'a Activations,
    /// The batch's integers.
    pub layout: &'a LayoutBuffer,
    /// Who chooses Specs.
    pub kernels: &'a Kernels,
    /// In training, what learns: all else has no gradients. None: dropout is off, and there is no backward pass.
    pub training: Option<&'a Learning>,
    /// Where a prompt's keys and values go; then nothing is computed past those of the last layer.
    pub cache: Option<&'a Cache>,
}

impl<'a> Decoder<'a> {
    /// For inference, without a cache.
    pub fn new(
        config: &'a ModelConfig,
        parameters: &'a Parameters,
        activations: &'a Activations,
        layout: &'a LayoutBuffer,
        kernels: &'a Kernels,
    ) -> Self {
        Decoder { config, parameters, activations, layout, kernels, training: None, cache: None }
    }
}

impl Decoder<'_> {
    fn tensor(&self, data: ParameterData, layer: usize, of: Of) -> Result<Matrix> {
        let index = self.config.index(layer, of).ok_or_else(|| Error::Kernel {
            kernel: "decoder".into(),
            message: format!("layer {layer} has no tensor {}", of.name()),
        })?;
        Ok(self.parameters.tensor(data, index))
    }

    fn value(&self, layer: usize, of: Of) -> Result<Matrix> {
        self.tensor(ParameterData::Weights, layer, of)
    }

    fn gradient(&self, layer: usize, of: Of) -> Result<Matrix> {
        self.tensor(ParameterData::Gradients, layer, of)
    }

    fn input(&self, layer: usize) -> &Matrix {
        match layer {
            0 => &self.activations.embedded,
            l => &self.activations.blocks[l - 1].out,
        }
    }

    fn learns(&self, layer: usize) -> bool {
        self.training.is_some_and(|learning| learning.layer(layer))
    }

    pub(super) fn rate(&self, rate: f32) -> f32 {
        if self.training.is_some() { rate } else { 0.0 }
    }

    pub(super) fn io(&self, rec: &Recorder<StepValues>, x: &Matrix) -> RowAccess {
        self.kernels.row_wise(rec.device().caps(), x.columns, &[x])
    }

    pub(super) fn product(&self, rec: &mut Recorder<StepValues>, call: Matmul) -> Result<()> {
        let spec = self.kernels.matmul(rec.device().caps(), call.form, call.a, call.b);
        matmul::matmul(rec, spec, &call)
    }

    fn attention_spec(&self, rec: &Recorder<StepValues>, block: &Block) -> attention::Spec {
        let rows = block.qkv.rows.max(block.compressed.rows);
        self.kernels.attention(rec.device().caps(), rows, self.config.head_dim())
    }

    /// C = A·B or A·Bᵀ with an epilogue, over N rows.
    fn rows(
        &self,
        rec: &mut Recorder<StepValues>,
        form: Form,
        [a, b, c]: [&Matrix; 3],
        epilogue: Epilogue<'_>,
    ) -> Result<()> {
        let kept = epilogue.matrix().unwrap_or(c);
        for range in RowRange::of_all(rec.device().caps(), &[a, c, kept]) {
            let [a, c, kept] = [a, c, kept].map(|m| range.of(m));
            let epilogue = epilogue.with(&kept);
            self.product(rec, Matmul { form, a: &a, b, c: &c, rows: range.rows, epilogue, accumulate: false })?;
        }
        Ok(())
    }

    /// dW += xᵀ·dy, db += Σ dy, for a layer that learns.
    fn weight_gradient(
        &self,
        rec: &mut Recorder<StepValues>,
        layer: usize,
        [x, dy]: [&Matrix; 2],
        [weight, bias]: [Of; 2],
    ) -> Result<()> {
        if !self.learns(layer) {
            return Ok(());
        }
        let (dw, db) = (self.gradient(layer, weight)?, self.gradient(layer, bias)?);
        for range in RowRange::of_all(rec.device().caps(), &[x, dy]) {
            let (x, dy, rows) = (range.of(x), range.of(dy), range.rows);
            let (form, epilogue) = (Form::AtB, Epilogue::None);
            self.product(rec, Matmul { form, a: &x, b: &dy, c: &dw, rows, epilogue, accumulate: true })?;
            column_sum::column_sum(rec, self.io(rec, &dy), [&dy, &self.activations.partial[0], &db], rows)?;
        }
        Ok(())
    }

    fn drop(&self, rec: &mut Recorder<StepValues>, x: &Matrix, rate: f32, layer: usize, site: Site) -> Result<()> {
        let call = Dropout {
            x,
            positions: &self.layout.positions,
            sequences: &self.layout.sequences,
            rows: RowCount::Rows,
            rate: self.rate(rate),
            place: place(0, layer as u32, site),
        };
        dropout(rec, self.io(rec, x), &call)
    }

    /// The summed embedding and all blocks.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn forward(&self, rec: &mut Recorder<StepValues>) -> Result<()> {
        let acts = self.activations;
        let tokens = self.parameters.tensor(ParameterData::Weights, TOKENS);
        let positions = self.parameters.tensor(ParameterData::Weights, POSITIONS);
        let io = self.kernels.row_wise(rec.device().caps(), self.config.n_embd, &[&tokens, &positions, &acts.embedded]);
        let call = Embedding {
            tokens: &tokens,
            positions_embed: &positions,
            ids: &self.layout.ids,
            positions: &self.layout.positions,
            x: &acts.embedded,
        };
        embedding(rec, io, &call)?;
        self.drop(rec, &acts.embedded, self.config.embd_pdrop, 0, Site::Embedding)?;
        (0..self.config.n_layer).try_for_each(|layer| self.block(rec, layer))
    }

    fn attention<'b>(&'b self, block: &'b Block, layer: usize) -> Attention<'b> {
        let (c, heads) = (self.config.n_embd, self.config.n_head);
        let compressed = self.config.attention(layer) == AttentionKind::Compressed;
        let width = compressed && self.config.kv_scale == KvScale::Width;
        Attention {
            kind: self.config.attention(layer),
            heads,
            queries: &block.qkv,
            kv: if compressed { KeyValues::stacked(&block.compressed) } else { KeyValues::beside(&block.qkv) },
            y: &block.attention,
            log_sum_exp: &block.log_sum_exp,
            layout: self.layout,
            scale: attention::head_scale(c, if width { 1 } else { heads }),
            rate: self.rate(self.config.attn_pdrop),
            layer: layer as u32,
        }
    }

    fn block(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block, x) = (self.activations, &self.activations.blocks[layer], self.input(layer));
        let value = |of| self.value(layer, of);
        let branch = &acts.branch;

        let bias = value(Of::CAttnBias)?.view;
        self.rows(rec, Form::AB, [x, &value(Of::CAttn)?, &block.qkv], Epilogue::Bias(&bias))?;
        self.compress(rec, layer)?;
        if let Some(cache) = self.cache {
            cache.keep_prompt(rec, layer, &block.qkv)?;
            cache.keep_prompts_slots(rec, layer, &block.compressed)?;
            if layer + 1 == self.config.n_layer {
                return Ok(());
            }
        }
        self.attend(rec, layer)?;
        let bias = value(Of::CProjBias)?.view;
        self.rows(rec, Form::AB, [&block.attention, &value(Of::CProj)?, branch], Epilogue::Bias(&bias))?;
        self.drop(rec, branch, self.config.resid_pdrop, layer, Site::ResidualAttention)?;
        let (gain, bias) = (value(Of::Ln1Gain)?, value(Of::Ln1Bias)?);
        self.norm(rec, [x, branch, &gain, &bias], [&block.sum_1, &block.normed], &block.stats_1)?;

        let bias = value(Of::CFcBias)?.view;
        let gelu = Epilogue::BiasGelu(&bias, &block.pre);
        self.rows(rec, Form::AB, [&block.normed, &value(Of::CFc)?, &block.act], gelu)?;
        let bias = value(Of::MlpProjBias)?.view;
        self.rows(rec, Form::AB, [&block.act, &value(Of::MlpProj)?, branch], Epilogue::Bias(&bias))?;
        self.drop(rec, branch, self.config.resid_pdrop, layer, Site::ResidualMlp)?;
        let (gain, bias) = (value(Of::Ln2Gain)?, value(Of::Ln2Bias)?);
        self.norm(rec, [&block.normed, branch, &gain, &bias], [&block.sum_2, &block.out], &block.stats_2)
    }

    /// A layer's attention: from q, k, v to its output. An M layer reads the slots that [`Decoder::compress`] left.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn attend(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let block = &self.activations.blocks[layer];
        attention::forward(rec, self.attention_spec(rec, block), &self.attention(block, layer))
    }

    /// From the gradient of attention's output to those of q, k, v and of the layer's convolutions.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn attend_backward(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block) = (self.activations, &self.activations.blocks[layer]);
        let compressed = self.config.attention(layer) == AttentionKind::Compressed;
        let dkv = if compressed { &acts.dcompressed } else { &acts.dqkv };
        let to = Gradients { dy: &acts.dattention, delta: &acts.delta, dq: &acts.dqkv, dkv };
        attention::backward(rec, self.attention_spec(rec, block), &self.attention(block, layer), &to)?;
        if compressed {
            self.compress_backward(rec, block, layer)?;
        }
        Ok(())
    }

    /// Keys (part 0) or values (part 1) of an M layer: their tensors' names, and where their slots and their null rows begin in
    /// the matrix of both.
    fn compressed(&self, part: usize) -> ([Of; 3], [usize; 2]) {
        let of = match (part, self.config.kv_shared) {
            (0, _) => [Of::CompressK, Of::CompressKBias, Of::NullK],
            (_, true) => [Of::CompressK, Of::CompressKBias, Of::NullV],
            (_, false) => [Of::CompressV, Of::CompressVBias, Of::NullV],
        };
        let room = self.layout.capacity();
        (of, [part * room.slot_rows(), part * room.slot_rows() + room.slots()])
    }

    fn convolution<'b>(&'b self, block: &'b Block, part: usize, weight: &'b Matrix) -> Compress<'b> {
        Compress {
            x: &block.qkv,
            rows: RowCount::Rows,
            at: (1 + part) * self.config.n_embd,
            weight,
            factor: self.config.kv_factor,
            slot_rows: &self.layout.slot_rows,
            slots: RowCount::Slots,
            room: &self.activations.windows,
            kernels: self.kernels,
        }
    }

    /// The slots and null rows of an M layer, from its q, k, v. Does nothing in other layers.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn compress(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        if self.config.attention(layer) != AttentionKind::Compressed {
            return Ok(());
        }
        let block = &self.activations.blocks[layer];
        let room = self.layout.capacity();
        for part in [0, 1] {
            let ([weight, bias, null], [slots, nulls]) = self.compressed(part);
            let (weight, bias) = (self.value(layer, weight)?, self.value(layer, bias)?.view);
            let y = block.compressed.rows_from(slots, room.slots());
            kv_compress::forward(rec, self.io(rec, &block.qkv), &self.convolution(block, part, &weight), &bias, &y)?;
            if self.config.kv_null == KvNull::Learned {
                let x = self.value(layer, null)?;
                let out = block.compressed.rows_from(nulls, room.nulls());
                let call = Rows { x: &x, index: &self.layout.nulls, out: &out, count: RowCount::NullKeys };
                gather_rows(rec, self.io(rec, &x), &call)?;
            }
        }
        Ok(())
    }

    /// From the gradients of slots and null rows to those of all tokens' keys and values and of the layer's tensors.
    fn compress_backward(&self, rec: &mut Recorder<StepValues>, block: &Block, layer: usize) -> Result<()> {
        let (room, acts) = (self.layout.capacity(), self.activations);
        for part in [0, 1] {
            let ([weight, bias, null], [slots, nulls]) = self.compressed(part);
            let parameters = [self.gradient(layer, weight)?, self.gradient(layer, bias)?];
            let to = kv_compress::Gradients {
                dy: &acts.dcompressed.rows_from(slots, room.slots()),
                dx: &acts.dqkv,
                parameters: self.learns(layer).then_some(parameters.each_ref()),
                tail_rows: &self.layout.tail_rows,
                partial: &self.partial(0, self.config.n_embd),
            };
            let weight = self.value(layer, weight)?;
            kv_compress::backward(rec, self.io(rec, &block.qkv), &self.convolution(block, part, &weight), &to)?;
            if self.config.kv_null == KvNull::Learned && self.learns(layer) {
                let dy = acts.dcompressed.rows_from(nulls, room.nulls());
                let sums = [&dy, &self.partial(0, self.config.n_embd), &self.gradient(layer, null)?];
                column_sum::column_sum(rec, self.io(rec, &dy), sums, RowCount::NullKeys)?;
            }
        }
        Ok(())
    }

    /// The room for partial sums as a matrix of so many columns.
    pub(super) fn partial(&self, i: usize, columns: usize) -> Matrix {
        let view = &self.activations.partial[i].view;
        Matrix::over(view.clone(), view.words as usize / dims::pitch(columns), columns)
    }

    fn norm(
        &self,
        rec: &mut Recorder<StepValues>,
        [x, branch, gain, bias]: [&Matrix; 4],
        [sum, y]: [&Matrix; 2],
        stats: &crate::gpu::View,
    ) -> Result<()> {
        let eps = self.config.layer_norm_epsilon;
        layer_norm(rec, self.io(rec, x), &LayerNorm { x, branch, gain, bias, eps, sum, y, stats })
    }

    /// The block's backward pass: dx holds the gradient of its output, and then of its input.
    fn block_backward(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block, x) = (self.activations, &self.activations.blocks[layer], self.input(layer));
        let value = |of| self.value(layer, of);
        let (dx, dsum) = (&acts.dx, &acts.dsum);

        self.norm_backward(rec, layer, [dx, &block.sum_2], &block.stats_2, [Of::Ln2Gain, Of::Ln2Bias])?;
        let dbranch = self.branch_gradient(rec, layer, Site::ResidualMlp)?;
        let gelu = Epilogue::GeluBackward(&block.pre);
        self.rows(rec, Form::ABt, [dbranch, &value(Of::MlpProj)?, &acts.dpre], gelu)?;
        self.rows(rec, Form::ABt, [&acts.dpre, &value(Of::CFc)?, dx], Epilogue::Residual(dsum))?;
        self.weight_gradient(rec, layer, [&block.act, dbranch], [Of::MlpProj, Of::MlpProjBias])?;
        self.weight_gradient(rec, layer, [&block.normed, &acts.dpre], [Of::CFc, Of::CFcBias])?;

        self.norm_backward(rec, layer, [dx, &block.sum_1], &block.stats_1, [Of::Ln1Gain, Of::Ln1Bias])?;
        let dbranch = self.branch_gradient(rec, layer, Site::ResidualAttention)?;
        self.rows(rec, Form::ABt, [dbranch, &value(Of::CProj)?, &acts.dattention], Epilogue::None)?;
        self.attend_backward(rec, layer)?;
        self.rows(rec, Form::ABt, [&acts.dqkv, &value(Of::CAttn)?, dx], Epilogue::Residual(dsum))?;
        self.weight_gradient(rec, layer, [&block.attention, dbranch], [Of::CProj, Of::CProjBias])?;
        self.weight_gradient(rec, layer, [x, &acts.dqkv], [Of::CAttn, Of::CAttnBias])
    }

    fn norm_backward(
        &self,
        rec: &mut Recorder<StepValues>,
        layer: usize,
        [dy, sum]: [&Matrix; 2],
        stats: &crate::gpu::View,
        [gain, bias]: [Of; 2],
    ) -> Result<()> {
        let acts = self.activations;
        let blocks = dy.rows.div_ceil(layer_norm::BLOCK);
        let partial = [0, 1].map(|i| self.partial(i, self.config.n_embd).rows_from(0, blocks));
        let partial = [&partial[0], &partial[1]];
        let gradients = [self.gradient(layer, gain)?, self.gradient(layer, bias)?];
        let (gain, dsum) = (self.value(layer, gain)?, &acts.dsum);
        let gradients = self.learns(layer).then_some(gradients.each_ref());
        let call = LayerNormBackward { dy, sum, stats, gain: &gain, dsum, gradients, partial };
        layer_norm::backward(rec, self.io(rec, dy), &call)
    }

    /// The gradient of a branch: that of its sum, past the branch's dropout.
    fn branch_gradient(&self, rec: &mut Recorder<StepValues>, layer: usize, site: Site) -> Result<&Matrix> {
        let acts = self.activations;
        if self.rate(self.config.resid_pdrop) <= 0.0 {
            return Ok(&acts.dsum);
        }
        rec.copy(&acts.dsum.view, &acts.dbranch.view);
        self.drop(rec, &acts.dbranch, self.config.resid_pdrop, layer, site)?;
        Ok(&acts.dbranch)
    }

    pub(super) fn last(&self) -> &Matrix {
        self.input(self.config.n_layer)
    }

    /// Losses of all rows; with a `backward` weight, dx and the token table's gradient of so many times the mean loss at once:
    /// here forward turns into backward.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn head(&self, rec: &mut Recorder<StepValues>, backward: Option<f32>) -> Result<()> {
        let acts = self.activations;
        let rows = self.last().rows;
        let chunk = chunk_rows(self.config, rows);
        let table = self.parameters.tensor(ParameterData::Weights, TOKENS);
        for skip in (0..rows).step_by(chunk) {
            let count = chunk.min(rows - skip);
            let extent = RowCount::Chunk { skip: skip as u32, at_most: count as u32 };
            let hidden = self.last().rows_from(skip, count);
            let logits = self.chunk(rec, skip)?;
            let targets = self.layout.targets_from(skip, count);
            let losses = acts.losses.part(skip, count);
            let weight = backward.unwrap_or(1.0);
            let call = CrossEntropy { logits: &logits, targets: &targets, losses: &losses, rows: extent, weight };
            cross_entropy(rec, self.io(rec, &logits), &call)?;
            if backward.is_some() {
                let dhidden = acts.dx.rows_from(skip, count);
                let call = Matmul {
                    form: Form::AB,
                    a: &logits,
                    b: &table,
                    c: &dhidden,
                    rows: extent,
                    epilogue: Epilogue::None,
                    accumulate: false,
                };
                self.product(rec, call)?;
                let dtable = self.parameters.tensor(ParameterData::Gradients, TOKENS);
                let call = Matmul {
                    form: Form::AtB,
                    a: &logits,
                    b: &hidden,
                    c: &dtable,
                    rows: extent,
                    epilogue: Epilogue::None,
                    accumulate: true,
                };
                self.product(rec, call)?;
            }
        }
        Ok(())
    }

    /// The logits of a chunk of the head: rows from `skip` on, as many as [`chunk_rows`] says. Gives back where they lie, which
    /// is the same place for every chunk.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn chunk(&self, rec: &mut Recorder<StepValues>, skip: usize) -> Result<Matrix> {
        let rows = self.last().rows;
        let count = chunk_rows(self.config, rows).min(rows - skip);
        let (hidden, logits) = (self.last().rows_from(skip, count), self.activations.logits.rows_from(0, count));
        let call = Matmul {
            form: Form::ABt,
            a: &hidden,
            b: &self.parameters.tensor(ParameterData::Weights, TOKENS),
            c: &logits,
            rows: RowCount::Chunk { skip: skip as u32, at_most: count as u32 },
            epilogue: Epilogue::None,
            accumulate: false,
        };
        self.product(rec, call)?;
        Ok(logits)
    }

    /// All logits [N, V] into `logits`.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn logits(&self, rec: &mut Recorder<StepValues>, logits: &Matrix) -> Result<()> {
        let table = self.parameters.tensor(ParameterData::Weights, TOKENS);
        self.rows(rec, Form::ABt, [self.last(), &table, logits], Epilogue::None)
    }

    /// From dx at the top to the gradients of all tensors.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn backward(&self, rec: &mut Recorder<StepValues>) -> Result<()> {
        (0..self.config.n_layer).rev().try_for_each(|layer| self.block_backward(rec, layer))?;
        let dx = &self.activations.dx;
        self.drop(rec, dx, self.config.embd_pdrop, 0, Site::Embedding)?;
        let layout = self.layout;
        // Of a frozen embedding only the rows that a task added learn, and those are tokens.
        let frozen = !self.training.is_some_and(Learning::embeddings);
        for (table, owners, rows, at) in [
            (Table::Tokens, &layout.token_owners, &layout.token_rows, TOKENS),
            (Table::Positions, &layout.position_owners, &layout.position_rows, POSITIONS),
        ] {
            if frozen && at == POSITIONS {
                continue;
            }
            let gradient = self.parameters.tensor(ParameterData::Gradients, at);
            let call = EmbeddingBackward { table, dx, owners, rows, gradient: &gradient };
            embedding::backward(rec, self.io(rec, dx), &call)?;
        }
        if frozen {
            let old = 0..new_rows(self.config).map_or(self.config.vocab_size, |new| new.start);
            rec.clear(&self.parameters.rows(ParameterData::Gradients, TOKENS, old));
        }
        Ok(())
    }
}
