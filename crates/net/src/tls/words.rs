//! Errors of TLS in plain words, because rustls shows names of its own types and times in seconds.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::plain_text::PlainText;
use super::verifier::{OutOfDate, UntrustedIssuer};
use gatepost_core::clock::UnixTime;
use gatepost_core::system_error::Plain;

/// Most names of a certificate that are listed.
const NAMES: usize = 5;

/// Returns why a handshake failed, as a clause about the server, such as `it ended the connection`.
pub fn of_handshake(error: &io::Error) -> String {
    if let Some(plain) = PlainText::of(error) {
        return plain.to_string();
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of_tls(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ended the connection".to_owned(),
            io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
            _ => Plain(error).to_string(),
        },
    }
}

/// Returns why TLS refused something, as a clause about the other side.
pub fn of_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => format!("its certificate {}", of_certificate(problem)),
        Error::AlertReceived(alert) => format!("it sent the alert `{}`", name(*alert)),
        Error::PeerIncompatible(_) => "it has no TLS version or cipher in common with Gatepost".to_owned(),
        Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
        Error::NoCertificatesPresented => "it presented no certificate".to_owned(),
        Error::NoApplicationProtocol => "it speaks none of the wanted protocols".to_owned(),
        Error::FailedToGetCurrentTime => "this machine's clock is set before 1970".to_owned(),
        _ => "it broke the rules of TLS".to_owned(),
    }
}

/// Returns what is wrong with a certificate, as the end of a sentence that begins with it.
pub fn of_certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Other(other) => match (other.0.downcast_ref::<UntrustedIssuer>(), OutOfDate::of(problem)) {
            (Some(untrusted), _) => format!("was {untrusted}"),
            (None, Some(date)) => date.to_string(),
            // What the system's verifier says.
            (None, None) => format!("is not accepted by this system: {}", other.0),
        },
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}", UnixTime(not_after.as_secs()).rfc3339())
        }
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", UnixTime(not_before.as_secs()).rfc3339())
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => match presented.len() {
            0 => format!("is for no name, and `{}` is wanted", expected.to_str()),
            _ => format!("is for {}, and not for `{}`", listed(presented), expected.to_str()),
        },
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::UnknownIssuer => "was issued by an authority that is not trusted".to_owned(),
        CertificateError::Revoked => "was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers".to_owned()
        }
        CertificateError::BadSignature => "has a wrong signature".to_owned(),
        CertificateError::BadEncoding => "is damaged".to_owned(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed in a way that Gatepost does not support".to_owned()
        }
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "cannot be checked for revocation".to_owned(),
        _ => "is not acceptable".to_owned(),
    }
}

/// The names of a certificate; rustls writes `DnsName("x")` around each.
fn listed(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')).map(|(inner, _)| inner);
        format!("`{}`", inner.unwrap_or(name).replace('`', ""))
    };
    let mut names: Vec<String> = presented.iter().take(NAMES).map(bare).collect();
    if presented.len() > NAMES {
        names.push(format!("{} more", presented.len() - NAMES));
    }
    names.join(", ")
}

/// The name of an alert as RFC 8446 §6 writes it.
fn name(alert: AlertDescription) -> String {
    let mut name = String::new();
    for letter in alert.as_str().unwrap_or("unknown").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    // `UnknownCA` is the one with two capitals in a row.
    name.replace("_c_a", "_ca")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime as Time};
    use rustls::{InvalidMessage, OtherError, PeerIncompatible};

    use super::*;

    /// 15 November 2026, noon.
    fn time() -> Time {
        Time::since_unix_epoch(Duration::from_secs(1_794_744_000))
    }

    #[test]
    fn each_kind_of_failure_has_its_own_words() {
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::Revoked), "its certificate was revoked"),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), "it sent the alert `handshake_failure`"),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "it has no TLS version or cipher in common with Gatepost",
            ),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "it does not speak TLS on this port"),
            (Error::NoCertificatesPresented, "it presented no certificate"),
            (Error::NoApplicationProtocol, "it speaks none of the wanted protocols"),
            (Error::FailedToGetCurrentTime, "this machine's clock is set before 1970"),
            (Error::DecryptError, "it broke the rules of TLS"),
        ] {
            assert_eq!(of_tls(&error), words);
            assert_eq!(of_handshake(&io::Error::other(error)), words);
        }
        assert_eq!(of_handshake(&io::ErrorKind::UnexpectedEof.into()), "it ended the connection");
        assert_eq!(of_handshake(&io::ErrorKind::TimedOut.into()), "it did not answer in time");
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_its_dates_and_names() {
        let for_names = |names: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("outlook.office365.com").unwrap(),
            presented: names.iter().map(|name| format!("DnsName(\"{name}\")")).collect(),
        };
        let now = time();
        for (problem, words) in [
            (CertificateError::ExpiredContext { time: now, not_after: now }, "expired on 2026-11-15T12:00:00Z"),
            (CertificateError::Expired, "has expired"),
            (
                CertificateError::NotValidYetContext { time: now, not_before: now },
                "is not valid before 2026-11-15T12:00:00Z",
            ),
            (CertificateError::NotValidYet, "is not valid yet"),
            (for_names(&[]), "is for no name, and `outlook.office365.com` is wanted"),
            (
                for_names(&["a.example", "b.example", "c.example", "d.example", "e.example"]),
                "is for `a.example`, `b.example`, `c.example`, `d.example`, `e.example`, and not for \
                 `outlook.office365.com`",
            ),
            (
                for_names(&["a.example", "b.example", "c.example", "d.example", "e.example", "f.example", "g.example"]),
                "is for `a.example`, `b.example`, `c.example`, `d.example`, `e.example`, 2 more, and not for \
                 `outlook.office365.com`",
            ),
            (CertificateError::NotValidForName, "is for another name"),
            (CertificateError::UnknownIssuer, "was issued by an authority that is not trusted"),
            (CertificateError::Revoked, "was revoked"),
            (CertificateError::InvalidPurpose, "is not for servers"),
            (CertificateError::BadSignature, "has a wrong signature"),
            (CertificateError::BadEncoding, "is damaged"),
            (CertificateError::UnknownRevocationStatus, "cannot be checked for revocation"),
            (CertificateError::UnhandledCriticalExtension, "is not acceptable"),
        ] {
            assert_eq!(of_certificate(&problem), words);
        }
        let of_the_system = CertificateError::Other(OtherError(std::sync::Arc::new(io::Error::other("too short"))));
        assert_eq!(of_certificate(&of_the_system), "is not accepted by this system: too short");
    }

    #[test]
    fn alerts_have_the_names_of_the_standard() {
        for (alert, name_of_it) in [
            (AlertDescription::CloseNotify, "close_notify"),
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
            (AlertDescription::Unknown(200), "unknown"),
        ] {
            assert_eq!(name(alert), name_of_it);
        }
    }
}
