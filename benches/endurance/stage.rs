//! Where scenarios take place: mailbox and token endpoint, both of which can go away and come back,
//! a network for the clients, and Gatepost itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use crate::client::{Client, Dialogue};
use crate::directory;
use crate::entra::{Mood, Requests};
use crate::machine::{self, Cpus};
use crate::pki::Pki;
use crate::process::Process;
use crate::{backend, entra};

/// The network of clients that are not on this machine, as far as Gatepost can tell: what is on
/// loopback is exempt from some limits.
const NETWORK: &str = "10.77.0.0/16";

/// A start takes less.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Where clients are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// All at one address, which is exempt from the limits on strangers.
    Loopback,
    /// Each at an address of its own.
    Network,
}

impl Place {
    /// The address of a client.
    pub(crate) fn source(self, client: usize) -> Option<Ipv4Addr> {
        let number = u32::try_from(client).unwrap_or(0) % 60_000 + 256;
        (self == Self::Network).then(|| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 0, 0)) + number))
    }

    fn server(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Network => Ipv4Addr::new(10, 77, 0, 1),
        }
    }
}

/// A server that can go away: its address refuses connections then.
struct Server {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

/// The surroundings of Gatepost.
pub(crate) struct Stage {
    pki: Pki,
    cpus: Cpus,
    upstream: Server,
    endpoint: Server,
    mood: Arc<Mood>,
    open_files: usize,
    /// How often each user name was asked about at the token endpoint.
    pub(crate) requests: Requests,
    // Dropped last.
    directory: TempDir,
}

/// A Gatepost that answers.
pub(crate) struct Service {
    /// Its process.
    pub(crate) process: Process,
    /// A client for it.
    pub(crate) client: Client,
    /// Where its clients are.
    pub(crate) place: Place,
}

impl Stage {
    /// With mailbox and token endpoint.
    pub(crate) fn new(cpus: Cpus) -> anyhow::Result<Self> {
        // Gatepost inherits it.
        let open_files = machine::raise_open_files();
        let directory = directory::temporary(&std::env::temp_dir())?;
        let mut stage = Self {
            pki: Pki::new(directory.path())?,
            cpus,
            upstream: Server { address: free_port(Ipv4Addr::LOCALHOST)?, task: None },
            endpoint: Server { address: free_port(Ipv4Addr::LOCALHOST)?, task: None },
            mood: Arc::default(),
            open_files,
            requests: Requests::default(),
            directory,
        };
        stage.upstream_comes()?;
        stage.entra_comes()?;
        Ok(stage)
    }

    /// As many of these sessions as the limit of open files permits: each needs two, in this process
    /// and in Gatepost.
    pub(crate) fn fitting(&self, sessions: usize) -> usize {
        let most = self.open_files.saturating_sub(400) / 2;
        if most < sessions {
            eprintln!("  {most} sessions instead of {sessions}: {} open files are allowed", self.open_files);
        }
        sessions.min(most)
    }

    /// New connections to the mailbox are refused; those that there are stay.
    pub(crate) fn upstream_goes(&mut self) {
        self.upstream.task.take().inspect(JoinHandle::abort);
    }

    /// The mailbox is there.
    pub(crate) fn upstream_comes(&mut self) -> anyhow::Result<()> {
        let listener = listen(self.upstream.address)?;
        self.upstream.task = Some(tokio::spawn(backend::serve(listener, Arc::clone(&self.pki.server))));
        Ok(())
    }

    /// Lifetime of the tokens from now on.
    pub(crate) fn set_token_lifetime(&self, lifetime: Duration) {
        self.mood.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// The token endpoint answers 503.
    pub(crate) fn entra_fails(&self) {
        self.mood.away.store(true, Ordering::Relaxed);
    }

    /// The token endpoint refuses connections.
    pub(crate) fn entra_goes(&mut self) {
        self.mood.away.store(true, Ordering::Relaxed);
        self.endpoint.task.take().inspect(JoinHandle::abort);
    }

    /// The token endpoint is there.
    pub(crate) fn entra_comes(&mut self) -> anyhow::Result<()> {
        self.mood.away.store(false, Ordering::Relaxed);
        if self.endpoint.task.is_none() {
            let listener = listen(self.endpoint.address)?;
            let (tls, requests, mood) = (Arc::clone(&self.pki.server), self.requests.clone(), Arc::clone(&self.mood));
            self.endpoint.task = Some(tokio::spawn(entra::serve(listener, tls, requests, mood)));
        }
        Ok(())
    }

    /// Starts Gatepost with default limits, and waits for its greeting. Without a network for the
    /// clients, all of them are on loopback.
    pub(crate) async fn start(&self, place: Place) -> anyhow::Result<Service> {
        let place = match place {
            Place::Network if !has_network() => {
                eprintln!("  no network for the clients: they are on loopback, and exempt from some limits");
                Place::Loopback
            }
            place => place,
        };
        let address = free_port(place.server())?;
        let configuration = self.directory.path().join("proxy.yaml");
        std::fs::write(&configuration, self.configuration(address, place))?;
        let program = std::env::var_os("GATEPOST_ENDURANCE_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_gatepost").into());
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&configuration).current_dir(self.directory.path()).env_clear();
        let output = self.directory.path().join("output.log");
        let mut process = self.cpus.on_proxy_cpu(|| Process::start(&mut command, &output))??;
        let client = Client { source: place.source(0), ..Client::new(address, None, Dialogue::Password) };
        let begin = Instant::now();
        while client.greeting().await.is_err() {
            if let Some(end) = process.ended() {
                bail!("{end}");
            }
            if begin.elapsed() > START_DEADLINE {
                bail!("it does not answer{}", process.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Service { process, client, place })
    }

    fn configuration(&self, address: SocketAddr, place: Place) -> String {
        let network = match place {
            Place::Loopback => String::new(),
            Place::Network => format!(", allow_from: {NETWORK}, allow_plaintext_from: {NETWORK}"),
        };
        format!(
            "listeners:\n  \
               imap: {{bind: '{address}'{network}, upstream: '{}', upstream_name: localhost}}\n\
             microsoft:\n  \
               authority: https://localhost:{}/\n  \
               tenant: contoso.com\n  \
               client_id: 6d1d2c3b-4a5e-4f60-8172-93a4b5c6d7e8\n  \
               grant: password\n\
             trust: {{system_roots: false, additional_ca: '{}'}}\n\
             log: {{level: warn}}\n",
            self.upstream.address,
            self.endpoint.address.port(),
            self.pki.ca.display(),
        )
    }
}

impl Service {
    /// A client at its own address.
    pub(crate) fn client(&self, number: usize) -> Client {
        Client { source: self.place.source(number), ..self.client.clone() }
    }
}

/// Makes the network of the clients, within the namespace of this process.
fn has_network() -> bool {
    let inside = std::env::var_os(machine::INSIDE).is_some();
    let routed = || Command::new("ip").args(["route", "replace", "local", NETWORK, "dev", "lo"]).status();
    inside && routed().is_ok_and(|status| status.success())
}

/// With room for a burst.
fn listen(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(4096)?)
}

fn free_port(address: Ipv4Addr) -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?)
}
