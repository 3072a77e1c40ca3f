//! A network namespace with one way out: to a port of this machine where a proxy listens. What runs
//! in there reaches the mailbox and Entra through that proxy or not at all, because they listen on
//! the loopback interface of this machine.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::process::{is_root, run};

/// The namespace, until it is dropped.
pub(crate) struct Island {
    name: String,
    /// The address of this machine, seen from in there.
    pub(crate) outside: Ipv4Addr,
}

impl Island {
    pub(crate) fn new() -> Self {
        assert!(is_root(), "network namespaces need root");
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        // At most 15 octets for the name of an interface. RFC 2544 keeps 198.18.0.0/15 for tests.
        let (name, link) = (format!("gatepost-{id}-{number}"), format!("gp{}-{number}", id % 1_000_000));
        let address = |last: u8| Ipv4Addr::new(198, 18, id.to_le_bytes()[0], 4 * (number % 64) + last);
        let (outside, inside) = (address(1), address(2));
        let island = Self { name: name.clone(), outside };
        ip(&["netns", "add", &name]);
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        ip(&["address", "add", &format!("{outside}/30"), "dev", &link]);
        ip(&["link", "set", &link, "up"]);
        ip(&["-n", &name, "address", "add", &format!("{inside}/30"), "dev", "eth0"]);
        ip(&["-n", &name, "link", "set", "eth0", "up"]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        island
    }

    /// A program that will run in there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // The pair of interfaces goes with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments)).expect_success(&format!("ip {arguments:?}"));
}
