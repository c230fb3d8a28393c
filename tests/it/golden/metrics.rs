//! Case k: metrics of tasks.

use super::case::Case;
use serde_json::Value;
use wgpt::tasks::metrics;

/// Metrics of answers, undefined ones too.
pub fn metrics(case: &Case) -> f64 {
    let bytes = std::fs::read(case.folder.join("metrics.json")).expect("metrics.json");
    let cases: Vec<Value> = serde_json::from_slice(&bytes).expect("JSON");
    let (mut worst, mut numbers) = (0.0f64, 0);
    for one in &cases {
        let side = |key: &str| -> Vec<f64> {
            one[key].as_array().expect(key).iter().map(|x| x.as_f64().expect("a number")).collect()
        };
        let (x, y) = (side("y_true"), side("y_pred"));
        let [truth, predicted] = [&x, &y].map(|side| side.iter().map(|v| *v as u32).collect::<Vec<_>>());
        for (name, expected) in one["expect"].as_object().expect("numbers") {
            let got = match name.as_str() {
                // Of one answer an example, micro F1 is accuracy.
                "accuracy" | "f1_micro" => metrics::accuracy(&truth, &predicted),
                "f1_binary_pos1_zero_division_0" => metrics::f1(&truth, &predicted, 2),
                "f1_macro_labels_present" => metrics::f1_macro(&truth, &predicted),
                "matthews" => metrics::matthews(&truth, &predicted),
                "pearson" => metrics::pearson(&x, &y),
                "spearman" => metrics::spearman(&x, &y),
                other => panic!("{other}: no such metric"),
            };
            let error = match (expected.as_f64(), got) {
                (Some(expected), Some(got)) => (expected - got).abs() / one["atol"].as_f64().unwrap_or(1e-9),
                (None, None) => 0.0,
                _ => f64::INFINITY,
            };
            if error > 1.0 {
                println!("{} {name}: {got:?}, expected {expected}", one["name"]);
            }
            (worst, numbers) = (worst.max(error), numbers + 1);
        }
    }
    println!("{numbers} metrics of {} lists of answers", cases.len());
    worst
}
