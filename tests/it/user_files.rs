//! Files as users have them: tables from spreadsheets, texts and folders from other programs, damaged downloads. Each is read
//! right, refused with the place and the reason, or read with a warning that names it.

use crate::common::files;
use crate::common::program::{assert_one_line, run, stderr, success};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use wgpt::config::ModelConfig;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::store::Model;
use wgpt::store::safetensors::{self, Tensors};

/// A folder with files.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let place = Place(tempfile::tempdir().expect("folder"));
        files.iter().for_each(|(name, bytes)| place.put(name, bytes));
        place
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, bytes).expect("write");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program with the words of a line.
    fn wgpt(&self, line: &str) -> Output {
        run(self.root(), &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Asserts that the program refuses a line with exit code 2 and a message with all `parts`.
    fn refused(&self, line: &str, parts: &[&str]) {
        assert_one_line(&self.wgpt(line), 2, parts);
    }

    /// Runs a line and returns what it prints to stderr.
    fn notes(&self, line: &str) -> String {
        let output = self.wgpt(line);
        success(&output);
        stderr(&output)
    }
}

const MODEL: &str = "--n-layer 1 --n-embd 8 --n-head 1 --n-positions 32 --vocab-size 300";

/// A fine-tuning run of one epoch on `train` alone.
fn finetune(task: &str, train: &str, columns: &str) -> String {
    format!("finetune {task} --from-scratch {MODEL} --epochs 1 --batch 2 --train {train} --valid {train} {columns}")
}

#[test]
fn tables_that_lose_rows_are_refused() {
    let place = Place::new(&[
        ("quote.csv", b"text,label\n\"it began,0\nand went on,1\n\"then\" ended,0\nat last,1\n"),
        ("open.csv", b"text,label\ngood,1\n\"bad,0\nfine,1\n"),
        ("blank.tsv", b"text\none\n\nthree\n"),
        ("blank.csv", b"text\none\n\nthree\n"),
        ("blank.jsonl", b"{\"text\": \"one\"}\n\n{\"text\": \"three\"}\n"),
        ("good.tsv", b"text\tlabel\ngood\t1\nbad\t0\ngood good\t1\nbad bad\t0\n\n\n"),
        ("mac.csv", b"text,label\rgood,1\rbad,0\r"),
        ("utf16.csv", b"\xff\xfet\0,\0l\0\n\0"),
    ]);
    let columns = "--text text --label label --out run";
    place.refused(&finetune("classify", "quote.csv", columns), &["quote.csv: line 4: text after the quote", "line 2"]);
    place.refused(&finetune("classify", "open.csv", columns), &["open.csv: line 3: a quote that is never closed"]);
    place.refused(&finetune("classify", "mac.csv", columns), &["mac.csv: line 1: a carriage return"]);
    place.refused(&finetune("classify", "utf16.csv", columns), &["utf16.csv: UTF-16 text: expected UTF-8 text"]);
    assert!(!place.path("run").exists());

    success(&place.wgpt(&finetune("classify", "good.tsv", columns)));
    for (name, line) in [("blank.tsv", 3), ("blank.csv", 3), ("blank.jsonl", 2)] {
        let message = format!("{name}: line {line}: an empty line: expected a row");
        place.refused(&format!("predict --model run/checkpoints/step-000002 --data {name} --text text"), &[&message]);
    }
    let answers = success(&place.wgpt("predict --model run/checkpoints/step-000002 --data good.tsv --text text"));
    assert_eq!(answers.lines().count(), 1 + 4, "{answers}");
}

#[test]
fn a_key_that_a_line_has_twice_is_named() {
    let place = Place::new(&[
        ("rows.jsonl", b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 0, \"label\": 1}\n"),
        ("text.jsonl", b"{\"text\": \"one\", \"id\": 1}\n\n{\"text\": \"two\", \"id\": 2, \"text\": \"three\"}\n"),
    ]);
    let columns = "--text text --label label --out run";
    let expected = ["rows.jsonl: line 2: the key `label` twice at column 33: expected each key once"];
    place.refused(&finetune("classify", "rows.jsonl", columns), &expected);
    let expected = ["text.jsonl: line 3: the key `text` twice at column 31: expected each key once"];
    place.refused(&pretrain("text.jsonl", "--out run"), &expected);
}

#[test]
fn a_byte_order_mark_is_dropped_from_every_file_of_text() {
    let (place, _) = model_place();
    let mark = |name: &str| {
        let bytes = std::fs::read(place.path(name)).expect("read");
        place.put(name, &[b"\xef\xbb\xbf", bytes.as_slice()].concat());
    };
    let line = "tokenizer encode --model model text.txt";
    let ids = success(&place.wgpt(line));
    mark("text.txt");
    assert_eq!(success(&place.wgpt(line)), ids);
    place.put("ids.txt", ids.as_bytes());
    let text = success(&place.wgpt("tokenizer decode --model model ids.txt"));
    mark("ids.txt");
    assert_eq!(success(&place.wgpt("tokenizer decode --model model ids.txt")), text);
    place.put("prompt.txt", b"the");
    let generate = "generate --model model --greedy --tokens 3 --prompt-file prompt.txt";
    let generated = success(&place.wgpt(generate));
    mark("prompt.txt");
    assert_eq!(success(&place.wgpt(generate)), generated);

    let train = "pretrain --init model --data text.txt --batch 2 --set warmup=1 --steps 1 --out";
    success(&place.wgpt(&format!("{train} run")));
    files::copy_folder(&place.path("run"), &place.path("marked"));
    for name in ["config.toml", "metrics.jsonl", "latest", "kernels.json"] {
        mark(&format!("marked/{name}"));
    }
    for run in ["run", "marked"] {
        success(&place.wgpt(&format!("pretrain --resume {run} --steps 2")));
    }
    let weights = |run: &str| std::fs::read(place.path(run).join("checkpoints/step-000002/model.safetensors"));
    assert_eq!(weights("marked").expect("weights"), weights("run").expect("weights"));
    place.put("again.toml", &std::fs::read(place.path("run/config.toml")).expect("read"));
    mark("again.toml");
    success(&place.wgpt("pretrain --config again.toml --out again"));
}

#[test]
fn labels_that_look_wrong_are_named() {
    let lines =
        |label: &dyn Fn(usize) -> String, n| (0..n).map(|i| format!("text {i}\t{}\n", label(i))).collect::<String>();
    let table = |label: &dyn Fn(usize) -> String, n| format!("text\tlabel\n{}", lines(label, n));
    let place = Place::new(&[
        (
            "forms.jsonl",
            b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 1.0}\n{\"text\": \"c\", \"label\": 0}\n",
        ),
        ("case.tsv", table(&|i| ["Yes", "no", "yes"][i % 3].into(), 6).as_bytes()),
        ("scores.tsv", table(&|i| format!("{:.1}", i as f64 / 7.0), 20).as_bytes()),
        ("good.tsv", table(&|i| (i % 2).to_string(), 6).as_bytes()),
        ("header.csv", "\u{feff}text , label\u{a0}\r\r\nx,0\r\r\ny,1\r\r\n".as_bytes()),
    ]);
    for (name, warnings) in [
        ("forms.jsonl", &["may mean the same are different classes: \"1\" and \"1.0\"", "have one example each"][..]),
        ("case.tsv", &["\"Yes\" and \"yes\""]),
        ("scores.tsv", &["20 labels are numbers", "finetune similar --score"]),
        ("good.tsv", &[]),
        ("header.csv", &["2 of 2 labels have one example each: \"0\", \"1\""]),
    ] {
        let columns = format!("--text text --label label --set warmup=1 --out {name}.run");
        let notes = place.notes(&finetune("classify", name, &columns));
        assert!(warnings.iter().all(|warning| notes.contains(warning)), "{name}: {notes}");
        assert_eq!(notes.contains("label"), !warnings.is_empty(), "{name}: {notes}");
    }
}

#[test]
fn columns_files_and_numbers_that_cannot_be_meant_are_refused() {
    let place = Place::new(&[
        (
            "long.jsonl",
            b"{\"text\": \"a\", \"label\": 123456789012345678901234567890}\n{\"text\": \"b\", \"label\": 1}\n",
        ),
        ("rows.tsv", b"text\tlabel\ngood\tyes\nbad\tno\n"),
        ("one.tsv", b"text\tlabel\ngood\tyes\nfine\tyes\n"),
        ("text.txt", story().as_bytes()),
    ]);
    place.refused(
        &finetune("classify", "long.jsonl", "--text text --label label --out run"),
        &["long.jsonl: line 1: `label` is a number of more than 15 digits", "or the digits in quotes"],
    );
    place.refused(
        &finetune("classify", "rows.tsv", "--text text --label text --out run"),
        &["label = text: is the column of text already: must be another"],
    );
    place.refused(&pretrain("text.txt ./text.txt", "--out run"), &["text.txt", "must be given once"]);
    let line =
        finetune("classify", "rows.tsv", "--text text --label label --best-by matthews --set warmup=1 --out run");
    let output = place.wgpt(&line.replace("--valid rows.tsv", "--valid one.tsv"));
    let (printed, notes) = (success(&output), stderr(&output));
    assert!(notes.contains("one.tsv: all examples have the label \"yes\", so matthews is undefined"), "{notes}");
    assert!(printed.contains("by the loss, because matthews is undefined"), "{printed}");
    let notes = place.notes(&finetune("classify", "rows.tsv", "--text text --label label --set warmup=1 --out other"));
    assert!(notes.contains("valid = rows.tsv is the training file"), "{notes}");
}

#[test]
fn the_loss_chooses_the_best_epoch_where_the_metric_is_undefined() {
    let place = Place::new(&[("equal.tsv", b"a\tb\tscore\nx\ty\t3\nx\tz\t3\n")]);
    let line = finetune("similar", "equal.tsv", "--a a --b b --score score --out run --lr 0.01")
        .replace("--epochs 1", "--epochs 3");
    let output = place.wgpt(&line);
    let printed = success(&output);
    assert!(
        stderr(&output).contains("equal.tsv: all scores are equal, so pearson is undefined"),
        "{}",
        stderr(&output)
    );
    assert!(printed.contains("best epoch  3 by the loss, because pearson is undefined"), "{printed}");
    let losses: Vec<f64> = std::fs::read_to_string(place.path("run/metrics.jsonl"))
        .expect("metrics")
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).expect("json")["valid_loss"].as_f64())
        .collect();
    assert!(losses.len() == 3 && losses[2] < losses[0], "{losses:?}");
}

