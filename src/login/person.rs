//! Checks who signed in for an account, and defines what is kept of a sign-in.

use gatepost_config::{Account, Tenant};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};
use gatepost_oauth::sign_in::id_token::{IdTokenProblem, Identity};
use gatepost_oauth::sign_in::{Purpose, SignInError, SignedIn};
use gatepost_oauth::tokens::explain;
use gatepost_store::SignIn;

/// Why a sign-in is not valid for an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongPerson {
    /// A person of another name signed in.
    #[error(
        "`{found}` signed in, but `{login}` needs `{expected}`. Sign in as that user in a private window, or set \
         `signs_in_as: {found}` if `{found}` may open the mailbox"
    )]
    Name {
        /// The name of the person who signed in.
        found: String,
        /// The person expected.
        expected: MailAddress,
        /// The account's address.
        login: MailAddress,
    },
    /// The name is the same, but the person is not.
    #[error(
        "`{found}` is not who signed in for `{login}` before: the name has passed to another user (object id \
         `{object_id}` \
         instead of `{before}`). If this is intended, use `--replace`"
    )]
    Replaced {
        /// The name.
        found: String,
        /// The account's address.
        login: MailAddress,
        /// The object ID of this sign-in.
        object_id: String,
        /// The object ID of the sign-in before.
        before: String,
    },
}

