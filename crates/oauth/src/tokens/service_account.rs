//! Why a provider gives a service account no token for a mailbox (Google, "Using OAuth 2.0 for
//! Server to Server Applications", JWT error codes).

use crate::aadsts::Class;
use crate::fetch_error::NOT_SHORT_LIVED;
use crate::grant::TokenRequest;
use crate::presented::Presented;
use crate::response::OauthError;
use gatepost_config::Provider;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Failure, Refusal};

/// Where an administrator of a domain delegates to a service account.
const DELEGATION: &str = "Security > Access and data control > API controls > Domain-wide delegation";

/// Where the keys of a service account are.
const KEYS: &str = "Google Cloud console > IAM & Admin > Service accounts > Keys";

/// What a refusal says, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    NotDelegated,
    UnknownMailbox,
    UnknownKey,
    WrongTime,
    NoServiceAccount,
    UnknownScope,
    Other,
}

impl Verdict {
    fn of(error: &OauthError) -> Self {
        let says = |words: &str| error.sentence.as_deref().is_some_and(|sentence| sentence.starts_with(words));
        match error.error.as_str() {
            "unauthorized_client" | "access_denied" => Self::NotDelegated,
            "invalid_grant" if says("Invalid email or User ID") || says("Not a valid email") => Self::UnknownMailbox,
            "invalid_grant" if says("Invalid JWT Signature") => Self::UnknownKey,
            "invalid_grant" if says(NOT_SHORT_LIVED) => Self::WrongTime,
            "invalid_grant" if says("Invalid grant: account not found") => Self::NoServiceAccount,
            "invalid_client" | "deleted_client" | "disabled_client" => Self::NoServiceAccount,
            "invalid_scope" => Self::UnknownScope,
            _ => Self::Other,
        }
    }
}

