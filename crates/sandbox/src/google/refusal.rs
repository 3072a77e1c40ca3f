//! How Google says no: `error`, `error_description` and status, as they were seen.

use hyper::StatusCode;
use serde_json::json;

use crate::provider::{Answer, GrantProblem, json_answer};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) error: String,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn new(status: u16, error: &str, description: impl Into<String>) -> Self {
        Self { status, error: error.to_owned(), description: description.into() }
    }

    pub(super) fn grant(description: impl Into<String>) -> Self {
        Self::new(400, "invalid_grant", description)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(400, "invalid_request", format!("Missing required parameter: {parameter}"))
    }

    /// Only the words for a device tell more than that a grant is not good.
    pub(super) fn of(problem: GrantProblem) -> Self {
        match problem {
            GrantProblem::Unknown | GrantProblem::Used => Self::grant("Bad Request"),
            GrantProblem::Ended => Self::grant("Token has been expired or revoked."),
            GrantProblem::MissingVerifier => Self::grant("Missing code verifier."),
            GrantProblem::WrongVerifier => Self::grant("Invalid code verifier."),
            GrantProblem::OtherRedirect => Self::new(400, "redirect_uri_mismatch", "Bad Request"),
            GrantProblem::OtherClient => Self::new(401, "unauthorized_client", "Unauthorized"),
            GrantProblem::BeyondScope => Self::new(400, "invalid_scope", "Bad Request"),
            GrantProblem::Pending => Self::new(428, "authorization_pending", "Precondition Required"),
            GrantProblem::SlowDown => Self::new(403, "slow_down", "Forbidden"),
            GrantProblem::Declined => Self::new(403, "access_denied", "Forbidden"),
            GrantProblem::Expired => Self::new(400, "expired_token", "Bad Request"),
            GrantProblem::Broken => Self::new(500, "internal_failure", "Backend Error"),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        json_answer(status, json!({"error": self.error, "error_description": self.description}))
    }
}
