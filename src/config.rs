//! The model's numbers, under Hugging Face's names (SPEC 1 and 6), and the tensors that follow from them.

use crate::{Error, Result};

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
    /// Letters laid over the layers: F full attention, L local blocks. "F" is GPT-1.
    pub attention_pattern: String,
    /// W, tokens in a local block (L layers).
    pub local_block: usize,
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
        }
    }
}

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Every earlier token of the sequence.
    Full,
    /// Every earlier token of the same block of `local_block` tokens.
    Local,
}

/// What a parameter is: decides its start value and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Two dimensions: N(0, initializer_range), decays.
    Weight,
    /// One dimension: starts at 0, does not decay.
    Bias,
    /// Layer norm's gain: starts at 1, does not decay.
    Gain,
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

impl ParameterShape {
    /// The shape as files hold it: one dimension for vectors.
    pub fn dimensions(&self) -> Vec<usize> {
        match self.kind {
            ParameterKind::Weight => vec![self.rows, self.columns],
            _ => vec![self.columns],
        }
    }

    /// Numbers in it.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}

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
            _ => AttentionKind::Full,
        }
    }

    /// Whether every layer is full attention: then Hugging Face can load the model.
    pub fn is_all_full(&self) -> bool {
        (0..self.n_layer).all(|l| self.attention(l) == AttentionKind::Full)
    }

    /// Says which number is wrong, and what would be right.
    ///
    /// # Errors
    /// [`Error::Input`] with the key's name.
    pub fn validate(&self) -> Result<()> {
        let bad = |m: String| Err(Error::Input(m));
        for (key, value) in [
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_embd", self.n_embd),
            ("n_positions", self.n_positions),
            ("vocab_size", self.vocab_size),
            ("local_block", self.local_block),
        ] {
            if value == 0 {
                return bad(format!("{key} = 0: must be 1 or more"));
            }
            if value > 1 << 24 {
                return bad(format!("{key} = {value}: must be at most {}", 1 << 24));
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
        let parameters = 12.0 * c * c * self.n_layer as f64 + c * rows;
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
            return bad("attention_pattern is empty: one letter or more of F (full) and L (local)".into());
        }
        if let Some(c) = self.attention_pattern.chars().find(|c| !"FL".contains(*c)) {
            return bad(format!(
                "attention_pattern = {:?}: the letter {c:?} is none of F (full) and L (local)",
                self.attention_pattern
            ));
        }
        Ok(())
    }

    /// Every tensor, in the order of buffers and files: tokens, positions, then layer by layer.
    pub fn parameters(&self) -> Vec<ParameterShape> {
        use ParameterKind::{Bias, Gain, Weight};
        let c = self.n_embd;
        let mut all = Vec::with_capacity(2 + 12 * self.n_layer);
        let mut add = |name: String, rows, columns, kind| all.push(ParameterShape { name, rows, columns, kind });
        add("transformer.tokens_embed.weight".into(), self.vocab_size, c, Weight);
        add("transformer.positions_embed.weight".into(), self.n_positions, c, Weight);
        for l in 0..self.n_layer {
            for (name, rows, columns, kind) in [
                ("attn.c_attn.weight", c, 3 * c, Weight),
                ("attn.c_attn.bias", 1, 3 * c, Bias),
                ("attn.c_proj.weight", c, c, Weight),
                ("attn.c_proj.bias", 1, c, Bias),
                ("ln_1.weight", 1, c, Gain),
                ("ln_1.bias", 1, c, Bias),
                ("mlp.c_fc.weight", c, 4 * c, Weight),
                ("mlp.c_fc.bias", 1, 4 * c, Bias),
                ("mlp.c_proj.weight", 4 * c, c, Weight),
                ("mlp.c_proj.bias", 1, c, Bias),
                ("ln_2.weight", 1, c, Gain),
                ("ln_2.bias", 1, c, Bias),
            ] {
                add(format!("transformer.h.{l}.{name}"), rows, columns, kind);
            }
        }
        all
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
    }
}
