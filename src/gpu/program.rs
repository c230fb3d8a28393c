//! A program: a checked list of dispatches and copies, recorded once at capacity and encoded at live size.
//!
//! A dispatch keeps a function of the live values (rows, a learning rate, a dropout key) that computes its parameters and
//! its grid. Every run evaluates these functions on the host, uploads all parameters at once and encodes the list; a
//! dispatch of zero groups is left out. So kernels read plain numbers from a uniform, nothing is recorded again, and no
//! group runs without work.

use super::image_copy::Refresh;
use super::kernel::Pipeline;
use super::launch::{LiveValues, Plan};
use super::parameters::Parameters;
use super::{Device, Image, Launch, Matrix, Ring, View};
use crate::error::DeviceError;
use crate::{Error, Result};
use std::borrow::BorrowMut;

/// One entry of the list.
pub(super) enum Item<V: LiveValues> {
    /// Runs a kernel.
    Dispatch(Dispatch<V>),
    /// Copies the first rows of a matrix to its image copy.
    Refresh(Refresh, V::RowCount),
    /// Fills a view with zeros.
    Clear { view: View },
    /// Copies words.
    Copy { from: View, to: View },
    /// Copies a matrix to the first rows of an image.
    CopyIntoImage { from: Matrix, to: Image },
    /// Copies the first rows of an image to a matrix.
    CopyOutOfImage { from: Image, to: Matrix },
}

/// A kernel with its tensors.
pub(super) struct Dispatch<V> {
    pub stem: &'static str,
    pub pipeline: Pipeline,
    pub bind_group: wgpu::BindGroup,
    pub plan: Plan<V>,
    /// Workgroups in total at capacity: no run may have more.
    pub most_groups: u64,
}

impl<V: LiveValues> Dispatch<V> {
    /// The launch for these values.
    ///
    /// # Errors
    /// [`Error::Kernel`] if the grid exceeds the device's limit or that of the capacity.
    fn launch(&self, device: &Device, values: &V) -> Result<Launch> {
        let launch = (self.plan)(values);
        let error = |expected| Err(Error::kernel(self.stem, format!("groups {:?}", launch.groups)).expected(expected));
        let limit = device.caps().max_groups;
        if launch.groups.iter().any(|g| *g > limit) {
            return error(format!("the device allows {limit} in a dimension"));
        }
        if launch.group_count() > self.most_groups {
            return error(format!("the program was recorded for at most {} in total", self.most_groups));
        }
        Ok(launch)
    }
}

/// A recorded list of dispatches and copies that can be run any number of times.
pub struct Program<V: LiveValues> {
    pub(super) device: Device,
    pub(super) items: Vec<Item<V>>,
    pub(super) parameters: Parameters,
}

impl<V: LiveValues> Program<V> {
    fn dispatch_items(&self) -> impl Iterator<Item = &Dispatch<V>> {
        self.items.iter().filter_map(|item| match item {
            Item::Dispatch(dispatch) => Some(dispatch),
            _ => None,
        })
    }

    /// The number of dispatches in it.
    pub fn dispatches(&self) -> usize {
        self.dispatch_items().count()
    }

    /// Submits one run with these values. Does not wait for the device, which works while the host continues. The first run
    /// waits until all kernels are compiled.
    ///
    /// # Errors
    /// [`Error::Shader`] if the driver rejects a kernel, [`Error::Kernel`] if a dispatch's grid exceeds the device's limits
    /// or the capacity.
    pub fn run(&self, values: &V) -> Result<()> {
        self.submit(values, 1, None)
    }

    /// Submits one run whose last commands copy `view` into the ring.
    ///
    /// # Errors
    /// As [`Program::run`], and [`Error::Device`] if the ring is full.
    pub fn run_and_read(&self, values: &V, view: &View, ring: &mut Ring) -> Result<()> {
        check_not_full(ring, view)?;
        self.submit(values, 1, Some((view, ring)))
    }