/// A run of two steps on a text.
fn pretrain(data: &str, more: &str) -> String {
    format!("pretrain {MODEL} --data {data} --steps 2 --set warmup=1 --batch 2 --valid 0.3 {more}")
}

fn story() -> String {
    wgpt::data::synthetic::stories::stories(3, 4000)
}

#[test]
fn folders_are_read_without_hidden_files_and_own_runs() {
    let text = story();
    let place = Place::new(&[
        ("a.txt", text.as_bytes()),
        ("._a.txt", b"\0\x05\x16\x07\xff"),
        (".ipynb_checkpoints/a-checkpoint.txt", text.as_bytes()),
        ("b/c.txt", b"the end of it\n"),
        ("b/empty.txt", b""),
        ("b/c.txt.gz", b"\x1f\x8b\x08"),
    ]);
    let notes = place.notes(&pretrain(".", "--out runs/one"));
    let reading = "read 3 files of text, ";
    let left_out = "; left out: 2 hidden, 1 of another kind (.gz)";
    assert!(notes.contains(reading) && notes.contains(left_out), "{notes}");
    let trained = notes.lines().find(|line| line.starts_with("training ")).expect("a line").to_string();
    let notes = place.notes(&pretrain(".", "--out runs/two"));
    assert!(notes.contains(&trained), "the first run is no data: {trained} {notes}");
    assert!(
        notes.contains(reading) && notes.contains("2 hidden, 1 of runs or models, 1 of another kind (.gz)"),
        "{notes}"
    );
    let notes = place.notes("eval --model runs/one/checkpoints/step-000002 --data .");
    assert!(notes.contains(reading) && notes.contains("2 of runs or models"), "{notes}");
    let notes = place.notes("tokenizer train --data . --vocab-size 260 --out tokenizer");
    assert!(notes.contains(reading), "{notes}");
}

