//! The oracles compared with other implementations: the golden cases a, b, f, g and h (tests/golden/README.md).
//!
//! Each test walks the folder (`WGPT_GOLDEN`, else tests/golden) by letter and compares every tensor within the manifest's
//! tolerance, |x − ref| ≤ suggest_atol + suggest_rtol·|ref|, which is made for f32 code. The oracle computes in f64 and the
//! stored values are f32, so its errors must be [`MARGIN`] times smaller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::attention::{Qkv, Seen};
use super::cross_entropy::IGNORED;
use super::matmul::{Form, add_bias, bias_gradient, matmul};
use super::{adamw, attention, global_norm, kv_compress, model};
use crate::config::ModelConfig;

/// How many times smaller than the tolerances for f32 the errors of an f64 oracle are (observed: 130 times or more).
const MARGIN: f64 = 20.0;

/// One folder: manifest, tensors widened to f64, and the largest error seen over its tolerance.
struct Case {
    name: String,
    folder: PathBuf,
    manifest: Value,
    data: BTreeMap<String, Vec<f64>>,
    worst: f64,
}

/// The tensors of a file, whatever their type, as f64.
fn tensors(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let numbers = |data: &[u8], dtype| -> Vec<f64> {
        let words = || data.as_chunks::<4>().0.iter();
        match dtype {
            Dtype::F32 => words().map(|w| f64::from(f32::from_le_bytes(*w))).collect(),
            Dtype::I32 => words().map(|w| f64::from(i32::from_le_bytes(*w))).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|w| f64::from_le_bytes(*w)).collect(),
            other => panic!("{}: {other:?} is not F32, F64 or I32", path.display()),
        }
    };
    file.iter().map(|(name, view)| (name.to_string(), numbers(view.data(), view.dtype()))).collect()
}

/// Runs `check` on every case whose folder begins with `letter`; none at all is a failure.
fn each_case(letter: &str, check: impl Fn(&mut Case)) {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let root = std::env::var_os("WGPT_GOLDEN").map_or_else(default, PathBuf::from);
    let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut folders: Vec<PathBuf> = entries.map(|e| e.expect("a folder").path()).collect();
    folders.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{letter}_"))));
    folders.sort();
    assert!(!folders.is_empty(), "no golden case {letter} in {}", root.display());
    for folder in folders {
        let manifest = std::fs::read(folder.join("manifest.json")).expect("manifest.json");
        let mut case = Case {
            name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
            manifest: serde_json::from_slice(&manifest).expect("JSON"),
            data: tensors(&folder.join("data.safetensors")),
            folder,
            worst: 0.0,
        };
        check(&mut case);
        println!("case {} ok: {:.4}", case.name, case.worst);
    }
}

impl Case {
    fn info(&self, tensor: &str) -> &Value {
        &self.manifest["files"]["data.safetensors"][tensor]
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        let shape = self.info(tensor)["shape"].as_array().expect("a shape");
        shape.iter().map(|n| n.as_u64().expect("a size") as usize).collect()
    }

    fn number(&self, key: &str) -> f64 {
        self.manifest["config"][key].as_f64().unwrap_or_else(|| panic!("{}: no {key}", self.name))
    }

    fn integers(&self, tensor: &str) -> Vec<i64> {
        self.data[tensor].iter().map(|x| *x as i64).collect()
    }

    /// Records one error over its tolerance.
    fn hold(&mut self, what: &str, got: f64, expected: f64, tolerance: f64) {
        let ratio = (got - expected).abs() / tolerance;
        assert!(ratio <= 1.0 / MARGIN, "{} {what}: got {got}, expected {expected}, {ratio} of tolerance", self.name);
        self.worst = self.worst.max(ratio);
    }

