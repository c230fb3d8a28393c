//! Variants of kernels, as data, and the pipelines compiled from them.

use super::compile::{Compilation, Failure, Source};
use super::fault::device_error;
use super::wgsl::{self, BindingKind, Module};
use super::{Caps, template};
use crate::error::DeviceError;
use crate::{Error, Result};
use std::sync::Arc;

/// One text of a kernel: a shader file with the constants, aliases and library files of a Spec. Equal variants share a
/// pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel's stem: the pipeline's label and the kernel of errors.
    pub stem: &'static str,
    /// The shader file's text.
    pub body: &'static str,
    /// Constants at the start of the module.
    pub constants: Vec<(&'static str, u32)>,
    /// Type aliases at the start of the module.
    pub aliases: Vec<(&'static str, &'static str)>,
    /// Names that the shader imports, with the library files to insert for them.
    pub imports: Vec<(&'static str, &'static str)>,
    checks: Checks,
}

/// What keeps a kernel from accessing memory outside its bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Checks {
    /// Checks of bounds, loops and divisors that naga writes into the shader.
    Shader,
    /// The kernel itself, which has no such access.
    Kernel,
    /// The driver: loads past the end give 0, and stores past the end are dropped.
    Driver,
}

impl Variant {
    /// A variant of a caller's shader, without constants. naga adds checks of bounds, loops and divisors to it.
    pub fn new(stem: &'static str, body: &'static str) -> Self {
        let (constants, aliases, imports) = (Vec::new(), Vec::new(), Vec::new());
        Variant { stem, body, constants, aliases, imports, checks: Checks::Shader }
    }

    /// A variant of one of this crate's kernels, compiled without checks. See the safety comment of `shader_module` for what such a
    /// kernel has to fulfill.
    pub(crate) fn trusted(stem: &'static str, body: &'static str) -> Self {
        Variant { checks: Checks::Kernel, ..Variant::new(stem, body) }
    }

    /// Marks a kernel that loads and stores past the end of buffers and images on purpose, instead of branching, and
    /// needs a driver on which such loads give 0 and such stores are dropped. No other driver gets it.
    pub(crate) fn relies_on_robust_access(mut self) -> Self {
        self.checks = Checks::Driver;
        self
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

    /// Inserts library file `file` where the shader imports `name`.
    pub fn import(mut self, name: &'static str, file: &'static str) -> Self {
        self.imports.push((name, file));
        self
    }

    /// Its constants, aliases and imported files in a line, without the files that every variant for GPUs has.
    pub fn settings(&self) -> String {
        const USUAL: [&str; 5] =
            ["input_buffer", "update_buffer", "reduce_shared", "head_read_vec4", "head_write_vec4"];
        let constants = self.constants.iter().map(|(name, value)| format!("{name}={value}"));
        let aliases = self.aliases.iter().map(|(name, target)| format!("{name}={target}"));
        let own = self.imports.iter().filter(|(name, file)| name != file && !USUAL.contains(file));
        let imports = own.map(|(_, file)| (*file).to_string());
        constants.chain(aliases).chain(imports).collect::<Vec<_>>().join(" ")
    }

    /// The whole text, with all directives of the template carried out.
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

    /// Checks workgroup memory, workgroup size and storage buffers against the device's limits, since naga does not.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the number found and the limit.
    pub fn fits(&self, module: &Module, caps: &Caps) -> Result<()> {
        let buffers = module.bindings.iter().filter(|b| matches!(b.1, BindingKind::Read | BindingKind::ReadWrite));
        let quantities = [
            (module.workgroup_bytes, "bytes of workgroup memory", caps.max_workgroup_bytes),
            (module.workgroup_size, "invocations a group", caps.max_workgroup_size),
            (buffers.count() as u32, "storage buffers", caps.max_storage_buffers),
        ];
        match quantities.iter().find(|(found, _, limit)| found > limit) {
            Some((found, what, limit)) => {
                let error = Error::kernel(self.stem, format!("{found} {what}"));
                Err(error.expected(format!("the device allows {limit}")))
            }
            None => Ok(()),
        }
    }
}

/// A variant with its bindings, and its pipeline, which another thread may still compile.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub layout: wgpu::BindGroupLayout,
    pub compilation: Arc<Compilation<Checked>>,
    stem: &'static str,
    bindings: Arc<[(u32, BindingKind)]>,
}