#[test]
fn a_separator_without_effect_is_named() {
    let text = story();
    let inline = text.replace(". ", ".<|end|>");
    let lines = text.replace(". ", ".\n<|end|>\n");
    let place = Place::new(&[("inline.txt", inline.as_bytes()), ("lines.txt", lines.as_bytes())]);
    let warning = "document_separator = \"<|end|>\" ends no document: it occurs inside of lines";
    for (name, is_warned) in [("inline.txt", true), ("lines.txt", false)] {
        let notes = place.notes(&pretrain(name, &format!("--document-separator <|end|> --out {name}.run")));
        assert_eq!(notes.contains(warning), is_warned, "{name}: {notes}");
    }
    let model = "--model lines.txt.run/checkpoints/step-000002";
    let notes = place.notes(&format!("eval {model} --data inline.txt --document-separator <|end|>"));
    assert!(notes.contains(warning), "{notes}");
    let line = "tokenizer train --data inline.txt --document-separator <|end|> --vocab-size 260 --out tokenizer";
    assert!(place.notes(line).contains(warning));
    // Files of which some have it as a line; texts of other formats.
    place.put("rows.txt", "{\"text\": \"one two\"}\n".repeat(9).as_bytes());
    place.put("table.csv", b"a,b\n1,2\n");
    let line = "tokenizer train --data lines.txt inline.txt rows.txt table.csv --document-separator <|end|> --vocab-size 9000 \
                --out another";
    let notes = place.notes(line);
    for warning in [
        "\"<|end|>\" ends no document of inline.txt: it occurs inside of lines",
        "warning: rows.txt: JSON, which is read as plain text",
        "warning: table.csv: a table, which is read as plain text",
        "warning: vocab_size = 9000: the text has no more pairs to merge",
    ] {
        assert!(notes.contains(warning), "{warning}: {notes}");
    }
}

