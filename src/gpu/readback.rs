//! Reading device memory: once, blocking or as a future, and in a loop through a ring of staging buffers.

use super::{Device, Matrix, View};
use crate::{Error, Result, dims};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

impl Device {
    /// Completes a future that reads from this device, such as [`View::read_async`]: waits for the device until it is ready.
    ///
    /// # Errors
    /// Those of the future, and [`Error::Device`] if the device is lost.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                return result;
            }
            self.wait()?;
            // The device is done, but another thread that polls it may be about to report the mapping.
            std::thread::yield_now();
        }
    }
}

impl View {
    /// Reads the view after everything submitted so far. Blocks until the device has finished.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost.
    pub fn read<T: bytemuck::Pod>(&self, device: &Device) -> Result<Vec<T>> {
        device.block_on(self.read_async(device))
    }

    /// Reads the view after everything submitted so far, as a future that never blocks: the copy is submitted now, and the
    /// future completes when the caller polls the device ([`wgpu::Device::poll`]) after the copy has finished.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost.
    pub fn read_async<T: bytemuck::Pod>(
        &self,
        device: &Device,
    ) -> impl Future<Output = Result<Vec<T>>> + Send + use<T> {
        let words = read_words(device, &self.name, &self.buffer.raw, self.offset * 4, self.words);
        async move { Ok(bytemuck::cast_slice(&words.await?).to_vec()) }
    }
}

impl Matrix {
    /// Reads all rows without padding, after everything submitted so far. Blocks until the device has finished.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn read(&self, device: &Device) -> Result<Vec<f32>> {
        device.block_on(self.read_async(device))
    }

    /// Reads all rows without padding, as a future that never blocks: see [`View::read_async`].
    ///
    /// # Errors
    /// As [`View::read_async`].
    pub fn read_async(&self, device: &Device) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        let (padded, rows, columns) = (self.view.read_async(device), self.rows, self.columns);
        async move {
            let padded = padded.await?;
            Ok(dims::unpad_rows(&padded[..dims::floats(rows, columns).min(padded.len())], columns))
        }
    }
}

/// Reads `words` words of a buffer from byte `offset` on, as [`View::read_async`] does.
///
/// # Errors
/// [`Error::Device`] if the device is lost.
pub(super) fn read_words(
    device: &Device,
    name: &str,
    buffer: &wgpu::Buffer,
    offset: u64,
    words: u64,
) -> impl Future<Output = Result<Vec<u32>>> + Send + use<> {
    let (device, staging) = (device.clone(), copy_out(device, name, buffer, offset, words));
    async move {
        let words = staging?.words().await;
        device.check()?;
        words
    }
}

/// Submits the copy of `words` words from byte `offset` of a buffer on, and requests the mapping of the copy.
fn copy_out(device: &Device, name: &str, buffer: &wgpu::Buffer, offset: u64, words: u64) -> Result<Mapping> {
    let staging = device.make(&format!("readback of `{name}`"), |d| staging_buffer(d, words as usize))?;
    let mut encoder = device.raw().create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, words * 4);
    let submission = device.queue().submit([encoder.finish()]);
    Ok(Mapping::start(staging, submission))
}

