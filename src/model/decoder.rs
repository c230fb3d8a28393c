//! The decoder's forward and backward pass, recorded layer by layer: embedding, then blocks of attention and MLP.
//!
//! Gradients of parameters are accumulated (`+=`), gradients of activations are overwritten (`=`). The heads are recorded by
//! `lm_head` and `task_head`.

use super::activations::{Activations, Block};
use super::cache::Cache;
use super::learning::{Learning, new_rows};
use super::parameters::{ParameterData, Parameters};
use super::tensors::{Compression, LayerTensors, Linear, Norm, POSITIONS_EMBED, TOKENS_EMBED};
use crate::config::{AttentionKind, KvScale, ModelConfig};
use crate::gpu::{Matrix, Recorder};
use crate::ops::attention::{self, Attention, Gradients, KeyValues};
use crate::ops::column_sum::{ColumnSum, column_sum};
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::embedding::{self, Embedding, EmbeddingBackward, Table, embedding};
use crate::ops::gather_rows::{IndexedRows, gather_rows};
use crate::ops::kernels::Kernels;
use crate::ops::kv_compress::{self, Compress, ParameterGradients};
use crate::ops::layer_norm::{
    self, BranchBackward, BranchDropout, LayerNorm, LayerNormBackward, NormGradients, layer_norm,
};
use crate::ops::layout::LayoutBuffer;
use crate::ops::matmul::{self, Epilogue, Form, Matmul, Side};
use crate::ops::{RowAccess, RowCount, RowRange, StepValues};
use crate::philox::{Site, place};
use crate::{Result, dims};

/// What recording the decoder needs.
pub struct Decoder<'a> {
    /// The model's configuration.
    pub config: &'a ModelConfig,
    /// Its tensors.
    pub parameters: &'a Parameters,
    /// The memory of a step.
    pub activations: &'a Activations,
    /// The batch's integers.
    pub layout: &'a LayoutBuffer,
    /// Chooses the kernels' Specs.
    pub kernels: &'a Kernels,
    /// In training, the parts that learn; other parts have no gradients. `None` outside training: dropout is off, and there is
    /// no backward pass.
    pub training: Option<&'a Learning>,
    /// The cache that takes a prompt's keys and values. With it, nothing is computed past those of the last layer.
    pub cache: Option<&'a Cache>,
}

impl<'a> Decoder<'a> {
    /// The decoder for inference, without a cache.
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

/// output = input · weight (`Form::AB`) or input · weightᵀ (`Form::ABt`), with an epilogue.
pub(super) struct RowProduct<'a> {
    pub form: Form,
    pub input: &'a Matrix,
    pub weight: &'a Matrix,
    pub output: &'a Matrix,
    pub epilogue: Epilogue<'a>,
    /// `Some(Side::A)` where the input is a gradient.
    pub gradient: Option<Side>,
}

/// sum += aᵀ · b
pub(super) struct SumOverRows<'a> {
    pub a: &'a Matrix,
    pub b: &'a Matrix,
    pub sum: &'a Matrix,
    /// Which operand is a gradient.
    pub gradient: Side,
}

/// The backward pass of a linear layer to its tensors: dW += inputᵀ · doutput, db += Σ doutput.
struct LinearBackward<'a> {
    input: &'a Matrix,
    doutput: &'a Matrix,
    dweight: &'a Matrix,
    /// `None` where the backward pass of a layer norm adds it.
    dbias: Option<&'a Matrix>,
}

/// A block's half: sum = input + dropout(branch), normalized.
struct NormForward<'a> {
    input: &'a Matrix,
    branch: &'a Matrix,
    dropout: Option<BranchDropout<'a>>,
    weights: &'a Norm,
    sum: &'a Matrix,
    stats: &'a Matrix,
    output: &'a Matrix,
}

/// The backward pass of [`NormForward`] to the gradients of input and branch and, if the layer learns, of its tensors.
struct NormBackward<'a> {
    doutput: &'a Matrix,
    dropout: Option<BranchDropout<'a>>,
    weights: &'a Norm,
    sum: &'a Matrix,
    stats: &'a Matrix,
    gradients: Option<NormGradients<'a>>,
}

