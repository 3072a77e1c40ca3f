//! The envelope of SOAP 1.1 around Exchange's answers.

pub(super) const CONTENT_TYPE: &str = "text/xml; charset=utf-8";
pub(super) const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// A whole answer around its body.
pub(super) fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"20\" MajorBuildNumber=\"8293\" \
         MinorBuildNumber=\"18\" Version=\"V2018_01_08\" xmlns:h=\"{TYPES}\"/></s:Header>\
         <s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// The response of an operation around its response messages.
pub(super) fn response(operation: &str, messages: &str) -> String {
    envelope(&format!(
        "<m:{operation}Response xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\">\
         <m:ResponseMessages>{messages}</m:ResponseMessages></m:{operation}Response>"
    ))
}

/// The message of one item that went well.
pub(super) fn success(operation: &str, content: &str) -> String {
    format!(
        "<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{content}\
         </m:{operation}ResponseMessage>"
    )
}
