//! Faults of the network between Gatepost and Microsoft, and of the clock.

use gatepost_sandbox::{CertificateFault, EntraMode, Service, UpstreamMode};

use super::support::{SCANNER, World, app_only, fault, play, ten_minutes_later};
use crate::common::port::free_port;

const FAILED: (&str, &str) = ("network", "failed");

fn imap(world: &World, mode: UpstreamMode) {
    world.sandbox.set_upstream_mode(Service::Imap, mode);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_network() {
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(
                |world| {
                    let port = world.sandbox.imap().port();
                    world.replace(&format!("localhost:{port}"), "nowhere.invalid:993");
                },
                FAILED,
                "nowhere.invalid",
                "DNS",
            ),
            fault(
                |world| {
                    let port = world.sandbox.smtp().port();
                    world.replace(&format!("localhost:{port}"), &format!("localhost:{}", free_port()));
                },
                FAILED,
                "refused",
                "",
            ),
            fault(
                |world| imap(world, UpstreamMode::BadCertificate(CertificateFault::UntrustedAuthority)),
                FAILED,
                "issued by",
                "trust.additional_ca",
            ),
            fault(|world| imap(world, UpstreamMode::BadCertificate(CertificateFault::Expired)), FAILED, "expired", ""),
            fault(
                |world| {
                    let port = world.sandbox.smtp().port();
                    world.replace(
                        &format!("upstream: 'localhost:{port}'"),
                        &format!("upstream: 'localhost:{port}', upstream_tls: implicit"),
                    );
                },
                FAILED,
                "greets in plain text",
                "remove `upstream_tls: implicit`",
            ),
            fault(
                |world| {
                    let yaml = world.read();
                    world.write(&format!("{yaml}forward_proxy: {{url: 'http://127.0.0.1:{}'}}\n", free_port()));
                },
                FAILED,
                "proxy",
                "forward_proxy.url",
            ),
            fault(|world| world.sandbox.set_entra_mode(EntraMode::Html), ("entra", "failed"), "not one of Entra's", ""),
            fault(
                |world| {
                    let ca = rcgen::generate_simple_self_signed(vec!["another".to_owned()]).unwrap();
                    world.directory.write("ca.pem", ca.cert.pem());
                },
                FAILED,
                "issued by",
                "trust.additional_ca",
            ),
            fault(ten_minutes_later, ("host", "warning"), "behind Entra, tokens still work", "time service"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_skips_what_needs_it() {
    let world = World::new().await;
    imap(&world, UpstreamMode::Refuse);
    let report = world.examine(&[], "");
    report.expect(("mailboxes", "skipped"), "IMAP (network)", "");
    report.expect(("mailboxes", "ok"), "POP3: INBOX has 5 messages", "");
    world.sandbox.set_entra_mode(EntraMode::Down);
    let report = world.examine(&[], "");
    report.expect(("entra", "skipped"), "Entra cannot be reached (network)", "");
    report.expect(("mailboxes", "skipped"), "network", "");
    report.expect(("host", "skipped"), "clock not compared", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sign_in_is_known_without_entra() {
    let accounts = "  - {login: anna@contoso.example, grant: device_code}\n";
    play(
        accounts,
        vec![fault(
            |world| world.sandbox.set_entra_mode(EntraMode::Down),
            ("entra", "failed"),
            "nobody has signed in",
            "gatepost login anna@contoso.example",
        )],
    )
    .await;
}
