//! Interruption of a run by Ctrl-C or SIGTERM.
//!
//! After the first signal the run finishes its step and saves; the second signal ends the program at once. SIGHUP keeps
//! its default handling, so `nohup` works as usual.

use super::stop::INTERRUPTED;
use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Returns a flag that becomes true at the first signal from now on.
///
/// # Errors
/// [`Error::Io`] where the system accepts no signal handler.
pub(super) fn flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the shutdown handler runs first, so the first signal finds the flag false.
        let registered = register_conditional_shutdown(signal, INTERRUPTED.into(), flag.clone())
            .and_then(|_| register(signal, flag.clone()));
        registered.map_err(|e| Error::io("signal handler", e))?;
    }
    Ok(flag)
}
