//! The providers of mail that the sandbox stands in for, and what those beside Microsoft have in
//! common: token services with opaque tokens, and mail servers of their own.

mod foreign;
mod grants;
mod handle;
mod http;
mod mail;
mod manner;
mod opaque;
mod page;
mod seen;
mod state;
mod token;

pub use foreign::ForeignToken;
pub use handle::{ProviderHandle, Tokens};
pub use manner::Manner;
pub use seen::SeenRequest;

pub(crate) use foreign::ForeignTokens;
pub(crate) use grants::{Asked, Binding, Challenge, GrantProblem, Granted, Person, RefreshRules};
pub(crate) use http::{Answer, Asking, Respond, json_answer, serve};
pub(crate) use mail::start;
pub(crate) use opaque::Sealer;
pub(crate) use page::{Shown, back, device_page, error_page, is_loopback, sign_in};
pub(crate) use state::{ProviderState, Started};
pub(crate) use token::{issue, note_foreign, read};

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

#[cfg(test)]
mod tests;
