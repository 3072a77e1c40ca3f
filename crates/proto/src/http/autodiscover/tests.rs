use proptest::prelude::*;
use quick_xml::reader::Reader;

use super::*;

const EWS: &str = "https://gate.example:8444/EWS/Exchange.asmx";

fn pox(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\">\n\
         <Request>{inner}</Request></Autodiscover>"
    )
}

fn soap(body: &str) -> String {
    format!(
        "<soap:Envelope xmlns:a=\"http://schemas.microsoft.com/exchange/2010/Autodiscover\" \
         xmlns:wsa=\"http://www.w3.org/2005/08/addressing\" xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <soap:Header><a:RequestedServerVersion>Exchange2013</a:RequestedServerVersion>\
         <wsa:Action>{SOAP}/Autodiscover/GetUserSettings</wsa:Action></soap:Header>\
         <soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

fn users(mailboxes: &[&str], settings: &[&str]) -> String {
    let users: String =
        mailboxes.iter().map(|name| format!("<a:User><a:Mailbox>{name}</a:Mailbox></a:User>")).collect();
    let settings: String = settings.iter().map(|name| format!("<a:Setting>{name}</a:Setting>")).collect();
    soap(&format!(
        "<a:GetUserSettingsRequestMessage><a:Request><a:Users>{users}</a:Users>\
         <a:RequestedSettings>{settings}</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage>"
    ))
}

fn answer(form: Form, request: &str) -> String {
    let question = Question::read(form, request.as_bytes()).unwrap();
    let own = |subject: Subject<'_>| matches!(subject, Subject::Mailbox("r&d@b.c") | Subject::Domain("b.c"));
    let Body { text, .. } = question.answer(EWS, own);
    let mut reader = Reader::from_str(&text);
    while reader.read_event().unwrap() != Event::Eof {}
    text
}

#[test]
fn plain_xml_is_answered_with_the_address_of_the_listener() {
    let schema = format!("<AcceptableResponseSchema>{OUTLOOK_SCHEMAS}a</AcceptableResponseSchema>");
    for own in [
        "<EMailAddress>r&amp;d@b.c</EMailAddress>",
        "\n  <EMailAddress>\n  r&#38;d@b.c </EMailAddress>\n",
        "<!-- x --><EMailAddress><![CDATA[r&d@b.c]]></EMailAddress><LegacyDN/>",
    ] {
        let text = answer(Form::Pox, &pox(&format!("{own}{schema}")));
        for part in [
            "<Action>settings</Action>",
            "<AutoDiscoverSMTPAddress>r&amp;d@b.c</AutoDiscoverSMTPAddress>",
            "<Type>EXCH</Type><AuthPackage>Basic</AuthPackage>",
            "<Type>EXPR</Type><AuthPackage>Basic</AuthPackage>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches(&format!("<EwsUrl>{EWS}</EwsUrl>")).count(), 2, "{text}");
    }
    let other = answer(Form::Pox, &pox("<EMailAddress>bob@b.c</EMailAddress>"));
    assert!(other.contains("<ErrorCode>500</ErrorCode>") && !other.contains(EWS) && !other.contains("bob"), "{other}");
    let mobile = "<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/mobilesync/\
                  responseschema/2006</AcceptableResponseSchema>";
    let other = answer(Form::Pox, &pox(&format!("<EMailAddress>r&amp;d@b.c</EMailAddress>{mobile}")));
    assert!(other.contains("<ErrorCode>601</ErrorCode>") && !other.contains(EWS), "{other}");
}

#[test]
fn soap_is_answered_for_each_mailbox_with_the_settings_that_are_known() {
    let text = answer(Form::Soap, &users(&["r&amp;d@b.c", "bob@b.c"], &["UserDN", "ExternalEwsUrl", "ExternalEwsUrl"]));
    let value =
        format!("<UserSetting i:type=\"StringSetting\"><Name>ExternalEwsUrl</Name><Value>{EWS}</Value></UserSetting>");
    assert_eq!((text.matches(&value).count(), text.matches("<UserSetting ").count()), (1, 1), "{text}");
    let order = ["<ErrorCode>NoError<", "<UserResponse><ErrorCode>NoError<", &value, "<ErrorCode>InvalidUser<"];
    let places: Vec<_> = order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains(&format!("{SOAP}/Autodiscover/GetUserSettingsResponse</a:Action>")), "{text}");
    let both = answer(Form::Soap, &users(&["r&amp;d@b.c"], &["InternalEwsUrl", "ExternalEwsUrl"]));
    assert_eq!(both.matches(EWS).count(), 2, "{both}");
    let address = answer(Form::Soap, &users(&["r&amp;d@b.c"], &["AutoDiscoverSMTPAddress"]));
    assert!(address.contains("<Name>AutoDiscoverSMTPAddress</Name><Value>r&amp;d@b.c</Value>"), "{address}");
}

#[test]
fn a_domain_has_the_address_as_well() {
    let request = soap(
        "<a:GetDomainSettingsRequestMessage><a:Request><a:Domains><a:Domain>b.c</a:Domain><a:Domain>x.y</a:Domain>\
         </a:Domains><a:RequestedSettings><a:Setting>ExternalEwsUrl</a:Setting>\
         <a:Setting>AutoDiscoverSMTPAddress</a:Setting></a:RequestedSettings></a:Request>\
         </a:GetDomainSettingsRequestMessage>",
    );
    let text = answer(Form::Soap, &request);
    assert!(text.contains("<DomainSetting i:type=\"DomainStringSetting\"><Name>ExternalEwsUrl</Name>"), "{text}");
    assert!(text.contains("<ErrorCode>InvalidDomain</ErrorCode>") && text.matches(EWS).count() == 1, "{text}");
    assert!(!text.contains("SMTPAddress"), "{text}");
}

#[test]
fn the_envelope_of_the_answer_is_that_of_the_request() {
    let twelve = "http://www.w3.org/2003/05/soap-envelope";
    let request = users(&["r&amp;d@b.c"], &[]).replace("http://schemas.xmlsoap.org/soap/envelope/", twelve);
    let body = Question::read(Form::Soap, request.as_bytes()).unwrap().answer(EWS, |_| true);
    assert!(body.content_type.starts_with("application/soap+xml") && body.text.contains(twelve), "{body:?}");
    let body = Question::read(Form::Soap, users(&["x"], &[]).as_bytes()).unwrap().answer(EWS, |_| true);
    assert_eq!(body.content_type, "text/xml; charset=utf-8");
}

#[test]
fn what_asks_for_nothing_or_in_a_way_of_its_own_is_refused() {
    use AutodiscoverError::{NotServed, Xml};
    let one = "<EMailAddress>a@b.c</EMailAddress>";
    let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
    let many: Vec<_> = std::iter::repeat_n("a@b.c", 101).collect();
    for (form, request, why) in [
        (Form::Pox, pox(""), NotServed),
        (Form::Pox, pox(&format!("{one}{one}")), NotServed),
        (Form::Pox, pox(&deep), NotServed),
        (Form::Pox, pox(one).replace("Autodiscover", "Other"), NotServed),
        (Form::Pox, String::new(), Xml(SoapError::Malformed)),
        (Form::Pox, format!("{}<a/>", pox(one)), Xml(SoapError::Malformed)),
        (Form::Pox, format!("{}{}", pox(one), pox(one).split_once('\n').unwrap().1), Xml(SoapError::Malformed)),
        (Form::Pox, pox(one).replace("</Request>", ""), Xml(SoapError::Malformed)),
        (Form::Pox, pox(one).replace("utf-8", "utf-16"), Xml(SoapError::Encoding)),
        (Form::Pox, pox(one).replace('\n', "<!DOCTYPE x [<!ENTITY e 'x'>]>"), Xml(SoapError::NotPlain)),
        (Form::Pox, pox("<EMailAddress>&e;</EMailAddress>"), Xml(SoapError::NotPlain)),
        (Form::Pox, pox(&format!("<?x y?>{one}")), Xml(SoapError::NotPlain)),
        (Form::Soap, pox(one), Xml(SoapError::NotSoap)),
        (Form::Soap, soap("<a:GetFederationInformationRequestMessage/>"), NotServed),
        (Form::Soap, users(&many, &[]), NotServed),
        (Form::Pox, users(&["a@b.c"], &[]), NotServed),
    ] {
        assert_eq!(Question::read(form, request.as_bytes()), Err(why), "{request}");
    }
    assert_eq!(Question::read(Form::Pox, b"\xff\xfe<\0"), Err(Xml(SoapError::Encoding)));
    assert!(Question::read(Form::Soap, users(&many[..100], &[]).as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn anything_may_arrive(text in "(<|/|>|s:|Envelope|Body|Autodiscover|Request|EMailAddress| xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'|'|=|&|;|lt|#0|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|a@b|\u{e9}){0,40}", soap: bool) {
        let form = if soap { Form::Soap } else { Form::Pox };
        if let Ok(question) = Question::read(form, text.as_bytes()) {
            prop_assert!(question.subjects().count() > 0);
        }
    }

    /// Whatever an address holds, the answer is XML that has it once in each place.
    #[test]
    fn what_is_asked_about_comes_back_as_text_only(address in "[a-z<>&\"'/\\[\\]!-]{1,20}") {
        let request = pox(&format!("<EMailAddress>{}</EMailAddress>", escape(&address)));
        let question = Question::read(Form::Pox, request.as_bytes()).unwrap();
        let Body { text, .. } = question.answer(EWS, |_| true);
        let (mut reader, mut elements) = (Reader::from_str(&text), 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(_) => elements += 1,
                Event::Eof => break,
                _ => {}
            }
        }
        prop_assert_eq!(elements, 18, "{}", text);
    }
}
