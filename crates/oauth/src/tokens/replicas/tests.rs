//! Two replicas with one store, in one process.

use super::*;
use crate::cache::{CONFIRMATION, Need};
use crate::endpoint::TokenEndpoint;
use crate::fake::{self, FakeEndpoint, Reply};
use crate::tokens::manager::TokenManager;
use crate::tokens::tests::moody::Moody;
use crate::tokens::tests::{self, address, application};
use gatepost_config::{Accounts, Limits};
use gatepost_core::secret::AccessToken;

const ANY: Need = Need { margin: Duration::ZERO, min_token_lifetime: Duration::ZERO };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct World {
    clock: Clock,
    entra: Arc<FakeEndpoint>,
    store: Arc<Moody>,
}

impl World {
    fn new() -> Self {
        let (clock, store) = (Clock::manual(), Arc::new(Moody::default()));
        store.share();
        Self { clock, entra: FakeEndpoint::new(|_| Reply::Silence), store }
    }

    fn replica(&self) -> Arc<TokenManager> {
        tests::manager(Accounts::default(), &self.entra, Arc::clone(&self.store) as Arc<dyn Store>, &self.clock)
    }

    /// A token of this age that is good for so much longer.
    fn token(&self, text: &str, age: Duration, left: Duration) -> Token {
        let now = self.clock.now();
        let access_token = Arc::new(AccessToken::new(text.to_owned()));
        Token { access_token, requested_at: now.before(age), expires_at: now.after(left) }
    }

    /// Leaves such a token as another replica does.
    fn leave(&self, ask: &TokenRequest, text: &str, age: Duration, left: Duration) {
        let time = self.clock.unix_time();
        let access_token = Arc::new(AccessToken::new(text.to_owned()));
        let token = SharedToken { access_token, requested_at: time.before(age), expires_at: time.after(left) };
        let key = OwnedKey::of(ask);
        let password = key.password.map(|password| password.expose().to_owned());
        self.store.tokens.lock().insert((key.token, password), token);
    }
}

fn ask(grant: GrantRequest) -> TokenRequest {
    TokenRequest { application: application(), tenant: "t".into(), scope: "s".into(), grant }
}

fn of_application() -> TokenRequest {
    ask(GrantRequest::ClientCredentials)
}

fn of_user(password: &str) -> TokenRequest {
    let (username, password) = (address("alice@contoso.example"), Arc::new(Password::new(password.to_owned())));
    ask(GrantRequest::Password { username, password })
}

fn shared(turn: &Turn) -> Option<&str> {
    match turn {
        Turn::Shared(token) => Some(token.access_token.expose()),
        Turn::Ours(_) => None,
    }
}

