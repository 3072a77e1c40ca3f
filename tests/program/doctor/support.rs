//! A configuration in front of an embedded Microsoft 365, faults in either, and what `gatepost
//! doctor` says of them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gatepost_core::clock::Clock;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::Value;

use crate::common::directory::Directory;
use crate::common::port::free_port;

pub(crate) const SCANNER: &str = "scanner@contoso.example";
pub(crate) const FAX: &str = "fax@contoso.example";
/// Has a password that Entra knows.
pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const ALICES: &str = "correct-horse-battery";
/// Signs in once.
pub(crate) const ANNA: &str = "anna@contoso.example";

/// A configuration, and the Microsoft 365 that it names.
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) sandbox: Sandbox,
    /// The IMAP listener.
    pub(crate) port: u16,
}

impl World {
    /// With the accounts of the scanner and the fax, which the application opens.
    pub(crate) async fn new() -> Self {
        Self::with(&app_only(&[SCANNER, FAX]), Clock::system()).await
    }

    /// With these entries of `accounts`.
    pub(crate) async fn with(accounts: &str, clock: Clock) -> Self {
        let of_sandbox = [SCANNER, FAX, ALICE, ANNA]
            .into_iter()
            .map(|address| SandboxAccount::new(address, ALICES))
            .chain((0..10).map(|number| SandboxAccount::new(&numbered(number), ALICES)));
        let sandbox = SandboxConfig { accounts: of_sandbox.collect(), clock, ..SandboxConfig::default() };
        let sandbox = Sandbox::start(sandbox).await.unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", sandbox.ca_pem());
        directory.write("secret", "sandbox-secret\n");
        let port = free_port();
        let world = Self { directory, sandbox, port };
        world.write(&world.yaml(accounts));
        world
    }

    pub(crate) fn write(&self, yaml: &str) {
        self.directory.write("proxy.yaml", yaml);
    }

    pub(crate) fn read(&self) -> String {
        std::fs::read_to_string(self.directory.file("proxy.yaml")).unwrap()
    }

    /// Replaces a part of the configuration.
    pub(crate) fn replace(&self, part: &str, by: &str) {
        let yaml = self.read();
        assert!(yaml.contains(part), "{part} is not in {yaml}");
        self.write(&yaml.replace(part, by));
    }

    fn yaml(&self, accounts: &str) -> String {
        let Self { sandbox, port, .. } = self;
        let [pop3, smtp, ews, graph, devices] = [(); 5].map(|()| free_port());
        format!(
            "listeners:\n  \
               imap: {{bind: '127.0.0.1:{port}', upstream: 'localhost:{}'}}\n  \
               pop3: {{bind: '127.0.0.1:{pop3}', upstream: 'localhost:{}'}}\n  \
               smtp: {{bind: '127.0.0.1:{smtp}', upstream: 'localhost:{}'}}\n  \
               ews: {{bind: '127.0.0.1:{ews}', upstream: 'localhost:{}'}}\n  \
               graph: {{bind: '127.0.0.1:{graph}', upstream: 'localhost:{graph_port}'}}\n  \
               devices: {{protocol: smtp, bind: '127.0.0.1:{devices}', deliver: graph, graph: 'localhost:{graph_port}'}}\n\
             microsoft:\n  authority: {}\n  tenant: contoso.example\n  client_id: {}\n  client_secret: {{file: secret}}\n\
             accounts:\n{accounts}\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             limits: {{connect: 3s, connect_attempt: 2s, upstream_login: 5s, connections: 1000}}\n",
            sandbox.imap().port(),
            sandbox.pop3().port(),
            sandbox.smtp().port(),
            sandbox.ews().port(),
            sandbox.authority(),
            sandbox.confidential_client_id(),
            graph_port = sandbox.graph().port(),
        )
    }

