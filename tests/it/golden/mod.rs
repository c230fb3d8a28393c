//! Values from other people's code, tests/golden or the folder that `WGPT_GOLDEN` names. The first letter of a case's name
//! decides what it compares; sizes are the case's own.

mod attention;
mod case;
mod compression;
mod generation;
mod heads;
mod language_model;
mod metrics;
mod rows;
mod tokenizer;
mod training;

use crate::common::device;
use crate::common::files::golden;
use case::Case;
use std::path::PathBuf;
use wgpt::philox;

#[test]
fn values_of_other_implementations_are_reproduced() {
    let root = golden();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|e| panic!("{}: {e}", root.display()))
        .filter_map(|e| Some(e.ok()?.path()).filter(|p| p.is_dir()))
        .collect();
    folders.sort();
    let device = device();
    assert_eq!(philox::philox([0; 4], [0; 2])[0], 0x6627_e8d5);
    let (mut ok, mut failed, mut missing) = (0, 0, 0);
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(case) = Case::open(&folder) else { continue };
        let error = match name.split('_').next() {
            Some("a") => Some(language_model::language_model(&device, &case)),
            Some("b") => Some(training::training(&device, &case)),
            Some("c") => Some(heads::double_heads(&device, &case)),
            Some("d") => Some(heads::sequence_classification(&device, &case)),
            Some("e") => Some(heads::similarity(&device, &case)),
            Some("f") if name.contains("lucidrains") => Some(compression::lucidrains(&device, &case)),
            Some("f") => Some(compression::strict(&device, &case)),
            Some("g") => Some(attention::local(&device, &case)),
            Some("h") => Some(attention::packed(&device, &case)),
            Some("i") => Some(generation::generation(&device, &case)),
            Some("j") => tokenizer::tokenizer(&case),
            Some("k") => Some(metrics::metrics(&case)),
            _ => None,
        };
        match error {
            None => {
                missing += 1;
                println!("case {name} not built{}", if name.starts_with("j_") { ": no vocabulary" } else { "" });
            }
            Some(e) if e <= 1.0 => {
                ok += 1;
                println!("case {name} ok: {e:.3}");
            }
            Some(e) => {
                failed += 1;
                println!("case {name} FAIL: {e:.3}");
            }
        }
    }
    println!("{ok} ok, {failed} failed, {missing} not built");
    assert_eq!(failed, 0);
    assert!(ok + missing > 0, "no case in {}", root.display());
    let all = std::env::var_os("WGPT_GOLDEN_ALL").is_some_and(|v| v == "1");
    assert!(!all || missing == 0, "{missing} cases are not built");
}
