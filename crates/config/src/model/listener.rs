//! Listeners: what each one speaks, to whom, and what becomes of those who log in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::server::{Origin, Resource, Upstream, authority};
use super::submission::{Deliver, Submission};
use gatepost_core::protocol::Protocol;
use gatepost_proto::http::rules::{GraphRules, HttpService};
use gatepost_proto::sasl::ClientTokens;

/// A bound address with its protocol, its TLS mode, and where its logins go.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// As in the configuration; appears in the log.
    pub name: Arc<str>,
    /// What is spoken.
    pub protocol: Protocol,
    /// At least one.
    pub bind: Vec<SocketAddr>,
    /// Towards the client.
    pub tls: ListenerTls,
    /// Who may connect; never empty.
    pub allow_from: Vec<IpNet>,
    /// From where a login without TLS is accepted, besides loopback.
    pub allow_plaintext_from: Vec<IpNet>,
    /// From these addresses each connection begins with a PROXY header (v1 or v2), which is believed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// A bare LF ends a line too.
    pub bare_lf: bool,
    /// Old devices are borne with: what they get wrong is understood where that harms nobody.
    pub legacy: bool,
    /// What becomes of clients that bring a token of their own; over HTTP nobody does.
    pub client_tokens: ClientTokens,
    /// What becomes of those who log in.
    pub serves: ListenerBackend,
}

impl Listener {
    /// The mail server to which its logins go, or its messages may go.
    pub fn mail_server(&self) -> Option<&Upstream> {
        match &self.serves {
            ListenerBackend::Relay(upstream) => Some(upstream),
            ListenerBackend::Submission(submission) => submission.smtp.as_ref(),
            ListenerBackend::Maildrop(_) | ListenerBackend::Http(_) => None,
        }
    }

    /// What Gatepost asks for a token for, on behalf of who logs in here. The first one is what a login needs at once.
    pub fn resources(&self) -> &'static [Resource] {
        match &self.serves {
            ListenerBackend::Relay(_) => &[Resource::Exchange],
            ListenerBackend::Maildrop(_) => &[Resource::Graph],
            ListenerBackend::Submission(Submission { deliver, .. }) => match deliver {
                Deliver::Smtp => &[Resource::Exchange],
                Deliver::Graph => &[Resource::Graph],
                Deliver::Auto => &[Resource::Exchange, Resource::Graph],
            },
            ListenerBackend::Http(Http { service, .. }) => match service {
                HttpService::Ews => &[Resource::Exchange],
                HttpService::Graph => &[Resource::Graph],
            },
        }
    }

    /// Where it leads to, for people: host and port.
    pub fn destination(&self) -> String {
        match &self.serves {
            ListenerBackend::Relay(upstream) => authority(&upstream.host, upstream.port),
            ListenerBackend::Submission(Submission { smtp: Some(smtp), .. }) => authority(&smtp.host, smtp.port),
            ListenerBackend::Submission(Submission { graph: origin, .. })
            | ListenerBackend::Maildrop(origin)
            | ListenerBackend::Http(Http { origin, .. }) => origin.to_string(),
        }
    }
}

/// What becomes of those who log in at a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerBackend {
    /// After the login bytes are relayed to a mail server.
    Relay(Upstream),
    /// SMTP: Gatepost takes each message itself and hands it on (`deliver: graph`, `deliver: auto`, `trusted_senders`,
    /// `legacy`).
    Submission(Submission),
    /// POP3: the mailbox is read through Microsoft Graph (`upstream: graph`).
    Maildrop(Origin),
    /// EWS or Microsoft Graph over HTTP Basic.
    Http(Http),
}

/// EWS or Microsoft Graph behind a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Which.
    pub service: HttpService,
    /// The one server to which requests go.
    pub origin: Origin,
    /// Names under which clients know the listener, besides those of its certificate (`hosts`).
    pub hosts: Vec<String>,
    /// What is served of Graph.
    pub graph: GraphRules,
}

/// TLS towards the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// Never.
    None,
    /// On demand.
    StartTls(Identity),
    /// From the first byte (RFC 8314).
    Implicit(Identity),
}

/// A server certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC 1.
    pub private_key: PathBuf,
}
