//! From text files to batches: folders and JSON lines, the token cache, documents, the held-out bytes; and
//! `wgpt tokenizer`.

use crate::common::files::shared_data;
use crate::common::program::{assert_refused, stderr, stdout, success, this_test, wgpt};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use wgpt::Result;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::{GPT1_FILES, Pretokenizer, Tokenizer};
use wgpt::store::token_cache::TokenCache;
use wgpt::train::text::tokens::TokenSource;
use wgpt::train::{Layers, Objective, Pretraining, Settings};

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Place(tempfile::tempdir().expect("folder"));
        for (name, text) in files {
            let path = place.path(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, text).expect("write");
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, data: &[&str], more: &[&str]) -> Settings {
        let mut layers = Layers::new();
        ["n_positions=16", "vocab_size=300", "batch=4"]
            .iter()
            .chain(more)
            .for_each(|set| layers.set(set).expect("set"));
        let mut settings = layers.settings().expect("settings");
        settings.data = data.iter().map(|name| self.path(name)).collect();
        settings
    }

    fn prepare(&self, data: &[&str], more: &[&str]) -> Result<Pretraining> {
        let cache = TokenCache::new(Some(self.path("cache")));
        Pretraining::read(self.settings(data, more), None, &self.path("run"), &cache)
    }
}

fn ids(run: &Pretraining) -> Vec<u32> {
    [&run.training.tokens()[..], run.held_out.tokens()].concat()
}

#[test]
fn a_text_is_tokenized_once() {
    let text = stories(3, 30_000);
    let place = Place::new(&[("a.txt", &text), ("b.txt", &text), ("other.txt", &stories(4, 30_000))]);
    let first = place.prepare(&["a.txt"], &[]).expect("first");
    let TokenSource::Saved(folder) = first.token_source.clone() else { panic!("{:?}", first.token_source) };
    let right = ids(&first);
    assert!(folder.starts_with(place.path("cache")));
    // In memory, in one piece, nothing is different.
    let whole = Pretraining::from_text(place.settings(&[], &[]), &text, &place.path("run")).expect("in memory");
    assert_eq!((first.baseline, first.held_out_bytes), (whole.baseline, whole.held_out_bytes));
    assert!(right == ids(&whole) && first.tokenizer.decode(&right).expect("decode") == text);

    // The cache goes by the contents: another file name, another held-out share, another seed.
    let again = place.prepare(&["b.txt"], &["valid=0.2", "seed=3"]).expect("again");
    assert!(
        again.token_source == TokenSource::Cache(folder.clone()) && ids(&again) == right,
        "{:?}",
        again.token_source
    );
    assert_eq!(again.tokenizer.to_json().expect("json"), first.tokenizer.to_json().expect("json"));
    // Whatever changes the ids is another entry.
    for (data, more) in [(&["other.txt"][..], &[][..]), (&["a.txt", "b.txt"], &[]), (&["a.txt"], &["vocab_size=299"])] {
        assert!(
            matches!(place.prepare(data, more).expect("another").token_source, TokenSource::Saved(_)),
            "{data:?} {more:?}"
        );
    }
    assert!(matches!(
        place.prepare(&["a.txt"], &["pretokenizer=bert"]).expect("bert").token_source,
        TokenSource::Saved(_)
    ));

    // Windows lets nobody write a file that is mapped.
    drop((first, again));
    let path = folder.join("ids");
    let mut bytes = std::fs::read(&path).expect("ids");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, bytes).expect("write");
    let mended = place.prepare(&["a.txt"], &[]).expect("mended");
    assert!(
        mended.token_source == TokenSource::Saved(folder.clone()) && ids(&mended) == right,
        "{:?}",
        mended.token_source
    );
    assert_eq!(place.prepare(&["a.txt"], &[]).expect("mended").token_source, TokenSource::Cache(folder.clone()));
}

