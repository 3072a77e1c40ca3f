use std::sync::atomic::Ordering;

use super::*;
use crate::fake::{FakeEndpoint, Reply};
use crate::tokens::outcome::TokenOrigin;
use crate::tokens::sign_ins::key;
use crate::tokens::tests::moody::{DEADLINE, Moody};
use crate::tokens::tests::{self, address};
use crate::tokens::upkeep::upkeep;
use gatepost_config::{Account, Accounts, Grant, Mailboxes, Resource, Sending};
use gatepost_core::account::LoginName;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Refusal;
use gatepost_core::secret::AccessToken;
use gatepost_store::{RetryingStore, SharedToken, Store, Stored};

const ANNA: &str = "anna@contoso.example";
const RECEPTION: &str = "reception@contoso.example";
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    clock: Clock,
    entra: Arc<FakeEndpoint>,
    store: Arc<Moody>,
    tokens: Arc<TokenManager>,
}

/// `anna@` signs in for herself and for `reception@`; a third entry is for everybody else in the
/// domain.
fn accounts() -> Accounts {
    let application = tests::application();
    let account = |pattern, grant, signs_in_as: Option<&str>| {
        Arc::new(Account {
            scope: Some("https://outlook.office.com/SMTP.Send".into()),
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: signs_in_as.map(address),
            ..tests::account(pattern, grant, &application)
        })
    };
    Accounts::new(vec![
        account(LoginPattern::Address(address(ANNA)), Grant::AuthorizationCode, None),
        account(LoginPattern::Address(address(RECEPTION)), Grant::DeviceCode, Some(ANNA)),
        account(LoginPattern::Domain("contoso.example".into()), Grant::DeviceCode, None),
    ])
}

impl World {
    fn new(entra: Arc<FakeEndpoint>) -> Arc<Self> {
        let clock = Clock::manual();
        let store = Arc::new(Moody::default());
        let durable = RetryingStore::new(Arc::clone(&store) as Arc<dyn Store>);
        let tokens = tests::manager(accounts(), &entra, Arc::new(durable), &clock);
        Arc::new(Self { clock, entra, store, tokens })
    }

    /// A world in which Anna has signed in; each exchange brings a new refresh token.
    async fn signed_in() -> Arc<Self> {
        let world = Self::new(FakeEndpoint::new(|_| Reply::Rotated(3600)));
        world.sign_in(ANNA, "r0").await;
        world
    }

    fn key(&self, login: &str) -> SignInKey {
        let (account, login) = self.tokens.config().accounts.find(&LoginName::parse(login).unwrap()).unwrap();
        key(&account, &login)
    }

    /// What `gatepost login` does, in another process.
    async fn sign_in(&self, login: &str, refresh_token: &str) {
        let now = self.clock.unix_time();
        let sign_in = SignIn {
            refresh_token: RefreshToken::new(refresh_token.into()),
            tenant_id: "tid".into(),
            object_id: "oid".into(),
            username: ANNA.into(),
            scope: "s".into(),
            signed_in_at: now,
            rotated_at: now,
            refused: None,
        };
        self.store.inside.put_sign_in(&self.key(login), &sign_in, None).await.unwrap();
    }

    async fn stored(&self, login: &str) -> (SignIn, Version) {
        self.store.inside.sign_in(&self.key(login)).await.unwrap().unwrap()
    }

    async fn stored_token(&self, login: &str) -> String {
        self.stored(login).await.0.refresh_token.expose().to_owned()
    }

    fn subject(&self, login: &str, resource: Resource) -> TokenSubject {
        let login = LoginName::parse(login).unwrap();
        let (account, login) = self.tokens.config().accounts.find(&login).unwrap();
        TokenSubject { account, login, resource }
    }

    /// The part of a login that follows the check of its password.
    async fn login(&self, login: &str) -> Result<FetchedToken, Failure> {
        self.tokens.sign_in_token(self.subject(login, Resource::Exchange), Duration::ZERO).await
    }

