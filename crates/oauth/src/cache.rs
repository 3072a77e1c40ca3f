//! The token cache. A user's token is found only with the digest of the password that earned it.
//! The passwords for an application's token, or for that of a sign-in, are checked elsewhere.

use std::time::Duration;

use crate::grant::{GrantRequest, TokenRequest};
use crate::password_digest::PasswordDigest;
use crate::token::Token;
use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::SharedMap;
use gatepost_core::clock::Moment;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::tuple_key::TupleKey;

/// A token with less life left is not used, whatever else fails.
pub const LEAST_LIFE: Duration = Duration::from_secs(60);

/// Entra must have confirmed a password within this time, unless it cannot be asked.
pub const CONFIRMATION: Duration = Duration::from_secs(3600);

/// Most tokens kept. The least recently used one is dropped first.
const ENTRIES: usize = 100_000;

/// Number of independently locked parts. Logins of different users rarely wait for each other, nor
/// long for a sweep.
const PARTS: usize = 16;

/// How long after a failed refresh ahead of time the next one is tried.
const REFRESH_RETRY: Duration = Duration::from_secs(60);

/// A token that the upstream refused is replaced at most this often. If a second one is refused
/// too, the token is not the cause, and Entra answers endless repetition with AADSTS50196.
const REPLACEMENT: Duration = Duration::from_secs(300);

/// How much remaining lifetime a login needs its token to have.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The account's `token_expiry_margin`.
    pub margin: Duration,
    /// What the protocol asks for, for instance because the upstream ends a session together with
    /// its token.
    pub min_token_lifetime: Duration,
}

impl Need {
    /// The least remaining lifetime: a token with less is renewed before it is used. It is the
    /// margin, or `min_token_lifetime` up to half of the token's lifetime, whichever is more. A
    /// margin that no token of this lifetime could meet counts as three quarters of it. Otherwise
    /// every login would cost a request and gain nothing.
    pub fn least(&self, lifetime: Duration) -> Duration {
        let margin = if self.margin >= lifetime { lifetime * 3 / 4 } else { self.margin };
        margin.max(self.min_token_lifetime.min(lifetime / 2))
    }
}

/// What the cache has for a login.
#[derive(Debug)]
pub enum Found {
    /// No token, or only one that another password earned.
    Nothing,
    /// Entra accepted this password lately, but no usable token is left.
    Proved,
    /// A token, and whether it should be renewed.
    Usable(Token, Renewal),
}

/// Whether a usable token should be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// No.
    NotYet,
    /// Yes, but the login does not wait for it.
    Ahead,
    /// Before it is used, if that succeeds.
    First,
}

/// Who owns a token.
#[derive(Debug)]
enum TokenOwner {
    /// An application. The request renews the token without a login.
    Application(TokenRequest),
    /// A user or a sign-in. A sign-in's token is renewed by the code that keeps its refresh token.
    Login(MailAddress),
}

impl TokenOwner {
    fn of(ask: &TokenRequest) -> Option<Self> {
        match &ask.grant {
            GrantRequest::ClientCredentials | GrantRequest::ServiceAccount { .. } => {
                Some(Self::Application(ask.clone()))
            }
            GrantRequest::Password { username: login, .. } | GrantRequest::RefreshToken { login, .. } => {
                Some(Self::Login(login.clone()))
            }
            // Their token is kept once its owner is known.
            GrantRequest::AuthorizationCode(_) | GrantRequest::DeviceCode(_) => None,
        }
    }
}

#[derive(Debug)]
struct Held {
    token: Option<Token>,
    /// Digest of the accepted password; `None` where the password is checked elsewhere.
    proof: Option<PasswordDigest>,
    whose: TokenOwner,
    confirmed_at: Moment,
    refresh_at: Moment,
    last_used: Moment,
    /// The last token that the upstream refused, and when.
    replaced: Option<(Moment, Token)>,
}

impl Held {
    fn was_replaced_lately(&self, now: Moment) -> bool {
        self.replaced.as_ref().is_some_and(|(at, _)| now.since(*at) < REPLACEMENT)
    }

