//! loss.svg: a run at a glance. Training loss pale and smoothed, validation joined, marks to compare with, and on a strip
//! below the learning rate, or what evaluations measure besides the loss. One SVG text without anything outside itself.

use std::fmt::Write;

/// A horizontal line to compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// What it is: "bigram".
    pub label: String,
    /// Where it lies, in nats.
    pub value: f64,
}

/// What evaluations measure besides the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    /// What it is: "accuracy".
    pub label: String,
    /// Its values, in order.
    pub points: Vec<(u32, f64)>,
    /// A line to compare with.
    pub reference: Option<Reference>,
}

/// What there is to draw. Points are (updates done, value), in order; values that are not finite are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The large line above: the model and its text.
    pub title: String,
    /// The small line beneath it; may be empty.
    pub subtitle: String,
    /// Training loss by step.
    pub training: Vec<(u32, f64)>,
    /// Validation loss.
    pub validation: Vec<(u32, f64)>,
    /// Learning rate by step.
    pub rate: Vec<(u32, f64)>,
    /// Updates the run will have, so that a picture of half a run shows half; 0: as many as there are.
    pub steps: u32,
    /// Lines to compare with.
    pub references: Vec<Reference>,
    /// What the losses are; empty: nats a token.
    pub loss: String,
    /// Stands on the strip in place of the learning rate.
    pub measure: Option<Measure>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 832.0;
const LOSS_TOP: f64 = 106.0;
const LOSS_BOTTOM: f64 = 418.0;
const RATE_TOP: f64 = 452.0;
const RATE_BOTTOM: f64 = 502.0;
/// Points of a line: one a pixel, or two where it is drawn as its extremes.
const COLUMNS: usize = (RIGHT - LEFT) as usize;

const INK: &str = "#1f2430";
const MUTED: &str = "#6b7280";
const GRID: &str = "#e9ebef";
const AXIS: &str = "#b6bcc6";
const TRAINING: &str = "#2f6fde";
const VALIDATION: &str = "#e0591f";
const MARK: &str = "#0f8a6b";
const RATE: &str = "#8a63d2";

/// The picture, 960 × 560.
pub fn curve(curve: &Curve) -> String {
    let finite = |points: &[(u32, f64)]| -> Vec<(f64, f64)> {
        points.iter().filter(|(_, y)| y.is_finite()).map(|(x, y)| (f64::from(*x), *y)).collect()
    };
    let (training, validation, rate) = (finite(&curve.training), finite(&curve.validation), finite(&curve.rate));
    let references: Vec<&Reference> = curve.references.iter().filter(|r| r.value.is_finite()).collect();
    let smoothed = smooth(&training);

    let last = [&training, &validation, &rate].iter().filter_map(|p| p.last()).map(|p| p.0).fold(1.0, f64::max);
    let steps = last.max(f64::from(curve.steps));
    let losses = training.iter().chain(&validation).map(|p| p.1).chain(references.iter().map(|r| r.value));
    let (low, high) = losses.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = ((high - low) * 0.05).max(0.02 * high.abs()).max(1e-3);
    let loss = Axis { from: low - room, to: high + room, start: LOSS_BOTTOM, end: LOSS_TOP };
    let step = Axis { from: 0.0, to: steps, start: LEFT, end: RIGHT };

    let mut svg = Svg::new(&format!("{} {}", curve.title, curve.subtitle));
    svg.text(LEFT, 36.0, "start", 19.0, INK, 650, &curve.title);
    svg.text(LEFT, 58.0, "start", 13.0, MUTED, 400, &curve.subtitle);

    let of_loss = if curve.loss.is_empty() { "loss, nats a token" } else { &curve.loss };

    // Grids and axes.
    for tick in loss.ticks(8, 0.0) {
        svg.line(LEFT, RIGHT, loss.at(tick.0), GRID, 1.0, "");
        svg.text(LEFT - 9.0, loss.at(tick.0) + 4.0, "end", 12.0, MUTED, 400, &tick.1);
    }
    svg.line(LEFT, RIGHT, LOSS_BOTTOM, AXIS, 1.0, "");
    svg.line(LEFT, RIGHT, RATE_BOTTOM, AXIS, 1.0, "");
    for tick in step.ticks(8, 1.0) {
        let x = step.at(tick.0);
        svg.upright(x, LOSS_BOTTOM, LOSS_BOTTOM + 4.0, AXIS);
        svg.upright(x, RATE_BOTTOM, RATE_BOTTOM + 4.0, AXIS);
        svg.text(x, RATE_BOTTOM + 19.0, "middle", 12.0, MUTED, 400, &tick.1);
    }
    svg.text((LEFT + RIGHT) / 2.0, RATE_BOTTOM + 42.0, "middle", 12.0, MUTED, 400, "updates");
    svg.text(LEFT, LOSS_TOP - 10.0, "start", 12.0, MUTED, 400, of_loss);

    // Lines: what matters most is drawn last.
    for reference in &references {
        svg.line(LEFT, RIGHT, loss.at(reference.value), MARK, 1.3, "6 4");
    }
    svg.path(&extremes(&training, &step), &step, &loss, TRAINING, 1.0, 0.28, None);
    svg.path(&thin(&smoothed), &step, &loss, TRAINING, 2.0, 1.0, None);
    if let [only] = training[..] {
        svg.dot(step.at(only.0), loss.at(only.1), TRAINING);
    }
    svg.path(&thin(&validation), &step, &loss, VALIDATION, 2.0, 1.0, None);
    if validation.len() <= 60 {
        for (x, y) in &validation {
            svg.dot(step.at(*x), loss.at(*y), VALIDATION);
        }
    }
    match &curve.measure {
        Some(measure) => measure_strip(&mut svg, measure, &finite(&measure.points), &step),
        None => rate_strip(&mut svg, &rate, &step),
    }

    // Names stand at the lines' ends, pushed apart where they would touch.
    let mut names = Vec::new();
    if let Some(p) = smoothed.last() {
        names.push((loss.at(p.1), TRAINING, "training".to_string(), p.1));
    }
    if let Some(p) = validation.last() {
        names.push((loss.at(p.1), VALIDATION, "validation".to_string(), p.1));
    }
    names.extend(references.iter().map(|r| (loss.at(r.value), MARK, r.label.clone(), r.value)));
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|n| n.0).collect();
    for (y, (_, colour, name, value)) in apart(&heights, 17.0, LOSS_TOP, LOSS_BOTTOM).iter().zip(&names) {
        svg.text(RIGHT + 10.0, y + 4.0, "start", 12.5, colour, 600, &format!("{name} {value:.2}"));
    }
    svg.end()
}

