//! Why there is no token: the kinds of failure, and what each of them means for another attempt.

use std::time::Duration;

use crate::audience::Mismatch;
use crate::credential::CredentialError;
use crate::endpoint::{TransportError, TransportFault};
use crate::managed_identity::IdentityError;
use crate::response::{NotGranted, OauthError};

/// AADSTS700024: an assertion outside its time.
const OUT_OF_TIME: u32 = 700_024;

/// How Google words that an assertion of a service account is outside its time.
pub(super) const NOT_SHORT_LIVED: &str = "Invalid JWT: Token must be a short-lived token";

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Entra refused.
    Refused(OauthError),
    /// Entra is busy or out of order.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Entra's own code, if it gave one.
        code: Option<u32>,
    },
    /// Something answered that is not a token endpoint.
    Unclear {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the answer.
        why: &'static str,
    },
    /// The token is for something else than what was asked for; it is not used.
    WrongAudience(Mismatch),
    /// No answer.
    Transport(TransportError),
    /// Entra asked for a pause (`Retry-After`, 429), which is not over.
    Paused {
        /// How long it still lasts.
        wait: Duration,
    },
    /// The authority was out of order, so it is not asked for a while.
    Suspended {
        /// When it may be asked again.
        wait: Duration,
    },
    /// Too many requests wait already.
    QueueFull,
    /// The request had to wait too long for its turn.
    NoTurn,
    /// The application's credential cannot be used; Entra was not asked.
    Credential(CredentialError),
    /// The authorization server has no sign-in by device code.
    NoDeviceCodes,
    /// The authorization server takes no token back.
    NoRevocation,
    /// The platform gave no token of the managed identity.
    Identity(IdentityError),
}

impl FetchError {
    pub(super) fn was_sent(&self) -> bool {
        !matches!(
            self,
            Self::Paused { .. }
                | Self::Suspended { .. }
                | Self::QueueFull
                | Self::NoTurn
                | Self::Credential(_)
                | Self::NoDeviceCodes
                | Self::NoRevocation
        )
    }

    /// Whether another credential of the application may succeed (RFC 6749 §5.2, `invalid_client`).
    pub(super) fn blames_credential(&self) -> bool {
        match self {
            Self::Credential(_) => true,
            Self::Refused(error) => error.error == "invalid_client",
            _ => false,
        }
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        let is_not_short_lived = |sentence: &String| sentence.starts_with(NOT_SHORT_LIVED);
        error.code == Some(OUT_OF_TIME) || error.sentence.as_ref().is_some_and(is_not_short_lived)
    }

    /// Whether the same request may succeed within the same login, without anybody having acted.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Paused { .. } | Self::Suspended { .. } => true,
            Self::Transport(error) => error.fault.may_pass(),
            _ => self.is_outage(),
        }
    }

    /// Whether Entra cannot have acted on the request.
    pub(super) fn never_arrived(&self) -> bool {
        !self.was_sent()
            || matches!(self, Self::Transport(error) if matches!(error.fault, TransportFault::Connect | TransportFault::ProxyUnable))
    }

    /// Whether the authority, or the network to it, failed.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Transport(_) => true,
            Self::Unclear { status, .. } => !(400..500).contains(status),
            _ => false,
        }
    }
}

impl From<NotGranted> for FetchError {
    fn from(error: NotGranted) -> Self {
        match error {
            NotGranted::Refused(error) => Self::Refused(error),
            NotGranted::Busy { status, code } => Self::Busy { status, code },
            NotGranted::Unclear { status, why } => Self::Unclear { status, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aadsts::Class;

    fn refused(error: &str, code: Option<u32>, sentence: Option<&str>) -> FetchError {
        FetchError::Refused(OauthError {
            class: Class::Administrator,
            error: error.into(),
            code,
            sentence: sentence.map(str::to_owned),
            trace_id: None,
            presented: None,
        })
    }

    #[test]
    fn each_failure_tells_what_another_attempt_may_do() {
        let transport = |fault| FetchError::Transport(TransportError::new(fault, "x"));
        let unclear = |status| FetchError::Unclear { status, why: "x" };
        let wait = Duration::from_secs(1);
        // Was it sent, can it have arrived, is it an outage, may it pass?
        for (error, sent, arrived, outage, passes) in [
            (refused("invalid_grant", None, None), true, true, false, false),
            (FetchError::Busy { status: 503, code: None }, true, true, true, true),
            (unclear(200), true, true, true, true),
            (unclear(399), true, true, true, true),
            (unclear(400), true, true, false, false),
            (unclear(499), true, true, false, false),
            (unclear(500), true, true, true, true),
            (transport(TransportFault::Timeout), true, true, true, true),
            (transport(TransportFault::Broken), true, true, true, true),
            (transport(TransportFault::Connect), true, false, true, true),
            (transport(TransportFault::ProxyUnable), true, false, true, true),
            (transport(TransportFault::Certificate), true, true, true, false),
            (FetchError::Paused { wait }, false, false, false, true),
            (FetchError::Suspended { wait }, false, false, false, true),
            (FetchError::QueueFull, false, false, false, false),
            (FetchError::NoTurn, false, false, false, false),
            (FetchError::Credential(CredentialError::Slow), false, false, false, false),
            (FetchError::NoDeviceCodes, false, false, false, false),
            (FetchError::NoRevocation, false, false, false, false),
        ] {
            let told = (error.was_sent(), !error.never_arrived(), error.is_outage(), error.may_pass());
            assert_eq!(told, (sent, arrived, outage, passes), "{error:?}");
        }
    }

    #[test]
    fn only_a_credential_that_is_at_fault_leads_to_the_next() {
        for (error, blames) in [
            (FetchError::Credential(CredentialError::Slow), true),
            (refused("invalid_client", None, None), true),
            (refused("invalid_grant", None, None), false),
            (FetchError::NoTurn, false),
        ] {
            assert_eq!(error.blames_credential(), blames, "{error:?}");
        }
    }

    #[test]
    fn an_assertion_out_of_its_time_is_known_by_code_or_by_words() {
        let google = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe";
        for (error, is_out_of_time) in [
            (refused("invalid_client", Some(700_024), None), true),
            (refused("invalid_client", Some(700_024), Some("something else")), true),
            (refused("invalid_grant", None, Some(google)), true),
            (refused("invalid_grant", Some(1), Some(google)), true),
            (refused("invalid_grant", None, Some("Invalid JWT Signature")), false),
            (refused("invalid_client", Some(700_027), None), false),
            (FetchError::NoTurn, false),
        ] {
            assert_eq!(error.is_out_of_time(), is_out_of_time, "{error:?}");
        }
    }
}
