//! `gatepost demo`: every line that it shows a person comes out of a login or a message that
//! worked.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::directory::Directory;
use crate::common::running::Running;
use crate::service::{log_in, shown as password_shown};
use crate::sign_in::browser::{Answer, Browser};

/// Nothing in the demonstration takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the demonstration also when the test fails.
struct Demonstration(Child);

impl Demonstration {
    fn end(&mut self) {
        if let Some(id) = rustix::process::Pid::from_raw(self.0.id().try_into().unwrap()) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the lines that set up a tenant, as a reader would.
fn sets_up_a_tenant(shown: &str) {
    let (_, lines) = shown.split_once("Or set up a tenant from nothing, in an empty directory:\n").unwrap();
    let lines: Vec<&str> = lines.lines().map_while(|line| line.strip_prefix("  ")).collect();
    let [environment, setup, password, again, ..] = lines[..] else { panic!("{shown}") };
    assert!(again.starts_with("the second line again"), "{shown}");
    let directory = Directory::new();
    let program = Path::new(env!("CARGO_BIN_EXE_gatepost")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = format!("set -e\n{environment}\n{setup} --yes\n{password}\n{setup} --yes\n");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script]).env("PATH", path).current_dir(directory.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["created: the application ", "created: the permission IMAP.AccessAsApp", "\nMailboxes       OK\n"]
    {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

/// Signs the personal account in, as a reader would.
fn signs_the_personal_account_in(shown: &str, imap: u16) {
    let printed = shown.lines().find_map(|line| line.strip_prefix("  gatepost login ")).unwrap();
    let (arguments, rest) = printed.split_once("   (password ").unwrap();
    let (login, configuration) = arguments.split_once(" -c ").unwrap();
    let password = rest.strip_suffix(')').unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["login", login, "-c", configuration]).env_clear();
    let mut running = Running::start(command);
    let address = running.address();
    let ca = std::fs::read_to_string(Path::new(configuration).with_file_name("ca.pem")).unwrap();
    let browser = Browser::trusting(&ca);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let redirect = browser.answer(&address, Answer::SignIn(login, password)).await.unwrap();
        browser.get(redirect.as_str()).await;
    });
    let (code, said) = running.end();
    assert_eq!(code, 0, "{said}");
    assert!(log_in(imap, login, &password_shown(&said)).1.starts_with("OK"), "{said}");
}

#[test]
fn the_demonstration_shows_every_protocol_and_ends_when_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let command = command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demonstration = Demonstration(command.spawn().unwrap());
    let stdout = BufReader::new(demonstration.0.stdout.take().unwrap());
    let stderr = demonstration.0.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut shown = String::new();
    while !shown.contains("It stays up until Ctrl-C") {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it ended too early:\n{shown}"));
        shown.push_str(&line);
        shown.push('\n');
    }
    for expected in [
        "Microsoft's side saw: 1 token request so far, 1 × XOAUTH2 login over SMTP, no password there",
        "1 × message over Graph, no password there",
        "S: 250 2.0.0 Queued as 1",
        "it waits on the disk, encrypted: ",
        "delivered, and gone from the queue",
        "1 × XOAUTH2 login over IMAP, no password there",
        "1 × XOAUTH2 login over POP3, no password there",
        "1 × call with a token over EWS, no password there",
        "1 × call with a token of its own over Graph, no password there",
        "… <t:Subject>The server room is open</t:Subject> …",
        "… \"subject\": \"The server room is open\" …",
        "/EWS/Exchange.asmx\n",
        "/enter?link=",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    // The line of the README is one that it prints, and its user name and password log in.
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find(|line| line.starts_with("curl -u ")).unwrap();
    let printed = shown.lines().find(|line| line.contains("'imap://")).unwrap().trim();
    let port = printed.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap();
    assert_eq!(line.replace(":1143/", &format!(":{port}/")), printed);
    let (user, password) = line.split('\'').nth(1).unwrap().split_once(':').unwrap();
    let port = port.parse().unwrap();
    assert!(log_in(port, user, password).1.starts_with("OK"));
    signs_the_personal_account_in(&shown, port);
    sets_up_a_tenant(&shown);
    demonstration.end();
    // Its output ends with it.
    let ended = std::iter::repeat_with(|| lines.recv_timeout(PATIENCE)).find_map(Result::err);
    assert_eq!(ended, Some(mpsc::RecvTimeoutError::Disconnected), "it ends when it is told to");
    assert!(demonstration.0.wait().unwrap().success());
    let log = log.join().unwrap();
    assert!(!log.contains(" ERROR ") && !log.contains("logins will be refused"), "a reader finds no fault:\n{log}");
}
