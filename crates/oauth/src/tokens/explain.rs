//! Explains why there is no token: one [`Failure`] per cause, with Entra's own code, who must act,
//! and the next step.

use std::borrow::Cow;
use std::time::Duration;

use crate::aadsts::{self, Class};
use crate::credential::CredentialError;
use crate::endpoint::{TransportError, TransportFault};
use crate::entra::consent_url;
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::managed_identity::IdentityError;
use crate::response::OauthError;
use crate::tokens::named::{Asked, Named};
use crate::tokens::service_account;
use gatepost_config::{Application, Provider};
use gatepost_core::account::{MailAddress, fits_command};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_store::{SignInRefused, StoreError};

/// What an administrator must know who has just granted what a refusal asks for. Microsoft gives no
/// figure, and administrators report half an hour to two hours.
pub const JUST_GRANTED: &str = "If that was granted only now, wait: Exchange Online takes up to two hours to see it";

/// What was asked of another provider, for messages.
const TOKEN_REQUEST: &str = "token request";
const REVOCATION_REQUEST: &str = "revocation request";

/// A bug in Gatepost ended the login.
pub fn own_fault() -> Failure {
    Failure::new(Cause::InternalError, "an error inside Gatepost ended the login")
}

/// The password was refused before, and the answer is remembered: with this code of Entra's, if it
/// gave one.
pub(super) fn refused_before(code: Option<u32>, user: &str, tenant: &str) -> Failure {
    let before = "Entra refused this login before, and was not asked again";
    let said =
        |code: u32, meaning: &str| Failure::new(Cause::WrongPassword, format!("{before} (`AADSTS{code}`): {meaning}"));
    let failure = match code.and_then(|code| Some((code, aadsts::explain(code)?))) {
        Some((code, entry)) => match Named::of_user(code, user, tenant) {
            Some(named) => said(code, &named.meaning).by(named.actor).to_do(named.remedy),
            None => said(code, entry.meaning).by(entry.actor).to_do(entry.remedy),
        },
        None => Failure::new(Cause::WrongPassword, before).to_do("correct the password in the client"),
    };
    coded(failure, code).delayed()
}

/// Gives a failure Entra's code, if it is known.
fn coded(failure: Failure, code: Option<u32>) -> Failure {
    match code {
        Some(code) => failure.coded(format!("AADSTS{code}")),
        None => failure,
    }
}

fn sign_in_needed(login: &MailAddress, message: String) -> Failure {
    let failure = Failure::new(Cause::SignInNeeded, message);
    match fits_command(login.as_str()) {
        true => failure.to_do(format!("run `gatepost login {login}`")),
        false => failure,
    }
}

/// Nobody has signed in for the account, or somebody has signed out.
pub(super) fn nobody_signed_in(login: &MailAddress) -> Failure {
    sign_in_needed(login, format!("nobody has signed in for `{login}`"))
}

