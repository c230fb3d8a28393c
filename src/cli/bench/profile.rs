//! `--profile`: the time of a step or a token by kernel.

use crate::gpu::Timing;
use crate::report::{Align, Table};
use std::collections::BTreeMap;

/// The timings of one kernel with one grid, added up.
#[derive(serde::Serialize)]
pub(super) struct KernelTime {
    kernel: String,
    groups: [u32; 3],
    dispatches: usize,
    ms: f64,
    gflops: f64,
}

/// The time by kernel and grid, the longest first.
pub(super) fn by_grid(timings: Vec<Timing>) -> Vec<KernelTime> {
    let mut sums: BTreeMap<(&str, [u32; 3]), Sum> = BTreeMap::new();
    for Timing { label, groups, ms, flops } in timings {
        sums.entry((label, groups)).or_default().add(ms, flops);
    }
    let time = |((kernel, groups), sum): ((&str, _), Sum)| {
        let Sum { dispatches, ms, flops } = sum;
        KernelTime { kernel: kernel.into(), groups, dispatches, ms, gflops: flops / ms.max(1e-9) / 1e6 }
    };
    let mut all: Vec<KernelTime> = sums.into_iter().map(time).collect();
    all.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    all
}

/// Timings, added up.
#[derive(Default)]
struct Sum {
    dispatches: usize,
    ms: f64,
    flops: f64,
}

impl Sum {
    fn add(&mut self, ms: f64, flops: f64) {
        self.dispatches += 1;
        self.ms += ms;
        self.flops += flops;
    }
}

/// A table with one row per kernel, the longest time first.
pub(super) fn by_kernel(timings: Vec<Timing>) -> Table {
    let mut kernels: BTreeMap<&str, Sum> = BTreeMap::new();
    for Timing { label, ms, flops, .. } in timings {
        kernels.entry(label).or_default().add(ms, flops);
    }
    let total: f64 = kernels.values().map(|sum| sum.ms).sum();
    let mut kernels: Vec<(&str, Sum)> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms));
    let right = |head| (head, Align::Right);
    let mut table =
        Table::new(&[("kernel", Align::Left), right("dispatches"), right("ms"), right("share"), right("GFLOP/s")]);
    for (kernel, Sum { dispatches, ms, flops }) in kernels {
        let speed = if flops > 0.0 { format!("{:.1}", flops / ms / 1e6) } else { String::new() };
        let share = format!("{:.1} %", 100.0 * ms / total);
        table.row([kernel.to_string(), dispatches.to_string(), format!("{ms:.3}"), share, speed]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_added_up_by_kernel() {
        let timing = |label: &'static str, ms, flops| Timing { label, groups: [1; 3], ms, flops };
        let timings = vec![timing("gelu", 1.0, 0.0), timing("matmul", 2.0, 1e7), timing("matmul", 1.0, 2e7)];
        let text = by_kernel(timings).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["matmul", "2", "3.000", "75.0", "%", "10.0"]), "{text}");
        assert!(rows.contains(&vec!["gelu", "1", "1.000", "25.0", "%"]), "{text}");
    }
}
