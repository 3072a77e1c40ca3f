//! What a configuration of another proxy becomes: listeners and accounts, each value with the place
//! that it came from, and what is left to do.

use gatepost_config::{Cloud, Grant};

use super::origin::{Found, Origin, is_odd};
use super::secrets::{SecretId, Secrets};

/// TLS towards clients.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// `implicit` or `starttls`.
    pub(super) mode: Found<&'static str>,
    /// Path of the certificate chain.
    pub(super) certificate: Found<String>,
    /// Path of its key.
    pub(super) private_key: Found<String>,
}

/// A listener.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) name: Found<String>,
    /// `imap`, `pop3` or `smtp`.
    pub(super) protocol: &'static str,
    pub(super) bind: Found<Vec<String>>,
    pub(super) allow_from: Option<Found<Vec<String>>>,
    pub(super) allow_plaintext_from: Option<Found<Vec<String>>>,
    pub(super) tls: Option<Tls>,
    pub(super) upstream: Option<Found<String>>,
    pub(super) upstream_tls: Option<Found<&'static str>>,
    pub(super) deliver: Option<Found<&'static str>>,
}

/// How an application proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A secret.
    Secret(SecretId),
    /// A certificate with its key: two paths.
    Certificate(String, String),
}

/// How an account gets its tokens.
#[derive(Clone, Debug)]
pub(super) struct Application {
    pub(super) cloud: Option<Found<Cloud>>,
    pub(super) tenant: Option<Found<String>>,
    pub(super) client_id: Option<Found<String>>,
    pub(super) grant: Found<Grant>,
    pub(super) credential: Option<Found<Credential>>,
    pub(super) scope: Option<Found<String>>,
    /// In seconds.
    pub(super) token_expiry_margin: Option<Found<u64>>,
}

/// An account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// An address, `*@domain` or `*`.
    pub(super) login: Found<String>,
    pub(super) aliases: Option<Found<Vec<String>>>,
    pub(super) send_as: Option<Found<Vec<String>>>,
    pub(super) application: Application,
}

/// The forward proxy.
#[derive(Clone, Debug)]
pub(super) struct ForwardProxy {
    pub(super) url: Found<String>,
    /// `basic` or `ntlm`.
    pub(super) authentication: Option<Found<&'static str>>,
    pub(super) username: Option<Found<String>>,
    pub(super) password: Option<Found<SecretId>>,
    pub(super) no_proxy: Option<Found<Vec<String>>>,
}

/// What a line of the report is about; the order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Label {
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
    pub(super) fn word(self) -> &'static str {
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
pub(super) struct Remark {
    pub(super) label: Label,
    /// None if it is about nothing in the file.
    pub(super) about: Option<Origin>,
    pub(super) text: String,
}

/// The whole result.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) listeners: Vec<Listener>,
    pub(super) accounts: Vec<Account>,
    pub(super) forward_proxy: Option<ForwardProxy>,
    pub(super) secrets: Secrets,
    pub(super) remarks: Vec<Remark>,
}

impl Plan {
    /// Records that a part of the file has no counterpart.
    pub(super) fn ignore(&mut self, about: Origin, why: impl Into<String>) {
        self.remark(Label::Ignored, Some(about), why);
    }

    /// Records that something has to be given before the result can be used.
    pub(super) fn miss(&mut self, about: Option<Origin>, what: impl Into<String>) {
        self.remark(Label::Missing, about, what);
    }

    /// Records a line of the report. What a terminal would obey, and a line break that could pass for
    /// another line, are shown as `?`.
    pub(super) fn remark(&mut self, label: Label, about: Option<Origin>, text: impl Into<String>) {
        let text = text.into().chars().map(|c| if is_odd(c) { '?' } else { c }).collect();
        self.remarks.push(Remark { label, about, text });
    }

    /// True when something has to be given first.
    pub(super) fn is_incomplete(&self) -> bool {
        self.remarks.iter().any(|remark| remark.label == Label::Missing)
    }

    /// A name for a listener that none has yet: `wanted`, or with a port behind it.
    pub(super) fn listener_name(&self, wanted: &str, port: u16) -> String {
        let is_taken = |name: &str| self.listeners.iter().any(|listener| listener.name.value == name);
        if is_taken(wanted) { format!("{wanted}-{port}") } else { wanted.to_owned() }
    }
}
