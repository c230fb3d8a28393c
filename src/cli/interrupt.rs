//! Ctrl-C, and the system's polite request to end: the first time a run finishes its step and saves, the second time the
//! program ends at once. A hang-up is left alone, so that `nohup` does what it says.

use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The exit code of a program that was interrupted (SPEC 6).
pub(super) const INTERRUPTED: u8 = 130;

/// A flag that the first signal from now on sets.
///
/// # Errors
/// [`Error::Io`] where the system takes no handler.
pub(super) fn flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and sets it.
        let told = register_conditional_shutdown(signal, INTERRUPTED.into(), flag.clone())
            .and_then(|_| register(signal, flag.clone()));
        told.map_err(|e| Error::io("signal handler", e))?;
    }
    Ok(flag)
}
