//! Listeners with a queue: a 250 means that the message is on the disk, and then Microsoft gets it
//! once, however long that takes.

use std::io;
use std::time::Duration;

use gatepost_config::password_hash;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_core::secret::Password;
use gatepost_sandbox::{EntraMode, HttpFault, SandboxAccount, SandboxConfig, Service, SmtpFault, UpstreamMode};
use gatepost_store::queue::{Acted, Point, QueueId};

use crate::common::directory::Directory;
use crate::session::submission_trusted::{inbox, send};
use crate::session::support::{BOB, Client, Setup, World, plain};

pub(super) const SCANNER: &str = "scanner@contoso.example";
pub(super) const PRINTER: &str = "printer@contoso.example";
const SCANNERS: &str = "scan-7-scan-7-scan";
/// The Argon2id hash of that password.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4IfZJ2nU2ZRHrYYvlzcKcSSuTKW0pCHaqw9Y5ZpVHjw";

pub(super) const BY_SMTP: &str = "upstream: 'localhost:{smtp}', graph: 'localhost:{graph}'";
pub(super) const BY_GRAPH: &str = "deliver: graph, graph: 'localhost:{graph}'";

/// A listener with a queue in `directory` that trusts loopback.
pub(super) fn setup(directory: &Directory, keys: &str, queue: &str) -> Setup {
    let of_tenant = [SCANNER, PRINTER, BOB].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    Setup {
        listeners: format!(
            "\n  smtp: {{bind: '127.0.0.1:0', queue: true, {keys}, trusted_senders: [{{from: 127.0.0.1, login: {SCANNER}, \
             sender: checked, messages_per_minute: 1000}}]}}"
        ),
        accounts: format!("\n  - {{login: {SCANNER}, passwords: ['{HASH}'], send_as: [{PRINTER}]}}"),
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        sections: format!(
            "state: {{directory: '{}', key: {{env: KEY}}}}\nqueue: {{{queue}}}\n",
            directory.path().join("state").display()
        ),
        // An attempt waits so long for an Entra that is away, and no test has to wait for the usual 50 s.
        limits: "  token_request: 5s\n  token_total: 5s",
        variables: vec![("KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")],
        ..Setup::default()
    }
}

pub(super) async fn device(world: &World) -> Client {
    let mut device = Client::connect(world.address("smtp"), Smtp).await;
    device.hear("220 ").await;
    device.ask("EHLO scanner", "250 ").await;
    device
}

pub(super) fn text(number: u32) -> String {
    format!("From: {SCANNER}\r\nTo: {BOB}\r\nSubject: scan {number}\r\n\r\nScan {number}")
}

/// Sends the message of this number.
pub(super) async fn scan(device: &mut Client, number: u32) -> String {
    send(device, SCANNER, BOB, &text(number)).await
}

/// The numbers of the messages that Bob has, in their order.
pub(super) fn scans(world: &World) -> Vec<u32> {
    let number = |text: &String| text.split("Subject: scan ").nth(1)?.split("\r\n").next()?.parse().ok();
    inbox(world).iter().filter_map(number).collect()
}

/// Lets time pass for timers, in steps, so that what follows from one is seen before the next.
async fn pass(seconds: u64) {
    let mut left = Duration::from_secs(seconds);
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(20));
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        tokio::task::yield_now().await;
        left -= step;
    }
}

/// Waits until something is so, while 20 s pass again and again.
pub(super) async fn in_time(world: &World, what: &str, so: impl Fn() -> bool) {
    for _ in 0..300 {
        come_to_rest().await;
        if so() {
            return;
        }
        pass(20).await;
    }
    world.until(what, so).await;
}

/// Waits until this thread, in which the service and Microsoft 365 are as well, has had nothing to do
/// for a while. What is under way would otherwise meet its deadlines as the time passes.
async fn come_to_rest() {
    // A look at the disk is on another thread, and takes less than so many steps.
    const STILL: u32 = 20;
    // The wheel of timers and their rounding park the thread up to three times in each step.
    const OF_THE_WAIT: u64 = 3;
    let metrics = tokio::runtime::Handle::current().metrics();
    let mut still = 0;
    for _ in 0..200 {
        let before = metrics.worker_park_count(0);
        tokio::time::sleep(Duration::from_millis(10)).await;
        still = if metrics.worker_park_count(0) <= before + OF_THE_WAIT { still + 1 } else { 0 };
        if still == STILL {
            return;
        }
    }
}

