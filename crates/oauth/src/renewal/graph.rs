//! The requests to Microsoft Graph that change the keys of an application, and their answers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use gatepost_core::cause::Cause;
use gatepost_core::escape::escaped;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::secret::ClientAssertion;

/// Longest excerpts of Microsoft's code and message.
const CODE: usize = 80;
const MESSAGE: usize = 300;

/// Where an administrator finds the object id.
const OVERVIEW: &str = "Entra admin center > App registrations > Overview";

/// What Graph is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the object id and the certificates of the application.
    Read,
    /// Add a certificate.
    Add,
    /// Remove a certificate.
    Remove,
}

impl Action {
    /// The address of the request, for the application with this client id. `base` ends in a slash.
    pub fn url(self, base: &Url, client_id: &str) -> Option<Url> {
        let path = match self {
            Self::Read => "?$select=id,keyCredentials",
            Self::Add => "/addKey",
            Self::Remove => "/removeKey",
        };
        base.join(&format!("v1.0/applications(appId='{client_id}'){path}")).ok()
    }

    fn what(self) -> &'static str {
        match self {
            Self::Read => "tell the object id of the application",
            Self::Add => "add the new certificate",
            Self::Remove => "remove the old certificate",
        }
    }
}

/// The body that adds a certificate, given in DER form.
pub fn addition(certificate: &[u8], proof: &ClientAssertion) -> Zeroizing<String> {
    let key = json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": STANDARD.encode(certificate)});
    Zeroizing::new(json!({"keyCredential": key, "passwordCredential": null, "proof": proof.expose()}).to_string())
}

/// The body that removes the certificate with this id.
pub fn removal(key_id: &str, proof: &ClientAssertion) -> Zeroizing<String> {
    Zeroizing::new(json!({"keyId": key_id, "proof": proof.expose()}).to_string())
}

/// Returns the id of the certificate that was added, if the answer tells it: Microsoft describes an
/// answer with it, but its example has none. `None` if the answer is not one of Graph's.
pub fn added(body: &[u8]) -> Option<Option<String>> {
    serde_json::from_slice::<Key>(body).ok().map(|key| key.key_id)
}

/// An application, as far as Graph told.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its object id.
    pub id: String,
    #[serde(default)]
    key_credentials: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    key_id: Option<String>,
    custom_key_identifier: Option<String>,
}

impl Application {
    /// Reads the answer to [`Action::Read`].
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The id of the certificate with this thumbprint. Graph shows the thumbprint as hexadecimal
    /// digits, or as base64 of its 20 bytes or of those digits.
    pub fn key_id(&self, thumbprint: &str) -> Option<&str> {
        let is_it = |identifier: &str| {
            let decoded = STANDARD.decode(identifier).unwrap_or_default();
            let hex: String = decoded.iter().map(|octet| format!("{octet:02X}")).collect();
            identifier.eq_ignore_ascii_case(thumbprint)
                || hex == thumbprint
                || decoded.eq_ignore_ascii_case(thumbprint.as_bytes())
        };
        let mut keys = self.key_credentials.iter();
        keys.find(|key| key.custom_key_identifier.as_deref().is_some_and(is_it))?.key_id.as_deref()
    }
}

/// An answer in which Graph refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// Microsoft's error code; empty if the answer is not one of Graph's.
    pub code: String,
    /// Microsoft's sentence.
    pub message: String,
}

