//! The program under test: the real binary, with a configuration as an operator would write it.

use std::fmt::Write as _;
use std::process::Command;

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::entra::{CLIENT_ID, TENANT};
use super::process::{Directory, Server, free_port};
use super::squid::{Asks, Squid};
use super::world::World;

/// The mail protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Imap,
    Pop3,
    Smtp,
}

/// TLS between client and Gatepost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientTls {
    None,
    StartTls,
    Implicit,
}

impl ClientTls {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::StartTls, Self::Implicit];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

/// How Gatepost reaches Microsoft.
#[derive(Clone, Copy)]
pub(crate) enum Route<'a> {
    Straight,
    /// With these keys of `forward_proxy` besides the address, each on its line.
    Through(&'a Squid, &'a str),
}

impl<'a> Route<'a> {
    fn squid(self) -> Option<&'a Squid> {
        match self {
            Self::Straight => None,
            Self::Through(squid, _) => Some(squid),
        }
    }
}

/// An instance with nine listeners: each protocol with each kind of TLS.
pub(crate) struct Gatepost<'a> {
    world: &'a World,
    listeners: Vec<(Protocol, ClientTls, u16)>,
    server: Server,
    _directory: Directory,
}

impl<'a> Gatepost<'a> {
    /// For everybody at contoso.com, by ROPC.
    pub(crate) fn start(world: &'a World, route: Route<'_>) -> Self {
        Self::start_with(world, route, "accounts:\n  - login: \"*@contoso.com\"\n")
    }

    /// With an `accounts` block of the test's own.
    pub(crate) fn start_with(world: &'a World, route: Route<'_>, accounts: &str) -> Self {
        let directory = Directory::new();
        let mut listeners = Vec::new();
        let mut yaml = String::from("listeners:\n");
        for (protocol, name) in [(Protocol::Imap, "imap"), (Protocol::Pop3, "pop3"), (Protocol::Smtp, "smtp")] {
            for tls in ClientTls::ALL {
                let port = free_port();
                listeners.push((protocol, tls, port));
                let upstream = upstream(world, route, protocol);
                write!(
                    yaml,
                    "  {name}-{tls}:\n    protocol: {name}\n    bind: 127.0.0.1:{port}\n    tls: {tls}\n    upstream: {upstream}\n",
                    tls = tls.name(),
                )
                .unwrap();
                if tls != ClientTls::None {
                    let (certificate, key) =
                        (world.authority.certificate.display(), world.authority.private_key.display());
                    write!(yaml, "    certificate: {certificate}\n    private_key: {key}\n").unwrap();
                }
            }
        }
        let authority = if route.squid().is_some() { AUTHORITY_NAME } else { "localhost" };
        write!(
            yaml,
            "microsoft:\n  authority: https://{authority}:{port}/\n  tenant: {TENANT}\n  client_id: {CLIENT_ID}\n  grant: password\n\
             {accounts}\
             trust:\n  system_roots: false\n  additional_ca: {root}\n\
             log:\n  level: debug\n",
            port = world.entra.port,
            root = world.authority.root.display(),
        )
        .unwrap();
        if let Route::Through(squid, keys) = route {
            // Kerberos goes by names.
            let host = if let Asks::Negotiate(_) = squid.asks { "localhost" } else { "127.0.0.1" };
            write!(yaml, "forward_proxy:\n  url: http://{host}:{}\n", squid.port).unwrap();
            yaml.push_str(keys);
        }
        let configuration = directory.write("proxy.yaml", yaml);

        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["run", "-c"]).arg(configuration);
        // What a developer's machine needs for its own internet access is no part of the test.
        for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        if let Some(Squid { asks: Asks::Negotiate(kdc), .. }) = route.squid() {
            command.envs(kdc.environment()).env_remove("KRB5_CLIENT_KTNAME");
        }
        let mut server = Server::start("gatepost", &mut command, directory.path().join("gatepost.log"));
        for (_, _, port) in &listeners {
            server.wait_for_port(*port);
        }
        Self { world, listeners, server, _directory: directory }
    }

    /// What it stands in.
    pub(crate) fn world(&self) -> &World {
        self.world
    }

    /// The port of a listener on 127.0.0.1.
    pub(crate) fn port(&self, protocol: Protocol, tls: ClientTls) -> u16 {
        let listener = self.listeners.iter().find(|listener| listener.0 == protocol && listener.1 == tls);
        listener.map(|listener| listener.2).unwrap()
    }

    /// Ends it as systemd would, and returns its log, after a look for secrets in it.
    pub(crate) fn stop(mut self) -> String {
        let status = self.server.stop();
        let log = self.server.log();
        assert!(status.success(), "gatepost ended with {status}\n{log}");
        for secret in self.world.entra.secrets() {
            assert!(!log.contains(&secret), "a secret is in the log: {}…", secret.chars().take(6).collect::<String>());
        }
        log
    }
}

fn upstream(world: &World, route: Route<'_>, protocol: Protocol) -> String {
    let (name, port) = match protocol {
        Protocol::Imap => (UPSTREAM_NAME, world.dovecot.imap),
        Protocol::Pop3 => (UPSTREAM_NAME, world.dovecot.pop3),
        Protocol::Smtp => (SUBMISSION_NAME, world.dovecot.submission),
    };
    if route.squid().is_some() { format!("{name}:{port}") } else { format!("localhost:{port}") }
}
