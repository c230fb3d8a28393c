//! What the compiler of a Vulkan driver makes of every kernel that wgpt chooses on it: registers, spills, workgroup memory,
//! occupancy. Nothing is executed, so a driver over Mesa's null device (drm-shim) will do.
//!
//! A training step, an evaluation and the generation of a token are recorded for models of every preset. Each variant that
//! was chosen is then compiled as wgpu compiles it, but with VK_KHR_pipeline_executable_properties.

mod document;
mod driver;
mod expected;
mod measure;
mod models;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use driver::{Driver, Result};
use measure::{Row, measure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wgpt::report::{Align, Table};

fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let text = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("compilers")
        .about("Prints what a Vulkan driver's compiler makes of every kernel that wgpt chooses, one line of JSON each")
        .arg(
            text("chip", "CHIP")
                .required_unless_present("document")
                .help("Name of the chip, such as navi31: the file of its table, and for NVIDIA the size of an SM"),
        )
        .arg(text("kernel", "WORD").help("Only kernels whose name contains this word"))
        .arg(flag("table").help("Print a table"))
        .arg(
            flag("check")
                .conflicts_with("kernel")
                .help("Compare with the chip's table; exit with 1 on a spill and on a loss of occupancy"),
        )
        .arg(
            flag("write")
                .conflicts_with("kernel")
                .help("Rewrite the chip's table, and drop its exceptions that are not needed"),
        )
        .arg(
            text("document", "FILE")
                .help("Rewrite the table of a Markdown file from those of all chips, and do nothing else"),
        )
        .arg(
            text("tables", "FOLDER")
                .default_value("tools/compilers")
                .help("Folder with expected/CHIP.tsv and accepted.tsv"),
        )
        .group(ArgGroup::new("output").args(["table", "check", "write"]))
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let folder = PathBuf::from(text("tables").unwrap_or_default());
    let tables = folder.join("expected");
    if let Some(file) = text("document") {
        document::rewrite(Path::new(file), &tables).map_err(|e| format!("{file}: {e}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let chip = text("chip").unwrap_or_default();
    let rows = rows(chip, text("kernel").unwrap_or_default())?;
    let (table_file, accepted_file) = (tables.join(format!("{chip}.tsv")), folder.join("accepted.tsv"));
    if matches.get_flag("check") {
        return check(chip, &rows, &read(&table_file)?, &read(&accepted_file)?);
    }
    if matches.get_flag("write") {
        let accepted = read(&accepted_file)?;
        write(&table_file, &expected::text(&rows))?;
        write(&accepted_file, &expected::needed_exceptions(&accepted, chip, &rows)?)?;
        println!("{chip}: {} variants written to {}", rows.len(), table_file.display());
    } else if matches.get_flag("table") {
        print!("{}", table(&rows));
    } else {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every variant of the kernels with this word in their name, in the order of the tables.
fn rows(chip: &str, word: &str) -> Result<Vec<Row>> {
    let driver = Driver::open()?;
    let chosen = models::chosen(driver.device.caps())?;
    let wanted = chosen.iter().filter(|chosen| chosen.variant.stem.contains(word));
    let mut rows = wanted.map(|chosen| measure(&driver, chip, chosen)).collect::<Result<Vec<Row>>>()?;
    rows.sort_by(|a, b| (&a.kernel, natural(&a.variant)).cmp(&(&b.kernel, natural(&b.variant))));
    if let Some(pair) =
        rows.windows(2).find(|pair| (&pair[0].kernel, &pair[0].variant) == (&pair[1].kernel, &pair[1].variant))
    {
        return Err(format!("two variants have one name: {} {}", pair[0].kernel, pair[0].variant).into());
    }
    Ok(rows)
}

/// The words of a variant, with numbers in numeric order.
fn natural(variant: &str) -> Vec<(&str, u32)> {
    let word = |word| match str::split_once(word, '=') {
        Some((name, value)) => (name, value.parse().unwrap_or(0)),
        None => (word, 0),
    };
    variant.split(' ').map(word).collect()
}

fn table(rows: &[Row]) -> Table {
    let unit = rows.first().map_or("", |row| row.occupancy_unit);
    let headings = ["registers", "spills", "scratch", "shared", unit, "instructions", "cycles", "models"];
    let left = ["kernel", "variant"].map(|heading| (heading, Align::Left));
    let headings: Vec<_> = left.into_iter().chain(headings.map(|heading| (heading, Align::Right))).collect();
    let mut table = Table::new(&headings);
    for r in rows {
        let numbers = [r.registers, r.spills, r.scratch, r.workgroup_memory, r.occupancy, r.instructions];
        let numbers = numbers.map(u64::from).into_iter().chain([r.cycles, r.models.len() as u64]);
        table.row([r.kernel.clone(), r.variant.clone()].into_iter().chain(numbers.map(|n| n.to_string())));
    }
    table
}

fn read(file: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?)
}

fn write(file: &Path, text: &str) -> Result<()> {
    Ok(std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?)
}

fn check(chip: &str, rows: &[Row], table: &str, accepted: &str) -> Result<ExitCode> {
    let found = expected::compare(rows, table, &expected::exceptions(accepted)?)?;
    for (kind, lines) in [("note", &found.notes), ("accepted", &found.accepted), ("FAILED", &found.failures)] {
        lines.iter().for_each(|line| println!("{chip}: {kind}: {line}"));
    }
    let (accepted, failed) = (found.accepted.len(), found.failures.len());
    println!("{chip}: {} variants, {accepted} accepted exceptions, {failed} failed", rows.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
