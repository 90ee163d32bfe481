#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pkv_fuzz::salvage_any_folder::run(data));
