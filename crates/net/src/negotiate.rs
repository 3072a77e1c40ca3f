//! Negotiate (RFC 4559): SPNEGO with Kerberos, using the system's GSSAPI library (RFC 2743, RFC
//! 4178).
//!
//! The library takes the ticket from the credential cache (`KRB5CCNAME`), or gets one with a client
//! keytab, whose path the process sets for it at the start, and asks the KDC over the network. Its
//! calls block, so each runs on a thread for blocking work. Only a few run at once, and nobody
//! waits for one longer than a deadline.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext as _};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{
    GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, GSS_NT_USER_NAME, OidSet,
};
use libgssapi::util::Buf;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use gatepost_core::escape::escaped;
use gatepost_core::secret::ProxyAuthorization;
use gatepost_proto::tunnel::credentials::NegotiateCredentials;
use gatepost_proto::tunnel::scheme::{AuthenticationError, Challenge, Scheme};

/// The longest time of one step, requests to the KDC included.
const STEP: Duration = Duration::from_secs(10);
/// Limits the steps that run at once. If a KDC does not answer, a step holds its thread longer than
/// anybody waits. Without a limit such steps could hold all threads.
static PLACES: Semaphore = Semaphore::const_new(8);
/// Longest error message of the library that is kept, in octets.
const REASON_OCTETS: usize = 400;

/// The client side of the scheme.
pub(super) struct Negotiate {
    credentials: Arc<NegotiateCredentials>,
    proxy_host: String,
    /// The GSSAPI context of this connection so far.
    context: Option<ClientCtx>,
}

impl Negotiate {
    pub(super) fn new(credentials: &Arc<NegotiateCredentials>, proxy_host: &str) -> Self {
        Self { credentials: Arc::clone(credentials), proxy_host: proxy_host.to_owned(), context: None }
    }

    pub(super) async fn answer(
        &mut self,
        challenge: &Challenge,
    ) -> Result<Option<ProxyAuthorization>, AuthenticationError> {
        let (context, token) = match challenge {
            Challenge::Start => (None, None),
            Challenge::Continue(token) if token.is_empty() => match self.context.take() {
                None => (None, None),
                Some(_) => return Err(AuthenticationError::Refused),
            },
            Challenge::Continue(token) => (self.context.take(), Some(decode(token)?)),
            Challenge::Last(token) => {
                let context = self.context.take().ok_or(AuthenticationError::NotProven)?;
                let token = decode(token).map_err(|_| AuthenticationError::NotProven)?;
                let (context, _) =
                    self.step(Some(context), Some(token)).await.map_err(|_| AuthenticationError::NotProven)?;
                return if context.is_complete() { Ok(None) } else { Err(AuthenticationError::NotProven) };
            }
        };
        let (context, token) = self.step(context, token).await?;
        self.context = Some(context);
        // The library has no token to send, but the proxy is not satisfied, so the handshake has
        // failed.
        let token = token.ok_or(AuthenticationError::Refused)?;
        Ok(Some(ProxyAuthorization::new(format!("Negotiate {}", STANDARD.encode(token)))))
    }

    /// Calls the library once. Returns the context, and the token to send, if any.
    async fn step(
        &mut self,
        context: Option<ClientCtx>,
        token: Option<Vec<u8>>,
    ) -> Result<(ClientCtx, Option<Vec<u8>>), AuthenticationError> {
        let (credentials, proxy_host) = (Arc::clone(&self.credentials), self.proxy_host.clone());
        let work = async {
            let place = PLACES.acquire().await;
            let call = spawn_blocking(move || {
                // Held until the call returns, even if nobody waits for it any more.
                let _place = place;
                let (context, token) = match context {
                    Some(mut context) => {
                        let token = context.step(token.as_deref(), None)?;
                        (context, token)
                    }
                    None => begin(&credentials, &proxy_host)?,
                };
                Ok::<_, Error>((context, token.map(|token| token.to_vec())))
            });
            call.await
        };
        match timeout(STEP, work).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(error))) => Err(unavailable(&error)),
            Ok(Err(_)) => Err(temporary("the Kerberos library failed")),
            Err(_) => Err(temporary("the Kerberos library did not finish in time. Does the KDC answer?")),
        }
    }
}

fn decode(token: &str) -> Result<Vec<u8>, AuthenticationError> {
    STANDARD
        .decode(token)
        .map_err(|_| AuthenticationError::Challenge { scheme: Scheme::Negotiate, reason: "it is not base64".into() })
}

