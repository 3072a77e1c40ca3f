//! The labels of series, and the closed sets of their values.

use prometheus_client::encoding::EncodeLabelSet;

/// The result of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOutcome {
    /// Entra gave a token.
    Granted,
    /// Entra refused the user or the application.
    Refused,
    /// Entra is busy, or asked to wait.
    Busy,
    /// There was no answer, or an unusable one.
    Failed,
}

impl TokenOutcome {
    pub(super) const ALL: [Self; 4] = [Self::Granted, Self::Refused, Self::Busy, Self::Failed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// Who asked to wait for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The token endpoint: 429 or `Retry-After`.
    Entra,
    /// A mail server: a limit of the mailbox or tenant.
    Exchange,
    /// Microsoft Graph: 429.
    Graph,
    /// Exchange Web Services: `ErrorServerBusy` or 429.
    Ews,
    /// Gatepost itself, to stay within a limit of Microsoft's.
    Gatepost,
}

impl Throttle {
    pub(super) const ALL: [Self; 5] = [Self::Entra, Self::Exchange, Self::Graph, Self::Ews, Self::Gatepost];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::Exchange => "exchange",
            Self::Graph => "graph",
            Self::Ews => "ews",
            Self::Gatepost => "gatepost",
        }
    }
}

/// How Gatepost delivers a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// SMTP AUTH.
    Smtp,
    /// Microsoft Graph.
    Graph,
    /// The message was refused before a delivery was chosen.
    None,
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Microsoft took it.
    Accepted,
    /// It may be tried again.
    Deferred,
    /// It is refused for good.
    Refused,
    /// Unknown, because the connection broke before the answer.
    Unknown,
}

/// What expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The certificate of an Entra application.
    Certificate,
    /// The secret of an Entra application.
    Secret,
    /// The certificate of a listener.
    Listener,
}

impl Ends {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Secret => "secret",
            Self::Listener => "listener",
        }
    }
}

/// Values of the label `grant`.
pub(super) const GRANTS: [&str; 6] =
    ["password", "client_credentials", "authorization_code", DEVICE_CODE, "refresh_token", MANAGED_IDENTITY];
/// The value for device codes, also for the request that begins the sign-in.
pub const DEVICE_CODE: &str = "device_code";
/// The value for managed identities. It is not an OAuth grant, but also gives tokens.
pub const MANAGED_IDENTITY: &str = "managed_identity";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByProtocol {
    pub(super) protocol: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LoginLabels {
    pub(super) protocol: &'static str,
    pub(super) outcome: &'static str,
    pub(super) cause: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenLabels {
    pub(super) grant: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByteLabels {
    pub(super) protocol: &'static str,
    pub(super) direction: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MessageLabels {
    pub(super) way: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct By {
    pub(super) by: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCause {
    pub(super) cause: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByState {
    pub(super) state: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabels {
    pub(super) protocol: &'static str,
    pub(super) cause: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Version {
    pub(super) version: &'static str,
}

pub(super) fn message_labels(way: Way, outcome: Sent) -> MessageLabels {
    let way = match way {
        Way::Smtp => "smtp",
        Way::Graph => "graph",
        Way::None => "none",
    };
    let outcome = match outcome {
        Sent::Accepted => "accepted",
        Sent::Deferred => "deferred",
        Sent::Refused => "refused",
        Sent::Unknown => "unknown",
    };
    MessageLabels { way, outcome }
}

pub(super) fn reload_label(succeeded: bool) -> Outcome {
    Outcome { outcome: if succeeded { "succeeded" } else { "failed" } }
}
