//! Prevents messages of drivers that concern no user. Mesa's device-select layer writes "XDG_RUNTIME_DIR is invalid" to
//! stderr for every instance on a machine without a desktop. The layer only sorts adapters, as [`Device::list`] does itself.
//!
//! [`Device::list`]: super::Device::list

/// Turns the layer off for this process on Linux if XDG_RUNTIME_DIR is not set and no variable of the layer is. Call it
/// first in `main`: in a process with several threads it does nothing.
pub fn headless() {
    #[cfg(target_os = "linux")]
    {
        let variables = ["XDG_RUNTIME_DIR", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads == 1 && variables.iter().all(|name| std::env::var_os(name).is_none()) {
            // SAFETY: changing the environment is sound while no other thread reads or writes it. This process has one thread;
            // a thread that foreign code starts between the count and this call would make that false.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var("NODEVICE_SELECT", "1");
            }
        }
    }
}
