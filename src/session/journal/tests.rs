use serde_json::{Value, json};

use super::*;
use gatepost_config::AuditLog;

#[test]
fn a_failure_for_want_of_patience_is_counted_by_who_asked_for_it() {
    let journal = Journal::new(None);
    let subject = ConnectionInfo::new(&"pop3".into(), "192.0.2.7:4000".parse().unwrap());
    let whose = SessionUser::named("alice@contoso.example");
    for (protocol, cause, by) in [
        (Protocol::Pop3, Cause::UpstreamLimit, "exchange"),
        (Protocol::Pop3, Cause::MailboxOccupied, "gatepost"),
        (Protocol::Pop3, Cause::Throttled, "graph"),
        (Protocol::Graph, Cause::UpstreamBroke, "nobody"),
        (Protocol::Ews, Cause::Throttled, "ews"),
    ] {
        let failure = Failure::new(cause, "no");
        journal.degraded(protocol, &subject, &whose, &failure);
        let counted = format!("gatepost_throttled_total{{by=\"{by}\"}} 1\n");
        assert_eq!(journal.metrics().text().contains(&counted), by != "nobody", "{cause}");
    }
}

const ALICE: &str = "alice@contoso.example";

fn subject() -> ConnectionInfo {
    ConnectionInfo::new(&"office".into(), "192.0.2.7:4000".parse().unwrap())
}

