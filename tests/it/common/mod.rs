//! Helpers that several test modules need, one implementation each.

pub mod driver;
pub mod faults;
pub mod files;
pub mod models;
pub mod program;
pub mod published;
pub mod runs;
pub mod tensors;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wgpt::gpu::Device;
use wgpt::wgpu;

/// The adapter that `WGPT_ADAPTER` names, else the best one.
pub fn device() -> Device {
    Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter")
}

/// Completes a future by polling the device without blocking, as an event loop does.
pub fn poll_until_ready<T>(device: &Device, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        device.raw().poll(wgpu::PollType::Poll).expect("a device");
        std::thread::yield_now();
    }
    panic!("the future does not complete");
}
