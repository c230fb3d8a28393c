//! Our kernels on a device of your own: opens one with wgpu, trains three steps on it, and reads one op back.
//!
//! `cargo run --release --example embed`

use wgpt::config::ModelConfig;
use wgpt::data::batch::{Batch, Sequence};
use wgpt::gpu::{Device, Matrix, Recorder};
use wgpt::model::{Capacity, Training, TrainingOptions, initial_parameters};
use wgpt::ops::matmul::{Epilogue, Form, Matmul, choose, matmul};
use wgpt::ops::{RowCount, StepValues};
use wgpt::wgpu;

/// A device that the surrounding program has made for itself.
fn own_device() -> Result<(wgpu::Adapter, wgpu::Device, wgpu::Queue), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(async {
        let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
        // What the adapter has of these is used; WebGPU's default limits are enough.
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64;
        let descriptor = wgpu::DeviceDescriptor {
            required_features: adapter.features() & wanted,
            required_limits: wgpu::Limits::default(),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await?;
        Ok((adapter, device, queue))
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (adapter, device, queue) = own_device()?;
    let device = Device::from_wgpu(&adapter, device, queue)?;
    println!("{} ({})", device.caps().name, device.caps().driver);

    // One op: C = A·B, recorded, run, read back.
    let (a, b) = (Matrix::new(&device, "a", 3, 5)?, Matrix::new(&device, "b", 5, 2)?);
    let c = Matrix::new(&device, "c", 3, 2)?;
    a.write(&device, &[1.0; 15])?;
    b.write(&device, &[0.5; 10])?;
    let mut recorder = Recorder::new(&device, StepValues { rows: 3, ..StepValues::default() });
    let call = Matmul {
        form: Form::AB,
        a: &a,
        b: &b,
        c: &c,
        rows: RowCount::Rows,
        epilogue: Epilogue::None,
        accumulate: false,
    };
    matmul(&mut recorder, choose(device.caps(), Form::AB, &a, &b), &call)?;
    recorder.finish().run(&StepValues { rows: 3, ..StepValues::default() })?;
    let number = c.read(&device)?[0];
    println!("ones [3, 5] · halves [5, 2]: {number} in each place");
    assert_eq!(number, 2.5);

    // A model: three steps on one small batch.
    let config =
        ModelConfig { n_layer: 2, n_embd: 48, n_head: 3, n_positions: 16, vocab_size: 61, ..Default::default() };
    let sequence = |s: u32| Sequence {
        ids: (0..16).map(|t| (7 * t + s) % 61).collect(),
        targets: (0..16).map(|t| (7 * (t + 1) + s) % 61).collect(),
    };
    let batch = Batch::from_sequences(&[sequence(0), sequence(1), sequence(2)])?;
    let options = TrainingOptions::default();
    let capacity = Capacity { rows: batch.rows(), sequences: batch.sequences() };
    let mut training = Training::new(&device, &config, &initial_parameters(&config, 1), capacity, options)?;
    for _ in 0..3 {
        training.accumulate_gradients(&batch, batch.target_count, [0; 2])?;
        training.optimizer_step(1e-3)?;
    }
    for result in training.wait_for_results()? {
        println!("step {}: loss {:.4}, gradient norm {:.3}", result.step, result.loss, result.grad_norm);
    }
    Ok(())
}