/// The number of the message of [`overtake`].
const OTHER: u32 = 99;

/// Sends a message of another mailbox, and waits until it has arrived. What was due before it, and may
/// be sent, is then on its way or has arrived.
async fn overtake(world: &World) {
    let mut device = device(world).await;
    let text = text(OTHER).replace(&format!("From: {SCANNER}"), &format!("From: {PRINTER}"));
    let queued = send(&mut device, PRINTER, BOB, &text).await;
    assert!(queued.starts_with("250 2.0.0 Queued as "), "{queued}");
    let of_other = format!(" mailbox={PRINTER} ");
    in_time(world, "the other mailbox sends", || told(world, "sent").iter().any(|line| line.contains(&of_other))).await;
}

/// The call that looks into Sent Items.
pub(super) const LOOK: &str = "GET /mailFolders/{id}/messages";

/// Ends the service as a stop does.
pub(super) async fn stop(world: World) {
    world.stop.drain();
    let World { serving, .. } = world;
    serving.await.unwrap();
}

/// Lets Entra, Exchange Online and Graph be away, or come back.
fn away(world: &World, away: bool) {
    let (mode, entra) =
        if away { (UpstreamMode::Refuse, EntraMode::Down) } else { (UpstreamMode::Normal, EntraMode::Normal) };
    for service in [Service::Smtp, Service::Graph] {
        world.sandbox.set_upstream_mode(service, mode);
    }
    world.sandbox.set_entra_mode(entra);
}

pub(super) fn told(world: &World, outcome: &str) -> Vec<String> {
    let outcome = format!(" outcome={outcome} ");
    world.log.lines(|line| line.contains("queue_id=") && line.contains(&outcome))
}

#[tokio::test]
async fn what_is_accepted_while_microsoft_is_away_arrives_in_order_when_it_is_back() {
    for (keys, way) in [(BY_SMTP, "smtp"), (BY_GRAPH, "graph")] {
        let directory = Directory::new();
        let world = setup(&directory, keys, "").start().await;
        away(&world, true);
        let mut scanner = device(&world).await;
        for number in 1..=3 {
            assert_eq!(scan(&mut scanner, number).await, format!("250 2.0.0 Queued as {number}"));
        }
        world.until("it was tried", || !told(&world, "delayed").is_empty()).await;
        assert_eq!(told(&world, "delayed").len(), 1, "one message tests the mailbox");
        let line = &told(&world, "delayed")[0];
        assert!(line.contains("queued message 1 delayed, next try in 3"), "{line}");
        assert_eq!(scans(&world), [0; 0]);
        away(&world, false);
        in_time(&world, "all have arrived", || scans(&world).len() == 3).await;
        assert_eq!(scans(&world), [1, 2, 3]);
        world.until("all are told", || told(&world, "sent").len() == 3).await;
        assert!(told(&world, "sent").iter().all(|line| line.contains(&format!("way={way} "))));
        assert_eq!(world.log.lines(|line| line.contains("message queued")).len(), 3);
    }
}

#[tokio::test]
async fn messages_survive_the_process() {
    let directory = Directory::new();
    let first = setup(&directory, BY_SMTP, "").start().await;
    away(&first, true);
    assert_eq!(scan(&mut device(&first).await, 1).await, "250 2.0.0 Queued as 1");
    first.until("it was tried", || !told(&first, "delayed").is_empty()).await;
    stop(first).await;
    let second = setup(&directory, BY_SMTP, "").start().await;
    second.until("it has arrived", || scans(&second) == [1]).await;
    second.until("it is told", || told(&second, "sent").len() == 1).await;
    let text = second.control.journal().metrics().text();
    assert!(text.contains("gatepost_queue_outcomes_total{outcome=\"sent\"} 1\n"), "{text}");
}

#[tokio::test]
async fn a_client_logs_in_and_sends_while_entra_and_exchange_are_away() {
    let directory = Directory::new();
    let hash = password_hash::hash(&Password::new(SCANNERS.to_owned())).unwrap();
    let mut setup = setup(&directory, BY_SMTP, "");
    setup.accounts = setup.accounts.replace(HASH, &hash);
    let world = setup.start().await;
    away(&world, true);
    let mut client = device(&world).await;
    client.ask(&format!("AUTH PLAIN {}", plain(SCANNER, SCANNERS)), "235 ").await;
    assert_eq!(scan(&mut client, 1).await, "250 2.0.0 Queued as 1");
    let mut stranger = device(&world).await;
    stranger.ask(&format!("AUTH PLAIN {}", plain(SCANNER, "wrong-password-of-a-stranger")), "535 ").await;
    away(&world, false);
    in_time(&world, "it has arrived", || scans(&world) == [1]).await;
}

