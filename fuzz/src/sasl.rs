//! SASL messages of a client, and the base64 around them.

use gatepost_core::account::LoginName;
use gatepost_proto::sasl::{self, Credentials, Exchange, Mechanism, Progress, plain, xoauth2};

/// The first octet chooses: base64, or a mechanism, whose messages are divided by `0xFF`.
pub fn check(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match Mechanism::ALL.get(usize::from(*choice & 7)) {
        Some(mechanism) => exchange(*mechanism, choice & 8 != 0, rest),
        None => {
            if let Ok(octets) = sasl::decode(rest) {
                assert_eq!(sasl::encode(&octets).as_bytes(), rest, "two texts for the same octets");
            }
            assert_eq!(sasl::decode(sasl::encode(rest).as_bytes()).as_deref().map(Vec::as_slice), Ok(rest));
        }
    }
}

fn exchange(mechanism: Mechanism, initial_response: bool, messages: &[u8]) {
    let mut messages = messages.split(|octet| *octet == 0xff);
    let initial = if initial_response { messages.next() } else { None };
    let mut progress = Exchange::begin(mechanism, initial);
    // No mechanism has more rounds than LOGIN.
    for _ in 0..2 {
        progress = match (progress, messages.next()) {
            (Progress::Challenge(exchange, _), Some(message)) => exchange.respond(message),
            (progress, _) => progress,
        };
    }
    if let Progress::Complete(Ok(credentials)) = progress {
        presented(&credentials);
    }
}

fn presented(credentials: &Credentials) {
    match credentials {
        Credentials::Password { login, acting_as, password } => {
            let text = password.expose();
            assert!(!text.is_empty() && text.len() <= 1_024 && !text.contains(['\r', '\n', '\0', '\u{1}']));
            assert_ne!(acting_as.as_ref(), Some(login));
            for name in [Some(login), acting_as.as_ref()].into_iter().flatten() {
                assert_eq!(LoginName::parse(name.as_str()).as_ref(), Ok(name), "a name that is not canonical");
            }
            let acting_as = acting_as.as_ref().map_or("", LoginName::as_str);
            let message = [acting_as, "\0", login.as_str(), "\0", text].concat();
            assert_same(credentials, plain::parse(message.as_bytes()));
        }
        Credentials::Token(bearer) => {
            assert!(sasl::is_b64token(bearer.token.expose()));
            let message = sasl::decode(xoauth2::initial_response(bearer).as_bytes()).expect("base64");
            assert_same(credentials, xoauth2::parse(&message));
        }
    }
}

fn assert_same(credentials: &Credentials, again: Result<Credentials, sasl::CredentialsError>) {
    let same = match (credentials, &again) {
        (
            Credentials::Password { login, acting_as, password },
            Ok(Credentials::Password { login: l, acting_as: a, password: p }),
        ) => login == l && acting_as == a && password.expose() == p.expose(),
        (Credentials::Token(bearer), Ok(Credentials::Token(b))) => {
            bearer.user == b.user && bearer.token.expose() == b.token.expose()
        }
        _ => false,
    };
    assert!(same, "{credentials:?} became {again:?}");
}
