//! Exchange Web Services: SOAP 1.1 at `/EWS/Exchange.asmx`, for the bearers of Exchange's tokens;
//! the operations that programs which read and send mail use.
//!
//! As strict as Microsoft where it matters to a proxy: an application's token needs the header
//! `ExchangeImpersonation`, and `X-AnchorMailbox` must name the same mailbox.

mod error;
mod folders;
mod item;
mod items;
mod restriction;
mod send;
mod session;
mod soap;
mod streaming;
mod xml;

use std::io;
use std::sync::Arc;

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

use self::error::{EwsError, refusal, unauthorized};
use self::session::{EnteredMailbox, EwsSession};
use self::xml::Element;
use super::directory::MailboxAccess;
use super::http::body::Answer;
use super::http::call::{Call, perform, plain, set};
use super::mode::Service;
use super::provider::{Provider, note_foreign};
use super::random;
use super::state::SandboxState;
use super::token::{Claims, EXCHANGE_RESOURCES};

const PATH: &str = "/EWS/Exchange.asmx";

/// The description of the service, of which only the references among the files are there.
const DESCRIPTION: [(&str, &str); 3] = [
    (
        "/EWS/Services.wsdl",
        "<wsdl:definitions xmlns:wsdl=\"http://schemas.xmlsoap.org/wsdl/\"><wsdl:types>\
         <xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\
         <xs:import namespace=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
         schemaLocation=\"messages.xsd\"/></xs:schema></wsdl:types></wsdl:definitions>",
    ),
    (
        "/EWS/messages.xsd",
        "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\
         <xs:import namespace=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         schemaLocation=\"types.xsd\"/></xs:schema>",
    ),
    ("/EWS/types.xsd", "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\"/>"),
];

/// Answers a call. An error closes the connection without an answer.
pub(super) async fn respond(shared: &Arc<SandboxState>, call: &Call) -> io::Result<Answer> {
    let mut answer = match authenticate(shared, call) {
        Ok(claims) => match (description(call), check_call(call)) {
            (Some(file), _) => plain(StatusCode::OK, "text/xml", file),
            (None, Ok(())) => act(shared, call, claims).await?,
            (None, Err(refused)) => *refused,
        },
        Err(refused) => *refused,
    };
    let headers = answer.headers_mut();
    set(headers, "request-id", &random::guid());
    set(headers, "x-feserver", "sandbox");
    set(headers, "cache-control", "private");
    let mut cookie = |cookie: String| {
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append("set-cookie", cookie);
        }
    };
    cookie(format!("exchangecookie={}; path=/; secure; HttpOnly", random::guid().replace('-', "")));
    if call.header("x-preferserveraffinity").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        cookie(format!("X-BackEndOverrideCookie=sandbox~{}; path=/; secure; HttpOnly", random::guid()));
    }
    Ok(answer)
}

fn authenticate(shared: &SandboxState, call: &Call) -> Result<Claims, Box<Answer>> {
    let Some(token) = call.bearer() else { return Err(unauthorized(shared, None).into()) };
    note_foreign(shared, Provider::Microsoft, Some(Service::Ews), "", token);
    let Some(claims) = shared.mint.verify(token, shared.time.unix()) else {
        let reason = "2000001;reason=\"The token has expired or cannot be read.\";error_category=\"invalid_token\"";
        return Err(unauthorized(shared, Some(reason)).into());
    };
    if !EXCHANGE_RESOURCES.contains(&claims.audience.as_str()) {
        let reason = "2000003;reason=\"The audience claim value is invalid.\";error_category=\"invalid_resource\"";
        return Err(unauthorized(shared, Some(reason)).into());
    }
    let permission = match claims.user {
        Some(_) => Service::Ews.delegated_permission(),
        None => Service::Ews.application_permission(),
    };
    if !shared.exchange.permits(&claims, permission) {
        let reason = "2000008;reason=\"The token contains no permissions, or permissions can not be understood.\";error_category=\"invalid_grant\"";
        return Err(unauthorized(shared, Some(reason)).into());
    }
    Ok(claims)
}

