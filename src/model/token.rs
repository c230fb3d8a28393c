//! One token's way through the decoder: a row a sequence, keys and values from the cache. The same maths as
//! [`super::decoder`] in fewer kernels: a product reads its input through layer norm and adds the residual, so a block is five;
//! a memory-compressed one takes a sixth, and at every f-th token those that make a slot.

use super::cache::{self as kept, Cache};
use super::parameters::{ParameterData, Parameters};
use super::slots::Slots;
use crate::Result;
use crate::config::{AttentionKind, KvScale, LayerTensor, ModelConfig};
use crate::gpu::{Buffer, Device, Image, Matrix, Recorder, Tensor, View};
use crate::ops::attention::head_scale;
use crate::ops::cache::{self, Decode, Span};
use crate::ops::embedding::{Embedding, embedding};
use crate::ops::layout::{KINDS, kind_index};
use crate::ops::matmul::Form;
use crate::ops::matvec::{self, Matvec, Norm, Out, matvec};
use crate::ops::{RowAccess, RowCount, StepValues};

/// Where everything lies: all in images or all in buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specs {
    /// Products.
    pub matvec: matvec::Spec,
    /// Attention and its cache.
    pub cache: cache::Spec,
}

impl Specs {
    /// Images where they are quick and all tensors fit.
    pub fn choose(device: &Device, config: &ModelConfig, parameters: &Parameters, sequences: usize) -> Result<Specs> {
        let caps = device.caps();
        let fits = |form, name: &str| {
            Ok::<_, crate::Error>(matvec::fits(caps, form, &parameters.named(ParameterData::Weights, name)?))
        };
        // The prompt's rows, its slots' keys and values, and every layer's cache.
        let compressed = AttentionKind::Compressed;
        let slots = if config.has(compressed) { 2 * kept::rows(config, compressed)[0] } else { 0 };
        let layers = (0..config.n_layer).map(|l| sequences * kept::rows(config, config.attention(l))[0]);
        let rows = layers.fold(config.n_positions.max(slots), usize::max);
        let convolution = (0..config.n_layer).find_map(|l| config.index(l, LayerTensor::CompressK));
        let convolution = convolution.map(|index| parameters.tensor(ParameterData::Weights, index));
        let image = matvec::choose(caps) == matvec::Spec::Image
            && cache::choose(caps, config.head_dim()) == cache::Spec::Image
            && rows <= caps.max_texture as usize
            && convolution.is_none_or(|weight| matvec::fits(caps, Form::AB, &weight))
            && fits(Form::ABt, TOKENS)?
            && ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
                .iter()
                .try_fold(true, |all, name| Ok::<_, crate::Error>(all && fits(Form::AB, &of(0, name, "weight"))?))?;
        Ok(if image {
            Specs { matvec: matvec::Spec::Image, cache: cache::Spec::Image }
        } else {
            Specs { matvec: matvec::Spec::Buffer, cache: cache::Spec::Buffer }
        })
    }

    pub(super) fn image(self) -> bool {
        self.matvec == matvec::Spec::Image
    }
}

const TOKENS: &str = "transformer.tokens_embed.weight";

fn of(layer: usize, part: &str, what: &str) -> String {
    format!("transformer.h.{layer}.{part}.{what}")
}

/// A product's weight and bias.
struct Linear {
    weight: Tensor,
    bias: View,
}

/// Layer norm's vectors, and both in an image where products read it there.
struct Vectors {
    gain: Matrix,
    shift: Matrix,
    image: Option<Image>,
}

struct Layer {
    c_attn: Linear,
    c_proj: Linear,
    ln_1: Vectors,
    c_fc: Linear,
    mlp_proj: Linear,
    ln_2: Vectors,
}

/// The weights where the products read them: on CPU adapters copies, made once.
struct Weights {
    tokens: Matrix,
    positions: Matrix,
    head: Tensor,
    layers: Vec<Layer>,
}

