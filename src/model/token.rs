//! The decoder's pass for one token of each sequence, with keys and values from the cache.
//!
//! It computes what [`super::decoder`] computes, in fewer kernels: a product normalizes its input and adds the residual, so a
//! block has five. A memory-compressed block has a sixth, and those that make a slot at every f-th token.

use super::cache::Cache;
use super::parameters::{ParameterData, Parameters};
use super::slots::Slots;
use super::tensors::{self, LayerTensors, POSITIONS_EMBED, TOKENS_EMBED};
use super::token_specs::TokenSpecs;
use crate::Result;
use crate::config::{AttentionKind, KvScale, ModelConfig};
use crate::gpu::{Buffer, Device, Image, Matrix, Recorder, Tensor, View};
use crate::ops::attention::head_scale;
use crate::ops::cache::{Decode, Span, decode};
use crate::ops::embedding::{Embedding, embedding};
use crate::ops::layout::{KINDS, kind_index};
use crate::ops::matmul::Form;
use crate::ops::matvec::{self, Epilogue, Matvec, matvec};
use crate::ops::{RowAccess, RowCount, StepValues};

/// A linear layer's weight, where the product reads it, and bias.
struct Linear {
    weight: Tensor,
    bias: View,
}

/// A layer norm's gain and bias, and an image of both for products that read images.
struct Norm {
    gain: Matrix,
    bias: Matrix,
    image: Option<Image>,
}

struct Layer {
    c_attn: Linear,
    c_proj: Linear,
    ln_1: Norm,
    c_fc: Linear,
    mlp_proj: Linear,
    ln_2: Norm,
}

impl Norm {
    /// The layer norm of a product's input; `keep` takes the normalized rows.
    fn call<'a>(&'a self, config: &ModelConfig, keep: Option<&'a Tensor>) -> matvec::Norm<'a> {
        let Norm { gain, bias, image } = self;
        matvec::Norm { gain, bias, image: image.as_ref(), eps: config.layer_norm_epsilon, keep }
    }
}

/// output = norm(input) · weight, with an epilogue.
struct Product<'a> {
    input: &'a Tensor,
    norm: Option<matvec::Norm<'a>>,
    weight: &'a Tensor,
    epilogue: Epilogue<'a>,
    output: &'a Tensor,
}

/// The weights where the products read them: on CPU adapters image copies, made once.
struct Weights {
    tokens: Matrix,
    positions: Matrix,
    head: Tensor,
    layers: Vec<Layer>,
}

impl Weights {
    fn new(device: &Device, config: &ModelConfig, parameters: &Parameters, specs: TokenSpecs) -> Result<Self> {
        let linear = |tensors::Linear { weight, bias }| -> Result<Linear> {
            Ok(Linear { weight: matvec::weight(device, specs.matvec, Form::AB, weight)?, bias: bias.view })
        };
        let norm = |name, tensors::Norm { gain, bias }| -> Result<Norm> {
            let image = specs.use_images().then(|| Image::stacked(device, name, &[&gain, &bias])).transpose()?;
            Ok(Norm { gain, bias, image })
        };
        let layer = |l| -> Result<Layer> {
            let layer = LayerTensors::new(config, parameters, ParameterData::Weights, l)?;
            Ok(Layer {
                c_attn: linear(layer.c_attn)?,
                c_proj: linear(layer.c_proj)?,
                ln_1: norm("ln_1", layer.ln_1)?,
                c_fc: linear(layer.c_fc)?,
                mlp_proj: linear(layer.mlp_proj)?,
                ln_2: norm("ln_2", layer.ln_2)?,
            })
        };
        let table = |index| parameters.tensor(ParameterData::Weights, index);
        Ok(Weights {
            tokens: table(TOKENS_EMBED),
            positions: table(POSITIONS_EMBED),
            head: matvec::weight(device, specs.matvec, Form::ABt, table(TOKENS_EMBED))?,
            layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?,
        })
    }
}

