//! What generation keeps of every layer, for sequences of equal length that grow together: rows k | v, and for each sequence a
//! ring of them, where what is numbered n lies in row n mod the ring's rows.
//!
//! | layer | rows of a sequence's ring | numbered | bytes a sequence |
//! | --- | --- | --- | --- |
//! | full | P | by position | 8·C·P |
//! | local | min(W, P): one block | by position | 8·C·min(W, P) |
//! | memory-compressed | 1 + ⌊P/f⌋ | the null row 0, slots from 1 on | 8·C·(1 + ⌊P/f⌋) |
//! | and its window | f: the tokens of the slot to come | by position | 8·C·f |
//!
//! A row's 2C floats are rounded up to [`dims::PITCH`]. The window is a buffer on every adapter, where the convolution reads.

use super::parameters::{ParameterData, Parameters};
use crate::config::{AttentionKind, LayerTensor, ModelConfig};
use crate::gpu::{Device, Matrix, Recorder, Tensor};
use crate::ops::cache::{self, Append, Rows, Span, Spec};
use crate::ops::tiles::Rule;
use crate::ops::{RowCount, StepValues};
use crate::{Result, dims};
use std::ops::Range;

/// The keys and values of all layers.
pub struct Cache {
    layers: Vec<Layer>,
    sequences: usize,
}

/// A ring of rows k | v for each sequence.
struct Rings {
    /// [S·rows, 2C]
    all: Tensor,
    /// Of one.
    rows: usize,
}

struct Layer {
    kind: AttentionKind,
    /// What tokens see: tokens, or a null row and slots.
    seen: Rings,
    /// Tokens of a slot to come. None where P tokens make no slot.
    window: Option<Rings>,
}

/// What goes into rings.
struct Part<'a> {
    x: &'a Tensor,
    live: RowCount,
    columns: Range<usize>,
    /// Rows of x from one sequence's to the next's.
    apart: usize,
    /// The first column there.
    at: usize,
}

/// Rows of a sequence's ring, and of its window, in a layer of a kind.
pub fn rows(config: &ModelConfig, kind: AttentionKind) -> [usize; 2] {
    let (positions, f) = (config.n_positions, config.kv_factor.max(1));
    match kind {
        AttentionKind::Full => [positions, 0],
        AttentionKind::Local => [config.local_block.min(positions), 0],
        AttentionKind::Compressed => [Rule::compressed(f).keys(positions), if f > positions { 0 } else { f }],
    }
}

