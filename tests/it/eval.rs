//! `wgpt eval`: its results match the decoder's f64 oracle, window by window. Bad input is reported before a device is opened.
//! The file of losses is complete or absent.

use crate::common::models::{oracle, widen_all};
use crate::common::program::{assert_refused, json_rows, stderr, success};
use crate::common::{files, program};
use std::path::{Path, PathBuf};
use std::process::Output;
use wgpt::config::{Answers, ModelConfig, Task, TaskKind};
use wgpt::data::batch::{Batch, Sequence};
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::store::Model;

fn eval(folder: &Path, arguments: &[&str]) -> Output {
    program::run(folder, &[&["eval"], arguments].concat())
}

/// A folder with the model `model`, whose weights are large enough for losses to differ, and `text.txt`.
fn folder(pretokenizer: Pretokenizer) -> (tempfile::TempDir, Model, String) {
    let place = tempfile::tempdir().expect("folder");
    let text = format!("{} — a café 🐈, “quoted”.\n", stories(5, 1500));
    let tokenizer = Tokenizer::train(&stories(4, 20_000), 290, pretokenizer).expect("a tokenizer");
    let config = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 18,
        n_positions: 16,
        vocab_size: 300,
        initializer_range: 0.3,
        ..ModelConfig::default()
    };
    let parameters = wgpt::model::initial_parameters(&config, 9);
    let model = Model::from_parts(config, parameters, Some(tokenizer));
    model.save(place.path().join("model")).expect("save");
    std::fs::write(place.path().join("text.txt"), &text).expect("write");
    (place, model, text)
}

/// The loss of every token of `ids` but the first, by the oracle, in windows of n_positions.
fn expected(model: &Model, ids: &[u32]) -> Vec<f64> {
    let parameters = widen_all(&model.parameters);
    let window = |start: usize| {
        let end = (start + model.config.n_positions).min(ids.len() - 1);
        let sequence = Sequence { ids: ids[start..end].to_vec(), targets: ids[start + 1..=end].to_vec() };
        let batch = Batch::from_sequences(&[sequence]).expect("a batch");
        oracle(&model.config, &parameters, &batch, None).per_row_losses
    };
    (0..ids.len() - 1).step_by(model.config.n_positions).flat_map(window).collect()
}

fn read_losses(path: &Path) -> Vec<(u32, f64)> {
    let text = std::fs::read_to_string(path).expect("losses");
    let line = |line: &str| {
        let (id, loss) = line.split_once('\t').expect("a tab");
        (id.parse().expect("an id"), loss.parse().expect("a loss"))
    };
    assert!(text.ends_with('\n'));
    text.lines().map(line).collect()
}

#[test]
fn results_match_the_oracle() {
    let (place, model, text) = folder(Pretokenizer::Bytes);
    let place = place.path();
    std::fs::write(place.join("marked.txt"), format!("\u{feff}{text}")).expect("write");
    let words = ["--model", "model", "--data", "marked.txt", "--json", "--per-token", "losses.tsv"];
    let output = eval(place, &words);
    let [row] = &json_rows(&output)[..] else { panic!("one object: {output:?}") };
    let keys: Vec<&String> = row.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["loss", "perplexity", "bits_per_byte", "tokens", "bytes"]);

    let ids = model.tokenizer.as_ref().expect("a tokenizer").encode(&text).expect("ids");
    let losses = read_losses(&place.join("losses.tsv"));
    assert!(losses.iter().map(|line| line.0).eq(ids[1..].iter().copied()), "the ids are those predicted");
    let expected = expected(&model, &ids);
    let worst = losses.iter().zip(&expected).map(|(line, e)| (line.1 - e).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4, "{worst}");
    assert_eq!((row["tokens"].as_u64(), row["bytes"].as_u64()), (Some(ids.len() as u64 - 1), Some(text.len() as u64)));
    let nats: f64 = losses.iter().map(|line| line.1).sum();
    let near = |key: &str, value: f64| {
        let got = row[key].as_f64().expect(key);
        assert!((got - value).abs() <= 1e-6 * value, "{key}: {got}, expected {value}");
    };
    near("loss", nats / (ids.len() - 1) as f64);
    near("perplexity", (nats / (ids.len() - 1) as f64).exp());
    near("bits_per_byte", nats / std::f64::consts::LN_2 / text.len() as f64);

    let people = success(&eval(place, &["--model", "model", "--data", "text.txt"]));
    let loss = format!("{:.4}", row["loss"].as_f64().expect("loss"));
    assert!(people.lines().any(|line| line.starts_with("loss") && line.ends_with(&loss)), "{people}");
    assert_eq!(files::names(place).len(), 4, "a temporary file is left behind");
}

