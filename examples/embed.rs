//! Inside another program: on a device that the program opened itself, between its own commands.
//!
//! The program's own shader writes a matrix into its own buffer; a product of ours, recorded into the same command encoder,
//! multiplies it; the result is read back as a future. Then a model takes three training steps on the same device.
//!
//! `cargo run --release --example embed`

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wgpt::data::batch::{Batch, Sequence};
use wgpt::gpu::{Matrix, Placement, Recorder};
use wgpt::ops::matmul::{Epilogue, Form, Matmul, choose, matmul, sizes};
use wgpt::ops::{RowCount, StepValues};
use wgpt::{Capacity, Device, Model, ModelConfig, TrainingOptions, dims, wgpu};

const ROWS: usize = 3;
const COLUMNS: usize = 5;

/// The program's own shader: row i of a matrix is filled with i.
const OWN_SHADER: &str = "
@group(0) @binding(0) var<storage, read_write> matrix: array<f32>;
@compute @workgroup_size(1)
fn fill_row(@builtin(workgroup_id) row: vec3u) {
    for (var column = 0u; column < COLUMNS; column++) {
        matrix[row.x * PITCH + column] = f32(row.x);
    }
}";

type Failure = Box<dyn std::error::Error>;

/// Opens a device as any wgpu program does. Of the features, SUBGROUP and SHADER_INT64 make kernels faster where they exist.
async fn open_device() -> Result<(wgpu::Adapter, wgpu::Device, wgpu::Queue), Failure> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let features = adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64);
    let descriptor = wgpu::DeviceDescriptor { required_features: features, ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    Ok((adapter, device, queue))
}

/// An event loop in small: polls the device, never blocks on it, until the future is ready.
fn complete<T>(device: &wgpu::Device, future: impl Future<Output = T>) -> Result<T, Failure> {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(value);
        }
        device.poll(wgpu::PollType::Poll)?;
        std::thread::yield_now(); // a program with a window would draw a frame here
    }
}

fn main() -> Result<(), Failure> {
    let (adapter, own_device, queue) = pollster::block_on(open_device())?;
    let device = Device::from_wgpu(&adapter, own_device.clone(), queue.clone())?;
    println!("{} ({})", device.caps().name, device.caps().driver);

    // The program's own buffer, as a matrix of ours. New buffers are zero, and so is the padding of its rows.
    let (pitch, usages) = (dims::pitch(COLUMNS), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let own_buffer = own_device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("own buffer"),
        size: 256 + (ROWS * pitch * 4) as u64,
        usage: usages | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let place = Placement { offset: 256, rows: ROWS, columns: COLUMNS, pitch };
    let input = Matrix::from_wgpu("input", &own_buffer, place)?;

    // Our program: output = input · weight.
    let (weight, output) = (Matrix::new(&device, "weight", COLUMNS, 2)?, Matrix::new(&device, "output", ROWS, 2)?);
    weight.write(&device, &[0.5; COLUMNS * 2])?;
    let values = StepValues { rows: ROWS as u32, ..StepValues::default() };
    let mut recorder = Recorder::new(&device, values);
    let (form, rows, epilogue) = (Form::AB, RowCount::Rows, Epilogue::None);
    let product = Matmul {
        form,
        a: &input,
        b: &weight,
        c: &output,
        rows,
        epilogue,
        accumulate: false,
        gradient: None,
        parts: None,
    };
    matmul(&mut recorder, choose(device.caps(), form, sizes(form, &input, &weight), 0), &product)?;
    let program = recorder.finish();

    // One encoder: the program's own pass, then ours.
    let text = OWN_SHADER.replace("COLUMNS", &format!("{COLUMNS}u")).replace("PITCH", &format!("{pitch}u"));
    let shader = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(text.into()) };
    let pipeline = own_device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &own_device.create_shader_module(shader),
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let binding = wgpu::BufferBinding { buffer: &own_buffer, offset: 256, size: None };
    let bindings = own_device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
    });
    let mut encoder = own_device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.dispatch_workgroups(ROWS as u32, 1, 1);
    drop(pass);
    program.encode_into(&mut encoder, &values)?;
    queue.submit([encoder.finish()]);
    let numbers = complete(&own_device, output.read_async(&device))??;
    println!("rows of 0, 1 and 2 [3, 5] · halves [5, 2] = {numbers:?}");
    assert_eq!(numbers, [0.0, 0.0, 2.5, 2.5, 5.0, 5.0]);

    // A model in training on the same device.
    let config =
        ModelConfig { n_layer: 2, n_embd: 48, n_head: 3, n_positions: 16, vocab_size: 61, ..Default::default() };
    let sequence = |s: u32| Sequence {
        ids: (0..16).map(|t| (7 * t + s) % 61).collect(),
        targets: (0..16).map(|t| (7 * (t + 1) + s) % 61).collect(),
    };
    let batch = Batch::from_sequences(&[sequence(0), sequence(1), sequence(2)])?;
    let capacity = Capacity { rows: batch.rows(), sequences: batch.sequences() };
    let mut training = Model::new(config, 1)?.training(&device, capacity, TrainingOptions::default())?;
    (0..3).try_for_each(|_| training.step(&batch, 1e-3, 1))?;
    while let Some(result) = complete(&own_device, training.next_result_async())?? {
        let (step, loss, norm, tokens) = (result.step, result.loss, result.grad_norm, result.tokens);
        println!("step {step}: loss {loss:.4}, gradient norm {norm:.3}, {tokens} tokens");
    }
    Ok(())
}
