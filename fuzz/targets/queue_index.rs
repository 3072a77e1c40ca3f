//! See `gatepost_fuzz::queue_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::queue_index(data));
