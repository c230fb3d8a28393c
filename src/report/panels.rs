//! What something costs over its size, as lines in panels, two beside each other; both axes logarithmic, so that a power is
//! a straight line. One SVG text without anything outside itself.

use super::svg::{AXIS, Axis, BLUE, GREEN, GRID, INK, MUTED, ORANGE, Svg, VIOLET, apart, grouped};

/// A line of a panel, in the order of its points. Points that are not above 0 are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What stands at its end.
    pub name: String,
    /// (size, cost)
    pub points: Vec<(f64, f64)>,
    /// Whether it is only there to compare with.
    pub mark: bool,
}

/// One panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What is measured, and its unit.
    pub title: String,
    /// The lines; those of one place have one colour in every panel.
    pub lines: Vec<Line>,
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panels {
    /// The large line above.
    pub title: String,
    /// The small line beneath it; may be empty.
    pub subtitle: String,
    /// What the sizes are.
    pub size: String,
    /// The panels, row by row. Those of a row share their axis, so that they can be compared.
    pub panels: Vec<Panel>,
}

const COLOURS: [&str; 4] = [BLUE, ORANGE, GREEN, VIOLET];
const WIDTH: f64 = 1080.0;
const LEFT: f64 = 72.0;
/// A panel's width, and from one to the next.
const PANEL: f64 = 372.0;
const NEXT: f64 = 520.0;
const TOP: f64 = 112.0;
/// A panel's height, and from one to the next.
const TALL: f64 = 230.0;
const BELOW: f64 = 322.0;

/// The picture: 1080 wide, as tall as its rows.
pub fn panels(picture: &Panels) -> String {
    let rows = picture.panels.len().div_ceil(2);
    let height = TOP + BELOW * rows as f64 - 34.0;
    let mut svg = Svg::new([WIDTH, height], &format!("{} {}", picture.title, picture.subtitle));
    svg.text(LEFT, 36.0, "start", 19.0, INK, 650, &picture.title);
    svg.text(LEFT, 58.0, "start", 13.0, MUTED, 400, &picture.subtitle);
    let sizes = span(picture.panels.iter().flat_map(|p| &p.lines).flat_map(points).map(|p| p.0));
    for (row, pair) in picture.panels.chunks(2).enumerate() {
        let costs = span(pair.iter().flat_map(|p| &p.lines).flat_map(points).map(|p| p.1));
        let top = TOP + BELOW * row as f64;
        for (column, panel) in pair.iter().enumerate() {
            let left = LEFT + NEXT * column as f64;
            let x = Axis { from: sizes.0, to: sizes.1, start: left, end: left + PANEL };
            let y = Axis { from: costs.0 - 0.08, to: costs.1 + 0.08, start: top + TALL, end: top };
            draw(&mut svg, panel, &x, &y);
            svg.text(left + PANEL / 2.0, top + TALL + 40.0, "middle", 12.0, MUTED, 400, &picture.size);
        }
    }
    svg.end()
}

/// The logarithms of a line's points that have one.
fn points(line: &Line) -> impl Iterator<Item = (f64, f64)> {
    let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
    line.points.iter().map(|(x, y)| (x.log10(), y.log10())).filter(finite)
}

/// The least and the most, apart.
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
        svg.line(left, right, y.at(at), GRID, 1.0, "");
        svg.text(left - 9.0, y.at(at) + 4.0, "end", 12.0, MUTED, 400, &label);
    }
    svg.line(left, right, bottom, AXIS, 1.0, "");
    for (at, label) in doublings(x) {
        svg.upright(x.at(at), bottom, bottom + 4.0, AXIS);
        svg.text(x.at(at), bottom + 19.0, "middle", 12.0, MUTED, 400, &label);
    }
    let mut names = Vec::new();
    for (line, colour) in panel.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let points: Vec<_> = points(line).collect();
        let colour = if line.mark { MUTED } else { colour };
        if line.mark {
            svg.dashed(&points, x, y, colour);
        } else {
            svg.path(&points, x, y, colour, 2.0, 1.0, None);
            points.iter().for_each(|p| svg.dot(x.at(p.0), y.at(p.1), colour));
        }
        if let Some(last) = points.last() {
            names.push((y.at(last.1), colour, &line.name));
        }
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|n| n.0).collect();
    for (at, (_, colour, name)) in apart(&heights, 16.0, top, bottom).iter().zip(&names) {
        svg.text(right + 10.0, at + 4.0, "start", 12.5, colour, 600, name);
    }
}

