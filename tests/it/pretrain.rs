//! Whole runs of a tiny model: the files of a run, that the seed decides all of them, that micro-batches train as the whole
//! batch, and divergence.

use crate::common::runs::{checkpoint, layers, metrics_without_times, tiny_toml};
use crate::common::{device, files, runs};
use std::path::Path;
use std::slice;
use wgpt::data::synthetic::stories::stories;
use wgpt::error::DeviceError;
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Training, plan};
use wgpt::store::Model;
use wgpt::train::metrics::Line;
use wgpt::train::observer::Description;
use wgpt::train::sample::{Sampling, SamplingLimits, sample};
use wgpt::train::{NoObserver, Observer, Pretraining, Settings, StoppedRun, Trained, optimizer_options};
use wgpt::{Error, Result};

const SETTINGS: &str = "steps = 7\nwarmup = 3\neval_every = 3\ncheckpoint_every = 2\nkeep = 2\n";

fn settings(set: &[&str]) -> Settings {
    runs::settings(&tiny_toml(SETTINGS), set).expect("settings")
}

fn train(device: &Device, out: &Path, more: &[&str], observer: &mut dyn Observer) -> Result<Trained<Pretraining>> {
    wgpt::train::train(
        slice::from_ref(device),
        Pretraining::from_text(settings(more), &stories(5, 6000), out)?,
        observer,
    )
}

#[derive(Default)]
struct Events(Vec<String>);

impl Observer for Events {
    fn started(&mut self, run: &Description) {
        self.0.push(format!("started {}", run.steps));
    }
    fn recorded(&mut self, line: &Line) {
        self.0.push(match line {
            Line::Step(line) => {
                assert!(line.loss.is_finite() && line.tokens == 64 && line.tokens_per_second > 0.0, "{line:?}");
                // The weights, their gradients and moments are on the device.
                let used = line.utilization.expect("what the run uses");
                assert!(used.gflops > 0.0 && used.device_bytes > 100_000, "{line:?}");
                format!("step {}", line.step)
            }
            Line::Evaluation(line) => {
                assert!((line.valid_perplexity.ln() - line.valid_loss).abs() < 1e-9, "{line:?}");
                format!("evaluated {}", line.step)
            }
            line => panic!("a line of another kind of run: {line:?}"),
        });
    }
    fn sampled(&mut self, step: u32, _text: &str) {
        self.0.push(format!("sampled {step}"));
    }
    fn saved(&mut self, checkpoint: &Path) {
        self.0.push(format!("saved {}", checkpoint.file_name().expect("name").to_string_lossy()));
    }
}

#[test]
fn a_run_leaves_a_folder_and_a_seed_decides_it() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let (a, b) = (place.path().join("a"), place.path().join("b"));
    let mut events = Events::default();
    let trained = train(&device, &a, &[], &mut events).expect("a run");
    // A checkpoint is reported when it is complete, which may be some steps later.
    let (saved, others): (Vec<String>, Vec<String>) = events.0.into_iter().partition(|e| e.starts_with("saved"));
    let steps = ["000000", "000002", "000004", "000006", "000007"];
    assert_eq!(saved, steps.map(|step| format!("saved step-{step}")));
    let order = [
        "started 7",
        "evaluated 0",
        "step 1",
        "step 2",
        "step 3",
        "evaluated 3",
        "step 4",
        "step 5",
        "step 6",
        "evaluated 6",
        "step 7",
        "evaluated 7",
        "sampled 7",
    ];
    assert_eq!(others, order);
    assert_eq!(std::fs::read_to_string(a.join("latest")).expect("latest"), "step-000007\n");
    let kept = files::names(&a.join("checkpoints"));
    assert_eq!(kept, ["step-000000", "step-000006", "step-000007"]);
    assert!(std::fs::read_to_string(a.join("loss.svg")).expect("svg").contains("bigram"));
    let mut layers = layers(&[]);
    layers.file(a.join("config.toml")).expect("config.toml");
    assert_eq!(layers.settings().expect("settings").to_toml(), settings(&[]).to_toml());

    let saved = Model::load(&trained.checkpoint).expect("checkpoint");
    assert_eq!(saved.parameters, trained.training.parameters().expect("weights"));
    assert!(saved.warnings.is_empty() && saved.tokenizer.is_some(), "{:?}", saved.warnings);
    let first = Model::load(checkpoint(&a, 0)).expect("step 0");
    assert_eq!(first.parameters, wgpt::model::initial_parameters(&first.config, 11));
    let losses: Vec<f64> = trained.curve.validation.iter().map(|point| point.1).collect();
    assert!(losses.len() == 4 && losses[3] < losses[0], "{losses:?}");

    train(&device, &b, &[], &mut NoObserver).expect("the same run");
    assert_eq!(metrics_without_times(&a), metrics_without_times(&b));
    let weights = |run: &Path| std::fs::read(checkpoint(run, 7).join("model.safetensors")).expect("weights");
    assert!(weights(&a) == weights(&b), "two runs of one seed differ in their weights");
    let other = train(&device, &place.path().join("c"), &["seed=12"], &mut NoObserver).expect("another seed");
    assert_ne!(other.objective.evaluation, trained.objective.evaluation);

    let error = train(&device, &a, &[], &mut NoObserver).err().expect("exists").to_string();
    assert!(error.ends_with("exists already: must be the path of a new folder"), "{error}");
}

