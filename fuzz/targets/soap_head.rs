//! See `gatepost_fuzz::soap_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::soap_head(data));
