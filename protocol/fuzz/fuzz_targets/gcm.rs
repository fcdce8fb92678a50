#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealed_shuffle_fuzz::run("gcm", data));
