//! Clients that fail at TLS until somebody changes a setting: what they did, and what to change.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

use super::attempt::Attempts;
use gatepost_config::ListenerTls;
use gatepost_core::cause::Cause;
use gatepost_core::protocol::Protocol;
use gatepost_net::penalty::Misbehavior;
use gatepost_proto::tls_hello::{Lack, begins_tls, lacks};

/// The alerts by which a client rejects a certificate (RFC 8446 §6.2), by name and number.
const REJECTIONS: [(AlertDescription, &str); 8] = [
    (AlertDescription::BadCertificate, "bad_certificate, 42"),
    (AlertDescription::UnsupportedCertificate, "unsupported_certificate, 43"),
    (AlertDescription::CertificateRevoked, "certificate_revoked, 44"),
    (AlertDescription::CertificateExpired, "certificate_expired, 45"),
    (AlertDescription::CertificateUnknown, "certificate_unknown, 46"),
    (AlertDescription::UnknownCA, "unknown_ca, 48"),
    (AlertDescription::AccessDenied, "access_denied, 49"),
    // The client trusts an issuer of the same name with another key.
    (AlertDescription::DecryptError, "decrypt_error, 51"),
];

/// How to make a client trust the listener.
const TRUST: &str = "Gatepost admin: use a certificate whose issuer the client trusts and that has the host name which \
                     the client connects to, or install its issuer on the client";

/// How to help a client whose TLS is too old.
const UPDATE: &str = "Device owner: update the client. Gatepost admin: if that is not possible, let it use a listener with \
                      `tls: none` that only its network reaches";

impl Attempts<'_> {
    /// Notes that the client began with TLS where commands or requests belong. That is no guess and
    /// no attack, so it costs nothing.
    pub(super) fn tls_on_plain_port(&self) {
        self.visit.forgive();
        let listener = &self.service.listener;
        let text = match (&listener.tls, listener.protocol) {
            (ListenerTls::StartTls(_), _) => {
                "the client began with TLS, and this listener begins without it and offers STARTTLS. Device owner: set \
                 the encryption of the client to STARTTLS"
            }
            (_, Protocol::Ews | Protocol::Graph) => {
                "the client began with TLS, and this listener has `tls: none`. Gatepost admin: set `tls: implicit` with \
                 a certificate, or let the client use `http://`"
            }
            _ => {
                "the client began with TLS, and this listener has `tls: none`. Gatepost admin: set `tls: implicit` with \
                 a certificate, or turn encryption off in the client"
            }
        };
        self.shared.journal.unfit(self.subject, Cause::TlsOnPlainPort, text);
    }

    /// Notes that the handshake with the client failed. `first` is what the client began with.
    pub(super) fn tls_failed(&self, error: &io::Error, first: &[u8]) {
        let journal = &self.shared.journal;
        if first.is_empty() {
            // A probe whether the port is open.
            return journal.closed(self.subject, Cause::ClientLeft, "the client left before TLS began");
        }
        let text = if begins_tls(first) == Some(false) {
            plain_text(self.service.listener.protocol).to_owned()
        } else {
            failed(error, first)
        };
        journal.unfit(self.subject, Cause::TlsFailed, &text);
    }

    /// Notes that the handshake with the client took too long.
    pub(super) fn tls_timed_out(&self, first: &[u8]) {
        self.visit.penalize(Misbehavior::Timeout);
        let (journal, protocol) = (&self.shared.journal, self.service.listener.protocol);
        if !first.is_empty() || matches!(protocol, Protocol::Ews | Protocol::Graph) {
            let text = "the client did not finish the TLS handshake in time";
            return journal.closed(self.subject, Cause::TlsTimeout, text);
        }
        let text = format!(
            "the client sent nothing within {:?}, as one does that waits for a greeting without TLS. Device owner: set \
             the encryption of the client to TLS (SSL/TLS), not to STARTTLS and not to none",
            self.shared.limits.tls_handshake
        );
        journal.unfit(self.subject, Cause::TlsTimeout, &text);
    }

    /// Notes that the connection broke. Some clients judge the certificate after the handshake.
    pub(super) fn broke(&self, error: &io::Error) {
        let journal = &self.shared.journal;
        match tls_error(error).and_then(rejected) {
            Some(text) => journal.unfit(self.subject, Cause::TlsFailed, &text),
            None => {
                let text = format!("the client's connection broke: {error}");
                journal.closed(self.subject, Cause::ClientBroke, &text);
            }
        }
    }

    /// Notes that the HTTP library could not go on. Some clients judge the certificate after the
    /// handshake. Returns false if that is not the reason.
    pub(super) fn rejected_later(&self, error: &hyper::Error) -> bool {
        let error = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let Some(text) = error.and_then(tls_error).and_then(rejected) else { return false };
        self.shared.journal.unfit(self.subject, Cause::TlsFailed, &text);
        true
    }
}

