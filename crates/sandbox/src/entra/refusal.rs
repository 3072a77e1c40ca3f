//! How Entra says no: AADSTS codes with their OAuth class, HTTP status and sentence.
//!
//! Meanings are from Microsoft's list of authentication and authorization error codes; the class
//! and the status, which that list leaves out, are as commonly observed; so are the names in the
//! sentences, here `{app}`, `{name}`, `{tenant}`, `{thumbprint}` and `{user}`. Personal accounts sign
//! in at another service, whose refusals have no number.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::{calendar, random};

/// A refused token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) code: u32,
    /// The OAuth error, where it is not the usual one of that code.
    error: Option<&'static str>,
    sentence: String,
    /// Whether the code is told.
    is_numbered: bool,
}

/// `error`, status and sentence of a code. Any code can be asked for; one that is not listed is an
/// `invalid_grant`.
fn entry(code: u32) -> (&'static str, StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    match code {
        50013 => ("invalid_grant", BAD, "Assertion failed signature validation, or was used before."),
        50027 => ("invalid_client", UNAUTHORIZED, "JWT token is invalid or malformed."),
        50020 => (
            "invalid_grant",
            BAD,
            "User account '{user}' from identity provider 'live.com' does not exist in tenant '{tenant}' and cannot access the application '{app}'({name}) in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account.",
        ),
        500200 => (
            "invalid_grant",
            BAD,
            "User account '{user}' is a personal Microsoft account. Personal Microsoft accounts are not supported for this application unless explicitly invited to an organization. Try signing out and signing back in with an organizational account.",
        ),
        500201 => (
            "invalid_request",
            BAD,
            "We are unable to issue tokens from this API version for a Microsoft account. Please contact the application vendor as they need to use version 2.0 of the protocol to support this.",
        ),
        50194 => (
            "invalid_request",
            BAD,
            "Application '{app}'({name}) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
        ),
        9002331 => (
            "invalid_request",
            BAD,
            "Application '{app}'({name}) is configured for use by Microsoft Account users only. Please use the /consumers endpoint to serve this request.",
        ),
        70000121 => (
            "invalid_grant",
            BAD,
            "The passed grant is from a personal Microsoft account and is required to be sent to the /consumers or /common endpoint.",
        ),
        50034 => (
            "invalid_grant",
            BAD,
            "The user account {EUII Hidden} does not exist in the {tenant} directory. To sign into this application, the account must be added to the directory.",
        ),
        50053 => (
            "invalid_grant",
            BAD,
            "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
        ),
        50055 => ("invalid_grant", BAD, "The password is expired."),
        50056 => {
            ("invalid_grant", BAD, "Invalid or null password: password does not exist in the directory for this user.")
        }
        50057 => ("invalid_grant", BAD, "The user account is disabled."),
        50059 => (
            "invalid_request",
            BAD,
            "No tenant-identifying information found in either the request or implied by any provided credentials.",
        ),
        50072 | 50079 => (
            "interaction_required",
            BAD,
            "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication.",
        ),
        50074 | 50076 | 50078 => (
            "interaction_required",
            BAD,
            "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication.",
        ),
        50105 => (
            "invalid_grant",
            BAD,
            "Your administrator has configured the application to block users unless they are specifically granted access.",
        ),
        50144 => (
            "invalid_grant",
            BAD,
            "The user's Active Directory password has expired. Generate a new password for the user or have the user use the self-service reset tool to reset their password.",
        ),
        50126 => ("invalid_grant", BAD, "Error validating credentials due to invalid username or password."),
        50196 => {
            ("invalid_grant", BAD, "The server terminated an operation because it encountered a client request loop.")
        }
        53003 => (
            "interaction_required",
            BAD,
            "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
        ),
        50011 => (
            "invalid_request",
            BAD,
            "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
        ),
        50173 => (
            "invalid_grant",
            BAD,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password.",
        ),
        54005 => (
            "invalid_grant",
            BAD,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
        ),
        65001 => (
            "invalid_grant",
            BAD,
            "The user or administrator has not consented to use the application with ID '{app}' named '{name}'. Send an interactive authorization request for this user and resource.",
        ),
        65004 => ("access_denied", BAD, "User declined to consent to access the app."),
        70000 => ("invalid_grant", BAD, "Provided grant is invalid or malformed."),
        70002 => ("invalid_client", UNAUTHORIZED, "Error validating credentials."),
        70003 => ("unsupported_grant_type", BAD, "The app requested an unsupported grant type."),
        70008 => (
            "invalid_grant",
            BAD,
            "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
        ),
        70016 => {
            ("authorization_pending", BAD, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
        }
        70018 => ("bad_verification_code", BAD, "Invalid verification code."),
        70019 => ("expired_token", BAD, "Verification code expired."),
        70011 => (
            "invalid_scope",
            BAD,
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid.",
        ),
        500011 => (
            "invalid_resource",
            BAD,
            "The resource principal was not found in the tenant. This can happen if the application has not been installed by the administrator of the tenant.",
        ),
        500112 => (
            "invalid_grant",
            BAD,
            "The reply address does not match the reply address provided when requesting Authorization code.",
        ),
        501481 => (
            "invalid_grant",
            BAD,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        ),
        700005 => (
            "invalid_grant",
            BAD,
            "The provided authorization code or refresh token was issued to another application.",
        ),
        700082 => ("invalid_grant", BAD, "The refresh token has expired due to inactivity."),
        700016 => (
            "unauthorized_client",
            BAD,
            "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
        ),
        700023 => (
            "invalid_client",
            UNAUTHORIZED,
            "Client assertion audience claim does not match the address of the request.",
        ),
        700024 => ("invalid_client", UNAUTHORIZED, "Client assertion is not within its valid time range."),
        700027 => (
            "invalid_client",
            UNAUTHORIZED,
            "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '{thumbprint}', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '{app}'.]",
        ),
        700211 => (
            "invalid_client",
            UNAUTHORIZED,
            "No matching federated identity record found for presented assertion issuer.",
        ),
        700212 => (
            "invalid_client",
            UNAUTHORIZED,
            "No matching federated identity record found for presented assertion audience.",
        ),
        700213 => (
            "invalid_client",
            UNAUTHORIZED,
            "No matching federated identity record found for presented assertion subject.",
        ),
        700025 => (
            "invalid_client",
            UNAUTHORIZED,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
        ),
        7000112 => ("unauthorized_client", BAD, "Application is disabled."),
        7000215 => (
            "invalid_client",
            UNAUTHORIZED,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{app}'.",
        ),
        7000218 => (
            "invalid_client",
            UNAUTHORIZED,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ),
        7000222 => (
            "invalid_client",
            UNAUTHORIZED,
            "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
        ),
        7000229 => (
            "invalid_client",
            UNAUTHORIZED,
            "The client application {app} is missing service principal in the tenant {tenant}. See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119",
        ),
        90002 => (
            "invalid_request",
            BAD,
            "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
        ),
        90033 => (
            "temporarily_unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            "A transient error has occurred. Please try again.",
        ),
        90055 => (
            "invalid_request",
            StatusCode::TOO_MANY_REQUESTS,
            "The request has been throttled due to too many requests.",
        ),
        900144 => ("invalid_request", BAD, "The request body must contain a required parameter that is missing."),
        900561 => ("invalid_request", BAD, "The endpoint only accepts POST requests."),
        901002 => ("invalid_request", BAD, "The 'resource' request parameter is not supported."),
        9001023 => (
            "invalid_request",
            BAD,
            "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.",
        ),
        _ => ("invalid_grant", BAD, "The request was refused."),
    }
}