/// Round numbers of a logarithmic axis: 1, 2, 5 of each power of ten, or the powers alone where there are many.
fn decades(axis: &Axis) -> Vec<(f64, String)> {
    let many = axis.to - axis.from > 2.5;
    let mut all = Vec::new();
    for power in axis.from.floor() as i32..=axis.to.ceil() as i32 {
        for digit in [1.0f64, 2.0, 5.0].into_iter().take(if many { 1 } else { 3 }) {
            let at = digit.log10() + f64::from(power);
            if (axis.from..=axis.to).contains(&at) {
                all.push((at, grouped(digit * 10f64.powi(power), (-power).max(0) as usize)));
            }
        }
    }
    all
}

/// Powers of two on a logarithmic axis, eight at most.
fn doublings(axis: &Axis) -> Vec<(f64, String)> {
    let two = 2f64.log10();
    let (first, last) = ((axis.from / two - 1e-9).ceil() as i32, (axis.to / two + 1e-9).floor() as i32);
    let stride = (last - first).max(0) as usize / 8 + 1;
    let label = |power: i32| grouped(2f64.powi(power), (-power).max(0) as usize);
    (first..=last).step_by(stride).map(|power| (f64::from(power) * two, label(power))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, cost: impl Fn(f64) -> f64) -> Line {
        let points = (9..15).map(|p| 2f64.powi(p)).map(|t| (t, cost(t))).collect();
        Line { name: name.into(), points, mark: false }
    }

    fn sample() -> Panels {
        let lines = vec![line("F", |t| 0.1 + t / 500.0), line("L", |_| 0.6), line("M", |t| 0.4 + t / 1500.0)];
        let panel = |title: &str, lines: &[Line]| Panel { title: title.into(), lines: lines.to_vec() };
        let bytes = [line("F", |_| 3100.0), Line { mark: true, ..line("with scores", |t| 3100.0 + 16.0 * t) }];
        Panels {
            title: "attention & its cost".into(),
            subtitle: "C 128, H 4".into(),
            size: "tokens of a sequence".into(),
            panels: vec![
                panel("forward, µs a token", &lines),
                panel("backward, µs a token", &lines),
                panel("forward, bytes a token", &bytes),
            ],
        }
    }

    /// With WGPT_CURVE=FOLDER the pictures stay there, to be looked at.
    #[test]
    fn pictures_are_whole_whatever_the_lines_hold() {
        let mut odd = sample();
        odd.panels[0].lines[0].points = vec![(512.0, f64::NAN), (0.0, 1.0), (600.0, 2.0)];
        odd.panels[1].lines.clear();
        for (name, data) in [("panels", sample()), ("odd", odd), ("none", Panels::default())] {
            let svg = panels(&data);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
            if let Ok(folder) = std::env::var("WGPT_CURVE") {
                std::fs::write(format!("{folder}/{name}.svg"), &svg).expect("picture");
            }
        }
        let svg = panels(&sample());
        assert!(svg.contains("attention &amp; its cost") && svg.contains(">16\u{202f}384<"), "{svg}");
    }

    #[test]
    fn a_line_of_slope_one_is_drawn_straight() {
        let axis = Axis { from: 2.0, to: 4.0, start: 100.0, end: 0.0 };
        assert_eq!([100.0f64, 1000.0, 10_000.0].map(|v| axis.at(v.log10())), [100.0, 50.0, 0.0]);
        let labels = |axis| decades(&axis).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(labels(axis), ["100", "200", "500", "1000", "2000", "5000", "10\u{202f}000"]);
        assert_eq!(labels(Axis { from: -1.2, to: 0.1, start: 0.0, end: 1.0 }), ["0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(Axis { from: 0.0, to: 3.0, start: 0.0, end: 1.0 }), ["1", "10", "100", "1000"]);
    }
}
