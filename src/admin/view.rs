//! What the status consists of, as JSON has it. Times are in RFC 3339.

use serde::Serialize;

use gatepost_core::cause::Cause;

#[derive(Debug, Serialize)]
pub(super) struct ConfinementView {
    /// `full`, `partial` or `off`.
    pub(super) degree: &'static str,
    /// One sentence without full stop for each part.
    pub(super) report: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ReloadView {
    pub(super) at: String,
    pub(super) succeeded: bool,
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ListenerView {
    pub(super) name: String,
    pub(super) protocol: &'static str,
    pub(super) bind: String,
    pub(super) tls: &'static str,
    pub(super) certificate_expires_at: Option<String>,
    pub(super) certificate_days_left: Option<i64>,
    pub(super) destination: String,
    pub(super) serves: &'static str,
    pub(super) sessions: usize,
    pub(super) warning: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct AccountLine {
    pub(super) login: String,
    pub(super) grant: &'static str,
    pub(super) mailbox: Option<String>,
    pub(super) tokens: Vec<TokenLine>,
    pub(super) sign_in: Option<SignInLine>,
    /// Whether a person can sign in with a browser.
    #[serde(skip)]
    pub(super) takes_browser: bool,
    /// Whether a person can sign in with a code on another device.
    #[serde(skip)]
    pub(super) takes_code: bool,
    pub(super) device_passwords: usize,
    /// Wrong passwords that count against it at Entra.
    pub(super) wrong_passwords: usize,
    pub(super) sessions: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct TokenLine {
    pub(super) resource: &'static str,
    pub(super) age_seconds: u64,
    pub(super) seconds_left: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct SignInLine {
    /// `missing`, `signed-in` or `refused`.
    pub(super) state: &'static str,
    pub(super) username: Option<String>,
    pub(super) at: Option<String>,
    pub(super) renewed_at: Option<String>,
    pub(super) code: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct DevicePasswordLine {
    pub(super) id: String,
    pub(super) login: String,
    pub(super) name: String,
    pub(super) protocols: Vec<&'static str>,
    pub(super) from: Vec<String>,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    pub(super) last_used_at: Option<String>,
    pub(super) last_used_from: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionLine {
    pub(super) id: String,
    pub(super) listener: String,
    pub(super) protocol: &'static str,
    pub(super) peer: String,
    pub(super) account: String,
    pub(super) device: Option<String>,
    pub(super) since: String,
    pub(super) seconds: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct FailureLine {
    pub(super) cause: Cause,
    pub(super) action_by: &'static str,
    pub(super) label: &'static str,
    /// The other side's own code, if it gave one.
    pub(super) code: Option<Box<str>>,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) account: String,
    pub(super) listener: String,
    pub(super) protocol: &'static str,
    pub(super) peer: String,
    pub(super) session: String,
    pub(super) count: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) seconds_ago: u64,
}

impl FailureLine {
    /// Whether it was a wrong password of an account, or a result of too many of them. Unlocking
    /// the account removes them from the count.
    pub(super) fn spends_guesses(&self) -> bool {
        !self.account.is_empty() && self.cause.spends_guesses()
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ExpiryLine {
    pub(super) what: String,
    /// The application's client ID; empty for a listener's certificate.
    pub(super) client_id: String,
    pub(super) expires_at: String,
    pub(super) days_left: i64,
    /// Whether Gatepost renews it by itself.
    pub(super) renews_itself: bool,
    /// Why the latest attempt to renew it failed.
    pub(super) renewal_failure: Option<String>,
}
