//! A list of subcommands, which drives both the command line and the call.

use super::context::Context;
use super::stop::Done;
use clap::{ArgMatches, Command};

/// One subcommand: its command line, and the function that runs it.
pub(super) struct Subcommand {
    /// Returns the command line.
    pub command: fn() -> Command,
    /// Runs the subcommand.
    pub run: fn(&mut Context<'_>, &ArgMatches) -> Done,
    /// What it computes on.
    pub uses: Uses,
}

/// What a subcommand computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    /// No adapter.
    Nothing,
    /// One adapter.
    Adapter,
    /// The adapters of a training, perhaps in several processes.
    Training,
}

/// Adds the subcommands, one of which must be given, in the order of the list.
pub(super) fn add(command: Command, list: &[Subcommand]) -> Command {
    command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(list.iter().map(|subcommand| (subcommand.command)()))
}

/// The subcommand that the command line names.
pub(super) fn chosen<'a>(list: &'a [Subcommand], matches: &ArgMatches) -> Option<&'a Subcommand> {
    let name = matches.subcommand_name()?;
    list.iter().find(|subcommand| (subcommand.command)().get_name() == name)
}

/// Runs the subcommand that the command line names.
pub(super) fn dispatch(list: &[Subcommand], context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    match (chosen(list, matches), matches.subcommand()) {
        (Some(subcommand), Some((_, matches))) => (subcommand.run)(context, matches),
        _ => Ok(()),
    }
}
