//! Listeners: the protocol and the destination of each, and how its logins are served.

use std::fmt;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::server::{Origin, Resource, Upstream, authority};
use super::submission::{Deliver, Submission};
use gatepost_core::protocol::Protocol;
use gatepost_proto::http::rules::{GraphRules, HttpService};
use gatepost_proto::sasl::ClientTokens;

/// A bound address with its protocol, its TLS mode, and its destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The name of the configuration; appears in the log.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// Where it listens, at least one.
    pub bind: Vec<Bind>,
    /// TLS with the client.
    pub tls: ListenerTls,
    /// Networks that may connect; never empty.
    pub allow_from: Vec<IpNet>,
    /// Networks from which a login without TLS is accepted.
    pub allow_plaintext_from: Vec<IpNet>,
    /// Networks whose connections begin with a PROXY header (v1 or v2). The header is trusted.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether a bare LF ends a line, too.
    pub bare_lf: bool,
    /// Whether mistakes of old devices are tolerated where that harms nobody.
    pub legacy: bool,
    /// How clients with a token of their own are handled. Over HTTP there are none.
    pub client_tokens: ClientTokens,
    /// How logins are served.
    pub serves: ListenerBackend,
    /// The mail servers of accounts that have one of their own.
    pub others: Vec<OtherServer>,
}

/// A mail server for accounts that are not served by the listener's own.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherServer {
    /// The accounts.
    pub of: OtherAccounts,
    /// The server.
    pub upstream: Upstream,
}

/// Accounts that have mail servers of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherAccounts {
    /// Those of this provider, by its name.
    Provider(String),
    /// Personal Microsoft accounts.
    Personal,
}

impl Listener {
    /// The mail server to which its logins or messages may go.
    pub fn mail_server(&self) -> Option<&Upstream> {
        match &self.serves {
            ListenerBackend::Relay(upstream) => Some(upstream),
            ListenerBackend::Submission(submission) => submission.smtp.as_ref(),
            ListenerBackend::Maildrop(_) | ListenerBackend::Http(_) => None,
        }
    }

    /// Whether it takes messages into the queue.
    pub fn has_queue(&self) -> bool {
        matches!(&self.serves, ListenerBackend::Submission(submission) if submission.queue)
    }

    /// The resources of the tokens that a login here needs. The first one is needed at once.
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

    /// The destination for people: host and port.
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

/// Where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// At one address.
    Address(SocketAddr),
    /// At 127.0.0.1 and ::1 with this port, or at the one that the machine has, because clients that
    /// connect to `localhost` may try either first.
    Localhost(u16),
}

impl Bind {
    /// The addresses that it stands for.
    pub fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        let (first, second) = match self {
            Self::Address(address) => (address, None),
            Self::Localhost(port) => {
                ((Ipv4Addr::LOCALHOST, port).into(), Some(SocketAddr::from((Ipv6Addr::LOCALHOST, port))))
            }
        };
        iter::once(first).chain(second)
    }

    /// The port; 0 lets the system choose.
    pub fn port(self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Localhost(port) => port,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
        }
    }
}

/// How a listener serves its logins.
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerBackend {
    /// After the login all bytes are relayed to a mail server.
    Relay(Upstream),
    /// SMTP: Gatepost itself takes each message and delivers it (`deliver: graph`, `deliver: auto`,
    /// `trusted_senders`, `legacy`, `queue`, or a rule about the sender here or of an account).
    Submission(Submission),
    /// POP3: the mailbox is read through Microsoft Graph (`upstream: graph`).
    Maildrop(Origin),
    /// EWS or Microsoft Graph over HTTP Basic.
    Http(Http),
}

/// EWS or Microsoft Graph behind a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// The service.
    pub service: HttpService,
    /// The one server to which requests go.
    pub origin: Origin,
    /// Host names under which clients know the listener, in addition to those of its certificate
    /// (`hosts`).
    pub hosts: Vec<String>,
    /// The parts of Graph that are served.
    pub graph: GraphRules,
}

/// TLS with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// No TLS.
    None,
    /// STARTTLS.
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
