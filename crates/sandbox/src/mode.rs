//! How the parts behave: normally, or with one of the faults that a proxy must survive.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::certificate::CertificateFault;

/// One of the services that give access to mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// The service that Microsoft has at `outlook.office365.com:993`.
    Imap,
    /// The service that Microsoft has at `outlook.office365.com:995`.
    Pop3,
    /// The service that Microsoft has at `smtp.office365.com:587`.
    Smtp,
    /// The service that Microsoft has at `https://outlook.office365.com/EWS/Exchange.asmx`.
    Ews,
    /// The service that Microsoft has at `https://graph.microsoft.com/`.
    Graph,
}

impl Service {
    /// What a user's token must permit; for Graph, where each call has its own, what permits most.
    pub(super) fn delegated_permission(self) -> &'static str {
        match self {
            Self::Imap => "IMAP.AccessAsUser.All",
            Self::Pop3 => "POP.AccessAsUser.All",
            Self::Smtp => "SMTP.Send",
            Self::Ews => "EWS.AccessAsUser.All",
            Self::Graph => "Mail.ReadWrite",
        }
    }

    /// What an app-only token must permit.
    pub(super) fn application_permission(self) -> &'static str {
        match self {
            Self::Imap => "IMAP.AccessAsApp",
            Self::Pop3 => "POP.AccessAsApp",
            Self::Smtp => "SMTP.SendAsApp",
            Self::Ews => "full_access_as_app",
            Self::Graph => "Mail.ReadWrite",
        }
    }
}

/// How the token endpoint behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntraMode {
    /// The endpoint answers as Microsoft documents it.
    #[default]
    Normal,
    /// Connections are reset; a request on an open one is not answered.
    Down,
    /// Every answer is late by this much.
    Slow(Duration),
    /// 429 with AADSTS90055 and `Retry-After`, in whole seconds.
    Throttled {
        /// When to come back.
        retry_after: Duration,
    },
    /// 200 with an HTML page, as a web filter in between would send.
    Html,
    /// 200 with JSON that ends in the middle, when a token would have been granted.
    TruncatedJson,
    /// 200 with an error (AADSTS90033) in the body.
    OkWithError,
    /// 503 with `temporarily_unavailable` (AADSTS90033).
    ServerError,
    /// 200 with 4 MiB of white space.
    Oversize,
    /// 307 to another host, where credentials must not be posted.
    Redirect,
}

/// How a mail service behaves towards a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamMode {
    /// The service behaves as Microsoft's was observed to.
    #[default]
    Normal,
    /// The connection is reset at once. (The port stays bound, so that nobody else can take it.)
    Refuse,
    /// The connection is accepted; nothing ever comes, not even TLS.
    Hang,
    /// IMAP only: the greeting is `* PREAUTH`.
    Preauth,
    /// SMTP only: STARTTLS is neither offered nor known.
    NoStartTls,
    /// Plain octets arrive where TLS is due: before the handshake, or, for SMTP, right behind the
    /// reply to STARTTLS.
    SpeaksBeforeTls,
    /// The certificate is not acceptable.
    BadCertificate(CertificateFault),
    /// Every login ends "authenticated but not connected" at the next command (IMAP, POP3), or as
    /// an authentication failure (SMTP).
    NotConnected,
    /// Every login ends in the service's word for "try again later"; over HTTP, every call in 503.
    Unavailable,
    /// The greeting is `* BYE`, `-ERR` or `421`; over HTTP, every call ends in 503.
    Bye,
    /// SMTP only: a login with a good token ends in 535 5.7.139, because client submission is
    /// disabled for the tenant.
    SmtpAuthDisabled,
    /// SMTP only: the same code, because of security defaults.
    SecurityDefaults,
    /// SMTP only: the same code, because a Conditional Access policy is not met.
    PolicyNotMet,
    /// SMTP only: this is High Volume Email, which knows only accounts of its own
    /// ([`super::Sandbox::set_high_volume`]), and wants ten minutes of a token's life.
    HighVolume,
    /// SMTP only: a message with a bare LF is refused with 550 5.6.11.
    RefusesBareLf,
}

/// The current modes.
#[derive(Default)]
pub(super) struct Modes {
    entra: Mutex<EntraMode>,
    upstream: Mutex<HashMap<Service, UpstreamMode>>,
}

impl Modes {
    pub(super) fn entra(&self) -> EntraMode {
        self.entra.lock().clone()
    }

    pub(super) fn set_entra(&self, mode: EntraMode) {
        *self.entra.lock() = mode;
    }

    pub(super) fn upstream(&self, service: Service) -> UpstreamMode {
        self.upstream.lock().get(&service).copied().unwrap_or_default()
    }

    pub(super) fn set_upstream(&self, service: Service, mode: UpstreamMode) {
        self.upstream.lock().insert(service, mode);
    }
}
