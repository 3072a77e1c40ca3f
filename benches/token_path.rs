//! What a login costs when its password and its token are at hand: the path that every poll of
//! every mail program takes. Run with `cargo bench --bench token_path`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use url::Url;
use zeroize::Zeroizing;

use gatepost::login::{Authenticator, LoginRequest};
use gatepost_config::{
    Account, Accounts, Application, Cloud, Config, Grant, Limits, Log, LogFormat, LoginPattern, Mailboxes, Sending,
    State, Trust, password_hash as password,
};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::Clock;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_oauth::endpoint::Exchange;
use gatepost_oauth::{Answer, TokenEndpoint, TokenHttpRequest, response};
use gatepost_store::MemoryStore;

const PASSWORD: &str = "correct horse battery staple";

fn answer() -> Vec<u8> {
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

fn authenticator(grant: Grant, passwords: Vec<String>, accounts: usize) -> Arc<Authenticator> {
    let application = Arc::new(Application {
        authority: Url::parse("https://login.example/").expect("a valid URL"),
        tenant: "contoso.example".into(),
        client_id: "00000000-0000-0000-0000-000000000000".into(),
        credential: Arc::default(),
        cloud: Cloud::Worldwide,
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
    Authenticator::new(Arc::new(config), Arc::new(Generous), Arc::new(MemoryStore::default()), Clock::system())
}

fn warm_logins(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let password = Password::new(PASSWORD.into());
    let hash = password::hash(&password).expect("randomness");
    let mut group = c.benchmark_group("warm login");
    for accounts in [1, 1000] {
        for (name, gate) in [
            ("password", authenticator(Grant::Password, Vec::new(), accounts)),
            ("client credentials", authenticator(Grant::ClientCredentials, vec![hash.clone()], accounts)),
        ] {
            // The last one, because accounts are looked up in order.
            let login = LoginName::parse(&format!("user{}@contoso.example", accounts - 1)).expect("a valid name");
            let source = IpAddr::from([192, 0, 2, 1]);
            let admit = async || {
                let request = LoginRequest {
                    login: &login,
                    acting_as: None,
                    password: &password,
                    source,
                    protocol: Protocol::Imap,
                    resource: gatepost_config::Resource::Exchange,
                };
                gate.admit(request, Duration::ZERO).await.expect("the password is right")
            };
            runtime.block_on(admit());
            group.bench_function(BenchmarkId::new(name, accounts), |b| b.iter(|| runtime.block_on(admit())));
        }
    }
    group.finish();
}

fn answers(c: &mut Criterion) {
    let granted = answer();
    let refused = br#"{"error":"invalid_grant","error_description":"AADSTS50126: wrong","error_codes":[50126]}"#;
    c.bench_function("read a token answer", |b| b.iter(|| response::parse(200, &granted).is_ok()));
    c.bench_function("read a refusal", |b| b.iter(|| response::parse(400, refused).is_err()));
}

criterion_group!(benches, warm_logins, answers);
criterion_main!(benches);
