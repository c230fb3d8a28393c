//! Tensors in textures, four floats per texel. Software drivers load a texel for each lane without a branch, many times
//! faster than elements of a buffer. An image is a tensor of its own, unlike the image copies of matrices that a
//! [`super::Recorder`] keeps.

use super::device::within;
use super::{Buffer, Device, Matrix};
use crate::{Error, Result, dims};
use std::sync::Arc;

/// How a matrix is stored in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageLayout {
    /// Each row of the matrix is a row of texels.
    Plain,
    /// Layer i holds columns 64i to 64i + 63 of every row, so that what a group reads of B in A·B is contiguous.
    Panels,
    /// Layer i holds `rows` rows from row i·`rows` on, for matrices with more rows than a texture may have.
    Layers {
        /// Rows of a layer, a multiple of 64.
        rows: u32,
    },
}

/// The number of layers of an array texture that every adapter supports.
const LAYERS: usize = 256;
/// Floats of a texel.
pub(super) const TEXEL: usize = 4;

/// A matrix in a texture, rows of [`dims::pitch`] floats.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) raw: wgpu::Texture,
    pub(super) view: wgpu::TextureView,
    /// The tensor's name.
    pub name: Arc<str>,
    /// Rows.
    pub rows: usize,
    /// Columns without the padding.
    pub columns: usize,
    /// How they are stored.
    pub layout: ImageLayout,
}

impl Image {
    /// Layers of rows for a matrix on a device whose textures have at most `side` texels on a side; `None` if it fits in no
    /// way.
    pub fn layout_of_rows(side: u32, rows: usize, columns: usize) -> Option<ImageLayout> {
        let high = side as usize / dims::PITCH * dims::PITCH;
        let fits = dims::pitch(columns) / TEXEL <= side as usize && rows.div_ceil(high.max(1)) <= LAYERS;
        // As many rows a layer as make the layers equal, within 64 rows.
        let rows = rows.div_ceil(rows.div_ceil(high.max(1)).max(1)).next_multiple_of(dims::PITCH);
        fits.then_some(ImageLayout::Layers { rows: rows as u32 })
    }

    /// Whether a matrix can be stored in panels on a device whose textures have at most `side` texels on a side.
    pub fn fits_in_panels(side: u32, rows: usize, columns: usize) -> bool {
        rows <= side as usize && dims::pitch(columns) / dims::PITCH <= LAYERS
    }

    /// A new image of zeros.
    ///
    /// # Errors
    /// [`Error::Device`] if a side exceeds the device's limit or memory is exhausted.
    pub fn new(device: &Device, name: &str, rows: usize, columns: usize) -> Result<Self> {
        Self::with(device, name, [rows, columns], ImageLayout::Plain)
    }

    /// The current contents of a matrix, in the given layout.
    ///
    /// # Errors
    /// [`Error::Device`] if it does not fit into a texture.
    pub fn of(device: &Device, matrix: &Matrix, layout: ImageLayout) -> Result<Self> {
        let image = Self::with(device, &matrix.view.name, [matrix.rows, matrix.columns], layout)?;
        let mut encoder = device.raw().create_command_encoder(&Default::default());
        image.copy_in(&mut encoder, matrix, 0);
        device.queue().submit([encoder.finish()]);
        Ok(image)
    }

    /// The current contents of matrices with equal columns, one below the other.
    ///
    /// # Errors
    /// [`Error::Device`] if they do not fit into a texture, [`Error::Value`] if they differ in columns.
    pub fn stacked(device: &Device, name: &str, matrices: &[&Matrix]) -> Result<Self> {
        let columns = matrices.first().map_or(1, |m| m.columns);
        if let Some(other) = matrices.iter().find(|m| m.columns != columns) {
            let expected = format!("must be {columns}, as in the others of image `{name}`");
            return Err(Error::value(format!("columns of `{}`", other.view.name), other.columns, expected));
        }
        let rows = matrices.iter().map(|m| m.rows).sum();
        let image = Self::new(device, name, rows, columns)?;
        let mut encoder = device.raw().create_command_encoder(&Default::default());
        let mut first = 0;
        for matrix in matrices {
            image.copy_in(&mut encoder, matrix, first);
            first += matrix.rows as u32;
        }
        device.queue().submit([encoder.finish()]);
        Ok(image)
    }

