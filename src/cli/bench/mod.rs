//! `wgpt bench`: speed of kernels, training steps, generation, attention and batch layouts.

mod attention;
mod batching;
pub(super) mod fixture;
mod generate;
mod kernels;
mod profile;
mod step;
mod timing;
mod wrong_results;

use super::context::Context;
use super::dispatch::{self, Subcommand, Uses};
use super::stop::Done;
use clap::{ArgMatches, Command};

const SUBCOMMANDS: [Subcommand; 5] = [
    Subcommand { command: kernels::command, run: kernels::run, uses: Uses::Adapter },
    Subcommand { command: step::command, run: step::run, uses: Uses::Adapter },
    Subcommand { command: generate::command, run: generate::run, uses: Uses::Adapter },
    Subcommand { command: attention::command, run: attention::run, uses: Uses::Adapter },
    Subcommand { command: batching::command, run: batching::run, uses: Uses::Adapter },
];

pub(super) fn command() -> Command {
    let about = "Measure the speed of kernels, training steps, generation, attention and batch layouts";
    dispatch::add(Command::new("bench").about(about), &SUBCOMMANDS)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    dispatch::dispatch(&SUBCOMMANDS, context, matches)
}
