//! Hugging Face, both ways: transformers loads our folders and gives our ids, losses and greedy tokens; we load what it
//! saves, in every form. Its side is hugging_face.py, run by the Python that WGPT_PYTHON names, else `python3`, where
//! that has transformers, torch and safetensors.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wgpt::config::ModelConfig;
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::data::corpus::Corpus;
use wgpt::data::stories::stories;
use wgpt::data::tokenizer::Tokenizer;
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Inference};
use wgpt::store::folder::Checkpoint;
use wgpt::store::model_folder::{Model, resolve};
use wgpt::train::evaluate::{Losses, Text};

/// Tokens of the held-out text that are compared.
const TOKENS: usize = 2000;
const POSITIONS: usize = 48;

fn python() -> Option<String> {
    let python = std::env::var("WGPT_PYTHON").unwrap_or_else(|_| "python3".into());
    let looks = "import importlib.util as u, sys; \
                 sys.exit(any(u.find_spec(m) is None for m in ('transformers', 'torch', 'safetensors')))";
    let found = Command::new(&python).args(["-c", looks]).output().is_ok_and(|output| output.status.success());
    found.then_some(python)
}

fn run(command: &mut Command) -> Output {
    let output = command.env("WGPT_CACHE", "").output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Trains a small model in `place` for some steps, by the program, and gives its checkpoint's folder.
fn trained(place: &Path, name: &str, pretokenizer: &str, steps: &str) -> PathBuf {
    let out = place.join(name);
    let words = "--n-layer 3 --n-head 3 --n-embd 48 --vocab-size 300 --batch 4 --warmup 8 --lr 3e-3 --sample-every 0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgpt"));
    command.arg("pretrain").args(words.split(' ')).args(["--pretokenizer", pretokenizer, "--steps", steps]);
    command.args(["--n-positions", &POSITIONS.to_string()]);
    run(command.arg("--data").arg(place.join("train.txt")).arg("--out").arg(&out));
    resolve(&out).expect("a run")
}

/// The losses of `wgpt eval --per-token`, with their ids.
fn told_losses(model: &Path, text: &Path) -> Vec<(u64, f64)> {
    let place = tempfile::tempdir().expect("folder");
    let file = place.path().join("losses.tsv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgpt"));
    run(command.args(["eval", "--json", "--model"]).arg(model).arg("--data").arg(text).arg("--per-token").arg(&file));
    let text = std::fs::read_to_string(file).expect("losses");
    let lines = text.lines().map(|line| line.split_once('\t').expect("a tab"));
    lines.map(|(id, loss)| (id.parse().expect("an id"), loss.parse().expect("a loss"))).collect()
}

/// The same, in this process.
fn losses(device: &Device, model: &Model, text: &str) -> Vec<(u64, f64)> {
    let corpus = Corpus::stream(model.tokenizer().expect("a tokenizer").encode(text).expect("ids"));
    let text = Text::new(corpus, text.len() as u64, model.config.n_positions).expect("a text");
    let mut inference = Inference::new(device, &model.config, &model.parameters, text.capacity).expect("a model");
    let (mut losses, mut all) = (Losses::default(), Vec::new());
    for batch in text.batches() {
        let of_rows = inference.losses(&batch).expect("losses");
        let each = |id: u32, loss: f32| {
            all.push((u64::from(id), f64::from(loss)));
            Ok(())
        };
        losses.add(&batch, &of_rows, each).expect("losses");
    }
    all
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// The largest difference between our losses and theirs, over all of theirs.
fn difference(ours: &[(u64, f64)], theirs: &Value) -> f64 {
    let theirs = numbers(theirs);
    assert!(theirs.len() == TOKENS && ours.len() >= TOKENS, "{} and {}", ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(ours, theirs)| (ours.1 - theirs).abs()).fold(0.0, f64::max)
}

/// The ids that follow a prompt up to the positions: of the largest logit, of equal ones the lowest.
fn greedy(model: &mut Inference, prompt: &[u32]) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    while ids.len() < POSITIONS {
        let targets = vec![IGNORED; ids.len()];
        let batch = Batch::from_sequences(&[Sequence { ids: ids.clone(), targets }]).expect("a batch");
        let logits = model.logits(&batch).expect("logits");
        let last = &logits[logits.len() - model.config().vocab_size..];
        let best = (0..last.len()).rev().max_by(|a, b| last[*a].total_cmp(&last[*b])).expect("a token");
        ids.push(best as u32);
    }
    ids.split_off(prompt.len())
}

fn texts() -> Vec<&'static str> {
    vec![
        "Once upon a time, there was a small dog.",
        "",
        " ",
        "  two spaces,\ttab\n\nnew lines \r\n and the end ",
        "It's the dogs' \"quoted\" café — naïve Ωmega, Σίσυφος, ÅNGSTRÖM, İstanbul.",
        "日本語のテキスト 中文 한국어",
        "🐈‍⬛ and 👩🏽‍🚀, \u{1F1E9}\u{1F1EA}",
        "a\u{301} combining, zero\u{200b}width, nbsp\u{a0}here, soft\u{ad}hyphen, \u{fffd}",
        "<unk> is written out, </w> too",
        "3.14159 × 10^-7 = ? #hash @name $5.00 100% [brackets] {braces} <angle>",
        "UPPER lower MiXeD",
    ]
}