    /// Runs a command with nothing in its environment.
    pub(crate) fn gatepost(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Examines, and returns the report with the exit code.
    pub(crate) fn examine(&self, arguments: &[&str], input: &str) -> Report {
        let all: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        Report::read(&self.gatepost(&all, input))
    }

    /// Makes a device password for each account.
    pub(crate) fn add_passwords(&self, accounts: &[&str]) {
        for account in accounts {
            let output = self.gatepost(&["password", "add", account, "--name", "Test"], "");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The entries of accounts that the application opens.
pub(crate) fn app_only(addresses: &[&str]) -> String {
    addresses.iter().map(|address| format!("  - {{login: {address}, grant: client_credentials}}\n")).collect()
}

/// One of ten mailboxes.
pub(crate) fn numbered(number: usize) -> String {
    format!("box{number}@contoso.example")
}

/// What an examination told.
pub(crate) struct Report {
    pub(crate) code: i32,
    pub(crate) document: Value,
}

impl Report {
    /// Reads what `gatepost doctor --json` has written.
    pub(crate) fn read(output: &Output) -> Self {
        let told = String::from_utf8_lossy(&output.stdout);
        let document: Value =
            serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)));
        Self { code: output.status.code().unwrap(), document }
    }

    pub(crate) fn steps(&self) -> &[Value] {
        self.document["steps"].as_array().unwrap()
    }

    /// The steps with an outcome, for the message of a test.
    pub(crate) fn with(&self, outcome: &str) -> Vec<&Value> {
        self.steps().iter().filter(|step| step["outcome"] == outcome).collect()
    }

    /// Demands a step of a section and an outcome with these words and, if any, this remedy.
    pub(crate) fn expect(&self, at: (&str, &str), text: &str, remedy: &str) {
        if let Some(missing) = self.lacks(at, text, remedy) {
            panic!("{missing}");
        }
        let problems = self.document["problems"].as_u64().unwrap();
        assert_eq!((self.code, self.document["ok"].as_bool()), (i32::from(problems > 0), Some(problems == 0)));
    }

    fn lacks(&self, (section, outcome): (&str, &str), text: &str, remedy: &str) -> Option<String> {
        let has = |step: &&Value, key: &str, words: &str| step[key].as_str().unwrap_or_default().contains(words);
        let found = self.steps().iter().any(|step| {
            let of = step["section"] == section && step["outcome"] == outcome;
            of && has(&step, "text", text) && has(&step, "remedy", remedy)
        });
        let shown = |step: &Value| {
            let value = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
            let [section, outcome, text, remedy] = ["section", "outcome", "text", "remedy"].map(value);
            format!("\n  {section} {outcome}: {text}\n      {remedy}")
        };
        let steps: String = self.steps().iter().filter(|step| step["outcome"] != "ok").map(shown).collect();
        (!found).then(|| format!("no {outcome} in {section} with {text:?} and {remedy:?}:{steps}"))
    }
}

/// A fault, and what the report must say of it.
pub(crate) struct Fault {
    /// Makes the fault.
    pub(crate) play: fn(&World),
    pub(crate) arguments: &'static [&'static str],
    /// Standard input.
    pub(crate) input: &'static str,
    /// Section and outcome of the step.
    pub(crate) at: (&'static str, &'static str),
    pub(crate) text: &'static str,
    pub(crate) remedy: &'static str,
}

/// A fault that `gatepost doctor` without arguments finds.
pub(crate) fn fault(
    play: fn(&World),
    at: (&'static str, &'static str),
    text: &'static str,
    remedy: &'static str,
) -> Fault {
    Fault { play, arguments: &[], input: "", at, text, remedy }
}

/// Plays each fault in a world of its own.
pub(crate) async fn play(accounts: &str, faults: Vec<Fault>) {
    let mut missing = Vec::new();
    for fault in faults {
        let world = World::with(accounts, Clock::manual()).await;
        (fault.play)(&world);
        let report = world.examine(fault.arguments, fault.input);
        missing.extend(report.lacks(fault.at, fault.text, fault.remedy));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Moves the sandbox's clock.
pub(crate) fn ten_minutes_later(world: &World) {
    world.sandbox.advance(Duration::from_secs(600));
}
