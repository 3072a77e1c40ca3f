//! What a queue makes of each reply of a mail server, which says here what a test wants. Time goes slowly,
//! so that no deadline passes on a busy machine, and jumps where a test lets it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatepost_store::queue::{Acted, QueueId, State};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::advance;

use crate::common::directory::Directory;
use crate::common::wait::PATIENCE;
use crate::session::queue::{LOOK, SCANNER, device, scan, setup, stop, text, told};
use crate::session::support::{Client, Setup, World};
use crate::session::upstream::{Upstream, scripted_server};

use gatepost_sandbox::Service;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A reply other than usual to the next command that begins so. An empty one closes the connection.
pub(super) type Rule = (&'static str, &'static str);

/// A mail server. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    heard: Vec<String>,
    sign_ins: usize,
}

impl Server {
    pub(super) fn new(rules: &[Rule]) -> Self {
        Self(Arc::new(Mutex::new(Script { rules: rules.to_vec(), ..Script::default() })))
    }

    /// The commands that it has heard, each behind the number of its sign-in. A message is one of them.
    pub(super) fn heard(&self) -> Vec<String> {
        let heard = &self.0.lock().unwrap().heard;
        heard.iter().filter(|command| !command.ends_with(" QUIT")).cloned().collect()
    }

    /// How often it has heard a command that ends so.
    pub(super) fn count(&self, end: &str) -> usize {
        self.0.lock().unwrap().heard.iter().filter(|command| command.ends_with(end)).count()
    }

    fn answer(&self, sign_in: &mut usize, command: &str) -> &'static str {
        let mut script = self.0.lock().unwrap();
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (heard, usual) = match verb {
            "EHLO" => (None, "250-localhost\r\n250-AUTH XOAUTH2\r\n250-8BITMIME\r\n250 SIZE 150000000"),
            "AUTH" => {
                script.sign_ins += 1;
                *sign_in = script.sign_ins;
                (None, "235 2.7.0 Authentication successful")
            }
            "MAIL" if rest.contains(" BODY=8BITMIME") => (Some("MAIL 8BITMIME"), "250 2.1.0 Sender OK"),
            "MAIL" => (Some("MAIL"), "250 2.1.0 Sender OK"),
            "RCPT" => (Some(command.split(['<', '@']).nth(1).unwrap()), "250 2.1.5 Recipient OK"),
            "DATA" => (Some("DATA"), "354 Start mail input"),
            "." => (Some(rest), "250 2.0.0 OK"),
            "QUIT" => (Some("QUIT"), "221 2.0.0 Goodbye"),
            _ => (Some(command), "250 2.0.0 OK"),
        };
        if *sign_in > 0 {
            script.heard.extend(heard.map(|heard| format!("{sign_in} {heard}")));
        }
        match script.rules.iter().position(|(beginning, _)| command.starts_with(beginning)) {
            Some(at) => script.rules.remove(at).1,
            None => usual,
        }
    }

    async fn serve(self, mut upstream: Upstream) -> Option<()> {
        upstream.say("220 ready\r\n").await?;
        let mut sign_in = 0;
        let mut command = upstream.line().await?;
        loop {
            if command == "AUTH XOAUTH2" {
                upstream.say("334 \r\n").await?;
                upstream.line().await?;
            }
            let reply = self.answer(&mut sign_in, &command);
            if reply.is_empty() {
                return None;
            }
            upstream.say(&format!("{reply}\r\n")).await?;
            if reply.starts_with("421") || command == "QUIT" {
                return Some(());
            }
            let takes_content = command == "DATA" && reply.starts_with("354");
            command =
                if takes_content { format!(". {}", subject(&mut upstream).await?) } else { upstream.line().await? };
        }
    }

    /// A Gatepost in front of it.
    pub(super) async fn world(&self, directory: &Directory, queue: &str) -> World {
        let server = self.clone();
        let (port, trust) = scripted_server(move |upstream| server.clone().serve(upstream)).await;
        let keys = format!("upstream: 'localhost:{port}', upstream_tls: implicit, graph: 'localhost:{{graph}}'");
        Setup { trust, ..setup(directory, &keys, queue) }.start().await
    }

    /// Waits until it has heard just this, and the log tells of so many outcomes. All behind [`AFTER`]
    /// comes when a pause is over. Nothing more follows.
    async fn hears(&self, world: &World, expected: &[&str], outcomes: usize) {
        let mut so_far = Vec::new();
        for (number, stage) in expected.split(|command| *command == AFTER).enumerate() {
            if number > 0 {
                quiet(world).await;
                advance(MINUTE).await;
            }
            so_far.extend_from_slice(stage);
            soon(&format!("it hears {so_far:?} and not {:?}", self.heard()), async || self.heard() == so_far).await;
        }
        let all = ["sent", "delayed", "failed", "looking", "unknown"];
        soon("all is told", async || all.iter().map(|outcome| told(world, outcome).len()).sum::<usize>() == outcomes)
            .await;
        quiet(world).await;
        advance(MINUTE).await;
        quiet(world).await;
        assert_eq!(self.heard(), so_far);
    }
}

