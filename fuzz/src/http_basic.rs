//! The `Authorization` field of an HTTP client.

use gatepost_core::account::LoginName;
use gatepost_proto::http::basic::{Presented, parse};
use gatepost_proto::sasl::{self, Credentials};

/// The whole input is the value.
pub fn check(data: &[u8]) {
    let Presented::Credentials(credentials) = parse(data) else { return };
    let Credentials::Password { login, acting_as: None, password } = &credentials else { panic!("{credentials:?}") };
    let text = password.expose();
    assert!(!text.is_empty() && text.len() <= 1_024 && !text.contains(['\r', '\n', '\0', '\u{1}']));
    assert_eq!(LoginName::parse(login.as_str()).as_ref(), Ok(login), "a name that is not canonical");
    // Written again, it is the same.
    let again = format!("Basic {}", *sasl::encode(format!("{login}:{text}").as_bytes()));
    match parse(again.as_bytes()) {
        Presented::Credentials(Credentials::Password { login: l, acting_as: None, password: p }) => {
            assert!(*login == l && text == p.expose());
        }
        other => panic!("{other:?}"),
    }
}
