//! An attempt to log in, the same for mail and HTTP. It defines how long the decision may take,
//! what a refusal costs the source, what is logged, and how long a refusal is delayed.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::turned_away;
use crate::session::connection_info::ConnectionInfo;
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use gatepost_core::account::{self, LoginName, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::jitter;
use gatepost_core::secret::Password;
use gatepost_net::penalty::{Closed, PenaltyGuard};
use gatepost_proto::sasl::{Bearer, Credentials};

/// Attempts on one connection.
pub(super) struct Attempts<'a> {
    pub(super) shared: &'a SessionContext,
    pub(super) service: &'a ListenerState,
    pub(super) subject: &'a ConnectionInfo,
    pub(super) visit: &'a PenaltyGuard,
}

/// The identity that a client claims, with its evidence.
#[derive(Clone, Copy)]
pub(super) enum Claim<'a> {
    Password(&'a LoginName, &'a Password),
    /// The client's own token.
    Token(&'a Bearer),
}

/// Too many refusals are delayed already, so the connection must be closed.
pub(super) struct TooManyHeldBack;

impl<'a> From<&'a Credentials> for Claim<'a> {
    fn from(credentials: &'a Credentials) -> Self {
        match credentials {
            Credentials::Password { login, password, .. } => Self::Password(login, password),
            Credentials::Token(bearer) => Self::Token(bearer),
        }
    }
}

impl Claim<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Password(login, _) => login.as_str(),
            Self::Token(bearer) => bearer.user.as_str(),
        }
    }

    fn secret(&self) -> &str {
        match self {
            Self::Password(_, password) => password.expose(),
            Self::Token(bearer) => bearer.token.expose(),
        }
    }

    /// Whether the refusal suggests that the claim was a guess.
    fn is_guess(&self, failure: &Failure) -> bool {
        // A client's own token that opens nothing is a guess as well.
        let opens_nothing = matches!(failure.refusal, Refusal::InvalidCredentials | Refusal::NotAuthorized);
        // What is answered as a wrong password costs as much, whatever the log says.
        let like_wrong = failure.delay && failure.refusal == Refusal::InvalidCredentials;
        failure.cause.is_guess() || like_wrong || matches!(self, Self::Token(_)) && opens_nothing
    }
}

impl Attempts<'_> {
    /// Returns the closure of the source if it is closed for its penalties. Then nothing is judged,
    /// not even on a connection that it opened before.
    pub(super) fn closed(&self) -> Option<Closed> {
        let peer = self.subject.peer;
        let closed = self.shared.penalties.closed(peer.ip())?;
        if closed.first {
            self.shared.journal.tell_closed(self.subject, &turned_away::penalised(peer, closed));
        }
        Some(closed)
    }

    /// Runs `judging`, until `end` at the latest.
    pub(super) async fn judge<T>(
        &self,
        end: Instant,
        judging: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout_at(end, judging).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    /// The failure when there was no decision within `limits.login`.
    pub(super) fn too_late(&self) -> Failure {
        let limit = self.shared.limits.login;
        Failure::new(Cause::LoginTimeout, format!("the login was not decided within {limit:?} (`limits.login`)"))
    }

    /// Notes that a claim was refused. The source is charged if it was a guess.
    pub(super) fn refused(&self, claim: Claim<'_>, failure: &Failure) {
        let (shown, address) = match claim {
            Claim::Password(login, _) => (self.shown(login), self.shared.authenticator.address_of(login)),
            Claim::Token(bearer) => (bearer.user.as_str().into(), None),
        };
        self.log_as(&shown, address.as_ref().map_or(&*shown, MailAddress::as_str), failure);
        if claim.is_guess(failure) {
            self.visit.charge_guess(claim.name(), claim.secret());
        } else {
            self.visit.forgive();
        }
    }

    /// Returns how much of a user name is logged. One that belongs to no account may be a password
    /// in the wrong field.
    pub(super) fn shown<'n>(&self, login: &'n LoginName) -> Cow<'n, str> {
        match self.shared.authenticator.recognizes(login) {
            true => login.as_str().into(),
            false => account::hint(login.as_str()).into(),
        }
    }

    /// Notes that something was refused for its form, without being judged. Its content is not
    /// kept. A client that repeats it is one that nobody has corrected.
    pub(super) fn refused_unjudged(&self, name: &str, failure: &Failure) {
        self.log(name, failure);
        self.visit.charge_guess(name, "");
    }

    /// Logs a refusal; `account` is what may be shown of the name.
    pub(super) fn log(&self, account: &str, failure: &Failure) {
        self.log_as(account, account, failure);
    }

    /// The same for a name of the account `login`.
    fn log_as(&self, account: &str, login: &str, failure: &Failure) {
        self.shared.journal.refused(self.service.listener.protocol, self.subject, (account, login), failure);
    }

    /// Delays a refusal, so that guessing is slow.
    ///
    /// # Errors
    /// [`TooManyHeldBack`], without any delay.
    pub(super) async fn hold_back(&self) -> Result<(), TooManyHeldBack> {
        let Ok(_place) = self.shared.delays.try_acquire() else { return Err(TooManyHeldBack) };
        sleep(delay(self.shared.limits.failure_delay, jitter::random())).await;
        Ok(())
    }
}

/// The `usual` delay, a quarter shorter to a quarter longer, by chance.
fn delay(usual: Duration, random: u64) -> Duration {
    let share = u32::try_from(random % 256).unwrap_or(0);
    usual * 3 / 4 + usual / 2 * share / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::secret::AccessToken;

    #[test]
    fn a_guess_is_what_is_answered_as_one() {
        let (login, password) = (LoginName::parse("alice@contoso.example").unwrap(), Password::new("x".to_owned()));
        let by_password = Claim::Password(&login, &password);
        let bearer = Bearer {
            user: MailAddress::parse("alice@contoso.example").unwrap(),
            token: AccessToken::new("x".to_owned()).into(),
        };
        let by_token = Claim::Token(&bearer);
        let failure = |cause, refusal, delay| Failure { refusal, delay, ..Failure::new(cause, "no") };
        for (cause, refusal, delay, of_password, of_token) in [
            (Cause::WrongPassword, Refusal::InvalidCredentials, true, true, true),
            (Cause::WrongPassword, Refusal::Unavailable, false, true, true),
            // Whatever the log says.
            (Cause::TokenRefused, Refusal::InvalidCredentials, true, true, true),
            (Cause::TokenRefused, Refusal::InvalidCredentials, false, false, true),
            (Cause::TokenRefused, Refusal::ContactAdmin, true, false, false),
            // A token that opens nothing.
            (Cause::TokenRefused, Refusal::NotAuthorized, true, false, true),
            (Cause::EntraUnreachable, Refusal::Unavailable, false, false, false),
        ] {
            let failure = failure(cause, refusal, delay);
            let told = [by_password.is_guess(&failure), by_token.is_guess(&failure)];
            assert_eq!(told, [of_password, of_token], "{failure:?}");
        }
    }

    #[test]
    fn a_refusal_comes_about_when_it_usually_does() {
        let millis = |random| delay(Duration::from_secs(2), random).as_millis();
        assert_eq!([0, 51, 255, 256, 256 + 255].map(millis), [1_500, 1_700, 2_500, 1_500, 2_500]);
    }
}
