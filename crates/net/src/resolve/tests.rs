use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A resolver whose lookups are answered by hand.
struct Puppet {
    resolver: Resolver,
    clock: Clock,
    asked: Arc<AtomicUsize>,
    answers: mpsc::Sender<io::Result<Vec<IpAddr>>>,
}

impl Puppet {
    fn new() -> Self {
        let (answers, given) = mpsc::channel();
        let (given, asked) = (Mutex::new(given), Arc::new(AtomicUsize::new(0)));
        let clock = Clock::manual();
        let counted = Arc::clone(&asked);
        let resolver = Resolver::new(clock.clone(), move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            given.lock().recv().unwrap_or_else(|_| Err(io::Error::other("the test is over")))
        });
        Self { resolver, clock, asked, answers }
    }

    fn answer(&self, addresses: &[u8]) {
        self.answers.send(Ok(addresses.iter().map(|last| ip(*last)).collect())).unwrap();
    }

    fn fail(&self) {
        self.answers.send(Err(io::Error::other("SERVFAIL"))).unwrap();
    }

    async fn resolve(&self) -> io::Result<Vec<u8>> {
        let found = self.resolver.resolve("mail.example", 993, soon()).await?;
        Ok(found
            .iter()
            .map(|address| match address.ip() {
                IpAddr::V4(v4) => v4.octets()[3],
                IpAddr::V6(_) => panic!("nobody gave {address}"),
            })
            .collect())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_address_needs_no_lookup() {
    let puppet = Puppet::new();
    let found = puppet.resolver.resolve("::1", 25, soon()).await.unwrap();
    assert_eq!(found, ["[::1]:25".parse().unwrap()]);
    assert_eq!(puppet.asked(), 0);
}

#[tokio::test]
async fn an_answer_is_remembered_for_a_while_and_each_address_given_once() {
    let puppet = Puppet::new();
    puppet.answer(&[1, 2, 1]);
    assert_eq!(puppet.resolve().await.unwrap(), [1, 2]);
    puppet.clock.advance(FRESH - Duration::from_millis(1));
    assert_eq!(puppet.resolve().await.unwrap(), [1, 2]);
    assert_eq!(puppet.asked(), 1);
    puppet.clock.advance(Duration::from_millis(1));
    puppet.answer(&[3]);
    assert_eq!(puppet.resolve().await.unwrap(), [3]);
}

#[tokio::test]
async fn a_doubted_answer_is_looked_up_anew_but_at_most_once_a_second() {
    let puppet = Puppet::new();
    puppet.answer(&[1]);
    puppet.resolve().await.unwrap();
    puppet.resolver.invalidate("mail.example");
    assert_eq!(puppet.resolve().await.unwrap(), [1]);
    assert_eq!(puppet.asked(), 1);
    puppet.clock.advance(PAUSE);
    puppet.answer(&[2]);
    assert_eq!(puppet.resolve().await.unwrap(), [2]);
    puppet.clock.advance(PAUSE);
    puppet.resolver.doubt_all();
    puppet.answer(&[3]);
    assert_eq!(puppet.resolve().await.unwrap(), [3]);
    assert_eq!(puppet.asked(), 3);
}

#[tokio::test]
async fn an_old_answer_stands_in_for_a_failed_lookup_for_a_day() {
    let puppet = Puppet::new();
    puppet.answer(&[1]);
    puppet.resolve().await.unwrap();
    puppet.clock.advance(FRESH);
    puppet.fail();
    assert_eq!(puppet.resolve().await.unwrap(), [1]);
    puppet.clock.advance(STALE - FRESH);
    puppet.fail();
    assert_eq!(puppet.resolve().await.unwrap_err().to_string(), "SERVFAIL");
    assert_eq!(puppet.asked(), 3);
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_second() {
    let puppet = Puppet::new();
    puppet.fail();
    assert!(puppet.resolve().await.is_err());
    assert!(puppet.resolve().await.is_err());
    assert_eq!(puppet.asked(), 1);
    puppet.clock.advance(PAUSE);
    puppet.answer(&[1]);
    assert_eq!(puppet.resolve().await.unwrap(), [1]);
}

#[tokio::test]
async fn a_name_without_address_is_an_error() {
    let puppet = Puppet::new();
    puppet.answer(&[]);
    assert_eq!(puppet.resolve().await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// Any number of waiting callers cost one thread. A caller leaves at its deadline, and the answer
/// is cached for later ones.
#[tokio::test]
async fn a_resolver_that_hangs_holds_one_thread_and_nobody() {
    let puppet = Puppet::new();
    let started = Instant::now();
    let waiting: Vec<_> = (0..1_000)
        .map(|_| {
            let resolver = puppet.resolver.clone();
            tokio::spawn(
                async move { resolver.resolve("mail.example", 993, started + Duration::from_millis(50)).await },
            )
        })
        .collect();
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    assert_eq!(puppet.resolver.0.names().lookups, 1);
    puppet.answer(&[1]);
    assert_eq!(puppet.resolve().await.unwrap(), [1]);
    assert_eq!(puppet.asked(), 1);
    assert_eq!(puppet.resolver.0.names().lookups, 0);
}

#[tokio::test]
async fn with_an_old_answer_a_hanging_lookup_is_not_waited_for_long() {
    let puppet = Puppet::new();
    puppet.answer(&[1]);
    puppet.resolve().await.unwrap();
    puppet.clock.advance(FRESH);
    // The first caller waits a little, the next one not at all.
    let started = Instant::now();
    assert_eq!(puppet.resolve().await.unwrap(), [1]);
    assert!(started.elapsed() >= STALE_WAIT && started.elapsed() < PATIENCE);
    for _ in 0..100 {
        assert_eq!(puppet.resolve().await.unwrap(), [1]);
    }
    assert_eq!(puppet.asked(), 2);
}

#[tokio::test]
async fn threads_are_bounded_whatever_the_number_of_names() {
    let puppet = Puppet::new();
    let now = Instant::now();
    for name in 0..LOOKUPS {
        let waited = puppet.resolver.resolve(&format!("n{name}.example"), 1, now).await;
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    let refused = puppet.resolve().await.unwrap_err();
    assert!(refused.to_string().contains("too many names"), "{refused}");
    // The lookups end, and new ones are possible again.
    let Puppet { resolver, answers, .. } = puppet;
    drop(answers);
    while resolver.0.names().lookups > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = resolver.resolve("further.example", 1, soon()).await.unwrap_err();
    assert_eq!(told.to_string(), "the test is over");
}

#[tokio::test]
async fn the_systems_resolver_knows_localhost() {
    let found = Resolver::system(Clock::system()).resolve("localhost", 25, soon()).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 25), "{found:?}");
}
