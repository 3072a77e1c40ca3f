//! Clients that fail at TLS until somebody changes a setting: what they did, and what to change.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

use super::attempt::Attempts;
use gatepost_config::{Listener, ListenerTls};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
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
const TRUST: &str = "install the CA of `gatepost cert` on the client. If it is installed, use a certificate with the host \
                     name that the client connects to";

/// How to help a client whose TLS is too old.
const UPDATE: &str = "turn on TLS 1.2 or newer in the client, or update it. If it cannot, it needs a listener of its own \
                      with `tls: none` and `allow_plaintext_from`";

impl Attempts<'_> {
    /// Notes that the client began with TLS where commands or requests belong. That is no guess and
    /// no attack, so it costs nothing.
    pub(super) fn tls_on_plain_port(&self) {
        self.visit.forgive();
        let listener = &self.service.listener;
        let begun =
            |rest| Failure::new(Cause::TlsOnPlainPort, format!("the client began with TLS, but this listener {rest}"));
        self.unfit(&match (&listener.tls, listener.protocol) {
            (ListenerTls::StartTls(_), _) => {
                begun("offers STARTTLS").to_do("set the encryption of the client to STARTTLS")
            }
            (_, Protocol::Ews | Protocol::Graph) => begun("has `tls: none`")
                .by(Actor::GatepostAdmin)
                .to_do("set `tls: implicit` with a certificate, or let the client use `http://`"),
            _ => begun("has `tls: none`")
                .by(Actor::GatepostAdmin)
                .to_do("set `tls: implicit` with a certificate, or turn encryption off in the client"),
        });
    }

    /// Notes that an HTTP request came to a mail port.
    pub(super) fn http_on_mail_port(&self) {
        let name = self.service.listener.protocol.title();
        let message = format!("an HTTP request came to a listener for {name}");
        self.unfit(
            &Failure::new(Cause::Http, message)
                .to_do("set the client to a listener for EWS or Graph, or check its port"),
        );
    }

    /// Notes that the handshake with the client failed. `first` is what the client began with.
    pub(super) fn tls_failed(&self, error: &io::Error, first: &[u8]) {
        if first.is_empty() {
            // A probe whether the port is open.
            return self.shared.journal.closed(self.subject, Cause::ClientLeft, "the client left before TLS began");
        }
        self.unfit(&if begins_tls(first) == Some(false) {
            plain_text(&self.service.listener)
        } else {
            failed(error, first)
        });
    }

    /// Notes that the handshake with the client took too long.
    pub(super) fn tls_timed_out(&self, first: &[u8]) {
        self.visit.penalize(Misbehavior::Timeout);
        if !first.is_empty() || matches!(self.service.listener.protocol, Protocol::Ews | Protocol::Graph) {
            let text = "the client did not finish the TLS handshake in time";
            return self.shared.journal.closed(self.subject, Cause::TlsTimeout, text);
        }
        let waited = self.shared.limits.tls_handshake;
        let message =
            format!("the client sent nothing within {waited:?}, as one does that waits for a greeting without TLS");
        self.unfit(
            &Failure::new(Cause::TlsTimeout, message)
                .by(Actor::ClientOwner)
                .to_do("set the encryption of the client to TLS (SSL/TLS), not to STARTTLS and not to none"),
        );
    }

    /// Notes that the connection broke. Some clients judge the certificate after the handshake.
    pub(super) fn broke(&self, error: &io::Error) {
        match tls_error(error).and_then(rejected) {
            Some(failure) => self.unfit(&failure),
            None => {
                let text = format!("the client's connection broke: {error}");
                self.shared.journal.closed(self.subject, Cause::ClientBroke, &text);
            }
        }
    }

    /// Notes that the HTTP library could not go on. Some clients judge the certificate after the
    /// handshake. Returns the cause if that is the reason.
    pub(super) fn rejected_later(&self, error: &hyper::Error) -> Option<Cause> {
        let error = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let failure = error.and_then(tls_error).and_then(rejected)?;
        self.unfit(&failure);
        Some(failure.cause)
    }

    fn unfit(&self, failure: &Failure) {
        self.shared.journal.unfit(self.service.listener.protocol, self.subject, failure);
    }
}

/// Whether [`Attempts`] has noted that the connection ended for this cause.
pub(super) fn is_noted(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TlsFailed
            | Cause::TlsOnPlainPort
            | Cause::TlsTooOld
            | Cause::CertificateRejected
            | Cause::PlaintextOnTlsPort
    )
}

fn plain_text(listener: &Listener) -> Failure {
    let failure = |message: &str| Failure::new(Cause::PlaintextOnTlsPort, message);
    match (&listener.tls, listener.protocol) {
        (ListenerTls::StartTls(_), _) => failure("the client asked for STARTTLS and then went on without TLS")
            .to_do("update the client, and check what changes the connection on its path"),
        (_, Protocol::Ews | Protocol::Graph) => failure("the client began without TLS, which this listener needs")
            .to_do("write `https://` in the client in place of `http://`"),
        _ => failure("the client began without TLS, which this listener needs")
            .to_do("set the encryption of the client to TLS (SSL/TLS), not to STARTTLS and not to none"),
    }
}

