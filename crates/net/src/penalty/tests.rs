use proptest::prelude::*;

use super::*;

struct World {
    clock: Clock,
    penalties: Arc<Penalties>,
}

impl World {
    fn new() -> Self {
        Self::with(Rules::default())
    }

    fn with(rules: Rules) -> Self {
        let clock = Clock::manual();
        Self { penalties: Penalties::new(&rules, clock.clone()), clock }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn penalize(&self, peer: &str, offence: Misbehavior) {
        self.penalties.visit(ip(peer)).penalize(offence);
    }

    fn guess(&self, peer: &str, account: &str, secret: &str) {
        self.penalties.visit(ip(peer)).charge_guess(account, secret);
    }

    /// Seconds for which the source is closed, as seen by the next connection.
    fn wait(&self, peer: &str) -> u64 {
        self.penalties.closed(ip(peer)).map_or(0, |closed| closed.wait.as_secs())
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn penalties_add_up_close_above_the_threshold_and_run_down() {
    let world = World::new();
    for password in ["a", "b", "c"] {
        world.guess("192.0.2.1", "alice", password);
    }
    assert_eq!(world.wait("192.0.2.1"), 0, "15 s is not above 15 s");
    world.guess("192.0.2.1", "alice", "d");
    assert_eq!(world.wait("192.0.2.1"), 20);
    assert_eq!(world.wait("192.0.2.2"), 0, "another source");
    world.pass(19);
    assert_eq!(world.wait("192.0.2.1"), 1, "closed until nothing is left");
    world.pass(1);
    assert_eq!(world.wait("192.0.2.1"), 0);
    world.guess("192.0.2.1", "alice", "e");
    assert_eq!(world.wait("192.0.2.1"), 0, "it begins again");
}

#[test]
fn each_offence_has_its_price_and_the_sum_a_cap() {
    for (offence, seconds) in [
        (Misbehavior::NoLogin, 1),
        (Misbehavior::Timeout, 10),
        (Misbehavior::Garbage, 10),
        (Misbehavior::Http, 30),
        (Misbehavior::Panic, 90),
    ] {
        let world = World::with(Rules { threshold: Duration::ZERO, ..Rules::default() });
        world.penalize("192.0.2.1", offence);
        assert_eq!(world.wait("192.0.2.1"), seconds, "{offence:?}");
    }
    let world = World::new();
    for _ in 0..1_000 {
        world.penalize("192.0.2.1", Misbehavior::Panic);
    }
    assert_eq!(world.wait("192.0.2.1"), 600);
}

#[test]
fn a_client_that_leaves_without_a_login_pays_and_one_that_tried_does_not() {
    let world = World::with(Rules { threshold: Duration::ZERO, ..Rules::default() });
    let visit = world.penalties.visit(ip("192.0.2.1"));
    visit.forgive();
    drop(visit);
    assert_eq!(world.wait("192.0.2.1"), 0);
    drop(world.penalties.visit(ip("192.0.2.1")));
    assert_eq!(world.wait("192.0.2.1"), 1);
    let visit = world.penalties.visit(ip("192.0.2.2"));
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _visit = visit;
        panic!("a session breaks off");
    }));
    assert!(broken.is_err());
    assert_eq!(world.wait("192.0.2.2"), 90);
}

#[test]
fn programs_with_an_old_password_do_not_shut_out_their_household() {
    let world = World::new();
    for minute in 0..24 * 60 {
        for device in ["tablet", "printer"] {
            world.guess("192.0.2.1", device, "the old password");
        }
        assert_eq!(world.wait("192.0.2.1"), 0, "after {minute} minutes");
        world.pass(60);
    }
    world.guess("192.0.2.1", "tablet", "another");
    assert!(locked(&world.penalties.ipv4).left(ip4("192.0.2.1"), world.clock.now()) > Duration::ZERO);
}

fn ip4(text: &str) -> u32 {
    text.parse::<std::net::Ipv4Addr>().unwrap().to_bits()
}

