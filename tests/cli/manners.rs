//! How the program behaves towards shells, terminals and logs.

use predicates::str::contains;

use super::{SMALL, Sandbox};

#[test]
fn completions_are_scripts_that_the_shells_accept() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.ok(&format!("completions {shell}")).stdout;
        assert!(script.contains("cifar-gpu") && script.contains("predict"), "{shell}: {script}");
    }
    sandbox.command("completions cobol").assert().code(2);
}

#[test]
fn every_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    sandbox.ok("man pages/man1");
    for page in ["cifar-gpu.1", "cifar-gpu-train.1", "cifar-gpu-data-import.1"] {
        let text = String::from_utf8(sandbox.read(&format!("pages/man1/{page}"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{page}: {text}");
    }
    sandbox.write("taken", b"");
    sandbox.refuses("man taken", "taken");
}

#[cfg(target_os = "linux")]
#[test]
fn bash_completes_options_and_their_values() {
    let sandbox = Sandbox::new();
    let script = sandbox.ok("completions bash").stdout;
    for (words, expected) in [("tr", "train"), ("train --ep", "--epochs"), ("train --augment ker", "keras")] {
        let all: Vec<_> = words.split(' ').collect();
        let (last, before) = (all[all.len() - 1], if all.len() > 1 { all[all.len() - 2] } else { "cifar-gpu" });
        let call = format!(
            "{script}\nCOMP_WORDS=(cifar-gpu {words}); COMP_CWORD={}; _cifar__gpu cifar-gpu {last} {before}; echo ${{COMPREPLY[@]}}",
            all.len()
        );
        let output = assert_cmd::Command::new("bash").args(["-c", &call]).assert().success().stderr("");
        assert_eq!(String::from_utf8_lossy(&output.get_output().stdout).trim(), expected, "{words}");
    }
}

#[test]
fn quiet_leaves_results_and_errors() {
    let sandbox = Sandbox::with_data(64, 20);
    // Debug builds are warned of.
    let warned = |stderr: &str| stderr.lines().all(|line| line.starts_with("warning: this is a debug build"));
    let train = format!("train {SMALL} --data data --device cpu --epochs 1");
    let printed = sandbox.ok(&format!("--quiet {train} --out a"));
    assert!(warned(&printed.stderr), "{}", printed.stderr);
    assert!(printed.stdout.starts_with("test accuracy "), "{}", printed.stdout);
    let printed = sandbox.ok("eval -q --weights a/weights.safetensors --data data --device cpu");
    assert!(warned(&printed.stderr) && printed.stdout.contains("% right"), "{}", printed.stderr);
    assert!(!sandbox.ok(&format!("{train} --out b")).stderr.is_empty());
    sandbox.refuses(&format!("{train} --quiet --out a"), "already exists");
}

#[test]
fn software_adapters_and_debug_builds_are_warned_of() {
    let sandbox = Sandbox::with_data(32, 10);
    let train = format!("train {SMALL} --data data --max-steps 1");
    let on_cpu = sandbox.ok(&format!("{train} --device cpu --out a")).stderr;
    assert_eq!(on_cpu.contains("warning: this is a debug build"), cfg!(debug_assertions), "{on_cpu}");
    let software = sandbox.json("devices --json")[0]["software"].as_bool().expect("no GPU to test on");
    let on_gpu = sandbox.ok(&format!("{train} --device gpu --quiet --out b")).stderr;
    assert_eq!(on_gpu.contains("a software renderer"), software, "{on_gpu}");
    assert!(!software || on_gpu.contains("--device cpu is faster"), "{on_gpu}");
}

#[test]
fn logs_are_there_for_those_who_ask() {
    let sandbox = Sandbox::with_data(32, 10);
    let train = format!("train {SMALL} --data data --max-steps 1 --device gpu");
    let usual = sandbox.ok(&format!("{train} --out a")).stderr;
    assert!(!usual.contains("wgpu") && !usual.contains("DEBUG"), "{usual}");
    let mut command = sandbox.command(&format!("{train} --quiet --out b"));
    let assertion = command.env("RUST_LOG", "debug").assert().success();
    let assertion = assertion.stderr(contains("DEBUG cifar_gpu::gpu::device] adapter: "));
    assertion.stderr(contains("] pipeline of conv2d_forward")).stderr(contains("] checkpoint b"));
}

#[cfg(target_os = "linux")]
#[test]
fn no_color_is_used_where_none_is_wanted() {
    // `script` runs a command on a terminal of its own.
    let on_terminal = |no_color: Option<&str>| {
        let sandbox = Sandbox::new();
        let mut command = assert_cmd::Command::new("script");
        command.args(["-qec", &format!("{} train --help", super::BINARY), "/dev/null"]).current_dir(sandbox.path(""));
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
        String::from_utf8_lossy(&command.output().expect("no `script` to test with").stdout).into_owned()
    };
    assert!(on_terminal(None).contains('\u{1b}'));
    let plain = on_terminal(Some("1"));
    assert!(plain.contains("--batch-size") && !plain.contains('\u{1b}'), "{plain}");
}
