//! Runs that start from a model: they take its configuration, weights and tokenizer; counts and moments start at 0.

use crate::common::device;
use crate::common::runs::{checkpoint, no_cache, settings, stop_after, tiny_toml};
use std::path::Path;
use std::slice;
use wgpt::config::{Answers, Task, TaskKind};
use wgpt::data::synthetic::stories::stories;
use wgpt::gpu::Device;
use wgpt::store::Model;
use wgpt::store::optimizer;
use wgpt::train::metrics::{self, Line};
use wgpt::train::{Layers, NoObserver, Observer, Pretraining, Settings, StoppedRun, Trained, resume};

/// More settings of the run whose model the others start from.
const FIRST_RUN: &str = "steps = 4\nwarmup = 2\n";

fn train(device: &Device, settings: Settings, out: &Path, observer: &mut dyn Observer) -> Trained<Pretraining> {
    wgpt::train::train(
        slice::from_ref(device),
        Pretraining::read(settings, None, out, &no_cache()).expect("prepared"),
        observer,
    )
    .expect("a run")
}

#[test]
fn a_run_starts_from_a_model() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let path = |name: &str| place.path().join(name);
    let set = |key: &str, name: &str| format!("{key}={}", path(name).display());
    std::fs::write(path("old.txt"), stories(5, 6000)).expect("text");
    std::fs::write(path("new.txt"), stories(6, 6000).to_uppercase()).expect("text");
    let old = path("old");
    drop(train(
        &device,
        settings(&tiny_toml(FIRST_RUN), &[&set("data", "old.txt")]).expect("settings"),
        &old,
        &mut NoObserver,
    ));

    // From a run's folder and from a checkpoint in it. Settings of training are the preset's; dropout may differ.
    let (data, init) = (set("data", "new.txt"), set("init", "old"));
    let more = [&data[..], "steps=3", "warmup=1", "dropout=0.2", "valid=0.1", "batch=4"];
    for (name, init) in [("new", init.clone()), ("newer", format!("{init}/checkpoints/step-000004"))] {
        let settings = settings("", &[&more[..], &[&init]].concat()).expect("settings");
        let model = &settings.model;
        assert_eq!((model.n_layer, model.n_embd, model.n_positions, model.vocab_size), (2, 18, 16, 270));
        assert_eq!((model.attn_pdrop, settings.lr, settings.seed), (0.2, 2e-3, 0));
        train(&device, settings, &path(name), &mut NoObserver);
    }
    let new = path("new");
    let (began, was) = (checkpoint(&new, 0), checkpoint(&old, 4));
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = |folder: &Path| std::fs::read(folder.join(file)).expect("read");
        assert!(bytes(&began) == bytes(&was), "{file}");
    }
    let first = Model::load(&began).expect("checkpoint");
    let moments = optimizer::load(&began.join(optimizer::OPTIMIZER), &first.config).expect("moments");
    assert!(moments.first.iter().chain(&moments.second).flatten().all(|x| *x == 0.0));
    let lines = metrics::read(new.join("metrics.jsonl")).expect("metrics");
    assert_eq!(
        lines.iter().filter(|line| matches!(line, Line::Step(_))).map(Line::step).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let same = |run: &str| std::fs::read(checkpoint(&path(run), 3).join("model.safetensors")).expect("weights");
    assert!(same("new") == same("newer"), "a run's folder and its newest checkpoint are one model");

    // Its config.toml runs again as it is.
    let text = std::fs::read_to_string(new.join("config.toml")).expect("config.toml");
    train(&device, settings(&text, &[]).expect("settings"), &path("again"), &mut NoObserver);
    assert!(same("again") == same("new"), "config.toml runs again");

    // A resumed run does not need the model.
    train(&device, settings(&text, &[]).expect("settings"), &path("stopped"), &mut stop_after(0));
    std::fs::rename(&old, path("gone")).expect("move");
    let stopped = StoppedRun::<Pretraining>::open(&path("stopped"), Layers::new()).expect("a run");
    let prepared = stopped.prepare(&no_cache()).expect("prepared").expect("more");
    resume(slice::from_ref(&device), stopped, prepared, &mut NoObserver).expect("the rest");
    assert!(same("stopped") == same("new"), "resumed");
    assert!(settings(&text, &[]).expect_err("gone").to_string().contains("old: is not a folder"));
}

