//! A Gatepost between a sandbox and clients that a test writes by hand, with its log in memory.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::app::App;
use gatepost::daemon::phase::{NotReloaded, Reloaded};
use gatepost::daemon::{Control, Stop};
use gatepost_config::load::Loaded;
use gatepost_config::{Config, Files, Log, LogFormat};
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig, Service};
use gatepost_store::MemoryStore;
use gatepost_telemetry::log;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::common::outside::Outside;
use crate::common::wait::{self, PATIENCE};

pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const ALICES: &str = "correct-horse-battery";
pub(crate) const BOB: &str = "bob@contoso.example";
pub(crate) const BOBS: &str = "staple-of-the-other-one";
pub(crate) const PROTOCOLS: [MailProtocol; 3] = [MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp];

/// Where the configuration would stand.
const FILE: &str = "proxy.yaml";

/// What a test wants other than usual.
pub(crate) struct Setup {
    pub(crate) sandbox: SandboxConfig,
    /// The section `listeners`; `{imap}` and so on stand for the sandbox's ports.
    pub(crate) listeners: String,
    /// Further lines of `microsoft`; a key given here replaces the usual one.
    pub(crate) microsoft: &'static str,
    /// The section `accounts`.
    pub(crate) accounts: String,
    /// Further lines of `limits`.
    pub(crate) limits: &'static str,
    /// Further sections.
    pub(crate) sections: String,
    /// The environment; `{identity}` and `{header}` stand for the sandbox's endpoint of managed
    /// identities.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// Further authorities to trust, as PEM.
    pub(crate) trust: String,
    pub(crate) format: LogFormat,
    /// Loopback is a source as any other.
    pub(crate) penalise_loopback: bool,
    /// What outlives the process.
    pub(crate) store: Arc<MemoryStore>,
}

impl Default for Setup {
    /// Alice and Bob, a plain listener for each protocol, passwords proved by Entra, and no delay
    /// after a failure.
    fn default() -> Self {
        Self {
            sandbox: SandboxConfig {
                accounts: vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)],
                ..SandboxConfig::default()
            },
            listeners: "
  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}'}
  pop3: {bind: '127.0.0.1:0', upstream: 'localhost:{pop3}'}
  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}'}"
                .to_owned(),
            microsoft: "",
            accounts: "\n  - login: '*'".to_owned(),
            limits: "",
            sections: String::new(),
            variables: Vec::new(),
            trust: String::new(),
            format: LogFormat::Text,
            penalise_loopback: false,
            store: Arc::default(),
        }
    }
}

impl Setup {
    pub(crate) fn limits(limits: &'static str) -> Self {
        Self { limits, ..Self::default() }
    }

    fn yaml(&self, sandbox: &Sandbox) -> String {
        let mut microsoft = String::new();
        for (key, value) in [
            ("authority", "https://localhost:{entra}/"),
            ("tenant", "contoso.example"),
            ("client_id", "{public}"),
            ("grant", "password"),
        ] {
            if !self.microsoft.lines().any(|line| line.trim_start().starts_with(key)) {
                microsoft.push_str(&format!("  {key}: {value}\n"));
            }
        }
        let Self { listeners, accounts, limits, sections, .. } = self;
        let yaml = format!(
            "listeners:{listeners}\n\
             microsoft:\n{microsoft}{}\n\
             accounts:{accounts}\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             limits:\n  failure_delay: 0s\n{limits}\n\
             log: {{level: trace}}\n\
             {sections}\n",
            self.microsoft,
        );
        yaml.replace("{imap}", &sandbox.imap().port().to_string())
            .replace("{pop3}", &sandbox.pop3().port().to_string())
            .replace("{smtp}", &sandbox.smtp().port().to_string())
            .replace("{ews}", &sandbox.ews().port().to_string())
            .replace("{graph}", &sandbox.graph().port().to_string())
            .replace("{entra}", &sandbox.entra().port().to_string())
            .replace("{public}", sandbox.public_client_id())
            .replace("{confidential}", sandbox.confidential_client_id())
    }

    /// The configuration of a Gatepost in front of `sandbox`.
    pub(crate) fn config(&self, sandbox: &Sandbox) -> Config {
        let yaml = self.yaml(sandbox);
        self.outside(sandbox).load(Path::new(FILE), &yaml).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
    }

    fn outside(&self, sandbox: &Sandbox) -> Outside {
        let fill = |text: &str| {
            text.replace("{identity}", &sandbox.identity().to_string()).replace("{header}", sandbox.identity_header())
        };
        Outside {
            authorities: format!("{}{}", sandbox.ca_pem(), self.trust),
            variables: self.variables.iter().map(|(name, value)| ((*name).to_owned(), fill(value))).collect(),
        }
    }