    /// Advances the clock until the cached token has expired.
    fn token_ends(&self) {
        self.clock.advance(HOUR);
    }

    fn sent(&self) -> Vec<String> {
        self.entra.asked().iter().map(|form| form["refresh_token"].clone()).collect()
    }
}

fn text(obtained: &FetchedToken) -> &str {
    obtained.token.access_token.expose()
}

#[tokio::test(start_paused = true)]
async fn a_login_exchanges_the_refresh_token_and_keeps_the_newer_one() {
    let world = World::signed_in().await;
    let first = world.login(ANNA).await.unwrap();
    assert_eq!((first.origin, text(&first)), (TokenOrigin::Fetched, "t1"));
    let form = &world.entra.asked()[0];
    assert_eq!((&*form["grant_type"], &*form["client_id"]), ("refresh_token", "app"));
    assert_eq!(form["scope"], "https://outlook.office.com/SMTP.Send offline_access openid profile");
    assert_eq!(world.stored_token(ANNA).await, "r1");
    let second = world.login(ANNA).await.unwrap();
    assert_eq!((second.origin, text(&second)), (TokenOrigin::Cached, "t1"));
    world.token_ends();
    assert_eq!(text(&world.login(ANNA).await.unwrap()), "t2");
    assert_eq!(world.sent(), ["r0", "r1"]);
    let (stored, _) = world.stored(ANNA).await;
    assert_eq!((stored.rotated_at, stored.refresh_token.expose()), (world.clock.unix_time(), "r2"));
    assert_eq!(stored.scope, "https://outlook.office.com/SMTP.Send", "what it was last good for");
    assert_eq!(stored.signed_in_at.after(HOUR), stored.rotated_at, "signing in is another matter");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_newer_token_leaves_the_one_at_hand() {
    let world = World::new(FakeEndpoint::new(|_| Reply::Token(3600)));
    world.sign_in(ANNA, "r0").await;
    world.login(ANNA).await.unwrap();
    world.token_ends();
    world.login(ANNA).await.unwrap();
    assert_eq!(world.sent(), ["r0", "r0"]);
    assert_eq!(world.stored_token(ANNA).await, "r0");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_are_one_exchange() {
    let world = World::signed_in().await;
    world.entra.close();
    let logins: Vec<_> = (0..1000)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.login(ANNA).await.map(|obtained| text(&obtained).to_owned()) })
        })
        .collect();
    while world.entra.count() == 0 {
        tokio::task::yield_now().await;
    }
    logins[0].abort();
    world.entra.open();
    for login in logins.into_iter().skip(1) {
        assert_eq!(login.await.unwrap().unwrap(), "t1");
    }
    assert_eq!((world.entra.count(), world.stored_token(ANNA).await.as_str()), (1, "r1"));
}

