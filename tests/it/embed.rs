//! Programs inside another program: on a device that the caller opened, over its buffers, in its command encoder, and read
//! back without blocking.

use crate::common::models::{capacity_of, random_batch, random_parameters, small_config};
use crate::common::{device, poll_until_ready};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use wgpt::data::tokenizer::Pretokenizer;
use wgpt::gpu::{Bind, BufferError, Device, Launch, Matrix, Placement, Recorder, Ring, Variant, View};
use wgpt::ops::matmul::{Epilogue, Form, Matmul, choose, matmul, sizes};
use wgpt::ops::{RowCount, StepValues};
use wgpt::{Error, Generator, ModelConfig, Sampling, Tokenizer, Training, TrainingOptions, dims, wgpu};

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// y = factor · x, 64 values.
const SCALE: &str = "struct Params { factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) { y[i] = p.factor * x[i]; }";

fn buffer(device: &Device, floats: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let size = floats as u64 * 4;
    let descriptor = wgpu::BufferDescriptor { label: Some("caller's"), size, usage, mapped_at_creation: false };
    device.raw().create_buffer(&descriptor)
}

#[test]
fn a_program_runs_over_the_callers_buffer_inside_its_encoder() {
    let device = device();
    let (rows, inner, columns) = (3, 70, 5);
    let pitch = dims::pitch(inner);
    // A and C share one buffer with work of the caller; B is in another.
    let [first, second] = [1024, inner * dims::pitch(columns)].map(|floats| buffer(&device, floats, USAGE));
    let place = |offset, rows, columns| Placement { offset, rows, columns, pitch: dims::pitch(columns) };
    let a_end = 256 + (rows * pitch * 4) as u64;
    let a = Matrix::from_wgpu("a", &first, place(256, rows, inner)).expect("a");
    let b = Matrix::from_wgpu("b", &second, place(0, inner, columns)).expect("b");
    let c = Matrix::new(&device, "c", rows, columns).expect("c");
    b.write(&device, &vec![0.5; inner * columns]).expect("write");

    let values = StepValues { rows: rows as u32, ..StepValues::default() };
    let mut recorder = Recorder::new(&device, values);
    let (form, epilogue) = (Form::AB, Epilogue::None);
    let call = Matmul {
        form,
        a: &a,
        b: &b,
        c: &c,
        rows: RowCount::Rows,
        epilogue,
        accumulate: false,
        gradient: None,
        parts: None,
    };
    matmul(&mut recorder, choose(device.caps(), form, sizes(form, &a, &b), 0), &call).expect("a product");
    let program = recorder.finish();

    // The caller's own commands write A before the program reads it, and copy C after it.
    let ones = dims::pad_rows(&vec![1.0; rows * inner], inner);
    let upload = View::from_wgpu("upload", &buffer(&device, ones.len(), USAGE), 0, ones.len()).expect("a view");
    upload.write(&device, &ones).expect("write");
    let out = buffer(&device, rows * dims::pitch(columns), USAGE);
    let copied = Matrix::from_wgpu("copied", &out, place(0, rows, columns)).expect("a matrix");
    let mut fill = Recorder::new(&device, ());
    fill.copy(&upload, &a.view);
    let mut copy = Recorder::new(&device, ());
    copy.copy(&c.view, &copied.view);
    let mut encoder = device.raw().create_command_encoder(&Default::default());
    encoder.clear_buffer(&first, 0, Some(a_end));
    fill.finish().encode_into(&mut encoder, &()).expect("encode");
    program.encode_into(&mut encoder, &values).expect("encode");
    copy.finish().encode_into(&mut encoder, &()).expect("encode");
    device.queue().submit([encoder.finish()]);

    assert_eq!(copied.read(&device).expect("read"), vec![35.0; rows * columns]);
    assert_eq!(poll_until_ready(&device, c.read_async(&device)).expect("read"), vec![35.0; rows * columns]);
}

