mod record;

use proptest::prelude::*;

use super::*;
use crate::login::tests::{LOCAL_PASSWORD, STRANGER, VICTIM, World, minutes, settle};
use crate::login::unlock::{NotUnlocked, unlock_in_store};
use gatepost_config::Limits;
use gatepost_core::account::LoginName;
use gatepost_core::failure::Refusal;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::fake::{FakeEndpoint, Reply};
use gatepost_store::faulty::FaultyStore;

const ALICE: &str = "alice@contoso.example";

/// Several processes, one after another or at once, in front of one Entra.
struct Site {
    entra: Arc<FakeEndpoint>,
    store: Arc<FaultyStore>,
    clock: Clock,
    guesses: std::cell::Cell<u32>,
}

impl Site {
    fn new() -> Self {
        Self {
            entra: FakeEndpoint::with_password("right"),
            store: Arc::default(),
            clock: Clock::manual(),
            guesses: std::cell::Cell::new(0),
        }
    }

    fn process(&self) -> World {
        self.process_with(Limits::default())
    }

    fn process_with(&self, limits: Limits) -> World {
        World::on(Arc::clone(&self.entra), Arc::clone(&self.store), self.clock.clone(), limits)
    }

    /// Presents a new password. Returns true when Entra was asked.
    async fn guess(&self, world: &World, source: [u8; 4], login: &str) -> bool {
        let number = self.guesses.replace(self.guesses.get() + 1);
        let before = self.entra.count();
        assert!(world.login_from(source, login, &format!("guess {number}")).await.is_err());
        self.entra.count() > before
    }

    /// Returns how many of `count` guesses Entra was asked about.
    async fn guess_often(&self, world: &World, source: [u8; 4], login: &str, count: usize) -> usize {
        let mut forwarded = 0;
        for _ in 0..count {
            forwarded += usize::from(self.guess(world, source, login).await);
        }
        forwarded
    }
}

#[tokio::test(start_paused = true)]
async fn restarts_do_not_make_a_budget_whole() {
    let site = Site::new();
    let mut forwarded = 0;
    for _ in 0..20 {
        forwarded += site.guess_often(&site.process(), STRANGER, ALICE, 10).await;
    }
    assert_eq!(forwarded, 5);
    let failure = site.process().login_from(STRANGER, ALICE, "yet another").await.unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "guess-budget-spent"));
    assert_eq!(site.guess_often(&site.process(), STRANGER, "carol@contoso.example", 10).await, 5, "another account");
    site.clock.advance(WINDOW);
    assert_eq!(site.guess_often(&site.process(), STRANGER, ALICE, 10).await, 5, "when they count no longer");
}

#[tokio::test(start_paused = true)]
async fn five_guesses_and_a_restart_do_not_lock_the_right_user_out() {
    let site = Site::new();
    let world = site.process();
    world.login_from(VICTIM, ALICE, "right").await.unwrap();
    settle().await;
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 10).await, 5);
    let world = site.process();
    assert!(!site.guess(&world, STRANGER, ALICE).await, "a restart gives a stranger nothing");
    world.login_from(VICTIM, ALICE, "right").await.expect("her usual address has a share of its own");
}

