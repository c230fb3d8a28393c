//! DXC, the compiler of shader models 6, in libdxcompiler.so or dxcompiler.dll.

use crate::compiler::{COMMON_METHODS, Com, Result, Source};
use naga::back::hlsl::ShaderModel;
use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;

/// A GUID as COM passes it.
#[repr(C)]
struct Guid(u32, u16, u16, [u8; 8]);

const COMPILER_CLASS: Guid = Guid(0x73e2_2d93, 0xe6ce, 0x47f3, [0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0]);
const COMPILER: Guid = Guid(0x228b_4687, 0x5a6a, 0x4730, [0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54]);
const RESULT: Guid = Guid(0x5834_6cda, 0xdde7, 0x4497, [0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59]);
const VERSION: Guid = Guid(0xb04f_5b50, 0x2059, 0x4f12, [0xa8, 0xff, 0xa1, 0xe0, 0xcd, 0xe1, 0xcc, 0x7e]);

const UTF8: u32 = 65001;

#[cfg(windows)]
type Wide = u16;
#[cfg(not(windows))]
type Wide = u32; // wchar_t

fn wide(text: &str) -> Vec<Wide> {
    // Options are ASCII.
    text.bytes().chain([0]).map(Wide::from).collect()
}

/// `DxcBuffer`
#[repr(C)]
struct Buffer {
    address: *const c_void,
    bytes: usize,
    encoding: u32,
}

type CreateInstance = unsafe extern "system" fn(*const Guid, *const Guid, *mut *mut c_void) -> i32;
type QueryInterface = unsafe extern "system" fn(*mut c_void, *const Guid, *mut *mut c_void) -> i32;
type GetVersion = unsafe extern "system" fn(*mut c_void, *mut u32, *mut u32) -> i32;
type Compile = unsafe extern "system" fn(
    *mut c_void,
    *const Buffer,
    *const *const Wide,
    u32,
    *mut c_void,
    *const Guid,
    *mut *mut c_void,
) -> i32;
type GetStatus = unsafe extern "system" fn(*mut c_void, *mut i32) -> i32;
type GetBlob = unsafe extern "system" fn(*mut c_void, *mut *mut c_void) -> i32;

/// Where an interface's own methods begin. On systems other than Windows, versions before 1.8, which do not know shader
/// model 6.8, have two destructors between them and those of every object (microsoft/DirectXShaderCompiler, pull request
/// 3793).
fn first_method(file: &Path) -> Result<usize> {
    let (library, newest) = (std::fs::read(file)?, b"cs_6_8");
    let is_old = cfg!(not(windows)) && !library.windows(newest.len()).any(|text| text == newest);
    Ok(COMMON_METHODS + if is_old { 2 } else { 0 })
}

/// The loaded library. Each compilation makes a compiler of its own, since one compiler belongs to one thread.
pub struct Dxc {
    create: CreateInstance,
    version: (u32, u32),
    /// The index of an interface's first own method.
    first_method: usize,
    _library: libloading::Library,
}

impl Dxc {
    /// # Errors
    /// If the file cannot be loaded, or makes no compiler of DXC's third interface.
    pub fn load(file: &Path) -> Result<Self> {
        // SAFETY: the caller names the file as DXC's. The function is kept with its library.
        let (library, create) = unsafe {
            let library = libloading::Library::new(file)?;
            let create = *library.get::<CreateInstance>(b"DxcCreateInstance\0")?;
            (library, create)
        };
        let mut dxc = Dxc { create, version: (1, 0), first_method: first_method(file)?, _library: library };
        let compiler = dxc.compiler()?;
        let (mut version, mut major, mut minor) = (null_mut(), 0, 0);
        // SAFETY: `QueryInterface` is the first method of every object; `GetVersion` the first of IDxcVersionInfo.
        unsafe {
            compiler.common::<QueryInterface>(0)(compiler.this(), &VERSION, &mut version);
            if let Some(version) = dxc.object(version)
                && version.method::<GetVersion>(0)(version.this(), &mut major, &mut minor) >= 0
            {
                dxc.version = (major, minor);
            }
        }
        Ok(dxc)
    }

