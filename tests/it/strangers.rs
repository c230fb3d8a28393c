//! Models, tokenizers, runs and texts from strangers: nothing is written outside of the run's folder, no device or pipe is read,
//! nothing that a file claims is allocated, and no regular expression of a file runs.
#![cfg(unix)]

use super::common::files::{copy_folder, names};
use super::common::program::{assert_one_line, run, success, wgpt};
use super::common::published::{npy, write_published};
use super::common::runs::write_inputs;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use wgpt::store::safetensors;

/// A folder with inputs, a run of two steps, and a file that must not change.
struct Place {
    folder: tempfile::TempDir,
}

const SECRET: &str = "not yours";

impl Place {
    fn new() -> Self {
        let place = Place { folder: tempfile::tempdir().expect("folder") };
        fs::create_dir(place.path("work")).expect("folder");
        write_inputs(&place.path("work"), "steps = 2\nwarmup = 1\n");
        fs::write(place.path("secret"), SECRET).expect("write");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.path("work")
    }

    fn secret(&self) -> String {
        fs::read_to_string(self.path("secret")).expect("the secret")
    }

    /// Asserts that a command is refused with a message that has all `parts`, within 2 GiB of address space.
    fn refused(&self, line: &str, parts: &[&str]) {
        println!("{line}: {parts:?}");
        let own = wgpt(&self.work(), &line.split_whitespace().collect::<Vec<_>>());
        let mut limited = Command::new("sh");
        limited.current_dir(self.work()).env("WGPT_CACHE", "").args(["-c", "ulimit -v 2097152; exec \"$0\" \"$@\""]);
        let output = limited.arg(own.get_program()).args(own.get_args()).output().expect("a shell");
        assert_one_line(&output, 2, parts);
    }
}

const EVAL: &str = "eval --model model --data text.txt";

#[test]
fn training_does_not_write_through_links() {
    let place = Place::new();
    success(&run(&place.work(), &["pretrain", "--data", "text.txt", "--config", "tiny.toml", "--out", "whole"]));
    let (whole, copied) = (place.path("work/whole"), place.path("work/run"));
    let latest = "checkpoints/step-000002";
    let all = names(&whole).into_iter().chain([latest.to_string()]);
    let hidden = [".latest.partial", ".metrics.jsonl.partial", "checkpoints/.step-000003.partial", "predictions.tsv"];
    for name in all.chain(hidden.map(String::from)) {
        copy_folder(&whole, &copied);
        let (inside, outside) = (copied.join(&name), place.path("outside"));
        match inside.exists() {
            true => fs::rename(&inside, &outside).expect("move"),
            false => fs::write(&outside, SECRET).expect("write"),
        }
        symlink(&outside, &inside).expect("link");
        let before = contents(&outside);
        let expected = ["run/".to_string() + &name, "is a link: a run that is trained must be".into()];
        place.refused("pretrain --resume run --steps 3", &expected.each_ref().map(String::as_str));
        assert_eq!(contents(&outside), before, "{name}");
        fs::remove_dir_all(&copied).expect("remove");
        if outside.is_dir() { fs::remove_dir_all(&outside) } else { fs::remove_file(&outside) }.expect("remove");
    }
    // The run's folder itself may be behind a link.
    symlink("whole", place.path("work/link")).expect("link");
    success(&run(&place.work(), &["pretrain", "--resume", "link", "--steps", "3"]));
}

#[test]
fn kernels_that_do_not_fit_are_replaced() {
    let place = Place::new();
    success(&run(&place.work(), &["pretrain", "--data", "text.txt", "--config", "tiny.toml", "--out", "run"]));
    let path = place.path("work/run/kernels.json");
    let mut kernels: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    let tiled = |parts: u32| json!({"tiled": {"tile_m": 64, "tile_n": 64, "rows": 4, "parts": parts}});
    let odd = [tiled(u32::MAX), tiled(0), json!({"tiled": {"tile_m": u32::MAX, "tile_n": 7, "rows": 0, "parts": 9}})];
    let products = kernels["specs"]["matmul"].as_object_mut().expect("products");
    products.values_mut().zip(odd.iter().cycle()).for_each(|(spec, odd)| *spec = odd.clone());
    let attention = kernels["specs"]["attention"].as_object_mut().expect("attention");
    attention.values_mut().for_each(|spec| *spec = json!({"tiled": {"group": u32::MAX}}));
    fs::write(&path, kernels.to_string()).expect("write");
    success(&run(&place.work(), &["pretrain", "--resume", "run", "--steps", "3"]));
}

/// The names and bytes of a file, or of the files of a folder.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    if path.is_dir() {
        names(path).iter().for_each(|name| all.extend(contents(&path.join(name))));
    } else {
        all.push((path.display().to_string(), fs::read(path).expect("a file")));
    }
    all
}

