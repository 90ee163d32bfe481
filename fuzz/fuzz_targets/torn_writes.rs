#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pkv_fuzz::torn_writes::run(data));
