//! Exchange with Hugging Face transformers: it loads our folders and computes our ids, losses, greedy tokens, and the logits
//! and labels of our heads; we load the folders that it saves, in every form. Its side is hugging_face.py. The Python that
//! WGPT_PYTHON names, else `python3`, runs it if it has transformers, torch and safetensors.

use crate::common::device;
use crate::common::models::{capacity_of, oracle, widen_all};
use crate::common::program::{run, success, wgpt};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use wgpt::config::{Answers, ModelConfig, Task, TaskKind};
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::data::corpus::Corpus;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Inference, initial_parameters};
use wgpt::reference::widen;
use wgpt::store::model_folder::{Model, resolve};
use wgpt::tasks::{Answer, EncodedExample, Record, Texts, encode, pack};
use wgpt::train::task::scores;
use wgpt::train::text::evaluate::{Losses, Text};

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

/// The reply of hugging_face.py to a request.
fn ask(python: &str, place: &Path, request: &Value) -> Value {
    std::fs::write(place.join("request.json"), request.to_string()).expect("write");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hugging_face.py");
    success(&Command::new(python).arg(script).arg(place).output().expect("Python starts"));
    let reply: Value = serde_json::from_slice(&std::fs::read(place.join("reply.json")).expect("reply")).expect("JSON");
    println!("{}", reply["versions"]);
    reply
}

/// Trains a small model in `place` for some steps, by the program, and gives its checkpoint's folder.
fn trained(place: &Path, name: &str, pretokenizer: &str, steps: &str) -> PathBuf {
    let arguments = format!(
        "pretrain --n-layer 3 --n-head 3 --n-embd 48 --vocab-size 300 --batch 4 --warmup 8 --lr 3e-3 --sample-every 0 \
         --n-positions {POSITIONS} --pretokenizer {pretokenizer} --steps {steps} --data train.txt --out {name}"
    );
    success(&run(place, &arguments.split_whitespace().collect::<Vec<_>>()));
    resolve(&place.join(name)).expect("a run")
}

/// The losses of `wgpt eval --per-token`, with their ids.
fn told_losses(model: &Path, text: &Path) -> Vec<(u64, f64)> {
    let place = tempfile::tempdir().expect("folder");
    let file = place.path().join("losses.tsv");
    let mut command = wgpt(place.path(), &["eval", "--json"]);
    command.arg("--model").arg(model).arg("--data").arg(text).arg("--per-token").arg(&file);
    success(&command.output().expect("the program starts"));
    let text = std::fs::read_to_string(file).expect("losses");
    let lines = text.lines().map(|line| line.split_once('\t').expect("a tab"));
    lines.map(|(id, loss)| (id.parse().expect("an id"), loss.parse().expect("a loss"))).collect()
}

/// The same losses, computed in this process.
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
fn models_load_in_transformers_and_back() {
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
    // A pattern that transformers would silently treat as full attention.
    let config =
        ModelConfig { attention_pattern: "LF".into(), n_positions: 8, local_block: 4, ..ModelConfig::default() };
    let parameters = initial_parameters(&config, 1);
    Model::from_parts(config, parameters, None).save(place.join("local")).expect("save");

    let prompts = [[0, 1], [5, 4], [100, 20], [1000, 40]];
    let named: serde_json::Map<String, Value> =
        folders.iter().map(|(name, folder)| (name.to_string(), json!(folder))).collect();
    let request = json!({"folders": named, "held_out": held_out, "tokens": TOKENS, "texts": texts(),
        "prompts": prompts, "refused": [place.join("local")]});
    let reply = ask(&python, place, &request);

    let device = device();
    for (name, folder) in &folders {
        they_load_ours(&device, folder, &place.join("held-out.txt"), &reply["folders"][name], name);
    }
    let refusal = reply["refusals"][0].as_str().expect("a pattern with local layers is refused");
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
        assert!(model.warnings.is_empty(), "{form}: {:?}", model.warnings);
        assert_eq!(model.config.task.is_some(), form == "double-heads", "{form}");
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
    // It has learned something, so that greedy tokens do not agree by chance.
    assert!(mean < 5.0, "{name}: {mean}");

    let capacity = Capacity { rows: POSITIONS, sequences: 1 };
    let mut inference = Inference::new(device, &model.config, &model.parameters, capacity).expect("a model");
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    for (i, [start, length]) in [[0, 1], [5, 4], [100, 20], [1000, 40]].into_iter().enumerate() {
        let prompt = &ids[start..start + length];
        assert_eq!(json!(greedy(&mut inference, prompt)), theirs["greedy"][i], "{name}: prompt {prompt:?}");
    }
}

