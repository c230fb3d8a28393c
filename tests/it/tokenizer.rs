//! Two processes train the same tokenizer from the same text and settings. The counting baseline on real text.

use crate::common::files::shared_data;
use crate::common::program::this_test;
use std::path::PathBuf;
use wgpt::data::baseline::baseline;
use wgpt::data::corpus::Corpus;
use wgpt::data::synthetic::stories;
use wgpt::data::text_files;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::philox::{Stream, Words};

/// Set in the child: the file to write tokenizers to.
const CHILD: &str = "WGPT_TEST_TOKENIZER_CHILD";

fn shakespeare() -> Option<PathBuf> {
    shared_data("shakespeare/input.txt")
}

/// Stories, and words of random syllables: enough different ones for 8192 ids.
fn made_up_text() -> String {
    let mut text = stories::stories(11, 150_000);
    let mut words = Words::new(11, Stream::Sampling, 0, 0);
    while text.len() < 500_000 {
        for _ in 0..=words.below(4) {
            let consonant = b"bcdfghjklmnpqrstvwxz"[words.below(20) as usize];
            text.push(char::from(consonant));
            text.push(['a', 'e', 'i', 'o', 'u', 'é', 'ü'][words.below(7) as usize]);
        }
        text.push(if words.below(12) == 0 { '\n' } else { ' ' });
    }
    text
}

fn train_all() -> String {
    let mut text = vec![made_up_text()];
    text.extend(shakespeare().map(|path| text_files::read_text(path).expect("shakespeare")));
    let mut out = String::new();
    for text in &text {
        for vocab_size in [512, 8192] {
            for pretokenizer in Pretokenizer::ALL {
                let tokenizer = Tokenizer::train(text, vocab_size, pretokenizer).expect("train");
                assert_eq!(tokenizer.vocab_size(), vocab_size);
                out.push_str(&tokenizer.to_json().expect("json"));
            }
        }
    }
    out
}

#[test]
fn two_processes_train_the_same_tokenizer() {
    if let Some(path) = std::env::var_os(CHILD) {
        std::fs::write(path, train_all()).expect("write");
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("child");
    let mut child =
        this_test(module_path!(), "two_processes_train_the_same_tokenizer").env(CHILD, &path).spawn().expect("child");
    let here = train_all();
    assert!(child.wait().expect("child").success());
    let there = std::fs::read_to_string(&path).expect("the child's tokenizers");
    assert!(here == there, "two processes gave different tokenizers");
}

#[test]
fn the_baseline_on_shakespeare_is_the_known_one() {
    let Some(path) = shakespeare() else { return };
    let text = text_files::read_text(path).expect("text");
    let tokenizer = Tokenizer::train(&text, 512, Pretokenizer::Bytes).expect("train");
    let ids = tokenizer.encode(&text).expect("encode");
    let (train, valid) = Corpus::stream(ids.clone()).split(0.05);
    let figures = baseline(&train, &valid, tokenizer.vocab_size()).expect("baseline");
    let bytes_a_token = text.len() as f64 / ids.len() as f64;
    println!("{figures:?}, {bytes_a_token:.4} bytes a token");
    // The results of another implementation, to the digits that it printed.
    assert!((figures.unigram - 5.192).abs() < 0.001, "{figures:?}");
    assert!((figures.bigram - 3.661).abs() < 0.001, "{figures:?}");
    assert!((bytes_a_token - 1.94).abs() < 0.01, "{bytes_a_token}");
    assert_eq!(tokenizer.decode(&ids).expect("decode"), text);
}
