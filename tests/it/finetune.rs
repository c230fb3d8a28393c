//! Fine-tuning through the library and the program: losses and gradients of packed examples, frozen parameters, stopping and
//! resuming, the files of a run, and that bad input writes nothing.

use crate::common::models::{capacity_of, small_config};
use crate::common::program::{assert_one_line, run, stderr, success};
use crate::common::runs::latest_weights;
use crate::common::{device, files, poll_until_ready};
use std::path::Path;
use std::process::Output;
use std::slice;
use wgpt::config::{Answers, ModelConfig, Task, TaskKind};
use wgpt::data::batch::{Answer, Batch, Example, IGNORED, Sequence};
use wgpt::gpu::Device;
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Learning, Training, TrainingOptions, initial_parameters};
use wgpt::philox::{Stream, Words, step_key};

const SEED: u64 = 5;

fn model(kind: TaskKind, answers: Answers, dropout: f32) -> (ModelConfig, Vec<Vec<f32>>) {
    let mut config = ModelConfig {
        n_layer: 2,
        n_positions: 70,
        initializer_range: 0.2,
        task: Some(Task { kind, answers }),
        ..small_config()
    };
    config.set_dropout(dropout);
    let parameters = initial_parameters(&config, SEED);
    (config, parameters)
}

/// Examples of so many sequences each, of all lengths, the numbers of their sequences counted on.
fn examples(config: &ModelConfig, sequences: &[usize]) -> Batch {
    let mut words = Words::new(SEED, Stream::Order, 0, 0);
    let mut all = Vec::new();
    let mut examples = Vec::new();
    for (i, count) in sequences.iter().enumerate() {
        let first = all.len();
        for _ in 0..*count {
            let length = 2 + words.below(66) as usize;
            let ids: Vec<u32> = (0..length).map(|_| words.below(config.vocab_size as u32)).collect();
            let targets = ids.iter().skip(1).copied().chain([IGNORED]).collect();
            all.push(Sequence { ids, targets });
        }
        let answer = match config.task.as_ref().expect("a task").answers {
            Answers::Score => Answer::Score(i as f32 * 0.5 - 1.0),
            Answers::Candidate => Answer::Class(words.below(*count as u32)),
            Answers::Labels(_) => Answer::Class(words.below(3)),
        };
        examples.push(Example { sequences: first..all.len(), answer });
    }
    let mut batch = Batch::from_sequences(&all).expect("a batch");
    batch.examples = examples;
    batch
}

fn three() -> Answers {
    Answers::Labels(["a", "b", "c"].map(String::from).to_vec())
}

fn training(device: &Device, (config, parameters): &(ModelConfig, Vec<Vec<f32>>), batch: &Batch) -> Training {
    let options = TrainingOptions { lm_coef: 0.5, ..TrainingOptions::default() };
    Training::new(device, config, parameters, capacity_of(batch), options).expect("a recording")
}

