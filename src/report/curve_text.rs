//! The loss curve of a run in ASCII, for the terminal: `.` training, `o` validation, `-` the first reference line.

use super::curve::Curve;

/// The curve in `columns` × `rows` characters, with an axis on two sides. Empty for a run without any loss.
pub fn curve_text(curve: &Curve, columns: usize, rows: usize) -> String {
    let (columns, rows) = (columns.max(8), rows.max(4));
    let finite =
        |points: &[(u32, f64)]| -> Vec<(u32, f64)> { points.iter().copied().filter(|(_, y)| y.is_finite()).collect() };
    let (training, validation) = (finite(&curve.training), finite(&curve.validation));
    let reference = curve.references.first().filter(|r| r.value.is_finite());
    let all = || training.iter().chain(&validation).map(|p| p.1).chain(reference.map(|r| r.value));
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    if low > high {
        return String::new();
    }
    let steps = training.iter().chain(&validation).map(|p| p.0).max().unwrap_or(0).max(curve.steps).max(1);
    let height = (high - low).max(1e-9);
    let row = |y: f64| (((high - y) / height) * (rows - 1) as f64).round() as usize;
    let column = |step: u32| (f64::from(step) / f64::from(steps) * (columns - 1) as f64).round() as usize;
    let mut grid = vec![vec![' '; columns]; rows];
    if let Some(reference) = reference {
        grid[row(reference.value)].fill('-');
    }
    // The training loss is the mean of a column's points.
    let mut sums = vec![(0.0, 0u32); columns];
    for (step, y) in &training {
        let sum = &mut sums[column(*step)];
        *sum = (sum.0 + y, sum.1 + 1);
    }
    for (at, (sum, count)) in sums.iter().enumerate().filter(|(_, s)| s.1 > 0) {
        grid[row(sum / f64::from(*count))][at] = '.';
    }
    for (step, y) in &validation {
        grid[row(*y)][column(*step)] = 'o';
    }
    let mut out = String::new();
    for (at, line) in grid.iter().enumerate() {
        let y = high - height * at as f64 / (rows - 1) as f64;
        let line: String = line.iter().collect();
        out += &format!("{y:7.2} |{}\n", line.trim_end());
    }
    out += &format!("{:8}+{}\n", "", "-".repeat(columns));
    out += &format!("{:9}0{:>width$}\n", "", format!("{steps} optimizer steps"), width = columns - 1);
    let reference = reference.map_or(String::new(), |r| format!("   - {} {:.2}", r.label, r.value));
    out + &format!("{:9}. training   o validation{reference}\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::curve::Reference;

    #[test]
    fn a_falling_loss_is_drawn_from_top_to_bottom() {
        let curve = Curve {
            training: (1..=100).map(|s| (s, 6.0 - f64::from(s) * 0.03)).collect(),
            validation: vec![(0, 6.0), (100, 3.0)],
            steps: 100,
            references: vec![Reference { label: "bigram".into(), value: 4.0 }],
            ..Curve::default()
        };
        let text = curve_text(&curve, 40, 10);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 13);
        assert!(lines[0].starts_with("   6.00 |o") && lines[9].starts_with("   3.00 |"), "{text}");
        assert!(lines[9].ends_with('o') && lines[12].contains("bigram 4.00") && text.is_ascii(), "{text}");
        assert!(lines[6].contains("---"), "{text}");
        assert_eq!(curve_text(&Curve::default(), 40, 10), "");
        let one = Curve { validation: vec![(0, 5.0)], ..Curve::default() };
        assert!(curve_text(&one, 40, 10).contains("5.00 |o"));
    }
}
