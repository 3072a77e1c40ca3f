//! Retries once with a fresh token when an upstream refuses a cached one. A token can be revoked
//! before it expires, and the cache does not learn of it.

use std::future::Future;

use super::upstream::OpenError;
use crate::graph::NotSent;
use crate::graph::messages::Unserved;
use crate::login::{Authenticator, AuthorizedLogin};
use crate::session::refused_login::NotSignedIn;
use gatepost_proto::mail::UpstreamFailureKind;

/// Something that holds a token.
pub(super) trait HasToken {
    /// The login that brought it; `None` for the client's own token, for which there is no
    /// substitute.
    fn admission(&self) -> Option<&AuthorizedLogin>;
}

impl HasToken for AuthorizedLogin {
    fn admission(&self) -> Option<&AuthorizedLogin> {
        Some(self)
    }
}

/// Why an attempt with a token failed.
pub(super) trait TokenError {
    /// Whether the token was refused before anything else was checked.
    fn is_of_token(&self) -> bool;
}

impl TokenError for NotSignedIn {
    fn is_of_token(&self) -> bool {
        matches!(&self.error, OpenError::Upstream(failure) if failure.kind == UpstreamFailureKind::TokenRefused)
    }
}

impl TokenError for NotSent {
    fn is_of_token(&self) -> bool {
        self.token_refused
    }
}

impl TokenError for Unserved {
    fn is_of_token(&self) -> bool {
        matches!(self, Self::TokenRefused(_))
    }
}

/// Runs `attempt` with the token of `holder`. If the upstream refuses the token and another is
/// available at once, runs it once more with the one that `fetch` brings. Returns the result
/// together with the holder of the accepted token.
///
/// # Errors
/// That of `fetch`; within the result, that of the last attempt.
///
/// # Cancel safety
/// That of `attempt` and `fetch`.
pub(super) async fn with_fresh_token<H, T, E, F, Fetching, Attempting>(
    authenticator: &Authenticator,
    mut holder: H,
    fetch: impl FnOnce() -> Fetching,
    mut attempt: impl FnMut(&H) -> Attempting,
) -> Result<Result<(H, T), E>, F>
where
    H: HasToken,
    E: TokenError,
    Fetching: Future<Output = Result<H, F>>,
    Attempting: Future<Output = Result<T, E>>,
{
    let refused = match attempt(&holder).await {
        Ok(done) => return Ok(Ok((holder, done))),
        Err(error) => error,
    };
    let is_stale = |admission| authenticator.token_refused(admission);
    if !refused.is_of_token() || !holder.admission().is_some_and(is_stale) {
        return Ok(Err(refused));
    }
    drop(refused);
    holder = fetch().await?;
    let result = attempt(&holder).await;
    Ok(result.map(|done| (holder, done)))
}
