//! The threads of Mesa's software driver. It runs each dispatch on all cores, but one dispatch after another: several devices
//! with a thread each finish the parts of a batch sooner than one device with several threads.

/// The variable that limits the threads of a device. It is read when the device is made.
#[cfg(target_os = "linux")]
const THREADS: &str = "LP_NUM_THREADS";

/// Lets Mesa's software driver divide the cores of this machine among so many devices that are made later. Call it first in
/// `main`: in a process with several threads, where the user limits the threads, and on other systems than Linux, it does
/// nothing and returns false.
pub fn divide_cores(devices: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads == 1 && std::env::var_os(THREADS).is_none() {
            // SAFETY: changing the environment is sound while no other thread reads or writes it. This process has one thread;
            // a thread that foreign code starts between the count and this call would make that false.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var(THREADS, cores.div_ceil(devices.max(1)).to_string());
            }
            return true;
        }
    }
    let _ = devices;
    false
}
