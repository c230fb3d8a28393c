//! `wgpt bench kernels`: the time of each kernel at the sizes of a real step.

use super::timing::seconds_per_run;
use crate::cli::arguments::{invalid_option, json_flag};
use crate::cli::context::Context;
use crate::cli::output::note;
use crate::cli::stop::Done;
use crate::gpu::Device;
use crate::ops::Spec;
use crate::report::{Align, Table};
use crate::verify::{Case, Purpose, cases};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};

pub(super) fn command() -> Command {
    let only = Arg::new("only").long("only").value_name("SUBSTRING").help("Only cases whose name contains SUBSTRING");
    Command::new("kernels")
        .about("Time each kernel at the sizes of a real step, in the variant chosen for this adapter")
        .after_help(
            "Prints the median time, and GFLOP/s and GB/s of the operations and bytes that a case needs at least.",
        )
        .arg(only)
        .arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    op: &'static str,
    variant: String,
    shape: serde_json::Map<String, serde_json::Value>,
    dtype: &'static str,
    ms: f64,
    gflops: f64,
    gbps: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let only = matches.get_one::<String>("only").map_or("", String::as_str);
    let all = cases::all();
    let cases: Vec<&Case> = all.iter().filter(|c| c.purpose == Purpose::Bench && c.label().contains(only)).collect();
    if cases.is_empty() {
        return Err(invalid_option("only", only, "no benchmark case has this in its name").into());
    }
    let device = context.open()?;
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("variant", Align::Left),
        ("shape", Align::Left),
        right("ms"),
        right("GFLOP/s"),
        right("GB/s"),
    ]);
    for case in cases {
        let row = measure(&device, case)?;
        if matches.get_flag("json") {
            context.json(&row)?;
            continue;
        }
        let shape: Vec<_> = row.shape.iter().map(|(letter, size)| format!("{letter} {size}")).collect();
        let numbers = [row.ms, row.gflops, row.gbps].map(|x| format!("{x:.3}"));
        table.row([row.op.to_string(), row.variant, shape.join(", ")].into_iter().chain(numbers));
    }
    if !matches.get_flag("json") {
        write!(context.out, "{table}")?;
    }
    note("ms: median of repeated runs; GFLOP/s and GB/s: of the operations and bytes that the case needs at least");
    Ok(())
}

fn measure(device: &Device, case: &Case) -> Result<Row> {
    let Some(spec) = (case.specs)(device.caps()).into_iter().next() else {
        return Err(Error::kernel(case.op, format!("{}: no variant runs on this adapter", case.label())));
    };
    let run = (case.build)(device, spec)?;
    let seconds = seconds_per_run(device, &run.program, &run.values)?;
    Ok(Row {
        op: case.op,
        variant: format!("{} {}", case.variant, name(spec)).trim().to_string(),
        shape: case.shape.iter().map(|(letter, size)| ((*letter).into(), (*size).into())).collect(),
        dtype: "f32",
        ms: seconds * 1e3,
        gflops: case.flops / seconds / 1e9,
        gbps: case.bytes / seconds / 1e9,
    })
}

/// `Cache(Image)` as `image`.
fn name(spec: Spec) -> String {
    let text = format!("{spec:?}");
    let inner = text.split_once('(').map_or(text.as_str(), |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    let words: Vec<&str> = inner.split([' ', '{', '}', ':', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{RowAccess, matmul};

    #[test]
    fn a_spec_has_a_short_name() {
        let tiled = matmul::Spec::Tiled { tile_m: 64, tile_n: 128, rows: 8, parts: 1 };
        assert_eq!(name(Spec::Matmul(tiled)), "tiled tile_m 64 tile_n 128 rows 8 parts 1");
        assert_eq!(name(Spec::Row(RowAccess::Image)), "image");
    }
}
