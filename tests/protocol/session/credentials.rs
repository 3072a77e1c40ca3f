//! Mailboxes that an application opens which proves itself without a shared secret; and what
//! clients are told, and the log, when it cannot.

use std::fs;
use std::time::{Duration, SystemTime};

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Attempts, FederatedToken, SandboxAccount, SandboxConfig};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};
use tokio::task::JoinSet;

use crate::common::directory::Directory;
use crate::session::support::{ALICE, ALICES, Client, PROTOCOLS, Setup, World, is_accepted};

/// What the mail program says; Entra never sees it.
const LOCAL: &str = "local-password";

/// Files of one application, in a directory that goes when the test ends.
struct Files(Directory);

impl Files {
    fn new() -> Self {
        Self(Directory::new())
    }

    fn path(&self, name: &str) -> String {
        self.0.file(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.0.write(name, content);
    }

    /// Writes a certificate and its key; the certificate.
    fn write_pair(&self, years: (i32, i32)) -> String {
        self.write_pair_of(rcgen::date_time_ymd(years.0, 1, 1).into(), rcgen::date_time_ymd(years.1, 1, 1).into())
    }

    /// The same with other times.
    fn write_pair_of(&self, begin: SystemTime, end: SystemTime) -> String {
        let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (begin.into(), end.into());
        let certificate = params.self_signed(&key).unwrap().pem();
        self.write("app.key", key.serialize_pem());
        self.write("app.pem", &certificate);
        certificate
    }

    fn certificate(&self) -> String {
        format!(
            "client_certificate: {{certificate: '{}', private_key: '{}'}}",
            self.path("app.pem"),
            self.path("app.key")
        )
    }

    fn federated(&self) -> String {
        format!("federated_token_file: '{}'", self.path("token"))
    }
}

/// Alice's mailbox, opened by an application with this credential.
fn setup(credential: &str, token_lifetime: Duration) -> Setup {
    let hash = gatepost_config::password_hash::hash(&gatepost_core::secret::Password::new(LOCAL.into())).unwrap();
    Setup {
        sandbox: SandboxConfig {
            accounts: vec![SandboxAccount::new(ALICE, ALICES)],
            token_lifetime,
            ..SandboxConfig::default()
        },
        accounts: format!(
            "\n  - {{login: '{ALICE}', grant: client_credentials, client_id: '{{confidential}}', passwords: ['{hash}'],\n\
             \x20    {credential}}}"
        ),
        variables: vec![("IDENTITY_ENDPOINT", "http://{identity}/msi/token"), ("IDENTITY_HEADER", "{header}")],
        ..Setup::default()
    }
}

async fn world(credential: &str) -> World {
    setup(credential, Duration::from_secs(3_600)).start().await
}

async fn every_protocol_opens(world: &World) {
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, LOCAL).await.works().await;
    }
}

/// Every protocol refuses, for this cause, in words that never blame the password; a wrong one is
/// still a wrong one.
async fn every_protocol_refuses(world: &World, refusal: Refusal, cause: &str) {
    for protocol in PROTOCOLS {
        world.refuses(protocol, ALICE, LOCAL, refusal, cause).await;
        world.refuses(protocol, ALICE, "another", Refusal::InvalidCredentials, "wrong-password").await;
    }
}

#[tokio::test]
async fn a_mailbox_opens_by_certificate_federated_token_and_managed_identity() {
    let files = Files::new();
    let certificate = files.write_pair((2020, 2060));
    for credential in [files.certificate(), files.federated(), "managed_identity: system".to_owned()] {
        let world = world(&credential).await;
        world.sandbox.add_certificate(&certificate).unwrap();
        let token = world.sandbox.federated_token(&FederatedToken::default()).unwrap();
        files.write("token", &token);
        every_protocol_opens(&world).await;
        // One token for all, and nothing of what earned it in a log that tells everything else.
        let requests = world.sandbox.counters().token_requests;
        assert_eq!(requests.values().copied().collect::<Vec<_>>(), [Attempts { succeeded: 1, refused: 0 }]);
        let key = fs::read_to_string(files.path("app.key")).unwrap();
        let secrets =
            [token.as_str(), key.lines().nth(1).unwrap(), world.sandbox.identity_header(), "client_assertion="];
        assert!(secrets.iter().all(|secret| !world.log.has(secret)));
    }
}

