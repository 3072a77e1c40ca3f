//! How the RFCs say no: `error` (RFC 6749 §5.2, RFC 8628 §3.5) with a description.

use hyper::StatusCode;
use serde_json::json;

use crate::provider::{Answer, GrantProblem};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) description: String,
    /// Whether the client tried HTTP Basic, so that the answer must be 401 with a challenge.
    used_basic: bool,
}

impl Refusal {
    pub(super) fn new(error: &str, description: impl Into<String>) -> Self {
        Self { error: error.to_owned(), description: description.into(), used_basic: false }
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::new("invalid_request", format!("The parameter {parameter} is missing."))
    }

    pub(super) fn client(description: &str, used_basic: bool) -> Self {
        Self { used_basic, ..Self::new("invalid_client", description) }
    }

    pub(super) fn of(problem: GrantProblem) -> Self {
        let grant = |description: &str| Self::new("invalid_grant", description);
        match problem {
            GrantProblem::Unknown => grant("The code or token is not known."),
            GrantProblem::Used => grant("The code was used before."),
            GrantProblem::OtherClient => grant("It was issued to another client."),
            GrantProblem::OtherRedirect => grant("The redirect URI is another one."),
            GrantProblem::MissingVerifier => grant("The code verifier is missing."),
            GrantProblem::WrongVerifier => grant("The code verifier is wrong."),
            GrantProblem::Ended => grant("The token was revoked or has expired."),
            GrantProblem::BeyondScope => Self::new("invalid_scope", "The scope was not granted."),
            GrantProblem::Pending => Self::new("authorization_pending", "The person is not done."),
            GrantProblem::SlowDown => Self::new("slow_down", "Polling too often."),
            GrantProblem::Declined => Self::new("access_denied", "The person declined."),
            GrantProblem::Expired => Self::new("expired_token", "The device code has expired."),
            GrantProblem::Broken => Self::new("server_error", "There is no room."),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let status = if self.error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        let body = json!({"error": self.error, "error_description": self.description});
        let challenge = self.used_basic.then_some("Basic realm=\"plain\"");
        Answer::Json { status, body, challenge }
    }
}
