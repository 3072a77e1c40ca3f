//! The embedded Microsoft 365 for clients of its HTTP services, which Dovecot has none of.

use std::path::PathBuf;

use gatepost::sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use tokio::runtime::{Builder, Runtime};

use super::process::Directory;

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
