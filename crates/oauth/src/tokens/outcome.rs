//! The outcome of a token request, for all who wait for it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::aadsts::Class;
use crate::cache::{Found, Renewal};
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::password_digest::PasswordDigest;
use crate::single_flight::Flight;
use crate::token::Token;
use crate::tokens::explain;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::cause::Cause;
use gatepost_core::clock::Moment;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::tuple_key::TupleKey;

/// How long a refusal that no repetition changes is answered from memory. Microsoft's own libraries
/// do the same after a 400.
pub(super) const STANDING: Duration = Duration::from_secs(60);
/// Most refusals remembered. Further ones are not remembered until the oldest expires.
const STANDING_ENTRIES: usize = 10_000;

/// Where a login's token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The cache had it.
    Cached,
    /// This login waited for it.
    Fetched,
}

/// Who waits for the same token request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FetchKey {
    /// Logins of one user with one password.
    User(PasswordDigest),
    /// Logins of all mailboxes of one application.
    Application(TupleKey),
    /// Logins of one address for which somebody has signed in.
    SignIn(TupleKey),
}

/// A token request that brought nothing.
#[derive(Debug)]
pub(super) struct FetchFailure {
    pub(super) failure: Failure,
    /// Whether a token that is still valid stays in use.
    spares_token: bool,
    /// Whether Entra was away, so that the same request may succeed a moment later.
    may_pass: bool,
}

/// What a token request comes to, for all who wait.
pub(super) type Outcome = Result<Token, Arc<FetchFailure>>;

/// A token for one login.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    /// The token.
    pub token: Token,
    /// Where it comes from.
    pub origin: TokenOrigin,
    /// The key of the token in the cache.
    pub key: TupleKey,
}

/// Refusals that are answered from memory for a while ([`STANDING`]).
#[derive(Debug)]
pub(super) struct NegativeCache(Mutex<BoundedMap<FetchKey, (Moment, Arc<FetchFailure>)>>);

impl Default for NegativeCache {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(STANDING_ENTRIES)))
    }
}

impl NegativeCache {
    pub(super) fn get(&self, key: &FetchKey, now: Moment) -> Option<Arc<FetchFailure>> {
        self.refusals().peek(key).filter(|entry| now < entry.0).map(|entry| Arc::clone(&entry.1))
    }

    pub(super) fn add(&self, key: FetchKey, setback: Arc<FetchFailure>, now: Moment) {
        let mut refusals = self.refusals();
        refusals.remove_oldest_while(|_, (until, _)| *until <= now);
        refusals.insert_if_room(key, (now.after(STANDING), setback));
    }

    pub(super) fn sweep(&self, now: Moment) {
        self.refusals().remove_oldest_while(|_, (until, _)| *until <= now);
    }

    /// Forgets one refusal, so that the next request goes out.
    pub(super) fn forget(&self, key: &FetchKey) {
        self.refusals().remove(key);
    }

    /// Forgets all refusals, because Entra may grant now what it refused before.
    pub(super) fn clear(&self) {
        self.refusals().clear();
    }

    fn refusals(&self) -> MutexGuard<'_, BoundedMap<FetchKey, (Moment, Arc<FetchFailure>)>> {
        self.0.lock()
    }
}

impl FetchFailure {
    pub(super) fn of(error: &FetchError, ask: &TokenRequest) -> Arc<Self> {
        let spares_token = !class(error).is_some_and(Class::concerns_user);
        Arc::new(Self { failure: explain::of(error, ask), spares_token, may_pass: error.may_pass() })
    }

    /// Like [`Self::of`], where no password is in question.
    pub(super) fn sparing(error: &FetchError, failure: Failure) -> Arc<Self> {
        Arc::new(Self { failure, spares_token: true, may_pass: error.may_pass() })
    }

    pub(super) fn refusal(failure: Failure) -> Arc<Self> {
        Arc::new(Self { failure, spares_token: false, may_pass: false })
    }

