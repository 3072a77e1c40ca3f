//! What a configuration is read for: which of its secrets that needs.

/// What a configuration is read for. Each one needs the secrets of those before it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A command that opens the store.
    Store,
    /// A command that signs a person in at Entra.
    SignIn,
    /// A check of everything. Secrets that only the running service can have are noted.
    Check,
    /// The service. Every secret has to be there.
    Service,
}

/// A secret of the configuration.
#[derive(Debug)]
pub(super) enum Secret<T> {
    /// It was read.
    Read(T),
    /// It is written, but the purpose does not need it, or only the running service has it.
    NotRead,
}

impl<T> Secret<T> {
    /// The secret, if it was read.
    pub(super) fn read(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::NotRead => None,
        }
    }

    /// The same with another value.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Secret<U> {
        match self {
            Self::Read(value) => Secret::Read(change(value)),
            Self::NotRead => Secret::NotRead,
        }
    }
}
