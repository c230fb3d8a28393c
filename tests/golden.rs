//! Values from other people's code (tests/golden, or WGPT_GOLDEN): every case by its letter, whatever its sizes.

use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgpt::config::{AttentionKind, ModelConfig, ParameterKind};
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::data::tokenizer::Tokenizer;
use wgpt::gpu::{Device, Matrix, Recorder, View};
use wgpt::model::parameters::Flat;
use wgpt::model::{Capacity, Generator, Options, Sampling, Training};
use wgpt::ops::attention::{self, Attention};
use wgpt::ops::layout::{self, Layout};
use wgpt::ops::optimizer::{AdamW, Arithmetic};
use wgpt::philox;
use wgpt::store::{config_json, safetensors as files};

/// One case's files.
struct Golden {
    manifest: Value,
    data: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    folder: PathBuf,
}

impl Golden {
    fn open(folder: &Path) -> Option<Golden> {
        let manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).ok()?).ok()?;
        let bytes = std::fs::read(folder.join("data.safetensors")).unwrap_or_default();
        let mut data = BTreeMap::new();
        if let Ok(tensors) = SafeTensors::deserialize(&bytes) {
            for (name, t) in tensors.tensors() {
                let word = |b: &[u8]| [b[0], b[1], b[2], b[3]];
                let values = match t.dtype() {
                    safetensors::Dtype::F32 => {
                        t.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(word(b)))).collect()
                    }
                    safetensors::Dtype::F64 => t
                        .data()
                        .chunks_exact(8)
                        .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")))
                        .collect(),
                    safetensors::Dtype::I32 => {
                        t.data().chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(word(b)))).collect()
                    }
                    safetensors::Dtype::I64 => t
                        .data()
                        .chunks_exact(8)
                        .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f64)
                        .collect(),
                    other => panic!("{name}: {other:?}"),
                };
                data.insert(name, (t.shape().to_vec(), values));
            }
        }
        Some(Golden { manifest, data, folder: folder.to_path_buf() })
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.data.get(name).unwrap_or_else(|| panic!("{name} is not in the case")).1
    }

    fn shape(&self, name: &str) -> &[usize] {
        &self.data[name].0
    }

    fn number(&self, key: &str) -> f64 {
        self.manifest["config"][key].as_f64().unwrap_or_else(|| panic!("config.{key}"))
    }

    /// Largest error over tolerance of `got` against the stored tensor: element by element, or by relative L2.
    fn judge(&self, name: &str, got: &[f64], keep: impl Fn(usize) -> bool) -> f64 {
        let expected = self.values(name);
        assert_eq!(got.len(), expected.len(), "{name}");
        let info = &self.manifest["files"]["data.safetensors"][name];
        let suggest = |key: &str| info[key].as_f64().unwrap_or(0.0);
        let (atol, rtol) = (suggest("suggest_atol"), suggest("suggest_rtol"));
        let mut worst = 0.0f64;
        for (i, (g, e)) in got.iter().zip(expected).enumerate().filter(|(i, _)| keep(*i)) {
            let error = (g - e).abs() / (atol + rtol * e.abs());
            worst = worst.max(if g.is_finite() { error } else { f64::INFINITY });
            let _ = i;
        }
        worst
    }

    fn scalar(&self, name: &str, got: f64) -> f64 {
        let info = &self.manifest["scalars"][name];
        let (value, atol) = (info["value"].as_f64().expect(name), info["suggest_atol"].as_f64().unwrap_or(2e-5));
        (got - value).abs() / atol
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn model(case: &Golden) -> (ModelConfig, Vec<Vec<f32>>) {
    let path = case.folder.join("config.json");
    let config = config_json::from_json(&std::fs::read(&path).expect("config.json"), &path).expect("a config");
    let loaded = files::load_parameters(&case.folder.join("model.safetensors"), &config).expect("weights");
    (config, loaded.tensors)
}

fn options(clip: f64, decay: f64, arithmetic: Arithmetic) -> Options {
    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic };
    Options { adam, weight_decay: decay, decay_all: false, clip }
}

/// [B, T] ids and labels (unshifted, -100 for none) as packed sequences, `lengths` of each row.
fn batch(ids: &[f64], labels: &[f64], lengths: &[usize], t: usize) -> Batch {
    let sequences = lengths.iter().enumerate().map(|(b, n)| Sequence {
        ids: ids[b * t..b * t + n].iter().map(|x| *x as u32).collect(),
        targets: (1..=*n)
            .map(|i| if i < *n && labels[b * t + i] >= 0.0 { labels[b * t + i] as u32 } else { IGNORED })
            .collect(),
    });
    Batch::from_sequences(&sequences.collect::<Vec<_>>()).expect("a batch")
}

