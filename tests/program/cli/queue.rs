//! `gatepost queue`, on a queue that a service has left.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Directory, RIGHT, code, stderr, stdout};
use crate::service::Service;
use gatepost_config::StateKey;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_store::queue::{NewMessage, Note, Outcome, Queue, QueueId, Recipient, State};

const SCANNER: &str = "scanner@contoso.com";

pub(crate) struct World {
    directory: Directory,
    queue: Queue,
}

impl World {
    /// A queue with messages 1 (waits), 2 (failed) and 3 (unknown).
    pub(crate) async fn new() -> Self {
        let directory = Directory::new();
        directory.write(
            "proxy.yaml",
            &format!("{RIGHT}state: {{directory: state}}\nlog: {{audit: {{file: audit.jsonl}}}}\n"),
        );
        fs::create_dir(directory.file("state")).unwrap();
        make_private(&directory.file("state"));
        let key = StateKey::File(directory.file("state/state.key"));
        let queue = Queue::open(&directory.file("state/queue"), 1 << 30, &key, Clock::system()).await.unwrap();
        let world = Self { directory, queue };
        for name in ["waits", "failed", "unknown"] {
            world.accept(name).await;
        }
        let courier = world.queue.courier().await.unwrap().unwrap();
        let note = |what: &str, to_do: Option<&str>| Note {
            at: UnixTime(1_801_353_600),
            cause: Some("message-refused".into()),
            code: Some("550 5.7.60 SMTP; Client does not have permissions to send as this sender".into()),
            what: what.into(),
            action_by: Some("m365-admin".into()),
            to_do: to_do.map(str::to_owned),
        };
        let failed = note("Exchange Online refused the message", Some("allow the mailbox to send as this sender"));
        courier
            .settle(world.queue.show(QueueId(2)).await.unwrap().unwrap().seen(), Outcome::Failed { note: failed })
            .await
            .unwrap();
        courier.hand_over(world.queue.show(QueueId(3)).await.unwrap().unwrap().seen(), None).await.unwrap();
        let unknown =
            Note { code: None, ..note("the connection was lost before Microsoft confirmed the message", None) };
        courier
            .settle(
                world.queue.show(QueueId(3)).await.unwrap().unwrap().seen(),
                Outcome::Unknown { note: Note { action_by: None, ..unknown } },
            )
            .await
            .unwrap();
        world
    }

    /// Adds lines to the configuration.
    pub(crate) fn add(&self, lines: &str) {
        let yaml = fs::read_to_string(self.directory.file("proxy.yaml")).unwrap();
        // The listener's port is of no interest here.
        self.directory.write("proxy.yaml", &format!("{}{lines}", yaml.replace(":21587", ":0")));
    }

