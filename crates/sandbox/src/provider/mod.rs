//! The providers of mail that the sandbox stands in for.

mod opaque;

pub(crate) use opaque::Sealer;

/// A provider of mail: who gives tokens, and whose mail servers take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Microsoft 365 and Outlook.com.
    Microsoft,
    /// Gmail and Google Workspace.
    Google,
    /// Any other provider with a server of RFC 6749.
    Plain,
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// An account of the tenant, for work or school.
    #[default]
    Work,
    /// A personal Microsoft account, such as one of outlook.com, which belongs to no tenant.
    Personal,
    /// An account of Gmail or Google Workspace.
    Google,
    /// An account of the plain provider.
    Plain,
}

impl AccountKind {
    /// The provider that has the mailbox.
    pub fn provider(self) -> Provider {
        match self {
            Self::Work | Self::Personal => Provider::Microsoft,
            Self::Google => Provider::Google,
            Self::Plain => Provider::Plain,
        }
    }
}