fn rate_strip(svg: &mut Svg, rate: &[(f64, f64)], step: &Axis) {
    svg.text(LEFT, RATE_TOP - 7.0, "start", 12.0, MUTED, 400, "learning rate");
    let top = rate.iter().map(|p| p.1).fold(0.0, f64::max);
    if top > 0.0 {
        let strip = Axis { from: 0.0, to: top * 1.12, start: RATE_BOTTOM, end: RATE_TOP };
        svg.path(&thin(rate), step, &strip, RATE, 1.6, 1.0, Some(RATE_BOTTOM));
        svg.text(LEFT - 9.0, strip.at(top) + 4.0, "end", 12.0, MUTED, 400, &number(top));
        svg.text(LEFT - 9.0, RATE_BOTTOM + 4.0, "end", 12.0, MUTED, 400, "0");
    }
}

fn measure_strip(svg: &mut Svg, measure: &Measure, points: &[(f64, f64)], step: &Axis) {
    svg.text(LEFT, RATE_TOP - 7.0, "start", 12.0, MUTED, 400, &measure.label);
    let reference = measure.reference.as_ref().filter(|reference| reference.value.is_finite());
    let values = points.iter().map(|p| p.1).chain(reference.map(|reference| reference.value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let Some(last) = points.last() else { return };
    let room = ((high - low) * 0.1).max(1e-3);
    let strip = Axis { from: low - room, to: high + room, start: RATE_BOTTOM, end: RATE_TOP };
    let mut names = vec![(strip.at(last.1), RATE, format!("last {:.3}", last.1))];
    if let Some(Reference { label, value }) = reference {
        svg.line(LEFT, RIGHT, strip.at(*value), MARK, 1.3, "6 4");
        names.push((strip.at(*value), MARK, format!("{label} {value:.3}")));
    }
    svg.path(&thin(points), step, &strip, RATE, 1.6, 1.0, None);
    if points.len() <= 60 {
        points.iter().for_each(|(x, y)| svg.dot(step.at(*x), strip.at(*y), RATE));
    }
    // The best of several stands beside its point.
    let best = points.iter().copied().fold(*last, |best, point| if point.1 >= best.1 { point } else { best });
    if best != *last {
        svg.text(step.at(best.0), strip.at(best.1) - 7.0, "middle", 12.0, RATE, 600, &format!("{:.3}", best.1));
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|name| name.0).collect();
    for (y, (_, colour, name)) in apart(&heights, 17.0, RATE_TOP, RATE_BOTTOM).iter().zip(&names) {
        svg.text(RIGHT + 10.0, y + 4.0, "start", 12.5, colour, 600, name);
    }
}

/// A straight map of numbers to pixels.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// About `count` round numbers of the axis with their labels, `least` or more apart.
    fn ticks(&self, count: usize, least: f64) -> Vec<(f64, String)> {
        let raw = ((self.to - self.from) / count as f64).max(least);
        let power = 10f64.powf(raw.log10().floor());
        let whole = |step: &f64| least < 1.0 || step.fract() == 0.0;
        let mut steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().filter(whole);
        let step = steps.find(|s| *s >= raw * 0.999).unwrap_or(raw);
        // The first that shows one step apart: 2.5 needs a digit, 0.25 two.
        let digits = (0..9).find(|d| (step * 10f64.powi(*d)).fract().abs() < 1e-6).unwrap_or(9) as usize;
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|v| (v, grouped(v, digits))).collect()
    }
}

