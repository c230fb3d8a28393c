//! `wgpt plan`: the memory and operations that a run needs, computed from its settings without a device; with `--time`, also the
//! time on the adapter.

use super::arguments::{flag, invalid_option, json_flag, missing_option};
use super::context::Context;
use super::numbers::{bytes, grouped};
use super::options;
use super::output::note;
use super::plan_time;
use super::stop::Done;
use crate::config::ModelConfig;
use crate::data::data_loader::BatchSize;
use crate::model::{self, Cache, Capacity, Memory};
use crate::report::{Align, Table};
use crate::train::settings::Bytes;
use crate::train::{Pretraining, Stage, memory};
use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    let longest = flag("longest")
        .requires("memory")
        .help("Print the longest single sequence that can be trained in --memory, with full attention and with LMLML");
    let command = Command::new("plan").about(
        "Print parameters, memory and FLOPs of a training run, without a device; with --time, also its time on one",
    );
    let time = flag("time").conflicts_with("longest").help(
        "Measure some steps on the adapter, and print how long the run will take; with --data, also its first epoch and evaluations",
    );
    options::add(command, Stage::Pretraining).arg(time).arg(longest).arg(json_flag().requires("longest"))
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let layers = options::layers(matches, Stage::Pretraining)?;
    let mut settings = layers.settings()?;
    if matches.get_flag("longest") {
        let limit = settings.memory.ok_or_else(|| missing_option("memory", "is needed with --longest"))?;
        return longest(context, &settings.model, limit, matches.get_flag("json"));
    }
    if settings.measures_batch {
        return Err(invalid_option("batch", "auto", "must be a number here: `wgpt pretrain` measures it").into());
    }
    let time = matches.get_flag("time");
    if time && settings.ranks() > 1 {
        return Err(
            invalid_option("ranks", settings.ranks(), "must be 1 with --time, which measures one device").into()
        );
    }
    Pretraining::check_tokenizer(&settings)?;
    if !time {
        context.note_unused_adapter("plan` without `--time");
        for name in ["data", "document_separator"].into_iter().filter(|name| layers.is_on_command_line(name)) {
            note(format_args!("warning: {name} has no effect without --time: the text is not read"));
        }
    }
    let text = if time { plan_time::text(&settings)? } else { None };
    let config = settings.model.clone();
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[("parameters", Align::Left), right("count")]);
    for (part, count) in parameters(&config) {
        table.row([part.to_string(), grouped(count)]);
    }
    writeln!(context.out, "{table}")?;

    // The data is not read, so every sequence counts with the greatest length.
    let sequences = match settings.batching().size {
        BatchSize::Windows(n) => n,
        BatchSize::Rows(rows) => rows / config.n_positions,
    };
    let ranks = settings.ranks();
    let of_windows = |accumulate: usize| Capacity::of_windows(&config, sequences.div_ceil(accumulate * ranks));
    if let Some(Bytes(limit)) = settings.memory {
        let all = memory::choices(&settings, &config, |accumulate| Ok(of_windows(accumulate)))?;
        let choice = memory::choose(&all, limit)?;
        (settings.accumulate, settings.recompute) = (Some(choice.accumulate), Some(choice.recompute));
        writeln!(context.out, "accumulate = {}, recompute = {}\n", choice.accumulate, choice.recompute)?;
    }
    let capacity = of_windows(settings.micro_batches());
    let heading = if ranks > 1 { "memory of each rank" } else { "memory" };
    let mut table = Table::new(&[(heading, Align::Left), right("bytes")]);
    for (kind, count) in parts_of(&memory::planned(&settings, &config, capacity, settings.recomputes())) {
        table.row([kind.to_string(), bytes(count as u64)]);
    }
    writeln!(context.out, "{table}")?;

    let rows = sequences * config.n_positions;
    let mut table = Table::new(&[("optimizer step", Align::Left), right("")]);
    table.row(["tokens".to_string(), grouped(rows as u64)]);
    table.row(["tokens per micro-batch".to_string(), grouped(capacity.rows as u64)]);
    table.row(["GFLOP".to_string(), format!("{:.2}", model::step_flops(&config, rows) / 1e9)]);
    if ranks > 1 {
        table.row(["ranks".to_string(), grouped(ranks as u64)]);
        let exchanged = bytes(model::accumulated_bytes(&config) as u64);
        table.row(["bytes that each rank sends and receives".to_string(), exchanged]);
    }
    writeln!(context.out, "{table}")?;

    let mut table = Table::new(&[("generation", Align::Left), right("bytes")]);
    let kept = format!("keys and values of {} tokens", grouped(config.n_positions as u64));
    table.row([kept, bytes(Cache::bytes(&config, 1) as u64)]);
    write!(context.out, "{table}")?;
    if time {
        plan_time::run(context, &settings, capacity, text)?;
    }
    Ok(())
}

