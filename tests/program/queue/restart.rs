//! One process after the other: both accept, one delivers, and nothing is lost or repeated.

use gatepost_sandbox::{HttpFault, Service, UpstreamMode};
use rustix::process::Signal;

use super::devices::{Attempt, Told, send, send_all};
use super::oracle::judge;
use super::world::{Queued, Way, mailbox};
use crate::common::wait::until;

/// Waits until the queue is empty, and judges what was sent.
async fn all_delivered(queued: &Queued, attempts: &[Attempt]) {
    until("the queue is empty", async || queued.list().is_empty()).await;
    let fates = judge(attempts, &queued.list(), &queued.world.sandbox.deliveries()).unwrap();
    let accepted = attempts.iter().filter(|attempt| attempt.told == Told::Accepted).count();
    assert_eq!(fates.delivered, accepted, "{fates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_process_takes_over_from_the_other_all_is_delivered_once() {
    const DEVICES: u8 = 8;
    let queued = Queued::new(DEVICES, Way::Graph, "  messages_per_minute: 10000").await;
    let mut program = queued.start();
    let mut senders = tokio::task::JoinSet::new();
    for device in 1..=DEVICES {
        senders.spawn(send_all(device, queued.listener, 30));
    }
    for _ in 0..3 {
        let next = queued.world.start(&["--take-over"]);
        assert!(program.ended().success(), "{}", program.log());
        program = next;
    }
    let mut attempts = Vec::new();
    while let Some(sent) = senders.join_next().await {
        attempts.extend(sent.unwrap());
    }
    // Who is connected and has not begun a message is asked to connect again.
    let is_asked =
        |told: &Told| matches!(told, Told::NotTaken(reply) if reply.starts_with("421 4.3.2 The service is stopping"));
    let others: Vec<_> =
        attempts.iter().filter(|attempt| attempt.told != Told::Accepted && !is_asked(&attempt.told)).collect();
    assert!(others.is_empty(), "{others:?}");
    all_delivered(&queued, &attempts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_its_way_at_a_take_over_arrives_once() {
    // Graph has taken it, and answers late; or it takes it late.
    for fault in [HttpFault::HangWhenDone, HttpFault::Hang] {
        let queued = Queued::new(2, Way::Graph, "  messages_per_minute: 10000").await;
        let sandbox = &queued.world.sandbox;
        sandbox.fail_http(Service::Graph, "/sendMail", fault.clone(), 1);
        let mut program = queued.start();
        let mut attempts = Vec::new();
        attempts.extend(send_all(1, queued.listener, 1).await);
        let under_way = || sandbox.counters().calls_of(Service::Graph, &mailbox(1), "POST /sendMail") == 1;
        until("the message is on its way", async || under_way()).await;
        let next = queued.world.start(&["--take-over"]);
        attempts.extend(send_all(2, queued.listener, 1).await);
        sandbox.clear_http_faults(Service::Graph);
        assert!(program.ended().success(), "{fault:?}: {}", program.log());
        all_delivered(&queued, &attempts).await;
        assert!(under_way(), "{fault:?}: nothing was handed over twice");
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_microsoft_survives_stop_and_start() {
    let queued = Queued::new(3, Way::Graph, "  messages_per_minute: 10000").await;
    queued.world.sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Refuse);
    let mut attempts = Vec::new();
    for _ in 0..2 {
        let mut program = queued.start();
        for device in 1..=3 {
            let message_id = format!("<{}@devices.example>", attempts.len());
            let told = send(device, queued.listener, &message_id, 200_000).await;
            assert_eq!(told, Told::Accepted);
            attempts.push(Attempt { message_id, told });
        }
        program.signal(Signal::TERM);
        assert!(program.ended().success(), "{}", program.log());
    }
    let fates = judge(&attempts, &queued.list(), &queued.world.sandbox.deliveries()).unwrap();
    assert_eq!(fates.waiting, 6, "{fates:?}");
    queued.world.sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Normal);
    let _program = queued.start();
    all_delivered(&queued, &attempts).await;
}