/// The file of the description that is asked for.
fn description(call: &Call) -> Option<&'static str> {
    let is_asked = |name: &str| call.head.method == Method::GET && call.head.uri.path().eq_ignore_ascii_case(name);
    DESCRIPTION.into_iter().find(|(name, _)| is_asked(name)).map(|(_, file)| file)
}

fn check_call(call: &Call) -> Result<(), Box<Answer>> {
    if !call.head.uri.path().eq_ignore_ascii_case(PATH) {
        return Err(plain(StatusCode::NOT_FOUND, "text/html", "<html><body>404 - Not Found</body></html>").into());
    }
    if call.head.method != Method::POST {
        return Err(
            plain(StatusCode::METHOD_NOT_ALLOWED, "text/html", "<html><body>SOAP is posted.</body></html>").into()
        );
    }
    if !matches!(call.media_type().as_str(), "text/xml" | "application/soap+xml") {
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/html", "").into());
    }
    Ok(())
}

async fn act(shared: &Arc<SandboxState>, call: &Call, claims: Claims) -> io::Result<Answer> {
    let Some(envelope) = Element::parse(&call.body).filter(|root| root.name == "Envelope") else {
        return Ok(EwsError::schema("this is no SOAP envelope").fault());
    };
    let Some(request) = envelope.child("Body").and_then(|body| body.children.first()) else {
        return Ok(EwsError::schema("the body is empty").fault());
    };
    let own = match own_mailbox(shared, call, &claims, &envelope) {
        Ok(own) => own,
        Err(refused) => {
            shared.tally.call(Service::Ews, "", &request.name);
            return Ok(*refused);
        }
    };
    shared.tally.call(Service::Ews, &own.address, &request.name);
    let session = EwsSession { shared, claims, own };
    let refuse = |status, code, retry_after| refusal(shared, status, code, retry_after);
    perform(shared, Service::Ews, &request.name, refuse, || session.perform(request)).await
}

/// The mailbox that the call acts for.
fn own_mailbox(
    shared: &SandboxState,
    call: &Call,
    claims: &Claims,
    envelope: &Element,
) -> Result<EnteredMailbox, Box<Answer>> {
    let impersonation = envelope.child("Header").and_then(|header| header.child("ExchangeImpersonation"));
    let named = impersonation.map(|header| {
        let named = header.list("ConnectingSID").first();
        let known =
            named.filter(|sid| matches!(sid.name.as_str(), "PrimarySmtpAddress" | "SmtpAddress" | "PrincipalName"));
        known.map_or("", Element::text)
    });
    let address = match (named, &claims.user) {
        (Some(named), _) => {
            let anchor = call.header("x-anchormailbox").map(|anchor| anchor.strip_prefix("SMTP:").unwrap_or(anchor));
            // Such a call is routed to a server that does not know the mailbox.
            if anchor.is_some_and(|anchor| !anchor.eq_ignore_ascii_case(named)) {
                return Err(plain(StatusCode::INTERNAL_SERVER_ERROR, "text/html", "").into());
            }
            named.to_lowercase()
        }
        (None, Some(user)) => user.clone(),
        (None, None) => {
            let message = "ExchangeImpersonation SOAP header must be present for this type of OAuth token.";
            return Err(EwsError::new("ErrorImpersonationRequired", message).fault().into());
        }
    };
    let denied = || {
        let message = "The account does not have permission to impersonate the requested user.";
        EwsError::new("ErrorImpersonateUserDenied", message).fault()
    };
    // Only applications have the role that impersonation needs.
    if claims.user.as_ref().is_some_and(|user| *user != address) {
        return Err(denied().into());
    }
    match shared.directory.enter(claims, &address) {
        MailboxAccess::Open(mailbox) => {
            Ok(EnteredMailbox { object_id: shared.directory.object_id(&address), address, mailbox })
        }
        MailboxAccess::NoSuchMailbox => Err(EwsError::no_mailbox().fault().into()),
        MailboxAccess::Denied => Err(denied().into()),
    }
}

