//! Devices: opened on an adapter with its highest limits, or taken from the caller.

use super::adapters;
use super::budget::Budget;
use super::caps::{AdapterKind, Caps};
use super::compile::Compiler;
use super::fault::{device_error, loss, open_error};
use super::kernel::{self, Checked, Pipeline, Variant};
use crate::error::DeviceError;
use crate::{Error, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Fault = Arc<Mutex<Option<DeviceError>>>;

/// An opened device, cheap to clone.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    pipelines: Mutex<Pipelines>,
    bytes: AtomicU64,
    budget: Budget,
    /// The first error that no scope caught, on devices opened here. The next wait reports it.
    fault: Fault,
}

/// The pipelines of a device, and the threads that compile them.
#[derive(Default)]
struct Pipelines {
    by_variant: HashMap<Variant, Pipeline>,
    compiler: Compiler<Checked>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.0.caps.name)
    }
}

/// Held while adapters are listed and a device is made: drivers of NVIDIA hang or crash when several threads do so.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks a request against a limit of the device.
///
/// # Errors
/// [`DeviceError::Limit`] if it is larger.
pub(super) fn within(what: impl FnOnce() -> String, requested: u64, allowed: u64) -> Result<()> {
    if requested <= allowed {
        return Ok(());
    }
    Err(Error::Device(DeviceError::Limit { what: what(), requested, allowed }))
}

/// The optional features that kernels or tools use where an adapter has them.
fn wanted() -> wgpu::Features {
    wgpu::Features::SUBGROUP
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SHADER_F16
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}

#[allow(unsafe_code)]
fn experimental_features() -> wgpu::ExperimentalFeatures {
    // SAFETY: wgpu calls cooperative matrices experimental, because not all of their rules are validated. Only kernels of this
    // crate use them, where `Caps::multiplies_halves` holds, and tests compare every variant with the oracle.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

const MINIMUM_BINDING: u64 = 128 << 20;

fn caps(adapter: &wgpu::Adapter, features: wgpu::Features, limits: &wgpu::Limits) -> Caps {
    let info = adapter.get_info();
    let subgroup = features.contains(wgpu::Features::SUBGROUP);
    let scalar = |s| match s {
        wgpu::CooperativeScalarType::F16 => "f16",
        wgpu::CooperativeScalarType::F32 => "f32",
        wgpu::CooperativeScalarType::I32 => "i32",
        wgpu::CooperativeScalarType::U32 => "u32",
    };
    let kind = adapters::kind(info.device_type);
    Caps {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        kind,
        subgroup: if subgroup { (info.subgroup_min_size, info.subgroup_max_size) } else { (0, 0) },
        int64: features.contains(wgpu::Features::SHADER_INT64),
        image_update: features.contains(wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES)
            && adapter
                .get_texture_format_features(wgpu::TextureFormat::Rgba32Float)
                .flags
                .contains(wgpu::TextureFormatFeatureFlags::STORAGE_READ_WRITE),
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        cooperative: adapter
            .cooperative_matrix_properties()
            .iter()
            .filter(|_| features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX))
            .map(|p| format!("{}x{}x{} {}→{}", p.m_size, p.n_size, p.k_size, scalar(p.ab_type), scalar(p.cr_type)))
            .collect(),
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_size: limits.max_compute_invocations_per_workgroup,
        max_groups: limits.max_compute_workgroups_per_dimension,
        max_texture: limits.max_texture_dimension_2d,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_dispatch_flops: kind.max_dispatch_flops(),
    }
}

fn limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let has = adapter.limits();
    wgpu::Limits {
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        max_buffer_size: has.max_buffer_size,
        max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
        max_texture_dimension_2d: has.max_texture_dimension_2d,
        ..wgpu::Limits::default()
    }
}

/// Whether a selector is an index: digits alone.
fn is_index(selector: &str) -> bool {
    let selector = selector.trim();
    !selector.is_empty() && selector.chars().all(|c| c.is_ascii_digit())
}

/// The index of the adapter that a selector names: a number is an index and nothing else, any other text a part of a name.
fn select(selector: &str, names: &[String]) -> Option<usize> {
    let selector = selector.trim();
    if is_index(selector) {
        return selector.parse().ok().filter(|index| *index < names.len());
    }
    let part = selector.to_lowercase();
    names.iter().position(|name| !part.is_empty() && name.to_lowercase().contains(&part))
}

/// As [`select`], with the error for a selector that names none.
fn select_one(selector: &str, names: &[String]) -> Result<usize> {
    select(selector, names).ok_or_else(|| {
        let list: Vec<_> = names.iter().enumerate().map(|(i, n)| format!("{i} {n}")).collect();
        let why = if is_index(selector) { "there is no adapter with this index: " } else { "" };
        Error::value("adapter", format!("{selector:?}"), format!("{why}expected one of {}", list.join("; ")))
    })
}

