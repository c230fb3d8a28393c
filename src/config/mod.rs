//! The model's numbers, under Hugging Face's names (SPEC 1 and 6), and the tensors that follow from them.

use crate::{Error, Result};
use std::ops::Range;

/// What fixes a GPT-1 decoder.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelConfig {
    /// L, layers.
    pub n_layer: usize,
    /// C, model width.
    pub n_embd: usize,
    /// H, heads; divides C.
    pub n_head: usize,
    /// P, positions.
    pub n_positions: usize,
    /// V, vocabulary.
    pub vocab_size: usize,
    /// Dropout on both residual branches.
    pub resid_pdrop: f32,
    /// Dropout on the summed embedding.
    pub embd_pdrop: f32,
    /// Dropout on attention probabilities.
    pub attn_pdrop: f32,
    /// Dropout before a task head.
    pub summary_first_dropout: f32,
    /// Layer norm's ε.
    pub layer_norm_epsilon: f32,
    /// Standard deviation of initial weights.
    pub initializer_range: f32,
    /// Letters laid over the layers: F full attention, L local blocks, M memory-compressed. "F" is GPT-1.
    pub attention_pattern: String,
    /// W, tokens in a local block (L layers).
    pub local_block: usize,
    /// f, tokens that a compressed key or value stands for (M layers).
    pub kv_factor: usize,
    /// Groups of the convolution that compresses keys and values.
    pub kv_groups: KvGroups,
    /// Whether keys and values share one convolution.
    pub kv_shared: bool,
    /// The key and value that every query of an M layer sees.
    pub kv_null: KvNull,
    /// What scores of M layers are multiplied by.
    pub kv_scale: KvScale,
    /// What it is fine-tuned for, if it is: adds a head. No key of a run: data and command say it.
    #[serde(skip)]
    pub task: Option<Task>,
}

macro_rules! choice {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$inner])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every name, in order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                match name {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(Error::input(format!("{name:?} is none of {}", Self::NAMES.join(", ")))),
                }
            }
        }
    };
}
pub(crate) use choice;

mod task;
pub use task::{Answers, Task, TaskKind};

choice! {
    /// Groups of the convolution that compresses keys and values: which channels of a token a channel of a slot hears.
    KvGroups {
        /// All of them.
        One = "1",
        /// Those of its head.
        Head = "head",
        /// Itself alone.
        Channel = "channel",
    }
}

choice! {
    /// The null key and value.
    KvNull {
        /// Trained.
        Learned = "learned",
        /// Zero.
        Zero = "zero",
    }
}

choice! {
    /// What scores are multiplied by.
    KvScale {
        /// D^-½
        Head = "head",
        /// C^-½
        Width = "width",
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            n_layer: 4,
            n_embd: 128,
            n_head: 4,
            n_positions: 128,
            vocab_size: 512,
            resid_pdrop: 0.0,
            embd_pdrop: 0.0,
            attn_pdrop: 0.0,
            summary_first_dropout: 0.0,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            attention_pattern: "F".into(),
            local_block: 256,
            kv_factor: 3,
            kv_groups: KvGroups::One,
            kv_shared: false,
            kv_null: KvNull::Learned,
            kv_scale: KvScale::Head,
            task: None,
        }
    }
}

/// The largest number that a model may have: also of its positions.
pub const MOST_POSITIONS: usize = 1 << 24;

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Every earlier token of the sequence.
    Full,
    /// Every earlier token of the same block of `local_block` tokens.
    Local,
    /// Keys and values shortened by a strided convolution: every slot of `kv_factor` tokens that ends up to the token, and a
    /// null slot.
    Compressed,
}

/// A part of a model that learns as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Both tables.
    Embedding,
    /// A layer, counted from 0 at the bottom.
    Layer(usize),
    /// A task's head.
    Head,
}

