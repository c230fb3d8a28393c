//! The parameters of a model: which tensors it has, in which order and shapes (docs/spec.md section 1).

use super::attention::{AttentionKind, KvNull};
use super::model::ModelConfig;
use super::parameters::{LayerTensor, ParameterKind, ParameterShape, Part};
use std::ops::Range;

impl ModelConfig {
    /// All parameters, in the order of buffers and files: token table, position table, the layers, the head of a task.
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

    /// The part of the model that each of [`ModelConfig::parameters`] belongs to.
    pub fn parts(&self) -> Vec<Part> {
        let mut all = vec![Part::Embedding; 2];
        for l in 0..self.n_layer {
            let count = LayerTensor::ALL.into_iter().filter(|tensor| self.layer_has(l, *tensor)).count();
            all.extend(std::iter::repeat_n(Part::Layer(l), count));
        }
        all.extend(self.head().into_iter().flatten().map(|_| Part::Head));
        all
    }

    /// The indices of the head's tensors in [`ModelConfig::parameters`]: the weight, and the bias if it has one.
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

    /// The index of a layer's tensor in [`ModelConfig::parameters`]; `None` if the layer has no such tensor.
    pub fn index(&self, layer: usize, tensor: LayerTensor) -> Option<usize> {
        let of = |l: usize| LayerTensor::ALL.into_iter().filter(move |t| self.layer_has(l, *t));
        let before: usize = (0..layer).map(|l| of(l).count()).sum();
        of(layer).position(|t| t == tensor).map(|i| 2 + before + i)
    }

    /// Number of elements of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(ParameterShape::count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KvGroups;

    #[test]
    fn gpt1_has_its_published_count() {
        assert_eq!(ModelConfig::preset("gpt1").expect("preset").parameter_count(), 116_534_784);
    }

    #[test]
    fn indices_are_those_of_the_list() {
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
}