/// The selector of all adapters.
const ALL: &str = "all";

/// The indices of the adapters that a list names, of adapters with these names, APIs and kinds.
fn select_several(list: &str, all: &[(String, wgpu::Backend, AdapterKind)]) -> Result<Vec<usize>> {
    let names: Vec<String> = all.iter().map(|(name, ..)| name.clone()).collect();
    if list.trim() == ALL {
        let Some((_, backend, kind)) = all.first() else { return Ok(Vec::new()) };
        // A GPU may be there once for each API. A software driver would only hold GPUs up.
        let has = |other: &(String, wgpu::Backend, AdapterKind)| {
            other.1 == *backend && (*kind == AdapterKind::Cpu || other.2 != AdapterKind::Cpu)
        };
        return Ok((0..all.len()).filter(|index| has(&all[*index])).collect());
    }
    // A name may have a comma.
    let is_indices = list.chars().all(|c| c.is_ascii_digit() || c.is_whitespace() || c == ',');
    match select(list, &names) {
        Some(index) if !is_indices || is_index(list) => Ok(vec![index]),
        _ => list.split(',').map(|selector| select_one(selector, &names)).collect(),
    }
}

impl Device {
    /// The capabilities of every adapter, in the order discrete, integrated, other, CPU. An index into this list selects an
    /// adapter in [`Device::open`].
    pub fn list() -> Vec<Caps> {
        let _lock = one_at_a_time();
        adapters::all().iter().map(|a| caps(a, a.features() & wanted(), &limits(a))).collect()
    }

    /// Opens a device on an adapter, selected by its index in [`Device::list`] or a part of its name; without a selector, on
    /// the first. Devices are opened one at a time in a process.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none, [`Error::Value`] if the selector matches none.
    pub fn open(selector: Option<&str>) -> Result<Device> {
        let _lock = one_at_a_time();
        let all = Self::found()?;
        let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
        let index = selector.map_or(Ok(0), |selector| select_one(selector, &names))?;
        Self::open_adapter(&all[index])
    }