    fn due(&mut self, now: Moment) -> Option<Token> {
        let token = self.token.as_ref()?;
        if now < self.refresh_at || now.since(self.last_used) >= token.lifetime() {
            return None;
        }
        self.refresh_at = now.after(REFRESH_RETRY);
        Some(token.clone())
    }
}

/// All tokens of this process.
#[derive(Debug)]
pub struct TokenCache {
    held: SharedMap<TupleKey, Held>,
    /// How long an accepted password is remembered without Entra having confirmed it again.
    password_memory: Reloadable<Duration>,
}

impl TokenCache {
    /// Creates an empty cache.
    pub fn new(password_memory: Duration) -> Self {
        Self { held: SharedMap::new(ENTRIES, PARTS), password_memory: Reloadable::new(password_memory) }
    }

    /// Changes how long accepted passwords are remembered.
    pub fn adjust(&self, password_memory: Duration) {
        self.password_memory.set(password_memory);
    }

    /// Keeps only the tokens for which the closure returns true. It is given the request of an
    /// application's own token, and for any other token the address that logs in with it.
    pub fn keep(&self, of_application: impl Fn(&TokenRequest) -> bool, of_login: impl Fn(&MailAddress) -> bool) {
        self.held.retain(|_, held| match &held.whose {
            TokenOwner::Application(ask) => of_application(ask),
            TokenOwner::Login(login) => of_login(login),
        });
    }

    /// Looks up `key` with the digest of the presented password (`None`: the password is checked
    /// elsewhere). [`Renewal::Ahead`] is returned to one caller a minute.
    pub fn look(&self, key: &TupleKey, proof: Option<&PasswordDigest>, need: Need, now: Moment) -> Found {
        let mut part = self.held.part(key);
        let Some(held) = part.peek_mut(key) else { return Found::Nothing };
        if held.proof.as_ref() != proof {
            return Found::Nothing;
        }
        let since_confirmed = now.since(held.confirmed_at);
        if proof.is_some() && since_confirmed >= *self.password_memory.get() {
            return Found::Nothing;
        }
        let Some(token) = held.token.clone().filter(|token| token.remaining(now) >= LEAST_LIFE) else {
            return Found::Proved;
        };
        let Some(held) = part.get(key) else { return Found::Nothing };
        held.last_used = now;
        let unconfirmed = proof.is_some() && since_confirmed >= CONFIRMATION;
        let renewal = if unconfirmed || token.remaining(now) < need.least(token.lifetime()) {
            Renewal::First
        } else if now >= held.refresh_at {
            held.refresh_at = now.after(REFRESH_RETRY);
            Renewal::Ahead
        } else {
            Renewal::NotYet
        };
        Found::Usable(token, renewal)
    }

    /// Keeps the token that `ask` brought. `chance` (0 to 1) picks the time of its renewal, between
    /// half and four fifths of its lifetime. So tokens that began together are not renewed
    /// together.
    pub fn insert(&self, ask: &TokenRequest, proof: Option<PasswordDigest>, token: Token, now: Moment, chance: f64) {
        let Some(whose) = TokenOwner::of(ask) else { return };
        let key = ask.key();
        let mut part = self.held.part(&key);
        let replaced = part.peek(&key).and_then(|held| held.replaced.clone());
        let refresh_at = token.requested_at.after(token.lifetime().mul_f64(0.5 + 0.3 * chance.clamp(0.0, 1.0)));
        part.insert(
            key,
            Held {
                confirmed_at: token.requested_at,
                token: Some(token),
                proof,
                whose,
                refresh_at,
                last_used: now,
                replaced,
            },
        );
    }

    /// Drops the password and the token, because Entra refused the user whose password has this
    /// digest.
    pub fn reject(&self, key: &TupleKey, proof: &PasswordDigest) {
        let mut part = self.held.part(key);
        if part.peek(key).is_some_and(|held| held.proof.as_ref() == Some(proof)) {
            part.remove(key);
        }
    }