impl EwsSession<'_> {
    fn perform(&self, request: &Element) -> Answer {
        let done = match request.name.as_str() {
            "GetFolder" => self.get_folder(request),
            "FindFolder" => self.find_folder(request),
            "SyncFolderHierarchy" => self.sync_folder_hierarchy(request),
            "FindItem" => self.find_item(request),
            "GetItem" => self.get_item(request),
            "GetAttachment" => self.get_attachment(request),
            "CreateItem" => self.create_item(request),
            "SendItem" => self.send_item(request),
            "UpdateItem" => self.update_item(request),
            "DeleteItem" => self.delete_item(request),
            "MoveItem" | "CopyItem" => self.move_item(request),
            "ResolveNames" => self.resolve_names(request),
            "ConvertId" => self.convert_id(request),
            "GetServerTimeZones" => Ok(time_zones()),
            "Subscribe" => self.subscribe(request),
            "Unsubscribe" => Ok(soap::response("Unsubscribe", &soap::success("Unsubscribe", ""))),
            "GetStreamingEvents" => return self.streaming_events(request).unwrap_or_else(|error| error.fault()),
            name => Err(EwsError::new("ErrorInvalidRequest", format!("The request is invalid: {name} is not served."))),
        };
        match done {
            Ok(answer) => plain(StatusCode::OK, soap::CONTENT_TYPE, answer),
            Err(error) => error.fault(),
        }
    }

    fn resolve_names(&self, request: &Element) -> Result<String, EwsError> {
        let entry = request.text_of("UnresolvedEntry").trim_start_matches("smtp:");
        let message = match self.shared.directory.address_of(entry) {
            Some(address) => soap::success(
                "ResolveNames",
                &format!(
                    "<m:ResolutionSet TotalItemsInView=\"1\" IncludesLastItemInRange=\"true\"><t:Resolution><t:Mailbox>\
                     <t:Name>{address}</t:Name><t:EmailAddress>{address}</t:EmailAddress>\
                     <t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType>\
                     </t:Mailbox></t:Resolution></m:ResolutionSet>",
                    address = xml::escaped(&address)
                ),
            ),
            None => {
                EwsError::new("ErrorNameResolutionNoResults", "No results were found.").response_message("ResolveNames")
            }
        };
        Ok(soap::response("ResolveNames", &message))
    }

    /// An identifier in another format; the sandbox has but one.
    fn convert_id(&self, request: &Element) -> Result<String, EwsError> {
        let format = request.attribute("DestinationFormat").unwrap_or("EwsId");
        let one = |source: &Element| {
            let id = source.attribute("Id").unwrap_or_default();
            match self.locate(id) {
                Ok((place, _)) => soap::success(
                    "ConvertId",
                    &format!(
                        "<m:AlternateId xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"t:AlternateIdType\" \
                         Format=\"{}\" Id=\"{}\" Mailbox=\"{}\"/>",
                        xml::escaped(format),
                        xml::escaped(id),
                        xml::escaped(&place.address)
                    ),
                ),
                Err(error) => error.response_message("ConvertId"),
            }
        };
        Ok(soap::response("ConvertId", &request.list("SourceIds").iter().map(one).collect::<String>()))
    }
}

fn time_zones() -> String {
    let zones = "<m:TimeZoneDefinitions><t:TimeZoneDefinition Id=\"UTC\" Name=\"(UTC) Coordinated Universal Time\">\
         <t:Periods><t:Period Bias=\"PT0S\" Name=\"Standard\" Id=\"trule:Microsoft/Registry/UTC/1-Standard\"/></t:Periods>\
         <t:TransitionsGroups><t:TransitionsGroup Id=\"0\"><t:Transition>\
         <t:To Kind=\"Period\">trule:Microsoft/Registry/UTC/1-Standard</t:To></t:Transition></t:TransitionsGroup>\
         </t:TransitionsGroups><t:Transitions><t:Transition><t:To Kind=\"Group\">0</t:To></t:Transition></t:Transitions>\
         </t:TimeZoneDefinition></m:TimeZoneDefinitions>";
    soap::response("GetServerTimeZones", &soap::success("GetServerTimeZones", zones))
}
