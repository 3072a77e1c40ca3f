//! Graph out of order while a message is handed over: the client hears the truth, and nothing is
//! sent twice.

use std::time::Duration;

use gatepost::graph::{GraphClient, NotSent, Sent};
use gatepost_core::failure::Actor;
use gatepost_proto::mail::smtp::Envelope;
use gatepost_sandbox::{CertificateFault, HttpFault, Sandbox, Service, UpstreamMode};

use crate::session::graph_mail::{bearer, client, sandbox};
use crate::session::support::{ALICE, BOB};

const SEND: &str = "POST /sendMail";
const SECOND: Duration = Duration::from_secs(1);

/// Sends a message whose Message-ID has two words, so that nobody can look for it.
async fn send(sandbox: &Sandbox, graph: &GraphClient, length: usize) -> Result<Sent, NotSent> {
    send_as(sandbox, graph, "one two", length).await
}

async fn send_as(sandbox: &Sandbox, graph: &GraphClient, id: &str, length: usize) -> Result<Sent, NotSent> {
    let envelope = Envelope { recipients: vec!["anna@fabrikam.example".into()], ..Envelope::default() };
    let mut message = format!("To: anna@fabrikam.example\r\nMessage-ID: {id}\r\n\r\n").into_bytes();
    message.resize(message.len() + length, b'x');
    graph.send_mail(&bearer(sandbox, ALICE), &envelope, message).await
}

/// Requests that arrived, and messages that went out.
fn arrived(sandbox: &Sandbox) -> (u64, usize) {
    (sandbox.counters().calls_of(Service::Graph, ALICE, SEND), sandbox.outbox().len())
}

fn refuse(status: u16, retry_after: u32) -> HttpFault {
    HttpFault::Refuse { status, code: None, retry_after: Some(retry_after * SECOND) }
}

#[tokio::test]
async fn every_fault_is_told_as_what_it_is_and_nothing_is_sent_twice() {
    use HttpFault as Fault;
    for (fault, length, reply, cause, sent) in [
        (Fault::OkNotDone, 10, "451 4.3.0", "not-graph", 0),
        (Fault::OkNotDone, 2_500_000, "552 5.3.4", "message-too-large", 0),
        (Fault::Html, 10, "451 4.3.0", "not-graph", 0),
        (Fault::Redirect, 10, "451 4.3.0", "not-graph", 0),
        (Fault::status(400), 10, "554 5.6.0", "message-refused", 0),
        (Fault::code(400, "ErrorInvalidRecipients"), 10, "550 5.1.3", "invalid-recipients", 0),
        (Fault::code(400, "ErrorMimeContentInvalidBase64String"), 10, "554 5.6.0", "message-not-understood", 0),
        (Fault::status(401), 10, "451 4.7.0", "token-refused", 0),
        (Fault::status(403), 10, "550 5.7.1", "send-denied", 0),
        (Fault::code(403, "ErrorSendAsDenied"), 10, "550 5.7.1", "send-as-denied", 0),
        (Fault::code(403, "ErrorQuotaExceeded"), 10, "452 4.2.2", "mailbox-full", 0),
        (Fault::code(429, "ErrorExceededMessageLimit"), 10, "450 4.7.1", "sending-limit", 0),
        (Fault::status(404), 10, "550 5.1.8", "no-mailbox", 0),
        (Fault::status(413), 10, "552 5.3.4", "message-too-large", 0),
        (Fault::status(429), 10, "451 4.3.2", "throttled", 0),
        (Fault::status(500), 10, "451 4.4.2", "outcome-unknown", 0),
        (Fault::status(502), 10, "451 4.4.2", "outcome-unknown", 0),
        (Fault::status(503), 10, "451 4.3.2", "upstream-unavailable", 0),
        (Fault::status(504), 10, "451 4.4.2", "outcome-unknown", 0),
        (Fault::status(509), 10, "451 4.3.2", "upstream-unavailable", 0),
        (refuse(504, 1), 10, "451 4.4.2", "outcome-unknown", 0),
        (refuse(509, 1), 10, "451 4.3.2", "upstream-unavailable", 0),
        (Fault::throttled(61 * SECOND), 10, "451 4.3.2", "throttled", 0),
        (Fault::Cut, 1_000_000, "451 4.4.2", "outcome-unknown", 0),
        (Fault::CutWhenDone, 10, "451 4.4.2", "outcome-unknown", 1),
    ] {
        let sandbox = sandbox().await;
        sandbox.fail_http(Service::Graph, SEND, fault.clone(), usize::MAX);
        let not_sent = send(&sandbox, &client(&sandbox, ""), length).await.unwrap_err();
        let said = not_sent.reply.to_string();
        assert!(said.starts_with(reply), "{fault:?}: {reply} was wanted: {said}");
        assert_eq!(not_sent.failure.cause.name(), cause, "{fault:?}");
        assert_eq!(not_sent.token_refused, cause == "token-refused", "{fault:?}");
        assert!(!not_sent.failure.remedy.is_empty(), "{fault:?}");
        assert_eq!(arrived(&sandbox), (1, sent), "{fault:?}");
    }
}

