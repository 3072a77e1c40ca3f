//! One type for everything that can make a login fail: what happened, who must act, and what to do.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::cause::Cause;

/// A login that failed. `refusal` is for the client, and all fields are for the log.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the client is told.
    pub refusal: Refusal,
    /// Who must act.
    pub actor: Actor,
    /// A short fixed word for logs and counters, such as `wrong-password` or `entra-unreachable`.
    pub cause: Cause,
    /// What happened, in one sentence without full stop, with the other side's code if it has one
    /// (`AADSTS50126`, `5.7.139`, `407`). Control characters are escaped; it never holds a secret.
    pub message: String,
    /// The next step, one sentence without full stop.
    pub remedy: Cow<'static, str>,
    /// Whether the refusal is delayed for a moment, because the client may be guessing passwords.
    pub delay: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}: {}", self.message, self.actor.label(), self.remedy)
    }
}

/// Who must act after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The person or device that logs in.
    Client,
    /// The administrator of Gatepost.
    Operator,
    /// The administrator of the tenant, in Entra or Exchange.
    TenantAdministrator,
    /// The administrator of the corporate proxy or network.
    Network,
    /// Microsoft: waiting helps.
    Microsoft,
    /// Gatepost's developers.
    Developers,
}

impl Actor {
    /// Lower-case name for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::TenantAdministrator => "tenant-administrator",
            Self::Network => "network",
            Self::Microsoft => "microsoft",
            Self::Developers => "developers",
        }
    }

    /// The actor, as the label in front of a remedy.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "Device owner",
            Self::Operator => "Gatepost admin",
            Self::TenantAdministrator => "Microsoft 365 admin",
            Self::Network => "Network admin",
            Self::Microsoft => "No action needed",
            Self::Developers => "Gatepost bug",
        }
    }
}

/// An error with its causes, joined by colons: at most 400 characters, without control characters.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// How a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong password or unknown account: permanent.
    InvalidCredentials,
    /// The identity is right but may not use this mailbox: permanent.
    NotAuthorized,
    /// A person must sign in again, or an administrator must change something; the password is not
    /// at fault.
    ContactAdmin,
    /// Something is down, slow, locked or throttled: temporary.
    Unavailable,
    /// The mailbox's own limit of connections is reached: temporary.
    Limit,
    /// Gatepost's own error: temporary.
    ServerBug,
}

impl Refusal {
    /// What the client is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "Invalid user name or password",
            Self::NotAuthorized => "Not allowed to use this mailbox",
            Self::ContactAdmin => "An administrator needs to fix this. Your password is not the problem",
            Self::Unavailable => "Temporarily unavailable, try again later",
            Self::Limit => "Too many connections to this mailbox, try again later",
            Self::ServerBug => "Internal error, try again later",
        }
    }
}
