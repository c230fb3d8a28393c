//! Files that commands write: checked before the work, and never one of the files that are read or belong to a run.

use super::common::program::{assert_refused, run, success};
use std::path::Path;
use std::process::Output;
use wgpt::data::synthetic::stories::stories;

fn wgpt(folder: &Path, line: &str) -> Output {
    println!("{line}");
    run(folder, &line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn outputs_are_never_inputs_or_files_of_a_run() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    let rows: String = (0..8).map(|i| format!("the word {i}\t{}\n", ["yes", "no"][i % 2])).collect();
    std::fs::write(folder.join("rows.tsv"), format!("text\tlabel\n{rows}")).expect("rows");
    std::fs::write(folder.join("text.txt"), stories(5, 4000)).expect("text");
    let model = "--n-layer 1 --n-embd 16 --n-head 2 --n-positions 16 --vocab-size 270";
    success(&wgpt(
        folder,
        &format!(
            "finetune classify --from-scratch {model} --train rows.tsv --valid rows.tsv --text text --label label --epochs 1 --out run"
        ),
    ));
    std::fs::hard_link(folder.join("rows.tsv"), folder.join("hard.tsv")).expect("link");
    std::fs::hard_link(folder.join("text.txt"), folder.join("hard.txt")).expect("link");
    let predict = |out: &str| wgpt(folder, &format!("predict --model run --data rows.tsv --text text --out {out}"));
    let eval = |out: &str| wgpt(folder, &format!("eval --model run --data text.txt --per-token {out}"));
    let attention = |out: &str| wgpt(folder, &format!("bench attention --lengths 64 --out {out}"));
    let latest = std::fs::read_to_string(folder.join("run/latest")).expect("latest");
    let of_checkpoint = format!("run/checkpoints/{}/new.tsv", latest.trim());
    let before = snapshot(folder);
    for (out, why) in [
        ("none/x.tsv", "the folder none does not exist"),
        ("run", "must be the path of a file"),
        ("-", "must be the path of a file"),
        ("rows.tsv/x", "rows.tsv is not a folder"),
        ("run/config.toml", "is a file of"),
        ("run/../run/lock", "is a file of"),
        ("run/predictions.tsv", "is a file of"),
        (&of_checkpoint, "is a file of"),
    ] {
        for output in [predict(out), eval(out), attention(out)] {
            assert_refused(&output, &[out, why]);
        }
    }
    for out in ["rows.tsv", "./rows.tsv", "run/../rows.tsv", "hard.tsv"] {
        assert_refused(&predict(out), &[out, "which is read: must be another file"]);
    }
    for out in ["text.txt", "run/../text.txt", "hard.txt"] {
        assert_refused(&eval(out), &[out, "which is read: must be another file"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("rows.tsv", folder.join("link.tsv")).expect("link");
        assert_refused(&predict("link.tsv"), &["which is read: must be another file"]);
        std::fs::remove_file(folder.join("link.tsv")).expect("remove");
        std::os::unix::fs::symlink("gone", folder.join("link.tsv")).expect("link");
        assert_refused(&predict("link.tsv"), &["--out link.tsv: is a link to gone, which does not exist"]);
        std::fs::remove_file(folder.join("link.tsv")).expect("remove");
    }
    let finetune =
        format!("finetune classify --from-scratch {model} --train rows.tsv --valid rows.tsv --text text --label label");
    let pretrain = format!("pretrain {model} --data text.txt");
    for (command, out) in [
        (pretrain.as_str(), "run/checkpoints/step-000007"),
        (&pretrain, "run/new/sub"),
        (&finetune, "run/../run/sub"),
        (&format!("{finetune} --seeds 1,2"), "run"),
        ("tokenizer train --data text.txt --vocab-size 270", "run/checkpoints/step-000007"),
        ("import openai none", "run/imported"),
    ] {
        assert_refused(
            &wgpt(folder, &format!("{command} --out {out}")),
            &[out, "is inside of the run ", "must be elsewhere"],
        );
    }
    for command in [&pretrain, &finetune, "tokenizer train --data text.txt --vocab-size 270", "import openai none"] {
        assert_refused(&wgpt(folder, &format!("{command} --out -")), &["-: stands for stdout", "./-"]);
    }
    assert_eq!(snapshot(folder), before, "nothing changed");

    // A link to another file stays a link; its file is replaced.
    #[cfg(unix)]
    {
        std::fs::write(folder.join("old.tsv"), "old").expect("write");
        std::os::unix::fs::symlink("old.tsv", folder.join("link.tsv")).expect("link");
        success(&predict("link.tsv"));
        assert!(folder.join("link.tsv").is_symlink());
        let (replaced, printed) = (std::fs::read(folder.join("old.tsv")).expect("read"), predict("/dev/stdout").stdout);
        assert_eq!(String::from_utf8(replaced), String::from_utf8(printed));
    }
    // Files of other programs make no folder a model or a checkpoint.
    std::fs::create_dir_all(folder.join("other/inner")).expect("folder");
    for name in ["config.json", "state.json"] {
        std::fs::write(folder.join("other").join(name), "{}").expect("write");
    }
    success(&predict("other/inner/answers.tsv"));
    success(&wgpt(folder, "tokenizer train --data text.txt --vocab-size 270 --out other/inner/tokenizer"));
    assert_refused(&predict(&of_checkpoint), &["is a file of"]);
    // A new file in a run's folder is not one of the run.
    success(&predict("run/mine.tsv"));
    success(&eval("run/mine.txt"));
}

/// All files of a folder with their contents.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                all.push((entry.display().to_string(), std::fs::read(entry).expect("a file")));
            }
        }
    }
    all.sort();
    all
}
