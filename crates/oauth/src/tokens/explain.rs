//! Explains why there is no token: one [`Failure`] per cause, with Entra's own code, who must act,
//! and the next step.

use std::borrow::Cow;
use std::time::Duration;

use crate::aadsts::{self, Class};
use crate::credential::CredentialError;
use crate::endpoint::{TransportError, TransportFault};
use crate::managed_identity::IdentityError;
use crate::response::OauthError;
use crate::source::FetchError;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_store::{SignInRefused, StoreError};

/// What an administrator must know who has just granted what a refusal asks for. Microsoft gives no
/// figure, and administrators report half an hour to two hours.
pub const JUST_GRANTED: &str = "If that was granted only now, wait: Exchange Online takes up to two hours to see it";

/// A failure that holds nobody back.
pub fn failure(
    refusal: Refusal,
    actor: Actor,
    cause: Cause,
    message: impl Into<String>,
    remedy: impl Into<Cow<'static, str>>,
) -> Failure {
    Failure { refusal, actor, cause, message: message.into(), remedy: remedy.into(), delay: false }
}

/// Delays the answer for a moment, because somebody may be guessing.
pub fn delayed(failure: Failure) -> Failure {
    Failure { delay: true, ..failure }
}

/// A bug in Gatepost ended the login.
pub fn own_fault() -> Failure {
    failure(
        Refusal::ServerBug,
        Actor::Developers,
        Cause::InternalError,
        "an error inside Gatepost ended the login",
        "report it with the log",
    )
}

/// The password was refused before, and the answer is remembered.
pub(super) fn refused_before() -> Failure {
    delayed(failure(
        Refusal::InvalidCredentials,
        Actor::Client,
        Cause::WrongPassword,
        "Entra has refused this password before, and was not asked again",
        "correct the password in the mail program",
    ))
}

fn sign_in_needed(login: &MailAddress, message: String) -> Failure {
    let remedy = format!("run `gatepost login {login}`");
    failure(Refusal::ContactAdmin, Actor::Operator, Cause::SignInNeeded, message, remedy)
}

/// Nobody has signed in for the account, or somebody has signed out.
pub(super) fn nobody_signed_in(login: &MailAddress) -> Failure {
    sign_in_needed(login, format!("nobody has signed in for `{login}`"))
}

/// Entra refused the account's refresh token before, and is not asked again yet.
pub(super) fn sign_in_refused_before(login: &MailAddress, refused: SignInRefused) -> Failure {
    let code = refused.code.map_or(String::new(), |code| format!(" with `AADSTS{code}`"));
    let meaning = refused.code.and_then(aadsts::explain).map_or(String::new(), |entry| format!(": {}", entry.meaning));
    sign_in_needed(
        login,
        format!("Entra has refused the sign-in of `{login}`{code}{meaning}, and is asked again every hour"),
    )
}

/// Whether a refusal of the refresh token is final, so that a person must sign in again. It is not
/// when an administrator can fix the cause without that person.
pub(super) fn ends_sign_in(error: &OauthError) -> bool {
    /// Enroll in, or use, multifactor authentication: a person who signs in again can.
    const STRONG_AUTHENTICATION: [u32; 6] = [50072, 50074, 50076, 50078, 50079, 50158];
    match error.class {
        Class::SignInNeeded | Class::GrantExpired | Class::WrongPassword => true,
        Class::Administrator => error.code.is_some_and(|code| STRONG_AUTHENTICATION.contains(&code)),
        _ => false,
    }
}

/// Why a refresh token brought no token.
pub(super) fn refresh(error: &FetchError, login: &MailAddress) -> Failure {
    match error {
        FetchError::Refused(refusal) if ends_sign_in(refusal) => {
            let told = refused(refusal);
            sign_in_needed(login, told.message)
        }
        // A listener for a further protocol needs a further permission, which the person has not
        // given yet.
        FetchError::Refused(refusal) if refusal.code == Some(65001) => Failure {
            actor: Actor::Operator,
            remedy: format!("run `gatepost login {login}`, or have an administrator of the tenant consent").into(),
            ..refused(refusal)
        },
        other => fetch(other),
    }
}

/// The store cannot read the sign-in.
pub(super) fn sign_in_unreadable(error: &StoreError) -> Failure {
    failure(
        Refusal::Unavailable,
        Actor::Operator,
        Cause::StoreUnavailable,
        format!("the sign-in cannot be read: {error}"),
        "mend the store under `state`; the sign-in itself is not lost",
    )
}