#[test]
fn one_program_is_encoded_twice_with_other_values() {
    let device = device();
    let [x, y] = ["x", "y"].map(|name| View::new(&device, name, 64).expect("a view"));
    let kept = View::new(&device, "kept", 64).expect("a view");
    x.write(&device, &[1.0f32; 64]).expect("write");
    let program = scale(&device, &x, &y);
    let mut copy = Recorder::new(&device, Factor(0.0));
    copy.copy(&y, &kept);
    let copy = copy.finish();
    let mut encoder = device.raw().create_command_encoder(&Default::default());
    program.encode_into(&mut encoder, &Factor(2.0)).expect("encode");
    copy.encode_into(&mut encoder, &Factor(0.0)).expect("encode");
    program.encode_into(&mut encoder, &Factor(3.0)).expect("encode");
    // A run that is submitted first does not change what was encoded.
    program.run(&Factor(7.0)).expect("a run");
    device.queue().submit([encoder.finish()]);
    assert_eq!(kept.read::<f32>(&device).expect("read"), [2.0; 64]);
    assert_eq!(y.read::<f32>(&device).expect("read"), [3.0; 64]);
}

/// The value of [`SCALE`] in a run.
struct Factor(f32);

impl wgpt::gpu::LiveValues for Factor {
    type RowCount = u32;

    fn row_count(&self, count: u32) -> u32 {
        count
    }
}

fn scale(device: &Device, x: &View, y: &View) -> wgpt::gpu::Program<Factor> {
    let mut recorder = Recorder::new(device, Factor(0.0));
    let plan = |factor: &Factor| Launch::new([factor.0, 0.0, 0.0, 0.0], [1, 1, 1]);
    recorder.dispatch(&Variant::new("scale", SCALE), &[Bind::Read(x), Bind::Write(y)], plan).expect("a dispatch");
    recorder.finish()
}

#[test]
fn reads_complete_when_the_caller_polls() {
    let device = device();
    let [x, y] = ["x", "y"].map(|name| View::new(&device, name, 64).expect("a view"));
    x.write(&device, &[1.0f32; 64]).expect("write");
    let program = scale(&device, &x, &y);
    let mut ring = Ring::new(&device, 64, 2);
    assert_eq!(poll_until_ready(&device, ring.wait_async()).expect("a ring"), None);
    program.run_and_read(&Factor(2.0), &y, &mut ring).expect("a run");
    let early = y.read_async::<f32>(&device);
    program.run_and_read(&Factor(4.0), &y, &mut ring).expect("a run");
    assert!(ring.is_full());
    // The copy was submitted when the read was requested, not when its future is polled.
    assert_eq!(poll_until_ready(&device, early).expect("a read"), [2.0; 64]);
    for expected in [2.0f32, 4.0] {
        let words = poll_until_ready(&device, ring.wait_async()).expect("a ring").expect("a copy");
        assert_eq!(words, [expected.to_bits(); 64]);
    }
    assert!(!ring.is_full() && ring.take().expect("a ring").is_none());
}

