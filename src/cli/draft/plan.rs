//! What a configuration of another proxy becomes: listeners and accounts, each value with the place
//! that it came from, and what is left to do.

use gatepost_config::{Cloud, Grant};

use super::origin::{Found, Origin, is_odd};
use super::secrets::{SecretId, Secrets};

/// TLS towards clients.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Tls {
    /// `implicit` or `starttls`.
    pub(in crate::cli) mode: Found<&'static str>,
    /// Path of the certificate chain.
    pub(in crate::cli) certificate: Found<String>,
    /// Path of its key.
    pub(in crate::cli) private_key: Found<String>,
}

/// A listener.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Listener {
    pub(in crate::cli) name: Found<String>,
    /// Its name in the configuration.
    pub(in crate::cli) protocol: &'static str,
    pub(in crate::cli) bind: Found<Vec<String>>,
    pub(in crate::cli) allow_from: Option<Found<Vec<String>>>,
    pub(in crate::cli) allow_plaintext_from: Option<Found<Vec<String>>>,
    pub(in crate::cli) tls: Option<Tls>,
    pub(in crate::cli) upstream: Option<Found<String>>,
    pub(in crate::cli) upstream_tls: Option<Found<&'static str>>,
    pub(in crate::cli) deliver: Option<Found<&'static str>>,
}

/// How an application proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Credential {
    /// A secret.
    Secret(SecretId),
    /// A certificate with its key: two paths.
    Certificate(String, String),
}

/// How an account gets its tokens.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Application {
    pub(in crate::cli) cloud: Option<Found<Cloud>>,
    pub(in crate::cli) tenant: Option<Found<String>>,
    pub(in crate::cli) client_id: Option<Found<String>>,
    pub(in crate::cli) grant: Found<Grant>,
    pub(in crate::cli) credential: Option<Found<Credential>>,
    pub(in crate::cli) scope: Option<Found<String>>,
    /// In seconds.
    pub(in crate::cli) token_expiry_margin: Option<Found<u64>>,
}

/// An account.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Account {
    /// An address, `*@domain` or `*`.
    pub(in crate::cli) login: Found<String>,
    pub(in crate::cli) aliases: Option<Found<Vec<String>>>,
    pub(in crate::cli) send_as: Option<Found<Vec<String>>>,
    pub(in crate::cli) application: Application,
}

/// A provider other than Microsoft.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Provider {
    pub(in crate::cli) name: Found<String>,
    /// The application of its first account.
    pub(in crate::cli) application: Application,
    /// Further keys, in their order.
    pub(in crate::cli) keys: Vec<(&'static str, Found<String>)>,
    /// The keys of `hosts`.
    pub(in crate::cli) hosts: Vec<(&'static str, Found<String>)>,
}

/// An account of such a provider.
#[derive(Clone, Debug)]
pub(in crate::cli) struct ProviderAccount {
    pub(in crate::cli) login: Found<String>,
    /// The name of the provider.
    pub(in crate::cli) provider: Found<String>,
    pub(in crate::cli) application: Application,
}

/// The forward proxy.
#[derive(Clone, Debug)]
pub(in crate::cli) struct ForwardProxy {
    pub(in crate::cli) url: Found<String>,
    /// `basic` or `ntlm`.
    pub(in crate::cli) authentication: Option<Found<&'static str>>,
    pub(in crate::cli) username: Option<Found<String>>,
    pub(in crate::cli) password: Option<Found<SecretId>>,
    pub(in crate::cli) no_proxy: Option<Found<Vec<String>>>,
}

/// What a line of the report is about; the order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cli) enum Label {
    /// It has no counterpart.
    Ignored,
    /// Something to know.
    Note,
    /// Something to change in the other program.
    Change,
    /// A secret to put somewhere.
    Secret,
    /// A person has to sign in.
    SignIn,
    /// A device password has to be made.
    Password,
    /// Without it the result is of no use.
    Missing,
}

impl Label {
    /// The word at the beginning of the line.
    pub(in crate::cli) fn word(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Note => "note",
            Self::Change => "change",
            Self::Secret => "secret",
            Self::SignIn => "sign in",
            Self::Password => "password",
            Self::Missing => "missing",
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Remark {
    pub(in crate::cli) label: Label,
    /// None if it is about nothing in the file.
    pub(in crate::cli) about: Option<Origin>,
    pub(in crate::cli) text: String,
}

/// The whole result.
#[derive(Debug, Default)]
pub(in crate::cli) struct Plan {
    pub(in crate::cli) listeners: Vec<Listener>,
    /// Those of Microsoft.
    pub(in crate::cli) accounts: Vec<Account>,
    pub(in crate::cli) providers: Vec<Provider>,
    pub(in crate::cli) provider_accounts: Vec<ProviderAccount>,
    pub(in crate::cli) forward_proxy: Option<ForwardProxy>,
    /// The state directory.
    pub(in crate::cli) state: Option<Found<String>>,
    pub(in crate::cli) secrets: Secrets,
    pub(in crate::cli) remarks: Vec<Remark>,
}

impl Plan {
    /// Records that a part of the file has no counterpart.
    pub(in crate::cli) fn ignore(&mut self, about: Origin, why: impl Into<String>) {
        self.remark(Label::Ignored, Some(about), why);
    }

    /// Records that something has to be given before the result can be used.
    pub(in crate::cli) fn miss(&mut self, about: Option<Origin>, what: impl Into<String>) {
        self.remark(Label::Missing, about, what);
    }

    /// Records a line of the report. What a terminal would obey, and a line break that could pass for
    /// another line, are shown as `?`.
    pub(in crate::cli) fn remark(&mut self, label: Label, about: Option<Origin>, text: impl Into<String>) {
        let text = text.into().chars().map(|c| if is_odd(c) { '?' } else { c }).collect();
        self.remarks.push(Remark { label, about, text });
    }

    /// True when something has to be given first.
    pub(in crate::cli) fn is_incomplete(&self) -> bool {
        self.remarks.iter().any(|remark| remark.label == Label::Missing)
    }

    /// A name for a listener that none has yet: `wanted`, or with a port behind it.
    pub(in crate::cli) fn listener_name(&self, wanted: &str, port: u16) -> String {
        let is_taken = |name: &str| self.listeners.iter().any(|listener| listener.name.value == name);
        if is_taken(wanted) { format!("{wanted}-{port}") } else { wanted.to_owned() }
    }
}