#[test]
fn bad_data_leaves_nothing_in_the_cache() {
    let good = "{\"text\": \"a document of some words\"}\n".repeat(50);
    let bad = format!("{good}{{\"text\": 3}}\n");
    let place = Place::new(&[("bad.jsonl", &bad), ("short.txt", "too short"), ("long.txt", &stories(1, 9000))]);
    let assert_error = |data: &str, more: &[&str], what: &str| {
        let error = place.prepare(&[data], more).expect_err(what);
        assert!(error.to_string().contains(what) && error.is_invalid_input(), "{error}");
        assert!(!place.path("cache").exists(), "{what}");
    };
    assert_error("bad.jsonl", &[], "bad.jsonl: line 51: `text` is a number");
    assert_error("short.txt", &[], "tokens of the training part = 2");
    assert_error("long.txt", &["vocab_size=200"], "expected at least 256");
    assert_error("long.txt", &["valid=0.001"], "tokens of the held-out part = ");
    let tokenizer = Tokenizer::train("the", 280, Pretokenizer::Bytes).expect("train");
    std::fs::write(place.path("tokenizer.json"), tokenizer.to_json().expect("json")).expect("write");
    let given = format!("tokenizer={}", place.path("tokenizer.json").display());
    assert_error("bad.jsonl", &[&given], "line 51");
    assert_error("short.txt", &[&given], "tokens of the training part");
    assert_error("long.txt", &[&given, "vocab_size=257"], "vocab_size = 257: must be 258 or more");
}

const CHILD: &str = "WGPT_TEST_DATA_CHILD";

#[test]
fn processes_share_a_cache() {
    let prepare = |folder: &Path| {
        let settings = Settings { data: vec![folder.join("text.txt")], ..Settings::default() };
        let cache = TokenCache::new(Some(folder.join("cache")));
        ids(&Pretraining::read(settings, None, &folder.join("run"), &cache).expect("prepared"))
    };
    if let Some(folder) = std::env::var_os(CHILD) {
        let all = prepare(Path::new(&folder));
        std::fs::write(Path::new(&folder).join(format!("ids-{}", std::process::id())), format!("{all:?}"))
            .expect("write");
        return;
    }
    let place = Place::new(&[("text.txt", &stories(8, 200_000))]);
    let start = || {
        let mut command = this_test(module_path!(), "processes_share_a_cache");
        command.env(CHILD, place.0.path()).stdout(Stdio::null());
        command.spawn().expect("child")
    };
    let mut children: Vec<_> = (0..3).map(|_| start()).collect();
    let here = format!("{:?}", prepare(place.0.path()));
    for child in &mut children {
        assert!(child.wait().expect("child").success());
    }
    let mut others = 0;
    for entry in std::fs::read_dir(place.0.path()).expect("list") {
        let path = entry.expect("entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ids-")) {
            assert!(std::fs::read_to_string(&path).expect("ids") == here, "a child has other ids");
            others += 1;
        }
    }
    assert_eq!((others, std::fs::read_dir(place.path("cache/tokens")).expect("list").count()), (3, 1));
}

#[test]
fn documents_come_from_folders_and_lines() {
    let lines: String = (0..80)
        .map(|i| format!("{{\"id\": {i}, \"text\": \"Document {i} is about {}.\"}}\n", "this ".repeat(i % 30)))
        .collect();
    let place = Place::new(&[
        ("d/1.txt", "A text.\n===\nAnother one,\nof two lines.\n===\n"),
        ("d/deep/0.jsonl", &lines),
        ("d/2.txt", "One text without a line that ends it."),
        ("d/notes.md", "not this"),
    ]);
    let run = place.prepare(&["d"], &["document_separator====", "valid=0.1"]).expect("prepared");
    let text = |ids: &[u32]| run.tokenizer.decode(ids).expect("decode");
    let documents: Vec<String> = run.training.iter().map(text).collect();
    assert_eq!(
        documents[..4],
        [
            "A text.\n",
            "Another one,\nof two lines.\n",
            "One text without a line that ends it.",
            "Document 0 is about ."
        ]
    );
    let all: Vec<String> = run.training.iter().chain(run.held_out.iter()).map(text).collect();
    assert!(all.len() == 83 || all.len() == 84, "one may be cut at the border: {}", all.len());
    assert_eq!(all.concat().len() as u64 - run.held_out_bytes, documents.concat().len() as u64);

    // Every sequence is a piece of one document; the capacity fits the largest micro-batch and any sequence.
    let mut order = run.data_loader().expect("loader");
    let capacity = run.capacity(run.settings.micro_batches()).expect("a capacity");
    assert!(capacity.sequences == 4 && (16..=64).contains(&capacity.rows), "{capacity:?}");
    for _ in 0..60 {
        let batch = order.next_batch().expect("batch");
        assert!(batch.sequences() == 4 && batch.rows() <= capacity.rows);
        for i in 0..4 {
            let sequence = text(&batch.ids[batch.rows_of(i)]);
            assert!(documents.iter().any(|document| document.contains(&sequence)), "{sequence:?}");
        }
    }
    let predicted: u32 = run.evaluation_batches(capacity).map(|batch| batch.target_count).sum();
    let expected: usize = run.held_out.iter().map(|document| document.len().saturating_sub(1)).sum();
    assert_eq!(predicted as usize, expected);

    let filled = place.prepare(&["d"], &["batch_tokens=100", "accumulate=3", "epochs=2", "warmup=0"]).expect("filled");
    let (mut order, mut rows) = (filled.data_loader().expect("loader"), 0);
    for _ in 0..filled.steps {
        let batch = order.next_batch().expect("batch");
        assert!((85..=100).contains(&batch.rows()), "{}", batch.rows());
        rows = rows.max(order.micro_batches(batch).iter().map(|part| part.rows()).max().expect("one"));
    }
    let cursor = order.cursor();
    assert!(cursor.epoch >= 2 || (cursor.epoch == 1 && cursor.index == order.windows_in_epoch(1)), "{cursor:?}");
    assert_eq!(
        (
            filled.capacity(filled.settings.micro_batches()).expect("a capacity").rows,
            filled.tokens_per_step(),
            run.tokens_per_step()
        ),
        (rows, 100, 64)
    );
}

