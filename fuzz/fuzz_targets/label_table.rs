#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cifar_gpu_fuzz::check("label_table", input));