    /// Drops a token that the upstream refused, so that the next login gets another. Returns true
    /// when it was dropped. A token stays when it is no longer the current one, or when one was
    /// replaced within the last five minutes.
    pub fn replace(&self, key: &TupleKey, token: &Token, now: Moment) -> bool {
        let mut part = self.held.part(key);
        let Some(held) = part.peek_mut(key) else { return false };
        let current = held.token.as_ref().is_some_and(|current| current.is(token));
        if !current || held.was_replaced_lately(now) {
            return false;
        }
        held.replaced = held.token.take().map(|token| (now, token));
        true
    }

    /// Forgets this token, because its sign-in is gone or is now another person's.
    pub fn forget(&self, key: &TupleKey) {
        self.held.part(key).remove(key);
    }

    /// The token that the upstream last refused: another replica may still offer it.
    pub fn refused(&self, key: &TupleKey) -> Option<Token> {
        self.held.part(key).peek(key)?.replaced.as_ref().map(|(_, token)| token.clone())
    }

    /// When the token under this key was asked for, and when it ends. This lookup does not count as
    /// use.
    pub fn times(&self, key: &TupleKey) -> Option<(Moment, Moment)> {
        let part = self.held.part(key);
        let held = part.peek(key)?;
        held.token.as_ref().map(|token| (token.requested_at, token.expires_at))
    }

    /// Applications whose token is due for renewal and was used within its lifetime. Each is
    /// returned once a minute.
    pub fn due(&self, now: Moment) -> Vec<(TokenRequest, Token)> {
        let due = |held: &mut Held| {
            let TokenOwner::Application(ask) = &held.whose else { return None };
            let ask = ask.clone();
            Some((ask, held.due(now)?))
        };
        let mut all = Vec::new();
        for mut part in self.held.parts() {
            all.extend(part.iter_mut().filter_map(|(_, held)| due(held)));
        }
        all
    }

    /// The token under this key, if it is due for renewal and was used within its lifetime. It is
    /// returned once a minute.
    pub fn due_at(&self, key: &TupleKey, now: Moment) -> Option<Token> {
        self.held.part(key).peek_mut(key)?.due(now)
    }

