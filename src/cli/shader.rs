//! `wgpt shader`: the generated WGSL of a kernel, as naga receives it.

use super::arguments::{flag, invalid_option};
use super::context::Context;
use super::output::note;
use super::stop::Done;
use crate::gpu::{Caps, Variant};
use crate::ops::{self, Kernel};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};

pub(super) fn command() -> Command {
    Command::new("shader")
        .about("Print the generated WGSL of a kernel; without OP, list all kernels and variants")
        .arg(
            Arg::new("op")
                .value_name("OP")
                .help("Kernel, as `wgpt check` lists it, or shader, as `wgpt shader` lists it"),
        )
        .arg(flag("all").requires("op").help("Print every variant of OP, not only the first"))
        .arg(
            Arg::new("spec")
                .long("spec")
                .value_name("SUBSTRING")
                .requires("op")
                .conflicts_with("all")
                .help("Print the variants whose line in the list contains SUBSTRING"),
        )
        .arg(
            Arg::new("caps").long("caps").value_name("NAME").help(
                "Print the variants for a class of adapters instead of this machine's: NVIDIA, Apple, lavapipe, …",
            ),
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
        // The name of a shader selects some of its kernel's variants.
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
            let expected = format!("none of the {all} variants contains it; `wgpt shader` without OP lists them");
            return Err(invalid_option("spec", spec, expected).into());
        }
    } else if !matches.get_flag("all") && all > 1 {
        variants.truncate(1);
        note(format_args!("first of {all} variants; --all prints all of them, --spec SUBSTRING selects"));
    }
    for variant in &variants {
        writeln!(context.out, "// {}\n{}", describe(variant), variant.text()?)?;
    }
    Ok(())
}

/// The kernels of a kernel's or a shader's name.
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
        return Err(Error::value("OP", op, format!("no such kernel; expected one of {}", names.join(", "))));
    }
    Ok(all)
}

/// The capabilities of a class of adapters, by a part of its name.
fn class(name: &str) -> Result<Caps> {
    let mut table = Caps::table();
    let wanted = name.to_lowercase();
    match table.iter().position(|caps| caps.name.to_lowercase().contains(&wanted)) {
        Some(index) if !name.is_empty() => Ok(table.swap_remove(index)),
        _ => {
            let names: Vec<_> = table.iter().map(|caps| caps.name.as_str()).collect();
            Err(invalid_option(
                "caps",
                name,
                format!("no such class of adapters; expected one of {}", names.join(", ")),
            ))
        }
    }
}

/// A variant on one line: `matmul_tiled GROUP=128 TILE_M=64 epilogue=epilogue_bias`.
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
