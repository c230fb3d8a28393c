//! Interruption of a run by Ctrl-C, SIGTERM, SIGUSR1 (which launchers pass on), or the end of its terminal (SIGHUP); on Windows
//! by Ctrl-C.
//!
//! After the first signal the run finishes its step and saves; the second signal ends the program at once. A SIGHUP that is
//! ignored, as under `nohup`, stays ignored.

use super::stop::INTERRUPTED;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Returns a flag that becomes true at the first signal from now on.
///
/// # Errors
/// [`Error::Io`] where the system accepts no signal handler.
#[cfg(unix)]
pub(super) fn flag() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGUSR1].into_iter().chain(hangup()) {
        // The order matters: the shutdown handler runs first, so the first signal finds the flag false.
        let registered = register_conditional_shutdown(signal, INTERRUPTED.into(), flag.clone())
            .and_then(|_| register(signal, flag.clone()));
        registered.map_err(|e| Error::io("signal handler", e))?;
    }
    Ok(flag)
}

/// Calls `notice` on a thread at every SIGTERM, with which mpirun ends a job a second before it kills it.
///
/// # Errors
/// [`Error::Io`] where the system accepts no signal handler.
#[cfg(all(unix, feature = "mpi"))]
pub(super) fn at_termination(notice: impl Fn() + Send + 'static) -> Result<()> {
    let failed = |e| Error::io("signal handler", e);
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).map_err(failed)?;
    let work = move || signals.forever().for_each(|_| notice());
    std::thread::Builder::new().name("signals".into()).spawn(work).map_err(failed)?;
    Ok(())
}

/// As [`flag`], for a program with nothing to save: the other signals end it at once.
///
/// # Errors
/// As [`flag`].
#[cfg(unix)]
pub(super) fn flag_of_ctrl_c() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let flag = Arc::new(AtomicBool::new(false));
    let always = Arc::new(AtomicBool::new(true));
    let shutdown =
        |signal, when: &Arc<AtomicBool>| register_conditional_shutdown(signal, INTERRUPTED.into(), when.clone());
    let all = [SIGTERM].into_iter().chain(hangup()).try_for_each(|signal| shutdown(signal, &always).map(drop));
    let registered = all.and_then(|()| shutdown(SIGINT, &flag)).and_then(|_| register(SIGINT, flag.clone()));
    registered.map_err(|e| Error::io("signal handler", e))?;
    Ok(flag)
}

/// As [`flag`]: there is no other signal.
///
/// # Errors
/// As [`flag`].
#[cfg(windows)]
pub(super) fn flag_of_ctrl_c() -> Result<Arc<AtomicBool>> {
    flag()
}

/// SIGHUP, unless this process ignores it. Only Linux lists ignored signals; elsewhere SIGHUP keeps its default handling, so
/// that `nohup` works.
#[cfg(unix)]
fn hangup() -> Option<i32> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    // The bit of signal 1.
    (ignored & 1 == 0).then_some(signal_hook::consts::SIGHUP)
}

/// Returns the flag that becomes true at the first Ctrl-C, one for the whole process.
///
/// # Errors
/// [`Error::Io`] where the system accepts no handler.
#[cfg(windows)]
pub(super) fn flag() -> Result<Arc<AtomicBool>> {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(flag.clone());
    }
    let flag = FLAG.get_or_init(Arc::default).clone();
    let own = flag.clone();
    let interrupt = move || {
        if own.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(interrupt).map_err(|e| Error::io("signal handler", std::io::Error::other(e)))?;
    Ok(flag)
}
