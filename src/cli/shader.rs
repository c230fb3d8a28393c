//! `wgpt shader`: the WGSL of a kernel as naga gets it and, through naga, the driver.

use super::context::Context;
use super::output::note;
use super::stop::Done;
use crate::gpu::{Caps, Variant};
use crate::ops::{self, Kernel};
use crate::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};

pub(super) fn command() -> Command {
    Command::new("shader")
        .about("Prints the whole WGSL of a kernel's variants; lists all variants without OP")
        .arg(Arg::new("op").value_name("OP").help("A kernel, as in `wgpt check`, or a shader's stem, as in the list"))
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("Every variant of OP, not the first alone"))
        .arg(
            Arg::new("spec")
                .long("spec")
                .value_name("SUBSTRING")
                .conflicts_with("all")
                .help("The variants whose line in the list holds it"),
        )
        .arg(
            Arg::new("caps")
                .long("caps")
                .value_name("NAME")
                .help("For an adapter of this class, without having it: NVIDIA, Apple, lavapipe, ..."),
        )
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let op = matches.get_one::<String>("op").map(String::as_str);
    let kernels = op.map(find).transpose()?.unwrap_or_else(|| ops::ALL.iter().collect());
    let caps = match matches.get_one::<String>("caps") {
        Some(name) => class(name)?,
        None => context.open()?.caps().clone(),
    };
    let mut variants: Vec<Variant> = Vec::new();
    for kernel in kernels {
        // A stem names a part of its kernel's variants.
        let stem = op.filter(|op| *op != kernel.op);
        variants.extend((kernel.variants)(&caps).into_iter().filter(|v| stem.is_none_or(|stem| v.stem == stem)));
    }
    if op.is_none() {
        for variant in &variants {
            writeln!(context.out, "{}", describe(variant))?;
        }
        return Ok(());
    }
    let all = variants.len();
    if let Some(spec) = matches.get_one::<String>("spec") {
        variants.retain(|v| describe(v).contains(spec.as_str()));
        if variants.is_empty() {
            return Err(Error::input(format!(
                "--spec {spec}: none of the {all} variants holds it; `wgpt shader` without OP lists them"
            ))
            .into());
        }
    } else if !matches.get_flag("all") && all > 1 {
        variants.truncate(1);
        note(format_args!("the first of {all} variants; --all prints every one, --spec SUBSTRING chooses"));
    }
    for variant in &variants {
        writeln!(context.out, "// {}\n{}", describe(variant), variant.text()?)?;
    }
    Ok(())
}

fn find(op: &str) -> Result<Vec<&'static Kernel>> {
    if let Some(kernel) = ops::ALL.iter().find(|kernel| kernel.op == op) {
        return Ok(vec![kernel]);
    }
    let has_stem = |kernel: &&Kernel| {
        Caps::table().iter().any(|caps| (kernel.variants)(caps).iter().any(|variant| variant.stem == op))
    };
    let all: Vec<&Kernel> = ops::ALL.iter().filter(has_stem).collect();
    if all.is_empty() {
        let names: Vec<_> = ops::ALL.iter().map(|kernel| kernel.op).collect();
        return Err(Error::input(format!("shader {op:?}: no such kernel; there are {}", names.join(", "))));
    }
    Ok(all)
}

fn class(name: &str) -> Result<Caps> {
    let mut table = Caps::table();
    let wanted = name.to_lowercase();
    match table.iter().position(|caps| caps.name.to_lowercase().contains(&wanted)) {
        Some(at) if !name.is_empty() => Ok(table.swap_remove(at)),
        _ => {
            let names: Vec<_> = table.iter().map(|caps| caps.name.as_str()).collect();
            Err(Error::input(format!("--caps {name}: no such class; there are {}", names.join(", "))))
        }
    }
}

/// A variant in a line: `matmul_tiled GROUP=128 TILE_M=64 epilogue=epilogue_bias`.
fn describe(variant: &Variant) -> String {
    let mut line = variant.stem.to_string();
    variant.constants.iter().for_each(|(name, value)| line += &format!(" {name}={value}"));
    variant.aliases.iter().for_each(|(name, target)| line += &format!(" {name}={target}"));
    variant
        .imports
        .iter()
        .filter(|(name, file)| name != file)
        .for_each(|(name, file)| line += &format!(" {name}={file}"));
    line
}