/// Says why the handshake with a client that speaks TLS failed.
fn failed(error: &io::Error, first: &[u8]) -> Failure {
    let other = |message: String| {
        Failure::new(Cause::TlsFailed, message).to_do("check that the client uses TLS 1.2 or newer on this port")
    };
    match tls_error(error) {
        Some(refused) if let Some(failure) = rejected(refused) => failure,
        Some(Error::NoApplicationProtocol) => {
            other("the client offers other protocols in TLS (ALPN) than this listener has".to_owned())
                .to_do("check the port in the client")
        }
        Some(Error::PeerIncompatible(lack)) => incompatible(lack, first),
        // rustls does not know the form of SSL 2.0, in which only old clients begin.
        Some(Error::InvalidMessage(_)) if first.first().is_some_and(|first| *first >= 0x80) => too_old("SSL 2.0"),
        Some(Error::AlertReceived(alert)) => {
            other(format!("the client ended the TLS handshake with alert {}", u8::from(*alert)))
        }
        Some(
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. },
        ) => other("the client sent something that is not TLS in the TLS handshake".to_owned()),
        Some(error) => other(format!("the TLS handshake failed: {error}")),
        None => Failure::new(
            Cause::TlsFailed,
            "the client left during the TLS handshake, as one does that does not trust the certificate",
        )
        .by(Actor::GatepostAdmin)
        .to_do(TRUST),
    }
}

/// Says what the client's hello lacks.
fn incompatible(lack: &PeerIncompatible, first: &[u8]) -> Failure {
    let other_key = |offered: &str, remedy: &'static str| {
        let message =
            format!("the client offers TLS 1.2 for {offered} certificates only, and this listener has another one");
        Failure::new(Cause::TlsTooOld, message).by(Actor::GatepostAdmin).to_do(remedy)
    };
    let missing = match (lack, lacks(first)) {
        (PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled, _) => {
            return too_old(version(first));
        }
        (_, Some(Lack::KeyExchange)) => "ECDHE key exchange, only RSA or DHE",
        (_, Some(Lack::AuthenticatedEncryption)) => "ECDHE with AES-GCM or ChaCha20-Poly1305, only with CBC",
        (PeerIncompatible::NoCipherSuitesInCommon, Some(Lack::EcdsaCertificates)) => {
            return other_key("RSA", "use a certificate with an RSA key, such as `gatepost cert --key rsa` makes");
        }
        (PeerIncompatible::NoCipherSuitesInCommon, Some(Lack::RsaCertificates)) => {
            return other_key("ECDSA", "use a certificate with a P-256 key, such as `gatepost cert` makes");
        }
        (PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired, _) => {
            "a curve for ECDHE that is in use (X25519, P-256 or P-384)"
        }
        (PeerIncompatible::NoSignatureSchemesInCommon | PeerIncompatible::SignatureAlgorithmsExtensionRequired, _) => {
            "a signature for this listener's certificate that is in use (SHA-256 or better)"
        }
        (lack, _) => {
            let lack = Error::PeerIncompatible(lack.clone());
            return Failure::new(Cause::TlsTooOld, format!("the client's TLS does not fit: {lack}")).to_do(UPDATE);
        }
    };
    Failure::new(Cause::TlsTooOld, format!("the client offers TLS 1.2 without {missing}")).to_do(UPDATE)
}

fn too_old(version: &str) -> Failure {
    Failure::new(Cause::TlsTooOld, format!("the client offers {version} at most, and TLS 1.2 is needed")).to_do(UPDATE)
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
fn rejected(error: &Error) -> Option<Failure> {
    let Error::AlertReceived(alert) = error else { return None };
    let (_, name) = REJECTIONS.iter().find(|(known, _)| known == alert)?;
    let message = format!("the client rejects the certificate of this listener (TLS alert {name})");
    Some(Failure::new(Cause::CertificateRejected, message).to_do(TRUST))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    fn refused(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn each_alert_about_a_certificate_is_told_as_one() {
        for (alert, name) in REJECTIONS {
            let told = failed(&refused(Error::AlertReceived(alert)), &[]).to_string();
            assert!(told.starts_with("the client rejects the certificate") && told.contains(name), "{told}");
            assert!(name.ends_with(&format!(", {}", u8::from(alert))), "{name}");
        }
        let other = refused(Error::AlertReceived(AlertDescription::ProtocolVersion));
        assert!(failed(&other, &[]).message.contains("ended the TLS handshake with alert 70"));
        let left = failed(&io::ErrorKind::ConnectionReset.into(), &[]);
        assert!(left.message.contains("left during the TLS handshake"));
    }

    #[test]
    fn an_old_client_is_told_by_the_version_in_its_hello() {
        let hello = |minor: u8| [22, 3, 1, 0, 100, 1, 0, 0, 96, 3, minor];
        for (minor, named) in [(0, "SSL 3.0"), (1, "TLS 1.0"), (2, "TLS 1.1"), (9, "a version of TLS before 1.2")] {
            let lack = refused(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered));
            let told = failed(&lack, &hello(minor));
            assert!(told.message.starts_with(&format!("the client offers {named} at most")), "{told}");
        }
        let unclear = refused(Error::InvalidMessage(InvalidMessage::InvalidContentType));
        // SSL 2.0 has the highest bit of its length set, and a record of TLS begins with its type.
        assert!(failed(&unclear, &[0x80, 0x2e, 1]).message.contains("SSL 2.0"));
        for first in [&hello(3)[..], &[]] {
            assert!(failed(&unclear, first).message.contains("sent something that is not TLS"));
        }
    }

    #[test]
    fn what_was_noted_in_the_handshake_is_not_noted_again() {
        for cause in [Cause::TlsFailed, Cause::TlsTooOld, Cause::CertificateRejected, Cause::PlaintextOnTlsPort] {
            assert!(is_noted(cause), "{cause}");
        }
        assert!(!is_noted(Cause::ClientBroke));
    }
}
