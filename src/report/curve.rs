//! loss.svg: the loss curve of a run. It shows the training loss (each step pale, smoothed in full color), the validation loss
//! and reference lines; on a strip below, the learning rate or another measure of evaluations.

use super::svg::{AXIS, Axis, BLUE, GREEN, GRID, INK, MUTED, ORANGE, Svg, VIOLET, spread_labels};

/// A horizontal reference line.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Its label, such as "bigram".
    pub label: String,
    /// Its value, in the unit of the curve.
    pub value: f64,
}

/// A measure of evaluations besides the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    /// Its label, such as "accuracy".
    pub label: String,
    /// Its points (optimizer steps done, value), in order.
    pub points: Vec<(u32, f64)>,
    /// A reference line.
    pub reference: Option<Reference>,
}

/// The data of a loss curve. Points are (optimizer steps done, value), in order; values that are not finite are not drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The title: model and text.
    pub title: String,
    /// The smaller line below the title; may be empty.
    pub subtitle: String,
    /// Training loss by step.
    pub training: Vec<(u32, f64)>,
    /// Validation loss.
    pub validation: Vec<(u32, f64)>,
    /// Learning rate by step.
    pub rate: Vec<(u32, f64)>,
    /// Optimizer steps of the whole run, so that half a run fills half of the picture; 0: as many as there are points.
    pub steps: u32,
    /// Reference lines.
    pub references: Vec<Reference>,
    /// The label of the losses; if empty, "loss, nats per token".
    pub loss: String,
    /// A measure for the strip, in place of the learning rate.
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
/// Width of the plot in pixels, which limits the points of a line.
const COLUMNS: usize = (RIGHT - LEFT) as usize;

const TRAINING: &str = BLUE;
const VALIDATION: &str = ORANGE;
const REFERENCE: &str = GREEN;
const RATE: &str = VIOLET;

/// The picture as SVG, 960 × 560 pixels.
pub fn curve_svg(curve: &Curve) -> String {
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
    let margin = ((high - low) * 0.05).max(0.02 * high.abs()).max(1e-3);
    let loss = Axis { from: low - margin, to: high + margin, start: LOSS_BOTTOM, end: LOSS_TOP };
    let step = Axis { from: 0.0, to: steps, start: LEFT, end: RIGHT };

    let mut svg = Svg::new([WIDTH, HEIGHT], &format!("{} {}", curve.title, curve.subtitle));
    svg.text(LEFT, 36.0, "start", 19.0, INK, 650, &curve.title);
    svg.text(LEFT, 58.0, "start", 13.0, MUTED, 400, &curve.subtitle);

    let of_loss = if curve.loss.is_empty() { "loss, nats per token" } else { &curve.loss };

    // Grids and axes.
    for tick in loss.ticks(8, 0.0) {
        svg.horizontal_line(LEFT, RIGHT, loss.at(tick.0), GRID, 1.0, "");
        svg.text(LEFT - 9.0, loss.at(tick.0) + 4.0, "end", 12.0, MUTED, 400, &tick.1);
    }
    svg.horizontal_line(LEFT, RIGHT, LOSS_BOTTOM, AXIS, 1.0, "");
    svg.horizontal_line(LEFT, RIGHT, RATE_BOTTOM, AXIS, 1.0, "");
    for tick in step.ticks(8, 1.0) {
        let x = step.at(tick.0);
        svg.vertical_line(x, LOSS_BOTTOM, LOSS_BOTTOM + 4.0, AXIS);
        svg.vertical_line(x, RATE_BOTTOM, RATE_BOTTOM + 4.0, AXIS);
        svg.text(x, RATE_BOTTOM + 19.0, "middle", 12.0, MUTED, 400, &tick.1);
    }
    svg.text((LEFT + RIGHT) / 2.0, RATE_BOTTOM + 42.0, "middle", 12.0, MUTED, 400, "optimizer steps");
    svg.text(LEFT, LOSS_TOP - 10.0, "start", 12.0, MUTED, 400, of_loss);

    // The lines, in the order of importance: a later one is drawn over the earlier ones.
    for reference in &references {
        svg.horizontal_line(LEFT, RIGHT, loss.at(reference.value), REFERENCE, 1.3, "6 4");
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

    // Labels at the ends of the lines.
    let mut names = Vec::new();
    if let Some(p) = smoothed.last() {
        names.push((loss.at(p.1), TRAINING, "training".to_string(), p.1));
    }
    if let Some(p) = validation.last() {
        names.push((loss.at(p.1), VALIDATION, "validation".to_string(), p.1));
    }
    names.extend(references.iter().map(|r| (loss.at(r.value), REFERENCE, r.label.clone(), r.value)));
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|n| n.0).collect();
    for (y, (_, color, name, value)) in spread_labels(&heights, 17.0, LOSS_TOP, LOSS_BOTTOM).iter().zip(&names) {
        svg.text(RIGHT + 10.0, y + 4.0, "start", 12.5, color, 600, &format!("{name} {value:.2}"));
    }
    svg.finish()
}

fn rate_strip(svg: &mut Svg, rate: &[(f64, f64)], step: &Axis) {
    svg.text(LEFT, RATE_TOP - 7.0, "start", 12.0, MUTED, 400, "learning rate");
    let top = rate.iter().map(|p| p.1).fold(0.0, f64::max);
    if top > 0.0 {
        let strip = Axis { from: 0.0, to: top * 1.12, start: RATE_BOTTOM, end: RATE_TOP };
        svg.path(&thin(rate), step, &strip, RATE, 1.6, 1.0, Some(RATE_BOTTOM));
        svg.text(LEFT - 9.0, strip.at(top) + 4.0, "end", 12.0, MUTED, 400, &format_rate(top));
        svg.text(LEFT - 9.0, RATE_BOTTOM + 4.0, "end", 12.0, MUTED, 400, "0");
    }
}

