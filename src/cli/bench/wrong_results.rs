//! The error of a benchmark whose results are wrong.

use crate::Error;
use crate::error::{DeviceError, WrongResults};
use crate::gpu::{Caps, Device};

/// The error of results that differ from those of another way to compute them.
pub(super) fn wrong_results(device: &Device, fault: String) -> Error {
    let Caps { name, driver, .. } = device.caps();
    let (adapter, driver) = (name.clone(), driver.clone());
    Error::Device(DeviceError::WrongResults(WrongResults { kernels: Vec::new(), adapter, driver, fault }))
}
