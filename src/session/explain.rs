//! Turns errors of upstreams into one [`Failure`] each: the cause, who has to act, and what to do.
//! A mailbox without a free session permit is one of them.

use std::io;

use super::http::OriginError;
use super::upstream::OpenError;
use crate::graph::GraphError;
use crate::session::mailbox_slots::{Bound, MailboxFull};
use gatepost_config::{Origin, Upstream};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal, chain};
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_net::error::DialError;
use gatepost_net::http::ConnectorError;
use gatepost_net::tls::{TrustError, UntrustedIssuer};
use gatepost_oauth::tokens::explain::JUST_GRANTED;
use gatepost_proto::mail::{UpstreamFailure, UpstreamFailureKind};
use gatepost_proto::tunnel::connect::{ConnectError, ConnectErrorKind};

/// The longest token that Microsoft's POP3 takes, in characters.
const LONGEST_TOKEN: usize = 4_096;

impl OpenError {
    /// Returns the failure for this upstream.
    pub fn failure(&self, upstream: &Upstream) -> Failure {
        let at = format!("{}:{}", upstream.host, upstream.port);
        match self {
            Self::Trust(error) => Self::no_trust(error),
            Self::QueueFull(_) => Failure::new(Cause::ConnectQueueFull, format!(
                    "so many logins want a connection to {at} that this one would wait over ten seconds for its turn"
                )),
            Self::Dial(error) => dial(error, upstream.port),
            Self::EarlyBytes => Failure::new(Cause::DataBeforeTls, format!("octets arrived from {at} before TLS had begun, where TLS comes first")),
            Self::Tls(error) => tls(error, &upstream.name, &at),
            Self::Lost(error) => Failure::new(Cause::UpstreamBroke, format!("the connection to {at} broke during the login: {error}")),
            Self::Timeout(what) => Failure::new(Cause::UpstreamTimeout, format!("{at} did not answer in time during {what}")),
            Self::Upstream(reply) => replied(reply, upstream, &at),
            Self::Outage(reply) => Failure::new(Cause::MailboxNotConnected, format!(
                    "{at} accepted the token, but the mailbox does not answer, as it did within the last day (`{}`)",
                    reply.detail
                )).answered(Refusal::Unavailable).by(Actor::Nobody).to_do("clients retry. If this lasts an hour, check Microsoft 365 service health, and that the account may still open the mailbox"),
            Self::Paused(left) => Failure::new(Cause::UpstreamThrottles, format!("{at} wants no login of this mailbox for another {} s", left.as_secs().max(1))),
        }
    }

    fn no_trust(error: &TrustError) -> Failure {
        Failure::new(Cause::TrustRootsUnreadable, format!("the trusted certificates cannot be read: {}", chain(error)))
    }
}

impl GraphError {
    /// Returns the failure for this Graph endpoint. If it says that a connection was lost, the
    /// request may have been received.
    pub(crate) fn failure(&self, graph: &Origin) -> Failure {
        let at = graph.to_string();
        match (self, self.connector()) {
            (Self::Trust(error), _) => OpenError::no_trust(error),
            (_, Some(error)) => not_connected(error, graph),
            (Self::Exchange(error), None) => {
                Failure::new(Cause::UpstreamBroke, format!("the connection to {at} broke: {}", chain(error)))
            }
        }
    }
}

