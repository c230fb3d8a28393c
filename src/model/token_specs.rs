//! Where the tensors of a token's pass are stored: all in images, or all in buffers.

use super::cache::rows_per_sequence;
use super::parameters::{ParameterData, Parameters};
use super::tensors::{LayerTensors, TOKENS_EMBED};
use crate::Result;
use crate::config::{AttentionKind, ModelConfig};
use crate::gpu::Device;
use crate::ops::matmul::Form;
use crate::ops::{cache, matvec};

/// The Specs of a token's kernels, which agree on images or buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSpecs {
    /// Of the products.
    pub matvec: matvec::Spec,
    /// Of attention and its cache.
    pub cache: cache::Spec,
}

impl TokenSpecs {
    const IMAGES: Self = TokenSpecs { matvec: matvec::Spec::Image, cache: cache::Spec::Image };
    const BUFFERS: Self = TokenSpecs { matvec: matvec::Spec::Buffer, cache: cache::Spec::Buffer };

    /// Images where the adapter reads them faster and all tensors fit into them.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for a model without layers.
    pub fn choose(device: &Device, config: &ModelConfig, parameters: &Parameters, sequences: usize) -> Result<Self> {
        let caps = device.caps();
        let rules = TokenSpecs { matvec: matvec::choose(caps), cache: cache::choose(caps, config.head_dim()) };
        if rules != Self::IMAGES {
            return Ok(Self::BUFFERS);
        }
        // The rows of the prompt, of its slots' keys and values, and of every layer's cache.
        let compressed = AttentionKind::Compressed;
        let slots = if config.has(compressed) { 2 * rows_per_sequence(config, compressed).visible } else { 0 };
        let cached = (0..config.n_layer).map(|l| sequences * rows_per_sequence(config, config.attention(l)).visible);
        let rows = cached.fold(config.n_positions.max(slots), usize::max);

        let tokens = parameters.tensor(ParameterData::Weights, TOKENS_EMBED);
        let layer = |l| LayerTensors::new(config, parameters, ParameterData::Weights, l);
        let first = layer(0)?;
        // All layers have the shapes of the first, but only some have a convolution.
        let first_compressed =
            (0..config.n_layer).find(|l| config.attention(*l) == compressed).map(layer).transpose()?;
        let convolution = first_compressed.and_then(|layer| layer.compression).map(|[keys, _]| keys.convolution);
        let linears = [first.c_attn, first.c_proj, first.c_fc, first.mlp_proj].into_iter().chain(convolution);
        let fit = rows <= caps.max_texture as usize
            && matvec::fits(caps, Form::ABt, &tokens)
            && linears.into_iter().all(|linear| matvec::fits(caps, Form::AB, &linear.weight));
        Ok(if fit { Self::IMAGES } else { Self::BUFFERS })
    }

    /// Whether tensors are stored in images.
    pub fn use_images(self) -> bool {
        self == Self::IMAGES
    }
}