#[tokio::test(start_paused = true)]
async fn guesses_of_strangers_and_a_restart_do_not_keep_the_owner_of_a_local_password_out() {
    const FAX: &str = "fax@contoso.example";
    let site = Site::new();
    site.process().login_from(VICTIM, FAX, LOCAL_PASSWORD).await.unwrap();
    settle().await;
    let world = site.process();
    for n in 0..100 {
        world.login_from([198, 51, 100, n / 10], FAX, &format!("guess {n}")).await.unwrap_err();
    }
    let failure = world.login_from(STRANGER, FAX, LOCAL_PASSWORD).await.unwrap_err();
    assert_eq!(failure.cause.name(), "too-many-guesses");
    world.login_from(VICTIM, FAX, LOCAL_PASSWORD).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn guesses_at_all_accounts_do_not_keep_a_known_source_out_after_a_restart() {
    let site = Site::new();
    site.process().login_from(VICTIM, ALICE, "right").await.unwrap();
    settle().await;
    let world = site.process();
    for n in 0..80 {
        site.guess(&world, STRANGER, &format!("user{n}@contoso.example")).await;
    }
    let failure = world.login_from([192, 0, 2, 77], ALICE, "right").await.unwrap_err();
    assert_eq!(failure.refusal, Refusal::Unavailable, "{failure}");
    world.login_from(VICTIM, ALICE, "right").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unlocked_account_has_its_budget_back_here_in_the_store_and_at_another_replica() {
    let site = Site::new();
    site.store.share();
    let (world, other) = (site.process(), site.process());
    assert_eq!(site.guess_often(&world, STRANGER, "bob@contoso.example", 10).await, 5);
    assert_eq!(site.guess_often(&other, STRANGER, "bob@contoso.example", 10).await, 0);
    let unlocked = world.gate.unlock(&LoginName::parse("bobby").unwrap()).await.unwrap();
    assert_eq!((unlocked.login.as_str(), unlocked.guesses), ("bob@contoso.example", 5));
    let before = site.entra.count();
    assert!(world.login_from(STRANGER, "bob", "guess 0").await.is_err());
    assert_eq!(site.entra.count(), before + 1, "what was refused is asked about again");
    assert_eq!(site.guess_often(&other, STRANGER, "bob@contoso.example", 10).await, 4);
    let (config, bob) = (world.gate.config(), LoginName::parse("bob").unwrap());
    let unlocked = unlock_in_store(&config.accounts, Arc::clone(&site.store) as _, &bob).await.unwrap();
    assert_eq!(unlocked.guesses, 5);
    assert_eq!(site.guess_often(&world, STRANGER, "bob@contoso.example", 5).await, 5, "a process that runs follows");
    assert_eq!(site.guess_often(&world, STRANGER, "bob@contoso.example", 5).await, 0);
    assert_eq!(site.guess_often(&site.process(), STRANGER, ALICE, 10).await, 5);

    let unknown = LoginName::parse("alice@elsewhere.example").unwrap();
    assert_eq!(world.gate.unlock(&unknown).await, Err(NotUnlocked::Unknown(unknown)));
    site.store.set_away(true);
    let failed = world.gate.unlock(&LoginName::parse("bob").unwrap()).await;
    assert!(matches!(failed, Err(NotUnlocked::Store(_))), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_entra_spoke_of_is_forgotten_with_the_rest() {
    let site = Site::new();
    let world = site.process();
    site.entra.judge_by(|_| Reply::Denied(50053));
    assert_eq!(world.cause(ALICE, "right").await, "account-locked");
    site.entra.judge_by(|_| Reply::Token(3600));
    assert_eq!(world.cause(ALICE, "right").await, "account-locked");
    world.gate.unlock(&LoginName::parse(ALICE).unwrap()).await.unwrap();
    world.login(ALICE, "right").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_of_which_entra_knows_no_password_is_unlocked_as_well() {
    let world = Site::new().process();
    for n in 0..=10 {
        assert!(world.login_from(STRANGER, "fax@contoso.example", &format!("guess {n}")).await.is_err());
    }
    let throttled = world.login_from(STRANGER, "fax@contoso.example", LOCAL_PASSWORD).await.unwrap_err();
    assert_eq!(throttled.cause.name(), "too-many-guesses");
    world.gate.unlock(&LoginName::parse("fax@contoso.example").unwrap()).await.unwrap();
    world.login_from(STRANGER, "fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_success_elsewhere_frees_the_budget_of_every_replica() {
    let site = Site::new();
    site.store.share();
    let (world, other) = (site.process(), site.process());
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 10).await, 5);
    other.login_from(VICTIM, ALICE, "right").await.expect_err("not familiar to anybody yet");
    world.gate.unlock(&LoginName::parse(ALICE).unwrap()).await.unwrap();
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 4).await, 4);
    other.login_from(VICTIM, ALICE, "right").await.unwrap();
    settle().await;
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 10).await, 5, "Entra's own count began again as well");
}

