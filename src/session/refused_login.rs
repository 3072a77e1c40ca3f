//! Explains why a mail server refused a login, with what the token says of itself: which permission
//! it lacks, or which right in Exchange Online is missing although it has the permission.

use crate::session::token_holder::{Permission, TokenHolder};
use crate::session::upstream::OpenError;
use gatepost_config::{Provider, Upstream};
use gatepost_core::account::{MailAddress, fits_command};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::MailProtocol;
use gatepost_oauth::MailAccess;
use gatepost_oauth::tokens::explain::JUST_GRANTED;
use gatepost_proto::mail::smtp::SmtpBar;
use gatepost_proto::mail::{UpstreamFailure, UpstreamFailureKind};

/// The longest token that Microsoft's POP3 takes, in characters.
const LONGEST_TOKEN: usize = 4_096;

/// Suggests another way for messages, where Gatepost takes them itself.
const BY_GRAPH: &str = "Or send through Microsoft Graph: set `deliver: auto` on the listener";

/// An account's login that a server did not accept.
#[derive(Debug)]
pub(super) struct NotSignedIn {
    pub(super) error: OpenError,
    pub(super) failure: Failure,
}

impl NotSignedIn {
    /// Explains the error of a login with this token.
    pub(super) fn new(error: OpenError, upstream: &Upstream, holder: &TokenHolder) -> Self {
        let failure = match &error {
            OpenError::Upstream(reply) => match holder.issuer().provider() {
                Some(provider) => replied_elsewhere(reply, upstream, holder, provider),
                None => replied(reply, upstream, Some(holder)),
            },
            other => other.failure(upstream),
        };
        Self { error, failure }
    }
}

/// Explains a server's answer to a login. Without `holder`, nobody's names are known.
pub(super) fn of_reply(reply: &UpstreamFailure, upstream: &Upstream) -> Failure {
    replied(reply, upstream, None)
}

fn replied(reply: &UpstreamFailure, upstream: &Upstream, holder: Option<&TokenHolder>) -> Failure {
    use UpstreamFailureKind as Kind;
    let protocol = upstream.protocol;
    let says = |cause, what: &str| Failure::new(cause, message(reply, upstream, what));
    let failure = match reply.kind {
        Kind::TokenRefused => match holder {
            Some(holder) => token_refused(reply, upstream, holder),
            None => says(Cause::TokenRefused, "rejected the access token"),
        },
        Kind::TokenNotUnderstood { characters } => not_understood(reply, upstream, characters, holder),
        Kind::MailboxNotConnected => {
            let failure = says(Cause::MailboxNotConnected, "accepted the token, but did not open the mailbox");
            match holder {
                Some(holder) if holder.fits_commands() => failure.to_do(not_connected(holder, protocol)),
                _ => failure,
            }
        }
        Kind::Disabled => disabled(reply, upstream, holder),
        Kind::Unavailable if reply.retry_after.is_some() => {
            says(Cause::UpstreamThrottles, "takes no more requests of this mailbox for now")
        }
        Kind::Unavailable => says(Cause::UpstreamUnavailable, "is not available for now"),
        Kind::Limit => says(Cause::UpstreamLimit, "has too many connections of this mailbox"),
        Kind::NoStartTls => says(Cause::NoStarttls, "does not offer STARTTLS"),
        Kind::SpokeBeforeTls => {
            says(Cause::DataBeforeTls, "sent bytes after its STARTTLS reply, as an attacker who injects replies does")
                .to_do("find out which device on the path does that. No password or token was sent")
        }
        Kind::Preauth => says(Cause::Preauth, "greeted with PREAUTH, which would skip the login"),
        Kind::NameRefused => says(Cause::EhloRefused, "refused the name that Gatepost sends in EHLO"),
        Kind::NoXoauth2 => says(Cause::NoXoauth2, "does not offer XOAUTH2"),
        Kind::Protocol => says(Cause::UpstreamGarbage, &format!("does not speak {} as it should", name(protocol))),
        Kind::Closed => says(Cause::UpstreamClosed, "closed the connection during the login"),
    };
    match enhanced_status(&reply.detail) {
        Some(status) => failure.coded(status),
        None => failure,
    }
}