/// Packed together, or one example a micro-batch: the same losses and gradients, with dropout in every place.
#[test]
fn a_batch_has_the_losses_and_gradients_of_its_examples() {
    let device = device();
    let cases: [(TaskKind, Answers, &[usize]); 4] = [
        (TaskKind::Classify, three(), &[1, 1, 1, 1, 1]),
        (TaskKind::Similar, three(), &[2, 2, 2]),
        (TaskKind::Similar, Answers::Score, &[2, 2, 2]),
        (TaskKind::Choose, Answers::Candidate, &[4, 2, 1, 5]),
    ];
    for (kind, answers, sequences) in cases {
        let model = model(kind, answers, 0.2);
        let batch = examples(&model.0, sequences);
        let (real, key) = (batch.loss_counts(), step_key(SEED, 3));
        let mut whole = training(&device, &model, &batch);
        whole.accumulate_gradients(&batch, real, key).expect("a step");
        let mut parts = training(&device, &model, &batch);
        for example in &batch.examples {
            parts.accumulate_gradients(&batch.part(example.sequences.clone()), real, key).expect("a step");
        }
        let [a, b] = [&whole, &parts].map(|t| t.read(ParameterData::Gradients).expect("gradients"));
        for (shape, (a, b)) in model.0.parameters().iter().zip(a.iter().zip(&b)) {
            if kind == TaskKind::Choose && shape.name.ends_with("summary.bias") {
                continue; // What is added to every candidate changes nothing: its gradient is 0, and rounding is left.
            }
            let scale = a.iter().fold(1e-4f32, |m, x| m.max(x.abs()));
            let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs() / scale));
            assert!(worst < 2e-5, "{kind} {}: {worst:.1e}", shape.name);
            // Neither head nor new rows may be out of reach.
            assert!(a.iter().any(|x| *x != 0.0), "{kind} {}", shape.name);
        }
        let results = [&mut whole, &mut parts].map(|t| {
            t.optimizer_step(1e-3).expect("an update");
            t.wait_for_results().expect("a result")[0]
        });
        assert!(
            (results[0].task_loss / results[1].task_loss - 1.0).abs() < 1e-5 && results[0].task_loss > 0.0,
            "{kind}"
        );
        assert!((results[0].loss / results[1].loss - 1.0).abs() < 1e-5, "{kind}");
        // The mask of the head is that of its place: without dropout the loss is another.
        let own = f64::from(whole_inference(&device, &model, &batch));
        assert!(
            (own / f64::from(results[0].task_loss_sum) - 1.0).abs() > 1e-3,
            "{kind}: dropout before the head or below it"
        );
    }
}

fn whole_inference(device: &Device, model: &(ModelConfig, Vec<Vec<f32>>), batch: &Batch) -> f32 {
    let mut inference = training(device, model, batch).inference(capacity_of(batch)).expect("a recording");
    let answers = inference.answers(batch).expect("answers");
    assert_eq!(poll_until_ready(device, inference.answers_async(batch)).expect("answers"), answers);
    answers.iter().map(|answer| answer.loss).sum()
}

/// Along a random direction the loss changes as the gradient predicts, with dropout in every place, the head among them.
#[test]
fn gradients_match_the_loss_under_dropout() {
    let device = device();
    for (kind, answers, sequences) in [
        (TaskKind::Classify, three(), [1, 1, 1].as_slice()),
        (TaskKind::Similar, Answers::Score, &[2, 2]),
        (TaskKind::Choose, Answers::Candidate, &[3, 2]),
    ] {
        for (body, head) in [(0.0, 0.5), (0.2, 0.2)] {
            let (mut config, parameters) = model(kind, answers.clone(), body);
            config.summary_first_dropout = head;
            let batch = examples(&config, sequences);
            let (real, key) = (batch.loss_counts(), step_key(SEED, 1));
            let mut words = Words::new(SEED, Stream::Weights, 7, 7);
            let direction: Vec<Vec<f32>> =
                parameters.iter().map(|t| t.iter().map(|_| words.uniform() as f32 - 0.5).collect()).collect();
            let run = |by: f32| {
                let moved = |(t, u): (&Vec<f32>, &Vec<f32>)| t.iter().zip(u).map(|(x, u)| x + by * u).collect();
                let at: Vec<Vec<f32>> = parameters.iter().zip(&direction).map(moved).collect();
                let mut training = training(&device, &(config.clone(), at), &batch);
                training.accumulate_gradients(&batch, real, key).expect("a step");
                let gradients = training.read(ParameterData::Gradients).expect("gradients");
                training.optimizer_step(0.0).expect("an update");
                let result = training.wait_for_results().expect("a result")[0];
                (result.task_loss + 0.5 * result.loss, gradients)
            };
            let h = 1e-3;
            let slope = (run(h).0 - run(-h).0) / (2.0 * f64::from(h));
            let pairs = run(0.0).1.into_iter().flatten().zip(direction.iter().flatten().copied());
            let along: f64 = pairs.map(|(g, u)| f64::from(g) * f64::from(u)).sum();
            let error = (slope - along).abs() / along.abs().max(0.1);
            assert!(error < 5e-3, "{kind}, dropout {body} and {head}: {slope} by the loss, {along} by the gradient");
        }
    }
}

