//! How the messages of a queue end: after long outages, too late, found again, kept for a while, and in
//! reports. Time goes slowly, and jumps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatepost_core::clock::Clock;
use gatepost_sandbox::{Service, SmtpFault, UpstreamMode};
use gatepost_store::queue::{Point, QueueId, State};

use crate::common::directory::Directory;
use crate::session::queue::{BY_GRAPH, BY_SMTP, LOOK, SCANNER, device, scan, scans, setup, stop, text, told};
use crate::session::queue_replies::{MINUTE, Rule, SECOND, Server, SlowTime, pass, scan_for, soon, state, until};
use crate::session::submission_trusted::{inbox, send};
use crate::session::support::{BOB, Client, World};

const AWAY: Rule = ("MAIL", "421 4.3.2 Service not available");
const LATER: Rule = ("MAIL", "451 4.3.0 Try again later");

#[tokio::test]
async fn a_message_that_is_tried_often_does_not_fail_before_its_time() {
    for rule in [AWAY, LATER] {
        let (directory, server) = (Directory::in_memory(), Server::new(&[rule; 5]));
        let world = server.world(&directory, "").await;
        let time = SlowTime::begin();
        scan(&mut device(&world).await, 1).await;
        until(&world, "it is sent", MINUTE, async || told(&world, "sent").len() == 1).await;
        assert_eq!((told(&world, "delayed").len(), told(&world, "failed").len()), (5, 0), "{rule:?}");
        drop(time);
        stop(world).await;
    }
}

#[tokio::test]
async fn messages_that_are_late_fail_at_the_third_try_and_those_behind_them_for_the_same_reason() {
    // One message tests a mailbox for all; what is wrong with a message is its own.
    for (rule, tries) in [(AWAY, 3), (LATER, 9)] {
        let (directory, server) = (Directory::in_memory(), Server::new(&[rule; 20]));
        let world = server.world(&directory, "retry_for: 1s").await;
        let time = SlowTime::begin();
        let queue = world.control.queue().unwrap();
        let may_begin = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&may_begin);
        queue.faults().set(move |point| match point {
            Point::Show if !begins.load(Ordering::Relaxed) => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        });
        let mut scanner = device(&world).await;
        for number in 1..=2 {
            scan(&mut scanner, number).await;
        }
        scan_for(&mut scanner, &["one", "two"], 3).await;
        // All are late when the first try begins.
        let late = Clock::system().unix_time().after(Duration::from_secs(2));
        soon("they are late", async || Clock::system().unix_time() >= late).await;
        may_begin.store(true, Ordering::Relaxed);
        until(&world, "all have failed", 30 * SECOND, async || told(&world, "failed").len() == 3).await;
        assert_eq!(
            (server.count("MAIL"), told(&world, "delayed").len()),
            (tries, tries - if tries == 3 { 1 } else { 3 })
        );
        for id in 1..=3 {
            let of = format!("queue_id={id} ");
            let line = told(&world, "failed").into_iter().find(|line| line.contains(&of)).unwrap();
            assert!(line.contains("cause=retry-over ") && line.contains("(`queue.retry_for`)"), "{line}");
            assert!(line.contains(if id == 3 { " recipients=2 " } else { " recipients=1 " }), "{line}");
            assert_eq!(state(&world, id).await, Some(State::Failed), "{id}");
        }
        drop((scanner, time));
        stop(world).await;
    }
}

#[tokio::test]
async fn an_index_that_does_not_answer_is_told_once_in_a_minute() {
    let (directory, server) = (Directory::in_memory(), Server::default());
    let world = server.world(&directory, "").await;
    let _time = SlowTime::begin();
    let mut left = 8;
    world.control.queue().unwrap().faults().set(move |point| match point {
        Point::Show if left > 0 => {
            left -= 1;
            Err(io::ErrorKind::Other.into())
        }
        _ => Ok(()),
    });
    scan(&mut device(&world).await, 1).await;
    // It is asked every ten seconds.
    until(&world, "it is sent", 10 * SECOND, async || server.count("scan 1") == 1).await;
    assert_eq!(world.log.lines(|line| line.contains("the queue cannot be read or written")).len(), 2);
}

#[tokio::test]
async fn a_message_leaves_by_the_way_of_the_listener_that_took_it() {
    let directory = Directory::in_memory();
    let mut setup = setup(&directory, BY_GRAPH, "");
    let second = setup.listeners.replace("smtp: {", "other: {protocol: smtp, ").replace(BY_GRAPH, BY_SMTP);
    setup.listeners.push_str(&second);
    let world = setup.start().await;
    let _time = SlowTime::begin();
    for (number, listener, way) in [(1, "smtp", "graph"), (2, "other", "smtp")] {
        let mut device = Client::connect(world.address(listener), gatepost_core::protocol::MailProtocol::Smtp).await;
        device.greet().await;
        scan(&mut device, number).await;
        soon("it is sent", async || told(&world, "sent").len() == number as usize).await;
        let line = told(&world, "sent").pop().unwrap();
        assert!(line.contains(&format!(" listener={listener} ")) && line.contains(&format!(" way={way} ")), "{line}");
    }
}

