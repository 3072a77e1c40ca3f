//! What systemd hands over, and what it is told.

use std::net::TcpListener;

use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::common::wait::wait_for;
use crate::life::client::Client;
use crate::life::manager::{KEPT, Manager, unit_socket};
use crate::life::program::{ALICE, World};

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_systemd_serve_the_listeners_that_they_are_named_after() {
    let world = World::new().await;
    let [imap, smtp] = [unit_socket(), unit_socket()];
    let (at_imap, at_smtp) = (imap.local_addr().unwrap(), smtp.local_addr().unwrap());
    // Whoever connected before the service was there waits in the queue.
    let early = tokio::spawn(Client::greeted(at_imap));
    let program = world.activate(vec![("smtp", smtp.into()), ("imap", imap.into())], &[]);
    assert!(early.await.unwrap().is_ok());
    Client::imap(at_imap).await.works().await;
    Client::smtp(at_smtp, ALICE).await.ask("NOOP", "250").await.unwrap();
    assert!(Client::greeted(world.imap).await.is_err(), "the address of the configuration is not used as well");
    assert!(!program.log().contains("socket unit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_unit_takes_the_place_of_every_address_of_its_listener() {
    let world = World::new().await;
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let second = crate::common::port::free_address();
    let both = format!("bind: ['{}', '{second}'],", world.imap);
    world.write("proxy.yaml", &configuration.replace(&format!("bind: '{}',", world.imap), &both));
    let (imap, again) = (unit_socket(), unit_socket());
    let addresses = [imap.local_addr().unwrap(), again.local_addr().unwrap()];
    let mut program = world.activate(vec![("imap", imap.into()), ("imap", again.into())], &[]);
    for address in addresses {
        Client::greeted(address).await.unwrap();
    }
    for address in [world.imap, second] {
        assert!(TcpStream::connect(address).await.is_err(), "{address} is open");
    }
    // A reload that changes the listener's addresses changes nothing about that.
    let said = world.run(&["reload"]);
    assert!(said.status.success());
    world.write("proxy.yaml", &configuration);
    assert!(world.run(&["reload"]).status.success());
    assert!(TcpStream::connect(world.imap).await.is_err());
    for address in addresses {
        Client::greeted(address).await.unwrap();
    }
    assert!(program.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_socket_unit_without_a_listener_are_sent_away_until_there_is_one() {
    let world = World::new().await;
    let (one, other) = (unit_socket(), unit_socket());
    let [later, never] = [one.local_addr().unwrap(), other.local_addr().unwrap()];
    let mut program = world.activate(vec![("later", one.into()), ("never", other.into())], &[]);
    program.says("clients of this socket unit are sent away: no listener has its name");
    for address in [later, never] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    }
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    world.write("proxy.yaml", &configuration.replace("  imap: {", "  later: {protocol: imap, "));
    assert!(world.run(&["reload"]).status.success());
    Client::greeted(later).await.unwrap();
    let mut stream = TcpStream::connect(never).await.unwrap();
    assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    world.write("proxy.yaml", &configuration);
    assert!(world.run(&["reload"]).status.success());
    wait_for("its clients are sent away again", || {
        let mut stream = std::net::TcpStream::connect(later).unwrap();
        (std::io::Read::read(&mut stream, &mut [0; 100]).unwrap() == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_socket_unit_has_under_another_name_is_told() {
    let world = World::new().await;
    let imap = TcpListener::bind(world.imap).unwrap();
    let program = world.activated(&[], vec![("gatepost-imap.socket", imap.into())], &[]);
    let (code, said) = program.failed();
    assert_eq!(code, Some(1));
    assert!(said.contains("a socket unit of systemd has opened it with the name `gatepost-imap.socket`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_socket_units_are_seen_with_their_ipv4_addresses() {
    let world = World::new().await;
    // As systemd opens `ListenStream=993`.
    let Ok(imap) = TcpListener::bind("[::]:0") else { return };
    let port = imap.local_addr().unwrap().port();
    let mut program = world.activate(vec![("imap", imap.into())], &[]);
    Client::imap(([127, 0, 0, 1], port).into()).await.works().await;
    program.says("peer=127.0.0.1:");
    assert!(!program.log().contains("::ffff"), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_no_restart_refuses_at_once() {
    let world = World::new().await;
    world.configure("  drain: 300s\n  reload_check: 0s");
    let mut manager = Manager::new(&world, "manager");
    let imap = unit_socket();
    let of_unit = imap.local_addr().unwrap();
    // systemd keeps a copy of its own.
    let _copy = imap.try_clone().unwrap();
    let mut program = world.activate(vec![("imap", imap.into())], &[manager.variable()]);
    manager.until_kept(1);
    let mut session = Client::smtp(world.smtp, ALICE).await;
    session.ask("MAIL FROM:<alice@contoso.example>", "250").await.unwrap();
    program.signal(Signal::USR1);
    manager.until_kept(0);
    program.signal(Signal::TERM);
    manager.until("STOPPING=1");
    wait_for("the kept port is closed", || std::net::TcpStream::connect(world.smtp).is_err().then_some(()));
    let mut stream = TcpStream::connect(of_unit).await.unwrap();
    assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0, "it is sent away");
    session.ask("RSET", "250").await.unwrap();
    session.ask("QUIT", "221").await.unwrap();
    drop(session);
    assert!(program.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_socket_units_is_not_taken_over() {
    let world = World::new().await;
    let imap = unit_socket();
    let at = imap.local_addr().unwrap();
    let mut program = world.activate(vec![("imap", imap.into())], &[]);
    let said = world.run(&["run", "--take-over"]);
    assert_eq!(said.status.code(), Some(3), "trying again does not help");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(text.contains("has sockets of systemd socket units (imap)"), "{text}");
    Client::imap(at).await.works().await;
    assert!(program.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_becomes_of_the_service() {
    let world = World::new().await;
    world.configure("  drain: 30s\n  reload_check: 0s");
    let mut manager = Manager::new(&world, "manager");
    let mut program = world.start_in(&[], &[manager.variable(), ("WATCHDOG_USEC", "200000")]);
    manager.until("READY=1");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    let mut session = Client::smtp(world.smtp, ALICE).await;
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
async fn sockets_that_systemd_keeps_bridge_a_crash() {
    let world = World::new().await;
    let mut manager = Manager::new(&world, "manager");
    let mut program = world.start_in(&[], &[manager.variable()]);
    manager.until_kept(2);
    program.kill();
    // Nobody accepts; nobody is refused.
    let waiting = tokio::spawn(Client::greeted(world.imap));
    let mut program = manager.start_again(&world);
    assert!(waiting.await.unwrap().is_ok());
    Client::imap(world.imap).await.works().await;

    // A listener that goes is not kept any longer.
    manager.hear_all();
    manager.until_kept(2);
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let without: Vec<&str> = configuration.lines().filter(|line| !line.starts_with("  smtp:")).collect();
    world.write("proxy.yaml", &without.join("\n"));
    program.signal(Signal::HUP);
    program.says("taken over: listeners");
    manager.until_kept(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_systemd_kept_is_closed_when_another_process_hands_its_sockets_over() {
    let world = World::new().await;
    let mut old = world.start(&[]);
    let stale = unit_socket();
    let address = stale.local_addr().unwrap();
    let mut new = world.activated(&["--take-over"], vec![(KEPT, stale.into())], &[]);
    assert!(old.ended().success());
    new.says("ready");
    Client::imap(world.imap).await.works().await;
    assert!(TcpStream::connect(address).await.is_err());
}
