//! No secret is ever written: every kind of login, with everything that can go wrong around it,
//! while the log is at its most talkative; then all that was logged and all that clients have heard
//! is searched.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use gatepost_config::{LogFormat, password_hash as password};
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::Password;
use gatepost_sandbox::{CertificateFault, EntraMode, SandboxAccount, SandboxConfig, Service, UpstreamMode};

use crate::session::proxy::proxy;
use crate::session::support::{ALICE, BOB, PROTOCOLS, Setup, World, plain, service, xoauth2};
use crate::session::upstream::echoing;

use MailProtocol::Imap;

/// Long enough not to be found by chance, and with characters that encodings change.
const PASSWORD: &str = "Kx7/pass+word=of?alice&zq";
const WRONG: &str = "Jw3/wrong+word=of?alice&vb";
const LOCAL: &str = "Hv9/local+word=of?bob&knm";
const CLIENT_SECRET: &str = "Gu5~client+secret/value=tre";
const PROXY_PASSWORD: &str = "Ft1/proxy+password=wq:asd";

/// The text in every form in which it could be written somewhere: the inner octets of base64 for
/// each of the three alignments, since what stands before and after it is not known.
fn forms(secret: &str) -> Vec<(String, &'static str)> {
    let mut forms = vec![(secret.to_owned(), "raw"), (format!("{secret:?}").trim_matches('"').to_owned(), "escaped")];
    for before in 0..3 {
        let padded = [&vec![b'?'; before], secret.as_bytes()].concat();
        // The first octets depend on what stands before, the last ones on what stands behind.
        let inner = |encoded: String| {
            let start = [0, 2, 3][before];
            let end = (before + secret.len()) / 3 * 4;
            encoded[start..end].to_owned()
        };
        forms.push((inner(STANDARD_NO_PAD.encode(&padded)), "base64"));
        forms.push((inner(URL_SAFE_NO_PAD.encode(&padded)), "base64url"));
    }
    let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    forms.push((hex.to_uppercase(), "HEX"));
    forms.push((hex, "hex"));
    forms.push((url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(), "form"));
    let percent = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") };
    forms.push((secret.bytes().map(percent).collect(), "percent"));
    forms.push((format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned(), "list"));
    forms
}

fn find(haystack: &[u8], secret: &str) -> Option<&'static str> {
    let found = |form: &str| haystack.windows(form.len()).any(|window| window == form.as_bytes());
    forms(secret).into_iter().find(|(form, _)| found(form)).map(|(_, name)| name)
}

/// What clients have heard, and which tokens there are.
#[derive(Default)]
struct Gathered {
    heard: Vec<u8>,
    tokens: Vec<String>,
}

impl Gathered {
    /// One login in each way, with the plain password as given.
    async fn log_in(&mut self, world: &World, user: &str, password: &str) {
        for protocol in PROTOCOLS {
            let mut client = world.client(protocol).await;
            client.log_in(user, password).await;
            self.heard.extend(client.heard);
            let mut client = world.client(protocol).await;
            let (command, end) = match protocol {
                Imap => ("a AUTHENTICATE PLAIN", "a "),
                _ => ("AUTH PLAIN", ""),
            };
            client.ask(command, "").await;
            client.ask(&plain(user, password), end).await;
            self.heard.extend(client.heard);
        }
    }

    async fn log_in_with_token(&mut self, world: &World, user: &str) {
        let token = world.sandbox.issue_token(user).unwrap().expose().to_owned();
        for (name, shown) in
            [(user, token.clone()), (user, format!("{token}x")), ("nobody@contoso.example", token.clone())]
        {
            for protocol in PROTOCOLS {
                let mut client = world.client(protocol).await;
                let (command, end) = match protocol {
                    Imap => ("a AUTHENTICATE XOAUTH2", "a "),
                    _ => ("AUTH XOAUTH2", ""),
                };
                client.ask(command, "").await;
                client.ask(&xoauth2(name, &shown), end).await;
                self.heard.extend(client.heard);
            }
        }
        self.tokens.push(token);
    }

