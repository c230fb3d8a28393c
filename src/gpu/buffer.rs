//! Memory on the device. All of it consists of words of 4 bytes: a view is a named range of words, a matrix adds rows,
//! columns and a pitch.

use super::Device;
use super::device::within;
use crate::{Error, Result, dims};
use std::sync::{Arc, Mutex, PoisonError};

/// How a buffer is used: bound by kernels, written and read by the host.
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Bytes that the start of every view is a multiple of: WebGPU's alignment of storage bindings and of the rows of
/// buffer-to-texture copies.
const ALIGNMENT: u64 = dims::PITCH as u64 * 4;

/// A buffer on the device.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    name: Arc<str>,
    words: u64,
    half_copies: Arc<Mutex<Vec<HalfCopy>>>,
}

/// A range of a buffer with its copy in 16 bits.
#[derive(Clone, Debug)]
struct HalfCopy {
    offset: u64,
    words: u64,
    scaled: bool,
    copy: View,
}

impl Buffer {
    /// A buffer of at least `words` zeros. The name is used in error messages.
    ///
    /// # Errors
    /// [`Error::Device`] if it exceeds the largest buffer of the device or memory is exhausted.
    pub fn new(device: &Device, name: &str, words: usize) -> Result<Self> {
        let words = (words as u64).max(64).next_multiple_of(64);
        let size = words * 4;
        within(|| format!("buffer `{name}`: bytes"), size, device.caps().max_buffer)?;
        let descriptor = wgpu::BufferDescriptor { label: Some(name), size, usage: USAGE, mapped_at_creation: false };
        let raw = device.make(&format!("buffer `{name}` of {size} bytes"), |d| d.create_buffer(&descriptor))?;
        device.count_bytes(size);
        Ok(Buffer { raw, name: name.into(), words, half_copies: Arc::default() })
    }

    /// The whole buffer.
    pub fn view(&self) -> View {
        View { buffer: self.clone(), name: self.name.clone(), offset: 0, words: self.words }
    }

    /// `words` words from word `offset` on, with a name.
    pub fn range(&self, name: &str, offset: usize, words: usize) -> View {
        View { buffer: self.clone(), name: name.into(), offset: offset as u64, words: words as u64 }
    }
}

