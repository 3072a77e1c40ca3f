//! One process after the other: nobody is refused, nobody is cut off, and what is known stays
//! known.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::common::port::free_address;
use crate::common::wait::wait_for;
use crate::life::client::Client;
use crate::life::program::{ALICE, ALICES, Program, World};

/// How far a caller goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// To the greeting.
    Greeting,
    /// Through a login of Alice's by IMAP, to its end.
    Login,
}

impl Call {
    async fn make(self, address: SocketAddr) -> io::Result<()> {
        let mut client = Client::greeted(address).await?;
        if self == Self::Login {
            let reply = client.ask(&format!("a LOGIN {ALICE} \"{ALICES}\""), "a ").await?;
            if !reply.starts_with("a OK") {
                return Err(io::Error::other(reply));
            }
            client.ask("z LOGOUT", "z OK").await?;
        }
        Ok(())
    }
}

/// Calls over and over.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    task: JoinHandle<Vec<String>>,
}

impl Callers {
    pub(crate) fn start<const N: usize>(call: Call, addresses: [SocketAddr; N], every: Duration) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&served));
        let task = tokio::spawn(async move {
            let (mut calls, mut failures) = (tokio::task::JoinSet::new(), Vec::new());
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for address in addresses.into_iter().cycle() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                ticks.tick().await;
                let count = Arc::clone(&count);
                calls.spawn(async move {
                    let made = call.make(address).await;
                    count.fetch_add(usize::from(made.is_ok()), Ordering::Relaxed);
                    made.err().map(|error| error.to_string())
                });
                while let Some(ended) = calls.try_join_next() {
                    failures.extend(ended.unwrap());
                }
            }
            while let Some(ended) = calls.join_next().await {
                failures.extend(ended.unwrap());
            }
            failures
        });
        Self { stop, served, task }
    }

    /// How many calls succeeded so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// How those failed who did.
    pub(crate) async fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Restarts so many times under callers.
pub(crate) async fn restart(world: &World, times: usize, every: Duration) {
    let mut program = world.start(&[]);
    let callers = Callers::start(Call::Greeting, [world.imap, world.smtp], every);
    let logins = Callers::start(Call::Login, [world.imap], every * 5);
    for _ in 0..times {
        let before = (callers.served(), logins.served());
        let mut next = world.start(&["--take-over"]);
        assert!(program.ended().success(), "{}", program.log());
        next.says("ready");
        // Each of them has had something to do.
        wait_for("somebody calls", || {
            (callers.served() > before.0 + 5 && logins.served() > before.1 + 1).then_some(())
        });
        program = next;
    }
    let (greeted, logged_in) = (callers.served(), logins.served());
    assert_eq!(callers.failures().await, Vec::<String>::new(), "of {greeted}");
    assert_eq!(logins.failures().await, Vec::<String>::new(), "of {logged_in}");
    println!("figure: {greeted} connections, {logged_in} logins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_refuses_nobody() {
    let world = World::new().await;
    restart(&world, 4, Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_process_lets_its_sessions_end_and_the_newer_one_has_everything_else() {
    let world = World::new().await;
    world.configure("  drain: 20s");
    let mut old = world.start(&[]);
    let mut idling = Client::imap(world.imap).await;
    idling.idle().await;
    let mut sending = Client::smtp(world.smtp, crate::life::program::ALICE).await;
    sending.ask("MAIL FROM:<alice@contoso.example>", "250").await.unwrap();

    let mut new = world.start(&["--take-over"]);
    old.says("the other Gatepost serves now, so this one stops");
    assert_eq!(idling.rest().await.unwrap(), "* BYE The service is stopping, connect again\r\n");
    assert!(old.runs());
    Client::imap(world.imap).await.works().await;
    sending.ask("RCPT TO:<alice@contoso.example>", "250").await.unwrap();
    sending.ask("DATA", "354").await.unwrap();
    sending.ask("Subject: x\r\n\r\nwhole\r\n.", "250").await.unwrap();
    sending.ask("QUIT", "221").await.unwrap();
    assert!(old.ended().success());

    // The command goes to the newer one, which has put its socket in the place of the older one's.
    assert!(world.run(&["reload"]).status.success());
    new.says("configuration reloaded: ");
    assert!(!old.log().contains("configuration reloaded: "));
    new.signal(Signal::TERM);
    assert!(new.ended().success());
    assert!(!world.path("gatepost.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_process_that_does_not_get_so_far_leaves_the_older_one_alone() {
    let world = World::new().await;
    let mut old = world.start(&[]);
    let mut session = Client::imap(world.imap).await;
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    // It gets the sockets, and then finds another one taken.
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let more = format!("  more: {{protocol: imap, bind: '{}'}}\nmicrosoft:", taken.local_addr().unwrap());
    world.write("other.yaml", &configuration.replace("microsoft:", &more));
    let said = world.run(&["run", "--take-over", "--config", "other.yaml"]);
    assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
    old.says("the other Gatepost did not start to serve, so this one continues");
    session.works().await;
    Client::imap(world.imap).await.works().await;
    assert!(world.run(&["reload"]).status.success(), "it still hears commands");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_over_at_once_one_serves_in_the_end() {
    let world = World::new().await;
    for _ in 0..3 {
        let mut all = vec![world.start(&[]), world.begin(&["--take-over"]), world.begin(&["--take-over"])];
        // Both may succeed, the later one by taking over from the earlier one; but no two serve
        // side by side.
        wait_for("two of three end", || {
            all.retain_mut(Program::runs);
            (all.len() == 1).then_some(())
        });
        let mut left = all.pop().unwrap();
        left.says(" ready version=");
        Client::imap(world.imap).await.works().await;
        assert!(world.run(&["reload"]).status.success(), "it hears commands");
        left.says("configuration reloaded: ");
        left.signal(Signal::TERM);
        assert!(left.ended().success());
    }
}

/// What each command says that needs the running service.
fn commands_say(world: &World, told: &str) {
    for arguments in [&["run", "--take-over"][..], &["reload"], &["account", "unlock", ALICE]] {
        let said = world.run(arguments);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_service_that_is_older_the_commands_say_that_it_has_to_be_restarted() {
    let world = World::new().await;
    let told = "has an older version, which does not know this command. Restart the service";
    // It had a socket for commands alone.
    let commands = UnixListener::bind(world.path("gatepost.sock.control")).unwrap();
    commands_say(&world, told);
    // Where it also has the other one, that knows none of the commands.
    let status = UnixListener::bind(world.path("gatepost.sock")).unwrap();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = status.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nThere is nothing here.";
            stream.write_all(answer).await.unwrap();
        }
    });
    commands_say(&world, told);
    answering.abort();
    let _aborted = answering.await;
    // What a crash of it has left behind is no service.
    drop(commands);
    assert!(world.path("gatepost.sock.control").exists());
    let mut program = world.start(&["--take-over"]);
    program.says("there is no service to take over from");
    assert!(world.run(&["reload"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_runs_there_is_nothing_to_take_over() {
    let world = World::new().await;
    let mut program = world.start(&["--take-over"]);
    program.says("there is no service to take over from");
    Client::imap(world.imap).await.works().await;
    program.kill();
    // A socket that a crash left behind is no service either.
    let mut program = world.start(&["--take-over"]);
    program.says("there is no service to take over from");
    Client::imap(world.imap).await.works().await;
}
