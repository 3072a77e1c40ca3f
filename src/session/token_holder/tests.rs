use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

use super::*;
use gatepost_config::{Application, Cloud, Entra, Grant, LoginPattern, Mailboxes, Sending};
use gatepost_core::secret::AccessToken;

const APPLICATION: &str = "11111111-2222-3333-4444-555555555555";

fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

/// The holder of a token with these claims, sent for `mailbox` by the login `alice`.
pub(in crate::session) fn holder(grant: Grant, mailbox: &str, claims: &serde_json::Value) -> TokenHolder {
    let entra = Entra {
        authority: "https://login.example/".parse().unwrap(),
        tenant: "contoso.example".into(),
        cloud: Cloud::Worldwide,
    };
    let application =
        Application { issuer: Issuer::Entra(entra), client_id: APPLICATION.into(), credential: Arc::default() };
    let account = Account {
        pattern: LoginPattern::Address(address("alice@contoso.example")),
        aliases: Vec::new(),
        grant,
        passwords: Vec::new(),
        application: Arc::new(application),
        scope: None,
        mailbox: None,
        mailboxes: Mailboxes::default(),
        sending: Sending::default(),
        signs_in_as: None,
        token_expiry_margin: Duration::ZERO,
    };
    let token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    TokenHolder {
        account: Arc::new(account),
        login: address("alice@contoso.example"),
        bearer: Bearer { user: address(mailbox), token: AccessToken::new(token).into() },
    }
}

/// What is to be done about a request that was refused for this cause.
fn remedy(holder: &TokenHolder, cause: Cause, access: MailAccess) -> Failure {
    holder.refused_over_https(Failure::new(cause, "no"), access)
}

#[test]
fn a_permission_that_is_missing_is_named_with_the_link_that_grants_it() {
    let nothing = serde_json::json!({});
    let app = holder(Grant::ClientCredentials, "alice@contoso.example", &nothing);
    let failure = remedy(&app, Cause::TokenRefused, MailAccess::GraphSend);
    assert_eq!((failure.cause, failure.actor), (Cause::PermissionMissing, Actor::M365Admin));
    assert_eq!(failure.message, "no: the token lacks Mail.Send (it has none)");
    assert!(failure.remedy.contains("include alice@contoso.example in the role's scope"), "{failure}");
    // Mail over IMAP has no roles of Exchange, and a user's token none at all.
    let failure = remedy(&app, Cause::TokenRefused, MailAccess::Imap);
    assert!(!failure.remedy.contains("RBAC"), "{failure}");
    let roles = serde_json::json!({"roles": ["Mail.Read"]});
    let some = holder(Grant::ClientCredentials, "alice@contoso.example", &roles);
    let failure = remedy(&some, Cause::TokenRefused, MailAccess::GraphSend);
    assert!(!failure.remedy.contains("RBAC"), "{failure}");
    let user = holder(Grant::DeviceCode, "alice@contoso.example", &nothing);
    let failure = remedy(&user, Cause::TokenRefused, MailAccess::GraphSend);
    assert!(!failure.remedy.contains("RBAC"), "{failure}");
    // What is not about rights stays as it is.
    let other = remedy(&app, Cause::Throttled, MailAccess::GraphSend);
    assert_eq!(other.to_string(), Failure::new(Cause::Throttled, "no").to_string());
}

#[test]
fn an_application_that_may_send_is_led_to_the_scope_of_its_role() {
    let claims = serde_json::json!({"roles": ["Mail.Send"], "appid": APPLICATION});
    let app = holder(Grant::ClientCredentials, "alice@contoso.example", &claims);
    assert!(app.is_app_only());
    let failure = remedy(&app, Cause::SendDenied, MailAccess::GraphSend);
    assert!(failure.message.ends_with(", although the token has Mail.Send"), "{failure}");
    assert!(failure.remedy.contains(&format!("policy of application {APPLICATION}")), "{failure}");
    // The token itself was refused, so its permission is no news.
    let failure = remedy(&app, Cause::TokenRefused, MailAccess::GraphSend);
    assert_eq!(failure.message, "no");
}

#[test]
fn a_user_gets_the_cmdlet_for_a_mailbox_of_somebody_else() {
    let claims = serde_json::json!({"scp": "Mail.Send EWS.AccessAsUser.All", "upn": "alice@contoso.example"});
    let user = holder(Grant::DeviceCode, "shared@contoso.example", &claims);
    assert!(!user.is_app_only());
    let failure = remedy(&user, Cause::SendDenied, MailAccess::GraphSend);
    let cmdlet = "Add-RecipientPermission shared@contoso.example -Trustee alice@contoso.example -AccessRights SendAs";
    assert_eq!(failure.remedy, format!("run `{cmdlet}`"));
    let failure = remedy(&user, Cause::MailboxDenied, MailAccess::Ews);
    let cmdlet = "Add-MailboxPermission shared@contoso.example -User alice@contoso.example -AccessRights FullAccess";
    assert_eq!(failure.remedy, format!("run `{cmdlet}`"));
    let own = holder(Grant::DeviceCode, "alice@contoso.example", &claims);
    assert_eq!(own.user_of_another_mailbox(), None);
    let failure = remedy(&own, Cause::MailboxDenied, MailAccess::Ews);
    assert_eq!(failure.remedy, Failure::new(Cause::MailboxDenied, "no").remedy);
}

#[test]
fn names_that_could_end_a_command_stand_in_none() {
    let claims = |user: &str| serde_json::json!({"scp": "Mail.Send", "upn": user});
    let plain = holder(Grant::DeviceCode, "shared@contoso.example", &claims("alice@contoso.example"));
    assert!(plain.fits_commands());
    for odd in [
        holder(Grant::DeviceCode, "a$b@contoso.example", &claims("alice@contoso.example")),
        holder(Grant::DeviceCode, "shared@contoso.example", &claims("a$b@contoso.example")),
    ] {
        assert!(!odd.fits_commands());
        let failure = remedy(&odd, Cause::SendDenied, MailAccess::GraphSend);
        assert_eq!(failure.remedy, Failure::new(Cause::SendDenied, "no").remedy);
    }
}