fn plain_text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ews | Protocol::Graph => {
            "the client did not begin with TLS, which this listener has from the first byte. Device owner: write \
             `https://` in the client in place of `http://`"
        }
        Protocol::Imap | Protocol::Pop3 | Protocol::Smtp => {
            "the client did not begin with TLS, which this listener has from the first byte. Device owner: set the \
             encryption of the client to TLS (SSL/TLS), not to STARTTLS and not to none"
        }
    }
}

/// Says why the handshake with a client that speaks TLS failed.
fn failed(error: &io::Error, first: &[u8]) -> String {
    match tls_error(error) {
        Some(refused) if let Some(text) = rejected(refused) => text,
        Some(Error::NoApplicationProtocol) => {
            "the client offers other protocols in the TLS handshake (ALPN) than this \
                                               listener has. Device owner: check the port"
                .to_owned()
        }
        Some(Error::PeerIncompatible(lack)) => incompatible(lack, first),
        // rustls does not know the form of SSL 2.0, in which only old clients begin.
        Some(Error::InvalidMessage(_)) if first.first().is_some_and(|first| *first >= 0x80) => too_old("SSL 2.0"),
        Some(_) => format!(
            "the TLS handshake failed: {error}. Device owner: check that the client speaks TLS 1.2 or newer on this port"
        ),
        None => {
            format!(
                "the client left during the TLS handshake, as one does that does not trust the certificate. {TRUST}"
            )
        }
    }
}

/// Says what the client's hello lacks.
fn incompatible(lack: &PeerIncompatible, first: &[u8]) -> String {
    let missing = match (lack, lacks(first)) {
        (PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled, _) => {
            return too_old(version(first));
        }
        (_, Some(Lack::KeyExchange)) => "ECDHE key exchange, only RSA or DHE",
        (_, Some(Lack::AuthenticatedEncryption)) => "ECDHE with AES-GCM or ChaCha20-Poly1305, only with CBC",
        (PeerIncompatible::NoCipherSuitesInCommon, Some(Lack::EcdsaCertificates)) => {
            return "the client offers TLS 1.2 for RSA certificates only, and this listener has another one. Gatepost admin: \
                    use a certificate with an RSA key, such as `gatepost cert --key rsa` makes"
                .to_owned();
        }
        (PeerIncompatible::NoCipherSuitesInCommon, Some(Lack::RsaCertificates)) => {
            return "the client offers TLS 1.2 for ECDSA certificates only, and this listener has another one. Gatepost \
                    admin: use a certificate with a P-256 key, such as `gatepost cert` makes"
                .to_owned();
        }
        (PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired, _) => {
            "a curve for ECDHE that is in use (X25519, P-256 or P-384)"
        }
        (PeerIncompatible::NoSignatureSchemesInCommon | PeerIncompatible::SignatureAlgorithmsExtensionRequired, _) => {
            "a signature for this listener's certificate that is in use (SHA-256 or better)"
        }
        (lack, _) => {
            return format!("the client's TLS does not fit: {}. {UPDATE}", Error::PeerIncompatible(lack.clone()));
        }
    };
    format!("the client offers TLS 1.2 without {missing}. {UPDATE}")
}

fn too_old(version: &str) -> String {
    format!("the client offers {version} at most, and TLS 1.2 is needed. {UPDATE}")
}

/// The newest version of a hello that does not offer TLS 1.2.
fn version(first: &[u8]) -> &'static str {
    // Behind the headers of the record and of the message.
    match first.get(9..11) {
        Some([3, 0]) => "SSL 3.0",
        Some([3, 1]) => "TLS 1.0",
        Some([3, 2]) => "TLS 1.1",
        _ => "a version of TLS before 1.2",
    }
}

/// Says that the client rejects the certificate, if it sent an alert that means this.
fn rejected(error: &Error) -> Option<String> {
    let Error::AlertReceived(alert) = error else { return None };
    let (_, name) = REJECTIONS.iter().find(|(known, _)| known == alert)?;
    Some(format!("the client rejects the certificate of this listener (TLS alert {name}). {TRUST}"))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn each_alert_about_a_certificate_is_told_as_one() {
        for (alert, name) in REJECTIONS {
            let told = failed(&refused(Error::AlertReceived(alert)), &[]);
            assert!(told.starts_with("the client rejects the certificate") && told.contains(name), "{told}");
            assert!(name.ends_with(&format!(", {}", u8::from(alert))), "{name}");
        }
        let other = refused(Error::AlertReceived(AlertDescription::ProtocolVersion));
        assert!(failed(&other, &[]).contains("TLS handshake failed"));
        assert!(failed(&io::ErrorKind::ConnectionReset.into(), &[]).contains("left during the TLS handshake"));
    }
}
