//! Recorder → Program: a checked list of dispatches and copies, recorded once at capacity, encoded at live size.
//!
//! A dispatch keeps a plan, a function of the live numbers `L` (rows, a rate, a key): its parameters and its grid. Every run
//! evaluates the plans on the host, uploads all parameters at once and encodes the list; a grid of zero groups is not
//! encoded. So kernels have plain numbers in a uniform, nothing is recorded again, and no group works on nothing.
//!
//! An operand bound as [`Bind::Image`] is read through an *image twin*: a texture that holds the matrix, copied before the
//! first such read after a write.

use super::wgsl::BindingKind;
use super::{Device, Image, Matrix, Ring, Variant, View};
use crate::{Error, Result, dims};
use std::time::Instant;

/// How a dispatch uses a tensor.
pub enum Bind<'a, L> {
    /// `var<storage, read>`
    Read(&'a View),
    /// `var<storage, read_write>`, all of what matters is written.
    Write(&'a View),
    /// `var<storage, read_write>`, read and written.
    Update(&'a View),
    /// Read through its image twin; the function makes the one that says how many rows are live.
    Image(&'a Matrix, &'a dyn Fn() -> Rows<L>),
    /// An image of its own, read.
    ReadImage(&'a Image),
    /// `texture_storage_2d<rgba32float, write>`
    WriteImage(&'a Image),
    /// `texture_storage_2d<rgba32float, read_write>`
    UpdateImage(&'a Image),
}

impl<L> Bind<'_, L> {
    fn name(&self) -> &str {
        match self {
            Bind::Read(v) | Bind::Write(v) | Bind::Update(v) => &v.name,
            Bind::Image(m, _) => &m.view.name,
            Bind::ReadImage(i) | Bind::WriteImage(i) | Bind::UpdateImage(i) => &i.name,
        }
    }

    fn how(&self) -> &'static str {
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

    fn writes(&self) -> bool {
        matches!(self, Bind::Write(_) | Bind::Update(_) | Bind::WriteImage(_) | Bind::UpdateImage(_))
    }

    fn buffer(&self) -> Option<&View> {
        match self {
            Bind::Read(v) | Bind::Write(v) | Bind::Update(v) => Some(v),
            _ => None,
        }
    }

    fn image(&self) -> Option<&Image> {
        match self {
            Bind::ReadImage(i) | Bind::WriteImage(i) | Bind::UpdateImage(i) => Some(i),
            _ => None,
        }
    }

    fn fits(&self, kind: BindingKind) -> bool {
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
}

/// One evaluation of a plan.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The uniform's bytes.
    pub params: Vec<u8>,
    /// Workgroups; a zero skips the dispatch.
    pub groups: [u32; 3],
    /// Floating-point operations, for cutting submissions.
    pub flops: f64,
}

impl Launch {
    /// A launch with the bytes of a `Params` struct.
    pub fn new<P: bytemuck::Pod>(params: P, groups: [u32; 3]) -> Self {
        Launch { params: bytemuck::bytes_of(&params).to_vec(), groups, flops: 0.0 }
    }

    /// Says how many operations it does.
    pub fn flops(mut self, flops: f64) -> Self {
        self.flops = flops;
        self
    }
}

type Plan<L> = Box<dyn Fn(&L) -> Launch + Send + Sync>;
/// How many rows of an image operand are live.
pub type Rows<L> = Box<dyn Fn(&L) -> u32 + Send + Sync>;

enum Step<L> {
    Dispatch { label: &'static str, pipeline: super::kernel::Pipeline, entries: Vec<Entry>, plan: Plan<L>, most: u64 },
    Twin { source: View, texture: wgpu::Texture, pitch: u32, rows: Rows<L> },
    Clear { view: View },
    Copy { from: View, to: View },
    IntoImage { from: Matrix, to: Image },
    OutOfImage { from: Image, to: Matrix },
}

/// Groups in all.
fn all_groups(groups: [u32; 3]) -> u64 {
    groups.iter().map(|g| u64::from(*g)).product()
}

enum Entry {
    Buffer(View),
    Texture(wgpu::TextureView),
}

struct Twin {
    source: View,
    pitch: u32,
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    /// Rows, at capacity, that hold what the matrix holds.
    clean: u32,
}

/// Parameters of a dispatch lie at multiples of this in the uniform buffer.
const SLOT: usize = 256;

/// Writes a program down, checking every dispatch at capacity.
pub struct Recorder<L> {
    device: Device,
    capacity: L,
    steps: Vec<Step<L>>,
    twins: Vec<Twin>,
}

impl<L: 'static> Recorder<L> {
    /// A recorder whose plans are checked with the largest live numbers that will come.
    pub fn new(device: &Device, capacity: L) -> Self {
        Recorder { device: device.clone(), capacity, steps: Vec::new(), twins: Vec::new() }
    }

    /// The device that it records for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The largest live numbers.
    pub fn capacity(&self) -> &L {
        &self.capacity
    }

    /// Fills a view with zeros.
    pub fn clear(&mut self, view: &View) {
        self.dirty(view);
        self.steps.push(Step::Clear { view: view.clone() });
    }

    /// Copies `from` over the start of `to`.
    pub fn copy(&mut self, from: &View, to: &View) {
        self.dirty(to);
        self.steps.push(Step::Copy { from: from.clone(), to: to.clone() });
    }

    /// Copies a matrix into the first rows of a plain image.
    ///
    /// # Errors
    /// [`Error::Kernel`] when it is another image or too small.
    pub fn copy_into_image(&mut self, from: &Matrix, to: &Image) -> Result<()> {
        self.check_copy(to, from)?;
        self.steps.push(Step::IntoImage { from: from.clone(), to: to.clone() });
        Ok(())
    }

    /// Copies a plain image's first rows, as many as `to` has, out to it.
    ///
    /// # Errors
    /// [`Error::Kernel`] when it is another image or too small.
    pub fn copy_out_of_image(&mut self, from: &Image, to: &Matrix) -> Result<()> {
        self.check_copy(from, to)?;
        self.dirty(&to.view);
        self.steps.push(Step::OutOfImage { from: from.clone(), to: to.clone() });
        Ok(())
    }

    fn check_copy(&self, image: &Image, matrix: &Matrix) -> Result<()> {
        if !image.is_array() && matrix.rows <= image.rows && matrix.columns == image.columns && matrix.rows > 0 {
            return Ok(());
        }
        let message = format!(
            "`{}` [{}, {}] and image `{}` [{}, {}], {:?}: expected as many columns, rows that fit, a plain image",
            matrix.view.name, matrix.rows, matrix.columns, image.name, image.rows, image.columns, image.lay
        );
        Err(Error::Kernel { kernel: "copy".into(), message })
    }

    /// Records a dispatch. Binding 0 is the uniform, if the kernel has one; `binds` are the others in ascending order.
    ///
    /// # Errors
    /// [`Error::Kernel`] when a binding is of another kind, a write overlaps, or a limit is passed.
    pub fn dispatch(
        &mut self,
        variant: &Variant,
        binds: &[Bind<'_, L>],
        plan: impl Fn(&L) -> Launch + Send + Sync + 'static,
    ) -> Result<()> {
        let label = variant.stem;
        let error = |message: String| Error::Kernel { kernel: label.into(), message };
        let pipeline = self.device.pipeline(variant)?;
        let uniform = match pipeline.bindings.first() {
            Some(&(0, BindingKind::Uniform(bytes))) => Some(bytes),
            _ => None,
        };
        let kinds = &pipeline.bindings[usize::from(uniform.is_some())..];
        if kinds.len() != binds.len() {
            return Err(error(format!("{} tensors are bound, the shader has {}", binds.len(), kinds.len())));
        }
        let launch = plan(&self.capacity);
        let expected = uniform.unwrap_or(0);
        if (launch.params.len() as u32).next_multiple_of(16) != expected.next_multiple_of(16) {
            return Err(error(format!("{} bytes of parameters, the shader has {expected}", launch.params.len())));
        }
        let limit = self.device.caps().max_groups;
        if launch.groups.iter().any(|g| *g > limit) {
            return Err(error(format!("groups {:?}: the device allows {limit} in a dimension", launch.groups)));
        }
        for (i, (bind, (_, kind))) in binds.iter().zip(kinds).enumerate() {
            if !bind.fits(*kind) {
                return Err(error(format!("`{}` is bound as {}, the shader has {kind:?}", bind.name(), bind.how())));
            }
            if let Some(view) = bind.buffer() {
                self.check_view(view).map_err(error)?;
                for other in binds[i + 1..].iter().filter(|b| bind.writes() || b.writes()) {
                    if other.buffer().is_some_and(|o| o.same_buffer(view)) {
                        let message = "are bound in one buffer, and one of them is written";
                        return Err(error(format!("`{}` and `{}` {message}", bind.name(), other.name())));
                    }
                }
            }
            if let Some(image) = bind.image() {
                let clash =
                    |o: &&Bind<'_, L>| o.image().is_some_and(|i| i.raw == image.raw) && (bind.writes() || o.writes());
                if binds[i + 1..].iter().any(|o| clash(&o)) {
                    return Err(error(format!("`{}` is bound twice as an image, and once written", bind.name())));
                }
            }
        }
        let mut entries = Vec::with_capacity(binds.len());
        for bind in binds {
            entries.push(match bind {
                Bind::Read(v) | Bind::Write(v) | Bind::Update(v) => Entry::Buffer((*v).clone()),
                Bind::Image(matrix, rows) => Entry::Texture(self.twin(matrix, rows).map_err(error)?),
                Bind::ReadImage(i) | Bind::WriteImage(i) | Bind::UpdateImage(i) => Entry::Texture(i.view.clone()),
            });
        }
        for view in binds.iter().filter(|b| b.writes()).filter_map(Bind::buffer) {
            self.dirty(view);
        }
        let most = all_groups(launch.groups);
        self.steps.push(Step::Dispatch { label, pipeline, entries, plan: Box::new(plan), most });
        Ok(())
    }

    fn check_view(&self, view: &View) -> Result<(), String> {
        let limit = self.device.caps().max_binding;
        if view.words * 4 > limit {
            return Err(format!("`{}` has {} bytes, the device binds {limit}", view.name, view.words * 4));
        }
        if !view.offset.is_multiple_of(dims::PITCH as u64) {
            return Err(format!("`{}` starts at word {}: not a multiple of {}", view.name, view.offset, dims::PITCH));
        }
        if (view.offset + view.words) * 4 > view.buffer.raw.size() {
            return Err(format!("`{}` ends past its buffer", view.name));
        }
        Ok(())
    }

    fn dirty(&mut self, view: &View) {
        for twin in self.twins.iter_mut().filter(|t| t.source.overlaps(view)) {
            twin.clean = 0;
        }
    }

    fn twin(&mut self, matrix: &Matrix, rows: &(dyn Fn() -> Rows<L> + '_)) -> Result<wgpu::TextureView, String> {
        let pitch = matrix.pitch() as u32;
        let view = &matrix.view;
        self.check_view(view)?;
        let same = |t: &Twin| {
            let place = t.source.same_buffer(view) && t.source.offset == view.offset && t.pitch == pitch;
            place && t.texture.height() as usize >= matrix.rows
        };
        let index = match self.twins.iter().position(same) {
            Some(i) => i,
            None => {
                let size = wgpu::Extent3d { width: pitch / 4, height: matrix.rows as u32, depth_or_array_layers: 1 };
                let limit = self.device.caps().max_texture;
                if size.width > limit || size.height > limit {
                    let name = &view.name;
                    return Err(format!("`{name}`: {}×{} texels, the device has {limit}", size.width, size.height));
                }
                let descriptor = wgpu::TextureDescriptor {
                    label: Some(&view.name),
                    size,
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: wgpu::TextureFormat::Rgba32Float,
                    usage: wgpu::TextureUsages::TEXTURE_BINDING
                        | wgpu::TextureUsages::STORAGE_BINDING
                        | wgpu::TextureUsages::COPY_DST,
                    view_formats: &[],
                };
                let what = format!("the image twin of `{}`", view.name);
                let texture = self.device.make(&what, |d| d.create_texture(&descriptor)).map_err(|e| e.to_string())?;
                self.device.count_bytes(matrix.rows as u64 * u64::from(pitch) * 4);
                let texture_view = texture.create_view(&wgpu::TextureViewDescriptor::default());
                self.twins.push(Twin { source: view.clone(), pitch, texture, view: texture_view, clean: 0 });
                self.twins.len() - 1
            }
        };
        let twin = &mut self.twins[index];
        let rows = rows();
        let needed = rows(&self.capacity).clamp(1, matrix.rows.max(1) as u32);
        if twin.clean < needed {
            twin.clean = needed;
            let (source, texture) = (view.clone(), twin.texture.clone());
            self.steps.push(Step::Twin { source, texture, pitch, rows });
        }
        Ok(twin.view.clone())
    }

    /// The program.
    pub fn finish(self) -> Program<L> {
        let slots = self.steps.iter().filter(|s| matches!(s, Step::Dispatch { .. })).count();
        let params = self.device.raw().create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: (slots.max(1) * SLOT) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut slot = 0;
        let items = self.steps.into_iter().map(|step| match step {
            Step::Twin { source, texture, pitch, rows } => Item::Twin { source, texture, pitch, rows },
            Step::Clear { view } => Item::Clear { view },
            Step::Copy { from, to } => Item::Copy { from, to },
            Step::IntoImage { from, to } => Item::IntoImage { from, to },
            Step::OutOfImage { from, to } => Item::OutOfImage { from, to },
            Step::Dispatch { label, pipeline, entries, plan, most } => {
                let mut all = Vec::with_capacity(entries.len() + 1);
                let mut numbers = pipeline.bindings.iter();
                if let Some(&(0, BindingKind::Uniform(bytes))) = pipeline.bindings.first() {
                    numbers.next();
                    let size = std::num::NonZeroU64::new(u64::from(bytes));
                    let binding = wgpu::BufferBinding { buffer: &params, offset: (slot * SLOT) as u64, size };
                    all.push(wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) });
                }
                all.extend(entries.iter().zip(numbers).map(|(entry, (binding, _))| wgpu::BindGroupEntry {
                    binding: *binding,
                    resource: match entry {
                        Entry::Texture(view) => wgpu::BindingResource::TextureView(view),
                        Entry::Buffer(view) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &view.buffer.raw,
                            offset: view.offset * 4,
                            size: std::num::NonZeroU64::new(view.words * 4),
                        }),
                    },
                }));
                let group = self.device.raw().create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(label),
                    layout: &pipeline.layout,
                    entries: &all,
                });
                slot += 1;
                Item::Dispatch { label, pipeline: pipeline.raw, group, plan, most }
            }
        });
        Program { items: items.collect(), params, device: self.device }
    }
}