#[tokio::test]
async fn the_rules_about_senders_hold_before_the_queue() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    let mut scanner = device(&world).await;
    let refused = send(&mut scanner, "boss@contoso.example", BOB, &text(1)).await;
    assert!(refused.starts_with("550 5.7."), "{refused}");
    let in_header = text(2).replace(&format!("From: {SCANNER}"), "From: boss@contoso.example");
    let refused = send(&mut scanner, SCANNER, BOB, &in_header).await;
    assert!(refused.starts_with("550 5.7."), "{refused}");
    // The header decides which mailbox sends it.
    let as_printer = text(3).replace(&format!("From: {SCANNER}"), &format!("From: {PRINTER}"));
    assert_eq!(send(&mut scanner, PRINTER, BOB, &as_printer).await, "250 2.0.0 Queued as 1");
    world.until("it has arrived", || scans(&world) == [3]).await;
    world.until("it is told", || told(&world, "sent").len() == 1).await;
    assert!(told(&world, "sent")[0].contains(&format!("mailbox={PRINTER} ")), "{:?}", told(&world, "sent"));
}

#[tokio::test]
async fn a_message_that_exchange_refuses_for_good_waits_for_a_person_and_is_reported() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, &format!("report_to: {BOB}")).start().await;
    let mut scanner = device(&world).await;
    let queued = send(&mut scanner, SCANNER, "nobody@contoso.example", &text(1)).await;
    assert_eq!(queued, "250 2.0.0 Queued as 1");
    assert_eq!(scan(&mut scanner, 2).await, "250 2.0.0 Queued as 2");
    world.until("the other has arrived", || scans(&world) == [2]).await;
    let failed = told(&world, "failed");
    assert!(failed[0].contains("cause=recipient-refused code=5.1.10 "), "{failed:?}");
    in_time(&world, "there is a report", || inbox(&world).iter().any(|text| text.contains("not delivered"))).await;
    let report = inbox(&world).into_iter().find(|text| text.contains("not delivered")).unwrap();
    assert!(report.contains("RESOLVER.ADR.RecipientNotFound"), "{report}");
    assert!(report.contains("Message 1\r\nfrom 127.0.0.1 to nobody@contoso.example"), "{report}");
}

#[tokio::test]
async fn a_recipient_that_is_refused_keeps_the_message_from_no_other() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, &format!("report_to: {BOB}")).start().await;
    let mut scanner = device(&world).await;
    scanner.ask(&format!("MAIL FROM:<{SCANNER}>"), "250 ").await;
    for recipient in ["nobody@contoso.example", BOB] {
        scanner.ask(&format!("RCPT TO:<{recipient}>"), "250 ").await;
    }
    scanner.ask("DATA", "354 ").await;
    scanner.ask(&format!("{}\r\n.", text(1)), "250 2.0.0 Queued as 1").await;
    world.until("it is told", || !told(&world, "failed").is_empty()).await;
    assert_eq!(scans(&world), [1]);
    let line = told(&world, "failed").remove(0);
    assert!(line.contains("not for nobody@contoso.example: "), "{line}");
    assert!(line.contains("(the others have the message)"), "{line}");
    in_time(&world, "there is a report", || inbox(&world).iter().any(|text| text.contains("was not sent to all")))
        .await;
}

#[tokio::test]
async fn a_message_that_graph_took_without_saying_so_is_sent_once() {
    for fault in [HttpFault::RefuseWhenDone(504), HttpFault::CutWhenDone] {
        let directory = Directory::new();
        let world = setup(&directory, BY_GRAPH, "").start().await;
        world.sandbox.fail_http(Service::Graph, "sendMail", fault, 1);
        assert_eq!(scan(&mut device(&world).await, 1).await, "250 2.0.0 Queued as 1");
        world.until("it is told", || told(&world, "sent").len() == 1).await;
        assert!(told(&world, "sent")[0].contains("its copy is in Sent Items"), "{:?}", told(&world, "sent"));
        pass(3_600).await;
        overtake(&world).await;
        assert_eq!(scans(&world), [1, OTHER]);
    }
}

