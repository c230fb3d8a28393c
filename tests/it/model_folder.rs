//! `--model DIR`: every kind of model folder is read. A damaged one is an error in one line that names the file, before
//! memory is allocated for sizes that it claims.

use crate::common::files::golden;
use std::path::{Path, PathBuf};
use wgpt::config::ModelConfig;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::philox::{Stream, Words};
use wgpt::store::checksums;
use wgpt::store::model_folder::{Model, resolve};
use wgpt::store::safetensors::{self as files, Tensor, Tensors};

fn small() -> Model {
    let config =
        ModelConfig { n_layer: 2, n_embd: 6, n_head: 2, n_positions: 5, vocab_size: 270, ..ModelConfig::default() };
    let tokenizer = Tokenizer::train("the cat and the hat, the dog and the log", 262, Pretokenizer::Bytes);
    let parameters = wgpt::model::initial_parameters(&config, 3);
    Model::from_parts(config, parameters, Some(tokenizer.expect("a tokenizer")))
}

/// A folder with the model of [`small`] in it, as a checkpoint.
fn saved() -> (tempfile::TempDir, PathBuf, Model) {
    let place = tempfile::tempdir().expect("folder");
    let (dir, model) = (place.path().join("model"), small());
    model.save(&dir).expect("save");
    (place, dir, model)
}

/// The error of a folder that is not read: one line, exit code 2.
fn refused(dir: &Path) -> String {
    let error = Model::load(dir).err().unwrap_or_else(|| panic!("{} is read", dir.display()));
    let message = error.to_string();
    assert!(error.is_invalid_input(), "{message}");
    assert!(message.lines().count() == 1, "{message}");
    message
}

/// Asserts an error that starts with the file's path and ends with `ending`.
fn assert_error(dir: &Path, file: &Path, ending: &str) {
    let message = refused(dir);
    assert!(message.starts_with(&format!("{}: ", file.display())) && message.ends_with(ending), "{message}");
}

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
}

fn write(path: &Path, tensors: &Tensors) {
    files::write(path, tensors.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice(), t.data.as_slice())))
        .expect("write");
}

#[test]
fn a_run_is_its_best_or_its_latest_checkpoint() {
    let place = tempfile::tempdir().expect("folder");
    let (run, mut model) = (place.path().join("run"), small());
    for (step, value) in [("step-000002", 2.0), ("step-000004", 4.0)] {
        model.parameters[0][0] = value;
        model.save(run.join("checkpoints").join(step)).expect("save");
    }
    let first = |dir: &Path| Model::load(dir).expect("a model").parameters[0][0];
    put(&run.join("latest"), "step-000004\n");
    assert_eq!(first(&run), 4.0);
    put(&run.join("best"), "step-000002");
    assert_eq!(first(&run), 2.0);
    assert_eq!(resolve(&run).expect("best"), run.join("checkpoints/step-000002"));
    assert_eq!(first(&run.join("checkpoints/step-000004")), 4.0);

    // A name that leads out of `checkpoints` is refused, even if it leads to a model.
    model.save(run.join("outside")).expect("save");
    let absolute = run.join("outside").display().to_string();
    for name in
        ["../outside", "step-000002/../step-000004", ".", "..", "", "\\outside", "c:x", "step-9", "\0", &absolute]
    {
        put(&run.join("best"), name);
        let message = refused(&run);
        assert!(message.starts_with(&format!("{}: \"", run.join("best").display())), "{message}");
    }
    std::fs::remove_file(run.join("best")).expect("remove");
    std::fs::remove_file(run.join("latest")).expect("remove");
    assert_error(
        &run,
        &run,
        "has no config.json and neither best nor latest: must be a model's folder or a run's folder",
    );
    assert_error(
        &run.join("none"),
        &run.join("none"),
        "is not a folder: must be a folder with config.json and model.safetensors",
    );
    let file = run.join("checkpoints/step-000002/model.safetensors");
    assert_error(&file, &file, "is not a folder: must be a folder with config.json and model.safetensors");
}

