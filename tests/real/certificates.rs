//! OpenSSL as a client that knows RSA only, and the certificates of `gatepost cert`.

use std::path::Path;
use std::process::Command;

use super::microsoft::{Gateway, Microsoft, PASSWORD};
use super::process::{Finished, run};

/// Connects as a device would whose TLS has RSA keys only, and verifies the certificate.
fn rsa_only(gateway: &Gateway, authority: &Path) -> Finished {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-tls1_2", "-cipher", "aRSA", "-sigalgs", "RSA+SHA256", "-brief"]);
    client.args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"]).arg(authority);
    run(client.arg("-connect").arg(format!("localhost:{}", gateway.ews)))
}

#[test]
#[ignore = "needs OpenSSL: run tests/run"]
fn a_client_that_knows_rsa_only_accepts_the_certificate_that_is_made_for_it() {
    let microsoft = Microsoft::start();
    for (kind, fits) in [("rsa", true), ("p256", false)] {
        let directory = microsoft.directory.path().join(kind);
        let mut cert = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        run(cert.args(["cert", "--key", kind, "--directory"]).arg(&directory)).expect_success("gatepost cert");
        let file = |name: &str| directory.join(name).display().to_string();
        let tls = format!(", tls: implicit, certificate: {}, private_key: {}", file("server.pem"), file("server.key"));
        let gateway = Gateway::start_with(&microsoft, "  - login: \"*@contoso.example\"\n", &tls);
        let Finished { status, stderr, .. } = rsa_only(&gateway, &directory.join("ca.pem"));
        assert_eq!(status.success(), fits, "{kind}: {stderr}");
        assert_eq!(stderr.contains("Verification: OK"), fits, "{kind}: {stderr}");
        gateway.stop(PASSWORD);
    }
}