/// What a parameter is: decides its start value and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Two dimensions: N(0, initializer_range), decays.
    Weight,
    /// A convolution over so many taps: rows are (tap, channel of the group), columns channels out; in files [channels out,
    /// channels of the group, taps]. Starts as the mean of its taps plus N(0, initializer_range / taps), decays.
    Convolution(usize),
    /// One dimension: starts at 0, does not decay.
    Bias,
    /// Layer norm's gain: starts at 1, does not decay.
    Gain,
}

/// A tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerTensor {
    /// [C, 3C]
    CAttn,
    /// [3C]
    CAttnBias,
    /// [f·C/groups, C], M layers.
    CompressK,
    /// [C], M layers.
    CompressKBias,
    /// As `CompressK`, M layers whose convolutions are not shared.
    CompressV,
    /// [C], as `CompressV`.
    CompressVBias,
    /// [C], M layers with a learned null.
    NullK,
    /// [C], as `NullK`.
    NullV,
    /// [C, C]
    CProj,
    /// [C]
    CProjBias,
    /// [C]
    Ln1Gain,
    /// [C]
    Ln1Bias,
    /// [C, 4C]
    CFc,
    /// [4C]
    CFcBias,
    /// [4C, C]
    MlpProj,
    /// [C]
    MlpProjBias,
    /// [C]
    Ln2Gain,
    /// [C]
    Ln2Bias,
}

impl LayerTensor {
    /// Every tensor that a layer may have, in the order of buffers and files.
    pub const ALL: [LayerTensor; 18] = {
        use LayerTensor::*;
        [
            CAttn,
            CAttnBias,
            CompressK,
            CompressKBias,
            CompressV,
            CompressVBias,
            NullK,
            NullV,
            CProj,
            CProjBias,
            Ln1Gain,
            Ln1Bias,
            CFc,
            CFcBias,
            MlpProj,
            MlpProjBias,
            Ln2Gain,
            Ln2Bias,
        ]
    };

    /// Its name inside a layer.
    pub fn name(self) -> &'static str {
        match self {
            LayerTensor::CAttn => "attn.c_attn.weight",
            LayerTensor::CAttnBias => "attn.c_attn.bias",
            LayerTensor::CompressK => "attn.compress_k.weight",
            LayerTensor::CompressKBias => "attn.compress_k.bias",
            LayerTensor::CompressV => "attn.compress_v.weight",
            LayerTensor::CompressVBias => "attn.compress_v.bias",
            LayerTensor::NullK => "attn.null_k",
            LayerTensor::NullV => "attn.null_v",
            LayerTensor::CProj => "attn.c_proj.weight",
            LayerTensor::CProjBias => "attn.c_proj.bias",
            LayerTensor::Ln1Gain => "ln_1.weight",
            LayerTensor::Ln1Bias => "ln_1.bias",
            LayerTensor::CFc => "mlp.c_fc.weight",
            LayerTensor::CFcBias => "mlp.c_fc.bias",
            LayerTensor::MlpProj => "mlp.c_proj.weight",
            LayerTensor::MlpProjBias => "mlp.c_proj.bias",
            LayerTensor::Ln2Gain => "ln_2.weight",
            LayerTensor::Ln2Bias => "ln_2.bias",
        }
    }
}

/// One tensor of the model: Hugging Face's name and a shape of `rows` × `columns` (one row for vectors).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// `transformer.…`
    pub name: String,
    /// 1 for a vector.
    pub rows: usize,
    /// Columns, or the vector's length.
    pub columns: usize,
    /// What it is.
    pub kind: ParameterKind,
}

impl ParameterKind {
    /// Whether weight decay acts on it.
    pub fn decays(self) -> bool {
        matches!(self, ParameterKind::Weight | ParameterKind::Convolution(_))
    }
}

impl ParameterShape {
    /// The shape as files hold it: one dimension for vectors.
    pub fn dimensions(&self) -> Vec<usize> {
        match self.kind {
            ParameterKind::Weight => vec![self.rows, self.columns],
            ParameterKind::Convolution(taps) => vec![self.columns, self.rows / taps.max(1), taps],
            ParameterKind::Bias | ParameterKind::Gain => vec![self.columns],
        }
    }

