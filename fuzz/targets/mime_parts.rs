//! See `gatepost_fuzz::mime_parts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::mime_parts(data));
