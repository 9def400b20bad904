//! The commands that the documents print are run as they are printed.
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::documents::root;
use super::{BINARY, Sandbox, fixture, png};

/// The documents whose commands a reader may type, in the order in which their commands build on each other.
const DOCUMENTS: [&str; 5] =
    ["README.md", "docs/GUIDE.md", "docs/NETWORKS.md", "docs/RELIABILITY.md", "docs/ARCHITECTURE.md"];

/// Commands of the program that are not run as printed, and where they are tested.
const ELSEWHERE: [(&str, &str); 4] = [
    ("data download", "needs the network: `download::`, from a server on this machine"),
    ("tune", "takes minutes on a software driver: `bench::`"),
    ("bench", "takes minutes on a software driver: `bench::`"),
    ("weights import ygnet.h5", "a file of 5 MB: `weights::` and the test `formats`, with smaller ones"),
];

/// Longest time of a command.
const LONGEST: Duration = Duration::from_secs(600);

/// Commands in a document's code blocks for shells, without comments.
fn printed_commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut is_shell = false;
    for line in document.replace("\\\n", " ").lines() {
        match line.strip_prefix("```") {
            Some(language) => is_shell = language == "sh",
            None if is_shell => {
                let command =
                    line.split(" #").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
                commands.extend(Some(command).filter(|command| !command.is_empty() && !command.starts_with('#')));
            }
            None => {}
        }
    }
    commands
}

/// What the commands name: small data sets, pictures, and the files that the documents show.
fn sandbox_of_the_documents() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("data synthesize data/cifar10 --train 512 --test 8");
    let picture = |shade: u8| png(image::RgbImage::from_pixel(40, 30, image::Rgb([shade, 90, 160])));
    for (class, shade) in [("cat", 20), ("dog", 220)] {
        for number in 0..4 {
            sandbox.write(&format!("photographs/{class}/{number}.jpg"), &picture(shade + number));
        }
    }
    sandbox.write("cat.jpg", &picture(30));
    sandbox.write("holidays/beach.jpg", &picture(200));
    sandbox.write("model.pth", &fixture("formats/state.pth"));
    let networks = fs::read_to_string(root().join("docs/NETWORKS.md")).unwrap();
    let example = networks.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    sandbox.write("tiny.toml", example.as_bytes());
    sandbox
}

/// The sizes of all runs' metrics.
fn metrics(sandbox: &Sandbox) -> Vec<(PathBuf, u64)> {
    let runs = fs::read_dir(sandbox.path("runs")).into_iter().flatten();
    let files = runs.map(|run| run.unwrap().path().join("metrics.jsonl"));
    let mut sizes: Vec<_> = files.filter_map(|path| Some((path.clone(), fs::metadata(path).ok()?.len()))).collect();
    sizes.sort();
    sizes
}

/// Runs a command as it is printed. A training is interrupted by Ctrl-C once it has written metrics.
fn run(sandbox: &Sandbox, arguments: &str) -> (ExitStatus, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments.split(' ')).current_dir(sandbox.path("")).env("XDG_RUNTIME_DIR", sandbox.path(""));
    let log = sandbox.path("log");
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let before = metrics(sandbox);
    let (mut child, start) = (command.spawn().unwrap(), Instant::now());
    let mut is_interrupted = !arguments.starts_with("train");
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let has_begun = |now: Vec<(PathBuf, u64)>| now != before && now.iter().all(|(_, bytes)| *bytes > 0);
        if !is_interrupted && has_begun(metrics(sandbox)) {
            Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            is_interrupted = true;
        }
        if start.elapsed() > LONGEST {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    (status, fs::read_to_string(log).unwrap())
}

#[test]
fn every_printed_command_runs() {
    let sandbox = sandbox_of_the_documents();
    let mut elsewhere: Vec<_> = ELSEWHERE.iter().map(|(command, _)| *command).collect();
    for document in DOCUMENTS {
        for command in printed_commands(&fs::read_to_string(root().join(document)).unwrap()) {
            let own = command.strip_prefix("cifar-gpu ").or_else(|| command.strip_prefix("cargo run --release -- "));
            match own {
                Some(own) if ELSEWHERE.iter().any(|(start, _)| own.starts_with(start)) => {
                    elsewhere.retain(|start| !own.starts_with(start));
                }
                Some(own) => {
                    let (status, stderr) = run(&sandbox, own);
                    // A training that was interrupted has saved its work.
                    let is_good = status.success() || own.starts_with("train") && status.code() == Some(130);
                    assert!(is_good, "{document}: {command}: {status}\n{stderr}");
                }
                None => assert!(names_what_is_there(&command), "{document}: {command}"),
            }
        }
    }
    assert!(elsewhere.is_empty(), "no document prints {elsewhere:?}");
}

/// Whether a command of the developers, which may take hours, names a script, a test or a bench of this project.
fn names_what_is_there(command: &str) -> bool {
    // Without settings of the environment and the compiler's version.
    let words = command.split(' ').skip_while(|word| word.contains('='));
    let words: Vec<_> = words.filter(|word| !word.starts_with('+')).collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1));
    let is_source = |folder: &str, name: &str| {
        [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")]
            .iter()
            .any(|path| root().join(path).is_file())
    };
    match words[..] {
        ["cargo", "test", ..] => after("--test").is_some_and(|name| is_source("tests", name)),
        ["cargo", "bench", ..] => after("--bench").is_some_and(|name| is_source("benches", name)),
        ["cargo", "install", "--path", "."] => true,
        ["scripts/campaign", name, ..] => root().join(format!("scripts/campaigns/{name}.py")).is_file(),
        [program, ..] => program.contains('/') && root().join(program).is_file(),
        [] => false,
    }
}