/// Waits for so many lines, and returns them without their times.
fn lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    for _ in 0..30_000 {
        let text = std::fs::read_to_string(path).unwrap();
        if text.lines().count() >= count {
            let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for line in &mut lines {
                line.as_object_mut().unwrap().remove("time").unwrap();
            }
            return lines;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no {count} lines in a minute");
}

#[test]
fn the_audit_log_says_of_every_decision_who_did_what() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let journal = Journal::new(Some(Audit::start(&AuditLog::File(path.clone()), Clock::system()).unwrap()));
    let (subject, mut whose) = (subject(), SessionUser::named(ALICE));
    whose.mailbox = Some("shared@contoso.example".into());
    journal.reloaded(Ok("limits"), UnixTime(1));
    journal.reloaded(Err("a mistake"), UnixTime(2));
    journal.renewal("renewed", None, "until tomorrow");
    let live = journal.accepted(Protocol::Imap, &subject, &whose, "cached");
    let live_now: Vec<_> = journal.sessions().iter().map(|live| Arc::clone(&live.id)).collect();
    assert_eq!(live_now, [Arc::clone(&subject.session)]);
    let wrong = Failure::new(Cause::WrongPassword, "it is wrong");
    journal.refused(Protocol::Imap, &subject, ("bob", ALICE), &wrong);
    assert!(!journal.end_session("unknown"));
    assert!(journal.end_session(&subject.session));
    let ending = Ending { cause: Cause::ClientEnded, duration: Duration::from_millis(1_500), sent: 3, received: 4 };
    journal.ended(Protocol::Imap, &subject, &whose, live, ending);
    assert!(journal.sessions().is_empty() && !journal.end_session(&subject.session));
    journal.act_by("command-line", "unlocked", ALICE, "2 passwords");
    let entry = Entry { event: "login", outcome: "accepted", ..Entry::default() };
    journal.record(Protocol::Imap, &subject, ALICE, Some("k7 (Scanner)"), entry);
    let told = lines(&path, 9);
    let session = &*subject.session;
    let of = |mut line: Value, account: &str| {
        let place = json!({"listener": "office", "protocol": "imap", "peer": "192.0.2.7:4000"});
        let who = json!({"session": session, "account": account});
        for more in [place, who] {
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        line
    };
    let ended = format!("the session {session} is ended");
    let opened = "opened the mailbox `shared@contoso.example`";
    let (by, said) = ("command-line", wrong.to_string());
    assert_eq!(
        told,
        [
            json!({"event": "admin", "outcome": "reloaded", "message": "limits"}),
            json!({"event": "admin", "outcome": "not-reloaded", "message": "a mistake"}),
            json!({"event": "credential", "outcome": "renewed", "by": "renewal", "message": "until tomorrow"}),
            of(json!({"event": "login", "outcome": "accepted", "message": opened}), ALICE),
            of(json!({"event": "login", "outcome": "refused", "cause": "wrong-password", "message": said}), "bob"),
            json!({"event": "admin", "outcome": "session-ended", "account": ALICE, "by": "page", "message": ended}),
            of(
                json!({
                    "event": "session", "outcome": "ended", "cause": "client-ended", "duration_ms": 1_500,
                    "bytes_sent": 3, "bytes_received": 4
                }),
                ALICE
            ),
            json!({"event": "admin", "outcome": "unlocked", "account": ALICE, "by": by, "message": "2 passwords"}),
            of(json!({"event": "login", "outcome": "accepted", "device": "k7 (Scanner)"}), ALICE),
        ]
    );
}

#[test]
fn a_message_is_counted_by_its_way_and_by_what_became_of_it() {
    let (refused, unknown) = (Failure::new(Cause::Refused, "no"), Failure::new(Cause::OutcomeUnknown, "it broke"));
    for (way, code, failure, counted) in [
        ("smtp", 250, None, Some(("smtp", "accepted"))),
        ("graph", 250, None, Some(("graph", "accepted"))),
        ("graph", 451, Some(&refused), Some(("graph", "deferred"))),
        ("smtp", 550, Some(&refused), Some(("smtp", "refused"))),
        ("smtp", 451, Some(&unknown), Some(("smtp", "unknown"))),
        ("none", 550, Some(&refused), Some(("none", "refused"))),
        // It is counted when it leaves the queue.
        ("queue", 250, None, None),
    ] {
        let journal = Journal::new(None);
        let message = Message {
            way,
            trusted: None,
            mailbox: None,
            sender: Some(ALICE),
            recipients: 1,
            octets: 9,
            reply: &Reply::new(code, [0, 0], "said"),
            failure,
            remark: "",
        };
        journal.message(Protocol::Smtp, &subject(), &SessionUser::named(ALICE), &message);
        let text = journal.metrics().text();
        let messages = text.lines().filter(|line| line.starts_with("gatepost_messages_sent_total{"));
        let counts: Vec<_> = messages.filter(|line| !line.ends_with(" 0")).collect();
        let expected: Vec<_> =
            counted.iter().map(|(way, outcome)| [format!("way=\"{way}\""), format!("outcome=\"{outcome}\"")]).collect();
        assert_eq!(counts.len(), expected.len(), "{way} {code}: {counts:?}");
        for (count, labels) in counts.iter().zip(expected) {
            assert!(labels.iter().all(|label| count.contains(label)) && count.ends_with(" 1"), "{way} {code}: {count}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_history_has_the_octets_and_the_sessions_of_each_minute() {
    let journal = Journal::new(None);
    assert_eq!(journal.traffic(), (0, 0));
    let live = journal.accepted(Protocol::Imap, &subject(), &SessionUser::named(ALICE), "cached");
    live.moved(3, 4);
    assert_eq!(journal.traffic(), (3, 4));
    let last = |journal: &Journal| {
        let minutes = journal.history();
        let last = minutes.last().unwrap();
        (minutes.len(), last.accepted, last.refused, last.bytes, last.sessions)
    };
    let (before, ..) = last(&journal);
    assert_eq!(last(&journal), (before, 1, 0, 7, 1));
    let keeping = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.keep_history().await }
    });
    tokio::time::sleep(Duration::from_secs(61)).await;
    live.moved(3, 5);
    let wrong = Failure::new(Cause::WrongPassword, "it is wrong");
    journal.refused(Protocol::Imap, &subject(), ("bob", ALICE), &wrong);
    assert_eq!(last(&journal), (before + 1, 0, 1, 1, 1));
    keeping.abort();
    drop(live);
    assert_eq!(last(&journal).4, 0);
}

#[test]
fn a_fault_of_gatepost_that_ends_a_session_is_counted_and_an_end_without_one_is_not() {
    let journal = Journal::new(None);
    let counted = || journal.metrics().text().lines().any(|line| line == "gatepost_panics_total 1");
    drop(Watch(Arc::clone(&journal)));
    assert!(!counted());
    let watch = Watch(Arc::clone(&journal));
    let session = std::thread::spawn(move || {
        let _watch = watch;
        panic!("a fault on purpose");
    });
    assert!(session.join().is_err() && counted());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_queue_counts_as_present_for_a_minute() {
    let journal = Journal::new(None);
    assert_eq!(journal.queue_failure(), None);
    journal.queue_failed("the disk is full".to_owned());
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(journal.queue_failure().as_deref(), Some("the disk is full"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(journal.queue_failure(), None);
}