/// Frozen parameters keep their bits, have no gradient and do not count in the norm; the others have their usual gradient.
#[test]
fn frozen_parts_stay_and_the_others_learn() {
    let device = device();
    for pattern in ["F", "LM"] {
        let mut model = model(TaskKind::Entail, three(), 0.0);
        model.0.attention_pattern = pattern.into();
        model.0.local_block = 16;
        model.1 = initial_parameters(&model.0, SEED);
        let (config, before) = &model;
        let batch = examples(config, &[1, 1, 1, 1]);
        let mut all = training(&device, &model, &batch);
        all.accumulate_gradients(&batch, batch.loss_counts(), [0; 2]).expect("a step");
        let full = all.read(ParameterData::Gradients).expect("gradients");
        let mut frozen = training(&device, &model, &batch);
        let unfrozen_at = vec![None, None, Some(0)];
        frozen.set_learning(Learning { layer_lr_decay: 1.0, unfrozen_at }).expect("a recording");
        frozen.accumulate_gradients(&batch, batch.loss_counts(), [0; 2]).expect("a step");
        let some = frozen.read(ParameterData::Gradients).expect("gradients");
        let learns = |tensor: usize, row: usize| match config.parts()[tensor] {
            wgpt::config::Part::Head | wgpt::config::Part::Layer(1) => true,
            wgpt::config::Part::Layer(_) => false,
            wgpt::config::Part::Embedding => tensor == 0 && row >= config.vocab_size - 3,
        };
        let mut norm = 0.0;
        for (i, shape) in config.parameters().iter().enumerate() {
            for (j, (full, some)) in full[i].iter().zip(&some[i]).enumerate() {
                let expected = if learns(i, j / shape.columns) { *full } else { 0.0 };
                assert_eq!(*some, expected, "{} {j}", shape.name);
                norm += f64::from(expected) * f64::from(expected);
            }
        }
        frozen.optimizer_step(1e-2).expect("an update");
        let result = frozen.wait_for_results().expect("a result")[0];
        assert!((f64::from(result.grad_norm) / norm.sqrt() - 1.0).abs() < 1e-5, "{} {}", result.grad_norm, norm.sqrt());
        let after = frozen.parameters().expect("weights");
        for (i, shape) in config.parameters().iter().enumerate() {
            for (j, (a, b)) in before[i].iter().zip(&after[i]).enumerate() {
                let moved = a.to_bits() != b.to_bits();
                assert!(!moved || learns(i, j / shape.columns), "{} {j} moved", shape.name);
            }
            let all_learn = (0..shape.rows).all(|row| learns(i, row));
            assert!(!all_learn || before[i] != after[i], "{} stayed", shape.name);
        }
    }
}