    /// Starts everything, and waits until the upstreams' lists have been asked for: what connects
    /// to the sandbox from then on is a login.
    pub(crate) async fn start(self) -> World {
        self.start_with(|_| {}).await
    }

    /// The same; `meet` gets to see the sandbox before Gatepost does.
    pub(crate) async fn start_with(mut self, meet: impl FnOnce(&Sandbox)) -> World {
        let sandbox = Sandbox::start(std::mem::take(&mut self.sandbox)).await.unwrap();
        meet(&sandbox);
        self.start_at(sandbox).await
    }

    /// The same with a sandbox that has been started.
    pub(crate) async fn start_at(self, sandbox: Sandbox) -> World {
        let config = self.config(&sandbox);
        let log = Captured::default();
        let form = Log { format: self.format, level: tracing::Level::TRACE, audit: None };
        let writer = log.clone();
        let subscriber = log::subscriber(&form, false, move || writer.clone()).unwrap();
        let capturing = tracing::subscriber::set_default(subscriber);

        prepare(&config);
        let app = App::with_store(config, Arc::clone(&self.store) as _).await.unwrap();
        let upstreams: HashSet<_> =
            app.addresses().iter().filter_map(|(service, _)| service.listener.mail_server().cloned()).collect();
        let listeners = app.addresses().iter().map(|(service, at)| (service.listener.name.to_string(), *at)).collect();
        if self.penalise_loopback {
            app.penalise_loopback();
        }
        let stop = app.stop();
        let yaml = Arc::new(Mutex::new(self.yaml(&sandbox)));
        let (text, outside) = (Arc::clone(&yaml), self.outside(&sandbox));
        let source =
            move || Loaded { config: outside.load(Path::new(FILE), &text.lock().unwrap()), files: Files::default() };
        let app = app.with_source(Arc::new(source), Files::default());
        let control = app.control();
        let serving = tokio::spawn(app.serve());
        let store = self.store;
        let world = World { sandbox, listeners, stop, control, yaml, serving, log, store, _capturing: capturing };
        let asked = ["learned what the upstream announces", "could not learn what the upstream announces"];
        world
            .until("the upstreams were asked", || {
                world.log.lines(|line| asked.iter().any(|said| line.contains(said))).len() >= upstreams.len()
            })
            .await;
        world
            .until("nobody is connected", || world.sandbox.counters().open_connections.values().all(|n| *n == 0))
            .await;
        world
    }
}

/// Raises the limit of open files, once: the process is shared by all tests.
fn prepare(config: &Config) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(gatepost::system::process::prepare(&config.limits)));
}

/// Everything that was logged.
#[derive(Clone, Default)]
pub(crate) struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    trap: Arc<Mutex<Option<&'static str>>>,
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        let trap = self.trap.lock().unwrap().take_if(|words| String::from_utf8_lossy(bytes).contains(*words));
        match trap {
            Some(words) => panic!("the test wants a panic at `{words}`"),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Lets whatever logs these words next panic, once, as by a fault of Gatepost.
    pub(crate) fn panic_at(&self, words: &'static str) {
        *self.trap.lock().unwrap() = Some(words);
    }

    pub(crate) fn lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        String::from_utf8(self.bytes()).unwrap().lines().filter(|line| wanted(line)).map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        !self.lines(|line| line.contains(text)).is_empty()
    }
}

/// A running Gatepost. The runtime of the test must be the single-threaded one, or else its log is
/// not seen.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    listeners: BTreeMap<String, SocketAddr>,
    pub(crate) stop: Stop,
    pub(crate) control: Control,
    /// What a reload reads.
    yaml: Arc<Mutex<String>>,
    pub(crate) serving: JoinHandle<usize>,
    pub(crate) log: Captured,
    pub(crate) store: Arc<MemoryStore>,
    _capturing: tracing::subscriber::DefaultGuard,
}

