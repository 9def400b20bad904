//! Files of `tests/fixtures`.

use std::fs;
use std::path::PathBuf;

/// The bytes of a fixture.
pub fn fixture(name: &str) -> Vec<u8> {
    // Cargo says where it starts a test; a test that was built on another machine must look there, not where it was built.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let path = PathBuf::from(root).join("tests/fixtures").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
