//! What the recorder refuses, with the words that tell where; and that an image copy holds all that is read from it.

use crate::common::device;
use crate::common::tensors::{list, matrix, zeros};
use wgpt::Error;
use wgpt::gpu::{Bind, Buffer, Device, Launch, LiveValues, Matrix, Program, Recorder, Variant, View};
use wgpt::ops::column_sum::{ColumnSum, column_sum};
use wgpt::ops::embedding::{Embedding, embedding};
use wgpt::ops::optimizer::{AdamW, Arithmetic, FLAT_COLUMNS, ParameterRange, STATE_WORDS, Slab, adamw};
use wgpt::ops::{RowAccess, RowCount, StepValues};
use wgpt::verify::numbers;

const PROBE: &str = "struct Params { n: u32, a: u32, b: u32, c: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) { if id.x < p.n { y[id.x] = 2.0 * x[id.x]; } }";

/// The probe's one value of a run.
#[derive(Clone, Copy)]
struct Count(u32);

impl LiveValues for Count {
    type RowCount = u32;

    fn row_count(&self, count: u32) -> u32 {
        count
    }
}

/// Records one dispatch of the probe; `groups` and `words` of parameters follow from the run's value.
fn record(device: &Device, binds: &[Bind<'_, u32>], words: usize) -> Result<Program<Count>, Error> {
    let mut recorder = Recorder::new(device, Count(64));
    recorder.dispatch(&Variant::new("probe", PROBE), binds, move |Count(n)| {
        let mut params = vec![0u8; words * 4];
        params[..4].copy_from_slice(&n.to_ne_bytes());
        Launch { params, groups: [n.div_ceil(64), 1, 1], flops: 0.0 }
    })?;
    Ok(recorder.finish())
}

fn read_write<'a>(x: &'a View, y: &'a View) -> [Bind<'a, u32>; 2] {
    [Bind::Read(x), Bind::Write(y)]
}

fn refused(result: Result<Program<Count>, Error>, words: &[&str]) {
    match result.map(drop) {
        Err(Error::Kernel(dispatch)) => {
            let message = dispatch.to_string();
            assert_eq!(dispatch.kernel, "probe");
            assert!(words.iter().all(|w| message.contains(w)), "{message:?} lacks one of {words:?}");
        }
        other => panic!("{words:?}: expected Error::Kernel, got {other:?}"),
    }
}

#[test]
fn misuse_is_refused_by_name() {
    let device = device();
    let both = Buffer::new(&device, "both", 512).expect("a buffer");
    let (low, high) = (both.range("low", 0, 64), both.range("high", 128, 64));
    let (x, y) = (View::new(&device, "x", 64).expect("x"), View::new(&device, "y", 64).expect("y"));
    assert!(record(&device, &read_write(&x, &y), 4).is_ok());

    refused(record(&device, &read_write(&low, &high), 4), &["low", "high", "one buffer", "written"]);
    refused(record(&device, &[Bind::Read(&low), Bind::Update(&high)], 4), &["low", "high"]);
    refused(record(&device, &[Bind::Read(&x)], 4), &["1 tensors", "2"]);
    refused(record(&device, &[Bind::Read(&x), Bind::Write(&y), Bind::Read(&low)], 4), &["3 tensors", "2"]);
    refused(record(&device, &[Bind::Write(&x), Bind::Write(&y)], 4), &["`x`", "Write", "Read"]);
    refused(record(&device, &[Bind::Read(&x), Bind::Read(&y)], 4), &["`y`", "Read", "ReadWrite"]);
    refused(record(&device, &read_write(&x, &y), 8), &["32 bytes of parameters", "16"]);
    refused(record(&device, &read_write(&x, &both.range("odd", 32, 64)), 4), &["`odd`", "word 32", "64"]);
    refused(record(&device, &read_write(&x, &both.range("long", 448, 128)), 4), &["`long`", "past its buffer"]);
    let matrix = Matrix::new(&device, "m", 1, 64).expect("m");
    refused(record(&device, &[Bind::Image(&matrix, 1), Bind::Write(&y)], 4), &["`m`", "Image", "Read"]);
}

#[test]
fn groups_past_the_limit_are_refused_when_recorded_and_when_run() {
    let device = device();
    let (x, y) = (View::new(&device, "x", 64).expect("x"), View::new(&device, "y", 64).expect("y"));
    let limit = device.caps().max_groups;
    let dispatch = |capacity: u32| {
        let mut recorder = Recorder::new(&device, Count(capacity));
        let binds = [Bind::Read(&x), Bind::Write(&y)];
        let plan = |n: &Count| Launch::new([0u32; 4], [1, n.0, 1]);
        recorder.dispatch(&Variant::new("probe", PROBE), &binds, plan).map(|()| recorder.finish())
    };
    refused(dispatch(limit + 1), &[&(limit + 1).to_string(), &limit.to_string()]);
    let program = dispatch(1).expect("a program");
    refused(program.run(&Count(limit + 1)).map(|()| program), &["groups"]);
}

