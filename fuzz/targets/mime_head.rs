//! See `gatepost_fuzz::mime_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::mime_head(data));
