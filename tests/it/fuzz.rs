//! Random changes of every kind of file that is read: the reader gives a value or an error of one line, within a second. It
//! never panics, and its memory is bounded by the size of the file.
//!
//! `WGPT_FUZZ_CASES` is the number of cases for each format; `scripts/fuzz.sh` runs a million.

use super::common::published::write_published;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};
use wgpt::config::ModelConfig;
use wgpt::data::text_files::TextFiles;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::philox::{Stream, Words};
use wgpt::store::{Model, checksums, config_json, openai, safetensors};
use wgpt::tasks::example_file::ExampleFile;
use wgpt::tasks::{AnswerColumn, Columns, Inputs};
use wgpt::train::saved_kernels::SavedKernels;
use wgpt::train::task::FineTuningState;
use wgpt::train::text::objective::PretrainingState;
use wgpt::train::{Layers, Stage, metrics};
use wgpt::{Error, Result};

/// Cases of each format, unless `WGPT_FUZZ_CASES` says otherwise.
const CASES: usize = 10_000;

/// Bytes that a reader may allocate for any file.
const ALLOWED: usize = 32 << 20;
/// Further bytes that it may allocate for each byte of the file.
const ALLOWED_PER_BYTE: usize = 1000;

/// The time that a case may take.
const ALLOWED_TIME: Duration = Duration::from_secs(1);
/// Attempts to stay within it, because other work of the machine may delay one of them.
const ATTEMPTS: usize = 3;
/// The time after which the whole test program is ended, because a case does not return.
const ENDLESS: Duration = Duration::from_secs(120);

/// Counts the bytes that each thread has allocated.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // While a thread ends, its counters may be gone.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`, and `pointer` is from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pieces that are put into every format.
const PIECES: [&str; 24] = [
    "\"",
    "\"\"",
    ",",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "{",
    "}",
    "[",
    "]",
    ":",
    " ",
    "\0",
    "\u{feff}",
    "é",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "4294967295",
    "null",
    "\\",
    "\\u0000",
];

/// What a case did.
struct Outcome {
    /// `None` after a panic.
    results: Option<Vec<Result<()>>>,
    /// The most bytes that were allocated at a time.
    memory: usize,
    time: Duration,
}

/// Reads a file once, and again if that takes too long.
fn outcome(bytes: &[u8], read: impl Fn(&[u8]) -> Vec<Result<()>>) -> Outcome {
    let attempt = || {
        NOW.set(0);
        PEAK.set(0);
        let started = Instant::now();
        let results = catch_unwind(AssertUnwindSafe(|| read(bytes))).ok();
        Outcome { results, time: started.elapsed(), memory: PEAK.get().max(0) as usize }
    };
    let mut last = attempt();
    for _ in 1..ATTEMPTS {
        if last.time > ALLOWED_TIME {
            last = attempt();
        }
    }
    last
}

/// Ends the test program, with a message, when a case does not return.
#[derive(Default)]
struct Watch {
    /// The number and the bytes of the case that is being read; `None` when all are done.
    case: Mutex<Option<(u64, Vec<u8>)>>,
    changed: Condvar,
}

impl Watch {
    fn set(&self, case: Option<(u64, Vec<u8>)>) {
        *self.case.lock().expect("a case") = case;
        self.changed.notify_all();
    }

    fn until_done(&self, name: &str) {
        let mut case = self.case.lock().expect("a case");
        while let Some((number, bytes)) = &*case {
            let (number, shown) = (*number, bytes.escape_ascii().to_string());
            let is_same = |now: &mut Option<(u64, Vec<u8>)>| now.as_ref().is_some_and(|now| now.0 == number);
            let (now, waited) = self.changed.wait_timeout_while(case, ENDLESS, is_same).expect("a case");
            if waited.timed_out() {
                eprintln!("{name}, case {number}: no end after {ENDLESS:?}: {shown}");
                std::process::abort();
            }
            case = now;
        }
    }
}

