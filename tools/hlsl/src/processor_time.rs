//! The processor time of the calling thread, which other work of the machine does not change.

use std::time::Duration;

/// Processor time of this thread since it started; `None` where the system does not tell it.
#[cfg(windows)]
pub fn processor_time() -> Option<Duration> {
    use std::ffi::c_void;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThread() -> *mut c_void;
        fn GetThreadTimes(thread: *mut c_void, start: *mut u64, end: *mut u64, kernel: *mut u64, user: *mut u64)
        -> i32;
    }
    // Times are two halves of a number of 64 bits, of units of 100 ns.
    let (mut start, mut end, mut kernel, mut user) = (0, 0, 0, 0);
    // SAFETY: the handle is valid in its own thread, and the numbers live until the call returns.
    let told = unsafe { GetThreadTimes(GetCurrentThread(), &mut start, &mut end, &mut kernel, &mut user) };
    (told != 0).then(|| Duration::from_nanos(100 * (kernel + user)))
}

/// Processor time of this thread since it started; `None` where the system does not tell it.
#[cfg(not(windows))]
pub fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