#[test]
fn the_bytes_held_out_are_those_of_the_text() {
    let Some(path) = shared_data("shakespeare/input.txt") else { return };
    let text = std::fs::read_to_string(&path).expect("text");
    let place = Place::new(&[]);
    for pretokenizer in ["bytes", "bert", "openai"] {
        let mut settings = place.settings(&[], &["vocab_size=1000", &format!("pretokenizer={pretokenizer}")]);
        settings.data = vec![path.clone()];
        let run = Pretraining::read(settings, None, &place.path("run"), &TokenCache::new(None)).expect("prepared");
        assert_eq!(run.token_source, TokenSource::NotSaved(None));
        let decoded = run.tokenizer.decode(run.held_out.tokens()).expect("decode");
        let behind = &text[text.len() - run.held_out_bytes as usize..];
        println!("{pretokenizer}: {} bytes held out, {} of the ids' text", behind.len(), decoded.len());
        // `bert` has neither the spaces nor the capitals.
        let plain = |text: &str| text.to_lowercase().split_whitespace().collect::<String>();
        assert!(plain(behind) == plain(&decoded), "{pretokenizer}");
        assert_eq!(behind == decoded, pretokenizer == "bytes");
        let tokens = run.tokenizer.encode(&text).expect("encode");
        assert!(tokens == ids(&run), "{pretokenizer}: a stream has the ids of the whole text");
    }
}

#[test]
fn gpt1s_tokenizer_is_set_by_its_key() {
    let Some(folder) = shared_data("gpt1-bpe") else { return };
    let place = Place::new(&[("text.txt", &stories(2, 20_000))]);
    let mut layers = Layers::new();
    layers.option("tokenizer", folder.to_string_lossy());
    layers.option("n_positions", "32");
    let mut settings = layers.settings().expect("settings");
    assert_eq!(settings.model.vocab_size, 40_478);
    settings.data = vec![place.path("text.txt")];
    let cache = TokenCache::new(Some(place.path("cache")));
    let run = Pretraining::read(settings, None, &place.path("run"), &cache).expect("prepared");
    assert_eq!(run.settings.pretokenizer, Pretokenizer::Bert);
    let gpt1 = Tokenizer::open(&folder).expect("gpt1");
    assert!(ids(&run) == gpt1.encode(&stories(2, 20_000)).expect("encode"));
    // config.toml runs again as it is; a model's own tokenizer stands over the key.
    let mut layers = Layers::new();
    layers.toml("config.toml", &run.settings.to_toml()).expect("TOML");
    let settings = layers.settings().expect("settings");
    assert_eq!(settings.to_toml(), run.settings.to_toml());
    let found = Pretraining::read(settings.clone(), None, &place.path("run"), &cache).expect("found");
    assert!(matches!(found.token_source, TokenSource::Cache(_)) && ids(&found) == ids(&run));
    let own = Tokenizer::train("the cat and the hat", 260, Pretokenizer::Bytes).expect("train");
    let other = Pretraining::read(settings.clone(), Some(own), &place.path("run"), &cache).expect("other");
    assert!(other.tokenizer.vocab_size() == 260 && matches!(other.token_source, TokenSource::Saved(_)));
    // The files do not say how words are cut: the key may.
    let settings = Settings { pretokenizer: Pretokenizer::OpenAi, ..settings };
    let cut = Pretraining::read(settings, None, &place.path("run"), &cache).expect("cut");
    let openai = gpt1.with_pretokenizer(Pretokenizer::OpenAi).expect("another cut");
    assert!(ids(&cut) == openai.encode(&stories(2, 20_000)).expect("encode") && ids(&cut) != ids(&run));
    assert_eq!(cut.settings.pretokenizer, Pretokenizer::OpenAi);
    let missing = Tokenizer::open(place.path("cache")).expect_err("none").to_string();
    assert!(GPT1_FILES.iter().flatten().all(|name| missing.contains(name)), "{missing}");
}