    /// Compares `got` with `tensor`, at the elements that `counts` selects.
    fn compare(&mut self, tensor: &str, got: &[f64], counts: impl Fn(usize) -> bool) {
        let tolerance = |key| self.info(tensor)[key].as_f64().unwrap_or_else(|| panic!("{tensor}: no {key}"));
        let (atol, rtol) = (tolerance("suggest_atol"), tolerance("suggest_rtol"));
        let expected = self.data[tensor].clone();
        assert_eq!(got.len(), expected.len(), "{} {tensor}", self.name);
        for i in (0..got.len()).filter(|&i| counts(i)) {
            self.hold(&format!("{tensor}[{i}]"), got[i], expected[i], atol + rtol * expected[i].abs());
        }
    }

    /// A scalar of the manifest with its own tolerance.
    fn compare_scalar(&mut self, key: &str, got: f64) {
        let scalar = &self.manifest["scalars"][key];
        let value = |k: &str| scalar[k].as_f64().unwrap_or_else(|| panic!("scalar {key}: no {k}"));
        let (expected, atol) = (value("value"), value("suggest_atol"));
        self.hold(key, got, expected, atol);
    }

    fn model(&self) -> (ModelConfig, Vec<Vec<f64>>) {
        let config = ModelConfig {
            n_layer: self.number("n_layer") as usize,
            n_embd: self.number("n_embd") as usize,
            n_head: self.number("n_head") as usize,
            n_positions: self.number("n_positions") as usize,
            vocab_size: self.number("vocab_size") as usize,
            ..Default::default()
        };
        let mut weights = tensors(&self.folder.join("model.safetensors"));
        let parameters = config.parameters().iter().map(|p| weights.remove(&p.name).expect("a weight")).collect();
        (config, parameters)
    }
}

/// Padded rows [B,T] packed: only the `lengths`, targets shifted inside each sequence.
struct Packed {
    ids: Vec<u32>,
    positions: Vec<u32>,
    targets: Vec<u32>,
    cu_seqlens: Vec<u32>,
    /// The padded row b·T + t of each packed row.
    padded: Vec<usize>,
}

fn pack(ids: &[i64], labels: &[i64], lengths: &[usize], t: usize) -> Packed {
    let mut out = Packed { ids: vec![], positions: vec![], targets: vec![], cu_seqlens: vec![0], padded: vec![] };
    for (b, &length) in lengths.iter().enumerate() {
        for position in 0..length {
            let at = b * t + position;
            let label = if position + 1 < length { labels[at + 1] } else { -100 };
            out.ids.push(ids[at] as u32);
            out.positions.push(position as u32);
            out.targets.push(if label == -100 { IGNORED } else { label as u32 });
            out.padded.push(at);
        }
        out.cu_seqlens.push(out.ids.len() as u32);
    }
    out
}

fn run(config: &ModelConfig, parameters: &[Vec<f64>], p: &Packed) -> model::Output {
    model::forward_backward(config, parameters, &p.ids, &p.positions, &p.targets, &p.cu_seqlens, None)
}

/// Packed rows back in their padded places, zeros elsewhere.
fn unpack(packed: &Packed, rows: usize, x: &[f64]) -> Vec<f64> {
    let width = x.len() / packed.padded.len();
    let mut out = vec![0.0; rows * width];
    for (row, &at) in packed.padded.iter().enumerate() {
        out[at * width..(at + 1) * width].copy_from_slice(&x[row * width..(row + 1) * width]);
    }
    out
}

#[test]
fn a_language_models() {
    each_case("a", |case| {
        let (config, parameters) = case.model();
        let [b, t] = case.shape("in.input_ids")[..] else { panic!("ids are [B,T]") };
        let mask = case.data.get("in.attention_mask").cloned().unwrap_or_else(|| vec![1.0; b * t]);
        let lengths: Vec<usize> = mask.chunks(t).map(|row| row.iter().sum::<f64>() as usize).collect();
        let packed = pack(&case.integers("in.input_ids"), &case.integers("in.labels"), &lengths, t);
        let out = run(&config, &parameters, &packed);

        case.compare_scalar("mean_loss", out.loss);
        let real = |width: usize| {
            let mask = &mask;
            move |i: usize| mask[i / width] == 1.0
        };
        case.compare("out.logits", &unpack(&packed, b * t, &out.logits), real(config.vocab_size));
        for (i, hidden) in out.hidden.iter().enumerate() {
            case.compare(&format!("out.hidden_{i}"), &unpack(&packed, b * t, hidden), real(config.n_embd));
        }
        let losses = unpack(&packed, b * t, &out.per_row_losses);
        let losses: Vec<f64> = losses.chunks(t).flat_map(|row| &row[..t - 1]).copied().collect();
        case.compare("out.per_token_loss", &losses, |_| true);
        for (parameter, gradient) in config.parameters().iter().zip(&out.gradients) {
            case.compare(&format!("grad.{}", parameter.name), gradient, |_| true);
        }
    });
}

