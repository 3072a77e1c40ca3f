//! The embedded Microsoft 365 for clients of its HTTP services, which Dovecot has none of.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::process::{Directory, Finished, run};

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