#[test]
fn the_checkpoint_in_use_and_unknown_characters_are_reported() {
    let (place, model, _) = folder(Pretokenizer::Bert);
    let run = place.path().join("run");
    model.save(run.join("checkpoints/step-000007")).expect("save");
    std::fs::write(run.join("latest"), "step-000007\n").expect("write");
    let output = eval(place.path(), &["--model", "run", "--data", "text.txt", "--json"]);
    let row = &json_rows(&output)[0];
    assert!(row["loss"].is_f64() && row["bits_per_byte"].is_null(), "{row}");
    let messages = stderr(&output);
    assert!(messages.contains("model: ") && messages.contains("step-000007"), "{messages}");
    assert!(messages.contains(") are <unk>, in place of text that the tokenizer has no tokens for"), "{messages}");
}

#[test]
fn each_document_is_predicted_separately() {
    let (place, model, text) = folder(Pretokenizer::Bytes);
    let place = place.path();
    let documents: Vec<&str> = text.split_inclusive('\n').filter(|line| line.len() > 1).collect();
    assert!(documents.len() > 3);
    let lines: String = documents.iter().map(|text| serde_json::json!({"text": text}).to_string() + "\n").collect();
    std::fs::create_dir(place.join("texts")).expect("folder");
    std::fs::write(place.join("texts/a.jsonl"), lines).expect("write");
    std::fs::write(place.join("parted.txt"), documents.join("%%\n")).expect("write");
    let tokenizer = model.tokenizer.as_ref().expect("a tokenizer");
    let ids: Vec<Vec<u32>> = documents.iter().map(|text| tokenizer.encode(text).expect("ids")).collect();
    let wanted: Vec<f64> = ids.iter().flat_map(|ids| expected(&model, ids)).collect();
    for data in [&["--data", "texts"][..], &["--data", "parted.txt", "--document-separator", "%%"]] {
        let words = [&["--model", "model", "--json", "--per-token", "losses.tsv"], data].concat();
        let row = &json_rows(&eval(place, &words))[0];
        let bytes: usize = documents.iter().map(|text| text.len()).sum();
        assert_eq!(
            (row["tokens"].as_u64(), row["bytes"].as_u64()),
            (Some(wanted.len() as u64), Some(bytes as u64)),
            "{data:?}"
        );
        let losses = read_losses(&place.join("losses.tsv"));
        assert!(losses.iter().map(|line| line.0).eq(ids.iter().flat_map(|ids| ids[1..].iter().copied())));
        let worst = losses.iter().zip(&wanted).map(|(line, e)| (line.1 - e).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{data:?}: {worst}");
    }
}

#[test]
fn bad_input_is_one_line_and_leaves_no_file() {
    let (place, model, _) = folder(Pretokenizer::Bytes);
    let place = place.path();
    let put = |name: &str, bytes: &[u8]| std::fs::write(place.join(name), bytes).expect("write");
    put("one.txt", b"a");
    put("empty.txt", b"");
    put("latin1.txt", b"caf\xe9");
    Model { tokenizer: None, ..model.clone() }.save(place.join("mute")).expect("save");
    std::fs::create_dir(place.join("there")).expect("folder");
    let contents = || {
        let mut all: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for folder in ["", "model", "mute", "there"] {
            let entries = std::fs::read_dir(place.join(folder)).expect("list").map(|e| e.expect("entry").path());
            all.extend(
                entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).expect("read"))),
            );
        }
        all.sort();
        all
    };
    let before = contents();
    let text = |more: &[&'static str]| [&["--model", "model", "--data", "text.txt"], more].concat();
    for (words, expected) in [
        (vec!["--model", "none", "--data", "text.txt"], &["none: is not a folder"][..]),
        (vec!["--model", "text.txt", "--data", "text.txt"], &["text.txt: is not a folder"]),
        (vec!["--model", "there", "--data", "text.txt"], &["there: has no config.json and neither best nor latest"]),
        (vec!["--model", "mute", "--data", "text.txt"], &["mute: no tokenizer"]),
        (vec!["--model", "model", "--data", "none.txt"], &["none.txt: "]),
        (vec!["--model", "model", "--data", "empty.txt"], &["empty.txt: empty: expected text"]),
        (vec!["--model", "model", "--data", "latin1.txt"], &["latin1.txt: byte offset 3: not UTF-8"]),
        (vec!["--model", "model", "--data", "one.txt"], &["tokens of the text = 1", "must be 2 or more"]),
        (text(&["--per-token", "there"]), &["--per-token there: must be the path of a file"]),
        (text(&["--per-token", "none/losses"]), &["--per-token none/losses: the folder none does not exist"]),
        (
            text(&["--per-token", "text.txt"]),
            &["--per-token text.txt: is text.txt, which is read: must be another file"],
        ),
        (
            text(&["--per-token", "./there/../text.txt"]),
            &["./there/../text.txt: is text.txt, which is read: must be another file"],
        ),
        (text(&["--per-token", "model/config.json"]), &["--per-token model/config.json: is ", "must be elsewhere"]),
        (text(&["--per-token", "model/losses"]), &["--per-token model/losses: is ", "must be elsewhere"]),
        (text(&["--adapter", "Voodoo 2"]), &["\"Voodoo 2\": expected one of"]),
    ] {
        println!("{words:?}");
        assert_refused(&eval(place, &words), expected);
        assert!(contents() == before, "{words:?} left something behind");
    }
    for words in [&["--model", "model"][..], &["--data", "text.txt"], &[]] {
        assert_eq!(eval(place, words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_loss_that_is_not_finite_leaves_no_file() {
    let (place, mut model, _) = folder(Pretokenizer::Bytes);
    let place = place.path();
    model.parameters.iter_mut().flatten().for_each(|x| *x *= 1e30);
    model.save(place.join("wild")).expect("save");
    std::fs::write(place.join("losses.tsv"), "what was there").expect("write");
    let output = eval(place, &["--model", "wild", "--data", "text.txt", "--per-token", "losses.tsv"]);
    let error = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    assert!(
        error.lines().last().is_some_and(|line| line.starts_with("error: predicted token 1: the loss is not finite")),
        "{error}"
    );
    assert_eq!(std::fs::read(place.join("losses.tsv")).expect("read"), b"what was there");
    assert_eq!(files::names(place).len(), 4);
}

#[test]
fn a_fine_tuned_model_is_a_language_model() {
    let (place, model, _) = folder(Pretokenizer::Bert);
    let place = place.path();
    let answers = Answers::Labels(vec!["no".into(), "yes".into()]);
    let task = Some(Task { kind: TaskKind::Similar, answers });
    let config = ModelConfig { vocab_size: 303, task, ..model.config };
    let tokenizer = model.tokenizer.map(|tokenizer| tokenizer.with_task_tokens(300).expect("tokens"));
    let tuned = Model { tokenizer, ..Model::new(config, 9).expect("a model") };
    tuned.save(place.join("tuned")).expect("save");
    let mut plain = tuned.clone();
    plain.config.task = None;
    plain.parameters.truncate(plain.config.parameters().len());
    plain.save(place.join("plain")).expect("save");
    let figures = |model: &str| success(&eval(place, &["--model", model, "--data", "text.txt", "--json"]));
    assert_eq!(figures("tuned"), figures("plain"));
    let text =
        |model: &str| success(&program::run(place, &["generate", "--model", model, "--prompt", "The dog", "--greedy"]));
    assert!(text("tuned").len() > "the dog".len());
    assert_eq!(text("tuned"), text("plain"));
}

/// Two files of documents that start with the same words and end differently: the losses of those words are the same to the last digit,
/// whatever attention the layers have.
#[test]
fn later_tokens_never_change_earlier_losses() {
    let (place, model, _) = folder(Pretokenizer::Bytes);
    let place = place.path();
    let tokenizer = model.tokenizer.as_ref().expect("a tokenizer");
    let same = stories(6, 200);
    let tails = [7, 8].map(|seed| stories(seed, 30));
    // As many tokens in common as make every place in a slot of three the first that differs, and most of a block of seven.
    let mut documents = Vec::new();
    for (i, file) in ["a.jsonl", "b.jsonl"].into_iter().enumerate() {
        let texts: Vec<String> = (0..12).map(|n| format!("{}{}", &same[..20 + 7 * n], tails[i])).collect();
        let lines = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text })));
        std::fs::write(place.join(file), lines.collect::<String>()).expect("write");
        documents.push(texts.iter().map(|text| tokenizer.encode(text).expect("ids")).collect::<Vec<_>>());
    }
    let shared = |n: usize| documents[0][n].iter().zip(&documents[1][n]).take_while(|(a, b)| a == b).count();
    let shared: Vec<usize> = (0..12).map(shared).collect();
    for (f, least) in [(3, 3), (7, 5)] {
        let places: std::collections::BTreeSet<usize> = shared.iter().map(|n| n % f).collect();
        assert!(places.len() >= least, "{shared:?}");
    }
    for (pattern, layers) in [("F", 2), ("L", 2), ("M", 2), ("LMLML", 5)] {
        let (attention_pattern, base) = (pattern.to_string(), model.config.clone());
        // Wide enough for heads of whole quads.
        let (n_embd, n_positions, local_block) = (24, 150, 7);
        let config = ModelConfig { attention_pattern, n_layer: layers, n_embd, n_positions, local_block, ..base };
        let parameters = wgpt::model::initial_parameters(&config, 9);
        let saved = Model::from_parts(config, parameters, Some(tokenizer.clone()));
        saved.save(place.join(pattern)).expect("save");
        let [a, b] = [0, 1].map(|i| {
            let (data, losses) = (["a.jsonl", "b.jsonl"][i], format!("{pattern}-{i}.tsv"));
            success(&eval(place, &["--model", pattern, "--data", data, "--per-token", &losses]));
            let text = std::fs::read_to_string(place.join(losses)).expect("losses");
            let mut lines = text.lines().map(String::from);
            // A document's first token has no line.
            let of = |ids: &Vec<u32>| lines.by_ref().take(ids.len() - 1).collect::<Vec<_>>();
            documents[i].iter().map(of).collect::<Vec<_>>()
        });
        for (n, shared) in shared.iter().enumerate() {
            assert_eq!(a[n][..shared - 1], b[n][..shared - 1], "{pattern}, document {n}");
            assert_ne!(a[n][shared - 1], b[n][shared - 1], "{pattern}, document {n}");
        }
    }
}
