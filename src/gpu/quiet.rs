//! Drivers that talk where nobody asked. Mesa's device-select layer writes "XDG_RUNTIME_DIR is invalid" to stderr, once an
//! instance, on every machine without a desktop; the layer only sorts adapters, and [`Device::list`] sorts them anyway.
//!
//! [`Device::list`]: super::Device::list

/// Keeps the layer out of this process where it would only complain: on Linux, without XDG_RUNTIME_DIR, when nobody uses
/// the layer's own choices, and while this is the only thread. To be called first in `main`; elsewhere it does nothing.
pub fn headless() {
    #[cfg(target_os = "linux")]
    {
        let asked = ["XDG_RUNTIME_DIR", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads == 1 && asked.iter().all(|name| std::env::var_os(name).is_none()) {
            // SAFETY: the process has one thread, this one, so nobody reads the environment while it changes.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var("NODEVICE_SELECT", "1");
            }
        }
    }
}
