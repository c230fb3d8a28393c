//! Kernels are compiled by threads while programs are recorded: what a caller sees of it.

use crate::common::device;
use crate::common::tensors::list;
use wgpt::gpu::{Bind, Device, Launch, Program, Recorder, Variant, View};
use wgpt::{Error, wgpu};

/// y = K · x, 64 values.
const TIMES: &str = "@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) { y[i] = K * x[i]; }";

/// naga accepts it; a device without 64-bit integers does not.
const WIDE: &str = "@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) { y[i] = u32((u64(x[i]) * u64(x[i])) >> 32u); }";

const VARIANTS: u32 = 40;

fn times(k: u32) -> Variant {
    Variant::new("times", TIMES).constant("K", k)
}

fn dispatch(recorder: &mut Recorder<()>, variant: &Variant, x: &View, y: &View) -> Result<(), Error> {
    recorder.dispatch(variant, &[Bind::Read(x), Bind::Write(y)], |_| Launch { groups: [1; 3], ..Launch::default() })
}

fn program(device: &Device, variant: &Variant) -> Result<Program<()>, Error> {
    let mut recorder = Recorder::new(device, ());
    dispatch(&mut recorder, variant, &list(device, "x", &[0; 64]), &list(device, "y", &[0; 64]))?;
    Ok(recorder.finish())
}

/// A device without optional features, opened by the caller, who handles no errors: wgpu panics at one that no scope catches.
fn plain_device() -> Device {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let open = async {
        let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.expect("an adapter");
        let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await.expect("a device");
        Device::from_wgpu(&adapter, device, queue).expect("WebGPU's default limits")
    };
    pollster::block_on(open)
}

#[test]
fn what_naga_rejects_is_told_when_it_is_recorded() {
    let error = program(&device(), &Variant::new("times", TIMES)).map(drop).expect_err("K is not declared");
    assert!(
        matches!(&error, Error::Shader { shader, message } if shader == "times" && message.contains('K')),
        "{error}"
    );
}

#[test]
fn what_the_device_rejects_is_told_when_it_first_runs() {
    let device = plain_device();
    let program = program(&device, &Variant::new("wide", WIDE)).expect("a program");
    for _ in 0..2 {
        let error = program.run(&()).expect_err("no 64-bit integers");
        assert!(matches!(&error, Error::Shader { shader, .. } if shader == "wide"), "{error}");
    }
    let mut encoder = device.raw().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    assert!(matches!(program.encode_into(&mut encoder, &()), Err(Error::Shader { .. })));
    assert!(matches!(program.profile(&()), Err(Error::Shader { .. })));
    device.wait().expect("a device that still works");
}

#[test]
fn many_variants_are_recorded_at_once_and_equal_ones_share_a_pipeline() {
    let device = device();
    let x = list(&device, "x", &[3; 64]);
    let record = || {
        let outputs: Vec<_> = (0..VARIANTS).map(|_| list(&device, "y", &[0; 64])).collect();
        let mut recorder = Recorder::new(&device, ());
        for (k, y) in (0..).zip(&outputs) {
            dispatch(&mut recorder, &times(k), &x, y).expect("a dispatch");
        }
        recorder.finish().run(&()).expect("a run");
        outputs
    };
    let all: Vec<Vec<View>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(record)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    for outputs in all {
        for (k, y) in (0..).zip(&outputs) {
            assert_eq!(y.read::<u32>(&device).expect("values"), [3 * k; 64]);
        }
    }
    assert_eq!(device.variants().len(), VARIANTS as usize);
    assert_eq!(device.narrowed(|_| {}).variants(), []);
}

#[test]
fn a_device_can_be_dropped_before_its_kernels_are_compiled() {
    for _ in 0..5 {
        let device = device();
        let programs: Vec<_> = (0..VARIANTS).map(|k| program(&device, &times(k)).expect("a program")).collect();
        drop(device);
        drop(programs);
    }
}