/// Lets background tasks finish.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_replica_is_used_only_where_one_of_its_own_would_be() {
    let hour = CONFIRMATION.as_secs();
    // Whether a password earned it, its age, what is left of it, the margin, whether the caller
    // takes it, which one the caller has seen, whether the upstream refused it, and whether it is
    // used.
    for (by_password, age, left, margin, fits, seen, refused, used) in [
        (false, 600, 3000, 300, true, None, false, true),
        (false, 600, 300, 300, true, None, false, true),
        (false, 600, 299, 300, true, None, false, false),
        (false, 600, 60, 0, true, None, false, true),
        (false, 600, 59, 0, true, None, false, false),
        (false, 600, 3000, 300, false, None, false, false),
        (false, 600, 3000, 300, true, Some("another"), false, true),
        (false, 600, 3000, 300, true, Some("theirs"), false, false),
        (false, 600, 3000, 300, true, None, true, false),
        (false, hour, 3600, 300, true, None, false, true),
        (true, hour - 1, 3600, 300, true, None, false, true),
        (true, hour, 3600, 300, true, None, false, false),
        (true, hour + 1, 3600, 300, true, None, false, false),
    ] {
        let case = format!("{by_password} {age} {left} {margin} {fits} {seen:?} {refused}");
        let world = World::new();
        let replica = world.replica();
        let ask = if by_password { of_user("right") } else { of_application() };
        world.leave(&ask, "theirs", seconds(age), seconds(left));
        let (theirs, now) = (world.token("theirs", seconds(age), seconds(left)), world.clock.now());
        if refused {
            replica.cache.insert(&ask, None, theirs.clone(), now, 0.0);
            assert!(replica.replace(&ask.key(), &theirs));
        }
        let seen = seen.map(|text| world.token(text, seconds(age), seconds(left)));
        let need = Need { margin: seconds(margin), min_token_lifetime: Duration::ZERO };
        let turn = replica.turn(&ask, need, seen.as_ref(), |_| fits).await;
        assert_eq!(shared(&turn), used.then_some("theirs"), "{case}");
        if let Turn::Shared(token) = turn {
            assert_eq!((token.requested_at, token.expires_at), (theirs.requested_at, theirs.expires_at), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_waits_for_the_one_that_asks_and_takes_its_token() {
    let world = World::new();
    let (one, other, ask) = (world.replica(), world.replica(), of_application());
    let Turn::Ours(holding) = one.turn(&ask, ANY, None, |_| true).await else { panic!("nobody left one") };
    let waiting = tokio::spawn({
        let ask = ask.clone();
        async move { shared(&other.turn(&ask, ANY, None, |_| true).await).map(str::to_owned) }
    });
    tokio::time::sleep(seconds(2)).await;
    assert!(!waiting.is_finished(), "it has asked as well");
    holding.leave(&world.token("ours", Duration::ZERO, seconds(3600)));
    assert_eq!(waiting.await.unwrap().as_deref(), Some("ours"));
    settle().await;
    // The lease was given back, so a newer token is fetched without a wait.
    let started = Instant::now();
    let seen = world.token("ours", Duration::ZERO, seconds(3600));
    assert_eq!(shared(&one.turn(&ask, ANY, Some(&seen), |_| true).await), None);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_waited_for_in_vain_costs_the_patience_of_a_request() {
    let world = World::new();
    let (replica, ask) = (world.replica(), of_application());
    let key = OwnedKey::of(&ask);
    let held = world.store.shared_tokens().unwrap().lease_request(key.shared(), seconds(600)).await.unwrap();
    assert!(held.is_some());
    let patience = async |most: Duration| {
        let started = Instant::now();
        let turn = tokio::time::timeout(2 * most, replica.turn(&ask, ANY, None, |_| true)).await;
        assert_eq!(shared(&turn.expect("it waits for ever")), None);
        let waited = started.elapsed();
        assert!((most..most + 2 * POLL).contains(&waited), "{waited:?}");
    };
    patience(Limits::default().token_total).await;
    let limits = Limits { token_total: seconds(3), ..Limits::default() };
    let config = Arc::new(fake::config(Accounts::default(), limits));
    replica.reconfigure(config, Arc::clone(&world.entra) as Arc<dyn TokenEndpoint>);
    patience(seconds(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_was_not_used_goes_to_the_next_at_once() {
    let world = World::new();
    let (one, other, ask) = (world.replica(), world.replica(), of_application());
    let Turn::Ours(holding) = one.turn(&ask, ANY, None, |_| true).await else { panic!("nobody left one") };
    drop(holding);
    settle().await;
    let started = Instant::now();
    assert_eq!(shared(&other.turn(&ask, ANY, None, |_| true).await), None);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_user_s_token_is_left_for_the_same_password_only_and_taken_away_when_that_is_refused() {
    let world = World::new();
    let (one, other) = (world.replica(), world.replica());
    let turn = async |replica: &TokenManager, password| replica.turn(&of_user(password), ANY, None, |_| true).await;
    let Turn::Ours(holding) = turn(&one, "right").await else { panic!("nobody left one") };
    holding.leave(&world.token("ours", Duration::ZERO, seconds(3600)));
    settle().await;
    assert_eq!(shared(&turn(&other, "wrong").await), None);
    assert_eq!(shared(&turn(&other, "right").await), Some("ours"));
    // The password is refused later, when a newer token is asked for.
    let seen = world.token("ours", Duration::ZERO, seconds(3600));
    let Turn::Ours(holding) = one.turn(&of_user("right"), ANY, Some(&seen), |_| true).await else { panic!() };
    holding.forget();
    settle().await;
    assert!(world.store.tokens.lock().is_empty());
}