#[test]
fn text_without_tokens_is_named_and_has_no_bits_per_byte() {
    let known = Tokenizer::train(&story(), 120, Pretokenizer::Bert).expect("train");
    let place = Place::new(&[
        ("tokenizer.json", known.to_json().expect("json").as_bytes()),
        ("known.txt", story().as_bytes()),
        ("mixed.txt", story().replace(". ", ". 一二三 四五 ").as_bytes()),
        ("mixed.tsv", "text\tlabel\n一二\t0\nthe cat\t1\n三\t0\na dog\t1\n".as_bytes()),
    ]);
    let bits = |run: &str| {
        let lines = std::fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("metrics");
        lines.lines().filter(|line| line.contains("valid_bits_per_byte")).count()
    };
    for (name, count) in [("known.txt", 2), ("mixed.txt", 0)] {
        let output = place.wgpt(&pretrain(name, &format!("--tokenizer tokenizer.json --out {name}.run")));
        let (printed, notes) = (success(&output), stderr(&output));
        assert_eq!(notes.contains(" % of the tokens ("), count == 0, "{notes}");
        assert_eq!(printed.contains("bits per byte"), count > 0, "{printed}");
        assert_eq!(bits(&format!("{name}.run")), count, "{name}");
        let json = success(&place.wgpt(&format!("eval --model known.txt.run --data {name} --json")));
        let row: Value = serde_json::from_str(json.trim()).expect("a row");
        assert_eq!(row["bits_per_byte"].is_null(), count == 0, "{row}");
    }
    // A run whose metrics have no bits per byte goes on.
    success(&place.wgpt("pretrain --resume mixed.txt.run --steps 3"));
    let unknown = "are <unk>, in place of text that the tokenizer has no tokens for";
    let line = "finetune classify --model known.txt.run --train mixed.tsv --valid mixed.tsv --text text --label label \
                --epochs 1 --batch 2 --out tuned";
    let notes = place.notes(line);
    assert_eq!(notes.matches(unknown).count(), 2, "{notes}");
    for line in [
        "predict --model tuned --data mixed.tsv --text text",
        "eval --task --model tuned --data mixed.tsv --text text --label label",
        "generate --model known.txt.run --prompt 一 --tokens 2",
        "tokenizer encode --model known.txt.run mixed.txt",
    ] {
        let notes = place.notes(line);
        assert!(notes.contains(unknown), "{line}: {notes}");
    }
}

