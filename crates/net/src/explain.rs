//! Explains why a server cannot be reached: one cause, who must act, and one remedy, the same for
//! mail, Entra and everything over HTTPS.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;

use crate::error::DialError;
use crate::http::ConnectorError;
use crate::tls::words;
use crate::tls::{OutOfDate, PlainText, TrustError, UntrustedIssuer};
use gatepost_config::cloud::meant_host;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, chain};
use gatepost_core::system_error::Plain;
use gatepost_proto::tunnel::connect::{AuthenticationError, ConnectError, ConnectErrorKind, Scheme};
use gatepost_proto::tunnel::socks::{SocksError, SocksErrorKind};

/// A server that a connection was wanted to.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Host name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// The name that its certificate must carry.
    pub name: &'a str,
    /// What it is.
    pub role: Role,
}

/// What a server is, which decides the cause and the keys of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The token service.
    Entra,
    /// A server of IMAP, POP3 or SMTP.
    Mail,
    /// Graph or Exchange Web Services.
    Https,
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn say(cause: Cause, actor: Actor, message: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(cause, message).by(actor).to_do(remedy)
}

impl Server<'_> {
    /// The key of the configuration that names the server.
    fn key(&self) -> &'static str {
        match self.role {
            Role::Entra => "`microsoft.authority`",
            Role::Mail => "`upstream` of the listener",
            Role::Https => "`upstream` or `graph` of the listener",
        }
    }

    /// Suggests Microsoft Graph for messages, because it uses port 443.
    fn by_graph(&self) -> &'static str {
        match self.port {
            587 => ". Or send through Microsoft Graph: set `deliver: auto` on the listener",
            _ => "",
        }
    }

    /// Explains why there is no connection for a request.
    pub fn connector(&self, error: &ConnectorError) -> Failure {
        match error {
            ConnectorError::Dial(error) => self.dial(error),
            ConnectorError::Tls(error) => self.tls(error),
            ConnectorError::Address => say(
                Cause::NotHttps,
                Actor::GatepostAdmin,
                format!("{self} cannot be asked over HTTPS: its address is not an `https` one"),
                format!("correct {}", self.key()),
            ),
            ConnectorError::EarlyBytes => self.early_bytes(),
        }
    }

    /// Explains octets that arrived before our ClientHello.
    pub fn early_bytes(&self) -> Failure {
        say(
            Cause::DataBeforeTls,
            Actor::NetworkAdmin,
            format!("{self} sent data before TLS had begun"),
            format!("find out which device answers in place of {self}. No password or token was sent"),
        )
    }

    /// Explains why the trusted certificates cannot be read.
    pub fn trust(error: &TrustError) -> Failure {
        say(
            Cause::TrustRootsUnreadable,
            Actor::GatepostAdmin,
            format!("cannot read the trusted certificates: {}", chain(error)),
            "correct `trust.additional_ca`, `trust.destinations` or the system's certificate store",
        )
    }

    /// Explains why there is no connection.
    pub fn dial(&self, error: &DialError) -> Failure {
        match error {
            DialError::Proxy(error) => self.tunnel(error),
            DialError::Socks(error) => self.socks(error),
            #[cfg(feature = "pac")]
            DialError::Pac(error) => say(
                Cause::PacFailed,
                Actor::GatepostAdmin,
                format!("cannot choose a proxy for {self}: {error}"),
                "correct `forward_proxy.pac`, or have the owner of the script look at its answer",
            ),
            DialError::ProxyTrust(error) => Self::trust(error),
            DialError::ProxyTls { proxy, source } => say(
                Cause::ProxyTlsFailed,
                Actor::GatepostAdmin,
                format!("the TLS handshake with the proxy {proxy} failed: {}", words::of_handshake(source)),
                format!(
                    "if the proxy's port has no TLS, write `http://` in `forward_proxy.url`. If it has, its certificate \
                     must be for `{}`, from an authority that `trust` knows",
                    proxy.host
                ),
            ),
            DialError::ProxyUnreachable { proxy, source } => say(
                Cause::ProxyUnreachable,
                Actor::NetworkAdmin,
                format!("cannot connect to the proxy {proxy}: {}", why(source)),
                format!(
                    "start the proxy, or let this machine connect to {}:{}. If the address is wrong, correct \
                     `forward_proxy.url`",
                    proxy.host, proxy.port
                ),
            ),
            DialError::ProxyBroke { proxy, target, source } => say(
                Cause::ProxyUnreachable,
                Actor::NetworkAdmin,
                format!("the proxy {proxy} did not answer to CONNECT `{target}`: {}", Plain(source)),
                format!("look into the log of the proxy. It must answer to CONNECT `{target}`"),
            ),
            DialError::Resolve { host, .. } if let Some(meant) = meant_host(host) => say(
                if self.role == Role::Entra { Cause::EntraUnreachable } else { Cause::NameNotResolved },
                Actor::GatepostAdmin,
                format!("cannot resolve `{host}` (did you mean `{meant}`?): {}", why(error)),
                format!("correct {}: write `{meant}`", self.key()),
            ),
            DialError::Resolve { host, .. } => say(
                if self.role == Role::Entra { Cause::EntraUnreachable } else { Cause::NameNotResolved },
                Actor::NetworkAdmin,
                format!("cannot resolve `{host}`: {}", why(error)),
                format!(
                    "let the DNS server of this machine resolve `{host}`. If only a proxy can, set `forward_proxy`"
                ),
            ),
            DialError::Connect { tried, .. } => say(
                if self.role == Role::Entra { Cause::EntraUnreachable } else { Cause::UpstreamUnreachable },
                Actor::NetworkAdmin,
                match tried {
                    0 | 1 => format!("cannot connect to {self}: {}", why(error)),
                    tried => format!("cannot connect to {self} at any of {tried} addresses: {}", why(error)),
                },
                format!(
                    "let this machine connect to {self}. If only a proxy may, set `forward_proxy`{}",
                    self.by_graph()
                ),
            ),
        }
    }

    /// Explains a refusal of an HTTP proxy.
    fn tunnel(&self, error: &ConnectError) -> Failure {
        let failure = self.tunnel_refused(error);
        match &error.kind {
            ConnectErrorKind::Refused { status, .. } => failure.coded(status.to_string()),
            _ => failure,
        }
    }

    fn tunnel_refused(&self, error: &ConnectError) -> Failure {
        let destination = &error.destination;
        match &error.kind {
            ConnectErrorKind::Refused { status: 407, schemes, configured, .. } => {
                proxy_authentication(destination, schemes, *configured)
            }
            ConnectErrorKind::Authentication(error) => of_scheme(destination, error),
            // The proxy cannot resolve it either.
            ConnectErrorKind::Refused { status: 500 | 502..=504, .. } if let Some(meant) = meant_host(self.host) => {
                say(
                    Cause::ProxyRefused,
                    Actor::GatepostAdmin,
                    format!("{error} (did you mean `{meant}`?)"),
                    format!("correct {}: write `{meant}`", self.key()),
                )
            }
            ConnectErrorKind::Refused { status, .. } => {
                let remedy = match status {
                    300..400 => {
                        format!("let this machine use CONNECT to {destination} without the page that the proxy shows")
                    }
                    408 | 425 | 429 | 500 | 502..=504 | 506.. if self.port == 443 => {
                        format!(
                            "let the proxy resolve and reach {destination}. Gatepost tries again with the next login"
                        )
                    }
                    408 | 425 | 429 | 504 => {
                        format!(
                            "let the proxy resolve and reach {destination}. Gatepost tries again with the next login"
                        )
                    }
                    500 | 502 | 503 | 506.. => {
                        format!("let the proxy reach {destination}, and allow CONNECT to that port{}", self.by_graph())
                    }
                    _ => format!("allow CONNECT to {destination} from this machine{}", self.by_graph()),
                };
                say(Cause::ProxyRefused, Actor::NetworkAdmin, error.to_string(), remedy)
            }
            ConnectErrorKind::NotHttp(_) => say(
                Cause::ProxyRefused,
                Actor::GatepostAdmin,
                error.to_string(),
                "name the HTTP port of the proxy in `forward_proxy.url`, not a SOCKS, TLS or mail port",
            ),
            ConnectErrorKind::TooLong => say(
                Cause::ProxyRefused,
                Actor::NetworkAdmin,
                error.to_string(),
                format!("look into the log of the proxy. Its answer to CONNECT {destination} is too long"),
            ),
            ConnectErrorKind::Closed => say(
                Cause::ProxyRefused,
                Actor::NetworkAdmin,
                error.to_string(),
                format!("allow CONNECT to {destination}. Some proxies close the connection instead of refusing it"),
            ),
            ConnectErrorKind::Destination => self.no_destination(error.to_string()),
        }
    }

    /// Explains a refusal of a SOCKS proxy.
    fn socks(&self, error: &SocksError) -> Failure {
        let destination = &error.destination;
        let (cause, actor, remedy) = match &error.kind {
            SocksErrorKind::Method { offered_password: false } => (
                Cause::ProxyAuthentication,
                Actor::GatepostAdmin,
                "set `forward_proxy.authentication: basic`, `forward_proxy.username` and `forward_proxy.password`"
                    .to_owned(),
            ),
            SocksErrorKind::Method { offered_password: true } => (
                Cause::ProxyAuthentication,
                Actor::NetworkAdmin,
                "let the proxy take a user name and a password (RFC 1929) from this machine, or none".to_owned(),
            ),
            SocksErrorKind::Credentials => (
                Cause::ProxyAuthentication,
                Actor::GatepostAdmin,
                "correct `forward_proxy.username` and `forward_proxy.password`".to_owned(),
            ),
            SocksErrorKind::Refused(1 | 3..=6) => (
                Cause::ProxyRefused,
                Actor::NetworkAdmin,
                format!("let the proxy resolve and reach {destination}. Gatepost tries again with the next login"),
            ),
            SocksErrorKind::Refused(_) => (
                Cause::ProxyRefused,
                Actor::NetworkAdmin,
                format!("allow connections to {destination} from this machine{}", self.by_graph()),
            ),
            SocksErrorKind::NotSocks(b'H') => (
                Cause::ProxyRefused,
                Actor::GatepostAdmin,
                "write `http://` or `https://` in `forward_proxy.url`: the answer looks like HTTP".to_owned(),
            ),
            SocksErrorKind::NotSocks(_) => (
                Cause::ProxyRefused,
                Actor::GatepostAdmin,
                "name the SOCKS 5 port of the proxy in `forward_proxy.url`, not an HTTP, TLS or mail port".to_owned(),
            ),
            SocksErrorKind::Closed => (
                Cause::ProxyRefused,
                Actor::NetworkAdmin,
                format!("look into the log of the proxy, and allow connections to {destination}"),
            ),
            SocksErrorKind::Destination => return self.no_destination(error.to_string()),
            SocksErrorKind::Unsendable => (
                Cause::ProxyAuthentication,
                Actor::GatepostAdmin,
                "correct `forward_proxy.username` and `forward_proxy.password`: 1 to 255 bytes each".to_owned(),
            ),
        };
        say(cause, actor, error.to_string(), remedy)
    }

    fn no_destination(&self, message: String) -> Failure {
        say(
            Cause::ProxyRefused,
            Actor::GatepostAdmin,
            message,
            format!("correct {}: it must be a host name or an address", self.key()),
        )
    }

    /// Explains a handshake that failed.
    pub fn tls(&self, error: &io::Error) -> Failure {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(problem)) = rustls {
            return self.certificate(problem);
        }
        if PlainText::of(error).is_some() {
            return self.plain_text(error);
        }
        let (cause, actor, remedy) = match self.role {
            Role::Mail => (
                Cause::UpstreamTlsFailed,
                Actor::NetworkAdmin,
                format!("let this machine speak TLS 1.2 or 1.3 with {self}. The port must fit `upstream_tls`"),
            ),
            Role::Entra => (
                Cause::EntraUnreachable,
                Actor::NetworkAdmin,
                format!("let this machine speak TLS 1.2 or 1.3 with {self}"),
            ),
            Role::Https => (
                Cause::UpstreamTlsFailed,
                Actor::NetworkAdmin,
                format!("let this machine speak TLS 1.2 or 1.3 with {self}"),
            ),
        };
        let why = words::of_handshake(error);
        say(cause, actor, format!("the TLS handshake with {self} failed: {why}"), remedy)
    }

    /// The server greets, and waits for STARTTLS.
    fn plain_text(&self, error: &io::Error) -> Failure {
        let why = words::of_handshake(error);
        let why = why.strip_prefix("it ").unwrap_or(&why);
        let remedy = match self.role {
            Role::Mail => {
                "remove `upstream_tls: implicit` from the listener, or correct the port in `upstream`".to_owned()
            }
            Role::Entra | Role::Https => format!("correct the port in {}", self.key()),
        };
        let cause = if self.role == Role::Entra { Cause::EntraUnreachable } else { Cause::UpstreamTlsFailed };
        say(cause, Actor::GatepostAdmin, format!("{self} {why}"), remedy)
    }

    fn certificate(&self, problem: &CertificateError) -> Failure {
        let cause = if self.role == Role::Entra { Cause::EntraCertificateRefused } else { Cause::BadCertificate };
        let message = format!("the certificate of {self} {}", words::of_certificate(problem));
        let (actor, remedy) = match problem {
            CertificateError::UnknownIssuer => (Actor::GatepostAdmin, self.additional_ca()),
            CertificateError::Other(other) if other.0.is::<UntrustedIssuer>() => {
                (Actor::GatepostAdmin, self.additional_ca())
            }
            CertificateError::Other(other) if other.0.is::<OutOfDate>() => {
                let clock = "set this machine's clock, and turn on time synchronization".to_owned();
                let server = format!("find out who answers in place of {self}, and have that certificate renewed");
                match OutOfDate::of(problem).and_then(OutOfDate::is_clock_wrong) {
                    Some(true) => (Actor::GatepostAdmin, clock),
                    Some(false) => (Actor::NetworkAdmin, server),
                    None => (Actor::GatepostAdmin, format!("if that date is wrong, {clock}. If it is right, {server}")),
                }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                Actor::GatepostAdmin,
                match self.role {
                    Role::Mail => "correct `upstream`, or set `upstream_name` to a name of the certificate".to_owned(),
                    Role::Entra | Role::Https => format!("correct {}", self.key()),
                },
            ),
            _ => (Actor::NetworkAdmin, format!("find out who answers in place of {self}")),
        };
        say(cause, actor, message, remedy)
    }

    fn additional_ca(&self) -> String {
        format!(
            "if a proxy inspects TLS here, add that authority's certificate to `trust.additional_ca`. To trust it for \
             this server only, use `trust.destinations` with `host: {}`. If no proxy does, find out who answers",
            self.name
        )
    }
}

