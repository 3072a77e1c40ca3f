//! The credentials for the corporate proxy: plain data, from which the schemes compute their
//! answers.

#[cfg(feature = "negotiate")]
use std::path::PathBuf;
#[cfg(feature = "negotiate")]
use std::sync::Arc;

use gatepost_core::secret::ProxyPassword;

/// How Gatepost authenticates to the proxy.
#[derive(Debug, PartialEq)]
pub enum ProxyAuthentication {
    /// No authentication.
    None,
    /// Basic (RFC 7617).
    Basic {
        /// The user name, without a colon.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// Digest (RFC 7616).
    Digest {
        /// The user name: any text without control characters.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// NTLM (MS-NLMP), NTLMv2 only.
    Ntlm(NtlmCredentials),
    /// Negotiate (RFC 4559) with Kerberos.
    #[cfg(feature = "negotiate")]
    Negotiate(Arc<NegotiateCredentials>),
}

/// The user who signs in to the proxy with NTLM.
#[derive(Debug, PartialEq)]
pub struct NtlmCredentials {
    /// The user name without the domain, or a user principal name (`user@domain`) with an empty
    /// domain.
    pub username: String,
    /// The domain, as NetBIOS or DNS name; may be empty.
    pub domain: String,
    /// Its password.
    pub password: ProxyPassword,
}

/// The user of the Kerberos ticket for the proxy, and the name by which the KDC knows the proxy.
#[cfg(feature = "negotiate")]
#[derive(Debug, PartialEq)]
pub struct NegotiateCredentials {
    /// `service/host`, with `@REALM` if needed, or `service@host`; by default `HTTP` at the proxy's
    /// host.
    pub service_name: Option<String>,
    /// `user` or `user@REALM`; by default the one of the credential cache, or the first one of the
    /// keytab.
    pub username: Option<String>,
    /// The keytab with which the ticket is renewed. Without it the credential cache must hold a
    /// ticket.
    pub keytab: Option<PathBuf>,
}
