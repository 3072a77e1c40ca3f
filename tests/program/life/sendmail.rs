//! `gatepost sendmail`: what programs write to it, the exit codes that they see, and what becomes of a
//! message when the service is away, is replaced, or refuses.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gatepost_sandbox::{Service, UpstreamMode};
use rustix::process::Signal;

use super::program::{ALICE, GATEPOST, Program, World};
use crate::common::wait::wait_for;

/// A user that no machine has.
const STRANGER: u32 = 64_321;

/// Exit codes of sysexits.h.
const OK: i32 = 0;
const USAGE: i32 = 64;
const DATA_ERR: i32 = 65;
const NO_USER: i32 = 67;
const UNAVAILABLE: i32 = 69;
const TEMP_FAIL: i32 = 75;
const NO_PERM: i32 = 77;

/// A Microsoft 365, and a configuration whose programs send as Alice. `keys` are of the section
/// `sendmail`.
async fn world(keys: &str) -> World {
    let world = World::new().await;
    configure(&world, keys);
    world
}

fn configure(world: &World, keys: &str) {
    let mut yaml = String::new();
    let sandbox = &world.sandbox;
    write!(
        yaml,
        "listeners:\n  smtp: {{bind: '{}', upstream: 'localhost:{}'}}\n\
         microsoft: {{authority: 'https://localhost:{}/', tenant: contoso.example, client_id: {}, \
         client_secret: sandbox-secret, grant: client_credentials}}\n\
         accounts: [{{login: {ALICE}}}]\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n\
         state: {{directory: state}}\n\
         admin: {{socket: gatepost.sock}}\n\
         sendmail: {{login: {ALICE}, socket: sendmail.sock{keys}}}\n",
        world.smtp,
        sandbox.smtp().port(),
        sandbox.entra().port(),
        sandbox.confidential_client_id(),
    )
    .unwrap();
    world.write("proxy.yaml", &yaml);
}

/// Runs a command that finds the socket of the service, with this text on standard input.
fn run(mut command: Command, socket: &Path, text: impl AsRef<[u8]>) -> Output {
    command.env("GATEPOST_SENDMAIL_SOCKET", socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments does not read.
    let _unread = child.stdin.take().unwrap().write_all(text.as_ref());
    child.wait_with_output().unwrap()
}

fn sendmail(world: &World, arguments: &[&str], text: impl AsRef<[u8]>) -> Output {
    run(world.command(GATEPOST, &[&["sendmail"], arguments].concat()), &world.path("sendmail.sock"), text)
}

/// Checks the exit code, and returns what the command said.
fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.is_empty(), code == OK, "{said}");
    said
}

