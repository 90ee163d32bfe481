#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pkv_fuzz::operations_vs_model::run(data));
