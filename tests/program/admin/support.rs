//! A Gatepost with a page, in front of an embedded Microsoft 365.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use gatepost::app::App;
use gatepost::daemon::{Inherited, Source, StartError, Stop};
use gatepost_config::{Config, Files};
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use gatepost_store::{MemoryStore, Store};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::admin::http::Browser;
use crate::common::directory::Directory;
use crate::common::outside::Outside;
use crate::common::wait::{PATIENCE, until};

pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const ALICES: &str = "correct-horse-battery";
/// Signs in once, in a browser.
pub(crate) const ANNA: &str = "anna@contoso.example";
pub(crate) const ANNAS: &str = "anna's secret";
pub(crate) const TOKEN: &str = "3xhEwCwvyTtjNnH0gXhTQd1p";

/// A running Gatepost.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) imap: SocketAddr,
    pub(crate) listeners: BTreeMap<String, SocketAddr>,
    pub(crate) page: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) stop: Stop,
    pub(crate) serving: JoinHandle<usize>,
    pub(crate) store: Arc<MemoryStore>,
    _directory: Directory,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With further accounts.
    pub(crate) async fn with(accounts: &str) -> Self {
        Self::start("127.0.0.1:0", accounts).await.unwrap()
    }

    /// With the page at an address.
    pub(crate) async fn start(bind: &str, accounts: &str) -> Result<Self, StartError> {
        Self::start_with(bind, accounts, &mut Inherited::default()).await
    }

    /// With sockets that are open already.
    pub(crate) async fn start_with(bind: &str, accounts: &str, inherited: &mut Inherited) -> Result<Self, StartError> {
        Self::run(bind, "", accounts, inherited, None).await
    }

    /// With further listeners.
    pub(crate) async fn with_listeners(listeners: &str) -> Self {
        Self::run("127.0.0.1:0", listeners, "", &mut Inherited::default(), None).await.unwrap()
    }

    /// With a place from which reloads read the configuration.
    pub(crate) async fn with_source(source: Source) -> Self {
        Self::run("127.0.0.1:0", "", "", &mut Inherited::default(), Some(source)).await.unwrap()
    }

    async fn run(
        bind: &str,
        listeners: &str,
        accounts: &str,
        inherited: &mut Inherited,
        source: Option<Source>,
    ) -> Result<Self, StartError> {
        Self::run_before(microsoft().await, bind, (listeners, accounts), inherited, source).await
    }

    /// In front of a Microsoft 365 that was started before.
    pub(crate) async fn before(sandbox: Sandbox, accounts: &str) -> Self {
        Self::run_before(sandbox, "127.0.0.1:0", ("", accounts), &mut Inherited::default(), None).await.unwrap()
    }

    async fn run_before(
        sandbox: Sandbox,
        bind: &str,
        (listeners, accounts): (&str, &str),
        inherited: &mut Inherited,
        source: Option<Source>,
    ) -> Result<Self, StartError> {
        let directory = Directory::new();
        let socket = directory.file("gatepost.sock");
        let config = config(&sandbox, &socket, bind, listeners, accounts);
        let store = Arc::new(MemoryStore::default());
        let app = App::with_sockets(config, Arc::clone(&store) as Arc<dyn Store>, inherited).await?;
        let app = match source {
            Some(source) => app.with_source(source, Files::default()),
            None => app,
        };
        let listeners: BTreeMap<_, _> =
            app.addresses().iter().map(|(service, at)| (service.listener.name.to_string(), *at)).collect();
        let imap = listeners["imap"];
        let page = app.admin_addresses()[0];
        let stop = app.stop();
        let serving = tokio::spawn(app.serve());
        until("the socket is there", async || socket.exists()).await;
        Ok(Self { sandbox, imap, listeners, page, socket, stop, serving, store, _directory: directory })
    }

    /// Somebody whose browser has a session.
    pub(crate) async fn visitor(&self) -> Browser {
        let browser = Browser::new(self.page);
        let answer = browser.post("/login", &[("token", TOKEN)]).await;
        assert_eq!((answer.status, answer.field("location")), (303, Some(&*browser.at("/"))), "{answer:?}");
        browser
    }

    /// A mail program that has logged in, or what it was told instead.
    pub(crate) async fn imap(&self, user: &str, password: &str) -> Result<Imap, String> {
        let mut imap = Imap(BufReader::new(TcpStream::connect(self.imap).await.unwrap()));
        imap.line().await;
        let reply = imap.ask(&format!("LOGIN {user} \"{password}\"")).await;
        if reply.starts_with("a OK") { Ok(imap) } else { Err(reply) }
    }
}

/// A Microsoft 365 with Alice and Anna.
pub(crate) async fn microsoft() -> Sandbox {
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(ANNA, ANNAS)];
    Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await.unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.now();
    }
}

/// A mail program.
pub(crate) struct Imap(BufReader<TcpStream>);

impl Imap {
    /// The next line; empty when there is none.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("nothing comes");
        // A connection that breaks has ended all the same.
        if read.is_ok() { line } else { String::new() }
    }

    /// The final reply to a command.
    pub(crate) async fn ask(&mut self, command: &str) -> String {
        let _ended = self.0.get_mut().write_all(format!("a {command}\r\n").as_bytes()).await;
        loop {
            let line = self.line().await;
            if line.starts_with("a ") || line.is_empty() {
                return line;
            }
        }
    }
}

/// A link to the page, as `gatepost status` gets one: what is asked for, and the secret in it.
pub(crate) async fn link(world: &World) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["status", "--page", "--socket"]).arg(&world.socket).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let link = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    let secret = link.split_once("/enter?link=").unwrap_or_else(|| panic!("{link}")).1.to_owned();
    (link, secret)
}

fn config(sandbox: &Sandbox, socket: &Path, bind: &str, listeners: &str, accounts: &str) -> Config {
    let yaml = format!(
        "listeners:\n  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{imap}'}}\n{listeners}\
         microsoft: {{authority: 'https://localhost:{entra}/', tenant: contoso.example, client_id: {client}}}\n\
         accounts:\n  - login: '*'\n  - {{login: {ANNA}, grant: authorization_code}}\n{accounts}\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n\
         limits: {{failure_delay: 0s, token_request: 5s, token_total: 5s}}\n\
         log: {{audit: {{file: '{audit}'}}}}\n\
         admin: {{bind: '{bind}', token: {TOKEN}, socket: '{socket}'}}\n",
        audit = socket.with_file_name("audit.jsonl").display(),
        listeners = listeners
            .replace("{smtp}", &sandbox.smtp().port().to_string())
            .replace("{graph}", &sandbox.graph().port().to_string()),
        imap = sandbox.imap().port(),
        entra = sandbox.entra().port(),
        client = sandbox.public_client_id(),
        socket = socket.display(),
    );
    let outside = Outside { authorities: sandbox.ca_pem().to_owned(), ..Outside::default() };
    outside.load(Path::new("proxy.yaml"), &yaml).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
}