#[test]
fn hugging_faces_own_folder_is_read() {
    let dir = golden().join("a_lm_flat");
    if !dir.is_dir() {
        println!("skipped: no {}", dir.display());
        return;
    }
    let model = Model::load(&dir).expect("a model");
    assert!(model.warnings.is_empty() && model.folder.as_deref() == Some(dir.as_path()), "{:?}", model.warnings);
    let config = &model.config;
    assert_eq!((config.n_layer, config.n_embd, config.n_head), (2, 64, 4));
    assert_eq!((config.n_positions, config.vocab_size), (32, 211));
    assert_eq!((config.attn_pdrop, config.layer_norm_epsilon), (0.0, 1e-5));
    assert!(config.has_only_full_attention());
    assert_eq!(model.parameters.iter().map(Vec::len).sum::<usize>(), config.parameter_count());
    let spread = |x: &[f32]| (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
    assert!((0.001..10.0).contains(&spread(&model.parameters[0])));
    let error = model.tokenizer().expect_err("no tokenizer").to_string();
    assert!(
        error.contains("a_lm_flat: no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"),
        "{error}"
    );
}

/// The tensors of [`small`] in two shards with short names, mask buffers and a tied head, and the index of them.
fn sharded(dir: &Path) -> (Tensors, Tensors, serde_json::Value) {
    let all = files::read(&dir.join("model.safetensors")).expect("tensors");
    std::fs::remove_file(dir.join("model.safetensors")).expect("remove");
    let head = all["transformer.tokens_embed.weight"].clone();
    let short = all.into_iter().map(|(name, tensor)| (name.replace("transformer.", ""), tensor));
    let (mut a, mut b): (Tensors, Tensors) = short.partition(|(name, _)| name.starts_with("h.0"));
    a.insert("h.0.attn.bias".into(), Tensor { shape: vec![1, 1, 5, 5], data: vec![1.0; 25] });
    b.insert("lm_head.weight".into(), head);
    let mut index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": {}});
    for (name, tensors) in [("a.safetensors", &a), ("b.safetensors", &b)] {
        write(&dir.join(name), tensors);
        for tensor in tensors.keys() {
            index["weight_map"][tensor] = name.into();
        }
    }
    put(&dir.join("model.safetensors.index.json"), &index.to_string());
    (a, b, index)
}

#[test]
fn shards_are_one_model_and_their_index_is_checked() {
    let (_place, dir, model) = saved();
    let (mut a, _, good) = sharded(&dir);
    let read = Model::load(&dir).expect("shards");
    assert_eq!((read.parameters, read.warnings), (model.parameters, vec![]));

    let path = dir.join("model.safetensors.index.json");
    let with = |tensor: &str, shard: &str| {
        let mut index = good.clone();
        index["weight_map"][tensor] = shard.into();
        index.to_string()
    };
    let elsewhere = dir.with_file_name("elsewhere.safetensors");
    std::fs::copy(dir.join("a.safetensors"), &elsewhere).expect("copy");
    for name in ["../elsewhere.safetensors", elsewhere.to_str().expect("UTF-8"), "x/../a.safetensors", "..", "."] {
        put(&path, &with("h.0.ln_1.bias", name));
        assert_error(&dir, &path, &format!("weight_map: {name:?}: must be the name of a file in the same folder"));
    }
    put(&path, &with("h.0.ln_1.bias", "c.safetensors"));
    assert_error(&dir, &path, "weight_map: \"c.safetensors\" is missing: must be a file in the same folder");
    put(&path, &with("h.0.ln_1.bias", "b.safetensors"));
    assert_error(&dir, &path, "weight_map: \"h.0.ln_1.bias\": must be in \"b.safetensors\", which does not hold it");
    put(&path, &with("h.7.ln_1.bias", "a.safetensors"));
    assert_error(&dir, &path, "weight_map: \"h.7.ln_1.bias\": must be in \"a.safetensors\", which does not hold it");
    put(&path, &good.to_string().replace("\"h.0.ln_1.weight\"", "\"h.0.ln_1.bias\""));
    assert_error(&dir, &path, "weight_map: \"h.0.ln_1.bias\" is listed twice: must be listed once");
    for text in ["{}", "[]", "{\"weight_map\": [\"a\"]}", "{\"weight_map\": {\"a\": 1}}", &good.to_string()[..200]] {
        put(&path, text);
        assert!(refused(&dir).contains("index.json: is not an index with weight_map: "), "{text}");
    }

    put(&path, &good.to_string());
    a.insert("wte.weight".into(), a["h.0.ln_1.bias"].clone());
    write(&dir.join("a.safetensors"), &a);
    let warnings = Model::load(&dir).expect("an extra tensor").warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("a.safetensors: tensor `wte.weight`: shape [6]"),
        "{warnings:?}"
    );
    a.insert("positions_embed.weight".into(), Tensor { shape: vec![5, 6], data: vec![0.0; 30] });
    write(&dir.join("a.safetensors"), &a);
    assert_error(
        &dir,
        &dir.join("b.safetensors"),
        &format!("tensor `positions_embed.weight`: is also in {}", dir.join("a.safetensors").display()),
    );
    a.remove("positions_embed.weight");
    a.remove("h.0.ln_1.weight");
    write(&dir.join("a.safetensors"), &a);
    let mut index = good.clone();
    index["weight_map"].as_object_mut().expect("map").remove("h.0.ln_1.weight");
    put(&path, &index.to_string());
    assert_error(&dir, &path, "tensor `transformer.h.0.ln_1.weight`: is missing: must have shape [6]");
    std::fs::write(dir.join("b.safetensors"), b"cut").expect("write");
    assert!(refused(&dir).contains("b.safetensors: a text, which begins with \"cut\": expected a safetensors file"));
    std::fs::write(dir.join("b.safetensors"), b"\x07\0\0").expect("write");
    assert!(refused(&dir).contains("b.safetensors: is not a complete safetensors file (3 bytes)"));
}

