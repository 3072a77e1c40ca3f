//! Tokens that an upstream refuses although they should hold. A token can be revoked before it expires, and the cache does
//! not hear of that: what was refused with a cached token is tried once more with a fresh one.

use std::future::Future;

use super::upstream::OpenError;
use crate::graph::NotSent;
use crate::graph::messages::Unserved;
use crate::login::{Authenticator, AuthorizedLogin};
use gatepost_proto::mail::UpstreamFailureKind;

/// Whoever has a token.
pub(super) trait HasToken {
    /// The login that brought it; nothing when it is the client's own, for which there is no substitute.
    fn admission(&self) -> Option<&AuthorizedLogin>;
}

impl HasToken for AuthorizedLogin {
    fn admission(&self) -> Option<&AuthorizedLogin> {
        Some(self)
    }
}

/// Why an attempt with a token failed.
pub(super) trait TokenError {
    /// The token was refused, before anything else was looked at.
    fn is_of_token(&self) -> bool;
}

impl TokenError for OpenError {
    fn is_of_token(&self) -> bool {
        matches!(self, Self::Upstream(failure) if failure.kind == UpstreamFailureKind::TokenRefused)
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

/// Does something with the token of `holder`. If the upstream refuses the token, and another may be had at once, it is done
/// once more with the one that `fetch` brings. Beside the result stands whose token it was that was taken.
///
/// # Errors
/// That of `fetch`; within the result that of the last attempt.
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