/// Why there is no token.
pub fn fetch(error: &FetchError) -> Failure {
    let unavailable = |actor, cause, message: String, remedy: &'static str| {
        failure(Refusal::Unavailable, actor, cause, message, remedy)
    };
    match error {
        FetchError::Refused(error) => refused(error),
        FetchError::Busy { status, code } => {
            let code = code.map_or(String::new(), |code| format!(" and `AADSTS{code}`"));
            let throttled = *status == 429;
            unavailable(
                Actor::Microsoft,
                if throttled { Cause::EntraThrottles } else { Cause::EntraUnavailable },
                format!("Entra answered with status `{status}`{code}"),
                if throttled {
                    "wait, and look for other programs that ask too often"
                } else {
                    "wait; if it lasts, look at Microsoft's service health"
                },
            )
        }
        FetchError::Unclear { status, why } => unavailable(
            Actor::Network,
            Cause::EntraAnswerUnclear,
            format!("the answer to the token request (status `{status}`) is not one of Entra's: {why}"),
            "look for a portal or filter on the way to Entra, and check `microsoft.authority`",
        ),
        FetchError::WrongAudience(mismatch) => failure(
            Refusal::ContactAdmin,
            Actor::Operator,
            Cause::TokenForAnother,
            format!("Entra gave a token that is for something else, and it is not used: {mismatch}"),
            "check `microsoft.scope`, `microsoft.cloud`, `microsoft.authority`, `microsoft.tenant` and `microsoft.client_id`",
        ),
        FetchError::Transport(error) => transport(error),
        FetchError::Paused { wait } => unavailable(
            Actor::Microsoft,
            Cause::EntraThrottles,
            format!("Entra asked not to be asked, and is not asked {}", for_time(*wait)),
            "wait",
        ),
        FetchError::Suspended { wait } => unavailable(
            Actor::Microsoft,
            Cause::EntraUnavailable,
            format!("Entra did not answer lately, and is not asked {}", for_time(*wait)),
            "wait; the log says what failed when this began",
        ),
        FetchError::Credential(error) => credential(error),
        FetchError::Identity(error) => identity(error),
        FetchError::QueueFull | FetchError::NoTurn => unavailable(
            Actor::Operator,
            Cause::TokenQueueFull,
            "too many token requests wait already".into(),
            "try again; if it lasts, raise `limits.token_requests`",
        ),
    }
}

/// The credential cannot be used. The password is not at fault, and a new file fixes it, so the
/// client is told to retry.
fn credential(error: &CredentialError) -> Failure {
    let (cause, actor) = match error {
        CredentialError::Expired { .. } | CredentialError::NotYetValid { .. } => {
            (Cause::ClientCertificateOutOfDate, Actor::Operator)
        }
        CredentialError::Unreadable { .. }
        | CredentialError::Certificate { .. }
        | CredentialError::NoSecret { .. }
        | CredentialError::Slow => (Cause::ClientCredentialUnusable, Actor::Operator),
        CredentialError::UnreadableToken { .. }
        | CredentialError::NoToken { .. }
        | CredentialError::StaleToken { .. } => (Cause::FederatedTokenUnusable, Actor::Operator),
        CredentialError::NoRandomness | CredentialError::NoProof => (Cause::InternalError, Actor::Developers),
    };
    let message = format!("the application cannot prove itself to Entra: {error}");
    failure(Refusal::Unavailable, actor, cause, message, error.remedy())
}

fn identity(error: &IdentityError) -> Failure {
    let (refusal, actor, cause, message, remedy) = match error {
        IdentityError::Unreachable(error) => (
            Refusal::Unavailable,
            Actor::Operator,
            Cause::ManagedIdentityUnreachable,
            format!("the endpoint for managed identities does not answer: {}", error.detail),
            "`managed_identity` works only on Azure, or with the agent of Azure Arc and its variables; elsewhere use \
             `client_certificate`",
        ),
        IdentityError::Refused { status, error } => (
            Refusal::ContactAdmin,
            Actor::TenantAdministrator,
            Cause::ManagedIdentityRefused,
            format!("the platform gives this identity no token (status `{status}`, `{error}`)"),
            "assign the identity to this machine or service in Azure, and check `managed_identity`",
        ),
        IdentityError::Busy { status } => (
            Refusal::Unavailable,
            Actor::Microsoft,
            Cause::ManagedIdentityBusy,
            format!("the endpoint for managed identities answers with status `{status}`"),
            "wait; it is starting, being updated, or asked too often",
        ),
        IdentityError::Unclear { status, why } => (
            Refusal::Unavailable,
            Actor::Operator,
            Cause::ManagedIdentityUnclear,
            format!("the answer of the endpoint for managed identities (status `{status}`) is none of Azure's: {why}"),
            "find out what answers there instead of Azure",
        ),
        IdentityError::NoKey(why) => (
            Refusal::Unavailable,
            Actor::Operator,
            Cause::ManagedIdentityKey,
            format!("the endpoint for managed identities wants a key that cannot be shown: {why}"),
            "let the user that runs Gatepost read the agent's keys: add it to the group `himds`",
        ),
    };
    failure(refusal, actor, cause, message, remedy)
}

