//! Programs that call sendmail, with `gatepost sendmail` in its place: PHP's `mail()`, mailx, Python,
//! swaks over a pipe, and the command lines of cron.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::cloud::{Cloud, Instance, LOGIN};
use super::message::{dotted, message};
use super::process::{Directory, Finished, free_port, run};

/// A service whose root programs send as Alice, and a directory with its socket and the link
/// `sendmail`.
struct Machine {
    cloud: Cloud,
    gatepost: Instance,
    directory: Directory,
}

impl Machine {
    fn start() -> Self {
        let (cloud, directory, port) = (Cloud::start([]), Directory::new(), free_port());
        let sections = format!(
            "accounts:\n  - {{login: {LOGIN}, grant: client_credentials, client_id: {}, client_secret: sandbox-secret}}\n\
             sendmail: {{login: {LOGIN}, local_mail_to: {LOGIN}, socket: {}, messages_per_minute: 1000}}",
            cloud.sandbox.confidential_client_id(),
            directory.file("sendmail.sock").display(),
        );
        let listener = format!("  smtp: {{bind: '127.0.0.1:{port}', upstream: '{{smtp}}'}}");
        let gatepost = cloud.gatepost(&listener, &sections, &[port]);
        symlink(env!("CARGO_BIN_EXE_gatepost"), directory.file("sendmail")).unwrap();
        Self { cloud, gatepost, directory }
    }

    fn sendmail(&self) -> PathBuf {
        self.directory.file("sendmail")
    }

    /// A command whose programs find the socket.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GATEPOST_SENDMAIL_SOCKET", self.directory.file("sendmail.sock"));
        command
    }

    fn arrived(&self) -> Vec<String> {
        let messages = self.cloud.sandbox.messages(LOGIN, "INBOX");
        self.cloud.sandbox.empty(LOGIN);
        messages.iter().map(|message| String::from_utf8(message.to_vec()).unwrap()).collect()
    }

    /// What PHP says to a script that sends to this address.
    fn php(&self, recipient: &str) -> Finished {
        // The example for administrators, with this program in the place of an installed one.
        let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sendmail/php.ini")).unwrap();
        assert!(example.contains("\"/usr/bin/gatepost sendmail -t -i\""), "{example}");
        let program = format!("{} sendmail", env!("CARGO_BIN_EXE_gatepost"));
        let ini = self.directory.write("php.ini", example.replace("/usr/bin/gatepost sendmail", &program));
        let script = self.directory.write(
            "report.php",
            "<?php\n$sent = mail($argv[1], 'Wöchentlicher Bericht', \"Grüße\\n.\\nEnde\\n\",\n\
             ['From' => 'Webshop <www-data@localhost>', 'Bcc' => 'hidden@example.org', 'Content-Type' => 'text/plain; charset=utf-8']);\n\
             echo $sent ? 'sent' : 'refused';\n",
        );
        run(self.command("php").arg("-c").arg(ini).arg(script).arg(recipient))
    }
}

#[test]
#[ignore = "needs PHP: run tests/run"]
fn php_mail_sends_and_hears_what_is_refused() {
    let machine = Machine::start();
    let finished = machine.php(LOGIN);
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "sent", "{}", machine.gatepost.log());
    let messages = machine.arrived();
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    for part in [
        &format!("\r\nFrom: Webshop <{LOGIN}>\r\nReply-To: www-data@localhost\r\n"),
        &format!("To: {LOGIN}\r\n"),
        "\r\nX-PHP-Originating-Script: ",
        "\r\n\r\nGrüße\r\n.\r\nEnde\r\n",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("hidden@"), "{message}");
    assert_eq!(machine.cloud.sandbox.outbox().len(), 1);
    let finished = machine.php("nobody@contoso.example");
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "refused");
    machine.gatepost.stop();
}