impl Cache {
    /// Room for `sequences` sequences of P tokens.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(device: &Device, config: &ModelConfig, spec: Spec, sequences: usize) -> Result<Self> {
        let rings = |image, name, rows| -> Result<Rings> {
            Ok(Rings { all: Tensor::new(device, image, name, sequences * rows, 2 * config.n_embd)?, rows })
        };
        let layer = |l| -> Result<Layer> {
            let kind = config.attention(l);
            let [seen, window] = rows(config, kind);
            Ok(Layer {
                kind,
                seen: rings(spec == Spec::Image, "keys and values", seen)?,
                window: (window > 0).then(|| rings(false, "window", window)).transpose()?,
            })
        };
        Ok(Cache { layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?, sequences })
    }

    /// Bytes that `sequences` sequences of P tokens take.
    pub fn bytes(config: &ModelConfig, sequences: usize) -> usize {
        let rows: usize = (0..config.n_layer).flat_map(|l| rows(config, config.attention(l))).sum();
        4 * dims::floats(sequences * rows, 2 * config.n_embd)
    }

    /// What the tokens of a layer see, the sequences' rings one below the other.
    pub fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer].seen.all
    }

    /// The windows of a memory-compressed layer [S·f, 2C]; none where P tokens make no slot.
    pub fn window(&self, layer: usize) -> Option<&Tensor> {
        self.layers[layer].window.as_ref().map(|window| &window.all)
    }

    fn put(
        &self,
        rec: &mut Recorder<StepValues>,
        rings: &Rings,
        part: Part,
        which: impl Fn(&StepValues) -> Rows + Send + Sync + 'static,
    ) -> Result<()> {
        let Part { x, live, columns, apart, at } = part;
        let (cache, stretches, stretch) = (&rings.all, self.sequences, rings.rows);
        cache::append(rec, &Append { x, live, columns, apart, cache, at, stretches, stretch }, which)
    }

    /// Where a layer puts tokens, by position.
    fn tokens(&self, layer: usize) -> Option<&Rings> {
        let layer = &self.layers[layer];
        if layer.kind == AttentionKind::Compressed { layer.window.as_ref() } else { Some(&layer.seen) }
    }

    /// Records what is there before all tokens: the learned null rows.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn begin(&self, rec: &mut Recorder<StepValues>, config: &ModelConfig, parameters: &Parameters) -> Result<()> {
        let c = config.n_embd;
        for (l, layer) in self.layers.iter().enumerate() {
            for (part, of) in [LayerTensor::NullK, LayerTensor::NullV].into_iter().enumerate() {
                let Some(index) = config.index(l, of) else { continue };
                let x = &Tensor::Buffer(parameters.tensor(ParameterData::Weights, index));
                let part = Part { x, live: RowCount::Fixed(1), columns: 0..c, apart: 0, at: part * c };
                self.put(rec, &layer.seen, part, |_| Rows { skip: 0, count: 1, number: 0 })?;
            }
        }
        Ok(())
    }

    /// Records that every sequence keeps a prompt's last rows of `qkv` [N, 3C], as many as its ring has.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn keep_prompt(&self, rec: &mut Recorder<StepValues>, layer: usize, qkv: &Matrix) -> Result<()> {
        let Some(rings) = self.tokens(layer) else { return Ok(()) };
        let (x, c, rows) = (&Tensor::Buffer(qkv.clone()), qkv.columns / 3, rings.rows as u32);
        let part = Part { x, live: RowCount::Rows, columns: c..3 * c, apart: 0, at: 0 };
        self.put(rec, rings, part, move |live| Rows::last(live.rows, rows))
    }

    /// Records that every sequence keeps a prompt's slots: `compressed` holds keys, and from the middle on values.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn keep_prompts_slots(&self, rec: &mut Recorder<StepValues>, layer: usize, compressed: &Matrix) -> Result<()> {
        let Layer { seen, window: Some(_), .. } = &self.layers[layer] else { return Ok(()) };
        let (x, c, below) = (&Tensor::Buffer(compressed.clone()), compressed.columns, compressed.rows as u32 / 2);
        // As attention reads it, so that they share a twin.
        let live = RowCount::Fixed(compressed.rows as u32);
        for part in [0, 1] {
            let which = move |live: &StepValues| Rows { skip: part * below, count: live.slots, number: 1 };
            let part = Part { x, live, columns: 0..c, apart: 0, at: part as usize * c };
            self.put(rec, seen, part, which)?;
        }
        Ok(())
    }

    /// Records that the window of a memory-compressed layer takes the token of every sequence: rows of `qkv` [S, 3C]. Where
    /// tokens see tokens, attention itself leaves them.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn keep_token(&self, rec: &mut Recorder<StepValues>, layer: usize, qkv: &Tensor) -> Result<()> {
        let Some(rings) = &self.layers[layer].window else { return Ok(()) };
        let c = qkv.shape()[1] / 3;
        let part = Part { x: qkv, live: RowCount::Rows, columns: c..3 * c, apart: 1, at: 0 };
        self.put(rec, rings, part, |live| Rows { skip: 0, count: 1, number: live.step.saturating_sub(1) })
    }

    /// Records that every sequence keeps the slot that ends with this token, if one does: keys and values [S, C].
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn keep_slot(&self, rec: &mut Recorder<StepValues>, layer: usize, slots: [&Tensor; 2]) -> Result<()> {
        let Layer { seen, window: Some(window), .. } = &self.layers[layer] else { return Ok(()) };
        let factor = window.rows as u32;
        for (part, x) in slots.into_iter().enumerate() {
            let c = x.shape()[1];
            let part = Part { x, live: RowCount::Slots, columns: 0..c, apart: 1, at: part * c };
            // The first slot is number 1.
            self.put(rec, seen, part, move |live| Rows {
                skip: 0,
                count: live.slots.min(1),
                number: live.step / factor,
            })?;
        }
        Ok(())
    }

    /// What the token at `position` sees of a kind's layers, sequence by sequence.
    pub fn spans(&self, config: &ModelConfig, kind: AttentionKind, position: usize) -> Vec<Span> {
        let [ring, _] = rows(config, kind);
        let seen = match kind {
            AttentionKind::Full | AttentionKind::Local => position % ring,
            AttentionKind::Compressed => Rule::compressed(config.kv_factor).visible(position),
        };
        let span = |sequence: usize| {
            let [first, rows, own] = [sequence * ring, seen, sequence * ring + seen].map(|x| x as u32);
            Span { first, rows, own, pad: 0 }
        };
        (0..self.sequences).map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_as_long_as_what_is_seen() {
        let config = ModelConfig {
            n_layer: 3,
            n_embd: 32,
            n_positions: 100,
            attention_pattern: "FLM".into(),
            local_block: 7,
            kv_factor: 3,
            ..ModelConfig::default()
        };
        let kinds = [AttentionKind::Full, AttentionKind::Local, AttentionKind::Compressed];
        assert_eq!(kinds.map(|kind| rows(&config, kind)), [[100, 0], [7, 0], [34, 3]]);
        assert_eq!(Cache::bytes(&config, 2), 8 * 32 * 2 * (100 + 7 + 34 + 3));
        let short = ModelConfig { n_positions: 5, kv_factor: 6, ..config };
        assert_eq!(kinds.map(|kind| rows(&short, kind)), [[5, 0], [5, 0], [1, 0]]);
    }
}