/// A folder `model` with weights and a byte-level tokenizer.
fn model_place() -> (Place, Model) {
    let place = Place::new(&[("text.txt", story().as_bytes())]);
    let tokenizer = Tokenizer::train(&story(), 280, Pretokenizer::Bytes).expect("train");
    let config =
        ModelConfig { n_layer: 1, n_embd: 8, n_head: 1, n_positions: 16, vocab_size: 280, ..Default::default() };
    let model = Model { tokenizer: Some(tokenizer), ..Model::new(config, 3).expect("a model") };
    model.save(place.path("model")).expect("save");
    (place, model)
}

#[test]
fn model_folders_of_other_programs_give_the_same_loss() {
    let (place, model) = model_place();
    let loss = || success(&place.wgpt("eval --model model --data text.txt --json"));
    let right = loss();
    let weights = place.path("model/model.safetensors");
    let tensors: Tensors = safetensors::read(&weights).expect("tensors");
    let wrapped = tensors.iter().map(|(name, tensor)| (format!("module._orig_mod.{name}"), tensor));
    let wrapped: Vec<_> = wrapped.collect();
    safetensors::write(
        &weights,
        wrapped.iter().map(|(name, t)| (name.as_str(), t.shape.as_slice(), t.data.as_slice())),
    )
    .expect("write");
    assert_eq!(loss(), right);

    for name in ["config.json", "tokenizer.json"] {
        let path = place.path("model").join(name);
        let text = std::fs::read(&path).expect("read");
        std::fs::write(&path, [b"\xef\xbb\xbf", text.as_slice()].concat()).expect("write");
        assert_eq!(loss(), right, "{name}");
    }

    // The same tokenizer as a vocabulary and its merges, which GPT-2's folders have.
    let json: Value = serde_json::from_str(&model.tokenizer().expect("ours").to_json().expect("json")).expect("JSON");
    std::fs::remove_file(place.path("model/tokenizer.json")).expect("remove");
    place.put("model/vocab.json", json["model"]["vocab"].to_string().as_bytes());
    let word = |value: &Value| value.as_str().expect("a token").to_string();
    let merges = json["model"]["merges"].as_array().expect("merges");
    let merges: String = merges.iter().map(|pair| format!("{} {}\n", word(&pair[0]), word(&pair[1]))).collect();
    place.put("model/merges.txt", format!("#version: 0.2\n{merges}").as_bytes());
    assert_eq!(loss(), right);
}

