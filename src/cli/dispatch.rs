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
}

/// Adds the subcommands, one of which must be given, in the order of the list.
pub(super) fn add(command: Command, list: &[Subcommand]) -> Command {
    command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(list.iter().map(|subcommand| (subcommand.command)()))
}

/// Runs the subcommand that the command line names.
pub(super) fn dispatch(list: &[Subcommand], context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let subcommand = list.iter().find(|subcommand| (subcommand.command)().get_name() == name);
    subcommand.map_or(Ok(()), |subcommand| (subcommand.run)(context, matches))
}
