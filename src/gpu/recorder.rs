//! The recorder: checks dispatches and copies at capacity and writes them down as a [`Program`].

use super::bind::Bind;
use super::image_copy::ImageCopies;
use super::kernel::Pipeline;
use super::launch::LiveValues;
use super::parameters::Parameters;
use super::program::{Dispatch, Item};
use super::{Device, Image, Launch, Matrix, Program, Variant, View};
use crate::{Error, Result, dims};

/// Records a program and checks every dispatch at capacity.
pub struct Recorder<V: LiveValues> {
    device: Device,
    capacity: V,
    items: Vec<Item<V>>,
    parameters: Parameters,
    image_copies: ImageCopies,
}

impl<V: LiveValues> Recorder<V> {
    /// A recorder. `capacity` holds the largest values that the program will be run with.
    pub fn new(device: &Device, capacity: V) -> Self {
        let (parameters, image_copies) = (Parameters::default(), ImageCopies::default());
        Recorder { device: device.clone(), capacity, items: Vec::new(), parameters, image_copies }
    }

    /// The device that it records for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The largest values that the program will be run with.
    pub fn capacity(&self) -> &V {
        &self.capacity
    }

    /// Fills a view with zeros.
    pub fn clear(&mut self, view: &View) {
        self.image_copies.invalidate(view);
        self.items.push(Item::Clear { view: view.clone() });
    }

    /// Copies `from` over the start of `to`.
    pub fn copy(&mut self, from: &View, to: &View) {
        self.image_copies.invalidate(to);
        self.items.push(Item::Copy { from: from.clone(), to: to.clone() });
    }

    /// Copies a matrix into the first rows of an image of [`ImageLayout::Plain`](super::ImageLayout::Plain).
    ///
    /// # Errors
    /// [`Error::Kernel`] if the image has another layout or other columns, or is too small.
    pub fn copy_into_image(&mut self, from: &Matrix, to: &Image) -> Result<()> {
        check_copy(to, from)?;
        self.items.push(Item::CopyIntoImage { from: from.clone(), to: to.clone() });
        Ok(())
    }

    /// Copies the first rows of an image of [`ImageLayout::Plain`](super::ImageLayout::Plain), as many as `to` has, to a
    /// matrix.
    ///
    /// # Errors
    /// [`Error::Kernel`] if the image has another layout or other columns, or is too small.
    pub fn copy_out_of_image(&mut self, from: &Image, to: &Matrix) -> Result<()> {
        check_copy(from, to)?;
        self.image_copies.invalidate(&to.view);
        self.items.push(Item::CopyOutOfImage { from: from.clone(), to: to.clone() });
        Ok(())
    }