/// Explains the answer of a mail server of another provider, about which Exchange's remedies say
/// nothing.
fn replied_elsewhere(
    reply: &UpstreamFailure,
    upstream: &Upstream,
    holder: &TokenHolder,
    provider: &Provider,
) -> Failure {
    use UpstreamFailureKind as Kind;
    let title = &provider.title;
    let (service, login) = (name(upstream.protocol), holder.login());
    match reply.kind {
        Kind::TokenRefused | Kind::TokenNotUnderstood { .. } => {
            let failure = Failure::new(Cause::TokenRefused, message(reply, upstream, "rejected the access token"));
            let person = holder.mailbox();
            if holder.is_app_only() {
                return failure.by(Actor::GatepostAdmin).to_do(format!(
                    "check that {person} is the primary address of a user at {title} with mail, and that {service} is \
                     turned on for it"
                ));
            }
            failure.by(Actor::GatepostAdmin).to_do(format!(
                "check that {person} signed in itself, and that {title} has {service} turned on for it. Then run \
                 `gatepost login {login}`"
            ))
        }
        Kind::Disabled | Kind::MailboxNotConnected => {
            let failure = Failure::new(Cause::ProtocolDisabled, message(reply, upstream, "does not open the mailbox"));
            failure
                .by(Actor::GatepostAdmin)
                .to_do(format!("turn {service} on in the settings of the mailbox at {title}"))
        }
        Kind::NoXoauth2 => {
            let failure = Failure::new(Cause::NoXoauth2, message(reply, upstream, "does not offer the mechanism"));
            failure.by(Actor::GatepostAdmin).to_do(format!("correct `sasl` of `providers.{}`", provider.name))
        }
        _ => replied(reply, upstream, None),
    }
}

/// The first enhanced status code of a reply (RFC 3463).
fn enhanced_status(reply: &str) -> Option<&str> {
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit());
    reply.split_ascii_whitespace().map(|word| word.trim_end_matches(',')).find(|word| {
        let mut parts = word.split('.');
        matches!((parts.next(), parts.clone().count()), (Some("4" | "5"), 2)) && parts.all(is_number)
    })
}

/// What the server did, with its own words.
fn message(reply: &UpstreamFailure, upstream: &Upstream, what: &str) -> String {
    let at = format!("{}:{}", upstream.host, upstream.port);
    match reply.detail.is_empty() {
        true => format!("{at} {what}"),
        false => format!("{at} {what} (`{}`)", reply.detail),
    }
}

/// The server did not take the token: because of what it lacks, or because of a right that Exchange
/// Online itself gives.
fn token_refused(reply: &UpstreamFailure, upstream: &Upstream, holder: &TokenHolder) -> Failure {
    let access = MailAccess::from(upstream);
    let failure = |what: &str| Failure::new(Cause::TokenRefused, message(reply, upstream, what));
    let failure = match holder.permission(access) {
        Permission::Missing(missing) => {
            return holder.permission_missing(failure("rejected the access token"), access, missing);
        }
        Permission::Unknown => failure("rejected the access token"),
        Permission::Granted(permission) => failure(&format!("rejected an access token that has {permission}")),
    };
    if !holder.fits_commands() {
        return failure;
    }
    let remedy = match upstream.is_high_volume() {
        true => right_of_high_volume(holder),
        false => right_in_exchange(holder, upstream.protocol),
    };
    failure.to_do(format!("{remedy}. {JUST_GRANTED}"))
}

/// The same for an account of High Volume Email, which has a list of applications.
fn right_of_high_volume(holder: &TokenHolder) -> String {
    let account = holder.mailbox();
    match holder.is_app_only() {
        true => format!("run `Add-HVEAppAccess -Identity {account} -AppIds {}`", holder.object()),
        false => format!("check that {account} is an HVE account, and that it signed in itself"),
    }
}

