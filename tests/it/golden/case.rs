//! One golden case: its files, its numbers, and the comparison with them.

use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgpt::config::ModelConfig;
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::model::TrainingOptions;
use wgpt::ops::optimizer::{AdamW, Arithmetic};
use wgpt::store::{config_json, safetensors as files};

/// One case's files.
pub struct Case {
    pub manifest: Value,
    pub data: Tensors,
    /// Empty where there is no model.
    pub weights: Tensors,
    pub folder: PathBuf,
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

impl Case {
    /// The case in a folder; none without a manifest.
    pub fn open(folder: &Path) -> Option<Case> {
        let manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).ok()?).ok()?;
        let read = |name: &str| tensors(&std::fs::read(folder.join(name)).unwrap_or_default());
        let (data, weights) = (read("data.safetensors"), read("model.safetensors"));
        Some(Case { manifest, data, weights, folder: folder.to_path_buf() })
    }

    /// The numbers of a tensor of the case.
    pub fn values(&self, name: &str) -> &[f64] {
        &self.data.get(name).unwrap_or_else(|| panic!("{name} is not in the case")).1
    }

    /// A tensor of the case's model.
    pub fn weight(&self, name: &str) -> &[f64] {
        &self.weights.get(name).unwrap_or_else(|| panic!("{name} is not in the model")).1
    }

    /// The shape of a tensor of the case.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.data[name].0
    }

    /// A number of the case's configuration.
    pub fn number(&self, key: &str) -> f64 {
        self.manifest["config"][key].as_f64().unwrap_or_else(|| panic!("config.{key}"))
    }

    /// The largest error of `got` against the stored tensor, in units of the tolerance that the case suggests, among the
    /// elements to `keep`.
    pub fn judge(&self, name: &str, got: &[f64], keep: impl Fn(usize) -> bool) -> f64 {
        let expected = self.values(name);
        assert_eq!(got.len(), expected.len(), "{name}");
        let info = &self.manifest["files"]["data.safetensors"][name];
        let suggest = |key: &str| info[key].as_f64().unwrap_or(0.0);
        let (atol, rtol) = (suggest("suggest_atol"), suggest("suggest_rtol"));
        let mut worst = 0.0f64;
        for (_, (g, e)) in got.iter().zip(expected).enumerate().filter(|(i, _)| keep(*i)) {
            let error = (g - e).abs() / (atol + rtol * e.abs());
            worst = worst.max(if g.is_finite() { error } else { f64::INFINITY });
        }
        worst
    }

    /// The error of a stored scalar, in units of its tolerance.
    pub fn scalar(&self, name: &str, got: f64) -> f64 {
        let info = &self.manifest["scalars"][name];
        let (value, atol) = (info["value"].as_f64().expect(name), info["suggest_atol"].as_f64().unwrap_or(2e-5));
        (got - value).abs() / atol
    }
}

/// The configuration and weights of a case.
pub fn model(case: &Case) -> (ModelConfig, Vec<Vec<f32>>) {
    let path = case.folder.join("config.json");
    let config = config_json::from_json(&std::fs::read(&path).expect("config.json"), &path).expect("a config");
    let loaded = files::load_parameters(&case.folder.join("model.safetensors"), &config).expect("weights");
    (config, loaded.tensors)
}

/// Options of AdamW with PyTorch's default coefficients.
pub fn options(clip: f64, decay: f64, arithmetic: Arithmetic) -> TrainingOptions {
    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic };
    TrainingOptions { adam, weight_decay: decay, decay_all: false, clip, ..TrainingOptions::default() }
}

/// [B, T] ids and labels (unshifted, -100 for none) as packed sequences, `lengths` of each row.
pub fn batch(ids: &[f64], labels: &[f64], lengths: &[usize], t: usize) -> Batch {
    let sequences = lengths.iter().enumerate().map(|(b, n)| Sequence {
        ids: ids[b * t..b * t + n].iter().map(|x| *x as u32).collect(),
        targets: (1..=*n)
            .map(|i| if i < *n && labels[b * t + i] >= 0.0 { labels[b * t + i] as u32 } else { IGNORED })
            .collect(),
    });
    Batch::from_sequences(&sequences.collect::<Vec<_>>()).expect("a batch")
}