const LOOK: &str = "GET /mailFolders/{id}/messages";

fn looks(sandbox: &Sandbox) -> u64 {
    sandbox.counters().calls_of(Service::Graph, ALICE, LOOK)
}

/// Graph took the message, and its answer is lost: the connection broke, nothing came in time, or a
/// gateway stopped waiting.
#[tokio::test]
async fn a_message_whose_answer_is_lost_is_found_in_sent_items() {
    for fault in [HttpFault::CutWhenDone, HttpFault::HangWhenDone, HttpFault::RefuseWhenDone(504)] {
        let sandbox = sandbox().await;
        let limits = "  connect_attempt: 1s\n  connect: 1s\n  connect_via_proxy: 1s\n  graph_answer: 100ms";
        let graph = client(&sandbox, if fault == HttpFault::HangWhenDone { limits } else { "" });
        sandbox.fail_http(Service::Graph, SEND, fault.clone(), usize::MAX);
        // A look that fails is repeated.
        sandbox.fail_http(Service::Graph, LOOK, HttpFault::status(500), 1);
        let sent = send_as(&sandbox, &graph, "<o'neil+1%20@x>", 10).await.unwrap();
        assert_eq!(sent.reply.to_string(), "250 2.0.0 Accepted by Microsoft Graph, a copy is in Sent Items");
        assert!(
            sent.remark.starts_with("its copy is in Sent Items (Microsoft did not confirm the message: "),
            "{sent:?}"
        );
        assert_eq!((arrived(&sandbox), looks(&sandbox)), ((1, 1), 2), "{fault:?}");
    }
}

#[tokio::test]
async fn a_message_without_an_id_gets_one_by_which_it_is_found() {
    let sandbox = sandbox().await;
    sandbox.fail_http(Service::Graph, SEND, HttpFault::CutWhenDone, usize::MAX);
    let envelope = Envelope { recipients: vec!["anna@fabrikam.example".into()], ..Envelope::default() };
    let message = b"Subject: alarm\r\n\r\n".to_vec();
    client(&sandbox, "").send_mail(&bearer(&sandbox, ALICE), &envelope, message).await.unwrap();
    assert_eq!((arrived(&sandbox), looks(&sandbox)), ((1, 1), 1));
}

/// Looking has an end, and the client hears that its message may have been sent.
#[tokio::test]
async fn a_message_that_is_not_in_sent_items_leaves_the_outcome_open() {
    let sandbox = sandbox().await;
    let graph = client(&sandbox, "");
    // The same message has gone to somebody else, as a smarthost sends it. Its connection stays open,
    // so that only the pauses between the looks are left of the time.
    let to_bob = Envelope { recipients: vec![BOB.to_owned()], ..Envelope::default() };
    let message = b"Message-ID: <1@x>\r\n\r\n".to_vec();
    graph.send_mail(&bearer(&sandbox, ALICE), &to_bob, message).await.unwrap();
    sandbox.fail_http(Service::Graph, SEND, HttpFault::status(504), usize::MAX);
    tokio::time::pause();
    let not_sent = send_as(&sandbox, &graph, "<1@x>", 10).await.unwrap_err();
    tokio::time::resume();
    let reply = not_sent.reply.to_string();
    assert_eq!(reply, "451 4.4.2 Microsoft did not confirm the message. It may have been sent");
    assert!(not_sent.failure.message.ends_with(". No copy is in Sent Items yet"), "{not_sent:?}");
    assert_eq!((arrived(&sandbox), looks(&sandbox)), ((2, 0), 5));
}

#[tokio::test]
async fn where_sent_items_may_not_be_read_the_outcome_stays_open() {
    let sandbox = sandbox().await;
    sandbox.set_graph_consent(Some(&["Mail.Send"]));
    sandbox.fail_http(Service::Graph, SEND, HttpFault::CutWhenDone, usize::MAX);
    let not_sent = send_as(&sandbox, &client(&sandbox, ""), "<1@x>", 10).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("451 4.4.2 "), "{not_sent:?}");
    assert!(not_sent.failure.message.contains("the application needs the permission `Mail.Read`"), "{not_sent:?}");
    assert_eq!((arrived(&sandbox), looks(&sandbox)), ((1, 1), 1));
}

