//! See `gatepost_fuzz::imap_upstream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::imap_upstream(data));