    /// Nothing of it is anywhere. The middle of a token is as secret as the whole.
    fn search(&self, log: &[u8]) {
        assert!(log.len() > 1_000 && self.heard.len() > 1_000, "there is something to search");
        let parts = self.tokens.iter().flat_map(|token| {
            let quarter = token.len() / 4;
            [0, 1, 2, 3].map(|part| token[part * quarter..part * quarter + 40].to_owned())
        });
        let passwords = [PASSWORD, WRONG, LOCAL, CLIENT_SECRET, PROXY_PASSWORD].map(str::to_owned);
        for secret in passwords.into_iter().chain(parts) {
            for (place, text) in [("the log", log), ("what clients hear", &self.heard)] {
                if let Some(form) = find(text, &secret) {
                    panic!("`{secret}` stands in {place} as {form}");
                }
            }
        }
    }
}

fn users() -> SandboxConfig {
    let accounts = vec![SandboxAccount::new(ALICE, PASSWORD), SandboxAccount::new(BOB, "known-to-nobody")];
    let client_secret = gatepost_core::secret::ClientSecret::new(CLIENT_SECRET.to_owned());
    SandboxConfig { accounts, client_secret, ..SandboxConfig::default() }
}

fn setup(format: LogFormat) -> Setup {
    let hash = password::hash(&Password::new(LOCAL.to_owned())).unwrap();
    Setup {
        sandbox: users(),
        microsoft: "  client_id: '{confidential}'\n  client_secret: 'Gu5~client+secret/value=tre'",
        accounts: format!(
            "\n  - {{login: {ALICE}}}\n  - {{login: {BOB}, grant: client_credentials, passwords: ['{hash}']}}"
        ),
        format,
        ..Setup::default()
    }
}

#[test]
fn every_form_of_a_secret_is_recognised() {
    for before in ["", "x", "xy", "user=a\x01auth=Bearer "] {
        for behind in ["", "z", "zz", "\x01\x01"] {
            let all = format!("{before}{PASSWORD}{behind}");
            let written = [
                all.clone(),
                STANDARD.encode(&all),
                URL_SAFE_NO_PAD.encode(&all),
                url::form_urlencoded::byte_serialize(all.as_bytes()).collect(),
                format!("{all:?}"),
                format!("{:?}", all.as_bytes()),
                all.bytes().map(|b| format!("{b:02x}")).collect(),
            ];
            for text in written {
                assert!(find(format!("a line with {text} in it").as_bytes(), PASSWORD).is_some(), "{text}");
            }
        }
    }
    assert_eq!(find(b"a line without it", PASSWORD), None);
}

/// A search that could not find anything would prove nothing: the name of the account does stand in
/// the log.
#[tokio::test]
async fn the_log_is_really_searched() {
    let world = setup(LogFormat::Text).start().await;
    Gathered::default().log_in(&world, ALICE, PASSWORD).await;
    assert_eq!(find(&world.log.bytes(), ALICE), Some("raw"));
}

#[tokio::test]
async fn logins_that_succeed_and_fail() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let world = setup(format).start().await;
        let mut gathered = Gathered::default();
        gathered.log_in(&world, ALICE, PASSWORD).await;
        gathered.log_in(&world, ALICE, WRONG).await;
        gathered.log_in(&world, BOB, LOCAL).await;
        gathered.log_in(&world, BOB, WRONG).await;
        gathered.log_in(&world, "nobody@elsewhere.example", PASSWORD).await;
        gathered.log_in_with_token(&world, ALICE).await;
        // Where a name is due, a password.
        gathered.log_in(&world, "x", PASSWORD).await;
        for protocol in PROTOCOLS {
            for said in [
                format!("a LOGIN {ALICE} {{{}+}}\r\n{PASSWORD}", PASSWORD.len()),
                format!("a LOGIN {ALICE} {PASSWORD} {PASSWORD}\r\n"),
                format!("a AUTHENTICATE PLAIN {}!\r\n", plain(ALICE, PASSWORD)),
                format!("AUTH PLAIN {}!\r\n", plain(ALICE, PASSWORD)),
                format!("USER {ALICE}\r\nPASS {PASSWORD}"),
                format!("PASS {PASSWORD}\r\n"),
                format!("{PASSWORD}\r\n"),
            ] {
                let mut client = world.client(protocol).await;
                client.send(said).await;
                client.finish().await;
                client.rest().await;
                gathered.heard.extend(client.heard);
            }
        }
        gathered.search(&world.log.bytes());
    }
}

