//! See `gatepost_fuzz::connect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::connect(data));
