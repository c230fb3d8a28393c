//! A device of a Vulkan driver that reports statistics of compiled pipelines, and the compilation of a variant on it.

use ash::{khr::pipeline_executable_properties, vk};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use std::ffi::CStr;
use wgpt::gpu::wgsl::{BindingKind, Module};
use wgpt::gpu::{Device, Variant};
use wgpt::wgpu;
use wgpt::wgpu::hal::api::Vulkan;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// One number that a driver reports of a pipeline.
pub struct Statistic {
    pub name: String,
    pub value: f64,
}

/// A pipeline as a driver compiled it.
pub struct Compiled {
    pub subgroup_size: u32,
    pub statistics: Vec<Statistic>,
}

/// An opened device.
pub struct Driver {
    pub device: Device,
    raw: ash::Device,
    executables: pipeline_executable_properties::Device,
    /// The SPIR-V version that wgpu uses for the driver's version of Vulkan.
    spirv: (u8, u8),
    /// Whether a pipeline's subgroups may have several sizes.
    varying_subgroups: bool,
}

impl Driver {
    /// Opens the first Vulkan adapter as wgpt does, and the extension for statistics with it.
    pub fn open() -> Result<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let adapter = adapters.first().ok_or("no Vulkan adapter was found")?;
        let descriptor = Device::descriptor(adapter);
        let mut feature =
            vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
        // SAFETY: the callback only adds an extension and its feature. A driver without them refuses the device. The adapter
        // is that of this Vulkan instance, and the opened device goes nowhere but to `create_device_from_hal`.
        let (device, queue) = unsafe {
            let hal = adapter.as_hal::<Vulkan>().ok_or("the adapter is none of Vulkan")?;
            let instance = hal.shared_instance().raw_instance();
            let extensions = instance.enumerate_device_extension_properties(hal.raw_physical_device())?;
            let is_wanted =
                |e: &vk::ExtensionProperties| e.extension_name_as_c_str() == Ok(pipeline_executable_properties::NAME);
            if !extensions.iter().any(is_wanted) {
                let name = adapter.get_info().name;
                return Err(format!("{name}: its driver has no VK_KHR_pipeline_executable_properties").into());
            }
            let add: Box<wgpu::hal::vulkan::CreateDeviceCallback<'_>> = Box::new(|arguments| {
                arguments.extensions.push(pipeline_executable_properties::NAME);
                *arguments.create_info = arguments.create_info.push_next(&mut feature);
            });
            let (features, limits) = (descriptor.required_features, &descriptor.required_limits);
            let opened = hal.open_with_callback(features, limits, &descriptor.memory_hints, Some(add))?;
            adapter.create_device_from_hal(opened, &descriptor)?
        };
        // SAFETY: the handles are used while `device`, a field of the result, keeps them alive.
        let (raw, executables, version) = unsafe {
            let hal = device.as_hal::<Vulkan>().ok_or("the device is none of Vulkan")?;
            let instance = hal.shared_instance().raw_instance();
            let raw = hal.raw_device().clone();
            let properties = instance.get_physical_device_properties(hal.raw_physical_device());
            (raw.clone(), pipeline_executable_properties::Device::new(instance, &raw), properties.api_version)
        };
        let spirv = match (vk::api_version_major(version), vk::api_version_minor(version)) {
            (1, 0) => (1, 0),
            (1, 1) => (1, 3),
            (1, 2) => (1, 5),
            _ => (1, 6),
        };
        let varying_subgroups = descriptor.required_features.contains(wgpu::Features::SUBGROUP);
        let device = Device::from_wgpu(adapter, device, queue)?;
        Ok(Driver { device, raw, executables, spirv, varying_subgroups })
    }

    /// Compiles one of wgpt's own variants as wgpu does, and reads the driver's statistics.
    pub fn compile(&self, variant: &Variant) -> Result<Compiled> {
        let module = variant.module()?;
        let words = self.spirv(&module)?;
        let bindings: Vec<_> = module
            .bindings
            .iter()
            .map(|(number, kind)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(*number)
                    .descriptor_type(descriptor_type(*kind))
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let flags = match self.varying_subgroups {
            true => vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE,
            false => vk::PipelineShaderStageCreateFlags::empty(),
        };
        let name = std::ffi::CString::new(entry_point(&module))?;
        // SAFETY: naga validated the module, `bindings` are those of the module, and each object is destroyed after its last
        // use. On an error the process ends.
        unsafe {
            let layout = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set = self.raw.create_descriptor_set_layout(&layout, None)?;
            let sets = [set];
            let layout =
                self.raw.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None)?;
            let shader = self.raw.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(flags)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shader)
                .name(&name);
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .layout(layout)
                .stage(stage);
            let pipelines = self.raw.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = pipelines.map_err(|(_, e)| e)?[0];
            let compiled = self.statistics(pipeline);
            self.raw.destroy_pipeline(pipeline, None);
            self.raw.destroy_shader_module(shader, None);
            self.raw.destroy_pipeline_layout(layout, None);
            self.raw.destroy_descriptor_set_layout(set, None);
            compiled
        }
    }

    /// SPIR-V with the options that wgpu has for trusted modules without zeros in workgroup memory.
    fn spirv(&self, module: &Module) -> Result<Vec<u32>> {
        let binding = |number: u32| {
            let resource = naga::ResourceBinding { group: 0, binding: number };
            (resource, spv::BindingInfo { descriptor_set: 0, binding: number, binding_array_size: None })
        };
        let options = spv::Options {
            lang_version: self.spirv,
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            binding_map: module.bindings.iter().map(|(number, _)| binding(*number)).collect(),
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Unchecked,
                buffer: BoundsCheckPolicy::Unchecked,
                image_load: BoundsCheckPolicy::Unchecked,
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        let entry_point = entry_point(module).into();
        let pipeline = spv::PipelineOptions { entry_point, shader_stage: naga::ShaderStage::Compute };
        Ok(spv::write_vec(&module.module, &module.info, &options, Some(&pipeline))?)
    }

    /// # Safety
    /// The pipeline is of this device and was created with CAPTURE_STATISTICS.
    unsafe fn statistics(&self, pipeline: vk::Pipeline) -> Result<Compiled> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: as the caller promises. A value is read as the format says that comes with it.
        unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&info)?;
            let subgroup_size = properties.first().map_or(0, |executable| executable.subgroup_size);
            let mut statistics = Vec::new();
            for index in 0..properties.len() as u32 {
                let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(index);
                for statistic in self.executables.get_pipeline_executable_statistics(&info)? {
                    use vk::PipelineExecutableStatisticFormatKHR as Format;
                    let value = match statistic.format {
                        Format::BOOL32 => f64::from(statistic.value.b32),
                        Format::INT64 => statistic.value.i64 as f64,
                        Format::UINT64 => statistic.value.u64 as f64,
                        _ => statistic.value.f64,
                    };
                    let name = CStr::from_ptr(statistic.name.as_ptr()).to_string_lossy().into_owned();
                    statistics.push(Statistic { name, value });
                }
            }
            Ok(Compiled { subgroup_size, statistics })
        }
    }
}

/// The name of a module's only entry point.
fn entry_point(module: &Module) -> &str {
    &module.module.entry_points[0].name
}

fn descriptor_type(kind: BindingKind) -> vk::DescriptorType {
    match kind {
        BindingKind::Uniform(_) => vk::DescriptorType::UNIFORM_BUFFER,
        BindingKind::Read | BindingKind::ReadWrite => vk::DescriptorType::STORAGE_BUFFER,
        BindingKind::SampledImage => vk::DescriptorType::SAMPLED_IMAGE,
        _ => vk::DescriptorType::STORAGE_IMAGE,
    }
}
