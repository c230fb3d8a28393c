//! A variant as HLSL, and the compilers that take it.

use crate::{dxc::Dxc, fxc::Fxc};
use naga::back::hlsl::{self, ShaderModel};
use std::ffi::c_void;
use std::path::Path;
use wgpt::gpu::Variant;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The shader model that wgpu has FXC compile for.
pub const FXC_MODEL: ShaderModel = ShaderModel::V5_1;

/// A variant translated to HLSL, with wgpu's options for trusted modules without zeros in workgroup memory.
pub struct Source {
    pub text: String,
    pub entry_point: String,
    pub model: ShaderModel,
}

impl Source {
    /// # Errors
    /// If the variant is not valid, or HLSL of this shader model cannot express it.
    pub fn new(variant: &Variant, model: ShaderModel) -> Result<Self> {
        let module = variant.module()?;
        let options = hlsl::Options {
            shader_model: model,
            restrict_indexing: false,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module.module, &module.info, None)?;
        let entry_point =
            written.entry_point_names.into_iter().next().ok_or("no entry point")?.map_err(|e| e.to_string())?;
        Ok(Source { text, entry_point, model })
    }

    /// The profile that compilers know the shader model by.
    pub fn profile(&self) -> String {
        format!("cs_{}", self.model.to_str())
    }
}

/// A loaded compiler.
pub enum Compiler {
    Dxc(Dxc),
    Fxc(Fxc),
}

impl Compiler {
    /// # Errors
    /// If the file is not DXC.
    pub fn dxc(file: &Path) -> Result<Self> {
        Ok(Compiler::Dxc(Dxc::load(file)?))
    }

    /// # Errors
    /// If the file is not FXC.
    pub fn fxc(file: &Path) -> Result<Self> {
        Ok(Compiler::Fxc(Fxc::load(file)?))
    }

    pub fn name(&self) -> String {
        match self {
            Compiler::Dxc(dxc) => dxc.name(),
            Compiler::Fxc(_) => "FXC".into(),
        }
    }

    /// The shader models that variants are compiled for: the lowest that wgpu uses with the compiler, and DXC's highest.
    pub fn models(&self) -> Vec<ShaderModel> {
        match self {
            Compiler::Dxc(dxc) => vec![ShaderModel::V6_0, dxc.highest_model()],
            Compiler::Fxc(_) => vec![FXC_MODEL],
        }
    }

    /// Bytes of the compiled object.
    ///
    /// # Errors
    /// The compiler's messages.
    pub fn compile(&self, source: &Source) -> Result<usize> {
        match self {
            Compiler::Dxc(dxc) => dxc.compile(source),
            Compiler::Fxc(fxc) => fxc.compile(source),
        }
    }
}

/// A COM object, released on drop.
pub struct Com {
    object: *mut *const *const c_void,
    /// The index of the interface's first own method in the object's table, behind those of every object.
    first: usize,
}

/// Methods that every object has: `QueryInterface`, `AddRef`, `Release`.
pub const COMMON_METHODS: usize = 3;
const RELEASE: usize = 2;

impl Com {
    /// # Safety
    /// `object` is null, or a COM object whose reference the caller gives away, with its own methods from `first` on.
    pub unsafe fn new(object: *mut c_void, first: usize) -> Option<Self> {
        // Made only if there is an object, since dropping it releases.
        (!object.is_null()).then(|| Com { object: object.cast(), first })
    }

    pub fn this(&self) -> *mut c_void {
        self.object.cast()
    }

    /// A method that every object has.
    ///
    /// # Safety
    /// `index` is below [`COMMON_METHODS`], and `F` is the method's type.
    pub unsafe fn common<F: Copy>(&self, index: usize) -> F {
        const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
        // SAFETY: a COM object begins with the address of its table. The caller promises index and type.
        unsafe { std::mem::transmute_copy(&*(*self.object).add(index)) }
    }

    /// A method of the interface itself.
    ///
    /// # Safety
    /// The interface has so many methods, and `F` is the method's type.
    pub unsafe fn method<F: Copy>(&self, index: usize) -> F {
        // SAFETY: as the caller promises.
        unsafe { self.common(self.first + index) }
    }

    /// The bytes of a blob. Both compilers' blobs have address and size as their first methods.
    ///
    /// # Safety
    /// The object is an ID3DBlob or an IDxcBlob.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: as the caller promises. The memory is the blob's, which lives as long as this object.
        unsafe {
            let address: unsafe extern "system" fn(*mut c_void) -> *const u8 = self.method(0);
            let size: unsafe extern "system" fn(*mut c_void) -> usize = self.method(1);
            let (address, size) = (address(self.this()), size(self.this()));
            if address.is_null() { &[] } else { std::slice::from_raw_parts(address, size) }
        }
    }
}

impl Drop for Com {
    fn drop(&mut self) {
        // SAFETY: `Release` has this type, and the reference is owned.
        unsafe {
            let release: unsafe extern "system" fn(*mut c_void) -> u32 = self.common(RELEASE);
            release(self.this());
        }
    }
}