/// The keys' (part 0) or the values' (part 1) rows in a block's `compressed`.
struct CompressedRows {
    first_slot: usize,
    first_null: usize,
}

/// The gradients that the backward pass of a layer norm adds: its own, and that of the bias of the linear layer before it.
fn norm_gradients<'a>(linear: &'a Linear, norm: &'a Norm) -> NormGradients<'a> {
    NormGradients { branch_bias: &linear.bias, gain: &norm.gain, bias: &norm.bias }
}

impl Decoder<'_> {
    fn weights(&self, layer: usize) -> Result<LayerTensors> {
        LayerTensors::new(self.config, self.parameters, ParameterData::Weights, layer)
    }

    /// The gradients of a layer that learns.
    fn gradients(&self, layer: usize) -> Result<Option<LayerTensors>> {
        let learns = self.training.is_some_and(|learning| learning.layer(layer));
        let gradients = || LayerTensors::new(self.config, self.parameters, ParameterData::Gradients, layer);
        learns.then(gradients).transpose()
    }

    /// The input of block `layer`: the embedding, or the output of the block below.
    fn input(&self, layer: usize) -> &Matrix {
        match layer {
            0 => &self.activations.embedded,
            l => &self.activations.blocks[l - 1].out,
        }
    }

    /// The last block's output [N, C].
    pub(super) fn output(&self) -> &Matrix {
        self.input(self.config.n_layer)
    }

    /// The dropout rate of this pass.
    pub(super) fn dropout_rate(&self, rate: f32) -> f32 {
        if self.training.is_some() { rate } else { 0.0 }
    }

    pub(super) fn access(&self, rec: &Recorder<StepValues>, x: &Matrix) -> RowAccess {
        self.kernels.row_wise(rec.device().caps(), x.columns, &[x])
    }

    pub(super) fn product(&self, rec: &mut Recorder<StepValues>, call: Matmul) -> Result<()> {
        let parts = &self.activations.parts.view;
        let spec = self.kernels.matmul(rec.device().caps(), call.form, call.a, call.b, parts.words as usize);
        matmul::matmul(rec, spec, &Matmul { parts: Some(parts), ..call })
    }

    /// Records a product over the live rows: all of the batch, or a chunk.
    pub(super) fn row_product(
        &self,
        rec: &mut Recorder<StepValues>,
        rows: RowCount,
        product: RowProduct,
    ) -> Result<()> {
        let RowProduct { form, input, weight, output, epilogue, gradient } = product;
        let third = epilogue.matrix().unwrap_or(output);
        let row_flops = 2.0 * input.columns as f64 * output.columns as f64;
        for range in RowRange::of_all(rec.device().caps(), rows, &[input, output, third], row_flops) {
            let [a, c, third] = [input, output, third].map(|matrix| range.of(matrix));
            let (rows, epilogue) = (range.rows, epilogue.with(&third));
            self.product(
                rec,
                Matmul { form, a: &a, b: weight, c: &c, rows, epilogue, accumulate: false, gradient, parts: None },
            )?;
        }
        Ok(())
    }

    /// Records a sum over the live rows: all of the batch, or a chunk.
    pub(super) fn sum_over_rows(
        &self,
        rec: &mut Recorder<StepValues>,
        rows: RowCount,
        call: SumOverRows,
    ) -> Result<()> {
        let SumOverRows { a, b, sum, gradient } = call;
        let row_flops = 2.0 * a.columns as f64 * b.columns as f64;
        for range in RowRange::of_all(rec.device().caps(), rows, &[a, b], row_flops) {
            let (a, b, rows) = (&range.of(a), &range.of(b), range.rows);
            let (form, epilogue, gradient) = (Form::AtB, Epilogue::None, Some(gradient));
            self.product(rec, Matmul { form, a, b, c: sum, rows, epilogue, accumulate: true, gradient, parts: None })?;
        }
        Ok(())
    }

    fn linear_backward(&self, rec: &mut Recorder<StepValues>, call: LinearBackward) -> Result<()> {
        let LinearBackward { input, doutput, dweight, dbias } = call;
        let rows = RowCount::Rows;
        self.sum_over_rows(rec, rows, SumOverRows { a: input, b: doutput, sum: dweight, gradient: Side::B })?;
        let Some(output) = dbias else { return Ok(()) };
        for range in RowRange::of_all(rec.device().caps(), rows, &[doutput], doutput.columns as f64) {
            let doutput = range.of(doutput);
            let partial = &self.activations.partial;
            let sum = ColumnSum { input: &doutput, partial, output, rows: range.rows };
            column_sum(rec, self.access(rec, &doutput), &sum)?;
        }
        Ok(())
    }

    fn norm(&self, rec: &mut Recorder<StepValues>, call: NormForward) -> Result<()> {
        let NormForward { input: x, branch, dropout, weights, sum, stats, output: y } = call;
        let (gain, bias, eps) = (&weights.gain, &weights.bias, self.config.layer_norm_epsilon);
        let stats = &stats.view;
        layer_norm(rec, self.access(rec, x), &LayerNorm { x, branch, dropout, gain, bias, eps, sum, y, stats })
    }

    /// Returns the gradient of the branch.
    fn norm_backward(&self, rec: &mut Recorder<StepValues>, call: NormBackward) -> Result<&Matrix> {
        let NormBackward { doutput: dy, dropout, weights, sum, stats, gradients } = call;
        let (dsum, dbranch) = (&self.activations.dsum, &self.activations.dbranch);
        let call = LayerNormBackward {
            dy,
            sum,
            stats: &stats.view,
            gain: &weights.gain,
            dsum,
            branch: dropout.map(|dropout| BranchBackward { dropout, dbranch }),
            gradients,
            partial: &self.activations.partial,
        };
        layer_norm::backward(rec, self.access(rec, dy), &call)?;
        Ok(if dropout.is_some() { dbranch } else { dsum })
    }

    /// The workspace of partial sums as a matrix of `columns` columns.
    pub(super) fn partial(&self, columns: usize) -> Matrix {
        let view = &self.activations.partial.view;
        Matrix::over(view.clone(), view.words as usize / dims::pitch(columns), columns)
    }

    /// Dropout of the summed embedding, or of its gradient.
    fn embedding_dropout(&self, rec: &mut Recorder<StepValues>, x: &Matrix) -> Result<()> {
        let call = Dropout {
            x,
            positions: &self.layout.positions,
            sequences: &self.layout.sequences,
            rows: RowCount::Rows,
            rate: self.dropout_rate(self.config.embd_pdrop),
            place: place(0, 0, Site::Embedding),
        };
        dropout(rec, self.access(rec, x), &call)
    }

    /// Dropout of a branch in this pass.
    fn branch_dropout(&self, layer: usize, site: Site) -> Option<BranchDropout<'_>> {
        let LayoutBuffer { table, positions, sequences, .. } = self.layout;
        let rate = self.dropout_rate(self.config.resid_pdrop);
        (rate > 0.0).then(|| BranchDropout { table, positions, sequences, rate, place: place(0, layer as u32, site) })
    }

    /// Records the embedding and all blocks.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn forward(&self, rec: &mut Recorder<StepValues>) -> Result<()> {
        let acts = self.activations;
        let tokens = self.parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        let positions = self.parameters.tensor(ParameterData::Weights, POSITIONS_EMBED);
        let access =
            self.kernels.row_wise(rec.device().caps(), self.config.n_embd, &[&tokens, &positions, &acts.embedded]);
        let call = Embedding {
            tokens: &tokens,
            positions_embed: &positions,
            ids: &self.layout.ids,
            positions: &self.layout.positions,
            x: &acts.embedded,
        };
        embedding(rec, access, &call)?;
        self.embedding_dropout(rec, &acts.embedded)?;
        (0..self.config.n_layer).try_for_each(|layer| self.block(rec, layer))
    }

    /// Records the backward pass from dx, the gradient of the last block's output, to the gradients of all tensors.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn backward(&self, rec: &mut Recorder<StepValues>) -> Result<()> {
        for layer in (0..self.config.n_layer).rev() {
            // The activations of the last block are still those of the forward pass.
            if self.activations.recompute && layer + 1 < self.config.n_layer {
                self.block(rec, layer)?;
            }
            self.block_backward(rec, layer)?;
        }
        let dx = &self.activations.dx;
        self.embedding_dropout(rec, dx)?;
        // While the embeddings are frozen, only the rows that a task added to the token table learn.
        let frozen = !self.training.is_some_and(Learning::embeddings);
        self.embedding_backward(rec, Table::Tokens)?;
        if !frozen {
            return self.embedding_backward(rec, Table::Positions);
        }
        let old_rows = 0..new_rows(self.config).map_or(self.config.vocab_size, |new| new.start);
        rec.clear(&self.parameters.rows(ParameterData::Gradients, TOKENS_EMBED, old_rows));
        Ok(())
    }

    fn embedding_backward(&self, rec: &mut Recorder<StepValues>, table: Table) -> Result<()> {
        let (layout, dx) = (self.layout, &self.activations.dx);
        let (owners, rows, index) = match table {
            Table::Tokens => (&layout.token_owners, &layout.token_rows, TOKENS_EMBED),
            Table::Positions => (&layout.position_owners, &layout.position_rows, POSITIONS_EMBED),
        };
        let gradient = &self.parameters.tensor(ParameterData::Gradients, index);
        embedding::backward(rec, self.access(rec, dx), &EmbeddingBackward { table, dx, owners, rows, gradient })
    }

    fn block(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block, input) = (self.activations, &self.activations.blocks[layer], self.input(layer));
        let (weights, form, branch) = (self.weights(layer)?, Form::AB, &acts.branch);

        let Linear { weight, bias } = &weights.c_attn;
        let epilogue = Epilogue::Bias(&bias.view);
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input, weight, output: &block.qkv, epilogue, gradient: None },
        )?;
        self.compress(rec, layer)?;
        if let Some(cache) = self.cache {
            cache.record_prompt(rec, layer, &block.qkv)?;
            cache.record_prompt_slots(rec, layer, &block.compressed)?;
            if layer + 1 == self.config.n_layer {
                return Ok(());
            }
        }
        self.attend(rec, layer)?;
        let Linear { weight, bias } = &weights.c_proj;
        let epilogue = Epilogue::Bias(&bias.view);
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input: &block.attention, weight, output: branch, epilogue, gradient: None },
        )?;
        let call = NormForward {
            input,
            branch,
            dropout: self.branch_dropout(layer, Site::ResidualAttention),
            weights: &weights.ln_1,
            sum: &block.sum_1,
            stats: &block.stats_1,
            output: &block.normed,
        };
        self.norm(rec, call)?;

        let Linear { weight, bias } = &weights.c_fc;
        let epilogue = Epilogue::BiasGelu { bias: &bias.view, pre: &block.pre_gelu };
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input: &block.normed, weight, output: &block.post_gelu, epilogue, gradient: None },
        )?;
        let Linear { weight, bias } = &weights.mlp_proj;
        let epilogue = Epilogue::Bias(&bias.view);
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input: &block.post_gelu, weight, output: branch, epilogue, gradient: None },
        )?;
        let call = NormForward {
            input: &block.normed,
            branch,
            dropout: self.branch_dropout(layer, Site::ResidualMlp),
            weights: &weights.ln_2,
            sum: &block.sum_2,
            stats: &block.stats_2,
            output: &block.out,
        };
        self.norm(rec, call)
    }

    /// The block's backward pass: dx holds the gradient of its output before, and that of its input afterwards.
    fn block_backward(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block, input) = (self.activations, &self.activations.blocks[layer], self.input(layer));
        let (weights, gradients) = (self.weights(layer)?, self.gradients(layer)?);
        let (form, gradient, dx) = (Form::ABt, Some(Side::A), &acts.dx);

        let call = NormBackward {
            doutput: dx,
            dropout: self.branch_dropout(layer, Site::ResidualMlp),
            weights: &weights.ln_2,
            sum: &block.sum_2,
            stats: &block.stats_2,
            gradients: gradients.as_ref().map(|gradients| norm_gradients(&gradients.mlp_proj, &gradients.ln_2)),
        };
        let dbranch = self.norm_backward(rec, call)?;
        let epilogue = Epilogue::GeluBackward(&block.pre_gelu);
        let (weight, output) = (&weights.mlp_proj.weight, &acts.dpre_gelu);
        self.row_product(rec, RowCount::Rows, RowProduct { form, input: dbranch, weight, output, epilogue, gradient })?;
        let (weight, epilogue) = (&weights.c_fc.weight, Epilogue::Residual(&acts.dsum));
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input: &acts.dpre_gelu, weight, output: dx, epilogue, gradient },
        )?;
        if let Some(LayerTensors { mlp_proj, c_fc, .. }) = &gradients {
            let (input, dweight) = (&block.post_gelu, &mlp_proj.weight);
            self.linear_backward(rec, LinearBackward { input, doutput: dbranch, dweight, dbias: None })?;
            let (input, doutput, Linear { weight: dweight, bias }) = (&block.normed, &acts.dpre_gelu, c_fc);
            self.linear_backward(rec, LinearBackward { input, doutput, dweight, dbias: Some(bias) })?;
        }

        let call = NormBackward {
            doutput: dx,
            dropout: self.branch_dropout(layer, Site::ResidualAttention),
            weights: &weights.ln_1,
            sum: &block.sum_1,
            stats: &block.stats_1,
            gradients: gradients.as_ref().map(|gradients| norm_gradients(&gradients.c_proj, &gradients.ln_1)),
        };
        let dbranch = self.norm_backward(rec, call)?;
        let (weight, output, epilogue) = (&weights.c_proj.weight, &acts.dattention, Epilogue::None);
        self.row_product(rec, RowCount::Rows, RowProduct { form, input: dbranch, weight, output, epilogue, gradient })?;
        self.attend_backward(rec, layer)?;
        let (weight, epilogue) = (&weights.c_attn.weight, Epilogue::Residual(&acts.dsum));
        self.row_product(
            rec,
            RowCount::Rows,
            RowProduct { form, input: &acts.dqkv, weight, output: dx, epilogue, gradient },
        )?;
        if let Some(LayerTensors { c_proj, c_attn, .. }) = &gradients {
            let (attention, dweight) = (&block.attention, &c_proj.weight);
            self.linear_backward(rec, LinearBackward { input: attention, doutput: dbranch, dweight, dbias: None })?;
            let (doutput, Linear { weight: dweight, bias }) = (&acts.dqkv, c_attn);
            self.linear_backward(rec, LinearBackward { input, doutput, dweight, dbias: Some(bias) })?;
        }
        Ok(())
    }

    fn attention_spec(&self, rec: &Recorder<StepValues>, block: &Block) -> attention::Spec {
        let rows = block.qkv.rows.max(block.compressed.rows);
        self.kernels.attention(rec.device().caps(), rows, self.config.head_dim())
    }

    fn attention<'b>(&'b self, block: &'b Block, layer: usize) -> Attention<'b> {
        let (c, heads) = (self.config.n_embd, self.config.n_head);
        let compressed = self.config.attention(layer) == AttentionKind::Compressed;
        let by_width = compressed && self.config.kv_scale == KvScale::Width;
        Attention {
            kind: self.config.attention(layer),
            heads,
            queries: &block.qkv,
            kv: if compressed { KeyValues::stacked(&block.compressed) } else { KeyValues::beside(&block.qkv) },
            y: &block.attention,
            log_sum_exp: &block.log_sum_exp.view,
            layout: self.layout,
            scale: attention::head_scale(c, if by_width { 1 } else { heads }),
            rate: self.dropout_rate(self.config.attn_pdrop),
            layer: layer as u32,
        }
    }

    /// Records a layer's attention, from q, k, v to its output. An M layer reads the slots of [`Decoder::compress`].
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn attend(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let block = &self.activations.blocks[layer];
        attention::forward(rec, self.attention_spec(rec, block), &self.attention(block, layer))
    }

    /// Records the backward pass of a layer's attention, from the gradient of its output to those of q, k, v and, in an M
    /// layer, of its convolutions.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn attend_backward(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block) = (self.activations, &self.activations.blocks[layer]);
        let compressed = self.config.attention(layer) == AttentionKind::Compressed;
        let dkv = if compressed { &acts.dcompressed } else { &acts.dqkv };
        let to = Gradients { dy: &acts.dattention, delta: &acts.delta.view, dq: &acts.dqkv, dkv };
        attention::backward(rec, self.attention_spec(rec, block), &self.attention(block, layer), &to)?;
        self.compress_backward(rec, layer)
    }

    fn compressed_rows(&self, part: usize) -> CompressedRows {
        let capacity = self.layout.capacity();
        let first_slot = part * capacity.slot_rows();
        CompressedRows { first_slot, first_null: first_slot + capacity.slots() }
    }

    fn convolution<'b>(&'b self, block: &'b Block, part: usize, weight: &'b Matrix) -> Compress<'b> {
        Compress {
            x: &block.qkv,
            rows: RowCount::Rows,
            first_column: (1 + part) * self.config.n_embd,
            weight,
            factor: self.config.kv_factor,
            slot_rows: &self.layout.slot_rows,
            slots: RowCount::Slots,
            workspace: &self.activations.windows,
            kernels: self.kernels,
        }
    }

    /// Records the slots and null rows of an M layer, from its q, k, v. Does nothing in other layers.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn compress(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (block, capacity) = (&self.activations.blocks[layer], self.layout.capacity());
        for (part, tensors) in self.weights(layer)?.compression.iter().flatten().enumerate() {
            let Compression { convolution: Linear { weight, bias }, null } = tensors;
            let CompressedRows { first_slot, first_null } = self.compressed_rows(part);
            let slots = block.compressed.rows_from(first_slot, capacity.slots());
            let call = self.convolution(block, part, weight);
            kv_compress::forward(rec, self.access(rec, &block.qkv), &call, &bias.view, &slots)?;
            if let Some(null) = null {
                let out = &block.compressed.rows_from(first_null, capacity.null_keys());
                let call = IndexedRows {
                    input: null,
                    index: &self.layout.null_indices,
                    output: out,
                    count: RowCount::NullKeys,
                };
                gather_rows(rec, self.access(rec, null), &call)?;
            }
        }
        Ok(())
    }

    /// From the gradients of an M layer's slots and null rows to those of all tokens' keys and values and of the layer's
    /// tensors. Does nothing in other layers.
    fn compress_backward(&self, rec: &mut Recorder<StepValues>, layer: usize) -> Result<()> {
        let (acts, block, capacity) = (self.activations, &self.activations.blocks[layer], self.layout.capacity());
        let Some(weights) = self.weights(layer)?.compression else { return Ok(()) };
        let gradients = self.gradients(layer)?.and_then(|gradients| gradients.compression);
        let partial = &self.partial(self.config.n_embd);
        for (part, weights) in weights.iter().enumerate() {
            let gradients = gradients.as_ref().map(|parts| &parts[part]);
            let CompressedRows { first_slot, first_null } = self.compressed_rows(part);
            let to = kv_compress::Gradients {
                dy: &acts.dcompressed.rows_from(first_slot, capacity.slots()),
                dx: &acts.dqkv,
                parameters: gradients.map(|Compression { convolution: Linear { weight, bias }, .. }| {
                    ParameterGradients { weight, bias }
                }),
                tail_rows: &self.layout.tail_rows,
                partial,
            };
            let call = self.convolution(block, part, &weights.convolution.weight);
            kv_compress::backward(rec, self.access(rec, &block.qkv), &call, &to)?;
            if let Some(dnull) = gradients.and_then(|gradients| gradients.null.as_ref()) {
                let dy = acts.dcompressed.rows_from(first_null, capacity.null_keys());
                column_sum(
                    rec,
                    self.access(rec, &dy),
                    &ColumnSum { input: &dy, partial, output: dnull, rows: RowCount::NullKeys },
                )?;
            }
        }
        Ok(())
    }
}
