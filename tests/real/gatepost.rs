//! The program under test: the real binary, with a configuration as an operator would write it.

use std::fmt::Write as _;
use std::process::Command;

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::entra::{CLIENT_ID, TENANT};
use super::island::Island;
use super::kerberos::Environment;
use super::process::{Directory, Server, free_port, run};
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

/// An instance with nine listeners: each protocol with each kind of TLS.
pub(crate) struct Gatepost<'a> {
    world: &'a World,
    island: Option<&'a Island>,
    listeners: Vec<(Protocol, ClientTls, u16)>,
    server: Server,
    _directory: Directory,
}

impl<'a> Gatepost<'a> {
    /// For everybody at contoso.com, by ROPC.
    pub(crate) fn start(world: &'a World, route: Route<'_>) -> Self {
        Self::start_with(world, route, "accounts:\n  - login: \"*@contoso.com\"\n")
    }

    /// The same, and the listeners with STARTTLS announce the mechanisms for tokens of clients'
    /// own.
    pub(crate) fn start_announcing_tokens(world: &'a World) -> Self {
        let keys =
            ["GATEPOST__LISTENERS__IMAP-STARTTLS__CLIENT_TOKENS", "GATEPOST__LISTENERS__POP3-STARTTLS__CLIENT_TOKENS"];
        let environment = keys.map(|key| (key, "announce".to_owned())).into();
        Self::launch(world, None, true, "accounts:\n  - login: \"*@contoso.com\"\n", "", environment)
    }

    /// With an `accounts` block of the test's own.
    pub(crate) fn start_with(world: &'a World, route: Route<'_>, accounts: &str) -> Self {
        let (mut proxy, mut environment) = (String::new(), Vec::new());
        if let Route::Through(squid, keys) = route {
            // Kerberos goes by names.
            let host = if let Asks::Negotiate(_) = squid.asks { "localhost" } else { "127.0.0.1" };
            write!(proxy, "forward_proxy:\n  url: http://{host}:{}\n{keys}", squid.port).unwrap();
            environment = squid.environment();
        }
        Self::launch(world, None, matches!(route, Route::Straight), accounts, &proxy, environment)
    }

    /// In a network namespace, with this section `forward_proxy`. Upstreams have the names that
    /// only a proxy can resolve.
    pub(crate) fn start_on(
        world: &'a World,
        island: &'a Island,
        forward_proxy: Option<&str>,
        environment: Environment,
    ) -> Self {
        let proxy = forward_proxy.map_or_else(String::new, |section| format!("forward_proxy:\n{section}"));
        Self::launch(world, Some(island), false, "accounts:\n  - login: \"*@contoso.com\"\n", &proxy, environment)
    }

    fn launch(
        world: &'a World,
        island: Option<&'a Island>,
        straight: bool,
        accounts: &str,
        proxy: &str,
        environment: Environment,
    ) -> Self {
        let directory = Directory::new();
        let mut listeners = Vec::new();
        let mut yaml = String::from("listeners:\n");
        for (protocol, name) in [(Protocol::Imap, "imap"), (Protocol::Pop3, "pop3"), (Protocol::Smtp, "smtp")] {
            for tls in ClientTls::ALL {
                let port = free_port();
                listeners.push((protocol, tls, port));
                let upstream = upstream(world, straight, protocol);
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
        let authority = if straight { "localhost" } else { AUTHORITY_NAME };
        write!(
            yaml,
            "microsoft:\n  authority: https://{authority}:{port}/\n  tenant: {TENANT}\n  client_id: {CLIENT_ID}\n  grant: password\n\
             {accounts}\
             trust:\n  system_roots: false\n  additional_ca: {root}\n\
             log:\n  level: debug\n\
             {proxy}",
            port = world.entra.port,
            root = world.authority.root.display(),
        )
        .unwrap();
        let configuration = directory.write("proxy.yaml", yaml);

        let program = env!("CARGO_BIN_EXE_gatepost");
        let mut command = island.map_or_else(|| Command::new(program), |island| island.command(program));
        command.args(["run", "-c"]).arg(configuration);
        // What a developer's machine needs for its own internet access is no part of the test.
        for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env_remove("KRB5_CLIENT_KTNAME").envs(environment);
        let mut server = Server::start("gatepost", &mut command, directory.path().join("gatepost.log"));
        for (_, _, port) in &listeners {
            match island {
                None => server.wait_for_port(*port),
                Some(island) => {
                    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
                    server.wait_until(&format!("listen on port {port}"), || {
                        run(island.command("bash").args(["-c", &connect])).status.success()
                    });
                }
            }
        }
        Self { world, island, listeners, server, _directory: directory }
    }

    /// What it stands in.
    pub(crate) fn world(&self) -> &World {
        self.world
    }

    /// A program that will run where this instance can be reached.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.island.map_or_else(|| Command::new(program), |island| island.command(program))
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

fn upstream(world: &World, straight: bool, protocol: Protocol) -> String {
    let (name, port) = match protocol {
        Protocol::Imap => (UPSTREAM_NAME, world.dovecot.imap),
        Protocol::Pop3 => (UPSTREAM_NAME, world.dovecot.pop3),
        Protocol::Smtp => (SUBMISSION_NAME, world.dovecot.submission),
    };
    format!("{}:{port}", if straight { "localhost" } else { name })
}
