//! Image copies: textures that hold matrices of buffers, for kernels that read images. CPU adapters load texels many times
//! faster than buffer elements.

use super::image::{self, TEXEL};
use super::{Device, Matrix, View};
use crate::Result;

/// The textures of one program. A copy is refreshed before the first read that follows a write to its matrix.
#[derive(Default)]
pub(super) struct ImageCopies(Vec<ImageCopy>);

struct ImageCopy {
    source: View,
    pitch: u32,
    texture: wgpu::Texture,
    texture_view: wgpu::TextureView,
    /// Rows, at capacity, whose values are those of the matrix at this point of the program.
    valid_rows: u32,
}

/// A copy of a matrix's first rows to its texture.
pub(super) struct Refresh {
    source: View,
    pitch: u32,
    texture: wgpu::Texture,
}

impl Refresh {
    /// Records the copy of `rows` rows, at most those of the texture.
    pub fn encode(&self, rows: u32, encoder: &mut wgpu::CommandEncoder) {
        let height = rows.min(self.texture.height());
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo {
                buffer: &self.source.buffer.raw,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: self.source.offset * 4,
                    bytes_per_row: Some(self.pitch * 4),
                    rows_per_image: None,
                },
            },
            self.texture.as_image_copy(),
            wgpu::Extent3d { width: self.pitch / TEXEL as u32, height, depth_or_array_layers: 1 },
        );
    }
}

impl ImageCopies {
    /// Marks the copies of everything that overlaps `written` as out of date.
    pub fn invalidate(&mut self, written: &View) {
        for copy in self.0.iter_mut().filter(|copy| copy.source.overlaps(written)) {
            copy.valid_rows = 0;
        }
    }

    /// The texture of a matrix, of which a kernel reads `rows` rows at capacity, and the refresh that has to come before the
    /// read if the texture is out of date. Makes the texture if there is none of this place, pitch and height.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the matrix is larger than a texture of this device or memory is exhausted.
    pub fn read(
        &mut self,
        device: &Device,
        matrix: &Matrix,
        rows: u32,
    ) -> Result<(wgpu::TextureView, Option<Refresh>)> {
        let pitch = matrix.pitch() as u32;
        let same = |copy: &ImageCopy| {
            let place = copy.source.same_buffer(&matrix.view) && copy.source.offset == matrix.view.offset;
            place && copy.pitch == pitch && copy.texture.height() as usize >= matrix.rows
        };
        let index = match self.0.iter().position(same) {
            Some(index) => index,
            None => {
                self.0.push(ImageCopy::new(device, matrix)?);
                self.0.len() - 1
            }
        };
        let copy = &mut self.0[index];
        let rows = rows.clamp(1, matrix.rows.max(1) as u32);
        let refresh = (copy.valid_rows < rows).then(|| {
            copy.valid_rows = rows;
            Refresh { source: matrix.view.clone(), pitch, texture: copy.texture.clone() }
        });
        Ok((copy.texture_view.clone(), refresh))
    }
}

impl ImageCopy {
    fn new(device: &Device, matrix: &Matrix) -> Result<Self> {
        let (view, pitch) = (&matrix.view, matrix.pitch() as u32);
        let size = wgpu::Extent3d { width: pitch / TEXEL as u32, height: matrix.rows as u32, depth_or_array_layers: 1 };
        let limit = u64::from(device.caps().max_texture);
        for (side, texels) in [("width", size.width), ("height", size.height)] {
            let what = || format!("image copy of `{}`: {side} in texels", view.name);
            super::device::within(what, u64::from(texels), limit)?;
        }
        let what = format!("image copy of `{}`, {} bytes", view.name, matrix.rows as u64 * u64::from(pitch) * 4);
        let texture = image::texture(device, &view.name, &what, size, wgpu::TextureUsages::empty())?;
        let texture_view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Ok(ImageCopy { source: view.clone(), pitch, texture, texture_view, valid_rows: 0 })
    }
}