fn transport(error: &TransportError) -> Failure {
    let (actor, cause, what, remedy) = match error.fault {
        TransportFault::Setup => (
            Actor::Operator,
            Cause::TokenClientUnusable,
            "the client for token requests cannot be set up",
            "check `forward_proxy` and `trust`",
        ),
        TransportFault::Connect => (
            Actor::Network,
            Cause::EntraUnreachable,
            "Entra cannot be reached",
            "check name resolution, firewall and `forward_proxy` for the host of `microsoft.authority`, port 443",
        ),
        TransportFault::Certificate => (
            Actor::Operator,
            Cause::EntraCertificateRefused,
            "the certificate of the token endpoint is not trusted",
            "if a proxy inspects TLS, put its root into `trust.additional_ca`",
        ),
        TransportFault::ProxyAuthentication => (
            Actor::Operator,
            Cause::ProxyAuthentication,
            "the forward proxy's authentication stands before the token request",
            "correct the credentials under `forward_proxy`",
        ),
        TransportFault::ProxyRefused | TransportFault::ProxyUnable => (
            Actor::Network,
            Cause::ProxyRefused,
            "the forward proxy refused the way to Entra",
            "allow the host of `microsoft.authority`, port 443, in the proxy",
        ),
        TransportFault::Timeout => (
            Actor::Network,
            Cause::EntraSlow,
            "Entra did not answer in time",
            "wait; if it lasts, check the way to the host of `microsoft.authority`, port 443",
        ),
        TransportFault::Broken | TransportFault::TooLong => (
            Actor::Network,
            Cause::EntraAnswerUnclear,
            "the answer to the token request broke off or was no HTTP",
            "look for a portal or filter on the way to Entra",
        ),
    };
    failure(Refusal::Unavailable, actor, cause, format!("{what}: {}", error.detail), remedy)
}

/// Entra has refused, and says why.
pub fn refused(error: &OauthError) -> Failure {
    let (refusal, cause, actor, meaning, remedy) = match error.class {
        Class::WrongPassword => (
            Refusal::InvalidCredentials,
            Cause::WrongPassword,
            Actor::Client,
            "the user name or the password is wrong",
            "correct the password in the mail program",
        ),
        Class::Locked => (
            Refusal::Unavailable,
            Cause::AccountLocked,
            Actor::TenantAdministrator,
            "the account is locked",
            "find the device that still has an old password",
        ),
        Class::NotAllowed => (
            Refusal::NotAuthorized,
            Cause::AccountNotAllowed,
            Actor::TenantAdministrator,
            "the account may not sign in",
            "look up the sign-in in Entra's sign-in log",
        ),
        Class::SignInNeeded | Class::GrantExpired => (
            Refusal::ContactAdmin,
            Cause::SignInNeeded,
            Actor::TenantAdministrator,
            "the user must do something that a password alone cannot",
            "look up the sign-in in Entra's sign-in log",
        ),
        Class::Administrator => (
            Refusal::ContactAdmin,
            Cause::EntraConfiguration,
            Actor::TenantAdministrator,
            "the application or a policy stands in the way",
            "look up the sign-in in Entra's sign-in log, and check the registration of the application",
        ),
        Class::Temporary => (
            Refusal::Unavailable,
            Cause::EntraUnavailable,
            Actor::Microsoft,
            "it is a passing fault",
            "wait; if it lasts, look at Microsoft's service health",
        ),
        Class::Malformed | Class::Polling => (
            Refusal::ServerBug,
            Cause::TokenRequestMalformed,
            Actor::Developers,
            "the token request was not understood",
            "check `microsoft.scope` and `microsoft.cloud`, then report it with this line of the log",
        ),
    };
    // The catalogue's text is used only where it agrees with the class of the whole answer.
    let entry = error.code.and_then(aadsts::explain).filter(|entry| entry.class == error.class);
    let (actor, meaning, remedy) = match (entry, &error.sentence) {
        (Some(entry), _) => (entry.actor, Cow::Borrowed(entry.meaning), entry.remedy),
        (None, Some(sentence)) => (actor, format!("Microsoft says \"{sentence}\"").into(), remedy),
        (None, None) => (actor, meaning.into(), remedy),
    };
    let name = error.code.map_or_else(|| format!("`{}`", error.error), |code| format!("`AADSTS{code}`"));
    let trace = error.trace_id.as_deref().map_or(String::new(), |id| format!(" (trace id `{id}`)"));
    Failure {
        delay: matches!(error.class, Class::WrongPassword | Class::Locked),
        ..failure(refusal, actor, cause, format!("Entra refused the sign-in with {name}: {meaning}{trace}"), remedy)
    }
}

