//! `gatepost demo`: runs the product's own code against the embedded Microsoft 365, without tenant,
//! account or configuration.
//!
//! It serves like `gatepost run`, shows one login and one message per protocol as they happen, and
//! keeps running for the reader's own mail program.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use super::draft::target;
use super::exit::DONE;
use super::output::{failed, report};
use super::run;
#[cfg(unix)]
use super::status;
use crate::app::App;
use crate::login::issue::{self, Order};
use crate::system::process::prepare;
use gatepost_config::{Config, State, load};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_sandbox::{AccountKind, HttpFault, Sandbox, SandboxAccount, SandboxConfig, Service, SignInAudience};
use gatepost_store::Store;
use gatepost_store::queue::{Queue, QueueId};
use gatepost_telemetry::log;

mod client;
mod page;
mod scene;
#[cfg(unix)]
mod tenant;
mod web;

use scene::{Client, DEVICE, PATIENCE, Ports};
#[cfg(unix)]
use tenant::Tenant;

/// A person, whose password Entra knows.
const ALICE: &str = "alice@contoso.example";
const ALICES: &str = "correct-horse-battery";

/// A mailbox that the application opens, for a device with a password of its own.
const SCANNER: &str = "scanner@contoso.example";

/// A personal Microsoft account, which signs in once, in a browser.
const PAT: &str = "pat@outlook.example";
const PATS: &str = "a-secret-of-her-own";

/// Ports of the demonstration if they are free. They are the standard ones with a 1 in front, as
/// far as there are any, and that of the status page.
const PORTS: [u16; 8] = [1143, 1110, 1587, 1443, 1444, 1025, 1026, 9180];

/// The socket for status requests to the demonstration.
const SOCKET: &str = "gatepost.sock";

/// The file with a request for EWS, for curl.
const EWS_REQUEST: &str = "find-item.xml";

/// Serves the demonstration until it is told to stop, and returns the exit code.
pub fn demo(port_base: Option<u16>) -> u8 {
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(serve(port_base)) {
        Ok(code) => code,
        Err(error) => failed(format_args!("the demonstration failed: {error:#}")),
    }
}

async fn serve(port_base: Option<u16>) -> anyhow::Result<u8> {
    page::opening();
    // Nobody signs in to Entra as the scanner.
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(SCANNER, "known-to-nobody")];
    let sandbox = SandboxConfig { accounts, ..SandboxConfig::default() };
    let tenant = sandbox.tenant_domain.clone();
    let sandbox = Sandbox::start(sandbox).await.context("start the embedded Microsoft 365")?;
    sandbox.add_account(SandboxAccount::of(AccountKind::Personal, PAT, PATS));
    sandbox.set_sign_in_audience(sandbox.public_client_id(), SignInAudience::AnyOrganizationAndPersonal);
    let ports = ports(port_base).context("find free ports")?;
    // Anything that is left there opens only the embedded Microsoft 365, which goes with it.
    let directory =
        tempfile::Builder::new().prefix("gatepost-demo-").tempdir().context("make a temporary directory")?;
    let directory = directory.path();
    let file = directory.join("proxy.yaml");
    let authority = directory.join("ca.pem");
    fs::write(&authority, sandbox.ca_pem()).context("write the throw-away authority's certificate")?;
    let yaml = configuration(&sandbox, &ports, &tenant);
    target::write(&file, yaml.as_bytes(), false).context("write the configuration")?;

    let config = match load::load(Some(&file), &[], []) {
        Ok(config) => config,
        Err(problems) => return Ok(report(&problems)),
    };
    log::init(&config.log).context("start the log")?;
    prepare(&config.limits);
    let store = gatepost_store::open(&config.state).await.context("open the store")?;
    let queue = open_queue(&config).await.context("open the queue")?;
    let password = device_password(&*store).await.context("make a device password")?;
    let (alice, scanner) =
        (Client { login: ALICE, password: ALICES }, Client { login: SCANNER, password: password.expose() });
    let app = App::with_store(config, store).await.context("listen")?;
    let stop = app.stop();
    tokio::spawn(run::stop_on_signal(stop.clone()));
    let serving = tokio::spawn(app.serve());

    fs::write(directory.join(EWS_REQUEST), web::FIND_ITEM).context("write a request for EWS")?;
    page::around(&sandbox, &file);
    page::accounts(&alice, &scanner, PAT);
    let shown = async {
        show(&sandbox, &ports, &alice, &scanner).await?;
        show_queue(&sandbox, &ports, &queue, &file).await
    };
    if let Err(error) = shown.await {
        stop.now();
        return Err(error);
    }
    page::closing(&ports, &alice, &scanner, &directory.join(EWS_REQUEST));
    #[cfg(unix)]
    {
        let port = |wanted| free(wanted).or_else(|_| free(0));
        let tenant = Tenant::write(directory, &sandbox, &authority, [port(2143)?, port(2587)?])?;
        page::tenant(&sandbox, &tenant, SCANNER);
        show_status_page(&directory.join(SOCKET)).await?;
    }
    page::sign_in(&Client { login: PAT, password: PATS }, &file);
    page::last();
    serving.await.context("serve")?;
    sandbox.shutdown().await;
    Ok(DONE)
}

