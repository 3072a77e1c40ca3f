//! The embedded Microsoft 365 for clients of its HTTP services, which Dovecot has none of.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::process::{Directory, Finished, Server, free_port, run};

pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const BOB: &str = "bob@contoso.example";
/// Alice's; curl, HTTP Basic and forms each have their own meaning for some of it.
pub(crate) const PASSWORD: &str = "Grüße: \"100%\" + \\ & =";

/// A sandbox of one test.
pub(crate) struct Microsoft {
    pub(crate) sandbox: Sandbox,
    /// The authority that its certificates are from.
    pub(crate) root: PathBuf,
    pub(crate) directory: Directory,
    _runtime: Runtime,
}

impl Microsoft {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let accounts = vec![SandboxAccount::new(ALICE, PASSWORD), SandboxAccount::new(BOB, "bob's secret")];
        let config = SandboxConfig { accounts, ..SandboxConfig::default() };
        let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
        let directory = Directory::new();
        let root = directory.write("ca.pem", sandbox.ca_pem());
        Self { sandbox, root, directory, _runtime: runtime }
    }
}

/// Gatepost in front of it.
pub(crate) struct Gateway {
    server: Server,
    pub(crate) ews: u16,
    pub(crate) graph: u16,
}

impl Gateway {
    /// With these `accounts`, each on its lines.
    pub(crate) fn start(microsoft: &Microsoft, accounts: &str) -> Self {
        Self::start_with(microsoft, accounts, "")
    }

    /// The same with further keys of the EWS listener.
    pub(crate) fn start_with(microsoft: &Microsoft, accounts: &str, ews_keys: &str) -> Self {
        let sandbox = &microsoft.sandbox;
        let (ews, graph) = (free_port(), free_port());
        let configuration = format!(
            "listeners:\n  ews: {{bind: \"127.0.0.1:{ews}\", upstream: \"localhost:{}\"{ews_keys}}}\n  \
             graph: {{bind: \"127.0.0.1:{graph}\", upstream: \"localhost:{}\"}}\n\
             microsoft:\n  authority: {}\n  tenant: contoso.example\n  client_id: {}\n  grant: password\n\
             accounts:\n{accounts}\
             trust: {{system_roots: false, additional_ca: {}}}\n\
             state: {{directory: {}}}\n\
             log: {{level: debug}}\n",
            sandbox.ews().port(),
            sandbox.graph().port(),
            sandbox.authority(),
            sandbox.public_client_id(),
            microsoft.root.display(),
            microsoft.directory.path().join("state").display(),
        );
        let configuration = microsoft.directory.write("proxy.yaml", configuration);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["run", "-c"]).arg(configuration);
        for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        let log = microsoft.directory.path().join("gatepost.log");
        let mut server = Server::start("gatepost", &mut command, log);
        for port in [ews, graph] {
            server.wait_for_port(port);
        }
        Self { server, ews, graph }
    }

    /// Ends it as systemd would, after a look for passwords in its log.
    pub(crate) fn stop(mut self, password: &str) {
        let status = self.server.stop();
        let log = self.server.log();
        assert!(status.success(), "gatepost ended with {status}\n{log}");
        assert!(!log.contains(password) && !log.contains("eyJ0"), "a secret is in the log");
    }
}

/// The account of an application with the right to Alice's mailbox, and the password of the device
/// that uses it.
pub(crate) fn application(microsoft: &Microsoft) -> (String, String) {
    let mut hash = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let printed = run(hash.args(["password", "hash", "--generate"])).expect_success("gatepost password hash");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let line = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let account = format!(
        "  - login: {ALICE}\n    grant: client_credentials\n    client_id: {}\n    client_secret: sandbox-secret\n    \
         passwords: ['{}']\n",
        microsoft.sandbox.confidential_client_id(),
        line("hash:")
    );
    (account, line("password:"))
}

/// A message of a client's own making.
pub(crate) const MIME: &[u8] =
    b"To: <bob@contoso.example>\r\nBcc: <hidden@fabrikam.example>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
    X-Odd:  two  spaces \r\n\r\n.\r\nbody\r\n";

/// The same as it arrives.
pub(crate) const MIME_DELIVERED: &[u8] = b"To: <bob@contoso.example>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
    X-Odd:  two  spaces \r\n\r\n.\r\nbody\r\n";

/// Python with the packages of `requirements.txt`, which `tests/install` puts in place.
pub(crate) fn python(script: &str, settings: &Value) -> Finished {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/python/bin/python"));
    run(command.arg("-B").arg(root.join("tests/real").join(script)).arg(settings.to_string()))
}

/// What the script needs to know besides where and how it logs in.
pub(crate) fn settings(microsoft: &Microsoft, more: Value) -> Value {
    let digest = |octets: &[u8]| -> String {
        digest::digest(&digest::SHA256, octets).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    };
    let messages = microsoft.sandbox.messages(ALICE, "INBOX");
    let mut settings = json!({
        "root": microsoft.root,
        "login": ALICE,
        "to": BOB,
        "mime": STANDARD.encode(MIME),
        "digests": messages.iter().map(|message| digest(message)).collect::<Vec<_>>(),
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}
