//! Models of attacks on passwords: guesses against warm caches, and guesses that are meant to lock
//! a user out. Also checks that the tenants of one application are kept apart.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use url::Url;

use crate::login::{Authenticator, AuthorizedLogin, LoginRequest, TokenOrigin};
use gatepost_config::{
    Account, Accounts, Application, Cloud, Grant, Limits, LoginPattern, Mailboxes, Resource, Sending, Tenant,
};
use gatepost_core::account::LoginName;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_oauth::endpoint::TokenEndpoint;
use gatepost_oauth::fake::{self, FakeEndpoint, Fields, Reply};
use gatepost_store::MemoryStore;

/// The account under attack, and the address of its owner.
const VICTIM: &str = "victim@contoso.example";
const HOME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A reproducible sequence of numbers (Marsaglia, "Xorshift RNGs").
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Gate {
    clock: Clock,
    entra: Arc<FakeEndpoint>,
    gate: Arc<Authenticator>,
}

impl Gate {
    /// Creates a world in which each user of one domain signs in with their own password.
    fn new(cloud: Cloud, entra: Arc<FakeEndpoint>) -> Self {
        Self::with(LoginPattern::Domain("contoso.example".into()), "contoso.example".into(), cloud, entra)
    }

    fn with(pattern: LoginPattern, tenant: Tenant, cloud: Cloud, entra: Arc<FakeEndpoint>) -> Self {
        let application = Arc::new(Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority: Url::parse("https://login.example/").unwrap(),
                tenant,
                cloud,
            }),
            client_id: "app".into(),
            credential: Arc::default(),
        });
        let everybody = Arc::new(Account {
            pattern,
            aliases: Vec::new(),
            grant: Grant::Password,
            passwords: Vec::new(),
            application,
            scope: None,
            mailbox: None,
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: None,
            token_expiry_margin: Duration::from_secs(300),
        });
        let clock = Clock::manual();
        let config = Arc::new(fake::config(Accounts::new(vec![everybody]), Limits::default()));
        let endpoint = Arc::clone(&entra) as Arc<dyn TokenEndpoint>;
        let gate = Authenticator::new(config, endpoint, Arc::new(MemoryStore::default()), clock.clone());
        Self { clock, entra, gate }
    }

    async fn login(&self, source: Ipv4Addr, login: &str, password: &str) -> Result<AuthorizedLogin, Failure> {
        let (login, password) = (LoginName::parse(login).unwrap(), Password::new(password.to_owned()));
        let (source, protocol) = (source.into(), Protocol::Imap);
        let request = LoginRequest {
            login: &login,
            acting_as: None,
            password: &password,
            source,
            protocol,
            resource: Resource::Exchange,
        };
        self.gate.admit(request, Duration::ZERO).await
    }
}

fn right(user: &str) -> String {
    format!("the password of {user}")
}

/// Five hundred users with warm tokens, and a hundred thousand logins with passwords of others,
/// near misses and noise, mixed with right ones. (Ten million take hours without optimization, and
/// find nothing more.)
#[tokio::test(start_paused = true)]
async fn a_wrong_password_opens_no_warm_token_and_no_token_goes_to_another() {
    const USERS: u64 = 500;
    let user = |n: u64| format!("user{n}@contoso.example");
    let judge = |form: &Fields| match right(&form["username"]) == form["password"] {
        true => Reply::Token(3600),
        false => Reply::Denied(50126),
    };
    let world = Gate::new(Cloud::Worldwide, FakeEndpoint::new(judge));
    for n in 0..USERS {
        world.login(HOME, &user(n), &right(&user(n))).await.unwrap();
    }
    // The user for whom Entra made each token.
    let made_for: HashMap<String, String> =
        (1..).zip(world.entra.asked()).map(|(number, form)| (format!("t{number}"), form["username"].clone())).collect();
    let mut numbers = Numbers(0x5eed);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let (me, other) = (numbers.below(USERS), numbers.below(USERS));
        let own = right(&user(me));
        let password = match numbers.below(8) {
            0 => own.clone(),
            1 => own.to_uppercase(),
            2 => format!("{own} "),
            3 => own[..own.len() - 1].to_owned(),
            4 => format!("{}\0{own}", user(me)),
            5 => numbers.below(1 << 20).to_string(),
            _ => right(&user(other)),
        };
        let source = Ipv4Addr::from_bits(0x0a00_0000 | numbers.below(1 << 16) as u32);
        match world.login(source, &user(me), &password).await {
            Ok(admission) => {
                assert_eq!(password, own, "a wrong password for {me} was let in");
                assert_eq!(made_for[admission.bearer.token.expose()], user(me), "somebody else's token");
                assert_eq!(admission.bearer.user.as_str(), user(me));
                opened += 1;
            }
            Err(failure) => {
                assert_ne!(password, own, "the right password for {me} was refused: {failure}");
                refused += 1;
            }
        }
    }
    assert!(opened > 10_000 && refused > 80_000, "{opened} {refused}");
}

/// Entra's smart lockout as documented. A number of failures in a row lock the account, and a
/// success resets them. A repeated wrong password is not counted again.
#[derive(Default)]
struct SmartLockout {
    failures: Vec<String>,
    worst: usize,
}