/// Creates a context for the proxy's service, and the first token. SPNEGO hides why Kerberos, its
/// only mechanism, cannot be used. So Kerberos itself is tried before it, and again if it fails.
fn begin(credentials: &NegotiateCredentials, proxy_host: &str) -> Result<(ClientCtx, Option<Buf>), Error> {
    let user = match &credentials.username {
        Some(name) => Some(Name::new(name.as_bytes(), Some(GSS_NT_USER_NAME))?),
        None => None,
    };
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5)?;
    let acquire = |mechanisms: &OidSet| Cred::acquire(user.as_ref(), None, CredUsage::Initiate, Some(mechanisms));
    acquire(&mechanisms)?;
    mechanisms.add(GSS_MECH_SPNEGO)?;
    let ticket = acquire(&mechanisms)?;
    let service = match &credentials.service_name {
        None => Name::new(format!("HTTP@{proxy_host}").as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE))?,
        Some(name) if name.contains('/') => Name::new(name.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL))?,
        Some(name) => Name::new(name.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE))?,
    };
    let context = |mechanism| {
        let (ticket, service) = (ticket.clone(), service.duplicate()?);
        Ok::<_, Error>(ClientCtx::new(Some(ticket), service, CtxFlags::GSS_C_MUTUAL_FLAG, Some(mechanism)))
    };
    let mut spnego = context(GSS_MECH_SPNEGO)?;
    match spnego.step(None, None) {
        Ok(token) => Ok((spnego, token)),
        Err(hidden) => Err(context(GSS_MECH_KRB5)?.step(None, None).err().unwrap_or(hidden)),
    }
}

/// Parts of the library's messages, in lower case, with the remedy for each. The error codes depend
/// on the mechanism and the version, but the messages are the same in all versions of MIT's
/// library.
const REMEDIES: [(&[&str], &str); 5] = [
    (&["contact any kdc", "cannot resolve network address", "cannot find kdc"], KDC),
    (
        &["server not found", "server http", "not found in kerberos database while getting"],
        "set `forward_proxy.service_name` to the proxy's service principal, such as `HTTP/proxy.corp.example`",
    ),
    (&["clock skew"], "set this machine's clock right"),
    (
        &[
            "integrity check failed",
            "preauthentication failed",
            "client not found",
            "password has expired",
            "key version",
        ],
        "export the account's keytab again: its key or name is not the one that the KDC knows",
    ),
    (&["expired"], "renew the ticket with `kinit`, or set `forward_proxy.keytab`, which renews it by itself"),
];
const KDC: &str = "check that the KDC of `krb5.conf` can be reached from here";

fn temporary(reason: &str) -> AuthenticationError {
    let reason = reason.to_owned();
    AuthenticationError::Unavailable { scheme: Scheme::Negotiate, reason, remedy: KDC, permanent: false }
}

fn unavailable(error: &Error) -> AuthenticationError {
    let words = error.to_string().replace('\0', "");
    let reason = escaped(words.trim().as_bytes(), REASON_OCTETS);
    let words = words.to_ascii_lowercase();
    let known = REMEDIES.into_iter().find(|(said, _)| said.iter().any(|said| words.contains(said)));
    let remedy = known.map_or(
        "set `forward_proxy.keytab` to a keytab that Gatepost can read, or get a ticket with `kinit`",
        |(_, remedy)| remedy,
    );
    AuthenticationError::Unavailable { scheme: Scheme::Negotiate, reason, remedy, permanent: remedy != KDC }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_ticket_it_says_what_to_do() {
        // On no machine does a keytab have a key for this name, or a cache a ticket.
        let credentials =
            NegotiateCredentials { service_name: None, username: Some("nobody@NOWHERE.INVALID".into()), keytab: None };
        let mut side = Negotiate::new(&Arc::new(credentials), "proxy.invalid");
        let Err(AuthenticationError::Unavailable { scheme, reason, remedy, .. }) = side.answer(&Challenge::Start).await
        else {
            panic!("there is a ticket for nobody")
        };
        assert!(scheme == Scheme::Negotiate && !reason.is_empty() && remedy.contains('`'), "{reason}: {remedy}");
    }

    #[tokio::test]
    async fn nonsense_is_not_taken() {
        let credentials = NegotiateCredentials { service_name: None, username: None, keytab: None };
        let mut side = Negotiate::new(&Arc::new(credentials), "proxy.invalid");
        let garbage = side.answer(&Challenge::Continue("%%%".into())).await;
        assert!(matches!(garbage, Err(AuthenticationError::Challenge { .. })));
        assert_eq!(side.answer(&Challenge::Last("YQ==".into())).await.err(), Some(AuthenticationError::NotProven));
    }
}