impl World {
    pub(crate) async fn new() -> Self {
        Setup::default().start().await
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    /// Changes the text of the configuration, and lets the service read it.
    pub(crate) async fn reload(&self, edit: impl FnOnce(&str) -> String) -> Result<Reloaded, NotReloaded> {
        {
            let mut yaml = self.yaml.lock().unwrap();
            *yaml = edit(&yaml);
        }
        self.control.reload().await
    }

    /// A client that has heard the greeting, and said EHLO where that is the custom.
    pub(crate) async fn client(&self, protocol: MailProtocol) -> Client {
        let mut client = Client::connect(self.address(protocol.name()), protocol).await;
        client.greet().await;
        client
    }

    /// A client that has logged in.
    pub(crate) async fn session(&self, protocol: MailProtocol, user: &str, password: &str) -> Client {
        let mut client = self.client(protocol).await;
        let reply = client.log_in(user, password).await;
        assert!(is_accepted(protocol, &reply), "{protocol:?}: {reply}");
        client
    }

    /// One login on a connection of its own.
    pub(crate) async fn reply(&self, protocol: MailProtocol, user: &str, password: &str) -> String {
        self.client(protocol).await.log_in(user, password).await
    }

    /// A login ends in exactly this refusal, and the log says why.
    pub(crate) async fn refuses(
        &self,
        protocol: MailProtocol,
        user: &str,
        password: &str,
        refusal: Refusal,
        cause: &str,
    ) {
        let reply = self.reply(protocol, user, password).await;
        self.was_refused(protocol, &reply, refusal, cause);
    }

    /// The reply is exactly this refusal, and the log says why.
    pub(crate) fn was_refused(&self, protocol: MailProtocol, reply: &str, refusal: Refusal, cause: &str) {
        let (words, session) = told(reply);
        assert_eq!(words, refused_words(protocol, refusal), "{protocol:?}, for {cause}");
        let of_session = format!("session={session}");
        let lines = self.log.lines(|line| line.contains(&of_session) && line.contains("outcome=refused"));
        let line = lines.last().unwrap_or_else(|| panic!("no line for {reply}"));
        assert!(line.contains(&format!(" cause={cause} ")), "{cause} is wanted: {line}");
        let labels = ["Device owner", "Gatepost admin", "Microsoft 365 admin", "Network admin", "No action needed"];
        let remedy = labels.iter().find_map(|label| line.split_once(&format!(". {label}: ")));
        let (what, remedy) = remedy.unwrap_or_else(|| panic!("no remedy: {line}"));
        assert!(what.contains("login refused: ") && !remedy.is_empty(), "{line}");
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn() -> bool) {
        until(what, so).await;
    }

    /// TCP connections that the upstreams have seen.
    pub(crate) fn upstream_connections(&self) -> u64 {
        self.sandbox.counters().connections.values().sum()
    }
}

pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    wait::until(what, async || so()).await;
}

pub(crate) fn service(protocol: MailProtocol) -> Service {
    match protocol {
        MailProtocol::Imap => Service::Imap,
        MailProtocol::Pop3 => Service::Pop3,
        MailProtocol::Smtp => Service::Smtp,
    }
}

/// The words of a refusal, and the name of the session behind them.
pub(crate) fn told(reply: &str) -> (&str, &str) {
    let (words, session) = reply.split_once(" (session ").unwrap_or_else(|| panic!("no session is named: {reply}"));
    (words, session.strip_suffix(')').unwrap())
}

