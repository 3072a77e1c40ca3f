//! The section `queue`, and listeners that have one.

use std::path::Path;
use std::time::Duration;

use gatepost_config::{ListenerBackend, Queue};
use gatepost_core::account::MailAddress;

use crate::support::{HASH, Outside, complete, config, mistakes};

/// Alice's account needs her password, the scanner's does not.
fn accounts() -> String {
    format!(
        "accounts:\n  - {{login: alice@contoso.com}}\n  - {{login: scanner@contoso.com, grant: client_credentials, \
         client_secret: s, passwords: ['{HASH}']}}\n"
    )
}

fn yaml(lines: &str) -> String {
    format!("listeners: {{smtp: {{bind: '127.0.0.1:25', queue: true}}}}\n{}{lines}\n", accounts())
}

const STATE: &str = "state: {directory: /srv/gatepost}";

#[test]
fn a_queue_waits_beside_the_state_unless_it_says_otherwise() {
    let queue = |lines: &str| config(&yaml(&format!("{STATE}\n{lines}"))).queue.unwrap();
    let usual = Queue {
        directory: Path::new("/srv/gatepost/queue").to_owned(),
        size: 10 << 30,
        retry_for: Duration::from_secs(2 * 86_400),
        keep_sent: Duration::ZERO,
        report_to: None,
        messages_per_minute: 30,
    };
    assert_eq!(queue(""), usual);
    let written = "queue: {directory: /var/spool/gatepost, size: 512MiB, retry_for: 6h, keep_sent: 1d, report_to: \
                   Admin@contoso.com, messages_per_minute: 20}";
    let other = Queue {
        directory: Path::new("/var/spool/gatepost").to_owned(),
        size: 512 << 20,
        retry_for: Duration::from_secs(6 * 3_600),
        keep_sent: Duration::from_secs(86_400),
        report_to: Some(MailAddress::parse("admin@contoso.com").unwrap()),
        messages_per_minute: 20,
    };
    assert_eq!(queue(written), other);
    assert_eq!(queue("queue: {keep_sent: 0}"), usual, "zero needs no unit");
}

#[test]
fn replicas_that_share_a_redis_have_a_queue_each() {
    let mut outside = Outside::with_variables(&[("KEY", "x")]);
    let yaml = complete(&yaml("state: {store: 'redis://redis.contoso.com', key: {env: KEY}}"));
    let problem = outside.load(&yaml).unwrap_err().to_string();
    assert!(problem.contains("state.directory: `directory` is missing, which a queue needs"), "{problem}");
    outside.variables.insert("STATE_DIRECTORY".into(), "/var/lib/gatepost".into());
    assert_eq!(outside.load(&yaml).unwrap().queue.unwrap().directory, Path::new("/var/lib/gatepost/queue"));
}

#[test]
fn a_queue_needs_a_state_that_lasts() {
    let expected = "state.directory: `directory` is missing, which a queue needs; write `state: {directory: \
                    /var/lib/gatepost}`, or remove `queue: true` from the listeners";
    assert_eq!(mistakes(&yaml("")), [expected]);
    // A directory for the queue alone has no key.
    assert_eq!(mistakes(&yaml("queue: {directory: /var/spool/gatepost}")), [expected]);
    assert!(
        config(&format!("listeners: {{smtp: {{bind: '127.0.0.1:25', queue: false}}}}\n{}", accounts())).queue.is_none()
    );
}

#[test]
fn a_listener_with_a_queue_takes_messages_itself() {
    let queued = config(&yaml(STATE));
    let ListenerBackend::Submission(submission) = &queued.listeners[0].serves else { panic!() };
    assert!(submission.queue && submission.smtp.is_some());
    let other = config(&yaml(STATE).replace("queue: true", "queue: false"));
    assert!(matches!(other.listeners[0].serves, ListenerBackend::Relay(_)));
    assert!(other.queue.is_some(), "it may still hold messages");
}

#[test]
fn messages_of_accounts_whose_password_is_not_kept_go_directly() {
    let mixed = config(&yaml(STATE));
    assert_eq!(
        mixed.notes,
        [
            "the queue of the listener `smtp` does not take messages of accounts with `grant: password`, because Gatepost \
          keeps no passwords. These messages go to Microsoft while the client waits"
        ]
    );
    let nobody = format!("listeners: {{smtp: {{bind: '127.0.0.1:25', queue: true}}}}\n{STATE}");
    assert_eq!(
        mistakes(&nobody),
        [
            "listeners.smtp.queue: every account has `grant: password`. Gatepost keeps no passwords, so no message could wait \
          in the queue; give an account `grant: client_credentials` or `grant: authorization_code`, or remove `queue`"
        ]
    );
    let all = yaml(STATE).replace("  - {login: alice@contoso.com}\n", "");
    assert_eq!(config(&all).notes, [""; 0]);
}

#[test]
fn a_queue_that_no_listener_has_is_noted() {
    assert_eq!(
        config(&format!("{STATE}\nqueue: {{retry_for: 1d}}")).notes,
        ["`queue` has no effect on new messages without a listener that has `queue: true`"]
    );
}

#[test]
fn every_mistake_of_a_queue_has_its_sentence() {
    for (lines, expected) in [
        ("queue: {size: 512KiB}", "queue.size: `512KiB` is out of range; write a size from 1MiB to 10240GiB"),
        (
            "queue: {size: 10GB}",
            "queue.size: `10GB` has a unit that is not known; use `B`, `KiB`, `MiB` or `GiB`, such as `8KiB`",
        ),
        (
            "queue: {retry_for: 0}",
            "queue.retry_for: `0` has no unit; write `0s` for seconds, or use `ms`, `m`, `h`, `d`",
        ),
        ("queue: {retry_for: 31d}", "queue.retry_for: `31d` is out of range; write a time from 1s to 30d"),
        (
            "queue: {report_to: admin}",
            "queue.report_to: the name is not an address of the form user@domain; write the address of an administrator",
        ),
        (
            "queue: {messages_per_minute: 0}",
            "queue.messages_per_minute: 0 is out of range; write a whole number from 1 to 10000",
        ),
        ("queue: {retry_fr: 1d}", "queue.retry_fr: `retry_fr` is not a known key; did you mean `retry_for`?"),
    ] {
        assert_eq!(mistakes(&yaml(&format!("{STATE}\n{lines}"))), [expected]);
    }
    assert_eq!(
        mistakes("listeners: {imap: {bind: '127.0.0.1:143', queue: true}}")[0].split(';').next().unwrap(),
        "listeners.imap.queue: `queue` is not a known key"
    );
}
