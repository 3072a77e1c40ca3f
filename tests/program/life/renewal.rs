//! The program renews a certificate within its confinement, and says everywhere when that fails.

use std::time::{Duration, SystemTime};

use gatepost_sandbox::{HttpFault, Service};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::common::wait::wait_until;
use crate::life::client::Client;
use crate::life::program::World;

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_a_confined_process_and_a_failure_is_shown_everywhere() {
    let world = World::new().await;
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 20 * DAY).into();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::create_dir(world.path("keys")).unwrap();
    world.write("keys/app.pem", &certificate);
    world.write("keys/app.key", &key.serialize_pem());
    let sandbox = &world.sandbox;
    sandbox.add_certificate(&certificate).unwrap();
    world.write(
        "proxy.yaml",
        &format!(
            "listeners:\n\
             \x20 imap: {{bind: '{}', upstream: 'localhost:{}'}}\n\
             microsoft:\n\
             \x20 authority: 'https://localhost:{}/'\n\
             \x20 tenant: contoso.example\n\
             \x20 client_id: {}\n\
             \x20 grant: password\n\
             \x20 client_certificate:\n\
             \x20   certificate: keys/app.pem\n\
             \x20   private_key: keys/app.key\n\
             \x20   renew: 30d\n\
             \x20   object_id: {}\n\
             \x20   graph: 'https://localhost:{}/'\n\
             accounts: [{{login: '*'}}]\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             admin: {{socket: gatepost.sock}}\n",
            world.imap,
            sandbox.imap().port(),
            sandbox.entra().port(),
            sandbox.confidential_client_id(),
            sandbox.application_object_id(),
            sandbox.graph().port(),
        ),
    );
    let checked = world.run(&["check"]);
    let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.contains("cannot renew the certificate"), "{checked}");

    sandbox.fail_http(Service::Graph, "addKey", HttpFault::code(403, "Authorization_RequestDenied"), usize::MAX);
    let mut program = world.start(&[]);
    program.says("keys/app.pem` was not renewed and stays in use: Microsoft Graph did not add the new certificate");
    let told = "Microsoft 365 admin: look for an app management policy";
    // The ends of certificates are looked up once a minute, so the first look is the one that counts.
    let status = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    assert!(status.contains("was not renewed") && status.contains(told), "{status}");
    let doctor = world.run(&["doctor"]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("its renewal failed") && doctor.contains("app management policy"), "{doctor}");
    Client::imap(world.imap).await.works().await;
    program.kill();

    sandbox.clear_http_faults(Service::Graph);
    let mut program = world.start(&[]);
    program.says("outcome=certificate-installed");
    wait_until("the record says so", || {
        std::fs::read_to_string(world.path("keys/app.pem.renewal")).is_ok_and(|record| record.contains("installed"))
    });
    let renewed = std::fs::read_to_string(world.path("keys/app.pem")).unwrap();
    assert_ne!(renewed, certificate);
    let key = std::fs::read_to_string(world.path("keys/app.key")).unwrap();
    let (log, record) = (program.log(), std::fs::read_to_string(world.path("keys/app.pem.renewal")).unwrap());
    for secret in [key.lines().nth(1).unwrap(), "PRIVATE KEY", "eyJ"] {
        assert!(!log.contains(secret) && !record.contains(secret));
    }
    assert_eq!(sandbox.certificates().len(), 2);
    Client::imap(world.imap).await.works().await;
    let status = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    assert!(status.contains("renewed by Gatepost") && !status.contains("not renewed"), "{status}");
}