/// A number with thin spaces between thousands.
fn grouped(value: f64, digits: usize) -> String {
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

/// A rate as people write it: 0.002, 6e-4, 2.5e-4.
fn number(value: f64) -> String {
    let text = format!("{:.3e}", value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    match exponent.parse::<i32>().unwrap_or(0) {
        -3..=2 => format!("{}", (value * 1e5).round() / 1e5),
        e => format!("{mantissa}e{e}"),
    }
}

/// A moving mean, weighted as a triangle over some four hundredths of the points. It narrows towards the first point,
/// where the loss falls steeply and a wide mean would hide it; at the end it takes the points there are.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 50).max(2) as i64;
    let of = |centre: usize| {
        let (mut sum, mut weight) = (0.0, 0.0);
        let reach = reach.min(centre as i64);
        for offset in -reach..=reach {
            if let Some((_, y)) = usize::try_from(centre as i64 + offset).ok().and_then(|i| points.get(i)) {
                let w = (reach + 1 - offset.abs()) as f64;
                (sum, weight) = (sum + w * y, weight + w);
            }
        }
        (points[centre].0, sum / weight)
    };
    // A long run is smoothed where it is drawn, not at each of its points.
    let stride = (points.len() / (2 * COLUMNS)).max(1);
    let mut centres: Vec<usize> = (0..points.len()).step_by(stride).collect();
    if let Some(last) = points.len().checked_sub(1)
        && centres.last() != Some(&last)
    {
        centres.push(last);
    }
    centres.into_iter().map(of).collect()
}

/// At most two points a pixel: every n-th, and the last.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(2 * COLUMNS).max(1);
    let mut out: Vec<_> = points.iter().step_by(stride).copied().collect();
    if let Some(last) = points.last()
        && out.last() != Some(last)
    {
        out.push(*last);
    }
    out
}

/// A noisy line as each pixel's lowest and highest point, so that a long run keeps its band.
fn extremes(points: &[(f64, f64)], step: &Axis) -> Vec<(f64, f64)> {
    if points.len() <= 2 * COLUMNS {
        return points.to_vec();
    }
    points
        .chunk_by(|a, b| step.at(a.0).floor() == step.at(b.0).floor())
        .flat_map(|pixel| {
            let low = pixel.iter().copied().fold(pixel[0], |a, b| if b.1 < a.1 { b } else { a });
            let high = pixel.iter().copied().fold(pixel[0], |a, b| if b.1 > a.1 { b } else { a });
            if low.0 <= high.0 { [low, high] } else { [high, low] }
        })
        .collect()
}

/// Sorted heights moved as little as it takes to stand `gap` apart, within bounds as far as they fit.
fn apart(heights: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    // Clusters of touching labels, each centred on the mean of its members.
    let mut clusters: Vec<(f64, usize)> = Vec::new();
    for height in heights {
        clusters.push((*height, 1));
        while let [.., (above, m), (below, n)] = clusters[..] {
            let touching = (below - above) < gap * (m + n) as f64 / 2.0;
            if !touching {
                break;
            }
            let centre = (above * m as f64 + below * n as f64) / (m + n) as f64;
            clusters.truncate(clusters.len() - 2);
            clusters.push((centre, m + n));
        }
    }
    let place = |(centre, n): (f64, usize)| {
        let half = gap * (n as f64 - 1.0) / 2.0;
        let centre = centre.min(bottom - half).max(top + half);
        (0..n).map(move |i| centre - half + gap * i as f64)
    };
    clusters.into_iter().flat_map(place).collect()
}

/// The picture as it is written.
struct Svg {
    text: String,
}

