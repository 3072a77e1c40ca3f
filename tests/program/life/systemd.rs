//! What systemd hands over, and what it is told.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use crate::life::client::Client;
use crate::life::program::World;

/// Plays systemd: hears what a service says.
struct Manager {
    socket: UnixDatagram,
    path: String,
    heard: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new(world: &World) -> Self {
        let path = world.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), heard: Vec::new(), kept: Vec::new() }
    }

    fn hear(&mut self) -> String {
        let mut octets = [0; 1_024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut octets)];
        let received = recvmsg(&self.socket, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
        let text = String::from_utf8(octets[..received].to_vec()).unwrap();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                let name = text.split_once("FDNAME=").unwrap().1.to_owned();
                self.kept.extend(descriptors.map(|descriptor| (name.clone(), descriptor)));
            }
        }
        if let Some(name) = text.strip_prefix("FDSTOREREMOVE=1\nFDNAME=") {
            self.kept.retain(|(kept, _)| kept != name);
        }
        self.heard.push(text.clone());
        text
    }

    /// Hears until somebody says this.
    fn until(&mut self, wanted: &str) -> String {
        loop {
            let text = self.hear();
            if text.contains(wanted) {
                return text;
            }
        }
    }
}

/// Sockets as a socket unit opens them, at addresses of its own choice.
fn sockets() -> [TcpListener; 2] {
    [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_systemd_serve_the_listeners_that_they_are_named_after() {
    let world = World::new().await;
    let [imap, smtp] = sockets();
    let (at_imap, at_smtp) = (imap.local_addr().unwrap(), smtp.local_addr().unwrap());
    // Whoever connected before the service was there waits in the queue.
    let early = tokio::spawn(Client::greeted(at_imap));
    let program = world.activate([("smtp", smtp.into()), ("imap", imap.into())], &[]);
    assert!(early.await.unwrap().is_ok());
    Client::imap(at_imap).await.works().await;
    Client::smtp(at_smtp, crate::life::program::ALICE).await.ask("NOOP", "250").await.unwrap();
    assert!(Client::greeted(world.imap).await.is_err(), "the address of the configuration is not used as well");
    assert!(!program.log().contains("no listener has asked for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_fits_by_its_address_needs_no_name_and_one_that_nobody_wants_is_told() {
    let world = World::new().await;
    let [other, _] = sockets();
    let imap = TcpListener::bind(world.imap).unwrap();
    let mut program = world.activate([("unknown", other.into()), ("unknown", imap.into())], &[]);
    Client::imap(world.imap).await.works().await;
    program.says("no listener has asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_becomes_of_the_service() {
    let world = World::new().await;
    world.configure("  drain: 30s\n  reload_check: 0s");
    let mut manager = Manager::new(&world);
    let variables = [("NOTIFY_SOCKET", manager.path.clone()), ("WATCHDOG_USEC", "200000".to_owned())];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut program = world.start_in(&[], &variables);
    manager.until("READY=1");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    let mut session = Client::smtp(world.smtp, crate::life::program::ALICE).await;
    session.ask("MAIL FROM:<alice@contoso.example>", "250").await.unwrap();

    program.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1");
    let at: u64 = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap().parse().unwrap();
    assert!(at > 0);
    manager.until("READY=1");

    program.signal(Signal::TERM);
    let stopping = manager.until("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=30000000") && stopping.contains("1 connections left"), "{stopping}");
    // It is alive, and says so, also while it drains.
    manager.until("WATCHDOG=1");
    session.ask("QUIT", "221").await.unwrap();
    assert!(program.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_systemd_keeps_bridge_a_restart_and_a_crash() {
    let world = World::new().await;
    let mut manager = Manager::new(&world);
    let path = manager.path.clone();
    let mut program = world.start_in(&[], &[("NOTIFY_SOCKET", &path)]);
    let names = |manager: &Manager| manager.kept.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let both: BTreeSet<String> = ["imap", "smtp"].map(str::to_owned).into();
    while names(&manager) != both {
        manager.hear();
    }
    program.kill();
    // Nobody accepts; nobody is refused.
    let waiting = tokio::spawn(Client::greeted(world.imap));
    let mut kept = std::mem::take(&mut manager.kept).into_iter();
    let (one, other) = (kept.next().unwrap(), kept.next().unwrap());
    let again = [(one.0.as_str(), one.1), (other.0.as_str(), other.1)];
    let mut program = world.activate(again, &[("NOTIFY_SOCKET", &path)]);
    assert!(waiting.await.unwrap().is_ok());
    Client::imap(world.imap).await.works().await;

    // A listener that goes is not kept any longer.
    while names(&manager) != both {
        manager.hear();
    }
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let without: Vec<&str> = configuration.lines().filter(|line| !line.starts_with("  smtp:")).collect();
    world.write("proxy.yaml", &without.join("\n"));
    program.signal(Signal::HUP);
    program.says("taken over: listeners");
    while names(&manager) != ["imap".to_owned()].into() {
        manager.hear();
    }
}