/// Twenty optimizer steps. The key bias is left out, because its true gradient is zero.
#[test]
fn b_twenty_optimizer_steps() {
    each_case("b", |case| {
        let (config, start) = case.model();
        let shapes = config.parameters();
        let [_, b, t] = case.shape("in.batches")[..] else { panic!("batches are [4,B,T]") };
        let batches: Vec<Packed> =
            case.integers("in.batches").chunks(b * t).map(|ids| pack(ids, ids, &vec![t; b], t)).collect();
        let openai = case.manifest["config"]["optimizer"].as_str().is_some_and(|o| o.contains("OpenAIAdam"));
        let (form, decay) = match openai {
            true => (adamw::Form::Hf2018, case.number("weight_decay")),
            false => (adamw::Form::Torch, case.number("weight_decay_ndim_ge_2")),
        };
        let key_bias =
            |name: &str, i: usize| name.ends_with("c_attn.bias") && (config.n_embd..2 * config.n_embd).contains(&i);
        let compare_all = |case: &mut Case, prefix: &str, values: &[Vec<f64>]| {
            for (shape, values) in shapes.iter().zip(values) {
                let tensor = format!("{prefix}.{}", shape.name);
                if case.data.contains_key(&tensor) {
                    case.compare(&tensor, values, |i| !key_bias(&shape.name, i));
                }
            }
        };

        let mut parameters = start.clone();
        let mut m: Vec<Vec<f64>> = start.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut v = m.clone();
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for (i, lr) in case.data["out.lr"].clone().into_iter().enumerate() {
            let out = run(&config, &parameters, &batches[i % batches.len()]);
            let norm = global_norm::global_norm(&out.gradients);
            losses.push(out.loss);
            norms.push(norm);
            for (k, shape) in shapes.iter().enumerate() {
                let options = adamw::Options {
                    lr,
                    weight_decay: if shape.kind.decays() { decay } else { 0.0 },
                    t: i as u32 + 1,
                    gradient_scale: global_norm::clip_scale(norm, case.number("clip_global_norm")),
                    form,
                    ..Default::default()
                };
                adamw::step(&mut parameters[k], &out.gradients[k], &mut m[k], &mut v[k], &options);
            }
            if i == 1 {
                compare_all(case, "out.after_step2", &parameters);
            }
        }
        case.compare("out.loss", &losses, |_| true);
        case.compare("out.grad_norm", &norms, |_| true);
        compare_all(case, "out.final", &parameters);
        compare_all(case, "out.exp_avg", &m);
        compare_all(case, "out.exp_avg_sq", &v);

        // The manifest's criterion of a run: the relative error of final − initial, all parameters together.
        let (mut error, mut moved) = (0.0, 0.0);
        for (k, shape) in shapes.iter().enumerate() {
            let expected = &case.data[&format!("out.final.{}", shape.name)];
            for i in (0..expected.len()).filter(|&i| !key_bias(&shape.name, i)) {
                error += (parameters[k][i] - expected[i]).powi(2);
                moved += (expected[i] - start[k][i]).powi(2);
            }
        }
        let tolerance = case.manifest["suggest"]["update_rel_l2"].as_f64().unwrap_or(1e-4);
        case.hold("update_rel_l2", (error / moved).sqrt(), 0.0, tolerance);
        if !openai {
            let last = run(&config, &parameters, &batches[0]).loss;
            case.compare_scalar("final_loss_batch0", last);
        }
    });
}

