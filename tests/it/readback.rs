//! What a ring of readbacks returns, and when.

use crate::common::device;
use crate::common::tensors::list;
use wgpt::gpu::{AdapterKind, Bind, Launch, LiveValues, Program, Recorder, Ring, Variant};

/// Steps of a linear congruential generator, which no compiler shortens.
const STEPS: &str = "struct Params { steps: u32, a: u32, b: u32, c: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var x = seed[id.x];
    for (var i = 0u; i < p.steps; i++) { x = 1664525u * x + 1013904223u; }
    y[id.x] = x;
}";

/// The number of steps in a run.
#[derive(Clone, Copy)]
struct Steps(u32);

impl LiveValues for Steps {
    type RowCount = u32;

    fn row_count(&self, count: u32) -> u32 {
        count
    }
}

impl Steps {
    /// What the program stores first.
    fn expected(self, seed: u32) -> u32 {
        (0..self.0).fold(seed, |x, _| 1_664_525u32.wrapping_mul(x).wrapping_add(1_013_904_223))
    }
}

#[test]
fn waiting_for_the_oldest_copy_does_not_wait_for_later_submissions() {
    let device = device();
    let (seed, out) = (list(&device, "seed", &[7; 64]), list(&device, "out", &[0; 64]));
    let mut recorder = Recorder::new(&device, Steps(u32::MAX));
    let binds: [Bind<'_, u32>; 2] = [Bind::Read(&seed), Bind::Write(&out)];
    recorder
        .dispatch(&Variant::new("steps", STEPS), &binds, |values| Launch::new([values.0, 0, 0, 0], [1, 1, 1]))
        .expect("a dispatch");
    let program: Program<Steps> = recorder.finish();
    let mut ring = Ring::new(&device, 1, 3);
    let submit = |ring: &mut Ring, values: Steps| program.run_and_read(&values, &out, ring).expect("a submission");
    // Compiles the kernel, so that the runs that matter do not.
    submit(&mut ring, Steps(1));
    assert_eq!(ring.wait().expect("a copy"), Some(vec![Steps(1).expected(7)]));
    submit(&mut ring, Steps(2));
    // A tenth of a second. llvmpipe ends a loop after 65535 rounds.
    program.repeat(&Steps(60_000), 200).expect("a submission");
    submit(&mut ring, Steps(3));
    submit(&mut ring, Steps(4));
    assert!(ring.is_full());
    assert_eq!(ring.wait().expect("a copy"), Some(vec![Steps(2).expected(7)]));
    // llvmpipe finishes a run before it returns from the submission.
    if device.caps().kind != AdapterKind::Cpu {
        assert_eq!(ring.take().expect("no error"), None, "the wait was for later submissions, too");
    }
    for values in [Steps(3), Steps(4)] {
        assert_eq!(ring.wait().expect("a copy"), Some(vec![values.expected(7)]));
    }
    assert_eq!((ring.wait().expect("no error"), ring.take().expect("no error")), (None, None));
}

#[test]
fn a_read_returns_its_words_while_another_thread_polls() {
    let device = device();
    let view = list(&device, "numbers", &[1, 2, 3]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    device.wait().expect("a device");
                }
            });
        }
        let all: Vec<_> = (0..2000).map(|_| view.read::<u32>(&device)).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        all.into_iter().for_each(|words| assert_eq!(words.expect("words"), [1, 2, 3]));
    });
}