    /// Starts the service, whose page is at a port.
    pub(crate) fn serve(&self, page: u16) -> Service {
        let log = fs::File::create(self.directory.file("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .current_dir(self.directory.0.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Service::listening(child.unwrap(), page)
    }

    async fn accept(&self, name: &str) {
        let mut writer = self.queue.writer(self.queue.reserve(None).await.unwrap()).await.unwrap();
        writer.write(content(name).as_bytes()).await.unwrap();
        let recipient = |user: &str| Recipient { address: format!("{user}@contoso.com"), dsn: Vec::new() };
        let message = NewMessage {
            listener: "scanners".into(),
            login: SCANNER.into(),
            mailbox: SCANNER.into(),
            device: "192.168.7.21".into(),
            sender: Some(SCANNER.into()),
            body: None,
            smtputf8: false,
            dsn: Vec::new(),
            recipients: ["alice", "bob", "carol"].map(recipient).to_vec(),
            message_id: Some(format!("<{name}@scanner>")),
        };
        writer.commit(&message).await.unwrap();
    }

    fn told(&self, arguments: &[&str]) -> String {
        let output = self.directory.gatepost(arguments);
        assert_eq!((code(&output), stderr(&output)), (0, ""), "{arguments:?}");
        stdout(&output).to_owned()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.directory.gatepost(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        stderr(&output).to_owned()
    }

    pub(crate) async fn states(&self) -> Vec<(u64, State)> {
        let entries = self.queue.list(&State::ALL, QueueId(0), 100).await.unwrap();
        entries.into_iter().map(|entry| (entry.id.0, entry.state)).collect()
    }

    pub(crate) fn audit(&self) -> Vec<(String, String, String)> {
        let text = fs::read_to_string(self.directory.file("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        lines.map(|line| (text(&line, "outcome"), text(&line, "account"), text(&line, "message"))).collect()
    }
}

#[cfg(unix)]
fn make_private(directory: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(not(unix))]
fn make_private(_directory: &std::path::Path) {}

fn content(name: &str) -> String {
    format!("Subject: {name}\r\n\r\n{}\r\n", "text ".repeat(20_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_of_each_message_what_happened_and_who_acts() {
    let world = World::new().await;
    let told = world.told(&["queue", "list"]);
    let route = "    from scanner@contoso.com to alice@contoso.com, bob@contoso.com and 1 more, device 192.168.7.21, \
                 listener `scanners`\n";
    let mut lines = told.lines();
    assert_eq!(lines.next().unwrap(), "3 messages, 293.0 KiB: 1 waiting, 1 failed, 1 unknown");
    assert_eq!(told.matches(route).count(), 3, "{told}");
    let since = |line: &str, words: &str| line.starts_with(words) && line.ends_with(" UTC, 97.6 KiB");
    assert!(told.lines().any(|line| since(line, "1  waiting since 20")), "{told}");
    assert!(told.contains("\n    Gatepost sends it now.\n"), "{told}");
    assert!(
        told.contains(
            "    Exchange Online refused the message (`550 5.7.60 SMTP; Client does not have permissions to send as this \
             sender`). Microsoft 365 admin: allow the mailbox to send as this sender. To try again, run `gatepost queue \
             retry 2`.\n"
        ),
        "{told}"
    );
    assert!(
        told.contains("Look in Sent Items of scanner@contoso.com. If it is there, run `gatepost queue discard 3`.")
    );
    let failed = world.told(&["queue", "list", "--state", "failed", "--json"]);
    let failed: Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(failed.as_array().unwrap().len(), 1);
    let message = &failed[0];
    assert_eq!((&message["id"], &message["state"], &message["bytes"]), (&2.into(), &"failed".into(), &100_021.into()));
    assert_eq!(message["recipients"][2], "carol@contoso.com");
    assert_eq!((&message["next_at"], &message["reason"]["action_by"]), (&Value::Null, &"m365-admin".into()));
    let shown = world.told(&["queue", "show", "3"]);
    for row in ["Message 3\n", "To:         carol@contoso.com\n", "Message-ID: <unknown@scanner>\n", "Attempts:   1\n"]
    {
        assert!(shown.contains(row), "{row} in {shown}");
    }
    let shown: Value = serde_json::from_str(&world.told(&["queue", "show", "3", "--json"])).unwrap();
    assert_eq!(shown["state"], "unknown");
    assert!(world.audit().is_empty(), "looking changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_retries_discards_and_exports_and_the_audit_log_has_it() {
    let world = World::new().await;
    assert!(world.told(&["queue", "retry", "--all-failed"]).starts_with("Message 2 waits for its next try"));
    let told = world.told(&["queue", "retry", "3"]);
    assert!(told.contains("It may have been sent before, so it may arrive twice."), "{told}");
    assert!(
        told.contains("as soon as a wait that Microsoft asked for and `queue.messages_per_minute` allow"),
        "{told}"
    );
    assert!(world.states().await.iter().all(|(_, state)| *state == State::Waiting));
    assert_eq!(world.told(&["queue", "retry", "--all-failed"]), "There are no failed messages.\n");
    assert_eq!(world.directory.gatepost(&["queue", "export", "1"]).stdout, content("waits").as_bytes());
    let told = world.told(&["queue", "export", "1", "-o", "message.eml"]);
    assert_eq!(told, "Wrote message 1 to message.eml (100020 bytes).\n");
    assert_eq!(fs::read_to_string(world.directory.file("message.eml")).unwrap(), content("waits"));
    let refused = world.refused(&["queue", "export", "1", "-o", "message.eml"]);
    assert!(refused.contains("cannot create `message.eml`"), "{refused}");
    // What can be done is done.
    let output = world.directory.gatepost(&["queue", "discard", "1", "77", "2"]);
    assert_eq!((code(&output), stdout(&output)), (1, "Discarded message 1.\nDiscarded message 2.\n"));
    assert!(stderr(&output).contains("there is no message 77. To list the messages, run `gatepost queue list`"));
    assert_eq!(world.states().await, [(3, State::Waiting)]);
    let act = |outcome: &str, id: u64| (outcome.to_owned(), SCANNER.to_owned(), format!("message {id}"));
    assert_eq!(
        world.audit(),
        [
            act("queue-retried", 2),
            act("queue-retried", 3),
            act("queue-exported", 1),
            act("queue-exported", 1),
            act("queue-exported", 1),
            act("queue-discarded", 1),
            act("queue-discarded", 2),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_its_way_is_left_alone_and_a_damaged_one_is_named() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    courier.hand_over(world.queue.show(QueueId(1)).await.unwrap().unwrap().seen(), None).await.unwrap();
    for act in ["retry", "discard"] {
        let refused = world.refused(&["queue", act, "1"]);
        assert!(refused.contains("message 1 is being sent at this moment. Try again in a minute"), "{refused}");
    }
    for entry in fs::read_dir(world.directory.file("state/queue/messages")).unwrap() {
        fs::write(entry.unwrap().path(), "damage").unwrap();
    }
    let refused = world.refused(&["queue", "export", "2"]);
    assert!(refused.contains("the message's file `") && refused.contains("` is damaged"), "{refused}");
}

#[test]
fn a_queue_that_was_never_used_is_empty_and_not_created() {
    let directory = Directory::new();
    directory.write("proxy.yaml", &format!("{RIGHT}state: {{directory: state}}\n"));
    let told = |arguments: &[&str]| stdout(&directory.gatepost(arguments)).to_owned();
    assert_eq!(told(&["queue", "list"]), "There are no messages.\n");
    assert_eq!(told(&["queue", "list", "--json"]), "[]\n");
    let output = directory.gatepost(&["queue", "show", "1"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("there is no message 1"), "{}", stderr(&output));
    assert!(!directory.file("state").exists());
    directory.write("proxy.yaml", RIGHT);
    let output = directory.gatepost(&["queue", "list"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("a queue needs a state directory"), "{}", stderr(&output));
}

/// Root can be another user, and nobody else can.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root; tests/run does it"]
async fn another_user_is_told_whose_queue_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let world = World::new().await;
    fs::set_permissions(world.directory.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.directory.file("proxy.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["queue", "list"])
        .current_dir(world.directory.0.path())
        .env_clear()
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("belongs to user root. Run the command as root"), "{}", stderr(&output));
}