#[test]
fn settings_that_contradict_the_model_are_named() {
    let place = tempfile::tempdir().expect("folder");
    let mut config = settings(&tiny_toml(FIRST_RUN), &[]).expect("settings").model;
    config.vocab_size = 260;
    let parameters = wgpt::model::initial_parameters(&config, 1);
    let dir = place.path().join("model");
    Model::from_parts(config, parameters, None).save(&dir).expect("save");
    let init = format!("init={}", dir.display());
    let text = place.path().join("text.txt");
    std::fs::write(&text, stories(5, 6000)).expect("text");
    let data = format!("data={}", text.display());
    for (set, expected) in [
        ("n_layer=3", "--set n_layer=3: must be 2, as in the model that init names"),
        ("vocab_size=512", "--set vocab_size=512: must be 260, as in the model that init names"),
        ("attention_pattern=L", "--set attention_pattern=L: must be \"F\", as in the model that init names"),
    ] {
        let error = settings("", &[&init, set]).expect_err(expected);
        assert_eq!((error.to_string().as_str(), error.is_invalid_input()), (expected, true));
    }
    settings("", &[&init, "n_layer=2", "vocab_size=260", "preset=gpt1", "attn_pdrop=0.3"]).expect("no contradiction");
    let error = settings("", &["init=/no/such/model"]).expect_err("none").to_string();
    assert!(error.starts_with("/no/such/model: is not a folder"), "{error}");

    let begin = |set: &[&str]| {
        let settings = settings("", &[&[&init[..], &data], set].concat()).expect("settings");
        Pretraining::read(settings, None, &place.path().join("run"), &no_cache())
    };
    let error = begin(&[]).expect_err("no tokenizer").to_string();
    assert!(
        error.ends_with("has no tokenizer: name the one that it was trained with by --tokenizer FILE|DIR"),
        "{error}"
    );
    // A tokenizer in the settings, and another one in the model's folder.
    let tokenizer = |text: &str| {
        use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
        Tokenizer::train(text, 260, Pretokenizer::Bytes).expect("tokenizer").to_json().expect("JSON")
    };
    let named = place.path().join("tokenizer.json");
    std::fs::write(&named, tokenizer("the cat and the hat")).expect("write");
    let named = format!("tokenizer={}", named.display());
    let run = begin(&[&named]).expect("prepared");
    assert!(run.weights.is_some() && run.warnings().is_empty(), "{:?}", run.warnings());
    std::fs::write(dir.join("tokenizer.json"), tokenizer("other words, others, other")).expect("write");
    let warnings = begin(&[&named]).expect("prepared").warnings();
    assert!(warnings.iter().any(|w| w.starts_with("the tokenizer differs from that of")), "{warnings:?}");
    // Settings whose model differs from the folder's.
    let mut wrong = settings("", &[&init, &data]).expect("settings");
    wrong.model.n_layer = 1;
    let error = Pretraining::read(wrong, None, &place.path().join("run"), &no_cache()).expect_err("wrong").to_string();
    assert!(error.ends_with("the model's configuration differs from the settings"), "{error}");
}

#[test]
fn a_run_from_a_fine_tuned_model_leaves_out_its_head() {
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let path = |name: &str| place.path().join(name);
    std::fs::write(path("text.txt"), stories(5, 6000)).expect("text");
    let (data, init) = (format!("data={}", path("text.txt").display()), format!("init={}", path("tuned").display()));
    let file = "n_layer = 1\nn_head = 2\nn_embd = 18\nn_positions = 16\nvocab_size = 270\n";
    let prepared = Pretraining::read(settings(file, &[&data]).expect("settings"), None, &path("no"), &no_cache());
    let mut tuned = settings(file, &[]).expect("settings").model;
    (tuned.vocab_size, tuned.task) = (273, Some(Task { kind: TaskKind::Choose, answers: Answers::Candidate }));
    let tokenizer = prepared.expect("prepared").tokenizer.with_task_tokens(270).expect("tokens");
    let parameters = wgpt::model::initial_parameters(&tuned, 2);
    let body = parameters[..parameters.len() - 2].to_vec();
    Model::from_parts(tuned, parameters, Some(tokenizer)).save(path("tuned")).expect("save");

    let settings = settings("", &[&data, &init, "steps=1", "warmup=0", "valid=0.1"]).expect("settings");
    let prepared = Pretraining::read(settings, None, &path("new"), &no_cache()).expect("prepared");
    let warnings = prepared.warnings();
    assert!(warnings.iter().any(|warning| warning.ends_with("the head of task choose is not used")), "{warnings:?}");
    wgpt::train::train(slice::from_ref(&device), prepared, &mut NoObserver).expect("a run");
    let began = Model::load(checkpoint(&path("new"), 0)).expect("a checkpoint");
    assert_eq!((began.config.task, began.config.vocab_size, began.warnings), (None, 273, vec![]));
    assert!(began.parameters == body);
}