enum Item<L> {
    Dispatch { label: &'static str, pipeline: wgpu::ComputePipeline, group: wgpu::BindGroup, plan: Plan<L>, most: u64 },
    Twin { source: View, texture: wgpu::Texture, pitch: u32, rows: Rows<L> },
    Clear { view: View },
    Copy { from: View, to: View },
    IntoImage { from: Matrix, to: Image },
    OutOfImage { from: Image, to: Matrix },
}

/// A recorded list, run as often as one likes.
pub struct Program<L> {
    device: Device,
    items: Vec<Item<L>>,
    params: wgpu::Buffer,
}

/// One item's share of a profiled run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Timing {
    /// The kernel's stem, or `twin` for a copy into an image.
    pub label: String,
    /// Milliseconds on the host's clock, submission and wait included.
    pub ms: f64,
    /// Operations.
    pub flops: f64,
}

impl<L: 'static> Program<L> {
    /// Dispatches in it.
    pub fn dispatches(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Dispatch { .. })).count()
    }

    /// Runs it once with these live numbers. Returns at once: the device works on.
    ///
    /// # Errors
    /// [`Error::Kernel`] when a plan passes the device's limits.
    pub fn run(&self, live: &L) -> Result<()> {
        self.encode(live, 1, None).map(drop)
    }

    /// Runs it once and lets the last submission copy `view` into the ring.
    ///
    /// # Errors
    /// As [`Program::run`], and [`Error::Device`] when the ring is full.
    pub fn run_and_read(&self, live: &L, view: &View, ring: &mut Ring) -> Result<()> {
        if ring.is_full() {
            return Err(Error::device(format!("{}: every slot of the readback ring is in flight", view.name)));
        }
        self.encode(live, 1, Some((view, ring)))
    }

    /// Runs it `times` times over the same numbers: for benchmarks.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn repeat(&self, live: &L, times: usize) -> Result<()> {
        self.encode(live, times, None)
    }

    fn launches(&self, live: &L) -> Result<Vec<Launch>> {
        let limit = self.device.caps().max_groups;
        let mut bytes = vec![0u8; self.params.size() as usize];
        let mut launches = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let Item::Dispatch { plan, label, most, .. } = item else { continue };
            let launch = plan(live);
            if launch.groups.iter().any(|g| *g > limit) {
                let message = format!("groups {:?}: the device allows {limit} in a dimension", launch.groups);
                return Err(Error::Kernel { kernel: (*label).into(), message });
            }
            if all_groups(launch.groups) > *most {
                let message = format!("groups {:?}: {most} in all were recorded as the most", launch.groups);
                return Err(Error::Kernel { kernel: (*label).into(), message });
            }
            let at = launches.len() * SLOT;
            bytes[at..at + launch.params.len()].copy_from_slice(&launch.params);
            launches.push(launch);
        }
        self.device.queue().write_buffer(&self.params, 0, &bytes);
        Ok(launches)
    }

    fn encode(&self, live: &L, times: usize, read: Option<(&View, &mut Ring)>) -> Result<()> {
        let launches = self.launches(live)?;
        let budget = self.device.caps().submission_flops();
        let mut encoder = Encoder::new(&self.device);
        for _ in 0..times {
            let mut launch = launches.iter();
            for item in &self.items {
                encoder.item(item, live, &mut launch);
                if encoder.flops > budget {
                    self.device.queue().submit([encoder.finish()]);
                    encoder = Encoder::new(&self.device);
                }
            }
        }
        match read {
            None => drop(self.device.queue().submit([encoder.finish()])),
            Some((view, ring)) => {
                encoder.pass = None;
                let slot = ring.copy(&mut encoder.raw, view);
                self.device.queue().submit([encoder.finish()]);
                ring.submitted(slot);
            }
        }
        Ok(())
    }

    /// Runs it item by item, each awaited: where a run's time goes.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn profile(&self, live: &L) -> Result<Vec<Timing>> {
        let launches = self.launches(live)?;
        let mut launch = launches.iter();
        self.device.wait()?;
        let mut timings = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut encoder = Encoder::new(&self.device);
            encoder.item(item, live, &mut launch);
            let flops = encoder.flops;
            let commands = encoder.finish();
            let start = Instant::now();
            self.device.queue().submit([commands]);
            self.device.wait()?;
            let label = match item {
                Item::Dispatch { label, .. } => label,
                Item::Twin { .. } => "twin",
                Item::Clear { .. } => "clear",
                Item::Copy { .. } | Item::IntoImage { .. } | Item::OutOfImage { .. } => "copy",
            };
            timings.push(Timing { label: label.into(), ms: start.elapsed().as_secs_f64() * 1e3, flops });
        }
        Ok(timings)
    }
}

