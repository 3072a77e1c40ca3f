//! What a login costs when its password and its token are at hand: the path that every poll of
//! every mail program takes. Run with `cargo bench --bench token_path`.

use std::net::IpAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use gatepost::login::LoginRequest;
use gatepost_config::{Grant, password_hash as password};
use gatepost_core::account::LoginName;
use gatepost_core::clock::Clock;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_oauth::response::{self, Dialect};

use logins::{PASSWORD, answer, authenticator};

#[path = "shared/logins.rs"]
mod logins;

fn warm_logins(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let password = Password::new(PASSWORD.into());
    let hash = password::hash(&password).expect("randomness");
    let mut group = c.benchmark_group("warm login");
    for accounts in [1, 1000] {
        for (name, gate) in [
            ("password", authenticator(Grant::Password, Vec::new(), accounts, Clock::system())),
            (
                "client credentials",
                authenticator(Grant::ClientCredentials, vec![hash.clone()], accounts, Clock::system()),
            ),
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
    c.bench_function("read a token answer", |b| b.iter(|| response::parse(200, &granted, Dialect::ENTRA).is_ok()));
    c.bench_function("read a refusal", |b| b.iter(|| response::parse(400, refused, Dialect::ENTRA).is_err()));
}

criterion_group!(benches, warm_logins, answers);
criterion_main!(benches);
