//! Ways to log in, one after another on the same connection, and what belongs to which account.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_config::password_hash as password;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::Password;
use gatepost_sandbox::{Attempts, SandboxAccount, SandboxConfig};

use crate::session::support::{
    ALICE, ALICES, BOB, Client, PROTOCOLS, Setup, World, is_accepted, plain, service, told, xoauth2,
};

use MailProtocol::{Imap, Pop3, Smtp};

const SCANNER: &str = "scanner@contoso.example";
const SCANNERS: &str = "nineteen-blue-printers";
const RECEPTION: &str = "reception@contoso.example";

/// AUTHENTICATE or AUTH with an initial response; the final reply.
async fn authenticate(client: &mut Client, mechanism: &str, response: &str) -> String {
    match client.protocol {
        Imap => client.ask(&format!("a AUTHENTICATE {mechanism} {response}"), "a ").await,
        // RFC 5034 §4: a line of POP3 is too short for most initial responses.
        Pop3 => {
            client.ask(&format!("AUTH {mechanism}"), "+ ").await;
            client.ask(response, "").await
        }
        Smtp => client.ask(&format!("AUTH {mechanism} {response}"), "").await,
    }
}

/// LOGIN, with what it asks for.
async fn auth_login(client: &mut Client, user: &str, password: &str) -> String {
    let (command, end) = match client.protocol {
        Imap => ("a AUTHENTICATE LOGIN", "+ VXNlcm"),
        Pop3 => ("AUTH LOGIN", "+ VXNlcm"),
        Smtp => ("AUTH LOGIN", "334 VXNlcm"),
    };
    client.ask(command, end).await;
    client.ask(&STANDARD.encode(user), "").await;
    client.ask(&STANDARD.encode(password), "").await
}

#[tokio::test]
async fn every_mechanism_opens_the_mailbox() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        let reply = authenticate(&mut client, "PLAIN", &plain(ALICE, ALICES)).await;
        assert!(is_accepted(protocol, &reply), "{reply}");
        client.works().await;
        let mut client = world.client(protocol).await;
        let reply = auth_login(&mut client, "Alice@Contoso.EXAMPLE", ALICES).await;
        assert!(is_accepted(protocol, &reply), "{reply}");
        client.works().await;
    }
    assert_eq!(world.sandbox.counters().http_requests, 1, "it is the same account each time");
}

/// Whatever failed before, the next attempt is as on a fresh connection: by the same or by another
/// way, for the same or for another user.
#[tokio::test]
async fn nothing_of_a_failed_attempt_is_left() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        for first in 0..4 {
            for second in 0..3 {
                let mut client = world.client(protocol).await;
                let reply = match first {
                    0 => client.log_in(BOB, "wrong").await,
                    1 => authenticate(&mut client, "PLAIN", &plain(BOB, "wrong")).await,
                    2 => auth_login(&mut client, BOB, "wrong").await,
                    _ => authenticate(&mut client, "XOAUTH2", &xoauth2(BOB, "not-a-token")).await,
                };
                let cause = if first == 3 { "not-a-token" } else { "wrong-password" };
                world.was_refused(protocol, &reply, Refusal::InvalidCredentials, cause);
                let reply = match second {
                    0 => client.log_in(ALICE, ALICES).await,
                    1 => authenticate(&mut client, "PLAIN", &plain(ALICE, ALICES)).await,
                    _ => auth_login(&mut client, ALICE, ALICES).await,
                };
                assert!(is_accepted(protocol, &reply), "{protocol:?} {first} {second}: {reply}");
                client.works().await;
            }
        }
    }
    let counters = world.sandbox.counters();
    for protocol in PROTOCOLS {
        assert_eq!(counters.logins_of(service(protocol), ALICE), Attempts { succeeded: 12, refused: 0 });
        assert_eq!(counters.logins_of(service(protocol), BOB).succeeded, 0);
    }
}

#[tokio::test]
async fn half_a_user_pass_is_no_login() {
    let world = World::new().await;
    let mut client = world.client(Pop3).await;
    client.ask(&format!("USER {ALICE}"), "+OK").await;
    world.was_refused(Pop3, &client.ask("PASS wrong", "-ERR").await, Refusal::InvalidCredentials, "wrong-password");
    let reply = client.ask(&format!("PASS {ALICES}"), "").await;
    assert!(reply.starts_with("-ERR"), "the name went with the failure: {reply}");
    assert!(is_accepted(Pop3, &client.log_in(ALICE, ALICES).await));
}

#[tokio::test]
async fn the_third_failure_closes() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        for _ in 0..3 {
            let reply = client.log_in(ALICE, "wrong").await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "wrong-password");
        }
        let bye = match protocol {
            Imap => "* BYE Too many failed logins\r\n",
            Pop3 => "-ERR Too many failed logins\r\n",
            Smtp => "421 4.7.0 Too many failed logins\r\n",
        };
        assert_eq!(client.rest().await, bye);
    }
}