#[test]
fn outputs_are_not_written_through_a_link_of_their_temporary_name() {
    let place = Place::new();
    symlink(place.path("secret"), place.path("work/.losses.txt.partial")).expect("link");
    success(&run(&place.work(), &["eval", "--model", "model", "--data", "text.txt", "--per-token", "losses.txt"]));
    assert_eq!(place.secret(), SECRET);
    symlink(place.path("secret"), place.path("work/.run.wgpt-lock")).expect("link");
    success(&run(&place.work(), &["pretrain", "--data", "text.txt", "--config", "tiny.toml", "--out", "run"]));
    assert_eq!(place.secret(), SECRET);
}

#[test]
fn names_in_files_do_not_lead_out_of_their_folder() {
    let place = Place::new();
    let model = place.path("work/model");
    for (name, text) in
        [("latest", "../../secret"), ("latest", "/etc"), ("best", ".."), ("latest", "a\\b"), ("latest", "")]
    {
        let folder = place.path("work/pointer");
        fs::create_dir_all(folder.join("checkpoints")).expect("folder");
        fs::write(folder.join(name), text).expect("write");
        let expected = ["pointer/".to_string() + name, "must name a folder in checkpoints".into()];
        place.refused("eval --model pointer --data text.txt", &expected.each_ref().map(String::as_str));
        fs::remove_dir_all(&folder).expect("remove");
    }
    let tensors: Vec<String> =
        safetensors::read(&model.join("model.safetensors")).expect("tensors").into_keys().collect();
    fs::copy(model.join("model.safetensors"), place.path("one.safetensors")).expect("copy");
    fs::rename(model.join("model.safetensors"), model.join("one.safetensors")).expect("rename");
    let absolute = place.path("one.safetensors");
    let index = |shard: &str| {
        let map: serde_json::Map<String, Value> = tensors.iter().map(|name| (name.clone(), shard.into())).collect();
        let text = json!({"metadata": {"total_size": 9}, "weight_map": map}).to_string();
        fs::write(model.join("model.safetensors.index.json"), text).expect("write");
    };
    for shard in
        ["../../one.safetensors", absolute.to_str().expect("UTF-8"), "../model/one.safetensors", "x\\y", "C:one"]
    {
        index(shard);
        place.refused(EVAL, &["index.json: weight_map: ", "must be the name of a file in the same folder"]);
    }
    index("one.safetensors");
    success(&run(&place.work(), &EVAL.split(' ').collect::<Vec<_>>()));
    let state = json!({"format": 1, "files": {"../../secret": "00"}, "checksum": "0".repeat(64)});
    fs::write(model.join("state.json"), state.to_string()).expect("write");
    place.refused(EVAL, &["state.json: is damaged"]);
}

#[test]
fn links_in_a_model_are_read_but_no_devices_or_pipes() {
    let place = Place::new();
    let model = place.path("work/model");
    // As in Hugging Face's cache.
    fs::create_dir(place.path("blobs")).expect("folder");
    let files = names(&model);
    for name in &files {
        fs::rename(model.join(name), place.path("blobs").join(name)).expect("rename");
        symlink(place.path("blobs").join(name), model.join(name)).expect("link");
    }
    success(&run(&place.work(), &EVAL.split(' ').collect::<Vec<_>>()));
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let read = ["config.json", "tokenizer.json", "model.safetensors", "state.json"];
    for name in read {
        for target in [Path::new("/dev/zero"), &pipe] {
            let _ = fs::remove_file(model.join(name));
            symlink(target, model.join(name)).expect("link");
            place.refused(EVAL, &[name, "a device or a pipe, not a regular file"]);
        }
        fs::remove_file(model.join(name)).expect("remove");
        if files.iter().any(|own| own == name) {
            symlink(place.path("blobs").join(name), model.join(name)).expect("link");
        }
    }
    write_published(&place.path("work/published"));
    for name in ["params_shapes.json", "params_3.npy", "vocab_40000.bpe"] {
        let (path, kept) = (place.path("work/published").join(name), place.path("kept"));
        fs::rename(&path, &kept).expect("rename");
        symlink("/dev/zero", &path).expect("link");
        place.refused("import openai published --out imported", &[name, "not a regular file"]);
        fs::rename(&kept, &path).expect("rename");
    }
}