impl Svg {
    fn new(label: &str) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" font-family=\"system-ui, -apple-system, \
             'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n",
            escaped(label.trim())
        );
        Svg { text }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(element);
        self.text.push('\n');
    }

    #[expect(clippy::too_many_arguments, reason = "a text of SVG has these parts")]
    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, fill: &str, weight: u32, words: &str) {
        if !words.is_empty() {
            self.add(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" font-weight=\"{weight}\" \
                 fill=\"{fill}\">{}</text>",
                escaped(words)
            ));
        }
    }

    fn line(&mut self, x1: f64, x2: f64, y: f64, stroke: &str, width: f64, dash: &str) {
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{stroke}\" stroke-width=\"{width}\"{dash}/>"
        ));
    }

    fn upright(&mut self, x: f64, y1: f64, y2: f64, stroke: &str) {
        self.add(format_args!("<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"));
    }

    fn dot(&mut self, x: f64, y: f64, fill: &str) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{fill}\" stroke=\"#ffffff\" stroke-width=\"1.3\"/>"
        ));
    }

    #[expect(clippy::too_many_arguments, reason = "a path of SVG has these parts")]
    fn path(
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

    fn end(mut self) -> String {
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
    use crate::philox::{Stream, Words};

    fn sample(steps: u32, whole: u32) -> Curve {
        let mut words = Words::new(3, Stream::Order, 0, 0);
        let mean = |s: f64| 3.3 + 1.9 * (-s / 170.0).exp() + 1.0 * (-s / 12.0).exp();
        let noise = |words: &mut Words| 0.09 * words.normal_pair()[0];
        Curve {
            title: "nano on shakespeare".into(),
            subtitle: "0.9 M parameters · 4 layers, width 128 · V 512 & <bytes>".into(),
            training: (1..=steps)
                .map(|s| (s, mean(f64::from(s) * 1000.0 / f64::from(whole)) + noise(&mut words)))
                .collect(),
            validation: (0..=steps)
                .step_by(whole as usize / 10)
                .map(|s| (s, mean(f64::from(s) * 1000.0 / f64::from(whole)) + 0.09))
                .collect(),
            rate: (1..=steps)
                .map(|s| {
                    let (s, warmup) = (f64::from(s), f64::from(whole) / 5.0);
                    let gone = (s - warmup) / (f64::from(whole) - warmup);
                    (
                        s as u32,
                        2e-3 * if s < warmup { s / warmup } else { 0.5 * (1.0 + (std::f64::consts::PI * gone).cos()) },
                    )
                })
                .collect(),
            steps: whole,
            references: vec![
                Reference { label: "unigram".into(), value: 5.19 },
                Reference { label: "bigram".into(), value: 3.66 },
            ],
            ..Curve::default()
        }
    }

    /// Three epochs of 50 updates.
    fn epochs() -> Curve {
        let of_epochs = |values: [f64; 3]| (1..).map(|epoch| 50 * epoch).zip(values).collect();
        Curve {
            title: "entail on train.tsv".into(),
            loss: "loss, L2 + 0.5 · L1".into(),
            validation: of_epochs([2.1, 1.9, 1.95]),
            references: Vec::new(),
            measure: Some(Measure {
                label: "accuracy on validation".into(),
                points: of_epochs([0.61, 0.655, 0.64]),
                reference: Some(Reference { label: "majority".into(), value: 0.567 }),
            }),
            ..sample(150, 150)
        }
    }

    /// With WGPT_CURVE=FOLDER the pictures stay there, to be looked at.
    #[test]
    fn a_curve_is_whole_for_runs_of_every_length() {
        let empty = Curve { title: "nothing yet".into(), ..Curve::default() };
        let one = Curve { training: vec![(1, 6.2), (2, f64::NAN)], ..Curve::default() };
        for (name, data) in [
            ("whole", sample(1000, 1000)),
            ("half", sample(420, 1000)),
            ("long", sample(60_000, 60_000)),
            ("short", sample(20, 20)),
            ("epochs", epochs()),
            ("no epoch", Curve { measure: Some(Measure::default()), ..sample(20, 20) }),
            ("one", one),
            ("empty", empty),
        ] {
            let svg = curve(&data);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
            assert!(svg.len() < 120_000, "{name}: {} bytes", svg.len());
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count(), "{name}");
            if let Ok(folder) = std::env::var("WGPT_CURVE") {
                std::fs::write(format!("{folder}/{name}.svg"), &svg).expect("picture");
            }
        }
        let svg = curve(&sample(1000, 1000));
        assert!(
            svg.contains("V 512 &amp; &lt;bytes&gt;") && svg.contains("bigram 3.66") && svg.contains("learning rate")
        );
        let svg = curve(&epochs());
        for text in [">accuracy on validation<", ">majority 0.567<", ">last 0.640<", ">0.655<", ">loss, L2 + 0.5 · L1<"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("learning rate"));
    }

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
        assert_eq!([2e-3, 6e-4, 2.5e-4, 0.01].map(number), ["0.002", "6e-4", "2.5e-4", "0.01"]);
    }

    #[test]
    fn names_do_not_touch() {
        let placed = apart(&[100.0, 101.0, 102.0, 300.0], 17.0, 92.0, 418.0);
        assert!(placed.windows(2).all(|w| w[1] - w[0] > 16.9), "{placed:?}");
        assert_eq!(placed[3], 300.0);
        assert!(apart(&[417.0, 418.0], 17.0, 92.0, 418.0).iter().all(|y| *y <= 418.0));
    }
}