fn tokenizer(place: &Place, words: &[&str], input: &[u8]) -> Output {
    let mut child = wgpt(place.0.path(), &[&["tokenizer"], words].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("stdin").write_all(input).expect("write");
    child.wait_with_output().expect("the program ends")
}

#[test]
fn the_tokenizer_command_trains_encodes_and_decodes() {
    let text = format!("{}\r\n caf\u{e9} \u{1f408}\n\n", stories(6, 5000));
    let marked = format!("\u{feff}{text}");
    let place = Place::new(&[("d/a.txt", &stories(5, 20_000)), ("text", &text), ("marked", &marked), ("latin1", "")]);
    std::fs::write(place.path("latin1"), b"caf\xe9").expect("write");
    let train = ["train", "--data", "d", "--vocab-size", "300", "--out", "t"];
    let printed = success(&tokenizer(&place, &train, b""));
    assert_eq!(printed, format!("300 ids  {}\n", Path::new("t").join("tokenizer.json").display()));
    let own = Tokenizer::open(place.path("t")).expect("tokenizer");
    assert_eq!(
        own.to_json().expect("json"),
        Tokenizer::train(&stories(5, 20_000), 300, Pretokenizer::Bytes).expect("train").to_json().expect("json")
    );
    assert!(place.path("t/tokenizer_config.json").is_file());

    let encoded = tokenizer(&place, &["encode", "--tokenizer", "t", "text"], b"");
    let line = stdout(&encoded);
    let ids: Vec<u32> = line.trim_end().split(' ').map(|id| id.parse().expect("id")).collect();
    assert!(line.lines().count() == 1 && ids == own.encode(&text).expect("encode"));
    assert_eq!(
        tokenizer(&place, &["encode", "--tokenizer", "t/tokenizer.json"], text.as_bytes()).stdout,
        line.as_bytes()
    );
    // The byte-order mark of a file is no text.
    assert_eq!(stdout(&tokenizer(&place, &["encode", "--tokenizer", "t", "marked"], b"")), line);
    let decoded = tokenizer(&place, &["decode", "--tokenizer", "t"], line.as_bytes());
    assert!(decoded.stdout == text.as_bytes() && decoded.stderr.is_empty(), "byte for byte");
    assert_eq!(tokenizer(&place, &["decode", "--tokenizer", "t", "-"], b" \n").stdout, b"");
    assert_eq!(tokenizer(&place, &["encode", "--tokenizer", "t"], b"").stdout, b"\n");

    let refused = |words: &[&str], input: &[u8], expected: &str| {
        println!("{words:?}");
        assert_refused(&tokenizer(&place, words, input), &[expected]);
    };
    refused(&train, b"", "t: exists already: must be the path of a new folder");
    refused(&["train", "--data", "d", "--vocab-size", "9", "--out", "u"], b"", "vocab_size = 9: expected at least 256");
    refused(&["train", "--out", "u"], b"", "data: must name the text");
    refused(&["encode", "--tokenizer", "t", "latin1"], b"", "latin1: byte offset 3: not UTF-8");
    refused(&["encode", "--tokenizer", "t"], b"\xff", "stdin: byte offset 0: not UTF-8");
    refused(&["encode", "--tokenizer", "d"], b"", "d: no tokenizer: expected tokenizer.json, or vocab.json and");
    refused(&["encode", "--tokenizer", "none"], b"", "none: could not be read");
    refused(&["encode", "--model", "t", "none"], b"", "t: has no config.json");
    refused(&["decode", "--tokenizer", "t"], b"1 300", "stdin: word 2: \"300\": expected an id from 0 to 299");
    refused(&["decode", "--tokenizer", "t"], b"1 x", "stdin: word 2: \"x\": expected an id");
    let output = tokenizer(&place, &["encode"], b"");
    assert!(output.status.code() == Some(2) && stderr(&output).contains("required"), "{output:?}");
    assert!(!place.path("u").exists());
}