#[test]
fn weights_that_are_no_safetensors_say_what_would_do() {
    let (_place, dir, _) = saved();
    std::fs::remove_file(dir.join("model.safetensors")).expect("remove");
    assert_error(&dir, &dir, "has no weights: must have model.safetensors or model.safetensors.index.json");
    put(&dir.join("pytorch_model.bin"), "PK");
    assert_error(
        &dir,
        &dir.join("pytorch_model.bin"),
        "this format is not read: must be model.safetensors, which `save_pretrained` of transformers writes",
    );
}

#[test]
fn tokenizers_are_found_and_foreign_ones_refused() {
    let (_place, dir, model) = saved();
    let json = dir.join("tokenizer.json");
    std::fs::remove_file(dir.join("tokenizer_config.json")).expect("remove");
    let ids = |dir: &Path| {
        let model = Model::load(dir).expect("a model");
        model.tokenizer().expect("a tokenizer").encode("the cat 🐈").expect("ids")
    };
    assert_eq!(ids(&dir), model.tokenizer.as_ref().expect("ours").encode("the cat 🐈").expect("ids"));

    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).expect("read")).expect("JSON");
    let mut bad = good.clone();
    bad["model"] = serde_json::json!({"type": "WordPiece", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"});
    put(&json, &bad.to_string());
    assert_error(&dir, &json, "model.type: \"WordPiece\": expected BPE");
    let big =
        Tokenizer::train("ab cd ef gh ij kl mn op qr st uv wx yz zz yy xx", 271, Pretokenizer::Bytes).expect("train");
    put(&json, &big.to_json().expect("json"));
    assert_error(&dir, &json, "271 ids: must be at most 270, the model's vocab_size");

    // Old folders of GPT-1 have vocab.json and merges.txt and no tokenizer.json.
    std::fs::remove_file(&json).expect("remove");
    let bert = Tokenizer::train("the cat and the hat, the dog", 40, Pretokenizer::Bert).expect("train");
    let parts: serde_json::Value = serde_json::from_str(&bert.to_json().expect("json")).expect("JSON");
    put(&dir.join("vocab.json"), &parts["model"]["vocab"].to_string());
    assert_error(&dir, &dir.join("merges.txt"), "missing: expected it beside vocab.json");
    let pair = |m: &serde_json::Value| format!("{} {}\n", m[0].as_str().expect("left"), m[1].as_str().expect("right"));
    let merges: String = parts["model"]["merges"].as_array().expect("merges").iter().map(pair).collect();
    put(&dir.join("merges.txt"), &format!("#version: 0.2\n{merges}"));
    assert_eq!(ids(&dir), bert.encode("the cat 🐈").expect("ids"));
    put(&dir.join("merges.txt"), &format!("{merges}zz zz\n"));
    assert!(refused(&dir).contains("\"zz zz\": expected \"zz\" in vocab.json"));
}

#[test]
fn absurd_numbers_of_a_config_are_refused() {
    let (_place, dir, model) = saved();
    let path = dir.join("config.json");
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    let weights = dir.join("model.safetensors");
    for (key, value, file, ending) in [
        ("n_layer", "1000000000", &path, "n_layer: 1000000000: must be at most 4096"),
        (
            "n_layer",
            "4096",
            &weights,
            "tensor `transformer.h.2.attn.c_attn.weight`: is missing: must have shape [6, 18]",
        ),
        ("vocab_size", "16777216", &weights, "shape [270, 6]: must be [16777216, 6]"),
        ("n_positions", "16777216", &weights, "shape [5, 6]: must be [16777216, 6]"),
        ("n_embd", "8", &weights, "shape [270, 6]: must be [270, 8]"),
        ("n_embd", "18446744073709551616", &path, "n_embd: 1.8446744073709552e+19: must be a whole number"),
        ("n_head", "0", &path, "n_head: 0: must be 1 or more"),
        ("layer_norm_epsilon", "1e-60", &path, "layer_norm_epsilon: 0: must be above 0 and below 1"),
        ("model_type", "\"gpt2\"", &path, "must be \"openai-gpt\" or \"wgpt\""),
    ] {
        let mut bad = good.clone();
        bad[key] = serde_json::from_str(value).expect("JSON");
        put(&path, &bad.to_string());
        assert_error(&dir, file, ending);
    }
    put(&path, &good.to_string());
    assert_eq!(Model::load(&dir).expect("the good one").config, model.config);
}

/// A file that is cut, or has one bit flipped, at a random place.
fn damaged(random: &mut Words, good: &[u8], number: u32) -> Vec<u8> {
    let mut draw = |below: usize| random.below(below as u32) as usize;
    if number.is_multiple_of(10) {
        return good[..draw(good.len())].to_vec();
    }
    let mut bytes = good.to_vec();
    // The first bytes of a file of tensors are its header, where most can go wrong.
    let at = if number.is_multiple_of(2) { draw(good.len()) } else { draw(good.len().min(2000)) };
    bytes[at] ^= 1 << draw(8);
    bytes
}

/// Without checksums: an error in one line, or a model of the same shapes; never a panic. With checksums: always an error.
#[test]
fn damage_at_random_is_an_error_or_harmless_and_behind_a_seal_an_error() {
    let (_place, dir, _) = saved();
    let mut random = Words::new(7, Stream::Sampling, 0, 0);
    for sealed in [false, true] {
        if sealed {
            checksums::write(&dir, &serde_json::Map::from_iter([("step".to_string(), 300.into())])).expect("checksums");
        }
        for name in ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "state.json"] {
            let path = dir.join(name);
            let Ok(good) = std::fs::read(&path) else { continue };
            let (mut errors, count) = (0, 200);
            for number in 0..count {
                std::fs::write(&path, damaged(&mut random, &good, number)).expect("write");
                match Model::load(&dir) {
                    Ok(model) => assert_eq!(model.parameters.len(), model.config.parameters().len()),
                    Err(error) => {
                        let message = error.to_string();
                        assert!(error.is_invalid_input() && message.lines().count() == 1, "{message}");
                        assert!(message.starts_with(&dir.display().to_string()), "{message}");
                        errors += 1;
                    }
                }
            }
            std::fs::write(&path, &good).expect("write");
            Model::load(&dir).expect("the good one");
            match sealed {
                true => assert_eq!(errors, count, "{name}"),
                false => assert!(errors >= count / 10 || name == "tokenizer_config.json", "{name}: {errors} errors"),
            }
        }
    }
}