impl MailboxFull {
    /// Returns the failure for this protocol.
    pub(super) fn failure(&self, protocol: Protocol) -> Failure {
        let Self { places, bound, waited } = self;
        let remedy = match protocol {
            _ if *bound == Bound::Server => "let fewer programs use this mailbox at once",
            Protocol::Smtp => {
                "let fewer programs send from this mailbox at once, and let them close their connections after sending. \
                 Microsoft takes three at most"
            }
            Protocol::Imap => {
                "let fewer programs read this mailbox at once, or raise `limits.imap_sessions_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Pop3 => {
                "let fewer programs read this mailbox at once, or raise `limits.pop3_sessions_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Ews => {
                "let fewer programs use this mailbox at once, or raise `limits.ews_requests_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Graph => "let fewer programs use this mailbox at once. Microsoft takes four requests at a time",
        };
        let what = match (protocol, *places) {
            (Protocol::Ews | Protocol::Graph, 1) => "request",
            (Protocol::Ews | Protocol::Graph, _) => "requests",
            (_, 1) => "session",
            _ => "sessions",
        };
        let why = match bound {
            Bound::Configuration => "as many as Gatepost lets it have",
            Bound::Server => "Microsoft refused one more a moment ago",
        };
        Failure::new(
            Cause::MailboxOccupied,
            format!(
                "the mailbox has {places} {} {what} already, {why}, and no place came free within {waited:?}",
                protocol.name().to_uppercase()
            ),
        )
        .to_do(remedy)
    }
}

fn dial(error: &DialError, port: u16) -> Failure {
    match error {
        DialError::Proxy(refused) => {
            let remedy = of_port(refused, port).unwrap_or_else(|| refused.remedy().into_owned());
            Failure::new(Cause::ProxyRefused, refused.to_string()).by(refused.actor()).to_do(remedy)
        }
        DialError::Socks(refused) => Failure::new(Cause::ProxyRefused, refused.to_string())
            .by(refused.actor())
            .to_do(refused.remedy().into_owned()),
        #[cfg(feature = "pac")]
        DialError::Pac(_) => {
            Failure::new(Cause::PacFailed, format!("nobody knows which proxy to take: {}", chain(error)))
        }
        DialError::ProxyTrust(_) => Failure::new(Cause::TrustRootsUnreadable, chain(error)),
        DialError::ProxyTls { proxy, .. } => Failure::new(Cause::ProxyTlsFailed, chain(error)).to_do(format!(
            "check that the port speaks TLS (otherwise write `http://` in `forward_proxy.url`), that the proxy's \
                 certificate carries the name `{}`, and that `trust` covers who issued it",
            proxy.host
        )),
        DialError::ProxyUnreachable { .. } | DialError::ProxyBroke { .. } => {
            Failure::new(Cause::ProxyUnreachable, format!("the forward proxy is no help: {}", chain(error)))
        }
        DialError::Resolve { .. } => {
            Failure::new(Cause::NameNotResolved, format!("the upstream's name is not known here: {}", chain(error)))
        }
        DialError::Connect { .. } => {
            Failure::new(Cause::UpstreamUnreachable, format!("no connection: {}", chain(error))).to_do(format!(
                "check that the firewall lets this machine reach it; where only a proxy may, set `forward_proxy`{}",
                by_graph(port)
            ))
        }
    }
}

/// Returns a remedy for answers that proxies give when their rules do not allow the port: Squid
/// 403, others 405, or the status of a failed attempt.
fn of_port(refused: &ConnectError, port: u16) -> Option<String> {
    let ConnectErrorKind::Refused { status, .. } = refused.kind else { return None };
    let destination = &refused.destination;
    match status {
        _ if port == 443 => None,
        400 | 403..=405 | 501 => Some(format!(
            "ask the proxy's administrator to permit CONNECT to `{destination}` for this host; many proxies let nothing \
             but port 443 pass, where Microsoft offers no mail protocol{}",
            by_graph(port)
        )),
        500 | 502 | 503 => Some(format!(
            "{}; should it let nothing but port 443 pass, ask its administrator to permit CONNECT to `{destination}`{}",
            refused.remedy(),
            by_graph(port)
        )),
        _ => None,
    }
}

/// Suggests Microsoft Graph for messages, because it uses port 443.
fn by_graph(port: u16) -> &'static str {
    match port {
        587 => ", or send through Microsoft Graph with `deliver: auto` or `deliver: graph`",
        _ => "",
    }
}

fn tls(error: &io::Error, name: &str, at: &str) -> Failure {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match rustls {
        Some(error) if let Some(untrusted) = UntrustedIssuer::of(error) => {
            Failure::new(Cause::BadCertificate, format!("the certificate of {at} was {untrusted}")).to_do(format!(
                "if a proxy inspects TLS here, put the certificate of that authority into a PEM file and name it as \
                 `trust.additional_ca`, or for this server alone under `trust.destinations` with `host: {}`; if not, \
                 find out who answers in the server's place",
                name
            ))
        }
        Some(rustls::Error::InvalidCertificate(problem)) => Failure::new(
            Cause::BadCertificate,
            format!("the certificate of {at} is not accepted: {problem}"),
        )
        .to_do(format!(
            "if a TLS-inspecting proxy stands in between, add its root to `trust.additional_ca`; if the certificate \
                 carries another name than `{}`, set `upstream_name`",
            name
        )),
        _ => Failure::new(Cause::TlsFailed, format!("the TLS handshake with {at} failed: {error}"))
            .by(Actor::NetworkAdmin),
    }
}

