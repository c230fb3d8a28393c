//! `wgpt bench kernels`: the registry's cases of a real step's size, timed.

mod attention;
mod batching;
mod generate;
mod step;

use super::arguments::json_flag;
use super::context::Context;
use super::output::note;
use super::stop::Done;
use crate::gpu::{Device, Program};
use crate::ops::{Spec, StepValues};
use crate::report::{Align, Table};
use crate::verify::{Case, Purpose, cases};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::time::{Duration, Instant};

/// One timing lasts at least so long, so that submission and wait do not count.
const LEAST: Duration = Duration::from_millis(40);
/// Timings that the median is of, and what they may last together.
const TIMINGS: usize = 7;
const MOST: Duration = Duration::from_secs(3);

pub(super) fn command() -> Command {
    Command::new("bench")
        .about("Times kernels, steps, tokens, attention over lengths, and forms of batches")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("kernels")
                .about("Every kernel at the sizes of a real step, with the variant that is chosen here")
                .arg(Arg::new("only").long("only").value_name("SUBSTRING").help("Cases whose name holds it"))
                .arg(json_flag()),
        )
        .subcommand(step::command())
        .subcommand(generate::command())
        .subcommand(attention::command())
        .subcommand(batching::command())
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    match matches.subcommand() {
        Some(("attention", matches)) => attention::run(context, matches),
        Some(("batching", matches)) => batching::run(context, matches),
        Some(("generate", matches)) => generate::run(context, matches),
        Some(("step", matches)) => step::run(context, matches),
        Some((_, matches)) => kernels(context, matches),
        None => Ok(()),
    }
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

fn kernels(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let only = matches.get_one::<String>("only").map_or("", String::as_str);
    let all = cases::all();
    let cases: Vec<&Case> = all.iter().filter(|c| c.purpose == Purpose::Bench && c.label().contains(only)).collect();
    if cases.is_empty() {
        return Err(Error::input(format!("--only {only}: no case of a kernel's bench holds it")).into());
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
        let row = time(&device, case)?;
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
    note("median of repeated runs; gflops and gbps of the operations and bytes that the case cannot do without");
    Ok(())
}

fn time(device: &Device, case: &Case) -> Result<Row> {
    let Some(spec) = (case.specs)(device.caps()).into_iter().next() else {
        return Err(Error::Kernel { kernel: case.op.into(), message: format!("{}: no Spec runs here", case.label()) });
    };
    let run = (case.build)(device, spec)?;
    let seconds = median(device, &run.program, &run.values)?;
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

/// Seconds of one run: the median of timings of as many runs as last long enough.
pub(super) fn median(device: &Device, program: &Program<StepValues>, live: &StepValues) -> Result<f64> {
    let begin = Instant::now();
    let timed = |times: usize| -> Result<f64> {
        let start = Instant::now();
        program.repeat(live, times)?;
        device.wait()?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    };
    device.wait()?;
    timed(1)?;
    let once = timed(1)?;
    let times = (LEAST.as_secs_f64() / once.max(1e-7)).ceil().clamp(1.0, 10_000.0) as usize;
    let mut all = vec![timed(times)?];
    while all.len() < TIMINGS && begin.elapsed() < MOST {
        all.push(timed(times)?);
    }
    Ok(middle(&mut all))
}

/// The median.
pub(super) fn middle(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => (all[n / 2 - 1] + all[n / 2]) / 2.0,
        n => all[n / 2],
    }
}

/// `Matmul(Tiled { tile_m: 64 })` as `tiled tile_m 64`.
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
    fn medians_and_names() {
        assert_eq!(middle(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(name(Spec::Matmul(matmul::Spec::Tiled { tile_m: 64 })), "tiled tile_m 64");
        assert_eq!(name(Spec::Row(RowAccess::Image)), "image");
    }
}
