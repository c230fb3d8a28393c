//! `wgpt plan`: what a run will need, of its settings alone.

use super::{Context, Done, bytes, grouped};
use crate::config::ModelConfig;
use crate::data::order::BatchSize;
use crate::model::{self, Cache, Capacity, Memory};
use crate::report::{Align, Table};
use crate::train::{Stage, options};
use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    let command = Command::new("plan").about("Says parameters, memory and FLOPs of a run, without a device");
    options::add(command, Stage::Pretraining)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let settings = options::layers(matches, Stage::Pretraining)?.settings()?;
    let config = &settings.model;
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[("parameters", Align::Left), right("count")]);
    for (part, count) in parameters(config) {
        table.row([part.to_string(), grouped(count)]);
    }
    writeln!(context.out, "{table}")?;

    // Without the data, every sequence counts as long as it may be.
    let sequences = match settings.batching().size {
        BatchSize::Windows(n) => n,
        BatchSize::Rows(rows) => rows / config.n_positions,
    };
    let part = sequences.div_ceil(settings.accumulate);
    let capacity = Capacity { rows: part * config.n_positions, sequences: part };
    let mut table = Table::new(&[("memory", Align::Left), right("bytes")]);
    for (kind, count) in memory(&model::plan(config, capacity)) {
        table.row([kind.to_string(), bytes(count as u64)]);
    }
    writeln!(context.out, "{table}")?;

    let rows = sequences * config.n_positions;
    let mut table = Table::new(&[("an update", Align::Left), right("")]);
    table.row(["tokens".to_string(), grouped(rows as u64)]);
    table.row(["of them in a micro-batch".to_string(), grouped(capacity.rows as u64)]);
    table.row(["GFLOP".to_string(), format!("{:.2}", model::step_flops(config, rows) / 1e9)]);
    writeln!(context.out, "{table}")?;

    let mut table = Table::new(&[("a text written on", Align::Left), right("bytes")]);
    let kept = format!("keys and values of {} tokens", grouped(config.n_positions as u64));
    table.row([kept, bytes(Cache::bytes(config, 1) as u64)]);
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

fn memory(all: &Memory) -> [(&'static str, usize); 8] {
    [
        ("weights", all.weights),
        ("gradients", all.gradients),
        ("Adam's two moments", all.moments),
        ("activations kept for the backward pass", all.kept),
        ("activations that pass", all.passing),
        ("the head's chunk of logits", all.head),
        ("the batch's layout", all.layout),
        ("in all", all.total()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let model = ModelConfig::default();
        let parts = parameters(&model);
        assert_eq!(parts.iter().take(5).map(|p| p.1).sum::<u64>(), parts[5].1);
        let parts = memory(&model::plan(&model, Capacity { rows: 1024, sequences: 8 }));
        assert_eq!(parts.iter().take(7).map(|p| p.1).sum::<usize>(), parts[7].1);
        assert!(parts.iter().all(|part| part.1 > 0), "{parts:?}");
    }
}
