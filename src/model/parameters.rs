//! Weights, gradients and both moments: four flat buffers a slab, tensors as named views at multiples of 256 bytes, those
//! that decay first, so that AdamW's rules are two ranges a slab where all learns alike. A slab ends where a binding would pass the device's limit.

use super::learning::Piece;
use crate::config::{ModelConfig, ParameterKind, ParameterShape};
use crate::gpu::{Buffer, Device, Matrix, View};
use crate::ops::optimizer::{FLAT_COLUMNS, Range};
use crate::philox::{Stream, Words};
use crate::{Error, Result, dims};

/// Which of the four flat tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flat {
    /// Weights.
    Values = 0,
    /// Their gradients.
    Gradients = 1,
    /// Adam's m.
    FirstMoments = 2,
    /// Adam's v.
    SecondMoments = 3,
}

const NAMES: [&str; 4] = ["weights", "gradients", "first moments", "second moments"];

/// The place of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slab: usize,
    offset: usize,
}

#[derive(Clone)]
struct Slab {
    buffers: [Buffer; 4],
    floats: usize,
}

/// A model's tensors on a device. Made for inference, it has values alone: the other flat tensors have no room, and a
/// recording that names them is refused. A clone is the same tensors.
#[derive(Clone)]
pub struct Parameters {
    shapes: Vec<ParameterShape>,
    places: Vec<Place>,
    slabs: Vec<Slab>,
}

struct SlabPlan {
    tensors: Vec<(usize, usize)>,
    floats: usize,
}

fn floats(shape: &ParameterShape) -> usize {
    dims::floats(shape.rows, shape.columns)
}

/// Where each tensor goes: slab by slab in the order of names, inside a slab those that decay first.
fn arrange(shapes: &[ParameterShape], limit: usize) -> Result<Vec<SlabPlan>> {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = 0;
    for (i, shape) in shapes.iter().enumerate() {
        let size = floats(shape);
        if size > limit {
            let bytes = size * 4;
            return Err(Error::device(format!("{}: {bytes} bytes, a binding holds {}", shape.name, limit * 4)));
        }
        if used + size > limit {
            groups.push(Vec::new());
            used = 0;
        }
        used += size;
        if let Some(group) = groups.last_mut() {
            group.push(i);
        }
    }
    let plan = |group: Vec<usize>| {
        let (weights, vectors): (Vec<usize>, Vec<usize>) = group.into_iter().partition(|i| shapes[*i].kind.decays());
        let mut at = 0;
        let mut tensors = Vec::new();
        for i in weights.into_iter().chain(vectors) {
            tensors.push((i, at));
            at += floats(&shapes[i]);
        }
        SlabPlan { tensors, floats: at.next_multiple_of(FLAT_COLUMNS) }
    };
    Ok(groups.into_iter().map(plan).collect())
}

/// Bytes of one of the four flat tensors.
pub fn flat_bytes(config: &ModelConfig) -> usize {
    config.parameters().iter().map(floats).sum::<usize>().next_multiple_of(FLAT_COLUMNS) * 4
}

