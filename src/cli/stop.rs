//! The ways in which a subcommand ends, and their exit codes (docs/spec.md section 6.9).

use super::output::note;
use crate::Error;
use crate::error::DeviceError;
use std::process::ExitCode;

/// The exit code of a run that was interrupted and saved.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a subcommand ends early.
pub(super) enum Stop {
    /// An error, which is not reported yet.
    Failed(Error),
    /// The same, where what can be done about it is reported.
    Advised(Error),
    /// The reader of stdout closed it, as `head` does.
    Closed,
    /// A check found something wrong and has reported it.
    Wrong,
    /// The user interrupted a run, and it is saved.
    Interrupted,
}

/// What to install on a machine without an adapter.
const INSTALL: &str = if cfg!(windows) {
    "install the driver of the GPU's maker (AMD, Intel, NVIDIA), which brings Vulkan and DX12; on a machine without a GPU, \
     Windows 10 and newer have a software adapter for DX12, Microsoft Basic Render Driver"
} else if cfg!(target_os = "macos") {
    "Metal is part of macOS, so there is nothing to install: run wgpt on a Mac with a GPU that has Metal, outside of virtual \
     machines without GPU access"
} else {
    "on Debian or Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1` brings a software driver for Vulkan and those of \
     AMD and Intel; for NVIDIA install its own driver"
};

/// How a subcommand ends.
pub(super) type Done = Result<(), Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        match closed(&error) {
            true => Stop::Closed,
            false => Stop::Failed(Error::io("stdout", error)),
        }
    }
}

/// Whether the reader of a pipe is gone.
fn closed(error: &std::io::Error) -> bool {
    // Std has no kind for ERROR_PIPE_NOT_CONNECTED.
    let windows = cfg!(windows) && error.raw_os_error() == Some(233);
    error.kind() == std::io::ErrorKind::BrokenPipe || windows
}

/// Reports an error that is not reported yet, and returns the exit code.
pub(super) fn exit_code(done: Done) -> ExitCode {
    match done {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(Stop::Wrong) => ExitCode::FAILURE,
        Err(Stop::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Stop::Failed(error)) => {
            advice(&error).iter().for_each(note);
            exit_code(Err(Stop::Advised(error)))
        }
        Err(Stop::Advised(error)) => {
            note(format_args!("error: {error}"));
            ExitCode::from(code_of(&error))
        }
    }
}

/// What can be done about an error of the device, or the lack of one, in a command without settings of a run.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::Device(DeviceError::OutOfMemory { .. } | DeviceError::Limit { .. }) => Some(
            "the device has too little free memory: end other programs that use it, or choose another adapter of \
             `wgpt devices` by --adapter",
        ),
        Error::Device(DeviceError::Lost(_)) => Some(
            "the device was lost: its driver was reset, as after work that took too long, or it was removed; if this happens \
             again, update the driver, or choose another adapter of `wgpt devices` by --adapter",
        ),
        Error::NoAdapter => Some(INSTALL),
        _ => None,
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        Error::NoAdapter => 3,
        error if error.is_invalid_input() => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_spec() {
        assert_eq!(code_of(&Error::value("lr", -1, "must be above 0")), 2);
        assert_eq!(code_of(&Error::file("a.txt", "is empty")), 2);
        assert_eq!(code_of(&Error::NoAdapter), 3);
        assert_eq!(code_of(&Error::rejected("buffer", "no")), 1);
        assert_eq!(code_of(&Error::not_finite_in_step("loss", 3)), 1);
    }

    #[test]
    fn what_to_install_is_of_this_system() {
        assert_eq!(INSTALL.contains("apt-get"), cfg!(not(any(windows, target_os = "macos"))), "{INSTALL}");
        assert_eq!(INSTALL.contains("DX12"), cfg!(windows), "{INSTALL}");
    }
}