/// The integers of a token's pass, uploaded at once: ids, positions, and the spans of every kind of attention.
///
/// All sections have the same length.
struct TokenInputs {
    all: View,
    ids: View,
    positions: View,
    spans: [View; 3],
    section: usize,
}

/// A section of [`TokenInputs`].
#[derive(Clone, Copy)]
enum Section {
    Ids,
    Positions,
    Spans(AttentionKind),
}

impl Section {
    const COUNT: usize = 2 + KINDS.len();

    fn index(self) -> usize {
        match self {
            Section::Ids => 0,
            Section::Positions => 1,
            Section::Spans(kind) => 2 + kind_index(kind),
        }
    }
}

impl TokenInputs {
    fn new(device: &Device, sequences: usize) -> Result<Self> {
        let section = (Span::WORDS * sequences).next_multiple_of(crate::dims::PITCH);
        let buffer = Buffer::new(device, "a token's integers", Section::COUNT * section)?;
        let part = |of: Section, name, words| buffer.range(name, of.index() * section, words);
        Ok(TokenInputs {
            all: buffer.range("a token's integers", 0, Section::COUNT * section),
            ids: part(Section::Ids, "ids", sequences),
            positions: part(Section::Positions, "positions", sequences),
            spans: KINDS.map(|kind| part(Section::Spans(kind), "spans", Span::WORDS * sequences)),
            section,
        })
    }
}

/// The pass for one token of each sequence: its weights, inputs and activations.
pub struct TokenPass {
    specs: TokenSpecs,
    weights: Weights,
    slots: Option<Slots>,
    inputs: TokenInputs,
    embedded: Tensor,
    qkv: Tensor,
    attention: Tensor,
    sum_1: Tensor,
    normed_1: Tensor,
    post_gelu: Tensor,
    sum_2: Tensor,
    normed_2: Tensor,
    /// The logits [B, V].
    pub logits: Matrix,
}

