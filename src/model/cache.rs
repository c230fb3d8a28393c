//! The keys and values that generation keeps of every layer, for sequences of equal length that grow together.
//!
//! Each layer has rows k | v, as many for each sequence, used as a ring: entry number n is stored in row n mod the ring's rows.
//!
//! | layer | rows of a sequence's ring | numbered by | bytes a sequence |
//! | --- | --- | --- | --- |
//! | full | P | position | 8·C·P |
//! | local | min(W, P): one block | position | 8·C·min(W, P) |
//! | memory-compressed | 1 + ⌊P/f⌋ | slot: the null row is 0, slots start at 1 | 8·C·(1 + ⌊P/f⌋) |
//! | its window | f: the tokens of the next slot | position | 8·C·f |
//!
//! A row's 2C floats are rounded up to [`dims::PITCH`]. The window is in a buffer on every adapter: the convolution reads it
//! there.

use super::parameters::{ParameterData, Parameters};
use super::tensors::LayerTensors;
use crate::config::{AttentionKind, ModelConfig};
use crate::gpu::{Device, Matrix, Recorder, Tensor};
use crate::ops::cache::{self, Append, AppendedRows, Span, Spec};
use crate::ops::tiles::Rule;
use crate::ops::{RowCount, StepValues};
use crate::{Result, dims};
use std::ops::Range;

/// The keys and values of all layers.
pub struct Cache {
    layers: Vec<Layer>,
    sequences: usize,
}

/// Rings of rows k | v, one for each sequence, one below the other.
struct Rings {
    /// [sequences · rows, 2C]
    all: Tensor,
    /// Of one ring.
    rows: usize,
}

struct Layer {
    kind: AttentionKind,
    /// The rows that tokens attend to: tokens, or a null row and slots.
    visible: Rings,
    /// The tokens of the next slot, in an M layer whose slots fit into P tokens.
    window: Option<Rings>,
}

/// Rows that are appended to rings.
struct Source<'a> {
    x: &'a Tensor,
    rows: RowCount,
    columns: Range<usize>,
    /// Rows of x from one sequence's to the next's; 0 if all sequences take the same.
    rows_apart: usize,
    /// The first column in the ring.
    first_column: usize,
}

/// Rows of one sequence in a layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRows {
    /// That tokens attend to.
    pub visible: usize,
    /// Of the window of an M layer; 0 elsewhere.
    pub window: usize,
}

/// Rows of one sequence in the cache of a layer of this kind.
pub fn rows_per_sequence(config: &ModelConfig, kind: AttentionKind) -> CacheRows {
    let (positions, f) = (config.n_positions, config.kv_factor.max(1));
    let (visible, window) = match kind {
        AttentionKind::Full => (positions, 0),
        AttentionKind::Local => (config.local_block.min(positions), 0),
        AttentionKind::Compressed => (Rule::compressed(f).keys(positions), if f > positions { 0 } else { f }),
    };
    CacheRows { visible, window }
}