/// What the administrator of Exchange Online must look at, in the order of how often it is that.
fn right_in_exchange(holder: &TokenHolder, protocol: MailProtocol) -> String {
    let turn_on = turn_on(holder.mailbox(), protocol);
    if holder.is_app_only() {
        let (application, object) = (holder.application(), holder.object());
        return format!(
            "run `Get-ServicePrincipal | Where-Object AppId -eq {application}`. If it does not show ObjectId {object}, \
             run `New-ServicePrincipal -AppId {application} -ObjectId {object}`. Then run `{}`. If other protocols \
             work, run `{turn_on}`",
            holder.add_permission(),
        );
    }
    match holder.user_of_another_mailbox() {
        Some(user) => format!(
            "let {user} open the mailbox: `{}`. If {user} may already, run `{turn_on}`",
            holder.add_permission(),
        ),
        None => format!("turn {} on for the mailbox: `{turn_on}`", name(protocol)),
    }
}

fn not_connected(holder: &TokenHolder, protocol: MailProtocol) -> String {
    let mailbox = holder.mailbox();
    let cmdlet = match holder.is_app_only() || holder.user_of_another_mailbox().is_some() {
        true => holder.add_permission(),
        false => turn_on(mailbox, protocol),
    };
    format!(
        "assign a license with Exchange Online to {mailbox}, which can take 24 hours. If it has one, run `{cmdlet}`. \
         {JUST_GRANTED}"
    )
}

/// Explains that a protocol is off, or barred by a policy.
fn disabled(reply: &UpstreamFailure, upstream: &Upstream, holder: Option<&TokenHolder>) -> Failure {
    let protocol = upstream.protocol;
    let mailbox = holder.map(TokenHolder::mailbox);
    let turn_on = || match mailbox.filter(|mailbox| fits_command(mailbox.as_str())) {
        Some(mailbox) => format!("turn {} on for the mailbox: `{}`", name(protocol), turn_on(mailbox, protocol)),
        None => format!("turn {} on for the mailbox with `Set-CASMailbox`", name(protocol)),
    };
    let (what, remedy) = match (protocol, SmtpBar::of(&reply.detail)) {
        (MailProtocol::Smtp, Some(SmtpBar::Tenant)) => {
            ("has SMTP AUTH turned off for the tenant", format!("{}. {BY_GRAPH}", turn_on()))
        }
        (MailProtocol::Smtp, Some(SmtpBar::Mailbox)) => {
            ("has SMTP AUTH turned off for the mailbox", format!("{}. {BY_GRAPH}", turn_on()))
        }
        (MailProtocol::Smtp, Some(SmtpBar::SecurityDefaults)) => (
            "blocks SMTP AUTH because of the tenant's security defaults",
            format!("replace security defaults by Conditional Access policies that allow this account. {BY_GRAPH}"),
        ),
        (MailProtocol::Smtp, Some(SmtpBar::Policy)) => (
            "blocks SMTP AUTH because of a policy",
            format!(
                "find the sign-in of {} in Entra's sign-in log, and exclude the account from the policy named there. \
                 {BY_GRAPH}",
                mailbox.map_or("the account", MailAddress::as_str)
            ),
        ),
        (MailProtocol::Smtp, None) => {
            ("has SMTP AUTH turned off or blocked by a policy", format!("{}. {BY_GRAPH}", turn_on()))
        }
        (MailProtocol::Imap, _) => ("has IMAP turned off or blocked by a policy", turn_on()),
        (MailProtocol::Pop3, _) => ("has POP3 turned off or blocked by a policy", turn_on()),
    };
    Failure::new(Cause::ProtocolDisabled, message(reply, upstream, what)).to_do(remedy)
}