impl Parameters {
    /// Allocates all four flat tensors and uploads `dense` values, in the order of [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Value`] for other shapes, [`Error::Device`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, dense: &[Vec<f32>]) -> Result<Self> {
        Self::with(device, config, dense, true)
    }

    /// As [`Parameters::new`], values alone: a quarter of the memory.
    ///
    /// # Errors
    /// As [`Parameters::new`].
    pub fn for_inference(device: &Device, config: &ModelConfig, dense: &[Vec<f32>]) -> Result<Self> {
        Self::with(device, config, dense, false)
    }

    fn with(device: &Device, config: &ModelConfig, dense: &[Vec<f32>], training: bool) -> Result<Self> {
        let shapes = config.parameters();
        let caps = device.caps();
        // Some drivers bind more than 4 GiB, where grids and 32-bit indices would end.
        let limit = (caps.max_binding.min(caps.max_buffer).min(2 << 30) / 4) as usize / FLAT_COLUMNS * FLAT_COLUMNS;
        let mut places = vec![Place { slab: 0, offset: 0 }; shapes.len()];
        let mut slabs = Vec::new();
        for (slab, plan) in arrange(&shapes, limit)?.into_iter().enumerate() {
            for (i, offset) in plan.tensors {
                places[i] = Place { slab, offset };
            }
            let room = |name| if training || name == NAMES[0] { plan.floats } else { 0 };
            let buffer = |name| Buffer::new(device, name, room(name));
            let [a, b, c, d] = NAMES;
            let buffers = [buffer(a)?, buffer(b)?, buffer(c)?, buffer(d)?];
            slabs.push(Slab { buffers, floats: plan.floats });
        }
        let parameters = Parameters { shapes, places, slabs };
        parameters.write(device, Flat::Values, dense)?;
        Ok(parameters)
    }

    /// Uploads dense tensors, in the config's order, into one of the flat tensors.
    ///
    /// # Errors
    /// [`Error::Value`] for other shapes.
    pub fn write(&self, device: &Device, flat: Flat, dense: &[Vec<f32>]) -> Result<()> {
        if self.shapes.len() != dense.len() {
            return Err(Error::input(format!("{} tensors: the config has {}", dense.len(), self.shapes.len())));
        }
        for (i, (shape, tensor)) in self.shapes.iter().zip(dense).enumerate() {
            if tensor.len() != shape.count() {
                let (got, expected) = (tensor.len(), shape.count());
                return Err(Error::input(format!("{}: {got} numbers, its shape has {expected}", shape.name)));
            }
            self.tensor(flat, i).write(device, tensor)?;
        }
        Ok(())
    }

    /// Tensor `i` of the config's order.
    pub fn tensor(&self, flat: Flat, i: usize) -> Matrix {
        let (shape, place) = (&self.shapes[i], self.places[i]);
        let buffer = &self.slabs[place.slab].buffers[flat as usize];
        Matrix::over(buffer.range(&shape.name, place.offset, floats(shape)), shape.rows, shape.columns)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Value`] when the config has none.
    pub fn named(&self, flat: Flat, name: &str) -> Result<Matrix> {
        let place = self.shapes.iter().position(|shape| shape.name == name);
        place.map(|i| self.tensor(flat, i)).ok_or_else(|| Error::input(format!("{name}: the model has no such tensor")))
    }

    /// Slabs.
    pub fn slabs(&self) -> usize {
        self.slabs.len()
    }

    /// One flat tensor of a slab, [.., [`FLAT_COLUMNS`]].
    pub fn flat(&self, flat: Flat, slab: usize) -> Matrix {
        let slab = &self.slabs[slab];
        let view = slab.buffers[flat as usize].range(NAMES[flat as usize], 0, slab.floats);
        Matrix::over(view, slab.floats / FLAT_COLUMNS, FLAT_COLUMNS)
    }

    /// The view of some rows of tensor `i`.
    pub fn rows(&self, flat: Flat, i: usize, rows: std::ops::Range<usize>) -> View {
        self.tensor(flat, i).rows_from(rows.start, rows.len()).view
    }

    /// AdamW's ranges of a slab: what lies side by side and learns alike is one.
    pub fn ranges(&self, slab: usize, pieces: &[Piece], decay: f64, decay_all: bool) -> Vec<Range> {
        let range = |piece: &Piece| {
            let (shape, place) = (&self.shapes[piece.tensor], self.places[piece.tensor]);
            let decay = if shape.kind.decays() || decay_all { decay } else { 0.0 };
            let [start, end] =
                [piece.rows.start, piece.rows.end].map(|row| place.offset + dims::floats(row, shape.columns));
            (place.slab == slab && end > start).then_some(Range {
                start,
                end,
                lr_scale: piece.lr_scale,
                decay,
                t0: piece.since,
            })
        };
        let mut all: Vec<Range> = pieces.iter().filter_map(range).collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range> = Vec::new();
        for range in all {
            match merged.last_mut() {
                Some(last) if range == (Range { start: last.end, end: range.end, ..*last }) => last.end = range.end,
                _ => merged.push(range),
            }
        }
        merged
    }

    /// All tensors, dense, in the config's order. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self, device: &Device, flat: Flat) -> Result<Vec<Vec<f32>>> {
        let whole = (0..self.slabs.len()).map(|s| self.flat(flat, s).view.read::<f32>(device));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        let dense = |(shape, place): (&ParameterShape, &Place)| {
            let data = &whole[place.slab][place.offset..place.offset + floats(shape)];
            dims::unpad_rows(data, shape.columns)
        };
        Ok(self.shapes.iter().zip(&self.places).map(dense).collect())
    }
}

/// Start weights: N(0, initializer_range) by Philox stream 0, biases 0, gains 1; convolutions the mean of their taps plus
/// N(0, initializer_range / taps). A function of config and seed.
pub fn initial_parameters(config: &ModelConfig, seed: u64) -> Vec<Vec<f32>> {
    let normal = |i: usize, shape: &ParameterShape, scale: f64| {
        let mut words = Words::new(seed, Stream::Weights, i as u32, 0);
        let mut values = Vec::with_capacity(shape.count() + 1);
        while values.len() < shape.count() {
            values.extend(words.normal_pair().map(|x| (x * scale) as f32));
        }
        values.truncate(shape.count());
        values
    };
    let tensor = |(i, shape): (usize, ParameterShape)| match shape.kind {
        ParameterKind::Bias => vec![0.0; shape.count()],
        ParameterKind::Gain => vec![1.0; shape.count()],
        ParameterKind::Weight => normal(i, &shape, f64::from(config.initializer_range)),
        ParameterKind::Convolution(taps) => {
            let mut values = normal(i, &shape, f64::from(config.initializer_range) / taps as f64);
            let width = shape.rows / taps;
            for (at, value) in values.iter_mut().enumerate() {
                let (row, column) = (at / shape.columns, at % shape.columns);
                *value += if row % width == column % width { 1.0 / taps as f32 } else { 0.0 };
            }
            values
        }
    };
    config.parameters().into_iter().enumerate().map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KvGroups, LayerTensor};

    #[test]
    fn slabs_hold_every_tensor_once() {
        let shapes = ModelConfig::default().parameters();
        for limit in [FLAT_COLUMNS * 40, FLAT_COLUMNS * 1000] {
            let plans = arrange(&shapes, limit).unwrap();
            let mut seen: Vec<usize> = plans.iter().flat_map(|p| p.tensors.iter().map(|t| t.0)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..shapes.len()).collect::<Vec<_>>());
            for plan in &plans {
                assert!(plan.floats <= limit);
                let decays: Vec<bool> = plan.tensors.iter().map(|(i, _)| shapes[*i].kind.decays()).collect();
                assert!(decays.is_sorted_by(|a, b| a >= b), "those that decay stand first");
            }
        }
    }

    #[test]
    fn start_weights_have_their_deviation() {
        let config = ModelConfig::default();
        let tensors = initial_parameters(&config, 1);
        let table = &tensors[0];
        let deviation = (table.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / table.len() as f64).sqrt();
        assert!((deviation - 0.02).abs() < 2e-4, "{deviation}");
        assert_eq!(tensors, initial_parameters(&config, 1));
        assert_ne!(tensors[0], initial_parameters(&config, 2)[0]);
    }

    #[test]
    fn convolutions_start_as_the_mean_of_their_taps() {
        for kv_groups in [KvGroups::One, KvGroups::Head, KvGroups::Channel] {
            let config = ModelConfig { attention_pattern: "M".into(), kv_groups, ..Default::default() };
            let i = config.index(1, LayerTensor::CompressV).unwrap();
            let (shape, tensor) = (&config.parameters()[i], &initial_parameters(&config, 1)[i]);
            let width = config.kv_group_width();
            let (mut on, mut off) = (0.0, 0.0f64);
            for (at, x) in tensor.iter().enumerate() {
                let (row, column) = (at / shape.columns, at % shape.columns);
                let diagonal = row % width == column % width;
                on += if diagonal { f64::from(*x) } else { 0.0 };
                off += (f64::from(*x) - if diagonal { 1.0 / 3.0 } else { 0.0 }).powi(2);
            }
            assert!((on - config.n_embd as f64).abs() < 0.5, "{kv_groups}: {on}");
            let deviation = (off / tensor.len() as f64).sqrt();
            assert!((deviation * 3.0 - 0.02).abs() < 2e-3, "{kv_groups}: {deviation}");
        }
    }
}