/// What stands for a pause.
const AFTER: &str = "later";

/// Time that goes at a tenth of its pace, and jumps with [`advance`].
pub(super) struct SlowTime {
    drops: JoinHandle<()>,
    _standing: std::sync::mpsc::Sender<()>,
}

impl SlowTime {
    pub(super) fn begin() -> Self {
        tokio::time::pause();
        let (standing, ended) = std::sync::mpsc::channel();
        // While there is blocking work, tokio lets no time pass by itself. It ends in a test that hangs.
        spawn_blocking(move || ended.recv_timeout(PATIENCE));
        let drops = tokio::spawn(async {
            loop {
                moment().await;
                advance(Duration::from_millis(1)).await;
            }
        });
        Self { drops, _standing: standing }
    }
}

impl Drop for SlowTime {
    fn drop(&mut self) {
        self.drops.abort();
        tokio::time::resume();
    }
}

/// Waits for a moment of real time.
async fn moment() {
    spawn_blocking(|| std::thread::sleep(Duration::from_millis(10))).await.unwrap();
}

/// Waits until nothing was logged for a while.
async fn quiet(world: &World) {
    let (mut length, mut still) = (0, 0);
    while still < 25 {
        moment().await;
        let now = world.log.bytes().len();
        still = if now == length { still + 1 } else { 0 };
        length = now;
    }
}

/// Waits until something is so, without a jump in time.
pub(super) async fn soon(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if so().await {
            return;
        }
        moment().await;
    }
    panic!("it never came to that: {what}");
}

/// Lets so much time pass, and waits for what follows from that.
pub(super) async fn pass(world: &World, time: Duration) {
    quiet(world).await;
    advance(time).await;
    quiet(world).await;
}

/// Waits until something is so, while so much time passes again and again.
pub(super) async fn until(world: &World, what: &str, every: Duration, so: impl AsyncFn() -> bool) {
    for _ in 0..300 {
        quiet(world).await;
        if so().await {
            return;
        }
        advance(every).await;
    }
    panic!("it never came to that: {what}");
}

/// The subject of a message that comes to its end.
async fn subject(upstream: &mut Upstream) -> Option<String> {
    let mut subject = String::new();
    loop {
        let line = upstream.line().await?;
        if line == "." {
            return Some(subject);
        }
        if let Some(of) = line.strip_prefix("Subject: ") {
            subject = of.to_owned();
        }
    }
}

pub(super) async fn state(world: &World, id: u64) -> Option<State> {
    let entry = world.control.queue().unwrap().show(QueueId(id)).await.unwrap();
    entry.map(|entry| entry.state)
}

/// Sends the message of this number to these names.
pub(super) async fn scan_for(device: &mut Client, names: &[&str], number: u32) {
    device.ask(&format!("MAIL FROM:<{SCANNER}>"), "250 ").await;
    for name in names {
        device.ask(&format!("RCPT TO:<{name}@contoso.example>"), "250 ").await;
    }
    device.ask("DATA", "354 ").await;
    device.ask(&format!("{}\r\n.", text(number)), "250 2.0.0 Queued as ").await;
}

/// The numbers of messages that were delayed, and of those that failed.
fn outcomes(world: &World) -> (usize, usize) {
    (told(world, "delayed").len(), told(world, "failed").len())
}

const BYE: &str = "421 4.3.2 Service not available";
const LATER: &str = "451 4.3.0 Try again later";
const NEVER: &str = "550 5.7.60 SMTP; Client does not have permissions to send as this sender";