#[tokio::test]
async fn a_fault_of_gatepost_costs_no_message_and_holds_up_none() {
    let directory = Directory::in_memory();
    let world = setup(&directory, &format!("deliver: auto, {BY_SMTP}"), "").start().await;
    let _time = SlowTime::begin();
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    // An attempt says so.
    world.log.panic_at("messages go through Microsoft Graph for the next ten minutes");
    let mut scanner = device(&world).await;
    for number in 1..=2 {
        scan(&mut scanner, number).await;
    }
    soon("the next one is sent", async || scans(&world) == [2]).await;
    let told = world.log.lines(|line| line.contains("a fault of Gatepost ended an attempt to deliver a message"));
    assert!(told.len() == 1 && told[0].ends_with("cause=internal-error queue_id=1"), "{told:?}");
    let metrics = world.control.journal().metrics().text();
    assert!(metrics.contains("gatepost_panics_total 1\n"), "{metrics}");
    let entry = world.control.queue().unwrap().show(QueueId(1)).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.attempts), (State::Waiting, 1), "it counts as a try");
    pass(&world, 29 * MINUTE).await;
    assert_eq!(scans(&world), [2], "the same may happen again");
    until(&world, "it is sent", MINUTE, async || scans(&world) == [2, 1]).await;
}

#[tokio::test]
async fn what_the_recipients_do_not_get_of_a_message_is_told() {
    let directory = Directory::in_memory();
    let world = setup(&directory, BY_GRAPH, "").start().await;
    let _time = SlowTime::begin();
    let text = text(1).replace("Subject:", "List-Unsubscribe: <mailto:x@contoso.example>\r\nSubject:");
    send(&mut device(&world).await, SCANNER, BOB, &text).await;
    soon("it is told", async || told(&world, "degraded").len() == 1).await;
    let line = told(&world, "degraded").remove(0);
    assert!(line.contains("queued message 1 lost fields: ") && line.contains("List-Unsubscribe"), "{line}");
    assert_eq!((scans(&world), told(&world, "sent").len()), (vec![1], 1));
}

/// Sends a message to Bob and to nobody, of which a process does not note that it was handed over.
async fn left_behind(world: &World) {
    let queue = world.control.queue().unwrap();
    queue.faults().set(|point| if point == Point::Settle { Err(io::ErrorKind::Other.into()) } else { Ok(()) });
    scan_for(&mut device(world).await, &["nobody", "bob"], 1).await;
    soon("it was handed over", async || scans(world) == [1]).await;
    soon("that could not be noted", async || world.log.has("the queue cannot be read or written")).await;
}

#[tokio::test]
async fn a_message_that_a_former_process_handed_over_for_some_recipients_is_found_and_kept_for_the_others() {
    let directory = Directory::in_memory();
    let queue = format!("report_to: {BOB}");
    let first = setup(&directory, BY_SMTP, &queue).start().await;
    left_behind(&first).await;
    first.stop.drain();
    let World { serving, sandbox, .. } = first;
    serving.await.unwrap();
    let second = setup(&directory, BY_SMTP, &queue).start_at(sandbox).await;
    let _time = SlowTime::begin();
    until(&second, "it is found", MINUTE, async || told(&second, "failed").len() == 1).await;
    let sent = told(&second, "sent").remove(0);
    assert!(sent.contains("queued message 1 was sent: its copy is in Sent Items"), "{sent}");
    let failed = told(&second, "failed").remove(0);
    assert!(failed.contains("not for nobody@contoso.example: "), "{failed}");
    assert!(failed.contains("(the others have the message)"), "{failed}");
    let entry = second.control.queue().unwrap().show(QueueId(1)).await.unwrap().unwrap();
    let left: Vec<String> = entry.message.unwrap().recipients.into_iter().map(|left| left.address).collect();
    assert_eq!((entry.state, left), (State::Failed, vec!["nobody@contoso.example".to_owned()]));
    until(&second, "it is reported", 10 * SECOND, async || {
        inbox(&second).iter().any(|text| text.contains("was not sent to all"))
    })
    .await;
    assert_eq!(scans(&second), [1], "it is sent once");
}

#[tokio::test]
async fn what_is_found_in_sent_items_is_kept_for_as_long_as_is_configured() {
    for (queue, kept) in [("", None), ("keep_sent: 1s", Some(State::Sent))] {
        let directory = Directory::in_memory();
        let world = setup(&directory, BY_SMTP, queue).start().await;
        let time = SlowTime::begin();
        world.sandbox.fail_smtp(SmtpFault::CutWhenDone, 1);
        scan(&mut device(&world).await, 1).await;
        until(&world, "it is found", MINUTE, async || told(&world, "sent").len() == 1).await;
        assert_eq!(world.sandbox.counters().calls_of(Service::Graph, SCANNER, LOOK), 1);
        soon("that is noted", async || state(&world, 1).await == kept).await;
        // What was kept for long enough is removed once in an hour.
        until(&world, "it is forgotten", 20 * MINUTE, async || state(&world, 1).await.is_none()).await;
        assert_eq!(scans(&world), [1]);
        drop(time);
        stop(world).await;
    }
}

#[tokio::test]
async fn what_failed_before_there_was_an_address_for_reports_is_reported_once() {
    let directory = Directory::in_memory();
    let world = setup(&directory, BY_SMTP, "").start().await;
    let _time = SlowTime::begin();
    send(&mut device(&world).await, SCANNER, "nobody@contoso.example", &text(1)).await;
    soon("it failed", async || told(&world, "failed").len() == 1).await;
    world.reload(|yaml| yaml.replace("queue: {}", &format!("queue: {{report_to: {BOB}}}"))).await.unwrap();
    let reports = || inbox(&world).into_iter().filter(|text| text.contains("not delivered")).collect::<Vec<_>>();
    until(&world, "there is a report", 5 * SECOND, async || !reports().is_empty()).await;
    pass(&world, MINUTE).await;
    let [report] = &reports()[..] else { panic!("{:?}", reports()) };
    assert!(report.contains("Subject: Gatepost: 1 message of "), "{report}");
    assert_eq!(report.matches("Message 1\r\n").count(), 1, "{report}");
}
