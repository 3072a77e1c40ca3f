//! See `gatepost_fuzz::pop3_transaction`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::pop3_transaction(data));