#[test]
fn claims_of_files_are_not_allocated() {
    let place = Place::new();
    let model = place.path("work/model");
    let with = |name: &str, bytes: &[u8], parts: &[&str]| {
        let good = fs::read(model.join(name)).expect("read");
        fs::write(model.join(name), bytes).expect("write");
        place.refused(EVAL, &[&[name], parts].concat());
        fs::write(model.join(name), good).expect("write");
    };
    let config: Value = serde_json::from_slice(&fs::read(model.join("config.json")).expect("read")).expect("JSON");
    for (key, claim, expected) in [
        ("n_layer", json!(1_000_000_000), "must be at most 4096"),
        ("n_layer", json!(4096), "transformer.h.1"),
        ("n_embd", json!(1u64 << 40), "must be at most"),
        ("vocab_size", json!(1 << 24), "must be"),
        ("n_positions", json!(1 << 24), "must be"),
        ("n_head", json!(1u64 << 60), "must be at most"),
    ] {
        let mut claimed = config.clone();
        claimed[key] = claim;
        let file = if expected == "must be" || expected.starts_with("transformer") {
            "model.safetensors"
        } else {
            "config.json"
        };
        fs::write(model.join("config.json"), claimed.to_string()).expect("write");
        place.refused(EVAL, &[file, expected]);
    }
    fs::write(model.join("config.json"), config.to_string()).expect("write");

    let header = |length: u64, text: &str| [&length.to_le_bytes()[..], text.as_bytes()].concat();
    let entry = |shape: &str, end: &str| {
        format!(
            "{{\"transformer.tokens_embed.weight\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}"
        )
    };
    with("model.safetensors", &header(1 << 60, "{}"), &["is not a complete safetensors file"]);
    for (shape, end) in [
        ("[1152921504606846976]", "4611686018427387904"),
        ("[4294967296,4294967296,4294967296]", "4"),
        ("[270,18]", "19440"),
        ("[18446744073709551616]", "4"),
    ] {
        let text = entry(shape, end);
        with("model.safetensors", &header(text.len() as u64, &text), &["is not a complete safetensors file"]);
    }
    let tokenizer: Value =
        serde_json::from_slice(&fs::read(model.join("tokenizer.json")).expect("read")).expect("JSON");
    let mut claimed = tokenizer.clone();
    claimed["model"]["vocab"]["a"] = json!(u64::MAX);
    with("tokenizer.json", claimed.to_string().as_bytes(), &["model.vocab", "expected ids from 0 to"]);
    claimed = tokenizer;
    claimed["added_tokens"] = json!([{"id": 4_000_000_000u64, "content": "<x>", "special": true}]);
    with("tokenizer.json", claimed.to_string().as_bytes(), &["added_tokens[0]", "expected id"]);

    write_published(&place.path("work/published"));
    let part = npy(&[0.0; 3]);
    let text = String::from_utf8_lossy(&part[..100]).into_owned();
    assert!(text.contains("(3,)"), "{text}");
    let mut huge = part.clone();
    let at = part.windows(4).position(|four| four == b"(3,)").expect("a shape");
    huge.splice(at..at + 4, *b"(9,)");
    fs::write(place.path("work/published/params_2.npy"), huge).expect("write");
    place.refused("import openai published --out imported", &["params_2.npy", "must fill the shape (9,)"]);
    fs::write(place.path("work/published/params_2.npy"), b"\x93NUMPY\x02\0\xff\xff\xff\xff{").expect("write");
    place.refused("import openai published --out imported", &["params_2.npy: is damaged"]);
    let shapes = format!("[[16777216,16777216],[16777216,16777216],{}]", ["[16777216]"; 12].join(","));
    fs::write(place.path("work/published/params_shapes.json"), shapes).expect("write");
    place.refused("import openai published --out imported", &["params_shapes.json"]);
}

#[test]
fn deep_nesting_is_an_error() {
    let place = Place::new();
    let deep = |open: &str| open.repeat(200_000);
    let (model, work) = (place.path("work/model"), place.work());
    for open in ["[", "{\"a\":"] {
        for name in ["config.json", "tokenizer.json"] {
            let good = fs::read(model.join(name)).expect("read");
            fs::write(model.join(name), deep(open)).expect("write");
            place.refused(EVAL, &[name]);
            fs::write(model.join(name), good).expect("write");
        }
        fs::write(work.join("deep.jsonl"), format!("{{\"text\": \"a\", \"label\": {}", deep(open))).expect("write");
        place.refused("pretrain --data deep.jsonl --config tiny.toml --out run", &["deep.jsonl: line 1"]);
        let tune =
            "finetune classify --model model --train deep.jsonl --valid deep.jsonl --text text --label label --out run";
        place.refused(tune, &["deep.jsonl: line 1"]);
    }
    let inline = format!("steps = {}", deep("{a="));
    let dotted = format!("{}b = 1\n", deep("a."));
    let table = format!("[{}b]\n", deep("a."));
    for text in [format!("data = {}", deep("[")), inline, dotted, table] {
        fs::write(work.join("deep.toml"), text).expect("write");
        place.refused("pretrain --data text.txt --config deep.toml --out run", &["deep.toml"]);
    }
}

#[test]
fn links_out_of_a_folder_of_texts_are_not_read() {
    let place = Place::new();
    let (corpus, elsewhere) = (place.path("work/corpus"), place.path("elsewhere"));
    fs::create_dir(&corpus).expect("folder");
    fs::create_dir(&elsewhere).expect("folder");
    fs::copy(place.path("work/text.txt"), corpus.join("a.txt")).expect("copy");
    fs::write(elsewhere.join("b.txt"), "private words").expect("write");
    symlink(elsewhere.join("b.txt"), corpus.join("b.txt")).expect("link");
    symlink(&elsewhere, corpus.join("c")).expect("link");
    symlink("/dev/zero", corpus.join("d.txt")).expect("link");
    let output = run(&place.work(), &["eval", "--model", "model", "--data", "corpus"]);
    success(&output);
    let notes = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        notes.contains("read 1 file of text") && notes.contains("left out: 3 behind links out of the folder"),
        "{notes}"
    );
}