#[tokio::test]
async fn what_microsoft_asks_for_is_waited_for() {
    let directory = Directory::new();
    let world = setup(&directory, BY_GRAPH, "").start().await;
    let throttle = HttpFault::Refuse { status: 429, code: None, retry_after: Some(Duration::from_secs(600)) };
    world.sandbox.fail_http(Service::Graph, "sendMail", throttle, 1);
    assert_eq!(scan(&mut device(&world).await, 1).await, "250 2.0.0 Queued as 1");
    world.until("it was tried", || told(&world, "delayed").len() == 1).await;
    assert!(told(&world, "delayed")[0].contains("next try in "), "{:?}", told(&world, "delayed"));
    assert!(told(&world, "delayed")[0].contains("cause=throttled "), "{:?}", told(&world, "delayed"));
    pass(500).await;
    overtake(&world).await;
    assert_eq!((told(&world, "delayed").len(), scans(&world)), (1, vec![OTHER]));
    pass(100).await;
    world.until("it has arrived", || scans(&world) == [OTHER, 1]).await;
}

#[tokio::test]
async fn no_more_leave_a_mailbox_in_a_minute_than_it_may() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "messages_per_minute: 3").start().await;
    let mut scanner = device(&world).await;
    for number in 1..=5 {
        scan(&mut scanner, number).await;
    }
    world.until("three have arrived", || scans(&world).len() == 3).await;
    pass(50).await;
    overtake(&world).await;
    assert_eq!(scans(&world), [1, 2, 3, OTHER]);
    pass(15).await;
    world.until("all have arrived", || scans(&world).len() == 6).await;
    assert_eq!(scans(&world), [1, 2, 3, OTHER, 4, 5]);
    let connections = world.sandbox.counters().connections_to(Service::Smtp);
    assert_eq!(connections, 4, "one to learn, one of the other mailbox, and one is kept for a while");
}

#[tokio::test]
async fn a_full_queue_says_so_before_the_message() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "size: 1MiB").start().await;
    let mut scanner = device(&world).await;
    let reply = scanner.ask(&format!("MAIL FROM:<{SCANNER}> SIZE=2000000"), "").await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    assert!(world.log.has("cause=queue-full action_by=gatepost-admin"));
    assert_eq!(scan(&mut scanner, 1).await, "250 2.0.0 Queued as 1");
}

#[tokio::test]
async fn room_is_free_again_when_a_message_is_given_up() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "size: 1MiB").start().await;
    let (mut first, mut second) = (device(&world).await, device(&world).await);
    // The header would decide which mailbox sends it.
    let begin = format!("MAIL FROM:<{PRINTER}> SIZE=900000");
    first.ask(&begin, "250 ").await;
    second.ask(&begin, "452 4.3.1 ").await;
    first.ask("RSET", "250 ").await;
    second.ask(&begin, "250 ").await;
    second.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    second.ask("DATA", "354 ").await;
    first.ask(&begin, "452 4.3.1 ").await;
    second.ask("From: boss@contoso.example\r\n\r\nText\r\n.", "550 5.7.").await;
    first.ask(&begin, "250 ").await;
}

#[tokio::test]
async fn what_graph_never_takes_is_refused_at_once() {
    let directory = Directory::new();
    let world = setup(&directory, BY_GRAPH, "").start().await;
    let mut scanner = device(&world).await;
    let heard = String::from_utf8_lossy(&scanner.heard).into_owned();
    assert!(heard.contains("250-SIZE 3000000\r\n"), "{heard}");
    let reply = scanner.ask(&format!("MAIL FROM:<{SCANNER}> SIZE=3000001"), "").await;
    assert!(reply.starts_with("552 "), "{reply}");
}

