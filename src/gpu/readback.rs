//! From the device back: one awaited read for tests and checkpoints, a ring of staging buffers for the loop.

use super::{Device, View};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::mpsc;

pub(super) fn read<T: bytemuck::Pod>(device: &Device, view: &View) -> Result<Vec<T>> {
    let mut ring = Ring::new(device, view.words as usize, 1);
    let mut encoder = device.raw().create_command_encoder(&Default::default());
    let slot = ring.copy(&mut encoder, view);
    device.queue().submit([encoder.finish()]);
    ring.submitted(slot);
    device.wait()?;
    let words = ring.take()?.ok_or_else(|| Error::device(format!("{}: nothing was read back", view.name)))?;
    Ok(bytemuck::cast_slice(&words).to_vec())
}

type Mapped = mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>;

/// Staging buffers that a submission copies into and the host reads when they are there: a few steps late, never awaited
/// in the loop.
pub struct Ring {
    device: Device,
    free: Vec<wgpu::Buffer>,
    flying: VecDeque<(wgpu::Buffer, Mapped)>,
    words: usize,
}

impl Ring {
    /// `slots` staging buffers of `words` words.
    pub fn new(device: &Device, words: usize, slots: usize) -> Self {
        let make = |_| {
            device.raw().create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: words as u64 * 4,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        Ring { device: device.clone(), free: (0..slots).map(make).collect(), flying: VecDeque::new(), words }
    }

    /// Whether every slot is in flight: then [`Ring::wait`] before the next copy.
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn copy(&mut self, encoder: &mut wgpu::CommandEncoder, view: &View) -> Option<wgpu::Buffer> {
        let slot = self.free.pop()?;
        encoder.copy_buffer_to_buffer(&view.buffer.raw, view.offset * 4, &slot, 0, self.words as u64 * 4);
        Some(slot)
    }

    pub(super) fn submitted(&mut self, slot: Option<wgpu::Buffer>) {
        let Some(slot) = slot else { return };
        let (tell, mapped) = mpsc::channel();
        slot.map_async(wgpu::MapMode::Read, .., move |result| drop(tell.send(result)));
        self.flying.push_back((slot, mapped));
    }

    /// The oldest copy, if it is there; `None` when it is not, or nothing flies.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost.
    pub fn take(&mut self) -> Result<Option<Vec<u32>>> {
        self.device.poll()?;
        let Some((_, mapped)) = self.flying.front() else { return Ok(None) };
        match mapped.try_recv() {
            Err(mpsc::TryRecvError::Empty) => return Ok(None),
            Err(e) => return Err(Error::device(e.to_string())),
            Ok(Err(e)) => return Err(Error::device(format!("readback: {e}"))),
            Ok(Ok(())) => {}
        }
        let Some((slot, _)) = self.flying.pop_front() else { return Ok(None) };
        let words = {
            let range = slot.get_mapped_range(..).map_err(|e| Error::device(format!("readback: {e}")))?;
            let bytes: &[u8] = &range;
            bytes.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        slot.unmap();
        self.free.push(slot);
        Ok(Some(words))
    }

    /// The oldest copy, awaited; `None` when nothing flies.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost.
    pub fn wait(&mut self) -> Result<Option<Vec<u32>>> {
        if self.flying.is_empty() {
            return Ok(None);
        }
        if let Some(words) = self.take()? {
            return Ok(Some(words));
        }
        self.device.wait()?;
        self.take()
    }
}