impl Refused {
    /// Reads such an answer. Its texts become printable and short.
    pub fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            error: Said<'a>,
        }
        #[derive(Default, Deserialize)]
        struct Said<'a> {
            #[serde(borrow, default)]
            code: Cow<'a, str>,
            #[serde(borrow, default)]
            message: Cow<'a, str>,
        }
        let said = serde_json::from_slice::<Body<'_>>(body).map(|body| body.error).unwrap_or_default();
        let plain = |text: &str, most| escaped(text.as_bytes(), most);
        Self { status, code: plain(&said.code, CODE), message: plain(&said.message, MESSAGE) }
    }

    /// Whether the application may not do it. Waiting does not help.
    pub fn is_denied(&self) -> bool {
        self.status == 403 || self.code == "Authorization_RequestDenied"
    }

    /// Says what it means for the renewal, and what to do.
    pub fn explain(&self, action: Action, cause: Cause) -> Failure {
        let said = match (self.code.as_str(), self.message.as_str()) {
            ("", _) => String::new(),
            (code, "") => format!(" `{code}`"),
            (code, message) => format!(" `{code}: {message}`"),
        };
        let message = format!("Microsoft Graph did not {} (HTTP {}{said})", action.what(), self.status);
        let failure = Failure::new(cause, message);
        let failure = if self.code.is_empty() { failure } else { failure.coded(self.code.as_str()) };
        match (action, self.status) {
            (_, 408 | 429 | 500..) => failure.by(Actor::Nobody).to_do("Gatepost tries again within hours"),
            (_, _) if self.code.is_empty() => failure
                .by(Actor::NetworkAdmin)
                .to_do("find out what answers in Microsoft Graph's place, and let requests to it pass unchanged"),
            (Action::Read, 401 | 403) => failure.by(Actor::GatepostAdmin).to_do(format!(
                "set `object_id` of `client_certificate` to the Object ID of the application ({OVERVIEW})"
            )),
            (_, 404) => failure
                .by(Actor::GatepostAdmin)
                .to_do("correct `tenant` or `client_id`. The application must be registered in this tenant"),
            (_, 401) => failure.by(Actor::GatepostAdmin).to_do(format!(
                "check `object_id` of `client_certificate`: it must be the Object ID in {OVERVIEW}, not the one under \
                 Enterprise applications"
            )),
            (Action::Remove, _) => failure,
            _ => failure.by(Actor::M365Admin).to_do(
                "look for an app management policy that restricts certificates, or renew the certificate by hand",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ID: &str = "c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36";

    #[test]
    fn requests_are_those_that_microsoft_describes() {
        let base = Url::parse("https://graph.microsoft.com/").unwrap();
        let url = |action: Action| action.url(&base, ID).unwrap().to_string();
        let application = format!("https://graph.microsoft.com/v1.0/applications(appId='{ID}')");
        assert_eq!(url(Action::Add), format!("{application}/addKey"));
        assert_eq!(url(Action::Remove), format!("{application}/removeKey"));
        assert_eq!(url(Action::Read), format!("{application}?$select=id,keyCredentials"));
        let proof = ClientAssertion::new("a.b.c".to_owned());
        let body: Value = serde_json::from_str(&addition(&[1, 2, 3], &proof)).unwrap();
        let key = json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": "AQID"});
        assert_eq!(body, json!({"keyCredential": key, "passwordCredential": null, "proof": "a.b.c"}));
        let body: Value = serde_json::from_str(&removal("k", &proof)).unwrap();
        assert_eq!(body, json!({"keyId": "k", "proof": "a.b.c"}));
    }

    #[test]
    fn a_certificate_is_found_however_its_thumbprint_is_written() {
        let thumbprint = "52ED9B5038A47B9E2E2190715CC238359D4F8F73";
        let octets: Vec<u8> = (0..20).map(|n| u8::from_str_radix(&thumbprint[2 * n..2 * n + 2], 16).unwrap()).collect();
        for identifier in [thumbprint.to_owned(), STANDARD.encode(octets), STANDARD.encode(thumbprint)] {
            let keys = json!([
                {"keyId": "other", "customKeyIdentifier": null},
                {"keyId": "k", "customKeyIdentifier": identifier},
            ]);
            let body = json!({"id": "o", "keyCredentials": keys}).to_string();
            let read = Application::read(body.as_bytes()).unwrap();
            assert_eq!((&*read.id, read.key_id(thumbprint), read.key_id("AA")), ("o", Some("k"), None));
        }
        assert_eq!(Application::read(b"{\"id\":\"o\"}").unwrap().key_id(thumbprint), None);
        assert!(Application::read(b"<html>").is_none());
    }

    #[test]
    fn the_id_of_an_added_certificate_may_be_absent() {
        assert_eq!(added(br#"{"@odata.context":"x","keyId":"k","usage":"Verify"}"#), Some(Some("k".to_owned())));
        assert_eq!(added(br#"{"@odata.context":"x"}"#), Some(None));
        assert_eq!(added(b"<html>"), None);
    }

    #[test]
    fn a_refusal_says_who_does_what() {
        let told = |action, status, code: &str| {
            let body = json!({"error": {"code": code, "message": "No."}}).to_string();
            Refused::read(status, body.as_bytes()).explain(action, Cause::CertificateNotRenewed)
        };
        for (action, status, code, actor, remedy) in [
            (Action::Add, 503, "ServiceUnavailable", Actor::Nobody, "tries again within hours"),
            (Action::Add, 429, "TooManyRequests", Actor::Nobody, "tries again within hours"),
            (Action::Add, 401, "Authentication_MissingOrMalformed", Actor::GatepostAdmin, "check `object_id`"),
            (Action::Add, 403, "Authorization_RequestDenied", Actor::M365Admin, "app management policy"),
            (Action::Add, 400, "Request_BadRequest", Actor::M365Admin, "app management policy"),
            (Action::Add, 404, "Request_ResourceNotFound", Actor::GatepostAdmin, "correct `tenant` or `client_id`"),
            (Action::Read, 403, "Authorization_RequestDenied", Actor::GatepostAdmin, "set `object_id`"),
        ] {
            let failure = told(action, status, code);
            assert_eq!((failure.actor, failure.code.as_deref()), (actor, Some(code)));
            assert!(failure.remedy.contains(remedy), "{failure}");
            assert!(failure.message.contains(&format!("(HTTP {status} `{code}: No.`)")), "{failure}");
        }
        let page = Refused::read(200, b"<html>\x1b").explain(Action::Add, Cause::CertificateNotRenewed);
        assert_eq!((page.actor, page.code), (Actor::NetworkAdmin, None));
    }

    #[test]
    fn what_the_application_may_not_do_is_told_from_what_may_pass() {
        for (status, code, denied) in [
            (403, "", true),
            (400, "Authorization_RequestDenied", true),
            (403, "Authorization_RequestDenied", true),
            (400, "Request_BadRequest", false),
            (429, "", false),
        ] {
            let refused = Refused { status, code: code.to_owned(), message: String::new() };
            assert_eq!(refused.is_denied(), denied, "{status} {code}");
        }
    }

    #[test]
    fn each_request_that_failed_is_named_and_an_old_certificate_that_stays_needs_nobody_s_policy() {
        for (action, what, is_policy) in [
            (Action::Read, "tell the object id of the application", true),
            (Action::Add, "add the new certificate", true),
            (Action::Remove, "remove the old certificate", false),
        ] {
            let refused = Refused { status: 400, code: "Request_BadRequest".to_owned(), message: "No.".to_owned() };
            let failure = refused.explain(action, Cause::CertificateNotRenewed);
            let message = format!("Microsoft Graph did not {what} (HTTP 400 `Request_BadRequest: No.`)");
            assert_eq!(failure.message, message);
            assert_eq!(failure.remedy.contains("app management policy"), is_policy, "{failure}");
        }
    }
}