#[tokio::test]
async fn only_a_connection_that_was_kept_is_replaced_at_once_when_it_turns_out_to_be_dead() {
    const USUAL: &str = "250 2.1.0 Sender OK";
    let on_second: &[&str] =
        &["1 MAIL", "1 bob", "1 DATA", "1 scan 1", "1 MAIL", "2 MAIL", "2 bob", "2 DATA", "2 scan 2"];
    let from_begin: &[&str] =
        &["1 MAIL", AFTER, "2 MAIL", "2 bob", "2 DATA", "2 scan 1", "2 MAIL", "2 bob", "2 DATA", "2 scan 2"];
    let next_later: &[&str] =
        &["1 MAIL", "1 bob", "1 DATA", "1 scan 1", "1 MAIL", AFTER, "2 MAIL", "2 bob", "2 DATA", "2 scan 2"];
    for (rules, heard, delayed, failed) in [
        (&[("MAIL", USUAL), ("MAIL", BYE)][..], on_second, 0, 0),
        (&[("MAIL", USUAL), ("MAIL", "")], on_second, 0, 0),
        // The server is away.
        (&[("MAIL", BYE)], from_begin, 1, 0),
        (&[("MAIL", "")], from_begin, 1, 0),
        (
            &[("MAIL", USUAL), ("MAIL", BYE), ("MAIL", BYE)],
            &[
                "1 MAIL", "1 bob", "1 DATA", "1 scan 1", "1 MAIL", "2 MAIL", AFTER, "3 MAIL", "3 bob", "3 DATA",
                "3 scan 2",
            ],
            1,
            0,
        ),
        // The connection works, and is there for the next message.
        (&[("MAIL", USUAL), ("MAIL", LATER)], next_later, 1, 0),
        (
            &[("MAIL", LATER)],
            &["1 MAIL", "1 MAIL", "1 bob", "1 DATA", "1 scan 2", AFTER, "2 MAIL", "2 bob", "2 DATA", "2 scan 1"],
            1,
            0,
        ),
        (&[("MAIL", NEVER)], &["1 MAIL", "1 MAIL", "1 bob", "1 DATA", "1 scan 2"], 0, 1),
    ] {
        let (directory, server) = (Directory::in_memory(), Server::new(rules));
        let world = server.world(&directory, "").await;
        let time = SlowTime::begin();
        let mut scanner = device(&world).await;
        for number in 1..=2 {
            scan(&mut scanner, number).await;
        }
        server.hears(&world, heard, 2 + delayed).await;
        assert_eq!(outcomes(&world), (delayed, failed), "{rules:?}");
        assert_eq!(told(&world, "sent").len(), 2 - failed, "{rules:?}");
        let delayed = told(&world, "delayed");
        assert!(delayed.iter().all(|line| line.contains(" INFO ")), "nobody needs to act: {delayed:?}");
        drop((scanner, time));
        stop(world).await;
    }
}

