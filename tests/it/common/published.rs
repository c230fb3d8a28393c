//! GPT-1's published files, those of a tiny model.

use std::path::Path;
use wgpt::config::{ModelConfig, ParameterKind};
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::model::initial_parameters;

fn small() -> (ModelConfig, Vec<Vec<f32>>) {
    let gpt1 = ModelConfig::preset("gpt1").expect("a preset");
    let config = ModelConfig { n_layer: 2, n_embd: 24, n_head: 12, n_positions: 9, vocab_size: 60, ..gpt1 };
    let mut parameters = initial_parameters(&config, 5);
    // All numbers differ, so that no swap goes unnoticed.
    parameters.iter_mut().flatten().zip(1u16..).for_each(|(x, i)| *x = f32::from(i) / 1024.0);
    (config, parameters)
}

/// A part in NumPy's format.
pub fn npy(numbers: &[f32]) -> Vec<u8> {
    let mut dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", numbers.len());
    while (10 + dict.len() + 1) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// Writes the published files of a small model into a new folder: its numbers in ten parts, whose borders are not those of
/// tensors. Returns the model's configuration and parameters.
pub fn write_published(dir: &Path) -> (ModelConfig, Vec<Vec<f32>>) {
    std::fs::create_dir(dir).expect("folder");
    let (config, parameters) = small();
    let mut order: Vec<usize> = (0..parameters.len()).collect();
    order.swap(0, 1);
    let shapes = config.parameters();
    let shape = |(at, i): (usize, &usize)| match (at, shapes[*i].kind) {
        (2.., ParameterKind::Weight) => [vec![1], shapes[*i].dimensions()].concat(),
        _ => shapes[*i].dimensions(),
    };
    let text = serde_json::json!(order.iter().enumerate().map(shape).collect::<Vec<_>>());
    std::fs::write(dir.join("params_shapes.json"), text.to_string()).expect("write");
    let stream: Vec<f32> = order.iter().flat_map(|i| &parameters[*i]).copied().collect();
    let size = stream.len().div_ceil(10);
    for (i, part) in stream.chunks(size).enumerate() {
        std::fs::write(dir.join(format!("params_{i}.npy")), npy(part)).expect("write");
    }
    let tokenizer = Tokenizer::train("the cat sat on the mat and the hat", 60, Pretokenizer::Bert).expect("train");
    let json: serde_json::Value = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("json");
    std::fs::write(dir.join("encoder_bpe_40000.json"), json["model"]["vocab"].to_string()).expect("write");
    let merge =
        |pair: &serde_json::Value| format!("{} {}\n", pair[0].as_str().expect("a"), pair[1].as_str().expect("b"));
    let merges: String = json["model"]["merges"].as_array().expect("merges").iter().map(merge).collect();
    std::fs::write(dir.join("vocab_40000.bpe"), format!("#version: 0.2\n{merges}\n")).expect("write");
    (config, parameters)
}
