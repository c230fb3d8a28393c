//! `wgpt import openai`: it converts files in the form of GPT-1's published ones, here a tiny model's, to a model folder.

use crate::common::program;
use crate::common::program::{assert_one_line, success};
use crate::common::published::{npy, write_published};
use std::path::{Path, PathBuf};
use std::process::Output;
use wgpt::config::ModelConfig;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::store::Model;
use wgpt::store::openai::import;

/// A folder with the published files of a small model, their path, and what they hold.
fn published() -> (tempfile::TempDir, PathBuf, (ModelConfig, Vec<Vec<f32>>)) {
    let place = tempfile::tempdir().expect("folder");
    let dir = place.path().join("published");
    let contents = write_published(&dir);
    (place, dir, contents)
}

/// Runs `wgpt` on the published files in `dir`.
fn wgpt(words: &[&str], dir: &Path, out: &Path) -> Output {
    let mut command = program::wgpt(Path::new("."), words);
    command.arg(dir).arg("--out").arg(out).output().expect("the program starts")
}

#[test]
fn a_published_model_becomes_a_folder() {
    let (place, dir, (config, parameters)) = published();
    let out = place.path().join("model");
    let output = wgpt(&["import", "openai"], &dir, &out);
    assert!(success(&output).starts_with("16,104 parameters  "), "{output:?}");
    let model = Model::load(&out).expect("a model");
    assert_eq!((model.config, model.parameters, model.warnings), (config, parameters, vec![]));
    let tokenizer = model.tokenizer.expect("a tokenizer");
    let trained = Tokenizer::train("the cat sat on the mat and the hat", 60, Pretokenizer::Bert).expect("train");
    assert_eq!(tokenizer.encode("The cat's hat").expect("ids"), trained.encode("The cat's hat").expect("ids"));

    // The same files with the pre-tokenizer of GPT-1's authors.
    let own = place.path().join("own");
    success(&wgpt(&["import", "openai", "--pretokenizer", "openai"], &dir, &own));
    let cut = Model::load(&own).expect("a model").tokenizer.expect("a tokenizer");
    assert_eq!(cut.pretokenizer(), Pretokenizer::OpenAi);
    assert_eq!(cut.encode("the hat").expect("ids"), tokenizer.encode("the hat").expect("ids"));
    assert_ne!(cut.encode("cannot").expect("ids"), tokenizer.encode("cannot").expect("ids"));
    let output = wgpt(&["import", "openai", "--pretokenizer", "bytes"], &dir, &place.path().join("other"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    let again = wgpt(&["import", "openai"], &dir, &out);
    assert_eq!(again.status.code(), Some(2));
    let output = wgpt(&["import", "openai", "--n-head", "7"], &dir, &place.path().join("other"));
    let error = assert_one_line(&output, 2, &[]);
    assert!(error.ends_with("params_shapes.json: n_embd: 24: must be divisible by n_head = 7\n"), "{error}");
    assert!(!place.path().join("other").exists());
}

#[test]
fn damaged_files_are_named() {
    let (_place, dir, _) = published();
    let assert_error = |file: &str, message: &str| {
        let error = import(&dir, 12).expect_err(message);
        let path = if file.is_empty() { dir.clone() } else { dir.join(file) };
        let expected = format!("{}: {message}", path.display());
        assert!(error.is_invalid_input() && error.to_string().starts_with(&expected), "{error}");
    };
    let with = |file: &str, bytes: &[u8], check: &dyn Fn()| {
        let good = std::fs::read(dir.join(file)).expect("read");
        std::fs::write(dir.join(file), bytes).expect("write");
        check();
        std::fs::write(dir.join(file), good).expect("write");
    };
    let part = std::fs::read(dir.join("params_3.npy")).expect("read");
    with("params_3.npy", &part[..part.len() - 4], &|| {
        assert_error("params_3.npy", "6440 bytes of numbers: must fill the shape (1611,)");
    });
    with("params_3.npy", &part[..40], &|| assert_error("params_3.npy", "is damaged: must be a complete .npy file"));
    with("params_3.npy", b"", &|| assert_error("params_3.npy", ""));
    with("params_3.npy", &npy(&[0.0; 1610]), &|| {
        assert_error("", "16103 numbers in 10 files: must have 16104, the number of elements in params_shapes.json");
    });
    let mut odd = [0.5; 1611];
    odd[7] = f32::NAN;
    with("params_0.npy", &npy(&odd), &|| {
        assert_error("", "tensor `transformer.positions_embed.weight`, element 7: NaN: must be finite");
    });
    with("params_shapes.json", b"[[9,24]", &|| {
        assert_error("params_shapes.json", "line 1, column 7: is not a list of shapes: must be a list with a list of")
    });
    let tokens = (0..60)
        .map(|i| char::from_u32(0x3b1 + i).expect("a letter").to_string())
        .chain(["<unk>".to_string(), "a</w>".to_string()]);
    let many: serde_json::Map<String, serde_json::Value> = tokens.zip((0..).map(|i: u32| i.into())).collect();
    with("vocab_40000.bpe", b"#version: 0.2\n", &|| {
        with("encoder_bpe_40000.json", serde_json::Value::Object(many.clone()).to_string().as_bytes(), &|| {
            assert_error(
                "encoder_bpe_40000.json",
                "62 ids: must be at most 60, the rows of the token table in params_shapes.json",
            );
        });
    });
    import(&dir, 12).expect("the good one");
    std::fs::remove_file(dir.join("encoder_bpe_40000.json")).expect("remove");
    assert_error("", "no tokenizer");
    std::fs::remove_file(dir.join("params_9.npy")).expect("remove");
    assert_error("params_9.npy", "");
    let error = import(&dir.join("none"), 12).expect_err("none").to_string();
    assert!(error.contains("is not a folder: must be a folder with params_shapes.json"), "{error}");
}