#[test]
fn values_of_a_run_decide_how_much_runs() {
    let device = device();
    let (x, y) = (View::new(&device, "x", 64).expect("x"), View::new(&device, "y", 64).expect("y"));
    x.write(&device, &[3.0f32; 64]).expect("write");
    y.write(&device, &[1.0f32; 64]).expect("write");
    let program = record(&device, &[Bind::Read(&x), Bind::Write(&y)], 4).expect("a program");
    let mut seen = Vec::new();
    for n in [0, 5] {
        program.run(&Count(n)).expect("a run");
        seen.push(y.read::<f32>(&device).expect("read").iter().filter(|y| **y == 6.0).count());
    }
    assert_eq!(seen, [0, 5]);
}

/// Two lookups in one table, of which the first knows one row alone: an image copy made for it has too few rows for the
/// second.
#[test]
fn a_taller_matrix_over_the_same_words_has_its_own_image_copy() {
    let device = device();
    let columns = 3;
    for access in RowAccess::all(device.caps()) {
        let positions_embed = zeros(&device, "positions_embed", 1, columns);
        let table = matrix(&device, "tokens", 3, columns, &numbers(1, 3 * columns));
        let values = StepValues { rows: 1, ..StepValues::default() };
        let mut recorder = Recorder::new(&device, values);
        let mut outs = Vec::new();
        for rows in [1, 3] {
            let x = zeros(&device, "x", 1, columns);
            let call = Embedding {
                tokens: &Matrix::over(table.view.clone(), rows, columns),
                positions_embed: &positions_embed,
                ids: &list(&device, "ids", &[rows as u32 - 1]),
                positions: &list(&device, "positions", &[0]),
                x: &x,
            };
            embedding(&mut recorder, access, &call).expect("embedding");
            outs.push(x);
        }
        recorder.finish().run(&values).expect("a run");
        for (out, row) in outs.iter().zip([0, 2]) {
            let want = &numbers(1, 3 * columns)[row * columns..][..columns];
            assert_eq!(out.read(&device).expect("x"), want, "{access:?} row {row}");
        }
    }
}

/// Kernels check no bounds: launchers refuse tensors that are too small for the capacity.
#[test]
fn tensors_too_small_are_refused_by_name() {
    let device = device();
    let access = RowAccess::choose(device.caps(), 33, &[]);
    let matrix = |name: &str, rows, columns| zeros(&device, name, rows, columns);
    let mut recorder = Recorder::new(&device, StepValues { rows: 65, ..StepValues::default() });
    let mut sum = |x: &Matrix, partial: &Matrix, out: &Matrix| {
        column_sum(&mut recorder, access, &ColumnSum { input: x, partial, output: out, rows: RowCount::Rows })
    };
    let (x, partial, out) = (matrix("x", 65, 33), matrix("partial", 2, 33), matrix("out", 1, 33));
    assert!(sum(&x, &partial, &out).is_ok());
    for (result, words) in [
        (sum(&matrix("low", 64, 33), &partial, &out), ["`low`", "[64, 33]", "65"]),
        (sum(&x, &matrix("short", 1, 33), &out), ["`short`", "64 words", "128"]),
        (sum(&x, &partial, &matrix("narrow", 1, 32)), ["`narrow`", "[1, 32]", "33"]),
    ] {
        let message = result.expect_err(words[0]).to_string();
        assert!(message.contains("column_sum") && words.iter().all(|w| message.contains(w)), "{message}");
    }
    let state = View::new(&device, "state", STATE_WORDS).expect("state");
    let flat = [1, 2, 3, 4].map(|_| matrix("flat", 2, FLAT_COLUMNS));
    let [values, gradients, first_moments, second_moments] = &flat;
    let slab = Slab { values, gradients, first_moments, second_moments };
    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic: Arithmetic::Torch };
    for (start, end) in [(0, 2 * FLAT_COLUMNS + 64), (8, 64), (128, 64)] {
        let range = ParameterRange { start, end, lr_scale: 1.0, decay: 0.0, steps_before: 0 };
        let message = adamw(&mut recorder, access, &slab, &state, adam, range).expect_err("a range").to_string();
        assert!(message.contains(&format!("{start}..{end}")), "{message}");
    }
}
