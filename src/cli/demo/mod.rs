//! `gatepost demo`: the product's own code against the embedded Microsoft 365, without tenant, account or configuration.
//!
//! It serves as `gatepost run` does, shows one login and one message per protocol as they happen, and stays up for the
//! reader's own mail program.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context;

use super::{CONFIGURATION, DONE, FAILED, run};
use crate::app::App;
use crate::config::{Config, State, load};
use crate::process::prepare;
use crate::sandbox::{Sandbox, SandboxAccount, SandboxConfig, Service};
use crate::telemetry::log;

mod client;
mod page;

/// The one person of the demonstration.
const LOGIN: &str = "alice@contoso.example";
const PASSWORD: &str = "correct-horse-battery";

/// Ports of the demonstration when they are free: the standard ones behind a 1.
const PORTS: [u16; 3] = [1143, 1110, 1587];

/// Where the demonstration listens.
struct Ports {
    imap: u16,
    pop3: u16,
    smtp: u16,
}

/// Serves the demonstration until it is told to stop; the result is the exit code.
pub fn demo(port_base: Option<u16>) -> u8 {
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(serve(port_base)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gatepost: the demonstration failed: {error:#}");
            FAILED
        }
    }
}

async fn serve(port_base: Option<u16>) -> anyhow::Result<u8> {
    page::opening();
    let sandbox = SandboxConfig { accounts: vec![SandboxAccount::new(LOGIN, PASSWORD)], ..SandboxConfig::default() };
    let (tenant, client_id) = (sandbox.tenant_domain.clone(), sandbox.public_client_id.clone());
    let sandbox = Sandbox::start(sandbox).await.context("start the embedded Microsoft 365")?;
    let ports = ports(port_base).context("find free ports")?;
    let directory = Directory::make().context("make a temporary directory")?;
    let file = directory.0.join("proxy.yaml");
    let authority = directory.0.join("ca.pem");
    fs::write(&authority, sandbox.ca_pem()).context("write the throw-away authority's certificate")?;
    fs::write(&file, configuration(&sandbox, &ports, &tenant, &client_id)).context("write the configuration")?;

    let config = match load::load(Some(&file), &[], []) {
        // A service on this machine may have a store; the demonstration leaves it alone.
        Ok(config) => Config { state: State::Memory, ..config },
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(CONFIGURATION);
        }
    };
    log::init(&config.log).context("start the log")?;
    prepare(&config.limits);
    let app = App::bind(config).await.context("listen")?;
    let stop = app.stop();
    tokio::spawn(run::stop_on_signal(stop.clone()));
    let serving = tokio::spawn(app.serve());

    page::around(&sandbox, &file);
    let shown = show(&sandbox, &ports).await;
    if let Err(error) = shown {
        stop.now();
        return Err(error);
    }
    page::closing(&ports, LOGIN, PASSWORD);
    serving.await.context("serve")?;
    sandbox.shutdown().await;
    Ok(DONE)
}

/// One login and one message per protocol, with plain passwords, as an old program does it.
async fn show(sandbox: &Sandbox, ports: &Ports) -> anyhow::Result<()> {
    let requests = || sandbox.counters().token_requests_of("password", LOGIN).succeeded;
    let logins = |service| sandbox.counters().logins_of(service, LOGIN).succeeded;

    page::heading("SMTP", ports.smtp, "a scanner sends a message, with a user name and a password");
    client::send(ports.smtp, LOGIN, PASSWORD).await.context("send a message over SMTP")?;
    page::behind("SMTP", requests(), logins(Service::Smtp));

    page::heading("IMAP", ports.imap, "an old mail program reads it");
    client::read_by_imap(ports.imap, LOGIN, PASSWORD).await.context("read a message over IMAP")?;
    page::behind("IMAP", requests(), logins(Service::Imap));

    page::heading("POP3", ports.pop3, "an older one fetches it");
    client::read_by_pop3(ports.pop3, LOGIN, PASSWORD).await.context("read a message over POP3")?;
    page::behind("POP3", requests(), logins(Service::Pop3));
    Ok(())
}

/// The configuration of the demonstration: what a real one looks like, with other hosts.
fn configuration(sandbox: &Sandbox, ports: &Ports, tenant: &str, client_id: &str) -> String {
    format!(
        "# The configuration of `gatepost demo`. For a real tenant leave out `authority`, `trust` and each `upstream`.\n\
         listeners:\n  \
           imap: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           pop3: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           smtp: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n\
         microsoft:\n  \
           authority: {}\n  \
           tenant: {tenant}\n  \
           client_id: {client_id}\n  \
           grant: password\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n",
        ports.imap,
        sandbox.imap().port(),
        ports.pop3,
        sandbox.pop3().port(),
        ports.smtp,
        sandbox.smtp().port(),
        sandbox.authority(),
    )
}

/// Three ports: from `base` on, else the usual ones, each replaced by a free one when it is taken.
fn ports(base: Option<u16>) -> io::Result<Ports> {
    let wanted = match base {
        Some(base) => [0, 1, 2].map(|offset: u16| base.checked_add(offset)),
        None => PORTS.map(Some),
    };
    let port = |wanted: Option<u16>| {
        let usual = wanted.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Only to learn a port: it is bound anew by the service.
        let socket = match usual.map(TcpListener::bind) {
            Some(Ok(socket)) => socket,
            Some(Err(error)) if base.is_some() => return Err(error),
            _ => TcpListener::bind(free)?,
        };
        Ok(socket.local_addr()?.port())
    };
    Ok(Ports { imap: port(wanted[0])?, pop3: port(wanted[1])?, smtp: port(wanted[2])? })
}

/// A directory of our own, gone with the demonstration.
struct Directory(PathBuf);

impl Directory {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("gatepost-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over in the temporary directory holds no secret.
        let _left = fs::remove_dir_all(&self.0);
    }
}
