use std::sync::{Arc, LazyLock};
use std::time::Duration;

use url::Url;

use crate::login::{Authenticator, AuthorizedLogin, LoginRequest, TokenOrigin, own_token};
use gatepost_config::{
    Account, Accounts, Application, Cloud, Config, Grant, Limits, LoginPattern, Mailboxes, Resource, Sending,
    password_hash,
};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::Clock;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_oauth::endpoint::TokenEndpoint;
use gatepost_oauth::fake::{self, FakeEndpoint, Reply};
use gatepost_oauth::tokens::RENEWAL_TICK;
use gatepost_proto::sasl::Bearer;
use gatepost_store::faulty::FaultyStore;

mod outage;
mod sign_ins;

pub(super) const LOCAL_PASSWORD: &str = "aaaaabbbbbcccccddddd";
static LOCAL_HASH: LazyLock<String> =
    LazyLock::new(|| password_hash::hash(&Password::new(LOCAL_PASSWORD.into())).unwrap());

pub(super) const VICTIM: [u8; 4] = [192, 0, 2, 1];
pub(super) const STRANGER: [u8; 4] = [198, 51, 100, 1];

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) entra: Arc<FakeEndpoint>,
    pub(super) gate: Arc<Authenticator>,
    pub(super) store: Arc<FaultyStore>,
}

pub(super) fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Lets background tasks finish.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

/// `*@contoso.example` signs in with its own password. `scanner@` and `fax@` use the application,
/// with a local password; `printer@` and `*@branch.example` use it with device passwords only.
pub(super) fn config(limits: Limits) -> Config {
    let application = Arc::new(Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "contoso.example".into(),
            cloud: Cloud::Worldwide,
        }),
        client_id: "app".into(),
        credential: Arc::default(),
    });
    let account = |pattern, aliases: &[&str], grant, passwords: &[String], mailbox: Option<&str>| {
        Arc::new(Account {
            pattern,
            aliases: aliases.iter().map(|alias| LoginName::parse(alias).unwrap()).collect(),
            grant,
            passwords: passwords.to_vec(),
            application: Arc::clone(&application),
            scope: None,
            mailbox: mailbox.map(address),
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: None,
            token_expiry_margin: minutes(5),
        })
    };
    let (local, hashes) = (Grant::ClientCredentials, [LOCAL_HASH.clone()]);
    let one = |text| LoginPattern::Address(address(text));
    let accounts = Accounts::new(vec![
        account(LoginPattern::Domain("contoso.example".into()), &[], Grant::Password, &[], None),
        account(one("bob@contoso.example"), &["bob", "bobby"], Grant::Password, &[], None),
        account(one("scanner@contoso.example"), &["scan7"], local, &hashes, Some("reception@contoso.example")),
        account(one("fax@contoso.example"), &[], local, &hashes, None),
        account(one("printer@contoso.example"), &["print"], local, &[], None),
        account(LoginPattern::Domain("branch.example".into()), &[], local, &[], None),
    ]);
    fake::config(accounts, limits)
}

impl World {
    pub(super) fn new(entra: Arc<FakeEndpoint>) -> Self {
        Self::with(entra, Limits::default())
    }

    pub(super) fn with(entra: Arc<FakeEndpoint>, limits: Limits) -> Self {
        Self::on(entra, Arc::default(), Clock::manual(), limits)
    }

    /// Creates a separate process that shares its store and clock with others.
    pub(super) fn on(entra: Arc<FakeEndpoint>, store: Arc<FaultyStore>, clock: Clock, limits: Limits) -> Self {
        let endpoint = Arc::clone(&entra) as Arc<dyn TokenEndpoint>;
        let gate = Authenticator::new(Arc::new(config(limits)), endpoint, Arc::clone(&store) as _, clock.clone());
        Self { clock, entra, gate, store }
    }

    pub(super) async fn login_from(
        &self,
        source: [u8; 4],
        login: &str,
        password: &str,
    ) -> Result<AuthorizedLogin, Failure> {
        self.login_over(Protocol::Imap, source, login, password).await
    }

    pub(super) async fn login_over(
        &self,
        protocol: Protocol,
        source: [u8; 4],
        login: &str,
        password: &str,
    ) -> Result<AuthorizedLogin, Failure> {
        let (login, password) = (LoginName::parse(login).unwrap(), Password::new(password.into()));
        let request = LoginRequest {
            login: &login,
            acting_as: None,
            password: &password,
            source: source.into(),
            protocol,
            resource: Resource::Exchange,
        };
        self.gate.admit(request, Duration::ZERO).await
    }

