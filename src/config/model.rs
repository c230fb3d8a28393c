//! The configuration of a model, its presets and its validation (docs/spec.md sections 1 and 6).

use super::attention::{AttentionKind, KvGroups, KvNull, KvScale};
use super::task::Task;
use crate::{Error, Result};

/// The largest value of a size, such as `n_positions`.
pub const MAX_SIZE: usize = 1 << 24;
/// The largest number of layers.
const MAX_LAYERS: usize = 4096;
/// The largest width of a head that the attention kernels accept.
const MAX_HEAD_DIM: usize = 128;
/// The largest number of parameters.
const MAX_PARAMETERS: f64 = 1e12;

/// The architecture of a GPT-1 decoder, under the names of Hugging Face's config.json.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelConfig {
    /// L, number of layers.
    pub n_layer: usize,
    /// C, width of the model.
    pub n_embd: usize,
    /// H, number of attention heads; divides C.
    pub n_head: usize,
    /// P, number of positions: the longest sequence.
    pub n_positions: usize,
    /// V, number of token ids.
    pub vocab_size: usize,
    /// Dropout on both residual branches.
    pub resid_pdrop: f32,
    /// Dropout on the summed embedding.
    pub embd_pdrop: f32,
    /// Dropout on attention probabilities.
    pub attn_pdrop: f32,
    /// Dropout before the head of a task.
    pub summary_first_dropout: f32,
    /// ε of the layer norms.
    pub layer_norm_epsilon: f32,
    /// Standard deviation of the initial weights.
    pub initializer_range: f32,
    /// The attention of each layer, one letter a layer, repeated: F full, L local blocks, M memory-compressed. "F" is GPT-1.
    pub attention_pattern: String,
    /// W, tokens in a local block (L layers).
    pub local_block: usize,
    /// f, number of tokens that one compressed key or value summarizes (M layers).
    pub kv_factor: usize,
    /// Groups of the convolution that compresses keys and values.
    pub kv_groups: KvGroups,
    /// Whether keys and values share one convolution.
    pub kv_shared: bool,
    /// The null key and value, which every query of an M layer attends to.
    pub kv_null: KvNull,
    /// The factor of attention scores in M layers.
    pub kv_scale: KvScale,
    /// The task of a fine-tuned model, which has a head for it. Not a setting of a run: data and command decide it.
    #[serde(skip)]
    pub task: Option<Task>,
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

impl ModelConfig {
    /// The preset `nano`, `mini`, `gpt1` or `dN` (docs/spec.md section 1). The training settings of a preset are in
    /// `train::settings`.
    pub fn preset(name: &str) -> Option<Self> {
        let (n_layer, n_embd, n_head, n_positions, vocab_size, dropout) = match name {
            "nano" => (4, 128, 4, 128, 512, 0.0),
            "mini" => (6, 384, 6, 256, 8192, 0.1),
            "gpt1" => (12, 768, 12, 512, 40478, 0.1),
            _ => {
                let depth = depth_of_preset(name)?;
                (depth, 64 * depth, depth, 256, 8192, 0.1)
            }
        };
        let mut config = ModelConfig { n_layer, n_embd, n_head, n_positions, vocab_size, ..Default::default() };
        config.set_dropout(dropout);
        Some(config)
    }

    /// Its size in words: "0.9 M parameters · 4 layers, width 128".
    pub fn size_text(&self) -> String {
        let parameters = match self.parameter_count() as f64 {
            few if few < 1e5 => format!("{:.1} k", few / 1e3),
            many => format!("{:.1} M", many / 1e6),
        };
        let layers = if self.n_layer == 1 { "1 layer".into() } else { format!("{} layers", self.n_layer) };
        format!("{parameters} parameters · {layers}, width {}", self.n_embd)
    }

    /// Sets all four dropout rates: the setting `dropout`.
    pub fn set_dropout(&mut self, rate: f32) {
        self.resid_pdrop = rate;
        self.embd_pdrop = rate;
        self.attn_pdrop = rate;
        self.summary_first_dropout = rate;
    }

