//! How much of its devices a run uses: the rate of arithmetic, its share of the peak, and the memory.

use super::metrics::Utilization;
use crate::config::ModelConfig;
use crate::gpu::{Caps, Device, Peak};
use crate::model::step_flops;
use crate::ops::kernels::Precision;

/// Turns tokens per second into [`Utilization`].
pub(super) struct Meter {
    /// Floating-point operations of a training step for each token, in sequences of the longest length.
    flops_per_token: f64,
    /// The peak of all devices together, in FLOP/s, where it is known for each.
    peak: Option<f64>,
    devices: Vec<Device>,
    /// The memory of the device of this process that uses most.
    device_bytes: u64,
}

/// The peak of an adapter in FLOP/s, for the number types of a run's products.
pub(super) fn peak(caps: &Caps, precision: Precision) -> Option<f64> {
    let peak = Peak::of(caps)?;
    let on_matrix_units = precision != Precision::F32 && caps.multiplies_halves();
    Some(1e12 * peak.mixed.filter(|_| on_matrix_units).unwrap_or(peak.f32))
}

impl Meter {
    /// For a model, the peak of all devices, and those of this process.
    pub(super) fn new(model: &ModelConfig, peak: Option<f64>, devices: Vec<Device>) -> Self {
        const TOKENS: usize = 1 << 16;
        let flops_per_token = step_flops(model, TOKENS) / TOKENS as f64;
        let mut meter = Meter { flops_per_token, peak, devices, device_bytes: 0 };
        meter.measure_memory();
        meter
    }

    /// Asks the devices for their memory. It changes little while a run trains.
    pub(super) fn measure_memory(&mut self) {
        self.device_bytes = self.devices.iter().map(Device::bytes_in_use).max().unwrap_or(0);
    }

    /// What a speed means.
    pub(super) fn at(&self, tokens_per_second: f64) -> Utilization {
        let flops = tokens_per_second * self.flops_per_token;
        Utilization { gflops: flops / 1e9, mfu: self.peak.map(|peak| flops / peak), device_bytes: self.device_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_the_units_that_multiply() {
        let caps = |name: &str| Caps { name: name.into(), ..Caps::webgpu_defaults() };
        let mut card = caps("NVIDIA GeForce RTX 4090");
        assert_eq!(peak(&card, Precision::Auto), Some(82.6e12), "without matrix units in the driver");
        (card.cooperative, card.f16, card.subgroup) = (vec![crate::gpu::caps::HALF_FRAGMENTS.into()], true, (32, 32));
        assert_eq!(peak(&card, Precision::F32), Some(82.6e12));
        assert_eq!(peak(&card, Precision::Auto), Some(165.2e12));
        assert_eq!(peak(&caps("llvmpipe"), Precision::F32), None);
    }

    #[test]
    fn a_share_of_the_peak_follows_from_the_speed() {
        let meter = Meter { flops_per_token: 5e6, peak: Some(1e12), devices: Vec::new(), device_bytes: 7 };
        assert_eq!(meter.at(1e5), Utilization { gflops: 500.0, mfu: Some(0.5), device_bytes: 7 });
        let unknown = Meter { peak: None, ..meter };
        assert_eq!(unknown.at(0.0), Utilization { gflops: 0.0, mfu: None, device_bytes: 7 });
    }
}
