//! Costs over sizes as lines in panels, two in a row. Both axes are logarithmic, so that a power law is a straight line.

use super::svg::{AXIS, Axis, BLUE, GREEN, GRID, INK, MUTED, ORANGE, Svg, VIOLET, group_thousands, spread_labels};

/// A line of a panel. Points that are not above 0 are not drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// The label at its end.
    pub name: String,
    /// Points (size, cost), in order.
    pub points: Vec<(f64, f64)>,
    /// Whether it is a reference line, which is dashed.
    pub is_reference: bool,
}

/// One panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// The title: the measure and its unit.
    pub title: String,
    /// The lines; the n-th line of every panel has the same color.
    pub lines: Vec<Line>,
}

/// The data of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panels {
    /// The title.
    pub title: String,
    /// The smaller line below the title; may be empty.
    pub subtitle: String,
    /// The label of the sizes.
    pub size: String,
    /// The panels, row by row. The panels of a row share the axis of costs.
    pub panels: Vec<Panel>,
}

const COLORS: [&str; 4] = [BLUE, ORANGE, GREEN, VIOLET];
const WIDTH: f64 = 1080.0;
const LEFT: f64 = 72.0;
/// Width of a panel.
const PANEL_WIDTH: f64 = 372.0;
/// Distance between the left sides of two panels.
const PANEL_PITCH: f64 = 520.0;
const TOP: f64 = 112.0;
/// Height of a panel.
const PANEL_HEIGHT: f64 = 230.0;
/// Distance between the tops of two rows of panels.
const ROW_PITCH: f64 = 322.0;

/// The picture as SVG, 1080 pixels wide.
pub fn panels_svg(picture: &Panels) -> String {
    let rows = picture.panels.len().div_ceil(2);
    let height = TOP + ROW_PITCH * rows as f64 - 34.0;
    let mut svg = Svg::new([WIDTH, height], &format!("{} {}", picture.title, picture.subtitle));
    svg.text(LEFT, 36.0, "start", 19.0, INK, 650, &picture.title);
    svg.text(LEFT, 58.0, "start", 13.0, MUTED, 400, &picture.subtitle);
    let sizes = span(picture.panels.iter().flat_map(|p| &p.lines).flat_map(points).map(|p| p.0));
    for (row, pair) in picture.panels.chunks(2).enumerate() {
        let costs = span(pair.iter().flat_map(|p| &p.lines).flat_map(points).map(|p| p.1));
        let top = TOP + ROW_PITCH * row as f64;
        for (column, panel) in pair.iter().enumerate() {
            let left = LEFT + PANEL_PITCH * column as f64;
            let x = Axis { from: sizes.0, to: sizes.1, start: left, end: left + PANEL_WIDTH };
            let y = Axis { from: costs.0 - 0.08, to: costs.1 + 0.08, start: top + PANEL_HEIGHT, end: top };
            draw(&mut svg, panel, &x, &y);
            svg.text(left + PANEL_WIDTH / 2.0, top + PANEL_HEIGHT + 40.0, "middle", 12.0, MUTED, 400, &picture.size);
        }
    }
    svg.finish()
}

/// The logarithms of a line's points, without points that are not above 0.
fn points(line: &Line) -> impl Iterator<Item = (f64, f64)> {
    let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
    line.points.iter().map(|(x, y)| (x.log10(), y.log10())).filter(finite)
}

/// The smallest and the largest value, widened if they are nearly equal.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    match high - low {
        d if d >= 0.02 => (low, high),
        d if d >= 0.0 => (low - 0.5, high + 0.5),
        _ => (0.0, 1.0),
    }
}

fn draw(svg: &mut Svg, panel: &Panel, x: &Axis, y: &Axis) {
    let (left, right, bottom, top) = (x.start, x.end, y.start, y.end);
    svg.text(left, top - 10.0, "start", 12.5, INK, 600, &panel.title);
    for (at, label) in decades(y) {
        svg.horizontal_line(left, right, y.at(at), GRID, 1.0, "");
        svg.text(left - 9.0, y.at(at) + 4.0, "end", 12.0, MUTED, 400, &label);
    }
    svg.horizontal_line(left, right, bottom, AXIS, 1.0, "");
    for (at, label) in doublings(x) {
        svg.vertical_line(x.at(at), bottom, bottom + 4.0, AXIS);
        svg.text(x.at(at), bottom + 19.0, "middle", 12.0, MUTED, 400, &label);
    }
    let mut names = Vec::new();
    for (line, color) in panel.lines.iter().zip(COLORS.into_iter().cycle()) {
        let points: Vec<_> = points(line).collect();
        let color = if line.is_reference { MUTED } else { color };
        if line.is_reference {
            svg.dashed_line(&points, x, y, color);
        } else {
            svg.path(&points, x, y, color, 2.0, 1.0, None);
            points.iter().for_each(|p| svg.dot(x.at(p.0), y.at(p.1), color));
        }
        if let Some(last) = points.last() {
            names.push((y.at(last.1), color, &line.name));
        }
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|n| n.0).collect();
    for (at, (_, color, name)) in spread_labels(&heights, 16.0, top, bottom).iter().zip(&names) {
        svg.text(right + 10.0, at + 4.0, "start", 12.5, color, 600, name);
    }
}