impl Weights {
    fn new(device: &Device, config: &ModelConfig, parameters: &Parameters, specs: Specs) -> Result<Self> {
        let named = |name: &str| parameters.named(ParameterData::Weights, name);
        let linear = |layer, part: &str| -> Result<Linear> {
            let weight = named(&of(layer, part, "weight"))?;
            let bias = named(&of(layer, part, "bias"))?.view;
            Ok(Linear { weight: matvec::weight(device, specs.matvec, Form::AB, weight)?, bias })
        };
        let vectors = |layer, part: &str| -> Result<Vectors> {
            let (gain, shift) = (named(&of(layer, part, "weight"))?, named(&of(layer, part, "bias"))?);
            let image = specs.image().then(|| Image::stacked(device, part, &[&gain, &shift])).transpose()?;
            Ok(Vectors { gain, shift, image })
        };
        let layer = |l| -> Result<Layer> {
            Ok(Layer {
                c_attn: linear(l, "attn.c_attn")?,
                c_proj: linear(l, "attn.c_proj")?,
                ln_1: vectors(l, "ln_1")?,
                c_fc: linear(l, "mlp.c_fc")?,
                mlp_proj: linear(l, "mlp.c_proj")?,
                ln_2: vectors(l, "ln_2")?,
            })
        };
        Ok(Weights {
            tokens: named(TOKENS)?,
            positions: named("transformer.positions_embed.weight")?,
            head: matvec::weight(device, specs.matvec, Form::ABt, named(TOKENS)?)?,
            layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?,
        })
    }
}

/// The integers of a token: ids, positions, and spans of every kind of attention, one upload.
struct Table {
    all: View,
    ids: View,
    positions: View,
    spans: [View; 3],
    section: usize,
}

impl Table {
    const SECTIONS: usize = 2 + KINDS.len();

    fn new(device: &Device, sequences: usize) -> Result<Self> {
        let section = (Span::WORDS * sequences).next_multiple_of(crate::dims::PITCH);
        let buffer = Buffer::new(device, "a token's integers", Self::SECTIONS * section)?;
        let part = |i: usize, name, words| buffer.range(name, i * section, words);
        Ok(Table {
            all: buffer.range("a token's integers", 0, Self::SECTIONS * section),
            ids: part(0, "ids", sequences),
            positions: part(1, "positions", sequences),
            spans: KINDS.map(|kind| part(2 + kind_index(kind), "spans", Span::WORDS * sequences)),
            section,
        })
    }
}

/// What a token's pass works in.
pub struct Token {
    specs: Specs,
    weights: Weights,
    slots: Option<Slots>,
    table: Table,
    embedded: Tensor,
    qkv: Tensor,
    attention: Tensor,
    sum_1: Tensor,
    normed_1: Tensor,
    act: Tensor,
    sum_2: Tensor,
    normed_2: Tensor,
    /// The logits [B, V].
    pub logits: Matrix,
}