#[test]
fn both_ways() {
    let Some(python) = python() else {
        println!("skipped: no Python with transformers");
        return;
    };
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    std::fs::write(place.join("train.txt"), stories(2, 120_000)).expect("write");
    let held_out = stories(3, 12_000);
    std::fs::write(place.join("held-out.txt"), &held_out).expect("write");
    let folders = [("bytes", "80"), ("bert", "60")].map(|(name, steps)| (name, trained(place, name, name, steps)));
    // A pattern that transformers would take for full attention without a word.
    let config =
        ModelConfig { attention_pattern: "LF".into(), n_positions: 8, local_block: 4, ..ModelConfig::default() };
    let parameters = wgpt::model::initial_parameters(&config, 1);
    Checkpoint { config, parameters, tokenizer: None }.save(&place.join("local")).expect("save");

    let prompts = [[0, 1], [5, 4], [100, 20], [1000, 40]];
    let named: serde_json::Map<String, Value> =
        folders.iter().map(|(name, folder)| (name.to_string(), json!(folder))).collect();
    let request = json!({"folders": named, "held_out": held_out, "tokens": TOKENS, "texts": texts(),
        "prompts": prompts, "refused": place.join("local")});
    std::fs::write(place.join("request.json"), request.to_string()).expect("write");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hugging_face.py");
    run(Command::new(&python).arg(script).arg(place));
    let reply: Value = serde_json::from_slice(&std::fs::read(place.join("reply.json")).expect("reply")).expect("JSON");
    println!("{}", reply["versions"]);

    let device = Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter");
    for (name, folder) in &folders {
        they_load_ours(&device, folder, &place.join("held-out.txt"), &reply["folders"][name], name);
    }
    let refusal = reply["refusal"].as_str().expect("a pattern with local layers is refused");
    assert!(refusal.contains("wgpt"), "{refusal}");

    let saved = reply["saved"].as_object().expect("forms");
    assert_eq!(saved.len(), 8);
    let first = &reply["folders"]["bytes"]["losses"];
    for (form, theirs) in saved {
        let folder = place.join("saved").join(form);
        let model = Model::load(&folder).expect("a model");
        let worst = difference(&losses(&device, &model, &held_out), theirs);
        let exact = theirs == first;
        println!("{form}: saved by transformers, largest difference of {TOKENS} losses {worst:.2e}");
        assert!(worst < 1e-3 && exact != form.ends_with("f16"), "{form}: {worst}, losses of the original: {exact}");
        let warnings = model.warnings;
        let extra = warnings.iter().filter(|warning| !warning.contains("`multiple_choice_head.")).count();
        assert!(extra == 0 && warnings.is_empty() != (form == "double-heads"), "{form}: {warnings:?}");
    }

    for name in ["bytes", "bert"] {
        let path = place.join("tokenizers").join(name);
        for path in [path.join("saved/tokenizer.json"), path] {
            if name == "bytes" && path.ends_with("bytes") {
                continue; // vocab.json and merges.txt are GPT-1's form
            }
            let tokenizer = Tokenizer::open(&path).expect("a tokenizer");
            let ids: Vec<Vec<u32>> = texts().iter().map(|text| tokenizer.encode(text).expect("ids")).collect();
            assert_eq!(json!(ids), reply["tokenizers"][name], "{}", path.display());
        }
    }
}

fn they_load_ours(device: &Device, folder: &Path, text: &Path, theirs: &Value, name: &str) {
    assert_eq!(theirs["misfits"], json!([]), "{name}");
    let model = Model::load(folder).expect("a model");
    assert!(model.warnings.is_empty(), "{:?}", model.warnings);
    let tokenizer = model.tokenizer().expect("a tokenizer");
    for (i, text) in texts().iter().enumerate() {
        let ids = tokenizer.encode(text).expect("ids");
        assert_eq!(json!(ids), theirs["texts"][i], "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids).expect("text"), theirs["decoded"][i], "{name}: {text:?}");
    }
    let ids = theirs["ids"].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id"));
    let ids: Vec<u64> = ids.collect();
    let ours = told_losses(folder, text);
    assert!(ours.iter().map(|line| line.0).take(TOKENS).eq(ids[1..].iter().copied()), "{name}: ids differ");
    let worst = difference(&ours, &theirs["losses"]);
    let mean = ours[..TOKENS].iter().map(|line| line.1).sum::<f64>() / TOKENS as f64;
    println!("{name}: loaded by transformers, mean loss {mean:.4}, largest difference of {TOKENS} losses {worst:.2e}");
    assert!(worst < 1e-3, "{name}: {worst}");
    // It has learned something, so that a greedy text is no accident.
    assert!(mean < 5.0, "{name}: {mean}");

    let capacity = Capacity { rows: POSITIONS, sequences: 1 };
    let mut inference = Inference::new(device, &model.config, &model.parameters, capacity).expect("a model");
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    for (i, [start, length]) in [[0, 1], [5, 4], [100, 20], [1000, 40]].into_iter().enumerate() {
        let prompt = &ids[start..start + length];
        assert_eq!(json!(greedy(&mut inference, prompt)), theirs["greedy"][i], "{name}: prompt {prompt:?}");
    }
}