#[tokio::test]
async fn a_clients_own_token_passes_as_it_is() {
    let world = World::new().await;
    let token = world.sandbox.issue_token(ALICE).unwrap();
    for protocol in PROTOCOLS {
        let xoauth2 = xoauth2(ALICE, token.expose());
        let oauthbearer = STANDARD.encode(format!("n,a={ALICE},\x01auth=Bearer {}\x01\x01", token.expose()));
        for (mechanism, message) in [("XOAUTH2", &xoauth2), ("OAUTHBEARER", &oauthbearer)] {
            let mut client = world.client(protocol).await;
            let reply = authenticate(&mut client, mechanism, message).await;
            assert!(is_accepted(protocol, &reply), "{mechanism}: {reply}");
            client.works().await;
        }
        // For another mailbox it is worth nothing; nor is it afterwards when it comes as a
        // password.
        let mut client = world.client(protocol).await;
        let reply = authenticate(&mut client, "XOAUTH2", &crate::session::support::xoauth2(BOB, token.expose())).await;
        assert!(!is_accepted(protocol, &reply), "{reply}");
    }
    let counters = world.sandbox.counters();
    assert_eq!(counters.http_requests, 0);
    assert!(PROTOCOLS.iter().all(|protocol| counters.logins_of(service(*protocol), ALICE).succeeded == 2));
}

#[tokio::test]
async fn a_token_of_a_stranger_goes_nowhere() {
    let accounts = format!("\n  - login: {BOB}");
    let world = Setup { accounts, ..Setup::default() }.start().await;
    let token = world.sandbox.issue_token(ALICE).unwrap();
    let before = world.upstream_connections();
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        let reply = authenticate(&mut client, "XOAUTH2", &xoauth2(ALICE, token.expose())).await;
        world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "unknown-account");
        let mut client = world.client(protocol).await;
        let reply = authenticate(&mut client, "XOAUTH2", &xoauth2(&format!("{BOB}\x01a=b"), token.expose())).await;
        assert!(!is_accepted(protocol, &reply), "{reply}");
    }
    assert_eq!(world.upstream_connections(), before);
}

#[tokio::test]
async fn an_alias_stands_for_its_account() {
    let accounts = format!("\n  - {{login: {SCANNER}, aliases: [scan7, 'Scan Room#7']}}\n  - login: '*'");
    let accounts_of_tenant = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(SCANNER, SCANNERS)];
    let sandbox = SandboxConfig { accounts: accounts_of_tenant, ..SandboxConfig::default() };
    let microsoft = "  netbios_domains: {CONTOSO: contoso.example}";
    let world = Setup { accounts, sandbox, microsoft, ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        for name in ["scan7", "SCAN7", SCANNER] {
            world.session(protocol, name, SCANNERS).await.works().await;
        }
        for name in ["Scan Room#7", "CONTOSO\\scanner"] {
            let mut client = world.client(protocol).await;
            let reply = auth_login(&mut client, name, SCANNERS).await;
            assert!(is_accepted(protocol, &reply), "{name}: {reply}");
        }
        assert_eq!(world.sandbox.counters().logins_of(service(protocol), SCANNER).succeeded, 5);
    }
    assert_eq!(world.sandbox.counters().token_requests_of("password", SCANNER), Attempts { succeeded: 1, refused: 0 });
}

/// What is typed into the user name field may be a password.
#[tokio::test]
async fn a_name_of_no_account_is_logged_enough_to_recognise_it() {
    let world = Setup { accounts: format!("\n  - login: {ALICE}"), ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        for (name, cause, shown) in [
            ("Hunter2Hunter2", "unknown-account", "\"hu…2 (14 characters)\""),
            ("hunter2@hunter2.hunter2", "unknown-account", "\"hu…2 (23 characters)\""),
            ("alice@contoso.example/hunter\u{200b}2hunter2", "bad-name", "\"al…2 (37 characters)\""),
            ("", "bad-name", "(empty)"),
            ("carol@contoso.example", "unknown-account", "carol@contoso.example"),
        ] {
            let mut client = world.client(protocol).await;
            let reply = authenticate(&mut client, "PLAIN", &plain(name, ALICES)).await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, cause);
            let (_, session) = told(&reply);
            let of_session = format!("session={session}");
            let lines = world.log.lines(|line| line.contains(&of_session) && line.contains("outcome=refused"));
            assert!(lines.iter().all(|line| line.contains(&format!("account={shown} "))), "{shown}: {lines:?}");
        }
    }
    assert!(
        !world
            .log
            .bytes()
            .to_ascii_lowercase()
            .windows(9)
            .any(|octets| octets == b"2hunter2\"" || octets == b"r2hunter2")
    );
}

#[tokio::test]
async fn a_login_that_cannot_be_read_is_logged() {
    let world = World::new().await;
    let mut imap = world.client(Imap).await;
    assert_eq!(imap.ask(&format!("a LOGIN {ALICE} \"{ALICES}"), "a ").await, "a BAD Malformed login");
    let mut pop3 = world.client(Pop3).await;
    assert_eq!(pop3.ask("AUTH PLAIN ???", "").await, "-ERR Malformed SASL message");
    let mut smtp = world.client(Smtp).await;
    assert_eq!(smtp.ask("AUTH PLAIN ???", "").await, "501 5.5.2 Malformed SASL message");
    assert_eq!(world.log.lines(|line| line.contains("cause=malformed-login")).len(), 3);
    assert!(!world.log.has(ALICES));
}

