//! Refusals of Entra that are explained with the names the reader needs: the application, its
//! tenant and credential, the permissions that were asked for, and the user.

use std::path::Path;

use crate::entra::consent_url;
use crate::grant::{GrantRequest, TokenRequest};
use crate::presented::Presented;
use crate::response::OauthError;
use gatepost_config::Application;
use gatepost_core::cause::Cause;
use gatepost_core::clock::{UnixTime, since_1970};
use gatepost_core::failure::Actor;

/// Where the portal keeps the credentials of an application.
const CREDENTIALS: &str = "Entra admin center > App registrations > Certificates & secrets";

/// An explanation, in place of the one that the table of codes has for everybody.
pub(super) struct Named {
    /// Another cause than that of the class.
    pub(super) cause: Option<Cause>,
    pub(super) actor: Actor,
    /// What happened, one clause.
    pub(super) meaning: String,
    /// An imperative in lower case without full stop.
    pub(super) remedy: String,
}

/// What was asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) application: &'a Application,
    pub(super) tenant: &'a str,
    pub(super) scope: &'a str,
    /// `None`: before there is one, such as at the endpoint for device codes.
    pub(super) grant: Option<&'a GrantRequest>,
}

impl<'a> From<&'a TokenRequest> for Asked<'a> {
    fn from(ask: &'a TokenRequest) -> Self {
        let TokenRequest { application, tenant, scope, grant } = ask;
        Self { application, tenant, scope, grant: Some(grant) }
    }
}

impl Named {
    fn new(actor: Actor, meaning: String, remedy: String) -> Self {
        Self { cause: None, actor, meaning, remedy }
    }

    /// Explains the code of `error`, where names make a difference.
    pub(super) fn of(error: &OauthError, ask: Asked<'_>) -> Option<Self> {
        let Asked { application, tenant, scope, grant } = ask;
        let entra = application.issuer.entra()?;
        let consent_url = || consent_url(entra, &application.client_id, tenant);
        let id = &application.client_id;
        Some(match error.code? {
            7_000_215 => Self::new(
                Actor::GatepostAdmin,
                format!("the client secret of application `{id}` is wrong"),
                "set `client_secret` to the secret's value, not its ID".to_owned(),
            ),
            7_000_222 | 1_000_502
                if let Some(Presented::Certificate { path, thumbprint, not_after }) = error.presented.as_deref()
                    && not_after.0 >= since_1970().as_secs() =>
            {
                not_valid(id, path, thumbprint)
            }
            7_000_222 => expired(id, error.presented.as_deref()),
            1_000_502 => expired(id, Some(error.presented.as_deref()?)),
            50012 | 700_027 => unknown_certificate(id, error.presented.as_deref()?)?,
            65001 | 90094 | 90095 => {
                let permissions = permissions(scope);
                let wanted = if permissions.is_empty() { "its permissions".to_owned() } else { permissions.join(", ") };
                let consent = consent_url();
                Self::new(
                    Actor::M365Admin,
                    format!("nobody has consented to {wanted} for application `{id}`"),
                    format!("grant consent: {consent}"),
                )
            }
            70001 | 700_011 | 700_016 => Self::new(
                Actor::GatepostAdmin,
                format!("application `{id}` does not exist in tenant `{tenant}`"),
                "correct `client_id` or `tenant`. If both are right, set `cloud` to the tenant's cloud".to_owned(),
            ),
            7_000_229 => Self::new(
                Actor::M365Admin,
                format!("application `{id}` has no service principal in tenant `{tenant}`"),
                format!("run `az ad sp create --id {id}`, then grant consent: {}", consent_url()),
            ),
            90002 | 50128 => Self::new(
                Actor::GatepostAdmin,
                format!("tenant `{tenant}` does not exist in this cloud"),
                "correct `tenant`, or set `cloud` to the tenant's cloud".to_owned(),
            ),
            code @ (50055 | 50144 | 50135 | 50142) => {
                let user = user(grant?)?;
                let (meaning, place) = match code {
                    50144 => ("has expired in the on-premises directory", "in that directory"),
                    50055 => ("has expired", "in Entra"),
                    _ => ("must be changed, because of a risk or a policy", "in Entra"),
                };
                Self {
                    cause: Some(Cause::EntraPasswordExpired),
                    ..Self::new(
                        Actor::M365Admin,
                        format!("the password of `{user}` {meaning}"),
                        format!(
                            "change the password of {user} {place}, and enter the new one in the client. For a device, \
                             let the password never expire"
                        ),
                    )
                }
            }
            code @ (50072 | 50074 | 50076 | 50078 | 50079 | 50158) => {
                let GrantRequest::Password { username, .. } = grant? else { return None };
                let must = if matches!(code, 50072 | 50079) { "must enroll in" } else { "must use" };
                Self::new(
                    Actor::GatepostAdmin,
                    format!("`{username}` {must} multifactor authentication, which a password alone cannot do"),
                    format!(
                        "set `grant: authorization_code` or `grant: device_code` for the account, then run `gatepost \
                         login {username}`"
                    ),
                )
            }
            code => return Self::of_user(code, user(grant?)?, tenant),
        })
    }

