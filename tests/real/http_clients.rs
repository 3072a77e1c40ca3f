//! curl at the EWS and Graph listeners: both versions of HTTP, with and without TLS.

use std::process::Command;

use serde_json::{Value, json};

use super::cloud::{Cloud, LOGIN, PASSWORD};
use super::process::{Directory, Finished, free_port, run};

/// Runs curl; what it prints ends with a line of version and status.
fn curl(options: &[&str], url: &str) -> Finished {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
    command.args(["--write-out", "\n%{http_version} %{http_code}", "--user", &format!("{LOGIN}:{PASSWORD}")]);
    run(command.args(options).arg(url)).expect_success(&format!("{options:?} {url}"))
}

fn told(finished: &Finished) -> (&str, &str) {
    let text = std::str::from_utf8(&finished.stdout).unwrap();
    text.rsplit_once('\n').unwrap()
}

#[test]
#[ignore = "needs curl: run tests/run"]
fn curl_reads_and_sends_over_both_versions_of_http() {
    let messages: Vec<Vec<u8>> =
        (0..5).map(|number| format!("Subject: number {number}\r\n\r\nx\r\n").into_bytes()).collect();
    let cloud = Cloud::start(messages);
    let made = rcgen::generate_simple_self_signed(vec!["gateway.corp.example".to_owned()]).unwrap();
    let directory = Directory::new();
    let certificate = directory.write("server.pem", made.cert.pem());
    let key = directory.write("server.key", made.signing_key.serialize_pem());
    let [plain, tls, ews] = [free_port(), free_port(), free_port()];
    let instance = cloud.gatepost(
        &format!(
            "  plain: {{protocol: graph, bind: '127.0.0.1:{plain}', upstream: '{{graph}}'}}\n  \
             tls: {{protocol: graph, bind: '127.0.0.1:{tls}', upstream: '{{graph}}', tls: implicit, certificate: {}, private_key: {}}}\n  \
             ews: {{bind: '127.0.0.1:{ews}', upstream: 'localhost:{}'}}",
            certificate.display(),
            key.display(),
            cloud.sandbox.ews().port(),
        ),
        "",
        &[plain, tls, ews],
    );
    let at_tls = format!("gateway.corp.example:{tls}:127.0.0.1");
    let certificate = certificate.to_str().unwrap();
    let over_tls = ["--resolve", &at_tls, "--cacert", certificate];
    let plain_url = format!("http://127.0.0.1:{plain}");
    let tls_url = format!("https://gateway.corp.example:{tls}");
    for (version, options, base) in [
        ("1.1", vec!["--http1.1"], &plain_url),
        ("2", vec!["--http2-prior-knowledge"], &plain_url),
        ("1.1", [&over_tls[..], &["--http1.1"]].concat(), &tls_url),
        ("2", [&over_tls[..], &["--http2"]].concat(), &tls_url),
    ] {
        // Page by page, as the links lead.
        let mut next = format!("{base}/v1.0/me/mailFolders/inbox/messages?%24top=2&%24select=subject");
        let mut subjects = 0;
        loop {
            let finished = curl(&options, &next);
            let (page, status) = told(&finished);
            assert_eq!(status, format!("{version} 200"), "{page}");
            let page: Value = serde_json::from_str(page).unwrap();
            subjects += page["value"].as_array().unwrap().len();
            let Some(link) = page["@odata.nextLink"].as_str() else { break };
            assert!(link.starts_with(base.as_str()), "{link}");
            next = link.to_owned();
        }
        assert_eq!(subjects, 5);
        let message = json!({"message": {
            "subject": format!("over {version}"), "body": {"contentType": "text", "content": "x".repeat(200_000)},
            "toRecipients": [{"emailAddress": {"address": LOGIN}}],
        }});
        let body = directory.write("message.json", message.to_string());
        let body = format!("@{}", body.display());
        // So large a body waits to be asked for.
        let send = [
            &options[..],
            &["--header", "Content-Type: application/json", "--header", "Expect: 100-continue", "--data-binary", &body],
        ]
        .concat();
        let finished = curl(&send, &format!("{base}/v1.0/me/sendMail"));
        assert_eq!(told(&finished).1, format!("{version} 202"), "{}", told(&finished).0);
        cloud.sandbox.empty(LOGIN);
        for number in 0..5 {
            assert!(cloud.sandbox.deliver(LOGIN, format!("Subject: number {number}\r\n\r\nx\r\n").as_bytes()));
        }
    }
    // curl begins without the password when it is to find out by itself how to log in.
    let soap = "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' \
         xmlns:m='http://schemas.microsoft.com/exchange/services/2006/messages'><s:Body><m:GetServerTimeZones/></s:Body></s:Envelope>";
    let any = ["--anyauth", "--header", "Content-Type: text/xml", "--data", soap];
    let finished = curl(&any, &format!("http://localhost:{ews}/EWS/Exchange.asmx"));
    assert_eq!(told(&finished).1, "1.1 200", "{}", told(&finished).0);
    instance.stop();
}
