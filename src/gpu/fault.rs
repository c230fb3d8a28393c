//! The kinds of errors that wgpu reports.

use crate::error::DeviceError;

/// The error of an adapter that cannot be opened.
pub(super) fn open_error(adapter: &str, message: String) -> DeviceError {
    match message.to_lowercase().contains("memory") {
        true => DeviceError::OutOfMemory { what: format!("opening {adapter}"), message },
        false => DeviceError::Rejected { what: format!("opening {adapter}"), message },
    }
}

/// The error of a device that wgpu gave up.
pub(super) fn loss(message: String) -> DeviceError {
    // wgpu gives a device up after a submission, a mapping or a copy for which the driver has no memory.
    match message.to_lowercase().contains("out of memory") {
        true => DeviceError::OutOfMemory { what: "the work of the device".into(), message },
        false => DeviceError::Lost(message),
    }
}

/// The kind of an error of wgpu in making or doing `what`.
pub(super) fn device_error(what: &str, error: &wgpu::Error) -> DeviceError {
    let message = error.to_string();
    match error {
        wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory { what: what.into(), message },
        // wgpu reports what is done after a loss as errors of these calls.
        _ if message.contains("device is lost") || message.contains("device lost") => DeviceError::Lost(message),
        _ => DeviceError::Rejected { what: what.into(), message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_lost_for_want_of_memory_is_out_of_memory() {
        assert!(matches!(loss("Out of memory".into()), DeviceError::OutOfMemory { .. }));
        assert_eq!(loss("reset".into()), DeviceError::Lost("reset".into()));
        assert_eq!(
            open_error("A", "Not enough memory left.".into()).to_string(),
            "out of memory for opening A: Not enough memory left."
        );
        assert_eq!(open_error("A", "no".into()).to_string(), "opening A: no");
    }
}