    /// Explains a code for which only `user` and `tenant` make a difference, also when a refusal is
    /// answered from memory.
    pub(super) fn of_user(code: u32, user: &str, tenant: &str) -> Option<Self> {
        let unknown = || {
            Self::new(
                Actor::ClientOwner,
                format!("user `{user}` does not exist in tenant `{tenant}`"),
                "correct the user name in the client".to_owned(),
            )
        };
        (code == 50034).then(unknown)
    }
}

/// The secret or certificate has expired: which, and when, as far as that is known.
fn expired(id: &str, presented: Option<&Presented>) -> Named {
    let since = |at: Option<UnixTime>| at.map_or("has expired".to_owned(), |at| format!("expired on {}", at.rfc3339()));
    let (meaning, remedy) = match presented {
        Some(Presented::Certificate { path, thumbprint, not_after }) => (
            format!(
                "the certificate `{thumbprint}` (`{}`) of application `{id}` {}",
                path.display(),
                since(Some(*not_after))
            ),
            format!(
                "create a certificate, upload it to application {id} ({CREDENTIALS}), and replace `{}`",
                path.display()
            ),
        ),
        Some(Presented::Secret { file, expires }) => (
            format!("the client secret of application `{id}` {}", since(*expires)),
            format!(
                "create a secret for application {id} ({CREDENTIALS}), and write its value to {}",
                place(file.as_deref())
            ),
        ),
        // Entra knows no service accounts.
        Some(Presented::ServiceAccountKey { .. }) | None => (
            format!("the client secret or certificate of application `{id}` has expired"),
            format!("create a new one ({CREDENTIALS}), and set `client_secret` or `client_certificate`"),
        ),
    };
    Named::new(Actor::M365Admin, meaning, remedy)
}

/// Entra takes a certificate for out of date that is not, or not yet, past its end here.
fn not_valid(id: &str, path: &Path, thumbprint: &str) -> Named {
    let file = path.display();
    Named::new(
        Actor::GatepostAdmin,
        format!("the certificate `{thumbprint}` (`{file}`) of application `{id}` is not valid at Entra's time"),
        format!("check the clock of this machine and the dates of the certificate in `{file}`"),
    )
}

fn place(file: Option<&Path>) -> String {
    file.map_or("`client_secret`".to_owned(), |file| format!("`{}`", file.display()))
}

/// Entra does not know the certificate that signed the assertion.
fn unknown_certificate(id: &str, presented: &Presented) -> Option<Named> {
    let Presented::Certificate { path, thumbprint, .. } = presented else { return None };
    let file = path.display();
    Some(Named::new(
        Actor::M365Admin,
        format!("application `{id}` has no certificate `{thumbprint}` (`{file}`)"),
        format!("upload {file} to application {id} ({CREDENTIALS}). The portal then shows thumbprint {thumbprint}"),
    ))
}

/// Who the request was for.
fn user(grant: &GrantRequest) -> Option<&str> {
    match grant {
        GrantRequest::Password { username, .. } => Some(username.as_str()),
        GrantRequest::RefreshToken { login, .. } => Some(login.as_str()),
        GrantRequest::ServiceAccount { mailbox } => Some(mailbox.as_str()),
        GrantRequest::ClientCredentials | GrantRequest::AuthorizationCode(_) | GrantRequest::DeviceCode(_) => None,
    }
}

