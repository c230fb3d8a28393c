//! `wgpt plan`: what a run will need, of its settings alone.

use super::{Context, Done, bytes, grouped};
use crate::config::{AttentionKind, ModelConfig, ParameterKind};
use crate::dims;
use crate::report::{Align, Table};
use crate::train::options;
use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    options::add(Command::new("plan").about("Says parameters, memory and FLOPs of a run, without a device"))
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let settings = options::layers(matches)?.settings()?;
    let model = &settings.model;
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[("parameters", Align::Left), right("count")]);
    for (part, count) in parameters(model) {
        table.row([part.to_string(), grouped(count)]);
    }
    writeln!(context.out, "{table}")?;

    let mut table = Table::new(&[("memory", Align::Left), right("bytes")]);
    for (kind, count) in memory(model) {
        table.row([kind.to_string(), bytes(count)]);
    }
    writeln!(context.out, "{table}")?;

    let rows = (settings.batch * model.n_positions) as u64;
    let flops = flops(model, model.n_positions, rows);
    let mut table = Table::new(&[("an update", Align::Left), right("")]);
    table.row(["tokens".to_string(), grouped(rows)]);
    table.row(["of them in a micro-batch".to_string(), grouped(rows / settings.accumulate as u64)]);
    table.row(["GFLOP in products".to_string(), format!("{:.2}", flops.products / 1e9)]);
    table.row(["GFLOP in attention".to_string(), format!("{:.2}", flops.attention / 1e9)]);
    table.row(["GFLOP in all".to_string(), format!("{:.2}", flops.all() / 1e9)]);
    write!(context.out, "{table}")?;
    Ok(())
}

fn parameters(model: &ModelConfig) -> Vec<(&'static str, u64)> {
    let sum = |part: &str| -> u64 {
        model.parameters().iter().filter(|p| p.name.contains(part)).map(|p| p.count() as u64).sum()
    };
    vec![
        ("token table, also the head", sum(".tokens_embed.")),
        ("position table", sum(".positions_embed.")),
        ("attention", sum(".attn.")),
        ("MLP", sum(".mlp.")),
        ("layer norm", sum(".ln_")),
        ("in all", model.parameter_count() as u64),
    ]
}

/// Bytes by kind. Rows are padded to whole pitches as in buffers.
fn memory(model: &ModelConfig) -> Vec<(&'static str, u64)> {
    let values: u64 = model.parameters().iter().map(|p| 4 * dims::floats(p.rows, p.columns) as u64).sum();
    // What depends on the batch (activations, the head's chunk) is known to `model`, and its rows go here.
    vec![("values", values), ("gradients", values), ("Adam's two moments", 2 * values)]
}

/// Operations of one update, forward and backward, nothing recomputed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flops {
    /// 6 a weight and token.
    pub products: f64,
    /// Scores and sums over the keys that are seen.
    pub attention: f64,
}

impl Flops {
    pub(super) fn all(self) -> f64 {
        self.products + self.attention
    }
}

/// FLOPs of `rows` tokens in sequences of `length`.
pub(super) fn flops(model: &ModelConfig, length: usize, rows: u64) -> Flops {
    // The position table is only looked up; the token table is a product in the head.
    let weights: usize = model
        .parameters()
        .iter()
        .filter(|p| p.kind == ParameterKind::Weight && !p.name.contains("positions_embed"))
        .map(|p| p.count())
        .sum();
    let seen: usize = (0..model.n_layer)
        .map(|layer| match model.attention(layer) {
            AttentionKind::Full => length * (length + 1) / 2,
            AttentionKind::Local => (0..length).map(|t| t % model.local_block + 1).sum(),
        })
        .sum();
    // Two products of D a head and visible key forward, twice as many backward.
    let attention = 12.0 * model.n_embd as f64 * seen as f64 / length.max(1) as f64;
    Flops { products: 6.0 * weights as f64 * rows as f64, attention: attention * rows as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nano_by_hand() {
        let model = ModelConfig::default();
        let f = flops(&model, 128, 1024);
        assert_eq!(f.products, 6.0 * 1024.0 * (4.0 * 12.0 * 128.0 * 128.0 + 512.0 * 128.0));
        assert_eq!(f.attention, 12.0 * 1024.0 * 4.0 * 128.0 * 129.0 / 2.0);
        let local = ModelConfig { attention_pattern: "L".into(), local_block: 1, ..model.clone() };
        assert_eq!(flops(&local, 128, 1024).attention, 12.0 * 1024.0 * 4.0 * 128.0);
        let parts = parameters(&model);
        assert_eq!(parts.iter().take(5).map(|p| p.1).sum::<u64>(), parts[5].1);
    }
}
