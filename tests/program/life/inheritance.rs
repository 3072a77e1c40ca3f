//! Which ports are open after a change of `bind`: exactly those of the configuration, whether it
//! came into force by a reload, a restart, a crash or a take-over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::common::wait::until;
use crate::life::client::Client;
use crate::life::manager::Manager;
use crate::life::program::{Program, World};

/// Listeners by name, each with its addresses; `P` and `Q` are ports.
type Listeners<'a> = &'a [(&'a str, &'a [&'a str])];

struct Change {
    what: &'static str,
    before: Listeners<'static>,
    after: Listeners<'static>,
}

/// A listener cannot have more than two addresses here, because only standard input and output are
/// handed over.
const CHANGES: [Change; 10] = [
    Change {
        what: "a second address",
        before: &[("imap", &["127.0.0.1:P"])],
        after: &[("imap", &["127.0.0.1:P", "127.0.0.1:Q"])],
    },
    Change {
        what: "one address less",
        before: &[("imap", &["127.0.0.1:P", "127.0.0.1:Q"])],
        after: &[("imap", &["127.0.0.1:Q"])],
    },
    Change { what: "another port", before: &[("imap", &["127.0.0.1:P"])], after: &[("imap", &["127.0.0.1:Q"])] },
    Change { what: "narrower", before: &[("imap", &["0.0.0.0:P"])], after: &[("imap", &["127.0.0.1:P"])] },
    Change { what: "wider", before: &[("imap", &["127.0.0.1:P"])], after: &[("imap", &["0.0.0.0:P"])] },
    Change { what: "to localhost", before: &[("imap", &["127.0.0.1:P"])], after: &[("imap", &["localhost:P"])] },
    Change { what: "from localhost", before: &[("imap", &["localhost:P"])], after: &[("imap", &["[::1]:P"])] },
    Change {
        what: "a listener is removed",
        before: &[("imap", &["127.0.0.1:P"]), ("more", &["127.0.0.1:Q"])],
        after: &[("imap", &["127.0.0.1:P"])],
    },
    Change {
        what: "a listener is renamed",
        before: &[("imap", &["127.0.0.1:P"])],
        after: &[("post", &["127.0.0.1:P"])],
    },
    Change {
        what: "two listeners change places",
        before: &[("imap", &["127.0.0.1:P"]), ("more", &["127.0.0.1:Q"])],
        after: &[("imap", &["127.0.0.1:Q"]), ("more", &["127.0.0.1:P"])],
    },
];

/// How the changed configuration comes into force.
#[derive(Clone, Copy, Debug)]
enum Way {
    Reload,
    Restart,
    Crash,
    TakeOver,
}

fn with_port(world: &World, written: &str) -> String {
    let (host, port) = written.rsplit_once(':').unwrap();
    let port = if port == "P" { world.imap.port() } else { world.smtp.port() };
    format!("{host}:{port}")
}

/// The addresses of all of these listeners.
fn addresses(world: &World, listeners: Listeners<'_>) -> Vec<SocketAddr> {
    let written = listeners.iter().flat_map(|(_, bind)| bind.iter());
    let each = written.flat_map(|bind| match bind.split_once("localhost") {
        Some((_, port)) => vec![format!("127.0.0.1{port}"), format!("[::1]{port}")],
        None => vec![(*bind).to_owned()],
    });
    each.map(|written| with_port(world, &written).parse().unwrap()).collect()
}

fn configure(world: &World, listeners: Listeners<'_>) {
    world.configure("  reload_check: 0s");
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let upstream = world.sandbox.imap().port();
    let mut lines = Vec::new();
    for line in configuration.lines() {
        if line.starts_with("  imap:") {
            for (name, bind) in listeners {
                let bind: Vec<String> = bind.iter().map(|bind| format!("'{}'", with_port(world, bind))).collect();
                lines.push(format!(
                    "  {name}: {{protocol: imap, bind: [{}], upstream: 'localhost:{upstream}', \
                     allow_from: [127.0.0.0/8, '::1'], allow_plaintext_from: [127.0.0.0/8, '::1']}}",
                    bind.join(", "),
                ));
            }
        } else if !line.starts_with("  smtp:") {
            lines.push(line.to_owned());
        }
    }
    world.write("proxy.yaml", &lines.join("\n"));
}

/// Whether each address is served. One that is open, with nobody behind it, is an error.
async fn is_served(address: SocketAddr) -> Result<bool, String> {
    match TcpStream::connect(address).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
        // As the socket is being closed.
        Err(error) => return Err(error.to_string()),
        Ok(stream) => drop(stream),
    }
    Client::greeted(address).await.map(|_| true).map_err(|error| error.to_string())
}

/// Lets systemd hear all the time.
async fn attend(managers: &mut [&mut Manager]) -> ! {
    loop {
        managers.iter_mut().for_each(|manager| manager.hear_all());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until exactly the addresses of these listeners are served. systemd closes its copies of
/// other sockets a moment later than the process, and resets who connected in between.
async fn expect_ports(world: &World, listeners: Listeners<'_>, managers: &mut [&mut Manager], told: &str) {
    let wanted = addresses(world, listeners);
    for ip in ["127.0.0.1", "127.0.0.2", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
        for port in [world.imap.port(), world.smtp.port()] {
            let probed = SocketAddr::from((ip, port));
            let is_wide = ip.is_ipv4() && wanted.contains(&(Ipv4Addr::UNSPECIFIED, port).into());
            let expected = is_wide || wanted.contains(&probed);
            until(&format!("{told}: {probed} is served: {expected}"), async || {
                tokio::select! {
                    served = is_served(probed) => served == Ok(expected),
                    never = attend(managers) => never,
                }
            })
            .await;
        }
    }
}

async fn bring_into_force(way: Way, world: &World, old: Program, manager: &mut Manager, next: &mut Manager) -> Program {
    let mut old = old;
    match way {
        Way::Reload => {
            let said = world.run(&["reload"]);
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            old
        }
        Way::Restart => {
            old.signal(Signal::TERM);
            assert!(old.ended().success());
            manager.start_again(world)
        }
        Way::Crash => {
            old.kill();
            manager.start_again(world)
        }
        Way::TakeOver => {
            let new = world.start_in(&["--take-over"], &[next.variable()]);
            assert!(old.ended().success());
            new
        }
    }
}

async fn open_ports_are_those_of_the_configuration(way: Way) {
    for Change { what, before, after } in CHANGES {
        let told = format!("{what}, {way:?}");
        let world = World::new().await;
        let (mut manager, mut next) = (Manager::new(&world, "manager"), Manager::new(&world, "next"));
        configure(&world, before);
        let program = world.start_in(&[], &[manager.variable()]);
        expect_ports(&world, before, &mut [&mut manager], &told).await;
        manager.until_kept(addresses(&world, before).len());
        configure(&world, after);
        let program = bring_into_force(way, &world, program, &mut manager, &mut next).await;
        expect_ports(&world, after, &mut [&mut manager, &mut next], &told).await;
        assert!(!program.log().contains("socket unit"), "{told}: {}", program.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reload_the_open_ports_are_those_of_the_configuration() {
    open_ports_are_those_of_the_configuration(Way::Reload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_open_ports_are_those_of_the_configuration() {
    open_ports_are_those_of_the_configuration(Way::Restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_open_ports_are_those_of_the_configuration() {
    open_ports_are_those_of_the_configuration(Way::Crash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_take_over_the_open_ports_are_those_of_the_configuration() {
    open_ports_are_those_of_the_configuration(Way::TakeOver).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_address_comes_later_does_not_keep_the_service_from_starting() {
    let world = World::new().await;
    // Of the addresses for documentation (RFC 5737), so it never comes.
    let missing = SocketAddr::from(([192, 0, 2, 1], world.smtp.port()));
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let changed = configuration.replace(
        &format!("  smtp: {{bind: '{}',", world.smtp),
        &format!("  smtp: {{allow_from: [192.0.2.0/24], allow_plaintext_from: [192.0.2.0/24], bind: '{missing}',"),
    );
    assert_ne!(configuration, changed);
    world.write("proxy.yaml", &changed);
    let mut program = world.start(&[]);
    program.says("this machine does not have the address 192.0.2.1 yet");
    Client::imap(world.imap).await.works().await;
}
