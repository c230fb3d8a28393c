//! Elements of SVG pictures: colors, a linear axis with round ticks, labels that do not overlap, and the text of an SVG that
//! uses no other files.

use std::fmt::Write;

pub(super) const INK: &str = "#1f2430";
pub(super) const MUTED: &str = "#6b7280";
pub(super) const GRID: &str = "#e9ebef";
pub(super) const AXIS: &str = "#b6bcc6";
/// Colors of lines.
pub(super) const BLUE: &str = "#2f6fde";
pub(super) const ORANGE: &str = "#e0591f";
pub(super) const GREEN: &str = "#0f8a6b";
pub(super) const VIOLET: &str = "#8a63d2";

/// A linear map of values `from..to` to pixels `start..end`.
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) start: f64,
    pub(super) end: f64,
}

impl Axis {
    pub(super) fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// About `count` round values on the axis with their labels, at least `least` apart.
    pub(super) fn ticks(&self, count: usize, least: f64) -> Vec<(f64, String)> {
        let raw = ((self.to - self.from) / count as f64).max(least);
        let power = 10f64.powf(raw.log10().floor());
        let whole = |step: &f64| least < 1.0 || step.fract() == 0.0;
        let mut steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().filter(whole);
        let step = steps.find(|s| *s >= raw * 0.999).unwrap_or(raw);
        // As few decimals as show the step exactly: one for 2.5, two for 0.25.
        let digits = (0..9).find(|d| (step * 10f64.powi(*d)).fract().abs() < 1e-6).unwrap_or(9) as usize;
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|v| (v, group_thousands(v, digits))).collect()
    }
}

/// A number with `digits` decimals and thin spaces between thousands, if it has five digits or more.
pub(super) fn group_thousands(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        let left = whole.len() - i;
        if i > 0 && left % 3 == 0 && whole.len() > 4 && c != '-' {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out + &rest
}

/// Moves sorted heights of labels as little as possible so that they are `gap` apart, within `top..bottom` as far as they
/// fit.
pub(super) fn spread_labels(heights: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    // Clusters of touching labels (center, number of labels), each at the mean of its members.
    let mut clusters: Vec<(f64, usize)> = Vec::new();
    for height in heights {
        clusters.push((*height, 1));
        while let [.., (above, m), (below, n)] = clusters[..] {
            let touching = (below - above) < gap * (m + n) as f64 / 2.0;
            if !touching {
                break;
            }
            let center = (above * m as f64 + below * n as f64) / (m + n) as f64;
            clusters.truncate(clusters.len() - 2);
            clusters.push((center, m + n));
        }
    }
    let place = |(center, n): (f64, usize)| {
        let half = gap * (n as f64 - 1.0) / 2.0;
        let center = center.min(bottom - half).max(top + half);
        (0..n).map(move |i| center - half + gap * i as f64)
    };
    clusters.into_iter().flat_map(place).collect()
}

/// An SVG picture, written element by element.
pub(super) struct Svg {
    text: String,
}

impl Svg {
    /// A white picture; `label` is for screen readers.
    pub(super) fn new([width, height]: [f64; 2], label: &str) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" font-family=\"system-ui, -apple-system, \
             'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
            escaped(label.trim())
        );
        Svg { text }
    }

    /// Writes an element.
    pub(super) fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(element);
        self.text.push('\n');
    }

    /// A text, unless `words` is empty.
    #[expect(clippy::too_many_arguments, reason = "a text of SVG has these parts")]
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, fill: &str, weight: u32, words: &str) {
        if !words.is_empty() {
            self.add(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" font-weight=\"{weight}\" \
                 fill=\"{fill}\">{}</text>",
                escaped(words)
            ));
        }
    }

    /// A horizontal line.
    pub(super) fn horizontal_line(&mut self, x1: f64, x2: f64, y: f64, stroke: &str, width: f64, dash: &str) {
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{stroke}\" stroke-width=\"{width}\"{dash}/>"
        ));
    }

    /// A vertical line.
    pub(super) fn vertical_line(&mut self, x: f64, y1: f64, y2: f64, stroke: &str) {
        self.add(format_args!("<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"));
    }

    /// A dot of a line.
    pub(super) fn dot(&mut self, x: f64, y: f64, fill: &str) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{fill}\" stroke=\"#ffffff\" stroke-width=\"1.3\"/>"
        ));
    }

    /// A line through `points`, which `x` and `y` map to pixels; with `floor`, the area down to this height is tinted.
    #[expect(clippy::too_many_arguments, reason = "a path of SVG has these parts")]
    pub(super) fn path(
        &mut self,
        points: &[(f64, f64)],
        x: &Axis,
        y: &Axis,
        stroke: &str,
        width: f64,
        opacity: f64,
        floor: Option<f64>,
    ) {
        let [first, .., last] = points else { return };
        let mut d = String::new();
        for (i, p) in points.iter().enumerate() {
            let _ = write!(d, "{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, x.at(p.0), y.at(p.1));
        }
        if let Some(floor) = floor {
            self.add(format_args!(
                "<path d=\"{d}L{:.1} {floor:.1}L{:.1} {floor:.1}Z\" fill=\"{stroke}\" fill-opacity=\"0.12\"/>",
                x.at(last.0),
                x.at(first.0)
            ));
        }
        self.add(format_args!(
            "<path d=\"{d}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" \
             stroke-linejoin=\"round\" stroke-linecap=\"round\"/>"
        ));
    }

    /// A thin dashed line, for reference values.
    pub(super) fn dashed_line(&mut self, points: &[(f64, f64)], x: &Axis, y: &Axis, stroke: &str) {
        let all: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x.at(p.0), y.at(p.1))).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"1.3\" stroke-dasharray=\"6 4\"/>",
            all.join(" ")
        ));
    }

    /// The complete text.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let labels = |from, to, count, least| -> Vec<String> {
            Axis { from, to, start: 0.0, end: 1.0 }.ticks(count, least).into_iter().map(|t| t.1).collect()
        };
        assert_eq!(labels(0.0, 1000.0, 8, 1.0), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(labels(3.1, 4.2, 5, 0.0), ["3.25", "3.50", "3.75", "4.00"]);
        assert_eq!(labels(0.0, 60_000.0, 3, 1.0), ["0", "20\u{202f}000", "40\u{202f}000", "60\u{202f}000"]);
        assert_eq!(labels(0.0, 20.0, 8, 1.0), ["0", "5", "10", "15", "20"]);
        assert_eq!(labels(0.0, 1.0, 8, 1.0), ["0", "1"]);
    }

    #[test]
    fn labels_do_not_overlap() {
        let placed = spread_labels(&[100.0, 101.0, 102.0, 300.0], 17.0, 92.0, 418.0);
        assert!(placed.windows(2).all(|w| w[1] - w[0] > 16.9), "{placed:?}");
        assert_eq!(placed[3], 300.0);
        assert!(spread_labels(&[417.0, 418.0], 17.0, 92.0, 418.0).iter().all(|y| *y <= 418.0));
    }
}
