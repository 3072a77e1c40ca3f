//! See `gatepost_fuzz::smtp_upstream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::smtp_upstream(data));