#[tokio::test]
async fn a_certificate_out_of_date_is_told_in_the_log_and_replaced_without_a_restart() {
    let files = Files::new();
    files.write_pair((2019, 2020));
    let world = world(&files.certificate()).await;
    let said = format!("the certificate in `{}` expired on 2020-01-01 00:00 UTC", files.path("app.pem"));
    world.until("the log says that it has expired", || world.log.has(&said)).await;
    every_protocol_refuses(&world, Refusal::Unavailable, "client-certificate-out-of-date").await;
    assert_eq!(world.sandbox.counters().http_requests, 0);
    world.sandbox.add_certificate(&files.write_pair((2020, 2060))).unwrap();
    every_protocol_opens(&world).await;
}

/// Tokens that live too short to be kept, so that every login asks for one.
#[tokio::test]
async fn a_broken_replacement_is_told_once_and_harms_nobody() {
    let files = Files::new();
    let certificate = files.write_pair((2020, 2060));
    let world = setup(&files.certificate(), Duration::from_secs(60)).start().await;
    world.sandbox.add_certificate(&certificate).unwrap();
    every_protocol_opens(&world).await;
    let key = fs::read(files.path("app.key")).unwrap();
    files.write("app.key", "half of a key");
    every_protocol_opens(&world).await;
    let said = || world.log.lines(|line| line.contains("a changed credential cannot be used"));
    let expected = format!("`{}` is not usable: there is no private key in it", files.path("app.key"));
    assert!(matches!(&said()[..], [line] if line.contains(&expected)), "{:?}", said());
    files.write("app.key", key);
    every_protocol_opens(&world).await;
    assert!(world.log.has("the changed credential can be used again"));
}

#[tokio::test]
async fn a_secret_whose_noted_end_is_past_is_told_in_the_log_and_still_tried() {
    let mut setup = setup("client_secret: {env: SECRET, expires: 2020-01-31}", Duration::from_secs(3_600));
    setup.variables.push(("SECRET", "sandbox-secret"));
    let world = setup.start().await;
    let said = "client secret expired on 2020-01-31 00:00 UTC. Microsoft 365 admin: ";
    world.until("the log says that it has expired", || world.log.has(said)).await;
    every_protocol_opens(&world).await;
}

/// `renew` is switched on by a reload. Tokens live too short to be kept, so that every login asks for
/// one.
#[tokio::test]
async fn a_certificate_renews_itself_while_sessions_go_on() {
    let files = Files::new();
    let now = SystemTime::now();
    let (begin, end) = (now - Duration::from_secs(3_600), now + Duration::from_secs(10 * 24 * 3_600));
    let old = files.write_pair_of(begin, end);
    let world = setup(&files.certificate(), Duration::from_secs(60)).start().await;
    world.sandbox.add_certificate(&old).unwrap();
    let mut sessions = Vec::new();
    for protocol in PROTOCOLS {
        sessions.push(world.session(protocol, ALICE, LOCAL).await);
    }
    let port = world.sandbox.graph().port();
    let keys =
        format!("renew: 30d, object_id: {}, graph: 'https://localhost:{port}/'", world.sandbox.application_object_id());
    let reloaded = world.reload(|yaml| yaml.replace("app.key'}", &format!("app.key', {keys}}}"))).await.unwrap();
    assert_eq!(reloaded.changed, ["accounts"]);
    let record = || fs::read_to_string(files.path("app.pem.renewal")).unwrap_or_default();
    world.until("the new certificate is in use", || record().contains("installed")).await;
    let new = fs::read_to_string(files.path("app.pem")).unwrap();
    assert!(new != old && world.sandbox.certificates().len() == 2);
    for session in &mut sessions {
        session.works().await;
    }
    // The new one serves alone.
    world.sandbox.remove_certificates();
    world.sandbox.add_certificate(&new).unwrap();
    every_protocol_opens(&world).await;
    let key = fs::read_to_string(files.path("app.key")).unwrap();
    let secrets = [key.lines().nth(1).unwrap(), "PRIVATE KEY", "client_assertion=", "\"proof\""];
    assert!(secrets.iter().all(|secret| !world.log.has(secret)));
}