/// Calls a function when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// Calls `read` with changed copies of `seeds`, and with random bytes and pieces. `per` divides the number of cases, where
/// one takes long.
fn fuzz(name: &str, seeds: &[Vec<u8>], words: &[&str], per: usize, read: impl Fn(&[u8]) -> Vec<Result<()>>) {
    let cases = std::env::var("WGPT_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES / per);
    let pieces: Vec<&[u8]> = PIECES.iter().chain(words).map(|piece| piece.as_bytes()).collect();
    for seed in seeds {
        read(seed).into_iter().for_each(|result| result.expect("the seed is right"));
    }
    let watch = Watch::default();
    watch.set(Some((0, Vec::new())));
    let (mut errors, mut largest, mut slowest) = (0, 0, Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| watch.until_done(name));
        // Also where a case fails, so that the other thread ends.
        let _done = OnDrop(|| watch.set(None));
        for case in 0..cases {
            let mut random = Words::new(11, Stream::Sampling, case as u32, (case >> 32) as u32);
            let bytes = changed(&mut random, seeds, &pieces);
            watch.set(Some((case as u64, bytes.clone())));
            let shown = || format!("{name}, case {case}: {}", bytes.escape_ascii());
            let Outcome { results, memory, time } = outcome(&bytes, &read);
            for error in results.unwrap_or_else(|| panic!("{}", shown())).into_iter().filter_map(Result::err) {
                let message = error.to_string();
                assert!(error.is_invalid_input() && message.lines().count() == 1, "{message:?}: {}", shown());
                errors += 1;
            }
            assert!(memory <= ALLOWED + ALLOWED_PER_BYTE * bytes.len(), "{memory} bytes of memory: {}", shown());
            assert!(time <= ALLOWED_TIME, "{time:?}: {}", shown());
            (largest, slowest) = (largest.max(memory), slowest.max(time));
        }
    });
    let slowest = slowest.as_secs_f64() * 1e3;
    println!("{name}: {cases} cases, {errors} errors, at most {largest} bytes of memory and {slowest:.1} ms");
    assert!(cases == 0 || (1..cases * 4).contains(&errors), "{errors} errors of {cases} cases");
}

/// A changed copy of a seed, random bytes, or pieces in random order.
fn changed(random: &mut Words, seeds: &[Vec<u8>], pieces: &[&[u8]]) -> Vec<u8> {
    let mut below = |n: usize| random.below(n.max(1) as u32) as usize;
    match below(12) {
        0 => return (0..below(300)).map(|_| below(256) as u8).collect(),
        1 => return (0..below(40)).flat_map(|_| pieces[below(pieces.len())].to_vec()).collect(),
        _ => {}
    }
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..1 + below(6) {
        let at = below(bytes.len() + 1);
        let end = (at + below(20)).min(bytes.len());
        match below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            // A number becomes another one.
            5 => {
                let digits = bytes[at..].iter().position(u8::is_ascii_digit).map(|from| at + from);
                if let Some(from) = digits {
                    let end = bytes[from..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| from + n);
                    let number =
                        ["0", "-1", "7", "1e999", "0.5", "18446744073709551615", "18446744073709551616", "4096"];
                    bytes.splice(from..end, number[below(number.len())].bytes());
                }
            }
            _ => {
                let piece = pieces[below(pieces.len())];
                bytes.splice(at..if below(2) == 0 { at } else { end }, piece.iter().copied());
            }
        }
    }
    bytes
}

/// A folder with one file that is written for each case.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        File { _folder: folder, path }
    }

    fn put(&self, bytes: &[u8]) -> &Path {
        std::fs::write(&self.path, bytes).expect("write");
        &self.path
    }
}

fn examples(name: &str, seeds: &[&[u8]]) {
    let file = File::new(name);
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let label = Some(AnswerColumn::Label("label".into()));
    let columns = Columns { inputs: Inputs::Classify { text: "text".into() }, answer: label };
    fuzz(name, &seeds, &["text", "label", "good\t1\n"], 1, |bytes| {
        let path = file.put(bytes);
        let rows = ExampleFile::read(path).map(|file| {
            for row in file.rows() {
                let _ = (row.text("text"), row.label("label"), row.number("label"), row.list("text"));
            }
        });
        let trained = columns.read_training(path).map(|(task, records)| {
            let _ = wgpt::tasks::labels::warnings(path, &task, &records);
        });
        vec![rows, trained]
    });
}

#[test]
fn tsv() {
    examples(
        "x.tsv",
        &[b"text\tlabel\ngood\t1\nbad\t0\n", b"\xef\xbb\xbflabel\ttext\r\nno\t\"a\r\nyes\tb \xc3\xa9\r\n"],
    );
}

#[test]
fn csv() {
    examples("x.csv", &[b"text,label\n\"a, \"\"b\"\"\nc\",1\nbad,0\n", b"label,text\r\nno,a\r\nyes,\"\n\"\"\"\r\n"]);
}

#[test]
fn json_lines_of_examples() {
    examples("x.jsonl", &[b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\\u00e9\", \"label\": \"0\"}\n"]);
}