impl Token {
    /// Allocates what `sequences` rows take.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        parameters: &Parameters,
        specs: Specs,
        sequences: usize,
    ) -> Result<Self> {
        let c = config.n_embd;
        let tensor = |name, columns| Tensor::new(device, specs.image(), name, sequences, columns);
        Ok(Token {
            specs,
            weights: Weights::new(device, config, parameters, specs)?,
            slots: Slots::new(device, config, parameters, specs, sequences)?,
            table: Table::new(device, sequences)?,
            embedded: Tensor::Buffer(Matrix::new(device, "embedded", sequences, c)?),
            qkv: tensor("qkv", 3 * c)?,
            attention: tensor("attention", c)?,
            sum_1: tensor("sum_1", c)?,
            normed_1: tensor("normed_1", c)?,
            act: tensor("act", 4 * c)?,
            sum_2: tensor("sum_2", c)?,
            normed_2: tensor("normed_2", c)?,
            logits: Matrix::new(device, "logits", sequences, config.vocab_size)?,
        })
    }

    /// The live sizes of a token of each sequence, all at one position: how many slots end there.
    pub fn live(config: &ModelConfig, sequences: usize, position: usize) -> StepValues {
        let (rows, step) = (sequences as u32, position as u32 + 1);
        let full = config.has(AttentionKind::Compressed) && (position + 1).is_multiple_of(config.kv_factor.max(1));
        StepValues { rows, step, slots: if full { rows } else { 0 }, ..StepValues::default() }
    }

    /// The largest of them.
    pub fn capacity(config: &ModelConfig, sequences: usize) -> StepValues {
        Self::live(config, sequences, config.kv_factor.max(1) - 1)
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
        let mut words = vec![0u32; Table::SECTIONS * self.table.section];
        let mut put = |i: usize, data: &[u32]| words[i * self.table.section..][..data.len()].copy_from_slice(data);
        put(0, ids);
        put(1, &vec![position as u32; ids.len()]);
        for kind in KINDS {
            put(2 + kind_index(kind), bytemuck::cast_slice(&cache.spans(config, kind, position)));
        }
        self.table.all.write(device, &words)
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
                ids: &self.table.ids,
                positions: &self.table.positions,
                x,
            };
            // One row of each table: an image of them would be a copy of all.
            embedding(rec, RowAccess::buffer(config.n_embd), &call)?;
        }
        for (l, layer) in self.weights.layers.iter().enumerate() {
            // A block's input: the embedding, or what the block before left, still to be normed.
            let below = l.checked_sub(1).map(|below| &self.weights.layers[below].ln_2);
            let norm = below.map(|ln_2| norm_of(config, ln_2, Some(&self.normed_2)));
            let (input, residual) = match &norm {
                Some(_) => (&self.sum_2, &self.normed_2),
                None => (&self.embedded, &self.embedded),
            };
            self.product(rec, &layer.c_attn, [input, &self.qkv], norm, Out::Bias)?;
            let kind = config.attention(l);
            let compressed = kind == AttentionKind::Compressed;
            cache.keep_token(rec, l, &self.qkv)?;
            if let Some(slots) = &self.slots {
                slots.record(rec, self.specs, cache, l)?;
            }
            let by_width = compressed && config.kv_scale == KvScale::Width;
            let call = Decode {
                heads: config.n_head,
                qkv: &self.qkv,
                cache: cache.layer(l),
                spans: &self.table.spans[kind_index(kind)],
                own: !compressed,
                scale: head_scale(config.n_embd, if by_width { 1 } else { config.n_head }),
                y: &self.attention,
            };
            cache::decode(rec, self.specs.cache, &call)?;
            let out = |bias| Out::BiasResidual(bias, residual);
            self.product(rec, &layer.c_proj, [&self.attention, &self.sum_1], None, out)?;
            let norm = Some(norm_of(config, &layer.ln_1, Some(&self.normed_1)));
            self.product(rec, &layer.c_fc, [&self.sum_1, &self.act], norm, Out::BiasAct)?;
            let out = |bias| Out::BiasResidual(bias, &self.normed_1);
            self.product(rec, &layer.mlp_proj, [&self.act, &self.sum_2], None, out)?;
        }
        let norm = self.weights.layers.last().map(|layer| norm_of(config, &layer.ln_2, None));
        let (b, c) = (&self.weights.head, &Tensor::Buffer(self.logits.clone()));
        let (form, a, out, rows) = (Form::ABt, &self.sum_2, Out::Plain, RowCount::Rows);
        matvec(rec, self.specs.matvec, &Matvec { form, a, norm, b, out, c, rows })
    }

    fn product<'a>(
        &self,
        rec: &mut Recorder<StepValues>,
        linear: &'a Linear,
        [a, c]: [&'a Tensor; 2],
        norm: Option<Norm<'a>>,
        out: impl Fn(&'a View) -> Out<'a>,
    ) -> Result<()> {
        let (b, out, rows) = (&linear.weight, out(&linear.bias), RowCount::Rows);
        matvec(rec, self.specs.matvec, &Matvec { form: Form::AB, a, norm, b, out, c, rows })
    }
}

fn norm_of<'a>(config: &ModelConfig, vectors: &'a Vectors, keep: Option<&'a Tensor>) -> Norm<'a> {
    let Vectors { gain, shift, image } = vectors;
    Norm { gain, shift, image: image.as_ref(), eps: config.layer_norm_epsilon, keep }
}
