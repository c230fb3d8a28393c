//! Shader text through naga: parsing, validation, and what a module binds.

use crate::{Error, Result};

/// What a module binds at a number of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// The dispatch's parameters, of this many bytes.
    Uniform(u32),
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
    /// `texture_storage_2d<rgba32float, read>`
    StorageImage,
    /// `texture_storage_2d_array<rgba32float, read>`
    StorageArray,
    /// `texture_storage_2d<rgba32float, write>`
    WriteImage,
    /// `texture_storage_2d<rgba32float, read_write>`
    UpdateImage,
    /// `texture_2d<f32>`
    SampledImage,
}

/// A module that naga accepts.
pub struct Module {
    /// The text.
    pub text: String,
    /// naga's module.
    pub module: naga::Module,
    /// The results of naga's validation.
    pub info: naga::valid::ModuleInfo,
    /// Binding numbers in ascending order, with kinds.
    pub bindings: Vec<(u32, BindingKind)>,
    /// Bytes of workgroup memory that it declares.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
}

/// The capabilities that kernels may use in some variants: 64-bit integers, subgroups, 16-bit floats, arrays of images,
/// cooperative matrices.
pub fn capabilities() -> naga::valid::Capabilities {
    use naga::valid::Capabilities as C;
    C::SHADER_INT64 | C::SUBGROUP | C::SHADER_FLOAT16 | C::STORAGE_TEXTURE_BINDING_ARRAY | C::COOPERATIVE_MATRIX
}

/// Parses and validates a text, and reads its bindings.
///
/// # Errors
/// [`Error::Shader`] with naga's message.
pub fn compile(stem: &str, text: String) -> Result<Module> {
    let error = |message: String| Error::Shader { shader: stem.into(), message };
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| error(e.emit_to_string(&text)))?;
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities())
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| error(e.emit_to_string(&text)))?;
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| error(e.to_string()))?;
    for (_, variable) in module.global_variables.iter() {
        if variable.space == naga::AddressSpace::WorkGroup {
            workgroup_bytes += layouter[variable.ty].size;
        }
        let Some(binding) = variable.binding else { continue };
        let kind = match (variable.space, &module.types[variable.ty].inner) {
            (naga::AddressSpace::Uniform, _) => BindingKind::Uniform(layouter[variable.ty].size),
            (naga::AddressSpace::Storage { access }, _) if access.contains(naga::StorageAccess::STORE) => {
                BindingKind::ReadWrite
            }
            (naga::AddressSpace::Storage { .. }, _) => BindingKind::Read,
            (_, &naga::TypeInner::Image { class: naga::ImageClass::Storage { access, .. }, arrayed, .. }) => {
                let (load, store) =
                    (access.contains(naga::StorageAccess::LOAD), access.contains(naga::StorageAccess::STORE));
                match (load, store) {
                    (true, false) if arrayed => BindingKind::StorageArray,
                    (true, false) => BindingKind::StorageImage,
                    (false, _) => BindingKind::WriteImage,
                    (true, true) => BindingKind::UpdateImage,
                }
            }
            (_, naga::TypeInner::Image { .. }) => BindingKind::SampledImage,
            (space, _) => return Err(error(format!("binding {} in {space:?}", binding.binding))),
        };
        if binding.group != 0 {
            return Err(error(format!("binding {} is in group {}: expected 0", binding.binding, binding.group)));
        }
        bindings.push((binding.binding, kind));
    }
    bindings.sort_by_key(|(n, _)| *n);
    let [entry] = module.entry_points.as_slice() else {
        return Err(error(format!("{} entry points: expected one", module.entry_points.len())));
    };
    let workgroup_size = entry.workgroup_size.iter().product();
    Ok(Module { text, info, bindings, workgroup_bytes, workgroup_size, module })
}
