//! What is in a record of the store, at its bounds of time and size.

use super::super::*;
use gatepost_oauth::fake::Logged;
use gatepost_store::faulty::FaultyStore;

const HOUR: u64 = 3600;
const BUDGET: PasswordBudget = PasswordBudget { total: 2, unfamiliar: 2 };

fn user(number: u8) -> User {
    User([number; 16])
}

fn guess(id: u64, at: u64) -> Guess {
    Guess { user: user(1).0, id, at: UnixTime(at), familiar: false }
}

/// Adds a guess to those of `before`. Returns how many the record has then, and how long to wait if
/// it was not added.
fn added(before: &[Guess], new: Guess) -> (usize, Option<Duration>) {
    let mut counts = Counts { guesses: before.to_vec(), ..Counts::default() };
    let (added, changed) = add(&mut counts, new, BUDGET);
    let wait = match added {
        Added::Spent { wait } => Some(wait),
        Added::Counted { .. } => None,
        Added::NoRoom => panic!("no room"),
    };
    assert_eq!(changed, wait.is_none());
    (counts.guesses.len(), wait)
}

#[test]
fn a_guess_counts_for_two_hours_and_not_a_second_longer() {
    let at = 100 * HOUR;
    let before = [guess(1, at), guess(2, at + 1)];
    assert_eq!(added(&before, guess(3, at + 2 * HOUR - 1)), (2, Some(Duration::from_secs(1))));
    assert_eq!(added(&before, guess(3, at + 2 * HOUR)), (2, None));
    // A clock that was set back.
    assert_eq!(added(&before, guess(3, at + 2 - 2 * HOUR)).0, 2);
    assert_eq!(added(&before, guess(3, at - 2 * HOUR)), (1, None), "they would count for ever");
}

#[test]
fn a_reused_entry_is_written_again_when_it_is_old_or_the_source_is_another_kind() {
    let at = 100 * HOUR;
    let reused = |new: Guess| {
        let mut counts = Counts { guesses: vec![guess(1, at)], ..Counts::default() };
        (add(&mut counts, new, BUDGET).1, counts.guesses.len())
    };
    assert!(!reused(guess(1, at + 599)).0);
    assert_eq!(reused(guess(1, at + 600)), (true, 1));
    assert_eq!(reused(Guess { familiar: true, ..guess(1, at) }), (true, 1));
    assert_eq!(reused(guess(2, at)), (true, 2), "another guess");
}

#[test]
fn a_full_record_takes_no_more_guesses() {
    let mut counts = Counts::default();
    for number in 0..RECORD {
        let of = [&u64::try_from(number).unwrap().to_be_bytes()[..], &[2; 8]].concat().try_into().unwrap();
        counts.guesses.push(Guess { user: of, ..guess(7, 100 * HOUR) });
    }
    assert!(matches!(add(&mut counts, guess(1, 100 * HOUR), BUDGET), (Added::NoRoom, false)));
    counts.guesses.pop();
    assert!(matches!(add(&mut counts, guess(1, 100 * HOUR), BUDGET), (Added::Counted { familiar: false }, true)));
}

#[test]
fn a_source_is_familiar_for_ninety_days_and_noted_again_after_a_week() {
    const DAY: u64 = 24 * HOUR;
    let (mut counts, source, at) = (Counts::default(), Source::Ipv4(1), 1_000 * DAY);
    let knows = |counts: &Counts, user, source, at| knows(counts, user, source, UnixTime(at));
    assert!(note(&mut counts, user(1), source, UnixTime(at)));
    assert!(knows(&counts, user(1), source, at + 90 * DAY - 1));
    assert!(!knows(&counts, user(1), source, at + 90 * DAY));
    assert!(!knows(&counts, user(1), Source::Ipv4(2), at));
    assert!(!knows(&counts, user(1), Source::Ipv6(1), at));
    assert!(!knows(&counts, user(2), source, at));

    assert!(!note(&mut counts, user(1), source, UnixTime(at + 7 * DAY - 1)));
    assert!(note(&mut counts, user(1), source, UnixTime(at + 7 * DAY)));
    assert_eq!(counts.familiar.len(), 1);
    // After a clock was set back by more than a week, the source would else be noted never again.
    assert!(!note(&mut counts, user(1), source, UnixTime(at + 1)));
    assert!(note(&mut counts, user(1), source, UnixTime(at)));
    assert_eq!(counts.familiar[0].seen, UnixTime(at));
}