/// Explains a 407: which schemes the proxy offers, and which one Gatepost has.
fn proxy_authentication(destination: &str, offered: &[String], configured: Option<Scheme>) -> Failure {
    let is_offered = |scheme: &Scheme| offered.iter().any(|name| name.eq_ignore_ascii_case(scheme.name()));
    let possible: Vec<Scheme> = Scheme::ALL.into_iter().filter(is_offered).collect();
    let has = match configured {
        Some(scheme) => format!("`forward_proxy.authentication` is `{}`", scheme.key()),
        None => "`forward_proxy` has no credentials".to_owned(),
    };
    let offers = match offered.is_empty() {
        true => "no scheme".to_owned(),
        false => offered.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let refused = format!("the proxy answered `407` to CONNECT `{destination}`");
    let message = match configured {
        Some(scheme) if possible.contains(&scheme) => {
            format!("{refused}: it rejected the {} credentials", scheme.name())
        }
        _ => format!("{refused}: it offers {offers}, and {has}"),
    };
    let (actor, remedy) = match configured {
        Some(Scheme::Negotiate) if possible.contains(&Scheme::Negotiate) => (
            Actor::GatepostAdmin,
            "let the account of the Kerberos ticket use the proxy, and correct `forward_proxy.service_name`".to_owned(),
        ),
        Some(scheme) if possible.contains(&scheme) => {
            (Actor::GatepostAdmin, "correct `forward_proxy.username` and `forward_proxy.password`".to_owned())
        }
        _ if possible.is_empty() => (
            Actor::NetworkAdmin,
            format!(
                "let the proxy offer {}, or let this machine pass without authentication",
                Scheme::ALL.map(|scheme| scheme.name()).join(", ").replace(", Basic", " or Basic")
            ),
        ),
        _ => (
            Actor::GatepostAdmin,
            format!(
                "set `forward_proxy.authentication` to {}, with `forward_proxy.username` and `forward_proxy.password`",
                possible.iter().map(|scheme| format!("`{}`", scheme.key())).collect::<Vec<_>>().join(" or ")
            ),
        ),
    };
    say(Cause::ProxyAuthentication, actor, message, remedy)
}

/// Explains a challenge that could not be answered.
fn of_scheme(destination: &str, error: &AuthenticationError) -> Failure {
    let (actor, remedy) = match error {
        AuthenticationError::Refused => {
            (Actor::GatepostAdmin, "correct `forward_proxy.username` and `forward_proxy.password`")
        }
        AuthenticationError::Challenge { .. } => {
            (Actor::NetworkAdmin, "look into the log of the proxy for what it expects from this machine")
        }
        AuthenticationError::NotProven => (
            Actor::NetworkAdmin,
            "check that `forward_proxy.url` names the proxy itself, and that its Kerberos key is the current one",
        ),
        AuthenticationError::Unavailable { remedy, .. } => (Actor::GatepostAdmin, *remedy),
    };
    say(Cause::ProxyAuthentication, actor, format!("{error}, at CONNECT `{destination}`"), remedy)
}

/// The system's own reason, at the end of the chain.
fn why(error: &DialError) -> String {
    match error {
        DialError::Resolve { source, .. } => resolver(source),
        DialError::Connect { source, .. } => Plain(source).to_string(),
        other => chain(other),
    }
}

/// What a resolver says, without the words that every error of it begins with.
fn resolver(error: &io::Error) -> String {
    let text = Plain(error).to_string();
    let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match reason {
        "Name or service not known" | "nodename nor servname provided, or not known" => "no such name".to_owned(),
        "Temporary failure in name resolution" => "the DNS server does not answer".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns why an HTTP exchange broke, as a clause about the server. Errors of the HTTP library show
/// names of its own types.
pub fn exchange(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut told = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            told = match () {
                () if error.is_timeout() => Some("it did not answer in time".to_owned()),
                () if error.is_parse_too_large() => Some("the head of its answer is too long".to_owned()),
                () if error.is_parse() => Some("its answer is not HTTP".to_owned()),
                () if error.is_incomplete_message() => {
                    Some("it closed the connection before the end of its answer".to_owned())
                }
                () if error.is_canceled() || error.is_closed() => Some("it closed the connection".to_owned()),
                () => told,
            };
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return words::of_handshake(error);
        }
        cause = error.source();
    }
    told.unwrap_or_else(|| "the connection broke".to_owned())
}

#[cfg(test)]
mod tests;
