//! The authentication schemes: their names, the challenges of a proxy, and the errors of answering
//! them.

use std::borrow::Cow;
use std::fmt;

use super::credentials::ProxyAuthentication;

/// The authentication schemes that Gatepost supports.
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
    /// All schemes, the strongest first.
    pub const ALL: [Self; 4] = [Self::Negotiate, Self::Ntlm, Self::Digest, Self::Basic];

    /// The configured scheme, if any.
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

    /// The name in `Proxy-Authenticate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "Basic",
            Self::Digest => "Digest",
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }

    /// The name in `forward_proxy.authentication`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Digest => "digest",
            Self::Ntlm => "ntlm",
            Self::Negotiate => "negotiate",
        }
    }

    /// Compares the name of the scheme without case (RFC 9110 §11.1).
    pub(super) fn is_called(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// Whether the scheme authenticates the connection and not the request. A handshake cannot
    /// continue on another connection then.
    pub(super) fn is_bound_to_connection(self) -> bool {
        matches!(self, Self::Ntlm | Self::Negotiate)
    }

    /// Whether the scheme may need several requests on one connection.
    pub(super) fn has_rounds(self) -> bool {
        self != Self::Basic
    }
}

/// What the authenticator must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// There is no challenge yet: the answer is for the first request on a connection. A handshake
    /// on an earlier connection is void.
    Start,
    /// A 407, with the text after the name of the scheme; empty if there is none.
    Continue(String),
    /// A 2xx, with the text after the name of the scheme, by which the proxy authenticates itself.
    /// It can only be confirmed.
    Last(String),
}

/// Why a challenge cannot be answered. `Display` says what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationError {
    /// The proxy has received all credentials that there are, and does not accept them.
    Refused,
    /// The challenge violates the rules of the scheme.
    Challenge {
        /// The scheme.
        scheme: Scheme,
        /// The violation as one clause, such as `its target information is cut short`.
        reason: Cow<'static, str>,
    },
    /// The proxy did not prove that it is the one for which the ticket was issued.
    NotProven,
    /// This machine has no usable credentials.
    Unavailable {
        /// The scheme.
        scheme: Scheme,
        /// The library's error message, escaped.
        reason: String,
        /// The next step.
        remedy: &'static str,
        /// Whether this will happen again until somebody changes something.
        permanent: bool,
    },
}

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the proxy refused the credentials"),
            Self::Challenge { scheme, reason } => {
                write!(f, "the proxy's {} challenge cannot be answered: {reason}", scheme.name())
            }
            Self::NotProven => f.write_str("the proxy did not prove who it is: its last token is not valid"),
            Self::Unavailable { scheme, reason, .. } => {
                write!(f, "there is nothing to show to the proxy for {}: {reason}", scheme.name())
            }
        }
    }
}

impl std::error::Error for AuthenticationError {}

impl AuthenticationError {
    /// Whether the same request will fail again until somebody changes something.
    pub fn permanent(&self) -> bool {
        match self {
            Self::Refused | Self::Challenge { .. } | Self::NotProven => true,
            Self::Unavailable { permanent, .. } => *permanent,
        }
    }
}
