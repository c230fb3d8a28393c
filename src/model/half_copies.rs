//! The memory of the copies in f16 that products in mixed precision make of their operands (`ops::matmul::Halves`), without a
//! device.

use super::activations::{Activations, Capacity};
use crate::config::ModelConfig;
use crate::dims;
use crate::ops::matmul::{Form, Halves};
use std::collections::BTreeMap;

/// Tensors of one shape, each with a copy.
#[derive(Clone, Copy)]
struct Copied {
    name: &'static str,
    count: usize,
    rows: usize,
    columns: usize,
}

/// Bytes of the copies that a training makes on adapters with matrix units, if all parts of the model learn.
pub(super) fn bytes(config: &ModelConfig, capacity: Capacity, recompute: bool) -> usize {
    let activations = Activations::plan(config, capacity, recompute, |_| {});
    let (n, c, v, layers) = (capacity.rows.max(1), config.n_embd, config.vocab_size, config.n_layer);
    let blocks = if recompute { 1 } else { layers };
    let chunk = activations.logits.rows.min(n);
    let tensor = |name, count, rows, columns| Copied { name, count, rows, columns };
    let input = tensor("input", layers, n, c);
    let hidden = tensor("hidden", 1, n, c);
    let attention = tensor("attention", blocks, n, c);
    let normed = tensor("normed", blocks, n, c);
    let post_gelu = tensor("post_gelu", blocks, n, 4 * c);
    let dbranch = tensor("dbranch", 1, n, c);
    let dpre_gelu = tensor("dpre_gelu", 1, n, 4 * c);
    let dqkv = tensor("dqkv", 1, n, 3 * c);
    let dlogits = tensor("dlogits", 1, chunk, v);
    let weight = |name, rows, columns| tensor(name, layers, rows, columns);
    let products = [
        (Form::AB, [n, 3 * c, c], input, weight("c_attn", c, 3 * c)),
        (Form::AB, [n, c, c], attention, weight("c_proj", c, c)),
        (Form::AB, [n, 4 * c, c], normed, weight("c_fc", c, 4 * c)),
        (Form::AB, [n, c, 4 * c], post_gelu, weight("mlp_proj", 4 * c, c)),
        (Form::AB, [chunk, c, v], dlogits, tensor("tokens_embed", 1, v, c)),
        (Form::AtB, [c, 3 * c, n], input, dqkv),
        (Form::AtB, [c, c, n], attention, dbranch),
        (Form::AtB, [c, 4 * c, n], normed, dpre_gelu),
        (Form::AtB, [4 * c, c, n], post_gelu, dbranch),
        (Form::AtB, [v, c, chunk], dlogits, hidden),
    ];
    let mut all = BTreeMap::new();
    for (form, sizes, a, b) in products {
        let halves = Halves::choose(form, sizes);
        let copied = [(halves.a, a), (halves.b, b)].into_iter().filter(|(is_copied, _)| *is_copied);
        all.extend(copied.map(|(_, tensor)| (tensor.name, tensor)));
    }
    all.values().map(|tensor| tensor.count * dims::floats(tensor.rows, tensor.columns) * 2).sum()
}
