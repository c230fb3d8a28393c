//! Memory on the device. Everything is words of 4 bytes; a view names a range; a matrix adds rows, columns and pitch.

use super::Device;
use crate::{Error, Result, dims};
use std::sync::Arc;

/// A buffer on the device.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    name: Arc<str>,
    words: u64,
}

impl Buffer {
    /// `words` words (one at least), zero, named for error messages.
    ///
    /// # Errors
    /// [`Error::Device`] when it passes the device's largest buffer.
    pub fn new(device: &Device, name: &str, words: usize) -> Result<Self> {
        let words = (words as u64).max(64).next_multiple_of(64);
        let limit = device.caps().max_buffer;
        if words * 4 > limit {
            return Err(Error::device(format!("buffer `{name}`: {} bytes, the device allows {limit}", words * 4)));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let size = words * 4;
        let descriptor = wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false };
        let raw = device.make(&format!("buffer `{name}` of {size} bytes"), |d| d.create_buffer(&descriptor))?;
        device.count_bytes(words * 4);
        Ok(Buffer { raw, name: name.into(), words })
    }

    /// All of it.
    pub fn view(&self) -> View {
        View { buffer: self.clone(), name: self.name.clone(), offset: 0, words: self.words }
    }

    /// `words` words from word `offset`, under a name of its own.
    pub fn range(&self, name: &str, offset: usize, words: usize) -> View {
        View { buffer: self.clone(), name: name.into(), offset: offset as u64, words: words as u64 }
    }
}

/// A named range of a buffer: `offset` and `words` in words of 4 bytes.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) buffer: Buffer,
    /// The tensor's name.
    pub name: Arc<str>,
    pub(super) offset: u64,
    /// Its length in words.
    pub words: u64,
}

impl View {
    /// A fresh buffer of its own.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn new(device: &Device, name: &str, words: usize) -> Result<Self> {
        let mut view = Buffer::new(device, name, words)?.view();
        view.words = words.max(1) as u64;
        Ok(view)
    }

    /// Writes words from its start; they are there before the next submission.
    ///
    /// # Errors
    /// [`Error::Device`] when `data` is longer than the view.
    pub fn write<T: bytemuck::Pod>(&self, device: &Device, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if bytes.len() as u64 > self.words * 4 {
            return Err(Error::device(format!("{}: {} bytes written to {} words", self.name, bytes.len(), self.words)));
        }
        device.queue().write_buffer(&self.buffer.raw, self.offset * 4, bytes);
        Ok(())
    }

    /// Reads it all, waiting for the device.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost.
    pub fn read<T: bytemuck::Pod>(&self, device: &Device) -> Result<Vec<T>> {
        super::readback::read(device, self)
    }

    /// The `words` words before and after it in its buffer: where tests put fences.
    pub fn neighbours(&self, words: usize) -> (View, View) {
        let at = |offset| View { buffer: self.buffer.clone(), name: self.name.clone(), offset, words: words as u64 };
        (at(self.offset.saturating_sub(words as u64)), at(self.offset + self.words))
    }

    /// `words` words of it from word `offset`.
    pub fn part(&self, offset: usize, words: usize) -> View {
        View { offset: self.offset + offset as u64, words: words as u64, ..self.clone() }
    }

    pub(super) fn same_buffer(&self, other: &View) -> bool {
        self.buffer.raw == other.buffer.raw
    }

    pub(super) fn overlaps(&self, other: &View) -> bool {
        self.same_buffer(other) && self.offset < other.offset + other.words && other.offset < self.offset + self.words
    }
}

/// A matrix in a buffer: rows of [`dims::pitch`] floats, padding zero.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Where it lies.
    pub view: View,
    /// Rows, at capacity.
    pub rows: usize,
    /// Columns without the padding.
    pub columns: usize,
}

impl Matrix {
    /// A fresh zero matrix.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn new(device: &Device, name: &str, rows: usize, columns: usize) -> Result<Self> {
        Ok(Matrix { view: View::new(device, name, dims::floats(rows, columns))?, rows, columns })
    }

    /// A matrix over an existing range.
    pub fn over(view: View, rows: usize, columns: usize) -> Self {
        Matrix { view, rows, columns }
    }

    /// Rows `first` to `first + rows` of it.
    pub fn rows_from(&self, first: usize, rows: usize) -> Matrix {
        Matrix::over(self.view.part(first * self.pitch(), rows * self.pitch()), rows, self.columns)
    }

    /// Floats from one row to the next.
    pub fn pitch(&self) -> usize {
        dims::pitch(self.columns)
    }

    /// Writes dense rows.
    ///
    /// # Errors
    /// As [`View::write`].
    pub fn write(&self, device: &Device, dense: &[f32]) -> Result<()> {
        self.view.write(device, &dims::pad_rows(dense, self.columns))
    }

    /// Reads dense rows, waiting for the device.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn read(&self, device: &Device) -> Result<Vec<f32>> {
        let padded: Vec<f32> = self.view.read(device)?;
        let rows = self.rows * self.pitch();
        Ok(dims::unpad_rows(&padded[..rows.min(padded.len())], self.columns))
    }
}
