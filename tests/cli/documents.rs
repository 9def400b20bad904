//! What the documents say is so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(sources(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
    files
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn every_unsafe_block_is_in_the_table() {
    let counted: BTreeMap<String, usize> = sources(&root().join("src"))
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let count = text
                .lines()
                .flat_map(|line| code(line).split(|c: char| !c.is_alphanumeric() && c != '_'))
                .filter(|word| *word == "unsafe");
            (path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/"), count.count())
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    let document = fs::read_to_string(root().join("docs/RELIABILITY.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `src/")?.split_once("` | "));
    let told: BTreeMap<String, usize> =
        rows.filter_map(|(path, rest)| Some((format!("src/{path}"), rest.split(' ').next()?.parse().ok()?))).collect();
    assert_eq!(counted, told);
}
