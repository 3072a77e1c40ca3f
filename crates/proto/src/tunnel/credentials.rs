//! How Gatepost shows itself to the corporate proxy, and as whom: plain data, which the schemes take their answers from.

#[cfg(feature = "negotiate")]
use std::path::PathBuf;
#[cfg(feature = "negotiate")]
use std::sync::Arc;

use gatepost_core::secret::ProxyPassword;

/// How Gatepost shows itself to the proxy.
#[derive(Debug, PartialEq)]
pub enum ProxyAuthentication {
    /// Not at all.
    None,
    /// RFC 7617.
    Basic {
        /// No colon.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// RFC 7616.
    Digest {
        /// Any text without controls.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// MS-NLMP; NTLMv2 only.
    Ntlm(NtlmCredentials),
    /// RFC 4559 with Kerberos.
    #[cfg(feature = "negotiate")]
    Negotiate(Arc<NegotiateCredentials>),
}

/// Whoever signs in to the proxy by NTLM.
#[derive(Debug, PartialEq)]
pub struct NtlmCredentials {
    /// Without the domain; or a user principal name (`user@domain`), and then the domain is empty.
    pub username: String,
    /// NetBIOS or DNS name; may be empty.
    pub domain: String,
    /// Its password.
    pub password: ProxyPassword,
}

/// Whose Kerberos ticket the proxy is shown, and as whom the proxy must be known to the KDC.
#[cfg(feature = "negotiate")]
#[derive(Debug, PartialEq)]
pub struct NegotiateCredentials {
    /// `service/host`, with `@REALM` if need be, or `service@host`; by default `HTTP` at the proxy's host.
    pub service_name: Option<String>,
    /// `user` or `user@REALM`; by default that of the credential cache, or the first one of the keytab.
    pub username: Option<String>,
    /// Renews the ticket. Without it the credential cache must hold one.
    pub keytab: Option<PathBuf>,
}