/// Shows a link to the status page, as `gatepost status` prints it.
#[cfg(unix)]
async fn show_status_page(socket: &Path) -> anyhow::Result<()> {
    let link = status::ask(&[socket.to_path_buf()], hyper::Method::POST, "/link", "text/plain").await;
    page::status_page(socket, &link.context("make a link to the status page")?);
    Ok(())
}

/// Shows one login and one message per protocol, with plain passwords or none, like an old program.
async fn show(sandbox: &Sandbox, ports: &Ports, alice: &Client<'_>, scanner: &Client<'_>) -> anyhow::Result<()> {
    let requests = |grant, of| sandbox.counters().token_requests_of(grant, of).succeeded;
    let of_application = || requests("client_credentials", sandbox.confidential_client_id());
    let logins = |service, mailbox| sandbox.counters().logins_of(service, mailbox).succeeded;

    page::heading("SMTP", ports.smtp, "a scanner sends Alice a message, with its device password");
    client::send(ports.smtp, scanner, ALICE).await.context("send a message over SMTP")?;
    page::behind(of_application(), logins(Service::Smtp, SCANNER), "XOAUTH2 login", "SMTP");

    page::heading(
        "SMTP",
        ports.device,
        "an alarm system that cannot even log in sends her one, through Microsoft Graph",
    );
    let alarm = client::send_without_login(ports.device, SCANNER, ALICE, client::ALARM);
    alarm.await.context("send a message without a login")?;
    page::behind(of_application(), sent_by_graph(sandbox), "message", "Graph");

    page::heading("IMAP", ports.imap, "Alice's old mail program reads it, with the password that Entra knows");
    client::read_by_imap(ports.imap, alice).await.context("read a message over IMAP")?;
    page::behind(requests("password", ALICE), logins(Service::Imap, ALICE), "XOAUTH2 login", "IMAP");

    page::heading("POP3", ports.pop3, "an older one fetches it");
    client::read_by_pop3(ports.pop3, alice).await.context("read a message over POP3")?;
    page::behind(requests("password", ALICE), logins(Service::Pop3, ALICE), "XOAUTH2 login", "POP3");

    let calls = |service| {
        let calls = sandbox.counters().calls;
        calls.iter().filter(|((of, mailbox, _), _)| *of == service && mailbox == ALICE).map(|(_, count)| count).sum()
    };
    page::heading("EWS", ports.ews, "an add-on for Exchange lists the inbox");
    web::list_by_ews(ports.ews, alice).await.context("list messages over EWS")?;
    page::behind(requests("password", ALICE), calls(Service::Ews), "call with a token", "EWS");

    page::heading("Graph", ports.graph, "a script does the same");
    web::list_by_graph(ports.graph, alice).await.context("list messages over Graph")?;
    page::behind(requests("password", ALICE), calls(Service::Graph), "call with a token of its own", "Graph");
    Ok(())
}

/// Returns how many messages the scanner's mailbox has sent through Graph.
fn sent_by_graph(sandbox: &Sandbox) -> u64 {
    sandbox.counters().submissions_of(Service::Graph, SCANNER).succeeded
}

/// Shows a message that waits until Microsoft 365 is back.
async fn show_queue(sandbox: &Sandbox, ports: &Ports, queue: &Queue, configuration: &Path) -> anyhow::Result<()> {
    page::heading("SMTP", ports.queue, "it sends another while Microsoft 365 is away, to a listener with a queue");
    page::step("Microsoft 365 answers every call with 503 now");
    sandbox.fail_http(Service::Graph, "", HttpFault::status(503), usize::MAX);
    let sent = sent_by_graph(sandbox);
    let alarm = client::send_without_login(ports.queue, SCANNER, ALICE, client::ALARM_IN_OUTAGE);
    let reply = alarm.await.context("send a message to the queue")?;
    let id: QueueId = reply
        .split_once("Queued as ")
        .and_then(|(_, rest)| rest.split_ascii_whitespace().next()?.parse().ok())
        .context("the reply names no message of the queue")?;
    let note = soon(async || queue.show(id).await.ok().flatten()?.note).await.context("try to deliver")?;
    page::step(&format!("it waits on the disk, encrypted: {}", note.what));
    page::step(&format!("see it with `gatepost queue list --config {}`", configuration.display()));

    sandbox.clear_http_faults(Service::Graph);
    page::step(
        "Microsoft 365 is back. Gatepost tries again within half a minute, or at once with `gatepost queue retry`",
    );
    queue.retry(id).await.context("retry")?;
    let delivered =
        soon(async || (sent_by_graph(sandbox) > sent && queue.show(id).await.ok()?.is_none()).then_some(()));
    delivered.await.context("deliver the message of the queue")?;
    page::step("delivered, and gone from the queue\n");
    Ok(())
}