/// a: a language model: hidden states, logits, losses, gradients.
fn language_model(device: &Device, case: &Golden) -> f64 {
    let (config, weights) = model(case);
    let shape = case.shape("in.input_ids").to_vec();
    let (b, t) = (shape[0], shape[1]);
    let lengths: Vec<usize> = match case.data.get("in.attention_mask") {
        Some((_, mask)) => mask.chunks_exact(t).map(|m| m.iter().sum::<f64>() as usize).collect(),
        None => vec![t; b],
    };
    let batch = batch(case.values("in.input_ids"), case.values("in.labels"), &lengths, t);
    let capacity = Capacity { rows: batch.rows(), sequences: b };
    let mut training =
        Training::new(device, &config, &weights, capacity, options(0.0, 0.0, Arithmetic::Torch)).expect("a recording");
    training.micro(&batch, batch.target_count, [0; 2]).expect("a step");
    let mut worst = 0.0f64;
    // Packed rows back to [B, T, columns]; what is padding there is not looked at.
    let real = |columns: usize| {
        let lengths = lengths.clone();
        move |i: usize| (i / columns) % t < lengths[i / columns / t]
    };
    let spread = |packed: &[f32], columns: usize| {
        let mut out = vec![0.0; b * t * columns];
        for (s, n) in lengths.iter().enumerate() {
            let from = batch.rows_of(s).start * columns;
            for j in 0..n * columns {
                out[s * t * columns + j] = f64::from(packed[from + j]);
            }
        }
        out
    };
    for i in 0..=config.n_layer {
        let hidden = training.hidden(i, batch.rows()).expect("hidden");
        let c = config.n_embd;
        worst = worst.max(case.judge(&format!("out.hidden_{i}"), &spread(&hidden, c), real(c)));
    }
    let gradients = training.read(Flat::Gradients).expect("gradients");
    for (shape, got) in config.parameters().iter().zip(&gradients) {
        worst = worst.max(case.judge(&format!("grad.{}", shape.name), &wide(got), |_| true));
    }
    let v = config.vocab_size;
    let logits = training.logits(&batch).expect("logits");
    worst = worst.max(case.judge("out.logits", &spread(&logits, v), real(v)));
    let losses = training.evaluate(&batch).expect("losses");
    let spread_losses = spread(&losses, 1);
    let per_token: Vec<f64> = (0..b).flat_map(|s| spread_losses[s * t..s * t + t - 1].to_vec()).collect();
    worst = worst.max(case.judge("out.per_token_loss", &per_token, |_| true));
    let mean = losses.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(batch.target_count.max(1));
    worst.max(case.scalar("mean_loss", mean))
}

/// b: twenty steps: losses, norms, weights, moments.
fn training(device: &Device, case: &Golden) -> f64 {
    let (config, weights) = model(case);
    let shape = case.shape("in.batches").to_vec();
    let (count, b, t) = (shape[0], shape[1], shape[2]);
    let late = case.manifest["config"]["optimizer"].as_str().is_some_and(|o| o.contains("OpenAIAdam"));
    let key = ["weight_decay_ndim_ge_2", "weight_decay"];
    let decay = key.iter().find_map(|k| case.manifest["config"][k].as_f64()).expect("a decay");
    let arithmetic = if late { Arithmetic::Hf2018 } else { Arithmetic::Torch };
    let options = options(case.number("clip_global_norm"), decay, arithmetic);
    let capacity = Capacity { rows: b * t, sequences: b };
    let mut training = Training::new(device, &config, &weights, capacity, options).expect("a recording");
    let ids = case.values("in.batches");
    let batches: Vec<Batch> = (0..count)
        .map(|i| {
            let part = &ids[i * b * t..(i + 1) * b * t];
            batch(part, part, &vec![t; b], t)
        })
        .collect();
    let mut worst = 0.0f64;
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (step, lr) in case.values("out.lr").iter().enumerate() {
        let batch = &batches[step % count];
        training.micro(batch, batch.target_count, [0; 2]).expect("a step");
        training.update(*lr).expect("an update");
        for (_, state) in training.drain().expect("a state") {
            losses.push(f64::from(state.loss) / f64::from(batch.target_count));
            norms.push(f64::from(state.norm));
        }
        for (prefix, at) in [("out.after_step2.", 2)] {
            if step + 1 == at && case.data.keys().any(|k| k.starts_with(prefix)) {
                worst = worst.max(tensors(case, prefix, &config, &training.parameters().expect("weights")));
            }
        }
    }
    worst = worst.max(case.judge("out.loss", &losses, |_| true));
    worst = worst.max(case.judge("out.grad_norm", &norms, |_| true));
    let last = training.parameters().expect("weights");
    worst = worst.max(tensors(case, "out.final.", &config, &last));
    for (prefix, flat) in [("out.exp_avg.", Flat::FirstMoments), ("out.exp_avg_sq.", Flat::SecondMoments)] {
        if case.data.keys().any(|k| k.starts_with(prefix)) {
            worst = worst.max(tensors(case, prefix, &config, &training.read(flat).expect("moments")));
        }
    }
    // The whole run by the relative L2 of its update, key biases left out.
    if let Some(limit) = case.manifest["suggest"]["update_rel_l2"].as_f64() {
        let (mut error, mut size) = (0.0, 0.0);
        for ((shape, got), start) in config.parameters().iter().zip(&last).zip(&weights) {
            let expected = case.values(&format!("out.final.{}", shape.name));
            for i in (0..got.len()).filter(|i| !key_bias(&shape.name, *i, config.n_embd)) {
                error += (f64::from(got[i]) - expected[i]).powi(2);
                size += (expected[i] - f64::from(start[i])).powi(2);
            }
        }
        worst = worst.max((error / size).sqrt() / limit);
    }
    let end = training.evaluate(&batches[0]).expect("losses");
    let mean = end.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(batches[0].target_count);
    if case.manifest["scalars"].get("final_loss_batch0").is_some() {
        worst = worst.max(case.scalar("final_loss_batch0", mean));
    }
    worst
}

