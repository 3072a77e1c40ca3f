//! The secrets of a file, and where the result looks for them. No secret is shown or formatted.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::origin::Origin;

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// An application's.
    ClientSecret,
    /// The forward proxy's.
    ProxyPassword,
}

impl Kind {
    fn variable(self) -> &'static str {
        match self {
            Self::ClientSecret => "GATEPOST_CLIENT_SECRET",
            Self::ProxyPassword => "GATEPOST_PROXY_PASSWORD",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::ProxyPassword => "proxy-password",
        }
    }
}

/// Which secret of [`Secrets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct SecretId(usize);

/// A secret.
pub(in crate::cli) struct Secret {
    kind: Kind,
    /// Whose it is, such as the id of the application.
    owner: String,
    /// None if the file does not hold it, or only an encrypted form.
    pub(in crate::cli) value: Option<Zeroizing<String>>,
    /// Where it was found, or would be.
    pub(in crate::cli) from: Origin,
    /// Why the value is not there.
    pub(in crate::cli) absent: Option<&'static str>,
    /// Counts the secrets of the kind, from 1.
    number: usize,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Secret {
    fn numbered(&self, name: &str, joint: char) -> String {
        if self.number == 1 { name.to_owned() } else { format!("{name}{joint}{}", self.number) }
    }

    /// The environment variable for it.
    pub(in crate::cli) fn variable(&self) -> String {
        self.numbered(self.kind.variable(), '_')
    }

    /// The file for it.
    pub(in crate::cli) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.numbered(self.kind.file(), '-'))
    }
}

/// All secrets of a file.
#[derive(Debug, Default)]
pub(in crate::cli) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds a secret that the file holds, or returns the same one that is known.
    pub(in crate::cli) fn add(&mut self, kind: Kind, owner: &str, value: Zeroizing<String>, from: &Origin) -> SecretId {
        self.insert(kind, owner, Some(value), None, from)
    }

    /// Adds a secret that the administrator has to bring, and says why.
    pub(in crate::cli) fn add_absent(&mut self, kind: Kind, owner: &str, why: &'static str, from: &Origin) -> SecretId {
        self.insert(kind, owner, None, Some(why), from)
    }

    fn insert(
        &mut self,
        kind: Kind,
        owner: &str,
        value: Option<Zeroizing<String>>,
        absent: Option<&'static str>,
        from: &Origin,
    ) -> SecretId {
        let same = |known: &Secret| known.kind == kind && known.owner == owner && known.value == value;
        if let Some(index) = self.0.iter().position(same) {
            return SecretId(index);
        }
        let number = self.0.iter().filter(|known| known.kind == kind).count() + 1;
        self.0.push(Secret { kind, owner: owner.to_owned(), value, from: from.clone(), absent, number });
        SecretId(self.0.len() - 1)
    }

    /// The secret.
    pub(in crate::cli) fn get(&self, id: SecretId) -> Option<&Secret> {
        self.0.get(id.0)
    }

    /// All of them.
    pub(in crate::cli) fn iter(&self) -> std::slice::Iter<'_, Secret> {
        self.0.iter()
    }
}
