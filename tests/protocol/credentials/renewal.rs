//! A certificate that renews itself: ahead of its end, past every step that fails, over a restart in
//! the middle; and the old one goes after its time.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost::daemon::renewal::Renewals;
use gatepost::session::journal::Journal;
use gatepost_config::AuditLog;
use gatepost_config::certificate::SigningKey;
use gatepost_core::clock::Clock;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::endpoint::HttpEndpoint;
use gatepost_oauth::expiry::{self, Renewing};
use gatepost_sandbox::{Attempts, HttpFault, Sandbox, SandboxConfig, Service};
use gatepost_telemetry::audit::Audit;
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};

use crate::common::wait;
use crate::credentials::support::{Pair, Setup, World};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

const FILES: &str = "certificate: app.pem, private_key: app.key, renew: 30d, graph: '{graph}'";

/// A certificate that is valid for so many days from now on.
fn valid_for(days: u32) -> Pair {
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY * days).into();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A service that renews, without its listeners. Its clock is that of the sandbox.
struct Renewer {
    world: World,
    endpoint: HttpEndpoint,
    journal: Arc<Journal>,
    audit: PathBuf,
    renewals: Renewals,
}

impl Renewer {
    /// With a certificate that is valid for so many days, and these lines in `client_certificate`.
    async fn start(lines: &str, days: u32) -> Self {
        let clock = Clock::manual();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        clock.advance(now - Duration::from_secs(clock.unix_time().0));
        let setup = Setup {
            sandbox: SandboxConfig { clock: clock.clone(), ..SandboxConfig::default() },
            clock: clock.clone(),
            ..Setup::credential(&format!("client_certificate: {{{lines}}}"))
        };
        let pair = valid_for(days);
        setup.directory.write("app.pem", &pair.certificate);
        setup.directory.write("app.key", &pair.key);
        setup.directory.write("both.pem", format!("{}{}", pair.certificate, pair.key));
        let audit = setup.directory.file("audit.jsonl");
        let world = setup.start().await;
        world.sandbox.add_certificate(&pair.certificate).unwrap();
        let trust = Arc::new(UpstreamTrust::new(world.config.trust.clone()));
        let dialer = Arc::new(Dialer::new(Arc::clone(&world.config), Arc::clone(&trust)));
        let endpoint = HttpEndpoint::new(dialer, trust, world.config.limits.token_request);
        let log = Audit::start(&AuditLog::File(audit.clone()), clock.clone()).unwrap();
        let renewals = Renewals::new(clock);
        Self { world, endpoint, journal: Journal::new(Some(log)), audit, renewals }
    }

    /// What the service does every minute.
    async fn look(&self) {
        self.renewals.look(&self.world.config, &self.world.source, &self.endpoint, &self.journal).await;
    }

    async fn look_after(&self, time: Duration) {
        self.world.clock.advance(time);
        self.look().await;
    }

    /// Another process with the same files.
    fn restart(&mut self) {
        self.renewals = Renewals::new(self.world.clock.clone());
    }

    fn sandbox(&self) -> &Sandbox {
        &self.world.sandbox
    }

    fn thumbprint_of(&self, certificate: &str, key: &str) -> String {
        let read = |name: &str| fs::read(self.world.directory.file(name)).unwrap();
        SigningKey::read(&read(certificate), Some(&read(key)), None).unwrap().thumbprint()
    }

    /// The certificate in the files.
    fn in_use(&self) -> String {
        self.thumbprint_of("app.pem", "app.key")
    }

    /// Why the renewal failed, as the expiry warnings have it; and whether the certificate still
    /// serves.
    async fn failure(&self) -> Option<String> {
        self.world.granted().await;
        let list = expiry::list(self.world.source.credentials(), &[Arc::clone(&self.world.ask.application)]).await;
        match list.into_iter().next().unwrap().renewal {
            Some(Renewing::Failed(why)) => Some(why),
            Some(Renewing::Planned) => None,
            None => panic!("it is not renewed"),
        }
    }

