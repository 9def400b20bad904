//! Runs that end early, and readers that go away.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{BINARY, SMALL, Sandbox};

/// Starts a training run that would take hours.
fn start_long_run(sandbox: &Sandbox, program: &mut Command) -> Child {
    let arguments = format!("train {SMALL} --data data --device cpu --epochs 100000 --log-every 1 --out run");
    let command = program.args(arguments.split_whitespace()).current_dir(sandbox.path(""));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn shell(line: &str) {
    assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
}

#[test]
fn an_interrupted_run_saves_its_weights() {
    for signal in ["INT", "TERM"] {
        is_stopped_by(signal);
    }
}

fn is_stopped_by(signal: &str) {
    let sandbox = Sandbox::with_data(2000, 10);
    let child = start_long_run(&sandbox, &mut Command::new(BINARY));
    let metrics = sandbox.path("run/metrics.jsonl");
    wait_until("metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    shell(&format!("kill -{signal} {}", child.id()));
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted at step") && !stderr.contains("error:"), "{stderr}");
    assert!(!sandbox.metrics("run").0.is_empty());
    sandbox.ok("eval --weights run/weights.safetensors --data data --device cpu");
}

/// As GNU timeout sends them, and worse.
#[test]
fn no_pattern_of_signals_loses_the_work() {
    for pattern in [
        "kill -TERM $0; sleep 0.02; kill -TERM $0",
        "kill -HUP $0; kill -TERM $0; kill -HUP $0",
        "kill -INT $0; kill -TERM $0; kill -INT $0; kill -INT $0",
        "kill -INT $0; sleep 0.002; kill -INT $0",
        "for i in 1 2 3 4 5 6 7 8 9; do kill -TERM $0; done",
    ] {
        let sandbox = Sandbox::with_data(2000, 10);
        let child = start_long_run(&sandbox, &mut Command::new(BINARY));
        let metrics = sandbox.path("run/metrics.jsonl");
        wait_until("metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
        let kill = Command::new("sh").args(["-c", pattern, &child.id().to_string()]).stderr(Stdio::null()).status();
        kill.unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{pattern}: {stderr}");
        assert!(fs::read_dir(sandbox.path("run/checkpoints")).unwrap().count() > 0, "{pattern}");
        sandbox.ok("train --resume run --max-steps 1000000 --epochs 1");
    }
}

#[test]
fn a_run_folder_belongs_to_one_process() {
    let sandbox = Sandbox::with_data(64, 10);
    let mut child = start_long_run(&sandbox, &mut Command::new(BINARY));
    let checkpoints = sandbox.path("run/checkpoints");
    wait_until("a checkpoint", || fs::read_dir(&checkpoints).is_ok_and(|mut files| files.next().is_some()));
    let resume = || sandbox.command("train --resume run --epochs 1");
    let refused = resume().output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another process is training in it") && stderr.contains("\nhint: "), "{stderr}");
    // A process that is killed holds nothing. It may have come to the end of an epoch, after which this run would be complete.
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = resume().output().unwrap();
    let stderr = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success() || stderr.contains("it is complete"), "{stderr}");
}

/// A limit on the size of files stands in for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_save_leaves_the_weights_as_they_were() {
    let sandbox = Sandbox::with_data(64, 10);
    // A process that does not ignore this signal dies of the limit.
    let child = start_long_run(&sandbox, Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]));
    let weights = sandbox.path("run/weights.safetensors");
    wait_until("weights", || weights.exists());
    shell(&format!("prlimit --pid {} --fsize=1000000", child.id()));
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\nerror: writing run/") && stderr.contains("File too large"), "{stderr}");
    assert!(stderr.contains("\nhint: "), "{stderr}");
    let left = sandbox.contents().into_keys().find(|path| path.to_string_lossy().contains("partial"));
    assert_eq!(left, None, "a partial file was left");
    sandbox.ok("eval --weights run/weights.safetensors --data data --device cpu");
}

#[test]
fn readers_may_go_away() {
    let sandbox = Sandbox::with_data(64, 10);
    let train = format!("train {SMALL} --data data --device cpu --epochs 3 --out run");
    for arguments in ["summary --arch ygnet", "summary --arch lenet5 --json", "devices", "--help", &train] {
        let mut child = Command::new(BINARY)
            .args(arguments.split_whitespace())
            .current_dir(sandbox.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments}");
    }
    assert!(sandbox.path("run/weights.safetensors").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_error() {
    let sandbox = Sandbox::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(BINARY);
    let output = command.args(["summary", "--arch", "lenet5"]).current_dir(sandbox.path("")).stdout(full).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: writing standard output: No space left") && stderr.contains("\nhint: "));
}