impl SmartLockout {
    fn judge(&mut self, form: &Fields) -> Reply {
        let password = &form["password"];
        if *password == right(VICTIM) {
            self.failures.clear();
            return Reply::Token(3600);
        }
        if !self.failures.contains(password) {
            self.failures.push(password.clone());
        }
        self.worst = self.worst.max(self.failures.len());
        Reply::Denied(50126)
    }
}

/// A day of guesses, ten a minute: from one address, from many, and through the victim's own
/// gateway.
#[tokio::test(start_paused = true)]
async fn a_day_of_guesses_neither_locks_the_victim_out_nor_keeps_it_out() {
    for (cloud, most) in [(Cloud::Worldwide, 8), (Cloud::China, 8), (Cloud::UsGovGccHigh, 2), (Cloud::UsGovDod, 2)] {
        for (places, through_home) in [(1, false), (200, false), (200, true)] {
            let lockout = Arc::new(Mutex::new(SmartLockout::default()));
            let judge = Arc::clone(&lockout);
            let world = Gate::new(cloud, FakeEndpoint::new(move |form| judge.lock().judge(form)));
            let case = format!("{cloud:?} from {places} places, through home: {through_home}");
            let mut numbers = Numbers(places);
            world.login(HOME, VICTIM, &right(VICTIM)).await.unwrap();
            for minute in 0..24 * 60_u64 {
                for n in 0..10 {
                    let place = numbers.below(places) as u8;
                    let source = if through_home && n == 0 { HOME } else { Ipv4Addr::new(203, 0, 113, place) };
                    let guess = format!("guess {minute} {n}");
                    assert!(world.login(source, VICTIM, &guess).await.is_err(), "{case}");
                }
                // The owner's mail program checks for mail every ten minutes.
                if minute % 10 == 0 {
                    let admitted = world.login(HOME, VICTIM, &right(VICTIM)).await;
                    assert!(admitted.is_ok(), "{case}, minute {minute}: {:?}", admitted.err());
                }
                world.clock.advance(Duration::from_secs(60));
                if minute % 15 == 0 {
                    world.gate.sweep();
                    world.gate.tokens.sweep();
                }
            }
            let worst = lockout.lock().worst;
            assert!((1..=most).contains(&worst), "{case}: Entra counted {worst}");
        }
    }
}

/// While Entra says "locked", whatever the reason, the owner continues with the present token.
#[tokio::test(start_paused = true)]
async fn a_lock_that_others_caused_does_not_end_a_session_that_can_go_on() {
    let world = Gate::new(Cloud::Worldwide, FakeEndpoint::new(|_| Reply::Token(3600)));
    world.login(HOME, VICTIM, &right(VICTIM)).await.unwrap();
    world.entra.judge_by(|_| Reply::Denied(50053));
    for minute in 0..50 {
        for n in 0..20 {
            let failure =
                world.login(Ipv4Addr::new(203, 0, 113, n), VICTIM, &format!("{minute} {n}")).await.unwrap_err();
            assert_ne!(failure.cause.name(), "wrong-password", "nobody knows that");
        }
        assert!(world.login(HOME, VICTIM, &right(VICTIM)).await.is_ok(), "minute {minute}");
        world.clock.advance(Duration::from_secs(60));
    }
    // 60 s without asking, doubling to 30 min: a few requests in fifty minutes of attack.
    assert!(world.entra.count() <= 1 + 6, "{}", world.entra.count());
}

#[tokio::test(start_paused = true)]
async fn each_domain_is_a_tenant_of_its_own() {
    let entra = FakeEndpoint::with_password("right");
    let world = Gate::with(LoginPattern::Any, Tenant::OfLogin, Cloud::Worldwide, entra);
    for login in ["alice@fabrikam.example", "alice@adatum.example", "carol@fabrikam.example"] {
        assert_eq!(world.login(HOME, login, "right").await.unwrap().origin, TokenOrigin::Fetched, "{login}");
        assert_eq!(world.login(HOME, login, "right").await.unwrap().origin, TokenOrigin::Cached, "{login}");
    }
    let paths: Vec<String> = world.entra.asked().into_iter().map(|form| form[fake::PATH].clone()).collect();
    let path = |tenant: &str| format!("/{tenant}/oauth2/v2.0/token");
    assert_eq!(paths, [path("fabrikam.example"), path("adatum.example"), path("fabrikam.example")]);
    assert_eq!(world.login(HOME, "alice@common", "right").await.unwrap_err().cause.name(), "unknown-account");

    // Throttling by one tenant does not affect another.
    world.entra.judge_by(|form| match form[fake::PATH].contains("fabrikam") {
        true => Reply::Raw(429, Some("120"), "{}"),
        false => Reply::Token(3600),
    });
    assert_eq!(world.login(HOME, "dave@fabrikam.example", "right").await.unwrap_err().cause.name(), "entra-throttles");
    let before = world.entra.count();
    assert_eq!(world.login(HOME, "erin@fabrikam.example", "right").await.unwrap_err().cause.name(), "entra-throttles");
    assert_eq!(world.entra.count(), before, "not asked again");
    assert!(world.login(HOME, "erin@adatum.example", "right").await.is_ok());
}
