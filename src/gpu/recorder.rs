//! The recorder: checks dispatches and copies at capacity and writes them down as a [`Program`].

use super::bind::Bind;
use super::half_copy::CurrentCopies;
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
    half_copies: CurrentCopies<V::RowCount>,
}

impl<V: LiveValues> Recorder<V> {
    /// A recorder. `capacity` holds the largest values that the program will be run with.
    pub fn new(device: &Device, capacity: V) -> Self {
        Recorder {
            device: device.clone(),
            capacity,
            items: Vec::new(),
            parameters: Parameters::default(),
            image_copies: ImageCopies::default(),
            half_copies: CurrentCopies::default(),
        }
    }

    /// A recorder of a program that [`Program::run_after_and_read`] runs after `first`: the parameters of both are then
    /// uploaded at once.
    pub fn after(first: &Program<V>, capacity: V) -> Self {
        Recorder { parameters: Parameters::behind(&first.parameters), ..Recorder::new(&first.device, capacity) }
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
        self.invalidate(view);
        self.items.push(Item::Clear { view: view.clone() });
    }

    /// Copies `from` over the start of `to`.
    pub fn copy(&mut self, from: &View, to: &View) {
        self.invalidate(to);
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
        self.invalidate(&to.view);
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
        self.check_binds(variant.stem, &pipeline, binds)?;
        self.check_launch(variant.stem, &pipeline, &launch)?;
        let operands = binds.iter().map(|bind| self.operand(bind)).collect::<Result<Vec<_>>>()?;
        let bind_group = self.bind_group(variant.stem, &pipeline, &operands);
        for view in binds.iter().filter(|bind| bind.writes()).filter_map(Bind::buffer) {
            self.invalidate(view);
        }
        let (stem, most_groups) = (variant.stem, launch.group_count());
        let dispatch = Dispatch { stem, pipeline, bind_group, plan: Box::new(plan), most_groups };
        self.items.push(Item::Dispatch(dispatch));
        Ok(())
    }

    /// The half copy of the first `rows` rows of a matrix: a view of half as many words. `fill` records the dispatch that writes
    /// it, and is called where the copy does not have these rows as they are at this point of the program. `scaled` tells the
    /// copy whose numbers are scaled from the one whose are not.
    ///
    /// # Errors
    /// Those of `fill`, and [`Error::Device`] if memory is exhausted.
    pub fn half_copy(
        &mut self,
        matrix: &Matrix,
        rows: V::RowCount,
        scaled: bool,
        fill: impl FnOnce(&mut Self, &View) -> Result<()>,
    ) -> Result<View> {
        let copy = matrix.view.half_copy(&self.device, scaled)?;
        if !self.half_copies.has(matrix, &copy, &rows) {
            fill(self, &copy)?;
            self.half_copies.add(matrix, &copy, rows);
        }
        Ok(copy)
    }

    /// Notes that a view is written: its copies are out of date.
    fn invalidate(&mut self, written: &View) {
        self.image_copies.invalidate(written);
        self.half_copies.invalidate(written);
    }

    /// The program.
    pub fn finish(self) -> Program<V> {
        Program { device: self.device, items: self.items, parameters: self.parameters }
    }

    fn check_launch(&self, stem: &str, pipeline: &Pipeline, launch: &Launch) -> Result<()> {
        let expected = pipeline.uniform_bytes().unwrap_or(0);
        if (launch.params.len() as u32).next_multiple_of(16) != expected.next_multiple_of(16) {
            let found = format!("{} bytes of parameters", launch.params.len());
            return Err(Error::kernel(stem, found).expected(format!("the shader has {expected}")));
        }
        let limit = self.device.caps().max_groups;
        if launch.groups.iter().any(|g| *g > limit) {
            let found = format!("groups {:?}", launch.groups);
            return Err(Error::kernel(stem, found).expected(format!("the device allows {limit} in a dimension")));
        }
        Ok(())
    }

    fn check_binds(&self, stem: &str, pipeline: &Pipeline, binds: &[Bind<'_, V::RowCount>]) -> Result<()> {
        let kinds = pipeline.tensors();
        if kinds.len() != binds.len() {
            let found = format!("{} tensors are bound", binds.len());
            return Err(Error::kernel(stem, found).expected(format!("the shader has {}", kinds.len())));
        }
        for (i, (bind, (_, kind))) in binds.iter().zip(kinds).enumerate() {
            if !bind.fits(*kind) {
                let error = Error::kernel(stem, format!("bound as {}", bind.access())).at(bind.name());
                return Err(error.expected(format!("the shader has {kind:?}")));
            }
            if let Some(view) = bind.buffer() {
                self.check_view(stem, view)?;
            }
            if let Bind::Image(matrix, _) = bind {
                self.check_view(stem, &matrix.view)?;
            }
            if let Some(other) = binds[i + 1..].iter().find(|other| bind.conflicts(other)) {
                let found = format!("in one buffer or image with `{}`, and one of them is written", other.name());
                let error = Error::kernel(stem, found).at(bind.name());
                return Err(error.expected("expected buffers or images of their own"));
            }
        }
        Ok(())
    }

    fn check_view(&self, stem: &str, view: &View) -> Result<()> {
        let error = |found: String| Error::kernel(stem, found).at(&*view.name);
        let (limit, words) = (self.device.caps().max_binding, view.buffer.raw.size() / 4);
        if view.words * 4 > limit {
            let expected = format!("the device binds {limit} at most");
            return Err(error(format!("{} bytes", view.words * 4)).expected(expected));
        }
        if !view.offset.is_multiple_of(dims::PITCH as u64) {
            let expected = format!("expected a multiple of {}", dims::PITCH);
            return Err(error(format!("starts at word {}", view.offset)).expected(expected));
        }
        if view.offset + view.words > words {
            let found = format!("ends past its buffer, at word {}", view.offset + view.words);
            return Err(error(found).expected(format!("the buffer has {words} words")));
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
    let found = format!(
        "[{}, {}], {:?}, for the matrix `{}` [{}, {}]",
        image.rows, image.columns, image.layout, matrix.view.name, matrix.rows, matrix.columns
    );
    let expected = "expected equal columns, at least as many rows as the matrix, and ImageLayout::Plain";
    Err(Error::kernel("copy", found).at(&*image.name).expected(expected))
}