#[tokio::test(start_paused = true)]
async fn known_sources_are_bounded_and_written_once_a_week() {
    let site = Site::new();
    let world = site.process();
    for source in 0..40 {
        world.login_from([192, 0, 2, source], ALICE, "right").await.unwrap();
        site.clock.advance(minutes(1));
        settle().await;
    }
    let written = site.store.writes();
    assert_eq!(written, 1 + 40, "the count of the first, and each source");
    for day in 0..6 {
        for source in 20..40 {
            let world = site.process();
            world
                .login_from([192, 0, 2, source], ALICE, "right")
                .await
                .unwrap_or_else(|error| panic!("{day}: {error}"));
            settle().await;
        }
        site.clock.advance(minutes(24 * 60));
    }
    assert_eq!(site.store.writes() - written, 6 * 20 * 2, "only the count of a password that nobody proved yet");
    site.clock.advance(minutes(2 * 24 * 60));
    site.process().login_from([192, 0, 2, 39], ALICE, "right").await.unwrap();
    settle().await;
    let (counts, _) = site.store.counts(user().bucket()).await.unwrap();
    assert_eq!(counts.familiar.len(), SOURCES);
    assert!(counts.familiar.iter().any(|of| of.seen == site.clock.unix_time()), "noted again");
}

/// Returns Alice as a user.
fn user() -> User {
    User::of(&TupleKey::encode(["https://login.example/", "contoso.example", ALICE]))
}

#[tokio::test(start_paused = true)]
async fn a_success_makes_the_budget_whole_across_restarts_as_well() {
    let site = Site::new();
    assert_eq!(site.guess_often(&site.process(), STRANGER, ALICE, 3).await, 3);
    site.process().login_from(VICTIM, ALICE, "right").await.unwrap();
    settle().await;
    assert_eq!(site.guess_often(&site.process(), STRANGER, ALICE, 10).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_right_password_costs_two_writes_and_none_when_it_is_known() {
    let site = Site::new();
    let world = site.process();
    for minute in 0..12 * 60 {
        world.login_from(VICTIM, ALICE, "right").await.unwrap_or_else(|failure| panic!("{minute}: {failure}"));
        site.clock.advance(minutes(1));
        settle().await;
    }
    assert!(site.entra.count() >= 12, "it was renewed");
    assert_eq!(site.store.writes(), 2, "counted before it was forwarded, and taken off");
}

#[tokio::test(start_paused = true)]
async fn while_entra_does_not_judge_nothing_is_counted_twice_and_little_is_written() {
    let site = Site::new();
    site.entra.judge_by(|_| Reply::Unreachable);
    let world = site.process();
    for _ in 0..50 {
        assert!(site.process().login_from(VICTIM, "bob@contoso.example", "right").await.is_err());
        assert!(world.login_from(VICTIM, ALICE, "right").await.is_err());
        site.clock.advance(minutes(1));
    }
    assert_eq!(
        site.store.writes(),
        5 + 5,
        "a process that goes on writes one entry every ten minutes, and those that end no more than there are"
    );
    for _ in 0..10 {
        let world = site.process();
        assert!(world.login_from(VICTIM, "dave@contoso.example", "right").await.is_err());
        world.gate.finish().await;
    }
    site.entra.judge_by(|form| if form["password"] == "right" { Reply::Token(3600) } else { Reply::Denied(50126) });
    world.login_from(VICTIM, ALICE, "right").await.unwrap();
    site.process()
        .login_from(VICTIM, "dave@contoso.example", "right")
        .await
        .expect("processes that end in peace leave nothing");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_lets_the_right_password_in_and_calls_none_wrong() {
    let site = Site::new();
    site.store.set_away(true);
    let world = site.process();
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 20).await, 5, "the process counts for itself");
    world.login_from(VICTIM, "carol@contoso.example", "right").await.unwrap();
    let failure = world.login_from(STRANGER, ALICE, "yet another").await.unwrap_err();
    assert_eq!(failure.refusal, Refusal::Unavailable);
    site.store.set_away(false);
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 20).await, 0, "what it counted still holds");
    assert_eq!(site.guess_often(&world, STRANGER, "bob@contoso.example", 20).await, 5);
    assert_eq!(
        site.guess_often(&site.process(), STRANGER, "bob@contoso.example", 20).await,
        0,
        "counted in the store again"
    );
}