    /// D, width of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head.max(1)
    }

    /// The attention of layer `layer`. The pattern is repeated, and ends with the last layer.
    pub fn attention(&self, layer: usize) -> AttentionKind {
        let letters = self.attention_pattern.as_bytes();
        match letters.get(layer % letters.len().max(1)) {
            Some(b'L') => AttentionKind::Local,
            Some(b'M') => AttentionKind::Compressed,
            _ => AttentionKind::Full,
        }
    }

    /// Whether any layer has this attention.
    pub fn has(&self, kind: AttentionKind) -> bool {
        (0..self.n_layer.min(self.attention_pattern.len())).any(|l| self.attention(l) == kind)
    }

    /// Input channels of an output channel in the convolution that compresses keys and values.
    pub fn kv_group_width(&self) -> usize {
        match self.kv_groups {
            KvGroups::One => self.n_embd,
            KvGroups::Head => self.head_dim(),
            KvGroups::Channel => 1,
        }
    }

    /// Whether every layer has full attention, which Hugging Face's model has.
    pub fn has_only_full_attention(&self) -> bool {
        (0..self.n_layer).all(|l| self.attention(l) == AttentionKind::Full)
    }

    /// Checks that all values are possible.
    ///
    /// # Errors
    /// [`Error::Value`] naming the key, the value found and what would be right.
    pub fn validate(&self) -> Result<()> {
        for (key, value, most) in [
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_head", self.n_head, MAX_SIZE),
            ("n_embd", self.n_embd, MAX_SIZE),
            ("n_positions", self.n_positions, MAX_SIZE),
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("local_block", self.local_block, MAX_SIZE),
            ("kv_factor", self.kv_factor, MAX_SIZE),
        ] {
            if value == 0 {
                return Err(Error::value(key, value, "must be 1 or more"));
            }
            if value > most {
                return Err(Error::value(key, value, format!("must be at most {most}")));
            }
        }
        self.validate_width()?;
        for (key, rate) in [
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("summary_first_dropout", self.summary_first_dropout),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::value(key, rate, "must be at least 0 and below 1"));
            }
        }
        for (key, value, most) in
            [("layer_norm_epsilon", self.layer_norm_epsilon, 1.0), ("initializer_range", self.initializer_range, 10.0)]
        {
            if !(value > 0.0 && value < most) {
                return Err(Error::value(key, value, format!("must be above 0 and below {most}")));
            }
        }
        let pattern = &self.attention_pattern;
        if pattern.is_empty() || pattern.chars().any(|letter| !"FLM".contains(letter)) {
            let expected = "must be one or more letters of F (full), L (local) and M (memory-compressed)";
            return Err(Error::value("attention_pattern", format!("{pattern:?}"), expected));
        }
        self.task.as_ref().map_or(Ok(()), Task::validate)
    }

    /// Checks the width against the heads and the number of parameters.
    fn validate_width(&self) -> Result<()> {
        let (width, heads) = (self.n_embd, self.n_head);
        if !width.is_multiple_of(heads) {
            return Err(Error::value("n_embd", width, format!("must be divisible by n_head = {heads}")));
        }
        if self.head_dim() > MAX_HEAD_DIM {
            let enough = width.div_ceil(MAX_HEAD_DIM);
            let expected = format!("must be at most {MAX_HEAD_DIM}, as with n_head = {enough}");
            return Err(Error::value("n_embd / n_head", self.head_dim(), expected));
        }
        let (c, rows) = (width as f64, (self.vocab_size + self.n_positions) as f64);
        let compressing = if self.has(AttentionKind::Compressed) { 2.0 * self.kv_factor as f64 } else { 0.0 };
        let parameters = (12.0 + compressing) * c * c * self.n_layer as f64 + c * rows;
        if parameters > MAX_PARAMETERS {
            let expected = format!("must give at most {MAX_PARAMETERS:.0e} parameters, gives {parameters:.1e}");
            return Err(Error::value("n_embd", width, expected));
        }
        Ok(())
    }
}

/// N of a preset `dN`, such as 8 of `d8`: a model of N layers, 1 to 48.
pub fn depth_of_preset(name: &str) -> Option<usize> {
    let depth = name.strip_prefix('d')?.parse().ok().filter(|depth| (1..=48).contains(depth));
    depth.filter(|depth| format!("d{depth}") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_words() {
        let small = ModelConfig { n_layer: 1, n_embd: 32, n_positions: 64, vocab_size: 300, ..ModelConfig::default() };
        let sizes = [ModelConfig::default(), small].map(|model| model.size_text());
        assert_eq!(sizes, ["0.9 M parameters · 4 layers, width 128", "24.4 k parameters · 1 layer, width 32"]);
    }

    #[test]
    fn impossible_values_are_named() {
        let config = ModelConfig { n_embd: 130, n_head: 4, ..Default::default() };
        assert_eq!(config.validate().unwrap_err().to_string(), "n_embd = 130: must be divisible by n_head = 4");
        let config = ModelConfig { n_embd: 1 << 23, n_head: 1 << 20, ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("must give at most 1e12 parameters"));
        let config = ModelConfig { attention_pattern: "FX".into(), ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("attention_pattern = \"FX\": must be"));
        for (change, expected) in [
            (
                (|c| c.attention_pattern.clear()) as fn(&mut ModelConfig),
                "attention_pattern = \"\": must be one or more letters of F",
            ),
            (|c| c.kv_factor = 0, "kv_factor = 0: must be 1 or more"),
            (|c| c.local_block = 0, "local_block = 0: must be 1 or more"),
        ] {
            let mut config = ModelConfig::default();
            change(&mut config);
            let error = config.validate().expect_err(expected);
            assert!(error.to_string().contains(expected) && error.is_invalid_input(), "{error}");
        }
    }
}
