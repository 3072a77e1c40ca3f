//! High Volume Email: accounts of its own, a permission of its own, and tokens that last.

use std::time::Duration;

use gatepost_config::password_hash;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_core::secret::Password;
use gatepost_sandbox::{SandboxAccount, SandboxConfig, Service, UpstreamMode};

use crate::session::support::{ALICE, ALICES, BOB, Client, Setup, World};

/// A listener that leads to High Volume Email, with an application that may send there as Alice.
async fn high_volume(more: &str) -> World {
    let hash = password_hash::hash(&Password::new(ALICES.to_owned())).unwrap();
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, ALICES)];
    let world = Setup {
        sandbox: SandboxConfig { accounts, clock: Clock::manual(), ..SandboxConfig::default() },
        listeners: format!(
            "\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{{smtp}}', upstream_name: smtp.hve.mx.microsoft{more}}}"
        ),
        accounts: format!("\n  - {{login: '*@contoso.example', passwords: ['{hash}']}}"),
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
    .start()
    .await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::HighVolume);
    world.sandbox.set_high_volume(ALICE);
    world.sandbox.set_exchange_roles(&["Mail.Send"]);
    world
}

async fn send(client: &mut Client) {
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask(&format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\nhello\r\n."), "250 ").await;
}

#[tokio::test]
async fn a_token_that_expires_soon_is_replaced_before_the_message() {
    for more in ["", ", sender: forced"] {
        let world = high_volume(more).await;
        let tokens = || {
            world
                .sandbox
                .counters()
                .token_requests_of("client_credentials", world.sandbox.confidential_client_id())
                .succeeded
        };
        send(&mut world.session(Smtp, ALICE, ALICES).await).await;
        let before = tokens();
        // To the server, less than ten minutes of the token are left.
        world.sandbox.advance(Duration::from_secs(55 * 60));
        send(&mut world.session(Smtp, ALICE, ALICES).await).await;
        assert_eq!(tokens(), before + 1, "{more}");
    }
}

#[tokio::test]
async fn a_normal_mailbox_and_a_missing_permission_are_told_apart() {
    let world = high_volume("").await;
    world.refuses(Smtp, BOB, ALICES, Refusal::ContactAdmin, "token-not-understood").await;
    assert!(world.log.has("is for accounts of High Volume Email (HVE) only, and bob@contoso.example is none"));
    world.sandbox.set_exchange_roles(&[]);
    world.refuses(Smtp, ALICE, ALICES, Refusal::ContactAdmin, "permission-missing").await;
    assert!(world.log.has("add Mail.Send (Office 365 Exchange Online) to application "));
}
