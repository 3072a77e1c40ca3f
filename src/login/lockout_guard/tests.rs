use std::net::IpAddr;

use super::*;
use gatepost_config::Cloud;
use gatepost_core::clock::Clock;
use gatepost_core::secret::Password;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::fake::Logged;
use gatepost_oauth::password_digest::PasswordDigestKey;
use gatepost_store::MemoryStore;

struct World {
    clock: Clock,
    lockout: Arc<LockoutGuard>,
    key: PasswordDigestKey,
    cloud: Cloud,
}

impl World {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let clock = Clock::manual();
        let attempts = AttemptLog::new(Arc::new(MemoryStore::default()), clock.clone());
        Self {
            clock,
            lockout: Arc::new(LockoutGuard::new(limits, attempts)),
            key: PasswordDigestKey::generate().unwrap(),
            cloud: Cloud::Worldwide,
        }
    }

    fn attempt(&self, user: &str, password: u32, source: u8) -> Attempt {
        let user = TupleKey::encode([user]);
        let proof = self.key.prove(&user, &Password::new(password.to_string()));
        let source = Source::of(IpAddr::from([192, 0, 2, source]));
        Attempt { user: User::of(&user), proof, source, proved: false, cloud: self.cloud }
    }

    fn open(&self, user: &str, password: u32, source: u8) -> Result<Forward, HeldBack> {
        self.lockout.open(self.attempt(user, password, source), self.clock.now())
    }

    /// Forwards wrong passwords `from..to` and says how many went out.
    fn guess(&self, user: &str, passwords: std::ops::Range<u32>, source: u8) -> usize {
        let went_out = |password: &u32| {
            self.open(user, *password, source).map(|forward| forward.refused(self.clock.now())).is_ok()
        };
        passwords.filter(went_out).count()
    }

    fn know(&self, user: &str) {
        let source = Source::of(IpAddr::from([192, 0, 2, 9]));
        self.lockout.succeeded_from(User::of(&TupleKey::encode([user])), source, self.clock.now());
    }
}

#[test]
fn strangers_spend_five_of_the_eight_and_familiar_sources_the_rest() {
    let world = World::new();
    world.know("a");
    assert_eq!(world.guess("a", 0..100, 1), 5);
    assert_eq!(world.guess("a", 100..200, 2), 0);
    assert_eq!(world.guess("a", 200..300, 9), 3);
    assert_eq!(world.guess("b", 0..100, 9), 5, "another account");
    world.clock.advance(WINDOW);
    assert_eq!(world.guess("a", 300..400, 1), 5, "when they count no longer");
}

#[test]
fn the_us_government_clouds_have_two() {
    let mut world = World::new();
    world.cloud = Cloud::UsGovDod;
    assert_eq!(world.guess("a", 0..100, 1), 1);
    world.know("a");
    assert_eq!(world.guess("a", 100..200, 9), 1);
}

#[test]
fn parallel_guesses_count_before_they_fail() {
    let world = World::new();
    let out: Vec<_> = (0..1000).filter_map(|password| world.open("a", password, 1).ok()).collect();
    assert_eq!(out.len(), 5);
    drop(out);
    assert_eq!(world.guess("a", 0..100, 1), 5, "those without a verdict do not count");
}

#[test]
fn a_repeated_wrong_password_and_a_proved_one_are_no_new_guesses() {
    let world = World::new();
    assert_eq!(world.guess("a", 0..5, 1), 5);
    assert_eq!(world.guess("a", 0..5, 1), 5, "repeats");
    // The source never logged in, so it gets five of the eight.
    let from = Some(Source::of(IpAddr::from([192, 0, 2, 1])));
    assert_eq!(world.open("a", 99, 1).unwrap_err(), HeldBack::Budget(Spent { wait: WINDOW, most: 5, total: 8, from }));
    let proved = Attempt { proved: true, ..world.attempt("a", 99, 1) };
    world.lockout.open(proved, world.clock.now()).unwrap().accepted(None, world.clock.now());
    assert_eq!(world.guess("a", 200..300, 2), 5, "a success makes the budget whole");
}

