//! SMTP listeners that take messages themselves, used by programs that were written for other
//! servers: swaks, msmtp, curl, Python's smtplib, and Postfix with Gatepost as its smarthost.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost_sandbox::{HttpFault, Service, UpstreamMode};
use serde_json::json;

use super::cloud::{Cloud, Instance, LOGIN, PASSWORD};
use super::message::{assert_same, assert_same_behind_trace, dotted, large_message, message};
use super::process::{Directory, Server, free_port, is_root, run, wait_for};

/// By SMTP, and every leniency.
const LEGACY: &str = "upstream: '{smtp}', legacy: true";
/// By SMTP, and none: somebody is trusted, but not from here.
const EXACT: &str = "upstream: '{smtp}', allow_from: [127.0.0.0/8, 10.0.0.0/8], trusted_senders: [{from: 10.1.1.1, login: device@contoso.example}]";
const GRAPH: &str = "deliver: graph, graph: '{graph}'";
const AUTO: &str = "deliver: auto, upstream: '{smtp}', graph: '{graph}'";
const TRUSTED: &str =
    "upstream: '{smtp}', trusted_senders: [{from: 127.0.0.1, login: alice@contoso.example, messages_per_minute: 1000}]";

fn start(cloud: &Cloud, keys: &str) -> (Instance, u16) {
    let port = free_port();
    let listener = format!("  smtp: {{bind: '127.0.0.1:{port}', {keys}}}");
    let application = format!("client_id: {}, client_secret: sandbox-secret", cloud.sandbox.confidential_client_id());
    let accounts = match keys {
        TRUSTED => format!("  - {{login: {LOGIN}, grant: client_credentials, {application}}}"),
        EXACT => format!(
            "  - login: \"*@contoso.example\"\n  - {{login: device@contoso.example, grant: client_credentials, {application}}}"
        ),
        _ => "  - login: \"*@contoso.example\"".to_owned(),
    };
    (cloud.gatepost(&listener, &format!("accounts:\n{accounts}"), &[port]), port)
}

/// Message `number` from and to Alice, whom Graph must find in the header.
fn mail(number: usize) -> Vec<u8> {
    addressed(&message(number))
}

fn addressed(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    let others = header.split("\r\n").filter(|line| !line.starts_with("From:") && !line.starts_with("To:"));
    let header: String = others.map(|line| format!("{line}\r\n")).collect();
    format!("From: {LOGIN}\r\nTo: {LOGIN}\r\n{header}\r\n{body}").into_bytes()
}

/// Takes what has arrived.
fn arrived(cloud: &Cloud) -> Vec<Vec<u8>> {
    let messages = cloud.sandbox.messages(LOGIN, "INBOX").iter().map(|message| message.to_vec()).collect();
    cloud.sandbox.empty(LOGIN);
    messages
}

