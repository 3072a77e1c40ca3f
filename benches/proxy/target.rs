//! What is measured: Gatepost, the peers, and the direct connection that all of them are compared
//! with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::{Client, Dialogue};
use crate::machine::Cpus;
use crate::pki::Pki;
use crate::process::Process;

/// The mailboxes of everyday work. Bursts on a cold cache make up new ones.
pub(crate) const USERS: [&str; 1] = ["user@contoso.com"];

/// The domain of the logins whose password Gatepost itself verifies. Each name costs a hash once.
pub(crate) const DEVICES: &str = "devices.example";
/// The Argon2id hash of [`client::PASSWORD`](crate::client::PASSWORD), as `gatepost password hash`
/// makes them.
const DEVICE_HASH: &str =
    "$argon2id$v=19$m=32768,t=2,p=1$KgfDAuoDQLGHT8h11PN24A$tYpZAcLNLSyt+IovY/grTd+fZ1YrtRLqbBhSrAfMEsk";

/// A way from the client to the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Straight to the backend, with TLS and a token.
    Direct,
    /// Gatepost, plain towards the client.
    Gatepost,
    /// Gatepost with implicit TLS towards the client.
    GatepostTls,
    /// A TCP proxy that adds TLS; the client brings the token.
    Haproxy,
    /// The same.
    Nginx,
    /// The same.
    Stunnel,
    /// A mail proxy; every login goes upstream with the same configured token.
    Dovecot,
    /// The same kind of proxy as Gatepost.
    EmailProxy,
    /// HAProxy with TLS towards the client as well.
    HaproxyTls,
    /// nginx with TLS towards the client as well.
    NginxTls,
    /// Two services of stunnel, one behind the other: it has TLS on one side only.
    StunnelTls,
}

/// Where a target gets what it needs.
pub(crate) struct Setup {
    /// Certificates.
    pub(crate) pki: Pki,
    /// The mailbox.
    pub(crate) backend: SocketAddr,
    /// The token endpoint.
    pub(crate) entra: SocketAddr,
    /// For configuration files and output.
    pub(crate) directory: PathBuf,
    /// Where the proxies run.
    pub(crate) cpus: Cpus,
}

/// A target that answers.
pub(crate) struct Running {
    /// None for the direct connection.
    pub(crate) process: Option<Process>,
    /// The load generator's side of it.
    pub(crate) client: Client,
    /// From its start to its first greeting.
    pub(crate) until_greeting: Duration,
}

