//! How Gatepost shows itself to the proxy: one side of a scheme, asked for a token whenever the machine needs one.
//!
//! The state of one handshake lives here and ends with it. Nothing is sent for another scheme than the configured one.

use super::basic;
use super::digest::Digest;
#[cfg(feature = "negotiate")]
use super::negotiate::Negotiate;
use super::ntlm::Ntlm;
use super::scheme::{AuthenticationError, Challenge};
use crate::config::ProxyAuthentication;
use crate::secret::ProxyAuthorization;

/// The client's side of the configured scheme, for one handshake.
pub struct Authenticator<'a>(Side<'a>);

enum Side<'a> {
    None,
    /// The answer, until it is given.
    Basic(Option<ProxyAuthorization>),
    Digest(Digest<'a>),
    Ntlm(Ntlm<'a>),
    #[cfg(feature = "negotiate")]
    Negotiate(Negotiate),
}

impl<'a> Authenticator<'a> {
    /// For a handshake with the proxy `proxy_host` about `destination` ([`super::Connect::destination`]).
    pub fn new(authentication: &'a ProxyAuthentication, proxy_host: &str, destination: &str) -> Self {
        // Only Kerberos must know whom it talks to.
        let _ = proxy_host;
        Self(match authentication {
            ProxyAuthentication::None => Side::None,
            ProxyAuthentication::Basic { username, password } => {
                Side::Basic(Some(basic::authorization(username, password)))
            }
            ProxyAuthentication::Digest { username, password } => {
                Side::Digest(Digest::new(username, password, destination))
            }
            ProxyAuthentication::Ntlm(credentials) => Side::Ntlm(Ntlm::new(credentials)),
            #[cfg(feature = "negotiate")]
            ProxyAuthentication::Negotiate(credentials) => Side::Negotiate(Negotiate::new(credentials, proxy_host)),
        })
    }

    /// The value of `Proxy-Authorization` that answers a challenge; `None` when the request goes without, or when there is
    /// nothing to answer.
    ///
    /// # Errors
    /// See [`AuthenticationError`].
    ///
    /// # Cancel safety
    /// A call that was given up leaves nothing behind but the need for a new handshake.
    pub async fn answer(&mut self, challenge: Challenge) -> Result<Option<ProxyAuthorization>, AuthenticationError> {
        match (&mut self.0, challenge) {
            #[cfg(feature = "negotiate")]
            (Side::Negotiate(side), challenge) => side.answer(&challenge).await,
            (Side::Ntlm(side), challenge) => side.answer(&challenge),
            (Side::Digest(side), challenge) => side.answer(&challenge),
            (_, Challenge::Last(_)) | (Side::None, Challenge::Start) => Ok(None),
            (Side::None, Challenge::Continue(_)) => Err(AuthenticationError::Refused),
            // With the first request (RFC 7617 §2.2): it is meant for this proxy anyway.
            (Side::Basic(authorization), _) => authorization.take().map(Some).ok_or(AuthenticationError::Refused),
        }
    }
}
