//! The service, with logins of every kind, in front of an Entra, upstreams and proxies that fail in
//! every way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use gatepost_config::password_hash as password;
use gatepost_core::secret::{ClientSecret, Password};
use gatepost_sandbox::{CertificateFault, EntraMode, Sandbox, SandboxAccount, SandboxConfig, Service, UpstreamMode};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::secrecy::canaries::{self, *};
use crate::secrecy::mail::{logins, mistakes, say_all, token_logins};
use crate::secrecy::program::{Place, Serving};
use crate::secrecy::scanner::Scanner;

pub(crate) const ALICE: &str = "alice@contoso.example";
const BOB: &str = "bob@contoso.example";
/// Applications with secrets from elsewhere, which are not the right one.
const OTHERS: [&str; 4] =
    ["file@contoso.example", "command@contoso.example", "systemd@contoso.example", "literal@contoso.example"];

const VARIABLES: [(&str, &str); 2] = [("APP_SECRET", CLIENT_SECRET), ("PROXY_SECRET", PROXY_PASSWORD)];

/// A whole installation, and everything that came out of it.
pub(crate) struct Installation {
    pub(crate) place: Place,
    pub(crate) sandbox: Sandbox,
    scanner: Scanner,
    tokens: Vec<String>,
    /// All that was written and heard so far, by source.
    out: BTreeMap<String, Vec<u8>>,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let accounts = vec![SandboxAccount::new(ALICE, PASSWORD), SandboxAccount::new(BOB, "known-to-nobody")];
        let client_secret = ClientSecret::new(CLIENT_SECRET.to_owned());
        let sandbox =
            Sandbox::start(SandboxConfig { accounts, client_secret, ..SandboxConfig::default() }).await.unwrap();
        let mut place = Place::new();
        place.put("ca.pem", sandbox.ca_pem());
        place.put("secret", &format!("{FROM_FILE}\n"));
        place.put("credentials/app", FROM_SYSTEMD);
        place.put("give", &format!("#!/bin/sh\nprintf '%s' '{FROM_COMMAND}'\n"));
        // What all tokens of the sandbox begin with, those that Gatepost fetches included; and two
        // whole ones.
        let [first, second] = [0, 1].map(|_| sandbox.issue_token(ALICE).unwrap().expose().to_owned());
        let common: String = first.chars().zip(second.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
        let mut secrets: Vec<_> = canaries::ALL.iter().map(|(name, secret)| (*name, (*secret).to_owned())).collect();
        secrets.extend([("any token", common), ("a client's token", first.clone()), ("another token", second.clone())]);
        let scanner = Scanner::new(&secrets);
        Self { place, sandbox, scanner, tokens: vec![first, second], out: BTreeMap::new() }
    }

