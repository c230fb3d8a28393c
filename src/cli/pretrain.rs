//! `wgpt pretrain`: a run from a text to a folder.

use super::progress::Progress;
use super::{Context, Done, Stop, clock, note};
use crate::report::{Align, Table};
use crate::train::{Prepared, Summary, Trained, options, pretrain};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

pub(super) fn command() -> Command {
    options::add(Command::new("pretrain").about("Trains a decoder on a text").arg(out()))
}

/// The option `--out`.
pub(super) fn out() -> Arg {
    Arg::new("out")
        .long("out")
        .value_name("DIR")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The run's folder, which must not exist [default: runs/<preset>-<date-time>]")
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let settings = options::layers(matches)?.settings()?;
    let default = || PathBuf::from("runs").join(format!("{}-{}", settings.preset, clock::stamp()));
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(default);
    let trained = train(context, Prepared::new(settings, None, &out)?)?;
    report(context, &trained.summary)
}

/// Opens the adapter and trains, with progress on stderr.
pub(super) fn train(context: &Context<'_>, prepared: Prepared) -> Result<Trained, Stop> {
    let device = context.open()?;
    if let Some(notice) = prepared.notice() {
        note(notice);
    }
    for warning in prepared.warnings() {
        note(format_args!("warning: {warning}"));
    }
    let mut progress = Progress::new();
    let trained = pretrain::run(&device, prepared, &mut progress);
    progress.end();
    Ok(trained?)
}

/// The model beside what counting reaches.
pub(super) fn report(context: &mut Context<'_>, summary: &Summary) -> Done {
    let Summary { folder, checkpoint, evaluation, baseline, .. } = summary;
    let mut table =
        Table::new(&[("held-out text", Align::Left), ("nats a token", Align::Right), ("model below", Align::Right)]);
    let loss = evaluation.valid_loss;
    table.row(["model".to_string(), format!("{loss:.4}"), String::new()]);
    for (name, value) in [("interpolated count bigram", baseline.bigram), ("unigram entropy", baseline.unigram)] {
        table.row([name.to_string(), format!("{value:.4}"), format!("{:.4}", value - loss)]);
    }
    writeln!(context.out, "{table}")?;
    writeln!(
        context.out,
        "validation perplexity {:.2}, {:.4} bits a byte after {} updates in {:.0} s",
        evaluation.valid_perplexity, evaluation.valid_bits_per_byte, summary.steps, summary.elapsed_s
    )?;
    writeln!(context.out, "run         {}", folder.display())?;
    writeln!(context.out, "checkpoint  {}", checkpoint.display())?;
    writeln!(context.out, "curve       {}", folder.join(crate::train::run_folder::CURVE).display())?;
    Ok(())
}