#[tokio::test]
async fn faults_of_entra() {
    for mode in [
        EntraMode::Down,
        EntraMode::Slow(Duration::from_secs(60)),
        EntraMode::Throttled { retry_after: Duration::from_secs(60) },
        EntraMode::Html,
        EntraMode::TruncatedJson,
        EntraMode::OkWithError,
        EntraMode::ServerError,
        EntraMode::Redirect,
    ] {
        let limits = "  token_request: 500ms\n  token_total: 500ms";
        let world = Setup { limits, ..setup(LogFormat::Text) }.start().await;
        world.sandbox.set_entra_mode(mode);
        let mut gathered = Gathered::default();
        gathered.log_in(&world, ALICE, PASSWORD).await;
        gathered.log_in(&world, BOB, LOCAL).await;
        gathered.search(&world.log.bytes());
    }
}

#[tokio::test]
async fn faults_of_the_upstream() {
    let world = setup(LogFormat::Text).start().await;
    let mut gathered = Gathered::default();
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
        for protocol in PROTOCOLS {
            let applies = match mode {
                UpstreamMode::Preauth => service(protocol) == Service::Imap,
                UpstreamMode::NoStartTls => service(protocol) == Service::Smtp,
                _ => true,
            };
            if applies {
                world.sandbox.set_upstream_mode(service(protocol), mode);
            }
        }
        gathered.log_in(&world, ALICE, PASSWORD).await;
        gathered.log_in_with_token(&world, ALICE).await;
    }
    gathered.search(&world.log.bytes());
}

/// A server that repeats what it was sent, in its refusal: Gatepost's own token comes back to it.
#[tokio::test]
async fn an_upstream_that_repeats_the_token() {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let world = echoing(setup(LogFormat::Text), Arc::clone(&tokens)).await;
    let mut gathered = Gathered::default();
    for user in [ALICE, BOB] {
        let mut client = world.client(Imap).await;
        client.log_in(user, if user == ALICE { PASSWORD } else { LOCAL }).await;
        gathered.heard.extend(client.heard);
    }
    for _ in 0..10 {
        let mut client = world.client(Imap).await;
        client.ask("a NOOP", "a OK").await;
        gathered.heard.extend(client.heard);
    }
    gathered.tokens = tokens.lock().unwrap().clone();
    assert_eq!(gathered.tokens.len(), 4, "of the user and of the application, as they are and within XOAUTH2");
    assert!(world.log.has("(secret)"), "it was repeated, and left out");
    gathered.search(&world.log.bytes());
}

/// A proxy that repeats the request, with the password that was meant for it.
#[tokio::test]
async fn a_proxy_that_repeats_its_password() {
    let port = proxy(|request| async move {
        let head = request.head().to_owned();
        let reason = head.lines().find(|line| line.to_ascii_lowercase().starts_with("proxy-auth")).unwrap_or("none");
        let answer = format!("HTTP/1.1 407 {reason}\r\nProxy-Authenticate: {reason}\r\nX: {reason}\r\n\r\n{head}");
        request.answer(answer).await;
    })
    .await;
    let with_proxy = |no_proxy: &str| Setup {
        sections: format!(
            "forward_proxy: {{url: 'http://127.0.0.1:{port}', authentication: basic, username: svc, password: '{PROXY_PASSWORD}', no_proxy: [{no_proxy}]}}"
        ),
        ..setup(LogFormat::Text)
    };
    // For token requests, and for mail.
    let mut for_tokens = with_proxy("127.0.0.1");
    for_tokens.listeners = for_tokens.listeners.replace("localhost:", "127.0.0.1:");
    let for_mail = Setup {
        microsoft: "  authority: https://127.0.0.1:{entra}/\n  client_id: '{confidential}'\n  client_secret: 'Gu5~client+secret/value=tre'",
        ..with_proxy("127.0.0.1")
    };
    for setup in [for_tokens, for_mail] {
        let world = setup.start().await;
        let mut gathered = Gathered::default();
        gathered.log_in(&world, ALICE, PASSWORD).await;
        gathered.log_in(&world, BOB, LOCAL).await;
        assert!(world.log.has("407"));
        gathered.search(&world.log.bytes());
    }
}