/// Explains that the server took the token for something that it is not.
fn not_understood(
    reply: &UpstreamFailure,
    upstream: &Upstream,
    characters: usize,
    holder: Option<&TokenHolder>,
) -> Failure {
    // Only High Volume Email answers so, which has a host of its own.
    let is_high_volume = upstream.is_high_volume() || reply.detail.contains("5.5.124");
    if upstream.protocol == MailProtocol::Smtp && is_high_volume {
        let mailbox = holder.map_or("this mailbox", |holder| holder.mailbox().as_str());
        let what = format!("is for accounts of High Volume Email (HVE) only, and {mailbox} is none");
        return Failure::new(Cause::TokenNotUnderstood, message(reply, upstream, &what))
            .by(Actor::GatepostAdmin)
            .to_do("set `upstream: smtp.office365.com:587` on the listener, or let an HVE account send");
    }
    let what = format!("did not understand the login with an access token of {characters} characters");
    let failure = Failure::new(Cause::TokenNotUnderstood, message(reply, upstream, &what));
    match characters > LONGEST_TOKEN {
        true => failure.to_do(format!(
            "let Entra issue tokens of {LONGEST_TOKEN} characters at most for this account. In the manifest of the \
             application set `groupMembershipClaims` to `None`, and remove optional claims and app roles that mail \
             does not need"
        )),
        false => failure,
    }
}

/// The cmdlet that turns a protocol on for a mailbox.
fn turn_on(mailbox: &MailAddress, protocol: MailProtocol) -> String {
    let setting = match protocol {
        MailProtocol::Imap => "-ImapEnabled $true",
        MailProtocol::Pop3 => "-PopEnabled $true",
        MailProtocol::Smtp => "-SmtpClientAuthenticationDisabled $false",
    };
    format!("Set-CASMailbox {mailbox} {setting}")
}