    /// Numbers in it.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}

/// The letters of `attention_pattern`, for errors.
const LETTERS: &str = "F (full), L (local) and M (memory-compressed)";

impl ModelConfig {
    /// GPT-1's smaller siblings and itself (SPEC 1); the run's numbers of a preset are in `train::settings`.
    pub fn preset(name: &str) -> Option<Self> {
        let (n_layer, n_embd, n_head, n_positions, vocab_size, dropout) = match name {
            "nano" => (4, 128, 4, 128, 512, 0.0),
            "mini" => (6, 384, 6, 256, 8192, 0.1),
            "gpt1" => (12, 768, 12, 512, 40478, 0.1),
            _ => return None,
        };
        let mut config = ModelConfig { n_layer, n_embd, n_head, n_positions, vocab_size, ..Default::default() };
        config.set_dropout(dropout);
        Some(config)
    }

    /// The key `dropout`: all four places.
    pub fn set_dropout(&mut self, rate: f32) {
        self.resid_pdrop = rate;
        self.embd_pdrop = rate;
        self.attn_pdrop = rate;
        self.summary_first_dropout = rate;
    }

    /// D, a head's width.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head.max(1)
    }

    /// The attention of layer `layer`: the pattern, repeated or cut to L layers.
    pub fn attention(&self, layer: usize) -> AttentionKind {
        let letters = self.attention_pattern.as_bytes();
        match letters.get(layer % letters.len().max(1)) {
            Some(b'L') => AttentionKind::Local,
            Some(b'M') => AttentionKind::Compressed,
            _ => AttentionKind::Full,
        }
    }

    /// Whether a layer has this attention.
    pub fn has(&self, kind: AttentionKind) -> bool {
        (0..self.n_layer.min(self.attention_pattern.len())).any(|l| self.attention(l) == kind)
    }

    /// Channels of a token that a channel of a compressed slot hears.
    pub fn kv_group_width(&self) -> usize {
        match self.kv_groups {
            KvGroups::One => self.n_embd,
            KvGroups::Head => self.head_dim(),
            KvGroups::Channel => 1,
        }
    }

    /// Whether every layer is full attention: then Hugging Face can load the model.
    pub fn is_all_full(&self) -> bool {
        (0..self.n_layer).all(|l| self.attention(l) == AttentionKind::Full)
    }