#[test]
fn the_source_that_was_not_seen_for_longest_makes_room() {
    let seen = |number: usize| UnixTime(1_000_000 + u64::try_from(number).unwrap());
    let source = |number: usize| Source::Ipv4(u32::try_from(number).unwrap());
    let mut counts = Counts::default();
    note(&mut counts, user(9), source(0), seen(0));
    for number in 1..=SOURCES {
        assert!(note(&mut counts, user(1), source(number), seen(number)));
    }
    assert_eq!(counts.familiar.len(), 1 + SOURCES);
    note(&mut counts, user(1), source(99), seen(99));
    let known = |of, number| knows(&counts, of, source(number), seen(100));
    assert_eq!(counts.familiar.len(), 1 + SOURCES);
    assert!(known(user(9), 0), "an account does not take the place of another's");
    assert!(!known(user(1), 1));
    assert!((2..=SOURCES).all(|number| known(user(1), number)) && known(user(1), 99));

    // A full record: then it is the oldest of all accounts.
    while counts.familiar.len() < RECORD {
        let [high, low] = u16::try_from(counts.familiar.len()).unwrap().to_be_bytes();
        let of = User([high, low, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        note(&mut counts, of, source(0), seen(200));
    }
    note(&mut counts, user(2), source(0), seen(300));
    let known = |of, number| knows(&counts, of, source(number), seen(300));
    assert_eq!(counts.familiar.len(), RECORD);
    assert!(known(user(2), 0) && !known(user(9), 0) && known(user(1), 2));
}

#[test]
fn a_name_has_one_person_and_a_full_record_forgets_the_oldest() {
    let mut counts = Counts::default();
    assert!(!is_named(&mut counts, user(1), user(1)), "a name that is the person");
    assert!(is_named(&mut counts, user(1), user(2)));
    assert!(!is_named(&mut counts, user(1), user(2)), "known");
    assert!(is_named(&mut counts, user(3), user(2)), "a second name of the person");
    assert!(is_named(&mut counts, user(1), user(4)), "another person");
    let named: Vec<_> = counts.persons.iter().map(|of| (User(of.name), User(of.person))).collect();
    assert_eq!(named, [(user(3), user(2)), (user(1), user(4))]);
    counts.persons = vec![Person { name: [7; 16], person: [8; 16] }; RECORD];
    assert!(is_named(&mut counts, user(1), user(2)));
    assert_eq!((counts.persons.len(), counts.persons.last().unwrap().name), (RECORD, [1; 16]));
}

#[tokio::test]
async fn a_person_is_learned_by_name_and_read_from_the_store_once() {
    let store = Arc::new(gatepost_store::MemoryStore::default());
    let attempts = AttemptLog::new(store.clone(), Clock::manual());
    let (name, person, other) = (user(1), user(2), user(3));
    assert_eq!(attempts.known_person(name), name);
    attempts.learn(name, name);
    assert!(attempts.persons.is_empty(), "it says nothing");
    attempts.learn(name, person);
    assert_eq!((attempts.known_person(name), attempts.person(name).await), (person, person));
    attempts.learn(name, other);
    assert_eq!(attempts.known_person(name), other);
    // Another process reads what this one has noted in the store.
    let source = Source::of([192, 0, 2, 7].into());
    attempts.accepted([name, name, person], source, UnixTime(1)).await.unwrap();
    let elsewhere = AttemptLog::new(store, Clock::manual());
    assert_eq!(elsewhere.known_person(name), name);
    assert_eq!(elsewhere.person(name).await, person);
    assert_eq!(elsewhere.known_person(name), person);
}

#[tokio::test]
async fn what_was_never_judged_is_released_after_its_time_and_what_is_out_stays() {
    let clock = Clock::manual();
    let attempts = AttemptLog::new(Arc::new(gatepost_store::MemoryStore::default()), clock.clone());
    let source = Source::of([192, 0, 2, 7].into());
    let count = async |attempts: &Arc<AttemptLog>| attempts.count(user(1), source, false, BUDGET).await.unwrap();
    let guesses = async |attempts: &AttemptLog| attempts.recall(user(1), source).await.unwrap().guesses.unwrap().len();
    let (out, unused) = (count(&attempts).await, count(&attempts).await);
    assert!(!out.is_familiar());
    drop(unused);
    let minute = Duration::from_secs(60);
    attempts.release(minute).await;
    assert_eq!(guesses(&attempts).await, 2, "it is not unused for long enough");
    clock.advance(minute);
    attempts.release(minute).await;
    assert_eq!(guesses(&attempts).await, 1);
    assert_eq!(attempts.lift(user(1)).await.unwrap(), 0, "it awaits its verdict");
    out.judged();
    assert_eq!(attempts.lift(user(1)).await.unwrap(), 1);
    assert_eq!(attempts.lift(user(1)).await.unwrap(), 0);
    attempts.remember(user(1), source).await.unwrap();
    assert!(count(&attempts).await.is_familiar());
}

#[test]
fn a_source_that_is_no_longer_familiar_goes_and_another_account_keeps_its_own() {
    const DAY: u64 = 24 * HOUR;
    let (mut counts, at) = (Counts::default(), 1_000 * DAY);
    assert!(note(&mut counts, user(1), Source::Ipv4(1), UnixTime(at)));
    assert!(note(&mut counts, user(1), Source::Ipv4(2), UnixTime(at + 90 * DAY)));
    assert_eq!(counts.familiar.len(), 1);

    // Two accounts whose first source was seen at the same time, of which one has too many.
    let mut counts = Counts::default();
    note(&mut counts, user(9), Source::Ipv4(0), UnixTime(at));
    for number in 0..=u32::try_from(SOURCES).unwrap() {
        note(&mut counts, user(1), Source::Ipv4(number), UnixTime(at + u64::from(number)));
    }
    assert_eq!(counts.familiar.len(), 1 + SOURCES);
    let known = |of| knows(&counts, of, Source::Ipv4(0), UnixTime(at));
    assert!(known(user(9)) && !known(user(1)));
}

#[tokio::test]
async fn an_accepted_password_voids_what_was_refused_to_its_user_before_it_and_nothing_else() {
    const BUDGET: PasswordBudget = PasswordBudget { total: 9, unfamiliar: 9 };
    let clock = Clock::manual();
    let attempts = AttemptLog::new(Arc::new(gatepost_store::MemoryStore::default()), clock.clone());
    let source = Source::of([192, 0, 2, 7].into());
    // Two users in one record.
    let (one, other) = (user(1), User([[1; 8], [2; 8]].concat().try_into().unwrap()));
    assert_eq!(one.bucket(), other.bucket());
    let count = async |user| attempts.count(user, source, false, BUDGET).await.unwrap();
    let guesses = async |user| attempts.recall(user, source).await.unwrap().guesses.unwrap();
    let (_refused, of_other) = (count(one).await.judged(), count(other).await.judged());
    let out = count(one).await;
    let asked_at = attempts.time();
    clock.advance(Duration::from_secs(1));
    let later = count(one).await.judged();
    attempts.accepted([one, one, one], source, asked_at).await.unwrap();
    assert_eq!(guesses(one).await, HashSet::from([out.id, later]));
    assert_eq!(guesses(other).await, HashSet::from([of_other]));
    assert_eq!(attempts.lift(one).await.unwrap(), 1);
    assert_eq!(guesses(other).await, HashSet::from([of_other]));
}

#[tokio::test]
async fn what_changes_nothing_is_not_written() {
    let (clock, store) = (Clock::manual(), Arc::new(FaultyStore::default()));
    let attempts = AttemptLog::new(Arc::clone(&store) as _, clock.clone());
    let source = Source::of([192, 0, 2, 7].into());
    drop(attempts.count(user(1), source, false, BUDGET).await.unwrap());
    assert_eq!(attempts.lift(user(1)).await.unwrap(), 1);
    let written = store.writes();
    assert_eq!(attempts.lift(user(1)).await.unwrap(), 0);
    clock.advance(Duration::from_secs(60));
    attempts.release(Duration::from_secs(60)).await;
    assert_eq!(store.writes(), written);
}

#[tokio::test]
async fn a_store_that_does_not_count_is_told_once_and_so_is_its_return() {
    let store = Arc::new(FaultyStore::default());
    let attempts = AttemptLog::new(Arc::clone(&store) as _, Clock::manual());
    let source = Source::of([192, 0, 2, 7].into());
    let log = Logged::begin();
    for (away, said) in [(false, [0, 0]), (true, [1, 0]), (true, [1, 0]), (false, [1, 1]), (false, [1, 1])] {
        store.set_away(away);
        assert_eq!(attempts.count(user(1), source, false, BUDGET).await.is_err(), away);
        let words =
            ["WARN refused passwords cannot be counted", "INFO refused passwords are counted in the store again"];
        assert_eq!(words.map(|words| log.count(words)), said);
    }
}
