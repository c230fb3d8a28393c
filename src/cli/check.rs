//! `wgpt check`: compares every kernel with its f64 oracle on this adapter.

use super::arguments::{flag, json_flag, whole_number};
use super::bar::Meter;
use super::context::Context;
use super::output::note;
use super::stop::{Done, Stop};
use crate::ops;
use crate::report::{Align, Table};
use crate::verify::all::{Outcomes, Thoroughness, check_all};
use crate::verify::{Case, Purpose, cases};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::time::Instant;

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Test every kernel on this adapter against an f64 implementation")
        .after_help("Exit code 1 if a kernel is wrong.")
        .arg(flag("all").help("Test every variant that runs on this adapter, not only the one chosen for it"))
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("N")
                .value_parser(whole_number(1..=10_000u32))
                .help("Runs of each variant, which must give the same bits [default: 20 on GPUs, 2 on CPUs]"),
        )
        .arg(json_flag())
}

/// The results of one kernel.
#[derive(Default, serde::Serialize)]
struct Tally {
    #[serde(rename = "kernel")]
    op: &'static str,
    cases: usize,
    /// Variants of cases.
    variants: usize,
    /// Runs of each variant.
    runs: usize,
    /// Largest error, as a multiple of its tolerance.
    #[serde(rename = "error_over_tolerance")]
    worst: f64,
    faults: Vec<String>,
    /// Cases whose outcomes are not known yet.
    #[serde(skip)]
    left: usize,
}

impl Tally {
    fn verdict(&self) -> &'static str {
        match (self.cases, self.faults.is_empty()) {
            (0, _) => "no case",
            (_, true) => "ok",
            (_, false) => "WRONG",
        }
    }

    /// # Errors
    /// That of a lost device, after which every following case would fail.
    fn add(&mut self, case: &Case, outcomes: Outcomes) -> Result<()> {
        self.cases += 1;
        self.left -= 1;
        for (spec, outcome) in outcomes {
            self.variants += 1;
            match outcome {
                Ok(outcome) => {
                    self.worst = self.worst.max(outcome.error_over_tolerance);
                    if !outcome.is_ok() {
                        self.faults.push(format!("{} {spec:?}: {}", case.label(), outcome.faults.join("; ")));
                    }
                }
                Err(error @ Error::Device(_)) => {
                    note(format_args!("the device failed in the case {}", case.label()));
                    return Err(error);
                }
                Err(error) => self.faults.push(format!("{} {spec:?}: {error}", case.label())),
            }
        }
        Ok(())
    }
}

/// A tally for each kernel, with the number of its cases, and the index of each case's tally.
fn tallies(cases: &[&Case], runs: usize) -> (Vec<Tally>, Vec<usize>) {
    let mut all: Vec<Tally> = ops::ALL.iter().map(|k| Tally { op: k.op, runs, ..Tally::default() }).collect();
    let mut of = Vec::with_capacity(cases.len());
    for case in cases {
        let index = all.iter().position(|tally| tally.op == case.op).unwrap_or_else(|| {
            all.push(Tally { op: case.op, runs, ..Tally::default() });
            all.len() - 1
        });
        all[index].left += 1;
        of.push(index);
    }
    (all, of)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let device = context.open()?;
    let (start, json) = (Instant::now(), matches.get_flag("json"));
    let runs = matches.get_one::<u32>("runs").map_or(Thoroughness::usual_runs(device.caps()), |runs| *runs as usize);
    let thoroughness = Thoroughness { all_variants: matches.get_flag("all"), runs };
    let all = cases::all();
    let cases: Vec<&Case> = all.iter().filter(|case| case.purpose == Purpose::Small).collect();
    let (mut tallies, of) = tallies(&cases, runs);
    let (mut meter, mut done) = (Meter::new(cases.len() as u64, "cases"), 0);
    check_all(&device, &cases, thoroughness, |index, outcomes| -> Result<(), Stop> {
        let tally = &mut tallies[of[index]];
        tally.add(cases[index], outcomes)?;
        done += 1;
        meter.set(done, tally.op);
        // Each kernel as soon as it is known, so that a run that is stopped has printed something.
        if json && tally.left == 0 { context.json(tally) } else { Ok(()) }
    })?;
    drop(meter);
    let wrong = tallies.iter().filter(|tally| !tally.faults.is_empty()).count();
    if !json {
        writeln!(context.out, "{}", table(&tallies))?;
        for fault in tallies.iter().flat_map(|tally| &tally.faults) {
            writeln!(context.out, "WRONG {fault}")?;
        }
        let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
        let (cases, variants) = (sum(|t| t.cases), sum(|t| t.variants));
        let (name, seconds) = (&device.caps().name, start.elapsed().as_secs_f64());
        let verdict = if wrong == 0 { "all kernels are correct".into() } else { format!("{wrong} kernels are WRONG") };
        writeln!(
            context.out,
            "{verdict}: {cases} cases in {variants} variants on {name}, {runs} runs of each, {seconds:.1} s"
        )?;
    }
    let without: Vec<_> = tallies.iter().filter(|tally| tally.cases == 0).map(|tally| tally.op).collect();
    if !without.is_empty() {
        note(format_args!("not checked, because they have no test case: {}", without.join(", ")));
    }
    if wrong == 0 { Ok(()) } else { Err(Stop::Wrong) }
}

fn table(tallies: &[Tally]) -> Table {
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("cases", Align::Right),
        ("variants", Align::Right),
        ("error/tolerance", Align::Right),
        ("", Align::Left),
    ]);
    for tally in tallies {
        let worst = if tally.cases == 0 { String::new() } else { format!("{:.3}", tally.worst) };
        let counts = [tally.cases, tally.variants].map(|count| count.to_string());
        table.row([tally.op.to_string()].into_iter().chain(counts).chain([worst, tally.verdict().into()]));
    }
    table
}
