use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::login::issue::{self, Order};
use crate::login::tests::{LOCAL_PASSWORD, STRANGER, VICTIM, World, address, config, minutes};
use gatepost_config::Limits;
use gatepost_core::failure::Refusal;
use gatepost_oauth::fake::{FakeEndpoint, Logged};

use Protocol::{Imap, Pop3, Smtp};

const PRINTER: &str = "printer@contoso.example";
const FAX: &str = "fax@contoso.example";

fn order(login: &str, name: &str) -> Order {
    Order { login: address(login), name: name.into(), protocols: Vec::new(), from: Vec::new(), expires_at: None }
}

fn world() -> World {
    World::new(FakeEndpoint::with_password("unused"))
}

/// A world in which no Argon2id check can run. What passes nevertheless needed none.
fn world_without_hashing() -> World {
    let limits = Limits { password_hashes: 1, password_hash_queue: 0, ..Limits::default() };
    World::with(FakeEndpoint::with_password("unused"), limits)
}

async fn issue(world: &World, order: Order) -> (DevicePasswordId, String) {
    let (made, password) = issue::generate(&*world.store, order, world.clock.unix_time()).await.unwrap();
    (made.id, password.expose().to_owned())
}

async fn choose(world: &World, order: Order, password: &str) -> DevicePasswordId {
    let password = Password::new(password.into());
    issue::choose(&*world.store, order, &password, &[], world.clock.unix_time()).await.unwrap().id
}

