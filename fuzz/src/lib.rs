//! What all fuzz targets do.

use std::sync::OnceLock;

use cifar_gpu::untrusted::{Reader, reader};

/// Reads an input with the reader of this name, and aborts if that panics or takes more memory than it may.
pub fn check(name: &str, input: &[u8]) {
    static READER: OnceLock<Reader> = OnceLock::new();
    let reader = READER.get_or_init(|| {
        // On one thread, whose memory is counted.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        pool.build_global().expect("the first pool of threads");
        reader(name)
    });
    reader.check(input);
}
