//! How a dispatch uses its tensors.

use super::wgsl::BindingKind;
use super::{Image, Matrix, View};

/// A tensor of a dispatch and how the kernel uses it. `R` is the row count of the program's live values,
/// [`LiveValues::RowCount`](super::LiveValues::RowCount).
#[derive(Clone, Copy, Debug)]
pub enum Bind<'a, R> {
    /// `var<storage, read>`
    Read(&'a View),
    /// `var<storage, read_write>`. The kernel writes every element that is read later.
    Write(&'a View),
    /// `var<storage, read_write>`. The kernel reads elements and writes them.
    Update(&'a View),
    /// Read through the image copy of the matrix; in each run, the given number of rows is copied.
    Image(&'a Matrix, R),
    /// `texture_storage_2d<rgba32float, read>` or `texture_2d<f32>`, over an image.
    ReadImage(&'a Image),
    /// `texture_storage_2d<rgba32float, write>`
    WriteImage(&'a Image),
    /// `texture_storage_2d<rgba32float, read_write>`
    UpdateImage(&'a Image),
}

impl<R> Bind<'_, R> {
    /// The tensor's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Bind::Read(v) | Bind::Write(v) | Bind::Update(v) => &v.name,
            Bind::Image(m, _) => &m.view.name,
            Bind::ReadImage(i) | Bind::WriteImage(i) | Bind::UpdateImage(i) => &i.name,
        }
    }

    /// The name of this way of binding.
    pub(super) fn access(&self) -> &'static str {
        match self {
            Bind::Read(_) => "Read",
            Bind::Write(_) => "Write",
            Bind::Update(_) => "Update",
            Bind::Image(..) => "Image",
            Bind::ReadImage(_) => "ReadImage",
            Bind::WriteImage(_) => "WriteImage",
            Bind::UpdateImage(_) => "UpdateImage",
        }
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self, Bind::Write(_) | Bind::Update(_) | Bind::WriteImage(_) | Bind::UpdateImage(_))
    }

    /// The view that is bound as a storage buffer, if any.
    pub(super) fn buffer(&self) -> Option<&View> {
        match self {
            Bind::Read(v) | Bind::Write(v) | Bind::Update(v) => Some(v),
            _ => None,
        }
    }

    /// The image that is bound, if any; not an image copy.
    pub(super) fn image(&self) -> Option<&Image> {
        match self {
            Bind::ReadImage(i) | Bind::WriteImage(i) | Bind::UpdateImage(i) => Some(i),
            _ => None,
        }
    }

    /// Whether a shader's binding of this kind accepts it.
    pub(super) fn fits(&self, kind: BindingKind) -> bool {
        match self {
            Bind::Read(_) => kind == BindingKind::Read,
            Bind::Write(_) | Bind::Update(_) => kind == BindingKind::ReadWrite,
            Bind::Image(..) => matches!(kind, BindingKind::StorageImage | BindingKind::SampledImage),
            Bind::ReadImage(i) if i.is_array() => kind == BindingKind::StorageArray,
            Bind::ReadImage(_) => matches!(kind, BindingKind::StorageImage | BindingKind::SampledImage),
            Bind::WriteImage(i) => kind == BindingKind::WriteImage && !i.is_array(),
            Bind::UpdateImage(i) => kind == BindingKind::UpdateImage && !i.is_array(),
        }
    }

    /// Whether both use the same buffer or image, and one of them writes it: wgpu refuses that in one dispatch.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let buffer = self.buffer().zip(other.buffer()).is_some_and(|(a, b)| a.same_buffer(b));
        let image = self.image().zip(other.image()).is_some_and(|(a, b)| a.raw == b.raw);
        (buffer || image) && (self.writes() || other.writes())
    }
}
