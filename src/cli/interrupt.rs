//! Interruption of a run by Ctrl-C, SIGTERM, or the end of its terminal (SIGHUP).
//!
//! After the first signal the run finishes its step and saves; the second signal ends the program at once. A SIGHUP that is
//! ignored, as under `nohup`, stays ignored.

use super::stop::INTERRUPTED;
use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// SIGHUP, which Windows does not have.
const HANGUP: i32 = 1;

/// Returns a flag that becomes true at the first signal from now on.
///
/// # Errors
/// [`Error::Io`] where the system accepts no signal handler.
pub(super) fn flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup()) {
        // The order matters: the shutdown handler runs first, so the first signal finds the flag false.
        let registered = register_conditional_shutdown(signal, INTERRUPTED.into(), flag.clone())
            .and_then(|_| register(signal, flag.clone()));
        registered.map_err(|e| Error::io("signal handler", e))?;
    }
    Ok(flag)
}

/// SIGHUP, unless this process ignores it. Only Linux lists ignored signals; elsewhere SIGHUP keeps its default handling, so
/// that `nohup` works.
fn hangup() -> Option<i32> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    // The bit of signal 1, SIGHUP.
    (ignored & 1 == 0).then_some(HANGUP)
}