    /// A configuration with every kind of secret in it. Each `{…}` is filled in.
    pub(crate) fn configure(&mut self, format: &str, further: &str) {
        let hash = password::hash(&Password::new(LOCAL.to_owned())).unwrap();
        let mut accounts = format!("  - {{login: '*'}}\n  - login: {BOB}\n    client_secret: {{env: APP_SECRET}}\n");
        accounts
            .push_str(&format!("    client_id: {{id}}\n    grant: client_credentials\n    passwords: ['{hash}']\n"));
        let secrets = ["{file: secret}", "{command: [sh, give]}", "{credential: app}", &format!("'{LITERAL}'")];
        for (login, secret) in OTHERS.iter().zip(secrets) {
            accounts.push_str(&format!(
                "  - login: {login}\n    client_id: {{id}}\n    client_secret: {secret}\n    grant: client_credentials\n    \
                 passwords: ['{hash}']\n"
            ));
        }
        let accounts = accounts.replace("{id}", self.sandbox.confidential_client_id());
        let [imap, pop3, smtp] = [self.sandbox.imap(), self.sandbox.pop3(), self.sandbox.smtp()].map(|at| at.port());
        let yaml = format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{imap}'}}\n  pop3: {{bind: '127.0.0.1:0', \
             upstream: 'localhost:{pop3}'}}\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{smtp}'}}\n\
             microsoft:\n  authority: https://localhost:{}/\n  tenant: contoso.example\n  client_id: {}\n\
             accounts:\n{accounts}trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             limits: {{failure_delay: 0s, token_request: 2s, token_total: 2s, upstream_login: 5s, drain: 2s}}\n\
             log: {{level: trace, format: {format}}}\n{further}\n",
            self.sandbox.entra().port(),
            self.sandbox.public_client_id(),
        );
        self.place.put("proxy.yaml", &yaml);
    }

    /// Runs a command of the same configuration to its end.
    fn command(&mut self, arguments: &[&str], input: &str) {
        let credentials = self.place.path().join("credentials");
        let variables = [VARIABLES[0], VARIABLES[1], ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
        let (code, written) = self.place.run(arguments, input, &variables);
        assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&written));
        self.take("what commands write", written);
    }

    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Serving {
        let credentials = self.place.path().join("credentials");
        let mut all = vec![("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
        all.extend(VARIABLES.iter().chain(variables));
        self.place.serve(&["run"], &all)
    }

    /// Every way to log in and every mistake, once.
    async fn round(&mut self, listeners: &BTreeMap<String, SocketAddr>) {
        let mut all = Vec::new();
        for (user, password) in [
            (ALICE, PASSWORD),
            (ALICE, WRONG),
            (BOB, LOCAL),
            (BOB, LOCAL_WRONG),
            (BOB, CHOSEN),
            ("nobody@elsewhere.example", PASSWORD),
            (MISPLACED, PASSWORD),
        ] {
            all.extend(logins(user, password));
        }
        for other in OTHERS {
            all.extend(logins(other, LOCAL).into_iter().take(6));
        }
        for token in &self.tokens {
            all.extend(token_logins(ALICE, token));
            all.extend(token_logins("nobody@elsewhere.example", token));
            all.extend(token_logins(ALICE, &format!("{token}x")));
        }
        for password in [PASSWORD, WRONG, LOCAL, LOCAL_WRONG] {
            all.extend(mistakes(ALICE, password));
        }
        let heard = say_all(listeners, all).await;
        self.take("what clients hear", heard);
    }

    pub(crate) fn take(&mut self, source: &str, written: Vec<u8>) {
        self.out.entry(source.to_owned()).or_default().extend(written);
    }

    /// Nothing of any secret is in anything that came out, nor in a file; how much was searched.
    pub(crate) fn search(&mut self) -> usize {
        let mut searched = 0;
        let out = std::mem::take(&mut self.out).into_iter();
        let files = self.place.made().into_iter().map(|(path, content)| (path.display().to_string(), content));
        for (source, written) in out.chain(files) {
            searched += written.len();
            if let Some((name, form, around)) = self.scanner.find(&written) {
                panic!("{name} stands in {source} ({form}):\n{around}");
            }
        }
        searched
    }
}

/// In each form of the log everything is said so often, and what is decided without anybody else so
/// often again.
const ROUNDS: usize = 2;
const REPEATED: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_succeed_and_fail() {
    let mut installation = Installation::new().await;
    installation.configure("text", "");
    installation.command(&["password", "add", BOB, "--name", "scanner", "--chosen"], &format!("{CHOSEN}\n"));
    for format in ["text", "json"] {
        installation.configure(format, "");
        let serving = installation.serve(&[]);
        let listeners = serving.addresses();
        for _ in 0..ROUNDS {
            installation.round(&listeners).await;
        }
        let wrong = || logins(ALICE, WRONG).into_iter().chain(logins(BOB, LOCAL_WRONG));
        let heard = say_all(&listeners, (0..REPEATED).flat_map(|_| wrong()).collect()).await;
        installation.take("what clients hear", heard);
        assert!(serving.says("AADSTS7000215"), "the applications' other secrets were tried");
        let written = serving.end(Signal::TERM);
        // A search that could not find anything would prove nothing: names do stand in the log.
        let names = Scanner::new(&[("alice", ALICE.to_owned()), ("another application", OTHERS[2].to_owned())]);
        assert!(names.find(&written).is_some());
        installation.take("the log", written);
        installation.command(&["password", "list", "--json"], "");
        installation.command(&["check"], "");
    }
    let searched = installation.search();
    eprintln!("searched {} KiB", searched / 1024);
    assert!(searched > 3 << 20, "{searched} octets are too few");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_entra() {
    let mut installation = Installation::new().await;
    for (n, mode) in [
        EntraMode::Down,
        EntraMode::Slow(Duration::from_secs(20)),
        EntraMode::Throttled { retry_after: Duration::from_secs(60) },
        EntraMode::Html,
        EntraMode::TruncatedJson,
        EntraMode::OkWithError,
        EntraMode::ServerError,
        EntraMode::Oversize,
        EntraMode::Redirect,
    ]
    .into_iter()
    .enumerate()
    {
        installation.sandbox.set_entra_mode(mode);
        installation.configure(["text", "json"][n % 2], "");
        let serving = installation.serve(&[]);
        installation.round(&serving.addresses()).await;
        let written = serving.end(Signal::TERM);
        installation.take("the log", written);
    }
    installation.search();
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_upstream() {
    let mut installation = Installation::new().await;
    installation.configure("text", "");
    let serving = installation.serve(&[]);
    let listeners = serving.addresses();
    for mode in [
        UpstreamMode::Refuse,
        UpstreamMode::Preauth,
        UpstreamMode::NoStartTls,
        UpstreamMode::SpeaksBeforeTls,
        UpstreamMode::BadCertificate(CertificateFault::UntrustedAuthority),
        UpstreamMode::NotConnected,
        UpstreamMode::Unavailable,
        UpstreamMode::Bye,
    ] {
        for service in [Service::Imap, Service::Pop3, Service::Smtp] {
            let applies = match mode {
                UpstreamMode::Preauth => service == Service::Imap,
                UpstreamMode::NoStartTls => service == Service::Smtp,
                _ => true,
            };
            if applies {
                installation.sandbox.set_upstream_mode(service, mode);
            }
        }
        installation.round(&listeners).await;
    }
    let written = serving.end(Signal::TERM);
    installation.take("the log", written);
    installation.search();
}

/// A proxy that refuses, and repeats all that it was told in its refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = proxy.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = proxy.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let line = head.lines().find(|line| line.to_lowercase().starts_with("proxy-auth")).unwrap_or("none");
                let answer = format!("HTTP/1.1 407 {line}\r\nProxy-Authenticate: {line}\r\nX: {line}\r\n\r\n{head}");
                let _gone = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    let mut installation = Installation::new().await;
    let block = format!(
        "forward_proxy: {{url: 'http://127.0.0.1:{port}', authentication: basic, username: svc, password: {{env: PROXY_SECRET}}}}"
    );
    installation.configure("text", &block);
    let serving = installation.serve(&[]);
    installation.round(&serving.addresses()).await;
    assert!(serving.says("407"));
    let written = serving.end(Signal::TERM);
    installation.take("the log", written);

    // The same by the environment, where loopback is exempt: what is reached straight works.
    installation.configure("json", "");
    let url = format!("http://svc:{PROXY_IN_URL}@127.0.0.1:{port}");
    let serving = installation.serve(&[("HTTPS_PROXY", &url)]);
    installation.round(&serving.addresses()).await;
    let written = serving.end(Signal::TERM);
    installation.take("the log", written);
    installation.search();
}

/// A crash leaves neither a core file nor anything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash() {
    let mut installation = Installation::new().await;
    installation.configure("text", "");
    let serving = installation.serve(&[]);
    installation.round(&serving.addresses()).await;
    let written = serving.end(Signal::ABORT);
    installation.take("the log", written);
    let made = installation.place.made().into_iter().map(|(path, _)| path);
    let made: Vec<_> = made.filter(|path| !path.starts_with(installation.place.path().join("state"))).collect();
    assert!(made.is_empty(), "{made:?}");
    installation.search();
}