fn swaks(port: u16, message: &[u8], options: &[&str]) -> super::process::Finished {
    let directory = Directory::new();
    // Without its fix-up swaks sends a file as it is: the dots of RFC 5321 §4.5.2 are ours.
    let data = directory.write("data", dotted(message));
    let mut command = Command::new("swaks");
    command.args([
        "--server",
        "localhost",
        "--timeout",
        "120",
        "--ehlo",
        "client.example",
        "--port",
        &port.to_string(),
    ]);
    command.args(["--no-data-fixup", "--from", LOGIN, "--to", LOGIN, "--data"]).arg(format!("@{}", data.display()));
    run(command.args(options))
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn swaks_pipelines_by_every_way() {
    let cloud = Cloud::start([]);
    let login = ["--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", PASSWORD];
    for keys in [EXACT, LEGACY, GRAPH, AUTO, TRUSTED] {
        let (gatepost, port) = start(&cloud, keys);
        for pipeline in [&["--pipeline"][..], &[]] {
            let options = if keys == TRUSTED { pipeline.to_vec() } else { [&login[..], pipeline].concat() };
            swaks(port, &mail(7), &options).expect_success(keys);
            let arrived = arrived(&cloud);
            assert_eq!(arrived.len(), 1, "{keys}");
            assert_same_behind_trace(&arrived[0], &mail(7), keys);
        }
        assert_eq!(gatepost.stop().matches("outcome=sent").count(), 2, "{keys}");
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn swaks_sends_sixty_megabytes_and_hears_where_that_is_too_much() {
    let cloud = Cloud::start([]);
    let large = addressed(&large_message(60 * 1_024 * 1_024));
    let login = ["--auth", "LOGIN", "--auth-user", LOGIN, "--auth-password", PASSWORD];
    let (gatepost, port) = start(&cloud, LEGACY);
    swaks(port, &large, &login).expect_success("60 MB");
    assert_same_behind_trace(&arrived(&cloud)[0], &large, "60 MB");
    gatepost.stop();

    let (gatepost, port) = start(&cloud, GRAPH);
    let refused = swaks(port, &large, &login);
    let dialogue = String::from_utf8_lossy(&refused.stdout).into_owned();
    // 26: the server refused the message.
    assert_eq!(refused.status.code(), Some(26), "{dialogue}");
    assert!(dialogue.contains("552 5.3.4"), "it hears why, behind all of it: {dialogue}");
    assert!(arrived(&cloud).is_empty());
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn msmtp_and_curl_submit_by_every_way() {
    let cloud = Cloud::start([]);
    let directory = Directory::new();
    let file = directory.write("message", mail(5));
    for keys in [EXACT, GRAPH, TRUSTED] {
        let (gatepost, port) = start(&cloud, keys);
        let auth = match keys {
            TRUSTED => "auth off".to_owned(),
            _ => format!(
                "auth plain\nuser {LOGIN}\npasswordeval cat {}",
                directory.write("password", format!("{PASSWORD}\n")).display()
            ),
        };
        let configuration = directory.write(
            "msmtprc",
            format!("account default\nhost localhost\nport {port}\nfrom {LOGIN}\n{auth}\ntls off\ntimeout 60\n"),
        );
        let mut msmtp = Command::new("sh");
        msmtp.args(["-c", r#"exec msmtp --debug --file="$1" -- alice@contoso.example <"$2""#, "sh"]);
        run(msmtp.arg(configuration).arg(&file)).expect_success(keys);
        assert_same_behind_trace(&arrived(&cloud)[0], &mail(5), keys);

        let mut curl = Command::new("curl");
        curl.args(["-sS", "--verbose", "--noproxy", "*", "--mail-from", LOGIN, "--mail-rcpt", LOGIN, "--upload-file"]);
        curl.arg(&file).arg(format!("smtp://localhost:{port}/client.example"));
        if keys != TRUSTED {
            curl.args(["--user", &format!("{LOGIN}:{PASSWORD}")]);
        }
        run(&mut curl).expect_success(keys);
        assert_same_behind_trace(&arrived(&cloud)[0], &mail(5), keys);
        gatepost.stop();
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn smtplib_does_what_is_right_and_what_is_wrong() {
    let cloud = Cloud::start([]);
    let directory = Directory::new();
    let large = directory.write("large", addressed(&large_message(5 * 1_024 * 1_024)));
    // The 500 that Exchange takes, or what Gatepost itself does.
    for (keys, recipients) in [(EXACT, 500), (GRAPH, 1_000)] {
        let (gatepost, port) = start(&cloud, keys);
        let settings = json!({
            "port": port,
            "login": LOGIN,
            "password": PASSWORD,
            "message": String::from_utf8(mail(3)).unwrap(),
            "flawed": 554,
            "recipients": recipients,
            "large": large,
            "too_large": keys == GRAPH,
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/submission.py");
        run(Command::new("python3").arg("-B").arg(script).arg(settings.to_string())).expect_success(keys);
        let arrived = arrived(&cloud);
        assert_eq!(arrived.len(), if keys == GRAPH { 3 } else { 4 }, "{keys}");
        for message in &arrived[..3] {
            assert_same_behind_trace(message, &mail(3), keys);
        }
        // The session that broke off ends a moment after its client.
        gatepost.stop_after("cause=client-broke");
    }
}

/// A Postfix of its own, with Gatepost as its smarthost.
struct Postfix {
    server: Server,
    port: u16,
    log: PathBuf,
    directory: Directory,
}

impl Postfix {
    fn start(smarthost: u16, logs_in: bool) -> Self {
        assert!(is_root(), "Postfix is started by root, and drops it");
        let directory = Directory::new();
        let path = directory.path();
        for part in ["queue", "data"] {
            fs::create_dir(path.join(part)).unwrap();
        }
        run(Command::new("chown").arg("postfix").arg(path.join("data"))).expect_success("chown");
        let (port, log) = (free_port(), path.join("log"));
        let passwords = directory.write("passwords", format!("[127.0.0.1]:{smarthost} {LOGIN}:{PASSWORD}\n"));
        let at = path.display();
        directory.write(
            "main.cf",
            format!(
                "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
                 maillog_file = {log}\nmaillog_file_prefixes = {at}\n\
                 myhostname = relay.example\nmydestination =\nmynetworks = 127.0.0.0/8\ninet_protocols = ipv4\n\
                 alias_maps =\nlocal_recipient_maps =\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
                 message_size_limit = 0\nmailbox_size_limit = 0\nminimal_backoff_time = 3s\nmaximal_backoff_time = 3s\n\
                 queue_run_delay = 1s\nrelayhost = [127.0.0.1]:{smarthost}\nsmtp_tls_security_level = none\n\
                 smtp_sasl_auth_enable = {auth}\nsmtp_sasl_password_maps = texthash:{passwords}\n\
                 smtp_sasl_security_options =\nsmtp_sasl_mechanism_filter = plain, login\n",
                log = log.display(),
                auth = if logs_in { "yes" } else { "no" },
                passwords = passwords.display(),
            ),
        );
        directory.write(
            "master.cf",
            format!(
                "127.0.0.1:{port} inet n - n - - smtpd\n\
                 pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
                 rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
                 trace unix - - n - 0 bounce\nverify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\n\
                 proxymap unix - - n - - proxymap\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
                 error unix - - n - - error\nretry unix - - n - - error\ndiscard unix - - n - - discard\n\
                 scache unix - - n - 1 scache\nanvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n"
            ),
        );
        let mut command = Command::new("postfix");
        command.arg("-c").arg(path).arg("start-fg");
        let mut server = Server::start("postfix", &mut command, path.join("output"));
        // Its port is open before it can serve.
        server.wait_until("greet", || {
            let mut greeting = [0; 17];
            let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            connection.and_then(|mut it| it.read_exact(&mut greeting)).is_ok() && &greeting == b"220 relay.example"
        });
        Self { server, port, log, directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Its master is in a session of its own, which ends with it.
        run(Command::new("postfix").arg("-c").arg(self.directory.path()).arg("stop"));
        self.server.stop();
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn postfix_relays_a_burst_and_keeps_what_cannot_go_now() {
    const BURST: usize = 20;
    let cloud = Cloud::start([]);
    for (number_of_way, keys) in [LEGACY, GRAPH, TRUSTED].into_iter().enumerate() {
        let (gatepost, port) = start(&cloud, keys);
        let postfix = Postfix::start(port, keys != TRUSTED);
        for number in 0..BURST {
            swaks(postfix.port, &mail(number), &["--pipeline"]).expect_success("hand a message to Postfix");
        }
        let all = wait_for("burst of messages", || {
            let count = cloud.sandbox.messages(LOGIN, "INBOX").len();
            assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());
            (count == BURST).then_some(count)
        });
        assert_eq!(all, BURST, "{keys}");
        for message in arrived(&cloud) {
            let text = String::from_utf8(message).unwrap();
            let sent = (0..BURST).find(|number| {
                let body = String::from_utf8(mail(*number)).unwrap();
                text.ends_with(body.split_once("\r\n\r\n").unwrap().1)
            });
            assert!(sent.is_some(), "{keys}: {text}");
        }

        // A fault that passes: Postfix keeps the message, and tries again.
        match keys {
            GRAPH => cloud.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::status(500), 1_000),
            _ => cloud.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable),
        }
        // A message that nobody has sent before: Gatepost would find the copy.
        swaks(postfix.port, &mail(50 + number_of_way), &[]).expect_success("hand a message to Postfix");
        wait_for("deferral", || postfix.log().contains("status=deferred").then_some(()));
        cloud.sandbox.clear_http_faults(Service::Graph);
        cloud.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
        wait_for("late message", || (cloud.sandbox.messages(LOGIN, "INBOX").len() == 1).then_some(()));
        let log = postfix.log();
        assert!(!log.contains("status=bounced"), "{log}");
        arrived(&cloud);
        drop(postfix);
        gatepost.stop();
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn what_goes_out_is_what_came_in() {
    // Everything between the wire of a client and the wire of Exchange, with an odd message: dots,
    // long lines, no last line.
    let cloud = Cloud::start([]);
    let (gatepost, port) = start(&cloud, EXACT);
    let directory = Directory::new();
    let odd = format!("From: {LOGIN}\r\nTo: {LOGIN}\r\n\r\n.\r\n..\r\n...x\r\n{}\r\n\r\n.\r\n", "x".repeat(5_000));
    let file = directory.write("message", &odd);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--mail-from", LOGIN, "--mail-rcpt", LOGIN, "--upload-file"]).arg(&file);
    curl.args(["--user", &format!("{LOGIN}:{PASSWORD}")]).arg(format!("smtp://localhost:{port}/client.example"));
    run(&mut curl).expect_success("curl");
    let arrived = arrived(&cloud);
    let begin = arrived[0].windows(5).position(|window| window == b"From:").unwrap();
    assert_same(&arrived[0][begin..], odd.as_bytes(), "an odd message");
    gatepost.stop();
}