/// [b,x,y,D] as [b,y,x,D]: heads before tokens to tokens before heads, and back.
fn swap_middle(input: &[f64], b: usize, x: usize, y: usize) -> Vec<f64> {
    let d = input.len() / (b * x * y);
    let mut out = Vec::with_capacity(input.len());
    for i in 0..b {
        for j in 0..y {
            for k in 0..x {
                let at = ((i * x + k) * y + j) * d;
                out.extend_from_slice(&input[at..at + d]);
            }
        }
    }
    out
}

/// Runs attention on rows made by `to_rows` and compares y, dq, dk, dv through `from_rows`.
fn check_attention(
    case: &mut Case,
    rules: &attention::Rules,
    to_rows: impl Fn(&[f64]) -> Vec<f64>,
    from_rows: impl Fn(&[f64]) -> Vec<f64>,
) {
    let [q, k, v, dy] = ["in.q", "in.k", "in.v", "in.dy"].map(|name| to_rows(&case.data[name]));
    let x = Qkv { q: q.as_slice(), k: &k, v: &v };
    let kept = attention::forward(x, rules, None);
    case.compare("out.y", &from_rows(&kept.y), |_| true);
    let gradients = attention::backward(x, &kept, &dy, rules, None);
    for (gradient, name) in [(&gradients.q, "grad_in.q"), (&gradients.k, "grad_in.k"), (&gradients.v, "grad_in.v")] {
        case.compare(name, &from_rows(gradient), |_| true);
    }
}

/// A memory-compressed layer between its projections.
struct Compression<'a> {
    rules: attention::Rules<'a>,
    convolution: kv_compress::Rules<'a>,
    /// Weight in the layout of buffers, and bias, of keys and of values.
    weights: [[Vec<f64>; 2]; 2],
    nulls: [Vec<f64>; 2],
}

/// y and the gradients; those of convolutions and nulls of keys, then of values.
struct Compressed {
    y: Vec<f64>,
    gradients: Qkv<Vec<f64>>,
    convolutions: [kv_compress::Backward; 2],
    dnulls: [Vec<f64>; 2],
}

impl Compression<'_> {
    /// The null key before the slots of each sequence.
    fn keys(&self, slots: &[f64], null: &[f64]) -> Vec<f64> {
        let (c, mut rest, mut out) = (self.rules.c, slots, Vec::new());
        for border in self.rules.cu_seqlens.windows(2) {
            let count = (border[1] - border[0]) as usize / self.convolution.factor;
            out.extend(null);
            out.extend(rest.split_off(..count * c).expect("slots"));
        }
        out
    }

    /// The inverse of [`Compression::keys`], null keys added up.
    fn split(&self, keys: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (c, mut rest, mut slots, mut null) = (self.rules.c, keys, Vec::new(), vec![0.0; self.rules.c]);
        for border in self.rules.cu_seqlens.windows(2) {
            let count = (border[1] - border[0]) as usize / self.convolution.factor;
            let first = rest.split_off(..c).expect("a null key");
            null.iter_mut().zip(first).for_each(|(n, x)| *n += x);
            slots.extend(rest.split_off(..count * c).expect("slots"));
        }
        (slots, null)
    }

    fn run(&self, Qkv { q, k, v }: Qkv<&[f64]>, dy: &[f64]) -> Compressed {
        let compress = |x: &[f64], i: usize| {
            let [weight, bias] = &self.weights[i];
            self.keys(&kv_compress::forward(x, weight, bias, &self.convolution), &self.nulls[i])
        };
        let (keys, values) = (compress(k, 0), compress(v, 1));
        let x = Qkv { q, k: &keys, v: &values };
        let kept = attention::forward(x, &self.rules, None);
        let dx = attention::backward(x, &kept, dy, &self.rules, None);
        let back = |x: &[f64], dkeys: &[f64], i: usize| {
            let (dslots, dnull) = self.split(dkeys);
            (kv_compress::backward(x, &self.weights[i][0], &dslots, &self.convolution), dnull)
        };
        let ((of_k, null_k), (of_v, null_v)) = (back(k, &dx.k, 0), back(v, &dx.v, 1));
        let gradients = Qkv { q: dx.q, k: of_k.dx.clone(), v: of_v.dx.clone() };
        Compressed { y: kept.y, gradients, convolutions: [of_k, of_v], dnulls: [null_k, null_v] }
    }
}