impl Cache {
    /// Allocates the cache of `sequences` sequences of P tokens.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(device: &Device, config: &ModelConfig, spec: Spec, sequences: usize) -> Result<Self> {
        let rings = |image, name, rows| -> Result<Rings> {
            Ok(Rings { all: Tensor::new(device, image, name, sequences * rows, 2 * config.n_embd)?, rows })
        };
        let layer = |l| -> Result<Layer> {
            let kind = config.attention(l);
            let CacheRows { visible, window } = rows_per_sequence(config, kind);
            Ok(Layer {
                kind,
                visible: rings(spec == Spec::Image, "keys and values", visible)?,
                window: (window > 0).then(|| rings(false, "window", window)).transpose()?,
            })
        };
        Ok(Cache { layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?, sequences })
    }

    /// Bytes that `sequences` sequences of P tokens take.
    pub fn bytes(config: &ModelConfig, sequences: usize) -> usize {
        let rows = |l| {
            let CacheRows { visible, window } = rows_per_sequence(config, config.attention(l));
            visible + window
        };
        4 * dims::floats(sequences * (0..config.n_layer).map(rows).sum::<usize>(), 2 * config.n_embd)
    }

    /// The rows that a layer's tokens attend to, the sequences' rings one below the other.
    pub fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer].visible.all
    }

    /// The windows of a memory-compressed layer [S·f, 2C]; `None` in other layers, and if P tokens fill no slot.
    pub fn window(&self, layer: usize) -> Option<&Tensor> {
        self.layers[layer].window.as_ref().map(|window| &window.all)
    }

    fn append(
        &self,
        rec: &mut Recorder<StepValues>,
        rings: &Rings,
        source: Source,
        rows: impl Fn(&StepValues) -> AppendedRows + Send + Sync + 'static,
    ) -> Result<()> {
        let call = Append {
            input: source.x,
            rows: source.rows,
            columns: source.columns,
            rows_apart: source.rows_apart,
            cache: &rings.all,
            first_column: source.first_column,
            rings: self.sequences,
            ring_rows: rings.rows,
        };
        cache::append(rec, &call, rows)
    }

    /// The rings that a layer's tokens are appended to, by position.
    fn token_rings(&self, layer: usize) -> Option<&Rings> {
        let layer = &self.layers[layer];
        if layer.kind == AttentionKind::Compressed { layer.window.as_ref() } else { Some(&layer.visible) }
    }

    /// Records that the cache is emptied: it then holds the learned null rows only.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record_reset(
        &self,
        rec: &mut Recorder<StepValues>,
        config: &ModelConfig,
        parameters: &Parameters,
    ) -> Result<()> {
        let c = config.n_embd;
        for (l, layer) in self.layers.iter().enumerate() {
            let tensors = LayerTensors::new(config, parameters, ParameterData::Weights, l)?;
            for (part, compression) in tensors.compression.into_iter().flatten().enumerate() {
                let Some(null) = compression.null else { continue };
                let x = &Tensor::Buffer(null);
                let source =
                    Source { x, rows: RowCount::Fixed(1), columns: 0..c, rows_apart: 0, first_column: part * c };
                self.append(rec, &layer.visible, source, |_| AppendedRows { skip: 0, count: 1, number: 0 })?;
            }
        }
        Ok(())
    }

    /// Records that every sequence takes the last rows of a prompt's `qkv` [N, 3C], as many as its ring has.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record_prompt(&self, rec: &mut Recorder<StepValues>, layer: usize, qkv: &Matrix) -> Result<()> {
        let Some(rings) = self.token_rings(layer) else { return Ok(()) };
        let (x, c, rows) = (&Tensor::Buffer(qkv.clone()), qkv.columns / 3, rings.rows as u32);
        let source = Source { x, rows: RowCount::Rows, columns: c..3 * c, rows_apart: 0, first_column: 0 };
        self.append(rec, rings, source, move |values| AppendedRows::last(values.rows, rows))
    }

    /// Records that every sequence takes a prompt's slots. The upper half of `compressed` holds keys, the lower half values.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record_prompt_slots(&self, rec: &mut Recorder<StepValues>, layer: usize, compressed: &Matrix) -> Result<()> {
        let Layer { visible, window: Some(_), .. } = &self.layers[layer] else { return Ok(()) };
        let (x, c, half) = (&Tensor::Buffer(compressed.clone()), compressed.columns, compressed.rows as u32 / 2);
        // All rows, as attention reads them, so that both use one image copy.
        let rows = RowCount::Fixed(compressed.rows as u32);
        for part in [0, 1] {
            let source = Source { x, rows, columns: 0..c, rows_apart: 0, first_column: part as usize * c };
            let slots = move |values: &StepValues| AppendedRows { skip: part * half, count: values.slots, number: 1 };
            self.append(rec, visible, source, slots)?;
        }
        Ok(())
    }

    /// Records that every sequence's token, a row of `qkv` [S, 3C], goes into the window of a memory-compressed layer. In other
    /// layers the attention kernel itself appends it.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record_token(&self, rec: &mut Recorder<StepValues>, layer: usize, qkv: &Tensor) -> Result<()> {
        let Some(rings) = &self.layers[layer].window else { return Ok(()) };
        let c = qkv.shape()[1] / 3;
        let source = Source { x: qkv, rows: RowCount::Rows, columns: c..3 * c, rows_apart: 1, first_column: 0 };
        let row = |values: &StepValues| AppendedRows { skip: 0, count: 1, number: values.step.saturating_sub(1) };
        self.append(rec, rings, source, row)
    }

    /// Records that every sequence takes the slot that ends with this token, if one does. `slots` are keys and values [S, C].
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record_slot(&self, rec: &mut Recorder<StepValues>, layer: usize, slots: [&Tensor; 2]) -> Result<()> {
        let Layer { visible, window: Some(window), .. } = &self.layers[layer] else { return Ok(()) };
        let factor = window.rows as u32;
        for (part, x) in slots.into_iter().enumerate() {
            let c = x.shape()[1];
            let source = Source { x, rows: RowCount::Slots, columns: 0..c, rows_apart: 1, first_column: part * c };
            // The first slot has number 1.
            let row = move |values: &StepValues| AppendedRows {
                skip: 0,
                count: values.slots.min(1),
                number: values.step / factor,
            };
            self.append(rec, visible, source, row)?;
        }
        Ok(())
    }

    /// The cached rows that the token at `position` attends to in layers of a kind, for each sequence.
    pub fn spans(&self, config: &ModelConfig, kind: AttentionKind, position: usize) -> Vec<Span> {
        let ring = rows_per_sequence(config, kind).visible;
        let visible = match kind {
            AttentionKind::Full | AttentionKind::Local => position % ring,
            AttentionKind::Compressed => Rule::compressed(config.kv_factor).visible(position),
        };
        let span = |sequence: usize| {
            let [first, rows, own] = [sequence * ring, visible, sequence * ring + visible].map(|x| x as u32);
            Span { first, rows, own, pad: 0 }
        };
        (0..self.sequences).map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_have_one_row_for_each_visible_key() {
        let config = ModelConfig {
            n_layer: 3,
            n_embd: 32,
            n_positions: 100,
            attention_pattern: "FLM".into(),
            local_block: 7,
            kv_factor: 3,
            ..ModelConfig::default()
        };
        let rows = |config: &ModelConfig, kind| {
            let CacheRows { visible, window } = rows_per_sequence(config, kind);
            (visible, window)
        };
        let kinds = [AttentionKind::Full, AttentionKind::Local, AttentionKind::Compressed];
        assert_eq!(kinds.map(|kind| rows(&config, kind)), [(100, 0), (7, 0), (34, 3)]);
        assert_eq!(Cache::bytes(&config, 2), 8 * 32 * 2 * (100 + 7 + 34 + 3));
        let short = ModelConfig { n_positions: 5, kv_factor: 6, ..config };
        assert_eq!(kinds.map(|kind| rows(&short, kind)), [(5, 0), (5, 0), (1, 0)]);
    }
}