fn replica(replicas: u32, replica_index: u32) -> Limits {
    Limits { replicas, replica_index, ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_share_a_store_share_the_budget_and_each_its_share_when_it_is_away() {
    for away in [false, true] {
        let site = Site::new();
        site.store.share();
        site.store.set_away(away);
        let mut forwarded = 0;
        for index in 0..3 {
            let world = site.process_with(replica(3, index));
            forwarded += site.guess_often(&world, STRANGER, ALICE, 10).await;
        }
        assert_eq!(forwarded, if away { 3 } else { 5 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_loses_the_store_has_its_share_from_the_first_guess_on() {
    let site = Site::new();
    site.store.share();
    let world = site.process_with(replica(3, 0));
    assert_eq!(site.guess_often(&world, STRANGER, ALICE, 3).await, 3);
    site.store.set_away(true);
    assert!(!site.guess(&world, STRANGER, ALICE).await, "three are more than its share");
}

#[tokio::test(start_paused = true)]
async fn replicas_without_a_store_in_common_forward_no_more_than_one_would() {
    for replicas in 1..=12 {
        let (mut of_alice, mut over_all) = (0, 0);
        for index in 0..replicas {
            // Each has a store of its own.
            let site = Site::new();
            let world = site.process_with(replica(replicas, index));
            of_alice += site.guess_often(&world, STRANGER, ALICE, 10).await;
            for n in 0..80 {
                over_all += site.guess_often(&world, STRANGER, &format!("user{n}@contoso.example"), 1).await;
            }
        }
        assert!((1..=5).contains(&of_alice), "{of_alice} with {replicas} replicas");
        assert!(of_alice + over_all <= 60, "{over_all} with {replicas} replicas");
    }
}

#[test]
fn each_account_belongs_to_one_replica() {
    for n in 0..1_000 {
        let user = User::of(&TupleKey::encode([&n.to_string()]));
        assert_eq!((0..7).filter(|index| user.belongs_to(*index, 7)).count(), 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Guess { process: usize, source: u8 },
    LogIn { process: usize, source: u8 },
    Restart { process: usize },
    Pass { minutes: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..4_u8).prop_map(|(process, source)| Step::Guess { process, source }),
        1 => (0..3_usize, 0..4_u8).prop_map(|(process, source)| Step::LogIn { process, source }),
        1 => (0..3_usize).prop_map(|process| Step::Restart { process }),
        1 => (1..150_u64).prop_map(|minutes| Step::Pass { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The view of Entra's lockout. Whatever processes and sources do, it never sees more than
    /// eight refused passwords since the last success within the window. A client with the password
    /// that Entra has just accepted can log in.
    #[test]
    fn entra_never_sees_more_than_a_budget(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let site = Site::new();
            site.store.share();
            let mut processes: Vec<World> = (0..3).map(|index| site.process_with(replica(3, index))).collect();
            let mut refused: Vec<UnixTime> = Vec::new();
            for step in steps {
                match step {
                    Step::Guess { process, source } => {
                        if site.guess(&processes[process], [192, 0, 2, source], ALICE).await {
                            refused.push(site.clock.unix_time());
                        }
                    }
                    Step::LogIn { process, source } => {
                        let before = site.entra.count();
                        let world = &processes[process];
                        if world.login_from([192, 0, 2, source], ALICE, "right").await.is_ok() {
                            // A token may be renewed in the background.
                            settle().await;
                            if site.entra.count() > before {
                                refused.clear();
                            }
                            prop_assert!(world.login_from([192, 0, 2, source], ALICE, "right").await.is_ok());
                        }
                    }
                    Step::Restart { process } => {
                        let index = u32::try_from(process).unwrap_or_default();
                        processes[process] = site.process_with(replica(3, index));
                    }
                    Step::Pass { minutes: n } => site.clock.advance(minutes(n)),
                }
                let now = site.clock.unix_time();
                refused.retain(|at| now.since(*at) < WINDOW);
                prop_assert!(refused.len() <= 8, "{} refused", refused.len());
            }
            Ok(())
        })?;
    }
}
