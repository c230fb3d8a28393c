//! Values from other people's code (tests/golden, or WGPT_GOLDEN): every case by its letter, whatever its sizes.

use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgpt::config::{AttentionKind, ModelConfig, ParameterKind, ParameterShape};
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::gpu::{Device, Matrix, Recorder, View};
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Capacity, Generator, Sampling, Training, TrainingOptions};
use wgpt::ops::attention::{self, Attention, Gradients, KeyValues};
use wgpt::ops::column_sum::column_sum;
use wgpt::ops::gather_rows::{Rows, gather_rows};
use wgpt::ops::kernels::Kernels;
use wgpt::ops::kv_compress::{self, Compress};
use wgpt::ops::layout::{self, LayoutBuffer};
use wgpt::ops::matmul::{self, Epilogue, Form, Matmul, matmul};
use wgpt::ops::optimizer::{AdamW, Arithmetic};
use wgpt::ops::{RowAccess, RowCount, StepValues};
use wgpt::philox;
use wgpt::store::{config_json, safetensors as files};
use wgpt::tasks::metrics;

#[path = "golden_tasks.rs"]
mod tasks;

/// One case's files.
struct Golden {
    manifest: Value,
    data: Tensors,
    /// Empty where there is no model.
    weights: Tensors,
    folder: PathBuf,
}

/// Shape and numbers by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// The tensors of a file's bytes, as f64.
fn tensors(bytes: &[u8]) -> Tensors {
    let mut data = BTreeMap::new();
    let Ok(tensors) = SafeTensors::deserialize(bytes) else { return data };
    let words = |b: &[u8]| -> Vec<[u8; 4]> { b.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect() };
    let pairs = |b: &[u8]| -> Vec<[u8; 8]> { b.chunks_exact(8).map(|b| b.try_into().expect("eight bytes")).collect() };
    for (name, t) in tensors.tensors() {
        let values = match t.dtype() {
            safetensors::Dtype::F32 => words(t.data()).into_iter().map(|b| f64::from(f32::from_le_bytes(b))).collect(),
            safetensors::Dtype::I32 => words(t.data()).into_iter().map(|b| f64::from(i32::from_le_bytes(b))).collect(),
            safetensors::Dtype::F64 => pairs(t.data()).into_iter().map(f64::from_le_bytes).collect(),
            safetensors::Dtype::I64 => pairs(t.data()).into_iter().map(|b| i64::from_le_bytes(b) as f64).collect(),
            other => panic!("{name}: {other:?}"),
        };
        data.insert(name, (t.shape().to_vec(), values));
    }
    data
}

