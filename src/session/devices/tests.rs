use std::sync::Arc;

use tokio::time::sleep;

use super::*;
use gatepost_core::cause::Cause;
use gatepost_store::faulty::FaultyStore;
use gatepost_store::{MemoryStore, SENDERS};

const LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
const SCANNER: &str = "scanner@contoso.example";

fn log() -> DeviceLog {
    let log = DeviceLog::default();
    log.begin();
    log
}

fn client(address: impl Into<IpAddr>) -> ConnectionInfo {
    ConnectionInfo::new(&"smtp".into(), (address.into(), 4_000).into())
}

/// The n-th address of a large network.
fn nth(n: u32) -> [u8; 4] {
    (0x0a00_0000 + n).to_be_bytes()
}

fn failure(cause: Cause) -> Failure {
    Failure::new(cause, "it failed")
}

async fn all(store: &dyn Store) -> Vec<Device> {
    let mut all = Vec::new();
    for bucket in 0..=STRANGERS {
        all.extend(store.devices(bucket).await.unwrap().0);
    }
    all
}

async fn one(store: &dyn Store, source: [u8; 4]) -> Device {
    let mut found = all(store).await;
    found.retain(|device| device.source == IpAddr::from(source));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn what_was_noted_is_added_up_in_the_store() {
    let (log, store) = (log(), MemoryStore::default());
    let scanner = client([192, 168, 7, 21]);
    scanner.note(|client| (client.tls, client.method) = ("TLS 1.2", "LOGIN"));
    log.logged_in(Protocol::Smtp, &scanner, SCANNER, UnixTime(100));
    log.sent(Protocol::Smtp, &scanner, SCANNER, Some("scan@contoso.example"), UnixTime(101));
    log.add(&store, LIFE, UnixTime(101)).await;
    // The next failure comes before TLS, and does not hide how it logged in.
    let again = client([192, 168, 7, 21]);
    log.failed(Protocol::Smtp, &again, SCANNER, &failure(Cause::WrongPassword), UnixTime(200));
    log.sent(Protocol::Smtp, &scanner, SCANNER, None, UnixTime(201));
    log.add(&store, LIFE, UnixTime(201)).await;
    let device = one(&store, [192, 168, 7, 21]).await;
    assert_eq!((&*device.tls, &*device.method, &*device.protocol), ("TLS 1.2", "LOGIN", "smtp"));
    assert_eq!((device.first_seen, device.last_success), (UnixTime(100), Some(UnixTime(201))));
    assert_eq!((device.logins, device.messages, device.failures), (1, 2, 1));
    assert_eq!(device.senders, ["scan@contoso.example"]);
    let last = device.last_failure.unwrap();
    assert_eq!((last.at, &*last.cause, &*last.text), (UnixTime(200), "wrong-password", "it failed"));
}

#[tokio::test]
async fn strangers_push_out_no_device_and_fill_no_more_than_their_part() {
    let (log, store) = (log(), MemoryStore::default());
    log.logged_in(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, UnixTime(100));
    log.add(&store, LIFE, UnixTime(100)).await;
    for round in 0..20 {
        for n in 0..10_000 {
            let stranger = client(nth(round * 10_000 + n));
            log.failed(Protocol::Smtp, &stranger, "x…y", &failure(Cause::UnknownAccount), UnixTime(200));
        }
        assert!(log.noted().strangers.len() <= MOST_STRANGERS);
        log.add(&store, LIFE, UnixTime(200)).await;
    }
    // One that fails while the flood goes on is a device still.
    log.failed(Protocol::Smtp, &client([192, 168, 7, 21]), "", &failure(Cause::TlsTooOld), UnixTime(300));
    log.add(&store, LIFE, UnixTime(300)).await;
    let kept = all(&store).await;
    assert_eq!(kept.iter().filter(|device| device.last_success.is_none()).count(), MOST_STRANGERS + 1);
    let scanner: Vec<_> = kept.iter().filter(|device| device.source == IpAddr::from([192, 168, 7, 21])).collect();
    assert_eq!(scanner.len(), 2, "{scanner:?}");
    assert!(scanner.iter().any(|device| device.login == SCANNER && device.last_success == Some(UnixTime(100))));
    assert!(scanner.iter().any(|device| device.last_failure.as_ref().is_some_and(|it| it.cause == "tls-too-old")));
    assert_eq!(store.devices(STRANGERS).await.unwrap().0.len(), MOST_STRANGERS);
}

#[tokio::test]
async fn one_address_fails_with_a_few_names_only() {
    let (log, store) = (log(), MemoryStore::default());
    let scanner = client([192, 168, 7, 21]);
    log.logged_in(Protocol::Smtp, &scanner, SCANNER, UnixTime(100));
    for round in 0..10 {
        for n in 0..1_000 {
            let name = format!("guess{round}-{n}");
            log.failed(Protocol::Smtp, &scanner, &name, &failure(Cause::UnknownAccount), UnixTime(200));
        }
        log.add(&store, LIFE, UnixTime(200)).await;
    }
    assert_eq!(all(&store).await.len(), 1 + NAMES);
}

#[tokio::test]
async fn devices_and_senders_are_bounded_and_the_oldest_go() {
    let (log, store) = (log(), MemoryStore::default());
    for n in 0..40_000 {
        let device = client(nth(n));
        log.logged_in(Protocol::Smtp, &device, SCANNER, UnixTime(u64::from(n)));
        if n % 5_000 == 4_999 {
            log.add(&store, LIFE, UnixTime(u64::from(n))).await;
        }
    }
    let kept = all(&store).await;
    assert!(kept.len() <= NOTED, "{}", kept.len());
    for bucket in 0..DEVICE_BUCKETS {
        assert!(store.devices(bucket).await.unwrap().0.len() <= DEVICES);
    }
    assert!(kept.iter().any(|device| device.source == IpAddr::from(nth(39_999))));
    let device = client(nth(39_999));
    for n in 0..100 {
        let sender = format!("{}{n}@contoso.example", "s".repeat(500));
        log.sent(Protocol::Smtp, &device, SCANNER, Some(&sender), UnixTime(50_000));
    }
    log.add(&store, LIFE, UnixTime(50_000)).await;
    let device = one(&store, nth(39_999)).await;
    assert!(device.senders.len() <= SENDERS && device.senders.iter().all(|sender| sender.len() <= TEXT));
}

#[tokio::test]
async fn a_device_is_removed_after_its_time_and_a_known_one_is_known_after_a_restart() {
    let (store, day) = (MemoryStore::default(), Duration::from_secs(24 * 3_600));
    let first = log();
    first.logged_in(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, UnixTime(0));
    first.logged_in(Protocol::Smtp, &client([192, 168, 7, 22]), SCANNER, UnixTime(0).after(10 * day));
    first.add(&store, LIFE, UnixTime(0).after(10 * day)).await;
    let second = log();
    assert!(second.sweep(&store, LIFE, UnixTime(0).after(31 * day)).await);
    assert_eq!(one(&store, [192, 168, 7, 22]).await.last_success, Some(UnixTime(0).after(10 * day)));
    assert_eq!(all(&store).await.len(), 1);
    let failed = failure(Cause::WrongPassword);
    second.failed(Protocol::Smtp, &client([192, 168, 7, 22]), SCANNER, &failed, UnixTime(0).after(31 * day));
    second.add(&store, LIFE, UnixTime(0).after(31 * day)).await;
    assert_eq!(one(&store, [192, 168, 7, 22]).await.failures, 1);
    assert!(store.devices(STRANGERS).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn replicas_add_to_the_same_device() {
    let (one_log, other_log, store) = (log(), log(), Arc::new(MemoryStore::default()));
    for round in 0..50 {
        for log in [&one_log, &other_log] {
            log.sent(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, None, UnixTime(round));
        }
        tokio::join!(one_log.add(&*store, LIFE, UnixTime(round)), other_log.add(&*store, LIFE, UnixTime(round)));
    }
    assert_eq!(one(&*store, [192, 168, 7, 21]).await.messages, 100);
}

#[tokio::test]
async fn what_the_store_does_not_take_waits_within_the_bounds() {
    let (log, store) = (log(), FaultyStore::default());
    store.set_away(true);
    for round in 0..3 {
        log.logged_in(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, UnixTime(100 + round));
        for n in 0..1_000 {
            log.failed(Protocol::Smtp, &client(nth(n)), "", &failure(Cause::TlsFailed), UnixTime(100 + round));
        }
        log.add(&store, LIFE, UnixTime(100 + round)).await;
        assert!(log.noted().strangers.len() <= MOST_STRANGERS);
    }
    store.set_away(false);
    log.add(&store, LIFE, UnixTime(200)).await;
    let device = one(&store, [192, 168, 7, 21]).await;
    assert_eq!((device.logins, device.first_seen, device.last_success), (3, UnixTime(100), Some(UnixTime(102))));
}

#[tokio::test(start_paused = true)]
async fn an_end_amid_a_batch_loses_none_of_it() {
    let (log, store) = (log(), FaultyStore::default());
    store.set_slow(Duration::from_secs(2));
    let login = || log.logged_in(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, Clock::system().unix_time());
    for moment in 0..6 {
        login();
        // While the first one is added.
        let second = async {
            sleep(Duration::from_secs(1)).await;
            login();
        };
        tokio::join!(log.keep(&store, LIFE, sleep(Duration::from_secs(moment))), second);
    }
    assert_eq!(one(&store, [192, 168, 7, 21]).await.logins, 12);
}

#[tokio::test]
async fn nothing_is_noted_before_the_beginning() {
    let (log, store) = (DeviceLog::default(), MemoryStore::default());
    log.logged_in(Protocol::Smtp, &client([192, 168, 7, 21]), SCANNER, UnixTime(100));
    log.failed(Protocol::Smtp, &client(nth(1)), "", &failure(Cause::TlsFailed), UnixTime(100));
    log.add(&store, LIFE, UnixTime(100)).await;
    assert!(all(&store).await.is_empty());
}

/// Whether the store is to be told of something at once.
async fn has_news(log: &DeviceLog) -> bool {
    tokio::time::timeout(Duration::ZERO, log.news.notified()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_new_device_and_its_new_kind_of_failure_are_news() {
    let (log, scanner, stranger) = (log(), client([192, 168, 7, 21]), client([192, 168, 7, 22]));
    let failed = |of: &ConnectionInfo, cause| log.failed(Protocol::Smtp, of, SCANNER, &failure(cause), UnixTime(101));
    assert!(!has_news(&log).await);
    log.logged_in(Protocol::Smtp, &scanner, SCANNER, UnixTime(100));
    assert!(has_news(&log).await);
    log.sent(Protocol::Smtp, &scanner, SCANNER, None, UnixTime(100));
    assert!(!has_news(&log).await, "it is known");
    failed(&scanner, Cause::WrongPassword);
    assert!(has_news(&log).await);
    failed(&scanner, Cause::WrongPassword);
    assert!(!has_news(&log).await, "it failed like this before");
    failed(&scanner, Cause::TlsFailed);
    assert!(has_news(&log).await);
    failed(&stranger, Cause::WrongPassword);
    assert!(!has_news(&log).await, "it is a stranger's");
}

#[test]
fn between_two_batches_a_place_has_room_for_its_device_and_a_few_names() {
    let (log, scanner) = (log(), client([192, 168, 7, 21]));
    let failed = |login: &str| log.failed(Protocol::Smtp, &scanner, login, &failure(Cause::WrongPassword), UnixTime(1));
    log.logged_in(Protocol::Smtp, &scanner, SCANNER, UnixTime(0));
    for n in 0..2 * NAMES {
        failed(&format!("name{n}"));
        failed(SCANNER);
    }
    let noted = log.noted();
    assert_eq!((noted.devices.len(), noted.strangers.len()), (1 + NAMES, 0));
    let of = |login: &str| noted.devices.get(&(place(&scanner), login.to_owned())).map(|device| device.failures);
    assert_eq!(of(SCANNER), Some(2 * NAMES as u64));
    assert_eq!((of("name0"), of(&format!("name{}", NAMES - 1)), of(&format!("name{NAMES}"))), (Some(1), Some(1), None));
}

#[test]
fn what_is_noted_between_two_batches_is_bounded_and_goes_on_for_those_in_it() {
    let (log, most) = (log(), u32::try_from(NOTED).unwrap());
    for n in 0..=most {
        log.logged_in(Protocol::Smtp, &client(nth(n)), SCANNER, UnixTime(0));
    }
    log.logged_in(Protocol::Smtp, &client(nth(0)), SCANNER, UnixTime(1));
    log.failed(Protocol::Smtp, &client(nth(0)), "other", &failure(Cause::WrongPassword), UnixTime(1));
    let noted = log.noted();
    assert_eq!((noted.devices.len(), noted.known.len()), (NOTED, NOTED));
    let logins = |n| noted.devices.get(&(place(&client(nth(n))), SCANNER.to_owned())).map(|device| device.logins);
    assert_eq!((logins(0), logins(most - 1), logins(most)), (Some(2), Some(1), None));
}

#[test]
fn what_is_put_back_is_added_to_what_was_noted_meanwhile_each_to_its_own() {
    let log = log();
    let noted = |address: u32| seen(Protocol::Smtp, &client(nth(address)), "", UnixTime(5));
    log.failed(Protocol::Smtp, &client(nth(0)), "", &failure(Cause::TlsFailed), UnixTime(9));
    let strangers = (0..=u32::try_from(MOST_STRANGERS).unwrap()).map(noted).collect();
    log.put_back(STRANGERS, strangers);
    log.put_back(device_bucket("smtp", IpAddr::from(nth(0))), vec![noted(0)]);
    let noted = log.noted();
    assert_eq!((noted.devices.len(), noted.strangers.len()), (1, MOST_STRANGERS));
    let both = &noted.strangers[&(place(&client(nth(0))), String::new())];
    assert_eq!((both.first_seen, both.failures), (UnixTime(5), 1));
}

#[tokio::test]
async fn a_device_lives_until_the_end_of_its_time() {
    let (log, store) = (log(), MemoryStore::default());
    for (wait, left) in [(LIFE - Duration::from_secs(1), 1), (LIFE, 0)] {
        log.logged_in(Protocol::Smtp, &client(nth(1)), SCANNER, UnixTime(100));
        log.add(&store, LIFE, UnixTime(100).after(wait)).await;
        assert_eq!(all(&store).await.len(), left);
    }
}
