//! A model's tensors on a device: weights, gradients and both moments.
//!
//! All tensors of a slab are stored in one flat buffer, and a slab has four such buffers, one for each [`ParameterData`].
//! A tensor is a named view that starts at a multiple of 256 bytes. Inside a slab, tensors with weight decay come first, so
//! that AdamW runs over two ranges where everything learns at one rate. A slab ends where a binding would exceed the
//! device's limit.

use super::learning::ParameterGroup;
use crate::config::{ModelConfig, ParameterKind, ParameterShape};
use crate::error::DeviceError;
use crate::gpu::{Buffer, Device, Matrix, View};
use crate::ops::optimizer::{FLAT_COLUMNS, ParameterRange};
use crate::philox::{Stream, Words};
use crate::{Error, Result, dims};

/// Which data of the parameters: four flat buffers of the same layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterData {
    /// Weights.
    Weights = 0,
    /// Gradients.
    Gradients = 1,
    /// Adam's m.
    FirstMoments = 2,
    /// Adam's v.
    SecondMoments = 3,
}

impl ParameterData {
    /// In the order of the discriminants.
    pub(super) const ALL: [Self; 4] = [Self::Weights, Self::Gradients, Self::FirstMoments, Self::SecondMoments];

    /// The name of the flat buffer.
    fn name(self) -> &'static str {
        match self {
            ParameterData::Weights => "weights",
            ParameterData::Gradients => "gradients",
            ParameterData::FirstMoments => "first moments",
            ParameterData::SecondMoments => "second moments",
        }
    }
}

/// Where a tensor is stored: in its slab, from float `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slab: usize,
    offset: usize,
}

#[derive(Clone)]
struct Slab {
    /// By [`ParameterData`].
    buffers: [Buffer; 4],
    floats: usize,
}

/// A model's tensors on a device. For inference only the weights are allocated, and recording a program that names other
/// data is an error. A clone shares the tensors.
#[derive(Clone)]
pub struct Parameters {
    shapes: Vec<ParameterShape>,
    places: Vec<Place>,
    slabs: Vec<Slab>,
}

struct SlabPlan {
    /// Index in the config's order, and offset in floats.
    tensors: Vec<(usize, usize)>,
    floats: usize,
}

fn floats(shape: &ParameterShape) -> usize {
    dims::floats(shape.rows, shape.columns)
}