fn measure_strip(svg: &mut Svg, measure: &Measure, points: &[(f64, f64)], step: &Axis) {
    let reference = measure.reference.as_ref().filter(|reference| reference.value.is_finite());
    // The name of a reference may be longer than the space beside the plot.
    let title = match reference {
        Some(reference) => format!("{}; dashed: {}", measure.label, reference.label),
        None => measure.label.clone(),
    };
    svg.text(LEFT, RATE_TOP - 7.0, "start", 12.0, MUTED, 400, &title);
    let values = points.iter().map(|p| p.1).chain(reference.map(|reference| reference.value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let Some(last) = points.last() else { return };
    let margin = ((high - low) * 0.1).max(1e-3);
    let strip = Axis { from: low - margin, to: high + margin, start: RATE_BOTTOM, end: RATE_TOP };
    let mut names = vec![(strip.at(last.1), RATE, format!("last {:.3}", last.1))];
    if let Some(Reference { value, .. }) = reference {
        svg.horizontal_line(LEFT, RIGHT, strip.at(*value), REFERENCE, 1.3, "6 4");
        names.push((strip.at(*value), REFERENCE, format!("{value:.3}")));
    }
    svg.path(&thin(points), step, &strip, RATE, 1.6, 1.0, None);
    if points.len() <= 60 {
        points.iter().for_each(|(x, y)| svg.dot(step.at(*x), strip.at(*y), RATE));
    }
    // The best value is written at its point.
    let best = points.iter().copied().fold(*last, |best, point| if point.1 >= best.1 { point } else { best });
    if best != *last {
        svg.text(step.at(best.0), strip.at(best.1) - 7.0, "middle", 12.0, RATE, 600, &format!("{:.3}", best.1));
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|name| name.0).collect();
    for (y, (_, color, name)) in spread_labels(&heights, 17.0, RATE_TOP, RATE_BOTTOM).iter().zip(&names) {
        svg.text(RIGHT + 10.0, y + 4.0, "start", 12.5, color, 600, name);
    }
}

/// A learning rate in short form: 0.002, 6e-4, 2.5e-4.
fn format_rate(value: f64) -> String {
    let text = format!("{:.3e}", value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    match exponent.parse::<i32>().unwrap_or(0) {
        -3..=2 => format!("{}", (value * 1e5).round() / 1e5),
        e => format!("{mantissa}e{e}"),
    }
}

/// A moving mean with triangular weights over about 4 % of the points. The window narrows towards the first point, where a
/// wide window would hide the steep fall of the loss; at the end it is cut off.
pub(super) fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 50).max(2) as i64;
    let of = |center: usize| {
        let (mut sum, mut weight) = (0.0, 0.0);
        let reach = reach.min(center as i64);
        for offset in -reach..=reach {
            if let Some((_, y)) = usize::try_from(center as i64 + offset).ok().and_then(|i| points.get(i)) {
                let w = (reach + 1 - offset.abs()) as f64;
                (sum, weight) = (sum + w * y, weight + w);
            }
        }
        (points[center].0, sum / weight)
    };
    // For a long run, the mean is computed only at the points that are drawn.
    let stride = (points.len() / (2 * COLUMNS)).max(1);
    let mut centers: Vec<usize> = (0..points.len()).step_by(stride).collect();
    if let Some(last) = points.len().checked_sub(1)
        && centers.last() != Some(&last)
    {
        centers.push(last);
    }
    centers.into_iter().map(of).collect()
}

/// At most two points a pixel: every n-th point, and the last one.
pub(super) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(2 * COLUMNS).max(1);
    let mut out: Vec<_> = points.iter().step_by(stride).copied().collect();
    if let Some(last) = points.last()
        && out.last() != Some(last)
    {
        out.push(*last);
    }
    out
}

/// The lowest and the highest point of each pixel, so that the noise of a long run stays visible.
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
                    let progress = (s - warmup) / (f64::from(whole) - warmup);
                    (
                        s as u32,
                        2e-3 * if s < warmup {
                            s / warmup
                        } else {
                            0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
                        },
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

    /// Three epochs of 50 steps.
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

    /// WGPT_CURVE=FOLDER saves the pictures in the folder.
    #[test]
    fn curves_of_runs_of_every_length_are_complete_svg() {
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
            let svg = curve_svg(&data);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
            assert!(svg.len() < 120_000, "{name}: {} bytes", svg.len());
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count(), "{name}");
            if let Ok(folder) = std::env::var("WGPT_CURVE") {
                std::fs::write(format!("{folder}/{name}.svg"), &svg).expect("picture");
            }
        }
        let svg = curve_svg(&sample(1000, 1000));
        assert!(
            svg.contains("V 512 &amp; &lt;bytes&gt;") && svg.contains("bigram 3.66") && svg.contains("learning rate")
        );
        let svg = curve_svg(&epochs());
        for text in [
            ">accuracy on validation; dashed: majority<",
            ">0.567<",
            ">last 0.640<",
            ">0.655<",
            ">loss, L2 + 0.5 · L1<",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("learning rate"));
    }

    #[test]
    fn rates_have_their_short_form() {
        assert_eq!([2e-3, 6e-4, 2.5e-4, 0.01].map(format_rate), ["0.002", "6e-4", "2.5e-4", "0.01"]);
    }
}