impl Refusal {
    /// A refusal with the usual sentence of that code.
    pub(super) fn new(code: u32) -> Self {
        Self { code, error: None, sentence: entry(code).2.to_owned(), is_numbered: true }
    }

    /// A refusal of a device that polls too often (RFC 8628 §3.5). Microsoft's list has no number
    /// for it.
    pub(super) fn slow_down() -> Self {
        Self { error: Some("slow_down"), sentence: "Polling too often.".to_owned(), ..Self::new(70016) }
    }

    /// The person said no to a device (Microsoft, "OAuth 2.0 device authorization grant"); no
    /// number of its own either.
    pub(super) fn declined() -> Self {
        Self { error: Some("authorization_declined"), ..Self::new(65004) }
    }

    /// The application was not registered for personal accounts.
    pub(super) fn not_for_consumers() -> Self {
        let sentence = "The client does not exist or is not enabled for consumers. If you are the application developer, configure a new application through the App Registrations in the Azure Portal at https://go.microsoft.com/fwlink/?linkid=2083908.";
        Self { is_numbered: false, sentence: sentence.to_owned(), ..Self::new(700_016) }
    }

    /// The account that should sign in is no personal one.
    pub(super) fn no_such_personal_account() -> Self {
        let sentence = "That Microsoft account doesn't exist. Enter a different account or get a new one.";
        Self { is_numbered: false, sentence: sentence.to_owned(), ..Self::new(50034) }
    }

