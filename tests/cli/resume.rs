//! Runs that are stopped, killed, and resumed.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cifar_gpu::ops::random::RandomStream;
use rand::RngExt;
use serde_json::{Value, json};

use super::{BINARY, Sandbox};

/// All that draws random numbers or keeps a state, and few steps between checkpoints.
const RECIPE: &str = "--arch lenet5 --batch-size 32 --epochs 3 --lr 0.01 --augment strong --label-smoothing 0.1 --clip-norm 1 \
    --average-decay 0.9 --warmup-epochs 0.5 --schedule one-cycle --log-every 1 --checkpoint-steps 2 --data data";

/// What must come out the same: the weights' file, and the metrics without what the clock says.
fn results(sandbox: &Sandbox, run: &str) -> (Vec<u8>, Vec<Value>) {
    let (steps, epochs) = sandbox.metrics(run);
    let mut lines = [steps, epochs].concat();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.remove("seconds");
        line.remove("images_per_second");
    }
    (sandbox.read(&format!("{run}/weights.safetensors")), lines)
}

fn start(sandbox: &Sandbox, arguments: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments.split_whitespace()).current_dir(sandbox.path(""));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Whether a run has come to its end, and was not killed on the way.
fn has_finished(arguments: &str, output: &Output) -> bool {
    let stderr = String::from_utf8_lossy(&output.stderr);
    // One that was killed after its last act has nothing to go on with.
    let finished = output.status.success() || stderr.contains("\nerror: run run-") && stderr.contains("it is complete");
    // On Windows a process is ended from outside with a status of the killer's choice.
    let killed = output.status.code().is_none() || cfg!(windows) && !stderr.contains("\nerror: ");
    assert!(finished || killed, "{arguments}: {}\n{stderr}", output.status);
    finished
}

/// Kills the real process `kills` times at random moments, each time going on from what it left.
fn killed_runs_come_out_the_same(device: &str, optimizer: &str, kills: usize, longest: Duration) {
    let sandbox = Sandbox::with_data(400, 20);
    let recipe = format!("{RECIPE} --optimizer {optimizer} --device {device}");
    sandbox.ok(&format!("train {recipe} --out whole"));
    let expected = results(&sandbox, "whole");
    assert_eq!(expected.1.len(), 3 * 13 + 3);
    let mut random = RandomStream::new(9, kills as u32);
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        runs += 1;
        let run = format!("run-{runs}");
        let mut finished = false;
        while !finished && killed < kills {
            let begun = sandbox.path(&format!("{run}/config.json")).exists();
            let arguments =
                if begun { format!("--resume {run} --device {device}") } else { format!("{recipe} --out {run}") };
            let mut child = start(&sandbox, &format!("train {arguments}")).spawn().unwrap();
            std::thread::sleep(longest.mul_f32(random.random::<f32>()));
            match child.try_wait().unwrap() {
                // Before it had made its folder there was nothing to go on from.
                None if sandbox.path(&format!("{run}/config.json")).exists() => {
                    // On Unix this is SIGKILL.
                    child.kill().unwrap();
                    killed += 1;
                }
                None => {}
                Some(_) => {}
            }
            finished = has_finished(&arguments, &child.wait_with_output().unwrap());
        }
        if !finished {
            let arguments = format!("--resume {run} --device {device}");
            assert!(has_finished(&arguments, &start(&sandbox, &format!("train {arguments}")).output().unwrap()));
        }
        assert!(results(&sandbox, &run) == expected, "{run} came out differently after {killed} kills");
    }
    println!("{device}, {optimizer}: {killed} kills in {runs} runs");
}

#[test]
fn a_run_killed_at_random_moments_goes_on_bit_for_bit_on_the_cpu() {
    killed_runs_come_out_the_same("cpu", "sgd", 10, Duration::from_millis(400));
    killed_runs_come_out_the_same("cpu", "adamw", 10, Duration::from_millis(400));
}

#[test]
fn a_run_killed_at_random_moments_goes_on_bit_for_bit_on_the_gpu() {
    killed_runs_come_out_the_same("gpu", "sgd", 20, Duration::from_secs(4));
}

