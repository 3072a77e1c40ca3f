//! Autodiscover: tells clients the address of EWS. They ask in plain XML (POX, MS-OXDSCLI) or in
//! SOAP (MS-OXWSADISC).
//!
//! A request is read as a whole, so the caller bounds its length. As in [`soap`](super::soap),
//! document types, entities of their own, and other encodings than UTF-8 are refused.

use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use quick_xml::reader::NsReader;

use super::fault::Body;
use super::soap::{SoapError, check_declaration, check_tag, envelope};

/// The namespaces of Autodiscover.
const POX: &str = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006";
const OUTLOOK: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";
const SOAP: &str = "http://schemas.microsoft.com/exchange/2010/Autodiscover";

/// Beginning of the schemas that clients of EWS accept an answer in.
const OUTLOOK_SCHEMAS: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006";

/// The settings that are served. exchangelib fails without the address, which only users have.
const SETTINGS: [&str; 3] = [ADDRESS, "ExternalEwsUrl", "InternalEwsUrl"];
const ADDRESS: &str = "AutoDiscoverSMTPAddress";

/// Deepest nesting of a request.
const DEPTH: usize = 32;

/// Most mailboxes or domains in one request, as in Exchange.
const NAMES: usize = 100;

/// The form in which a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `autodiscover.xml`.
    Pox,
    /// `autodiscover.svc`.
    Soap,
}