/// The authorization server (`title`) refused the account's refresh token before, and is not asked again
/// yet.
pub(super) fn sign_in_refused_before(login: &MailAddress, refused: SignInRefused, title: &str) -> Failure {
    let with = refused.code.map_or(String::new(), |code| format!(" with `AADSTS{code}`"));
    let meaning = refused.code.and_then(aadsts::explain).map_or(String::new(), |entry| format!(": {}", entry.meaning));
    let message = format!("{title} has refused the sign-in of `{login}`{with}{meaning}, and is asked again every hour");
    coded(sign_in_needed(login, message), refused.code)
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
pub(super) fn refresh(error: &FetchError, login: &MailAddress, ask: &TokenRequest) -> Failure {
    match error {
        FetchError::Refused(refusal) if ends_sign_in(refusal) => {
            let told = of(error, ask);
            Failure { code: told.code, ..sign_in_needed(login, told.message) }
        }
        // A listener for a further protocol needs a further permission, which the person has not
        // given yet.
        FetchError::Refused(refusal)
            if refusal.code == Some(65001)
                && let Some(entra) = ask.application.issuer.entra() =>
        {
            let consent = consent_url(entra, &ask.application.client_id, &ask.tenant);
            let who = if fits_command(login.as_str()) { login.as_str() } else { "LOGIN" };
            of(error, ask).by(Actor::GatepostAdmin).to_do(format!(
                "run `gatepost login {who}`. Or let a Microsoft 365 admin consent for everybody: {consent}"
            ))
        }
        other => of(other, ask),
    }
}

/// The store cannot read the sign-in.
pub(super) fn sign_in_unreadable(error: &StoreError) -> Failure {
    Failure::new(Cause::StoreUnavailable, format!("the sign-in cannot be read: {error}"))
}

/// Why this request brought no token, with the names that it has.
pub fn of(error: &FetchError, ask: &TokenRequest) -> Failure {
    match error {
        FetchError::Refused(error) => match ask.application.issuer.provider() {
            Some(provider) => {
                let of_service_account = match &ask.grant {
                    GrantRequest::ServiceAccount { mailbox } => service_account::refused(error, ask, provider, mailbox),
                    _ => None,
                };
                of_service_account.unwrap_or_else(|| refused_by(error, provider, TOKEN_REQUEST))
            }
            None => told(error, Named::of(error, ask.into())),
        },
        other => fetch_of(other, &ask.application, TOKEN_REQUEST),
    }
}

/// Why Entra gives an application nothing, before there is a grant. Adds the names that are known.
pub fn of_application(error: &FetchError, application: &Application, tenant: &str, scope: &str) -> Failure {
    match error {
        FetchError::Refused(error) => refused(error, application, tenant, scope),
        other => fetch_of(other, application, TOKEN_REQUEST),
    }
}

/// Why the refresh token of a sign-in was not revoked.
pub fn revocation(error: &FetchError, application: &Application) -> Failure {
    match (error, application.issuer.provider()) {
        (FetchError::Refused(error), Some(provider)) => refused_by(error, provider, REVOCATION_REQUEST),
        _ => fetch_of(error, application, REVOCATION_REQUEST),
    }
}

/// Why Entra refused an application, before there is a grant.
pub fn refused(error: &OauthError, application: &Application, tenant: &str, scope: &str) -> Failure {
    match application.issuer.provider() {
        Some(provider) => refused_by(error, provider, TOKEN_REQUEST),
        None => told(error, Named::of(error, Asked { application, tenant, scope, grant: None })),
    }
}

/// Why another provider than Microsoft refused, by the classes of RFC 6749.
fn refused_by(error: &OauthError, provider: &Provider, request: &str) -> Failure {
    let title = &provider.title;
    let (cause, meaning) = match error.class {
        Class::GrantExpired | Class::SignInNeeded | Class::WrongPassword => {
            (Cause::SignInNeeded, "the sign-in has ended, or its consent was withdrawn")
        }
        Class::NotAllowed | Class::Locked => (Cause::AccountNotAllowed, "the account may not sign in"),
        Class::Administrator => (Cause::ProviderRefused, "it does not take this application, its secret or its scope"),
        Class::Temporary => (Cause::ProviderUnavailable, "a temporary fault"),
        // Mostly a missing secret, or a parameter that this server does not take.
        Class::Malformed => (Cause::ProviderRefused, "it does not take the request"),
        Class::Polling => (Cause::TokenRequestMalformed, "it did not understand the request"),
    };
    let said = error.sentence.as_ref().map_or(String::new(), |said| format!(" It says \"{said}\""));
    let failure =
        Failure::new(cause, format!("{title} refused the {request} with `{}`: {meaning}.{said}", error.error))
            .coded(error.error.clone());
    match error.class {
        Class::Administrator | Class::Malformed => failure.to_do(format!(
            "compare `client_id`, `client_secret` and `scope` of `providers.{}` with the console of {title}",
            provider.name
        )),
        _ => failure,
    }
}

/// Why there is no token, by the name of who gives none.
fn fetch_of(error: &FetchError, application: &Application, request: &str) -> Failure {
    let Some(provider) = application.issuer.provider() else { return fetch(error) };
    let Provider { title, name, .. } = &**provider;
    match error {
        FetchError::Busy { status, .. } => {
            Failure::new(Cause::ProviderUnavailable, format!("{title} answered with status `{status}`"))
        }
        FetchError::Paused { wait } => Failure::new(
            Cause::ProviderUnavailable,
            format!("{title} asked not to be asked, and is not asked {}", for_time(*wait)),
        ),
        FetchError::Suspended { wait } => Failure::new(
            Cause::ProviderUnavailable,
            format!("{title} did not answer lately, and is not asked {}", for_time(*wait)),
        ),
        FetchError::Unclear { status, why } => Failure::new(
            Cause::ProviderRefused,
            format!("the answer of {title} to the {request} (status `{status}`) cannot be used: {why}"),
        )
        // As with Entra, a portal or filter may have answered in its place, which passes.
        .answered(Refusal::Unavailable)
        .to_do(format!(
            "check the addresses of `providers.{name}`, and that no portal or filter answers in place of {title}"
        )),
        FetchError::Transport(error) => match (&error.connecting, error.fault) {
            (Some(failure), _) if failure.cause == Cause::EntraUnreachable => {
                Failure { cause: Cause::ProviderUnavailable, ..(**failure).clone() }
            }
            (
                None,
                TransportFault::Connect | TransportFault::Timeout | TransportFault::Broken | TransportFault::TooLong,
            ) => Failure::new(Cause::ProviderUnavailable, format!("{title} gave no answer: {}", error.detail)),
            _ => transport(error),
        },
        FetchError::Credential(error) => credential(error, title),
        other => fetch(other),
    }
}

/// Why there is no token, where the request is not known.
pub fn fetch(error: &FetchError) -> Failure {
    match error {
        FetchError::Refused(error) => told(error, None),
        FetchError::Busy { status, code } => {
            let code = code.map_or(String::new(), |code| format!(" and `AADSTS{code}`"));
            let cause = if *status == 429 { Cause::EntraThrottles } else { Cause::EntraUnavailable };
            Failure::new(cause, format!("Entra answered with status `{status}`{code}"))
        }
        FetchError::Unclear { status, why } => Failure::new(
            Cause::EntraAnswerUnclear,
            format!("the answer to the token request (status `{status}`) is not one of Entra's: {why}"),
        ),
        FetchError::WrongAudience(mismatch) => Failure::new(
            Cause::TokenForAnother,
            format!("Entra gave a token that is for something else, and it is not used: {mismatch}"),
        ),
        FetchError::Transport(error) => transport(error),
        FetchError::Paused { wait } => Failure::new(
            Cause::EntraThrottles,
            format!("Entra asked not to be asked, and is not asked {}", for_time(*wait)),
        ),
        FetchError::Suspended { wait } => Failure::new(
            Cause::EntraUnavailable,
            format!("Entra did not answer lately, and is not asked {}", for_time(*wait)),
        ),
        FetchError::Credential(error) => credential(error, "Entra"),
        FetchError::Identity(error) => identity(error),
        FetchError::NoDeviceCodes => {
            Failure::new(Cause::ProviderRefused, "the provider has no sign-in by device code (no `device_url`)")
        }
        FetchError::NoRevocation => {
            Failure::new(Cause::ProviderRefused, "the provider has no revocation endpoint (no `revoke_url`)")
        }
        FetchError::QueueFull | FetchError::NoTurn => {
            Failure::new(Cause::TokenQueueFull, "too many token requests are waiting")
        }
    }
}

/// The credential cannot be used. The password is not at fault, and a new file fixes it, so the
/// client is told to retry.
fn credential(error: &CredentialError, title: &str) -> Failure {
    let cause = match error {
        CredentialError::Expired { .. } | CredentialError::NotYetValid { .. } => Cause::ClientCertificateOutOfDate,
        CredentialError::Unreadable { .. }
        | CredentialError::Certificate { .. }
        | CredentialError::ServiceAccountKey { .. }
        | CredentialError::NoSecret { .. }
        | CredentialError::Slow => Cause::ClientCredentialUnusable,
        CredentialError::UnreadableToken { .. }
        | CredentialError::NoToken { .. }
        | CredentialError::StaleToken { .. } => Cause::FederatedTokenUnusable,
        CredentialError::NoRandomness | CredentialError::NoProof => Cause::InternalError,
    };
    Failure::new(cause, format!("the application cannot prove itself to {title}: {error}"))
        .answered(Refusal::Unavailable)
        .to_do(error.remedy())
}

fn identity(error: &IdentityError) -> Failure {
    match error {
        IdentityError::Unreachable(error) => Failure::new(
            Cause::ManagedIdentityUnreachable,
            format!("the endpoint for managed identities does not answer: {}", error.detail),
        ),
        IdentityError::Refused { status, error } => Failure::new(
            Cause::ManagedIdentityRefused,
            format!("Azure gives this identity no token (status `{status}`, `{error}`)"),
        ),
        IdentityError::Busy { status } => Failure::new(
            Cause::ManagedIdentityBusy,
            format!("the endpoint for managed identities answered with status `{status}`"),
        ),
        IdentityError::Unclear { status, why } => Failure::new(
            Cause::ManagedIdentityUnclear,
            format!(
                "the answer of the endpoint for managed identities (status `{status}`) is not one of Azure's: {why}"
            ),
        ),
        IdentityError::NoKey(why) => Failure::new(
            Cause::ManagedIdentityKey,
            format!("the endpoint for managed identities wants a key that Gatepost cannot read: {why}"),
        ),
    }
}

fn transport(error: &TransportError) -> Failure {
    if let Some(failure) = &error.connecting {
        return (**failure).clone();
    }
    let (cause, what) = match error.fault {
        TransportFault::Setup => (Cause::TokenClientUnusable, "token requests cannot be set up"),
        TransportFault::Connect => (Cause::EntraUnreachable, "cannot connect to Entra"),
        TransportFault::Certificate => {
            (Cause::EntraCertificateRefused, "the certificate of the token endpoint is not trusted")
        }
        TransportFault::ProxyAuthentication => (Cause::ProxyAuthentication, "the proxy rejected the credentials"),
        TransportFault::ProxyRefused | TransportFault::ProxyUnable => {
            (Cause::ProxyRefused, "the proxy refused the connection to Entra")
        }
        TransportFault::Timeout => (Cause::EntraSlow, "Entra did not answer in time"),
        TransportFault::Broken | TransportFault::TooLong => {
            (Cause::EntraAnswerUnclear, "the answer to the token request broke off or was not HTTP")
        }
    };
    Failure::new(cause, format!("{what}: {}", error.detail))
}

/// Explains a refusal, with names if there are any.
fn told(error: &OauthError, named: Option<Named>) -> Failure {
    let (cause, meaning) = match error.class {
        Class::WrongPassword => (Cause::WrongPassword, "the user name or the password is wrong"),
        Class::Locked => (Cause::AccountLocked, "the account is locked"),
        Class::NotAllowed => (Cause::AccountNotAllowed, "the account may not sign in"),
        Class::SignInNeeded | Class::GrantExpired => {
            (Cause::SignInNeeded, "the user must do something that a password alone cannot")
        }
        Class::Administrator => (Cause::EntraConfiguration, "the application or a policy does not allow the sign-in"),
        Class::Temporary => (Cause::EntraUnavailable, "a temporary fault"),
        Class::Malformed | Class::Polling => (Cause::TokenRequestMalformed, "it did not understand the request"),
    };
    // The table of codes is used only where it agrees with the class of the whole answer.
    let entry = error.code.and_then(aadsts::explain).filter(|entry| entry.class == error.class);
    let named = named.filter(|_| entry.is_some());
    let meaning = match (entry, &error.sentence) {
        _ if let Some(named) = &named => Cow::Borrowed(named.meaning.as_str()),
        (Some(entry), _) => Cow::Borrowed(entry.meaning),
        (None, Some(sentence)) => format!("Microsoft says \"{sentence}\"").into(),
        (None, None) => meaning.into(),
    };
    let name = error.code.map_or_else(|| format!("`{}`", error.error), |code| format!("`AADSTS{code}`"));
    let trace = error.trace_id.as_deref().map_or(String::new(), |id| format!(" (trace id `{id}`)"));
    let cause = named.as_ref().and_then(|named| named.cause).unwrap_or(cause);
    let failure = Failure::new(cause, format!("Entra refused the sign-in with {name}: {meaning}{trace}"))
        .coded(name.trim_matches('`'));
    let failure = match (entry, error.class) {
        _ if let Some(named) = named => failure.by(named.actor).to_do(named.remedy),
        (Some(entry), _) => failure.by(entry.actor).to_do(entry.remedy),
        // Without a code nobody knows whether a person's sign-in helps.
        (None, Class::SignInNeeded | Class::GrantExpired) => {
            failure.by(Actor::M365Admin).to_do("look up the sign-in in Entra's sign-in log")
        }
        (None, _) => failure,
    };
    match error.class {
        Class::WrongPassword | Class::Locked => failure.delayed(),
        _ => failure,
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
    use crate::fake::provider_application;
    use gatepost_config::ClientAuthentication;
    use gatepost_core::clock::UnixTime;

    fn of(class: Class, code: Option<u32>) -> Failure {
        fetch(&FetchError::Refused(OauthError {
            class,
            error: "invalid_grant".into(),
            code,
            sentence: Some("Ask the stars".into()),
            trace_id: Some("t-1".into()),
            presented: None,
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
        let transport = |fault| FetchError::Transport(TransportError::new(fault, "x"));
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
             (trace id `t-1`). Microsoft 365 admin: create a new one and set `client_secret` or `client_certificate`."
        );
        // A code that is known for something else explains nothing.
        assert!(!of(Class::SignInNeeded, Some(50126)).message.contains("wrong"));
        assert!(of(Class::SignInNeeded, None).message.contains("`invalid_grant`"));
        assert_eq!(
            of(Class::Administrator, Some(999_999)).message,
            "Entra refused the sign-in with `AADSTS999999`: Microsoft says \"Ask the stars\" (trace id `t-1`)"
        );
    }

    #[test]
    fn a_wait_is_told_in_the_unit_that_a_person_would_use() {
        for (seconds, told) in [
            (0, "for a moment"),
            (1, "for a moment"),
            (2, "for 2 s"),
            (119, "for 119 s"),
            (120, "for 2 min"),
            (121, "for 3 min"),
        ] {
            assert_eq!(for_time(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn a_provider_is_named_instead_of_entra_and_faults_on_the_way_stay_what_they_are() {
        let application = provider_application(ClientAuthentication::Post, &[]);
        let connecting = |cause| {
            let failure = Failure::new(cause, "no way there");
            let error = TransportError {
                connecting: Some(Box::new(failure)),
                ..TransportError::new(TransportFault::Connect, "no way there")
            };
            of_application(&FetchError::Transport(error), &application, "", "mail").cause
        };
        assert_eq!(connecting(Cause::EntraUnreachable), Cause::ProviderUnavailable);
        assert_eq!(connecting(Cause::ProxyUnreachable), Cause::ProxyUnreachable);
        let refused = FetchError::Refused(OauthError {
            class: Class::Administrator,
            error: "invalid_client".into(),
            code: None,
            sentence: None,
            trace_id: None,
            presented: None,
        });
        let failure = revocation(&refused, &application);
        assert_eq!(failure.cause, Cause::ProviderRefused);
        let start = format!("plain refused the {REVOCATION_REQUEST} with `invalid_client`");
        assert!(failure.message.starts_with(&start), "{failure}");
    }
}