    /// The outcomes in the audit log.
    async fn outcomes(&self, count: usize) -> Vec<String> {
        let read = || -> Vec<String> {
            let text = fs::read_to_string(&self.audit).unwrap_or_default();
            let outcome = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&line["event"], &line["by"]), (&"credential".into(), &"renewal".into()));
                assert_eq!(line["cause"].is_string(), line["outcome"].as_str().unwrap().contains("-not-"));
                line["outcome"].as_str().unwrap().to_owned()
            };
            text.lines().map(outcome).collect()
        };
        wait::until("the audit log is written", async || read().len() >= count).await;
        read()
    }

    /// Files beside the certificate.
    fn left(&self) -> Vec<String> {
        let names = ["app.pem.next", "app.pem.before", "app.pem.new", "app.key.new"];
        names.into_iter().filter(|name| self.world.directory.file(name).exists()).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_ahead_of_its_end_and_the_old_one_goes_a_week_later() {
    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 40).await;
    service.sandbox().set_application_readable(true);
    let old = service.in_use();
    service.look().await;
    service.look_after(9 * DAY).await;
    assert_eq!((service.in_use(), service.sandbox().certificates().len()), (old.clone(), 1), "it is too early");

    service.look_after(DAY + HOUR).await;
    let new = service.in_use();
    assert_ne!(new, old);
    assert_eq!(service.sandbox().certificates(), [old.clone(), new.clone()]);
    assert_eq!(service.thumbprint_of("app.pem.before", "app.pem.before"), old, "there is a way back");
    assert_eq!(service.failure().await, None);

    service.look_after(6 * DAY).await;
    assert_eq!(service.sandbox().certificates().len(), 2, "there is still a way back");
    service.look_after(DAY).await;
    assert_eq!((service.sandbox().certificates(), service.in_use()), (vec![new.clone()], new.clone()));
    assert_eq!(service.left(), [""; 0]);
    assert_eq!(
        service.outcomes(5).await,
        [
            "certificate-created",
            "certificate-added",
            "certificate-accepted",
            "certificate-installed",
            "certificate-removed"
        ]
    );
    // What was told never holds a key.
    let record = fs::read_to_string(service.world.directory.file("app.pem.renewal")).unwrap();
    let told = format!("{record}{}", fs::read_to_string(&service.audit).unwrap());
    assert!(told.contains(&new) && !told.contains("PRIVATE") && !told.contains("eyJ"), "{told}");

    // The next year: its own certificate's id is known, so it needs no permission to read.
    service.sandbox().set_application_readable(false);
    service.look_after(300 * DAY).await;
    assert_eq!(service.in_use(), new);
    service.look_after(30 * DAY).await;
    let third = service.in_use();
    assert_ne!(third, new);
    service.look_after(7 * DAY).await;
    assert_eq!(service.sandbox().certificates(), [third]);
}

#[tokio::test]
async fn one_file_with_both_is_renewed_and_graph_tells_the_object_id() {
    let service = Renewer::start("certificate: both.pem, renew: 30d, graph: '{graph}'", 29).await;
    service.sandbox().set_application_readable(true);
    let old = service.thumbprint_of("both.pem", "both.pem");
    service.look().await;
    let new = service.thumbprint_of("both.pem", "both.pem");
    assert_eq!(service.sandbox().certificates(), [old, new]);
    assert_eq!(service.failure().await, None);
}

/// Without the permission to read its registration, an application does not learn the id of a
/// certificate that somebody else uploaded.
#[tokio::test]
async fn an_old_certificate_that_cannot_be_removed_is_told_once() {
    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    service.look().await;
    service.look_after(7 * DAY + HOUR).await;
    assert_eq!(service.sandbox().certificates().len(), 2);
    for _ in 0..3 {
        service.look_after(DAY).await;
    }
    let outcomes = service.outcomes(5).await;
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "certificate-not-removed").count(), 1, "{outcomes:?}");
    assert_eq!((service.failure().await, service.left()), (None, Vec::new()));
}