/// Takes what has arrived in Alice's mailbox.
fn arrived(world: &World) -> Vec<String> {
    let messages = world.sandbox.messages(ALICE, "INBOX");
    world.sandbox.empty(ALICE);
    messages
        .iter()
        .map(|message| String::from_utf8(message.to_vec()).unwrap())
        .filter(|message| !message.contains("<sample-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sends_as_it_does_by_sendmail() {
    let world = world("").await;
    let mut gatepost = world.start(&[]);
    let text = format!("To: {ALICE}\nBcc: Hidden <hidden@example.org>\nSubject: backup\n\n.\n..\ndone\r100%\n");
    let output = sendmail(&world, &["-t", "-i", "-FBackup job", "-oem"], text);
    ended(&output, OK);
    let messages = arrived(&world);
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    for part in [
        &format!("\r\nFrom: \"Backup job\" <{ALICE}>\r\nDate: "),
        "\r\nMessage-ID: <",
        &format!("\r\nTo: {ALICE}\r\nSubject: backup\r\n\r\n.\r\n..\r\ndone\r\n100%\r\n"),
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("hidden") && !message.contains("Reply-To"), "{message}");
    let outside = world.sandbox.outbox();
    assert_eq!(outside.len(), 1, "the blind copy leaves the tenant");
    gatepost.says("trusted=\"user ");

    // Text alone, and a recipient on the command line. A lone dot ends it.
    ended(&sendmail(&world, &[ALICE], "hello\n.\nnever\n"), OK);
    let messages = arrived(&world);
    assert!(messages[0].ends_with("\r\n\r\nhello\r\n") && !messages[0].contains("never"), "{messages:?}");

    // Output of a job with an octet that mail servers refuse.
    ended(&sendmail(&world, &[ALICE], "binary\0output\n"), OK);
    assert!(arrived(&world)[0].ends_with("\r\n\r\nbinaryoutput\r\n"));

    // Under its other names.
    for name in ["sendmail", "mailq", "newaliases"] {
        symlink(GATEPOST, world.path(name)).unwrap();
    }
    let named = |name: &str, arguments: &[&str]| {
        let command = world.command(world.path(name).to_str().unwrap(), arguments);
        run(command, &world.path("sendmail.sock"), format!("To: {ALICE}\n\nlinked\n"))
    };
    ended(&named("sendmail", &["-ti"]), OK);
    assert!(arrived(&world)[0].ends_with("linked\r\n"));
    assert!(ended(&named("mailq", &[]), UNAVAILABLE).contains("gatepost queue list"));
    assert_eq!(named("newaliases", &[]).status.code(), Some(OK));
    assert!(arrived(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_users_of_the_machine_goes_to_the_administrator_or_is_refused() {
    let world = world(&format!(", local_mail_to: {ALICE}")).await;
    let mut gatepost = world.start(&[]);
    let cron = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> job\n\noutput\n";
    ended(&sendmail(&world, &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"], cron), OK);
    ended(&sendmail(&world, &["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"], cron), OK);
    let messages = arrived(&world);
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| message.contains(&format!("\r\nFrom: {ALICE}\r\n"))), "{messages:?}");
    configure(&world, "");
    gatepost.signal(Signal::HUP);
    gatepost.says("configuration reloaded");
    let said = ended(&sendmail(&world, &["root"], cron), NO_USER);
    assert!(said.contains("550 5.1.1 No mailbox <root@localhost> on this machine"), "{said}");
    assert!(arrived(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_exit_code() {
    let world = world(", sender: checked, recipient_domains: [contoso.example]").await;
    let mut gatepost = world.start(&[]);
    let letter = format!("From: {ALICE}\n\nx\n");
    let of_other = format!("From: boss@contoso.example\nTo: {ALICE}\n\nx\n");
    for (arguments, text, code, said) in [
        (&["-t"][..], "Subject: s\n\n", DATA_ERR, "neither To, Cc and Bcc"),
        (&["-t"], "To: a b@\n\n", DATA_ERR, "the field To: `a b@` cannot be read"),
        (&[], letter.as_str(), USAGE, "there is no recipient"),
        (&["-Z", ALICE], &letter, USAGE, "there is no flag `-Z`"),
        (&["-bd"], "", USAGE, "gatepost run"),
        (&["nobody@contoso.example"], &letter, NO_USER, "message to <nobody@contoso.example> not sent: 550 5.1.10"),
        (&["a@example.org"], &letter, NO_PERM, "550 5.7.1 This user may not send to <a@example.org>"),
        (&["-f", "boss@contoso.example", ALICE], &letter, NO_PERM, "550 5.7.60 Not allowed to send as"),
        (&["-t"], &of_other, NO_PERM, "550 5.7.60 Not allowed to send as"),
        // One refused recipient is enough: nothing is sent to the others.
        (&[ALICE, "nobody@contoso.example"], &letter, NO_USER, "<nobody@contoso.example>"),
    ] {
        let told = ended(&sendmail(&world, arguments, text), code);
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable);
    let told = ended(&sendmail(&world, &[ALICE], &letter), TEMP_FAIL);
    assert!(told.contains("message not sent: 451 "), "{told}");
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
    let too_large = format!("{}\n", "x".repeat(99)).repeat(1_600_000);
    assert!(ended(&sendmail(&world, &[ALICE], &too_large), DATA_ERR).contains("552 5.3.4"));
    assert!(arrived(&world).is_empty());
    gatepost.says("cause=sender-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_in_the_queue_while_microsoft_is_away() {
    let world = world("").await;
    let yaml = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    world.write("proxy.yaml", &yaml.replace(", upstream:", ", queue: true, upstream:"));
    let _gatepost = world.start(&[]);
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable);
    ended(&sendmail(&world, &[ALICE], "Subject: queued\n\nx\n"), OK);
    let queue = |arguments: &[&str]| {
        let output = world.run(&[&["queue"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = || serde_json::from_str::<Vec<serde_json::Value>>(&queue(&["list", "--json"])).unwrap();
    let waiting = listed();
    assert_eq!(waiting.len(), 1);
    assert!(arrived(&world).is_empty());

    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
    queue(&["retry", &waiting[0]["id"].to_string()]);
    wait_for("it leaves the queue", || listed().is_empty().then_some(()));
    let messages = arrived(&world);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("\r\nSubject: queued\r\n"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_arrives_complete() {
    let world = world("").await;
    let _gatepost = world.start(&[]);
    let line = "0123456789".repeat(7);
    let text = format!("To: {ALICE}\nSubject: large\n\n{}", format!("{line}\n").repeat(600_000));
    ended(&sendmail(&world, &["-t"], &text), OK);
    let messages = arrived(&world);
    let (_, body) = messages[0].split_once("\r\n\r\n").unwrap();
    assert!(body == format!("{line}\r\n").repeat(600_000), "{} octets", body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_or_is_replaced_loses_nothing_silently() {
    let world = world("").await;
    let told = ended(&sendmail(&world, &[ALICE], "x\n"), TEMP_FAIL);
    assert!(told.contains("message not sent: no service listens at `"), "{told}");
    let socket = world.path("sendmail.sock");

    // The command waits while the service starts.
    let waiting = {
        let (command, socket) = (world.command(GATEPOST, &["sendmail", ALICE]), socket.clone());
        std::thread::spawn(move || run(command, &socket, "early\n"))
    };
    let mut first = world.start(&[]);
    ended(&waiting.join().unwrap(), OK);
    assert!(arrived(&world)[0].ends_with("early\r\n"));

    // Everybody may connect, and the service decides who sends.
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);

    // Two processes: the socket of the newer one takes the place at once, and stays when the older
    // one ends.
    let before = socket.metadata().unwrap().ino();
    let second = world.start(&["--take-over"]);
    first.says("the other Gatepost serves now");
    wait_for("the newer one has the place", || (socket.metadata().unwrap().ino() != before).then_some(()));
    ended(&sendmail(&world, &[ALICE], "after\n"), OK);
    assert!(first.ended().success());
    ended(&sendmail(&world, &[ALICE], "again\n"), OK);
    assert_eq!(arrived(&world).len(), 2);

    // A restart while programs send: each is served by one of the two, or waits.
    let senders: Vec<_> = (0..20)
        .map(|number| {
            let (command, socket) = (world.command(GATEPOST, &["sendmail", ALICE]), socket.clone());
            std::thread::spawn(move || run(command, &socket, format!("number {number}\n")))
        })
        .collect();
    let mut second: Program = second;
    second.signal(Signal::TERM);
    assert!(second.ended().success());
    let third = world.start(&[]);
    for sender in senders {
        ended(&sender.join().unwrap(), OK);
    }
    assert_eq!(arrived(&world).len(), 20);
    drop(third);
}

/// A service that offers these keywords, takes one message, and returns its commands.
fn service_with(keywords: &'static str, socket: &Path) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut say = stream.try_clone().unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut commands = Vec::new();
        say.write_all(format!("220 x ESMTP Gatepost, this user sends as <{ALICE}>\r\n").as_bytes()).unwrap();
        while let Some(Ok(line)) = lines.next() {
            let reply = match line.split(' ').next().unwrap() {
                "EHLO" => format!("250-x\r\n250-8BITMIME\r\n{keywords}250 PIPELINING\r\n"),
                "DATA" => "354 go on\r\n".to_owned(),
                _ => "250 2.0.0 OK\r\n".to_owned(),
            };
            let is_data = line == "DATA";
            commands.push(line);
            say.write_all(reply.as_bytes()).unwrap();
            if is_data {
                lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line == ".")).unwrap().unwrap();
                say.write_all(b"250 2.0.0 OK\r\n").unwrap();
            }
        }
        commands
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_for_reports_go_to_a_server_that_knows_them() {
    let world = world("").await;
    let arguments = ["-N", "success,delay", "-Rhdrs", "-V", "job 7", ALICE];
    for (keywords, message, recipient) in
        [("250-DSN\r\n", " RET=HDRS ENVID=job+207", " NOTIFY=SUCCESS,DELAY"), ("", "", "")]
    {
        let service = service_with(keywords, &world.path("dsn.sock"));
        let command = world.command(GATEPOST, &[&["sendmail"], &arguments[..]].concat());
        ended(&run(command, &world.path("dsn.sock"), "Subject: x\n\ny\n"), OK);
        let commands = service.join().unwrap();
        assert!(commands[1].starts_with(&format!("MAIL FROM:<{ALICE}> BODY=8BITMIME{message}")), "{commands:?}");
        assert_eq!(commands[1].contains("RET="), !message.is_empty(), "{commands:?}");
        assert_eq!(commands[2], format!("RCPT TO:<{ALICE}>{recipient}"));
        std::fs::remove_file(world.path("dsn.sock")).unwrap();
    }
    let output = sendmail(&world, &["-N", "sometimes", ALICE], "x");
    assert!(ended(&output, USAGE).contains("`-N sometimes` is not known"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_speak_smtp_itself() {
    let world = world("").await;
    let _gatepost = world.start(&[]);
    let mut command = world.command(GATEPOST, &["sendmail", "-bs"]);
    command.env("GATEPOST_SENDMAIL_SOCKET", world.path("sendmail.sock"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut replies = output.lines().map(Result::unwrap).filter(|line| !line.starts_with("250-"));
    assert!(replies.next().unwrap().starts_with("220 "));
    for (line, reply) in [
        ("EHLO x", "250 "),
        (&format!("MAIL FROM:<{ALICE}>"), "250 2.1.0 "),
        (&format!("RCPT TO:<{ALICE}>"), "250 2.1.5 "),
        ("DATA", "354 "),
        ("Subject: spoken\n\nx\n.", "250 2.0.0 "),
        ("QUIT", "221 "),
    ] {
        // As a person types it.
        writeln!(input, "{line}").unwrap();
        let said = replies.next().unwrap();
        assert!(said.starts_with(reply), "{line}: {said}");
    }
    assert_eq!(child.wait().unwrap().code(), Some(OK));
    assert!(arrived(&world)[0].contains("Subject: spoken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_users_of_the_configuration_send() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = world("").await;
    let mut gatepost = world.start(&[]);
    // Where others can run it. If this process wrote the file, a child that another test begins at the
    // same time would hold it open for writing until its own program runs ("Text file busy").
    let copied = Command::new("install").args(["-m", "755", GATEPOST]).arg(world.path("gatepost")).status();
    assert!(copied.unwrap().success());
    let as_stranger = || {
        let mut command = world.command(world.path("gatepost").to_str().unwrap(), &["sendmail", ALICE]);
        command.uid(STRANGER).gid(STRANGER);
        run(command, &world.path("sendmail.sock"), "x\n")
    };
    let told = ended(&as_stranger(), NO_PERM);
    assert!(told.contains(&format!("554 5.7.1 User #{STRANGER} may not send")), "{told}");
    ended(&as_stranger(), NO_PERM);
    gatepost.says(&format!("user #{STRANGER} may not send by `gatepost sendmail`"));
    assert_eq!(gatepost.log().matches("may not send by `gatepost sendmail`").count(), 1, "once is enough");
    assert!(arrived(&world).is_empty());

    for users in [format!(", users: [{STRANGER}]"), ", users: '*'".to_owned()] {
        configure(&world, &users);
        gatepost.signal(Signal::HUP);
        wait_for("it may send", || (as_stranger().status.code() == Some(OK)).then_some(()));
        assert!(arrived(&world)[0].contains(&format!("\r\nFrom: {ALICE}\r\n")));
    }
    gatepost.says(&format!("trusted=\"user #{STRANGER}\""));

    // A user who is refused again is news again.
    configure(&world, "");
    gatepost.signal(Signal::HUP);
    wait_for("it may not send", || (as_stranger().status.code() == Some(NO_PERM)).then_some(()));
    gatepost.says_times(&format!("user #{STRANGER} may not send by `gatepost sendmail`"), 2);

    // A socket that this user cannot reach.
    std::fs::create_dir(world.path("closed")).unwrap();
    std::fs::set_permissions(world.path("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = world.command(world.path("gatepost").to_str().unwrap(), &["sendmail", ALICE]);
    command.uid(STRANGER).gid(STRANGER);
    let told = ended(&run(command, &world.path("closed/sendmail.sock"), "x\n"), NO_PERM);
    assert!(told.contains("cannot reach the socket"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_cannot_be_opened_or_moves_is_said() {
    let world = world("").await;
    world.write("sendmail.sock", "mine");
    let (code, said) = world.begin(&[]).failed();
    assert_ne!(code, Some(0));
    assert!(said.contains("sendmail: cannot listen at `") && said.contains("remove the file there"), "{said}");
    let mut kept = String::new();
    std::fs::File::open(world.path("sendmail.sock")).unwrap().read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "mine");
    std::fs::remove_file(world.path("sendmail.sock")).unwrap();

    let mut gatepost = world.start(&[]);
    let yaml = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    world.write("proxy.yaml", &yaml.replace("socket: sendmail.sock", "socket: other.sock"));
    gatepost.signal(Signal::HUP);
    gatepost.says("reload failed");
    ended(&sendmail(&world, &[ALICE], "x\n"), OK);
}