impl Target {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 11] = [
        Self::Direct,
        Self::Gatepost,
        Self::Haproxy,
        Self::Nginx,
        Self::Stunnel,
        Self::Dovecot,
        Self::EmailProxy,
        Self::GatepostTls,
        Self::HaproxyTls,
        Self::NginxTls,
        Self::StunnelTls,
    ];

    /// As on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gatepost => "gatepost",
            Self::GatepostTls => "gatepost-tls",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx-stream",
            Self::Stunnel => "stunnel",
            Self::Dovecot => "dovecot",
            Self::EmailProxy => "email-oauth2-proxy",
            Self::HaproxyTls => "haproxy-tls",
            Self::NginxTls => "nginx-stream-tls",
            Self::StunnelTls => "stunnel-tls",
        }
    }

    /// Those with TLS towards the client, which the direct connection has, too.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Direct | Self::GatepostTls | Self::HaproxyTls | Self::NginxTls | Self::StunnelTls)
    }

    /// Gatepost: it asks the token endpoint, so that a cold cache means something.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Gatepost | Self::GatepostTls)
    }

    /// The program, or why there is none.
    pub(crate) fn program(self) -> Result<PathBuf, String> {
        let installed =
            |names: &[&str]| names.iter().find_map(|name| find_program(name)).ok_or_else(|| "not installed".to_owned());
        match self {
            Self::Direct => Ok(PathBuf::new()),
            Self::Gatepost | Self::GatepostTls => Ok(PathBuf::from(env!("CARGO_BIN_EXE_gatepost"))),
            Self::Haproxy | Self::HaproxyTls => installed(&["haproxy"]),
            Self::Nginx | Self::NginxTls => {
                let program = installed(&["nginx"])?;
                match nginx_stream_module(&program) {
                    Some(_) => Ok(program),
                    None => Err("installed without its stream module".to_owned()),
                }
            }
            Self::Stunnel | Self::StunnelTls => installed(&["stunnel4", "stunnel"]),
            Self::Dovecot => installed(&["dovecot"]).and_then(|program| {
                // Its login processes run under users of their own.
                if rustix::process::geteuid().is_root() { Ok(program) } else { Err("needs root".to_owned()) }
            }),
            Self::EmailProxy => match std::env::var_os("EMAILPROXY") {
                Some(program) if Path::new(&program).is_file() => Ok(program.into()),
                Some(program) => Err(format!("`{}` does not exist", program.display())),
                None => installed(&["emailproxy"]),
            },
        }
    }

    /// Starts it and waits for its greeting.
    pub(crate) async fn start(self, setup: &Setup) -> anyhow::Result<Running> {
        let dialogue = match self {
            Self::Gatepost | Self::GatepostTls | Self::Dovecot | Self::EmailProxy => Dialogue::Password,
            Self::Direct
            | Self::Haproxy
            | Self::HaproxyTls
            | Self::Nginx
            | Self::NginxTls
            | Self::Stunnel
            | Self::StunnelTls => Dialogue::Token,
        };
        let tls = self.has_tls().then(|| Arc::clone(&setup.pki.client));
        if self == Self::Direct {
            let client = Client::new(setup.backend, tls, dialogue);
            return Ok(Running { process: None, client, until_greeting: Duration::ZERO });
        }
        let program = self.program().map_err(anyhow::Error::msg)?;
        let address = free_port()?;
        let directory = setup.directory.join(self.name());
        fs::create_dir_all(&directory)?;
        let mut command = self.command(&program, address, &directory, setup)?;
        let client = Client::new(address, tls, dialogue);
        let start = Instant::now();
        let process = setup.cpus.on_proxy_cpu(|| Process::start(&mut command, &directory.join("output.log")))??;
        let mut running = Running { process: Some(process), client, until_greeting: Duration::ZERO };
        running.until_greeting = running.wait_for_greeting(start).await?;
        Ok(running)
    }

    fn command(self, program: &Path, address: SocketAddr, directory: &Path, setup: &Setup) -> anyhow::Result<Command> {
        let configuration = directory.join("configuration");
        let (text, arguments) = match self {
            Self::Direct => bail!("the direct connection has no process"),
            Self::Gatepost | Self::GatepostTls => {
                (gatepost(setup, address, self == Self::GatepostTls), vec!["run", "-c", "{}"])
            }
            Self::Haproxy | Self::HaproxyTls => {
                (haproxy(setup, address, self.has_tls(), directory)?, vec!["-db", "-f", "{}"])
            }
            Self::Nginx | Self::NginxTls => {
                (nginx(setup, address, self.has_tls(), program, directory), vec!["-c", "{}"])
            }
            Self::Stunnel | Self::StunnelTls => (stunnel(setup, address, self.has_tls())?, vec!["{}"]),
            Self::Dovecot => (dovecot(setup, address, directory), vec!["-F", "-c", "{}"]),
            Self::EmailProxy => (email_proxy(setup, address), vec!["--no-gui", "--config-file", "{}"]),
        };
        fs::write(&configuration, text)?;
        let mut command = Command::new(program);
        for argument in arguments {
            match argument {
                "{}" => command.arg(&configuration),
                argument => command.arg(argument),
            };
        }
        // What Python's TLS trusts; the others have it in their configuration.
        command.env("SSL_CERT_FILE", &setup.pki.ca).current_dir(directory);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

impl Running {
    async fn wait_for_greeting(&mut self, start: Instant) -> anyhow::Result<Duration> {
        const DEADLINE: Duration = Duration::from_secs(20);
        loop {
            let attempt = tokio::time::timeout(DEADLINE, self.client.greeting()).await;
            let now = start.elapsed();
            let error = match attempt {
                Ok(Ok(_)) => return Ok(now),
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("no greeting"),
            };
            let process = self.process.as_mut().context("a process")?;
            if let Some(end) = process.ended() {
                bail!("{end}");
            }
            if now > DEADLINE {
                bail!("not ready after {} s: {error:#}{}", DEADLINE.as_secs(), process.last_words());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

fn gatepost(setup: &Setup, address: SocketAddr, tls: bool) -> String {
    let local = match tls {
        true => format!(
            "tls: implicit, certificate: \"{}\", private_key: \"{}\"",
            setup.pki.certificate.display(),
            setup.pki.private_key.display()
        ),
        false => "tls: none".to_owned(),
    };
    format!(
        "listeners:\n  \
           imap: {{protocol: imap, bind: \"{address}\", {local}, upstream: \"{}\", upstream_tls: implicit, upstream_name: localhost}}\n\
         microsoft:\n  \
           authority: https://localhost:{}/\n  \
           tenant: contoso.com\n  \
           client_id: 6d1d2c3b-4a5e-4f60-8172-93a4b5c6d7e8\n  \
           grant: password\n\
         accounts:\n  \
           - login: \"*\"\n  \
           - {{login: \"*@{DEVICES}\", grant: client_credentials, client_secret: none-of-note, passwords: [\"{DEVICE_HASH}\"]}}\n\
         trust: {{system_roots: false, additional_ca: \"{}\"}}\n\
         # One mailbox stands for many, and the pace of an outage is not what is measured.\n\
         limits: {{connections: 60000, connections_per_source: 60000, imap_sessions_per_mailbox: 1000000, upstream_connects_per_second: 1000000}}\n\
         log: {{level: warn}}\n",
        setup.backend,
        setup.entra.port(),
        setup.pki.ca.display(),
    )
}

fn haproxy(setup: &Setup, address: SocketAddr, tls: bool, directory: &Path) -> anyhow::Result<String> {
    let Pki { ca, certificate, private_key, .. } = &setup.pki;
    // It wants both in one file.
    let both = directory.join("both.pem");
    fs::write(&both, fs::read_to_string(certificate)? + &fs::read_to_string(private_key)?)?;
    let local = if tls { format!(" ssl crt {}", both.display()) } else { String::new() };
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 4000\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 10m\n  timeout server 10m\n\
         listen imap\n  bind {address} backlog 4096{local}\n  \
           server backend {} ssl verify required ca-file {} sni str(localhost) verifyhost localhost\n",
        setup.backend,
        ca.display(),
    ))
}

fn nginx(setup: &Setup, address: SocketAddr, tls: bool, program: &Path, directory: &Path) -> String {
    let module = match nginx_stream_module(program) {
        Some(Some(module)) => format!("load_module {};\n", module.display()),
        _ => String::new(),
    };
    // Workers of a root process would otherwise change to a user that cannot read the certificate.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let Pki { ca, certificate, private_key, .. } = &setup.pki;
    let (listen, local) = match tls {
        true => (
            " ssl",
            format!(
                "ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.2 TLSv1.3;\n    ",
                certificate.display(),
                private_key.display()
            ),
        ),
        false => ("", String::new()),
    };
    format!(
        "{module}{user}daemon off;\nworker_processes 1;\nworker_rlimit_nofile 8192;\npid {directory}/pid;\n\
         error_log stderr warn;\nevents {{ worker_connections 4096; }}\n\
         stream {{\n  server {{\n    listen {address}{listen} backlog=4096;\n    {local}proxy_pass {};\n    proxy_timeout 10m;\n    \
         proxy_ssl on;\n    proxy_ssl_verify on;\n    proxy_ssl_trusted_certificate {};\n    proxy_ssl_name localhost;\n    \
         proxy_ssl_server_name on;\n    proxy_ssl_protocols TLSv1.2 TLSv1.3;\n    proxy_ssl_session_reuse on;\n  }}\n}}\n",
        setup.backend,
        ca.display(),
        directory = directory.display(),
    )
}

fn stunnel(setup: &Setup, address: SocketAddr, tls: bool) -> anyhow::Result<String> {
    let Pki { ca, certificate, private_key, .. } = &setup.pki;
    // With TLS on both sides, what the first service deciphers goes to the second one.
    let (first, inner) = match tls {
        true => {
            let inner = free_port()?;
            let (certificate, key) = (certificate.display(), private_key.display());
            (format!("[local]\naccept = {address}\nconnect = {inner}\ncert = {certificate}\nkey = {key}\n"), inner)
        }
        false => (String::new(), address),
    };
    Ok(format!(
        "foreground = yes\nsyslog = no\ndebug = 4\npid =\n{first}\
         [imap]\nclient = yes\naccept = {inner}\nconnect = {}\n\
         verifyChain = yes\nCAfile = {}\ncheckHost = localhost\nsni = localhost\n",
        setup.backend,
        ca.display(),
    ))
}

fn dovecot(setup: &Setup, address: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "base_dir = {directory}/run\nstate_dir = {directory}/state\nlog_path = /dev/stderr\nprotocols = imap\nssl = no\n\
         disable_plaintext_auth = no\nauth_mechanisms = plain\nssl_client_ca_file = {}\n\
         passdb {{\n  driver = static\n  args = nopassword=y proxy=y host={} port={} ssl=any-cert \
         proxy_mech=xoauth2 pass={}\n}}\n\
         service imap-login {{\n  chroot =\n  inet_listener imap {{\n    address = {}\n    port = {}\n  }}\n  \
           inet_listener imaps {{\n    port = 0\n  }}\n  service_count = 0\n  client_limit = 4000\n  process_limit = 1\n}}\n\
         service anvil {{\n  client_limit = 5000\n}}\nservice auth {{\n  client_limit = 9000\n}}\n",
        setup.pki.ca.display(),
        setup.backend.ip(),
        setup.backend.port(),
        crate::entra::token(),
        address.ip(),
        address.port(),
    )
}

fn email_proxy(setup: &Setup, address: SocketAddr) -> String {
    let accounts: String = USERS
        .iter()
        .map(|user| {
            format!(
                "[{user}]\ntoken_url = https://localhost:{}/contoso.com/oauth2/v2.0/token\n\
                 oauth2_scope = https://outlook.office365.com/IMAP.AccessAsUser.All\noauth2_flow = password\n\
                 redirect_uri = http://localhost\nclient_id = 6d1d2c3b-4a5e-4f60-8172-93a4b5c6d7e8\n\n",
                setup.entra.port(),
            )
        })
        .collect();
    format!(
        "[Server setup]\n[IMAP-{}]\nserver_address = localhost\nserver_port = {}\nlocal_address = {}\n\n[Account setup]\n{accounts}",
        address.port(),
        setup.backend.port(),
        address.ip(),
    )
}

/// `None`: no stream module. `Some(None)`: compiled in. `Some(Some(path))`: to be loaded.
fn nginx_stream_module(program: &Path) -> Option<Option<PathBuf>> {
    let directories = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules"];
    let file = directories.iter().map(|d| Path::new(d).join("ngx_stream_module.so")).find(|path| path.is_file());
    if file.is_some() {
        return Some(file);
    }
    let version = Command::new(program).arg("-V").output().ok()?;
    String::from_utf8_lossy(&version.stderr).split_whitespace().any(|word| word == "--with-stream").then_some(None)
}

/// Looks where administrators' programs are, too, which is not on everyone's path.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A port that nobody has at the moment. Somebody could take it before the proxy does; then its
/// start fails and says so.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