fn texts(name: &str, seeds: &[&[u8]]) {
    let file = File::new(name);
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    fuzz(name, &seeds, &["---", "---\n", "{\"text\": \"x\"}\n"], 1, |bytes| {
        let texts = TextFiles::find(&[file.put(bytes).to_path_buf()], Some("---")).expect("a file");
        vec![texts.read(true, &mut |_| Ok(())).map(drop), texts.separator_warning().map(drop)]
    });
}

#[test]
fn text_with_separators() {
    texts("x.txt", &["one\n---\ntwo é\r\n---\r\nthree".as_bytes(), b"\xef\xbb\xbf---\n\n---"]);
}

#[test]
fn json_lines_of_text() {
    texts("y.jsonl", &[b"{\"text\": \"one\"}\n\n{\"id\": 3, \"text\": \"two\\n\"}\n"]);
}

fn small() -> ModelConfig {
    ModelConfig { n_layer: 1, n_embd: 4, n_head: 2, n_positions: 5, vocab_size: 270, ..ModelConfig::default() }
}

fn tokenizer(pretokenizer: Pretokenizer, size: usize) -> Tokenizer {
    Tokenizer::train("the cat and the hat, the dog", size, pretokenizer).expect("train")
}

#[test]
fn config_json() {
    let task = wgpt::config::Task {
        kind: wgpt::config::TaskKind::Classify,
        answers: wgpt::config::Answers::Labels(vec!["no".into(), "yes".into()]),
    };
    let long = ModelConfig { attention_pattern: "LM".into(), n_layer: 2, ..small() };
    let seeds = [small(), ModelConfig { task: Some(task), ..small() }, long];
    let seeds = seeds.map(|config| config_json::to_json(&config).into_bytes());
    fuzz(
        "config.json",
        &seeds,
        &["\"n_layer\": 3,", "\"id2label\": {\"0\": \"a\"},", "\"task\": \"choose\","],
        1,
        |bytes| vec![config_json::from_json(bytes, Path::new("config.json")).map(drop)],
    );
}

#[test]
fn tokenizer_json() {
    let seeds = [tokenizer(Pretokenizer::Bytes, 262), tokenizer(Pretokenizer::Bert, 40)];
    let seeds: Vec<Vec<u8>> = seeds
        .iter()
        .map(|tokenizer| {
            let json = tokenizer.with_task_tokens(tokenizer.vocab_size()).expect("tokens").to_json().expect("json");
            let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            value.to_string().into_bytes()
        })
        .collect();
    fuzz(
        "tokenizer.json",
        &seeds,
        &["\"model\":", "\"ByteLevel\"", "true", "\"<unk>\"", "[\"t\",\"h\"],"],
        10,
        |bytes| {
            vec![Tokenizer::from_json(bytes, Path::new("tokenizer.json")).map(|tokenizer| {
                let ids = tokenizer.encode("The cat \u{0} 🐈 <unk>").unwrap_or_default();
                let _ = (tokenizer.decode(&ids), tokenizer.unknown_warning(&ids), tokenizer.to_json());
            })]
        },
    );
}

/// vocab.json and merges.txt of a tokenizer.
fn vocabulary_and_merges(tokenizer: &Tokenizer) -> [Vec<u8>; 2] {
    let json: serde_json::Value = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("JSON");
    let pair = |m: &serde_json::Value| format!("{} {}\n", m[0].as_str().expect("left"), m[1].as_str().expect("right"));
    let merges: String = json["model"]["merges"].as_array().expect("merges").iter().map(pair).collect();
    [json["model"]["vocab"].to_string().into_bytes(), format!("#version: 0.2\n{merges}").into_bytes()]
}

/// Changes one of the two files, that with this index.
fn vocabulary_or_merges(changed: usize) {
    let files = [File::new("vocab.json"), File::new("merges.txt")];
    for tokenizer in [tokenizer(Pretokenizer::Bytes, 262), tokenizer(Pretokenizer::Bert, 40)] {
        let seeds = vocabulary_and_merges(&tokenizer);
        files[1 - changed].put(&seeds[1 - changed]);
        let name = format!("{} ({})", ["vocab.json", "merges.txt"][changed], tokenizer.pretokenizer());
        fuzz(&name, &seeds[changed..=changed], &["</w>", "t h\n", "Ġ", "\"##a\":1,"], 20, |bytes| {
            files[changed].put(bytes);
            let read = Tokenizer::from_gpt1_files(&files[0].path, &files[1].path);
            vec![read.map(|tokenizer| drop(tokenizer.encode("The cat \u{0} 🐈")))]
        });
    }
}

#[test]
fn vocab_json() {
    vocabulary_or_merges(0);
}