#[tokio::test(start_paused = true)]
async fn a_generated_password_works_at_once_and_without_a_hash_in_each_spelling_of_its_login() {
    let world = world_without_hashing();
    let (id, password) = issue(&world, order(PRINTER, "Printer")).await;
    for login in [PRINTER, "Printer@CONTOSO.example", "print"] {
        let admission = world.login(login, &password).await.unwrap();
        assert_eq!(admission.device.unwrap().password().id, id);
        assert_eq!(admission.login.as_str(), PRINTER);
    }
    // The typed password must be exactly what was shown.
    for variant in [password.to_uppercase(), format!("{password} "), password[..19].to_owned()] {
        assert_eq!(world.cause(PRINTER, &variant).await, "password-checks-busy", "it comes to a hash");
    }
    assert_eq!(world.entra.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_costs_a_hash_for_every_name() {
    let world = world_without_hashing();
    for login in [PRINTER, FAX, "nobody@branch.example", "nobody@elsewhere.example"] {
        assert_eq!(world.cause(login, "wrong").await, "password-checks-busy", "{login}");
    }
}

#[tokio::test(start_paused = true)]
async fn guessing_does_not_hinder_a_generated_password() {
    let world = world();
    let (_, password) = issue(&world, order(PRINTER, "Printer")).await;
    for n in 0..10 {
        assert_eq!(world.cause(PRINTER, &format!("guess {n}")).await, "wrong-password");
    }
    assert_eq!(world.cause(PRINTER, "guess 10").await, "too-many-guesses");
    world.login(PRINTER, &password).await.unwrap();
    let (_, second) = issue(&world, order(PRINTER, "Made meanwhile")).await;
    world.login(PRINTER, &second).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_chosen_password_works_beside_the_configured_one_also_after_it_was_refused() {
    let world = world();
    assert_eq!(world.cause(FAX, "chosen by a person").await, "wrong-password");
    let id = choose(&world, order(FAX, "Fax"), "chosen by a person").await;
    let admission = world.login(FAX, "chosen by a person").await.unwrap();
    assert_eq!(admission.device.unwrap().password().id, id);
    assert!(world.login(FAX, LOCAL_PASSWORD).await.unwrap().device.is_none());

    // An accepted password is remembered, but not beyond its end.
    world.store.revoke_device_password(&id).await.unwrap();
    world.gate.devices.look().await.unwrap();
    assert_eq!(world.cause(FAX, "chosen by a person").await, "wrong-password");
    assert!(world.login(FAX, LOCAL_PASSWORD).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn outside_its_scope_a_right_password_is_refused_like_a_wrong_one_and_the_log_says_why() {
    let world = world();
    let scoped = |name: &str| Order {
        protocols: vec![Smtp, Imap],
        from: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..order(PRINTER, name)
    };
    let (id, generated) = issue(&world, scoped("Printer, 3rd floor")).await;
    choose(&world, scoped("chosen"), "chosen by a person").await;
    let wrong = world.login(PRINTER, "wrong").await.unwrap_err();
    for password in [&*generated, "chosen by a person"] {
        for protocol in [Imap, Smtp] {
            world.login_over(protocol, VICTIM, PRINTER, password).await.unwrap();
        }
        for (protocol, source, cause) in [
            (Pop3, VICTIM, "password-for-other-protocols"),
            (Imap, STRANGER, "password-for-other-networks"),
            (Pop3, STRANGER, "password-for-other-protocols"),
        ] {
            let failure = world.login_over(protocol, source, PRINTER, password).await.unwrap_err();
            assert_eq!((failure.cause.name(), failure.refusal, failure.delay), (cause, wrong.refusal, wrong.delay));
            assert!(!failure.message.contains(password));
        }
    }
    let failure = world.login_from(STRANGER, PRINTER, &generated).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!(
            "the device password {id} `Printer, 3rd floor` is right, but it is for 192.0.2.0/24 and 2001:db8::/32 only, \
             and was presented from 198.51.100.1. Gatepost admin: revoke the password if it may have leaked, or \
             create one for this network with `gatepost password add --from`."
        )
    );
}

#[tokio::test(start_paused = true)]
async fn outside_its_scope_a_right_password_counts_as_a_guess_and_opens_no_way_past_the_throttle() {
    let world = world();
    let at_home = |name: &str| Order { from: vec!["192.0.2.0/24".parse().unwrap()], ..order(PRINTER, name) };
    let (_, generated) = issue(&world, at_home("generated")).await;
    let (_, second) = issue(&world, at_home("another")).await;
    choose(&world, at_home("chosen"), "chosen by a person").await;
    choose(&world, at_home("other"), "chosen by another").await;
    let expires_at = Some(world.clock.unix_time().after(minutes(1)));
    let (_, expired) = issue(&world, Order { expires_at, ..order(PRINTER, "expired") }).await;
    world.clock.advance(minutes(1));
    world.gate.devices.look().await.unwrap();
    for (password, cause) in [
        (&*generated, "password-for-other-networks"),
        ("chosen by a person", "password-for-other-networks"),
        (&*expired, "password-expired"),
    ] {
        for time in ["first", "again"] {
            let failure = world.login_from(STRANGER, PRINTER, password).await.unwrap_err();
            assert!(failure.cause.is_guess(), "{failure}");
            assert_eq!(failure.cause.name(), cause, "{time}: the log says why");
        }
    }
    for n in 3..10 {
        let failure = world.login_from(STRANGER, PRINTER, &format!("guess {n}")).await.unwrap_err();
        assert_eq!(failure.refusal, Refusal::InvalidCredentials, "{n}: each of the three had one attempt");
    }
    let wrong = world.login_from(STRANGER, PRINTER, "guess 10").await.unwrap_err();
    for password in [&*second, "chosen by another"] {
        let failure = world.login_from(STRANGER, PRINTER, password).await.unwrap_err();
        assert_eq!((failure.refusal, failure.delay), (wrong.refusal, wrong.delay), "{failure}");
    }
    // At home each of them opens the mailbox all the same.
    for password in [&*generated, &*second, "chosen by a person", "chosen by another"] {
        world.login_from(VICTIM, PRINTER, password).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_wrong_password_costs_as_many_hashes_for_every_name() {
    let world = world();
    for n in 0..3 {
        choose(&world, order(PRINTER, &n.to_string()), &format!("chosen by person {n}")).await;
    }
    choose(&world, order(FAX, "fax"), "chosen by somebody").await;
    world.gate.devices.look().await.unwrap();
    let runs = || world.gate.local.runs();
    let mut costs = Vec::new();
    for login in [PRINTER, FAX, "scan7", "new@branch.example", "nobody@elsewhere.example", "nobody"] {
        let before = runs();
        world.login(login, "wrong").await.unwrap_err();
        costs.push(runs() - before);
    }
    assert_eq!(costs, [4; 6], "the three of the one, and the most that the configuration has");
}

#[tokio::test(start_paused = true)]
async fn a_password_expires_and_ends_its_sessions() {
    let world = world();
    let expires_at = Some(world.clock.unix_time().after(minutes(10)));
    let (_, password) = issue(&world, Order { expires_at, ..order(PRINTER, "Guest") }).await;
    let device = world.login(PRINTER, &password).await.unwrap().device.unwrap();
    world.clock.advance(minutes(10) - Duration::from_secs(1));
    world.gate.devices.look().await.unwrap();
    world.login(PRINTER, &password).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    world.gate.devices.look().await.unwrap();
    assert_eq!(device.ended().await, Ending::Expired);
    let failure = world.login(PRINTER, &password).await.unwrap_err();
    assert_eq!((failure.cause.name(), failure.refusal), ("password-expired", Refusal::InvalidCredentials));
    assert!(failure.message.ends_with("expired on 2026-01-01 00:10 UTC"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_password_that_another_process_revokes_ends_within_five_seconds_and_the_others_go_on() {
    let world = world();
    let (id, revoked) = issue(&world, order(PRINTER, "Printer")).await;
    let (_, kept) = issue(&world, order(PRINTER, "Another")).await;
    let upkeep = world.gate.spawn_upkeep();
    let sessions: Vec<_> = sessions_of(&world, &revoked).await;
    let other = world.login(PRINTER, &kept).await.unwrap().device.unwrap();
    world.store.revoke_device_password(&id).await.unwrap();
    for device in sessions {
        let ended = tokio::time::timeout(Duration::from_secs(5), device.ended()).await;
        assert_eq!(ended, Ok(Ending::Revoked));
    }
    assert_eq!(world.cause(PRINTER, &revoked).await, "wrong-password");
    world.login(PRINTER, &kept).await.unwrap();
    assert!(tokio::time::timeout(minutes(1), other.ended()).await.is_err(), "not its turn");
    upkeep.abort();
}

async fn sessions_of(world: &World, password: &str) -> Vec<Arc<KnownPassword>> {
    let mut sessions = Vec::new();
    for protocol in [Imap, Pop3, Smtp] {
        sessions.push(world.login_over(protocol, VICTIM, PRINTER, password).await.unwrap().device.unwrap());
    }
    sessions
}

#[tokio::test(start_paused = true)]
async fn without_the_store_what_is_known_works_and_nothing_is_called_wrong_that_could_not_be_looked_up() {
    let world = world();
    let (_, password) = issue(&world, order(PRINTER, "Printer")).await;
    world.store.set_away(true);
    let failure = world.login(PRINTER, &password).await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "store-unavailable"));
    let unknown = world.login("nobody@elsewhere.example", "x").await.unwrap_err();
    assert_eq!((unknown.refusal, unknown.delay), (failure.refusal, failure.delay), "no name is told from another");
    world.login(FAX, LOCAL_PASSWORD).await.unwrap();

    world.store.set_away(false);
    world.login(PRINTER, &password).await.unwrap();
    world.store.set_away(true);
    world.login(PRINTER, &password).await.unwrap();
    let failure = world.login(PRINTER, "perhaps made a moment ago").await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "store-unavailable"));
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_write_nothing_and_become_no_password() {
    let world = world();
    let (_, password) = issue(&world, order(PRINTER, "Printer")).await;
    let (before, writes) = (world.store.device_passwords().await.unwrap(), world.store.writes());
    for n in 0..1_000 {
        for login in [PRINTER, FAX, "new@branch.example", "nobody@elsewhere.example"] {
            world.login(login, &format!("first seen on a mail port {}", n % 20)).await.unwrap_err();
        }
    }
    assert_eq!((world.store.device_passwords().await.unwrap(), world.store.writes()), (before, writes));
    assert_eq!(world.entra.count(), 0);
    world.login(PRINTER, &password).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_use_is_noted_once_a_minute_and_failing_to_is_no_failure() {
    let world = world();
    let (_, password) = issue(&world, order(PRINTER, "Printer")).await;
    let writes = world.store.writes();
    // Lets the task that notes it run.
    let settled = || tokio::time::sleep(Duration::from_millis(1));
    let last_use = || async {
        settled().await;
        world.store.device_passwords().await.unwrap()[0].last_use
    };
    assert_eq!(last_use().await, None);
    for _ in 0..100 {
        world.login(PRINTER, &password).await.unwrap();
    }
    let first = LastUse { at: world.clock.unix_time(), from: VICTIM.into() };
    assert_eq!((last_use().await, world.store.writes() - writes), (Some(first), 1));

    world.clock.advance(BETWEEN_NOTES);
    world.store.set_away(true);
    world.login_from(STRANGER, PRINTER, &password).await.unwrap();
    settled().await;
    world.store.set_away(false);
    assert_eq!((last_use().await, world.store.writes() - writes), (Some(first), 2));
    world.clock.advance(BETWEEN_NOTES);
    world.login_from(STRANGER, PRINTER, &password).await.unwrap();
    assert_eq!(last_use().await.map(|last_use| last_use.from), Some(STRANGER.into()));
}

#[tokio::test(start_paused = true)]
async fn a_domain_is_open_only_to_those_of_it_that_have_a_password() {
    let world = world();
    let (_, password) = issue(&world, order("one@branch.example", "Branch")).await;
    let admission = world.login("one@branch.example", &password).await.unwrap();
    assert_eq!(admission.bearer.user.as_str(), "one@branch.example");
    for login in ["two@branch.example", PRINTER, FAX] {
        assert_eq!(world.cause(login, &password).await, "wrong-password", "{login}");
    }
    assert_eq!(world.cause("one@elsewhere.example", &password).await, "unknown-account");
    assert_eq!(world.entra.count(), 1);
}

/// A look under way during a login may bring the login's password. The look after it finds nothing
/// new.
#[tokio::test(start_paused = true)]
async fn what_another_look_has_brought_meanwhile_counts() {
    let world = world();
    let before = world.gate.devices.mark();
    issue(&world, order(PRINTER, "Printer")).await;
    world.gate.devices.look().await.unwrap();
    let under_way = Mark { looks: world.gate.devices.mark().looks, ..before };
    assert_eq!(world.gate.devices.look_since(under_way).await, Ok(true));
    assert_eq!(world.gate.devices.look_since(world.gate.devices.mark()).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn one_look_serves_everybody_who_asked_before_it() {
    let world = Arc::new(world());
    let before = world.gate.devices.mark();
    let looks = (0..1_000).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.gate.devices.look_since(before).await })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap().unwrap();
    }
    assert_eq!(world.gate.devices.mark().looks - before.looks, 1);
}

proptest! {
    /// Whatever passwords there are, each opens its own login and no other.
    #[test]
    fn a_password_of_one_login_never_opens_another(
        passwords in proptest::collection::vec(("[a-c]{1,2}@[a-c]{1,2}", "[a-c]{1,4}"), 1..24),
        presented in ("[a-c]{1,2}@[a-c]{1,2}", "[a-c]{1,4}"),
    ) {
        let present = passwords.iter().enumerate().map(|(n, (login, password))| DevicePassword {
            id: DevicePasswordId(n.to_string()),
            login: address(login),
            name: n.to_string(),
            protocols: Vec::new(),
            from: Vec::new(),
            created_at: UnixTime(0),
            expires_at: None,
            verifier: Verifier::Generated(password::digest(&address(login), &Password::new(password.clone()))),
            last_use: None,
        });
        let Change { by_login, made, gone } = compare(&HashMap::new(), present.collect());
        prop_assert!(made.len() == passwords.len() && gone.is_empty());
        let (login, password) = (address(&presented.0), Password::new(presented.1.clone()));
        let found = by_login.get(&login).and_then(|of_login| of_login.generated(&login, &password));
        prop_assert_eq!(found.is_some(), passwords.contains(&presented));
        prop_assert!(found.is_none_or(|found| found.password.login == login));
    }
}

/// A device password as the store keeps it.
fn kept(name: &str, last_use: Option<LastUse>) -> DevicePassword {
    DevicePassword {
        id: DevicePasswordId("d1".into()),
        login: address(PRINTER),
        name: name.into(),
        protocols: Vec::new(),
        from: Vec::new(),
        created_at: UnixTime(1),
        expires_at: None,
        verifier: Verifier::Generated([0; 32]),
        last_use,
    }
}

#[test]
fn a_password_passes_with_its_protocols_and_from_its_networks_only() {
    let now = UnixTime(100);
    let known = |protocols: &[Protocol], from: &[&str]| {
        KnownPassword::new(DevicePassword {
            protocols: protocols.to_vec(),
            from: from.iter().map(|network| network.parse().unwrap()).collect(),
            expires_at: Some(UnixTime(200)),
            ..kept("Printer", None)
        })
    };
    let (inside, outside) = (IpAddr::from([10, 0, 0, 7]), IpAddr::from([192, 0, 2, 7]));
    let mapped = "::ffff:10.0.0.7".parse().unwrap();
    let all = known(&[], &[]);
    assert_eq!(all.admits(Imap, outside, now), Ok(()));
    let bound = known(&[Smtp, Pop3], &["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(bound.admits(Smtp, inside, now), Ok(()));
    assert_eq!(bound.admits(Pop3, mapped, now), Ok(()));
    assert_eq!(bound.admits(Imap, inside, now), Err(Outside::Protocol));
    assert_eq!(bound.admits(Smtp, outside, now), Err(Outside::Network));
    assert_eq!(bound.admits(Smtp, inside, UnixTime(200)), Err(Outside::Ended(Ending::Expired)));
    assert_eq!(bound.admits(Smtp, inside, now), Err(Outside::Ended(Ending::Expired)), "it has ended for good");
}

#[test]
fn a_use_alone_changes_no_password() {
    let used = Some(LastUse { at: UnixTime(2), from: IpAddr::from([10, 0, 0, 7]) });
    let first = compare(&ByLogin::new(), vec![kept("Printer", used)]);
    assert_eq!((first.made.len(), first.gone.len(), first.made[0].password().last_use), (1, 0, None));
    let again = compare(&first.by_login, vec![kept("Printer", None)]);
    assert_eq!((again.made.len(), again.gone.len()), (0, 0));
    let renamed = compare(&first.by_login, vec![kept("Fax", None)]);
    assert_eq!((renamed.made.len(), renamed.gone.len()), (1, 1));
    let bound = DevicePassword { protocols: vec![Smtp], ..kept("Printer", None) };
    let bound = compare(&first.by_login, vec![bound]);
    assert_eq!((bound.made.len(), bound.gone.len()), (1, 1), "its sessions may be of other protocols");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_password_costs_one_hash_until_it_is_forgotten() {
    let world = world();
    choose(&world, order(PRINTER, "Printer"), "chosen by a person").await;
    world.gate.devices.look().await.unwrap();
    let runs = || world.gate.local.runs();
    let memory = Limits::default().accepted_password_memory;
    let mut costs = Vec::new();
    for wait in [Duration::ZERO, memory - minutes(1), minutes(1), Duration::ZERO] {
        world.clock.advance(wait);
        let before = runs();
        world.login(PRINTER, "chosen by a person").await.unwrap();
        costs.push(runs() - before);
    }
    assert_eq!(costs, [1, 0, 1, 0]);
    // A shorter memory holds at once.
    let limits = Limits { accepted_password_memory: minutes(1), ..Limits::default() };
    let endpoint = Arc::clone(&world.entra) as Arc<dyn gatepost_oauth::endpoint::TokenEndpoint>;
    world.gate.reconfigure(Arc::new(config(limits)), endpoint);
    let before = runs();
    for wait in [minutes(0), minutes(0), minutes(1)] {
        world.clock.advance(wait);
        world.login(PRINTER, "chosen by a person").await.unwrap();
    }
    assert_eq!(runs() - before, 1, "the new memory lasts a minute");
}

#[tokio::test(start_paused = true)]
async fn looks_are_apart_and_tell_of_passwords_that_were_made_since_the_first() {
    let (world, log) = (world(), Logged::begin());
    let new = || log.count("there is a new device password");
    let (id, _) = issue(&world, order(PRINTER, "Printer")).await;
    world.gate.devices.look().await.unwrap();
    assert_eq!(new(), 0, "it was there before this process");
    issue(&world, order(FAX, "Fax")).await;
    let started = Instant::now();
    world.gate.devices.look().await.unwrap();
    assert!(started.elapsed() >= BETWEEN_LOOKS, "{:?}", started.elapsed());
    assert_eq!(new(), 1);
    world.store.revoke_device_password(&id).await.unwrap();
    world.gate.devices.look().await.unwrap();
    assert_eq!((new(), log.count("a device password was revoked")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_could_not_be_made_is_told_as_that_also_of_a_password_for_elsewhere() {
    let world = world_without_hashing();
    let home = Order { from: vec!["192.0.2.0/24".parse().unwrap()], ..order(PRINTER, "Printer") };
    let (_, password) = issue(&world, home).await;
    world.login(PRINTER, &password).await.unwrap();
    let failure = world.login_from(STRANGER, PRINTER, &password).await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "password-checks-busy"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_told_once_and_so_is_its_return() {
    let (world, log) = (world(), Logged::begin());
    let upkeep = world.gate.spawn_upkeep();
    let words = ["WARN device passwords cannot be looked up", "INFO device passwords can be looked up again"];
    for (away, said) in [(false, [0, 0]), (true, [1, 0]), (false, [1, 1]), (true, [2, 1])] {
        world.store.set_away(away);
        tokio::time::sleep(minutes(1)).await;
        assert_eq!(words.map(|words| log.count(words)), said);
    }
    upkeep.abort();
}