    /// Records a dispatch. Binding 0 is the uniform with the parameters, if the kernel has one; `binds` are the other
    /// bindings in ascending order. `plan` computes the parameters and the grid from the live values.
    ///
    /// # Errors
    /// [`Error::Kernel`] if a tensor does not fit its binding, is written while it is bound a second time, or exceeds a
    /// limit of the device.
    pub fn dispatch(
        &mut self,
        variant: &Variant,
        binds: &[Bind<'_, V::RowCount>],
        plan: impl Fn(&V) -> Launch + Send + Sync + 'static,
    ) -> Result<()> {
        let pipeline = self.device.pipeline(variant)?;
        let launch = plan(&self.capacity);
        self.check_binds(&pipeline, binds)
            .and_then(|()| self.check_launch(&pipeline, &launch))
            .map_err(|message| Error::Kernel { kernel: variant.stem.into(), message })?;
        let operands = binds.iter().map(|bind| self.operand(bind)).collect::<Result<Vec<_>>>()?;
        let bind_group = self.bind_group(variant.stem, &pipeline, &operands);
        for view in binds.iter().filter(|bind| bind.writes()).filter_map(Bind::buffer) {
            self.image_copies.invalidate(view);
        }
        let (stem, most_groups) = (variant.stem, launch.group_count());
        let dispatch = Dispatch { stem, pipeline: pipeline.raw, bind_group, plan: Box::new(plan), most_groups };
        self.items.push(Item::Dispatch(dispatch));
        Ok(())
    }

    /// The program.
    pub fn finish(self) -> Program<V> {
        Program { device: self.device, items: self.items, parameters: self.parameters }
    }

    fn check_launch(&self, pipeline: &Pipeline, launch: &Launch) -> Result<(), String> {
        let expected = pipeline.uniform_bytes().unwrap_or(0);
        if (launch.params.len() as u32).next_multiple_of(16) != expected.next_multiple_of(16) {
            return Err(format!("{} bytes of parameters, the shader has {expected}", launch.params.len()));
        }
        let limit = self.device.caps().max_groups;
        if launch.groups.iter().any(|g| *g > limit) {
            return Err(format!("groups {:?}: the device allows {limit} in a dimension", launch.groups));
        }
        Ok(())
    }

    fn check_binds(&self, pipeline: &Pipeline, binds: &[Bind<'_, V::RowCount>]) -> Result<(), String> {
        let kinds = pipeline.tensors();
        if kinds.len() != binds.len() {
            return Err(format!("{} tensors are bound, the shader has {}", binds.len(), kinds.len()));
        }
        for (i, (bind, (_, kind))) in binds.iter().zip(kinds).enumerate() {
            if !bind.fits(*kind) {
                return Err(format!("`{}` is bound as {}, the shader has {kind:?}", bind.name(), bind.access()));
            }
            if let Some(view) = bind.buffer() {
                self.check_view(view)?;
            }
            if let Bind::Image(matrix, _) = bind {
                self.check_view(&matrix.view)?;
            }
            if let Some(other) = binds[i + 1..].iter().find(|other| bind.conflicts(other)) {
                let (a, b) = (bind.name(), other.name());
                return Err(format!("`{a}` and `{b}` are bound in one buffer or image, and one of them is written"));
            }
        }
        Ok(())
    }

    fn check_view(&self, view: &View) -> Result<(), String> {
        let limit = self.device.caps().max_binding;
        if view.words * 4 > limit {
            return Err(format!("`{}` has {} bytes, the device binds {limit}", view.name, view.words * 4));
        }
        if !view.offset.is_multiple_of(dims::PITCH as u64) {
            return Err(format!(
                "`{}` starts at word {}: expected a multiple of {}",
                view.name,
                view.offset,
                dims::PITCH
            ));
        }
        if (view.offset + view.words) * 4 > view.buffer.raw.size() {
            return Err(format!("`{}` ends past its buffer", view.name));
        }
        Ok(())
    }

    /// What the bind group holds of a tensor. Records the refresh of its image copy if one is needed.
    fn operand(&mut self, bind: &Bind<'_, V::RowCount>) -> Result<Operand> {
        Ok(match bind {
            Bind::Read(view) | Bind::Write(view) | Bind::Update(view) => Operand::Buffer((*view).clone()),
            Bind::ReadImage(image) | Bind::WriteImage(image) | Bind::UpdateImage(image) => {
                Operand::Texture(image.view.clone())
            }
            Bind::Image(matrix, rows) => {
                let at_capacity = self.capacity.row_count(*rows);
                let (texture, refresh) = self.image_copies.read(&self.device, matrix, at_capacity)?;
                self.items.extend(refresh.map(|refresh| Item::Refresh(refresh, *rows)));
                Operand::Texture(texture)
            }
        })
    }

    fn bind_group(&mut self, stem: &str, pipeline: &Pipeline, operands: &[Operand]) -> wgpu::BindGroup {
        let (buffer, offset) = self.parameters.next_slot(&self.device);
        let uniform = pipeline.uniform_bytes().map(|bytes| wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZeroU64::new(u64::from(bytes)),
            }),
        });
        let tensors = operands.iter().zip(pipeline.tensors()).map(|(operand, (binding, _))| wgpu::BindGroupEntry {
            binding: *binding,
            resource: match operand {
                Operand::Texture(view) => wgpu::BindingResource::TextureView(view),
                Operand::Buffer(view) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &view.buffer.raw,
                    offset: view.offset * 4,
                    size: std::num::NonZeroU64::new(view.words * 4),
                }),
            },
        });
        let entries: Vec<_> = uniform.into_iter().chain(tensors).collect();
        let layout = &pipeline.layout;
        self.device.raw().create_bind_group(&wgpu::BindGroupDescriptor { label: Some(stem), layout, entries: &entries })
    }
}

/// A tensor as a bind group holds it.
enum Operand {
    Buffer(View),
    Texture(wgpu::TextureView),
}

fn check_copy(image: &Image, matrix: &Matrix) -> Result<()> {
    if !image.is_array() && matrix.rows <= image.rows && matrix.columns == image.columns && matrix.rows > 0 {
        return Ok(());
    }
    let message = format!(
        "`{}` [{}, {}] and image `{}` [{}, {}], {:?}: expected equal columns, at least as many rows in the image as in the \
         matrix, and ImageLayout::Plain",
        matrix.view.name, matrix.rows, matrix.columns, image.name, image.rows, image.columns, image.layout
    );
    Err(Error::Kernel { kernel: "copy".into(), message })
}
