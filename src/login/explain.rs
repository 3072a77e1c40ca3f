//! Names the failure of a login: one [`Failure`] per cause, with the other side's own code, who has
//! to act, and the next step. The client learns only the kind of refusal.

use std::net::IpAddr;

use crate::login::device::{Ending, KnownPassword, Outside};
use crate::login::lockout_guard::{HeldBack, Spent};
use crate::login::request::LoginRequest;
use gatepost_config::TrustedSender;
use gatepost_core::account::{LoginName, MailAddress, fits_command};
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_oauth::tokens::explain::for_time;
use gatepost_store::StoreError;

/// `shown` is what may be shown of the name. It came from `source`, unless it is a name of the
/// configuration.
pub(super) fn unknown_account(name: &LoginName, shown: &str, source: Option<IpAddr>) -> Failure {
    let from = source.map_or_else(String::new, |source| format!(" from {}", source.to_canonical()));
    let message = format!("no account or alias matches the user name `{shown}`{from}");
    let failure = if name.as_str().contains('\\') {
        Failure::new(Cause::UnknownAccount, format!("{message}, which has the form `DOMAIN\\user`"))
            .to_do("add it as an alias of its account, or add the domain to `netbios_domains`")
    } else {
        Failure::new(Cause::UnknownAccount, message)
            .to_do("add it to `accounts` or as an alias, or correct the user name in the client")
    };
    failure.delayed()
}

/// The account was to be used without a login, but only a login brings its token.
pub(super) fn needs_password(login: &MailAddress) -> Failure {
    Failure::new(
        Cause::NeedsPassword,
        format!(
            "Entra gives the token of `{login}` for its user's password only (`grant: password`), and no client sent \
             one"
        ),
    )
}

/// The account changed or was removed after the client of this session logged in.
pub(super) fn account_changed(login: &MailAddress) -> Failure {
    Failure::new(
        Cause::AccountChanged,
        format!("the account of `{login}` was changed or removed since the client logged in"),
    )
}

/// The rule that let a client send without a login was changed or removed.
pub(super) fn not_trusted(rule: &TrustedSender) -> Failure {
    let (key, login) = (rule.from.key(), &rule.login);
    Failure::new(
        Cause::NotTrusted,
        format!("the rule of `{key}` that let this client send as `{login}` was changed or removed"),
    )
}

/// `meant` is the device password that was typed with capitals or blanks.
pub(super) fn wrong_local_password(login: &MailAddress, meant: Option<&KnownPassword>) -> Failure {
    let message = match meant {
        Some(meant) => {
            let of = meant.password();
            format!("device password {} `{}` of `{login}` was typed with capitals or blanks", of.id, of.name)
        }
        None => format!("no device password of `{login}` matches"),
    };
    Failure::new(Cause::WrongPassword, message).to_do("enter the password again (lower case, no spaces)").delayed()
}

/// Nobody can log in to the account yet. The client gets the same answer as for a wrong password.
pub(super) fn nobody_signed_in(login: &MailAddress) -> Failure {
    let message = format!("nobody has signed in for `{login}`, or all its device passwords were revoked");
    let failure = Failure::new(Cause::SignInNeeded, message).answered(Refusal::InvalidCredentials).delayed();
    match fits_command(login.as_str()) {
        true => failure.to_do(format!("run `gatepost login {login}`, which also creates a device password")),
        false => failure,
    }
}

/// The client gets the same answer as for a wrong password.
pub(super) fn outside(device: &KnownPassword, outside: Outside, request: LoginRequest<'_>) -> Failure {
    let of = device.password();
    let (cause, why) = match outside {
        Outside::Ended(Ending::Expired) => (
            Ending::Expired.cause(),
            of.expires_at.map_or_else(|| "has expired".to_owned(), |at| format!("expired on {at}")),
        ),
        Outside::Ended(Ending::Revoked) => (Ending::Revoked.cause(), "was revoked a moment ago".to_owned()),
        Outside::Protocol => {
            let allowed: Vec<&str> = of.protocols.iter().map(|protocol| protocol.name()).collect();
            (
                Cause::PasswordForOtherProtocols,
                format!("is for {} only, and was presented over {}", allowed.join(" and "), request.protocol.name()),
            )
        }
        Outside::Network => {
            let allowed: Vec<String> = of.from.iter().map(ToString::to_string).collect();
            (
                Cause::PasswordForOtherNetworks,
                format!("is for {} only, and was presented from {}", allowed.join(" and "), request.source),
            )
        }
    };
    Failure::new(cause, format!("the device password {} `{}` is right, but it {why}", of.id, of.name))
        .answered(Refusal::InvalidCredentials)
        .by(Actor::GatepostAdmin)
        .delayed()
}