    /// The indices of the adapters that a list names: selectors of [`Device::open`] separated by commas, or `all`, which are
    /// all of the first one's API, without CPU adapters where it is none.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn select(list: &str) -> Result<Vec<usize>> {
        let _lock = one_at_a_time();
        let adapter = |a: &wgpu::Adapter| {
            let info = a.get_info();
            (info.name, info.backend, adapters::kind(info.device_type))
        };
        select_several(list, &Self::found()?.iter().map(adapter).collect::<Vec<_>>())
    }

    /// Opens a device on each of these adapters, by index in [`Device::list`], one after another. An adapter may occur
    /// several times.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_each(indices: &[usize]) -> Result<Vec<Device>> {
        let _lock = one_at_a_time();
        let mut all = Self::found()?;
        let mut devices = Vec::new();
        for index in indices {
            let is_cpu = |a: &wgpu::Adapter| adapters::kind(a.get_info().device_type) == AdapterKind::Cpu;
            if !devices.is_empty() && all.get(*index).is_some_and(is_cpu) {
                // All devices of an instance of a software driver share its threads.
                all = Self::found()?;
            }
            let adapter = all.get(*index).ok_or_else(|| {
                Error::value("adapter", index, format!("expected an index below {}, the number of adapters", all.len()))
            })?;
            devices.push(Self::open_adapter(adapter)?);
        }
        Ok(devices)
    }

    /// The adapters of this machine: at least one.
    fn found() -> Result<Vec<wgpu::Adapter>> {
        let all = adapters::all();
        if all.is_empty() { Err(Error::NoAdapter) } else { Ok(all) }
    }

    fn open_adapter(adapter: &wgpu::Adapter) -> Result<Device> {
        let (device, queue) = pollster::block_on(adapter.request_device(&Self::descriptor(adapter)))
            .map_err(|e| Error::Device(open_error(&adapter.get_info().name, e.to_string())))?;
        let device = Device::from_wgpu(adapter, device, queue)?;
        device.record_faults();
        Ok(device)
    }

    /// What [`Device::open`] requests of an adapter: the features that kernels use, and its highest limits. For callers who
    /// open a device themselves.
    pub fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
        wgpu::DeviceDescriptor {
            label: Some("wgpt"),
            required_features: adapter.features() & wanted(),
            required_limits: limits(adapter),
            experimental_features: experimental_features(),
            ..Default::default()
        }
    }

    /// Uses a device that the caller opened. It must have WebGPU's default limits. Larger bindings and the features SUBGROUP,
    /// SHADER_INT64 and TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES are used if the device was opened with them.
    ///
    /// # Errors
    /// [`Error::Device`] with the limit that is missing.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Device> {
        let has = device.limits();
        let need = wgpu::Limits::default();
        for (name, got, expected) in [
            ("max_storage_buffer_binding_size", has.max_storage_buffer_binding_size, MINIMUM_BINDING),
            (
                "max_storage_buffers_per_shader_stage",
                u64::from(has.max_storage_buffers_per_shader_stage),
                u64::from(need.max_storage_buffers_per_shader_stage),
            ),
            (
                "max_compute_workgroup_storage_size",
                u64::from(has.max_compute_workgroup_storage_size),
                u64::from(need.max_compute_workgroup_storage_size),
            ),
            (
                "max_compute_invocations_per_workgroup",
                u64::from(has.max_compute_invocations_per_workgroup),
                u64::from(need.max_compute_invocations_per_workgroup),
            ),
            (
                "max_compute_workgroup_size_x",
                u64::from(has.max_compute_workgroup_size_x),
                u64::from(need.max_compute_workgroup_size_x),
            ),
            (
                "max_storage_textures_per_shader_stage",
                u64::from(has.max_storage_textures_per_shader_stage),
                u64::from(need.max_storage_textures_per_shader_stage),
            ),
            (
                "max_compute_workgroups_per_dimension",
                u64::from(has.max_compute_workgroups_per_dimension),
                u64::from(need.max_compute_workgroups_per_dimension),
            ),
        ] {
            within(|| format!("{name} of the caller's device"), expected, got)?;
        }
        let caps = caps(adapter, device.features(), &has);
        Ok(Device(Arc::new(Inner {
            device,
            queue,
            budget: Budget::new(caps.submission_flops()),
            caps,
            pipelines: Mutex::default(),
            bytes: AtomicU64::new(0),
            fault: Arc::default(),
        })))
    }

    /// The same device with fewer capabilities, to try the kernels of a smaller adapter on a larger one.
    pub fn narrowed(&self, narrow: impl FnOnce(&mut Caps)) -> Device {
        let mut caps = self.0.caps.clone();
        narrow(&mut caps);
        Device(Arc::new(Inner {
            device: self.0.device.clone(),
            queue: self.0.queue.clone(),
            budget: Budget::new(caps.submission_flops()),
            caps,
            pipelines: Mutex::default(),
            bytes: AtomicU64::new(0),
            fault: self.0.fault.clone(),
        }))
    }

    /// Its capabilities.
    pub fn caps(&self) -> &Caps {
        &self.0.caps
    }

    /// The underlying device, for work beside that of this crate.
    pub fn raw(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The underlying queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Bytes of all buffers and textures made so far.
    pub fn bytes_allocated(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of device memory that are in use, as the backend's allocator reports them; where it reports none, those of
    /// [`Device::bytes_allocated`].
    pub fn bytes_in_use(&self) -> u64 {
        let report = self.0.device.generate_allocator_report();
        report.map_or_else(|| self.bytes_allocated(), |report| report.total_allocated_bytes)
    }

    /// Floating-point operations after which a program's submission ends and the next one begins. It starts with
    /// [`Caps::submission_flops`] and is then measured while a model trains, so that a submission takes about 0.3 seconds:
    /// desktop drivers reset a device whose submission takes more than about two.
    pub fn submission_flops(&self) -> f64 {
        self.0.budget.flops()
    }

    /// Sets [`Device::submission_flops`], which is then no longer measured. Results do not depend on it.
    pub fn set_submission_flops(&self, flops: f64) {
        self.0.budget.fix(flops);
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Creates a resource. Errors of wgpu, which would be reported as a panic, are returned.
    pub(super) fn make<T>(&self, what: &str, make: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        let device = &self.0.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let rules = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make(device);
        let errors = [pollster::block_on(rules.pop()), pollster::block_on(memory.pop())];
        match errors.into_iter().flatten().next() {
            None => Ok(made),
            Some(error) => Err(Error::Device(device_error(what, &error))),
        }
    }

    /// Keeps the first error that no scope catches, and the loss of the device, for the next wait.
    fn record_faults(&self) {
        let record = |fault: &Fault| {
            let fault = fault.clone();
            move |error| {
                let mut first = fault.lock().unwrap_or_else(PoisonError::into_inner);
                // The loss of the device, and why it was lost, explain all other errors.
                let is_loss =
                    |error: &DeviceError| matches!(error, DeviceError::Lost(_) | DeviceError::OutOfMemory { .. });
                if first.as_ref().is_none_or(|first| is_loss(&error) && !is_loss(first)) {
                    *first = Some(error);
                }
            }
        };
        let uncaptured = record(&self.0.fault);
        self.0.device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| uncaptured(device_error("submission", &e))));
        let lost = record(&self.0.fault);
        self.0.device.set_device_lost_callback(move |reason, message| {
            lost(loss(if message.is_empty() { format!("{reason:?}") } else { message }));
        });
    }

    pub(super) fn count_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until the device has done all that was submitted.
    ///
    /// # Errors
    /// [`Error::Device`] if it is lost.
    pub fn wait(&self) -> Result<()> {
        self.poll_with(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until the device has done one submission and all before it.
    ///
    /// # Errors
    /// [`Error::Device`] if it is lost.
    pub(super) fn wait_for(&self, submission: &wgpu::SubmissionIndex) -> Result<()> {
        self.poll_with(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: None })
    }

    pub(super) fn poll(&self) -> Result<()> {
        self.poll_with(wgpu::PollType::Poll)
    }

    fn poll_with(&self, how: wgpu::PollType) -> Result<()> {
        let polled = self.0.device.poll(how);
        // A submission that wgpu refused is recorded as a fault, with the reason; waiting for it fails as well, without.
        self.check()?;
        polled.map(drop).map_err(|e| Error::rejected("polling the device", e))
    }

    /// Reports the first error that no scope caught.
    pub(super) fn check(&self) -> Result<()> {
        let fault = || self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(DeviceError::Rejected { .. }) = fault() {
            // What is made on a lost device is refused before wgpu reports the loss, which it does once nothing is submitted.
            let _ = self.0.device.poll(wgpu::PollType::wait_indefinitely());
        }
        Err(Error::Device(match fault() {
            None => return Ok(()),
            // Another thread may still be about to report the loss. Nothing else makes a resource invalid in silence.
            Some(DeviceError::Rejected { message, .. }) if message.contains(" is invalid") => {
                DeviceError::Lost(message)
            }
            Some(fault) => fault,
        }))
    }

    fn pipelines(&self) -> MutexGuard<'_, Pipelines> {
        self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The variants that were recorded for this device, in no particular order.
    pub fn variants(&self) -> Vec<Variant> {
        self.pipelines().by_variant.keys().cloned().collect()
    }

    /// The pipeline of a variant. Returns as soon as its bindings are known, while threads compile it.
    ///
    /// # Errors
    /// [`Error::Shader`] if naga rejects it, [`Error::Kernel`] if it exceeds a limit of the device.
    pub(super) fn pipeline(&self, variant: &Variant) -> Result<Pipeline> {
        if let Some(pipeline) = self.pipelines().by_variant.get(variant) {
            return Ok(pipeline.clone());
        }
        let parsed = kernel::parse(&self.0.device, &self.0.caps, variant)?;
        let pipelines = &mut *self.pipelines();
        // Another thread may have been faster.
        Ok(match pipelines.by_variant.entry(variant.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                pipelines.compiler.start(parsed.compilation.clone());
                entry.insert(parsed).clone()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::Backend::{Dx12, Vulkan};

    #[test]
    fn a_list_names_adapters_by_index_or_name() {
        let adapter = |name: &str, backend, kind| (name.to_string(), backend, kind);
        let (discrete, integrated, cpu) = (AdapterKind::Discrete, AdapterKind::Integrated, AdapterKind::Cpu);
        let all = [
            adapter("Radeon", Vulkan, discrete),
            adapter("Radeon", Dx12, discrete),
            adapter("Arc", Vulkan, integrated),
            adapter("llvmpipe (LLVM 15, 256 bits)", Vulkan, cpu),
        ];
        let select = |list: &str| select_several(list, &all);
        for (list, expected) in [
            ("0", &[0][..]),
            ("0,2", &[0, 2]),
            ("3,3", &[3, 3]),
            (" 2 , arc,0", &[2, 2, 0]),
            ("LLVM 15, 256", &[3]),
            ("all", &[0, 2]),
        ] {
            assert_eq!(select(list).expect(list), expected, "{list}");
        }
        assert_eq!(select_several("all", &all[3..]).expect("a CPU"), [0]);
        for (list, wrong) in [("0,4", "\"4\""), ("0,", "\"\""), (",", "\"\""), ("0,Voodoo", "\"Voodoo\"")] {
            let error = select(list).expect_err(list).to_string();
            assert!(error.contains(&format!("adapter = {wrong}")) && error.contains("2 Arc"), "{error}");
        }
    }
}
