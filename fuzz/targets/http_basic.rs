//! See `gatepost_fuzz::http_basic`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::http_basic(data));