/// What a client is told, by kind of refusal. That a passing fault never looks like a wrong
/// password is what keeps mail programs from forgetting the right one.
pub(crate) fn refused_words(protocol: MailProtocol, refusal: Refusal) -> String {
    let [imap, pop3, smtp, words] = match refusal {
        Refusal::InvalidCredentials => {
            ["NO [AUTHENTICATIONFAILED]", "-ERR [AUTH]", "535 5.7.8", "Invalid user name or password"]
        }
        Refusal::NotAuthorized => {
            ["NO [AUTHORIZATIONFAILED]", "-ERR [AUTH]", "535 5.7.8", "Not allowed to use this mailbox"]
        }
        Refusal::ContactAdmin => [
            "NO [CONTACTADMIN]",
            "-ERR [SYS/PERM]",
            "454 4.7.0",
            "An administrator needs to fix this. Your password is not the problem",
        ],
        Refusal::Unavailable => {
            ["NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "454 4.7.0", "Temporarily unavailable, try again later"]
        }
        Refusal::Limit => {
            ["NO [LIMIT]", "-ERR [IN-USE]", "454 4.7.0", "Too many connections to this mailbox, try again later"]
        }
        Refusal::ServerBug => ["NO [SERVERBUG]", "-ERR [SYS/TEMP]", "451 4.3.0", "Internal error, try again later"],
    };
    match protocol {
        MailProtocol::Imap => format!("a {imap} {words}"),
        MailProtocol::Pop3 => format!("{pop3} {words}"),
        MailProtocol::Smtp => format!("{smtp} {words}"),
    }
}

pub(crate) fn is_accepted(protocol: MailProtocol, reply: &str) -> bool {
    reply.starts_with(match protocol {
        MailProtocol::Imap => "a OK",
        MailProtocol::Pop3 => "+OK",
        MailProtocol::Smtp => "235 ",
    })
}

/// The message of PLAIN (RFC 4616 §2).
pub(crate) fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// The message of XOAUTH2.
pub(crate) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"))
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A mail program that says what it is told to say.
pub(crate) struct Client {
    pub(crate) protocol: MailProtocol,
    stream: BufReader<Box<dyn Duplex>>,
    /// Everything that it has heard.
    pub(crate) heard: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, protocol: MailProtocol) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket, protocol)
    }

    pub(crate) fn over(stream: impl Duplex + 'static, protocol: MailProtocol) -> Self {
        Self { protocol, stream: BufReader::new(Box::new(stream)), heard: Vec::new() }
    }

    /// Sends bytes as they are. That the other side has closed already is no error: it shows when
    /// reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        let _closed = tokio::time::timeout(PATIENCE, sending).await.expect("nobody takes what is sent");
    }

    /// Ends the client's direction.
    pub(crate) async fn finish(&mut self) {
        let _closed = self.stream.shutdown().await;
    }

    /// The next line without its end; `None` when there is none.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        // A connection that breaks has ended all the same.
        let _broke = tokio::time::timeout(PATIENCE, self.stream.read_until(b'\n', &mut line))
            .await
            .unwrap_or_else(|_| panic!("nothing comes after {:?}", String::from_utf8_lossy(&self.heard)));
        self.heard.extend_from_slice(&line);
        let text = String::from_utf8(line).unwrap();
        (!text.is_empty()).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// All that still comes until the other side closes.
    pub(crate) async fn rest(&mut self) -> String {
        String::from_utf8(self.rest_octets().await).unwrap()
    }

    /// The same, whatever it is.
    pub(crate) async fn rest_octets(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _broke = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .unwrap_or_else(|_| panic!("it is not closed after {:?}", String::from_utf8_lossy(&self.heard)));
        self.heard.extend_from_slice(&rest);
        rest
    }

    /// Says a line and hears until one begins with `end`, which is the result.
    pub(crate) async fn ask(&mut self, line: &str, end: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.hear(end).await
    }

    /// Hears until a line begins with `end`, which is the result.
    pub(crate) async fn hear(&mut self, end: &str) -> String {
        loop {
            let line = self.line().await;
            let line =
                line.unwrap_or_else(|| panic!("closed before `{end}`: {}", String::from_utf8_lossy(&self.heard)));
            if line.starts_with(end) {
                return line;
            }
        }
    }

    pub(crate) async fn greet(&mut self) {
        match self.protocol {
            MailProtocol::Imap => drop(self.hear("* OK").await),
            MailProtocol::Pop3 => drop(self.hear("+OK").await),
            MailProtocol::Smtp => {
                self.hear("220 ").await;
                self.ask("EHLO client.example", "250 ").await;
            }
        }
    }

    /// The final reply to a login in the plainest way of the protocol.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) -> String {
        match self.protocol {
            MailProtocol::Imap => self.ask(&format!("a LOGIN {user} \"{password}\""), "a ").await,
            MailProtocol::Pop3 => {
                self.ask(&format!("USER {user}"), "+OK").await;
                self.ask(&format!("PASS {password}"), "").await
            }
            MailProtocol::Smtp => self.ask(&format!("AUTH PLAIN {}", plain(user, password)), "").await,
        }
    }

    /// The mailbox answers.
    pub(crate) async fn works(&mut self) {
        match self.protocol {
            MailProtocol::Imap => self.ask("n NOOP", "n OK").await,
            MailProtocol::Pop3 => self.ask("STAT", "+OK").await,
            MailProtocol::Smtp => self.ask("NOOP", "250 ").await,
        };
    }

    /// TLS from here on.
    pub(crate) async fn start_tls(self, ca_pem: &str) -> Self {
        self.try_tls(ca_pem).await.unwrap()
    }

    /// The same, where it may fail.
    pub(crate) async fn try_tls(self, ca_pem: &str) -> io::Result<Self> {
        let Self { protocol, stream, heard } = self;
        assert!(stream.buffer().is_empty());
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = connector(ca_pem).connect(name, stream.into_inner());
        let stream = tokio::time::timeout(PATIENCE, connecting).await.unwrap()?;
        Ok(Self { protocol, stream: BufReader::new(Box::new(stream)), heard })
    }
}

pub(crate) fn connector(ca_pem: &str) -> TlsConnector {
    offering(ca_pem, &[])
}

/// The same, with these names of protocols on offer (RFC 7301).
pub(crate) fn offering(ca_pem: &str, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config =
        ClientConfig::builder_with_provider(gatepost_net::tls::provider()).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}
