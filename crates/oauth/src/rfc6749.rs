//! The errors of OAuth 2.0 and what each means, without codes of a provider's own.

use crate::aadsts::Class;

/// The class of an `error` of RFC 6749 (§4.1.2.1, §5.2), RFC 7009 (§2.2.1), RFC 8628 (§3.5) or OpenID
/// Connect Core (§3.1.2.6).
pub(crate) fn classify(error: &str, _suberror: Option<&str>, _codes: &[u32]) -> Class {
    match error {
        // Expired, revoked, or of another client: only a person can get another.
        "invalid_grant" => Class::GrantExpired,
        "access_denied" | "interaction_required" | "login_required" | "consent_required" => Class::SignInNeeded,
        "invalid_client" | "unauthorized_client" | "invalid_scope" => Class::Administrator,
        // Google's own: the application is set up otherwise, is gone, or is not for these people.
        "redirect_uri_mismatch" | "deleted_client" | "disabled_client" | "org_internal" | "admin_policy_enforced" => {
            Class::Administrator
        }
        "invalid_request" | "unsupported_grant_type" | "unsupported_response_type" | "unsupported_token_type" => {
            Class::Malformed
        }
        "authorization_pending" | "slow_down" | "expired_token" => Class::Polling,
        // `temporarily_unavailable`, `server_error`, and whatever a server calls its own.
        _ => Class::Temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_whether_a_person_an_administrator_or_time_helps() {
        for (class, errors) in [
            (Class::GrantExpired, &["invalid_grant"][..]),
            (Class::SignInNeeded, &["access_denied", "interaction_required", "login_required", "consent_required"]),
            (Class::Administrator, &["invalid_client", "unauthorized_client", "invalid_scope"]),
            (Class::Administrator, &["redirect_uri_mismatch", "deleted_client", "disabled_client"]),
            (Class::Administrator, &["org_internal", "admin_policy_enforced"]),
            (Class::Malformed, &["invalid_request", "unsupported_grant_type"]),
            (Class::Malformed, &["unsupported_response_type", "unsupported_token_type"]),
            (Class::Polling, &["authorization_pending", "slow_down", "expired_token"]),
            (Class::Temporary, &["temporarily_unavailable", "server_error", "its_own", ""]),
        ] {
            for error in errors {
                assert_eq!(classify(error, None, &[]), class, "{error}");
            }
        }
    }
}
