//! See `gatepost_fuzz::imap_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::imap_client(data));
