//! A login whose password and token are known, for a count of its processor instructions: the path
//! that every poll of every mail program takes. `benches/instructions/run` counts and compares it.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gatepost::login::{Authenticator, LoginRequest};
use gatepost_config::{Grant, Resource, password_hash};
use gatepost_core::account::LoginName;
use gatepost_core::clock::Clock;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;

use counted::{Case, passes};
use logins::{PASSWORD, authenticator};

mod counted;
#[path = "../shared/logins.rs"]
mod logins;

const CASES: &[Case] = &[("warm-admit-password", password), ("warm-admit-device-password", device_password)];

fn main() -> ExitCode {
    counted::run(CASES)
}

fn password() {
    // The system's clock looks for a page of the kernel, which Valgrind does not map.
    admit(&authenticator(Grant::Password, Vec::new(), 1, Clock::manual()));
}

fn device_password() {
    let hash = password_hash::hash(&Password::new(PASSWORD.into())).expect("randomness");
    admit(&authenticator(Grant::ClientCredentials, vec![hash], 1, Clock::manual()));
}

fn admit(authenticator: &Arc<Authenticator>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let password = Password::new(PASSWORD.into());
    let login = LoginName::parse("user0@contoso.example").expect("a valid name");
    passes(
        &mut (),
        |()| (),
        |(), ()| {
            let request = LoginRequest {
                login: &login,
                acting_as: None,
                password: &password,
                source: IpAddr::from([192, 0, 2, 1]),
                protocol: Protocol::Imap,
                resource: Resource::Exchange,
            };
            runtime.block_on(authenticator.admit(request, Duration::ZERO)).expect("the password is right");
        },
    );
}
