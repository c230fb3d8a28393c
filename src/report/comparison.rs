//! The curves of several runs in one picture: two panels side by side, with one color for each run in both.

use super::curve::{smooth, thin};
use super::svg::{AXIS, Axis, BLUE, GREEN, GRID, INK, MUTED, ORANGE, Svg, VIOLET, spread_labels};

/// A run's points in a panel: (x, y), in order. Values that are not finite are not drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedRun {
    /// The label at the end of its line.
    pub name: String,
    /// Noisy points, drawn pale and smoothed; may be empty.
    pub noisy: Vec<(f64, f64)>,
    /// Points, drawn as a line with dots.
    pub points: Vec<(f64, f64)>,
}

/// A panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparisonPanel {
    /// The measure and its unit.
    pub title: String,
    /// The label of the x axis.
    pub x: String,
    /// The runs; the n-th run of every panel has the same color.
    pub runs: Vec<ComparedRun>,
}

/// The data of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The title.
    pub title: String,
    /// The smaller line below the title; may be empty.
    pub subtitle: String,
    /// Two panels.
    pub panels: [ComparisonPanel; 2],
}

const COLORS: [&str; 8] = [BLUE, ORANGE, GREEN, VIOLET, "#b3261e", "#0b7285", "#8a6d1a", "#c2347f"];
const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 470.0;
const TOP: f64 = 106.0;
const BOTTOM: f64 = 400.0;
const LEFT: f64 = 64.0;
/// Width of a panel.
const PANEL_WIDTH: f64 = 376.0;
/// Distance between the left sides of the panels.
const PANEL_PITCH: f64 = 590.0;
/// The longest label, in characters.
const LABEL: usize = 24;
/// Evaluations up to this number have dots.
const DOTS: usize = 40;

/// The picture as SVG, 1200 × 470 pixels.
pub fn comparison_svg(picture: &Comparison) -> String {
    let mut svg = Svg::new([WIDTH, HEIGHT], &format!("{} {}", picture.title, picture.subtitle));
    svg.text(LEFT, 36.0, "start", 19.0, INK, 650, &picture.title);
    svg.text(LEFT, 58.0, "start", 13.0, MUTED, 400, &picture.subtitle);
    for (i, panel) in picture.panels.iter().enumerate() {
        draw(&mut svg, panel, LEFT + PANEL_PITCH * i as f64);
    }
    svg.finish()
}

fn draw(svg: &mut Svg, panel: &ComparisonPanel, left: f64) {
    let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
    };
    let lines: Vec<[Vec<(f64, f64)>; 2]> =
        panel.runs.iter().map(|run| [smooth(&finite(&run.noisy)), finite(&run.points)]).collect();
    let all = || lines.iter().flatten().flatten();
    let (low, high) = all().map(|p| p.1).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let margin = ((high - low) * 0.05).max(1e-3);
    let y = Axis { from: low - margin, to: high + margin, start: BOTTOM, end: TOP };
    let most = all().map(|p| p.0).fold(0.0, f64::max);
    let x = Axis { from: 0.0, to: if most > 0.0 { most } else { 1.0 }, start: left, end: left + PANEL_WIDTH };

    svg.text(left, TOP - 12.0, "start", 12.5, INK, 600, &panel.title);
    for (at, label) in y.ticks(7, 0.0) {
        svg.horizontal_line(left, x.end, y.at(at), GRID, 1.0, "");
        svg.text(left - 9.0, y.at(at) + 4.0, "end", 12.0, MUTED, 400, &label);
    }
    svg.horizontal_line(left, x.end, BOTTOM, AXIS, 1.0, "");
    for (at, label) in x.ticks(5, 0.0) {
        svg.vertical_line(x.at(at), BOTTOM, BOTTOM + 4.0, AXIS);
        svg.text(x.at(at), BOTTOM + 19.0, "middle", 12.0, MUTED, 400, &label);
    }
    svg.text((left + x.end) / 2.0, BOTTOM + 42.0, "middle", 12.0, MUTED, 400, &panel.x);

    let mut names = Vec::new();
    for ((run, [noisy, points]), color) in panel.runs.iter().zip(&lines).zip(COLORS.into_iter().cycle()) {
        svg.path(&thin(noisy), &x, &y, color, 1.2, 0.4, None);
        svg.path(&thin(points), &x, &y, color, 2.0, 1.0, None);
        if points.len() <= DOTS {
            points.iter().for_each(|p| svg.dot(x.at(p.0), y.at(p.1), color));
        }
        if let Some(last) = points.last().or(noisy.last()) {
            names.push((y.at(last.1), color, format!("{} {:.3}", shortened(&run.name), last.1)));
        }
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = names.iter().map(|name| name.0).collect();
    for (at, (_, color, name)) in spread_labels(&heights, 17.0, TOP, BOTTOM).iter().zip(&names) {
        svg.text(x.end + 10.0, at + 4.0, "start", 12.5, color, 600, name);
    }
}

/// A name with its middle left out if it is too long: the ends of runs' names differ most.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LABEL {
        return name.into();
    }
    let (first, last) = (&letters[..LABEL / 2 - 1], &letters[letters.len() - LABEL / 2..]);
    first.iter().chain(&['…']).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WGPT_CURVE=FOLDER saves the picture in the folder.
    #[test]
    fn runs_of_every_length_are_drawn() {
        let of = |name: &str, rate: f64, steps: u32| {
            let points: Vec<(f64, f64)> =
                (0..=steps).map(f64::from).map(|s| (s * 1e3, 3.0 + 3.0 * (-s * rate).exp())).collect();
            let every = points.iter().copied().step_by(20).collect();
            ComparedRun { name: name.into(), noisy: points, points: every }
        };
        let runs = vec![
            of("nano-20261128-140312", 0.01, 400),
            of("nano-20261128-150312-with-a-long-name", 0.02, 200),
            of("unfinished", 0.02, 0),
            ComparedRun { name: "not finite".into(), points: vec![(1.0, f64::NAN)], ..ComparedRun::default() },
            ComparedRun::default(),
        ];
        let panel = |title: &str| ComparisonPanel { title: title.into(), x: "tokens".into(), runs: runs.clone() };
        for picture in [
            Comparison { title: "runs".into(), subtitle: "2 & more".into(), panels: [panel("a"), panel("b")] },
            Comparison::default(),
        ] {
            let svg = comparison_svg(&picture);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            if let Ok(folder) = std::env::var("WGPT_CURVE") {
                std::fs::write(format!("{folder}/compared {}.svg", picture.title), &svg).expect("picture");
            }
        }
        assert_eq!(shortened("nano-20261128-150312-with-a-long-name").chars().count(), LABEL);
        assert_eq!(shortened("nano"), "nano");
    }
}
