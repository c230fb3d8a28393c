//! `wgpt bench attention`: time and memory of one layer's attention by sequence length: full, local, memory-compressed, and
//! the mean over the five layers of LMLML. Each program is compared with the oracle before it is timed.

use super::timing::seconds_per_run;
use super::wrong_results::wrong_results;
use crate::Result;
use crate::cli::arguments::{json_flag, path_option, whole_number};
use crate::cli::context::Context;
use crate::cli::numbers::{bytes, grouped};
use crate::cli::output::{note, output_file, write_all};
use crate::cli::stop::Done;
use crate::config::ModelConfig;
use crate::gpu::Device;
use crate::model::{Capacity, LayerAttention, attention_bytes, initial_parameters};
use crate::philox::{Stream, Words};
use crate::reference::attention::{Qkv, Rules, Seen, forward_of, head_scale, split};
use crate::reference::kv_compress;
use crate::report::{Align, Line, Panel, Panels, Table, panels_svg};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

/// The attention patterns that are timed: one layer of each kind.
const KINDS: [&str; 3] = ["F", "L", "M"];
const DIRECTIONS: [&str; 2] = ["forward", "backward"];
/// The pattern whose mean is computed from [`KINDS`].
const MIXED: &str = "LMLML";
/// Largest relative error, as [`forward_error`] and [`backward_error`] return it, that is taken for rounding.
const TOLERANCE: f64 = 1e-4;

pub(super) fn command() -> Command {
    Command::new("attention")
        .about("Time one layer's attention by sequence length: full, local and memory-compressed")
        .after_help(
            "One sequence, width 128, 4 heads; F: full; L: local, blocks of 256 tokens; M: memory-compressed, 3 tokens per\n\
             slot; LMLML: the mean over its five layers. Times are medians; those of M include the compression.\n\
             Memory: the activations that attention reads and keeps, in the backward pass with their gradients.",
        )
        .arg(
            Arg::new("lengths")
                .long("lengths")
                .value_name("N,N,…")
                .value_delimiter(',')
                .default_value("512,1024,2048,4096,8192,16384")
                .value_parser(whole_number(1..=1u32 << 20))
                .help("Sequence lengths, in tokens"),
        )
        .arg(path_option("out", "FILE").help("Write an SVG with time and memory per token to FILE"))
        .arg(json_flag())
}

#[derive(Clone, Debug, serde::Serialize)]
struct Row {
    pattern: &'static str,
    length: usize,
    direction: &'static str,
    ms: f64,
    us_per_token: f64,
    bytes: usize,
    /// Relative error, as [`forward_error`] and [`backward_error`] return it.
    error: f64,
}

impl Row {
    fn new(pattern: &'static str, length: usize, direction: usize, ms: f64, bytes: usize, error: f64) -> Self {
        let us_per_token = ms * 1e3 / length as f64;
        Row { pattern, length, direction: DIRECTIONS[direction], ms, us_per_token, bytes, error }
    }
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let lengths: Vec<usize> = matches.get_many::<u32>("lengths").into_iter().flatten().map(|n| *n as usize).collect();
    let out = match matches.get_one::<PathBuf>("out") {
        Some(path) => Some((path, output_file("out", path, [])?)),
        None => None,
    };
    let device = context.open()?;
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("pattern", Align::Left),
        right("length"),
        ("direction", Align::Left),
        right("ms"),
        right("µs per token"),
        right("memory"),
        right("error"),
    ]);
    let mut all = Vec::new();
    for length in lengths {
        for row in measure(&device, length)? {
            if matches.get_flag("json") {
                context.json(&row)?;
            } else {
                let [pattern, direction] = [row.pattern, row.direction].map(String::from);
                let numbers = [format!("{:.3}", row.ms), format!("{:.3}", row.us_per_token)];
                table.row(
                    [pattern, grouped(length as u64), direction]
                        .into_iter()
                        .chain(numbers)
                        .chain([bytes(row.bytes as u64), format!("{:.1e}", row.error)]),
                );
            }
            all.push(row);
        }
    }
    if !matches.get_flag("json") {
        write!(context.out, "{table}")?;
    }
    note("ms: median; M includes the compression; LMLML: the mean over its five layers");
    note("memory: the activations that attention reads and keeps, in the backward pass with their gradients");
    if let Some((path, file)) = out {
        let svg = panels_svg(&diagram(&all, &device.caps().name));
        file.write(|file| write_all(file, path, &svg))?;
        note(format_args!("diagram: {}", path.display()));
    }
    Ok(())
}

fn model(pattern: &str, length: usize) -> ModelConfig {
    ModelConfig {
        n_layer: 1,
        n_positions: length,
        vocab_size: 1,
        attention_pattern: pattern.into(),
        ..ModelConfig::default()
    }
}

