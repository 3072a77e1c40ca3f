use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use url::Url;

use super::*;
use crate::fake::{self, FakeEndpoint, Reply};
use crate::tokens::fetch::UserLogin;
use crate::tokens::guard::{Attempt, AttemptGuard, AttemptPermit, Permitting};
use crate::tokens::outcome::{FetchedToken, TokenOrigin};
use crate::tokens::sign_ins::{Known, TokenSubject};
use crate::tokens::tests::{account, address, application};
use gatepost_config::{Cloud, Credential, Issuer, Limits, LoginPattern, NotedSecret, Renewable};
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Moment, UnixTime};
use gatepost_core::secret::ClientSecret;
use gatepost_core::source::Source;
use gatepost_store::MemoryStore;

const ALICE: &str = "alice@contoso.example";
const BOB: &str = "bob@contoso.example";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Lets every password go to Entra, and keeps the verdicts.
#[derive(Default)]
struct Watching {
    tries_again: AtomicBool,
    told: Mutex<Vec<String>>,
}

struct Watched(Arc<Watching>);

impl AttemptGuard for Watching {
    fn permit<'a>(self: Arc<Self>, _: Attempt, _: &'a str, _: Moment) -> Permitting<'a> {
        Box::pin(async { Ok(Box::new(Watched(self)) as Box<dyn AttemptPermit>) })
    }

    fn tries_again(&self, _: &Attempt, _: Moment) -> bool {
        self.tries_again.load(Ordering::Relaxed)
    }
}

impl AttemptPermit for Watched {
    fn accepted(self: Box<Self>, person: Option<User>, _: Moment) {
        self.0.told.lock().push(if person.is_some() { "accepted a person" } else { "accepted" }.to_owned());
    }

    fn refused(self: Box<Self>, _: Moment) -> bool {
        self.0.told.lock().push("refused".to_owned());
        false
    }

    fn locked(self: Box<Self>, _: Moment, at_least: Duration) {
        self.0.told.lock().push(format!("locked for {}", at_least.as_secs()));
    }
}

struct World {
    entra: Arc<FakeEndpoint>,
    clock: Clock,
    guard: Arc<Watching>,
    tokens: Arc<TokenManager>,
}

fn single(login: &str, grant: Grant, application: &Arc<Application>) -> Account {
    account(LoginPattern::Address(address(login)), grant, application)
}

/// Alice and Bob with their own passwords.
fn both(application: &Arc<Application>) -> Vec<Account> {
    [ALICE, BOB].map(|login| single(login, Grant::Password, application)).into()
}

fn config(accounts: Vec<Account>) -> Arc<Config> {
    Arc::new(fake::config(Accounts::new(accounts.into_iter().map(Arc::new).collect()), Limits::default()))
}

impl World {
    fn new(entra: Arc<FakeEndpoint>, accounts: Vec<Account>) -> Self {
        let (clock, guard) = (Clock::manual(), Arc::new(Watching::default()));
        let endpoint = Arc::clone(&entra) as Arc<dyn TokenEndpoint>;
        let store = Arc::new(MemoryStore::default());
        let watching = Arc::clone(&guard) as Arc<dyn AttemptGuard>;
        let tokens = TokenManager::new(config(accounts), endpoint, store, clock.clone(), Arc::default(), watching);
        Self { entra, clock, guard, tokens }
    }

    fn account(&self, login: &str) -> Arc<Account> {
        found(&address(login), &self.tokens.config().accounts).unwrap()
    }

    async fn login(&self, login: &str, password: &str) -> Result<FetchedToken, Failure> {
        let login = UserLogin {
            account: &self.account(login),
            address: &address(login),
            password: &Password::new(password.into()),
            source: Source::of(IpAddr::from([192, 0, 2, 1])),
            resource: Resource::Exchange,
            min_token_lifetime: Duration::ZERO,
        };
        self.tokens.user_token(login).await
    }

    async fn of_application(&self, login: &str) -> FetchedToken {
        let (account, login) = (self.account(login), address(login));
        self.tokens.application_token(&account, &login, &login, Resource::Exchange, Duration::ZERO).await.unwrap()
    }