#[test]
fn a_limit_of_memory_chooses_what_was_not_given() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let bytes = |more: &[&str]| {
        let settings = settings(more);
        let of = Capacity::of_windows(&settings.model, settings.batch / settings.micro_batches());
        plan(&settings.model, of, settings.recomputes()).total()
    };
    let limit = format!("memory={}", bytes(&["accumulate=2", "recompute=true"]));
    let trained = train(&device, &place.path().join("a"), &[&limit], &mut NoObserver).expect("a run");
    let chosen = &trained.objective.settings;
    assert_ne!((chosen.accumulate, chosen.recompute), (None, None));
    let text = std::fs::read_to_string(trained.folder.join("config.toml")).expect("config.toml");
    assert!(text.contains(&format!("accumulate = {}\n", chosen.micro_batches())), "{text}");
    let same = [format!("accumulate={}", chosen.micro_batches()), format!("recompute={}", chosen.recomputes())];
    let same = train(&device, &place.path().join("b"), &same.each_ref().map(String::as_str), &mut NoObserver);
    assert_eq!(
        trained.training.parameters().expect("weights"),
        same.expect("a run").training.parameters().expect("weights")
    );
    let error = train(&device, &place.path().join("c"), &["memory=1KiB"], &mut NoObserver).err().expect("too little");
    assert!(error.to_string().starts_with("memory = 1KiB: the run needs at least "), "{error}");
    assert!(error.is_invalid_input() && !place.path().join("c").exists());
}

#[test]
fn micro_batches_train_as_the_whole_batch() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let of = |name: &str, more: &[&str]| {
        let out = place.path().join(name);
        train(&device, &out, more, &mut NoObserver).expect("a run");
        metrics_without_times(&out)
    };
    let (whole, parts) = (of("whole", &[]), of("parts", &["accumulate=4"]));
    assert_eq!(whole.len(), parts.len());
    for pair in whole.iter().zip(&parts) {
        match pair {
            (Line::Step(a), Line::Step(b)) => {
                assert!((a.loss - b.loss).abs() < 2e-5 && (a.grad_norm - b.grad_norm).abs() < 1e-4, "{pair:?}");
                assert_eq!((a.step, a.tokens, a.lr.to_bits()), (b.step, b.tokens, b.lr.to_bits()));
            }
            (Line::Evaluation(a), Line::Evaluation(b)) => {
                assert!((a.valid_loss - b.valid_loss).abs() < 2e-5, "{pair:?}");
            }
            _ => panic!("{pair:?}"),
        }
    }
}

#[test]
fn a_run_that_diverges_names_its_last_checkpoint() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let out = place.path().join("run");
    let error =
        train(&device, &out, &["lr=1e38", "clip=0", "warmup=0", "steps=40"], &mut NoObserver).err().expect("no end");
    assert!(!error.is_invalid_input() && error.to_string().contains("the last good checkpoint is "), "{error}");
    let Error::NotFinite(number) = error else { panic!("{error:?}") };
    assert!(number.step.is_some_and(|step| step > 0), "{number:?}");
    let checkpoint = Model::load(number.checkpoint.expect("a path")).expect("the checkpoint that is named");
    assert!(checkpoint.parameters.iter().flatten().all(|x| x.is_finite()));
    assert!(!metrics_without_times(&out).is_empty());
}

#[test]
fn a_sample_ends_at_n_positions() {
    let device = device();
    let settings = settings(&[]);
    let parameters = wgpt::model::initial_parameters(&settings.model, 1);
    let capacity = wgpt::model::Capacity { rows: 16, sequences: 1 };
    let training = Training::new(&device, &settings.model, &parameters, capacity, optimizer_options(&settings, 1.0))
        .expect("a model");
    let limits = SamplingLimits { max_length: 16, vocab_size: 260 };
    let draw = |temperature, number| {
        let sampling = Sampling { temperature, seed: 3, sample_number: number, ..Sampling::default() };
        sample(&training, &[5, 6], limits, sampling).expect("a sample")
    };
    let greedy = draw(0.0, 0);
    assert!(greedy.len() == 14 && greedy == draw(0.0, 1));
    let warm = draw(1.0, 0);
    assert!(warm.iter().all(|id| *id < 260) && warm == draw(1.0, 0) && warm != draw(1.0, 1), "{warm:?}");
    let none = sample(&training, &[], limits, Sampling::default());
    assert!(none.expect_err("no prompt").to_string().contains("1 to 16"));
}

#[test]
fn a_lost_device_is_an_error_that_says_so() {
    /// Destroys the device after a step, as a reset of its driver does.
    struct Destroy(Device);
    impl Observer for Destroy {
        fn recorded(&mut self, line: &Line) {
            if line.step() == 2 {
                self.0.raw().destroy();
            }
        }
    }
    let (device, place) = (device(), tempfile::tempdir().expect("folder"));
    let out = place.path().join("run");
    let lost = train(&device, &out, &["steps=50", "warmup=2", "eval_every=5"], &mut Destroy(device.clone()));
    let error = lost.err().expect("a lost device");
    assert!(matches!(error, Error::Device(DeviceError::Lost(_))), "{error:?}");
    assert!(error.to_string().starts_with("device: lost: "), "{error}");
    // The run is complete up to its last checkpoint, and its lock is free.
    StoppedRun::<Pretraining>::open(&out, layers(&[])).expect("a run");
}
