//! The option `--model` of the subcommands that use a model, and its loading.

use super::arguments::{path_option, required};
use super::output::note;
use crate::Result;
use crate::store::Model;
use crate::terminal::visible_path;
use clap::{Arg, ArgMatches};
use std::path::PathBuf;

/// The name of the option.
const MODEL: &str = "model";

/// What `--model` may name.
pub(super) const HELP: &str = "Folder of the model: a run (its best checkpoint, else its latest), a checkpoint, or a folder saved by Hugging Face";

/// The option `--model`.
pub(super) fn option() -> Arg {
    path_option(MODEL, "DIR").required(true).help(HELP)
}

/// Loads the model that `--model` names. Names its folder on stderr where a run was given, and prints warnings there.
///
/// # Errors
/// As [`Model::load`].
pub(super) fn load(matches: &ArgMatches) -> Result<Model> {
    let dir: &PathBuf = required(matches, MODEL)?;
    let model = Model::load(dir)?;
    if let Some(folder) = model.folder.as_ref().filter(|folder| *folder != dir) {
        note(format_args!("model: {}", visible_path(folder)));
    }
    model.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(model)
}
