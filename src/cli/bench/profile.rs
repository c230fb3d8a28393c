//! `--profile`: the time of a step or a token by kernel.

use crate::gpu::program::Timing;
use crate::report::{Align, Table};
use std::collections::BTreeMap;

/// The timings of one kernel, added up.
#[derive(Default)]
struct Sum {
    dispatches: usize,
    ms: f64,
    flops: f64,
}

/// A table with one row per kernel, the longest time first.
pub(super) fn by_kernel(timings: Vec<Timing>) -> Table {
    let mut kernels: BTreeMap<String, Sum> = BTreeMap::new();
    for Timing { label, ms, flops } in timings {
        let sum = kernels.entry(label).or_default();
        sum.dispatches += 1;
        sum.ms += ms;
        sum.flops += flops;
    }
    let total: f64 = kernels.values().map(|sum| sum.ms).sum();
    let mut kernels: Vec<(String, Sum)> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms));
    let right = |head| (head, Align::Right);
    let mut table =
        Table::new(&[("kernel", Align::Left), right("dispatches"), right("ms"), right("share"), right("GFLOP/s")]);
    for (kernel, Sum { dispatches, ms, flops }) in kernels {
        let speed = if flops > 0.0 { format!("{:.1}", flops / ms / 1e6) } else { String::new() };
        let share = format!("{:.1} %", 100.0 * ms / total);
        table.row([kernel, dispatches.to_string(), format!("{ms:.3}"), share, speed]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_added_up_by_kernel() {
        let timing = |label: &str, ms, flops| Timing { label: label.into(), ms, flops };
        let timings = vec![timing("gelu", 1.0, 0.0), timing("matmul", 2.0, 1e7), timing("matmul", 1.0, 2e7)];
        let text = by_kernel(timings).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["matmul", "2", "3.000", "75.0", "%", "10.0"]), "{text}");
        assert!(rows.contains(&vec!["gelu", "1", "1.000", "25.0", "%"]), "{text}");
    }
}
