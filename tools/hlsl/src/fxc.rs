//! FXC, the compiler of shader model 5.1, in d3dcompiler_47.dll.

use crate::compiler::{COMMON_METHODS, Com, Result, Source};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

type D3DCompile = unsafe extern "system" fn(
    source: *const c_void,
    bytes: usize,
    name: *const c_char,
    defines: *const c_void,
    include: *mut c_void,
    entry_point: *const c_char,
    profile: *const c_char,
    flags: u32,
    effect_flags: u32,
    object: *mut *mut c_void,
    messages: *mut *mut c_void,
) -> i32;

/// `D3DCOMPILE_ENABLE_STRICTNESS`, as wgpu.
const STRICT: u32 = 1 << 11;

/// The loaded compiler. Its function may be called by several threads.
pub struct Fxc {
    compile: D3DCompile,
    _library: libloading::Library,
}

impl Fxc {
    /// # Errors
    /// If the file cannot be loaded, or has no `D3DCompile`.
    pub fn load(file: &Path) -> Result<Self> {
        // SAFETY: the caller names the file as FXC's. The function is kept with its library.
        unsafe {
            let library = libloading::Library::new(file)?;
            let compile = *library.get::<D3DCompile>(b"D3DCompile\0")?;
            Ok(Fxc { compile, _library: library })
        }
    }

    /// Bytes of the compiled object.
    ///
    /// # Errors
    /// The compiler's messages.
    pub fn compile(&self, source: &Source) -> Result<usize> {
        let (entry_point, profile) = (CString::new(source.entry_point.as_str())?, CString::new(source.profile())?);
        let (mut object, mut messages) = (null_mut(), null_mut());
        // SAFETY: texts live until the call returns, and both results are blobs that this function owns then.
        unsafe {
            let code = (self.compile)(
                source.text.as_ptr().cast(),
                source.text.len(),
                null(),
                null(),
                null_mut(),
                entry_point.as_ptr(),
                profile.as_ptr(),
                STRICT,
                0,
                &mut object,
                &mut messages,
            );
            let (object, messages) = (Com::new(object, COMMON_METHODS), Com::new(messages, COMMON_METHODS));
            match object {
                Some(object) if code >= 0 => Ok(object.bytes().len()),
                _ => {
                    let message = messages.map(|m| String::from_utf8_lossy(m.bytes()).into_owned());
                    Err(message.unwrap_or_else(|| format!("error {code:#x} without a message")).into())
                }
            }
        }
    }
}
