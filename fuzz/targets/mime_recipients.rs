//! See `gatepost_fuzz::mime_recipients`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::mime_recipients(data));