#[derive(serde::Serialize)]
struct Longest {
    pattern: &'static str,
    longest: usize,
    bytes: usize,
}

/// Prints the longest sequence with full attention and with the pattern of the paper (Liu et al. 2018).
fn longest(context: &mut Context<'_>, config: &ModelConfig, given: Bytes, json: bool) -> Done {
    let limit = usize::try_from(given.0).unwrap_or(usize::MAX);
    let mut table =
        Table::new(&[("pattern", Align::Left), ("longest sequence", Align::Right), ("memory", Align::Right)]);
    let (mut lengths, mut with_scores) = (Vec::new(), Vec::new());
    for pattern in ["F", "LMLML"] {
        let config = ModelConfig { attention_pattern: pattern.into(), ..config.clone() };
        let Some((longest, memory)) = model::longest(&config, limit) else {
            let least =
                model::plan(&ModelConfig { n_positions: 1, ..config }, Capacity { rows: 1, sequences: 1 }, false)
                    .total();
            let expected = format!("expected at least {}, which one token with {pattern} needs", bytes(least as u64));
            return Err(invalid_option("memory", given, expected).into());
        };
        with_scores.push(model::longest_with_scores(&config, limit).map_or(0, |(longest, _)| longest));
        lengths.push(longest);
        let row = Longest { pattern, longest, bytes: memory.total() };
        if json {
            context.json(&row)?;
        } else {
            table.row([pattern.to_string(), grouped(longest as u64), bytes(row.bytes as u64)]);
        }
    }
    if !json {
        let ratio = |lengths: &[usize]| lengths[1] as f64 / lengths[0].max(1) as f64;
        let [full, mixed] = [with_scores[0], with_scores[1]].map(|t| grouped(t as u64));
        writeln!(context.out, "{table}")?;
        writeln!(
            context.out,
            "LMLML: {:.2} times the length of F. No layer keeps T×T scores, so the memory of both grows in proportion to T.",
            ratio(&lengths)
        )?;
        writeln!(
            context.out,
            "If every layer kept its scores, as in 2018, the longest would be {full} for F and {mixed} for LMLML, {:.1} times \
             as long; the paper (Liu et al. 2018) reports about 3.",
            ratio(&with_scores)
        )?;
    }
    Ok(())
}

fn parameters(model: &ModelConfig) -> Vec<(&'static str, u64)> {
    let sum = |part: &str| -> u64 {
        model.parameters().iter().filter(|p| p.name.contains(part)).map(|p| p.count() as u64).sum()
    };
    vec![
        ("token table, shared with the head", sum(".tokens_embed.")),
        ("position table", sum(".positions_embed.")),
        ("attention", sum(".attn.")),
        ("MLP", sum(".mlp.")),
        ("layer norm", sum(".ln_")),
        ("total", model.parameter_count() as u64),
    ]
}

fn parts_of(all: &Memory) -> Vec<(&'static str, usize)> {
    let mut parts = vec![
        ("weights", all.weights),
        ("gradients", all.gradients),
        ("Adam's two moments", all.moments),
        ("activations saved for the backward pass", all.saved),
        ("temporary activations", all.temporary),
        ("the head's chunk of logits", all.head),
        ("the batch's layout", all.layout),
    ];
    parts.extend((all.half_copies > 0).then_some(("copies in f16", all.half_copies)));
    parts.push(("total", all.total()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let model = ModelConfig::default();
        let parts = parameters(&model);
        assert_eq!(parts.iter().take(5).map(|p| p.1).sum::<u64>(), parts[5].1);
        for plan in [model::plan, model::plan_mixed] {
            let parts = parts_of(&plan(&model, Capacity { rows: 1024, sequences: 8 }, false));
            let (total, parts) = parts.split_last().expect("parts");
            assert_eq!(parts.iter().map(|part| part.1).sum::<usize>(), total.1);
            assert!(parts.iter().all(|part| part.1 > 0), "{parts:?}");
        }
    }
}
