#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pkv_fuzz::file_name::run(data));
