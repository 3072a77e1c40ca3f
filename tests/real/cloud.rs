//! The embedded Microsoft 365 in the test's process, and instances of the program in front of it,
//! each with a configuration of the test's own.

use std::fmt::Write as _;
use std::process::Command;

use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use tokio::runtime::{Builder, Runtime};

use super::process::{Directory, Server};

pub(crate) const LOGIN: &str = "alice@contoso.example";
/// Blanks, quotes, and what else has a meaning in one of the protocols or in a form.
pub(crate) const PASSWORD: &str = "pass \"word+&%20=*)";

const CONFIGURATION: &str = "proxy.yaml";

/// Alice's Microsoft 365.
pub(crate) struct Cloud {
    pub(crate) sandbox: Sandbox,
    directory: Directory,
    runtime: Runtime,
}

/// An instance of the program.
pub(crate) struct Instance {
    server: Server,
    directory: Directory,
}

impl Cloud {
    /// With these messages in Alice's Inbox.
    pub(crate) fn start(messages: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = SandboxConfig { accounts: vec![SandboxAccount::new(LOGIN, PASSWORD)], ..SandboxConfig::default() };
        let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", sandbox.ca_pem());
        let cloud = Self { sandbox, directory, runtime };
        cloud.sandbox.empty(LOGIN);
        for message in messages {
            assert!(cloud.sandbox.deliver(LOGIN, &message));
        }
        cloud
    }

    /// Starts the program with this configuration; `ports` are those that it will listen on.
    pub(crate) fn gatepost(&self, listeners: &str, sections: &str, ports: &[u16]) -> Instance {
        Instance::start(self.configuration(listeners, sections), ports)
    }

    /// A directory with a configuration. `{imap}`, `{pop3}`, `{smtp}` and `{graph}` in the section
    /// `listeners` stand for the cloud's servers; without a section `accounts` there is everybody.
    pub(crate) fn configuration(&self, listeners: &str, sections: &str) -> Directory {
        let mut yaml = format!("listeners:\n{listeners}\n");
        for (name, address) in [
            ("{imap}", self.sandbox.imap()),
            ("{pop3}", self.sandbox.pop3()),
            ("{smtp}", self.sandbox.smtp()),
            ("{graph}", self.sandbox.graph()),
        ] {
            yaml = yaml.replace(name, &format!("localhost:{}", address.port()));
        }
        write!(
            yaml,
            "microsoft:\n  authority: {authority}\n  tenant: contoso.example\n  client_id: {client}\n  grant: password\n\
             {accounts}\
             trust:\n  system_roots: false\n  additional_ca: {ca}\n\
             log:\n  level: debug\n{sections}\n",
            authority = self.sandbox.authority(),
            client = self.sandbox.public_client_id(),
            accounts = if sections.contains("accounts:") { "" } else { "accounts:\n  - login: \"*@contoso.example\"\n" },
            ca = self.directory.path().join("ca.pem").display(),
        )
        .unwrap();
        let directory = Directory::new();
        directory.write(CONFIGURATION, yaml);
        directory
    }
}

/// The program with the configuration in a directory.
pub(crate) fn program(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).arg("-c").arg(directory.path().join(CONFIGURATION));
    // What a developer's machine needs for its own internet access is no part of the test.
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

impl Instance {
    /// Starts it, and waits until it listens on these ports.
    pub(crate) fn start(directory: Directory, ports: &[u16]) -> Self {
        let log = directory.path().join("gatepost.log");
        let mut server = Server::start("gatepost", &mut program(&directory, &["run"]), log);
        for port in ports {
            server.wait_for_port(*port);
        }
        Self { server, directory }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// Ends it at once, as the system does when memory runs out.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Ends it as systemd would, and returns its log, after a look for the password in it.
    pub(crate) fn stop(self) -> String {
        self.stop_after("")
    }

    /// Waits until the log has this text, and stops.
    pub(crate) fn stop_after(mut self, text: &str) -> String {
        let what = format!("it says {text}");
        crate::common::wait::wait_until(&what, || self.server.log().contains(text));
        let status = self.server.stop();
        let log = self.server.log();
        assert!(status.success(), "gatepost ended with {status}\n{log}");
        assert!(!log.contains(PASSWORD), "the password is in the log");
        drop(self.directory);
        log
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // The sandbox ends its tasks in its own runtime.
        let _entered = self.runtime.enter();
    }
}
