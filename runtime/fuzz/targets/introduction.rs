#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzz::check(tidegate::fuzz::introduction, data));
