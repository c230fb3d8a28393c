//! The uniform buffers of a program: one slot of [`SLOT`] bytes for each dispatch, uploaded at the start of every run.

use super::{Device, Launch};
use crate::{Error, Result};

/// Bytes of a slot: the alignment of a uniform's offset, and the most parameters that a kernel can have.
const SLOT: usize = 256;
/// Slots of a buffer.
const SLOTS: usize = 256;

/// Uniform buffers of equal size, filled slot by slot while a program is recorded.
#[derive(Default)]
pub(super) struct Parameters {
    buffers: Vec<wgpu::Buffer>,
    slots: usize,
}

impl Parameters {
    /// The next dispatch's slot: its buffer and the offset in bytes.
    pub fn next_slot(&mut self, device: &Device) -> (&wgpu::Buffer, u64) {
        let place = self.slots % SLOTS;
        if place == 0 {
            self.buffers.push(device.raw().create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: (SLOTS * SLOT) as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        self.slots += 1;
        (&self.buffers[self.buffers.len() - 1], (place * SLOT) as u64)
    }

    /// The bytes of all slots, a part for each buffer.
    fn bytes(&self, launches: &[Launch]) -> Vec<u8> {
        let mut bytes = vec![0; self.slots * SLOT];
        for (slot, launch) in bytes.chunks_exact_mut(SLOT).zip(launches) {
            slot[..launch.params.len()].copy_from_slice(&launch.params);
        }
        bytes
    }

    /// Uploads the parameters of every dispatch. They are in place before the next submission.
    pub fn upload(&self, device: &Device, launches: &[Launch]) {
        let bytes = self.bytes(launches);
        for (buffer, part) in self.buffers.iter().zip(bytes.chunks(SLOTS * SLOT)) {
            device.queue().write_buffer(buffer, 0, part);
        }
    }

    /// Records the upload as a copy, so that it takes place at this point of the encoder's commands.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no memory for the bytes.
    pub fn encode_upload(
        &self,
        device: &Device,
        launches: &[Launch],
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<()> {
        let bytes = self.bytes(launches);
        for (buffer, part) in self.buffers.iter().zip(bytes.chunks(SLOTS * SLOT)) {
            let descriptor = wgpu::BufferDescriptor {
                label: Some("parameters of an encoded program"),
                size: part.len() as u64,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::MAP_WRITE,
                mapped_at_creation: true,
            };
            let staging = device.make("parameters of an encoded program", |d| d.create_buffer(&descriptor))?;
            staging.get_mapped_range_mut(..).map_err(|e| Error::device(e.to_string()))?.copy_from_slice(part);
            staging.unmap();
            encoder.copy_buffer_to_buffer(&staging, 0, buffer, 0, part.len() as u64);
        }
        Ok(())
    }
}