impl Golden {
    fn open(folder: &Path) -> Option<Golden> {
        let manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).ok()?).ok()?;
        let read = |name: &str| tensors(&std::fs::read(folder.join(name)).unwrap_or_default());
        let (data, weights) = (read("data.safetensors"), read("model.safetensors"));
        Some(Golden { manifest, data, weights, folder: folder.to_path_buf() })
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.data.get(name).unwrap_or_else(|| panic!("{name} is not in the case")).1
    }

    /// A tensor of the case's model.
    fn weight(&self, name: &str) -> &[f64] {
        &self.weights.get(name).unwrap_or_else(|| panic!("{name} is not in the model")).1
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

fn options(clip: f64, decay: f64, arithmetic: Arithmetic) -> TrainingOptions {
    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic };
    TrainingOptions { adam, weight_decay: decay, decay_all: false, clip, lm_coef: 1.0 }
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
    training.accumulate_gradients(&batch, batch.target_count, [0; 2]).expect("a step");
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
    let gradients = training.read(ParameterData::Gradients).expect("gradients");
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
        training.accumulate_gradients(batch, batch.target_count, [0; 2]).expect("a step");
        training.optimizer_step(*lr).expect("an update");
        for result in training.wait_for_results().expect("a result") {
            losses.push(result.loss);
            norms.push(f64::from(result.grad_norm));
        }
        for (prefix, at) in [("out.after_step2.", 2)] {
            if step + 1 == at && case.data.keys().any(|k| k.starts_with(prefix)) {
                worst = worst.max(judge_tensors(case, prefix, &config, &training.parameters().expect("weights")));
            }
        }
    }
    worst = worst.max(case.judge("out.loss", &losses, |_| true));
    worst = worst.max(case.judge("out.grad_norm", &norms, |_| true));
    let last = training.parameters().expect("weights");
    worst = worst.max(judge_tensors(case, "out.final.", &config, &last));
    for (prefix, flat) in
        [("out.exp_avg.", ParameterData::FirstMoments), ("out.exp_avg_sq.", ParameterData::SecondMoments)]
    {
        if case.data.keys().any(|k| k.starts_with(prefix)) {
            worst = worst.max(judge_tensors(case, prefix, &config, &training.read(flat).expect("moments")));
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

fn judge_tensors(case: &Golden, prefix: &str, config: &ModelConfig, got: &[Vec<f32>]) -> f64 {
    let of = |(shape, got): (wgpt::config::ParameterShape, &Vec<f32>)| {
        debug_assert!(shape.kind != ParameterKind::Weight || shape.rows > 0);
        case.judge(&format!("{prefix}{}", shape.name), &wide(got), |i| !key_bias(&shape.name, i, config.n_embd))
    };
    config.parameters().into_iter().zip(got).map(of).fold(0.0, f64::max)
}

/// [b,x,y,D] as [b,y,x,D]: heads before tokens to tokens before heads, and back.
fn swap_middle(input: &[f64], [b, x, y]: [usize; 3]) -> Vec<f64> {
    let d = input.len() / (b * x * y);
    let place = |i: usize| {
        let (batch, j, k) = (i / (x * y), i / x % y, i % x);
        ((batch * x + k) * y + j) * d
    };
    (0..b * x * y).flat_map(|i| &input[place(i)..place(i) + d]).copied().collect()
}

/// Rows of several matrices of `c` columns side by side.
fn beside(parts: &[&[f64]], c: usize) -> Vec<f64> {
    (0..parts[0].len() / c).flat_map(|r| parts.iter().flat_map(move |p| &p[r * c..(r + 1) * c])).copied().collect()
}

/// Columns `from` to `from + count` of rows of `width`.
fn columns(x: &[f64], width: usize, from: usize, count: usize) -> Vec<f64> {
    x.chunks_exact(width).flat_map(|row| &row[from..from + count]).copied().collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

/// Sequences of so many tokens whose ids do not matter.
fn empty_batch(lengths: &[usize]) -> Batch {
    let sequence = |n: &usize| Sequence { ids: vec![0; *n], targets: vec![IGNORED; *n] };
    Batch::from_sequences(&lengths.iter().map(sequence).collect::<Vec<_>>()).expect("a batch")
}

fn layout(
    device: &Device,
    batch: &Batch,
    local_block: Option<usize>,
    kv_factor: Option<usize>,
) -> (LayoutBuffer, StepValues) {
    let (rows, sequences) = (batch.rows(), batch.sequences());
    let capacity = layout::LayoutCapacity {
        rows,
        sequences,
        vocab: 1,
        positions: rows,
        local_block,
        kv_factor,
        task: false,
        tile_rows: layout::SMALLEST_TILE,
    };
    let layout = LayoutBuffer::new(device, capacity).expect("a layout");
    let live = layout.upload(device, batch).expect("an upload");
    (layout, live)
}

/// A matrix that holds these numbers, or zeros.
fn matrix(device: &Device, rows: usize, columns: usize, data: &[f64]) -> Matrix {
    let matrix = Matrix::new(device, "golden", rows.max(1), columns).expect("a matrix");
    matrix.write(device, &narrow(data)).expect("a matrix");
    matrix
}

/// Attention on [q, k, v] in rows: [y, dq, dk, dv].
fn attend(
    device: &Device,
    spec: attention::Spec,
    lengths: &[usize],
    heads: usize,
    block: Option<usize>,
    [q, k, v, dy]: [&[f64]; 4],
) -> [Vec<f64>; 4] {
    let batch = empty_batch(lengths);
    let (n, c) = (batch.rows(), q.len() / batch.rows());
    let (layout, live) = layout(device, &batch, block, None);
    let (qkv, dqkv) = (matrix(device, n, 3 * c, &beside(&[q, k, v], c)), matrix(device, n, 3 * c, &[]));
    let (y, dy) = (matrix(device, n, c, &[]), matrix(device, n, c, dy));
    let [lse, delta] = ["lse", "delta"].map(|name| View::new(device, name, n * heads).expect("a view"));
    let call = Attention {
        kind: if block.is_some() { AttentionKind::Local } else { AttentionKind::Full },
        heads,
        queries: &qkv,
        kv: KeyValues::beside(&qkv),
        y: &y,
        log_sum_exp: &lse,
        layout: &layout,
        scale: attention::head_scale(c, heads),
        rate: 0.0,
        layer: 0,
    };
    let mut rec = Recorder::new(device, layout.values_at_capacity());
    attention::forward(&mut rec, spec, &call).expect("forward");
    let to = Gradients { dy: &dy, delta: &delta, dq: &dqkv, dkv: &dqkv };
    attention::backward(&mut rec, spec, &call, &to).expect("backward");
    rec.finish().run(&live).expect("a run");
    let dqkv = wide(&dqkv.read(device).expect("dqkv"));
    let [dq, dk, dv] = [0, 1, 2].map(|i| columns(&dqkv, 3 * c, i * c, c));
    [wide(&y.read(device).expect("y")), dq, dk, dv]
}

/// Holds [y, dq, dk, dv] to the stored ones.
fn judge_attention(case: &Golden, got: &[Vec<f64>; 4], back: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    let names = ["out.y", "grad_in.q", "grad_in.k", "grad_in.v"];
    names.iter().zip(got).map(|(name, got)| case.judge(name, &back(got), |_| true)).fold(0.0, f64::max)
}

/// g: local attention, every Spec that runs here.
fn local(device: &Device, case: &Golden) -> f64 {
    let (b, h, t, d) = match case.shape("in.q") {
        [b, h, t, d] => (*b, *h, *t, *d),
        other => panic!("q is {other:?}"),
    };
    let rows = ["in.q", "in.k", "in.v", "in.dy"].map(|name| swap_middle(case.values(name), [b, h, t]));
    let block = Some(case.number("block") as usize);
    let judge = |spec| {
        let got = attend(device, spec, &vec![t; b], h, block, [&rows[0], &rows[1], &rows[2], &rows[3]]);
        judge_attention(case, &got, |x| swap_middle(x, [b, t, h]))
    };
    attention::specs(device.caps(), d).into_iter().map(judge).fold(0.0, f64::max)
}

/// h: packed attention, every Spec that runs here.
fn packed(device: &Device, case: &Golden) -> f64 {
    let (h, d) = (case.number("heads") as usize, case.number("head_dim") as usize);
    let lengths: Vec<usize> =
        case.values("in.cu_seqlens").windows(2).map(|border| (border[1] - border[0]) as usize).collect();
    let rows = ["in.q", "in.k", "in.v", "in.dy"].map(|name| case.values(name));
    let judge = |spec| judge_attention(case, &attend(device, spec, &lengths, h, None, rows), <[f64]>::to_vec);
    attention::specs(device.caps(), d).into_iter().map(judge).fold(0.0, f64::max)
}

/// A memory-compressed layer between its projections: convolutions as files hold them, null key and value.
struct Compression<'a> {
    lengths: Vec<usize>,
    heads: usize,
    factor: usize,
    group_width: usize,
    scale: f32,
    /// Weight [C, C/groups, f] and bias of keys and of values.
    convolutions: [[&'a [f64]; 2]; 2],
    /// None is zero.
    nulls: Option<[&'a [f64]; 2]>,
}

/// y and the gradients; those of convolutions and nulls of keys, then of values.
struct Compressed {
    y: Vec<f64>,
    dqkv: Vec<f64>,
    dweights: [Vec<f64>; 2],
    dbiases: [Vec<f64>; 2],
    dnulls: [Vec<f64>; 2],
}

impl Compression<'_> {
    fn run(&self, device: &Device, spec: attention::Spec, qkv: &[f64], dy: &[f64]) -> wgpt::Result<Compressed> {
        let batch = empty_batch(&self.lengths);
        let (n, f) = (batch.rows(), self.factor);
        let c = dy.len() / n;
        let (layout, live) = layout(device, &batch, None, Some(f));
        let room = layout.capacity();
        let (qkv, dqkv) = (matrix(device, n, 3 * c, qkv), matrix(device, n, 3 * c, &[]));
        let (y, dy) = (matrix(device, n, c, &[]), matrix(device, n, c, dy));
        let [slots, dslots] = [(); 2].map(|()| matrix(device, 2 * room.slot_rows(), c, &[]));
        let [lse, delta] = ["lse", "delta"].map(|name| View::new(device, name, n * self.heads).expect("a view"));
        let [rows, width] = kv_compress::room(room.slots(), c, f, self.group_width);
        let windows = matrix(device, rows, width, &[]);
        let partial = matrix(device, n, c, &[]);
        let shape = ParameterShape {
            name: "weight".into(),
            rows: f * self.group_width,
            columns: c,
            kind: ParameterKind::Convolution(f),
        };
        let io = RowAccess::choose(device.caps(), c, &[&qkv]);
        let kernels = Kernels::new();
        let compress = |part: usize, weight| Compress {
            x: &qkv,
            rows: RowCount::Rows,
            at: (1 + part) * c,
            weight,
            factor: f,
            slot_rows: &layout.slot_rows,
            slots: RowCount::Slots,
            room: &windows,
            kernels: &kernels,
        };
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        let weights = self.convolutions.map(|[weight, _]| {
            let weight = files::from_file(&shape, narrow(weight));
            matrix(device, shape.rows, c, &wide(&weight))
        });
        for part in [0, 1] {
            let bias = matrix(device, 1, c, self.convolutions[part][1]);
            let out = slots.rows_from(part * room.slot_rows(), room.slots());
            kv_compress::forward(&mut rec, io, &compress(part, &weights[part]), &bias.view, &out)?;
            if let Some(nulls) = self.nulls {
                let x = matrix(device, 1, c, nulls[part]);
                let out = slots.rows_from(part * room.slot_rows() + room.slots(), room.nulls());
                gather_rows(&mut rec, io, &Rows { x: &x, index: &layout.nulls, out: &out, count: RowCount::NullKeys })?;
            }
        }
        let call = Attention {
            kind: AttentionKind::Compressed,
            heads: self.heads,
            queries: &qkv,
            kv: KeyValues::stacked(&slots),
            y: &y,
            log_sum_exp: &lse,
            layout: &layout,
            scale: self.scale,
            rate: 0.0,
            layer: 0,
        };
        attention::forward(&mut rec, spec, &call)?;
        attention::backward(&mut rec, spec, &call, &Gradients { dy: &dy, delta: &delta, dq: &dqkv, dkv: &dslots })?;
        let mut gradients = Vec::new();
        for part in [0, 1] {
            let first = part * room.slot_rows();
            let (dweight, dbias) = (matrix(device, shape.rows, c, &[]), matrix(device, 1, c, &[]));
            let to = kv_compress::Gradients {
                dy: &dslots.rows_from(first, room.slots()),
                dx: &dqkv,
                parameters: Some([&dweight, &dbias]),
                tail_rows: &layout.tail_rows,
                partial: &partial,
            };
            kv_compress::backward(&mut rec, io, &compress(part, &weights[part]), &to)?;
            let dnull = matrix(device, 1, c, &[]);
            let of_nulls = dslots.rows_from(first + room.slots(), room.nulls());
            column_sum(&mut rec, io, [&of_nulls, &partial, &dnull], RowCount::NullKeys)?;
            gradients.push([dweight, dbias, dnull]);
        }
        rec.finish().run(&live)?;
        let read = |m: &Matrix| wide(&m.read(device).expect("a matrix"));
        let all = |i: usize| [0, 1].map(|part: usize| read(&gradients[part][i]));
        let dweights = all(0).map(|w| wide(&files::to_file(&shape, &narrow(&w))));
        Ok(Compressed { y: read(&y), dqkv: read(&dqkv), dweights, dbiases: all(1), dnulls: all(2) })
    }
}

fn sum(parts: &[Vec<f64>; 2]) -> Vec<f64> {
    parts[0].iter().zip(&parts[1]).map(|(a, b)| a + b).collect()
}

/// f, ours: a memory-compressed layer without projections, every Spec that runs here.
fn strict(device: &Device, case: &Golden) -> f64 {
    let (b, t, c) = (case.number("B") as usize, case.number("T") as usize, case.number("D") as usize);
    let heads = case.number("heads") as usize;
    let shared = case.manifest["config"]["shared_kv_conv"] == true;
    let convolution = |name: &str| {
        let name = if shared { "conv_k" } else { name };
        ["weight", "bias"].map(|part| case.weight(&format!("{name}.{part}")))
    };
    let learned = case.manifest["config"]["null"] == "learned";
    let compression = Compression {
        lengths: vec![t; b],
        heads,
        factor: case.number("factor") as usize,
        group_width: c / case.number("conv_groups") as usize,
        scale: attention::head_scale(c, heads),
        convolutions: [convolution("conv_k"), convolution("conv_v")],
        nulls: learned.then(|| [case.weight("null_k"), case.weight("null_v")]),
    };
    let qkv = beside(&["in.q", "in.k", "in.v"].map(|name| case.values(name)), c);
    let judge = |spec| {
        let got = compression.run(device, spec, &qkv, case.values("in.dy")).expect("a run");
        let mut all = vec![("out.y", got.y)];
        all.extend(
            ["grad_in.q", "grad_in.k", "grad_in.v"]
                .into_iter()
                .zip((0..3).map(|i| columns(&got.dqkv, 3 * c, i * c, c))),
        );
        if shared {
            all.extend([("grad.conv_k.weight", sum(&got.dweights)), ("grad.conv_k.bias", sum(&got.dbiases))]);
        } else {
            all.extend(["grad.conv_k.weight", "grad.conv_v.weight"].into_iter().zip(got.dweights));
            all.extend(["grad.conv_k.bias", "grad.conv_v.bias"].into_iter().zip(got.dbiases));
        }
        if learned {
            all.extend(["grad.null_k", "grad.null_v"].into_iter().zip(got.dnulls));
        }
        all.into_iter().map(|(name, got)| case.judge(name, &got, |_| true)).fold(0.0, f64::max)
    };
    attention::specs(device.caps(), c / heads).into_iter().map(judge).fold(0.0, f64::max)
}

/// f, the lucidrains package's whole layer: one convolution of H groups, scores by C^-½, slots aligned to the end, which is
/// the strict layer behind rows of zeros.
fn lucidrains(device: &Device, case: &Golden) -> f64 {
    let (b, t, c) = (case.number("B") as usize, case.number("T") as usize, case.number("dim") as usize);
    let (heads, factor) = (case.number("heads") as usize, case.number("compression_factor") as usize);
    let convolution = ["compress_fn.conv.weight", "compress_fn.conv.bias"].map(|name| case.weight(name));
    let padded = t.next_multiple_of(factor);
    let compression = Compression {
        lengths: vec![padded; b],
        heads,
        factor,
        group_width: c / heads,
        scale: attention::head_scale(c, 1),
        convolutions: [convolution; 2],
        nulls: Some([case.weight("null_k"), case.weight("null_v")]),
    };
    let pad = |x: &[f64]| -> Vec<f64> {
        x.chunks_exact(t * c).flat_map(|s| [vec![0.0; (padded - t) * c], s.to_vec()].concat()).collect()
    };
    let cut =
        |x: &[f64]| -> Vec<f64> { x.chunks_exact(padded * c).flat_map(|s| s[(padded - t) * c..].to_vec()).collect() };
    let n = b * padded;
    let live = StepValues { rows: n as u32, ..StepValues::default() };
    let product = |form: Form, a: (&[f64], usize), b: (&[f64], usize), columns: usize, rows: usize| {
        let [a, b] = [a, b].map(|(x, columns)| matrix(device, x.len() / columns, columns, x));
        let c = matrix(device, rows, columns, &[]);
        let call = Matmul {
            form,
            a: &a,
            b: &b,
            c: &c,
            rows: RowCount::Rows,
            epilogue: Epilogue::None,
            accumulate: form == Form::AtB,
        };
        let mut rec = Recorder::new(device, live);
        matmul(&mut rec, matmul::choose(device.caps(), form, &a, &b), &call).expect("a product");
        rec.finish().run(&live).expect("a run");
        wide(&c.read(device).expect("a product"))
    };
    let (x, dy) = (pad(case.values("in.x")), pad(case.values("in.dy")));
    let (to_qkv, to_out) = (case.weight("to_qkv.weight"), case.weight("to_out.weight"));
    let qkv = product(Form::ABt, (&x, c), (to_qkv, c), 3 * c, n);
    let datt = product(Form::AB, (&dy, c), (to_out, c), c, n);
    let judge = |spec| {
        let got = compression.run(device, spec, &qkv, &datt).expect("a run");
        let bias = case.weight("to_out.bias");
        let y = product(Form::ABt, (&got.y, c), (to_out, c), c, n);
        let y: Vec<f64> = y.iter().enumerate().map(|(i, y)| y + bias[i % c]).collect();
        let dbias = (0..c).map(|j| case.values("in.dy").iter().skip(j).step_by(c).sum()).collect();
        let all = [
            ("out.y", cut(&y)),
            ("grad_in.x", cut(&product(Form::AB, (&got.dqkv, 3 * c), (to_qkv, c), c, n))),
            ("grad.to_qkv.weight", product(Form::AtB, (&got.dqkv, 3 * c), (&x, c), c, 3 * c)),
            ("grad.to_out.weight", product(Form::AtB, (&dy, c), (&got.y, c), c, c)),
            ("grad.to_out.bias", dbias),
            ("grad.compress_fn.conv.weight", sum(&got.dweights)),
            ("grad.compress_fn.conv.bias", sum(&got.dbiases)),
            ("grad.null_k", got.dnulls[0].clone()),
            ("grad.null_v", got.dnulls[1].clone()),
        ];
        all.into_iter().map(|(name, got)| case.judge(name, &got, |_| true)).fold(0.0, f64::max)
    };
    attention::specs(device.caps(), c / heads).into_iter().map(judge).fold(0.0, f64::max)
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
    let own = tokenizer.with_pretokenizer(Pretokenizer::OpenAi).expect("GPT-1's own cut");
    let (mut right, mut original, mut nearly) = (0, 0, 0);
    for text in &texts {
        let ids = tokenizer.encode(text["text"].as_str().expect("text")).expect("ids");
        let fast = &text["hf_fast"];
        let decoded = fast["decode"].as_str().is_none_or(|d| tokenizer.decode(&ids).expect("text") == d);
        match decoded && serde_json::json!(ids) == fast["ids"] {
            true => right += 1,
            false => println!("{}: {ids:?}, expected {}", text["text"], fast["ids"]),
        }
        let is_original = |ids: &[u32]| usize::from(serde_json::json!(ids) == text["openai_original"]["ids"]);
        original += is_original(&ids);
        nearly += is_original(&own.encode(text["text"].as_str().expect("text")).expect("ids"));
    }
    println!("{right} of {} texts as hf_fast, {original} as openai_original", texts.len());
    println!("with pretokenizer = \"openai\", {nearly} as openai_original");
    Some(if right == texts.len() && right > 0 { 0.0 } else { f64::INFINITY })
}

/// k: metrics of answers, undefined ones too.
fn metrics(case: &Golden) -> f64 {
    let bytes = std::fs::read(case.folder.join("metrics.json")).expect("metrics.json");
    let cases: Vec<Value> = serde_json::from_slice(&bytes).expect("JSON");
    let (mut worst, mut numbers) = (0.0f64, 0);
    for one in &cases {
        let side = |key: &str| -> Vec<f64> {
            one[key].as_array().expect(key).iter().map(|x| x.as_f64().expect("a number")).collect()
        };
        let (x, y) = (side("y_true"), side("y_pred"));
        let [truth, predicted] = [&x, &y].map(|side| side.iter().map(|v| *v as u32).collect::<Vec<_>>());
        for (name, expected) in one["expect"].as_object().expect("numbers") {
            let got = match name.as_str() {
                // Of one answer an example, micro F1 is accuracy.
                "accuracy" | "f1_micro" => metrics::accuracy(&truth, &predicted),
                "f1_binary_pos1_zero_division_0" => metrics::f1(&truth, &predicted, 2),
                "f1_macro_labels_present" => metrics::f1_macro(&truth, &predicted),
                "matthews" => metrics::matthews(&truth, &predicted),
                "pearson" => metrics::pearson(&x, &y),
                "spearman" => metrics::spearman(&x, &y),
                other => panic!("{other}: no such metric"),
            };
            let error = match (expected.as_f64(), got) {
                (Some(expected), Some(got)) => (expected - got).abs() / one["atol"].as_f64().unwrap_or(1e-9),
                (None, None) => 0.0,
                _ => f64::INFINITY,
            };
            if error > 1.0 {
                println!("{} {name}: {got:?}, expected {expected}", one["name"]);
            }
            (worst, numbers) = (worst.max(error), numbers + 1);
        }
    }
    println!("{numbers} metrics of {} lists of answers", cases.len());
    worst
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
            Some("c") => Some(tasks::double_heads(&device, &case)),
            Some("d") => Some(tasks::sequence_classification(&device, &case)),
            Some("e") => Some(tasks::similarity(&device, &case)),
            Some("f") if name.contains("lucidrains") => Some(lucidrains(&device, &case)),
            Some("f") => Some(strict(&device, &case)),
            Some("g") => Some(local(&device, &case)),
            Some("h") => Some(packed(&device, &case)),
            Some("i") => Some(generation(&device, &case)),
            Some("j") => tokenizer(&case),
            Some("k") => Some(metrics(&case)),
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