fn replied(reply: &UpstreamFailure, upstream: &Upstream, at: &str) -> Failure {
    use UpstreamFailureKind as Kind;
    let protocol = upstream.protocol;
    let (cause, message) = match reply.kind {
        Kind::TokenRefused => (Cause::TokenRefused, "did not accept the access token".to_owned()),
        Kind::TokenNotUnderstood { characters } => (
            Cause::TokenNotUnderstood,
            format!("did not understand the login with an access token of {characters} characters"),
        ),
        Kind::MailboxNotConnected => {
            (Cause::MailboxNotConnected, "accepted the token, but the mailbox does not answer".to_owned())
        }
        Kind::Disabled => {
            (Cause::ProtocolDisabled, format!("says that {} is turned off or blocked by a policy", name(protocol)))
        }
        Kind::Unavailable if reply.retry_after.is_some() => {
            (Cause::UpstreamThrottles, "takes no more requests of this mailbox for now".to_owned())
        }
        Kind::Unavailable => (Cause::UpstreamUnavailable, "is not available for now".to_owned()),
        Kind::Limit => (Cause::UpstreamLimit, "has too many connections of this mailbox".to_owned()),
        Kind::NoStartTls => (Cause::NoStarttls, "does not offer STARTTLS".to_owned()),
        Kind::SpokeBeforeTls => (
            Cause::DataBeforeTls,
            "sent bytes after its STARTTLS reply, as an attacker who injects replies does".to_owned(),
        ),
        Kind::Preauth => (Cause::Preauth, "greeted with PREAUTH, which would skip the login".to_owned()),
        Kind::NameRefused => (Cause::EhloRefused, "refused the name that Gatepost sends in EHLO".to_owned()),
        Kind::NoXoauth2 => (Cause::NoXoauth2, "does not offer XOAUTH2".to_owned()),
        Kind::Protocol => (Cause::UpstreamGarbage, format!("does not speak {} as it should", name(protocol))),
        Kind::Closed => (Cause::UpstreamClosed, "closed the connection during the login".to_owned()),
    };
    let message = if reply.detail.is_empty() {
        format!("{at} {message}")
    } else {
        format!("{at} {message} (`{}`)", reply.detail)
    };
    let failure = Failure::new(cause, message);
    match reply.kind {
        Kind::TokenRefused => failure.to_do(format!(
            "check that the application has the {} permission with consent, that the mailbox lets it in (app-only: \
             service principal and mailbox permission), and that `scope` is for Exchange Online. {JUST_GRANTED}",
            permission(protocol)
        )),
        Kind::TokenNotUnderstood { characters } if characters > LONGEST_TOKEN => failure.to_do(format!(
            "let Entra issue tokens of {LONGEST_TOKEN} characters at most for this account. In the manifest of the \
             application set `groupMembershipClaims` to `None`, remove optional claims and app roles that mail does \
             not need, or give mail an application of its own"
        )),
        Kind::MailboxNotConnected => failure.to_do(format!(
            "check that the mailbox exists and has a license, that {} is turned on for it, that the identity may open \
             it (app-only: service principal and mailbox permission), and that `mailbox` names the right one. \
             {JUST_GRANTED}",
            name(protocol)
        )),
        Kind::Disabled => failure.to_do(match protocol {
            MailProtocol::Smtp => {
                "turn it on with `Set-CASMailbox -SmtpClientAuthenticationDisabled $false` for this mailbox, and check \
                 security defaults and Conditional Access, or send through Microsoft Graph with `deliver: auto` or \
                 `deliver: graph`"
            }
            MailProtocol::Imap => "turn it on with `Set-CASMailbox -ImapEnabled $true` for this mailbox",
            MailProtocol::Pop3 => "turn it on with `Set-CASMailbox -PopEnabled $true` for this mailbox",
        }),
        Kind::SpokeBeforeTls => {
            failure.to_do("find out which device on the path does that. No password or token was sent")
        }
        _ => failure,
    }
}

fn name(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "IMAP",
        MailProtocol::Pop3 => "POP3",
        MailProtocol::Smtp => "SMTP AUTH",
    }
}

fn permission(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "`IMAP.AccessAsUser.All` (app-only: `IMAP.AccessAsApp`)",
        MailProtocol::Pop3 => "`POP.AccessAsUser.All` (app-only: `POP.AccessAsApp`)",
        MailProtocol::Smtp => "`SMTP.Send` (app-only: `SMTP.SendAsApp`)",
    }
}

/// The failure when there is no connection for a request.
fn not_connected(error: &ConnectorError, origin: &Origin) -> Failure {
    match error {
        ConnectorError::Dial(error) => dial(error, origin.port),
        ConnectorError::Tls(error) => tls(error, &origin.name, &origin.to_string()),
        ConnectorError::Address | ConnectorError::EarlyBytes => {
            Failure::new(Cause::NotHttps, format!("{origin} cannot be asked over HTTPS: {error}"))
        }
    }
}