/// A convolution's weight [C, C/groups, f] as [f, C/groups, C], and back with `back`.
fn turned(w: &[f64], [c, width, f]: [usize; 3], back: bool) -> Vec<f64> {
    let mut out = vec![0.0; w.len()];
    for (o, i, tap) in (0..c).flat_map(|o| (0..width).flat_map(move |i| (0..f).map(move |tap| (o, i, tap)))) {
        let (file, buffer) = ((o * width + i) * f + tap, (tap * width + i) * c + o);
        let (to, from) = if back { (file, buffer) } else { (buffer, file) };
        out[to] = w[from];
    }
    out
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

#[test]
fn f_strict_compression() {
    each_case("f_mca_strict", |case| {
        let [b, t, c, f] = ["B", "T", "D", "factor"].map(|key| case.number(key) as usize);
        let heads = case.number("heads") as usize;
        let shape = [c, c / case.number("conv_groups") as usize, f];
        let weights = tensors(&case.folder.join("model.safetensors"));
        let shared = case.manifest["config"]["shared_kv_conv"] == true;
        let names = if shared { ["conv_k"; 2] } else { ["conv_k", "conv_v"] };
        let of = |name: &str| {
            [turned(&weights[&format!("{name}.weight")], shape, false), weights[&format!("{name}.bias")].clone()]
        };
        let null = |name| weights.get(name).cloned().unwrap_or_else(|| vec![0.0; c]);
        let cu_seqlens: Vec<u32> = (0..=b).map(|i| (i * t) as u32).collect();
        let (seen, scale) = (Seen::Compressed(f), attention::head_scale(c, heads));
        let layer = Compression {
            rules: attention::Rules { c, heads, cu_seqlens: &cu_seqlens, seen, scale },
            convolution: kv_compress::Rules { c, factor: f, group_width: shape[1], cu_seqlens: &cu_seqlens },
            weights: names.map(of),
            nulls: ["null_k", "null_v"].map(null),
        };
        let [q, k, v, dy] = ["in.q", "in.k", "in.v", "in.dy"].map(|name| case.data[name].clone());
        let out = layer.run(Qkv { q: &q, k: &k, v: &v }, &dy);
        case.compare("out.y", &out.y, |_| true);
        let Qkv { q, k, v } = &out.gradients;
        for (name, gradient) in [("grad_in.q", q), ("grad_in.k", k), ("grad_in.v", v)] {
            case.compare(name, gradient, |_| true);
        }
        let [k, v] = &out.convolutions;
        let all = match shared {
            true => vec![("conv_k", sum(&k.dweight, &v.dweight), sum(&k.dbias, &v.dbias))],
            false => {
                vec![("conv_k", k.dweight.clone(), k.dbias.clone()), ("conv_v", v.dweight.clone(), v.dbias.clone())]
            }
        };
        for (name, dweight, dbias) in all {
            case.compare(&format!("grad.{name}.weight"), &turned(&dweight, shape, true), |_| true);
            case.compare(&format!("grad.{name}.bias"), &dbias, |_| true);
        }
        if weights.contains_key("null_k") {
            case.compare("grad.null_k", &out.dnulls[0], |_| true);
            case.compare("grad.null_v", &out.dnulls[1], |_| true);
        }
    });
}

/// The package's whole layer. Its slots are aligned to the end of the sequence, which equals ours after rows of zeros.
#[test]
fn f_lucidrains_compression() {
    each_case("f_mca_lucidrains", |case| {
        let [b, t, c, f] = ["B", "T", "dim", "compression_factor"].map(|key| case.number(key) as usize);
        let heads = case.number("heads") as usize;
        let shape = [c, c / heads, f];
        let weights = tensors(&case.folder.join("model.safetensors"));
        let padded = t.next_multiple_of(f);
        let cu_seqlens: Vec<u32> = (0..=b).map(|i| (i * padded) as u32).collect();
        let (seen, scale) = (Seen::Compressed(f), attention::head_scale(c, 1));
        let convolution =
            [turned(&weights["compress_fn.conv.weight"], shape, false), weights["compress_fn.conv.bias"].clone()];
        let layer = Compression {
            rules: attention::Rules { c, heads, cu_seqlens: &cu_seqlens, seen, scale },
            convolution: kv_compress::Rules { c, factor: f, group_width: c / heads, cu_seqlens: &cu_seqlens },
            weights: [convolution.clone(), convolution],
            nulls: ["null_k", "null_v"].map(|name| weights[name].clone()),
        };
        let before = vec![0.0; (padded - t) * c];
        let pad = |x: &[f64]| x.chunks(t * c).flat_map(|s| [&before, s].concat()).collect::<Vec<_>>();
        let cut = |x: &[f64]| x.chunks(padded * c).flat_map(|s| &s[before.len()..]).copied().collect::<Vec<_>>();
        let (x, dy, n) = (pad(&case.data["in.x"]), pad(&case.data["in.dy"]), b * padded);
        let (to_qkv, to_out) = (&weights["to_qkv.weight"], &weights["to_out.weight"]);
        let qkv = attention::split(&matmul(Form::ABt, &x, to_qkv, n, 3 * c, c), c);
        let datt = matmul(Form::AB, &dy, to_out, n, c, c);
        let out = layer.run(qkv.as_slices(), &datt);
        let y = add_bias(&matmul(Form::ABt, &out.y, to_out, n, c, c), &weights["to_out.bias"]);
        case.compare("out.y", &cut(&y), |_| true);
        let dqkv = attention::join(out.gradients.as_slices(), c);
        case.compare("grad_in.x", &cut(&matmul(Form::AB, &dqkv, to_qkv, n, c, 3 * c)), |_| true);
        case.compare("grad.to_qkv.weight", &matmul(Form::AtB, &dqkv, &x, 3 * c, c, n), |_| true);
        case.compare("grad.to_out.weight", &matmul(Form::AtB, &dy, &out.y, c, c, n), |_| true);
        case.compare("grad.to_out.bias", &bias_gradient(&dy, c), |_| true);
        let [k, v] = &out.convolutions;
        case.compare("grad.compress_fn.conv.weight", &turned(&sum(&k.dweight, &v.dweight), shape, true), |_| true);
        case.compare("grad.compress_fn.conv.bias", &sum(&k.dbias, &v.dbias), |_| true);
        case.compare("grad.null_k", &out.dnulls[0], |_| true);
        case.compare("grad.null_v", &out.dnulls[1], |_| true);
    });
}

#[test]
fn g_local_attention() {
    each_case("g", |case| {
        let [b, heads, t, d] = case.shape("in.q")[..] else { panic!("q is [B,H,T,D]") };
        let cu_seqlens: Vec<u32> = (0..=b).map(|i| (i * t) as u32).collect();
        let seen = Seen::Local(case.number("block") as usize);
        let scale = attention::head_scale(heads * d, heads);
        let rules = attention::Rules { c: heads * d, heads, cu_seqlens: &cu_seqlens, seen, scale };
        check_attention(case, &rules, |x| swap_middle(x, b, heads, t), |x| swap_middle(x, b, t, heads));
    });
}

#[test]
fn h_packed_attention() {
    each_case("h", |case| {
        let [_, heads, d] = case.shape("in.q")[..] else { panic!("q is [N,H,D]") };
        let cu_seqlens: Vec<u32> = case.data["in.cu_seqlens"].iter().map(|x| *x as u32).collect();
        let scale = attention::head_scale(heads * d, heads);
        let rules = attention::Rules { c: heads * d, heads, cu_seqlens: &cu_seqlens, seen: Seen::Full, scale };
        check_attention(case, &rules, <[f64]>::to_vec, <[f64]>::to_vec);
    });
}