impl TokenPass {
    /// Allocates a pass for `sequences` sequences.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        parameters: &Parameters,
        specs: TokenSpecs,
        sequences: usize,
    ) -> Result<Self> {
        let c = config.n_embd;
        let tensor = |name, columns| Tensor::new(device, specs.use_images(), name, sequences, columns);
        Ok(TokenPass {
            specs,
            weights: Weights::new(device, config, parameters, specs)?,
            slots: Slots::new(device, config, parameters, specs, sequences)?,
            inputs: TokenInputs::new(device, sequences)?,
            embedded: Tensor::Buffer(Matrix::new(device, "embedded", sequences, c)?),
            qkv: tensor("qkv", 3 * c)?,
            attention: tensor("attention", c)?,
            sum_1: tensor("sum_1", c)?,
            normed_1: tensor("normed_1", c)?,
            post_gelu: tensor("post_gelu", 4 * c)?,
            sum_2: tensor("sum_2", c)?,
            normed_2: tensor("normed_2", c)?,
            logits: Matrix::new(device, "logits", sequences, config.vocab_size)?,
        })
    }

    /// The values to run the pass with, for a token of each sequence, all at one position.
    pub fn values(config: &ModelConfig, sequences: usize, position: usize) -> StepValues {
        let (rows, step) = (sequences as u32, position as u32 + 1);
        let fills_slot =
            config.has(AttentionKind::Compressed) && (position + 1).is_multiple_of(config.kv_factor.max(1));
        StepValues { rows, step, slots: if fills_slot { rows } else { 0 }, ..StepValues::default() }
    }

    /// The largest values at any position.
    pub fn capacity(config: &ModelConfig, sequences: usize) -> StepValues {
        Self::values(config, sequences, config.kv_factor.max(1) - 1)
    }

    /// Uploads the token of each sequence, all at one position.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn upload(
        &self,
        device: &Device,
        config: &ModelConfig,
        cache: &Cache,
        ids: &[u32],
        position: usize,
    ) -> Result<()> {
        let mut words = vec![0u32; Section::COUNT * self.inputs.section];
        let mut put = |of: Section, data: &[u32]| {
            words[of.index() * self.inputs.section..][..data.len()].copy_from_slice(data);
        };
        put(Section::Ids, ids);
        put(Section::Positions, &vec![position as u32; ids.len()]);
        for kind in KINDS {
            put(Section::Spans(kind), bytemuck::cast_slice(&cache.spans(config, kind, position)));
        }
        self.inputs.all.write(device, &words)
    }

    /// Records the pass from ids to logits.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record(&self, rec: &mut Recorder<StepValues>, config: &ModelConfig, cache: &Cache) -> Result<()> {
        if let Tensor::Buffer(x) = &self.embedded {
            let call = Embedding {
                tokens: &self.weights.tokens,
                positions_embed: &self.weights.positions,
                ids: &self.inputs.ids,
                positions: &self.inputs.positions,
                x,
            };
            // The kernel reads one row of each table, for which an image copy of the whole table does not pay.
            embedding(rec, RowAccess::buffer(config.n_embd), &call)?;
        }
        for (l, layer) in self.weights.layers.iter().enumerate() {
            // A block's input: the embedding, or the sum of the block below, to be normalized by this product.
            let below = l.checked_sub(1).map(|below| &self.weights.layers[below].ln_2);
            let norm = below.map(|ln_2| ln_2.call(config, Some(&self.normed_2)));
            let (input, residual) = match &norm {
                Some(_) => (&self.sum_2, &self.normed_2),
                None => (&self.embedded, &self.embedded),
            };
            let Linear { weight, bias } = &layer.c_attn;
            self.product(rec, Product { input, norm, weight, epilogue: Epilogue::Bias(bias), output: &self.qkv })?;
            let kind = config.attention(l);
            let compressed = kind == AttentionKind::Compressed;
            cache.record_token(rec, l, &self.qkv)?;
            if let Some(slots) = &self.slots {
                slots.record(rec, self.specs, cache, l)?;
            }
            let by_width = compressed && config.kv_scale == KvScale::Width;
            let call = Decode {
                heads: config.n_head,
                qkv: &self.qkv,
                cache: cache.layer(l),
                spans: &self.inputs.spans[kind_index(kind)],
                own: !compressed,
                scale: head_scale(config.n_embd, if by_width { 1 } else { config.n_head }),
                y: &self.attention,
            };
            decode(rec, self.specs.cache, &call)?;
            let Linear { weight, bias } = &layer.c_proj;
            let epilogue = Epilogue::BiasResidual { bias, residual };
            let (input, output) = (&self.attention, &self.sum_1);
            self.product(rec, Product { input, norm: None, weight, epilogue, output })?;

            let norm = Some(layer.ln_1.call(config, Some(&self.normed_1)));
            let Linear { weight, bias } = &layer.c_fc;
            let (input, output) = (&self.sum_1, &self.post_gelu);
            self.product(rec, Product { input, norm, weight, epilogue: Epilogue::BiasGelu(bias), output })?;

            let Linear { weight, bias } = &layer.mlp_proj;
            let epilogue = Epilogue::BiasResidual { bias, residual: &self.normed_1 };
            let (input, output) = (&self.post_gelu, &self.sum_2);
            self.product(rec, Product { input, norm: None, weight, epilogue, output })?;
        }
        let norm = self.weights.layers.last().map(|layer| layer.ln_2.call(config, None));
        let (input, weight, output) = (&self.sum_2, &self.weights.head, &Tensor::Buffer(self.logits.clone()));
        let (form, epilogue, rows) = (Form::ABt, Epilogue::None, RowCount::Rows);
        matvec(rec, self.specs.matvec, &Matvec { form, input, norm, weight, epilogue, output, rows })
    }

    fn product(&self, rec: &mut Recorder<StepValues>, product: Product) -> Result<()> {
        let Product { input, norm, weight, epilogue, output } = product;
        let (form, rows) = (Form::AB, RowCount::Rows);
        matvec(rec, self.specs.matvec, &Matvec { form, input, norm, weight, epilogue, output, rows })
    }
}