/// Why there is no token for `mailbox`. `None`: as for any other request.
pub(super) fn refused(
    error: &OauthError,
    ask: &TokenRequest,
    provider: &Provider,
    mailbox: &MailAddress,
) -> Option<Failure> {
    if matches!(error.class, Class::Temporary | Class::Malformed | Class::Polling) {
        return None;
    }
    let (name, title, scope, email) = (&provider.name, &provider.title, &ask.scope, &ask.application.client_id);
    let (path, key, client_id) = match error.presented.as_deref() {
        Some(Presented::ServiceAccountKey { path, key_id, client_id }) => {
            (format!("`{}`", path.display()), format!("key `{key_id}`"), client_id.as_str())
        }
        _ => ("the file of `service_account_key`".to_owned(), "key".to_owned(), "of the service account"),
    };
    let said = error.sentence.as_ref().map_or(String::new(), |said| format!(". It says \"{said}\""));
    let (cause, meaning, remedy) = match Verdict::of(error) {
        Verdict::NotDelegated => (
            Cause::ProviderRefused,
            format!(
                "the administrator of `{}` has not delegated `{scope}` to service account `{email}`",
                mailbox.domain()
            ),
            format!(
                "let an administrator of Google Workspace open the Admin console ({DELEGATION}), and add client ID \
                 {client_id} with scope {scope}. It takes up to 24 hours to work"
            ),
        ),
        Verdict::UnknownMailbox => (
            Cause::NoMailbox,
            format!("there is no user `{mailbox}`"),
            "correct `login` or `mailbox` of the account to the user's primary address, or create the user in the \
             Admin console of Google Workspace"
                .to_owned(),
        ),
        Verdict::UnknownKey => (
            Cause::ProviderRefused,
            format!("the {key} (in {path}) of service account `{email}` is deleted, disabled or expired"),
            format!("create a key ({KEYS}), and replace {path} by its file. Gatepost reads it again by itself"),
        ),
        Verdict::WrongTime => (
            Cause::ProviderRefused,
            "the time in the request is wrong there".to_owned(),
            "let a time service set the clock of this machine".to_owned(),
        ),
        Verdict::NoServiceAccount => (
            Cause::ProviderRefused,
            format!("service account `{email}` or its project is deleted or disabled"),
            format!(
                "enable it in the Google Cloud console, or create another one with a key ({KEYS}), and replace {path}"
            ),
        ),
        Verdict::UnknownScope => (
            Cause::ProviderRefused,
            format!("it does not know the scope `{scope}`"),
            format!("remove `scope` of the account and of `providers.{name}`"),
        ),
        Verdict::Other => (
            Cause::ProviderRefused,
            format!("service account `{email}` may not act for the mailbox{said}"),
            format!("compare `service_account_key` and `scope` of `providers.{name}` with the console of {title}"),
        ),
    };
    let what = format!("{title} refused the token request for `{mailbox}` with `{}`: {meaning}", error.error);
    let failure = Failure::new(cause, what).coded(error.error.clone());
    // The mailbox's own administrator acts in Google's consoles.
    let failure = failure.by(Cause::ProviderRefused.row().actor).to_do(remedy);
    Some(match Verdict::of(error) {
        Verdict::WrongTime => failure.answered(Refusal::Unavailable),
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fake::provider;
    use crate::fetch_error::FetchError;
    use crate::grant::GrantRequest;
    use crate::response::{Dialect, NotGranted, parse};
    use crate::tokens::explain;
    use gatepost_config::{Application, ClientAuthentication, Credential, Issuer};

    fn told(status: u16, error: &str, description: &str) -> Failure {
        let provider = Provider { title: "Google".to_owned(), ..provider(ClientAuthentication::Post) };
        let ask = TokenRequest {
            application: Arc::new(Application {
                issuer: Issuer::Provider(Arc::new(provider)),
                client_id: "s@p.iam.gserviceaccount.com".into(),
                credential: Arc::new(Credential::ServiceAccountKey("key.json".into())),
            }),
            tenant: "".into(),
            scope: "https://mail.google.com/".into(),
            grant: GrantRequest::ServiceAccount { mailbox: MailAddress::parse("anna@contoso.com").unwrap() },
        };
        let body = serde_json::json!({"error": error, "error_description": description}).to_string();
        let Err(NotGranted::Refused(mut refused)) = parse(status, body.as_bytes(), Dialect::RFC_6749) else { panic!() };
        refused.presented = Some(Box::new(Presented::ServiceAccountKey {
            path: "key.json".into(),
            key_id: "k1".into(),
            client_id: "1122".into(),
        }));
        explain::of(&FetchError::Refused(refused), &ask)
    }

    #[test]
    fn a_missing_delegation_says_what_to_add_and_where() {
        for (status, error, description) in [
            (
                401,
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any \
                 of the scopes requested.",
            ),
            (403, "access_denied", "Requested client not authorized."),
        ] {
            let failure = told(status, error, description);
            assert_eq!(
                failure.to_string(),
                format!(
                    "Google refused the token request for `anna@contoso.com` with `{error}`: the administrator of \
                     `contoso.com` has not delegated `https://mail.google.com/` to service account \
                     `s@p.iam.gserviceaccount.com`. Gatepost admin: let an administrator of Google Workspace open the \
                     Admin console (Security > Access and data control > API controls > Domain-wide delegation), and \
                     add client ID 1122 with scope https://mail.google.com/. It takes up to 24 hours to work."
                )
            );
            assert_eq!((failure.cause, failure.refusal), (Cause::ProviderRefused, Refusal::ContactAdmin));
            assert_eq!(failure.code.as_deref(), Some(error));
        }
    }

    #[test]
    fn each_refusal_of_an_assertion_is_told_apart() {
        for (error, description, cause, refusal, words) in [
            (
                "invalid_grant",
                "Invalid email or User ID",
                Cause::NoMailbox,
                Refusal::ContactAdmin,
                "there is no user `anna@contoso.com`",
            ),
            (
                "invalid_grant",
                "Invalid JWT Signature.",
                Cause::ProviderRefused,
                Refusal::ContactAdmin,
                "the key `k1` (in `key.json`) of service account `s@p.iam.gserviceaccount.com` is deleted",
            ),
            (
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
                Cause::ProviderRefused,
                Refusal::Unavailable,
                "set the clock",
            ),
            (
                "invalid_grant",
                "Invalid grant: account not found",
                Cause::ProviderRefused,
                Refusal::ContactAdmin,
                "service account `s@p.iam.gserviceaccount.com` or its project is deleted",
            ),
            (
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
                Cause::ProviderRefused,
                Refusal::ContactAdmin,
                "it does not know the scope",
            ),
            ("invalid_grant", "Ask the stars", Cause::ProviderRefused, Refusal::ContactAdmin, "\"Ask the stars\""),
            ("internal_failure", "Backend Error", Cause::ProviderUnavailable, Refusal::Unavailable, "temporary"),
        ] {
            let failure = told(400, error, description);
            assert_eq!((failure.cause, failure.refusal), (cause, refusal), "{failure}");
            assert!(failure.to_string().contains(words), "{failure}");
            assert!(!failure.message.contains("sign-in"), "nobody signs in: {failure}");
        }
    }

    #[test]
    fn a_service_account_that_is_gone_is_told_by_each_of_its_errors() {
        for error in ["invalid_client", "deleted_client", "disabled_client"] {
            let failure = told(401, error, "The OAuth client was not found.");
            assert!(failure.message.contains("or its project is deleted or disabled"), "{failure}");
            assert!(failure.remedy.contains("enable it in the Google Cloud console"), "{failure}");
        }
    }
}