/// The first step of AdamW changes a parameter by its learning rate, whatever the gradient.
#[test]
fn lower_layers_learn_slower() {
    let device = device();
    let model = model(TaskKind::Classify, three(), 0.0);
    let (config, before) = &model;
    let batch = examples(config, &[1, 1, 1]);
    let mut training = training(&device, &model, &batch);
    training.set_learning(Learning { layer_lr_decay: 0.5, unfrozen_at: vec![Some(0); 3] }).expect("a recording");
    training.accumulate_gradients(&batch, batch.loss_counts(), [0; 2]).expect("a step");
    training.optimizer_step(1e-2).expect("an update");
    let after = training.parameters().expect("weights");
    let largest = |name: &str, rows: std::ops::Range<usize>| {
        let i = config.parameters().iter().position(|p| p.name == name).expect(name);
        let c = config.parameters()[i].columns;
        let pairs = before[i].iter().zip(&after[i]).skip(rows.start * c).take(rows.len() * c);
        pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()))
    };
    let v = config.vocab_size;
    for (name, rows, rate) in [
        ("transformer.tokens_embed.weight", 0..v - 3, 0.0025),
        ("transformer.tokens_embed.weight", v - 3..v, 0.01),
        ("transformer.positions_embed.weight", 0..2, 0.0025),
        ("transformer.h.0.mlp.c_fc.bias", 0..1, 0.005),
        ("transformer.h.1.mlp.c_fc.bias", 0..1, 0.01),
        ("score.weight", 0..3, 0.01),
    ] {
        let moved = largest(name, rows);
        assert!((moved / rate - 1.0).abs() < 0.02, "{name}: moved by {moved}, its rate is {rate}");
    }
}

/// Runs the program in a folder with the arguments of a line.
fn wgpt(folder: &Path, line: &str) -> Output {
    run(folder, &line.split_whitespace().collect::<Vec<_>>())
}

/// A language of two words, whose label is which of them comes first; a few lines that are easy to learn.
fn write_examples(folder: &Path) {
    let mut words = Words::new(3, Stream::Order, 0, 0);
    for (name, count) in [("train.tsv", 160), ("valid.tsv", 40)] {
        let mut text = String::from("id\tsentence\tlabel\n");
        for i in 0..count {
            let first = words.below(2);
            let rest = words.below(4);
            let word = ["red ", "blue "];
            let rest = word[(1 - first) as usize].repeat(rest as usize + 1);
            text +=
                &format!("{i}\t{}{}\t{}\n", word[first as usize], rest.trim_end(), ["warm", "cold"][first as usize]);
        }
        std::fs::write(folder.join(name), text).expect("write");
    }
}

const RUN: &str = "finetune classify --from-scratch --n-layer 1 --n-embd 32 --n-head 2 --n-positions 64 --vocab-size 300 \
    --train train.tsv --valid valid.tsv --test valid.tsv --text sentence --label label --lr 0.003 --batch 8 --dropout 0.1 \
    --epochs 6";

fn lines(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let without_times = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("json");
        let keys = value.as_object_mut().expect("an object");
        for of_this_machine in ["elapsed_s", "tokens_per_second", "gflops", "mfu", "device_bytes"] {
            keys.remove(of_this_machine);
        }
        value.to_string()
    };
    text.lines().map(without_times).collect()
}

