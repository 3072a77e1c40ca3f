//! Bad manners of token services on demand: what a client meets that works with any provider.

use std::time::Duration;

use parking_lot::Mutex;

/// A bad manner of a token service. Pages for persons have none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Connections are reset, and a request on an open one is not answered.
    Down,
    /// Every answer is late by this much.
    Slow(Duration),
    /// 429 with `Retry-After`, in whole seconds.
    Throttled(Duration),
    /// 503, and nothing is done.
    ServerError,
    /// 200 with an HTML page in place of every JSON body.
    Html,
    /// 307 to another host, where credentials must not be posted.
    Redirect,
    /// Every error comes with 200.
    OkWithError,
    /// Errors are form-encoded.
    FormErrors,
    /// Tokens are form-encoded.
    FormTokens,
    /// JSON with tokens ends in the middle.
    TruncatedJson,
    /// Tokens have no `expires_in`.
    NoExpiresIn,
    /// `expires_in` is a string.
    TextExpiresIn,
    /// Tokens have no `token_type`.
    NoTokenType,
    /// The metadata name a token endpoint on another host.
    MetadataOfOtherHost,
    /// The metadata are those of another issuer.
    MetadataOfOtherIssuer,
    /// The person who signs in is this one, whichever was asked for.
    AnotherUser(String),
    /// The person does not grant access to mail, only the rest.
    FewerScopes,
}

/// The manners that a service has now.
#[derive(Default)]
pub(crate) struct Manners(Mutex<Vec<Manner>>);

impl Manners {
    pub(crate) fn set(&self, manners: &[Manner]) {
        *self.0.lock() = manners.to_vec();
    }

    pub(crate) fn has(&self, manner: &Manner) -> bool {
        self.0.lock().contains(manner)
    }

    /// What `choose` makes of the first manner that it takes.
    pub(crate) fn find<R>(&self, choose: impl Fn(&Manner) -> Option<R>) -> Option<R> {
        self.0.lock().iter().find_map(choose)
    }
}