/// A named range of a buffer. `offset` and `words` count words of 4 bytes.
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
    /// A view of a new buffer.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn new(device: &Device, name: &str, words: usize) -> Result<Self> {
        let mut view = Buffer::new(device, name, words)?.view();
        view.words = words.max(1) as u64;
        Ok(view)
    }

    /// A range of the caller's own buffer, which must belong to the device that programs are recorded for: `words` words
    /// from byte `offset` on. Nothing is copied.
    ///
    /// # Errors
    /// [`BufferError`] if the usage flags, the offset or the size do not fit.
    pub fn from_wgpu(name: &str, buffer: &wgpu::Buffer, offset: u64, words: usize) -> Result<Self, BufferError> {
        let name: Arc<str> = name.into();
        let missing = USAGE.difference(buffer.usage());
        if !missing.is_empty() {
            return Err(BufferError::Usage { name, missing });
        }
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(BufferError::Offset { name, found: offset, alignment: ALIGNMENT });
        }
        let (words, size) = (words.max(1) as u64, buffer.size());
        let needed = words.checked_mul(4).and_then(|bytes| bytes.checked_add(offset)).unwrap_or(u64::MAX);
        if needed > size {
            return Err(BufferError::Size { name, found: size, needed });
        }
        let buffer = Buffer { raw: buffer.clone(), name: name.clone(), words: size / 4, half_copies: Arc::default() };
        Ok(View { buffer, name, offset: offset / 4, words })
    }

    /// Writes words from the start of the view. They are in place before the next submission.
    ///
    /// # Errors
    /// [`Error::Device`] if `data` is longer than the view.
    pub fn write<T: bytemuck::Pod>(&self, device: &Device, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        within(|| format!("write to `{}`: bytes", self.name), bytes.len() as u64, self.words * 4)?;
        device.queue().write_buffer(&self.buffer.raw, self.offset * 4, bytes);
        Ok(())
    }

    /// The `words` words before and after it in its buffer, where tests put guard values.
    pub fn neighbors(&self, words: usize) -> (View, View) {
        let at = |offset| View { buffer: self.buffer.clone(), name: self.name.clone(), offset, words: words as u64 };
        (at(self.offset.saturating_sub(words as u64)), at(self.offset + self.words))
    }

    /// `words` words of it from word `offset` on.
    pub fn part(&self, offset: usize, words: usize) -> View {
        View { offset: self.offset + offset as u64, words: words as u64, ..self.clone() }
    }

    /// The range of several views, if each but the first begins where the view before it ends.
    pub fn joined(views: &[&View]) -> Option<View> {
        let adjacent =
            |pair: &[&View]| pair[0].same_buffer(pair[1]) && pair[0].offset + pair[0].words == pair[1].offset;
        let all_adjacent = views.windows(2).all(adjacent);
        let words = views.iter().map(|view| view.words).sum();
        views.first().filter(|_| all_adjacent).map(|first| View { words, ..(*first).clone() })
    }

    /// The word of `outer` at which this view begins, if it lies in it.
    pub fn start_in(&self, outer: &View) -> Option<u32> {
        let lies = self.same_buffer(outer) && self.offset >= outer.offset;
        let within = lies && self.offset + self.words <= outer.offset + outer.words;
        within.then(|| (self.offset - outer.offset) as u32)
    }

    /// The buffer for its numbers in 16 bits, of half as many words: one for all programs, made at the first call. `scaled`
    /// tells the copy whose numbers are scaled from the one whose are not.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub(super) fn half_copy(&self, device: &Device, scaled: bool) -> Result<View> {
        let mut all = self.buffer.half_copies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |own: &&HalfCopy| (own.offset, own.words, own.scaled) == (self.offset, self.words, scaled);
        if let Some(own) = all.iter().find(is_own) {
            return Ok(own.copy.clone());
        }
        let copy = View::new(device, &format!("half copy of `{}`", self.name), self.words.div_ceil(2) as usize)?;
        all.push(HalfCopy { offset: self.offset, words: self.words, scaled, copy: copy.clone() });
        Ok(copy)
    }

    pub(super) fn same_buffer(&self, other: &View) -> bool {
        self.buffer.raw == other.buffer.raw
    }

    pub(super) fn overlaps(&self, other: &View) -> bool {
        self.same_buffer(other) && self.offset < other.offset + other.words && other.offset < self.offset + self.words
    }
}

/// A matrix in a buffer: rows of [`dims::pitch`] floats. The floats past the columns are zero.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The range of the buffer.
    pub view: View,
    /// Rows at capacity.
    pub rows: usize,
    /// Columns without the padding.
    pub columns: usize,
}

/// Where a matrix is stored in a buffer of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes before the first row; a multiple of 256.
    pub offset: u64,
    /// Rows.
    pub rows: usize,
    /// Columns without the padding.
    pub columns: usize,
    /// Floats from the start of a row to the start of the next: [`dims::pitch`] of the columns, since kernels read whole
    /// vectors and whole 256-byte lines.
    pub pitch: usize,
}

impl Matrix {
    /// A new matrix of zeros.
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