#[tokio::test]
async fn a_reply_to_a_recipient_counts_for_it_alone_or_for_the_whole_message() {
    const NO: &str = "550 5.1.10 RESOLVER.ADR.RecipientNotFound";
    for (rules, heard, delayed, left) in [
        // The others get it, also if there are too many for one message.
        (
            &[("RCPT TO:<two@", "452 4.5.3 Too many recipients"), ("RCPT TO:<three@", NO)][..],
            &["1 MAIL", "1 one", "1 two", "1 three", "1 DATA", "1 scan 1", "1 MAIL", "1 bob", "1 DATA", "1 scan 2"][..],
            0,
            &["two", "three"][..],
        ),
        // Nobody gets it.
        (
            &[("RCPT TO:<one@", NO), ("RCPT TO:<two@", NO), ("RCPT TO:<three@", NO)],
            &["1 MAIL", "1 one", "1 two", "1 three", "1 RSET", "1 MAIL", "1 bob", "1 DATA", "1 scan 2"],
            0,
            &["one", "two", "three"],
        ),
        (
            &[("RCPT TO:<one@", NO), ("RCPT TO:<two@", NO), ("RCPT TO:<three@", NO), ("RSET", "500 5.5.1 No")],
            &["1 MAIL", "1 one", "1 two", "1 three", "1 RSET", "2 MAIL", "2 bob", "2 DATA", "2 scan 2"],
            0,
            &["one", "two", "three"],
        ),
        // All get it later, and the next message need not wait for that.
        (
            &[("RCPT TO:<two@", LATER)],
            &[
                "1 MAIL", "1 one", "1 two", "1 RSET", "1 MAIL", "1 bob", "1 DATA", "1 scan 2", AFTER, "2 MAIL",
                "2 one", "2 two", "2 three", "2 DATA", "2 scan 1",
            ],
            1,
            &[],
        ),
        (
            &[("RCPT TO:<two@", LATER), ("RSET", "500 5.5.1 No")],
            &[
                "1 MAIL", "1 one", "1 two", "1 RSET", "2 MAIL", "2 bob", "2 DATA", "2 scan 2", AFTER, "3 MAIL",
                "3 one", "3 two", "3 three", "3 DATA", "3 scan 1",
            ],
            1,
            &[],
        ),
        // The server is away.
        (
            &[("RCPT TO:<two@", BYE)],
            &[
                "1 MAIL", "1 one", "1 two", AFTER, "2 MAIL", "2 one", "2 two", "2 three", "2 DATA", "2 scan 1",
                "2 MAIL", "2 bob", "2 DATA", "2 scan 2",
            ],
            1,
            &[],
        ),
    ] {
        let (directory, server) = (Directory::in_memory(), Server::new(rules));
        let world = server.world(&directory, "").await;
        let time = SlowTime::begin();
        let mut scanner = device(&world).await;
        scan_for(&mut scanner, &["one", "two", "three"], 1).await;
        scan(&mut scanner, 2).await;
        let sent = heard.iter().filter(|command| command.contains("scan")).count();
        let failed = usize::from(!left.is_empty());
        server.hears(&world, heard, sent + delayed + failed).await;
        assert_eq!(outcomes(&world), (delayed, failed), "{rules:?}");
        assert_eq!(told(&world, "sent").len(), sent, "{rules:?}");
        let entry = world.control.queue().unwrap().show(QueueId(1)).await.unwrap();
        let kept = entry.map(|entry| (entry.state, entry.message.unwrap().recipients));
        assert_eq!(kept.as_ref().map(|(state, _)| *state), (!left.is_empty()).then_some(State::Failed), "{rules:?}");
        let kept: Vec<String> = kept.into_iter().flat_map(|(_, left)| left).map(|left| left.address).collect();
        assert_eq!(kept, Vec::from_iter(left.iter().map(|name| format!("{name}@contoso.example"))), "{rules:?}");
        drop((scanner, time));
        stop(world).await;
    }
}

#[tokio::test]
async fn content_that_the_server_does_not_want_is_tried_again_or_fails_and_is_never_taken_for_sent() {
    let begin = ["1 MAIL", "1 bob", "1 DATA"];
    let again = [AFTER, "2 MAIL", "2 bob", "2 DATA", "2 scan 1"];
    for (rule, is_tried_again) in [
        // Only 354 asks for the content.
        (("DATA", "250 2.0.0 OK"), true),
        (("DATA", "451 4.3.0 Try again later"), true),
        (("DATA", "554 5.6.0 Message refused"), false),
        // It says something before the end of the message.
        (("DATA", "354 Start mail input\r\n250 2.0.0 OK"), true),
        (("DATA", "354 Start mail input\r\n354 Go on"), true),
        (("DATA", "354 Start mail input\r\n421 4.3.2 Service not available"), true),
        (("DATA", "354 Start mail input\r\n554 5.6.0 Message refused"), false),
    ] {
        let (directory, server) = (Directory::in_memory(), Server::new(&[rule]));
        let world = server.world(&directory, "").await;
        let time = SlowTime::begin();
        scan(&mut device(&world).await, 1).await;
        let expected = [&begin[..], if is_tried_again { &again[..] } else { &[] }].concat();
        server.hears(&world, &expected, 1 + usize::from(is_tried_again)).await;
        assert_eq!(outcomes(&world), (usize::from(is_tried_again), usize::from(!is_tried_again)), "{rule:?}");
        assert_eq!(state(&world, 1).await, (!is_tried_again).then_some(State::Failed), "{rule:?}");
        drop(time);
        stop(world).await;
    }
}

