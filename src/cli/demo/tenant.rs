//! What another Gatepost needs to use the demonstration's Microsoft 365 as a tenant of its own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::draft::target;
use gatepost_sandbox::Sandbox;

/// What an administrator may who signs in to the Azure CLI.
const ADMINISTRATOR: &[&str] = &["Directory.AccessAsUser.All"];

/// The files for it.
pub(super) struct Tenant {
    /// Settings for a shell to read: where this Microsoft 365 is.
    pub(super) settings: PathBuf,
    /// The token of an administrator.
    pub(super) token: PathBuf,
}

impl Tenant {
    /// Writes the files into a directory. The other Gatepost listens on these ports for IMAP and SMTP.
    pub(super) fn write(
        directory: &Path,
        sandbox: &Sandbox,
        authority: &Path,
        [imap, smtp]: [u16; 2],
    ) -> anyhow::Result<Self> {
        let (settings, token) = (directory.join("tenant.env"), directory.join("token"));
        let listener = |name: &str, upstream: u16, bind: u16| {
            format!(
                "export GATEPOST__LISTENERS__{name}__UPSTREAM=localhost:{upstream}\n\
                 export GATEPOST__LISTENERS__{name}__BIND=127.0.0.1:{bind}\n"
            )
        };
        let text = format!(
            "# Where the Microsoft 365 of `gatepost demo` is. A real tenant needs none of it.\n\
             export GATEPOST__MICROSOFT__AUTHORITY={}\n\
             export GATEPOST__TRUST__SYSTEM_ROOTS=false\n\
             export GATEPOST__TRUST__ADDITIONAL_CA={}\n{}{}",
            sandbox.authority(),
            authority.display(),
            listener("IMAP", sandbox.imap().port(), imap),
            listener("SMTP", sandbox.smtp().port(), smtp),
        );
        target::write(&settings, text.as_bytes(), false).context("write the settings of the tenant")?;
        let administrator = sandbox.issue_administrator_token(ADMINISTRATOR).context("issue a token")?;
        target::write(&token, administrator.expose().as_bytes(), false).context("write the administrator's token")?;
        Ok(Self { settings, token })
    }
}