    pub(super) fn passing(failure: Failure) -> Arc<Self> {
        Arc::new(Self { failure, spares_token: true, may_pass: false })
    }
}

/// Returns the token that was found, renews it without delay for the login, or waits for a new one,
/// at most for `patience`. `fly` starts or joins the request. It is given the token that the caller
/// has seen.
pub(super) async fn obtain(
    found: &Found,
    key: TupleKey,
    patience: Duration,
    fly: impl Fn(Option<&Token>) -> Flight<Outcome>,
) -> Result<FetchedToken, Failure> {
    let at_hand = match found {
        Found::Usable(token, Renewal::NotYet) => {
            return Ok(FetchedToken { token: token.clone(), origin: TokenOrigin::Cached, key });
        }
        Found::Usable(token, Renewal::Ahead) => {
            // The flight goes on without us.
            drop(fly(Some(token)));
            return Ok(FetchedToken { token: token.clone(), origin: TokenOrigin::Cached, key });
        }
        Found::Usable(token, Renewal::First) => Some(token),
        Found::Proved | Found::Nothing => None,
    };
    let deadline = Instant::now() + patience;
    let mut flight = fly(at_hand);
    let mut outcome = flight.result().await;
    // A request of others that waits for an Entra that is away may have begun long before this login.
    while let (Some(Err(setback)), None) = (&outcome, at_hand)
        && setback.may_pass
        && !flight.is_ours()
        && Instant::now() < deadline
    {
        flight = fly(None);
        match timeout_at(deadline, flight.result()).await {
            Ok(next) => outcome = next,
            Err(_) => break,
        }
    }
    match (outcome, at_hand) {
        (Some(Ok(token)), _) => Ok(FetchedToken { token, origin: TokenOrigin::Fetched, key }),
        (Some(Err(setback)), Some(token)) if setback.spares_token => {
            tracing::debug!(cause = setback.failure.cause.name(), "there is no newer token, so the cached one is used");
            Ok(FetchedToken { token: token.clone(), origin: TokenOrigin::Cached, key })
        }
        (Some(Err(setback)), _) => Err(setback.failure.clone()),
        (None, Some(token)) => Ok(FetchedToken { token: token.clone(), origin: TokenOrigin::Cached, key }),
        (None, None) => Err(explain::own_fault()),
    }
}

pub(super) fn is_news(token: &Token, seen: Option<&Token>) -> bool {
    seen.is_none_or(|seen| !seen.is(token))
}

pub(super) fn class(error: &FetchError) -> Option<Class> {
    match error {
        FetchError::Refused(error) => Some(error.class),
        _ => None,
    }
}

/// Entra's own code, if it gave one.
pub(super) fn code(error: &FetchError) -> Option<u32> {
    match error {
        FetchError::Refused(error) => error.code,
        FetchError::Busy { code, .. } => *code,
        _ => None,
    }
}

pub(super) fn login_name(ask: &TokenRequest) -> &str {
    match &ask.grant {
        GrantRequest::Password { username, .. } => username.as_str(),
        GrantRequest::RefreshToken { login, .. } => login.as_str(),
        GrantRequest::ServiceAccount { mailbox } => mailbox.as_str(),
        GrantRequest::ClientCredentials | GrantRequest::AuthorizationCode(_) | GrantRequest::DeviceCode(_) => "",
    }
}