#[test]
fn the_last_refusal_of_a_budget_is_told_once() {
    let world = World::new();
    world.know("a");
    let last = |password| world.open("a", password, 9).unwrap().refused(world.clock.now());
    assert_eq!((0..8).filter(|password| last(*password)).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_locked_account_is_left_alone_for_longer_and_longer() {
    let world = World::new();
    let mut waits = Vec::new();
    for password in 0..8 {
        world.open("a", password, 1).unwrap().locked(world.clock.now(), Duration::ZERO);
        let Err(HeldBack::Locked { wait }) = world.open("a", 100, 1) else { panic!("not held") };
        waits.push(wait.as_secs());
        world.clock.advance(wait);
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1800, 1800, 1800]);
    let probe = world.open("a", 100, 1).unwrap();
    assert!(matches!(world.open("a", 101, 1), Err(HeldBack::Locked { .. })), "one at a time");
    probe.accepted(None, world.clock.now());
    assert!(world.open("a", 101, 1).is_ok());
    world.open("a", 0, 1).unwrap().locked(world.clock.now(), Duration::from_secs(300));
    assert_eq!(world.open("a", 1, 1).unwrap_err(), HeldBack::Locked { wait: Duration::from_secs(300) });
}

#[test]
fn refusals_over_all_accounts_are_capped_per_minute_and_hour_for_strangers() {
    let world = World::new();
    world.know("known");
    let spray = |round: u32| (0..200).map(|n| world.guess(&format!("{round}-{n}"), 0..1, 1)).sum::<usize>();
    assert_eq!(spray(0), 60);
    assert_eq!(world.open("known", 1, 1).unwrap_err(), HeldBack::GlobalBudget);
    drop(world.open("known", 1, 9).expect("a familiar source goes on"));
    let mut total = 60;
    for round in 1..20 {
        world.clock.advance(Duration::from_secs(60));
        total += spray(round);
    }
    assert_eq!(total, 600);
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(spray(21), 60);
}

#[test]
fn nothing_is_kept_about_users_of_whom_nothing_needs_to_be_known() {
    let world = World::new();
    for n in 0..100 {
        drop(world.open(&n.to_string(), 0, 1));
    }
    world.guess("a", 0..1, 1);
    world.lockout.sweep(world.clock.now());
    assert_eq!(world.lockout.ledgers.len(), 1);
    world.clock.advance(WINDOW);
    world.lockout.sweep(world.clock.now());
    assert!(world.lockout.ledgers.is_empty());
}

#[test]
fn passwords_under_way_count_over_all_accounts_before_they_fail() {
    let world = World::new();
    world.know("known");
    let mut out: Vec<_> = (0..640).filter_map(|n| world.open(&n.to_string(), 0, 1).ok()).collect();
    assert_eq!(out.len(), 60);
    drop(world.open("known", 1, 9).expect("a familiar source goes on"));
    let proved = Attempt { proved: true, ..world.attempt("another", 0, 1) };
    drop(world.lockout.open(proved, world.clock.now()).expect("so does a proved password"));
    // Right or unjudged passwords make room; refused ones do not.
    out.pop().unwrap().accepted(None, world.clock.now());
    out.pop();
    out.pop().unwrap().refused(world.clock.now());
    let again: Vec<_> = (1_000..1_640).filter_map(|n| world.open(&n.to_string(), 0, 1).ok()).collect();
    assert_eq!(again.len(), 2);
}

fn source(n: u8) -> Source {
    Source::of(IpAddr::from([192, 0, 2, n]))
}

#[test]
fn a_stranger_is_told_the_whole_budget_once_familiar_sources_have_spent_it_too() {
    let world = World::new();
    world.know("a");
    world.guess("a", 0..5, 1);
    world.guess("a", 5..8, 9);
    for from in [1, 9] {
        let Err(HeldBack::Budget(spent)) = world.open("a", 99, from) else { panic!("not held") };
        assert_eq!((spent.most, spent.total, spent.from), (8, 8, Some(source(9))), "{from}");
    }
}

#[test]
fn other_budgets_hold_from_the_reload_on_and_replicas_have_a_share() {
    let world = World::new();
    let spray = |round: u32| (0..200).map(|n| world.guess(&format!("{round}-{n}"), 0..1, 1)).sum::<usize>();
    world.lockout.adjust(&Limits { refused_passwords_per_minute: 7, ..Limits::default() });
    assert_eq!(spray(0), 7);

    let world = World::with(&Limits { replicas: 2, ..Limits::default() });
    assert_eq!((0..200).map(|n| world.guess(&n.to_string(), 0..1, 1)).sum::<usize>(), 30);
}

#[test]
fn what_counts_is_told_for_two_hours() {
    let world = World::new();
    assert_eq!(world.guess("a", 0..3, 1), 3);
    let user = User::of(&TupleKey::encode(["a"]));
    let counted = || world.lockout.counted(user, world.clock.now());
    assert_eq!(counted(), 3);
    world.clock.advance(WINDOW - Duration::from_secs(1));
    assert_eq!(counted(), 3);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(counted(), 0);
}

#[test]
fn a_familiar_source_is_noted_once_for_a_time_and_the_oldest_of_too_many_goes() {
    let (clock, mut ledger) = (Clock::manual(), AccountBudget::default());
    let soon = clock.now().after(Duration::from_secs(1));
    ledger.make_familiar(source(1), soon);
    assert!(ledger.is_noted(source(1), clock.now()));
    assert!(!ledger.is_noted(source(2), clock.now()));
    ledger.make_familiar(source(2), soon);
    assert!(ledger.knows(source(1)) && ledger.knows(source(2)));
    clock.advance(Duration::from_secs(1));
    assert!(!ledger.is_noted(source(1), clock.now()));
    for n in 3..=u8::try_from(SOURCES).unwrap() + 1 {
        ledger.make_familiar(source(n), soon);
    }
    assert!(!ledger.knows(source(1)) && ledger.knows(source(2)));
    assert_eq!(ledger.familiar.len(), SOURCES);

    let world = World::new();
    world.know("a");
    let noted = world.clock.now().after(NOTED_AGAIN);
    world.clock.advance(Duration::from_secs(1));
    world.know("a");
    let ledger = world.lockout.ledgers.get(&User::of(&TupleKey::encode(["a"]))).unwrap();
    assert_eq!(ledger.familiar, [(source(9), noted)], "a success is no news while it is noted");
}

#[test]
fn a_repetition_counts_for_two_hours() {
    let (clock, mut ledger) = (Clock::manual(), AccountBudget::default());
    ledger.repeated.push(clock.now());
    clock.advance(WINDOW - Duration::from_secs(1));
    ledger.forget_old(clock.now());
    assert_eq!(ledger.repeated.len(), 1);
    clock.advance(Duration::from_secs(1));
    ledger.forget_old(clock.now());
    assert!(ledger.repeated.is_empty());
}

#[test]
fn a_lock_an_attempt_and_a_familiar_source_are_kept() {
    let world = World::new();
    world.open("locked", 0, 1).unwrap().locked(world.clock.now(), Duration::ZERO);
    world.know("known");
    let out = world.open("out", 0, 1).unwrap();
    let left = || {
        world.lockout.sweep(world.clock.now());
        world.lockout.ledgers.len()
    };
    assert_eq!(left(), 3);
    drop(out);
    assert_eq!(left(), 2);
    world.clock.advance(FIRST_LOCK + LONGEST_LOCK - Duration::from_secs(1));
    assert_eq!(left(), 2, "the next lock is to be longer");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(left(), 1);
}

/// Fills the place of all users with ledgers.
fn fill(world: &World, ledger: impl Fn() -> AccountBudget) {
    for n in 0..u32::try_from(USERS).unwrap() {
        let user = [&n.to_be_bytes()[..], &[0; 12]].concat().try_into().unwrap();
        world.lockout.ledgers.insert(User(user), ledger());
    }
}

#[test]
fn without_room_no_further_user_is_served_and_nobody_loses_his_count() {
    let world = World::new();
    fill(&world, || AccountBudget { out: 1, ..AccountBudget::default() });
    let spent = Spent { wait: WINDOW, most: 8, total: 8, from: None };
    assert_eq!(world.open("new", 0, 1).unwrap_err(), HeldBack::Budget(spent));
    world.know("new");
    assert_eq!(world.lockout.ledgers.len(), USERS);
    let known = Attempt { user: User([0; 16]), ..world.attempt("known", 0, 1) };
    assert!(world.lockout.open(known, world.clock.now()).is_ok());
}

#[test]
fn users_who_only_succeeded_make_room_and_the_others_do_not() {
    let world = World::new();
    let at = world.clock.now();
    let familiar = || AccountBudget { familiar: [(source(9), at)].into(), ..AccountBudget::default() };
    fill(&world, familiar);
    let kept = |n: u8, ledger: AccountBudget| world.lockout.ledgers.insert(User([n; 16]), ledger);
    kept(0xfc, AccountBudget { out: 1, ..familiar() });
    kept(0xfd, AccountBudget { locked_until: Some(at), ..familiar() });
    let proof = world.attempt("a", 0, 1).proof;
    let refused = vec![Refused { at, proof, source: source(1), familiar: false, entry: None }];
    kept(0xfe, AccountBudget { refused, ..familiar() });
    assert!(world.open("new", 0, 1).is_ok());
    assert_eq!(world.lockout.ledgers.len(), 3 + 1);
}

#[tokio::test]
async fn a_password_waits_for_the_verdicts_of_those_under_way() {
    let world = World::new();
    let mut out: Vec<_> = (0..60).map(|n| world.open(&n.to_string(), 0, 1).unwrap()).collect();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 100..103 {
        let (lockout, attempt) = (Arc::clone(&world.lockout), world.attempt(&n.to_string(), 0, 1));
        let now = world.clock.now();
        waiting.spawn(async move { lockout.forward(attempt, now).await });
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.try_join_next().is_none());
    // One was right, so one more goes out, and the others keep waiting.
    out.pop().unwrap().accepted(None, world.clock.now());
    out.push(waiting.join_next().await.unwrap().unwrap().unwrap());
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.try_join_next().is_none());
    // All the others were wrong, so those that wait are not forwarded.
    for out in out {
        out.refused(world.clock.now());
    }
    for waited in waiting.join_all().await {
        assert_eq!(waited.unwrap_err(), HeldBack::GlobalBudget);
    }
}

#[tokio::test]
async fn a_guess_from_a_source_that_only_the_store_knows_counts_as_one_of_a_familiar_source() {
    let world = World::new();
    let (attempt, now) = (world.attempt("a", 0, 9), world.clock.now());
    world.lockout.attempts.remember(attempt.user, attempt.source).await.unwrap();
    let out = || {
        let ledger = world.lockout.ledgers.get(&attempt.user).unwrap();
        [ledger.out_familiar, ledger.out_unfamiliar, ledger.out]
    };
    let forward = world.lockout.forward(attempt.clone(), now).await.unwrap();
    assert_eq!(out(), [1, 0, 1]);
    drop(forward);
    assert_eq!(out(), [0; 3]);
}

#[test]
fn a_spent_budget_over_all_accounts_is_told_once_until_there_is_room_again() {
    let (world, log) = (World::new(), Logged::begin());
    let spray = |round: u32, count: u32| {
        (0..count).map(|n| world.guess(&format!("{round}-{n}"), 0..1, 1)).sum::<usize>();
        log.count("many passwords were refused")
    };
    assert_eq!(spray(0, 60), 0);
    assert_eq!(spray(1, 20), 1);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(spray(2, 60), 1);
    assert_eq!(spray(3, 20), 2);
}