struct Encoder {
    // Before the encoder, whose commands it holds: fields drop in order.
    pass: Option<wgpu::ComputePass<'static>>,
    raw: wgpu::CommandEncoder,
    flops: f64,
}

impl Encoder {
    fn new(device: &Device) -> Self {
        let raw = device.raw().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        Encoder { pass: None, raw, flops: 0.0 }
    }

    fn item<L>(&mut self, item: &Item<L>, live: &L, launches: &mut std::slice::Iter<'_, Launch>) {
        match item {
            Item::Dispatch { pipeline, group, .. } => {
                let Some(launch) = launches.next() else { return };
                let [x, y, z] = launch.groups;
                if x == 0 || y == 0 || z == 0 {
                    return;
                }
                self.flops += launch.flops;
                let raw = &mut self.raw;
                let pass =
                    self.pass.get_or_insert_with(|| raw.begin_compute_pass(&Default::default()).forget_lifetime());
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(x, y, z);
            }
            Item::Clear { view } => {
                self.pass = None;
                self.raw.clear_buffer(&view.buffer.raw, view.offset * 4, Some(view.words * 4));
            }
            Item::Copy { from, to } => {
                self.pass = None;
                let (a, b) = (&from.buffer.raw, &to.buffer.raw);
                self.raw.copy_buffer_to_buffer(a, from.offset * 4, b, to.offset * 4, from.words.min(to.words) * 4);
            }
            Item::IntoImage { from, to } => {
                self.pass = None;
                to.copy_in(&mut self.raw, from, 0);
            }
            Item::OutOfImage { from, to } => {
                self.pass = None;
                from.copy_out(&mut self.raw, to);
            }
            Item::Twin { source, texture, pitch, rows } => {
                let rows = rows(live).min(texture.height());
                if rows == 0 {
                    return;
                }
                self.pass = None;
                self.raw.copy_buffer_to_texture(
                    wgpu::TexelCopyBufferInfo {
                        buffer: &source.buffer.raw,
                        layout: wgpu::TexelCopyBufferLayout {
                            offset: source.offset * 4,
                            bytes_per_row: Some(pitch * 4),
                            rows_per_image: None,
                        },
                    },
                    texture.as_image_copy(),
                    wgpu::Extent3d { width: pitch / 4, height: rows, depth_or_array_layers: 1 },
                );
            }
        }
    }

    fn finish(mut self) -> wgpu::CommandBuffer {
        self.pass = None;
        self.raw.finish()
    }
}