#[test]
fn buffers_that_do_not_fit_are_refused_with_the_reason() {
    let device = device();
    let whole = buffer(&device, 256, USAGE);
    let place = Placement { offset: 256, rows: 2, columns: 40, pitch: 64 };
    assert!(Matrix::from_wgpu("m", &whole, place).is_ok());
    let wrap = |buffer: &wgpu::Buffer, place| Matrix::from_wgpu("m", buffer, place).map(drop).expect_err("an error");
    let name = || "m".into();
    let stored = buffer(&device, 256, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
    let missing = wgpu::BufferUsages::COPY_SRC;
    assert_eq!(wrap(&stored, place), BufferError::Usage { name: name(), missing });
    let odd = wrap(&whole, Placement { offset: 16, ..place });
    assert_eq!(odd, BufferError::Offset { name: name(), found: 16, alignment: 256 });
    let long = wrap(&whole, Placement { rows: 4, ..place });
    assert_eq!(long, BufferError::Size { name: name(), found: 1024, needed: 256 + 4 * 256 });
    let dense = wrap(&whole, Placement { pitch: 40, ..place });
    assert_eq!(dense, BufferError::Pitch { name: name(), columns: 40, found: 40, expected: 64 });
    let empty = wrap(&whole, Placement { rows: 0, ..place });
    assert_eq!(empty, BufferError::Shape { name: name(), rows: 0, columns: 40 });
    let error = Error::from(dense);
    assert!(error.is_invalid_input());
    assert_eq!(error.to_string(), "pitch of `m` = 40: expected 64 floats for 40 columns, the next multiple of 64");
}

/// The future itself, if an executor may move it between threads.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

#[test]
fn a_models_results_are_futures() {
    let device = device();
    let config = ModelConfig { n_layer: 1, ..small_config() };
    let parameters = random_parameters(&config, 3);
    let batch = random_batch(&config, &[40, 30], 3);
    let (capacity, options) = (capacity_of(&batch), TrainingOptions::default());
    let mut training = Training::new(&device, &config, &parameters, capacity, options).expect("a recording");
    training.step(&batch, 1e-3, 1).expect("a step");
    let moments = poll_until_ready(&device, sendable(training.moments_async())).expect("moments");
    assert_eq!(moments, training.moments().expect("moments"));
    assert!(moments.second.iter().flatten().any(|v| *v > 0.0));

    // Values are those at the call, whatever follows before they are awaited.
    let (before, moments_before) = (training.parameters().expect("weights"), sendable(training.moments_async()));
    let weights = sendable(training.parameters_async());
    training.step(&batch, 1e-3, 1).expect("a step");
    assert_eq!(poll_until_ready(&device, weights).expect("weights"), before);
    assert_eq!(poll_until_ready(&device, moments_before).expect("moments"), moments);
    assert_ne!(training.parameters().expect("weights"), before);

    let mut inference = training.inference(capacity).expect("a recording");
    let logits = poll_until_ready(&device, sendable(inference.logits_async(&batch))).expect("logits");
    assert_eq!(logits.len(), batch.rows() * config.vocab_size);
    assert_eq!(logits, inference.logits(&batch).expect("logits"));
    assert!(poll_until_ready(&device, inference.answers_async(&batch)).is_err(), "a model without a task");
}

#[test]
fn a_text_is_a_future_which_may_be_dropped() {
    let device = device();
    let tokenizer = Tokenizer::train("the cat and the hat", 260, Pretokenizer::Bytes).expect("a tokenizer");
    let config = ModelConfig { n_layer: 1, vocab_size: tokenizer.vocab_size(), ..small_config() };
    let mut generator = Generator::new(&device, &config, &random_parameters(&config, 3), 2).expect("a recording");
    let sampling = Sampling { temperature: 1.5, seed: 4, ..Sampling::default() };
    let expected = generator.text(&tokenizer, "the", 20, sampling).expect("a text");
    let text = poll_until_ready(&device, sendable(generator.text_async(&tokenizer, "the", 20, sampling)));
    assert_eq!(text.expect("a text"), expected);
    for _ in 0..2 {
        // Submits the first token's pass and drops the future before its logits are read.
        let mut dropped = pin!(generator.text_async(&tokenizer, "a", 20, sampling));
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let mut parts = String::new();
    let each = |part: &str| {
        parts.push_str(part);
        Ok(())
    };
    let streamed = generator.stream_text_async(&tokenizer, "the", 20, sampling, each);
    poll_until_ready(&device, streamed).expect("a text");
    assert_eq!(parts, expected);
    assert_eq!(generator.text(&tokenizer, "the", 20, sampling).expect("a text"), expected);
}

#[test]
fn devices_can_be_opened_by_several_threads_at_once() {
    let open = || device().caps().name.clone();
    let names: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a device")).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]));
}