#[test]
fn a_run_learns_resumes_and_predicts() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_examples(folder);
    let printed = success(&wgpt(folder, &format!("{RUN} --out whole")));
    let whole = folder.join("whole");
    for name in ["config.toml", "metrics.jsonl", "loss.svg", "kernels.json", "latest", "best", "predictions.tsv"] {
        assert!(whole.join(name).is_file(), "{name}: {printed}");
    }
    let baselines = std::fs::read(whole.join("baselines.json")).expect("baselines.json");
    let baselines: serde_json::Value = serde_json::from_slice(&baselines).expect("json");
    let bayes = &baselines["naive Bayes on words"];
    assert!(bayes["test"]["accuracy"].as_f64().expect("accuracy") > 0.8, "{baselines}");
    let shown = format!("{:.4}", bayes["validation"]["accuracy"].as_f64().expect("accuracy"));
    let row = printed.lines().find(|line| line.starts_with("naive Bayes on words")).expect("a row");
    assert!(printed.contains("accuracy of simple methods") && row.contains(&shown), "{printed}");
    let all = lines(&whole);
    assert_eq!(all.len(), 120 + 6 + 1, "{all:?}");
    let last: serde_json::Value = serde_json::from_str(&all[126]).expect("json");
    assert!(last["test_accuracy"].as_f64().expect("accuracy") > 0.9, "{last}");
    let first: serde_json::Value = serde_json::from_str(&all[0]).expect("json");
    let sum = first["task_loss"].as_f64().expect("L2") + 0.5 * first["lm_loss"].as_f64().expect("L1");
    assert!((first["loss"].as_f64().expect("L3") - sum).abs() < 1e-9);

    // config.toml runs again as it is, and an epoch at a time is the same run.
    success(&wgpt(folder, "finetune classify --config whole/config.toml --epochs 1 --out parts --set lr=0.003"));
    let printed = wgpt(folder, "finetune classify --resume parts");
    assert!(stderr(&printed).contains("is finished: 20 steps are done"));
    let wrong = wgpt(folder, "pretrain --resume parts");
    assert_one_line(&wrong, 2, &["is a fine-tuning run: `wgpt finetune classify --resume parts`"]);
    let again = success(&wgpt(folder, "finetune classify --config whole/config.toml --out again"));
    assert!(again.contains("best epoch"), "{again}");
    assert_eq!(lines(&folder.join("again")), all);
    assert_eq!(latest_weights(&folder.join("again")), latest_weights(&whole));

    // The model folder answers for itself.
    success(&wgpt(folder, "predict --model whole --data valid.tsv --text sentence --out answers.tsv"));
    let [own, answers] =
        ["whole/predictions.tsv", "answers.tsv"].map(|name| std::fs::read(folder.join(name)).expect(name));
    assert_eq!(String::from_utf8_lossy(&own), String::from_utf8_lossy(&answers));
    let json =
        success(&wgpt(folder, "eval --task --model whole --data valid.tsv --text sentence --label label --json"));
    let row: serde_json::Value = serde_json::from_str(json.trim()).expect("a row");
    assert_eq!(row["accuracy"], last["test_accuracy"]);
    let text = success(&wgpt(folder, "generate --model whole --prompt red --tokens 4 --seed 1"));
    assert!(text.starts_with("red"), "a fine-tuned model still writes: {text}");
}

#[test]
fn a_stopped_run_resumes_with_the_same_results() {
    use wgpt::train::{FineTuning, Layers, Line, Observer, Stage, StoppedRun, resume, train};
    struct Until(u32, std::cell::Cell<u32>);
    impl Observer for Until {
        fn recorded(&mut self, line: &Line) {
            if let Line::TaskStep(line) = line {
                self.1.set(line.step);
            }
        }
        fn stop(&self) -> bool {
            self.1.get() >= self.0
        }
    }
    let (place, device) = (tempfile::tempdir().expect("folder"), device());
    write_examples(place.path());
    let path = |name: &str| place.path().join(name);
    let prepare = |out: &Path| {
        let mut layers = Layers::for_stage(Stage::FineTuning);
        let (train, valid) = (path("train.tsv").display().to_string(), path("valid.tsv").display().to_string());
        for (key, value) in [
            ("from_scratch", "true"),
            ("n_layer", "2"),
            ("n_embd", "16"),
            ("n_head", "2"),
            ("vocab_size", "280"),
            ("train", &train),
            ("valid", &valid),
            ("text", "sentence"),
            ("label", "label"),
            ("unfreeze", "true"),
            ("layer_lr_decay", "true"),
            ("dropout", "0.2"),
            ("accumulate", "2"),
            ("lr", "0.01"),
        ] {
            layers.option(key, value);
        }
        FineTuning::new(layers.settings().expect("settings"), TaskKind::Classify, out).expect("prepared")
    };
    let whole =
        train(slice::from_ref(&device), prepare(&path("whole")), &mut Until(u32::MAX, 0.into())).expect("a run");
    assert!(whole.finished && whole.steps == 15 && whole.objective.valid_scores.is_some());
    // Results arrive up to four steps late, and the run has 15.
    for at in [1, 5, 7, 10] {
        let run = path(&format!("stopped-{at}"));
        let summary = train(slice::from_ref(&device), prepare(&run), &mut Until(at, 0.into())).expect("a run");
        assert!(!summary.finished && summary.steps >= at, "{at}");
        let stopped = StoppedRun::<FineTuning>::open(&run, Layers::for_stage(Stage::FineTuning)).expect("a run");
        let prepared = stopped.prepare().expect("the same examples").expect("more to do");
        let summary =
            resume(slice::from_ref(&device), stopped, prepared, &mut Until(u32::MAX, 0.into())).expect("a run");
        assert!(summary.finished);
        assert_eq!(lines(&run), lines(&whole.folder), "{at}");
        assert_eq!(latest_weights(&run), latest_weights(&whole.folder), "{at}");
        assert_eq!(summary.objective.best, whole.objective.best);
    }
}

