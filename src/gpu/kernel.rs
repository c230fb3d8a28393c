//! A variant of a kernel, as data, and the pipelines made from it.

use super::wgsl::{self, BindingKind, Module};
use super::{Caps, template};
use crate::{Error, Result};

/// One text: a shader file with the numbers, aliases and library choices of a Spec. Equal variants share a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel's stem: label, test name, error name.
    pub stem: &'static str,
    /// The shader file's text.
    pub body: &'static str,
    /// Constants of the prelude.
    pub constants: Vec<(&'static str, u32)>,
    /// Type aliases of the prelude.
    pub aliases: Vec<(&'static str, &'static str)>,
    /// Which library file answers an import.
    pub imports: Vec<(&'static str, &'static str)>,
}

impl Variant {
    /// A variant without choices.
    pub fn new(stem: &'static str, body: &'static str) -> Self {
        Variant { stem, body, constants: Vec::new(), aliases: Vec::new(), imports: Vec::new() }
    }

    /// Adds a constant.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// Adds a type alias.
    pub fn alias(mut self, name: &'static str, target: &'static str) -> Self {
        self.aliases.push((name, target));
        self
    }

    /// Lets library file `file` answer `#import name`.
    pub fn import(mut self, name: &'static str, file: &'static str) -> Self {
        self.imports.push((name, file));
        self
    }

    /// The whole text, as the driver's compiler gets it through naga.
    ///
    /// # Errors
    /// [`Error::Shader`] for an unknown library file, name or directive.
    pub fn text(&self) -> Result<String> {
        template::expand(self.stem, self.body, &self.constants, &self.aliases, &self.imports)
    }

    /// The text, parsed and validated by naga.
    ///
    /// # Errors
    /// [`Error::Shader`].
    pub fn module(&self) -> Result<Module> {
        wgsl::compile(self.stem, self.text()?)
    }

    /// What nothing else checks: workgroup memory and size against the device's limits.
    ///
    /// # Errors
    /// [`Error::Kernel`] with both numbers.
    pub fn fits(&self, module: &Module, caps: &Caps) -> Result<()> {
        let error = |message: String| Err(Error::Kernel { kernel: self.stem.into(), message });
        if module.workgroup_bytes > caps.max_workgroup_bytes {
            return error(format!(
                "{} bytes of workgroup memory, the device has {}",
                module.workgroup_bytes, caps.max_workgroup_bytes
            ));
        }
        if module.workgroup_size > caps.max_workgroup_size {
            return error(format!(
                "{} invocations a group, the device allows {}",
                module.workgroup_size, caps.max_workgroup_size
            ));
        }
        let buffers = module.bindings.iter().filter(|b| matches!(b.1, BindingKind::Read | BindingKind::ReadWrite));
        let buffers = buffers.count() as u32;
        if buffers > caps.max_storage_buffers {
            return error(format!("{buffers} storage buffers, the device allows {}", caps.max_storage_buffers));
        }
        Ok(())
    }
}

/// A compiled variant with its bindings.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    bindings: std::sync::Arc<[(u32, BindingKind)]>,
}

impl Pipeline {
    /// Bytes of the parameters, the uniform at binding 0, if the kernel has one.
    pub fn uniform_bytes(&self) -> Option<u32> {
        match self.bindings.first() {
            Some(&(0, BindingKind::Uniform(bytes))) => Some(bytes),
            _ => None,
        }
    }

    /// The bindings of tensors: numbers in ascending order, with kinds.
    pub fn tensors(&self) -> &[(u32, BindingKind)] {
        &self.bindings[usize::from(self.uniform_bytes().is_some())..]
    }
}

/// Compiles a variant.
///
/// # Errors
/// [`Error::Shader`] if naga or the driver rejects it, [`Error::Kernel`] if it exceeds a limit of the device.
pub(super) fn build(raw: &wgpu::Device, caps: &Caps, variant: &Variant) -> Result<Pipeline> {
    let module = variant.module()?;
    variant.fits(&module, caps)?;
    let (plane, array) = (wgpu::TextureViewDimension::D2, wgpu::TextureViewDimension::D2Array);
    let storage = |access, view_dimension| wgpu::BindingType::StorageTexture {
        access,
        format: wgpu::TextureFormat::Rgba32Float,
        view_dimension,
    };
    let entries: Vec<_> = module
        .bindings
        .iter()
        .map(|&(binding, kind)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: match kind {
                BindingKind::Uniform(bytes) => wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: false,
                    min_binding_size: std::num::NonZeroU64::new(u64::from(bytes)),
                },
                BindingKind::Read | BindingKind::ReadWrite => wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: kind == BindingKind::Read },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                BindingKind::StorageImage => storage(wgpu::StorageTextureAccess::ReadOnly, plane),
                BindingKind::StorageArray => storage(wgpu::StorageTextureAccess::ReadOnly, array),
                BindingKind::WriteImage => storage(wgpu::StorageTextureAccess::WriteOnly, plane),
                BindingKind::UpdateImage => storage(wgpu::StorageTextureAccess::ReadWrite, plane),
                BindingKind::SampledImage => wgpu::BindingType::Texture {
                    sample_type: wgpu::TextureSampleType::Float { filterable: false },
                    view_dimension: wgpu::TextureViewDimension::D2,
                    multisampled: false,
                },
            },
            count: None,
        })
        .collect();
    let bindings: std::sync::Arc<[_]> = module.bindings.clone().into();
    let scope = raw.push_error_scope(wgpu::ErrorFilter::Validation);
    let layout =
        raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(variant.stem), entries: &entries });
    let pipeline_layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(variant.stem),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let source = wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module.module));
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(variant.stem), source };
    // SAFETY: the registry's tests run every variant with fenced buffers: no index leaves its binding, no loop is endless,
    // no divisor is zero.
    #[allow(unsafe_code)]
    let shader = unsafe { raw.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
    let pipeline = raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(variant.stem),
        layout: Some(&pipeline_layout),
        module: &shader,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    if let Some(e) = pollster::block_on(scope.pop()) {
        return Err(Error::Shader { shader: variant.stem.into(), message: e.to_string() });
    }
    Ok(Pipeline { raw: pipeline, layout, bindings })
}