/// Ctrl-C at random moments of the real process.
#[cfg(unix)]
fn interrupted_runs_come_out_the_same(device: &str, epochs: u32) {
    let sandbox = Sandbox::with_data(400, 20);
    let recipe = format!("{} --device {device}", RECIPE.replace("--epochs 3", &format!("--epochs {epochs}")));
    let start_of_whole = std::time::Instant::now();
    sandbox.ok(&format!("train {recipe} --out whole"));
    // Short enough on a fast device, too, to come several times.
    let longest = start_of_whole.elapsed() / 6;
    let mut random = RandomStream::new(10, 0);
    let mut interrupted = 0;
    let mut arguments = format!("{recipe} --out run");
    loop {
        let mut child = start(&sandbox, &format!("train {arguments}")).spawn().unwrap();
        // Before it catches the signal, which it does before it makes its folder, the signal would kill it.
        let written = || std::fs::metadata(sandbox.path("run/metrics.jsonl")).map_or(0, |file| file.len());
        let before = written();
        while written() <= before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(longest.mul_f32(random.random::<f32>()));
        Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
        match child.wait().unwrap().code() {
            Some(130) => interrupted += 1,
            code => {
                assert_eq!(code, Some(0));
                break;
            }
        }
        arguments = format!("--resume run --device {device}");
    }
    assert!(interrupted >= 2, "it was interrupted {interrupted} times: the test would show little");
    assert!(results(&sandbox, "run") == results(&sandbox, "whole"), "after {interrupted} interruptions");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_goes_on_bit_for_bit_on_the_cpu() {
    interrupted_runs_come_out_the_same("cpu", 20);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_goes_on_bit_for_bit_on_the_gpu() {
    interrupted_runs_come_out_the_same("gpu", 10);
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_does_so() {
    let sandbox = Sandbox::with_data(400, 20);
    sandbox.ok(&format!("train {RECIPE} --device cpu --out whole"));
    // An interruption in the middle of an epoch, and at the end of one.
    for steps in [7, 13] {
        let run = format!("run-{steps}");
        sandbox.ok(&format!("train {RECIPE} --device cpu --out {run} --max-steps {steps}"));
        sandbox.ok(&format!("train --resume {run} --device cpu"));
        assert!(results(&sandbox, &run) == results(&sandbox, "whole"), "{run}");
    }
    sandbox.refuses("train --resume whole --device cpu", "it is complete: 39 steps in 3 epochs are done");
    // More is another run from there on, and stays so when it is stopped again.
    let longer = sandbox.ok("train --resume whole --epochs 5 --max-steps 45");
    assert!(longer.stderr.contains("from step 39") && longer.stderr.contains("device: CPU"), "{}", longer.stderr);
    sandbox.ok("train --resume whole --max-steps 60");
    sandbox.ok("train --resume whole");
    assert_eq!(sandbox.metrics("whole").1.len(), 5);
    sandbox.refuses("train --resume whole", "it is complete: 65 steps in 5 epochs are done");
    // The best epoch's weights are there, too.
    sandbox.ok("eval --weights whole/best.safetensors --data data --device cpu");
}

#[test]
fn a_run_that_failed_in_its_first_epoch_keeps_what_it_has() {
    let sandbox = Sandbox::with_data(64, 20);
    // Without metrics, which would keep it, too.
    let recipe = RECIPE.replace("--lr 0.01", "--lr 1e30").replace("--log-every 1", "--log-every 0");
    let recipe = recipe.replace("--checkpoint-steps 2", "--checkpoint-steps 1");
    let output = sandbox.command(&format!("train {recipe} --device cpu --out run")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!sandbox.read("run/config.json").is_empty() && sandbox.path("run/checkpoints").exists());
}

#[test]
fn a_longer_run_stretches_its_schedule_or_keeps_it() {
    let sandbox = Sandbox::with_data(64, 20);
    let recipe = "--arch lenet5 --batch-size 32 --lr 0.01 --schedule cosine --data data --device cpu --log-every 1";
    for run in ["stretched", "kept"] {
        sandbox.ok(&format!("train {recipe} --epochs 2 --out {run}"));
    }
    let rates =
        |run: &str| -> Vec<f64> { sandbox.metrics(run).0.iter().map(|line| line["lr"].as_f64().unwrap()).collect() };
    let said = sandbox.ok("train --resume stretched --epochs 4").stderr;
    assert!(said.contains("the schedule is stretched to 4 epochs") && said.contains("--schedule-epochs 2"), "{said}");
    assert!(rates("stretched")[4] > 0.004);
    let said = sandbox.ok("train --resume kept --epochs 4 --schedule-epochs 2").stderr;
    assert!(!said.contains("stretched"), "{said}");
    assert!(rates("kept")[4..].iter().all(|&rate| rate < 1e-9), "{:?}", rates("kept"));
    sandbox.refuses(&format!("train {recipe} --schedule-epochs 0"), "--schedule-epochs must be at least 1");
}

/// TOML's integers have a sign.
#[test]
fn every_seed_that_is_taken_can_be_read_back() {
    let sandbox = Sandbox::with_data(64, 20);
    let train = "train --arch lenet5 --data data --device cpu --max-steps 1";
    sandbox.refuses(&format!("{train} --seed 9223372036854775808"), "--seed 9223372036854775808 must be at most");
    sandbox.ok(&format!("{train} --seed 9223372036854775807 --out first"));
    sandbox.ok("train --config first/config.toml --max-steps 1 --out second");
    assert!(sandbox.read("first/weights.safetensors") == sandbox.read("second/weights.safetensors"));
}

#[test]
fn fewer_epochs_than_are_done_are_refused() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.ok(&format!("train {RECIPE} --device cpu --epochs 5 --out run --max-steps 5").replace(" --epochs 3", ""));
    std::fs::remove_file(sandbox.path("run/report.html")).unwrap();
    sandbox.refuses("train --resume run --epochs 2", "it is complete: 5 steps in 2 epochs are done");
}

#[test]
fn event_files_of_a_run_that_goes_on_only_grow() {
    let sandbox = Sandbox::with_data(64, 20);
    let events = || {
        let folder = std::fs::read_dir(sandbox.path("run/tensorboard")).unwrap();
        std::fs::read(folder.last().unwrap().unwrap().path()).unwrap()
    };
    sandbox.ok(&format!("train {RECIPE} --device cpu --out run --max-steps 2"));
    let before = events();
    std::thread::sleep(Duration::from_millis(1100));
    sandbox.ok("train --resume run");
    assert!(events().len() > before.len() && events().starts_with(&before));
}

#[test]
fn initial_weights_may_change_once_a_run_has_begun() {
    let sandbox = Sandbox::with_weights();
    sandbox.ok(&format!("train {RECIPE} --device cpu --init run/weights.safetensors --max-steps 1 --out on"));
    assert!(sandbox.path("on/checkpoints/step-000000000.safetensors").exists());
    let config: Value = serde_json::from_slice(&sandbox.read("on/config.json")).unwrap();
    assert!(std::path::Path::new(config["init"].as_str().unwrap()).is_absolute(), "{config}");
}

/// The average began with random weights where a run with initial ones was stopped before its first checkpoint.
#[test]
fn an_average_begins_with_the_initial_weights() {
    let sandbox = Sandbox::with_weights();
    let recipe = RECIPE.replace("--epochs 3", "--epochs 1");
    let averaged = format!("{recipe} --device cpu --init run/weights.safetensors");
    for run in ["whole", "again"] {
        sandbox.ok(&format!("train {averaged} --out {run}"));
    }
    std::fs::remove_dir_all(sandbox.path("again/checkpoints")).unwrap();
    sandbox.ok("train --resume again --device cpu");
    assert!(results(&sandbox, "whole") == results(&sandbox, "again"));
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.ok(&format!("train {RECIPE} --device cpu --out run --max-steps 3"));
    sandbox.refuses("train --resume absent", "absent: it has no config.json");
    sandbox.ok("data synthesize other --train 65 --test 20");
    sandbox.refuses("train --resume run --device cpu --data other", "65 and 20");
    sandbox.ok("data synthesize changed --train 64 --test 20 --seed 9");
    sandbox.refuses("train --resume run --device cpu --data changed", "are not those that it was begun with");
    let output = sandbox.command("train --resume run --lr 0.1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let config = sandbox.read("run/config.json");
    sandbox.write("run/config.json", &config[..config.len() / 2]);
    sandbox.refuses("train --resume run --device cpu", "config.json: ");
    // Early versions did not say how they draw random numbers, and drew others.
    let mut early: Value = serde_json::from_slice(&config).unwrap();
    early.as_object_mut().unwrap().remove("generator").unwrap();
    sandbox.write("run/config.json", early.to_string().as_bytes());
    sandbox.refuses("train --resume run --device cpu", "whose random numbers (generator 1) order its images otherwise");
    sandbox.write("run/config.json", &config);
    for checkpoint in std::fs::read_dir(sandbox.path("run/checkpoints")).unwrap() {
        std::fs::write(checkpoint.unwrap().path(), b"damaged").unwrap();
    }
    sandbox.refuses("train --resume run --device cpu", "none of them can be used");
    // In its first epoch a run has none yet and begins again; later it must not.
    sandbox.ok(&format!("train {RECIPE} --device cpu --out short --max-steps 1"));
    std::fs::remove_dir_all(sandbox.path("short/checkpoints")).unwrap();
    let printed = sandbox.ok("train --resume short --device cpu --max-steps 1");
    assert!(printed.stdout.contains(" after 1 step;"), "{}", printed.stdout);
    std::fs::remove_dir_all(sandbox.path("run/checkpoints")).unwrap();
    sandbox.refuses("train --resume run --device cpu", "no checkpoint to resume from");
    assert!(!sandbox.read("run/metrics.jsonl").is_empty());
}

/// The second time the run looked for its images where they had been before.
#[test]
fn where_images_have_moved_is_remembered() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.ok(&format!("train {RECIPE} --device cpu --out run --max-steps 2"));
    std::fs::rename(sandbox.path("data"), sandbox.path("moved")).unwrap();
    sandbox.refuses("train --resume run --device cpu", "data");
    sandbox.ok("train --resume run --device cpu --data moved --max-steps 3");
    sandbox.ok("train --resume run --device cpu --max-steps 4");
    let config: Value = serde_json::from_slice(&sandbox.read("run/config.json")).unwrap();
    for place in ["data", "source"] {
        assert!(config[place].as_str().unwrap().contains("moved"), "{config}");
    }
}

#[test]
fn settings_can_be_fed_back() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.ok(&format!("train {RECIPE} --device cpu --out first --max-steps 2"));
    let second = sandbox.ok("train --config first/config.toml --out second");
    assert!(second.stderr.contains("device: CPU") && second.stderr.contains("(requested)"), "{}", second.stderr);
    assert!(results(&sandbox, "first") == results(&sandbox, "second"));
    assert_eq!(sandbox.read("first/config.toml"), sandbox.read("second/config.toml"));
    // A flag goes before the file.
    sandbox.ok("train --config first/config.toml --seed 2 --device cpu --out third");
    let config: Value = serde_json::from_slice(&sandbox.read("third/config.json")).unwrap();
    assert_eq!((&config["seed"], &config["label_smoothing"]), (&json!(2), &json!(0.1)));
    // So are the weights that a run started from, and dropout only to a network of the same layers.
    sandbox.ok(&format!("train {RECIPE} --device cpu --init third/weights.safetensors --out fourth --max-steps 1"));
    sandbox.ok("train --config fourth/config.toml --device cpu --out fifth");
    assert!(results(&sandbox, "fourth") == results(&sandbox, "fifth"));
    let other = sandbox.ok("train --config first/config.toml --arch ygnet --max-steps 1 --device cpu --out other");
    assert!(other.stderr.contains("dropout is that of lenet5: ygnet has its own"), "{}", other.stderr);
    let config: Value = serde_json::from_slice(&sandbox.read("other/config.json")).unwrap();
    assert_eq!(config["dropout"].as_array().unwrap().len(), 3);
    sandbox.write("number.toml", b"arch = \"lenet5\"\ninit = 3\n");
    sandbox.refuses("train --config number.toml --data data", "init = 3 in the settings file must be a path");
    sandbox.write("typo.toml", b"arch = \"lenet5\"\nlearning_rate = 0.1\n");
    sandbox.refuses("train --config typo.toml --data data", "there is no setting learning_rate");
    sandbox
        .write("names.toml", b"arch = \"lenet5\"\nschedule = \"one-cycle\"\naugmentation = \"keras\"\nmax_steps = 1\n");
    sandbox.ok("train --config names.toml --data data --device cpu --out names");
    let config: Value = serde_json::from_slice(&sandbox.read("names/config.json")).unwrap();
    assert_eq!(config["schedule"], json!({"kind": "one-cycle", "peak_at": 0.25}));
    assert_eq!(config["augmentation"]["rotation_degrees"], json!(10.0));
    for (schedule, unknown) in [
        ("kind = \"one-cycle\"\npeak = 0.3", "schedule.peak (one cycle)"),
        ("kind = \"constant\"\npeak_at = 0.3", "schedule.peak_at (constant)"),
        ("peak_at = 0.3", "schedule.peak_at (constant)"),
    ] {
        sandbox.write("surplus.toml", format!("arch = \"lenet5\"\n[schedule]\n{schedule}\n").as_bytes());
        sandbox.refuses("train --config surplus.toml --data data", &format!("there is no setting {unknown}"));
    }
    // One that is too long was cut, and what was behind the cut was ignored.
    let long = format!("arch = \"lenet5\"\n#{}\nlearning_rate = 0.1\n", "-".repeat(1 << 20));
    sandbox.write("long.toml", long.as_bytes());
    sandbox.refuses("train --config long.toml --data data", "long.toml: a settings file has at most 1048576 bytes");
    // OpenGL was asked for by the run, not by a flag.
    sandbox.write("opengl.toml", b"arch = \"lenet5\"\nbackend = \"opengl\"\n");
    sandbox.refuses("train --config opengl.toml --data data --device cpu", "add --opengl=false");
    sandbox.write("device.toml", b"arch = \"lenet5\"\ndevice = \"cuda\"\n");
    sandbox.refuses("train --config device.toml --data data", "device.toml: unknown device `cuda`");
    sandbox.write("foreign.toml", b"arch = \"lenet5\"\naugmentation = \"much\"\n");
    sandbox.refuses(
        "train --config foreign.toml --data data",
        "foreign.toml: there is no augmentation \"much\": choose one of none, flip-crop",
    );
    sandbox.write("broken.toml", b"arch = ");
    sandbox.refuses("train --config broken.toml --data data", "broken.toml: ");
    sandbox.refuses("train --config absent.toml --data data", "reading absent.toml");
}

#[test]
fn what_is_settled_cannot_be_asked_for_again() {
    let sandbox = Sandbox::with_data(64, 20);
    for (arguments, flag) in [
        ("--resume run --arch lenet5", "--arch <ARCH>"),
        ("--resume run --lr 0.1", "--lr <X>"),
        ("--resume run --warmup-epochs 1", "--warmup-epochs <X>"),
        ("--resume run --no-dropout", "--no-dropout"),
        ("--resume run --cutout 8", "--cutout <N>"),
        ("--resume run --limit-test 9", "--limit-test <N>"),
        ("--resume run --normalize standard", "--normalize <NORMALIZE>"),
        ("--resume run --seed 2", "--seed <N>"),
        ("--resume run --precision f16", "--precision <WIDTH>"),
        ("--resume run --init some.safetensors", "--init <WEIGHTS>"),
        ("--resume run --out other", "--out <RUN_DIR>"),
        ("--arch lenet5 --overfit-one-batch --schedule cosine", "--schedule <SCHEDULE>"),
        ("--arch lenet5 --overfit-one-batch --clip-norm 1", "--clip-norm <X>"),
        ("--arch lenet5 --overfit-one-batch --flip random", "--flip <FLIP>"),
        ("--arch lenet5 --overfit-one-batch --validation 9", "--validation <N>"),
    ] {
        let output = sandbox.command(&format!("train {arguments}")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(&format!("cannot be used with '{flag}'")), "{arguments}: {stderr}");
    }
}