impl Pipeline {
    /// The compiled pipeline. Waits for its compilation.
    ///
    /// # Errors
    /// [`Error::Shader`] if the driver rejects it, [`Error::Device`] if the device has no memory left or is lost.
    pub fn raw(&self) -> Result<&wgpu::ComputePipeline> {
        self.compilation.result().map_err(|failure| match failure {
            Failure::Device(error) => Error::Device(error.clone()),
            Failure::Shader(message) => shader_error(self.stem, message.clone()),
        })
    }

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

fn shader_error(stem: &str, message: String) -> Error {
    Error::Shader { shader: stem.into(), message }
}

/// A variant that naga accepts and that fits the device: all that a driver needs for its pipeline.
pub(super) struct Checked {
    device: wgpu::Device,
    stem: &'static str,
    module: naga::Module,
    layout: wgpu::PipelineLayout,
    checks: Checks,
}

/// Parses a variant and makes its layout. The pipeline is still to be compiled.
///
/// # Errors
/// [`Error::Shader`] if naga rejects it, [`Error::Kernel`] if it exceeds a limit of the device.
pub(super) fn parse(raw: &wgpu::Device, caps: &Caps, variant: &Variant) -> Result<Pipeline> {
    let module = variant.module()?;
    variant.fits(&module, caps)?;
    if variant.checks == Checks::Driver && !caps.reads_images() {
        let found = format!("the driver of {} is not known to drop stores past the end", caps.name);
        return Err(Error::kernel(variant.stem, found).expected("expected a driver that does"));
    }
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
    let scope = raw.push_error_scope(wgpu::ErrorFilter::Validation);
    let layout =
        raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(variant.stem), entries: &entries });
    let pipeline_layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(variant.stem),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    if let Some(e) = pollster::block_on(scope.pop()) {
        return Err(shader_error(variant.stem, e.to_string()));
    }
    let checked = Checked {
        device: raw.clone(),
        stem: variant.stem,
        module: module.module,
        layout: pipeline_layout,
        checks: variant.checks,
    };
    let compilation = Arc::new(Compilation::new(checked));
    Ok(Pipeline { layout, compilation, stem: variant.stem, bindings: module.bindings.into() })
}

impl Source for Checked {
    fn compile(self) -> Result<wgpu::ComputePipeline, Failure> {
        // Error scopes are those of a thread.
        let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let source = wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(self.module));
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(self.stem), source };
        let shader = shader_module(&self.device, descriptor, self.checks);
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.stem),
            layout: Some(&self.layout),
            module: &shader,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let errors: Vec<_> = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).collect();
        errors.first().map_or(Ok(pipeline), |error| {
            Err(match device_error(&format!("compiling kernel `{}`", self.stem), error) {
                DeviceError::Rejected { .. } => Failure::Shader(error.to_string()),
                error => Failure::Device(error),
            })
        })
    }
}

#[allow(unsafe_code)]
fn shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
    checks: Checks,
) -> wgpu::ShaderModule {
    match checks {
        Checks::Shader => device.create_shader_module(descriptor),
        // SAFETY: an unchecked module must not access memory outside its bindings, loop without end or divide by zero.
        // - `Checks::Kernel`: only kernels of src/ops are trusted. Their launchers compare every tensor with the capacity, the
        //   recorder refuses grids above it, and tests run every variant of the registry with guard values around each
        //   output. A launcher that does not check a tensor, an index list with rows past the end of its table, or a kernel
        //   outside the registry would make this false.
        // - `Checks::Driver`: these kernels do access memory past the end. `parse` accepts them only where
        //   `Caps::reads_images` holds: llvmpipe compares every index with the size of the binding, whether or not the shader
        //   does. Another driver for which `reads_images` holds, or an llvmpipe without that comparison, would make this
        //   false.
        Checks::Kernel | Checks::Driver => unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_variant_are_a_line() {
        let variant = Variant::new("kernel", "").constant("D", 64).alias("Scalar", "f16");
        let variant =
            variant.import("pack", "pack").import("input", "input_buffer").import("epilogue", "epilogue_bias");
        assert_eq!(variant.settings(), "D=64 Scalar=f16 epilogue_bias");
    }
}
