//! An Entra that is away for a while. The manual clock runs along with tokio's virtual time.

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Outage {
    world: Arc<World>,
    ticking: JoinHandle<()>,
}

impl Outage {
    fn new(away: Reply, limits: Limits) -> Self {
        let world = Arc::new(World::with(FakeEndpoint::new(move |_| away.clone()), limits));
        let clock = world.clock.clone();
        let ticking = tokio::spawn(async move {
            loop {
                sleep(SECOND / 20).await;
                clock.advance(SECOND / 20);
            }
        });
        Self { world, ticking }
    }

    fn ends(&self) {
        self.world.entra.judge_by(|form| match form["password"].as_str() {
            "right" => Reply::Token(3600),
            _ => Reply::Denied(50126),
        });
    }

    fn login(&self, name: &str) -> JoinHandle<Result<(), Failure>> {
        let (world, login) = (Arc::clone(&self.world), format!("{name}@contoso.example"));
        tokio::spawn(async move { world.login(&login, "right").await.map(drop) })
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_patience_of_a_login_costs_none() {
    for away in [Reply::Unreachable, Reply::Raw(503, None, "<html>"), Reply::Raw(200, None, "<html>"), Reply::Silence] {
        let outage = Outage::new(away.clone(), Limits::default());
        let mut logins = Vec::new();
        for n in 0..200 {
            logins.push(outage.login(&format!("user{n}")));
            sleep(SECOND / 10).await;
        }
        let asked = outage.world.entra.count();
        assert!(asked <= 100, "{away:?}: {asked} requests in 20 s");
        outage.ends();
        let back = Instant::now();
        outage.login("late").await.unwrap().unwrap();
        assert!(back.elapsed() < 3 * SECOND, "{away:?}: {:?}", back.elapsed());
        for login in logins {
            login.await.unwrap().unwrap_or_else(|failure| panic!("{away:?}: {failure}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn logins_at_one_account_each_wait_their_own_time() {
    let outage = Outage::new(Reply::Unreachable, Limits::default());
    let first = outage.login("alice");
    sleep(40 * SECOND).await;
    let second = outage.login("alice");
    sleep(15 * SECOND).await;
    let failure = first.await.unwrap().unwrap_err();
    assert_eq!((failure.refusal, failure.cause.name()), (Refusal::Unavailable, "entra-unreachable"));
    // It joined the first one's request, which has ended.
    outage.ends();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_told_soon_and_ends_with_the_first_answer() {
    let outage = Outage::new(Reply::Unreachable, Limits::default());
    assert!(outage.login("alice").await.unwrap().is_err());
    sleep(5 * SECOND).await;
    for n in 0..20 {
        let began = Instant::now();
        let failure = outage.login(&format!("user{n}")).await.unwrap().unwrap_err();
        assert_eq!(failure.refusal, Refusal::Unavailable, "{failure}");
        assert!(began.elapsed() <= 4 * SECOND, "{:?}", began.elapsed());
    }
    outage.ends();
    let back = Instant::now();
    outage.login("alice").await.unwrap().unwrap();
    assert!(back.elapsed() < 3 * SECOND, "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_queue_holds_wait() {
    let outage = Outage::new(Reply::Unreachable, Limits { token_queue: 3, ..Limits::default() });
    let mut logins = vec![outage.login("first")];
    sleep(5 * SECOND).await;
    for n in 0..20 {
        logins.push(outage.login(&format!("user{n}")));
    }
    sleep(5 * SECOND).await;
    let waiting = logins.iter().filter(|login| !login.is_finished()).count();
    assert!((1..=3).contains(&waiting), "{waiting}");
    outage.ends();
    for login in logins {
        if let Err(failure) = login.await.unwrap() {
            assert_eq!(failure.refusal, Refusal::Unavailable, "{failure}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn passwords_that_wait_do_not_count_as_guesses_on_their_way() {
    let outage = Outage::new(Reply::Unreachable, Limits::default());
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            let world = Arc::clone(&outage.world);
            tokio::spawn(
                async move { world.login_from(STRANGER, "alice@contoso.example", &format!("guess {n}")).await },
            )
        })
        .collect();
    sleep(5 * SECOND).await;
    let right = outage.login("alice");
    sleep(5 * SECOND).await;
    assert!(!right.is_finished(), "the guesses use up no budget before Entra has judged them");
    for guess in guesses {
        guess.abort();
    }
}