/// Checks that the person who signed in is the expected one and, unless `replace`, the same as
/// before.
///
/// # Errors
/// [`WrongPerson`]; nothing may be kept then.
pub(crate) fn check(
    account: &Account,
    login: &MailAddress,
    identity: &Identity,
    before: Option<&SignIn>,
    replace: bool,
) -> Result<(), WrongPerson> {
    let expected = account.person(login);
    // In other tenants, and in none, anybody may have any address.
    let own_tenant = account
        .application
        .issuer
        .entra()
        .is_some_and(|entra| matches!(entra.tenant, Tenant::Named(_) | Tenant::OfLogin));
    let found = identity.username().to_owned();
    if !identity.is_called(expected, own_tenant) {
        return Err(WrongPerson::Name { found, expected: expected.clone(), login: login.clone() });
    }
    match before {
        Some(before)
            if !replace && (before.tenant_id != identity.tenant_id || before.object_id != identity.object_id) =>
        {
            Err(WrongPerson::Replaced {
                found,
                login: login.clone(),
                object_id: identity.object_id.clone(),
                before: before.object_id.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Returns what is kept of a sign-in that passed [`check`].
/// If the provider does not say who it was, it is taken to be `expected`: its mail server refuses the
/// token of another.
pub(crate) fn record(signed_in: SignedIn, expected: &MailAddress, scope: &str, now: UnixTime) -> SignIn {
    let SignedIn { refresh_token, identity } = signed_in;
    let (username, tenant_id, object_id) = match identity {
        Some(identity) => (identity.username().to_owned(), identity.tenant_id, identity.object_id),
        None => (expected.to_string(), String::new(), String::new()),
    };
    SignIn {
        refresh_token,
        username,
        tenant_id,
        object_id,
        scope: scope.to_owned(),
        signed_in_at: now,
        rotated_at: now,
        refused: None,
    }
}

/// Explains a sign-in that failed.
pub(crate) fn explain(error: &SignInError, purpose: &Purpose) -> Failure {
    let Purpose { application, tenant, scope } = purpose;
    match error {
        // Entra names a declined sign-in by a code of its own.
        SignInError::Refused(refused)
            if refused.error == "access_denied" && application.issuer.provider().is_some() =>
        {
            Failure::new(Cause::SignInDeclined, "the sign-in was declined in the browser")
        }
        SignInError::Refused(refused) => explain::refused(refused, application, tenant, scope),
        SignInError::Fetch(error) => explain::of_application(error, application, tenant, scope),
        SignInError::NoRandomness => explain::own_fault(),
        SignInError::NoBrowser => Failure::new(
            Cause::ProviderRefused,
            "the provider has no sign-in in a browser on this machine (no `authorize_url`)",
        )
        .to_do("use `grant: device_code` for the account"),
        SignInError::Declined => Failure::new(Cause::SignInDeclined, "the sign-in was declined in the browser"),
        SignInError::Expired => Failure::new(Cause::SignInExpired, "nobody signed in before the time was over"),
        SignInError::NotGranted(missing) => {
            let (title, scopes) = (application.issuer.title(), missing.join("` and `"));
            let message =
                format!("{title} did not grant the scope `{scopes}`, which Gatepost needs to open the mailbox");
            let failure = Failure::new(Cause::PermissionMissing, message).by(Actor::GatepostAdmin);
            let of =
                application.issuer.provider().map_or("microsoft".to_owned(), |of| format!("providers.{}", of.name));
            failure.to_do(format!(
                "sign in again, and allow everything on the consent page. If it stays so, correct `scope` of `{of}`"
            ))
        }
        SignInError::NoRefreshToken => {
            let title = application.issuer.title();
            let message = format!("{title} gave no refresh token, so the sign-in would end within an hour");
            let failure = Failure::new(Cause::NoRefreshToken, message);
            match application.issuer.provider() {
                Some(provider) => failure.by(Actor::GatepostAdmin).to_do(format!(
                    "sign in again and consent. If it stays so, correct `scope` of `providers.{}`",
                    provider.name
                )),
                None => failure,
            }
        }
        SignInError::IdToken(problem) => {
            let failure = Failure::new(Cause::IdTokenRefused, problem.to_string());
            match problem {
                IdTokenProblem::Tenant { .. } => {
                    failure.to_do("sign in with an account of the configured tenant, or correct `microsoft.tenant`")
                }
                IdTokenProblem::PersonalAccount => failure
                    .to_do("sign in with a work or school account, or write `tenant: consumers` for personal accounts"),
                IdTokenProblem::WorkAccount { .. } => {
                    failure.to_do("sign in with the personal account, or write `tenant: common` to serve both kinds")
                }
                IdTokenProblem::Issuer | IdTokenProblem::Missing | IdTokenProblem::Malformed
                    if let Some(provider) = application.issuer.provider() =>
                {
                    failure.to_do(format!(
                        "check `issuer` of `providers.{}`, and that `scope` has `openid` and `email`",
                        provider.name
                    ))
                }
                IdTokenProblem::Time => failure.to_do("set this machine's clock, and sign in again"),
                IdTokenProblem::Issuer => failure.to_do("check `microsoft.authority` and `microsoft.cloud`"),
                IdTokenProblem::Missing | IdTokenProblem::Malformed => {
                    failure.to_do("check that `microsoft.authority` is Entra's")
                }
                IdTokenProblem::Audience | IdTokenProblem::Nonce => failure.to_do("sign in again"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use url::Url;

    use super::*;
    use gatepost_config::{Application, ClientAuthentication, Cloud, Grant, LoginPattern, Mailboxes, Sending};
    use gatepost_core::secret::RefreshToken;
    use gatepost_oauth::aadsts::Class;
    use gatepost_oauth::fake::provider_application;
    use gatepost_oauth::response::OauthError;

    fn address(text: &str) -> MailAddress {
        MailAddress::parse(text).unwrap()
    }

    fn account(login: &str, signs_in_as: Option<&str>, tenant: &str) -> Account {
        Account {
            pattern: LoginPattern::Address(address(login)),
            aliases: Vec::new(),
            grant: Grant::DeviceCode,
            passwords: Vec::new(),
            application: Arc::new(Application {
                issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                    authority: Url::parse("https://login.example/").unwrap(),
                    tenant: if tenant == "organizations" { Tenant::Organizations } else { tenant.into() },
                    cloud: Cloud::Worldwide,
                }),
                client_id: "app".into(),
                credential: Arc::default(),
            }),
            scope: None,
            mailbox: None,
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: signs_in_as.map(address),
            token_expiry_margin: Duration::ZERO,
        }
    }

    fn identity(usernames: &[&str], email: Option<&str>, (tenant_id, object_id): (&str, &str)) -> Identity {
        Identity {
            tenant_id: tenant_id.into(),
            object_id: object_id.into(),
            issuer: "i".into(),
            usernames: usernames.iter().map(|name| address(name)).collect(),
            email: email.map(address),
        }
    }

    #[test]
    fn who_signed_in_must_be_who_was_asked_for_and_who_it_was_before() {
        const ANNA: &str = "anna@contoso.example";
        const RECEPTION: &str = "reception@contoso.example";
        let home = ("t", "o");
        let same = Some(home);
        let own = "contoso.example";
        for (login, signs_in_as, tenant, usernames, email, now, before, replace, fits) in [
            (ANNA, None, own, &[ANNA][..], None, home, None, false, true),
            ("Anna@Contoso.example", None, own, &[ANNA], None, home, None, false, true),
            (ANNA, None, own, &["a.old@contoso.example", ANNA], None, home, None, false, true),
            (ANNA, None, own, &["bob@contoso.example"], None, home, None, false, false),
            (ANNA, None, own, &["anna@elsewhere.example"], None, home, None, false, false),
            (ANNA, None, own, &["anna@contoso.example.evil.example"], None, home, None, false, false),
            (ANNA, None, own, &[], None, home, None, false, false),
            // An address that is not the user name counts only in the tenant's own directory.
            (ANNA, None, own, &["a.k@contoso.example"], Some(ANNA), home, None, false, true),
            (ANNA, None, "organizations", &["a.k@contoso.example"], Some(ANNA), home, None, false, false),
            (ANNA, None, "organizations", &[ANNA], None, home, None, false, true),
            (ANNA, None, own, &["bob@contoso.example"], Some("bob@contoso.example"), home, None, false, false),
            // A shared mailbox.
            (RECEPTION, Some(ANNA), own, &[ANNA], None, home, None, false, true),
            (RECEPTION, Some(ANNA), own, &[RECEPTION], None, home, None, false, false),
            (RECEPTION, Some(ANNA), own, &["bob@contoso.example"], None, home, None, false, false),
            (RECEPTION, None, own, &[ANNA], None, home, None, false, false),
            (RECEPTION, Some(ANNA), own, &["bob@contoso.example"], Some(ANNA), home, None, false, true),
            // Again.
            (ANNA, None, own, &[ANNA], None, home, same, false, true),
            (ANNA, None, own, &[ANNA], None, home, same, true, true),
            (ANNA, None, own, &[ANNA], None, ("t", "other"), same, false, false),
            (ANNA, None, own, &[ANNA], None, ("other", "o"), same, false, false),
            (ANNA, None, own, &[ANNA], None, ("t", "other"), same, true, true),
            (ANNA, None, own, &[ANNA], None, ("other", "o"), same, true, true),
            (ANNA, None, own, &["anna.new@contoso.example"], None, home, same, false, false),
            (ANNA, None, own, &["bob@contoso.example"], None, home, same, true, false),
            (ANNA, None, own, &["bob@contoso.example"], None, ("t", "other"), same, true, false),
            (RECEPTION, Some(ANNA), own, &[ANNA], None, ("t", "other"), same, false, false),
            (RECEPTION, Some(ANNA), own, &[ANNA], None, ("t", "other"), same, true, true),
            (RECEPTION, Some(ANNA), own, &[RECEPTION], None, home, same, true, false),
            (RECEPTION, Some(ANNA), own, &[ANNA], None, home, same, false, true),
            (RECEPTION, None, own, &[RECEPTION], None, home, None, false, true),
        ] {
            let before = before.map(|ids| {
                let signed_in = SignedIn {
                    refresh_token: RefreshToken::new("r".into()),
                    identity: Some(identity(&[ANNA], None, ids)),
                };
                record(signed_in, &address(ANNA), "s", UnixTime(1))
            });
            let found = check(
                &account(login, signs_in_as, tenant),
                &address(login),
                &identity(usernames, email, now),
                before.as_ref(),
                replace,
            );
            assert_eq!(
                found.is_ok(),
                fits,
                "{login} {signs_in_as:?} {tenant} {usernames:?} {email:?} {now:?} {replace}"
            );
        }
    }

    #[test]
    fn an_account_of_the_other_kind_is_told_which_tenant_takes_it() {
        let application = account("anna@contoso.example", None, "contoso.example").application;
        let purpose = Purpose { application, tenant: "contoso.example".into(), scope: "s".into() };
        for (problem, said, remedy) in [
            (
                IdTokenProblem::PersonalAccount,
                "a personal Microsoft account signed in, but `tenant` takes work and school accounts only",
                "`tenant: consumers` for personal accounts",
            ),
            (
                IdTokenProblem::WorkAccount { tenant: "t".into() },
                "an account of the directory `t` signed in, but `tenant: consumers` takes personal accounts only",
                "`tenant: common` to serve both kinds",
            ),
        ] {
            let failure = explain(&SignInError::IdToken(problem), &purpose);
            assert_eq!((failure.cause, failure.message.as_str()), (Cause::IdTokenRefused, said));
            assert!(failure.to_string().contains(remedy), "{failure}");
        }
    }

    #[test]
    fn the_message_names_both_persons_and_the_way_out() {
        let login = address("reception@contoso.example");
        let identity = identity(&["bob@contoso.example"], None, ("t", "o"));
        let account = account(login.as_str(), Some("anna@contoso.example"), "contoso.example");
        let error = check(&account, &login, &identity, None, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`bob@contoso.example` signed in, but `reception@contoso.example` needs `anna@contoso.example`. Sign in as \
             that user in a private window, or set `signs_in_as: bob@contoso.example` if `bob@contoso.example` may open \
             the mailbox"
        );
    }

    #[test]
    fn what_a_person_declined_is_told_from_what_the_server_refused() {
        let scope: Arc<str> = "s".into();
        let entra = account("anna@contoso.example", None, "contoso.example").application;
        let provider = provider_application(ClientAuthentication::Post, &[]);
        for (application, error, cause) in [
            (&provider, "access_denied", Cause::SignInDeclined),
            (&provider, "invalid_scope", Cause::ProviderRefused),
            (&entra, "access_denied", Cause::SignInNeeded),
        ] {
            let purpose =
                Purpose { application: Arc::clone(application), tenant: "t".into(), scope: Arc::clone(&scope) };
            let refused = OauthError {
                class: if error == "access_denied" { Class::SignInNeeded } else { Class::Administrator },
                error: error.to_owned(),
                code: None,
                sentence: None,
                trace_id: None,
                presented: None,
            };
            assert_eq!(explain(&SignInError::Refused(refused), &purpose).cause, cause, "{error}");
        }
    }
}
