//! Training over the processes of an MPI job, started by mpirun on this machine: the results of one process within rounding,
//! the same bits after a kill, and the end of the job where a process fails.

use super::common::program::{stderr, success, wgpt};
use super::common::runs::{assert_close, latest_weights, losses, metrics_without_times, write_inputs};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const TRAIN: &str = "pretrain --data text.txt --config tiny.toml --dropout 0.1";
const STEPS: &str = "steps = 24\nwarmup = 3\neval_every = 7\ncheckpoint_every = 1\nsample_every = 0\nkeep = 2\n";

/// Whether mpirun is installed; a reason is printed if not.
fn has_mpirun() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: mpirun is not installed");
    }
    found
}

/// `mpirun`, which runs `wgpt` with the arguments of `line` as so many processes.
fn mpirun(place: &Path, processes: usize, line: &str) -> Command {
    let inner = wgpt(place, &line.split_whitespace().collect::<Vec<_>>());
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", &processes.to_string()]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(place).env("WGPT_CACHE", "");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

fn go(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    success(&output);
    stderr(&output)
}

fn single(place: &Path, line: &str) -> String {
    go(wgpt(place, &line.split_whitespace().collect::<Vec<_>>()))
}

/// Waits until a path exists, while a job runs.
fn wait_for(path: &Path, job: &mut std::process::Child) {
    while !path.exists() {
        assert!(job.try_wait().expect("a state").is_none(), "the job ended early");
        std::thread::yield_now();
    }
}

/// The process of a rank, by the variable that mpirun sets for it.
fn process_of(mpirun: u32, rank: usize) -> String {
    let read = |process: &str, file: &str| std::fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    let is_child = |process: &String| {
        let stat = String::from_utf8_lossy(&read(process, "stat")).into_owned();
        // The parent is the second field after the name, which may hold anything.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        fields.split(' ').nth(1) == Some(&mpirun.to_string())
    };
    let has_rank = |process: &String| {
        let expected = format!("OMPI_COMM_WORLD_RANK={rank}");
        read(process, "environ").split(|byte| *byte == 0).any(|variable| variable == expected.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let mut numbers = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    numbers.find(|process| is_child(process) && has_rank(process)).expect("the process of the rank")
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().expect("kill").success());
}

fn job(place: &Path, processes: usize, line: &str) -> std::process::Child {
    let mut command = mpirun(place, processes, line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun starts")
}

fn ended(job: std::process::Child) -> (Option<i32>, String) {
    let output: Output = job.wait_with_output().expect("the end");
    (output.status.code(), stderr(&output))
}

#[test]
fn several_processes_have_the_losses_of_one() {
    if !has_mpirun() {
        return;
    }
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, STEPS);
    single(place, &format!("{TRAIN} --out one"));
    for processes in [2, 4] {
        let text = go(mpirun(place, processes, &format!("{TRAIN} --out {processes}")));
        assert!(text.contains("adapter of rank 1: ") && text.contains("(by rank alone "), "{text}");
        let found = losses(&place.join(processes.to_string()));
        assert_close(&found, &losses(&place.join("one")), 1e-4, &format!("{processes} processes"));
    }
    let settings = std::fs::read_to_string(place.join("2/config.toml")).expect("settings");
    assert!(settings.contains("\nranks = 2\n"), "{settings}");
    let refused = mpirun(place, 2, &format!("{TRAIN} --ranks 3")).output().expect("mpirun starts");
    let text = stderr(&refused);
    assert!(refused.status.code() == Some(2) && text.contains("ranks = 3: expected 2"), "{text}");
}

#[test]
fn a_killed_process_ends_the_job_which_resumes_bit_for_bit() {
    if !has_mpirun() {
        return;
    }
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, STEPS);
    go(mpirun(place, 2, &format!("{TRAIN} --out whole")));
    let same = |run: &str| {
        assert_eq!(metrics_without_times(&place.join(run)), metrics_without_times(&place.join("whole")), "{run}");
        assert!(latest_weights(&place.join(run)) == latest_weights(&place.join("whole")), "{run}");
    };
    for rank in [1, 0] {
        let run = format!("killed-{rank}");
        let mut killed = job(place, 2, &format!("{TRAIN} --out {run}"));
        wait_for(&place.join(&run).join("checkpoints/step-000006"), &mut killed);
        signal("-KILL", &process_of(killed.id(), rank));
        let (code, text) = ended(killed);
        assert!(code != Some(0), "{text}");
        if rank == 1 {
            assert!(text.contains("the latest checkpoint is killed-1/checkpoints/step-0000"), "{text}");
            assert!(text.contains("to continue: wgpt pretrain --resume killed-1"), "{text}");
        }
        let resumed = go(mpirun(place, 2, &format!("pretrain --resume {run}")));
        assert!(!resumed.contains("warning"), "{resumed}");
        same(&run);
    }
    // mpirun passes this signal on to all of its processes.
    let mut stopped = job(place, 2, &format!("{TRAIN} --out stopped"));
    wait_for(&place.join("stopped/checkpoints/step-000003"), &mut stopped);
    signal("-USR1", &stopped.id().to_string());
    let (code, text) = ended(stopped);
    assert!(code == Some(130) && text.contains("saved to stopped/checkpoints/step-"), "{code:?} {text}");
    go(mpirun(place, 2, "pretrain --resume stopped"));
    same("stopped");
    let longer = go(mpirun(place, 3, "pretrain --resume stopped --steps 26"));
    assert!(longer.contains("was started with ranks = 2 and continues with 3; the last digits may differ"), "{longer}");
    // In one process, the key `ranks` divides the adapter.
    let alone = single(place, "pretrain --resume stopped --steps 28");
    assert!(alone.contains("adapter of rank 2: "), "{alone}");
}

#[test]
fn fine_tuning_goes_from_run_to_run() {
    if !has_mpirun() {
        return;
    }
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, "");
    let tune = "finetune classify --model model --train rows.tsv --valid rows.tsv --text text --label label --batch 3 --epochs 2 \
                --lr 0.001 --seeds 1,2";
    single(place, &format!("{tune} --out one"));
    go(mpirun(place, 2, &format!("{tune} --out two")));
    for seed in ["seed-1", "seed-2"] {
        let [one, two] = ["one", "two"].map(|runs| losses(&place.join(runs).join(seed)));
        assert_close(&two, &one, 1e-4, seed);
    }
}

/// The error of a rank reaches rank 0, which reports it and ends the job.
#[test]
fn a_process_without_an_adapter_ends_the_job() {
    if !has_mpirun() {
        return;
    }
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, STEPS);
    let mut command = mpirun(place, 1, &format!("{TRAIN} --out run"));
    let second = wgpt(place, &TRAIN.split_whitespace().collect::<Vec<_>>());
    command.args([":", "-n", "1", "-x", "WGPT_ADAPTER=none such"]).arg(second.get_program()).args(second.get_args());
    let output = command.output().expect("mpirun starts");
    let text = stderr(&output);
    // mpirun has the exit code of the rank that ended first.
    assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
    assert!(text.contains("error: rank 1 of 2 has ended: WGPT_ADAPTER"), "{text}");
    assert!(!place.join("run").exists(), "{text}");
}
