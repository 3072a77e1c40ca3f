//! A Gatepost whose listener has a queue, in front of a Microsoft 365 that outlives it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;

use gatepost_sandbox::SandboxAccount;
use serde_json::Value;

use crate::common::port::free_address;
use crate::life::program::{Program, World};

/// Whom the messages are for.
pub(crate) const ARCHIVE: &str = "archive@fabrikam.example";

/// How the queue delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Graph,
    /// Messages whose end is open are looked up through Graph.
    Smtp,
}

/// The world, with a mailbox for each device.
pub(crate) struct Queued {
    pub(crate) world: World,
    /// Where devices send.
    pub(crate) listener: SocketAddr,
}

/// The mailbox of a device.
pub(crate) fn mailbox(device: u8) -> String {
    format!("device{device}@contoso.example")
}

/// The address of a device.
pub(crate) fn source(device: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, device)
}

impl Queued {
    /// Devices 1 to `devices`, and further lines of the section `queue`.
    pub(crate) async fn new(devices: u8, way: Way, queue: &str) -> Self {
        let world = World::new().await;
        let listener = free_address();
        for device in 1..=devices {
            // Nobody signs in as a device.
            world.sandbox.add_account(SandboxAccount::new(&mailbox(device), "known-to-nobody"));
            world.sandbox.empty(&mailbox(device));
        }
        let this = Self { world, listener };
        this.configure(devices, way, queue);
        this
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, devices: u8, way: Way, queue: &str) {
        let Self { world, listener } = self;
        let sandbox = &world.sandbox;
        let deliver = match way {
            Way::Graph => format!("deliver: graph\n    graph: 'localhost:{}'", sandbox.graph().port()),
            Way::Smtp => format!(
                "upstream: 'localhost:{}'\n    deliver: auto\n    graph: 'localhost:{}'",
                sandbox.smtp().port(),
                sandbox.graph().port()
            ),
        };
        let accounts: String = (1..=devices).map(|device| format!("{{login: {}}}, ", mailbox(device))).collect();
        let mut yaml = String::new();
        write!(
            yaml,
            "listeners:\n\
             \x20 devices:\n\
             \x20   protocol: smtp\n\
             \x20   bind: '{listener}'\n\
             \x20   queue: true\n\
             \x20   {deliver}\n\
             \x20   trusted_senders:\n"
        )
        .unwrap();
        for device in 1..=devices {
            let (from, login) = (source(device), mailbox(device));
            writeln!(yaml, "      - {{from: {from}, login: {login}, messages_per_minute: 10000}}").unwrap();
        }
        write!(
            yaml,
            "microsoft:\n\
             \x20 authority: 'https://localhost:{}/'\n\
             \x20 tenant: contoso.example\n\
             \x20 grant: client_credentials\n\
             \x20 client_id: {}\n\
             \x20 client_secret: sandbox-secret\n\
             accounts: [{accounts}]\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             queue:\n\
             {queue}\n\
             admin: {{socket: gatepost.sock}}\n\
             limits: {{failure_delay: 0s}}\n",
            sandbox.entra().port(),
            sandbox.confidential_client_id(),
        )
        .unwrap();
        world.write("proxy.yaml", &yaml);
    }

    /// Starts the service, and waits until it is ready.
    pub(crate) fn start(&self) -> Program {
        self.world.start(&[])
    }

    /// A command on the queue that succeeds, and what it said.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.world.run(&[&["queue"], arguments].concat());
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// All messages of the queue, as `gatepost queue list --json` shows them.
    pub(crate) fn list(&self) -> Vec<Value> {
        self.list_of(&[])
    }

    /// The same for those in one of these states.
    pub(crate) fn list_of(&self, states: &[&str]) -> Vec<Value> {
        let states: Vec<&str> = states.iter().flat_map(|state| ["--state", state]).collect();
        serde_json::from_str(&self.command(&[&["list", "--json"], &*states].concat())).unwrap()
    }
}
