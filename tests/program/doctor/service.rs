//! In the running service, over its socket: with its secrets, and step by step.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use gatepost_core::clock::Clock;
use gatepost_sandbox::{Service, UpstreamMode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::support::{ALICE, ALICES, ANNA, FAX, SCANNER, World, app_only};
use crate::common::wait::{PATIENCE, until, wait_until};
use crate::service::{self, log_in};

impl World {
    /// Runs the service, which alone has the secret.
    fn serve(&self) -> service::Service {
        let service = self.serve_without_socket();
        wait_until("it has its socket", || self.directory.file("state/gatepost.sock").exists());
        service
    }

    fn serve_without_socket(&self) -> service::Service {
        self.directory.write("credentials/client-secret", "sandbox-secret\n");
        let log = std::fs::File::create(self.directory.file("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .arg("run")
            .current_dir(self.directory.path())
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", self.directory.file("credentials"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        service::Service::listening(child, self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.file("log")).unwrap()
    }

    async fn ask(&self, form: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(self.directory.file("state/gatepost.sock")).await.unwrap();
        let head = format!(
            "POST /doctor HTTP/1.1\r\nHost: gatepost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }
}

async fn with_secret_of_service() -> World {
    let world = World::with(&app_only(&[SCANNER, FAX]), Clock::system()).await;
    world.add_passwords(&[SCANNER, FAX]);
    world.replace("client_secret: {file: secret}", "client_secret: {credential: client-secret}");
    world
}

/// The next line with an event.
async fn event(stream: &mut BufReader<UnixStream>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if timeout(PATIENCE, stream.read_line(&mut line)).await.expect("no answer").unwrap() == 0 {
            return None;
        }
        if line.starts_with('{') {
            return Some(serde_json::from_str(&line).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_examines_with_secrets_that_the_shell_has_not() {
    let world = with_secret_of_service().await;
    let service = world.serve();
    let report = world.examine(&[], "");
    assert_eq!(report.with("failed"), Vec::<&Value>::new());
    assert_eq!((report.code, report.document["running"].as_bool()), (0, Some(true)));
    report.expect(("clients", "ok"), "open at 127.0.0.1:", "");
    report.expect(("mailboxes", "ok"), "SMTP: may send", "");
    let output = world.gatepost(&["doctor"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Checking proxy.yaml in the running service (pid "), "{text}");

    // A fault that begins while it runs.
    world.sandbox.set_protocol_enabled(SCANNER, Service::Imap, false);
    let report = world.examine(&[], "");
    report.expect(("mailboxes", "failed"), "POP3 accepted it", "-ImapEnabled $true");
    // A token permits what Entra permits now, whatever the cache has.
    world.sandbox.set_exchange_consent(Some(&["POP.AccessAsApp"]));
    let report = world.examine(&[], "");
    report.expect(("permissions", "failed"), "IMAP.AccessAsApp is not in the token (it has POP.AccessAsApp", "");
    drop(service);

    // Without the service the secret is missing, and that is a matter of the configuration.
    let output = world.gatepost(&["doctor"], "");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_come_one_after_the_other_and_the_examination_ends_with_its_reader() {
    let world = with_secret_of_service().await;
    let _service = world.serve();
    world.sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Hang);
    let mut stream = world.ask("").await;
    assert_eq!(event(&mut stream).await.unwrap()["event"], "begin");
    let mut seen = Vec::new();
    while seen.last() != Some(&"network".to_owned()) {
        let event = event(&mut stream).await.expect("it has ended before");
        let what = if event["event"] == "working" { &event["section"] } else { &event["event"] };
        seen.push(what.as_str().unwrap().to_owned());
    }
    assert!(seen.contains(&"step".to_owned()), "{seen:?}");
    // Two at a time, and no more.
    let mut second = world.ask("").await;
    event(&mut second).await.unwrap();
    let mut line = String::new();
    timeout(PATIENCE, world.ask("").await.read_line(&mut line)).await.unwrap().unwrap();
    assert!(line.starts_with("HTTP/1.1 409 "), "{line}");
    drop((stream, second));
    until("a place is free again", async || {
        let mut line = String::new();
        timeout(PATIENCE, world.ask("").await.read_line(&mut line)).await.unwrap().unwrap();
        line.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_read_is_refused() {
    let world = with_secret_of_service().await;
    let _service = world.serve();
    for form in ["login=%01", "from=somewhere", "send_test=nobody"] {
        let mut line = String::new();
        timeout(PATIENCE, world.ask(form).await.read_line(&mut line)).await.unwrap().unwrap();
        assert!(line.starts_with("HTTP/1.1 422 "), "{form}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_users_password_needs_it() {
    let world = World::with(&format!("  - {{login: {ALICE}, grant: password}}\n"), Clock::system()).await;
    world.write(&format!("{}log: {{audit: {{file: audit.jsonl}}}}\n", world.read()));
    let _service = world.serve();
    let mut line = String::new();
    timeout(PATIENCE, world.ask(&format!("login={ALICE}")).await.read_line(&mut line)).await.unwrap().unwrap();
    assert!(line.starts_with("HTTP/1.1 422 "), "{line}");
    let output = world.gatepost(&["doctor", ALICE], "");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("`gatepost doctor --login alice@contoso.example"), "{complaint}");

    // What it does beyond looking is in the audit log.
    let report = world.examine(&["--login", ALICE, "--send"], &format!("{ALICES}\n"));
    report.expect(("mailboxes", "ok"), "SMTP: sent a message to alice@contoso.example", "");
    let audit = || std::fs::read_to_string(world.directory.file("audit.jsonl")).unwrap_or_default();
    let has = |done: &str| {
        let is_it = |line: &str| {
            let parts = [&format!("\"{done}\""), ALICE, "\"command-line (uid "];
            parts.iter().all(|part| line.contains(*part))
        };
        audit().lines().any(is_it)
    };
    wait_until("it is in the audit log", || has("doctor-password") && has("doctor-message"));
    assert_eq!(audit().matches("doctor-").count(), 2, "{}", audit());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_rejects_a_cached_token_is_not_asked_again_with_a_users_password() {
    let world = World::with(&format!("  - {{login: {ALICE}, grant: password}}\n"), Clock::system()).await;
    let _service = world.serve();
    let (_open, reply) = log_in(world.port, ALICE, ALICES);
    assert!(reply.starts_with("OK"), "{reply}");
    world.sandbox.set_protocol_enabled(ALICE, Service::Imap, false);
    let requests = || world.sandbox.counters().token_requests_of("password", ALICE);
    let before = requests().succeeded;
    let report = world.examine(&["--login", ALICE], &format!("{ALICES}\n"));
    let text = "IMAP: Exchange Online rejected a valid token, POP3 accepted it";
    report.expect(("mailboxes", "failed"), text, "-ImapEnabled $true");
    // One for Graph. That for Exchange is cached.
    assert_eq!((requests().succeeded - before, requests().refused), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_socket_keeps_its_addresses() {
    let world = World::new().await;
    world.add_passwords(&[SCANNER, FAX]);
    world.write(&format!("{}admin: {{socket: none}}\n", world.read()));
    let _service = world.serve_without_socket();
    let report = world.examine(&[SCANNER], "");
    assert_eq!(report.document["running"], Value::Null);
    let taken = |step: &&Value| step["section"] == "clients" && step["text"].as_str().unwrap().contains("in use");
    if cfg!(target_os = "linux") {
        let text = format!("127.0.0.1:{} is in use by `gatepost` (process ", world.port);
        report.expect(("clients", "skipped"), &text, "");
        assert!(report.steps().iter().filter(taken).all(|step| step["outcome"] == "skipped"), "{:#?}", report.steps());
    }
    let output = world.gatepost(&["doctor", SCANNER], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("Whether a service is running is not known, because it has no control socket. "),
        "{text}"
    );
    // Nothing was bound meanwhile.
    assert!(!log_in(world.port, SCANNER, "wrong").1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_configuration_and_a_key_that_no_longer_fits_are_told() {
    let world = World::new().await;
    world.add_passwords(&[SCANNER, FAX]);
    for directory in ["certs", "other"] {
        assert!(world.gatepost(&["cert", "--directory", directory], "").status.success());
    }
    world.replace("pop3: {", "pop3: {tls: implicit, certificate: certs/server.pem, private_key: certs/server.key, ");
    let _service = world.serve();
    std::fs::copy(world.directory.file("other/server.key"), world.directory.file("certs/server.key")).unwrap();
    let scope = "microsoft:\n  scope: https://graph.microsoft.com/.default";
    world.replace("microsoft:", scope);
    assert!(!world.gatepost(&["reload"], "").status.success());
    let report = world.examine(&[SCANNER, "--socket", "state/gatepost.sock"], "");
    let text = "the changed configuration was rejected, the former one is in use";
    report.expect(("configuration", "failed"), text, "run `gatepost reload`");
    report.expect(("clients", "failed"), "certificate cannot be used: ", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_full_keeps_its_places() {
    let world = with_secret_of_service().await;
    world.replace("connections: 1000", "connections: 1000, imap_sessions_per_mailbox: 1");
    let output = world.gatepost(&["password", "add", SCANNER, "--name", "Held"], "");
    let password = service::shown(&String::from_utf8(output.stdout).unwrap());
    let _service = world.serve();
    let (_held, reply) = log_in(world.port, SCANNER, &password);
    assert!(reply.starts_with("OK"), "{reply}");
    let report = world.examine(&[], "");
    report.expect(("mailboxes", "skipped"), "IMAP: all sessions that the mailbox may have are in use", "");
    report.expect(("mailboxes", "ok"), "IMAP: INBOX has 5 messages", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_says_which_accounts_fail_at_once() {
    let world = with_secret_of_service().await;
    world.replace("accounts:\n", &format!("accounts:\n  - {{login: {ANNA}, grant: device_code}}\n"));
    let _service = world.serve();
    let line = "clients of anna@contoso.example cannot log in. Gatepost admin: run `gatepost doctor`";
    wait_until("it says so", || world.log().contains(line));
    assert!(!world.log().contains("clients of scanner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_that_count_are_shown_with_the_command_that_forgets_them() {
    let world = World::with(&format!("  - {{login: {ALICE}, grant: password}}\n"), Clock::system()).await;
    let _service = world.serve();
    let (_closed, reply) = log_in(world.port, ALICE, "wrong");
    assert!(reply.starts_with("NO"), "{reply}");
    let report = world.examine(&[], "");
    report.expect(("clients", "warning"), "1 wrong password counts", "gatepost account unlock alice@contoso.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_sendmail_is_tested_in_the_service() {
    let world = World::new().await;
    world.add_passwords(&[SCANNER, FAX]);
    let yaml = world.read();
    let section = |users: &str| {
        format!("{yaml}sendmail: {{login: {SCANNER}, listener: smtp, socket: programs/s, users: {users}}}\n")
    };
    let directory = world.directory.file("programs");
    std::fs::create_dir(&directory).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    set_mode(0o711);
    world.write(&section("[]"));
    world.examine(&[], "").expect(("clients", "skipped"), "no service answers", "");
    let service = world.serve();
    wait_until("it has its socket", || directory.join("s").exists());
    let report = world.examine(&[], "");
    report.expect(("clients", "ok"), "and programs of root and the service's user may send", "");

    // Somebody has removed the socket, or put something else there.
    std::fs::rename(directory.join("s"), directory.join("kept")).unwrap();
    world.examine(&[], "").expect(("clients", "failed"), "no socket at `", "restart Gatepost");
    std::fs::write(directory.join("s"), "").unwrap();
    world.examine(&[], "").expect(("clients", "failed"), "is no socket", "remove `");
    std::fs::remove_file(directory.join("s")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(directory.join("s")).unwrap());
    world.examine(&[], "").expect(("clients", "failed"), "nothing answers at `", "restart Gatepost");
    drop(service);

    // A user other than the service's own does not reach a closed directory.
    std::fs::remove_file(directory.join("s")).unwrap();
    set_mode(0o700);
    world.write(&section("['64321']"));
    let _service = world.serve();
    wait_until("it has its socket", || directory.join("s").exists());
    let report = world.examine(&[], "");
    report.expect(("clients", "failed"), "has mode 0700", "RuntimeDirectoryMode=0711");
    report.expect(("clients", "ok"), "may send", "");
}