#[tokio::test]
async fn a_message_of_which_the_server_says_nothing_clear_is_looked_for_and_never_sent_twice() {
    const UNCLEAR: Rule = (".", "354 Go on");
    let refused = ("RCPT TO:<one@", "550 5.1.10 RESOLVER.ADR.RecipientNotFound");
    let [all, one, no_id] = ["all", "one is refused", "no Message-ID"];
    for (what, rules) in
        [(all, &[UNCLEAR][..]), (one, &[refused, UNCLEAR]), (one, &[refused, (".", "")]), (no_id, &[UNCLEAR])]
    {
        let (directory, server) = (Directory::in_memory(), Server::new(rules));
        let world = server.world(&directory, "").await;
        let time = SlowTime::begin();
        let mut scanner = device(&world).await;
        match what {
            "no Message-ID" => {
                scanner.ask(&format!("MAIL FROM:<{SCANNER}> BODY=8BITMIME"), "250 ").await;
                scanner.ask("RCPT TO:<one@contoso.example>", "250 ").await;
                scanner.ask("RCPT TO:<two@contoso.example>", "250 ").await;
                scanner.ask("DATA", "354 ").await;
                let text = text(1).replace("Subject:", "Message-ID:\r\nSubject:");
                scanner.ask(&format!("{text}\r\n."), "250 2.0.0 Queued as 1").await;
            }
            _ => scan_for(&mut scanner, &["one", "two"], 1).await,
        }
        until(&world, "nobody knows", 10 * MINUTE, async || state(&world, 1).await == Some(State::Unknown)).await;
        let line = told(&world, "unknown").remove(0);
        let looks = world.sandbox.counters().calls_of(Service::Graph, SCANNER, LOOK);
        let looking = told(&world, "looking").len();
        if what == all {
            assert_eq!((looking, looks), (1, 4), "after a minute, five, a quarter of an hour, and an hour");
            assert!(line.contains("no copy is in Sent Items"), "{line}");
        } else {
            assert_eq!((looking, looks), (0, 0), "{what}");
        }
        let is_partial = line.contains("not for one@contoso.example: ")
            && line.contains("(nobody can tell whether the others have the message)");
        assert_eq!(is_partial, what == one, "{line}");
        let mail = if what == no_id { "1 MAIL 8BITMIME" } else { "1 MAIL" };
        server.hears(&world, &[mail, "1 one", "1 two", "1 DATA", "1 scan 1"], 1 + looking).await;
        assert_eq!(outcomes(&world), (0, 0), "{what}");
        drop((scanner, time));
        stop(world).await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_a_few_seconds_behind_each_message_and_closed_in_order() {
    let (directory, server) = (Directory::in_memory(), Server::default());
    let world = server.world(&directory, "").await;
    let time = SlowTime::begin();
    let mut scanner = device(&world).await;
    for number in 1..=4 {
        scan(&mut scanner, number).await;
        pass(&world, 3 * SECOND).await;
    }
    assert_eq!((server.count("1 MAIL"), server.count("QUIT")), (4, 0));
    pass(&world, 3 * SECOND).await;
    assert_eq!(server.count("1 QUIT"), 1, "it was idle for too long");
    scan(&mut scanner, 5).await;
    soon("it is sent", async || told(&world, "sent").len() == 5).await;
    assert_eq!((server.count("2 scan 5"), server.count("2 QUIT")), (1, 0));
    drop((scanner, time));
    stop(world).await;
    assert_eq!(server.count("2 QUIT"), 1, "it is closed at the end of the service");
}

#[tokio::test]
async fn no_message_goes_on_a_connection_that_an_account_opened_which_was_changed_since() {
    let (directory, server) = (Directory::in_memory(), Server::default());
    let world = server.world(&directory, "").await;
    let _time = SlowTime::begin();
    scan(&mut device(&world).await, 1).await;
    soon("it is sent", async || told(&world, "sent").len() == 1).await;
    world.reload(|yaml| yaml.replace("send_as: [", "send_as: [boss@contoso.example, ")).await.unwrap();
    scan(&mut device(&world).await, 2).await;
    soon("it is sent", async || server.count("scan 2") > 0).await;
    assert_eq!(server.count("2 scan 2"), 1, "{:?}", server.heard());
}

#[tokio::test]
async fn a_new_message_does_not_end_the_pause_of_its_mailbox_and_a_person_does() {
    let (directory, server) = (Directory::in_memory(), Server::new(&[("MAIL", BYE)]));
    let world = server.world(&directory, "").await;
    let _time = SlowTime::begin();
    let mut scanner = device(&world).await;
    scan(&mut scanner, 1).await;
    soon("it was tried", async || told(&world, "delayed").len() == 1).await;
    quiet(&world).await;
    scan(&mut scanner, 2).await;
    pass(&world, 3 * SECOND).await;
    assert_eq!(server.heard(), ["1 MAIL"]);
    assert_eq!(world.control.queue().unwrap().retry(QueueId(1)).await.unwrap(), Acted::Done);
    soon("both are sent", async || told(&world, "sent").len() == 2).await;
    let all = ["1 MAIL", "2 MAIL", "2 bob", "2 DATA", "2 scan 1", "2 MAIL", "2 bob", "2 DATA", "2 scan 2"];
    assert_eq!(server.heard(), all);
}