/// A fault, and how it is removed.
struct Fault {
    lines: &'static str,
    begin: fn(&Renewer),
    end: fn(&Renewer),
    told: &'static str,
}

#[tokio::test]
async fn whatever_step_fails_leaves_the_old_one_in_use_and_is_told_until_it_passes() {
    const KNOWN: &str = ", object_id: '{object}'";
    let clear: fn(&Renewer) = |service| service.sandbox().clear_http_faults(Service::Graph);
    for Fault { lines, begin, end, told } in [
        Fault {
            lines: KNOWN,
            begin: |service| fs::create_dir(service.world.directory.file("app.pem.next")).unwrap(),
            end: |service| fs::remove_dir(service.world.directory.file("app.pem.next")).unwrap(),
            told: "Gatepost admin: let the user that runs Gatepost write into the directory",
        },
        Fault {
            lines: "",
            begin: |_| {},
            end: |service| service.sandbox().set_application_readable(true),
            told: "(HTTP 403 `Authorization_RequestDenied: Insufficient privileges to complete the operation.`). \
                   Gatepost admin: set `object_id` of `client_certificate`",
        },
        Fault {
            lines: KNOWN,
            begin: |service| {
                let fault = HttpFault::code(401, "Authentication_MissingOrMalformed");
                service.sandbox().fail_http(Service::Graph, "addKey", fault, usize::MAX);
            },
            end: clear,
            told: "Gatepost admin: check `object_id` of `client_certificate`",
        },
        Fault {
            lines: KNOWN,
            begin: |service| {
                let fault = HttpFault::code(400, "Request_BadRequest");
                service.sandbox().fail_http(Service::Graph, "addKey", fault, usize::MAX);
            },
            end: clear,
            told: "Microsoft 365 admin: look for an app management policy",
        },
        Fault {
            lines: KNOWN,
            begin: |service| {
                service.sandbox().fail_http(Service::Graph, "addKey", HttpFault::status(503), usize::MAX);
            },
            end: clear,
            told: "No action needed: Gatepost tries again within hours",
        },
        Fault {
            lines: KNOWN,
            begin: |service| service.sandbox().fail_http(Service::Graph, "addKey", HttpFault::Cut, usize::MAX),
            end: clear,
            told: "no answer from Microsoft Graph",
        },
        Fault {
            lines: KNOWN,
            begin: |service| service.sandbox().fail_http(Service::Graph, "addKey", HttpFault::Html, usize::MAX),
            end: clear,
            told: "Network admin: find out what answers in Microsoft Graph's place",
        },
        Fault {
            lines: KNOWN,
            begin: |service| service.sandbox().set_added_keys_unknown(true),
            end: |service| service.sandbox().set_added_keys_unknown(false),
            told: "Entra still does not know certificate",
        },
    ] {
        let service = Renewer::start(&format!("{FILES}{lines}"), 20).await;
        begin(&service);
        let old = service.in_use();
        service.look().await;
        // A certificate that was added may take an hour to be known.
        service.look_after(2 * HOUR).await;
        service.look_after(3 * HOUR).await;
        let failure = service.failure().await.unwrap_or_else(|| panic!("{told}: nothing was told"));
        assert!(failure.contains(told), "{failure}");
        assert_eq!(service.in_use(), old, "{told}");
        let outcomes = service.outcomes(1).await;
        assert!(outcomes.contains(&"certificate-not-renewed".to_owned()), "{outcomes:?}");
        let metrics = service.journal.metrics().text();
        let never = "gatepost_certificate_renewals_total{outcome=\"failed\"} 0\n";
        assert!(metrics.contains(never.trim_end_matches("0\n")) && !metrics.contains(never), "{told}");
        end(&service);
        service.look_after(16 * HOUR).await;
        assert_ne!(service.in_use(), old, "{told}");
        assert_eq!(service.failure().await, None, "{told}");
    }
}

