//! See `gatepost_fuzz::ntlm_challenge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatepost_fuzz::ntlm_challenge(data));