    /// Says which number is wrong, and what would be right.
    ///
    /// # Errors
    /// [`Error::Value`] with the key's name.
    pub fn validate(&self) -> Result<()> {
        let bad = |m: String| Err(Error::input(m));
        for (key, value) in [
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_embd", self.n_embd),
            ("n_positions", self.n_positions),
            ("vocab_size", self.vocab_size),
            ("local_block", self.local_block),
            ("kv_factor", self.kv_factor),
        ] {
            if value == 0 {
                return bad(format!("{key} = 0: must be 1 or more"));
            }
            if value > MOST_POSITIONS {
                return bad(format!("{key} = {value}: must be at most {MOST_POSITIONS}"));
            }
        }
        if self.n_layer > 4096 {
            return bad(format!("n_layer = {}: must be at most 4096", self.n_layer));
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return bad(format!("n_embd = {} is not divisible by n_head = {}", self.n_embd, self.n_head));
        }
        if self.head_dim() > 128 {
            return bad(format!(
                "n_embd / n_head = {}: a head is at most 128 wide; n_head = {} would do",
                self.head_dim(),
                self.n_embd.div_ceil(128)
            ));
        }
        let (c, rows) = (self.n_embd as f64, (self.vocab_size + self.n_positions) as f64);
        let compressing = if self.has(AttentionKind::Compressed) { 2.0 * self.kv_factor as f64 } else { 0.0 };
        let parameters = (12.0 + compressing) * c * c * self.n_layer as f64 + c * rows;
        if parameters > 1e12 {
            return bad(format!(
                "n_embd = {}: makes {parameters:.1e} parameters, at most 1e12 are possible",
                self.n_embd
            ));
        }
        for (key, rate) in [
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("summary_first_dropout", self.summary_first_dropout),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return bad(format!("{key} = {rate}: a dropout rate is at least 0 and below 1"));
            }
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return bad(format!("layer_norm_epsilon = {}: must lie between 0 and 1", self.layer_norm_epsilon));
        }
        if !(self.initializer_range > 0.0 && self.initializer_range < 10.0) {
            return bad(format!("initializer_range = {}: must lie between 0 and 10", self.initializer_range));
        }
        if self.attention_pattern.is_empty() {
            return bad(format!("attention_pattern is empty: one letter or more of {LETTERS}"));
        }
        if let Some(c) = self.attention_pattern.chars().find(|c| !"FLM".contains(*c)) {
            return bad(format!(
                "attention_pattern = {:?}: the letter {c:?} is none of {LETTERS}",
                self.attention_pattern
            ));
        }
        self.task.as_ref().map_or(Ok(()), Task::validate)
    }

    /// Every tensor, in the order of buffers and files: tokens, positions, layer by layer, then a task's head.
    pub fn parameters(&self) -> Vec<ParameterShape> {
        let c = self.n_embd;
        let table = |name: &str, rows| {
            let name = format!("transformer.{name}.weight");
            ParameterShape { name, rows, columns: c, kind: ParameterKind::Weight }
        };
        let mut all = vec![table("tokens_embed", self.vocab_size), table("positions_embed", self.n_positions)];
        for l in 0..self.n_layer {
            all.extend(LayerTensor::ALL.into_iter().filter(|tensor| self.layer_has(l, *tensor)).map(|tensor| {
                let (rows, columns, kind) = self.layer_shape(tensor);
                ParameterShape { name: format!("transformer.h.{l}.{}", tensor.name()), rows, columns, kind }
            }));
        }
        all.extend(self.task.iter().flat_map(|task| task.parameters(c)));
        all
    }

    /// Which part each of [`ModelConfig::parameters`] belongs to.
    pub fn parts(&self) -> Vec<Part> {
        let mut all = vec![Part::Embedding; 2];
        for l in 0..self.n_layer {
            let count = LayerTensor::ALL.into_iter().filter(|tensor| self.layer_has(l, *tensor)).count();
            all.extend(std::iter::repeat_n(Part::Layer(l), count));
        }
        all.extend(self.head().into_iter().flatten().map(|_| Part::Head));
        all
    }

    /// The places of the head's tensors in [`ModelConfig::parameters`]: weight, then bias if there is one.
    pub fn head(&self) -> Option<Range<usize>> {
        let count = self.task.as_ref()?.parameters(self.n_embd).len();
        let all = self.parameters().len();
        Some(all - count..all)
    }

    /// Rows, columns and kind of a layer's tensor.
    fn layer_shape(&self, tensor: LayerTensor) -> (usize, usize, ParameterKind) {
        use LayerTensor::*;
        use ParameterKind::{Bias, Convolution, Gain, Weight};
        let (c, f) = (self.n_embd, self.kv_factor);
        match tensor {
            CAttn => (c, 3 * c, Weight),
            CAttnBias => (1, 3 * c, Bias),
            CompressK | CompressV => (f * self.kv_group_width(), c, Convolution(f)),
            CProj => (c, c, Weight),
            CFc => (c, 4 * c, Weight),
            CFcBias => (1, 4 * c, Bias),
            MlpProj => (4 * c, c, Weight),
            Ln1Gain | Ln2Gain => (1, c, Gain),
            CompressKBias | CompressVBias | NullK | NullV | CProjBias | Ln1Bias | MlpProjBias | Ln2Bias => (1, c, Bias),
        }
    }

    /// Whether layer `layer` has a tensor.
    fn layer_has(&self, layer: usize, tensor: LayerTensor) -> bool {
        use LayerTensor::*;
        let compressed = self.attention(layer) == AttentionKind::Compressed;
        match tensor {
            CompressK | CompressKBias => compressed,
            CompressV | CompressVBias => compressed && !self.kv_shared,
            NullK | NullV => compressed && self.kv_null == KvNull::Learned,
            _ => true,
        }
    }

    /// The place of a layer's tensor in [`ModelConfig::parameters`]; none where the layer has no such tensor.
    pub fn index(&self, layer: usize, tensor: LayerTensor) -> Option<usize> {
        let of = |l: usize| LayerTensor::ALL.into_iter().filter(move |t| self.layer_has(l, *t));
        let before: usize = (0..layer).map(|l| of(l).count()).sum();
        of(layer).position(|t| t == tensor).map(|i| 2 + before + i)
    }

    /// Parameters in all.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(ParameterShape::count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt1_has_its_published_count() {
        assert_eq!(ModelConfig::preset("gpt1").expect("preset").parameter_count(), 116_534_784);
    }

    #[test]
    fn sizes_that_do_not_divide_are_named() {
        let config = ModelConfig { n_embd: 130, n_head: 4, ..Default::default() };
        assert_eq!(config.validate().unwrap_err().to_string(), "n_embd = 130 is not divisible by n_head = 4");
        let config = ModelConfig { n_embd: 1 << 23, n_head: 1 << 20, ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("parameters, at most 1e12"));
        let config = ModelConfig { attention_pattern: "FX".into(), ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("'X'"));
        for (change, says) in [
            ((|c| c.attention_pattern.clear()) as fn(&mut ModelConfig), "attention_pattern is empty"),
            (|c| c.kv_factor = 0, "kv_factor = 0: must be 1 or more"),
            (|c| c.local_block = 0, "local_block = 0: must be 1 or more"),
        ] {
            let mut config = ModelConfig::default();
            change(&mut config);
            let error = config.validate().expect_err(says);
            assert!(error.to_string().contains(says) && error.is_invalid_input(), "{error}");
        }
    }

    #[test]
    fn tensors_stand_where_their_index_says() {
        for (kv_shared, kv_null, count) in
            [(false, KvNull::Learned, 18), (true, KvNull::Learned, 16), (true, KvNull::Zero, 14)]
        {
            let pattern = "LMF".to_string();
            let config = ModelConfig { attention_pattern: pattern, kv_shared, kv_null, ..Default::default() };
            let all = config.parameters();
            assert_eq!(all.len(), 2 + 12 + count + 12 + 12);
            assert_eq!(config.parts().iter().filter(|part| **part == Part::Layer(1)).count(), count);
            assert_eq!(config.parts().len(), all.len());
            for layer in 0..config.n_layer {
                for tensor in LayerTensor::ALL {
                    let name = format!("transformer.h.{layer}.{}", tensor.name());
                    assert_eq!(config.index(layer, tensor), all.iter().position(|p| p.name == name), "{name}");
                }
            }
        }
        let config = ModelConfig { attention_pattern: "M".into(), kv_groups: KvGroups::Head, ..Default::default() };
        let weight = &config.parameters()[config.index(0, LayerTensor::CompressK).expect("a weight")];
        assert_eq!((weight.dimensions(), weight.rows, weight.kind.decays()), (vec![128, 32, 3], 96, true));
    }

    #[test]
    fn choices_have_their_names() {
        assert_eq!("head".parse::<KvGroups>().expect("a name"), KvGroups::Head);
        assert_eq!((KvGroups::One.to_string(), KvNull::Zero.to_string()), ("1".into(), "zero".into()));
        assert_eq!("x".parse::<KvScale>().expect_err("x").to_string(), "\"x\" is none of head, width");
    }
}