#[tokio::test]
async fn a_message_waits_for_an_account_that_a_reload_removed_until_it_is_back() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    away(&world, true);
    assert_eq!(scan(&mut device(&world).await, 1).await, "250 2.0.0 Queued as 1");
    world.until("it was tried", || told(&world, "delayed").len() == 1).await;
    away(&world, false);
    let other = format!("login: {PRINTER}");
    let without =
        |yaml: &str| yaml.replace(&format!("login: {SCANNER}"), &other).replace(&format!("send_as: [{PRINTER}]"), "");
    world.reload(without).await.unwrap();
    world.until("it was tried again", || told(&world, "delayed").len() == 2).await;
    assert!(told(&world, "delayed")[1].contains("cause=unknown-account"), "{:?}", told(&world, "delayed"));
    world.reload(|yaml| yaml.replace(&other, &format!("login: {SCANNER}"))).await.unwrap();
    world.until("it has arrived", || scans(&world) == [1]).await;
}

#[tokio::test]
async fn what_could_not_be_delivered_in_time_fails_with_its_reason() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "retry_for: 1s").start().await;
    away(&world, true);
    let mut scanner = device(&world).await;
    for number in 1..=3 {
        scan(&mut scanner, number).await;
    }
    in_time(&world, "all have failed", || told(&world, "failed").len() == 3).await;
    for line in told(&world, "failed") {
        assert!(line.contains("cause=retry-over") && line.contains("(`queue.retry_for`)"), "{line}");
    }
    // The first one stands for all, and a clock that was set forward lets it fail at the third try.
    let of_first = told(&world, "delayed").iter().filter(|line| line.contains("queue_id=1 ")).count();
    assert!(of_first >= 2, "{of_first}");
    away(&world, false);
    pass(7_200).await;
    overtake(&world).await;
    assert_eq!(scans(&world), [OTHER], "it waits for a person");
}

#[tokio::test]
async fn a_try_that_the_index_kept_from_beginning_counts_for_nothing() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "retry_for: 1s").start().await;
    away(&world, true);
    let queue = world.control.queue().unwrap();
    let mut left = 4;
    queue.faults().set(move |point| match point {
        Point::Show if left > 0 => {
            left -= 1;
            Err(io::ErrorKind::Other.into())
        }
        _ => Ok(()),
    });
    scan(&mut device(&world).await, 1).await;
    in_time(&world, "it has failed", || told(&world, "failed").len() == 1).await;
    assert!(world.log.has("the queue cannot be read or written, and messages wait: "));
    let delayed = told(&world, "delayed").len();
    assert!(delayed >= 2, "it was tried as often as without that, and not {delayed} times");
}