    pub fn name(&self) -> String {
        format!("DXC {}.{}", self.version.0, self.version.1)
    }

    /// The shader model that wgpu takes the library's version for: 6.x for version 1.x.
    pub fn highest_model(&self) -> ShaderModel {
        let models = [
            ShaderModel::V6_0,
            ShaderModel::V6_1,
            ShaderModel::V6_2,
            ShaderModel::V6_3,
            ShaderModel::V6_4,
            ShaderModel::V6_5,
            ShaderModel::V6_6,
            ShaderModel::V6_7,
            ShaderModel::V6_8,
            ShaderModel::V6_9,
        ];
        models[(self.version.1 as usize).min(models.len() - 1)]
    }

    /// # Safety
    /// `object` is null or an object that this library made, whose reference the caller gives away.
    unsafe fn object(&self, object: *mut c_void) -> Option<Com> {
        // SAFETY: as the caller promises; all objects of a library have the same form.
        unsafe { Com::new(object, self.first_method) }
    }

    fn compiler(&self) -> Result<Com> {
        let mut compiler = null_mut();
        // SAFETY: the function makes an object of the interface, or leaves the address null.
        unsafe {
            let code = (self.create)(&COMPILER_CLASS, &COMPILER, &mut compiler);
            self.object(compiler).ok_or_else(|| format!("DXC makes no compiler: error {code:#x}").into())
        }
    }

    /// Bytes of the compiled object.
    ///
    /// # Errors
    /// The compiler's messages.
    pub fn compile(&self, source: &Source) -> Result<usize> {
        let profile = source.profile();
        // As wgpu, which enables 16-bit types on devices that have them: those are of shader model 6.2 or higher.
        let mut options = vec!["-E", &source.entry_point, "-T", &profile, "-HV", "2018", "-no-warnings", "-Ges"];
        if source.model > ShaderModel::V6_2 {
            options.push("-enable-16bit-types");
        }
        let options: Vec<Vec<Wide>> = options.into_iter().map(wide).collect();
        let arguments: Vec<*const Wide> = options.iter().map(|option| option.as_ptr()).collect();
        let buffer = Buffer { address: source.text.as_ptr().cast(), bytes: source.text.len(), encoding: UTF8 };
        let compiler = self.compiler()?;
        // SAFETY: `Compile` is the first method of IDxcCompiler3; status, object and messages are the first three of
        // IDxcOperationResult, from which IDxcResult inherits. Source and arguments live until `Compile` returns.
        unsafe {
            let mut result = null_mut();
            let code = compiler.method::<Compile>(0)(
                compiler.this(),
                &buffer,
                arguments.as_ptr(),
                arguments.len() as u32,
                null_mut(),
                &RESULT,
                &mut result,
            );
            let result = self.object(result).ok_or_else(|| format!("DXC gives no result: error {code:#x}"))?;
            let (mut status, mut object, mut messages) = (-1, null_mut(), null_mut());
            result.method::<GetStatus>(0)(result.this(), &mut status);
            result.method::<GetBlob>(1)(result.this(), &mut object);
            result.method::<GetBlob>(2)(result.this(), &mut messages);
            let (object, messages) = (self.object(object), self.object(messages));
            let message = messages.map_or(String::new(), |m| String::from_utf8_lossy(m.bytes()).into_owned());
            // Versions before 1.8 find the library that signs objects on Windows alone.
            let is_message =
                |line: &&str| !line.trim_matches(['\0', ' ']).is_empty() && !line.contains("DXIL.dll not found");
            match object {
                // wgpu takes every message for an error.
                Some(object) if status >= 0 && !message.lines().any(|line| is_message(&line)) => {
                    Ok(object.bytes().len())
                }
                _ => Err(format!("error {status:#x}: {message}").into()),
            }
        }
    }
}