/// The names of the permissions in a scope; none where it asks for all that were consented to.
fn permissions(scope: &str) -> Vec<&str> {
    let names = scope.split(' ').filter_map(|scope| scope.rsplit_once('/').map(|(_, name)| name));
    names.filter(|name| *name != ".default" && name.contains('.')).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::aadsts::{self, Class};
    use crate::fetch_error::FetchError;
    use crate::tokens::explain;
    use gatepost_config::Cloud;
    use gatepost_core::account::MailAddress;
    use gatepost_core::failure::Failure;
    use gatepost_core::secret::Password;

    const ID: &str = "c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36";

    fn ask(grant: GrantRequest, scope: &str) -> TokenRequest {
        TokenRequest {
            application: Arc::new(Application {
                issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                    authority: Url::parse("https://login.microsoftonline.com/").unwrap(),
                    tenant: "contoso.com".into(),
                    cloud: Cloud::Worldwide,
                }),
                client_id: ID.into(),
                credential: Arc::default(),
            }),
            tenant: "contoso.com".into(),
            scope: scope.into(),
            grant,
        }
    }

    fn by_password() -> GrantRequest {
        let username = MailAddress::parse("alice@contoso.com").unwrap();
        GrantRequest::Password { username, password: Arc::new(Password::new("secret".into())) }
    }

    fn told(code: u32, presented: Option<Presented>, ask: &TokenRequest) -> Failure {
        let error = OauthError {
            class: aadsts::explain(code).map_or(Class::Administrator, |entry| entry.class),
            error: "invalid_client".into(),
            code: Some(code),
            sentence: Some("Ask the stars".into()),
            trace_id: Some("t-1".into()),
            presented: presented.map(Box::new),
        };
        explain::of(&FetchError::Refused(error), ask)
    }

    fn app_only() -> TokenRequest {
        ask(GrantRequest::ClientCredentials, "https://outlook.office365.com/.default")
    }

    #[test]
    fn an_expired_credential_says_which_and_since_when() {
        let secret = Presented::Secret { file: Some("/run/secret".into()), expires: Some(UnixTime(1_795_305_600)) };
        let failure = told(7_000_222, Some(secret), &app_only());
        assert_eq!(
            failure.message,
            format!(
                "Entra refused the sign-in with `AADSTS7000222`: the client secret of application `{ID}` expired on \
                 2026-11-22T00:00:00Z (trace id `t-1`)"
            )
        );
        assert!(failure.remedy.contains("`/run/secret`"), "{failure}");
        let certificate =
            Presented::Certificate { path: "app.pem".into(), thumbprint: "A1B2".into(), not_after: UnixTime(0) };
        let failure = told(7_000_222, Some(certificate), &app_only());
        assert!(failure.message.contains("certificate `A1B2` (`app.pem`)"), "{failure}");
        assert!(failure.message.contains("expired on 1970-01-01T00:00:00Z"), "{failure}");
    }

    #[test]
    fn a_certificate_that_has_not_ended_here_leads_to_the_clock() {
        let certificate =
            Presented::Certificate { path: "app.pem".into(), thumbprint: "A1B2".into(), not_after: UnixTime(u64::MAX) };
        let failure = told(1_000_502, Some(certificate), &app_only());
        assert!(failure.message.contains("is not valid at Entra's time"), "{failure}");
        assert!(!failure.message.contains("expired"), "{failure}");
        assert_eq!(failure.remedy, "check the clock of this machine and the dates of the certificate in `app.pem`");
        let unknown = told(1_000_502, None, &app_only());
        assert!(!unknown.message.contains("secret") && unknown.remedy.contains("clock"), "{unknown}");
    }

    #[test]
    fn a_code_with_names_does_not_outweigh_the_class_of_the_answer() {
        let ask = ask(by_password(), "x");
        let error = OauthError {
            class: aadsts::classify("server_error", None, &[50055]),
            error: "server_error".into(),
            code: Some(50055),
            sentence: None,
            trace_id: None,
            presented: None,
        };
        let failure = explain::of(&FetchError::Refused(error), &ask);
        assert_eq!(failure.cause, Cause::EntraUnavailable, "{failure}");
        assert!(!failure.message.contains("expired") && !failure.remedy.contains("change"), "{failure}");
    }

    #[test]
    fn a_refusal_that_is_repeated_keeps_its_code() {
        let login = MailAddress::parse("alice@contoso.com").unwrap();
        let failure = explain::refused_before(Some(50034), "alice@contoso.com", "contoso.com");
        assert_eq!(failure.code.as_deref(), Some("AADSTS50034"));
        assert_eq!(explain::refused_before(None, "alice@contoso.com", "contoso.com").code, None);
        let error = OauthError {
            class: Class::GrantExpired,
            error: "invalid_grant".into(),
            code: Some(50173),
            sentence: None,
            trace_id: None,
            presented: None,
        };
        let failure = explain::refresh(&FetchError::Refused(error), &login, &ask(by_password(), "x"));
        assert_eq!((failure.cause, failure.code.as_deref()), (Cause::SignInNeeded, Some("AADSTS50173")));
    }

    #[test]
    fn a_certificate_that_was_not_uploaded_is_named_as_the_portal_shows_it() {
        let certificate =
            Presented::Certificate { path: "app.pem".into(), thumbprint: "A1B2C3".into(), not_after: UnixTime(0) };
        let failure = told(700_027, Some(certificate), &app_only());
        assert!(failure.message.contains(&format!("application `{ID}` has no certificate `A1B2C3` (`app.pem`)")));
        assert!(failure.remedy.starts_with(&format!("upload app.pem to application {ID}")), "{failure}");
        assert!(failure.remedy.ends_with("The portal then shows thumbprint A1B2C3"), "{failure}");
    }

    #[test]
    fn missing_consent_names_the_permissions_and_the_address_to_grant_it() {
        let scope =
            "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All offline_access";
        let failure = told(65001, None, &ask(by_password(), scope));
        assert!(failure.message.contains("nobody has consented to SMTP.Send, IMAP.AccessAsUser.All for"), "{failure}");
        let consent = format!("https://login.microsoftonline.com/contoso.com/adminconsent?client_id={ID}");
        assert_eq!(failure.remedy, format!("grant consent: {consent}"));
        let everything = told(65001, None, &app_only());
        assert!(everything.message.contains("consented to its permissions for"), "{everything}");
    }

    #[test]
    fn an_expired_password_is_a_cause_of_its_own() {
        for (code, words) in [(50055, "has expired"), (50144, "on-premises"), (50135, "must be changed")] {
            let failure = told(code, None, &ask(by_password(), "x"));
            assert_eq!((failure.cause.name(), failure.actor), ("entra-password-expired", Actor::M365Admin), "{code}");
            assert!(failure.message.contains("`alice@contoso.com`") && failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn a_second_factor_leads_to_a_grant_that_has_one() {
        for code in [50072, 50074, 50076, 50079] {
            let failure = told(code, None, &ask(by_password(), "x"));
            assert_eq!(failure.actor, Actor::GatepostAdmin, "{code}");
            for words in ["`grant: authorization_code`", "`grant: device_code`", "`gatepost login alice@contoso.com`"] {
                assert!(failure.remedy.contains(words), "{failure}");
            }
        }
    }

    #[test]
    fn names_stand_where_they_are_known() {
        for (code, words) in [
            (700_016, "application `c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36` does not exist in tenant `contoso.com`"),
            (7_000_229, "has no service principal in tenant `contoso.com`"),
            (90002, "tenant `contoso.com` does not exist"),
            (50034, "user `alice@contoso.com` does not exist in tenant `contoso.com`"),
            (7_000_215, "the client secret of application `c41a6e5d-"),
        ] {
            let failure = told(code, None, &ask(by_password(), "x"));
            assert!(failure.message.contains(words), "{failure}");
            assert!(!failure.remedy.contains(';') && !failure.remedy.ends_with('.'), "{failure}");
        }
        // What nobody has words for is said in Microsoft's own.
        let unknown = told(999_999, None, &app_only());
        assert!(unknown.message.contains("Microsoft says \"Ask the stars\" (trace id `t-1`)"), "{unknown}");
    }
}
