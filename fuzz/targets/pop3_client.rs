//! See `gatepost_fuzz::pop3_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::pop3_client(data));