#[test]
fn failing_at_more_than_ten_accounts_is_spraying() {
    let world = World::with(Rules { wrong_password: Duration::ZERO, ..Rules::default() });
    for account in 0..10 {
        world.guess("192.0.2.1", &account.to_string(), "Summer2026!");
        world.guess("192.0.2.1", &account.to_string(), "Winter2026!");
    }
    assert_eq!(world.wait("192.0.2.1"), 0);
    world.guess("192.0.2.1", "10", "Summer2026!");
    assert_eq!(world.wait("192.0.2.1"), 120);
    // The next penalty takes eleven more.
    world.pass(120);
    for account in 11..21 {
        world.guess("192.0.2.1", &account.to_string(), "Summer2026!");
    }
    assert_eq!(world.wait("192.0.2.1"), 0);
    world.guess("192.0.2.1", "21", "Summer2026!");
    assert_eq!(world.wait("192.0.2.1"), 120);
    // Ten in ten minutes is not more than ten.
    for account in 0..100 {
        world.guess("192.0.2.2", &account.to_string(), "Summer2026!");
        world.pass(60);
        assert_eq!(world.wait("192.0.2.2"), 0, "{account}");
    }
}

#[test]
fn an_ipv6_network_is_closed_at_eight_times_the_threshold_of_a_source() {
    let world = World::new();
    world.penalize("2001:db8:1:1::1", Misbehavior::Http);
    assert_eq!(world.wait("2001:db8:1:1:ffff::2"), 30, "the same /64");
    assert_eq!(world.wait("2001:db8:1:2::1"), 0, "another /64");
    for subnet in 2..5 {
        world.penalize(&format!("2001:db8:1:{subnet}::1"), Misbehavior::Http);
    }
    assert_eq!(world.wait("2001:db8:1:99::1"), 0, "120 s is not above 120 s");
    world.penalize("2001:db8:1:5::1", Misbehavior::NoLogin);
    assert_eq!(world.wait("2001:db8:1:99::1"), 121);
    assert_eq!(world.wait("2001:db8:2:1::1"), 0, "another /48");
}

/// Otherwise one source alone could close its neighbors' network.
#[test]
fn a_source_that_sprays_does_not_close_its_network_by_that() {
    let world = World::new();
    for account in 0..11 {
        world.guess("2001:db8:1:1::1", &account.to_string(), "Summer2026!");
    }
    assert_eq!(world.wait("2001:db8:1:1::1"), 11 * 5 + 120);
    assert_eq!(world.wait("2001:db8:1:2::1"), 0);
}

#[test]
fn loopback_is_exempt() {
    let world = World::new();
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        for _ in 0..100 {
            world.penalize(peer, Misbehavior::Panic);
        }
        assert_eq!(world.penalties.closed(ip(peer)), None, "{peer}");
    }
    assert_eq!(locked(&world.penalties.ipv4).len() + locked(&world.penalties.ipv6).len(), 0);
    world.penalties.include_loopback();
    world.penalize("127.0.0.2", Misbehavior::Panic);
    assert_eq!((world.wait("127.0.0.2"), world.wait("127.0.0.3")), (90, 0));
}

#[test]
fn an_episode_is_told_once() {
    let world = World::new();
    let told =
        || (0..100).filter(|_| world.penalties.closed(ip("192.0.2.1")).is_some_and(|closed| closed.first)).count();
    world.penalize("192.0.2.1", Misbehavior::Http);
    assert_eq!(told(), 1);
    world.penalize("192.0.2.1", Misbehavior::Http);
    assert_eq!(told(), 0, "it goes on");
    world.pass(60);
    assert_eq!(told(), 0, "it is over");
    world.penalize("192.0.2.1", Misbehavior::Http);
    assert_eq!(told(), 1);
}