#[test]
fn files_that_are_not_what_their_names_say_are_named() {
    let (place, _) = model_place();
    place.put("table.tsv", b"text\tlabel\na\t0\nb\t1\n");
    place.put("run.toml", b"data = \"text.txt\"\n");
    let eval = "eval --model model --data text.txt".to_string();
    let commands = [
        ("model/model.safetensors", eval.clone()),
        ("model/config.json", eval.clone()),
        ("model/tokenizer.json", eval),
        ("text.txt", pretrain("text.txt", "--out run")),
        ("run.toml", "pretrain --config run.toml --out run".into()),
        ("table.tsv", finetune("classify", "table.tsv", "--text text --label label --out run")),
    ];
    let before = files::names(place.root());
    for (bytes, what) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:abcd\nsize 466390024\n"[..], "a Git LFS pointer"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip"),
        (b"PK\x03\x04\0\0\0\0\0\0archive/data.pkl", "a zip archive"),
        (b"<!DOCTYPE html>\n<html><title>Not found</title></html>\n", "an HTML page"),
    ] {
        for (name, line) in &commands {
            if *name == "text.txt" && what == "an HTML page" {
                continue; // It may be a text to learn.
            }
            let good = std::fs::read(place.path(name)).expect("read");
            place.put(name, bytes);
            place.refused(line, &[name, what]);
            place.put(name, &good);
        }
    }
    place.put("ids.txt", b"7 99999");
    place.put("zip.txt", b"\x1f\x8b\x08\0\0\0\0\0");
    place.refused(
        "tokenizer decode --model model ids.txt",
        &["ids.txt: word 2: \"99999\": expected an id from 0 to 279"],
    );
    place.refused("tokenizer decode --model model zip.txt", &["zip.txt: compressed by gzip: expected it decompressed"]);
    place.refused("tokenizer encode --model model zip.txt", &["zip.txt: compressed by gzip"]);
    place.refused(
        &pretrain("model", "--out run"),
        &["model: the folder of a run, a model or a tokenizer: expected text"],
    );
    let config = std::fs::read_to_string(place.path("model/config.json")).expect("read");
    place.put("model/config.json", config.replacen('{', "{\"n_layer\": 5,", 1).as_bytes());
    place.refused(&commands[0].1, &["config.json: the key `n_layer` twice at line ", "expected each key once"]);
    place.put("model/config.json", config.as_bytes());
    for name in ["ids.txt", "zip.txt"] {
        std::fs::remove_file(place.path(name)).expect("remove");
    }
    assert_eq!(files::names(place.root()), before);
    let vocabulary = json!({"[UNK]": 0, "a": 1, "##b": 2}).to_string();
    place.put("other/vocab.json", vocabulary.as_bytes());
    place.put("other/merges.txt", b"#version: 0.2\na b\n");
    place.put("piece/spiece.model", b"x");
    for (folder, what) in [("other", "a WordPiece vocabulary"), ("piece", "spiece.model is a SentencePiece model")] {
        place.refused(&pretrain("text.txt", &format!("--tokenizer {folder} --out run")), &[folder, what]);
    }
}

#[test]
fn tables_are_aligned_and_no_control_character_reaches_a_terminal() {
    let rows = "好\t正面\n坏\t负面\n好好\t正面\n坏坏\tno\u{1b}[31m\u{9b}2J\n";
    let place = Place::new(&[("zh.tsv", format!("text\tlabel\n{rows}").as_bytes())]);
    let output = place.wgpt(&finetune("classify", "zh.tsv", "--text text --label label --out run"));
    let printed = success(&output);
    let table: Vec<&str> = printed.lines().skip_while(|line| !line.starts_with("right")).take(5).collect();
    let [head, rule, .., last] = table[..] else { panic!("{printed}") };
    // Two columns for each of the characters of a label.
    assert!(head.starts_with("right \\ given         no\\u{1b}[31m\\u{9b}2J  正面  负面  "), "{printed}");
    assert!(rule.contains("──  ────  ────  ──") && last.starts_with("负面 "), "{printed}");
    let all = printed + &stderr(&output);
    assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{all:?}");
    assert!(stderr(&output).contains("no\\u{1b}[31m"), "the warning about single examples: {}", stderr(&output));

    let missing = run(place.root(), &["eval", "--model", "no\u{1b}[2J\n", "--data", "zh.tsv"]);
    assert_one_line(&missing, 2, &["no\\u{1b}[2J\\n: is not a folder"]);
    let unknown = run(place.root(), &["eval", "\u{1b}]0;title\u{7}"]);
    assert!(!stderr(&unknown).contains(['\u{1b}', '\u{7}']), "{:?}", stderr(&unknown));
}