    /// Submits one run of `first` and one of this program together, whose last commands copy `view` into the ring. A program
    /// of [`Recorder::after`](super::Recorder::after) does so with one upload of parameters.
    ///
    /// # Errors
    /// As [`Program::run_and_read`].
    pub fn run_after_and_read(
        &self,
        (first, first_values): (&Program<V>, &V),
        values: &V,
        view: &View,
        ring: &mut Ring,
    ) -> Result<()> {
        check_not_full(ring, view)?;
        let mut launches = first.launches(first_values)?;
        let own = launches.len();
        launches.extend(self.launches(values)?);
        if self.parameters.is_behind(&first.parameters) {
            self.parameters.upload_with(&first.parameters, &self.device, &launches);
        } else {
            first.parameters.upload(&self.device, &launches[..own]);
            self.parameters.upload(&self.device, &launches[own..]);
        }
        let mut submissions = Submissions::new(&self.device);
        submissions.run(first, first_values, &launches[..own])?;
        submissions.run(self, values, &launches[own..])?;
        submissions.finish(Some((view, ring)));
        Ok(())
    }

    /// Submits `times` runs with the same values, for benchmarks.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn repeat(&self, values: &V, times: usize) -> Result<()> {
        self.submit(values, times, None)
    }

    /// Records one run into the caller's command encoder, between the commands before and after it. Nothing is submitted;
    /// the run takes place when the caller submits the encoder to this device's queue. A program may be encoded several
    /// times, with other values each time.
    ///
    /// [`Program::run`] splits long programs into submissions, since desktop drivers reset a device whose submission takes
    /// more than about two seconds. Here, that is up to the caller.
    ///
    /// # Errors
    /// As [`Program::run`], and [`Error::Device`] if there is no memory for the parameters.
    pub fn encode_into(&self, encoder: &mut wgpu::CommandEncoder, values: &V) -> Result<()> {
        let launches = self.launches(values)?;
        self.parameters.encode_upload(&self.device, &launches, encoder)?;
        let mut encoder = Encoder::new(encoder);
        let mut launches = launches.iter();
        self.items.iter().try_for_each(|item| encoder.item(item, values, &mut launches))
    }

    /// The launches of all dispatches, in order. Waits until their pipelines are compiled.
    ///
    /// # Errors
    /// [`Error::Shader`] if the driver rejects a kernel, [`Error::Kernel`] if a grid exceeds a limit.
    pub(super) fn launches(&self, values: &V) -> Result<Vec<Launch>> {
        self.dispatch_items().try_for_each(|dispatch| dispatch.pipeline.raw().map(drop))?;
        self.dispatch_items().map(|dispatch| dispatch.launch(&self.device, values)).collect()
    }

    fn submit(&self, values: &V, times: usize, read: Option<(&View, &mut Ring)>) -> Result<()> {
        let launches = self.launches(values)?;
        self.parameters.upload(&self.device, &launches);
        let mut submissions = Submissions::new(&self.device);
        for _ in 0..times {
            submissions.run(self, values, &launches)?;
        }
        submissions.finish(read);
        Ok(())
    }
}

fn check_not_full(ring: &Ring, view: &View) -> Result<()> {
    match ring.is_full() {
        false => Ok(()),
        true => Err(Error::Device(DeviceError::ReadbackFull { tensor: view.name.to_string() })),
    }
}

/// Commands that are submitted in parts, none of them much longer than the device's budget.
struct Submissions<'d> {
    device: &'d Device,
    budget: f64,
    encoder: Encoder<wgpu::CommandEncoder>,
}

impl<'d> Submissions<'d> {
    fn new(device: &'d Device) -> Self {
        Submissions { device, budget: device.budget().flops(), encoder: Encoder::start(device) }
    }

    fn run<V: LiveValues>(&mut self, program: &Program<V>, values: &V, launches: &[Launch]) -> Result<()> {
        let mut launches = launches.iter();
        for item in &program.items {
            self.encoder.item(item, values, &mut launches)?;
            if self.encoder.flops > self.budget {
                let full = std::mem::replace(&mut self.encoder, Encoder::start(self.device));
                self.device.budget().count(full.flops);
                self.device.queue().submit([full.finish()]);
            }
        }
        Ok(())
    }

    /// Submits the rest, and after it the copy of a view into a ring.
    fn finish(mut self, read: Option<(&View, &mut Ring)>) {
        let submitted = self.device.budget().count(self.encoder.flops);
        match read {
            None => drop(self.device.queue().submit([self.encoder.finish()])),
            Some((view, ring)) => {
                let slot = ring.copy(self.encoder.copies(), view);
                let submission = self.device.queue().submit([self.encoder.finish()]);
                ring.submitted(slot, submission, submitted);
            }
        }
    }
}

