//! The answer of a token endpoint, Entra's or another provider's.

use std::time::Duration;

use gatepost_oauth::response::{self, Dialect, NotGranted, TOKEN_OCTETS};
use gatepost_proto::sasl;

const STATUSES: [u16; 14] = [200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 204, 302, 100, 599];

/// The first octet chooses the status, the rest is the body.
pub fn check(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let status = STATUSES[usize::from(choice.wrapping_sub(b'0')) % STATUSES.len()];
    check_in(status, body, Dialect::ENTRA);
    check_in(status, body, Dialect::RFC_6749);
}

fn check_in(status: u16, body: &[u8], dialect: Dialect) {
    match response::parse(status, body, dialect) {
        Ok(granted) => {
            assert_eq!(status, 200, "a token from a refusal");
            let token = granted.access_token.expose();
            assert!(sasl::is_b64token(token) && token.len() <= TOKEN_OCTETS);
            assert!((Duration::from_secs(60)..=Duration::from_secs(28 * 3_600)).contains(&granted.lifetime));
        }
        Err(NotGranted::Refused(error)) => {
            assert!(matches!(status, 200 | 400..=499) && !matches!(status, 408 | 429), "{status} is no refusal");
            assert!(error.error.len() <= 64 && error.error.bytes().all(|octet| octet.is_ascii_graphic()));
            let plain = |id: &String| id.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
            assert!(error.trace_id.as_ref().is_none_or(|id| id.len() <= 64 && plain(id)));
        }
        Err(NotGranted::Busy { status: told, .. }) => {
            assert!(told == status && matches!(status, 408 | 429 | 500..=599));
        }
        Err(NotGranted::Unclear { status: told, .. }) => assert_eq!(told, status),
    }
}