#[test]
fn merges_txt() {
    vocabulary_or_merges(1);
}

/// The time for a run of one character grows no faster than its length.
#[test]
fn texts_of_one_character() {
    let (bytes, bert) = (tokenizer(Pretokenizer::Bytes, 262), tokenizer(Pretokenizer::Bert, 40));
    let openai = bert.with_pretokenizer(Pretokenizer::OpenAi).expect("openai");
    for part in
        ["%", ".", "'", "#", "a", "é", "-", " ", "\n", "n't", "a.", "1.", "'s", "%.", "\u{301}", "中", "\r", "\0"]
    {
        let text = part.repeat(40_000 / part.len());
        for tokenizer in [&bytes, &bert, &openai] {
            let outcome = outcome(text.as_bytes(), |_| vec![tokenizer.encode(&text).map(drop)]);
            outcome.results.expect("no panic").into_iter().for_each(|result| result.expect("ids"));
            assert!(outcome.time < ALLOWED_TIME, "{} of {part:?}: {:?}", tokenizer.pretokenizer(), outcome.time);
        }
    }
}

/// A text from a stranger is encoded and decoded.
#[test]
fn texts_to_ids() {
    let (bytes, bert) = (tokenizer(Pretokenizer::Bytes, 262), tokenizer(Pretokenizer::Bert, 40));
    let openai = bert.with_pretokenizer(Pretokenizer::OpenAi).expect("openai");
    let tokenizers = [bytes, bert, openai];
    let seed = "The cat's “hat”, U.S. 5km—don't...\n\n a\u{301} 🐈 %%##";
    let words = ["%%%%%%%%", "........", "n't", "\u{301}\u{301}\u{301}", "\u{1f468}\u{200d}", "_start_", "<unk>"];
    fuzz("texts to ids", &[seed.into()], &words, 10, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return vec![Err(Error::file("text", "not UTF-8"))] };
        let decoded = |tokenizer: &Tokenizer| tokenizer.encode(text).and_then(|ids| tokenizer.decode(&ids)).map(drop);
        tokenizers.iter().map(decoded).collect()
    });
}

#[test]
fn run_toml() {
    let seeds = [
        b"preset = \"nano\"\nn_layer = 2\nlr = 0.001\nsteps = 10 # few\ndata = [\"a.txt\"]\n".to_vec(),
        b"train = \"a.tsv\"\ntext = \"t\"\nlabel = \"l\"\nepochs = 3\nseed = 5\n".to_vec(),
    ];
    for (stage, seed) in [Stage::Pretraining, Stage::FineTuning].into_iter().zip(&seeds) {
        fuzz(
            "run.toml",
            std::slice::from_ref(seed),
            &["batch = 4\n", "[table]\n", "warmup = 0.5\n", "''"],
            1,
            |bytes| {
                let Ok(text) = std::str::from_utf8(bytes) else {
                    return vec![Err(Error::file("run.toml", "not UTF-8"))];
                };
                let mut layers = Layers::for_stage(stage);
                vec![layers.toml("run.toml", text).and_then(|()| layers.settings()).map(drop)]
            },
        );
    }
}

#[test]
fn metrics_jsonl() {
    let file = File::new("metrics.jsonl");
    let seed = concat!(
        "{\"step\":0,\"valid_loss\":5.5,\"valid_perplexity\":244.7,\"valid_bits_per_byte\":4.1}\n",
        "{\"step\":1,\"loss\":5.4,\"lr\":0.1,\"grad_norm\":1.5,\"tokens\":8,\"tokens_per_second\":9.0,\"elapsed_s\":0.5}\n",
        "{\"epoch\":1,\"step\":1,\"train_loss\":0.7,\"valid_loss\":0.6,\"valid_accuracy\":0.5}\n",
        "{\"best_epoch\":1,\"test_accuracy\":0.5}\n",
    );
    fuzz("metrics.jsonl", &[seed.into()], &["\"step\":2", "\"loss\":"], 1, |bytes| {
        let path = file.put(bytes);
        vec![metrics::read(path).map(drop), metrics::truncate(path, 1).map(drop)]
    });
}

