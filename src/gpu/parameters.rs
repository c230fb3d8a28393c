//! The uniform buffers of a program: one slot of [`SLOT`] bytes for each dispatch, uploaded at the start of every run.

use super::{Device, Launch};
use crate::{Error, Result};

/// Bytes of a slot: the alignment of a uniform's offset, and the most parameters that a kernel can have.
const SLOT: usize = 256;
/// Slots of a buffer.
const SLOTS: usize = 1024;

/// Uniform buffers of equal size, filled slot by slot while a program is recorded.
#[derive(Default)]
pub(super) struct Parameters {
    buffers: Vec<wgpu::Buffer>,
    /// Slots at the start that belong to another program.
    first: usize,
    slots: usize,
}

impl Parameters {
    /// Slots behind those of another program, so that both programs' are uploaded at once.
    pub fn behind(other: &Parameters) -> Self {
        Parameters { buffers: other.buffers.clone(), first: other.first + other.slots, slots: 0 }
    }

    /// The next dispatch's slot: its buffer and the offset in bytes.
    pub fn next_slot(&mut self, device: &Device) -> (&wgpu::Buffer, u64) {
        let slot = self.first + self.slots;
        if slot / SLOTS == self.buffers.len() {
            self.buffers.push(device.raw().create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: (SLOTS * SLOT) as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        self.slots += 1;
        (&self.buffers[slot / SLOTS], (slot % SLOTS * SLOT) as u64)
    }

    /// The parts of each buffer, with offset and bytes, that these launches' parameters fill from the first slot on.
    fn parts(&self, launches: &[Launch]) -> Vec<(&wgpu::Buffer, u64, Vec<u8>)> {
        let (mut parts, mut slot, mut rest) = (Vec::new(), self.first, launches);
        while !rest.is_empty() {
            let (here, later) = rest.split_at(rest.len().min(SLOTS - slot % SLOTS));
            let mut bytes = vec![0; here.len() * SLOT];
            for (place, launch) in bytes.chunks_exact_mut(SLOT).zip(here) {
                place[..launch.params.len()].copy_from_slice(&launch.params);
            }
            parts.push((&self.buffers[slot / SLOTS], (slot % SLOTS * SLOT) as u64, bytes));
            (slot, rest) = (slot + here.len(), later);
        }
        parts
    }

    /// Uploads the parameters of every dispatch. They are in place before the next submission.
    pub fn upload(&self, device: &Device, launches: &[Launch]) {
        for (buffer, offset, bytes) in self.parts(launches) {
            device.queue().write_buffer(buffer, offset, &bytes);
        }
    }

    /// Whether these slots are directly behind those of another program.
    pub fn is_behind(&self, other: &Parameters) -> bool {
        self.first == other.first + other.slots && self.buffers.starts_with(&other.buffers)
    }

    /// Uploads the parameters of this program, whose slots are behind those of `other`, together with that program's:
    /// `launches` are those of `other`, then those of this one.
    pub fn upload_with(&self, other: &Parameters, device: &Device, launches: &[Launch]) {
        let both = Parameters { buffers: self.buffers.clone(), first: other.first, slots: other.slots + self.slots };
        both.upload(device, launches);
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
        for (buffer, offset, bytes) in self.parts(launches) {
            let descriptor = wgpu::BufferDescriptor {
                label: Some("parameters of an encoded program"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::MAP_WRITE,
                mapped_at_creation: true,
            };
            let staging = device.make("parameters of an encoded program", |d| d.create_buffer(&descriptor))?;
            let mut mapped =
                staging.get_mapped_range_mut(..).map_err(|e| Error::rejected("mapping of parameters", e))?;
            mapped.copy_from_slice(&bytes);
            drop(mapped);
            staging.unmap();
            encoder.copy_buffer_to_buffer(&staging, 0, buffer, offset, bytes.len() as u64);
        }
        Ok(())
    }
}