    fn reconfigure(&self, accounts: Vec<Account>) {
        self.tokens.reconfigure(config(accounts), Arc::clone(&self.entra) as Arc<dyn TokenEndpoint>);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_answered_from_memory_until_the_guard_lets_it_go_again() {
    let world = World::new(FakeEndpoint::with_password("right"), both(&application()));
    for _ in 0..3 {
        let failure = world.login(ALICE, "wrong").await.unwrap_err();
        assert_eq!((failure.cause, failure.code.as_deref()), (Cause::WrongPassword, Some("AADSTS50126")));
    }
    assert_eq!((world.entra.count(), &**world.guard.told.lock()), (1, &["refused".to_owned()][..]));
    assert!(world.login(ALICE, "right").await.is_ok(), "another password is another matter");
    world.guard.tries_again.store(true, Ordering::Relaxed);
    world.clock.advance(seconds(119));
    assert!(world.login(ALICE, "wrong").await.is_err());
    assert_eq!(world.entra.count(), 2, "too soon");
    world.guard.tries_again.store(false, Ordering::Relaxed);
    world.clock.advance(seconds(1));
    assert!(world.login(ALICE, "wrong").await.is_err());
    assert_eq!(world.entra.count(), 2, "the guard does not want it");
    world.guard.tries_again.store(true, Ordering::Relaxed);
    assert!(world.login(ALICE, "wrong").await.is_err());
    assert_eq!(world.entra.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_administrator_makes_one_user_s_refusals_forgotten() {
    let world = World::new(FakeEndpoint::with_password("right"), both(&application()));
    for login in [ALICE, BOB, ALICE, BOB] {
        assert!(world.login(login, "wrong").await.is_err());
    }
    assert_eq!(world.entra.count(), 2);
    world.tokens.forget_refusals(User::named(&world.account(ALICE), &address(ALICE)));
    for login in [ALICE, BOB] {
        assert!(world.login(login, "wrong").await.is_err());
    }
    assert_eq!(world.entra.count(), 3);
    assert_eq!(world.entra.asked()[2]["username"], ALICE);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_stands_for_a_minute_and_a_passing_fault_does_not() {
    const ELSEWHERE: &str = r#"{"aud":"https://graph.microsoft.com"}"#;
    for (reply, told, stands) in [
        (Reply::Denied(50053), Some("locked for 0"), true),
        (Reply::Denied(50196), Some("locked for 300"), true),
        (Reply::Denied(50057), None, true),
        (Reply::Denied(50076), None, true),
        (Reply::Denied(90033), None, false),
        (Reply::Raw(400, None, "<html>"), None, false),
        (Reply::Jwt(ELSEWHERE), None, true),
    ] {
        let answer = reply.clone();
        let world = World::new(FakeEndpoint::new(move |_| answer.clone()), both(&application()));
        for _ in 0..2 {
            assert!(world.login(ALICE, "any").await.is_err());
        }
        assert_eq!(world.entra.count(), if stands { 1 } else { 2 }, "{reply:?}");
        assert_eq!(world.guard.told.lock().first().map(String::as_str), told, "{reply:?}");
        let before = world.entra.count();
        assert!(world.login(BOB, "any").await.is_err());
        assert_eq!(world.entra.count(), before + 1, "of one user only: {reply:?}");
        world.clock.advance(seconds(60));
        assert!(world.login(ALICE, "any").await.is_err());
        assert_eq!(world.entra.count(), before + 2, "a minute is over: {reply:?}");
        if stands {
            world.clock.advance(seconds(59));
            assert!(world.login(ALICE, "any").await.is_err());
            assert_eq!(world.entra.count(), before + 2, "the minute is not over: {reply:?}");
            world.tokens.forget_refusals(User::named(&world.account(ALICE), &address(ALICE)));
            assert!(world.login(ALICE, "any").await.is_err());
            assert_eq!(world.entra.count(), before + 3, "{reply:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_refused_later_loses_the_token_at_hand_and_in_an_outage_keeps_it() {
    for (reply, keeps) in [
        (Reply::Denied(50057), false),
        (Reply::Denied(50126), false),
        (Reply::Denied(50173), false),
        (Reply::Denied(50053), true),
        (Reply::Denied(7000215), true),
        (Reply::Raw(503, None, "<html>"), true),
    ] {
        let world = World::new(FakeEndpoint::with_password("right"), both(&application()));
        let first = world.login(ALICE, "right").await.unwrap();
        assert_eq!(first.origin, TokenOrigin::Fetched);
        assert_eq!(world.login(ALICE, "right").await.unwrap().origin, TokenOrigin::Cached);
        // Less is left than the account's margin, so a newer one is asked for first.
        world.clock.advance(seconds(3400));
        let answer = reply.clone();
        world.entra.judge_by(move |_| answer.clone());
        let later = world.login(ALICE, "right").await;
        assert_eq!(later.is_ok(), keeps, "{reply:?}");
        assert!(later.is_ok_and(|later| later.token.is(&first.token) && later.origin == TokenOrigin::Cached) == keeps);
        world.entra.judge_by(|_| Reply::Token(3600));
        assert_eq!(!world.tokens.at_hand(&world.account(ALICE), &address(ALICE)).is_empty(), keeps, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_guard_hears_whose_password_it_was() {
    const NAMED: &str = r#"{"aud":"https://outlook.office.com","oid":"0a1b2c3d-0000-4111-8222-333344445555"}"#;
    const STRANGE: &str = r#"{"aud":"https://outlook.office.com","oid":"anna"}"#;
    for (reply, told) in
        [(Reply::Jwt(NAMED), "accepted a person"), (Reply::Jwt(STRANGE), "accepted"), (Reply::Token(3600), "accepted")]
    {
        let world = World::new(FakeEndpoint::new(move |_| reply.clone()), both(&application()));
        world.login(ALICE, "right").await.unwrap();
        assert_eq!(**world.guard.told.lock(), [told.to_owned()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_tokens_of_changed_accounts_only_and_lets_refused_passwords_go_again() {
    let application = application();
    let world = World::new(FakeEndpoint::with_password("right"), both(&application));
    for login in [ALICE, BOB] {
        world.login(login, "right").await.unwrap();
        assert!(world.login(login, "wrong").await.is_err());
    }
    assert_eq!(world.entra.count(), 4);
    world.reconfigure(both(&application));
    assert!(world.login(ALICE, "wrong").await.is_err());
    assert_eq!(world.entra.count(), 5, "it may be right by now");
    assert_eq!(world.login(ALICE, "right").await.unwrap().origin, TokenOrigin::Cached);
    let mut changed = both(&application);
    changed[0].token_expiry_margin = seconds(301);
    world.reconfigure(changed);
    assert_eq!(world.login(ALICE, "right").await.unwrap().origin, TokenOrigin::Fetched);
    assert_eq!(world.login(BOB, "right").await.unwrap().origin, TokenOrigin::Cached);
    world.reconfigure(vec![single(ALICE, Grant::Password, &application)]);
    world.reconfigure(both(&application));
    assert_eq!(world.login(BOB, "right").await.unwrap().origin, TokenOrigin::Fetched, "it was gone");
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_tokens_and_refusals_of_applications_that_are_gone() {
    let other = || {
        let Application { issuer, credential, .. } = Arc::into_inner(application()).unwrap();
        Arc::new(Application { issuer, client_id: "other".to_owned(), credential })
    };
    let accounts = |second: &Arc<Application>| {
        vec![single(ALICE, Grant::ClientCredentials, &application()), single(BOB, Grant::ClientCredentials, second)]
    };
    let world = World::new(FakeEndpoint::new(|_| Reply::Token(3600)), accounts(&other()));
    for login in [ALICE, BOB] {
        assert_eq!(world.of_application(login).await.origin, TokenOrigin::Fetched);
        assert_eq!(world.of_application(login).await.origin, TokenOrigin::Cached);
    }
    world.reconfigure(accounts(&application()));
    assert_eq!(world.of_application(ALICE).await.origin, TokenOrigin::Cached);
    world.reconfigure(accounts(&other()));
    assert_eq!(world.of_application(BOB).await.origin, TokenOrigin::Fetched);
    assert_eq!(world.of_application(ALICE).await.origin, TokenOrigin::Cached);
}

#[tokio::test(start_paused = true)]
async fn what_is_at_hand_is_shown_with_its_age_until_it_is_swept() {
    for grant in [Grant::Password, Grant::ClientCredentials] {
        let world = World::new(FakeEndpoint::with_password("right"), vec![single(ALICE, grant, &application())]);
        let (account, alice) = (world.account(ALICE), address(ALICE));
        assert_eq!(world.tokens.at_hand(&account, &alice), []);
        match grant {
            Grant::Password => drop(world.login(ALICE, "right").await.unwrap()),
            _ => drop(world.of_application(ALICE).await),
        }
        world.clock.advance(seconds(600));
        let view = TokenView { resource: Resource::Exchange, age: seconds(600), left: seconds(3000) };
        assert_eq!(world.tokens.at_hand(&account, &alice), [view]);
        assert_eq!(world.tokens.at_hand(&account, &address(BOB)).len(), usize::from(grant != Grant::Password));
        world.tokens.sweep();
        assert_eq!(world.tokens.at_hand(&account, &alice), [view]);
        world.clock.advance(seconds(3000));
        world.tokens.sweep();
        assert_eq!(world.tokens.at_hand(&account, &alice), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_upstream_refused_is_replaced_once() {
    let world = World::new(FakeEndpoint::with_password("right"), both(&application()));
    let first = world.login(ALICE, "right").await.unwrap();
    assert!(world.tokens.replace(&first.key, &first.token));
    let second = world.login(ALICE, "right").await.unwrap();
    assert_eq!(second.origin, TokenOrigin::Fetched);
    assert!(!world.tokens.replace(&first.key, &first.token), "not the current one");
    assert!(!world.tokens.replace(&second.key, &second.token), "too soon");
    assert_eq!(world.login(ALICE, "right").await.unwrap().origin, TokenOrigin::Cached);
}

#[tokio::test]
async fn an_account_is_personal_by_its_tenant_or_by_who_has_signed_in() {
    const COMPANY: &str = "0a1b2c3d-0000-4111-8222-333344445555";
    for (tenant, directory, is_personal) in [
        (Tenant::Consumers, None, true),
        (Tenant::Common, None, false),
        (Tenant::Common, Some(Entra::PERSONAL_ACCOUNTS), true),
        (Tenant::Common, Some(COMPANY), false),
        (Tenant::Organizations, Some(Entra::PERSONAL_ACCOUNTS), false),
        (Tenant::Named("contoso.example".into()), Some(Entra::PERSONAL_ACCOUNTS), false),
    ] {
        let issuer = Issuer::Entra(Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: tenant.clone(),
            cloud: Cloud::Worldwide,
        });
        let application = Arc::new(Application { issuer, client_id: "app".into(), credential: Arc::default() });
        let accounts = || vec![single(ALICE, Grant::DeviceCode, &application)];
        let world = World::new(FakeEndpoint::new(|_| Reply::Silence), accounts());
        let (account, login) = (world.account(ALICE), address(ALICE));
        if let Some(directory) = directory {
            let whose =
                TokenSubject { account: Arc::clone(&account), login: login.clone(), resource: Resource::Exchange };
            let (key, token_key) = (whose.key(), whose.token_key("s"));
            let person = (directory.to_owned(), "oid".to_owned());
            world.tokens.sign_ins.put(&key, Known { whose, token_key, person, standing: None });
        }
        let told = |resource| world.tokens.is_personal(&account, &login, resource);
        assert_eq!(told(Resource::Exchange), is_personal, "{tenant:?} {directory:?}");
        assert_eq!(told(Resource::Graph), tenant == Tenant::Consumers, "{tenant:?} {directory:?}");
        let mut changed = accounts();
        changed[0].token_expiry_margin = seconds(1);
        world.reconfigure(accounts());
        assert_eq!(told(Resource::Exchange), is_personal, "{tenant:?} {directory:?}");
        world.reconfigure(changed);
        assert_eq!(told(Resource::Exchange), tenant == Tenant::Consumers, "{tenant:?} {directory:?}");
    }
}

#[tokio::test]
async fn secrets_are_listed_once_with_their_ends_the_nearest_first() {
    let with = |client_id: &str, ends: &[Option<u64>]| {
        let noted = |end: &Option<u64>| NotedSecret {
            secret: Renewable { value: Arc::new(ClientSecret::new("hush".into())), file: None },
            expires: end.map(UnixTime),
        };
        let Application { issuer, .. } = Arc::into_inner(application()).unwrap();
        let credential = Arc::new(Credential::Secrets(ends.iter().map(noted).collect()));
        Arc::new(Application { issuer, client_id: client_id.to_owned(), credential })
    };
    let (one, two) = (with("one", &[Some(2_000)]), with("two", &[Some(3_000), None, Some(1_000)]));
    let account = |login, application| single(login, Grant::ClientCredentials, application);
    let accounts = vec![account("a@x.example", &one), account("b@x.example", &two), account("c@x.example", &one)];
    let tokens = World::new(FakeEndpoint::new(|_| Reply::Silence), accounts).tokens;
    let listed: Vec<_> =
        tokens.expiries().await.into_iter().map(|end| (end.client_id, end.what, end.expires.0)).collect();
    let line = |id: &str, what: &str, end| (id.to_owned(), what.to_owned(), end);
    assert_eq!(
        listed,
        [
            line("two", "client secret 3", 1_000),
            line("one", "client secret", 2_000),
            line("two", "client secret 1", 3_000)
        ]
    );
    let ends: Vec<_> = tokens.ends(&two).await.into_iter().map(|end| end.expires).collect();
    assert_eq!(ends, [Some(UnixTime(3_000)), None, Some(UnixTime(1_000))]);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_is_fetched_although_there_is_one_at_hand_and_replaces_it() {
    let accounts = vec![single(ALICE, Grant::ClientCredentials, &application())];
    let world = World::new(FakeEndpoint::new(|_| Reply::Token(3600)), accounts);
    let (account, alice) = (world.account(ALICE), address(ALICE));
    let first = world.of_application(ALICE).await;
    let fresh = world.tokens.fresh_application_token(&account, &alice, &alice, Resource::Exchange).await.unwrap();
    assert_eq!((fresh.origin, fresh.token.is(&first.token), world.entra.count()), (TokenOrigin::Fetched, false, 2));
    let next = world.of_application(ALICE).await;
    assert!(next.origin == TokenOrigin::Cached && next.token.is(&fresh.token));
}
