//! Compiles the HLSL of every variant that an adapter of DX12 can have by a compiler of Microsoft, as wgpu does, and reports
//! errors and the time of each. Needs no GPU and no DX12: DXC is there for Linux and Windows, FXC for Windows.

mod compiler;
mod dxc;
mod fxc;
mod processor_time;
mod variants;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use compiler::{Compiler, Result, Source};
use naga::back::hlsl::ShaderModel;
use processor_time::processor_time;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wgpt::gpu::Variant;
use wgpt::report::{Align, Table};

fn command() -> Command {
    let file = |name: &'static str| Arg::new(name).long(name).value_name("FILE");
    Command::new("hlsl")
        .about("Compiles the HLSL of every kernel that DX12 can have, by DXC or FXC")
        .arg(file("dxc").help("DXC: libdxcompiler.so or dxcompiler.dll"))
        .arg(file("fxc").help("FXC: d3dcompiler_47.dll, on Windows"))
        .arg(file("write").value_name("FOLDER").help("Write the HLSL of shader model 5.1, and compile nothing"))
        .arg(file("kernel").value_name("WORD").help("Only kernels whose name contains this word"))
        .arg(Arg::new("table").long("table").action(ArgAction::SetTrue).help("Print all variants, the slowest first"))
        .arg(Arg::new("kernels").long("kernels").action(ArgAction::SetTrue).help("Print a line for each kernel"))
        .group(ArgGroup::new("compiler").args(["dxc", "fxc", "write"]).required(true))
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
    let path = |name: &str| matches.get_one::<String>(name).map(PathBuf::from);
    let word = matches.get_one::<String>("kernel").map_or("", String::as_str);
    let wanted = |mut all: Vec<Variant>| {
        all.retain(|variant| variant.stem.contains(word));
        all
    };
    if let Some(folder) = path("write") {
        std::fs::create_dir_all(&folder)?;
        for (number, variant) in wanted(variants::without_subgroups()).iter().enumerate() {
            let text = Source::new(variant, compiler::FXC_MODEL)?.text;
            let text = format!("// {}\n{text}", variant.settings());
            std::fs::write(folder.join(format!("{}_{number:03}.hlsl", variant.stem)), text)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (compiler, all) = match (path("dxc"), path("fxc")) {
        (Some(file), _) => (Compiler::dxc(&file)?, wanted(variants::all())),
        (_, Some(file)) => (Compiler::fxc(&file)?, wanted(variants::without_subgroups())),
        (None, None) => return Err("a compiler is required".into()),
    };
    let start = Instant::now();
    let mut results = compile(&compiler, &all);
    results.sort_by_key(|result| std::cmp::Reverse(result.time));
    if matches.get_flag("table") {
        print!("{}", table(&results));
    }
    if matches.get_flag("kernels") {
        print!("{}", kernels(&results));
    }
    let failed: Vec<_> = results.iter().filter_map(|r| Some((r, r.bytes.as_ref().err()?))).collect();
    for (result, message) in &failed {
        println!("FAILED {} {}: {message}", result.variant.stem, result.variant.settings());
    }
    let slowest = results.first().ok_or("no variant was compiled")?;
    println!(
        "{}: {} variants, {} failed, {:.1} s, of processors {:.1} s, the slowest {} {}: {:.2} s",
        compiler.name(),
        results.len(),
        failed.len(),
        start.elapsed().as_secs_f64(),
        results.iter().map(|result| result.time.as_secs_f64()).sum::<f64>(),
        slowest.variant.stem,
        slowest.variant.settings(),
        slowest.time.as_secs_f64(),
    );
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a variant.
struct Compiled<'a> {
    variant: &'a Variant,
    /// The time of the compiler alone: of its processor, where the system tells it.
    time: Duration,
    /// Bytes of the object of each shader model, or the first error.
    bytes: Result<Vec<usize>, String>,
}

/// Compiles each variant for each shader model of the compiler, on as many threads as there are CPUs.
fn compile<'a>(compiler: &Compiler, all: &'a [Variant]) -> Vec<Compiled<'a>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(variant) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut time = Duration::ZERO;
            let one = |model: ShaderModel| {
                let source = Source::new(variant, model).map_err(|e| e.to_string())?;
                let (start, before) = (Instant::now(), processor_time());
                let object = compiler.compile(&source);
                let processor = processor_time().zip(before).map(|(after, before)| after.saturating_sub(before));
                time += processor.unwrap_or(start.elapsed());
                object.map_err(|e| format!("shader model {}: {e}", model.to_str()))
            };
            let bytes = compiler.models().into_iter().map(one).collect();
            results.push(Compiled { variant, time, bytes });
        }
        results
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread that compiles")).collect()
    })
}

/// Variants, seconds and the slowest variant of each kernel, the slowest kernel first. `results` have the slowest first.
fn kernels(results: &[Compiled<'_>]) -> Table {
    let mut rows: Vec<(&Compiled<'_>, usize, f64)> = Vec::new();
    for result in results {
        let seconds = result.time.as_secs_f64();
        match rows.iter_mut().find(|(slowest, ..)| slowest.variant.stem == result.variant.stem) {
            Some((_, variants, total)) => (*variants, *total) = (*variants + 1, *total + seconds),
            None => rows.push((result, 1, seconds)),
        }
    }
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("variants", Align::Right),
        ("seconds", Align::Right),
        ("slowest", Align::Right),
        ("its variant", Align::Left),
    ]);
    for (slowest, variants, total) in rows {
        let (stem, settings) = (slowest.variant.stem.to_string(), slowest.variant.settings());
        let slowest = format!("{:.2}", slowest.time.as_secs_f64());
        table.row([stem, variants.to_string(), format!("{total:.1}"), slowest, settings]);
    }
    table
}

fn table(results: &[Compiled<'_>]) -> Table {
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("variant", Align::Left),
        ("seconds", Align::Right),
        ("bytes", Align::Right),
    ]);
    for result in results {
        let bytes = match &result.bytes {
            Ok(bytes) => bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(_) => "FAILED".into(),
        };
        let seconds = format!("{:.2}", result.time.as_secs_f64());
        table.row([result.variant.stem.to_string(), result.variant.settings(), seconds, bytes]);
    }
    table
}