fn key_bias(name: &str, i: usize, c: usize) -> bool {
    name.ends_with("c_attn.bias") && (c..2 * c).contains(&i)
}

fn tensors(case: &Golden, prefix: &str, config: &ModelConfig, got: &[Vec<f32>]) -> f64 {
    let of = |(shape, got): (wgpt::config::ParameterShape, &Vec<f32>)| {
        debug_assert!(shape.kind != ParameterKind::Weight || shape.rows > 0);
        case.judge(&format!("{prefix}{}", shape.name), &wide(got), |i| !key_bias(&shape.name, i, config.n_embd))
    };
    config.parameters().into_iter().zip(got).map(of).fold(0.0, f64::max)
}

/// h: packed attention, every Spec that runs here.
fn packed(device: &Device, case: &Golden) -> f64 {
    let (h, d) = (case.number("heads") as usize, case.number("head_dim") as usize);
    let c = h * d;
    let cu: Vec<usize> = case.values("in.cu_seqlens").iter().map(|x| *x as usize).collect();
    let n = cu[cu.len() - 1];
    let sequence = |w: &[usize]| Sequence { ids: vec![0; w[1] - w[0]], targets: vec![IGNORED; w[1] - w[0]] };
    let batch = Batch::from_sequences(&cu.windows(2).map(sequence).collect::<Vec<_>>()).expect("a batch");
    let (q, k, v) = (case.values("in.q"), case.values("in.k"), case.values("in.v"));
    let qkv: Vec<f32> =
        (0..n).flat_map(|r| [q, k, v].map(|x| x[r * c..(r + 1) * c].to_vec()).concat()).map(|x| x as f32).collect();
    let capacity = layout::Capacity { rows: n, sequences: cu.len() - 1, vocab: 1, positions: n, local_block: None };
    let dy: Vec<f32> = case.values("in.dy").iter().map(|x| *x as f32).collect();
    let mut worst = 0.0f64;
    for spec in attention::specs(device.caps(), d) {
        let run = || -> wgpt::Result<(Vec<f32>, Vec<f32>)> {
            let layout = Layout::new(device, capacity)?;
            let live = layout.upload(device, &batch)?;
            let matrix = |name, columns| Matrix::new(device, name, n, columns);
            let (m_qkv, y, m_dy, dqkv) =
                (matrix("qkv", 3 * c)?, matrix("y", c)?, matrix("dy", c)?, matrix("dqkv", 3 * c)?);
            m_qkv.write(device, &qkv)?;
            m_dy.write(device, &dy)?;
            let (lse, delta) = (View::new(device, "lse", n * h)?, View::new(device, "delta", n * h)?);
            let call = Attention {
                kind: AttentionKind::Full,
                heads: h,
                qkv: &m_qkv,
                y: &y,
                log_sum_exp: &lse,
                layout: &layout,
                rate: 0.0,
                layer: 0,
            };
            let mut rec = Recorder::new(device, layout.capacity());
            attention::forward(&mut rec, spec, &call)?;
            attention::backward(&mut rec, spec, &call, &m_dy, &delta, &dqkv)?;
            rec.finish().run(&live)?;
            Ok((y.read(device)?, dqkv.read(device)?))
        };
        let (y, dqkv) = run().expect("attention");
        worst = worst.max(case.judge("out.y", &wide(&y), |_| true));
        for (i, name) in ["q", "k", "v"].into_iter().enumerate() {
            let part: Vec<f64> = (0..n).flat_map(|r| wide(&dqkv[r * 3 * c + i * c..r * 3 * c + (i + 1) * c])).collect();
            worst = worst.max(case.judge(&format!("grad_in.{name}"), &part, |_| true));
        }
    }
    worst
}