/// The rows of one length: each kind in both directions, then the mixed pattern.
fn measure(device: &Device, length: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for pattern in KINDS {
        let config = model(pattern, length);
        let parameters = initial_parameters(&config, 0);
        let layer = LayerAttention::new(device, &config, &parameters)?;
        let errors = check(&layer, &config, &parameters)?;
        if errors.iter().any(|error| error.is_nan() || *error > TOLERANCE) {
            let [forward, backward] = errors;
            let fault = format!(
                "attention {pattern}, {length} tokens: relative error {forward:.1e} forward, {backward:.1e} backward: \
                 expected at most {TOLERANCE:.0e}"
            );
            return Err(wrong_results(device, fault));
        }
        let bytes = attention_bytes(&config, Capacity { rows: length, sequences: 1 });
        for (direction, program) in [&layer.forward, &layer.backward].into_iter().enumerate() {
            let ms = seconds_per_run(device, program, &layer.values)? * 1e3;
            rows.push(Row::new(pattern, length, direction, ms, bytes[direction], errors[direction]));
        }
    }
    for direction in [0, 1] {
        rows.push(mixed(&rows, length, direction));
    }
    Ok(rows)
}

/// The mean over the layers of the mixed pattern.
fn mixed(rows: &[Row], length: usize, direction: usize) -> Row {
    let of = |letter: char| {
        let kind = |row: &&Row| row.pattern.starts_with(letter) && row.direction == DIRECTIONS[direction];
        rows.iter().find(kind)
    };
    let layers: Vec<&Row> = MIXED.chars().filter_map(of).collect();
    let count = layers.len().max(1);
    let ms = layers.iter().map(|row| row.ms).sum::<f64>() / count as f64;
    let bytes = layers.iter().map(|row| row.bytes).sum::<usize>() / count;
    Row::new(MIXED, length, direction, ms, bytes, layers.iter().map(|row| row.error).fold(0.0, f64::max))
}

/// Runs both directions on random numbers, and returns the errors of forward and backward.
fn check(layer: &LayerAttention, config: &ModelConfig, parameters: &[Vec<f32>]) -> Result<[f64; 2]> {
    let (n, c) = (config.n_positions, config.n_embd);
    let mut words = Words::new(n as u64, Stream::Weights, 0, 0);
    let mut normal = |count: usize| -> Vec<f32> {
        (0..count.div_ceil(2)).flat_map(|_| words.normal_pair()).take(count).map(|x| x as f32).collect()
    };
    let (qkv, dy) = (normal(n * 3 * c), normal(n * c));
    layer.write(&qkv, &dy)?;
    layer.forward.run(&layer.values)?;
    layer.backward.run(&layer.values)?;
    let (y, dqkv) = (wide(&layer.output()?), wide(&layer.gradients()?));
    let (qkv, dy) = (split(&wide(&qkv), c), wide(&dy));
    Ok([forward_error(config, parameters, &qkv, &y), backward_error(&qkv, &split(&dqkv, c), &y, &dy)])
}

/// The largest difference from the oracle in the rows at both ends and around the middle, relative to the largest output.
fn forward_error(config: &ModelConfig, parameters: &[Vec<f32>], x: &Qkv<Vec<f64>>, y: &[f64]) -> f64 {
    let (n, c, f) = (config.n_positions, config.n_embd, config.kv_factor);
    let cu_seqlens = [0, n as u32];
    let Qkv { q, k, v } = x;
    let (seen, [k, v]) = match config.attention_pattern.as_str() {
        "L" => (Seen::Local(config.local_block), [k.clone(), v.clone()]),
        "M" => {
            let rules = kv_compress::Rules { c, factor: f, group_width: c, cu_seqlens: &cu_seqlens };
            let tensor = |part: &str, name: &str| {
                let suffix = format!("compress_{part}.{name}");
                let index = config.parameters().iter().position(|shape| shape.name.ends_with(&suffix));
                index.map(|index| wide(&parameters[index])).unwrap_or_default()
            };
            // The initial null key and value are zeros.
            let slots = |x: &[f64], part| {
                let of = kv_compress::forward(x, &tensor(part, "weight"), &tensor(part, "bias"), &rules);
                [vec![0.0; c], of].concat()
            };
            (Seen::Compressed(f), [slots(k, "k"), slots(v, "v")])
        }
        _ => (Seen::Full, [k.clone(), v.clone()]),
    };
    let scale = head_scale(c, config.n_head);
    let rules = Rules { c, heads: config.n_head, cu_seqlens: &cu_seqlens, seen, scale };
    let checked = |row: usize| row < 4 || row + 4 >= n || row.abs_diff(n / 2) < 2;
    let expected = forward_of(Qkv { q, k: &k, v: &v }, &rules, None, checked).y;
    let rows = (0..n).filter(|row| checked(*row)).flat_map(|row| row * c..(row + 1) * c);
    let difference = rows.map(|i| (y[i] - expected[i]).abs()).fold(0.0, larger);
    difference / y.iter().map(|x| x.abs()).fold(1e-30, larger)
}

