//! Refusals in the form that the client understands: JSON for Graph, a SOAP fault for EWS if its
//! library knows one, otherwise a line of text.

use std::time::Duration;

use serde_json::json;

use crate::http::rules::HttpService;

const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const SOAP_1_1: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// The body of a response and its type.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}

/// Creates the body of a response with this status and `message`. `wait` is when to try again.
pub fn body(service: HttpService, status: u16, message: &str, wait: Option<Duration>) -> Body {
    match service {
        HttpService::Graph => {
            let code = graph_code(status);
            let text = json!({"error": {"code": code, "message": message}}).to_string();
            Body { content_type: "application/json", text }
        }
        HttpService::Ews => match ews_code(status) {
            Some(code) => Body { content_type: "text/xml; charset=utf-8", text: soap(code, message, wait) },
            None => Body { content_type: "text/plain; charset=utf-8", text: format!("{message}\n") },
        },
    }
}

/// Microsoft's error codes for Graph ("Microsoft Graph error responses and resource types").
fn graph_code(status: u16) -> &'static str {
    match status {
        400 | 417 | 431 => "badRequest",
        401 => "unauthenticated",
        403 => "accessDenied",
        404 => "itemNotFound",
        405 | 501 => "methodNotAllowed",
        408 | 504 => "gatewayTimeout",
        429 => "activityLimitReached",
        502 => "badGateway",
        503 => "serviceNotAvailable",
        _ => "generalException",
    }
}

/// Microsoft's error codes for EWS ("ResponseCode"). EWS libraries repeat a request by themselves
/// if the server is busy.
fn ews_code(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("ErrorInvalidRequest"),
        429 | 503 => Some("ErrorServerBusy"),
        502 | 504 => Some("ErrorConnectionFailed"),
        500 => Some("ErrorInternalServerError"),
        _ => None,
    }
}

fn soap(code: &str, message: &str, wait: Option<Duration>) -> String {
    let message = quick_xml::escape::escape(message);
    let back_off = wait.map_or_else(String::new, |wait| {
        let millis = wait.as_millis();
        format!("<t:MessageXml><t:Value Name=\"BackOffMilliseconds\">{millis}</t:Value></t:MessageXml>")
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <s:Envelope xmlns:s=\"{SOAP_1_1}\"><s:Body><s:Fault>\
         <faultcode xmlns:t=\"{TYPES}\">t:{code}</faultcode><faultstring xml:lang=\"en\">{message}</faultstring>\
         <detail xmlns:e=\"{ERRORS}\" xmlns:t=\"{TYPES}\"><e:ResponseCode>{code}</e:ResponseCode>\
         <e:Message>{message}</e:Message>{back_off}</detail>\
         </s:Fault></s:Body></s:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_hears_json() {
        let Body { content_type, text } = body(HttpService::Graph, 429, "say \"later\"", None);
        assert_eq!(content_type, "application/json");
        let error: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["code"], "activityLimitReached");
        assert_eq!(error["error"]["message"], "say \"later\"");
    }

    #[test]
    fn ews_hears_a_fault_with_the_time_to_wait_or_a_line() {
        let busy = body(HttpService::Ews, 503, "a < b", Some(Duration::from_secs(30)));
        assert!(busy.text.contains("<e:ResponseCode>ErrorServerBusy</e:ResponseCode>"), "{}", busy.text);
        assert!(busy.text.contains("<t:Value Name=\"BackOffMilliseconds\">30000</t:Value>"), "{}", busy.text);
        assert!(busy.text.contains("a &lt; b"), "{}", busy.text);
        let mut reader = quick_xml::reader::Reader::from_str(&busy.text);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
        let refused = body(HttpService::Ews, 401, "no", None);
        assert_eq!((refused.content_type, refused.text.as_str()), ("text/plain; charset=utf-8", "no\n"));
    }

    #[test]
    fn each_status_has_the_code_that_a_client_acts_upon() {
        for (status, graph, ews) in [
            (400, "badRequest", Some("ErrorInvalidRequest")),
            (417, "badRequest", None),
            (431, "badRequest", None),
            (401, "unauthenticated", None),
            (403, "accessDenied", None),
            (404, "itemNotFound", None),
            (405, "methodNotAllowed", None),
            (501, "methodNotAllowed", None),
            (408, "gatewayTimeout", None),
            (429, "activityLimitReached", Some("ErrorServerBusy")),
            (500, "generalException", Some("ErrorInternalServerError")),
            (502, "badGateway", Some("ErrorConnectionFailed")),
            (503, "serviceNotAvailable", Some("ErrorServerBusy")),
            (504, "gatewayTimeout", Some("ErrorConnectionFailed")),
        ] {
            let error: serde_json::Value =
                serde_json::from_str(&body(HttpService::Graph, status, "no", None).text).unwrap();
            assert_eq!(error["error"]["code"], graph, "{status}");
            let text = body(HttpService::Ews, status, "no", None).text;
            match ews {
                Some(code) => assert!(text.contains(&format!("<faultcode xmlns:t=\"{TYPES}\">t:{code}<")), "{text}"),
                None => assert_eq!(text, "no\n", "{status}"),
            }
        }
    }
}