#[tokio::test]
async fn an_address_may_hold_what_entra_and_exchange_allow() {
    const ODD: &str = "r&d#^~!$%+'-/=?_`{|}.x@contoso.example";
    let sandbox = SandboxConfig { accounts: vec![SandboxAccount::new(ODD, ALICES)], ..SandboxConfig::default() };
    let world = Setup { sandbox, ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        let reply = authenticate(&mut client, "PLAIN", &plain(ODD, ALICES)).await;
        assert!(is_accepted(protocol, &reply), "{reply}");
        client.works().await;
    }
}

/// The application's token would open every mailbox: the local password is all that stands before
/// it.
#[tokio::test]
async fn an_application_asks_for_nothing_before_the_password_is_proved() {
    let hash = |text: &str| password::hash(&Password::new(text.to_owned())).unwrap();
    let accounts = format!(
        "\n  - {{login: {SCANNER}, aliases: [scan7], mailbox: {RECEPTION}, passwords: ['{}']}}\n  - {{login: {BOB}, passwords: ['{}', '{}']}}",
        hash(SCANNERS),
        hash("one-of-two-passwords"),
        hash("two-of-two-passwords"),
    );
    let of_tenant = [ALICE, BOB, RECEPTION].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    let world = Setup {
        accounts,
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
    .start()
    .await;
    let before = world.upstream_connections();
    for protocol in PROTOCOLS {
        for (user, guess, cause) in [
            (SCANNER, "wrong-one", "wrong-password"),
            ("scan7", "known-to-entra-only", "wrong-password"),
            (BOB, SCANNERS, "wrong-password"),
            (ALICE, "known-to-entra-only", "unknown-account"),
            (RECEPTION, SCANNERS, "unknown-account"),
        ] {
            world.refuses(protocol, user, guess, Refusal::InvalidCredentials, cause).await;
        }
    }
    assert_eq!(world.sandbox.counters().http_requests, 0);
    assert_eq!(world.upstream_connections(), before);
    for protocol in PROTOCOLS {
        for (user, password) in
            [("scan7", SCANNERS), (BOB, "one-of-two-passwords"), (BOB, "two-of-two-passwords"), (SCANNER, SCANNERS)]
        {
            world.session(protocol, user, password).await.works().await;
        }
        world.refuses(protocol, "scan7", "wrong-one", Refusal::InvalidCredentials, "wrong-password").await;
        let counters = world.sandbox.counters();
        assert_eq!(counters.logins_of(service(protocol), RECEPTION).succeeded, 2);
        assert_eq!(counters.logins_of(service(protocol), BOB).succeeded, 2);
    }
    assert_eq!(world.sandbox.counters().http_requests, 1, "one token for all mailboxes of the application");
}

#[tokio::test]
async fn acting_as_somebody_else_needs_the_configuration() {
    let accounts = format!("\n  - {{login: {SCANNER}, mailbox: {RECEPTION}}}\n  - login: '*'");
    let mut reception = SandboxAccount::new(RECEPTION, "nobody-logs-in-here");
    reception.delegates.push(SCANNER.to_owned());
    let of_tenant = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(SCANNER, SCANNERS), reception];
    let sandbox = SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() };
    let world = Setup { accounts, sandbox, ..Setup::default() }.start().await;
    let message =
        |acting_as: &str, user: &str, password: &str| STANDARD.encode(format!("{acting_as}\0{user}\0{password}"));
    for protocol in PROTOCOLS {
        for (acting_as, user, password, allowed) in [
            (ALICE, ALICE, ALICES, true),
            (RECEPTION, SCANNER, SCANNERS, true),
            (SCANNER, SCANNER, SCANNERS, true),
            (BOB, ALICE, ALICES, false),
            (ALICE, SCANNER, SCANNERS, false),
        ] {
            let mut client = world.client(protocol).await;
            let reply = authenticate(&mut client, "PLAIN", &message(acting_as, user, password)).await;
            if allowed {
                assert!(is_accepted(protocol, &reply), "{user} as {acting_as}: {reply}");
            } else {
                world.was_refused(protocol, &reply, Refusal::NotAuthorized, "acting-as-not-allowed");
            }
        }
        assert_eq!(world.sandbox.counters().logins_of(service(protocol), RECEPTION).succeeded, 2);
    }
}

#[tokio::test]
async fn the_tenant_may_follow_from_the_login() {
    for microsoft in ["  tenant: auto", "  tenant: organizations", "  tenant: 8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d"] {
        let world = Setup { microsoft, ..Setup::default() }.start().await;
        for protocol in PROTOCOLS {
            world.session(protocol, ALICE, ALICES).await.works().await;
        }
    }
    // Entra does not know the tenant that this domain would be.
    let world = Setup { microsoft: "  tenant: auto", ..Setup::default() }.start().await;
    world.refuses(Imap, "alice@fabrikam.example", ALICES, Refusal::ContactAdmin, "entra-configuration").await;
    assert!(world.log.has("AADSTS90002"));
}