    /// A refusal for a parameter that is not there.
    pub(super) fn missing(parameter: &str) -> Self {
        let sentence = format!("The request body must contain the following parameter: '{parameter}'.");
        Self { sentence, ..Self::new(900_144) }
    }

    /// Fills in whom it is about.
    pub(super) fn about(mut self, names: &[(&str, &str)]) -> Self {
        for (name, value) in names {
            self.sentence = self.sentence.replace(&format!("{{{name}}}"), value);
        }
        self
    }

    /// The OAuth `error`.
    pub(super) fn error(&self) -> &'static str {
        self.error.unwrap_or_else(|| entry(self.code).0)
    }

    /// Code and sentence, as they stand in `error_description`.
    pub(super) fn told(&self) -> String {
        if !self.is_numbered {
            return self.sentence.clone();
        }
        format!("AADSTS{}: {}", self.code, self.sentence)
    }

    pub(super) fn status(&self) -> StatusCode {
        entry(self.code).1
    }

    /// The body as Microsoft shapes it; `now` in seconds since 1970.
    pub(super) fn body(&self, correlation_id: Option<&str>, now: i64) -> Value {
        let trace_id = random::guid();
        let correlation_id = correlation_id.map_or_else(random::guid, str::to_owned);
        let timestamp = calendar::entra_timestamp(now);
        if !self.is_numbered {
            return json!({
                "error": self.error(), "error_description": self.told(), "correlation_id": correlation_id,
            });
        }
        let (code, told) = (self.code, self.told());
        json!({
            "error": self.error(),
            "error_description": format!(
                "{told} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
            ),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_every_member() {
        let body = Refusal::new(50126).body(Some("c0ffee"), 0);
        assert_eq!(body["error"], "invalid_grant");
        assert_eq!(body["error_codes"], json!([50126]));
        assert_eq!(body["correlation_id"], "c0ffee");
        assert_eq!(body["timestamp"], "1970-01-01 00:00:00Z");
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with("AADSTS50126: Error validating credentials"), "{description}");
        assert!(description.contains("Trace ID: "));
        assert!(body["error_uri"].as_str().unwrap().ends_with("code=50126"));
    }

    #[test]
    fn a_sentence_names_whom_it_is_about() {
        let told = Refusal::new(700_016).about(&[("app", "c0ffee"), ("tenant", "contoso")]).told();
        assert!(told.contains("identifier 'c0ffee' was not found in the directory 'contoso'"), "{told}");
    }

    #[test]
    fn the_service_of_personal_accounts_gives_no_number() {
        let body = Refusal::not_for_consumers().body(None, 0);
        assert_eq!(body["error"], "unauthorized_client");
        assert!(body.get("error_codes").is_none());
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with("The client does not exist or is not enabled for consumers."), "{description}");
    }

    #[test]
    fn a_bad_client_is_unauthorized_and_an_unknown_code_still_has_a_class() {
        assert_eq!(Refusal::new(7_000_215).status(), StatusCode::UNAUTHORIZED);
        assert_eq!(Refusal::new(1).body(None, 0)["error"], "invalid_grant");
        assert!(
            Refusal::missing("username").body(None, 0)["error_description"].as_str().unwrap().contains("'username'")
        );
    }
}