fn staging_buffer(device: &wgpu::Device, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: words as u64 * 4,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// A staging buffer that wgpu is mapping for reading.
struct Mapping {
    buffer: wgpu::Buffer,
    /// The submission with the copy into the buffer.
    submission: wgpu::SubmissionIndex,
    state: Arc<Mutex<MapState>>,
}

#[derive(Default)]
struct MapState {
    result: Option<Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

impl Mapping {
    /// Requests the mapping of a buffer after the copy into it was submitted.
    fn start(buffer: wgpu::Buffer, submission: wgpu::SubmissionIndex) -> Self {
        let state = Arc::<Mutex<MapState>>::default();
        let shared = state.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            let waker = {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.result = Some(result);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Mapping { buffer, submission, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, MapState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The words, if the buffer is mapped by now.
    fn try_words(&self) -> Result<Option<Vec<u32>>> {
        let result = self.state().result.clone();
        match result {
            None => Ok(None),
            Some(Err(e)) => Err(Error::rejected("readback", e)),
            Some(Ok(())) => {
                let range = self.buffer.get_mapped_range(..).map_err(|e| Error::rejected("readback", e))?;
                let bytes: &[u8] = &range;
                let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
                Ok(Some(bytes.chunks_exact(4).map(word).collect()))
            }
        }
    }

    /// The words, after waiting for the copy.
    fn wait(&self, device: &Device) -> Result<Vec<u32>> {
        device.wait_for(&self.submission)?;
        loop {
            if let Some(words) = self.try_words()? {
                return Ok(words);
            }
            // The copy is done, but another thread that polls the device is about to report the mapping.
            std::thread::yield_now();
            device.poll()?;
        }
    }

    /// The words, as soon as the buffer is mapped.
    fn words(&self) -> impl Future<Output = Result<Vec<u32>>> + Send + '_ {
        std::future::poll_fn(|context| {
            {
                let mut state = self.state();
                if state.result.is_none() {
                    state.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
            self.try_words().transpose().map_or(Poll::Pending, Poll::Ready)
        })
    }
}

/// Staging buffers that submissions copy into and the host reads later, so that a loop reads back without waiting.
pub struct Ring {
    device: Device,
    free: Vec<wgpu::Buffer>,
    in_flight: VecDeque<InFlight>,
    words: usize,
    /// When the copy before the oldest in flight finished, and the operations submitted up to it, if that was awaited.
    last_finished: Option<(Instant, f64)>,
}

/// A copy in flight.
struct InFlight {
    mapping: Mapping,
    /// Floating-point operations submitted up to it.
    submitted: f64,
    /// Whether the copy before it was in flight when it was submitted, so that the device went from one to the other.
    follows: bool,
}

impl Ring {
    /// `slots` staging buffers of `words` words.
    pub fn new(device: &Device, words: usize, slots: usize) -> Self {
        let free = (0..slots).map(|_| staging_buffer(device.raw(), words)).collect();
        Ring { device: device.clone(), free, in_flight: VecDeque::new(), words, last_finished: None }
    }

    /// Whether every slot is in flight; then the next copy has to be preceded by [`Ring::wait`].
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Records the copy of the first words of a view into a free slot; `None` if there is none.
    pub(super) fn copy(&mut self, encoder: &mut wgpu::CommandEncoder, view: &View) -> Option<wgpu::Buffer> {
        let slot = self.free.pop()?;
        let (from, offset) = (&view.buffer.raw, view.offset * 4);
        encoder.copy_buffer_to_buffer(from, offset, &slot, 0, self.words as u64 * 4);
        Some(slot)
    }

    /// Puts a slot in flight after its copy was submitted. `flops` are the operations submitted up to it.
    pub(super) fn submitted(&mut self, slot: Option<wgpu::Buffer>, submission: wgpu::SubmissionIndex, flops: f64) {
        let Some(buffer) = slot else { return };
        let (mapping, follows) = (Mapping::start(buffer, submission), !self.in_flight.is_empty());
        self.in_flight.push_back(InFlight { mapping, submitted: flops, follows });
    }

    /// Frees the oldest slot in flight, after its words were read. `finished` is when its copy finished, if known: two such
    /// times of copies that follow each other tell the device's speed.
    fn release_oldest(&mut self, finished: Option<Instant>) {
        let Some(InFlight { mapping, submitted, follows }) = self.in_flight.pop_front() else { return };
        mapping.buffer.unmap();
        self.free.push(mapping.buffer);
        if let (true, Some(now), Some((before, flops))) = (follows, finished, self.last_finished) {
            self.device.budget().measured(submitted - flops, now - before);
        }
        self.last_finished = finished.map(|now| (now, submitted));
    }

    /// The oldest copy, without waiting; `None` if it is not finished or no slot is in flight.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost.
    pub fn take(&mut self) -> Result<Option<Vec<u32>>> {
        self.device.poll()?;
        let Some(oldest) = self.in_flight.front() else { return Ok(None) };
        let words = oldest.mapping.try_words()?;
        if words.is_some() {
            self.release_oldest(None);
        }
        Ok(words)
    }

    /// The oldest copy, waiting for it alone: what was submitted later may still run. `None` if no slot is in flight.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost.
    pub fn wait(&mut self) -> Result<Option<Vec<u32>>> {
        if let Some(words) = self.take()? {
            return Ok(Some(words));
        }
        let Some(oldest) = self.in_flight.front() else { return Ok(None) };
        let words = oldest.mapping.wait(&self.device)?;
        self.release_oldest(Some(Instant::now()));
        Ok(Some(words))
    }

    /// The oldest copy, as a future that never blocks; `None` if no slot is in flight. It completes when the caller polls
    /// the device ([`wgpu::Device::poll`]) after the copy has finished. A dropped future loses no copy.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost.
    pub async fn wait_async(&mut self) -> Result<Option<Vec<u32>>> {
        let Some(oldest) = self.in_flight.front() else { return Ok(None) };
        let words = oldest.mapping.words().await;
        self.device.check()?;
        self.release_oldest(None);
        words.map(Some)
    }
}
