//! `wgpt bench kernels`: the time of each kernel at the sizes of a real step.

use super::timing::{device_seconds, seconds_per_run};
use crate::cli::arguments::{invalid_option, json_flag};
use crate::cli::bar::Meter;
use crate::cli::context::Context;
use crate::cli::output::note;
use crate::cli::stop::{Done, Stop};
use crate::gpu::{AdapterKind, Caps, Device};
use crate::ops::Spec;
use crate::report::{Align, Table};
use crate::verify::cases::large::{self, LargeCase};
use crate::verify::sample::check_samples;
use crate::verify::{Case, Purpose, cases};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};

pub(super) fn command() -> Command {
    let only = Arg::new("only").long("only").value_name("SUBSTRING").help("Only cases whose name contains SUBSTRING");
    Command::new("kernels")
        .about("Time each kernel at the sizes of a real step, in the variant chosen for this adapter")
        .after_help(
            "On GPUs also at the sizes of gpt1; some elements of these results are compared with an f64 implementation,\n\
             and the exit code is 1 if they are wrong.\n\n\
             ms: median of repeated runs on the host's clock, with the time between two dispatches. A training step takes\n\
             this time, so GFLOP/s and GB/s are computed from it: the operations and bytes that a case needs at least.\n\
             device ms: median between the device's timestamps around each dispatch, where the device has timestamps.\n\
             It is the time of the kernel alone. For small cases it is shorter than ms; for large ones, both are equal.",
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
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ms: Option<f64>,
    gflops: f64,
    gbps: f64,
    /// Of a large case: the largest error of the elements that were compared, as a multiple of its tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_over_tolerance: Option<f64>,
}

/// A case, and how its result is compared if it is large.
struct Work<'a> {
    case: &'a Case,
    large: Option<&'a LargeCase>,
}

/// Whether an adapter runs a large case: GPUs, unless one dispatch takes so long that a desktop driver resets the device.
fn takes_large(caps: &Caps, case: &Case) -> bool {
    caps.kind != AdapterKind::Cpu && case.flops <= 8.0 * caps.submission_flops()
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let only = matches.get_one::<String>("only").map_or("", String::as_str);
    let (large, all) = (large::cases(), cases::all());
    // The large ones first: they are the most important ones of a GPU.
    let large = large.iter().map(|large| Work { case: &large.case, large: Some(large) });
    let usual = all.iter().filter(|c| c.purpose == Purpose::Bench).map(|case| Work { case, large: None });
    let mut work: Vec<Work<'_>> = large.chain(usual).filter(|work| work.case.label().contains(only)).collect();
    if work.is_empty() {
        return Err(invalid_option("only", only, "no benchmark case has this in its name").into());
    }
    let device = context.open()?;
    work.retain(|work| work.large.is_none() || takes_large(device.caps(), work.case));
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("variant", Align::Left),
        ("shape", Align::Left),
        right("ms"),
        right("device ms"),
        right("GFLOP/s"),
        right("GB/s"),
    ]);
    note(format_args!("timing {} cases, each after its kernels are compiled", work.len()));
    let mut wrong = Vec::new();
    let mut meter = Meter::new(work.len() as u64, "cases");
    for (done, work) in work.into_iter().enumerate() {
        meter.set(done as u64, &work.case.label());
        let row = match measure(&device, &work, &mut wrong) {
            // A large case that the device has no memory for.
            Err(Error::Device(error)) if work.large.is_some() && device.wait().is_ok() => {
                note(format_args!("left out: {}: {error}", work.case.label()));
                continue;
            }
            row => row?,
        };
        if matches.get_flag("json") {
            context.json(&row)?;
            continue;
        }
        let shape: Vec<_> = row.shape.iter().map(|(letter, size)| format!("{letter} {size}")).collect();
        let numbers = [Some(row.ms), row.device_ms, Some(row.gflops), Some(row.gbps)];
        let numbers = numbers.map(|x| x.map_or(String::new(), |x| format!("{x:.3}")));
        table.row([row.op.to_string(), row.variant, shape.join(", ")].into_iter().chain(numbers));
    }
    drop(meter);
    if !matches.get_flag("json") {
        write!(context.out, "{table}")?;
    }
    note("ms: median of repeated runs; GFLOP/s and GB/s: of the operations and bytes that the case needs at least");
    wrong.iter().for_each(|fault| note(format_args!("WRONG {fault}")));
    if wrong.is_empty() { Ok(()) } else { Err(Stop::Wrong) }
}

/// Times a case. Of a large one, compares samples first, and adds what is wrong to `wrong`.
fn measure(device: &Device, work: &Work<'_>, wrong: &mut Vec<String>) -> Result<Row> {
    let case = work.case;
    let Some(spec) = (case.specs)(device.caps()).into_iter().next() else {
        return Err(Error::kernel(case.op, format!("{}: no variant runs on this adapter", case.label())));
    };
    let mut error_over_tolerance = None;
    let run = match work.large {
        None => (case.build)(device, spec)?,
        Some(large) => {
            let (run, samples) = large.build_with_samples(device, spec)?;
            let outcome = check_samples(device, case, &run, &samples)?;
            wrong.extend(outcome.faults.iter().map(|fault| format!("{} {spec:?}: {fault}", case.label())));
            error_over_tolerance = Some(outcome.error_over_tolerance);
            run
        }
    };
    let seconds = seconds_per_run(device, &run.program, &run.values)?;
    let on_device = device_seconds(device, &run.program, &run.values)?;
    Ok(Row {
        op: case.op,
        variant: format!("{} {}", case.variant, name(spec)).trim().to_string(),
        shape: case.shape.iter().map(|(letter, size)| ((*letter).into(), (*size).into())).collect(),
        dtype: "f32",
        ms: seconds * 1e3,
        device_ms: on_device.map(|seconds| seconds * 1e3),
        gflops: case.flops / seconds / 1e9,
        gbps: case.bytes / seconds / 1e9,
        error_over_tolerance,
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
    fn large_cases_are_for_gpus_that_are_fast_enough() {
        let product = |size| large::product(matmul::Form::AB, cases::matmul::Out::Plain, [size; 3]).case;
        let (middle, large) = (product(4096), product(8192));
        for caps in Caps::table() {
            let expected = match caps.kind {
                AdapterKind::Discrete => [true, true],
                AdapterKind::Integrated => [true, false],
                _ => [false, false],
            };
            assert_eq!([takes_large(&caps, &middle), takes_large(&caps, &large)], expected, "{}", caps.name);
        }
    }

    #[test]
    fn a_spec_has_a_short_name() {
        let tiled = matmul::Spec::Tiled { tile_m: 64, tile_n: 128, rows: 8, parts: 1 };
        assert_eq!(name(Spec::Matmul(tiled)), "tiled tile_m 64 tile_n 128 rows 8 parts 1");
        assert_eq!(name(Spec::Row(RowAccess::Image)), "image");
    }
}