    /// A matrix in the caller's own buffer of 32-bit floats, which must belong to the device that programs are recorded for.
    /// Nothing is copied. In a matrix that kernels read, the floats between the last column and the next row must be zero.
    ///
    /// # Errors
    /// [`BufferError`] if the usage flags, the offset, the size, the shape or the pitch do not fit.
    pub fn from_wgpu(name: &str, buffer: &wgpu::Buffer, place: Placement) -> Result<Self, BufferError> {
        let Placement { offset, rows, columns, pitch } = place;
        if rows == 0 || columns == 0 {
            return Err(BufferError::Shape { name: name.into(), rows, columns });
        }
        let expected = dims::pitch(columns);
        if pitch != expected {
            return Err(BufferError::Pitch { name: name.into(), columns, found: pitch, expected });
        }
        let view = View::from_wgpu(name, buffer, offset, rows.saturating_mul(pitch))?;
        Ok(Matrix { view, rows, columns })
    }

    /// The rows from `first` to `first + rows`.
    pub fn rows_from(&self, first: usize, rows: usize) -> Matrix {
        Matrix::over(self.view.part(first * self.pitch(), rows * self.pitch()), rows, self.columns)
    }

    /// Floats from the start of a row to the start of the next.
    pub fn pitch(&self) -> usize {
        dims::pitch(self.columns)
    }

    /// Writes rows without padding.
    ///
    /// # Errors
    /// As [`View::write`].
    pub fn write(&self, device: &Device, dense: &[f32]) -> Result<()> {
        self.view.write(device, &dims::pad_rows(dense, self.columns))
    }
}

/// Why a buffer of the caller cannot be used as a view or a matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// The buffer was created without a usage that is needed.
    #[error("buffer of `{name}`: usage {missing:?} is missing")]
    Usage {
        /// The tensor's name.
        name: Arc<str>,
        /// The missing flags of STORAGE, COPY_SRC and COPY_DST.
        missing: wgpu::BufferUsages,
    },
    /// The offset is not aligned.
    #[error("offset of `{name}`: {found} bytes, expected a multiple of {alignment}")]
    Offset {
        /// The tensor's name.
        name: Arc<str>,
        /// The offset in bytes.
        found: u64,
        /// What it has to be a multiple of.
        alignment: u64,
    },
    /// The buffer is too small.
    #[error("buffer of `{name}`: {found} bytes, expected at least {needed}")]
    Size {
        /// The tensor's name.
        name: Arc<str>,
        /// Bytes of the buffer.
        found: u64,
        /// Bytes of offset and tensor together.
        needed: u64,
    },
    /// A matrix has no rows or no columns.
    #[error("shape of `{name}`: [{rows}, {columns}], expected at least [1, 1]")]
    Shape {
        /// The tensor's name.
        name: Arc<str>,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// The rows are not stored at the distance that kernels expect.
    #[error("pitch of `{name}`: {found} floats, expected {expected} for {columns} columns (the next multiple of 64)")]
    Pitch {
        /// The tensor's name.
        name: Arc<str>,
        /// Columns.
        columns: usize,
        /// The pitch in floats.
        found: usize,
        /// The one pitch that kernels can read: [`dims::pitch`] of the columns.
        expected: usize,
    },
}

impl From<BufferError> for Error {
    fn from(error: BufferError) -> Self {
        match error {
            BufferError::Usage { name, missing } => {
                let expected = format!("expected {USAGE:?}");
                Error::value(format!("usage of the buffer of `{name}`"), format!("without {missing:?}"), expected)
            }
            BufferError::Offset { name, found, alignment } => {
                let expected = format!("expected a multiple of {alignment} bytes");
                Error::value(format!("offset of `{name}`"), found, expected)
            }
            BufferError::Size { name, found, needed } => {
                let expected = format!("expected at least {needed} bytes");
                Error::value(format!("size of the buffer of `{name}`"), found, expected)
            }
            BufferError::Shape { name, rows, columns } => {
                Error::value(format!("shape of `{name}`"), format!("[{rows}, {columns}]"), "expected at least [1, 1]")
            }
            BufferError::Pitch { name, columns, found, expected } => {
                let expected = format!("expected {expected} floats for {columns} columns, the next multiple of 64");
                Error::value(format!("pitch of `{name}`"), found, expected)
            }
        }
    }
}
