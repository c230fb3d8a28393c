//! The keys and values of all layers, for sequences of equal length that grow together.

use crate::Result;
use crate::config::{AttentionKind, ModelConfig};
use crate::gpu::{Device, Matrix, Recorder, Tensor};
use crate::ops::Live;
use crate::ops::cache::{self, Span, Spec};

/// A stretch of P rows a sequence, in a tensor a layer.
pub struct Cache {
    /// [S·P, 2C] each.
    layers: Vec<Tensor>,
    spec: Spec,
    sequences: usize,
    positions: usize,
}

impl Cache {
    /// Room for `sequences` sequences of P tokens.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(device: &Device, config: &ModelConfig, spec: Spec, sequences: usize) -> Result<Self> {
        let positions = config.n_positions;
        let layer = |_| {
            let rows = sequences * positions;
            Tensor::new(device, spec == Spec::Image, "keys and values", rows, 2 * config.n_embd)
        };
        let layers = (0..config.n_layer).map(layer).collect::<Result<_>>()?;
        Ok(Cache { layers, spec, sequences, positions })
    }

    /// The tensor of a layer.
    pub fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer]
    }

    /// Records that the keys and values of a prompt's rows go to the start of every sequence.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn append(&self, rec: &mut Recorder<Live>, layer: usize, qkv: &Matrix) -> Result<()> {
        cache::append(rec, self.spec, qkv, &self.layers[layer], [self.sequences, self.positions])
    }

    /// What the token at `position` sees, sequence by sequence, in a full or a local layer.
    pub fn spans(&self, config: &ModelConfig, kind: AttentionKind, position: usize) -> Vec<Span> {
        let first = match kind {
            AttentionKind::Full | AttentionKind::Compressed => 0,
            AttentionKind::Local => position / config.local_block * config.local_block,
        };
        let span = |sequence: usize| {
            let at = sequence * self.positions;
            let [first, rows, own] = [at + first, position - first, at + position].map(|x| x as u32);
            Span { first, rows, own, pad: 0 }
        };
        (0..self.sequences).map(span).collect()
    }
}
