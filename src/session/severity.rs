//! The level of a log line about a failure. It follows who must act, not what the client is told.

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};

/// The level of a line about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// A single client's own problem, or normal life.
    Info,
    /// An administrator should act soon.
    Warn,
    /// Clients fail until somebody acts.
    Error,
}

impl From<&Failure> for Severity {
    fn from(failure: &Failure) -> Self {
        if is_of_strangers(failure.cause) {
            return Self::Info;
        }
        if stops_every_login(failure.cause) {
            return Self::Error;
        }
        match (failure.actor, failure.refusal) {
            (Actor::ClientOwner, _) => Self::Info,
            (Actor::Bug, _) | (Actor::GatepostAdmin | Actor::M365Admin, Refusal::ContactAdmin | Refusal::ServerBug) => {
                Self::Error
            }
            (Actor::GatepostAdmin | Actor::M365Admin | Actor::NetworkAdmin, _) => Self::Warn,
            // An outage. A limit is normal life.
            (Actor::Nobody, Refusal::Unavailable | Refusal::ContactAdmin | Refusal::ServerBug) => Self::Warn,
            (Actor::Nobody, Refusal::Limit | Refusal::InvalidCredentials | Refusal::NotAuthorized) => Self::Info,
        }
    }
}

/// Whether every login fails until somebody has repaired this, although the client is told to try
/// again.
fn stops_every_login(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ClientCertificateOutOfDate
            | Cause::ClientCredentialUnusable
            | Cause::BadCertificate
            | Cause::EntraCertificateRefused
            | Cause::TrustRootsUnreadable
            | Cause::ProxyAuthentication
            | Cause::EwsBarred
    )
}

/// Whether anybody who can connect can cause this failure, no matter who must act if it is a client. A
/// scan of ports must not look like a fault.
pub(crate) fn is_of_strangers(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::UnknownAccount
            | Cause::NotAllowed
            | Cause::Http
            | Cause::UnknownHost
            | Cause::TlsOnPlainPort
            | Cause::PlaintextOnTlsPort
            | Cause::TlsTooOld
            | Cause::CertificateRejected
            | Cause::TlsFailed
            | Cause::TlsTimeout
            | Cause::Refused
            | Cause::Draining
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_who_must_act() {
        for (cause, level) in [
            (Cause::WrongPassword, Severity::Info),
            (Cause::UnknownAccount, Severity::Info),
            (Cause::NotAllowed, Severity::Info),
            (Cause::MailboxOccupied, Severity::Info),
            (Cause::PlaintextLogin, Severity::Warn),
            (Cause::GuessBudgetSpent, Severity::Warn),
            (Cause::PasswordForOtherNetworks, Severity::Warn),
            (Cause::ProxyUnreachable, Severity::Warn),
            (Cause::EntraUnavailable, Severity::Warn),
            (Cause::ProviderUnavailable, Severity::Warn),
            (Cause::TlsFailed, Severity::Info),
            (Cause::UpstreamTlsFailed, Severity::Warn),
            (Cause::ClientCertificateOutOfDate, Severity::Error),
            (Cause::ClientCredentialUnusable, Severity::Error),
            (Cause::BadCertificate, Severity::Error),
            (Cause::EntraCertificateRefused, Severity::Error),
            (Cause::TrustRootsUnreadable, Severity::Error),
            (Cause::ProxyAuthentication, Severity::Error),
            (Cause::EwsBarred, Severity::Error),
            (Cause::MailboxNotConnected, Severity::Error),
            (Cause::TokenRefused, Severity::Error),
            (Cause::SignInNeeded, Severity::Error),
            (Cause::InternalError, Severity::Error),
        ] {
            assert_eq!(Severity::from(&Failure::new(cause, "no")), level, "{cause}");
        }
    }
}
