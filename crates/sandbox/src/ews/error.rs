//! How EWS says no: SOAP faults, errors within a response, and refusals before there is any SOAP.

use std::time::Duration;

use hyper::StatusCode;

use super::soap::{self, TYPES};
use super::xml::escaped;
use crate::http::body::Answer;
use crate::http::call::{plain, set};
use crate::state::SandboxState;
use crate::submission::Unsent;

/// An error with the code that Exchange has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EwsError {
    pub(super) code: &'static str,
    pub(super) message: String,
    back_off: Option<Duration>,
    status: StatusCode,
}

impl EwsError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), back_off: None, status: StatusCode::INTERNAL_SERVER_ERROR }
    }

    pub(super) fn item_not_found() -> Self {
        Self::new("ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(super) fn folder_not_found() -> Self {
        Self::new("ErrorFolderNotFound", "The specified folder could not be found in the store.")
    }

    pub(super) fn schema(what: &str) -> Self {
        Self::new("ErrorSchemaValidation", format!("The request failed schema validation: {what}."))
    }

    pub(super) fn no_mailbox() -> Self {
        Self::new("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.")
    }

    pub(super) fn access_denied() -> Self {
        Self::new("ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    }

    fn server_busy(back_off: Duration) -> Self {
        let message = "The server cannot service this request right now. Try again later.";
        Self { back_off: Some(back_off), ..Self::new("ErrorServerBusy", message) }
    }

    /// The whole answer, as a fault.
    pub(super) fn fault(&self) -> Answer {
        let (code, message) = (self.code, escaped(&self.message));
        let back_off = self.back_off.map_or_else(String::new, |back_off| {
            format!(
                "<t:MessageXml xmlns:t=\"{TYPES}\"><t:Value Name=\"BackOffMilliseconds\">{}</t:Value></t:MessageXml>",
                back_off.as_millis()
            )
        });
        let body = format!(
            "<s:Fault><faultcode xmlns:a=\"{TYPES}\">a:{code}</faultcode>\
             <faultstring xml:lang=\"en-US\">{message}</faultstring>\
             <detail><e:ResponseCode xmlns:e=\"{ERRORS}\">{code}</e:ResponseCode>\
             <e:Message xmlns:e=\"{ERRORS}\">{message}</e:Message>{back_off}</detail></s:Fault>"
        );
        let mut answer = plain(StatusCode::OK, soap::CONTENT_TYPE, soap::envelope(&body));
        *answer.status_mut() = self.status;
        answer
    }

    /// The message of one item within a response.
    pub(super) fn response_message(&self, operation: &str) -> String {
        format!(
            "<m:{operation}ResponseMessage ResponseClass=\"Error\"><m:MessageText>{}</m:MessageText>\
             <m:ResponseCode>{}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>\
             </m:{operation}ResponseMessage>",
            escaped(&self.message),
            self.code
        )
    }
}

const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

impl From<Unsent> for EwsError {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::NoRecipients => {
                Self::new("ErrorInvalidRecipients", "A message can't be sent because it contains no recipients.")
            }
            Unsent::BadRecipient(recipient) => {
                Self::new("ErrorInvalidRecipients", format!("At least one recipient isn't valid: {recipient}."))
            }
            Unsent::TooManyRecipients => {
                Self::new("ErrorInvalidRecipients", "At least one recipient isn't valid: there are too many.")
            }
            Unsent::SendAsDenied(_) => Self::new(
                "ErrorSendAsDenied",
                "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account.",
            ),
            Unsent::MailboxFull => Self::new("ErrorQuotaExceeded", "The message store has reached its maximum size."),
        }
    }
}

/// 401, with what Exchange says about the token, and with the schemes that it names.
pub(super) fn unauthorized(shared: &SandboxState, diagnostics: Option<&str>) -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "text/html", "");
    let bearer = format!(
        "Bearer client_id=\"00000002-0000-0ff1-ce00-000000000000\", \
         trusted_issuers=\"00000001-0000-0000-c000-000000000000@*\", \
         token_types=\"app_asserted_user_v1 service_asserted_app_v1\", \
         authorization_uri=\"{}common/oauth2/authorize\"",
        shared.authority
    );
    let headers = answer.headers_mut();
    set(headers, "www-authenticate", &bearer);
    headers.append("www-authenticate", hyper::header::HeaderValue::from_static("Basic Realm=\"\""));
    if let Some(diagnostics) = diagnostics {
        set(headers, "x-ms-diagnostics", diagnostics);
    }
    answer
}

/// A refusal on demand.
pub(super) fn refusal(
    shared: &SandboxState,
    status: u16,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
) -> Answer {
    let http = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match (code, status) {
        (Some(code), _) => {
            let error = EwsError { back_off: retry_after, status: http, ..EwsError::new(code, "This was asked for.") };
            error.fault()
        }
        (None, 401) => unauthorized(shared, None),
        (None, 429) => EwsError::server_busy(retry_after.unwrap_or(Duration::from_secs(60))).fault(),
        (None, 403) => {
            plain(http, "text/html", "<html><body>403 - Forbidden: access to EWS is disabled.</body></html>")
        }
        (None, _) => plain(http, "text/html", format!("<html><body>{http}</body></html>")),
    }
}
