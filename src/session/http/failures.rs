//! Failures between a client's request and Microsoft's answer, as one [`Failure`] each.

use hyper::Response;
use hyper::body::Incoming;

use gatepost_config::{Http, Origin};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_oauth::tokens::explain::JUST_GRANTED;
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::sasl::CredentialsError;

fn failure(refusal: Refusal, actor: Actor, cause: Cause, message: String, remedy: String) -> Failure {
    Failure { refusal, actor, cause, message, remedy: remedy.into(), delay: false }
}

pub(super) fn plaintext() -> Failure {
    failure(
        Refusal::InvalidCredentials,
        Actor::Client,
        Cause::PlaintextLogin,
        "a login came without TLS from a network that needs it; the password has been readable on the wire".to_owned(),
        "use `https` in the program and change the password, or list the network in `allow_plaintext_from`".to_owned(),
    )
}

pub(super) fn unusable(flaw: &CredentialsError) -> Failure {
    let (cause, remedy) = match flaw {
        CredentialsError::Name(_) => (
            Cause::BadName,
            "set the full mail address, or an alias from `accounts`, as the user name, without a domain in front",
        ),
        _ => (Cause::BadPassword, "set the password of the account"),
    };
    let message = format!("the credentials cannot be any: {flaw}");
    Failure { delay: true, ..failure(Refusal::InvalidCredentials, Actor::Client, cause, message, remedy.to_owned()) }
}

/// In EWS, a user's token opens that user's mailbox and not the one that the login is for.
pub(super) fn other_mailbox(person: &MailAddress, mailbox: &MailAddress) -> Failure {
    failure(
        Refusal::NotAuthorized,
        Actor::Operator,
        Cause::EwsOtherMailbox,
        format!("EWS would open the mailbox of `{person}`, whose token it is, and not `{mailbox}`"),
        "serve this mailbox over `protocol: graph`, IMAP or POP3, or with `grant: client_credentials`".to_owned(),
    )
}

/// The origin answered 401 to a token that was just fetched or just replaced.
pub(super) fn token_refused(response: &Response<Incoming>, config: &Http) -> Failure {
    let at = &config.origin;
    // `2000008;reason="…"`: the number is Microsoft's code.
    let diagnostics = response.headers().get("x-ms-diagnostics").and_then(|value| value.to_str().ok());
    let code: String = diagnostics.unwrap_or_default().chars().take_while(char::is_ascii_digit).take(10).collect();
    let code = if code.is_empty() { String::new() } else { format!(" (`{code}`)") };
    let permission = match config.service {
        HttpService::Ews => "`EWS.AccessAsUser.All` (app-only: `full_access_as_app`) of Exchange Online",
        HttpService::Graph => "`Mail.ReadWrite` and `Mail.Send` of Microsoft Graph, or what the program needs",
    };
    failure(
        Refusal::ContactAdmin,
        Actor::TenantAdministrator,
        Cause::TokenRefused,
        format!("{at} did not accept the access token{code}"),
        format!(
            "check that the application has the permission {permission}, with consent, and that `scope` is not set for another \
             service. {JUST_GRANTED}"
        ),
    )
}

pub(super) fn ews_barred(origin: &Origin) -> Failure {
    failure(
        Refusal::Unavailable,
        Actor::TenantAdministrator,
        Cause::EwsBarred,
        format!("{origin} answered 403: EWS is switched off for the organization or mailbox, or barred for this application"),
        "set `EwsEnabled` (Set-OrganizationConfig, Set-CASMailbox) and add the application's id to `EwsAllowedAppIDs` as long \
         as Microsoft still allows that: EWS ends on 1 April 2027; move to `protocol: graph`, IMAP or POP3"
            .to_owned(),
    )
}

pub(super) fn redirected(origin: &Origin) -> Failure {
    failure(
        Refusal::Unavailable,
        Actor::Network,
        Cause::Redirected,
        format!("{origin} redirects to another server, which is not followed: the token is for {origin} only"),
        "check that `upstream` is Microsoft's server, and that no device on the way answers in its place".to_owned(),
    )
}

pub(super) fn no_ews(origin: &Origin) -> Failure {
    failure(
        Refusal::Unavailable,
        Actor::Network,
        Cause::UpstreamGarbage,
        format!("{origin} answered with something else than XML, as EWS does not"),
        "check that `upstream` is Microsoft's server, and that no device on the way answers in its place".to_owned(),
    )
}