impl OriginError {
    /// Returns the failure for this origin.
    pub(super) fn failure(&self, origin: &Origin) -> Failure {
        let at = origin.to_string();
        match (self, self.connector()) {
            (Self::Trust(error), _) => OpenError::no_trust(error),
            (_, Some(error)) => not_connected(error, origin),
            (Self::Timeout(limit), None) => {
                Failure::new(Cause::UpstreamTimeout, format!("{at} did not begin to answer within {limit:?}"))
            }
            (Self::Exchange(_) | Self::Stalled, None) => {
                Failure::new(Cause::UpstreamBroke, format!("the connection to {at} broke: {}", chain(self)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_config::UpstreamTls;

    fn upstream(protocol: MailProtocol) -> Upstream {
        Upstream {
            protocol,
            host: "outlook.office365.com".into(),
            port: 993,
            tls: UpstreamTls::Implicit,
            name: "outlook.office365.com".into(),
        }
    }

    #[test]
    fn no_reply_to_a_token_of_ours_is_the_clients_fault() {
        use UpstreamFailureKind as Kind;
        for (kind, refusal) in [
            (Kind::TokenRefused, Refusal::ContactAdmin),
            (Kind::TokenNotUnderstood { characters: 5_000 }, Refusal::ContactAdmin),
            (Kind::MailboxNotConnected, Refusal::ContactAdmin),
            (Kind::Disabled, Refusal::ContactAdmin),
            (Kind::Unavailable, Refusal::Unavailable),
            (Kind::Limit, Refusal::Limit),
            (Kind::NoStartTls, Refusal::Unavailable),
            (Kind::SpokeBeforeTls, Refusal::Unavailable),
            (Kind::Preauth, Refusal::Unavailable),
            (Kind::NameRefused, Refusal::ContactAdmin),
            (Kind::NoXoauth2, Refusal::ContactAdmin),
            (Kind::Protocol, Refusal::Unavailable),
            (Kind::Closed, Refusal::Unavailable),
        ] {
            for protocol in [MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp] {
                let error =
                    OpenError::Upstream(UpstreamFailure { kind, detail: "535 5.7.3 no".into(), retry_after: None });
                let failure = error.failure(&upstream(protocol));
                assert_eq!(failure.refusal, refusal, "{kind:?}");
                assert!(failure.message.contains("535 5.7.3 no"));
                assert!(!failure.remedy.is_empty());
                let is_permission = matches!(kind, Kind::TokenRefused | Kind::MailboxNotConnected);
                assert_eq!(failure.remedy.ends_with(JUST_GRANTED), is_permission, "{kind:?}");
            }
        }
    }

    #[test]
    fn an_unknown_issuer_names_the_key_to_set() {
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure = tls_failure(error);
        assert_eq!((failure.cause.name(), failure.actor), ("bad-certificate", Actor::GatepostAdmin));
        assert!(failure.remedy.contains("trust.additional_ca"));
    }

    #[test]
    fn an_issuer_that_was_seen_is_named_with_the_keys_to_set() {
        let untrusted = UntrustedIssuer { issuer: "O=Contoso, CN=Inspection".into() };
        let other = rustls::CertificateError::Other(rustls::OtherError(std::sync::Arc::new(untrusted)));
        let failure = tls_failure(rustls::Error::InvalidCertificate(other));
        assert_eq!((failure.cause.name(), failure.actor), ("bad-certificate", Actor::GatepostAdmin));
        assert!(failure.message.contains("`O=Contoso, CN=Inspection`, which is not trusted"), "{failure}");
        for words in ["`trust.additional_ca`", "`trust.destinations`", "`host: outlook.office365.com`"] {
            assert!(failure.remedy.contains(words), "{failure}");
        }
    }

    fn tls_failure(error: rustls::Error) -> Failure {
        OpenError::Tls(io::Error::new(io::ErrorKind::InvalidData, error)).failure(&upstream(MailProtocol::Imap))
    }

    #[test]
    fn a_port_that_the_proxy_does_not_let_pass_is_named() {
        let smtp = Upstream { host: "smtp.office365.com".into(), port: 587, ..upstream(MailProtocol::Smtp) };
        let refused = |status| {
            OpenError::Dial(DialError::Proxy(ConnectError {
                destination: "smtp.office365.com:587".into(),
                kind: ConnectErrorKind::Refused {
                    status,
                    reason: "Forbidden".into(),
                    schemes: Vec::new(),
                    configured: None,
                },
            }))
        };
        for status in [403, 405, 502, 503] {
            let failure = refused(status).failure(&smtp);
            assert_eq!((failure.cause.name(), failure.refusal), ("proxy-refused", Refusal::Unavailable), "{status}");
            for words in ["port 443", "permit CONNECT to `smtp.office365.com:587`", "`deliver: auto`"] {
                assert!(failure.remedy.contains(words), "{failure}");
            }
        }
        let https = Upstream { port: 443, ..upstream(MailProtocol::Smtp) };
        for (status, upstream) in [(302, &smtp), (407, &smtp), (429, &smtp), (504, &smtp), (403, &https)] {
            assert!(!refused(status).failure(upstream).remedy.contains("permit CONNECT"), "{status}");
        }
    }
}