#[test]
fn safetensors_files() {
    let file = File::new("model.safetensors");
    let (config, mut seeds) = (small(), Vec::new());
    let config = ModelConfig { vocab_size: 3, n_embd: 2, ..config };
    let parameters = wgpt::model::initial_parameters(&config, 1);
    safetensors::save_parameters(&file.path, &config, &parameters).expect("save");
    seeds.push(std::fs::read(&file.path).expect("read"));
    let words = ["\"dtype\":\"F16\"", "\"shape\":[0]", "\"data_offsets\":[0,0]", "module.", "\u{1}\0\0\0\0\0\0\0"];
    fuzz("model.safetensors", &seeds, &words, 1, |bytes| {
        let path = file.put(bytes);
        vec![safetensors::load_parameters(path, &config).map(drop), safetensors::read(path).map(drop)]
    });
}

/// Loads a model's folder with one file of it changed.
fn model_file(name: &str, words: &[&str], prepare: impl Fn(&Path)) {
    let place = tempfile::tempdir().expect("folder");
    let dir = place.path().join("model");
    let model =
        Model { tokenizer: Some(tokenizer(Pretokenizer::Bytes, 262)), ..Model::new(small(), 1).expect("a model") };
    model.save(&dir).expect("save");
    prepare(&dir);
    let path = dir.join(name);
    let seed = std::fs::read(&path).expect("read");
    fuzz(name, &[seed], words, 20, |bytes| {
        std::fs::write(&path, bytes).expect("write");
        vec![Model::load(&dir).map(drop)]
    });
}

#[test]
fn state_json_with_checksums() {
    model_file("state.json", &["\"checksum\":", "\"files\": {}", "\"format\": 1"], |dir| {
        checksums::write(dir, &serde_json::Map::from_iter([("step".to_string(), 300.into())])).expect("checksums");
    });
}

#[test]
fn index_of_shards() {
    model_file(
        "model.safetensors.index.json",
        &["\"weight_map\":", "\"../model.safetensors\"", "\"a\": \"b\""],
        |dir| {
            let tensors = safetensors::read(&dir.join("model.safetensors")).expect("tensors");
            std::fs::rename(dir.join("model.safetensors"), dir.join("one.safetensors")).expect("rename");
            let map: serde_json::Map<String, serde_json::Value> =
                tensors.into_keys().map(|name| (name, "one.safetensors".into())).collect();
            let index = serde_json::json!({"metadata": {"total_size": 9}, "weight_map": map});
            std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).expect("write");
        },
    );
}

#[test]
fn states_of_runs() {
    let data = "\"data\":{\"tokens\":900,\"sha256\":\"00\"},\"elapsed_ms\":5";
    let head = format!("\"step\":3,\"updates\":3,\"cursor\":{{\"epoch\":0,\"index\":12}},{data}");
    let seeds = [
        format!("{{{head},\"steps\":5,\"sampled\":0}}").into_bytes(),
        format!("{{{head},\"train_loss\":1.5,\"best\":{{\"epoch\":1,\"step\":3,\"value\":null}},\"finished\":false}}")
            .into_bytes(),
    ];
    fuzz("state", &seeds, &["\"best\":", "\"cursor\":"], 1, |bytes| {
        let wrong = |e: serde_json::Error| Error::file("state.json", e);
        let one = serde_json::from_slice::<PretrainingState>(bytes).map(drop).map_err(wrong);
        let other = serde_json::from_slice::<FineTuningState>(bytes).map(drop).map_err(wrong);
        vec![one.or(other)]
    });
}

/// Changes params_shapes.json or params_0.npy of GPT-1's published files.
fn published(name: &str, words: &[&str]) {
    let place = tempfile::tempdir().expect("folder");
    let dir = place.path().join("published");
    write_published(&dir);
    let path = dir.join(name);
    let seed = std::fs::read(&path).expect("read");
    fuzz(name, &[seed], words, 20, |bytes| {
        std::fs::write(&path, bytes).expect("write");
        vec![openai::import(&dir, 12).map(drop)]
    });
}

#[test]
fn params_shapes_json() {
    published("params_shapes.json", &["[1,24]", "[1,24,72],", "9999999"]);
}

#[test]
fn params_npy() {
    published("params_0.npy", &["'<f8'", "'shape': (1, 2)", "True", "(1611,)"]);
}

#[test]
fn kernels_json() {
    let seed = r#"{"adapter":"a","backend":"vulkan","driver":"d","specs":{"matmul":{"AB [64, 18] [18, 18]":"image"},
        "attention":{"N 64, D 9":{"tiled":{"group":128}}},"row_wise":{}}}"#;
    fuzz("kernels.json", &[seed.into()], &["\"specs\":{", "\"matmul\":[],", "\"image\""], 1, |bytes| {
        let wrong = |e: serde_json::Error| Error::file("kernels.json", e);
        vec![serde_json::from_slice::<SavedKernels>(bytes).map(drop).map_err(wrong)]
    });
}
