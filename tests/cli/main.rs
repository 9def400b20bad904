//! The binary as its users meet it: what it prints, writes, refuses, and how it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod bench;
mod commands;
mod documents;
mod download;
mod endings;
#[path = "../common/fixtures.rs"]
mod fixtures;
mod fold;
mod image_sizes;
mod inside;
mod manners;
mod networks;
mod own_data;
mod predict;
mod printed_commands;
mod recipes;
mod report;
mod resume;
mod runs;
mod training;
mod trajectories;
mod weights;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use assert_cmd::Command;
use fixtures::fixture;
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_cifar-gpu");
const IMAGE_BYTES: usize = 3 * 32 * 32;
/// What a training run of some steps on a small set is given, but for device, data and length.
const SMALL: &str = "--arch lenet5 --batch-size 16 --lr 0.01";

/// A path as this system writes it.
fn native(path: &str) -> String {
    path.replace('/', std::path::MAIN_SEPARATOR_STR)
}

/// An empty folder to run commands in.
struct Sandbox(TempDir);

/// What a command that ended well has printed.
struct Printed {
    stdout: String,
    stderr: String,
}

impl Sandbox {
    fn new() -> Self {
        Sandbox(tempfile::tempdir().unwrap())
    }

    /// With the data folder `data`, of the built-in shapes.
    fn with_data(train: usize, test: usize) -> Self {
        let sandbox = Sandbox::new();
        sandbox.ok(&format!("data synthesize data --train {train} --test {test}"));
        sandbox
    }

    /// With data and a network trained on them for two epochs, in `run`.
    fn with_weights() -> Self {
        let sandbox = Sandbox::with_data(64, 40);
        sandbox.ok(&format!("train {SMALL} --data data --device cpu --epochs 2 --out run"));
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Makes a file and the folders above it.
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The records of all training batches of a data folder.
    fn train_records(&self, folder: &str) -> Vec<Vec<u8>> {
        let names = (1..=5).map(|number| format!("{folder}/data_batch_{number}.bin"));
        let batches = names.filter(|name| self.path(name).exists()).map(|name| self.read(&name));
        batches.flat_map(|batch| batch.chunks(1 + IMAGE_BYTES).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
    }

    /// Makes a batch file of `records` black images of class 0, which takes no room on most disks.
    fn write_black(&self, name: &str, records: u64) {
        self.write(name, &[]);
        let file = fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_len(records * (1 + IMAGE_BYTES as u64)).unwrap();
    }

    /// Copies a file of `tests/fixtures` here.
    fn copy_fixture(&self, name: &str) {
        self.write(name, &fixture(name));
    }

    /// The command with these arguments, split at blanks.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).timeout(Duration::from_secs(600));
        // Mesa's 22.3 drivers complain on standard error where there is none.
        command.env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    /// Runs a command that must end well.
    fn ok(&self, arguments: &str) -> Printed {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let printed = Printed { stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(output.status.success(), "{arguments}: {}\n{}", output.status, printed.stderr);
        printed
    }

    /// Runs a command that must end well and print one line of JSON.
    fn json(&self, arguments: &str) -> Value {
        let stdout = self.ok(arguments).stdout;
        assert_eq!(stdout.lines().count(), 1, "{arguments}: {stdout}");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{arguments}: {e}: {stdout}"))
    }

    /// Runs a command that must fail with an error that contains `message` and a hint, and leave all files as they are.
    #[track_caller]
    fn refuses(&self, arguments: &str, message: &str) {
        self.refuses_command(self.command(arguments), message);
    }

    #[track_caller]
    fn refuses_command(&self, mut command: Command, message: &str) {
        let before = self.contents();
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        let lines: Vec<_> = stderr.lines().collect();
        let count = |start| lines.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!((count("error: "), count("hint: ")), (1, 1), "{stderr}");
        let [.., error, hint] = lines[..] else { panic!("{stderr}") };
        let is_named = error.contains(message) || error.contains(&native(message));
        assert!(error.starts_with("error: ") && is_named, "`{message}` is not in: {stderr}");
        assert!(hint.starts_with("hint: ") && hint.len() > 12, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(before == self.contents(), "files changed: {:?}", self.contents().keys());
    }

    /// All files with their bytes, and all folders.
    fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut contents = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let bytes = path.is_file().then(|| fs::read(&path).unwrap());
                if bytes.is_none() {
                    folders.push(path.clone());
                }
                contents.insert(path, bytes);
            }
        }
        contents
    }

    /// The lines of a run's metrics: those of steps, those of epochs.
    fn metrics(&self, run: &str) -> (Vec<Value>, Vec<Value>) {
        let text = String::from_utf8(self.read(&format!("{run}/metrics.jsonl"))).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.partition(|line| line.get("step").is_some())
    }
}

/// The names of a JSON object's fields, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// A PNG of these pixels.
fn png(picture: impl Into<image::DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