/// Assigns tensors to slabs, in the config's order; inside a slab, tensors with weight decay come first.
fn arrange(shapes: &[ParameterShape], limit: usize) -> Result<Vec<SlabPlan>> {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = 0;
    for (i, shape) in shapes.iter().enumerate() {
        let size = floats(shape);
        if size > limit {
            let what = format!("bytes of `{}` in one binding", shape.name);
            let (requested, allowed) = (size as u64 * 4, limit as u64 * 4);
            return Err(Error::Device(DeviceError::Limit { what, requested, allowed }));
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

/// Bytes of all tensors in [`Parameters::read_packed`].
pub fn packed_bytes(config: &ModelConfig) -> usize {
    config.parameters().iter().map(floats).sum::<usize>() * 4
}

/// Bytes of one [`ParameterData`].
pub fn flat_bytes(config: &ModelConfig) -> usize {
    (packed_bytes(config) / 4).next_multiple_of(FLAT_COLUMNS) * 4
}

impl Parameters {
    /// Allocates weights, gradients and moments, and uploads the weights: `dense`, in the order of
    /// [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Value`] for other shapes, [`Error::Device`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, dense: &[Vec<f32>]) -> Result<Self> {
        Self::with(device, config, dense, true)
    }

    /// As [`Parameters::new`], for weights only: a quarter of the memory.
    ///
    /// # Errors
    /// As [`Parameters::new`].
    pub fn for_inference(device: &Device, config: &ModelConfig, dense: &[Vec<f32>]) -> Result<Self> {
        Self::with(device, config, dense, false)
    }

    fn with(device: &Device, config: &ModelConfig, dense: &[Vec<f32>], training: bool) -> Result<Self> {
        let shapes = config.parameters();
        let caps = device.caps();
        // Some drivers bind more than 4 GiB, which grids and 32-bit indices do not reach.
        let limit = (caps.max_binding.min(caps.max_buffer).min(2 << 30) / 4) as usize / FLAT_COLUMNS * FLAT_COLUMNS;
        let mut places = vec![Place { slab: 0, offset: 0 }; shapes.len()];
        let mut slabs = Vec::new();
        for (slab, plan) in arrange(&shapes, limit)?.into_iter().enumerate() {
            for (i, offset) in plan.tensors {
                places[i] = Place { slab, offset };
            }
            let buffer = |data: ParameterData| {
                let allocated = training || data == ParameterData::Weights;
                Buffer::new(device, data.name(), if allocated { plan.floats } else { 0 })
            };
            let [weights, gradients, first_moments, second_moments] = ParameterData::ALL.map(buffer);
            let buffers = [weights?, gradients?, first_moments?, second_moments?];
            slabs.push(Slab { buffers, floats: plan.floats });
        }
        let parameters = Parameters { shapes, places, slabs };
        parameters.write(device, ParameterData::Weights, dense)?;
        Ok(parameters)
    }

    /// Uploads dense tensors in the config's order.
    ///
    /// # Errors
    /// [`Error::Value`] for other shapes.
    pub fn write(&self, device: &Device, data: ParameterData, dense: &[Vec<f32>]) -> Result<()> {
        if self.shapes.len() != dense.len() {
            let expected = format!("the config has {}", self.shapes.len());
            return Err(Error::value("tensors", dense.len(), expected));
        }
        for (i, (shape, tensor)) in self.shapes.iter().zip(dense).enumerate() {
            if tensor.len() != shape.count() {
                let expected = format!("its shape has {}", shape.count());
                return Err(Error::value(format!("numbers of `{}`", shape.name), tensor.len(), expected));
            }
            self.tensor(data, i).write(device, tensor)?;
        }
        Ok(())
    }

    /// Tensor `i` in the config's order.
    pub fn tensor(&self, data: ParameterData, i: usize) -> Matrix {
        let (shape, place) = (&self.shapes[i], self.places[i]);
        let buffer = &self.slabs[place.slab].buffers[data as usize];
        Matrix::over(buffer.range(&shape.name, place.offset, floats(shape)), shape.rows, shape.columns)
    }

    /// The number of slabs.
    pub fn slabs(&self) -> usize {
        self.slabs.len()
    }

    /// All tensors of a slab as one matrix [.., [`FLAT_COLUMNS`]].
    pub fn flat(&self, data: ParameterData, slab: usize) -> Matrix {
        let slab = &self.slabs[slab];
        let view = slab.buffers[data as usize].range(data.name(), 0, slab.floats);
        Matrix::over(view, slab.floats / FLAT_COLUMNS, FLAT_COLUMNS)
    }

    /// Some rows of tensor `i`.
    pub fn rows(&self, data: ParameterData, i: usize, rows: std::ops::Range<usize>) -> View {
        self.tensor(data, i).rows_from(rows.start, rows.len()).view
    }

    /// AdamW's ranges of a slab. Neighbors with the same rate and decay are merged.
    pub fn ranges(&self, slab: usize, groups: &[ParameterGroup], decay: f64, decay_all: bool) -> Vec<ParameterRange> {
        let range = |group: &ParameterGroup| {
            let (shape, place) = (&self.shapes[group.tensor], self.places[group.tensor]);
            let decay = if shape.kind.decays() || decay_all { decay } else { 0.0 };
            let [start, end] =
                [group.rows.start, group.rows.end].map(|row| place.offset + dims::floats(row, shape.columns));
            (place.slab == slab && end > start).then_some(ParameterRange {
                start,
                end,
                lr_scale: group.lr_scale,
                decay,
                steps_before: group.unfrozen_at,
            })
        };
        let mut all: Vec<ParameterRange> = groups.iter().filter_map(range).collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<ParameterRange> = Vec::new();
        for range in all {
            match merged.last_mut() {
                Some(last) if range == (ParameterRange { start: last.end, end: range.end, ..*last }) => {
                    last.end = range.end
                }
                _ => merged.push(range),
            }
        }
        merged
    }

    /// All tensors, dense, in the config's order. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self, device: &Device, data: ParameterData) -> Result<Vec<Vec<f32>>> {
        device.block_on(self.read_async(device, data))
    }

    /// As [`Parameters::read`], as a future that never blocks: see [`View::read_async`]. The copies are submitted now.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read_async(
        &self,
        device: &Device,
        data: ParameterData,
    ) -> impl Future<Output = Result<Vec<Vec<f32>>>> + Send + use<> {
        let (slabs, parameters) = (self.read_slabs(device, data), self.clone());
        async move { Ok(parameters.dense(&slabs.await?)) }
    }

    /// All tensors with the padding of their rows, one after another in the config's order: the same floats on every device.
    /// Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read_packed(&self, device: &Device, data: ParameterData) -> Result<Vec<f32>> {
        device.block_on(self.read_packed_async(device, data))
    }

    /// As [`Parameters::read_packed`], as a future that never blocks: see [`Parameters::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read_packed_async(
        &self,
        device: &Device,
        data: ParameterData,
    ) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        let (slabs, parameters) = (self.read_slabs(device, data), self.clone());
        async move {
            let slabs = slabs.await?;
            let mut packed = Vec::with_capacity(parameters.shapes.iter().map(floats).sum());
            for (shape, place) in parameters.shapes.iter().zip(&parameters.places) {
                packed.extend_from_slice(&slabs[place.slab][place.offset..place.offset + floats(shape)]);
            }
            Ok(packed)
        }
    }

    /// Submits the copies of all slabs.
    fn read_slabs(
        &self,
        device: &Device,
        data: ParameterData,
    ) -> impl Future<Output = Result<Vec<Vec<f32>>>> + Send + use<> {
        let copies: Vec<_> = (0..self.slabs.len()).map(|slab| self.flat(data, slab).view.read_async(device)).collect();
        async move {
            let mut slabs = Vec::new();
            for copy in copies {
                slabs.push(copy.await?);
            }
            Ok(slabs)
        }
    }

    /// Writes what [`Parameters::read_packed`] returns, before the next submission.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of floats.
    pub fn write_packed(&self, device: &Device, data: ParameterData, packed: &[f32]) -> Result<()> {
        let all: usize = self.shapes.iter().map(floats).sum();
        if packed.len() != all {
            return Err(Error::value("floats of all tensors", packed.len(), format!("the config has {all}")));
        }
        let mut rest = packed;
        for (i, shape) in self.shapes.iter().enumerate() {
            let (own, others) = rest.split_at(floats(shape));
            self.tensor(data, i).view.write(device, own)?;
            rest = others;
        }
        Ok(())
    }

    /// Tensors without padding, from the floats of all slabs.
    fn dense(&self, slabs: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let dense = |(shape, place): (&ParameterShape, &Place)| {
            let padded = &slabs[place.slab][place.offset..place.offset + floats(shape)];
            dims::unpad_rows(padded, shape.columns)
        };
        self.shapes.iter().zip(&self.places).map(dense).collect()
    }
}

/// The initial weights of a training from scratch, dense, in the order of [`ModelConfig::parameters`].
///
/// N(0, initializer_range) by Philox stream 0, biases 0, gains 1. A convolution starts as the mean of its taps plus
/// N(0, initializer_range / taps). The result depends on config and seed only.
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
                assert!(decays.is_sorted_by(|a, b| a >= b), "tensors with weight decay come first");
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