fn name(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "IMAP",
        MailProtocol::Pop3 => "POP3",
        MailProtocol::Smtp => "SMTP AUTH",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::explain;
    use crate::session::token_holder::tests::holder;
    use gatepost_config::Grant;

    fn upstream(protocol: MailProtocol, host: &str) -> Upstream {
        Upstream { host: host.into(), name: host.into(), ..explain::tests::upstream(protocol) }
    }

    #[test]
    fn the_code_of_a_reply_is_its_first_enhanced_status() {
        for (reply, code) in [
            ("535 5.7.139 Authentication unsuccessful", Some("5.7.139")),
            ("4.3.1, wait for 5.7.60", Some("4.3.1")),
            ("2.1.0 fine, 3.4.5 and 15.7.1 are none", None),
            ("version 5.7 of 5.7.60.1", None),
            ("5.a.1 5..1 5.1.", None),
            ("5.7.1390", None),
            ("", None),
        ] {
            assert_eq!(enhanced_status(reply), code, "{reply}");
        }
    }

    #[test]
    fn a_token_that_is_not_understood_is_too_long_or_at_a_server_for_other_accounts() {
        let told = |protocol, host, detail: &str, characters| {
            let kind = UpstreamFailureKind::TokenNotUnderstood { characters };
            let reply = UpstreamFailure { kind, detail: detail.to_owned(), retry_after: None };
            of_reply(&reply, &upstream(protocol, host)).to_string()
        };
        let (usual, high_volume) = ("outlook.office365.com", "smtp-hve.office365.com");
        for (protocol, host, detail, is_high_volume) in [
            (MailProtocol::Smtp, high_volume, "no", true),
            (MailProtocol::Smtp, usual, "5.5.124 no", true),
            (MailProtocol::Smtp, usual, "5.5.4 no", false),
            (MailProtocol::Imap, usual, "5.5.124 no", false),
        ] {
            let told = told(protocol, host, detail, 1_000);
            assert_eq!(told.contains("High Volume Email"), is_high_volume, "{told}");
        }
        for (characters, is_too_long) in [(LONGEST_TOKEN, false), (LONGEST_TOKEN + 1, true)] {
            let told = told(MailProtocol::Pop3, usual, "no", characters);
            assert_eq!(told.contains("4096 characters at most"), is_too_long, "{told}");
        }
    }

    #[test]
    fn a_server_that_talks_nonsense_is_named_with_its_protocol() {
        for (protocol, named) in
            [(MailProtocol::Imap, "IMAP"), (MailProtocol::Pop3, "POP3"), (MailProtocol::Smtp, "SMTP AUTH")]
        {
            let reply =
                UpstreamFailure { kind: UpstreamFailureKind::Protocol, detail: "5.5.2 what".into(), retry_after: None };
            let failure = of_reply(&reply, &upstream(protocol, "mail.example"));
            assert!(failure.message.contains(&format!("does not speak {named} as it should")), "{failure}");
            assert_eq!(failure.code.as_deref(), Some("5.5.2"));
        }
    }

    const ALICE: &str = "alice@contoso.example";
    const OBJECT: &str = "22222222-3333-4444-5555-666666666666";

    fn reply(kind: UpstreamFailureKind) -> UpstreamFailure {
        UpstreamFailure { kind, detail: "no".to_owned(), retry_after: None }
    }

    #[test]
    fn a_mailbox_whose_name_could_end_a_command_stands_in_none() {
        let (claims, imap) = (serde_json::json!({}), upstream(MailProtocol::Imap, "outlook.office365.com"));
        for (mailbox, is_named) in [(ALICE, true), ("a$b@contoso.example", false)] {
            let holder = holder(Grant::ClientCredentials, mailbox, &claims);
            let failure = replied(&reply(UpstreamFailureKind::MailboxNotConnected), &imap, Some(&holder));
            assert_eq!(failure.cause, Cause::MailboxNotConnected);
            assert_eq!(failure.remedy.contains("`Add-MailboxPermission "), is_named, "{failure}");
            assert_eq!(failure.remedy.contains(mailbox), is_named, "{failure}");
        }
    }

    #[test]
    fn another_provider_has_remedies_of_its_own() {
        let provider = gatepost_oauth::fake::provider(gatepost_config::ClientAuthentication::Post);
        let holder = holder(Grant::DeviceCode, ALICE, &serde_json::json!({}));
        for (kind, cause, actor, remedy) in [
            (
                UpstreamFailureKind::Disabled,
                Cause::ProtocolDisabled,
                Actor::GatepostAdmin,
                "turn IMAP on in the settings of the mailbox at plain",
            ),
            (
                UpstreamFailureKind::MailboxNotConnected,
                Cause::ProtocolDisabled,
                Actor::GatepostAdmin,
                "turn IMAP on in the settings of the mailbox at plain",
            ),
            (
                UpstreamFailureKind::NoXoauth2,
                Cause::NoXoauth2,
                Actor::GatepostAdmin,
                "correct `sasl` of `providers.plain`",
            ),
        ] {
            let imap = upstream(MailProtocol::Imap, "mail.example");
            let failure = replied_elsewhere(&reply(kind), &imap, &holder, &provider);
            assert_eq!((failure.cause, failure.actor, &*failure.remedy), (cause, actor, remedy), "{kind:?}");
            assert!(failure.message.starts_with("mail.example:"), "{failure}");
        }
    }

    #[test]
    fn an_account_of_high_volume_email_lets_the_application_in_or_signs_in_itself() {
        let server = upstream(MailProtocol::Smtp, "smtp.hve.mx.microsoft");
        let access = serde_json::json!({"roles": ["Mail.Send"], "scp": "Mail.Send", "oid": OBJECT});
        for (grant, remedy) in [
            (Grant::ClientCredentials, format!("run `Add-HVEAppAccess -Identity {ALICE} -AppIds {OBJECT}`. ")),
            (Grant::DeviceCode, format!("check that {ALICE} is an HVE account, and that it signed in itself. ")),
        ] {
            let holder = holder(grant, ALICE, &access);
            let failure = replied(&reply(UpstreamFailureKind::TokenRefused), &server, Some(&holder));
            assert!(failure.remedy.starts_with(&remedy), "{failure}");
        }
    }
}