/// How much longer something lasts, for a message.
pub fn for_time(wait: Duration) -> String {
    match wait.as_secs() {
        0..=1 => "for a moment".into(),
        seconds @ 2..=119 => format!("for {seconds} s"),
        seconds => format!("for {} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::Mismatch;
    use gatepost_core::clock::UnixTime;

    fn of(class: Class, code: Option<u32>) -> Failure {
        fetch(&FetchError::Refused(OauthError {
            class,
            error: "invalid_grant".into(),
            code,
            sentence: Some("Ask the stars".into()),
            trace_id: Some("t-1".into()),
        }))
    }

    #[test]
    fn each_class_is_refused_in_its_own_way() {
        for (class, refusal) in [
            (Class::WrongPassword, Refusal::InvalidCredentials),
            (Class::Locked, Refusal::Unavailable),
            (Class::NotAllowed, Refusal::NotAuthorized),
            (Class::SignInNeeded, Refusal::ContactAdmin),
            (Class::GrantExpired, Refusal::ContactAdmin),
            (Class::Administrator, Refusal::ContactAdmin),
            (Class::Temporary, Refusal::Unavailable),
            (Class::Malformed, Refusal::ServerBug),
        ] {
            assert_eq!(of(class, None).refusal, refusal, "{class:?}");
        }
    }

    #[test]
    fn what_may_pass_is_never_permanent() {
        let transport = |fault| FetchError::Transport(TransportError { fault, detail: "x".into() });
        for error in [
            FetchError::Busy { status: 503, code: None },
            FetchError::Busy { status: 429, code: Some(90055) },
            FetchError::Unclear { status: 200, why: "not JSON" },
            FetchError::Paused { wait: Duration::from_secs(60) },
            FetchError::Suspended { wait: Duration::from_secs(5) },
            FetchError::QueueFull,
            FetchError::NoTurn,
            FetchError::Credential(CredentialError::Expired { path: "app.pem".into(), since: UnixTime(0) }),
            FetchError::Credential(CredentialError::NoToken { path: "token".into() }),
            FetchError::Credential(CredentialError::NoRandomness),
            FetchError::Identity(IdentityError::Busy { status: 410 }),
            FetchError::Identity(IdentityError::Unclear { status: 200, why: "not JSON" }),
            FetchError::Identity(IdentityError::NoKey("it is not there".into())),
            transport(TransportFault::Connect),
            transport(TransportFault::Certificate),
            transport(TransportFault::ProxyAuthentication),
            transport(TransportFault::Timeout),
        ] {
            assert_eq!(fetch(&error).refusal, Refusal::Unavailable, "{error:?}");
        }
    }

    #[test]
    fn a_token_for_another_resource_is_the_operators_turn() {
        let mismatch = Mismatch { claim: "aud", says: "https://graph.microsoft.com".into() };
        let failure = fetch(&FetchError::WrongAudience(mismatch));
        assert_eq!((failure.refusal, failure.cause.name()), (Refusal::ContactAdmin, "token-for-another"));
        assert!(failure.message.ends_with("it is not used: its `aud` is `https://graph.microsoft.com`"), "{failure}");
    }

    #[test]
    fn a_refusal_names_code_trace_actor_and_remedy() {
        assert_eq!(
            of(Class::Administrator, Some(7_000_222)).to_string(),
            "Entra refused the sign-in with `AADSTS7000222`: the client secret or certificate has expired \
             (trace id `t-1`). Microsoft 365 admin: create a new one and set `client_secret` or `client_certificate`"
        );
        // A code that is known for something else explains nothing.
        assert!(!of(Class::SignInNeeded, Some(50126)).message.contains("wrong"));
        assert!(of(Class::SignInNeeded, None).message.contains("`invalid_grant`"));
        assert_eq!(
            of(Class::Administrator, Some(999_999)).message,
            "Entra refused the sign-in with `AADSTS999999`: Microsoft says \"Ask the stars\" (trace id `t-1`)"
        );
    }
}