impl<V: LiveValues> Item<V> {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Item::Dispatch(dispatch) => dispatch.stem,
            Item::Refresh(..) => "image_copy",
            Item::Clear { .. } => "clear",
            Item::Copy { .. } | Item::CopyIntoImage { .. } | Item::CopyOutOfImage { .. } => "copy",
        }
    }
}

/// Writes items to a command encoder, consecutive dispatches into one compute pass.
pub(super) struct Encoder<E: BorrowMut<wgpu::CommandEncoder>> {
    // Declared before the encoder that it writes to, because fields are dropped in this order.
    pass: Option<wgpu::ComputePass<'static>>,
    raw: E,
    flops: f64,
}

impl<E: BorrowMut<wgpu::CommandEncoder>> Encoder<E> {
    fn new(raw: E) -> Self {
        Encoder { pass: None, raw, flops: 0.0 }
    }

    pub(super) fn item<V: LiveValues>(
        &mut self,
        item: &Item<V>,
        values: &V,
        launches: &mut std::slice::Iter<'_, Launch>,
    ) -> Result<()> {
        match item {
            Item::Dispatch(dispatch) => {
                if let Some(launch) = launches.next() {
                    self.dispatch(dispatch, launch)?;
                }
            }
            Item::Refresh(refresh, rows) => {
                let rows = values.row_count(*rows);
                if rows > 0 {
                    refresh.encode(rows, self.copies());
                }
            }
            Item::Clear { view } => {
                self.copies().clear_buffer(&view.buffer.raw, view.offset * 4, Some(view.words * 4));
            }
            Item::Copy { from, to } => {
                let (a, b) = (&from.buffer.raw, &to.buffer.raw);
                let bytes = from.words.min(to.words) * 4;
                self.copies().copy_buffer_to_buffer(a, from.offset * 4, b, to.offset * 4, bytes);
            }
            Item::CopyIntoImage { from, to } => to.copy_in(self.copies(), from, 0),
            Item::CopyOutOfImage { from, to } => from.copy_out(self.copies(), to),
        }
        Ok(())
    }

    fn dispatch<V>(&mut self, dispatch: &Dispatch<V>, launch: &Launch) -> Result<()> {
        let [x, y, z] = launch.groups;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let pipeline = dispatch.pipeline.raw()?;
        self.flops += launch.flops;
        let raw = self.raw.borrow_mut();
        let pass = self.pass.get_or_insert_with(|| raw.begin_compute_pass(&Default::default()).forget_lifetime());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &dispatch.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }

    /// As [`Encoder::item`], between two timestamps: `index` and the one after it.
    pub(super) fn timed_item<V: LiveValues>(
        &mut self,
        item: &Item<V>,
        values: &V,
        launches: &mut std::slice::Iter<'_, Launch>,
        set: &wgpu::QuerySet,
        index: u32,
    ) -> Result<()> {
        let dispatch = matches!(item, Item::Dispatch(_));
        // A dispatch runs inside the pass that takes both; other items run between two empty passes.
        self.timed_pass(set, Some(index), dispatch.then_some(index + 1));
        self.item(item, values, launches)?;
        if !dispatch {
            self.timed_pass(set, Some(index + 1), None);
        }
        self.pass = None;
        Ok(())
    }

    fn timed_pass(&mut self, set: &wgpu::QuerySet, begin: Option<u32>, end: Option<u32>) {
        self.pass = None;
        let descriptor = wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: set,
                beginning_of_pass_write_index: begin,
                end_of_pass_write_index: end,
            }),
        };
        self.pass = Some(self.raw.borrow_mut().begin_compute_pass(&descriptor).forget_lifetime());
    }

    /// Ends the open pass: copies are commands of the encoder itself.
    pub(super) fn copies(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.raw.borrow_mut()
    }
}

impl Encoder<wgpu::CommandEncoder> {
    pub(super) fn start(device: &Device) -> Self {
        Encoder::new(device.raw().create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    pub(super) fn finish(mut self) -> wgpu::CommandBuffer {
        self.pass = None;
        self.raw.finish()
    }
}
