//! What the sandbox records of messages whose end its clients are not told.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{Chaos, HttpFault, Sandbox, Service, SmtpFault};

use super::graph::Client;
use super::mail::{ALICE, BOB, Peer, sandbox, smtp};

/// The replies to a message over SMTP until one is not as usual, or the connection ends.
async fn send(sandbox: &Sandbox, id: &str) -> Vec<String> {
    let mut peer = smtp(sandbox, ALICE).await;
    let mut heard = Vec::new();
    for (line, usual) in [
        (format!("MAIL FROM:<{ALICE}>"), "250 "),
        (format!("RCPT TO:<{BOB}>"), "250 "),
        ("DATA".to_owned(), "354 "),
        (format!("Message-ID:\r\n {id}\r\n\r\nx\r\n."), "250 "),
    ] {
        heard.push(ask(&mut peer, &line).await);
        if !heard.last().unwrap().starts_with(usual) {
            break;
        }
    }
    heard
}

/// The next line after this one; empty when the connection has ended.
async fn ask<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(peer: &mut Peer<S>, line: &str) -> String {
    peer.say(line).await;
    peer.hear().await
}

/// How often each of Alice's messages left, by Message-ID.
fn times(sandbox: &Sandbox, id: &str) -> usize {
    sandbox.deliveries().iter().filter(|sent| sent.message_id == id && sent.mailbox == ALICE).count()
}

#[tokio::test]
async fn a_message_over_smtp_is_recorded_as_often_as_it_was_sent() {
    let sandbox = sandbox().await;
    let busy = "451 4.3.0 busy";
    for (number, (fault, replies, last, sent)) in [
        (SmtpFault::RefuseSender(busy), 1, busy, 0),
        (SmtpFault::RefuseRecipients(busy), 2, busy, 0),
        (SmtpFault::RefuseMessage(busy), 4, busy, 0),
        (SmtpFault::RefuseWhenDone(busy), 4, busy, 1),
        (SmtpFault::CutBeforeContent, 3, "", 0),
        (SmtpFault::Cut, 4, "", 0),
        (SmtpFault::CutWhenDone, 4, "", 1),
        (SmtpFault::Slow(Duration::from_millis(1)), 4, "250 2.0.0 OK", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("<{number}@device>");
        sandbox.fail_smtp(fault, 1);
        let heard = send(&sandbox, &id).await;
        // A connection that ends behind 354 shows at the content only.
        let at_content = usize::from(fault == SmtpFault::CutBeforeContent);
        assert_eq!(heard.len(), replies + at_content, "{fault:?}: {heard:?}");
        assert!(heard.last().unwrap().starts_with(last), "{fault:?}: {heard:?}");
        assert_eq!(heard.last().unwrap().is_empty(), last.is_empty(), "{fault:?}: {heard:?}");
        assert_eq!(times(&sandbox, &id), sent, "{fault:?}");
    }
    sandbox.fail_smtp(SmtpFault::Cut, 1);
    sandbox.clear_smtp_faults();
    for _ in 0..2 {
        assert!(send(&sandbox, "<twice@device>").await[3].starts_with("250 "));
    }
    assert_eq!(times(&sandbox, "<twice@device>"), 2);
    assert_eq!(sandbox.counters().most_smtp_sessions_of(ALICE), 1);
}

#[tokio::test]
async fn chaos_meets_calls_at_random_and_the_record_tells_what_was_done() {
    let sandbox = sandbox().await;
    let mut answers = Vec::new();
    let send = async |id: &str| {
        // A new connection for each: on one that was used before, a client may repeat by itself.
        let message = format!("To: {BOB}\r\nMessage-ID: {id}\r\n\r\nx\r\n");
        let request = Client::of(&sandbox, ALICE).request(reqwest::Method::POST, "/me/sendMail");
        let answer = request.header("content-type", "text/plain").body(STANDARD.encode(message)).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    sandbox.set_chaos(Service::Graph, Some(Chaos { seed: 1, percent: 70, slow: Duration::from_millis(1) }));
    for number in 0..60 {
        let id = format!("<{number}@device>");
        let answer = send(&id).await;
        answers.push((answer, times(&sandbox, &id)));
    }
    for expected in
        [(Some(202), 1), (Some(429), 0), (Some(503), 0), (Some(504), 0), (Some(504), 1), (None, 0), (None, 1)]
    {
        assert!(answers.contains(&expected), "{expected:?} is missing: {answers:?}");
    }
    assert!(answers.iter().all(|(answer, times)| *times <= 1 && (*answer != Some(202) || *times == 1)), "{answers:?}");
    // A planned fault comes first, and then the sun shines.
    sandbox.fail_http(Service::Graph, "", HttpFault::status(500), 1);
    assert_eq!(send("<planned@device>").await, Some(500));
    sandbox.set_chaos(Service::Graph, None);
    for _ in 0..20 {
        assert_eq!(send("<calm@device>").await, Some(202));
    }
    let sent = sandbox.deliveries();
    assert!(sent.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].service == Service::Graph));
}