#[tokio::test(start_paused = true)]
async fn without_a_sign_in_the_remedy_is_told_and_a_new_one_counts_at_once() {
    let world = World::new(FakeEndpoint::new(|_| Reply::Rotated(3600)));
    for _ in 0..3 {
        let failure = world.login("carol@contoso.example").await.unwrap_err();
        assert_eq!((failure.refusal, failure.delay), (Refusal::ContactAdmin, false));
        assert_eq!(
            failure.to_string(),
            "nobody has signed in for `carol@contoso.example`. Gatepost admin: run `gatepost login carol@contoso.example`."
        );
    }
    assert_eq!(world.entra.count(), 0, "a mail connection starts nothing");
    world.sign_in("carol@contoso.example", "r0").await;
    assert!(world.login("carol@contoso.example").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_marks_the_token_keeps_it_and_is_asked_about_once_an_hour() {
    for code in [70008, 50173, 700_082, 70043, 50076, 50079, 50126, 50034, 50055, 99_999] {
        let world = World::signed_in().await;
        world.entra.judge_by(move |_| Reply::Denied(code));
        for minute in 0..170 {
            let failure = world.login(ANNA).await.unwrap_err();
            assert_eq!((failure.refusal, failure.cause), (Refusal::ContactAdmin, Cause::SignInNeeded), "{code}");
            assert!(failure.message.contains(&format!("`AADSTS{code}`")), "{failure}");
            assert_eq!(failure.remedy, format!("run `gatepost login {ANNA}`"));
            assert_eq!(world.entra.count(), 1 + minute / 60, "{code} after {minute} minutes");
            world.clock.advance(Duration::from_secs(60));
        }
        let (stored, _) = world.stored(ANNA).await;
        assert_eq!(stored.refresh_token.expose(), "r0", "{code}");
        assert_eq!(stored.refused.unwrap().code, Some(code));
        // It comes back by itself, or by a new sign-in, which counts at once.
        world.entra.judge_by(|_| Reply::Rotated(3600));
        if code == 70008 {
            world.clock.advance(HOUR);
        } else {
            assert!(world.login(ANNA).await.is_err());
            world.sign_in(ANNA, "new").await;
        }
        assert!(world.login(ANNA).await.is_ok(), "{code}");
        assert_eq!(world.stored(ANNA).await.0.refused, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_final_marks_nothing_and_never_looks_like_a_wrong_password() {
    for (reply, refusal) in [
        (Reply::Denied(50057), Refusal::NotAuthorized),
        (Reply::Denied(50053), Refusal::Unavailable),
        (Reply::Denied(53003), Refusal::ContactAdmin),
        (Reply::Denied(65001), Refusal::ContactAdmin),
        (Reply::Denied(90033), Refusal::Unavailable),
        (Reply::Raw(503, None, "<html>"), Refusal::Unavailable),
        (Reply::Raw(429, Some("7"), "{}"), Refusal::Unavailable),
        (Reply::Raw(200, None, "<html>portal"), Refusal::Unavailable),
        (Reply::Raw(401, None, r#"{"error":"invalid_client","error_codes":[7000222]}"#), Refusal::ContactAdmin),
        (Reply::Raw(400, None, r#"{"error":"never_heard_of"}"#), Refusal::Unavailable),
        (Reply::Unreachable, Refusal::Unavailable),
    ] {
        let world = World::signed_in().await;
        world.entra.judge_by({
            let reply = reply.clone();
            move |_| reply.clone()
        });
        for _ in 0..5 {
            let failure = world.login(ANNA).await.unwrap_err();
            assert_eq!(failure.refusal, refusal);
            let consents = failure.remedy.contains(&format!("run `gatepost login {ANNA}`. Or let"));
            assert_eq!(consents, failure.code.as_deref() == Some("AADSTS65001"), "{failure}");
        }
        assert!(world.entra.count() <= 15, "{refusal:?}");
        let (stored, _) = world.stored(ANNA).await;
        assert_eq!((stored.refresh_token.expose(), stored.refused), ("r0", None), "{refusal:?}");
        world.entra.judge_by(|_| Reply::Rotated(3600));
        world.clock.advance(Duration::from_secs(61));
        assert!(world.login(ANNA).await.is_ok(), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_a_token_in_use() {
    let world = World::signed_in().await;
    world.login(ANNA).await.unwrap();
    world.entra.judge_by(|_| Reply::Denied(70008));
    // Within its margin, where a newer one is wanted first.
    world.clock.advance(Duration::from_secs(57 * 60));
    let obtained = world.login(ANNA).await.unwrap();
    assert_eq!((obtained.origin, text(&obtained)), (TokenOrigin::Cached, "t1"));
}

#[tokio::test(start_paused = true)]
async fn a_newer_refresh_token_is_durable_before_its_access_token_is_used() {
    let world = World::signed_in().await;
    world.store.writes.forget_permits(1_000_000);
    let login = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.login(ANNA).await.map(|obtained| text(&obtained).to_owned()) }
    });
    while world.entra.count() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!login.is_finished(), "used before it was kept");
    assert_eq!(world.stored_token(ANNA).await, "r0");
    world.store.writes.add_permits(1);
    assert_eq!(login.await.unwrap().unwrap(), "t1");
    assert_eq!(world.stored_token(ANNA).await, "r1");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_a_login_up_for_its_deadline_only() {
    let world = World::signed_in().await;
    world.store.writes.forget_permits(1_000_000);
    let started = Instant::now();
    assert_eq!(text(&world.login(ANNA).await.unwrap()), "t1");
    assert_eq!(started.elapsed(), DEADLINE);
    assert_eq!(world.stored_token(ANNA).await, "r0");
    world.store.writes.add_permits(10);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored_token(ANNA).await, "r1");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_take_stays_in_memory_and_is_offered_again() {
    let world = World::signed_in().await;
    world.store.full.store(true, Ordering::SeqCst);
    for n in 1..=3 {
        assert_eq!(text(&world.login(ANNA).await.unwrap()), format!("t{n}"));
        world.token_ends();
    }
    assert_eq!(world.sent(), ["r0", "r1", "r2"], "the newest is used");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.stored_token(ANNA).await, "r0");
    world.store.full.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored_token(ANNA).await, "r3");
    world.login(ANNA).await.unwrap();
    assert_eq!(world.stored_token(ANNA).await, "r4");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_done_without() {
    let world = World::signed_in().await;
    world.store.away.store(true, Ordering::SeqCst);
    let failure = world.login(ANNA).await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "store-unavailable"));
    world.store.away.store(false, Ordering::SeqCst);
    world.login(ANNA).await.unwrap();
    world.store.away.store(true, Ordering::SeqCst);
    world.token_ends();
    assert_eq!(text(&world.login(ANNA).await.unwrap()), "t2");
    // Meanwhile somebody has signed in again. That counts, and not what was kept in memory.
    world.sign_in(ANNA, "new").await;
    world.store.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored_token(ANNA).await, "new");
    world.token_ends();
    world.login(ANNA).await.unwrap();
    assert_eq!(world.sent(), ["r0", "r1", "new"]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_token_of_two_processes_counts() {
    // The other process exchanges the token while this one does, and Entra no longer takes the
    // older one.
    let world = World::signed_in().await;
    let (store, key) = (Arc::clone(&world.store), world.key(ANNA));
    let now = world.clock.unix_time();
    world.entra.judge_by(move |form| {
        if form["refresh_token"] != "r0" {
            return Reply::Rotated(3600);
        }
        let theirs = at_once(store.inside.sign_in(&key)).unwrap().unwrap();
        let rotated = SignIn { refresh_token: RefreshToken::new("theirs".into()), rotated_at: now, ..theirs.0 };
        at_once(store.inside.put_sign_in(&key, &rotated, None)).unwrap();
        Reply::Denied(70008)
    });
    assert_eq!(text(&world.login(ANNA).await.unwrap()), "t2");
    assert_eq!(world.sent(), ["r0", "theirs"]);
    let (stored, _) = world.stored(ANNA).await;
    assert_eq!((stored.refresh_token.expose(), stored.refused), ("r2", None));
}

#[tokio::test(start_paused = true)]
async fn a_process_waits_while_another_one_exchanges_but_not_for_ever() {
    let world = World::signed_in().await;
    let lease = world.store.inside.lease_sign_in(&world.key(ANNA), LEASE).await.unwrap().unwrap();
    let login = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.login(ANNA).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.entra.count(), 0);
    let (theirs, _) = world.stored(ANNA).await;
    let theirs = SignIn { refresh_token: RefreshToken::new("theirs".into()), ..theirs };
    world.store.inside.put_sign_in(&world.key(ANNA), &theirs, None).await.unwrap();
    world.store.inside.release(&lease).await.unwrap();
    login.await.unwrap().unwrap();
    assert_eq!(world.sent(), ["theirs"], "the newest one, and only that");
    // The lease was released.
    let lease = world.store.inside.lease_sign_in(&world.key(ANNA), LEASE).await.unwrap();
    assert!(lease.is_some());
    world.token_ends();
    let started = Instant::now();
    assert!(world.login(ANNA).await.is_ok(), "its holder may be dead");
    assert!(started.elapsed() <= LEASE_WAIT + LEASE_POLL);
}

#[tokio::test(start_paused = true)]
async fn of_two_exchanges_at_once_neither_is_lost_and_a_new_sign_in_beats_both() {
    for new_sign_in in [false, true] {
        let world = World::signed_in().await;
        let (store, key, now) = (Arc::clone(&world.store), world.key(ANNA), world.clock.unix_time());
        world.entra.judge_by(move |form| {
            if form["refresh_token"] == "r0" {
                let theirs = at_once(store.inside.sign_in(&key)).unwrap().unwrap().0;
                let theirs = SignIn { refresh_token: RefreshToken::new("theirs".into()), rotated_at: now, ..theirs };
                let signed_in_at = if new_sign_in { now.after(HOUR) } else { theirs.signed_in_at };
                at_once(store.inside.put_sign_in(&key, &SignIn { signed_in_at, ..theirs }, None)).unwrap();
            }
            Reply::Rotated(3600)
        });
        world.login(ANNA).await.unwrap();
        let (sent, kept) = (world.sent(), world.stored_token(ANNA).await);
        if new_sign_in {
            assert_eq!((sent, kept.as_str()), (vec!["r0".to_owned(), "theirs".to_owned()], "r2"));
        } else {
            assert_eq!((sent, kept.as_str()), (vec!["r0".to_owned()], "r1"));
        }
    }
}

/// The result of a call of the in-memory store, which is ready at once.
fn at_once<T>(call: Stored<'_, T>) -> Result<T, StoreError> {
    let mut call = call;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match call.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("it takes time"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_signed_out_elsewhere_is_not_served_from_memory() {
    let world = World::signed_in().await;
    let mut revision = None;
    world.login(ANNA).await.unwrap();
    world.tokens.follow_sign_ins(&mut revision).await;
    assert_eq!(world.login(ANNA).await.unwrap().origin, TokenOrigin::Cached);
    assert!(world.store.inside.remove_sign_in(&world.key(ANNA)).await.unwrap());
    world.tokens.follow_sign_ins(&mut revision).await;
    assert_eq!(world.login(ANNA).await.unwrap_err().cause, Cause::SignInNeeded);
    assert!(world.tokens.sign_ins.all().is_empty());

    // The same person is served on; another person starts again.
    world.sign_in(ANNA, "r0").await;
    world.login(ANNA).await.unwrap();
    world.sign_in(ANNA, "r0").await;
    world.tokens.follow_sign_ins(&mut revision).await;
    assert_eq!(world.login(ANNA).await.unwrap().origin, TokenOrigin::Cached);
    let (mut other, _) = world.stored(ANNA).await;
    other.object_id = "another".into();
    world.store.inside.put_sign_in(&world.key(ANNA), &other, None).await.unwrap();
    world.tokens.follow_sign_ins(&mut revision).await;
    assert_eq!(world.login(ANNA).await.unwrap().origin, TokenOrigin::Fetched);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_renewed_ahead_and_an_idle_sign_in_is_not_forgotten_by_entra() {
    let world = World::signed_in().await;
    world.login(ANNA).await.unwrap();
    world.clock.advance(Duration::from_secs(49 * 60));
    let upkeep = tokio::spawn(upkeep(Arc::downgrade(&world.tokens)));
    while world.entra.count() < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(world.login(ANNA).await.unwrap().origin, TokenOrigin::Cached);
    // Nobody logs in any longer.
    world.clock.advance(Duration::from_secs(13 * 24 * 3600));
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(world.entra.count(), 2);
    world.clock.advance(Duration::from_secs(24 * 3600));
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(world.entra.count(), 3);
    assert_eq!(world.stored(ANNA).await.0.rotated_at, world.clock.unix_time());
    upkeep.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_somebody_else_must_mend_stands_for_a_minute_and_for_this_sign_in_only() {
    for (code, stands) in [(50057, true), (53003, true), (90033, false)] {
        let world = World::signed_in().await;
        world.entra.judge_by(move |_| Reply::Denied(code));
        assert!(world.login(ANNA).await.is_err());
        let asked = world.entra.count();
        // An authority that is out of order would be asked again by now.
        world.clock.advance(Duration::from_secs(2));
        assert!(world.login(ANNA).await.is_err());
        assert_eq!(world.entra.count() == asked, stands, "{code}");
        if !stands {
            continue;
        }
        world.clock.advance(Duration::from_secs(57));
        assert!(world.login(ANNA).await.is_err());
        assert_eq!(world.entra.count(), asked, "{code} before the minute is over");
        world.clock.advance(Duration::from_secs(1));
        assert!(world.login(ANNA).await.is_err());
        assert_eq!(world.entra.count(), asked + 1, "{code} after the minute");
        world.sign_in(ANNA, "new").await;
        assert!(world.login(ANNA).await.is_err());
        assert_eq!(world.entra.count(), asked + 2, "{code} of another sign-in");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consent_that_is_missing_ends_the_sign_in_only_for_what_it_was_made_for() {
    const NO_CONSENT: Reply =
        Reply::Raw(400, None, r#"{"error":"invalid_grant","error_description":"AADSTS65001: Nobody has consented."}"#);
    for (resource, reply, ends) in [
        (Resource::Exchange, NO_CONSENT, true),
        (Resource::Graph, NO_CONSENT, false),
        (Resource::Graph, Reply::Denied(70008), true),
    ] {
        let world = World::signed_in().await;
        let answer = reply.clone();
        world.entra.judge_by(move |_| answer.clone());
        assert!(world.tokens.sign_in_token(world.subject(ANNA, resource), Duration::ZERO).await.is_err());
        assert_eq!(world.stored(ANNA).await.0.refused.is_some(), ends, "{resource:?} {reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_replicas_share_is_of_the_sign_in_that_there_is_now() {
    // The age of the shared token in minutes, ten minutes after the sign-in.
    for (age, used) in [(9, "theirs"), (10, "theirs"), (11, "t1")] {
        let world = World::signed_in().await;
        world.store.share();
        world.clock.advance(Duration::from_secs(600));
        let whose = world.subject(ANNA, Resource::Exchange);
        let key = whose.token_key(&whose.scope(&world.tokens.config()));
        let time = world.clock.unix_time();
        let theirs = SharedToken {
            access_token: Arc::new(AccessToken::new("theirs".into())),
            requested_at: time.before(Duration::from_secs(60 * age)),
            expires_at: time.after(HOUR),
        };
        world.store.tokens.lock().insert((key, None), theirs);
        assert_eq!(text(&world.login(ANNA).await.unwrap()), used, "{age}");
        assert_eq!(world.entra.count(), usize::from(used == "t1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_has_ended_takes_its_token_from_the_other_replicas() {
    for (code, stays) in [(70008, false), (50057, true)] {
        let world = World::signed_in().await;
        world.store.share();
        world.login(ANNA).await.unwrap();
        while world.store.tokens.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        world.entra.judge_by(move |_| Reply::Denied(code));
        // Within its margin, where a newer one is wanted first.
        world.clock.advance(Duration::from_secs(57 * 60));
        assert_eq!(world.login(ANNA).await.unwrap().origin, TokenOrigin::Cached);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((world.entra.count(), world.store.tokens.lock().len()), (2, usize::from(stays)), "{code}");
    }
}
