//! The program `wgpt`: one file per subcommand, which parses its options, calls the library and prints.
//!
//! Results go to stdout; everything else (the adapter, progress, warnings, errors) goes to stderr. A reader that closes
//! stdout early, such as `head`, ends the program without an error.

mod arguments;
mod bar;
mod bench;
mod check;
mod clock;
mod compare;
mod context;
mod cores;
mod demo;
mod devices;
mod dispatch;
mod eval;
mod finetune;
mod generate;
mod import;
mod interactive;
mod interrupt;
mod job;
mod model_argument;
mod numbers;
mod options;
mod output;
mod plan;
mod plan_time;
mod predict;
mod pretrain;
mod progress;
mod sampling_options;
mod self_test;
mod shader;
mod stop;
mod texts;
mod tokenizer;
mod training;
mod user_cache;

use crate::gpu::quiet;
use clap::{Arg, Command};
use context::{AdapterSource, Context};
use dispatch::{Subcommand, Uses};
use job::Job;
use std::io::IsTerminal;
use std::process::ExitCode;

/// The subcommands in the order of use: first run, train and use a model, other models and text, device and kernels.
const SUBCOMMANDS: [Subcommand; 14] = [
    Subcommand { command: demo::command, run: demo::run, uses: Uses::Training },
    Subcommand { command: pretrain::command, run: pretrain::run, uses: Uses::Training },
    Subcommand { command: generate::command, run: generate::run, uses: Uses::Adapter },
    Subcommand { command: eval::command, run: eval::run, uses: Uses::Adapter },
    Subcommand { command: finetune::command, run: finetune::run, uses: Uses::Training },
    Subcommand { command: predict::command, run: predict::run, uses: Uses::Adapter },
    Subcommand { command: compare::command, run: compare::run, uses: Uses::Nothing },
    Subcommand { command: import::command, run: import::run, uses: Uses::Nothing },
    Subcommand { command: tokenizer::command, run: tokenizer::run, uses: Uses::Nothing },
    Subcommand { command: plan::command, run: plan::run, uses: Uses::Adapter },
    Subcommand { command: devices::command, run: devices::run, uses: Uses::Nothing },
    Subcommand { command: check::command, run: check::run, uses: Uses::Adapter },
    Subcommand { command: bench::command, run: bench::run, uses: Uses::Adapter },
    Subcommand { command: shader::command, run: shader::run, uses: Uses::Adapter },
];

fn command() -> Command {
    let adapter = Arg::new("adapter").long("adapter").value_name("NAME|INDEX").global(true).help(
        "Adapter: a part of its name, or its index in `wgpt devices`; for a training also several, separated by commas, or `all` \
         [env: WGPT_ADAPTER] [default: a discrete GPU, else an integrated GPU, else a CPU]",
    );
    let command = Command::new("wgpt")
        .about("Train GPT decoders on any GPU, with WGSL kernels on Vulkan, Metal and DX12")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(adapter);
    dispatch::add(command, &SUBCOMMANDS)
}

/// The program: parses the command line, runs a subcommand, and returns its exit code (docs/spec.md section 6.9).
pub fn main() -> ExitCode {
    quiet::headless();
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Arguments, such as paths by a pattern, may hold control characters. clap's own are colors.
            match std::env::args_os().any(|argument| argument.to_string_lossy().contains(char::is_control)) {
                true => output::note(error.render()),
                false => drop(error.print()),
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let option = matches.subcommand().and_then(|(_, matches)| matches.get_one::<String>("adapter").cloned());
    let environment = || std::env::var_os("WGPT_ADAPTER").map(|name| name.to_string_lossy().into_owned());
    let adapter_source = if option.is_some() { AdapterSource::Option } else { AdapterSource::Environment };
    let adapter = option.or_else(environment).filter(|name| !name.is_empty());
    let mut stdout = std::io::stdout().lock();
    let mut terminal;
    let out: &mut dyn std::io::Write = match stdout.is_terminal() {
        true => {
            terminal = output::VisibleWriter(stdout);
            &mut terminal
        }
        false => &mut stdout,
    };
    let mut context = Context { out, adapter, adapter_source, job: Job::none(), software_ranks: None };
    let chosen = dispatch::chosen(&SUBCOMMANDS, &matches);
    let done = match chosen.map(|subcommand| subcommand.uses) {
        Some(Uses::Training) => train(&mut context, &matches),
        uses => {
            if uses == Some(Uses::Nothing) {
                context.note_unused_adapter(matches.subcommand_name().unwrap_or_default());
            }
            dispatch::dispatch(&SUBCOMMANDS, &mut context, &matches)
        }
    };
    stop::exit_code(done.and_then(|()| Ok(context.out.flush()?)))
}

/// Runs a command that trains: in an MPI job, on rank 0 alone, with which the other ranks train.
fn train(context: &mut Context<'_>, matches: &clap::ArgMatches) -> stop::Done {
    context.software_ranks = cores::ranks(matches, context.adapter.as_deref());
    context.job = Job::join()?;
    #[cfg(feature = "mpi")]
    if context.job.follower().is_some() {
        return training::follow(context);
    }
    dispatch::dispatch(&SUBCOMMANDS, context, matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