/// i: greedy generation: the ids, and the logits of each step.
fn generation(device: &Device, case: &Golden) -> f64 {
    let (config, weights) = model(case);
    let mut generator = Generator::new(device, &config, &weights, 1).expect("a recording");
    let (prompts, sequences) = (case.shape("in.prompt").to_vec(), case.shape("in.sequences").to_vec());
    let (mut all, mut wrong) = (Vec::new(), 0);
    for row in case.values("in.sequences").chunks_exact(sequences[1]) {
        let ids: Vec<u32> = row.iter().map(|x| *x as u32).collect();
        let mut logits = generator.start(&ids[..prompts[1]]).expect("a prompt");
        for (token, id) in ids.iter().enumerate().skip(prompts[1]) {
            let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
            let own = greedy.choose(&logits, token as u32).expect("a token");
            wrong += usize::from(own != *id);
            all.extend(wide(&logits));
            if token + 1 < ids.len() {
                logits = generator.next(&[own]).expect("a token");
            }
        }
    }
    if wrong > 0 { f64::INFINITY } else { case.judge("out.logits", &all, |_| true) }
}

/// j: GPT-1's own files give Hugging Face's ids and texts, exactly: 0, or infinity. `None` without its vocabulary.
fn tokenizer(case: &Golden) -> Option<f64> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("WGPT_DATA").map_or_else(beside, PathBuf::from).join("gpt1-bpe");
    let [vocabulary, merges] = ["encoder_bpe_40000.json", "vocab_40000.bpe"].map(|name| folder.join(name));
    if !vocabulary.is_file() || !merges.is_file() {
        return None;
    }
    let tokenizer = Tokenizer::from_gpt1_files(&vocabulary, &merges).expect("GPT-1's vocabulary");
    let bytes = std::fs::read(case.folder.join("tokenizer.json")).expect("tokenizer.json");
    let texts: Value = serde_json::from_slice(&bytes).expect("JSON");
    let texts: Vec<&Value> =
        ["sentences", "paragraphs"].into_iter().flat_map(|key| texts[key].as_array().expect(key)).collect();
    let (mut right, mut original) = (0, 0);
    for text in &texts {
        let ids = tokenizer.encode(text["text"].as_str().expect("text")).expect("ids");
        let fast = &text["hf_fast"];
        let decoded = fast["decode"].as_str().is_none_or(|d| tokenizer.decode(&ids).expect("text") == d);
        match decoded && serde_json::json!(ids) == fast["ids"] {
            true => right += 1,
            false => println!("{}: {ids:?}, expected {}", text["text"], fast["ids"]),
        }
        original += usize::from(serde_json::json!(ids) == text["openai_original"]["ids"]);
    }
    println!("{right} of {} texts as hf_fast, {original} as openai_original", texts.len());
    Some(if right == texts.len() && right > 0 { 0.0 } else { f64::INFINITY })
}

#[test]
fn every_case() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let root = std::env::var_os("WGPT_GOLDEN").map_or(own, PathBuf::from);
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|e| panic!("{}: {e}", root.display()))
        .filter_map(|e| Some(e.ok()?.path()).filter(|p| p.is_dir()))
        .collect();
    folders.sort();
    let device = Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter");
    assert_eq!(philox::philox([0; 4], [0; 2])[0], 0x6627_e8d5);
    let (mut ok, mut failed, mut missing) = (0, 0, 0);
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(case) = Golden::open(&folder) else { continue };
        let error = match name.split('_').next() {
            Some("a") => Some(language_model(&device, &case)),
            Some("b") => Some(training(&device, &case)),
            Some("h") => Some(packed(&device, &case)),
            Some("i") => Some(generation(&device, &case)),
            Some("j") => tokenizer(&case),
            _ => None,
        };
        match error {
            None => {
                missing += 1;
                println!("case {name} not built{}", if name.starts_with("j_") { ": no vocabulary" } else { "" });
            }
            Some(e) if e <= 1.0 => {
                ok += 1;
                println!("case {name} ok: {e:.3}");
            }
            Some(e) => {
                failed += 1;
                println!("case {name} FAIL: {e:.3}");
            }
        }
    }
    println!("{ok} ok, {failed} failed, {missing} not built");
    assert_eq!(failed, 0);
    assert!(ok + missing > 0, "no case in {}", root.display());
    let all = std::env::var_os("WGPT_GOLDEN_ALL").is_some_and(|v| v == "1");
    assert!(!all || missing == 0, "{missing} cases are not built");
}