#[test]
#[ignore = "needs mailx: run tests/run"]
fn mailx_and_the_command_lines_of_cron_send() {
    let machine = Machine::start();
    let settings = machine.directory.write("mailrc", format!("set sendmail={}\n", machine.sendmail().display()));
    let mut mailx = machine.command("sh");
    mailx.args(["-c", "printf 'Hello.\\n' | bsd-mailx -s 'From mailx' \"$0\"", LOGIN]).env("MAILRC", settings);
    run(&mut mailx).expect_success("mailx");
    let text = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> backup\nX-Cron-Env: <SHELL=/bin/sh>\n\n10%\r100%\n";
    // Debian's cron, cronie, systemd-cron.
    for line in
        ["-i -FCronDaemon -B8BITMIME -oem root", "-FCronDaemon -i -odi -oem -oi -t -f root", "-i -B 8BITMIME root"]
    {
        let letter = machine.directory.write("letter", text);
        let mut cron = machine.command("sh");
        cron.args(["-c", &format!("exec \"$0\" {line} <\"$1\"")]).arg(machine.sendmail()).arg(letter);
        run(&mut cron).expect_success(line);
    }
    let messages = machine.arrived();
    assert_eq!(messages.len(), 4);
    assert!(messages[0].contains("Subject: From mailx\r\n") && messages[0].ends_with("Hello.\r\n"), "{}", messages[0]);
    for message in &messages[1..] {
        assert!(message.contains(&format!("\r\nFrom: {LOGIN}\r\n")), "{message}");
        assert!(message.ends_with("X-Cron-Env: <SHELL=/bin/sh>\r\n\r\n10%\r\n100%\r\n"), "{message}");
    }
    machine.gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn python_and_swaks_send_over_a_pipe() {
    let machine = Machine::start();
    let script = machine.directory.write(
        "report.py",
        "import email.message, subprocess, sys\n\
         letter = email.message.EmailMessage()\n\
         letter['To'], letter['Subject'] = sys.argv[2], 'Bericht'\n\
         letter.set_content('Grüße\\n.\\n')\n\
         letter.add_attachment(bytes(range(256)) * 20000, maintype='application', subtype='octet-stream', filename='scan.bin')\n\
         sys.exit(subprocess.run([sys.argv[1], '-t', '-oi'], input=letter.as_bytes()).returncode)\n",
    );
    run(machine.command("python3").arg(script).arg(machine.sendmail()).arg(LOGIN)).expect_success("Python");
    let messages = machine.arrived();
    assert!(messages[0].contains("Subject: Bericht\r\n") && messages[0].len() > 6_800_000, "{}", messages[0].len());

    // Symfony and Laravel speak SMTP with `sendmail -bs` in the same way.
    let data = machine.directory.write("data", dotted(&message(7)));
    let pipe = format!("{} -bs", machine.sendmail().display());
    let mut swaks = machine.command("swaks");
    swaks.args(["--pipe", &pipe, "--from", LOGIN, "--to", LOGIN, "--no-data-fixup", "--data"]);
    run(swaks.arg(format!("@{}", data.display()))).expect_success("swaks");
    let messages = machine.arrived();
    let (_, body) = messages[0].split_once("\r\n\r\n").unwrap();
    let sent = String::from_utf8(message(7)).unwrap();
    assert_eq!(body, sent.split_once("\r\n\r\n").unwrap().1);
    machine.gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn a_job_that_writes_for_long_holds_no_connection() {
    let machine = Machine::start();
    let mut job = machine.command(machine.sendmail().to_str().unwrap());
    let mut job = job.arg(LOGIN).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = job.stdin.take().unwrap();
    input.write_all(b"Subject: job\n\nfirst line\n").unwrap();
    // Another message comes and goes meanwhile: the service has heard nothing of the first one yet.
    let letter = machine.directory.write("letter", "Subject: quick\n\nx\n");
    let mut quick = machine.command("sh");
    quick.args(["-c", "exec \"$0\" \"$1\" <\"$2\""]).arg(machine.sendmail()).arg(LOGIN).arg(letter);
    run(&mut quick).expect_success("quick");
    assert_eq!(machine.gatepost.log().matches("token=\"of a program on this machine\"").count(), 1);
    input.write_all(b"last line\n").unwrap();
    drop(input);
    assert!(job.wait().unwrap().success());
    let messages = machine.arrived();
    assert!(messages[1].ends_with("\r\n\r\nfirst line\r\nlast line\r\n"), "{messages:?}");
    machine.gatepost.stop();
}
