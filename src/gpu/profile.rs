//! The time of each item of a program: on the device's own clock where it has timestamps, else on the host's.

use super::launch::LiveValues;
use super::program::{Encoder, Item, Program};
use super::readback;
use crate::Result;
use std::time::Instant;

/// The time of one item in [`Program::profile`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Timing {
    /// The kernel's stem; `image_copy`, `clear` or `copy` for other items.
    pub label: &'static str,
    /// Workgroups in x, y and z; 0 for other items.
    pub groups: [u32; 3],
    /// Milliseconds on the device, or, on devices without timestamps, on the host with submission and wait.
    pub ms: f64,
    /// Floating-point operations.
    pub flops: f64,
}

/// Items whose timestamps one query set holds: two each.
const MOST_TIMED: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl<V: LiveValues> Program<V> {
    /// Runs once and times each item. Each dispatch is a compute pass of its own, so the times add up to slightly more than
    /// those of [`Program::run`].
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn profile(&self, values: &V) -> Result<Vec<Timing>> {
        let launches = self.launches(values)?;
        self.parameters.upload(&self.device, &launches);
        let mut rest = launches.iter();
        let mut timings: Vec<Timing> = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let launch = matches!(item, Item::Dispatch(_)).then(|| rest.next()).flatten();
            let (groups, flops) = launch.map_or(([0; 3], 0.0), |launch| (launch.groups, launch.flops));
            timings.push(Timing { label: item.label(), groups, ms: 0.0, flops });
        }
        self.device.wait()?;
        let mut launches = launches.iter();
        let (timestamps, budget) = (self.device.caps().timestamps, self.device.submission_flops());
        let mut first = 0;
        while first < self.items.len() {
            // As many items as one submission and one query set hold; a single one where the host's clock is used.
            let (mut end, mut flops) = (first, 0.0);
            while end < self.items.len() && end - first < if timestamps { MOST_TIMED } else { 1 } && flops <= budget {
                flops += timings[end].flops;
                end += 1;
            }
            let (items, timings) = (&self.items[first..end], &mut timings[first..end]);
            match timestamps {
                true => self.time_on_device(items, values, &mut launches, timings)?,
                false => self.time_on_host(items, values, &mut launches, timings)?,
            }
            first = end;
        }
        Ok(timings)
    }

    fn time_on_host(
        &self,
        items: &[Item<V>],
        values: &V,
        launches: &mut std::slice::Iter<'_, super::Launch>,
        timings: &mut [Timing],
    ) -> Result<()> {
        let mut encoder = Encoder::start(&self.device);
        items.iter().try_for_each(|item| encoder.item(item, values, launches))?;
        let commands = encoder.finish();
        let start = Instant::now();
        self.device.queue().submit([commands]);
        self.device.wait()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        timings.iter_mut().for_each(|timing| timing.ms = ms);
        Ok(())
    }

    fn time_on_device(
        &self,
        items: &[Item<V>],
        values: &V,
        launches: &mut std::slice::Iter<'_, super::Launch>,
        timings: &mut [Timing],
    ) -> Result<()> {
        let count = 2 * items.len() as u32;
        let set = self.device.make("timestamps", |device| {
            device.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count })
        })?;
        let size = u64::from(count) * wgpu::QUERY_SIZE as u64;
        let resolved = self.device.make("timestamps", |device| {
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        })?;
        let mut encoder = Encoder::start(&self.device);
        for (i, item) in items.iter().enumerate() {
            encoder.timed_item(item, values, launches, &set, 2 * i as u32)?;
        }
        encoder.copies().resolve_query_set(&set, 0..count, &resolved, 0);
        self.device.queue().submit([encoder.finish()]);
        let words = self.device.block_on(readback::read_words(&self.device, "timestamps", &resolved, 0, size / 4))?;
        let period = f64::from(self.device.queue().get_timestamp_period());
        let tick = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
        for (i, timing) in timings.iter_mut().enumerate() {
            timing.ms = tick(2 * i + 1).saturating_sub(tick(2 * i)) as f64 * period * 1e-6;
        }
        Ok(())
    }
}
