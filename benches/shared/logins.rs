//! A service whose token endpoint grants everything, so that a login costs only what Gatepost does.

use std::sync::Arc;
use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

use gatepost::login::Authenticator;
use gatepost_config::{
    Account, Accounts, Application, Cloud, Config, Grant, Limits, Log, LogFormat, LoginPattern, Mailboxes, Sending,
    State, Trust,
};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_oauth::endpoint::Exchange;
use gatepost_oauth::{Answer, TokenEndpoint, TokenHttpRequest};
use gatepost_store::MemoryStore;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A granted token, as long as Microsoft's are.
pub(crate) fn answer() -> Vec<u8> {
    let token = "eyJ0".repeat(512);
    format!(r#"{{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"{token}"}}"#)
        .into_bytes()
}

/// Grants whatever it is asked for.
struct Generous;

impl TokenEndpoint for Generous {
    fn exchange<'a>(&'a self, _: &'a TokenHttpRequest) -> Exchange<'a> {
        Box::pin(async { Ok(Answer { status: 200, retry_after: None, date: None, body: Zeroizing::new(answer()) }) })
    }
}

/// Lets in these accounts, the last of which is `user{accounts - 1}@contoso.example`.
pub(crate) fn authenticator(grant: Grant, passwords: Vec<String>, accounts: usize, clock: Clock) -> Arc<Authenticator> {
    let application = Arc::new(Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/").expect("a valid URL"),
            tenant: "contoso.example".into(),
            cloud: Cloud::Worldwide,
        }),
        client_id: "00000000-0000-0000-0000-000000000000".into(),
        credential: Arc::default(),
    });
    let account = |n| {
        let address = MailAddress::parse(&format!("user{n}@contoso.example")).expect("a valid address");
        Arc::new(Account {
            pattern: LoginPattern::Address(address),
            aliases: Vec::new(),
            grant,
            passwords: passwords.clone(),
            application: Arc::clone(&application),
            scope: None,
            mailbox: None,
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: None,
            token_expiry_margin: Duration::from_secs(300),
        })
    };
    let config = Config {
        listeners: Vec::new(),
        accounts: Accounts::new((0..accounts).map(account).collect()),
        unproved: Vec::new(),
        forward_proxy: None,
        trust: Trust { system_roots: false, additional_ca: None, destinations: Vec::new() },
        state: State::Memory,
        devices: None,
        queue: None,
        spool: None,
        limits: Limits::default(),
        log: Log { format: LogFormat::Text, level: tracing::Level::ERROR, audit: None },
        notes: Vec::new(),
        findings: Vec::new(),
        sendmail: None,
        server_name: None,
        confinement: gatepost_config::Confine::Off,
        files: Vec::new(),
        runs_commands: false,
        admin: gatepost_config::Admin::default(),
    };
    Authenticator::new(Arc::new(config), Arc::new(Generous), Arc::new(MemoryStore::default()), clock)
}
