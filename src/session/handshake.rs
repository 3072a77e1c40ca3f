//! Clients that fail at TLS until somebody changes a setting: what they did, and what to change.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, Error};

use super::attempt::Attempts;
use gatepost_config::ListenerTls;
use gatepost_core::cause::Cause;
use gatepost_core::protocol::Protocol;
use gatepost_net::penalty::Misbehavior;
use gatepost_proto::tls_hello::begins_tls;

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
            failed(error)
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
fn failed(error: &io::Error) -> String {
    match tls_error(error) {
        Some(refused) if let Some(text) = rejected(refused) => text,
        Some(Error::NoApplicationProtocol) => {
            "the client offers other protocols in the TLS handshake (ALPN) than this \
                                               listener has. Device owner: check the port"
                .to_owned()
        }
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

    #[test]
    fn each_alert_about_a_certificate_is_told_as_one() {
        for (alert, name) in REJECTIONS {
            let told = failed(&io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert)));
            assert!(told.starts_with("the client rejects the certificate") && told.contains(name), "{told}");
            assert!(name.ends_with(&format!(", {}", u8::from(alert))), "{name}");
        }
        let other = Error::AlertReceived(AlertDescription::ProtocolVersion);
        assert!(failed(&io::Error::new(io::ErrorKind::InvalidData, other)).contains("TLS handshake failed"));
        assert!(failed(&io::ErrorKind::ConnectionReset.into()).contains("left during the TLS handshake"));
    }
}