/// What a client asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A mailbox, by what should be its address.
    Mailbox(&'a str),
    /// A domain.
    Domain(&'a str),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutodiscoverError {
    /// It is not XML that is read here.
    #[error(transparent)]
    Xml(#[from] SoapError),
    /// It asks for something else, for nothing, or for too much.
    #[error("the request names no mailbox or domain, or more than {NAMES}")]
    NotServed,
}

impl From<quick_xml::Error> for AutodiscoverError {
    fn from(_: quick_xml::Error) -> Self {
        SoapError::Malformed.into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pox,
    Users,
    Domains,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    kind: Kind,
    names: Vec<String>,
    /// Which of [`SETTINGS`] are wanted.
    settings: Vec<&'static str>,
    /// Whether an answer for Outlook is wanted, and not one for ActiveSync.
    for_outlook: bool,
    /// The namespace of its envelope.
    envelope: &'static str,
}

impl Question {
    /// Reads a whole request.
    ///
    /// # Errors
    /// [`AutodiscoverError`].
    pub fn read(form: Form, octets: &[u8]) -> Result<Self, AutodiscoverError> {
        let text = std::str::from_utf8(octets).map_err(|_| SoapError::Encoding)?;
        let kind = if form == Form::Pox { Kind::Pox } else { Kind::Users };
        let mut question = Self { kind, names: Vec::new(), settings: Vec::new(), for_outlook: true, envelope: "" };
        let mut reader = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        let config = reader.config_mut();
        (config.check_comments, config.check_end_names) = (true, true);
        // The names of the open elements, and the text of the innermost one.
        let (mut path, mut value) = (Vec::<String>::new(), String::new());
        let mut has_root = false;
        loop {
            let at_start = reader.buffer_position() == 0;
            match reader.read_resolved_event()? {
                (_, Event::Decl(declaration)) if at_start => check_declaration(&declaration)?,
                (_, Event::Comment(_)) => {}
                (namespace, Event::Start(start)) => {
                    check_tag(&start)?;
                    if path.is_empty() {
                        question.begin(
                            form,
                            has_root,
                            envelope(&namespace, &start),
                            start.local_name().into_inner(),
                        )?;
                        has_root = true;
                    }
                    if path.len() >= DEPTH {
                        return Err(AutodiscoverError::NotServed);
                    }
                    path.push(start.local_name().into_inner().to_owned());
                    value.clear();
                }
                (_, Event::Empty(start)) if !path.is_empty() => check_tag(&start)?,
                (_, Event::End(_)) => {
                    question.take(&path, value.trim())?;
                    path.pop();
                    value.clear();
                }
                (_, Event::Text(text)) if path.is_empty() && text.trim_ascii().is_empty() => {}
                (_, Event::Text(text)) if !path.is_empty() => value.push_str(&text.xml10_content()),
                (_, Event::CData(text)) if !path.is_empty() => value.push_str(&text.xml10_content()),
                (_, Event::GeneralRef(reference)) if !path.is_empty() => match reference.resolve_char_ref()? {
                    Some(c) => value.push(c),
                    None => value.push_str(resolve_predefined_entity(&reference).ok_or(SoapError::NotPlain)?),
                },
                (_, Event::Eof) if has_root && path.is_empty() => break,
                (_, Event::DocType(_) | Event::PI(_)) => return Err(SoapError::NotPlain.into()),
                _ => return Err(SoapError::Malformed.into()),
            }
        }
        match question.names.is_empty() {
            true => Err(AutodiscoverError::NotServed),
            false => Ok(question),
        }
    }

    /// Takes the root element.
    fn begin(
        &mut self,
        form: Form,
        has_root: bool,
        envelope: Option<&'static str>,
        name: &str,
    ) -> Result<(), AutodiscoverError> {
        match (form, envelope) {
            _ if has_root => Err(SoapError::Malformed.into()),
            (Form::Pox, _) if name == "Autodiscover" => Ok(()),
            (Form::Pox, _) => Err(AutodiscoverError::NotServed),
            (Form::Soap, Some(envelope)) => {
                self.envelope = envelope;
                Ok(())
            }
            (Form::Soap, None) => Err(SoapError::NotSoap.into()),
        }
    }

    /// Takes the text of the element at this path.
    fn take(&mut self, path: &[String], value: &str) -> Result<(), AutodiscoverError> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let kind = match (self.kind, path.as_slice()) {
            (Kind::Pox, ["Autodiscover", "Request", "EMailAddress"]) => Kind::Pox,
            (Kind::Pox, ["Autodiscover", "Request", "AcceptableResponseSchema"]) => {
                self.for_outlook = value.starts_with(OUTLOOK_SCHEMAS);
                return Ok(());
            }
            (Kind::Users | Kind::Domains, ["Envelope", "Body", message, "Request", rest @ ..]) => {
                match (*message, rest) {
                    ("GetUserSettingsRequestMessage", ["Users", "User", "Mailbox"]) => Kind::Users,
                    ("GetDomainSettingsRequestMessage", ["Domains", "Domain"]) => Kind::Domains,
                    (_, ["RequestedSettings", "Setting"]) => {
                        let known = SETTINGS.into_iter().find(|known| *known == value);
                        self.settings.extend(known.filter(|known| !self.settings.contains(known)));
                        return Ok(());
                    }
                    _ => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        // Users and domains in one request, or two addresses in plain XML, have no clear meaning.
        if !self.names.is_empty() && (kind != self.kind || kind == Kind::Pox) || self.names.len() >= NAMES {
            return Err(AutodiscoverError::NotServed);
        }
        self.kind = kind;
        self.names.push(value.to_owned());
        Ok(())
    }

    /// What it asks about, at least one.
    pub fn subjects(&self) -> impl Iterator<Item = Subject<'_>> {
        self.names.iter().map(|name| match self.kind {
            Kind::Pox | Kind::Users => Subject::Mailbox(name),
            Kind::Domains => Subject::Domain(name),
        })
    }

    /// The answer: `ews` is the address of EWS for the subjects that `is_served` accepts. All others
    /// are unknown.
    pub fn answer(&self, ews: &str, is_served: impl Fn(Subject<'_>) -> bool) -> Body {
        let ews = escape(ews);
        let names = self.names.iter().map(|name| escape(name.as_str()));
        let mut served = names.zip(self.subjects().map(is_served));
        let text = match self.kind {
            Kind::Pox => {
                let (address, is_served) = served.next().unwrap_or_default();
                let inner = match (self.for_outlook, is_served) {
                    (false, _) => pox_error(601, "Provider is not available"),
                    (true, false) => pox_error(500, "The email address can't be found."),
                    (true, true) => pox_settings(&address, &ews),
                };
                format!("<Autodiscover xmlns=\"{POX}\">{inner}</Autodiscover>")
            }
            Kind::Users => {
                let each = served.map(|(address, is_served)| {
                    let value = |name: &str| Some(if name == ADDRESS { &*address } else { &*ews });
                    let settings = self.soap_settings("User", is_served, value);
                    let (code, message) = verdict(is_served, "InvalidUser");
                    format!(
                        "<UserResponse>{code}{message}<RedirectTarget i:nil=\"true\"/><UserSettingErrors/>{settings}\
                         </UserResponse>"
                    )
                });
                self.soap("GetUserSettings", "UserResponses", &each.collect::<String>())
            }
            Kind::Domains => {
                let each = served.map(|(_, is_served)| {
                    let value = |name: &str| (name != ADDRESS).then_some(&*ews);
                    let settings = self.soap_settings("Domain", is_served, value);
                    let (code, message) = verdict(is_served, "InvalidDomain");
                    format!(
                        "<DomainResponse>{code}{message}<DomainSettingErrors/>{settings}<RedirectTarget i:nil=\"true\"/>\
                         </DomainResponse>"
                    )
                });
                self.soap("GetDomainSettings", "DomainResponses", &each.collect::<String>())
            }
        };
        let content_type = match self.envelope {
            "http://www.w3.org/2003/05/soap-envelope" => "application/soap+xml; charset=utf-8",
            _ => "text/xml; charset=utf-8",
        };
        Body { content_type, text: format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{text}") }
    }

    /// The wanted settings `of` a kind, which has a value for some of them.
    fn soap_settings<'a>(&self, of: &str, is_served: bool, value: impl Fn(&str) -> Option<&'a str>) -> String {
        let kind = if of == "User" { "StringSetting" } else { "DomainStringSetting" };
        let served = self.settings.iter().filter(|_| is_served).filter_map(|name| {
            let value = value(name)?;
            Some(format!("<{of}Setting i:type=\"{kind}\"><Name>{name}</Name><Value>{value}</Value></{of}Setting>"))
        });
        format!("<{of}Settings>{}</{of}Settings>", served.collect::<String>())
    }

    fn soap(&self, operation: &str, list: &str, responses: &str) -> String {
        let envelope = self.envelope;
        format!(
            "<s:Envelope xmlns:s=\"{envelope}\" xmlns:a=\"http://www.w3.org/2005/08/addressing\">\
             <s:Header><a:Action s:mustUnderstand=\"1\">{SOAP}/Autodiscover/{operation}Response</a:Action></s:Header>\
             <s:Body><{operation}ResponseMessage xmlns=\"{SOAP}\">\
             <Response xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"><ErrorCode>NoError</ErrorCode>\
             <ErrorMessage/><{list}>{responses}</{list}></Response></{operation}ResponseMessage></s:Body></s:Envelope>"
        )
    }
}

fn verdict(is_served: bool, unknown: &str) -> (String, &'static str) {
    let code = if is_served { "NoError" } else { unknown };
    let message = if is_served {
        "<ErrorMessage>No error.</ErrorMessage>"
    } else {
        "<ErrorMessage>These credentials are for their own mailboxes only.</ErrorMessage>"
    };
    (format!("<ErrorCode>{code}</ErrorCode>"), message)
}

fn pox_error(code: u16, message: &str) -> String {
    format!("<Response><Error><ErrorCode>{code}</ErrorCode><Message>{message}</Message><DebugData/></Error></Response>")
}

fn pox_settings(address: &str, ews: &str) -> String {
    let protocol = |kind| {
        format!(
            "<Protocol><Type>{kind}</Type><AuthPackage>Basic</AuthPackage><ASUrl>{ews}</ASUrl><EwsUrl>{ews}</EwsUrl>\
             </Protocol>"
        )
    };
    // EXCH is for clients inside of an organization's network, EXPR for those outside.
    format!(
        "<Response xmlns=\"{OUTLOOK}\"><User><DisplayName>{address}</DisplayName>\
         <AutoDiscoverSMTPAddress>{address}</AutoDiscoverSMTPAddress></User><Account><AccountType>email</AccountType>\
         <Action>settings</Action>{}{}</Account></Response>",
        protocol("EXCH"),
        protocol("EXPR")
    )
}

#[cfg(test)]
mod tests;