#[tokio::test]
async fn a_certificate_that_is_not_registered_is_the_administrators_turn() {
    let files = Files::new();
    files.write_pair((2020, 2060));
    let world = world(&files.certificate()).await;
    every_protocol_refuses(&world, Refusal::ContactAdmin, "entra-configuration").await;
    assert!(world.log.has("AADSTS700027"));
    let sha1 = gatepost_config::certificate::SigningKey::read(
        &fs::read(files.path("app.pem")).unwrap(),
        Some(&fs::read(files.path("app.key")).unwrap()),
        None,
    );
    let thumbprint: String = sha1.unwrap().sha1().iter().map(|octet| format!("{octet:02X}")).collect();
    let named = format!("has no certificate `{thumbprint}` (`{}`)", files.path("app.pem"));
    assert!(world.log.has(&named), "the portal shows certificates by this thumbprint");
}

#[tokio::test]
async fn a_federated_token_that_is_missing_empty_or_stale_passes_as_soon_as_there_is_one() {
    let files = Files::new();
    let world = world(&files.federated()).await;
    let stale = FederatedToken { lifetime: Duration::ZERO, ..FederatedToken::default() };
    let stale = world.sandbox.federated_token(&stale).unwrap();
    every_protocol_refuses(&world, Refusal::Unavailable, "federated-token-unusable").await;
    for content in ["", stale.as_str()] {
        files.write("token", content);
        world.refuses(MailProtocol::Imap, ALICE, LOCAL, Refusal::Unavailable, "federated-token-unusable").await;
    }
    files.write("token", world.sandbox.federated_token(&FederatedToken::default()).unwrap());
    every_protocol_opens(&world).await;
}

#[tokio::test]
async fn a_platform_that_is_absent_or_gives_nothing_says_so() {
    let world = world("managed_identity: system").await;
    world.sandbox.set_identity_absent(true);
    every_protocol_refuses(&world, Refusal::ContactAdmin, "managed-identity-refused").await;
    assert_eq!(
        world.sandbox.counters().token_requests_of("managed_identity", "system").refused,
        1,
        "it is not pestered"
    );

    let absent = vec![("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "x")];
    let usual = setup("managed_identity: system", Duration::from_secs(3_600));
    let world = Setup { variables: absent, ..usual }.start().await;
    every_protocol_refuses(&world, Refusal::Unavailable, "managed-identity-unreachable").await;
}

/// Tokens that live too short to be kept, so that every login asks for one, while certificate and
/// key are replaced.
#[tokio::test]
async fn a_replacement_under_fifty_logins_a_second_fails_nobody() {
    const LOGINS: u32 = 100;
    let files = Files::new();
    let first = files.write_pair((2020, 2060));
    let world = setup(&files.certificate(), Duration::from_secs(60)).start().await;
    world.sandbox.add_certificate(&first).unwrap();
    let mut logins = JoinSet::new();
    for n in 0..LOGINS {
        let protocol = PROTOCOLS[n as usize % PROTOCOLS.len()];
        let address = world.address(protocol.name());
        logins.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20) * n).await;
            let mut client = Client::connect(address, protocol).await;
            client.greet().await;
            (protocol, client.log_in(ALICE, LOCAL).await)
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = Files::new();
    let newer = second.write_pair((2020, 2060));
    world.sandbox.add_certificate(&newer).unwrap();
    for name in ["app.pem", "app.key"] {
        files.write(name, fs::read(second.path(name)).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let replies = logins.join_all().await;
    assert!(replies.iter().all(|(protocol, reply)| is_accepted(*protocol, reply)), "{replies:?}");
    let asked =
        world.sandbox.counters().token_requests_of("client_credentials", world.sandbox.confidential_client_id());
    assert!(asked.succeeded >= 2 && asked.refused == 0, "{asked:?}");
    // Only the new one is in use by now.
    world.sandbox.remove_certificates();
    world.sandbox.add_certificate(&newer).unwrap();
    every_protocol_opens(&world).await;
}
