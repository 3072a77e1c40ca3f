//! SASL XOAUTH2 at Exchange Online, the server's side: `user={mailbox}^Aauth=Bearer {token}^A^A`, in base64.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::directory::{Directory, MailboxAccess};
use super::mode::{Service, UpstreamMode};
use super::state::SandboxState;
use super::store::Mailbox;
use super::token::{Claims, EXCHANGE_RESOURCES};

/// A session's right to a mailbox.
pub(super) struct Login {
    /// The mailbox's address in lower case.
    pub(super) address: String,
    pub(super) mailbox: Arc<Mailbox>,
    /// When the token expires, since 1970.
    pub(super) expires_at: Duration,
}

/// How an attempt ends.
pub(super) enum LoginVerdict {
    Accepted(Login),
    /// The token is good, but gives no right to this mailbox. IMAP tells only at the next command.
    Denied,
    /// The token is good and may enter, but there is nothing to enter: no licence, or
    /// [`UpstreamMode::NotConnected`]. IMAP and POP3 tell only at the next command.
    NotConnected,
    /// The token is not good for this service.
    Refused,
    /// The service is in [`UpstreamMode::Unavailable`].
    Unavailable,
    /// SMTP AUTH is barred; Microsoft's reason.
    Barred(&'static str),
    /// The service is in [`UpstreamMode::HighVolume`], and the account is none of its own.
    OfAnotherKind,
    /// The same, and the token ends too soon.
    ExpiresSoon,
}

/// Judges a client's response and counts the login.
pub(super) fn judge(shared: &SandboxState, service: Service, mode: UpstreamMode, response: &[u8]) -> LoginVerdict {
    let parsed = parse(response);
    let user = parsed.as_ref().map_or("", |(user, _)| user);
    let verdict = decide(shared, service, mode, parsed.as_ref());
    shared.tally.login(service, user, matches!(verdict, LoginVerdict::Accepted(_)));
    verdict
}

fn decide(
    shared: &SandboxState,
    service: Service,
    mode: UpstreamMode,
    parsed: Option<&(String, String)>,
) -> LoginVerdict {
    if mode == UpstreamMode::Unavailable {
        return LoginVerdict::Unavailable;
    }
    let Some((user, token)) = parsed else { return LoginVerdict::Refused };
    let Some(claims) = shared.mint.verify(token, shared.time.unix()) else { return LoginVerdict::Refused };
    if !EXCHANGE_RESOURCES.contains(&claims.audience.as_str()) {
        return LoginVerdict::Refused;
    }
    if service == Service::Smtp && mode == UpstreamMode::HighVolume {
        return of_high_volume(shared, &claims, user);
    }
    let is_application = claims.user.is_none();
    let of_service = Directory::permission(&claims, service);
    if is_application && !shared.exchange.has_service_principal() || !shared.exchange.permits(&claims, of_service) {
        return LoginVerdict::Refused;
    }
    let MailboxAccess::Open(mailbox) = shared.directory.enter(&claims, user) else { return LoginVerdict::Denied };
    let switched_off = shared.exchange.is_switched_off(user, service);
    match (service, mode) {
        (Service::Smtp, UpstreamMode::SmtpAuthDisabled) => return LoginVerdict::Barred(OFF_FOR_TENANT),
        (Service::Smtp, UpstreamMode::SecurityDefaults) => return LoginVerdict::Barred(SECURITY_DEFAULTS),
        (Service::Smtp, UpstreamMode::PolicyNotMet) => return LoginVerdict::Barred(POLICY_NOT_MET),
        (Service::Smtp, _) if switched_off => return LoginVerdict::Barred(OFF_FOR_MAILBOX),
        _ if switched_off => return LoginVerdict::Refused,
        _ => {}
    }
    if mode == UpstreamMode::NotConnected || !shared.exchange.has_licence(user) {
        return LoginVerdict::NotConnected;
    }
    LoginVerdict::Accepted(Login { address: user.to_lowercase(), mailbox, expires_at: claims.expires_at() })
}

/// The rules of High Volume Email. They do not heed the switches for SMTP AUTH.
fn of_high_volume(shared: &SandboxState, claims: &Claims, user: &str) -> LoginVerdict {
    if !shared.exchange.is_high_volume(user) {
        return LoginVerdict::OfAnotherKind;
    }
    if claims.expires_at() < shared.time.unix().saturating_add(HIGH_VOLUME_LIFETIME) {
        return LoginVerdict::ExpiresSoon;
    }
    if !shared.exchange.permits(claims, "Mail.Send") {
        return LoginVerdict::Refused;
    }
    match shared.directory.enter(claims, user) {
        MailboxAccess::Open(mailbox) => {
            LoginVerdict::Accepted(Login { address: user.to_lowercase(), mailbox, expires_at: claims.expires_at() })
        }
        _ => LoginVerdict::Denied,
    }
}

/// The life that High Volume Email wants a token to have left.
const HIGH_VOLUME_LIFETIME: Duration = Duration::from_secs(600);

const OFF_FOR_TENANT: &str = "SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
const OFF_FOR_MAILBOX: &str = "SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.";
const SECURITY_DEFAULTS: &str =
    "user is locked by your organization's security defaults policy. Contact your administrator.";
const POLICY_NOT_MET: &str =
    "the request did not meet the criteria to be authenticated successfully. Contact your administrator.";

/// The user and the token. The form is fixed: exactly these two fields, in this order.
pub(super) fn parse(response: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(response).ok()?).ok()?;
    let (user, rest) = text.strip_prefix("user=")?.split_once('\u{1}')?;
    let token = rest.strip_prefix("auth=Bearer ")?.strip_suffix("\u{1}\u{1}")?;
    let plausible = !user.is_empty() && !token.is_empty() && !token.contains(|c: char| c.is_control() || c == ' ');
    plausible.then(|| (user.to_owned(), token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        parse(STANDARD.encode(text).as_bytes())
    }

    #[test]
    fn only_the_documented_form_is_taken() {
        assert_eq!(parsed("user=a@b\u{1}auth=Bearer t\u{1}\u{1}"), Some(("a@b".into(), "t".into())));
        for text in [
            "",
            "user=a@b\u{1}auth=Bearer t\u{1}",
            "user=a@b\u{1}auth=Bearer t",
            "user=\u{1}auth=Bearer t\u{1}\u{1}",
            "user=a@b\u{1}auth=Bearer \u{1}\u{1}",
            "user=a@b\u{1}auth=bearer t\u{1}\u{1}",
            "user=a@b\u{1}auth=Bearer t\u{1}x=y\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Bearer t\u{1}\u{1}",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
        assert_eq!(parse(b"not base64!"), None);
    }
}
