//! The schemes of authentication: what each is called, what a proxy asks in one, and why there is no answer.

use std::borrow::Cow;
use std::fmt;

use super::credentials::ProxyAuthentication;
use gatepost_core::failure::Actor;

/// The authentication schemes that Gatepost can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 7617.
    Basic,
    /// RFC 7616.
    Digest,
    /// Microsoft, MS-NTHT; NTLMv2 only.
    Ntlm,
    /// RFC 4559, with Kerberos.
    Negotiate,
}

impl Scheme {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::Negotiate, Self::Ntlm, Self::Digest, Self::Basic];

    /// The configured one, if any.
    pub fn of(authentication: &ProxyAuthentication) -> Option<Self> {
        match authentication {
            ProxyAuthentication::None => None,
            ProxyAuthentication::Basic { .. } => Some(Self::Basic),
            ProxyAuthentication::Digest { .. } => Some(Self::Digest),
            ProxyAuthentication::Ntlm(_) => Some(Self::Ntlm),
            #[cfg(feature = "negotiate")]
            ProxyAuthentication::Negotiate(_) => Some(Self::Negotiate),
        }
    }

    /// As in `Proxy-Authenticate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "Basic",
            Self::Digest => "Digest",
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }

    /// As in `forward_proxy.authentication`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Digest => "digest",
            Self::Ntlm => "ntlm",
            Self::Negotiate => "negotiate",
        }
    }

    /// Names of schemes compare without case (RFC 9110 §11.1).
    pub(super) fn is_called(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// It authenticates the connection rather than the request: what was begun on one cannot go on on another.
    pub(super) fn is_bound_to_connection(self) -> bool {
        matches!(self, Self::Ntlm | Self::Negotiate)
    }

    /// It may take several requests on one connection.
    pub(super) fn has_rounds(self) -> bool {
        self != Self::Basic
    }
}

/// What the proxy wants to hear an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Nothing yet: this goes with the first request on a connection. What was begun on another one is void.
    Start,
    /// A 407 with this behind the name of the scheme; empty when there is nothing.
    Continue(String),
    /// A 2xx with this behind the name of the scheme: the proxy shows itself. There is nothing to answer but "yes".
    Last(String),
}

/// Why there is no answer to a challenge. `Display` tells what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationError {
    /// The proxy has seen all that there is to show, and does not take it.
    Refused,
    /// The challenge breaks the rules of the scheme; how.
    Challenge {
        /// Whose rules.
        scheme: Scheme,
        /// One clause, such as `its target information is cut short`.
        reason: Cow<'static, str>,
    },
    /// The proxy did not prove to be the one that the ticket was for.
    NotProven,
    /// This machine has nothing to show, or nothing that it can use.
    Unavailable {
        /// Of what.
        scheme: Scheme,
        /// The library's words, escaped.
        reason: String,
        /// The next step.
        remedy: &'static str,
        /// The same will happen until somebody changes something.
        permanent: bool,
    },
}

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the forward proxy refused the credentials"),
            Self::Challenge { scheme, reason } => {
                write!(f, "the forward proxy's {} challenge cannot be answered: {reason}", scheme.name())
            }
            Self::NotProven => f.write_str("the forward proxy did not prove who it is: its last token is not valid"),
            Self::Unavailable { scheme, reason, .. } => {
                write!(f, "there is nothing to show to the forward proxy for {}: {reason}", scheme.name())
            }
        }
    }
}

impl std::error::Error for AuthenticationError {}

impl AuthenticationError {
    /// The same question will get the same answer until somebody changes something.
    pub fn permanent(&self) -> bool {
        match self {
            Self::Refused | Self::Challenge { .. } | Self::NotProven => true,
            Self::Unavailable { permanent, .. } => *permanent,
        }
    }

    /// Who must act.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Refused | Self::Unavailable { .. } => Actor::Operator,
            Self::Challenge { .. } | Self::NotProven => Actor::Network,
        }
    }

    /// The next step, one sentence without full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused => "correct the credentials in `forward_proxy`",
            Self::Challenge { .. } => {
                "look into the proxy's log, and ask which kinds of authentication it really takes"
            }
            Self::NotProven => {
                "check that `forward_proxy.url` names the proxy itself and that its Kerberos key is the current one"
            }
            Self::Unavailable { remedy, .. } => remedy,
        }
    }
}