    /// Forgets tokens that have expired, and passwords that have not been confirmed for too long.
    pub fn sweep(&self, now: Moment) {
        let password_memory = *self.password_memory.get();
        self.held.retain(|_, held| {
            if held.token.as_ref().is_some_and(|token| token.remaining(now) < LEAST_LIFE) {
                held.token = None;
            }
            let remembered = held.proof.is_some() && now.since(held.confirmed_at) < password_memory;
            held.token.is_some() || remembered || held.was_replaced_lately(now)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::password_digest::PasswordDigestKey;
    use gatepost_config::{Application, Cloud};
    use gatepost_core::account::MailAddress;
    use gatepost_core::clock::Clock;
    use gatepost_core::secret::{AccessToken, Password};

    const NEED: Need = Need { margin: Duration::from_secs(300), min_token_lifetime: Duration::ZERO };

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn ask(user: Option<&str>) -> TokenRequest {
        TokenRequest {
            application: Arc::new(Application {
                issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                    authority: Url::parse("https://login.example/").unwrap(),
                    tenant: "t".into(),
                    cloud: Cloud::Worldwide,
                }),
                client_id: "c".into(),
                credential: Arc::default(),
            }),
            tenant: "t".into(),
            scope: "s".into(),
            grant: match user {
                Some(user) => GrantRequest::Password {
                    username: MailAddress::parse(user).unwrap(),
                    password: Arc::new(Password::new("pw".into())),
                },
                None => GrantRequest::ClientCredentials,
            },
        }
    }

    fn token(clock: &Clock, lifetime: Duration) -> Token {
        let now = clock.now();
        Token {
            access_token: Arc::new(AccessToken::new("t".into())),
            requested_at: now,
            expires_at: now.after(lifetime),
        }
    }

    fn renewal(found: Found) -> Option<Renewal> {
        match found {
            Found::Usable(_, renewal) => Some(renewal),
            _ => None,
        }
    }

    #[test]
    fn the_margin_is_kept_and_never_asks_for_the_impossible() {
        let need = |margin, want| Need { margin: minutes(margin), min_token_lifetime: minutes(want) };
        for (margin, want, lifetime, least) in
            [(5, 0, 60, 5), (5, 30, 60, 30), (5, 30, 40, 20), (50, 30, 60, 50), (60, 0, 60, 45), (90, 0, 60, 45)]
        {
            assert_eq!(need(margin, want).least(minutes(lifetime)), minutes(least), "{margin} {want} {lifetime}");
        }
    }

    #[test]
    fn another_password_never_reaches_the_token() {
        let (clock, cache, key) =
            (Clock::manual(), TokenCache::new(minutes(1440)), PasswordDigestKey::generate().unwrap());
        let ask = ask(Some("a@b"));
        let proof = |password: &str| key.prove(&ask.key(), &Password::new(password.into()));
        cache.insert(&ask, Some(proof("right")), token(&clock, minutes(60)), clock.now(), 0.0);
        assert!(renewal(cache.look(&ask.key(), Some(&proof("right")), NEED, clock.now())).is_some());
        for wrong in ["", "Right", "right "] {
            assert!(matches!(cache.look(&ask.key(), Some(&proof(wrong)), NEED, clock.now()), Found::Nothing));
        }
        assert!(matches!(cache.look(&ask.key(), None, NEED, clock.now()), Found::Nothing));
        cache.reject(&ask.key(), &proof("wrong"));
        assert!(renewal(cache.look(&ask.key(), Some(&proof("right")), NEED, clock.now())).is_some());
        cache.reject(&ask.key(), &proof("right"));
        assert!(matches!(cache.look(&ask.key(), Some(&proof("right")), NEED, clock.now()), Found::Nothing));
    }

    #[test]
    fn a_token_ages_from_fresh_over_due_to_used_up_and_its_password_is_remembered_for_a_day() {
        let (clock, cache, key) =
            (Clock::manual(), TokenCache::new(minutes(1440)), PasswordDigestKey::generate().unwrap());
        let ask = ask(Some("a@b"));
        let proof = key.prove(&ask.key(), &Password::new("pw".into()));
        cache.insert(&ask, Some(proof), token(&clock, minutes(60)), clock.now(), 0.0);
        let look = || cache.look(&ask.key(), Some(&proof), NEED, clock.now());
        clock.advance(minutes(29));
        assert_eq!(renewal(look()), Some(Renewal::NotYet));
        clock.advance(minutes(1));
        assert_eq!(renewal(look()), Some(Renewal::Ahead));
        assert_eq!(renewal(look()), Some(Renewal::NotYet), "told once a minute");
        clock.advance(minutes(1));
        assert_eq!(renewal(look()), Some(Renewal::Ahead));
        clock.advance(minutes(25));
        assert_eq!(renewal(look()), Some(Renewal::First));
        clock.advance(minutes(4));
        cache.sweep(clock.now());
        assert!(matches!(look(), Found::Proved));
        clock.advance(minutes(1440 - 60));
        assert!(matches!(look(), Found::Nothing));
        cache.sweep(clock.now());
        assert!(cache.held.is_empty());
    }

    #[test]
    fn a_long_lived_token_does_not_spare_its_password_the_hourly_confirmation() {
        let (clock, cache, key) =
            (Clock::manual(), TokenCache::new(minutes(1440)), PasswordDigestKey::generate().unwrap());
        let ask = ask(Some("a@b"));
        let proof = key.prove(&ask.key(), &Password::new("pw".into()));
        cache.insert(&ask, Some(proof), token(&clock, minutes(28 * 60)), clock.now(), 0.0);
        clock.advance(minutes(60));
        assert_eq!(renewal(cache.look(&ask.key(), Some(&proof), NEED, clock.now())), Some(Renewal::First));
    }

    #[test]
    fn an_application_in_use_is_due_for_renewal_and_an_idle_one_is_not() {
        let (clock, cache, ask) = (Clock::manual(), TokenCache::new(minutes(1440)), ask(None));
        cache.insert(&ask, None, token(&clock, minutes(60)), clock.now(), 1.0);
        clock.advance(minutes(47));
        assert!(cache.due(clock.now()).is_empty(), "before four fifths");
        clock.advance(minutes(1));
        assert_eq!(cache.due(clock.now()).len(), 1);
        assert!(cache.due(clock.now()).is_empty(), "told once a minute");
        assert!(cache.due_at(&ask.key(), clock.now()).is_none(), "told once a minute");
        clock.advance(minutes(1));
        assert!(cache.due_at(&ask.key(), clock.now()).is_some());
        clock.advance(minutes(11));
        assert!(cache.due(clock.now()).is_empty(), "not used in its life");
        cache.forget(&ask.key());
        assert!(matches!(cache.look(&ask.key(), None, NEED, clock.now()), Found::Nothing));
    }

    #[test]
    fn a_refused_token_is_replaced_but_not_again_and_again() {
        let (clock, cache, ask) = (Clock::manual(), TokenCache::new(minutes(1440)), ask(None));
        let (first, second) = (token(&clock, minutes(60)), token(&clock, minutes(60)));
        cache.insert(&ask, None, first.clone(), clock.now(), 0.0);
        assert!(cache.replace(&ask.key(), &first, clock.now()));
        assert!(matches!(cache.look(&ask.key(), None, NEED, clock.now()), Found::Proved));
        cache.insert(&ask, None, second.clone(), clock.now(), 0.0);
        assert!(cache.refused(&ask.key()).is_some_and(|refused| refused.is(&first)));
        assert!(!cache.replace(&ask.key(), &first, clock.now()), "not the current one");
        assert!(!cache.replace(&ask.key(), &second, clock.now()), "too soon");
        clock.advance(minutes(5));
        assert!(cache.replace(&ask.key(), &second, clock.now()));
    }

    #[test]
    fn the_tokens_of_a_service_account_are_kept_and_renewed_for_each_mailbox() {
        let (clock, cache) = (Clock::manual(), TokenCache::new(minutes(60)));
        let of = |mailbox: &str| {
            let grant = GrantRequest::ServiceAccount { mailbox: MailAddress::parse(mailbox).unwrap() };
            TokenRequest { grant, ..ask(None) }
        };
        let (anna, bob) = (of("anna@contoso.example"), of("bob@contoso.example"));
        cache.insert(&anna, None, token(&clock, minutes(60)), clock.now(), 0.0);
        assert!(matches!(cache.look(&bob.key(), None, NEED, clock.now()), Found::Nothing));
        assert!(matches!(cache.look(&anna.key(), None, NEED, clock.now()), Found::Usable(_, Renewal::NotYet)));
        clock.advance(minutes(31));
        let due: Vec<TupleKey> = cache.due(clock.now()).into_iter().map(|(ask, _)| ask.key()).collect();
        assert_eq!(due, [anna.key()]);
    }

    #[test]
    fn a_token_is_renewed_first_only_when_less_than_its_margin_is_left() {
        let (clock, cache, ask) = (Clock::manual(), TokenCache::new(minutes(1440)), ask(None));
        cache.insert(&ask, None, token(&clock, minutes(60)), clock.now(), 0.0);
        clock.advance(minutes(55));
        assert_eq!(renewal(cache.look(&ask.key(), None, NEED, clock.now())), Some(Renewal::Ahead));
        clock.advance(Duration::from_millis(1));
        assert_eq!(renewal(cache.look(&ask.key(), None, NEED, clock.now())), Some(Renewal::First));
    }

    #[test]
    fn passwords_are_remembered_for_as_long_as_the_configuration_says_now() {
        let (clock, cache, key) =
            (Clock::manual(), TokenCache::new(minutes(1440)), PasswordDigestKey::generate().unwrap());
        let ask = ask(Some("a@b"));
        let proof = key.prove(&ask.key(), &Password::new("pw".into()));
        cache.insert(&ask, Some(proof), token(&clock, minutes(60)), clock.now(), 0.0);
        clock.advance(minutes(10));
        cache.adjust(minutes(11));
        assert!(renewal(cache.look(&ask.key(), Some(&proof), NEED, clock.now())).is_some());
        cache.adjust(minutes(10));
        assert!(matches!(cache.look(&ask.key(), Some(&proof), NEED, clock.now()), Found::Nothing));
    }
}
