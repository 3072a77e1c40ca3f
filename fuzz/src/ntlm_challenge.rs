//! A forward proxy's NTLM challenge.

use std::time::Duration;

use gatepost_core::secret::ProxyPassword;
use gatepost_proto::tunnel::connect::AuthenticationError;
use gatepost_proto::tunnel::credentials::NtlmCredentials;
use gatepost_proto::tunnel::ntlm::authenticate;

/// The first octet of the payload of an answer.
const HEAD: usize = 88;

/// The whole input is the message.
pub fn check(data: &[u8]) {
    let credentials = NtlmCredentials {
        username: "svc-mail".into(),
        domain: "CORP".into(),
        password: ProxyPassword::new("s3cret".into()),
    };
    let answer = |nonce| authenticate(data, &credentials, nonce, Duration::ZERO);
    let reply = match answer([0xaa; 8]) {
        Ok(reply) => reply,
        Err(AuthenticationError::Challenge { reason, .. }) => {
            assert!(!reason.is_empty() && answer([0x55; 8]).is_err());
            return;
        }
        Err(other) => panic!("a message can only be wrong: {other}"),
    };
    assert!(data.starts_with(b"NTLMSSP\0\x02\0\0\0") && reply.starts_with(b"NTLMSSP\0\x03\0\0\0"));
    assert!(reply.len() <= HEAD + data.len() + 256, "more than the message and the names");
    // The fields lie one behind the other, and fill the payload.
    let mut end = HEAD;
    for at in (12..60).step_by(8) {
        let length = usize::from(u16::from_le_bytes([reply[at], reply[at + 1]]));
        let offset = u32::from_le_bytes([reply[at + 4], reply[at + 5], reply[at + 6], reply[at + 7]]) as usize;
        assert_eq!(offset, end);
        end += length;
    }
    assert_eq!(end, reply.len());
    let nt = usize::from(u16::from_le_bytes([reply[20], reply[21]]));
    assert!(nt >= 16 + 28 + 8, "an older response");
    let other = answer([0x55; 8]).expect("the same message");
    assert_eq!(other.len(), reply.len());
    assert_ne!(other, reply, "the nonce has no effect");
}
