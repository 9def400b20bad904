//! `runs`.

use serde_json::json;

use super::{SMALL, Sandbox, fields, native};

/// Two runs, one of them stopped after its first epoch, and two folders that are none.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_data(64, 20);
    let train = format!("train {SMALL} --data data --device cpu --epochs 2");
    sandbox.ok(&format!("{train} --out runs/a"));
    sandbox.ok(&format!("{train} --seed 2 --out runs/b"));
    // As if it had been killed in its second epoch, while it wrote a line.
    let metrics = sandbox.read("runs/b/metrics.jsonl");
    let end = metrics.iter().position(|&byte| byte == b'\n').unwrap();
    sandbox.write("runs/b/metrics.jsonl", &metrics[..end + 20]);
    sandbox.write("runs/damaged/config.json", b"{");
    sandbox.write("runs/empty/notes.txt", b"");
    sandbox
}

#[test]
fn runs_are_listed_and_damaged_folders_named() {
    let sandbox = sandbox();
    let printed = sandbox.ok("runs");
    let lines: Vec<_> = printed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", printed.stdout);
    assert!(lines[0].starts_with("run ") && lines[0].ends_with("device"), "{}", lines[0]);
    assert!(
        lines[1].starts_with(&native("runs/a")) && lines[1].contains(" 2/2 ") && lines[1].contains(" yes "),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with(&native("runs/b")) && lines[2].contains(" 1/2 ") && lines[2].contains(" no "),
        "{}",
        lines[2]
    );
    // Fields of a column start below each other.
    let starts = [lines[0].find("finished"), lines[1].find("yes"), lines[2].find("no ")];
    assert!(starts.iter().all(|start| *start == starts[0]), "{}", printed.stdout);
    for folder in ["runs/damaged", "runs/empty"] {
        assert!(printed.stderr.contains(&native(&format!("skipped: run {folder}: "))), "{}", printed.stderr);
    }
    let rows = sandbox.json("runs runs --json");
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let names = ["arch", "batch_size", "best_test_accuracy", "device", "epochs", "epochs_done", "finished"];
    let more = ["last_test_accuracy", "lr", "optimizer", "run", "seconds", "steps_done", "tested_on"];
    assert_eq!(fields(&rows[0]), [&names[..], &more].concat());
    let epochs = sandbox.metrics("runs/a").1;
    assert_eq!(
        (&rows[0]["last_test_accuracy"], &rows[0]["seconds"]),
        (&epochs[1]["test_accuracy"], &epochs[1]["seconds"])
    );
    assert_eq!((&rows[0]["finished"], &rows[1]["finished"]), (&json!(true), &json!(false)));
}

#[test]
fn runs_are_compared() {
    let sandbox = sandbox();
    let comparison = sandbox.json("runs runs/a runs/b --json");
    assert_eq!(comparison["runs"], json!(["runs/a", "runs/b"]));
    assert_eq!(comparison["settings"], json!({"seed": [1, 2]}));
    let accuracy = |run: &str, epoch: usize| sandbox.metrics(run).1[epoch]["test_accuracy"].clone();
    let rows = comparison["epochs"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["test_accuracy"], json!([accuracy("runs/a", 1), null]));
    // All settings of one run; and whoever names what is no run is told so.
    assert_eq!(sandbox.json("runs runs/a --json")["settings"]["epochs"], json!([2]));
    sandbox.refuses("runs runs/a runs/damaged", "run runs/damaged: ");
    let printed = sandbox.ok("runs runs/a runs/b").stdout;
    for part in ["setting  runs/a  runs/b\nseed     1       2\n", "\n\ntest accuracy\nepoch  runs/a"] {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
    assert!(sandbox.ok("runs runs/a runs/a").stdout.starts_with("all settings are equal\n"));
    let printed = sandbox.ok("runs runs/a").stdout;
    for part in [
        "arch              lenet5\n",
        "dropout           0.2",
        "schedule          kind constant\n",
        "limit_train       -\n",
    ] {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
}

/// What came of validation images was headed "test accuracy".
#[test]
fn runs_say_which_images_they_were_tested_on() {
    let sandbox = Sandbox::with_data(64, 20);
    let train = format!("train {SMALL} --data data --device cpu --epochs 1");
    sandbox.ok(&format!("{train} --validation 8 --out runs/a"));
    sandbox.ok(&format!("{train} --out runs/b"));
    let rows = sandbox.json("runs runs --json");
    assert_eq!((&rows[0]["tested_on"], &rows[1]["tested_on"]), (&json!("validation"), &json!("test")));
    assert!(sandbox.ok("runs runs/a").stdout.contains("\n\nvalidation accuracy\n"));
    assert!(sandbox.ok("runs runs/a runs/b").stdout.contains("\n\ntest or validation accuracy\n"));
    assert_eq!(sandbox.json("runs runs/a runs/b --json")["tested_on"], json!(["validation", "test"]));
    // What cannot be read is told however little is said.
    sandbox.write("runs/damaged/config.json", b"{");
    let printed = sandbox.ok("runs runs --quiet");
    assert!(printed.stderr.contains(&native("skipped: run runs/damaged")), "{}", printed.stderr);
}

#[test]
fn folders_that_are_no_runs_are_refused() {
    let sandbox = sandbox();
    sandbox.refuses("runs absent", "reading absent");
    sandbox.refuses("runs runs/damaged runs/empty", "run runs/damaged: ");
    assert_eq!(sandbox.ok("runs runs/empty").stdout, "there are no runs in runs/empty\n");
    assert_eq!(sandbox.json("runs runs/empty --json"), json!([]));
}

/// Runs of the same network that begin at the same time choose different folders.
#[test]
fn runs_that_begin_together_have_a_folder_each() {
    let sandbox = Sandbox::with_data(32, 10);
    let train = format!("train {SMALL} --data data --device cpu --max-steps 2");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| sandbox.ok(&train));
        }
    });
    for number in 1..=4 {
        assert!(sandbox.path(&format!("runs/lenet5-{number}/report.html")).exists(), "{number}");
    }
}

/// A row for each number up to the largest took all memory.
#[test]
fn metrics_that_are_damaged_cost_no_memory() {
    let sandbox = sandbox();
    let metrics = String::from_utf8(sandbox.read("runs/a/metrics.jsonl")).unwrap();
    let damaged = metrics.replace("\"epoch\":2", "\"epoch\":4294967295");
    assert_ne!(metrics, damaged);
    sandbox.write("runs/a/metrics.jsonl", damaged.as_bytes());
    assert!(sandbox.ok("runs runs/a").stdout.contains("4294967295"));
}

#[test]
fn steps_are_not_called_an_epoch() {
    let sandbox = Sandbox::with_data(90, 10);
    sandbox.ok(&format!("train {SMALL} --data data --device cpu --max-steps 2 --out runs/short"));
    assert!(String::from_utf8(sandbox.read("runs/short/curves.svg")).unwrap().contains("after 2 steps"));
    assert!(sandbox.ok("runs").stdout.contains("2 steps"));
    assert_eq!(Sandbox::new().json("runs --json"), json!([]));
}

/// One name of all took every answer with it.
#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_shown_as_far_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = sandbox();
    let odd = std::path::Path::new(std::ffi::OsStr::from_bytes(b"runs/odd\xff"));
    std::fs::rename(sandbox.path("runs/a"), sandbox.path("runs").parent().unwrap().join(odd)).unwrap();
    let rows = sandbox.json("runs --json");
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["run"].as_str().unwrap()).collect();
    assert!(names.contains(&"runs/odd\u{fffd}"), "{names:?}");
}
