//! Authentication to the forward proxy: the client side of a scheme, which answers each challenge
//! with a token. It provides what the schemes and the protocol machine do not have: the clock and
//! the Kerberos library.
//!
//! A value lives as long as one handshake. Tokens are sent for the configured scheme only.

#[cfg(feature = "negotiate")]
use super::negotiate::Negotiate;
use gatepost_core::clock::since_1970;
use gatepost_core::secret::ProxyAuthorization;
use gatepost_proto::tunnel::basic;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use gatepost_proto::tunnel::digest::Digest;
use gatepost_proto::tunnel::ntlm::Ntlm;
use gatepost_proto::tunnel::scheme::{AuthenticationError, Challenge};

/// The client side of the configured scheme, for one handshake.
pub struct ProxyAuthenticator<'a>(SchemeState<'a>);

enum SchemeState<'a> {
    None,
    /// The answer, until it has been sent.
    Basic(Option<ProxyAuthorization>),
    Digest(Digest<'a>),
    Ntlm(Ntlm<'a>),
    #[cfg(feature = "negotiate")]
    Negotiate(Negotiate),
}

impl<'a> ProxyAuthenticator<'a> {
    /// Creates the client side for a handshake with the proxy `proxy_host` for `destination`, as
    /// [`Connect::destination`](gatepost_proto::tunnel::connect::Connect::destination) gives it.
    pub fn new(authentication: &'a ProxyAuthentication, proxy_host: &str, destination: &str) -> Self {
        // Only Kerberos needs the name of the proxy.
        let _ = proxy_host;
        Self(match authentication {
            ProxyAuthentication::None => SchemeState::None,
            ProxyAuthentication::Basic { username, password } => {
                SchemeState::Basic(Some(basic::authorization(username, password)))
            }
            ProxyAuthentication::Digest { username, password } => {
                SchemeState::Digest(Digest::new(username, password, destination))
            }
            ProxyAuthentication::Ntlm(credentials) => SchemeState::Ntlm(Ntlm::new(credentials)),
            #[cfg(feature = "negotiate")]
            ProxyAuthentication::Negotiate(credentials) => {
                SchemeState::Negotiate(Negotiate::new(credentials, proxy_host))
            }
        })
    }

    /// The value of `Proxy-Authorization` that answers a challenge. `None` if the request needs
    /// none, or if there is nothing to answer.
    ///
    /// # Errors
    /// See [`AuthenticationError`].
    ///
    /// # Cancel safety
    /// After an abandoned call, a new handshake is needed. Nothing else remains.
    pub async fn answer(&mut self, challenge: Challenge) -> Result<Option<ProxyAuthorization>, AuthenticationError> {
        match (&mut self.0, challenge) {
            #[cfg(feature = "negotiate")]
            (SchemeState::Negotiate(side), challenge) => side.answer(&challenge).await,
            (SchemeState::Ntlm(side), challenge) => side.answer(&challenge, since_1970()),
            (SchemeState::Digest(side), challenge) => side.answer(&challenge),
            (_, Challenge::Last(_)) | (SchemeState::None, Challenge::Start) => Ok(None),
            (SchemeState::None, Challenge::Continue(_)) => Err(AuthenticationError::Refused),
            // Sent with the first request (RFC 7617 §2.2), because the credentials are meant for
            // this proxy anyway.
            (SchemeState::Basic(authorization), _) => {
                authorization.take().map(Some).ok_or(AuthenticationError::Refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::secret::ProxyPassword;
    use gatepost_proto::tunnel::connect::{Connect, ConnectEvent, Scheme};

    const BASIC: &str = "Basic c3ZjLW1haWw6czNjcmV0OsOp";

    #[tokio::test]
    async fn the_request() {
        let request = async |host: &str, authentication: &ProxyAuthentication| {
            let mut machine = Connect::new(host, 993, Scheme::of(authentication)).unwrap();
            let mut authenticator = ProxyAuthenticator::new(authentication, "proxy", machine.destination());
            if let Some(ConnectEvent::Challenge(challenge)) = machine.poll_event() {
                machine.handle_answer(authenticator.answer(challenge).await);
            }
            let request = String::from_utf8(machine.poll_output().unwrap()).unwrap();
            assert_eq!(machine.poll_output(), None);
            request.replace(env!("CARGO_PKG_VERSION"), "VERSION")
        };
        assert_eq!(
            request("outlook.office365.com", &ProxyAuthentication::None).await,
            "CONNECT outlook.office365.com:993 HTTP/1.1\r\nHost: outlook.office365.com:993\r\n\
             User-Agent: Gatepost/VERSION\r\n\r\n"
        );
        let password = ProxyPassword::new("s3cret:é".into());
        assert_eq!(
            request("2001:db8::1", &ProxyAuthentication::Basic { username: "svc-mail".into(), password }).await,
            format!(
                "CONNECT [2001:db8::1]:993 HTTP/1.1\r\nHost: [2001:db8::1]:993\r\nUser-Agent: Gatepost/VERSION\r\n\
                 Proxy-Authorization: {BASIC}\r\n\r\n"
            )
        );
    }
}
