//! `gatepost password add`, `list` and `revoke`, each a process of its own beside the service.

use std::io::{BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::Value;

use super::{Directory, code, stderr, stdout};
use crate::common::port::free_address;
use crate::common::wait::wait_until;
use crate::service::{self, Service, shown};

pub(super) const SCANNER: &str = "scanner@contoso.example";

/// A configuration in a directory of its own, and the Microsoft 365 that it names.
pub(super) struct World {
    pub(super) directory: Directory,
    port: u16,
    pub(super) sandbox: Sandbox,
}

impl World {
    pub(super) async fn new() -> Self {
        let accounts = vec![SandboxAccount::new(SCANNER, "known-to-entra-only")];
        let sandbox = Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await.unwrap();
        let directory = Directory::new();
        let free = free_address();
        directory.write("ca.pem", sandbox.ca_pem());
        directory.write(
            "proxy.yaml",
            &format!(
                "listeners:\n  imap: {{bind: '{free}', upstream: 'localhost:{}'}}\n\
                 microsoft:\n  authority: {}\n  tenant: contoso.example\n  client_id: {}\n  client_secret: {{file: secret}}\n\
                 accounts:\n  - {{login: {SCANNER}, aliases: [scan7], grant: client_credentials}}\n  \
                 - {{login: alice@contoso.example}}\n\
                 trust: {{system_roots: false, additional_ca: ca.pem}}\n\
                 state: {{directory: state}}\n\
                 limits: {{failure_delay: 0s}}\n",
                sandbox.imap().port(),
                sandbox.authority(),
                sandbox.confidential_client_id(),
            ),
        );
        directory.write("secret", "sandbox-secret\n");
        Self { directory, port: free.port(), sandbox }
    }

    /// What a command that succeeds writes.
    pub(super) fn told(&self, arguments: &[&str]) -> String {
        let output = self.directory.gatepost(arguments);
        assert_eq!((code(&output), stderr(&output)), (0, ""), "{arguments:?}");
        stdout(&output).to_owned()
    }

    /// What a command that fails with `expected` complains about.
    fn complaint(&self, expected: i32, arguments: &[&str]) -> String {
        let output = self.directory.gatepost(arguments);
        assert_eq!((code(&output), stdout(&output)), (expected, ""), "{arguments:?}");
        stderr(&output).to_owned()
    }

    /// The same with something on standard input.
    fn chooses(&self, password: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.directory.gatepost_with(arguments, &format!("{password}\n"), &[]);
        (code(&output), format!("{}{}", stdout(&output), stderr(&output)))
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.told(&["password", "list", "--json"])).unwrap()
    }

    pub(super) fn serve(&self) -> Service {
        self.serve_in(&["run"], &[])
    }

    /// The same with other arguments, and with variables of the environment.
    pub(super) fn serve_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(arguments).env_clear().envs(variables.iter().copied());
        self.start(command)
    }

    /// The same as another user.
    #[cfg(unix)]
    pub(super) fn serve_as(&self, user: u32) -> Service {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.env_clear().uid(user).gid(user);
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Service {
        let log = std::fs::File::create(self.directory.file("log")).unwrap();
        let child = command
            .current_dir(self.directory.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Service::listening(child, self.port)
    }

    /// A session, when the password opens one, else the reply.
    pub(super) fn log_in(&self, user: &str, password: &str) -> Result<BufReader<TcpStream>, String> {
        let (session, reply) = service::log_in(self.port, user, password);
        if reply.starts_with("OK") { Ok(session) } else { Err(reply) }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.file("log")).unwrap()
    }

    /// Writes the configuration again with one text in the place of another, and lines at its end.
    pub(super) fn rewrite(&self, from: &str, to: &str, more: &str) {
        let yaml = std::fs::read_to_string(self.directory.file("proxy.yaml")).unwrap();
        assert!(yaml.contains(from), "{from} is not in\n{yaml}");
        self.directory.write("proxy.yaml", &(yaml.replace(from, to) + more));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_password_from_its_making_to_its_end() {
    let world = World::new().await;
    let missing = "proxy.yaml:9:5: accounts[0]: `scanner@contoso.example` has no password";
    for arguments in [&["check"][..], &["run"]] {
        let complaint = world.complaint(3, arguments);
        assert!(complaint.contains(missing), "{complaint}");
        assert!(complaint.contains("`gatepost password add scanner@contoso.example --name …`"), "{complaint}");
    }

    let name = "Scanner, 3rd floor";
    let scope = ["--protocol", "imap", "--from", "127.0.0.0/8", "--expires", "90d"];
    let added = world.told(&[&["password", "add", "Scan7", "--name", name], &scope[..]].concat());
    let password = shown(&added);
    assert_eq!(password.len(), 20);
    assert!(added.contains("  user name   scanner@contoso.example, or scan7 where that is too long\n"), "{added}");
    let imap =
        format!("  IMAP        127.0.0.1, port {}, no encryption, normal password (listener `imap`)\n", world.port);
    assert!(added.contains(&imap), "{added}");
    assert!(added.contains("Protocols: IMAP. Networks: 127.0.0.0/8. Valid until 20"), "{added}");
    world.told(&["check"]);

    let [listed] = &world.list()[..] else { panic!("one is expected") };
    assert_eq!((&listed["login"], &listed["name"]), (&SCANNER.into(), &name.into()));
    assert_eq!((&listed["kind"], &listed["last_used_at"]), (&"generated".into(), &Value::Null));
    let id = listed["id"].as_str().unwrap();
    assert!(added.contains(&format!("gatepost password revoke {id}\n")), "{added}");

    let service = world.serve();
    let mut session = world.log_in("scan7", &password).unwrap();
    wait_until("its use is noted", || world.list()[0]["last_used_from"] == "127.0.0.1");
    let table = world.told(&["password", "list", "scan7"]);
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with(&format!("{id}  {SCANNER}  {name}  imap       127.0.0.0/8  ")), "{table}");
    assert!(row.ends_with("  127.0.0.1"), "{table}");
    assert!(!table.contains(&password));

    let revoked = world.told(&["password", "revoke", "--login", "scan7", "--name", name]);
    let asked = Instant::now();
    assert!(revoked.starts_with(&format!("Revoked device password \"{name}\" of {SCANNER} (ID {id}). ")), "{revoked}");
    assert!(revoked.contains(&format!("Note: the service will not start like this: {missing}")), "{revoked}");
    let mut rest = Vec::new();
    let _broke = session.read_to_end(&mut rest);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(rest.is_empty());
    let refused = world.log_in("scan7", &password).unwrap_err();
    assert!(refused.starts_with("NO [AUTHENTICATIONFAILED]"), "{refused}");
    wait_until("the log tells", || world.log().contains("cause=password-revoked"));
    assert_eq!(world.list(), [] as [Value; 0]);
    drop(service);

    let log = world.log();
    assert!(log.contains(&format!("device=\"{id} ({name})\"")), "{log}");
    assert!(!log.contains(&password), "{log}");
    for file in std::fs::read_dir(world.directory.file("state")).unwrap() {
        let file = file.unwrap();
        // The socket of `gatepost status` is there as well: the service was killed.
        if !file.file_type().unwrap().is_file() {
            continue;
        }
        let content = std::fs::read(file.path()).unwrap();
        assert!(!content.windows(password.len()).any(|octets| octets == password.as_bytes()));
        assert!(!content.windows(name.len()).any(|octets| octets == name.as_bytes()), "names are sealed as well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_password_and_one_made_while_the_service_runs() {
    let world = World::new().await;
    let add = ["password", "add", SCANNER, "--chosen", "--name", "Fax"];
    for (unfit, why) in [
        ("short", "the password has fewer than 8 characters"),
        ("8 chars!", "the password has fewer than 12 characters. Take a longer one, or name the network"),
        ("Scanner@Contoso.example", "the password is the user name"),
    ] {
        let (code, told) = world.chooses(unfit, &add);
        assert!(code == 1 && told.starts_with(&format!("gatepost: {why}")), "{told}");
    }
    let (code, told) = world.chooses("correct horse battery", &add);
    assert!(code == 0 && told.contains("  password    the one that you chose\n"), "{told}");
    assert!(!told.contains("correct horse battery"), "what was typed without echo is not shown afterwards: {told}");
    let from = ["password", "add", SCANNER, "--chosen", "--name", "Old fax", "--from", "192.168.7.9/32"];
    let (code, told) = world.chooses("8 chars!", &from);
    assert!(code == 0 && told.contains("\nWarning: a password of fewer than 12 characters"), "{told}");
    let (code, told) = world.chooses("correct horse battery", &["password", "add", SCANNER, "--chosen", "--name", "2"]);
    assert!(code == 1 && told.contains("has this password already"), "{told}");

    let _service = world.serve();
    world.log_in(SCANNER, "correct horse battery").unwrap();
    world.log_in(SCANNER, "wrong horse battery").unwrap_err();
    for n in 0..3 {
        let password = shown(&world.told(&["password", "add", SCANNER, "--name", &n.to_string()]));
        world.log_in(SCANNER, &password).unwrap();
    }
    assert_eq!(world.list().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_or_revoked_is_told_with_its_reason() {
    let world = World::new().await;
    world.told(&["password", "add", SCANNER, "--name", "Scanner"]);
    let long = "x".repeat(101);
    for (arguments, why) in [
        (
            &["add", "alice@contoso.example", "--name", "x"][..],
            "`alice@contoso.example` has `grant: password`, so Entra checks",
        ),
        (&["add", "bob@contoso.example", "--name", "x"], "no entry of `accounts` matches `bob@contoso.example`. "),
        (
            &["add", SCANNER, "--name", " Scanner "],
            "scanner@contoso.example has a device password of this name already (",
        ),
        (&["add", SCANNER, "--name", ""], "the name is empty. "),
        (&["add", SCANNER, "--name", "a\nb"], "the name has a control character. "),
        (&["add", SCANNER, "--name", &long], "the name is longer than 100 characters. "),
        (&["add", SCANNER, "--name", "x", "--expires", "2020-01-31"], "the password would be expired already. "),
        (&["revoke", "nonesuch"], "there is no such device password. To list them, run `gatepost password list`"),
        (&["revoke", "--login", SCANNER, "--name", "x"], "there is no such device password. "),
    ] {
        let complaint = world.complaint(1, &[&["password"], arguments].concat());
        assert!(complaint.starts_with(&format!("gatepost: {why}")), "{arguments:?}: {complaint}");
    }
    assert_eq!(world.list().len(), 1);
    for (scope, note) in [
        (["--protocol", "smtp"], "\nNote: no listener has that protocol. Add one to `listeners`.\n"),
        (["--from", "10.1.0.0/16"], "\nNote: no listener lets 10.1.0.0/16 connect. Add it to `allow_from`.\n"),
    ] {
        let added = world.told(&[&["password", "add", SCANNER, "--name", scope[1]], &scope[..]].concat());
        assert!(added.ends_with(note), "{added}");
    }
    let nowhere = world.complaint(3, &["password", "list", "--set", "state.directory="]);
    assert!(nowhere.contains("state.directory"), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commands_for_the_same_name_one_makes_a_password() {
    let world = World::new().await;
    for round in 0..10 {
        let name = format!("Scanner {round}");
        let add = || world.directory.gatepost(&["password", "add", SCANNER, "--name", &name]);
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(add);
            (add(), one.join().unwrap())
        });
        let mut codes = [code(&one), code(&other)];
        codes.sort_unstable();
        assert_eq!(codes, [0, 1], "{}{}", stderr(&one), stderr(&other));
        let listed = world.list();
        assert_eq!(listed.iter().filter(|password| password["name"] == *name).count(), 1, "{listed:?}");
    }
}