/// The larger relative difference of the sums in two identities of attention without dropout: Σ v·dv = Σ y·dy and
/// Σ q·dq = Σ k·dk over all rows.
///
/// They hold for any weights as long as biases and null keys and values are zero, and need no oracle.
fn backward_error(x: &Qkv<Vec<f64>>, dx: &Qkv<Vec<f64>>, y: &[f64], dy: &[f64]) -> f64 {
    /// Sum and sum of squares of the products.
    fn sums(x: &[f64], dx: &[f64]) -> (f64, f64) {
        x.iter().zip(dx).map(|(x, dx)| x * dx).fold((0.0, 0.0), |(sum, squares), t| (sum + t, squares + t * t))
    }
    let difference = |(a, a_squares): (f64, f64), (b, b_squares): (f64, f64)| {
        (a - b).abs() / (a_squares + b_squares).sqrt().max(1e-30)
    };
    larger(difference(sums(&x.v, &dx.v), sums(y, dy)), difference(sums(&x.q, &dx.q), sums(&x.k, &dx.k)))
}

/// The larger number; NaN if `a` is NaN.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Time per token above, memory per token below; forward on the left, backward on the right.
fn diagram(rows: &[Row], adapter: &str) -> Panels {
    let lines = |direction: &str, cost: &dyn Fn(&Row) -> f64| -> Vec<Line> {
        let of = |pattern: &&str| {
            let of = rows.iter().filter(|row| row.pattern == *pattern && row.direction == direction);
            let points = of.map(|row| (row.length as f64, cost(row))).collect();
            Line { name: pattern.to_string(), points, is_reference: false }
        };
        KINDS.iter().chain([&MIXED]).map(of).collect()
    };
    let per_token = |row: &Row| row.bytes as f64 / row.length as f64;
    let mut all: Vec<Panel> = DIRECTIONS
        .map(|direction| Panel {
            title: format!("{direction}: µs per token"),
            lines: lines(direction, &|row| row.us_per_token),
        })
        .into();
    all.extend(DIRECTIONS.map(|direction| {
        let mut lines = lines(direction, &per_token);
        // For comparison: full attention that also keeps one f32 score per head, query and key, which wgpt does not.
        let heads = ModelConfig::default().n_head as f64;
        let with_scores = |(length, bytes): &(f64, f64)| (*length, bytes + 4.0 * heads * length);
        let points = lines[0].points.iter().map(with_scores).collect();
        lines.push(Line { name: "F, T×T kept".into(), points, is_reference: true });
        Panel { title: format!("{direction}: bytes per token"), lines }
    }));
    Panels {
        title: "Attention of one layer by sequence length".into(),
        subtitle: format!("C 128, H 4, one sequence; blocks of 256 tokens, 3 tokens per slot · {adapter}"),
        size: "sequence length, tokens".into(),
        panels: all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_five_layers() {
        let row = |pattern, direction, ms, bytes, error| Row::new(pattern, 10, direction, ms, bytes, error);
        let rows =
            [row("F", 0, 50.0, 7, 9.0), row("L", 0, 1.0, 10, 0.1), row("M", 0, 6.0, 20, 0.3), row("L", 1, 9.0, 9, 0.0)];
        let mean = mixed(&rows, 10, 0);
        assert_eq!((mean.ms, mean.bytes, mean.error, mean.us_per_token), (3.0, 14, 0.3, 300.0));
        assert_eq!((mean.pattern, mean.direction), ("LMLML", "forward"));
    }

    #[test]
    fn wrong_numbers_are_found_in_both_directions() {
        let device = Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter");
        for pattern in KINDS {
            let config = model(pattern, 300);
            let mut parameters = initial_parameters(&config, 0);
            let layer = LayerAttention::new(&device, &config, &parameters).expect("a recording");
            let errors = check(&layer, &config, &parameters).expect("a run");
            assert!(errors.iter().all(|error| *error < 1e-5), "{pattern}: {errors:?}");
            if pattern == "M" {
                let index =
                    config.parameters().iter().position(|p| p.name.ends_with("compress_v.weight")).expect("weight");
                parameters[index][0] += 0.5;
                let [forward, _] = check(&layer, &config, &parameters).expect("a run");
                assert!(forward > 1e-3, "{forward}");
            }
        }
        let x = Qkv { q: vec![1.0, 2.0], k: vec![1.0, 1.0], v: vec![2.0, 1.0] };
        assert_eq!(backward_error(&x, &x, &[2.0, 1.0], &[2.0, 1.0]), 3.0 / 19f64.sqrt());
        assert!(larger(f64::NAN, 1.0).is_nan());
    }
}