pub(super) fn store_unavailable(error: &StoreError) -> Failure {
    Failure::new(
        Cause::StoreUnavailable,
        format!("the password is none of those known so far, and new ones cannot be looked up: {error}"),
    )
    .delayed()
}

pub(super) fn guessed_too_often() -> Failure {
    Failure::new(Cause::TooManyGuesses, "too many different passwords were tried for this account from there").delayed()
}

pub(super) fn hashing_busy() -> Failure {
    Failure::new(Cause::PasswordChecksBusy, "too many password checks wait already")
}

/// The client asks for a mailbox that is not one of the account's.
pub(super) fn other_mailbox(login: &MailAddress, name: &LoginName) -> Failure {
    Failure::new(
        Cause::ActingAsNotAllowed,
        format!("the client logged in as `{login}` and asks for the mailbox `{name}`, which this account may not open"),
    )
}

/// A client's own token was refused before, and the answer is remembered.
pub(super) fn own_token_refused_before() -> Failure {
    Failure::new(
        Cause::TokenRefused,
        "Microsoft has refused this token for this mailbox before, and was not asked again",
    )
    .answered(Refusal::InvalidCredentials)
    .by(Actor::ClientOwner)
    .to_do("get a fresh token with the scope of this protocol and try again")
    .delayed()
}

/// The account's budget of wrong passwords is spent.
fn budget_spent(spent: &Spent, login: &str, now: UnixTime) -> Failure {
    let Spent { wait, most, total, from } = *spent;
    let last = from.map_or_else(String::new, |from| format!(", the last of them from {from}"));
    let used = if most < total {
        format!(
            "`{login}` used up the {most} wrong passwords in two hours that addresses without an earlier login \
             have{last} \
             (of {total} in all)"
        )
    } else {
        format!("`{login}` used up its {total} wrong passwords in two hours{last}")
    };
    // The next one fits when the minute has passed that is shown.
    let until = UnixTime(now.0.saturating_add(wait.as_secs()).next_multiple_of(60));
    let device =
        from.map_or_else(|| "the device that has a wrong password".to_owned(), |from| format!("the device at {from}"));
    let failure = Failure::new(
        Cause::GuessBudgetSpent,
        format!("{used}. More could lock the account in Entra, so no new password is tried until {until}"),
    );
    match fits_command(login) {
        true => failure.to_do(format!("fix {device}, then run `gatepost account unlock {login}`")),
        false => failure,
    }
}

/// Explains why the password of `login` was not forwarded.
pub(super) fn held(hold: HeldBack, login: &str, now: UnixTime) -> Failure {
    let failure = match hold {
        HeldBack::Locked { wait } => Failure::new(
            Cause::AccountLocked,
            format!("Entra said that the account is locked, and is not asked {}", for_time(wait)),
        ),
        HeldBack::Budget(spent) => budget_spent(&spent, login, now),
        HeldBack::GlobalBudget | HeldBack::Turn => Failure::new(
            Cause::TooManyRefusals,
            "too many wrong passwords were tried over all accounts, so new ones are not forwarded for up to an hour",
        ),
    };
    failure.delayed()
}

/// The provider of the account has no such service.
pub(super) fn provider_lacks(title: &str, service: &str) -> Failure {
    Failure::new(Cause::ProviderLacksService, format!("the account is one of {title}, which has no {service}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_that_a_client_made_up_stands_in_no_command() {
        let failure = |login| nobody_signed_in(&MailAddress::parse(login).unwrap());
        assert!(failure("anna@contoso.com").remedy.contains("gatepost login anna@contoso.com"));
        assert_eq!(failure("$a`id`|x@contoso.com").remedy, Cause::SignInNeeded.row().remedy);
        let spent =
            |login| budget_spent(&Spent { wait: Duration::ZERO, most: 1, total: 1, from: None }, login, UnixTime(0));
        assert!(spent("anna@contoso.com").remedy.contains("gatepost account unlock anna@contoso.com"));
        assert_eq!(spent("a`id`@contoso.com").remedy, Cause::GuessBudgetSpent.row().remedy);
    }

    #[test]
    fn a_spent_budget_says_whose_it_was() {
        let told = |most, total| {
            let spent = Spent { wait: Duration::from_secs(61), most, total, from: None };
            budget_spent(&spent, "anna@contoso.com", UnixTime(0)).message
        };
        let part = "`anna@contoso.com` used up the 5 wrong passwords in two hours that addresses without an earlier";
        assert!(told(5, 8).starts_with(part), "{}", told(5, 8));
        assert!(told(5, 8).contains("(of 8 in all)"));
        let whole = "`anna@contoso.com` used up its 8 wrong passwords in two hours. ";
        assert!(told(8, 8).starts_with(whole), "{}", told(8, 8));
        assert!(told(8, 8).ends_with("until 1970-01-01 00:02 UTC"), "{}", told(8, 8));
    }
}