/// Waits until there is something.
async fn soon<T>(mut there: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let look = async {
        loop {
            if let Some(found) = there().await {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    Ok(timeout(PATIENCE, look).await?)
}

/// Opens the queue of the configuration, as `gatepost queue` does.
async fn open_queue(config: &Config) -> anyhow::Result<Queue> {
    let (Some(queue), State::Sqlite { key, .. }) = (&config.queue, &config.state) else {
        bail!("the configuration has none");
    };
    Ok(Queue::open(&queue.directory, queue.size, key, Clock::system()).await?)
}

/// Creates the password as
/// `gatepost password add scanner@contoso.example --name "Scanner, 3rd floor" --protocol smtp`
/// does.
async fn device_password(store: &dyn Store) -> anyhow::Result<Password> {
    let order = Order {
        login: MailAddress::parse(SCANNER)?,
        name: DEVICE.to_owned(),
        protocols: vec![Protocol::Smtp],
        from: Vec::new(),
        expires_at: None,
    };
    Ok(issue::generate(store, order, Clock::system().unix_time()).await?.1)
}

/// Returns the configuration of the demonstration: a realistic one, with other hosts.
fn configuration(sandbox: &Sandbox, ports: &Ports, tenant: &str) -> String {
    format!(
        "# The configuration of `gatepost demo`. For a real tenant leave out `authority`, `trust`, each `upstream` and `graph: localhost`.\n\
         listeners:\n  \
           imap: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           pop3: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           smtp: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           ews: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           graph: {{bind: \"127.0.0.1:{}\", upstream: \"localhost:{}\"}}\n  \
           # Devices that cannot log in; where SMTP AUTH is disabled, too.\n  \
           devices:\n    \
             protocol: smtp\n    \
             bind: 127.0.0.1:{}\n    \
             deliver: graph\n    \
             graph: localhost:{}\n    \
             trusted_senders: [{{from: 127.0.0.1, login: {SCANNER}}}]\n  \
           # The same, for devices that do not try again.\n  \
           queue:\n    \
             protocol: smtp\n    \
             bind: 127.0.0.1:{}\n    \
             deliver: graph\n    \
             graph: localhost:{}\n    \
             queue: true\n    \
             trusted_senders: [{{from: 127.0.0.1, login: {SCANNER}}}]\n\
         microsoft:\n  \
           authority: {}\n  \
           tenant: {tenant}\n  \
           client_id: {}\n  \
           grant: password\n\
         accounts:\n  \
           - login: \"*@contoso.example\"\n  \
           - login: {SCANNER}\n    \
             grant: client_credentials\n    \
             client_id: {}\n    \
             client_secret: sandbox-secret\n  \
           # Everybody there, because a single account would be missed until it signs in.\n  \
           - {{login: \"*@outlook.example\", tenant: consumers, grant: authorization_code}}\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n\
         state: {{directory: state}}\n\
         admin: {{bind: \"127.0.0.1:{}\", socket: {SOCKET}}}\n",
        ports.imap,
        sandbox.imap().port(),
        ports.pop3,
        sandbox.pop3().port(),
        ports.smtp,
        sandbox.smtp().port(),
        ports.ews,
        sandbox.ews().port(),
        ports.graph,
        sandbox.graph().port(),
        ports.device,
        sandbox.graph().port(),
        ports.queue,
        sandbox.graph().port(),
        sandbox.authority(),
        sandbox.public_client_id(),
        sandbox.confidential_client_id(),
        ports.admin,
    )
}

/// Returns eight ports: from `base` on, or the usual ones, each replaced by a free one if it is
/// taken.
fn ports(base: Option<u16>) -> io::Result<Ports> {
    let wanted = match base {
        Some(base) => [0, 1, 2, 3, 4, 5, 6, 7].map(|offset: u16| base.checked_add(offset)),
        None => PORTS.map(Some),
    };
    let port = |wanted: Option<u16>| match wanted.map(free) {
        Some(Err(error)) if base.is_some() => Err(error),
        Some(Ok(port)) => Ok(port),
        _ => free(0),
    };
    let [imap, pop3, smtp, ews, graph, device, queue, admin] = wanted.map(port);
    Ok(Ports {
        imap: imap?,
        pop3: pop3?,
        smtp: smtp?,
        ews: ews?,
        graph: graph?,
        device: device?,
        queue: queue?,
        admin: admin?,
    })
}

/// Returns a port that is free on both loopback addresses; any for 0. It is only found here, and
/// the service binds it again.
fn free(port: u16) -> io::Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(port),
    }
}