#[tokio::test]
async fn failures_are_repeated_by_a_patient_schedule() {
    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    service.sandbox().fail_http(Service::Graph, "addKey", HttpFault::status(503), usize::MAX);
    for _ in 0..3 * 24 * 4 {
        service.look_after(HOUR / 4).await;
    }
    let calls = service.sandbox().counters().calls;
    let asked: u64 = calls.iter().filter(|(call, _)| format!("{call:?}").contains("addKey")).map(|(_, n)| *n).sum();
    // At 0, 1, 3, 7 and 15 hours, then every twelve; each pause is up to a quarter longer.
    assert!((7..=10).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_restart_in_the_middle_continues() {
    // The answer to `addKey` was lost, before or after Graph acted on it.
    for fault in [HttpFault::Cut, HttpFault::CutWhenDone] {
        let mut service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
        service.sandbox().fail_http(Service::Graph, "addKey", fault.clone(), 2);
        let old = service.in_use();
        service.look().await;
        assert_eq!(service.in_use(), old);
        service.sandbox().clear_http_faults(Service::Graph);
        service.restart();
        service.look().await;
        let new = service.in_use();
        assert_ne!(new, old);
        let registered = service.sandbox().certificates();
        assert!(registered.contains(&new) && registered[0] == old, "{registered:?}");
        assert_eq!(service.failure().await, None);
    }
    // Entra did not know it yet.
    let mut service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    service.sandbox().set_added_keys_unknown(true);
    let old = service.in_use();
    service.look().await;
    assert_eq!((service.in_use(), service.failure().await), (old.clone(), None), "this is normal in the first hour");
    service.restart();
    service.look().await;
    service.sandbox().set_added_keys_unknown(false);
    service.look_after(HOUR / 20).await;
    assert_ne!(service.in_use(), old);
    assert_eq!(service.sandbox().certificates().len(), 2);
    // The process ended after the files were replaced, before it had noted that.
    let record = service.world.directory.file("app.pem.renewal");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    value["phase"] = serde_json::json!({"added": service.world.clock.unix_time().0});
    fs::write(&record, value.to_string()).unwrap();
    let read = |name: &str| fs::read_to_string(service.world.directory.file(name)).unwrap();
    service.world.directory.write("app.pem.next", format!("{}{}", read("app.pem"), read("app.key")));
    let new = service.in_use();
    service.restart();
    service.look().await;
    assert_eq!((service.in_use(), service.left()), (new, vec!["app.pem.before".to_owned()]));
    assert!(fs::read_to_string(&record).unwrap().contains("installed"));
}

#[tokio::test]
async fn files_that_were_restored_or_replaced_by_hand_stay() {
    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    service.sandbox().set_application_readable(true);
    let old = service.in_use();
    service.look().await;
    assert_ne!(service.in_use(), old);
    for name in ["app.pem", "app.key"] {
        let before = fs::read(service.world.directory.file("app.pem.before")).unwrap();
        service.world.directory.replace(name, before);
    }
    assert_eq!(service.in_use(), old);
    // The renewal is forgotten, and begins anew, because the end is as near as before.
    service.look_after(8 * DAY).await;
    let outcomes = service.outcomes(9).await;
    assert!(outcomes.contains(&"certificate-renewal-abandoned".to_owned()), "{outcomes:?}");
    assert!(service.sandbox().certificates().contains(&old));
    service.world.granted().await;
}

#[tokio::test]
async fn an_expired_certificate_is_not_renewed_and_says_what_to_do() {
    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    service.world.clock.advance(21 * DAY);
    service.look().await;
    let list = expiry::list(service.world.source.credentials(), &[Arc::clone(&service.world.ask.application)]).await;
    let Some(Renewing::Failed(why)) = &list[0].renewal else { panic!("{list:?}") };
    assert!(why.contains("so it cannot renew itself any more. Microsoft 365 admin: upload a new certificate"), "{why}");
    assert_eq!(service.world.asked(), Attempts { succeeded: 0, refused: 0 });
    assert_eq!(service.left(), [""; 0]);
}

/// The embedded Graph is as strict as Microsoft's: what it takes from Gatepost means something.
#[tokio::test]
async fn a_wrong_proof_adds_and_removes_nothing() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use gatepost_config::certificate::SigningAlgorithm;
    use serde_json::{Value, json};

    let service = Renewer::start(&format!("{FILES}, object_id: '{{object}}'"), 20).await;
    let sandbox = service.sandbox();
    let (own, stranger) = (service.world.directory.path().to_owned(), valid_for(20));
    let own =
        SigningKey::read(&fs::read(own.join("app.pem")).unwrap(), Some(&fs::read(own.join("app.key")).unwrap()), None);
    let own = own.unwrap();
    let other = SigningKey::read(stranger.certificate.as_bytes(), Some(stranger.key.as_bytes()), None).unwrap();
    let (object, client) = (sandbox.application_object_id(), sandbox.confidential_client_id());
    let now = service.world.clock.unix_time().0;
    let audience = "00000002-0000-0000-c000-000000000000";
    let proof = |key: &SigningKey, claims: Value| {
        let head = json!({"alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(key.sha1())});
        let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = key.sign(SigningAlgorithm::Rs256, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let claims = |aud: &str, iss: &str, from: u64, to: u64| json!({"aud": aud, "iss": iss, "nbf": from, "exp": to});
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    let ask = async |token: &str, id: &str, action: &str, body: Value| -> (u16, Value) {
        let url = format!("https://localhost:{}/v1.0/applications(appId='{id}')/{action}", sandbox.graph().port());
        let request = http.post(url).bearer_auth(token).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    };
    let key = |kind: &str, usage: &str| json!({"type": kind, "usage": usage, "key": STANDARD.encode(other.der())});
    let addition = |key: Value, proof: &str| json!({"keyCredential": key, "passwordCredential": null, "proof": proof});
    let token = sandbox.issue_graph_token(None).unwrap();
    let good = claims(audience, &object, now, now + 600);
    let wrong = [
        proof(&other, good.clone()),
        proof(&own, claims("00000003-0000-0000-c000-000000000000", &object, now, now + 600)),
        proof(&own, claims(audience, client, now, now + 600)),
        proof(&own, claims(audience, &object, now, now + 601)),
        proof(&own, claims(audience, &object, now - 600, now)),
        proof(&own, claims(audience, &object, now + 3_600, now + 4_200)),
        "no.proof.atall".to_owned(),
        String::new(),
    ];
    let verify = || key("AsymmetricX509Cert", "Verify");
    for wrong in &wrong {
        for (action, body) in
            [("addKey", addition(verify(), wrong)), ("removeKey", json!({"keyId": "x", "proof": wrong}))]
        {
            let (status, body) = ask(token.expose(), client, action, body).await;
            assert_eq!((status, &body["error"]["code"]), (401, &"Authentication_MissingOrMalformed".into()), "{wrong}");
        }
    }
    let right = proof(&own, good);
    for (token, id, body, status, code) in [
        (token.expose(), "another", addition(verify(), &right), 404, "Request_ResourceNotFound"),
        (token.expose(), client, addition(key("AsymmetricX509Cert", "Sign"), &right), 400, "Request_BadRequest"),
        (token.expose(), client, json!({"proof": right}), 400, "Request_BadRequest"),
        ("no-token", client, addition(verify(), &right), 401, "InvalidAuthenticationToken"),
    ] {
        let (answered, body) = ask(token, id, "addKey", body).await;
        assert_eq!((answered, &body["error"]["code"]), (status, &code.into()));
    }
    assert_eq!(sandbox.certificates(), [own.thumbprint()]);
    let (status, body) = ask(token.expose(), client, "addKey", addition(verify(), &right)).await;
    assert_eq!((status, sandbox.certificates()), (200, vec![own.thumbprint(), other.thumbprint()]));
    let removal = json!({"keyId": body["keyId"], "proof": right});
    assert_eq!(ask(token.expose(), client, "removeKey", removal.clone()).await.0, 204);
    assert_eq!(ask(token.expose(), client, "removeKey", removal).await.0, 400);
    assert_eq!(sandbox.certificates(), [own.thumbprint()]);
}