/// An untrained model with a head, whose weights are enlarged. Its tokenizer has fewer ids than the model.
fn tuned(pretokenizer: Pretokenizer, kind: TaskKind, answers: Answers) -> Model {
    let plain = Tokenizer::train(&stories(4, 20_000), 290, pretokenizer).expect("a tokenizer");
    let task = Some(Task { kind, answers });
    let config =
        ModelConfig { n_layer: 2, n_embd: 24, n_head: 3, n_positions: 24, vocab_size: 303, task, ..Default::default() };
    let mut parameters = initial_parameters(&config, 7);
    for tensor in config.head().expect("a head") {
        parameters[tensor].iter_mut().zip(1i16..).for_each(|(x, i)| *x = 40.0 * *x + f32::from(i % 3) / 8.0);
    }
    Model::from_parts(config, parameters, Some(plain.with_task_tokens(300).expect("tokens")))
}

/// The head's logits of every sequence, by the decoder's oracle.
fn expected_logits(model: &Model, examples: &[EncodedExample]) -> Vec<Vec<f64>> {
    let config = ModelConfig { task: None, ..model.config.clone() };
    let parameters = widen_all(&model.parameters);
    let head = model.config.head().expect("a head");
    let (body, head) = (&parameters[..head.start], &parameters[head]);
    let batch = pack(examples).expect("a batch");
    let out = oracle(&config, body, &batch, None);
    let (c, last) = (config.n_embd, out.hidden.last().expect("hidden"));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let of_sequence = |i: usize| {
        let row = batch.rows_of(i).end - 1;
        let state = &last[row * c..(row + 1) * c];
        let outputs = head[0].chunks_exact(c).enumerate();
        outputs.map(|(j, w)| dot(state, w) + head.get(1).map_or(0.0, |bias| bias[j])).collect()
    };
    (0..batch.sequences()).map(of_sequence).collect()
}