    pub(super) async fn login(&self, login: &str, password: &str) -> Result<AuthorizedLogin, Failure> {
        self.login_from(VICTIM, login, password).await
    }

    pub(super) async fn cause(&self, login: &str, password: &str) -> &'static str {
        self.login(login, password).await.expect_err("admitted").cause.name()
    }
}

fn text(admission: &AuthorizedLogin) -> &str {
    admission.bearer.token.expose()
}

#[tokio::test(start_paused = true)]
async fn a_right_password_costs_one_request_and_is_known_from_then_on() {
    let world = World::new(FakeEndpoint::with_password("right"));
    let first = world.login("Alice@Contoso.example", "right").await.unwrap();
    assert_eq!((first.origin, text(&first)), (TokenOrigin::Fetched, "t1"));
    assert_eq!(first.bearer.user.as_str(), "alice@contoso.example");
    let second = world.login("alice@contoso.example", "right").await.unwrap();
    assert_eq!((second.origin, text(&second)), (TokenOrigin::Cached, "t1"));
    assert_eq!(world.entra.count(), 1);
    assert_eq!(world.entra.asked()[0]["username"], "alice@contoso.example");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_never_touches_a_cached_token_and_is_forwarded_once() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    for _ in 0..1000 {
        let failure = world.login("alice@contoso.example", "wrong").await.unwrap_err();
        assert_eq!((failure.refusal, failure.delay), (Refusal::InvalidCredentials, true));
    }
    assert_eq!(world.entra.count(), 2);
    assert_eq!(text(&world.login("alice@contoso.example", "right").await.unwrap()), "t1");
    // The right password of another user is a separate login.
    world.login("carol@contoso.example", "right").await.unwrap();
    assert_eq!(world.entra.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_are_one_request_and_the_leader_may_leave() {
    let world = Arc::new(World::new(FakeEndpoint::with_password("right")));
    world.entra.close();
    let logins: Vec<_> = (0..1000)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.login("alice@contoso.example", "right").await.map(|a| a.origin) })
        })
        .collect();
    while world.entra.count() == 0 {
        tokio::task::yield_now().await;
    }
    logins[0].abort();
    world.entra.open();
    for (n, login) in logins.into_iter().enumerate() {
        match login.await {
            Ok(result) => assert_eq!(result.unwrap(), TokenOrigin::Fetched),
            Err(error) => assert!(n == 0 && error.is_cancelled()),
        }
    }
    assert_eq!(world.entra.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_parallel_guesses_reach_entra_at_most_five_times() {
    let world = Arc::new(World::new(FakeEndpoint::with_password("right")));
    world.entra.close();
    let guesses: Vec<_> = (0..1000)
        .map(|n| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.login("alice@contoso.example", &format!("guess {n}")).await.is_ok() })
        })
        .collect();
    while world.entra.count() == 0 {
        tokio::task::yield_now().await;
    }
    world.entra.open();
    for guess in guesses {
        assert!(!guess.await.unwrap());
    }
    assert_eq!(world.entra.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_hostile_logins_do_not_keep_the_victim_out() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    for n in 0..10_000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        let failure = world.login_from([203, 0, c, d], "alice@contoso.example", &format!("guess {n}")).await;
        assert!(failure.is_err());
        world.clock.advance(Duration::from_millis(60));
        if n % 100 == 0 {
            world.login("alice@contoso.example", "right").await.unwrap();
        }
    }
    let refused = world.entra.asked().iter().filter(|form| form["password"] != "right").count();
    assert!(refused <= 8, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_right_password_is_renewed_although_the_budget_is_spent() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    world.clock.advance(minutes(120));
    for n in 0..40 {
        // Some come from the victim's own address, as when all users share one gateway.
        let source = if n < 20 { STRANGER } else { VICTIM };
        let _ = world.login_from(source, "alice@contoso.example", &format!("guess {n}")).await;
    }
    assert_eq!(world.entra.count(), 1 + 8);
    let failure = world.login("alice@contoso.example", "yet another").await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "guess-budget-spent"));
    // Its token has long expired, but Entra accepted this password within the day.
    assert_eq!(world.login("alice@contoso.example", "right").await.unwrap().origin, TokenOrigin::Fetched);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_entra_takes_for_another_brings_no_budget_of_its_own() {
    let world = World::new(FakeEndpoint::with_password("right"));
    for name in [
        "\u{ff41}lice@contoso.example",
        "\u{e1}lice@contoso.example",
        "alic\u{435}@contoso.example",
        "alice@contoso.example.",
        "alice@contoso.example..",
    ] {
        assert_eq!(world.cause(name, "right").await, "unknown-account", "{name}");
    }
    assert_eq!(world.entra.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_of_one_person_share_one_budget_once_entra_has_said_whose_they_are() {
    let judge = |form: &fake::Fields| match (&*form["username"], &*form["password"]) {
        ("carol@contoso.example", "right") => Reply::Jwt(r#"{"oid":"11111111-2222-3333-4444-666666666666"}"#),
        (_, "right") => Reply::Jwt(r#"{"oid":"11111111-2222-3333-4444-555555555555"}"#),
        _ => Reply::Denied(50126),
    };
    let (clock, store) = (Clock::manual(), Arc::<FaultyStore>::default());
    let entra = FakeEndpoint::new(judge);
    let process = || World::on(Arc::clone(&entra), Arc::clone(&store), clock.clone(), Limits::default());
    let world = process();
    let names = ["alice@contoso.example", "a.smith@contoso.example", "carol@contoso.example"];
    for name in names {
        world.login(name, "right").await.unwrap();
    }
    settle().await;
    for world in [world, process()] {
        let before = world.entra.count();
        for n in 0..20 {
            world.login_from(STRANGER, names[n % 2], &format!("guess {n}")).await.unwrap_err();
        }
        assert!(world.entra.count() - before <= 5, "{}", world.entra.count() - before);
        world.login_from(STRANGER, names[2], "guess").await.unwrap_err();
    }
    let world = process();
    world.login(names[1], "right").await.expect("the source is known by the person, whatever the name");
    assert_eq!(world.login_from(STRANGER, names[0], "one more").await.unwrap_err().cause.name(), "wrong-password");
}

#[tokio::test(start_paused = true)]
async fn aliases_share_one_budget() {
    let world = World::new(FakeEndpoint::with_password("right"));
    for n in 0..30 {
        let alias = ["bob", "bobby", "BOB@contoso.example"][n % 3];
        let _ = world.login(alias, &format!("guess {n}")).await;
    }
    assert_eq!(world.entra.count(), 5);
    assert!(world.entra.asked().iter().all(|form| form["username"] == "bob@contoso.example"));
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_is_not_asked_about_and_a_valid_token_still_serves() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    world.entra.judge_by(|_| Reply::Denied(50053));
    assert_eq!(world.cause("alice@contoso.example", "guess").await, "account-locked");
    for n in 0..10 {
        let failure = world.login("alice@contoso.example", &format!("guess {n}")).await.unwrap_err();
        assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "account-locked"));
    }
    assert_eq!(world.entra.count(), 2);
    // This also holds when the token would be renewed by now.
    world.clock.advance(minutes(56));
    let admission = world.login("alice@contoso.example", "right").await.unwrap();
    assert_eq!((admission.origin, text(&admission)), (TokenOrigin::Cached, "t1"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_at_its_margin_and_kept_when_entra_is_down() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    world.entra.judge_by(|_| Reply::Unreachable);
    world.clock.advance(minutes(50));
    for minute in 50..59 {
        let admission = world.login("alice@contoso.example", "right").await.unwrap();
        assert_eq!(text(&admission), "t1", "minute {minute}");
        world.clock.advance(minutes(1));
    }
    assert_eq!(world.login("alice@contoso.example", "right").await.unwrap().origin, TokenOrigin::Cached, "60 s left");
    world.clock.advance(Duration::from_secs(1));
    let failure = world.login("alice@contoso.example", "right").await.unwrap_err();
    assert_eq!(failure.refusal, Refusal::Unavailable, "{failure}");
    world.entra.judge_by(|_| Reply::Token(3600));
    world.clock.advance(minutes(1));
    assert_eq!(world.login("alice@contoso.example", "right").await.unwrap().origin, TokenOrigin::Fetched);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_refused_a_moment_too_early_is_tried_again_soon() {
    let world = World::new(FakeEndpoint::with_password("old"));
    world.login("alice@contoso.example", "old").await.unwrap();
    // Entra does not know the new one yet.
    assert_eq!(world.cause("alice@contoso.example", "new").await, "wrong-password");
    assert_eq!(
        world.login_from(STRANGER, "alice@contoso.example", "new").await.unwrap_err().cause.name(),
        "wrong-password"
    );
    world.entra.judge_by(|form| if form["password"] == "new" { Reply::Token(3600) } else { Reply::Denied(50126) });
    world.clock.advance(Duration::from_secs(119));
    assert!(world.login("alice@contoso.example", "new").await.is_err());
    world.clock.advance(Duration::from_secs(1));
    assert!(world.login_from(STRANGER, "alice@contoso.example", "new").await.is_err(), "nobody knows this source");
    assert_eq!(world.entra.count(), 2);
    world.login("alice@contoso.example", "new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_that_keeps_its_old_password_is_tried_again_a_few_times_only() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    for _ in 0..4 * 60 {
        assert!(world.login("alice@contoso.example", "old").await.is_err());
        world.clock.advance(minutes(1));
    }
    let asked = world.entra.asked().iter().filter(|form| form["password"] == "old").count();
    assert!((5..=14).contains(&asked), "{asked} in four hours");
    // It uses up nothing of the budget for others.
    world.entra.judge_by(|_| Reply::Token(3600));
    world.login("alice@contoso.example", "brand new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_refused_passwords() {
    let world = World::new(FakeEndpoint::with_password("right"));
    assert!(world.login("alice@contoso.example", "new").await.is_err());
    world.entra.judge_by(|_| Reply::Token(3600));
    assert!(world.login("alice@contoso.example", "new").await.is_err());
    let endpoint = Arc::clone(&world.entra) as Arc<dyn TokenEndpoint>;
    world.gate.reconfigure(world.gate.config(), endpoint);
    world.login("alice@contoso.example", "new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wanted_life_renews_early() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    world.clock.advance(Duration::from_secs(31 * 60));
    let (login, password) = (LoginName::parse("alice@contoso.example").unwrap(), Password::new("right".into()));
    let (source, protocol) = (VICTIM.into(), Protocol::Imap);
    let request = LoginRequest {
        login: &login,
        acting_as: None,
        password: &password,
        source,
        protocol,
        resource: Resource::Exchange,
    };
    assert_eq!(world.gate.admit(request, minutes(30)).await.unwrap().origin, TokenOrigin::Fetched);
}

#[tokio::test(start_paused = true)]
async fn a_token_past_its_refresh_point_is_renewed_off_the_login_path() {
    let world = World::new(FakeEndpoint::with_password("right"));
    world.login("alice@contoso.example", "right").await.unwrap();
    world.clock.advance(minutes(49));
    world.entra.close();
    assert_eq!(text(&world.login("alice@contoso.example", "right").await.unwrap()), "t1", "does not wait");
    world.entra.open();
    while text(&world.login("alice@contoso.example", "right").await.unwrap()) == "t1" {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.entra.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_password_works_at_once_and_the_old_one_ends() {
    let world = World::new(FakeEndpoint::with_password("old"));
    world.login("alice@contoso.example", "old").await.unwrap();
    world.entra.judge_by(|form| if form["password"] == "new" { Reply::Token(3600) } else { Reply::Denied(50126) });
    assert_eq!(text(&world.login("alice@contoso.example", "new").await.unwrap()), "t2");
    assert_eq!(world.cause("alice@contoso.example", "old").await, "wrong-password");
    assert_eq!(world.login("alice@contoso.example", "new").await.unwrap().origin, TokenOrigin::Cached);
}

#[tokio::test(start_paused = true)]
async fn an_old_password_ends_at_the_first_renewal_that_entra_rejects() {
    let world = World::new(FakeEndpoint::new(|_| Reply::Token(24 * 3600)));
    world.login("alice@contoso.example", "old").await.unwrap();
    world.entra.judge_by(|_| Reply::Denied(50126));
    world.clock.advance(minutes(59));
    world.login("alice@contoso.example", "old").await.unwrap();
    world.clock.advance(minutes(1));
    assert_eq!(world.cause("alice@contoso.example", "old").await, "wrong-password");
    assert_eq!(world.cause("alice@contoso.example", "old").await, "wrong-password");
    assert_eq!(world.entra.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_needs_a_person_is_not_the_passwords_fault_and_is_not_repeated_every_second() {
    for (code, refusal) in [
        (50076, Refusal::ContactAdmin),
        (53003, Refusal::ContactAdmin),
        (50055, Refusal::ContactAdmin),
        (12_345, Refusal::ContactAdmin),
        (50057, Refusal::NotAuthorized),
        (50105, Refusal::NotAuthorized),
        (50034, Refusal::InvalidCredentials),
    ] {
        let world = World::new(FakeEndpoint::new(move |_| Reply::Denied(code)));
        for _ in 0..10 {
            assert_eq!(world.login("alice@contoso.example", "pw").await.unwrap_err().refusal, refusal, "{code}");
        }
        assert_eq!(world.entra.count(), 1, "{code}");
        world.clock.advance(minutes(16));
        world.entra.judge_by(|_| Reply::Token(3600));
        assert!(world.login("alice@contoso.example", "pw").await.is_ok(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_serves_all_its_mailboxes_with_one_token() {
    let world = World::new(FakeEndpoint::with_password("unused"));
    let scanner = world.login("scan7", LOCAL_PASSWORD).await.unwrap();
    let fax = world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
    assert_eq!(world.entra.count(), 1);
    assert_eq!((scanner.origin, fax.origin), (TokenOrigin::Fetched, TokenOrigin::Cached));
    assert_eq!(scanner.login.as_str(), "scanner@contoso.example");
    assert_eq!(scanner.bearer.user.as_str(), "reception@contoso.example", "the mailbox, not the login");
    assert_eq!(fax.bearer.user.as_str(), "fax@contoso.example");
    let form = &world.entra.asked()[0];
    assert_eq!(
        (&*form["grant_type"], &*form["scope"]),
        ("client_credentials", "https://outlook.office365.com/.default")
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_logins_with_a_local_password_are_one_hash_and_one_request() {
    let limits = Limits { password_hashes: 1, password_hash_queue: 1, ..Limits::default() };
    let world = Arc::new(World::with(FakeEndpoint::with_password("unused"), limits));
    let logins: Vec<_> = (0..1000)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.login("fax@contoso.example", LOCAL_PASSWORD).await.map(drop) })
        })
        .collect();
    for login in logins {
        login.await.unwrap().unwrap();
    }
    assert_eq!(world.entra.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_local_password_and_an_unknown_name_look_alike_and_never_reach_entra() {
    let world = World::new(FakeEndpoint::with_password("unused"));
    for (login, cause) in [("fax@contoso.example", "wrong-password"), ("nobody@elsewhere.example", "unknown-account")] {
        for password in ["wrong", LOCAL_PASSWORD].into_iter().take(if login.starts_with("fax") { 1 } else { 2 }) {
            let failure = world.login(login, password).await.unwrap_err();
            assert_eq!(
                (failure.refusal, failure.delay, failure.cause.name()),
                (Refusal::InvalidCredentials, true, cause),
                "{login}"
            );
        }
    }
    assert_eq!(world.cause("shortname", "x").await, "unknown-account");
    assert_eq!(world.entra.count(), 0);
    world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn guessing_a_local_password_slows_down_and_the_owner_is_not_locked_out() {
    let world = World::new(FakeEndpoint::with_password("unused"));
    world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
    for n in 0..10 {
        let cause =
            world.login_from(STRANGER, "fax@contoso.example", &format!("guess {n}")).await.unwrap_err().cause.name();
        assert_eq!(cause, "wrong-password", "{n}");
    }
    let failure = world.login_from(STRANGER, "fax@contoso.example", "guess 10").await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "too-many-guesses"));
    // The same wrong password again is a badly configured client, not a guess.
    let failure = world.login_from(STRANGER, "fax@contoso.example", "guess 0").await.unwrap_err();
    assert_eq!(failure.cause.name(), "wrong-password");
    world.login_from(STRANGER, "fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
    assert_eq!(world.entra.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn password_checks_beyond_the_queue_are_refused_for_now() {
    let limits = Limits { password_hashes: 1, password_hash_queue: 0, ..Limits::default() };
    let world = World::with(FakeEndpoint::with_password("unused"), limits);
    let failure = world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "password-checks-busy"));
}

#[tokio::test(start_paused = true)]
async fn a_client_acts_as_itself_or_as_the_configured_mailbox() {
    let world = World::new(FakeEndpoint::with_password("right"));
    let scanner = "scanner@contoso.example";
    for (login, password, acting_as, allowed) in [
        ("scan7", LOCAL_PASSWORD, "scan7", true),
        ("scan7", LOCAL_PASSWORD, scanner, true),
        ("scan7", LOCAL_PASSWORD, "reception@contoso.example", true),
        ("scan7", LOCAL_PASSWORD, "fax@contoso.example", false),
        ("alice@contoso.example", "right", "alice@contoso.example", true),
        ("alice@contoso.example", "right", "carol@contoso.example", false),
    ] {
        let (login, acting_as) = (LoginName::parse(login).unwrap(), LoginName::parse(acting_as).unwrap());
        let password = Password::new(password.into());
        let (source, protocol) = (VICTIM.into(), Protocol::Imap);
        let request = LoginRequest {
            login: &login,
            acting_as: Some(&acting_as),
            password: &password,
            source,
            protocol,
            resource: Resource::Exchange,
        };
        match world.gate.admit(request, Duration::ZERO).await {
            Ok(_) => assert!(allowed, "{login} as {acting_as}"),
            Err(failure) => {
                assert!(!allowed, "{login} as {acting_as}");
                assert_eq!(failure.refusal, Refusal::NotAuthorized);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_upstream_refused_is_replaced_once() {
    let world = World::new(FakeEndpoint::with_password("right"));
    let fetched = world.login("alice@contoso.example", "right").await.unwrap();
    assert!(!world.gate.token_refused(&fetched), "another fresh one would fare no better");
    let cached = world.login("alice@contoso.example", "right").await.unwrap();
    assert!(world.gate.token_refused(&cached));
    let again = world.login("alice@contoso.example", "right").await.unwrap();
    assert_eq!((again.origin, text(&again)), (TokenOrigin::Fetched, "t2"));
    let cached = world.login("alice@contoso.example", "right").await.unwrap();
    assert!(!world.gate.token_refused(&cached), "not again and again");
}

#[tokio::test(start_paused = true)]
async fn upkeep_renews_an_application_in_use_and_ends_with_its_gatekeeper() {
    let world = World::new(FakeEndpoint::with_password("unused"));
    world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
    let upkeep = world.gate.spawn_upkeep();
    world.clock.advance(minutes(49));
    while world.entra.count() < 2 {
        tokio::time::advance(RENEWAL_TICK).await;
    }
    // During an outage of Entra the token stays in use until it expires.
    let admission = world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
    assert_eq!(admission.origin, TokenOrigin::Cached);
    let World { gate, .. } = world;
    drop(gate);
    upkeep.await.unwrap();
}

#[tokio::test]
async fn a_client_token_is_worth_asking_about_unless_it_was_refused_just_now() {
    let world = World::new(FakeEndpoint::with_password("unused"));
    let ask = |user: &str, token: &str, protocol| {
        let token = Arc::new(gatepost_core::secret::AccessToken::new(token.repeat(100)));
        let judge = own_token::Judge { protocol, name: "outlook.office365.com" };
        world.gate.own_token(&Bearer { user: address(user), token }, judge)
    };
    let (user, other) = ("scanner@contoso.example", "fax@contoso.example");
    let refused = ask(user, "own", Protocol::Imap).unwrap();
    world.gate.own_token_refused(&refused);
    let failure = ask(user, "own", Protocol::Imap).unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::InvalidCredentials, "token-refused"));
    for (user, token, protocol) in
        [(user, "own2", Protocol::Imap), (other, "own", Protocol::Imap), (user, "own", Protocol::Smtp)]
    {
        assert!(ask(user, token, protocol).is_ok(), "{user} {token}");
    }
    world.clock.advance(minutes(1));
    assert!(ask(user, "own", Protocol::Imap).is_ok());
    let failure = ask("alice@elsewhere.example", "own", Protocol::Imap).unwrap_err();
    assert_eq!(failure.cause.name(), "unknown-account");
    // Shorter than Microsoft's tokens are.
    assert_eq!(ask(user, "p", Protocol::Imap).unwrap_err().cause.name(), "not-a-token");
    assert_eq!(world.entra.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_something_else_is_not_used_nor_asked_for_every_second() {
    let world = World::new(FakeEndpoint::new(|_| Reply::Jwt(r#"{"aud":"https://graph.microsoft.com"}"#)));
    for (login, password) in [("alice@contoso.example", "right"), ("fax@contoso.example", LOCAL_PASSWORD)] {
        let before = world.entra.count();
        for _ in 0..10 {
            let failure = world.login(login, password).await.unwrap_err();
            assert_eq!(
                (failure.refusal, failure.cause.name()),
                (Refusal::ContactAdmin, "token-for-another"),
                "{login}"
            );
        }
        assert_eq!(world.entra.count(), before + 1, "{login}");
    }
    world.clock.advance(minutes(2));
    world.entra.judge_by(|_| Reply::Jwt(r#"{"aud":"https://outlook.office.com/"}"#));
    assert!(world.login("alice@contoso.example", "right").await.is_ok());
}