#[tokio::test]
async fn a_connection_that_breaks_behind_the_final_dot_is_looked_up_and_nothing_is_sent_twice() {
    for (fault, arrived) in [(SmtpFault::CutWhenDone, true), (SmtpFault::Cut, false)] {
        let directory = Directory::new();
        let world = setup(&directory, BY_SMTP, "").start().await;
        world.sandbox.fail_smtp(fault, 1);
        let mut scanner = device(&world).await;
        scan(&mut scanner, 1).await;
        world.until("it was handed over", || told(&world, "looking").len() == 1).await;
        let line = told(&world, "looking").remove(0);
        assert!(line.contains(" INFO ") && line.contains("No action needed: Gatepost looks again."), "{line}");
        // It holds up no other for long.
        scan(&mut scanner, 2).await;
        in_time(&world, "the next has arrived", || scans(&world).contains(&2)).await;
        let outcome = if arrived { "sent" } else { "unknown" };
        let is_told = |outcome: &str| told(&world, outcome).iter().any(|line| line.contains("queue_id=1 "));
        in_time(&world, "it is told", || is_told(outcome)).await;
        pass(7_200).await;
        overtake(&world).await;
        assert_eq!(scans(&world).contains(&1), arrived);
        assert_eq!(scans(&world).len(), if arrived { 3 } else { 2 });
        if !arrived {
            let line = told(&world, "unknown").remove(0);
            assert!(line.contains("no copy is in Sent Items. Gatepost admin: ask a recipient"), "{line}");
            assert!(line.contains("`gatepost queue retry 1`"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_message_that_is_refused_for_a_while_lets_the_next_one_go_and_comes_later() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    world.sandbox.fail_smtp(SmtpFault::RefuseMessage("451 4.3.0 Try this one later"), 1);
    let mut scanner = device(&world).await;
    for number in 1..=2 {
        scan(&mut scanner, number).await;
    }
    world.until("the next has arrived", || scans(&world) == [2]).await;
    in_time(&world, "it comes later", || scans(&world) == [2, 1]).await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_end_is_tried_again() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    world.sandbox.fail_smtp(SmtpFault::CutBeforeContent, 1);
    let mut scanner = device(&world).await;
    // Longer than what is on its way can be, so that the break is noticed.
    let long = format!("{}\r\n{}", text(1), "and on\r\n".repeat(1_000_000));
    assert_eq!(send(&mut scanner, SCANNER, BOB, &long).await, "250 2.0.0 Queued as 1");
    scan(&mut scanner, 2).await;
    world.until("it was tried", || told(&world, "delayed").len() == 1).await;
    in_time(&world, "both have arrived", || scans(&world) == [1, 2]).await;
}

#[tokio::test]
async fn a_right_that_is_missing_delays_and_fails_nothing() {
    let directory = Directory::new();
    let world = setup(&directory, BY_GRAPH, "").start().await;
    world.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::status(403), 1);
    scan(&mut device(&world).await, 1).await;
    world.until("it was tried", || told(&world, "delayed").len() == 1).await;
    let line = told(&world, "delayed").remove(0);
    assert!(line.contains("cause=send-denied") && line.contains("action_by=m365-admin"), "{line}");
    in_time(&world, "it has arrived", || scans(&world) == [1]).await;
}

#[tokio::test]
async fn the_limit_of_a_mailbox_holds_over_a_restart() {
    let directory = Directory::new();
    let first = setup(&directory, BY_SMTP, "messages_per_minute: 3").start().await;
    let mut scanner = device(&first).await;
    for number in 1..=5 {
        scan(&mut scanner, number).await;
    }
    first.until("three have arrived", || scans(&first).len() == 3).await;
    drop(scanner);
    stop(first).await;
    let second = setup(&directory, BY_SMTP, "messages_per_minute: 3").start().await;
    overtake(&second).await;
    assert_eq!(scans(&second), [OTHER], "three have left the mailbox in this minute");
    in_time(&second, "the others have arrived", || scans(&second) == [OTHER, 4, 5]).await;
}

#[tokio::test]
async fn a_failure_that_was_in_no_report_when_the_service_ended_is_in_the_next_one() {
    let directory = Directory::new();
    let report = format!("report_to: {BOB}");
    let first = setup(&directory, BY_SMTP, &report).start().await;
    send(&mut device(&first).await, SCANNER, "nobody@contoso.example", &text(1)).await;
    first.until("it has failed", || told(&first, "failed").len() == 1).await;
    stop(first).await;
    for expected in [1, 0] {
        let next = setup(&directory, BY_SMTP, &report).start().await;
        let reports = || {
            let texts = inbox(&next);
            texts.into_iter().filter(|text| text.contains("not delivered")).collect::<Vec<_>>()
        };
        if expected == 1 {
            in_time(&next, "there is a report", || reports().len() == 1).await;
            let report = reports().remove(0);
            assert!(report.contains("Message 1\r\nfrom 127.0.0.1 to nobody@contoso.example"), "{report}");
            assert!(report.contains("was not sent: ") && report.contains("RecipientNotFound"), "{report}");
        }
        pass(1_800).await;
        overtake(&next).await;
        assert_eq!(reports().len(), expected, "it is reported once");
        stop(next).await;
    }
}

const LEFT_BEHIND: &str = "Gatepost ended while it handed messages of the queue over";

#[tokio::test]
async fn who_was_refused_is_named_after_the_service_ended_before_it_could_note_that() {
    let directory = Directory::new();
    let first = setup(&directory, BY_SMTP, "").start().await;
    // The outcome is never kept, as if the process had been killed.
    let queue = first.control.queue().unwrap();
    queue.faults().set(|point| if point == Point::Settle { Err(io::ErrorKind::Other.into()) } else { Ok(()) });
    let mut scanner = device(&first).await;
    scanner.ask(&format!("MAIL FROM:<{SCANNER}>"), "250 ").await;
    for recipient in ["nobody@contoso.example", BOB] {
        scanner.ask(&format!("RCPT TO:<{recipient}>"), "250 ").await;
    }
    scanner.ask("DATA", "354 ").await;
    scanner.ask(&format!("{}\r\n.", text(1)), "250 2.0.0 Queued as 1").await;
    first.until("it was handed over", || scans(&first) == [1]).await;
    first.until("that could not be noted", || first.log.has("the queue cannot be read or written")).await;
    assert!(!first.log.has(LEFT_BEHIND));
    drop(scanner);
    stop(first).await;
    let second = setup(&directory, BY_SMTP, "").start().await;
    in_time(&second, "it is given up", || told(&second, "unknown").len() == 1).await;
    assert!(second.log.has(LEFT_BEHIND), "the log says what a process left behind, and only then");
    let line = told(&second, "unknown").remove(0);
    assert!(line.contains("not for nobody@contoso.example: "), "{line}");
    assert!(line.contains("(nobody can tell whether the others have the message)"), "{line}");
}

#[tokio::test]
async fn a_person_need_not_wait_for_a_look_that_is_under_way() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    world.sandbox.fail_smtp(SmtpFault::Cut, 1);
    world.sandbox.fail_http(Service::Graph, LOOK, HttpFault::Hang, 1);
    scan(&mut device(&world).await, 1).await;
    world.until("it was handed over", || told(&world, "looking").len() == 1).await;
    let queue = world.control.queue().unwrap();
    pass(60).await;
    world.until("a look is under way", || world.sandbox.counters().calls_of(Service::Graph, SCANNER, LOOK) > 0).await;
    assert_eq!(queue.retry(QueueId(1)).await.unwrap(), Acted::Done);
    in_time(&world, "it has arrived", || scans(&world) == [1]).await;
    pass(7_200).await;
    overtake(&world).await;
    assert_eq!(scans(&world), [1, OTHER], "the end of the look changes nothing");
}

#[tokio::test]
async fn two_accounts_that_open_one_mailbox_share_its_limit_and_no_connection() {
    let directory = Directory::new();
    let mut setup = setup(&directory, BY_SMTP, "messages_per_minute: 2");
    setup.accounts.push_str(&format!("\n  - {{login: {PRINTER}, passwords: ['{HASH}']}}"));
    let second = format!(", {{from: 127.0.0.2, login: {PRINTER}, messages_per_minute: 1000}}]}}");
    setup.listeners = setup.listeners.replace("]}", &second);
    let world = setup.start().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut printer = Client::over(socket.connect(world.address("smtp")).await.unwrap(), Smtp);
    printer.greet().await;
    let mut scanner = device(&world).await;
    let as_printer = |number: u32| text(number).replace(&format!("From: {SCANNER}"), &format!("From: {PRINTER}"));
    for number in [1, 3] {
        send(&mut scanner, PRINTER, BOB, &as_printer(number)).await;
        send(&mut printer, PRINTER, BOB, &as_printer(number + 1)).await;
    }
    world.until("two have arrived", || scans(&world).len() == 2).await;
    // The scanner's own mailbox has a limit of its own.
    scan(&mut scanner, 5).await;
    world.until("that of the other mailbox has arrived", || scans(&world).contains(&5)).await;
    let first: std::collections::HashSet<u32> = scans(&world).into_iter().collect();
    assert_eq!(first, [1, 2, 5].into());
    let connections = world.sandbox.counters().connections_to(Service::Smtp);
    assert_eq!(connections, 4, "one to learn, one of each account for the mailbox, one of the scanner's own");
    in_time(&world, "all have arrived", || scans(&world).len() == 5).await;
}

#[tokio::test]
async fn a_message_for_which_there_is_no_room_is_postponed_and_that_is_no_fault_of_its_mailbox() {
    let directory = Directory::new();
    let mut setup = setup(&directory, BY_GRAPH, "");
    setup.limits = "  graph_messages: 1";
    let world = setup.start().await;
    world.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::Slow(Duration::from_secs(150)), 1);
    let mut scanner = device(&world).await;
    scan(&mut scanner, 1).await;
    world
        .until("one is on its way", || world.sandbox.counters().calls_of(Service::Graph, SCANNER, "POST /sendMail") > 0)
        .await;
    let text = text(2).replace(&format!("From: {SCANNER}"), &format!("From: {PRINTER}"));
    send(&mut scanner, PRINTER, BOB, &text).await;
    in_time(&world, "the other is postponed", || told(&world, "delayed").len() == 1).await;
    let line = told(&world, "delayed").remove(0);
    assert!(line.contains("too many wait for Microsoft Graph") && line.contains("next try in 10s"), "{line}");
    let queue = world.control.queue().unwrap();
    assert_eq!(queue.show(QueueId(2)).await.unwrap().unwrap().attempts, 0);
    in_time(&world, "both have arrived", || scans(&world).len() == 2).await;
}