/// Logs a failed request once. If a login `waits` for it, its own line says everything, and this one
/// is for the search by client ID. A renewal ahead of time has no login.
pub(super) fn tell(ask: &TokenRequest, error: &FetchError, setback: &FetchFailure, waits: bool) {
    let code = code(error);
    let Failure { cause, actor, .. } = setback.failure;
    let (login, client_id) = (login_name(ask), &ask.application.client_id);
    if waits || cause == Cause::WrongPassword {
        tracing::debug!(login, client_id, cause = cause.name(), code, failure = %setback.failure, "no token");
    } else {
        let (cause, action_by, failure) = (cause.name(), actor.name(), &setback.failure);
        match actor {
            // It passes, or the next login says it.
            Actor::Nobody | Actor::ClientOwner => {
                tracing::info!(login, client_id, cause, code, action_by, "token not renewed: {failure}");
            }
            _ => tracing::warn!(login, client_id, cause, code, action_by, "token not renewed: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::fake::Logged;
    use crate::single_flight::SingleFlight;
    use crate::tokens::tests::{address, application};
    use gatepost_core::clock::Clock;
    use gatepost_core::secret::{AccessToken, Password, RefreshToken};

    fn key(name: &str) -> FetchKey {
        FetchKey::Application(TupleKey::encode([name]))
    }

    fn token(name: &str) -> Token {
        let now = Clock::manual().now();
        let expires_at = now.after(Duration::from_secs(3600));
        Token { access_token: Arc::new(AccessToken::new(name.into())), requested_at: now, expires_at }
    }

    fn passing() -> Outcome {
        Err(FetchFailure::sparing(&FetchError::Busy { status: 503, code: None }, explain::own_fault()))
    }

    #[test]
    fn a_refusal_is_remembered_for_a_minute_and_for_its_own_key() {
        let (clock, cache) = (Clock::manual(), NegativeCache::default());
        let known = |name: &str| cache.get(&key(name), clock.now()).is_some();
        let count = || cache.refusals().len();
        let second = Duration::from_secs(1);
        cache.add(key("a"), FetchFailure::refusal(explain::own_fault()), clock.now());
        assert_eq!([known("a"), known("b")], [true, false]);
        clock.advance(STANDING - second);
        cache.add(key("b"), FetchFailure::refusal(explain::own_fault()), clock.now());
        cache.sweep(clock.now());
        assert_eq!([known("a"), known("b")], [true, true]);
        clock.advance(second);
        assert_eq!([known("a"), known("b")], [false, true]);
        assert_eq!(count(), 2);
        cache.sweep(clock.now());
        assert_eq!((count(), known("b")), (1, true));
        cache.add(key("a"), FetchFailure::refusal(explain::own_fault()), clock.now());
        cache.forget(&key("b"));
        assert_eq!([known("a"), known("b")], [true, false]);
        // What is out of date makes room.
        clock.advance(STANDING);
        cache.add(key("c"), FetchFailure::refusal(explain::own_fault()), clock.now());
        assert_eq!((count(), known("c")), (1, true));
        cache.clear();
        assert!(!known("c"));
    }

    #[tokio::test]
    async fn a_token_at_hand_stays_in_use_unless_its_user_was_refused() {
        let at_hand = token("old");
        let found = Found::Usable(at_hand.clone(), Renewal::First);
        for (outcome, used) in [
            (Ok(token("new")), Some("new")),
            (passing(), Some("old")),
            (Err(FetchFailure::passing(explain::own_fault())), Some("old")),
            (Err(FetchFailure::refusal(explain::own_fault())), None),
        ] {
            let flights = SingleFlight::default();
            let fly = |seen: Option<&Token>| {
                assert!(seen.is_some_and(|seen| seen.is(&at_hand)));
                let outcome: Outcome = outcome.clone();
                flights.join(key("a"), || async { outcome })
            };
            let got = obtain(&found, TupleKey::encode(["a"]), Duration::from_secs(1), fly).await;
            let text = got.ok().map(|got| got.token.access_token.expose().to_owned());
            assert_eq!(text.as_deref(), used);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_joined_the_failing_request_of_another_tries_once_more_itself() {
        // Whether the first request is another's, what it brings, how long the login waits, and how
        // many requests there are.
        for (is_others, first, patience, requests) in [
            (true, passing(), 10, 2),
            (false, passing(), 10, 1),
            (true, passing(), 0, 1),
            (true, Err(FetchFailure::refusal(explain::own_fault())), 10, 1),
        ] {
            let (flights, count) = (SingleFlight::default(), AtomicUsize::new(0));
            let gate = Arc::new(Notify::new());
            let fly = |_: Option<&Token>| {
                flights.join(key("a"), || {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let (gate, first): (_, Outcome) = (Arc::clone(&gate), first.clone());
                    async move {
                        if number > 0 {
                            return Ok(token("second"));
                        }
                        gate.notified().await;
                        first
                    }
                })
            };
            let others = is_others.then(|| fly(None));
            let patience = Duration::from_secs(patience);
            let login = obtain(&Found::Nothing, TupleKey::encode(["a"]), patience, fly);
            let (got, ()) = tokio::join!(login, async { gate.notify_one() });
            assert_eq!((count.load(Ordering::Relaxed), got.is_ok()), (requests, requests == 2));
            drop(others);
        }
    }

    #[test]
    fn only_a_refusal_has_a_class_and_what_is_busy_may_have_a_code() {
        let refused = FetchError::Refused(crate::response::OauthError {
            class: Class::Locked,
            error: "invalid_grant".into(),
            code: Some(50053),
            sentence: None,
            trace_id: None,
            presented: None,
        });
        for (error, of_class, of_code) in [
            (refused, Some(Class::Locked), Some(50053)),
            (FetchError::Busy { status: 429, code: Some(90055) }, None, Some(90055)),
            (FetchError::NoTurn, None, None),
        ] {
            assert_eq!((class(&error), code(&error)), (of_class, of_code), "{error:?}");
        }
    }

    #[test]
    fn a_renewal_that_failed_is_a_warning_where_somebody_must_act_and_the_login_says_its_own() {
        let refused = |class, code| {
            FetchError::Refused(crate::response::OauthError {
                class,
                error: "invalid_grant".into(),
                code: Some(code),
                sentence: None,
                trace_id: None,
                presented: None,
            })
        };
        let (login, refresh_token) = (address("anna@contoso.example"), Arc::new(RefreshToken::new("r".into())));
        let password = Arc::new(Password::new("hush".into()));
        let by_password = GrantRequest::Password { username: login.clone(), password };
        let by_sign_in = GrantRequest::RefreshToken { login: login.clone(), refresh_token };
        let of_mailbox = GrantRequest::ServiceAccount { mailbox: login };
        let (disabled, wrong) = (refused(Class::Administrator, 7000215), refused(Class::WrongPassword, 50126));
        let busy = FetchError::Busy { status: 503, code: None };
        let named = "login=anna@contoso.example";
        for (grant, error, waits, level, said, login) in [
            (&by_password, &disabled, false, "WARN", "token not renewed: ", named),
            (&by_sign_in, &disabled, false, "WARN", "token not renewed: ", named),
            (&of_mailbox, &disabled, false, "WARN", "token not renewed: ", named),
            (&GrantRequest::ClientCredentials, &disabled, false, "WARN", "token not renewed: ", "login=\"\""),
            (&by_password, &busy, false, "INFO", "token not renewed: ", named),
            (&by_password, &disabled, true, "DEBUG", "no token", named),
            (&by_password, &busy, true, "DEBUG", "no token", named),
            (&by_password, &wrong, false, "DEBUG", "no token", named),
            (&by_password, &wrong, true, "DEBUG", "no token", named),
        ] {
            let (tenant, scope) = ("t".into(), "s".into());
            let ask = TokenRequest { application: application(), tenant, scope, grant: grant.clone() };
            let setback = FetchFailure::of(error, &ask);
            let log = Logged::begin();
            tell(&ask, error, &setback, waits);
            let lines = log.lines();
            let [line] = &lines[..] else { panic!("{lines:?}") };
            assert!(line.starts_with(&format!("{level} {said}")) && line.contains(login), "{line}");
            assert!(line.contains("client_id=app") && line.contains(setback.failure.cause.name()), "{line}");
        }
    }
}