#[test]
fn fine_tuned_models_load_in_transformers_and_back() {
    let Some(python) = python() else {
        println!("skipped: no Python with transformers");
        return;
    };
    let device = device();
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    let long =
        "Once upon a time there was a small dog who had a red ball and a friend in the village by the sea. ".repeat(3);
    let words = |words: &[&str]| Answers::Labels(words.iter().map(|word| word.to_string()).collect());
    let text = |text: &str| Texts::Classify(text.into());
    let pair = |a: &str, b: &str| Texts::Entail(a.into(), b.into());
    let choice = |context: &str, candidates: &[&str]| {
        Texts::Choose(context.into(), candidates.iter().map(|text| text.to_string()).collect())
    };
    // Texts of all lengths in one batch, cut ones and the tokens' names among them.
    let singles = vec![text("The dog."), text(&long), text("a _star"), text("A red ball was in the house, too.")];
    let pairs = vec![pair("The dog ran.", "A dog."), pair(&long, "The end"), pair("x", &long), pair(&long, &long)];
    let choices = vec![choice("The dog", &["ran.", "sat by the sea", "?"]), choice(&long, &["yes", &long])];
    let (bytes, bert) = (Pretokenizer::Bytes, Pretokenizer::Bert);
    let cases = [
        (
            "classify",
            tuned(bytes, TaskKind::Classify, words(&["bad", "good"])),
            "OpenAIGPTForSequenceClassification",
            singles.clone(),
        ),
        ("score", tuned(bert, TaskKind::Classify, Answers::Score), "OpenAIGPTForSequenceClassification", singles),
        (
            "entail",
            tuned(Pretokenizer::OpenAi, TaskKind::Entail, words(&["a", "b", "c"])),
            "OpenAIGPTForSequenceClassification",
            pairs,
        ),
        ("choose", tuned(bytes, TaskKind::Choose, Answers::Candidate), "OpenAIGPTDoubleHeadsModel", choices),
    ];
    let rows = |texts: &[Texts]| -> Vec<Value> {
        let row = |texts: &Texts| match texts {
            Texts::Classify(text) => json!([text]),
            Texts::Entail(a, b) | Texts::Similar(a, b) => json!([a, b]),
            Texts::Choose(context, candidates) => json!([context, candidates]),
        };
        texts.iter().map(row).collect()
    };
    let mut heads = serde_json::Map::new();
    for (name, checkpoint, _, texts) in &cases {
        checkpoint.save(place.join(name)).expect("save");
        heads.insert(name.to_string(), json!({"folder": place.join(name), "rows": rows(texts)}));
    }
    let similar = tuned(bytes, TaskKind::Similar, Answers::Score);
    similar.save(place.join("similar")).expect("save");
    let reply = ask(&python, place, &json!({"heads": heads, "refused": [place.join("similar")]}));
    let refusal = reply["refusals"][0].as_str().expect("a head that transformers has not is refused");
    assert!(refusal.contains("wgpt"), "{refusal}");

    for (name, checkpoint, class, texts) in cases {
        let theirs = &reply["heads"][name];
        assert_eq!((&theirs["class"], &theirs["misfits"]), (&json!(class), &json!([])), "{name}");
        let records: Vec<Record> =
            texts.into_iter().map(|texts| Record { line: 1, texts, answer: Answer::Class(0) }).collect();
        let model = Model::load(place.join(name)).expect("a model");
        let encoded = encode(&records, model.tokenizer().expect("a tokenizer"), 24).expect("examples");
        assert!(encoded.truncated > 0, "{name}");
        let ids: Vec<&Vec<u32>> = encoded.examples.iter().flat_map(|example| &example.sequences).collect();
        assert_eq!(json!(ids), theirs["ids"], "{name}");
        let ours: Vec<f64> = expected_logits(&model, &encoded.examples).concat();
        let their_logits: Vec<f64> = theirs["logits"].as_array().expect("rows").iter().flat_map(numbers).collect();
        assert_eq!(ours.len(), their_logits.len(), "{name}");
        let worst = ours.iter().zip(&their_logits).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let spread = ours.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        println!("{name}: {} as {class}, largest difference of logits to {spread:.1}: {worst:.1e}", ids.len());
        assert!(worst < 1e-6 && spread > 0.1, "{name}: {worst}, {spread}");
        // The device's answers: the same labels.
        let batch = pack(&encoded.examples).expect("a batch");
        let capacity = capacity_of(&batch);
        let mut inference = Inference::new(&device, &model.config, &model.parameters, capacity).expect("a recording");
        let answers = inference.answers(&batch).expect("answers");
        let on_device: Vec<f64> = answers.iter().flat_map(|answer| widen(&answer.logits)).collect();
        let worst = on_device.iter().zip(&their_logits).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(on_device.len() == their_logits.len() && worst < 1e-4 * spread, "{name}: {worst}, {spread}");
        let task = model.config.task.as_ref().expect("a task");
        if let Answers::Labels(words) = &task.answers {
            let given: Vec<&String> =
                answers.iter().map(|answer| &words[scores::predicted_class(answer) as usize]).collect();
            assert_eq!(json!(given), theirs["labels"], "{name}");
        } else if task.answers == Answers::Candidate {
            assert_eq!(
                json!(answers.iter().map(scores::predicted_class).collect::<Vec<_>>()),
                theirs["labels"],
                "{name}"
            );
        }
        let labels = theirs["labels"].as_array().expect("labels");
        assert!(
            labels.len() == records.len() && (name != "classify" || labels.iter().all(|l| *l == "bad" || *l == "good"))
        );

        // Back from transformers: the same weights, and the task by its own keys and by ours.
        let again = Model::load(place.join("again").join(name)).expect("what transformers saves");
        assert_eq!(
            (&again.config.task, &again.parameters),
            (&checkpoint.config.task, &checkpoint.parameters),
            "{name}"
        );
        assert_eq!(again.warnings, [""; 0], "{name}");
        let tokens = again.tokenizer().expect("a tokenizer").task_tokens();
        assert_eq!(tokens, checkpoint.tokenizer.and_then(|tokenizer| tokenizer.task_tokens()), "{name}");
    }
}