#[tokio::test]
async fn a_short_wait_is_waited_and_then_the_message_goes_out_once() {
    for fault in [HttpFault::throttled(SECOND), refuse(503, 1)] {
        let sandbox = sandbox().await;
        sandbox.fail_http(Service::Graph, SEND, fault.clone(), 1);
        send(&sandbox, &client(&sandbox, ""), 10).await.unwrap();
        assert_eq!(arrived(&sandbox), (2, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn waits_come_to_an_end() {
    let sandbox = sandbox().await;
    sandbox.fail_http(Service::Graph, SEND, HttpFault::throttled(SECOND), usize::MAX);
    let not_sent = send(&sandbox, &client(&sandbox, ""), 10).await.unwrap_err();
    assert_eq!((not_sent.failure.cause.name(), arrived(&sandbox)), ("throttled", (3, 0)));
}

#[tokio::test]
async fn nothing_is_asked_before_the_time_that_graph_named() {
    let sandbox = sandbox().await;
    let graph = client(&sandbox, "");
    sandbox.fail_http(Service::Graph, SEND, HttpFault::throttled(90 * SECOND), 1);
    for _ in 0..3 {
        let not_sent = send(&sandbox, &graph, 10).await.unwrap_err();
        assert!(not_sent.reply.to_string().starts_with("451 4.3.2 "), "{not_sent:?}");
        assert_eq!(not_sent.failure.actor, Actor::Nobody);
    }
    assert_eq!(arrived(&sandbox), (1, 0));
}

#[tokio::test]
async fn an_answer_that_does_not_come_leaves_the_outcome_open() {
    for (fault, sent) in [(HttpFault::Hang, 0), (HttpFault::HangWhenDone, 1)] {
        let sandbox = sandbox().await;
        sandbox.fail_http(Service::Graph, SEND, fault, usize::MAX);
        let graph =
            client(&sandbox, "  connect_attempt: 1s\n  connect: 1s\n  connect_via_proxy: 1s\n  graph_answer: 100ms");
        let not_sent = send(&sandbox, &graph, 10).await.unwrap_err();
        assert!(not_sent.reply.to_string().starts_with("451 4.4.2 "), "{not_sent:?}");
        assert!(not_sent.failure.message.contains("client-request-id "), "{not_sent:?}");
        assert_eq!(arrived(&sandbox), (1, sent));
    }
}

#[tokio::test]
async fn a_slow_answer_is_an_answer_and_so_is_the_head_of_one() {
    for fault in
        [HttpFault::CutInAnswer, HttpFault::Slow(Duration::from_millis(50)), HttpFault::Drip(Duration::from_millis(1))]
    {
        let sandbox = sandbox().await;
        sandbox.fail_http(Service::Graph, SEND, fault.clone(), usize::MAX);
        let graph = client(&sandbox, "");
        for _ in 0..2 {
            send(&sandbox, &graph, 10).await.unwrap();
        }
        assert_eq!(arrived(&sandbox), (2, 2), "{fault:?}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent_and_the_reason_is_named() {
    for (mode, cause) in [
        (UpstreamMode::Refuse, "upstream-tls-failed"),
        (UpstreamMode::Hang, "upstream-tls-failed"),
        (UpstreamMode::SpeaksBeforeTls, "upstream-tls-failed"),
        (UpstreamMode::BadCertificate(CertificateFault::UntrustedAuthority), "bad-certificate"),
        (UpstreamMode::BadCertificate(CertificateFault::WrongName), "bad-certificate"),
        (UpstreamMode::BadCertificate(CertificateFault::Expired), "bad-certificate"),
    ] {
        let sandbox = sandbox().await;
        sandbox.set_upstream_mode(Service::Graph, mode);
        let graph = client(&sandbox, "  connect_attempt: 500ms\n  connect: 500ms\n  connect_via_proxy: 500ms");
        let not_sent = send(&sandbox, &graph, 10).await.unwrap_err();
        assert!(not_sent.reply.to_string().starts_with("451 4.4.1 "), "{mode:?}: {not_sent:?}");
        assert_eq!(not_sent.failure.cause.name(), cause, "{mode:?}: {not_sent:?}");
        sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Normal);
        send(&sandbox, &graph, 10).await.unwrap();
        assert_eq!(arrived(&sandbox), (1, 1), "{mode:?}");
    }
}