    fn with(device: &Device, name: &str, [rows, columns]: [usize; 2], layout: ImageLayout) -> Result<Self> {
        let texels = dims::pitch(columns).max(TEXEL) / TEXEL;
        let (width, height, layers) = match layout {
            ImageLayout::Plain => (texels, rows.max(1), 1),
            ImageLayout::Panels => (dims::PITCH / TEXEL, rows.max(1), texels * TEXEL / dims::PITCH),
            ImageLayout::Layers { rows: high } => (texels, high as usize, rows.div_ceil(high.max(1) as usize).max(1)),
        };
        let side = device.caps().max_texture as usize;
        for (quantity, needed, limit) in [("width", width, side), ("height", height, side), ("layers", layers, LAYERS)]
        {
            within(|| format!("image `{name}`: {quantity}"), needed as u64, limit as u64)?;
        }
        let size = wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: layers as u32 };
        let raw = texture(device, name, &format!("image `{name}`"), size, wgpu::TextureUsages::COPY_SRC)?;
        let array = layout != ImageLayout::Plain;
        let view = raw.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(if array { wgpu::TextureViewDimension::D2Array } else { wgpu::TextureViewDimension::D2 }),
            ..Default::default()
        });
        Ok(Image { raw, view, name: name.into(), rows, columns, layout })
    }

    /// Whether it is bound as an array of textures.
    pub(super) fn is_array(&self) -> bool {
        self.layout != ImageLayout::Plain
    }

    /// Copies a matrix's rows to the rows from `first` on.
    pub(super) fn copy_in(&self, encoder: &mut wgpu::CommandEncoder, matrix: &Matrix, first: u32) {
        let (texels, rows) = ((matrix.pitch() / TEXEL) as u32, matrix.rows as u32);
        let mut copy = |float: usize, [y, layer]: [u32; 2], [width, height]: [u32; 2]| {
            encoder.copy_buffer_to_texture(
                matrix_copy(&matrix.view.buffer, matrix.view.offset + float as u64, matrix.pitch()),
                wgpu::TexelCopyTextureInfo {
                    texture: &self.raw,
                    mip_level: 0,
                    origin: wgpu::Origin3d { x: 0, y, z: layer },
                    aspect: wgpu::TextureAspect::All,
                },
                wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            );
        };
        match self.layout {
            ImageLayout::Plain => copy(0, [first, 0], [texels, rows]),
            ImageLayout::Panels => {
                let panel = dims::PITCH;
                (0..matrix.pitch() / panel)
                    .for_each(|i| copy(i * panel, [first, i as u32], [(panel / TEXEL) as u32, rows]));
            }
            ImageLayout::Layers { rows: high } => {
                for (layer, row) in (0..rows).step_by(high as usize).enumerate() {
                    let count = high.min(rows - row);
                    copy(row as usize * matrix.pitch(), [0, layer as u32], [texels, count]);
                }
            }
        }
    }

    /// Copies a plain image's first rows, as many as `matrix` has, out to it.
    pub(super) fn copy_out(&self, encoder: &mut wgpu::CommandEncoder, matrix: &Matrix) {
        encoder.copy_texture_to_buffer(
            self.raw.as_image_copy(),
            matrix_copy(&matrix.view.buffer, matrix.view.offset, matrix.pitch()),
            wgpu::Extent3d {
                width: (matrix.pitch() / TEXEL) as u32,
                height: matrix.rows as u32,
                depth_or_array_layers: 1,
            },
        );
    }
}

/// A new texture of four f32 per texel that kernels bind, that copies write to, and that is used for `more`. An error names
/// it as `what`.
///
/// # Errors
/// [`Error::Device`] if memory is exhausted.
pub(super) fn texture(
    device: &Device,
    name: &str,
    what: &str,
    size: wgpu::Extent3d,
    more: wgpu::TextureUsages,
) -> Result<wgpu::Texture> {
    let usage = wgpu::TextureUsages::TEXTURE_BINDING
        | wgpu::TextureUsages::STORAGE_BINDING
        | wgpu::TextureUsages::COPY_DST
        | more;
    let descriptor = wgpu::TextureDescriptor {
        label: Some(name),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba32Float,
        usage,
        view_formats: &[],
    };
    let texture = device.make(what, |d| d.create_texture(&descriptor))?;
    let texels = [size.width, size.height, size.depth_or_array_layers].map(u64::from).iter().product::<u64>();
    device.count_bytes(texels * TEXEL as u64 * 4);
    Ok(texture)
}

fn matrix_copy(buffer: &Buffer, word: u64, pitch: usize) -> wgpu::TexelCopyBufferInfo<'_> {
    wgpu::TexelCopyBufferInfo {
        buffer: &buffer.raw,
        layout: wgpu::TexelCopyBufferLayout {
            offset: word * 4,
            bytes_per_row: Some(pitch as u32 * 4),
            rows_per_image: None,
        },
    }
}

/// A tensor that one kernel writes and another reads, in the kind of memory that the device reads faster.
#[derive(Clone, Debug)]
pub enum Tensor {
    /// In a buffer.
    Buffer(Matrix),
    /// In a texture.
    Image(Image),
}

impl Tensor {
    /// A new tensor of zeros.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(device: &Device, image: bool, name: &str, rows: usize, columns: usize) -> Result<Self> {
        if image {
            Image::new(device, name, rows, columns).map(Tensor::Image)
        } else {
            Matrix::new(device, name, rows, columns).map(Tensor::Buffer)
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Tensor::Buffer(m) => [m.rows, m.columns],
            Tensor::Image(i) => [i.rows, i.columns],
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Tensor::Buffer(m) => &m.view.name,
            Tensor::Image(i) => &i.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_in_equal_layers() {
        assert_eq!(Image::layout_of_rows(16384, 40478, 768), Some(ImageLayout::Layers { rows: 13504 }));
        assert_eq!(Image::layout_of_rows(16384, 512, 128), Some(ImageLayout::Layers { rows: 512 }));
        assert_eq!(Image::layout_of_rows(8192, 1, 1), Some(ImageLayout::Layers { rows: 64 }));
        assert_eq!(Image::layout_of_rows(8192, 10, 8192 * 4 + 1), None);
        assert!(Image::fits_in_panels(16384, 3072, 768) && !Image::fits_in_panels(8192, 8193, 64));
        assert!(!Image::fits_in_panels(8192, 1, 64 * 256 + 1));
    }
}