/// Ticks of a logarithmic axis: 1, 2 and 5 times each power of ten, or only the powers if there are many.
fn decades(axis: &Axis) -> Vec<(f64, String)> {
    let many = axis.to - axis.from > 2.5;
    let mut all = Vec::new();
    for power in axis.from.floor() as i32..=axis.to.ceil() as i32 {
        for digit in [1.0f64, 2.0, 5.0].into_iter().take(if many { 1 } else { 3 }) {
            let at = digit.log10() + f64::from(power);
            if (axis.from..=axis.to).contains(&at) {
                all.push((at, group_thousands(digit * 10f64.powi(power), (-power).max(0) as usize)));
            }
        }
    }
    all
}

/// Ticks of a logarithmic axis at powers of two, about eight at most.
fn doublings(axis: &Axis) -> Vec<(f64, String)> {
    let two = 2f64.log10();
    let (first, last) = ((axis.from / two - 1e-9).ceil() as i32, (axis.to / two + 1e-9).floor() as i32);
    let stride = (last - first).max(0) as usize / 8 + 1;
    let label = |power: i32| group_thousands(2f64.powi(power), (-power).max(0) as usize);
    (first..=last).step_by(stride).map(|power| (f64::from(power) * two, label(power))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, cost: impl Fn(f64) -> f64) -> Line {
        let points = (9..15).map(|p| 2f64.powi(p)).map(|t| (t, cost(t))).collect();
        Line { name: name.into(), points, is_reference: false }
    }

    fn sample() -> Panels {
        let lines = vec![line("F", |t| 0.1 + t / 500.0), line("L", |_| 0.6), line("M", |t| 0.4 + t / 1500.0)];
        let panel = |title: &str, lines: &[Line]| Panel { title: title.into(), lines: lines.to_vec() };
        let bytes = [line("F", |_| 3100.0), Line { is_reference: true, ..line("with scores", |t| 3100.0 + 16.0 * t) }];
        Panels {
            title: "attention & its cost".into(),
            subtitle: "C 128, H 4".into(),
            size: "tokens of a sequence".into(),
            panels: vec![
                panel("forward, µs per token", &lines),
                panel("backward, µs per token", &lines),
                panel("forward, bytes per token", &bytes),
            ],
        }
    }

    /// WGPT_CURVE=FOLDER saves the pictures in the folder.
    #[test]
    fn pictures_of_all_kinds_of_lines_are_complete_svg() {
        let mut odd = sample();
        odd.panels[0].lines[0].points = vec![(512.0, f64::NAN), (0.0, 1.0), (600.0, 2.0)];
        odd.panels[1].lines.clear();
        for (name, data) in [("panels", sample()), ("odd", odd), ("none", Panels::default())] {
            let svg = panels_svg(&data);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
            if let Ok(folder) = std::env::var("WGPT_CURVE") {
                std::fs::write(format!("{folder}/{name}.svg"), &svg).expect("picture");
            }
        }
        let svg = panels_svg(&sample());
        assert!(svg.contains("attention &amp; its cost") && svg.contains(">16\u{202f}384<"), "{svg}");
    }

    #[test]
    fn ticks_of_logarithmic_axes_are_round() {
        let axis = Axis { from: 2.0, to: 4.0, start: 100.0, end: 0.0 };
        assert_eq!([100.0f64, 1000.0, 10_000.0].map(|v| axis.at(v.log10())), [100.0, 50.0, 0.0]);
        let labels = |axis| decades(&axis).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(labels(axis), ["100", "200", "500", "1000", "2000", "5000", "10\u{202f}000"]);
        assert_eq!(labels(Axis { from: -1.2, to: 0.1, start: 0.0, end: 1.0 }), ["0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(Axis { from: 0.0, to: 3.0, start: 0.0, end: 1.0 }), ["1", "10", "100", "1000"]);
    }
}
