//! Faults on this machine: ports, certificates, device passwords, and what a client meets.

use std::net::TcpListener;

use super::support::{FAX, Fault, SCANNER, World, app_only, fault, play};

const CLIENTS: (&str, &str) = ("clients", "failed");

fn from(play: fn(&World), at: (&'static str, &'static str), text: &'static str, remedy: &'static str) -> Fault {
    Fault { play, arguments: &["--from", "192.168.7.21"], input: "", at, text, remedy }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_at_an_address_meets() {
    let nothing = |_: &World| {};
    play(
        &app_only(&[SCANNER]),
        vec![
            from(
                nothing,
                ("clients", "warning"),
                "refuses 192.168.7.21, which is not in `allow_from`",
                "add 192.168.7.21 to `listeners.imap.allow_from`",
            ),
            from(
                |world| world.replace("imap: {", "imap: {allow_from: 192.168.7.0/24, "),
                ("clients", "warning"),
                "no TLS, login refused",
                "`listeners.imap.allow_plaintext_from`",
            ),
            from(
                |world| {
                    world.replace(
                        "devices: {",
                        "devices: {allow_from: 192.168.7.0/24, trusted_senders: \
                         [{from: 192.168.7.21, login: scanner@contoso.example}], ",
                    );
                },
                ("clients", "ok"),
                "sends as scanner@contoso.example without a login",
                "",
            ),
            from(
                |world| {
                    world.replace(
                        "devices: {",
                        "devices: {allow_from: 192.168.7.0/24, trusted_senders: [{from: 192.168.7.21, \
                         login: scanner@contoso.example, recipient_domains: [contoso.example]}], ",
                    );
                },
                ("clients", "ok"),
                "to recipients in contoso.example alone",
                "",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_passwords_ports_and_certificates() {
    let world = World::new().await;
    world.add_passwords(&[SCANNER]);
    let held = TcpListener::bind(("127.0.0.1", world.port)).unwrap();
    let report = world.examine(&[], "");
    report.expect(CLIENTS, "no device password, so no client can log in", "gatepost password add fax@contoso.example");
    report.expect(("clients", "ok"), "1 device password", "");
    if cfg!(target_os = "linux") {
        let holder = format!("127.0.0.1:{} is in use by `", world.port);
        report.expect(CLIENTS, &holder, "stop that program, or set another port in `bind`");
    }
    drop(held);
    let report = world.examine(&[SCANNER], "");
    report.expect(("clients", "skipped"), "not open, because no service is running", "");
    assert_eq!(report.code, 0);
    let output = world
        .gatepost(&["password", "add", FAX, "--name", "Elsewhere", "--from", "203.0.113.7", "--protocol", "imap"], "");
    assert!(output.status.success());
    let report = world.examine(&[FAX], "");
    report.expect(("clients", "warning"), "limited to protocols or networks that no listener serves", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_or_is_for_another_name() {
    let certificate = |world: &World, names: &[&str], year: i32| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut made = rcgen::CertificateParams::new(names).unwrap();
        made.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        world.directory.write("server.pem", made.self_signed(&key).unwrap().pem());
        world.directory.write("server.key", key.serialize_pem());
    };
    let world = World::new().await;
    world.replace("imap: {", "imap: {tls: implicit, certificate: server.pem, private_key: server.key, ");
    certificate(&world, &["localhost", "127.0.0.1"], 2020);
    world.examine(&[], "").expect(CLIENTS, "certificate for localhost expired on 2020-01-01", "replace");
    certificate(&world, &["mail.contoso.example"], 4096);
    world.examine(&[], "").expect(("clients", "warning"), "certificate is not for 127.0.0.1", "--host 127.0.0.1");
    certificate(&world, &["localhost", "127.0.0.1"], 4096);
    let report = world.examine(&[], "");
    report.expect(("clients", "ok"), "certificate for localhost, ", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_old_devices_may_not_know() {
    play(
        &app_only(&[SCANNER]),
        vec![fault(
            |world| {
                assert!(world.gatepost(&["cert"], "").status.success());
                world.replace(
                    "devices: {",
                    "devices: {legacy: true, tls: implicit, certificate: certs/server.pem, \
                     private_key: certs/server.key, ",
                );
            },
            ("clients", "warning"),
            "old devices may not know the kind of key (ECDSA)",
            "gatepost cert --force --key rsa",
        )],
    )
    .await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_a_store_stays_so() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new().await;
    let state = world.directory.file("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    let report = world.examine(&[SCANNER], "");
    report.expect(("host", "ok"), "has no store yet", "");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_store() {
    const HOST: (&str, &str) = ("host", "failed");
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(
                |world| {
                    world.add_passwords(&[SCANNER]);
                    std::fs::remove_file(world.directory.file("state/state.key")).unwrap();
                },
                HOST,
                "state.key",
                "",
            ),
            fault(
                |world| {
                    world.add_passwords(&[SCANNER]);
                    world.directory.write("state/state.key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
                },
                HOST,
                "state.key",
                "",
            ),
            fault(
                |world| {
                    use std::os::unix::fs::PermissionsExt;
                    world.add_passwords(&[SCANNER]);
                    let key = world.directory.file("state/state.key");
                    std::fs::set_permissions(key, PermissionsExt::from_mode(0o755)).unwrap();
                },
                HOST,
                "state.key",
                "",
            ),
            fault(
                |world| {
                    world.directory.write("redis.key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
                    let state = format!(
                        "state: {{store: 'redis://127.0.0.1:{}', key: {{file: redis.key}}}}",
                        crate::common::port::free_port()
                    );
                    world.replace("state: {directory: state}", &state);
                },
                HOST,
                "redis://127.0.0.1:",
                "check that Redis is running, and that `state.store` names it",
            ),
        ],
    )
    .await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_of_another_user() {
    play(
        &app_only(&[SCANNER]),
        vec![fault(
            |world| {
                world.add_passwords(&[SCANNER]);
                let state = world.directory.file("state");
                // Only root can give a directory away.
                if std::os::unix::fs::chown(&state, Some(65_534), None).is_err() {
                    std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                }
            },
            ("host", "failed"),
            "state",
            "",
        )],
    )
    .await;
}
