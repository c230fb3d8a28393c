//! The adapters of this machine, on DX12 with the better of Microsoft's two shader compilers.

use super::caps::AdapterKind;

pub(super) fn kind(device_type: wgpu::DeviceType) -> AdapterKind {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Cpu,
        _ => AdapterKind::Other,
    }
}

/// The adapters of these APIs, with a compiler for those of DX12.
fn enumerate(backends: wgpu::Backends, dx12_compiler: wgpu::Dx12Compiler) -> Vec<wgpu::Adapter> {
    let mut backend_options = wgpu::BackendOptions::default();
    backend_options.dx12.shader_compiler = dx12_compiler;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        backend_options,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(backends))
}

/// DXC, Microsoft's compiler for shader models 6: the one in this program, or the library beside it. A library elsewhere on
/// the search path is not used, since wgpu needs a recent version, and an old one would refuse every shader.
fn dxc() -> Option<wgpu::Dx12Compiler> {
    // wgpu's own condition for the compiler in the program.
    if cfg!(all(feature = "static-dxc", windows, target_env = "msvc", not(target_arch = "aarch64"))) {
        return Some(wgpu::Dx12Compiler::StaticDxc);
    }
    if !cfg!(windows) {
        return None;
    }
    let library = std::env::current_exe().ok()?.with_file_name("dxcompiler.dll");
    library.is_file().then(|| library.to_str().map(|path| wgpu::Dx12Compiler::DynamicDxc { dxc_path: path.into() }))?
}

/// All adapters, in the order discrete, integrated, other, CPU.
pub(super) fn all() -> Vec<wgpu::Adapter> {
    // The GL backend lists a second llvmpipe and prints noise.
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut all = match dxc() {
        None => enumerate(backends, wgpu::Dx12Compiler::Fxc),
        Some(dxc) => {
            let mut all = enumerate(backends, dxc);
            // Adapters of shader model 5.1 are there with FXC alone, and so are all if DXC cannot be loaded.
            let found: Vec<wgpu::AdapterInfo> = all.iter().map(wgpu::Adapter::get_info).collect();
            let mut others = enumerate(wgpu::Backends::DX12, wgpu::Dx12Compiler::Fxc);
            others.retain(|other| is_missing(&other.get_info(), &found));
            all.append(&mut others);
            all
        }
    };
    let rank = |a: &wgpu::Adapter| match kind(a.get_info().device_type) {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Other => 2,
        AdapterKind::Cpu => 3,
    };
    all.sort_by_key(rank);
    all
}

/// Whether an adapter is not among those found with another compiler.
fn is_missing(adapter: &wgpu::AdapterInfo, found: &[wgpu::AdapterInfo]) -> bool {
    let key = |a: &wgpu::AdapterInfo| (a.backend, a.vendor, a.device, a.device_pci_bus_id.clone(), a.name.clone());
    !found.iter().any(|other| key(other) == key(adapter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_listed_with_one_compiler() {
        let info = |name: &str, device: u32, backend| {
            let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, backend);
            (info.name, info.device) = (name.into(), device);
            info
        };
        let found = [info("A", 1, wgpu::Backend::Dx12), info("B", 2, wgpu::Backend::Vulkan)];
        assert!(!is_missing(&info("A", 1, wgpu::Backend::Dx12), &found));
        assert!(is_missing(&info("B", 2, wgpu::Backend::Dx12), &found), "found on Vulkan alone");
        assert!(is_missing(&info("A", 3, wgpu::Backend::Dx12), &found), "another device of that name");
    }
}
