//! Names the failure of a login: one [`Failure`] per cause, with the other side's own code, who has
//! to act, and the next step. The client learns only the kind of refusal.

use std::time::Duration;

use crate::login::device::{Ending, KnownPassword, Outside};
use crate::login::lockout_guard::HeldBack;
use crate::login::request::LoginRequest;
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_oauth::tokens::explain::for_time;
use gatepost_store::StoreError;

pub(super) fn unknown_account() -> Failure {
    Failure::new(Cause::UnknownAccount, "no account or alias matches the user name").delayed()
}

/// The account was to be used without a login, but only a login brings its token.
pub(super) fn needs_password(login: &MailAddress) -> Failure {
    Failure::new(
        Cause::NeedsPassword,
        format!("the token of `{login}` is had with its user's password only (`grant: password`), and nobody gave one"),
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
pub(super) fn not_trusted(login: &LoginName) -> Failure {
    Failure::new(
        Cause::NotTrusted,
        format!("the rule of `trusted_senders` that let this address send as `{login}` was changed or removed"),
    )
}

pub(super) fn wrong_local_password() -> Failure {
    Failure::new(Cause::WrongPassword, "the password is none of the account's")
        .to_do("correct the password in the mail program, or make a new one with `gatepost password add`")
        .delayed()
}

/// The client gets the same answer as for a wrong password.
pub(super) fn outside(device: &KnownPassword, outside: Outside, request: LoginRequest<'_>) -> Failure {
    let of = device.password();
    let (cause, why, remedy) = match outside {
        Outside::Ended(Ending::Expired) => (
            Ending::Expired.cause(),
            of.expires_at.map_or_else(|| "has expired".to_owned(), |at| format!("expired on {at}")),
            "make a new one with `gatepost password add`",
        ),
        Outside::Ended(Ending::Revoked) => (
            Ending::Revoked.cause(),
            "was revoked a moment ago".to_owned(),
            "make a new one with `gatepost password add`, if the device is to go on",
        ),
        Outside::Protocol => {
            let allowed: Vec<&str> = of.protocols.iter().map(|protocol| protocol.name()).collect();
            (
                Cause::PasswordForOtherProtocols,
                format!("is for {} only, and was presented over {}", allowed.join(" and "), request.protocol.name()),
                "set up the device for its protocol, or make another password with `gatepost password add --protocol …`",
            )
        }
        Outside::Network => {
            let allowed: Vec<String> = of.from.iter().map(ToString::to_string).collect();
            (
                Cause::PasswordForOtherNetworks,
                format!("is for {} only, and was presented from {}", allowed.join(" and "), request.source),
                "revoke the password if it may have leaked, or make another one with `gatepost password add --from …`",
            )
        }
    };
    Failure::new(cause, format!("the device password {} `{}` is right, but it {why}", of.id, of.name))
        .answered(Refusal::InvalidCredentials)
        .by(Actor::GatepostAdmin)
        .to_do(remedy)
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

/// Explains why the password of `login` was not forwarded.
pub(super) fn held(hold: HeldBack, login: &str) -> Failure {
    let failure = match hold {
        HeldBack::Locked { wait } => Failure::new(
            Cause::AccountLocked,
            format!("Entra said that the account is locked, and is not asked {}", for_time(wait)),
        ),
        HeldBack::Budget { wait } => Failure::new(
            Cause::GuessBudgetSpent,
            format!(
                "`{login}` has used up its wrong passwords, each of which counts for two hours. More could lock the \
                 account in Entra, so the next one is tried {}",
                in_time(wait)
            ),
        )
        .to_do(format!("fix the device that has a wrong password, then run `gatepost account unlock {login}`")),
        HeldBack::GlobalBudget | HeldBack::Turn => Failure::new(
            Cause::TooManyRefusals,
            "too many wrong passwords were tried over all accounts, so new ones are not forwarded for up to an hour",
        ),
    };
    failure.delayed()
}

fn in_time(wait: Duration) -> String {
    match wait.as_secs() {
        0..=1 => "in a moment".into(),
        seconds @ 2..=119 => format!("in {seconds} s"),
        seconds => format!("in {} min", seconds.div_ceil(60)),
    }
}
