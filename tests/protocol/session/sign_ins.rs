//! Sessions of accounts for which a person has signed in, in every protocol.

use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::RefreshToken;
use gatepost_sandbox::{Attempts, EntraMode, SandboxAccount, SandboxConfig};
use gatepost_store::{SignIn, SignInKey, Store};

use crate::session::support::{PROTOCOLS, Setup, World, service};

const ANNA: &str = "anna@contoso.example";
const RECEPTION: &str = "reception@contoso.example";

fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

/// Anna has a mailbox and may open that of the reception; both have a device password.
async fn world() -> (World, [String; 2]) {
    let mut reception = SandboxAccount::new(RECEPTION, "nobody signs in with it");
    reception.delegates.push(ANNA.into());
    let setup = Setup {
        accounts: format!(
            "\n  - {{login: {ANNA}, grant: authorization_code}}\n  - {{login: {RECEPTION}, signs_in_as: {ANNA}}}"
        ),
        sandbox: SandboxConfig {
            accounts: vec![SandboxAccount::new(ANNA, "known-to-entra-only"), reception],
            ..SandboxConfig::default()
        },
        microsoft: "  grant: device_code",
        // How long a login waits for an Entra that is away.
        limits: "  token_request: 2s\n  token_total: 2s",
        ..Setup::default()
    };
    let mut passwords = Vec::new();
    for login in [ANNA, RECEPTION] {
        let (name, protocols, from) = ("first".into(), Vec::new(), Vec::new());
        let order = Order { login: address(login), name, protocols, from, expires_at: None };
        let (_, password) = issue::generate(&*setup.store, order, now()).await.unwrap();
        passwords.push(password.expose().to_owned());
    }
    (setup.start().await, passwords.try_into().unwrap())
}

fn now() -> UnixTime {
    Clock::system().unix_time()
}

/// What `gatepost login` leaves in the store when Anna has signed in for `login`.
async fn sign_in(world: &World, login: &str) {
    let key = SignInKey {
        login: address(login),
        authority: world.sandbox.authority(),
        tenant: "contoso.example".into(),
        client_id: world.sandbox.public_client_id().into(),
    };
    let refresh_token: RefreshToken = world.sandbox.sign_in(ANNA).unwrap();
    let record = SignIn {
        refresh_token,
        tenant_id: world.sandbox.tenant_id().into(),
        object_id: world.sandbox.object_id(ANNA),
        username: ANNA.into(),
        scope: String::new(),
        signed_in_at: now(),
        rotated_at: now(),
        refused: None,
    };
    world.store.put_sign_in(&key, &record, None).await.unwrap();
}

fn refreshes(world: &World) -> Attempts {
    world.sandbox.counters().token_requests_of("refresh_token", ANNA)
}

#[tokio::test]
async fn one_sign_in_serves_every_protocol_and_a_shared_mailbox_has_its_own() {
    let (world, [annas, receptions]) = world().await;
    sign_in(&world, ANNA).await;
    sign_in(&world, RECEPTION).await;
    for protocol in PROTOCOLS {
        world.session(protocol, ANNA, &annas).await.works().await;
        world.session(protocol, RECEPTION, &receptions).await.works().await;
        let logins = |mailbox| world.sandbox.counters().logins_of(service(protocol), mailbox);
        assert_eq!(logins(ANNA), Attempts { succeeded: 1, refused: 0 });
        assert_eq!(logins(RECEPTION), Attempts { succeeded: 1, refused: 0 }, "{protocol:?}: with Anna's token");
    }
    assert_eq!(refreshes(&world), Attempts { succeeded: 2, refused: 0 });
    // One's password is not the other's.
    for protocol in PROTOCOLS {
        world.refuses(protocol, ANNA, &receptions, Refusal::InvalidCredentials, "wrong-password").await;
    }
    assert!(!world.log.has(world.sandbox.sign_in(ANNA).unwrap().expose()));
}

/// A stranger learns nothing of it, and pays as for a wrong password.
#[tokio::test]
async fn an_account_that_nobody_has_signed_in_for_says_so_in_the_log_alone() {
    let setup = Setup {
        accounts: format!("\n  - {{login: {ANNA}, grant: authorization_code}}"),
        microsoft: "  grant: device_code",
        limits: "  penalty_wrong_password: 1h",
        penalise_loopback: true,
        ..Setup::default()
    };
    let world = setup.start().await;
    world.refuses(MailProtocol::Imap, ANNA, "anything", Refusal::InvalidCredentials, "sign-in-needed").await;
    let told = world.log.lines(|line| line.contains("cause=sign-in-needed") && line.contains("login refused"));
    assert!(told[0].contains(" WARN ") && told[0].contains(&format!("nobody has signed in for `{ANNA}`")), "{told:?}");
    assert!(told[0].contains(&format!("Gatepost admin: run `gatepost login {ANNA}`")), "{told:?}");
    // The source is blocked after it.
    let mut client = crate::session::support::Client::connect(world.address("imap"), MailProtocol::Imap).await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn whoever_must_sign_in_again_is_never_told_that_the_password_is_wrong() {
    let (world, [annas, _]) = world().await;
    for protocol in PROTOCOLS {
        world.refuses(protocol, ANNA, &annas, Refusal::ContactAdmin, "sign-in-needed").await;
    }
    assert_eq!(world.sandbox.counters().token_requests.len(), 0, "a mail connection starts nothing");
    assert!(world.log.has(&format!("run `gatepost login {ANNA}`")));
    sign_in(&world, ANNA).await;
    world.sandbox.end_sign_ins(ANNA, 700_082);
    for protocol in PROTOCOLS {
        world.refuses(protocol, ANNA, &annas, Refusal::ContactAdmin, "sign-in-needed").await;
    }
    assert_eq!(refreshes(&world), Attempts { succeeded: 0, refused: 1 });
    assert!(world.log.has("`AADSTS700082`"));
    sign_in(&world, ANNA).await;
    world.sandbox.set_entra_mode(EntraMode::Down);
    let reply = world.reply(MailProtocol::Imap, ANNA, &annas).await;
    assert!(reply.starts_with("a NO [UNAVAILABLE]"), "{reply}");
    world.sandbox.set_entra_mode(EntraMode::Normal);
    for protocol in PROTOCOLS {
        world.session(protocol, ANNA, &annas).await.works().await;
    }
}