#[test]
fn bad_input_is_one_line_and_writes_nothing() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_examples(folder);
    std::fs::write(folder.join("odd.tsv"), "sentence\tlabel\nred\twarm\nblue\ttepid\n").expect("write");
    std::fs::write(folder.join("empty.tsv"), "sentence\tlabel\n\twarm\n").expect("write");
    std::fs::write(folder.join("none.tsv"), "sentence\tlabel\n").expect("write");
    let run = |change: &str| format!("{RUN} --out run {change}");
    for (line, expected) in [
        (run("--text words"), "train.tsv: line 1: no column `words`"),
        (run("--valid odd.tsv"), "odd.tsv: line 3: `label` is \"tepid\": "),
        (run("--train empty.tsv"), "empty.tsv: line 2: "),
        (run("--valid none.tsv"), "none.tsv: no examples"),
        (run("--valid missing.tsv"), "missing.tsv: "),
        (run("--premise p"), "premise = p: classify has the columns text, label"),
        (run("--best-by pearson"), "best_by = \"pearson\": must be accuracy, f1, matthews or loss for classify"),
        (run("--model nowhere"), "nowhere: is not a folder"),
        (run("--n-positions 2"), "n_positions = 2: "),
        (run("--lm-coef -1"), "--lm-coef -1: must be 0 or more"),
        (run("--accumulate 17"), "accumulate = 17: must be at most batch = 8"),
        ("finetune classify --out run".into(), "text: must name a column of the examples for classify"),
        (
            "finetune classify --text sentence --label label --train train.tsv --valid valid.tsv".into(),
            "model: must name the model",
        ),
        ("predict --model nowhere --data valid.tsv --text sentence".into(), "nowhere: is not a folder"),
        ("eval --model nowhere --data valid.tsv --text sentence".into(), "--text: a text has no columns"),
    ] {
        println!("{line}");
        assert_one_line(&wgpt(folder, &line), 2, &[expected]);
        assert!(!folder.join("run").exists() && !folder.join("runs").exists(), "{line}");
    }
    assert_eq!(files::names(folder).len(), 5);
}

#[test]
fn a_resumed_run_has_the_validation_examples_of_its_start() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_examples(folder);
    success(&wgpt(folder, &format!("{RUN} --epochs 1 --out run")));
    let text = std::fs::read_to_string(folder.join("valid.tsv")).expect("read");
    std::fs::rename(folder.join("valid.tsv"), folder.join("moved.tsv")).expect("rename");
    // Changed under its old name.
    let changed = text.replacen("warm", "cold", 1);
    std::fs::write(folder.join("valid.tsv"), &changed).expect("write");
    let resume = "finetune classify --resume run --epochs 2";
    let expected = ["valid.tsv: the validation examples differ from the run's: valid must name the same examples"];
    assert_one_line(&wgpt(folder, resume), 2, &expected);
    // Moved, and other test examples.
    let output = wgpt(folder, &format!("{resume} --valid moved.tsv"));
    success(&output);
    assert!(stderr(&output).contains("warning: valid.tsv: the test examples differ"), "{}", stderr(&output));
}
