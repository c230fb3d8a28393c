//! `wgpt check`: compares every kernel with its f64 oracle on this adapter.

use super::arguments::flag;
use super::context::Context;
use super::output::note;
use super::stop::{Done, Stop};
use crate::gpu::Device;
use crate::ops;
use crate::report::{Align, Table};
use crate::verify::{self, Case, Purpose, cases};
use crate::{Error, Result};
use clap::{ArgMatches, Command};
use std::time::Instant;

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Test every kernel on this adapter against an f64 implementation")
        .after_help("Exit code 1 if a kernel is wrong.")
        .arg(flag("all").help("Test every variant that runs on this adapter, not only the one chosen for it"))
}

/// The results of one kernel.
#[derive(Default)]
struct Tally {
    op: &'static str,
    cases: usize,
    runs: usize,
    /// Largest error, as a multiple of its tolerance.
    worst: f64,
    faults: Vec<String>,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let device = context.open()?;
    let start = Instant::now();
    let mut tallies: Vec<Tally> = ops::ALL.iter().map(|k| Tally { op: k.op, ..Tally::default() }).collect();
    for case in cases::all().iter().filter(|case| case.purpose == Purpose::Small) {
        let index = tallies.iter().position(|tally| tally.op == case.op).unwrap_or_else(|| {
            tallies.push(Tally { op: case.op, ..Tally::default() });
            tallies.len() - 1
        });
        check(&device, case, matches.get_flag("all"), &mut tallies[index])?;
    }
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("cases", Align::Right),
        ("runs", Align::Right),
        ("error/tolerance", Align::Right),
        ("", Align::Left),
    ]);
    for tally in &tallies {
        let (worst, verdict) = match (tally.cases, tally.faults.is_empty()) {
            (0, _) => (String::new(), "no case"),
            (_, true) => (format!("{:.3}", tally.worst), "ok"),
            (_, false) => (format!("{:.3}", tally.worst), "WRONG"),
        };
        table.row([tally.op.into(), tally.cases.to_string(), tally.runs.to_string(), worst, verdict.into()]);
    }
    writeln!(context.out, "{table}")?;
    for fault in tallies.iter().flat_map(|tally| &tally.faults) {
        writeln!(context.out, "WRONG {fault}")?;
    }
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    let (cases, runs, wrong) = (sum(|t| t.cases), sum(|t| t.runs), sum(|t| usize::from(!t.faults.is_empty())));
    let (name, seconds) = (&device.caps().name, start.elapsed().as_secs_f64());
    let verdict = if wrong == 0 { "all kernels are correct".into() } else { format!("{wrong} kernels are WRONG") };
    writeln!(context.out, "{verdict}: {cases} cases in {runs} runs on {name}, {seconds:.1} s")?;
    let without: Vec<_> = tallies.iter().filter(|tally| tally.cases == 0).map(|tally| tally.op).collect();
    if !without.is_empty() {
        note(format_args!("not checked, because they have no test case: {}", without.join(", ")));
    }
    if wrong == 0 { Ok(()) } else { Err(Stop::Wrong) }
}

/// Runs one case in its variants, and adds the results to the kernel's.
fn check(device: &Device, case: &Case, all: bool, tally: &mut Tally) -> Result<()> {
    let expected = (case.oracle)();
    let specs = (case.specs)(device.caps());
    tally.cases += 1;
    for spec in specs.into_iter().take(if all { usize::MAX } else { 1 }) {
        tally.runs += 1;
        match verify::check(device, case, spec, &expected) {
            Ok(outcome) => {
                tally.worst = tally.worst.max(outcome.error_over_tolerance);
                if !outcome.is_ok() {
                    tally.faults.push(format!("{} {spec:?}: {}", case.label(), outcome.faults.join("; ")));
                }
            }
            // After a lost device, every following case would fail.
            Err(Error::Device(message)) => return Err(Error::device(format!("{}: {message}", case.label()))),
            Err(error) => tally.faults.push(format!("{} {spec:?}: {error}", case.label())),
        }
    }
    Ok(())
}