/// A flood of sources with small penalties does not displace those with large ones.
#[test]
fn the_worst_thousand_outlast_a_flood() {
    let world = World::new();
    let source = |n: u32| IpAddr::from([10, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
    for n in 0..1_000 {
        world.penalties.visit(source(n)).penalize(Misbehavior::Panic);
    }
    for n in 1_000..100_000 {
        drop(world.penalties.visit(source(n)));
    }
    assert_eq!(locked(&world.penalties.ipv4).len(), 65_536);
    assert!((0..1_000).all(|n| world.penalties.closed(source(n)).is_some()));
    // In a table full of larger penalties, a new source is still charged for its guesses.
    let few = World::with(Rules { sources: 2, ..Rules::default() });
    few.penalize("192.0.2.1", Misbehavior::Panic);
    few.penalize("192.0.2.2", Misbehavior::Panic);
    for n in 0..100 {
        few.guess("192.0.2.3", "alice", &n.to_string());
    }
    assert_eq!(locked(&few.penalties.ipv4).len(), 2);
    for _ in 0..4 {
        few.penalize("192.0.2.3", Misbehavior::Http);
    }
    assert_eq!(few.wait("192.0.2.3"), 0, "each single one is less than what the others have left");
    few.pass(80);
    few.penalize("192.0.2.3", Misbehavior::Http);
    assert_eq!(few.wait("192.0.2.3"), 30, "now it is more");
}

#[test]
fn what_ran_down_is_forgotten() {
    let world = World::new();
    for n in 0..100 {
        drop(world.penalties.visit(IpAddr::from([192, 0, 2, n])));
    }
    world.guess("198.51.100.1", "alice", "wrong");
    world.pass(3_600);
    world.penalize("192.0.2.200", Misbehavior::NoLogin);
    assert_eq!(locked(&world.penalties.ipv4).len(), 2, "the guess is still recognised");
    world.pass(24 * 3_600);
    world.penalize("192.0.2.200", Misbehavior::NoLogin);
    assert_eq!(locked(&world.penalties.ipv4).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Charge(u8, u8),
    Guess(u8, u8, u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..20_u8, 0..5_u8).prop_map(|(source, offence)| Step::Charge(source, offence)),
        (0..20_u8, 0..40_u8, 0..3_u8).prop_map(|(source, account, secret)| Step::Guess(source, account, secret)),
        (0..300_u16).prop_map(Step::Pass),
    ]
}

proptest! {
    /// In all cases: no table over its limit, no penalty over the cap, no list of guesses over its
    /// limit, and no source closed that has nothing left.
    #[test]
    fn the_bounds_hold(steps in prop::collection::vec(step(), 0..400), most in 1..12_usize) {
        let world = World::with(Rules { sources: most, ..Rules::default() });
        let offences = [Misbehavior::NoLogin, Misbehavior::Timeout, Misbehavior::Garbage, Misbehavior::Http, Misbehavior::Panic];
        let peer = |n: u8| if n < 10 { format!("192.0.2.{n}") } else { format!("2001:db8:{}:{n}::1", n / 4) };
        for step in steps {
            match step {
                Step::Charge(source, offence) => world.penalize(&peer(source), offences[usize::from(offence)]),
                Step::Guess(source, account, secret) => {
                    world.guess(&peer(source), &account.to_string(), &secret.to_string());
                }
                Step::Pass(seconds) => world.pass(seconds.into()),
            }
            let now = world.clock.now();
            let (ipv4, ipv6) = (locked(&world.penalties.ipv4), locked(&world.penalties.ipv6));
            prop_assert!(ipv4.len() <= most && ipv6.len() <= most);
            prop_assert!(locked(&world.penalties.networks).len() <= most);
            prop_assert!(ipv4.most_guesses() <= table::GUESSES && ipv6.most_guesses() <= table::GUESSES);
            let left: Vec<_> = (0..10).map(|n| ipv4.left(ip4(&peer(n)), now)).collect();
            drop((ipv4, ipv6));
            for (n, left) in (0..10).zip(left) {
                prop_assert!(left <= Duration::from_secs(600));
                prop_assert!(world.wait(&peer(n)) <= left.as_secs());
                prop_assert!(left <= Duration::from_secs(15) || world.wait(&peer(n)) > 0);
            }
        }
    }

    /// Compared with the plain sum: the penalty of one source is what was charged, less the time
    /// since.
    #[test]
    fn a_penalty_is_what_was_charged_less_the_time_that_passed(steps in prop::collection::vec((0..5_usize, 0..60_u64), 0..100)) {
        let world = World::new();
        let offences =
            [(Misbehavior::NoLogin, 1), (Misbehavior::Timeout, 10), (Misbehavior::Garbage, 10), (Misbehavior::Http, 30), (Misbehavior::Panic, 90)];
        let (mut left, mut closed) = (0_u64, false);
        for (offence, pause) in steps {
            let (offence, cost) = offences[offence];
            world.penalize("192.0.2.1", offence);
            left = (left + cost).min(600);
            closed |= left > 15;
            prop_assert_eq!(world.wait("192.0.2.1"), if closed { left } else { 0 });
            world.pass(pause);
            left = left.saturating_sub(pause);
            closed &= left > 0;
            prop_assert_eq!(world.wait("192.0.2.1"), if closed { left } else { 0 });
        }
    }
}
