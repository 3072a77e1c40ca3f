use proptest::prelude::*;

use super::*;

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";

fn mailbox() -> MailAddress {
    MailAddress::parse("o'neil@contoso.com").unwrap()
}

fn impersonation() -> String {
    format!(
        "<t:ExchangeImpersonation xmlns:t=\"{TYPES}\"><t:ConnectingSID><t:PrimarySmtpAddress>o&apos;neil@contoso.com\
         </t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
    )
}

/// The whole request that the origin receives.
fn as_application(request: &str) -> Result<String, SoapError> {
    edited(request, Some(&mailbox()))
}

fn edited(request: &str, acting_for: Option<&MailAddress>) -> Result<String, SoapError> {
    match look(request.as_bytes(), true, acting_for)? {
        Looked::Found { beginning, consumed } => Ok(String::from_utf8(beginning).unwrap() + &request[consumed..]),
        Looked::Unclear => panic!("at its end a request is clear"),
    }
}

fn envelope(header: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<soap:Envelope xmlns:soap=\"{SOAP}\" xmlns:t=\"{TYPES}\">{header}\
         <soap:Body><GetFolder/>&anything;</soap:Body></soap:Envelope>"
    )
}

#[test]
fn an_application_acts_for_the_mailbox_and_for_no_other() {
    let version = "<t:RequestServerVersion Version=\"Exchange2013\"/>";
    let own = impersonation();
    let other = "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>ceo@contoso.com</t:SmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>";
    let wanted = envelope(&format!("<soap:Header>{own}{version}</soap:Header>"));
    assert_eq!(as_application(&envelope(&format!("<soap:Header>{version}</soap:Header>"))).unwrap(), wanted);
    assert_eq!(as_application(&envelope(&format!("<soap:Header>{other}{version}</soap:Header>"))).unwrap(), wanted);
    assert_eq!(
        as_application(&envelope(&format!("<soap:Header>{version}{other}{other}</soap:Header>"))).unwrap(),
        wanted
    );
    let bare = envelope(&format!("<soap:Header>{own}</soap:Header>"));
    assert_eq!(as_application(&envelope("")).unwrap(), bare);
    assert_eq!(as_application(&envelope("<soap:Header/>")).unwrap(), bare);
    assert_eq!(as_application(&envelope("<soap:Header></soap:Header>")).unwrap(), bare);
    assert_eq!(
        as_application(&envelope("<soap:Header a='1' />")).unwrap(),
        envelope(&format!("<soap:Header a='1' >{own}</soap:Header>"))
    );
}

#[test]
fn a_byte_order_mark_does_not_move_the_place_of_the_mailbox() {
    let wanted = format!("\u{feff}{}", envelope(&format!("<soap:Header>{}</soap:Header>", impersonation())));
    for header in
        ["", "<soap:Header/>", "<soap:Header></soap:Header>", "<soap:Header><t:ExchangeImpersonation/></soap:Header>"]
    {
        assert_eq!(as_application(&format!("\u{feff}{}", envelope(header))).unwrap(), wanted, "{header}");
    }
}

#[test]
fn with_the_token_of_a_user_a_request_without_an_identity_stays_as_it_is() {
    for header in ["", "<soap:Header/>", "<soap:Header></soap:Header>"] {
        assert_eq!(edited(&envelope(header), None).unwrap(), envelope(header));
    }
}

#[test]
fn an_identity_to_act_for_is_cut_out_in_every_disguise() {
    let v = "<t:RequestServerVersion Version=\"x\"/>";
    for disguise in [
        "<t:ExchangeImpersonation/>".to_owned(),
        "<t:ExchangeImpersonation ></t:ExchangeImpersonation >".to_owned(),
        "<x:ExchangeImpersonation xmlns:x='urn:x'><a><b/></a></x:ExchangeImpersonation>".to_owned(),
        format!("<ExchangeImpersonation\n xmlns=\"{TYPES}\"><!-- > --><a>]]&gt;</a></ExchangeImpersonation>"),
        "<t:SerializedSecurityContext><t:UserSid>S-1</t:UserSid></t:SerializedSecurityContext>".to_owned(),
        "<t:ExchangeImpersonation a='>' b=\"/>\"><![CDATA[</t:ExchangeImpersonation>]]></t:ExchangeImpersonation>"
            .to_owned(),
        "<t:ExchangeImpersonation><t:ExchangeImpersonation/></t:ExchangeImpersonation>".to_owned(),
    ] {
        let request = envelope(&format!("<soap:Header>{disguise}{v}{disguise}</soap:Header>"));
        assert_eq!(edited(&request, None).unwrap(), envelope(&format!("<soap:Header>{v}</soap:Header>")), "{disguise}");
    }
    // A comment or CDATA that only looks like it is not changed, because nobody acts on it.
    for harmless in ["<!-- <t:ExchangeImpersonation/> -->", "<t:x><![CDATA[<t:ExchangeImpersonation/>]]></t:x>"] {
        let request = envelope(&format!("<soap:Header>{harmless}</soap:Header>"));
        assert_eq!(edited(&request, None).unwrap(), request);
    }
}

#[test]
fn both_versions_of_soap_and_every_prefix_are_understood() {
    for request in [
        format!("<Envelope xmlns='{SOAP}'><Body/></Envelope>").replace("<Body/>", "<Body><a/></Body>"),
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body> <!-- z -->\n<a/></s:Body></s:Envelope>"
            .to_owned(),
        format!(
            "\u{feff}<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\r\n<!-- x --><e:Envelope xmlns:e='{SOAP}'> <!-- y -->\n<e:Body><a>é</a></e:Body></e:Envelope>"
        ),
    ] {
        let edited = as_application(&request).unwrap();
        assert!(edited.contains("o&apos;neil@contoso.com"), "{edited}");
        // Examined again, it does not change.
        assert_eq!(as_application(&edited).unwrap(), edited, "{request}");
        let reader = &mut quick_xml::reader::Reader::from_str(&edited);
        while reader.read_event().unwrap() != Event::Eof {}
    }
}

#[test]
fn what_is_not_plain_is_refused() {
    for (request, flaw) in [
        (format!("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>{}", envelope("")), SoapError::NotPlain),
        (envelope("").replace("<soap:Env", "<!DOCTYPE soap:Envelope><soap:Env"), SoapError::NotPlain),
        (envelope("<?php x?>"), SoapError::NotPlain),
        (envelope("<soap:Header>&xxe;</soap:Header>"), SoapError::NotPlain),
        (envelope("<soap:Header><t:x a='&xxe;'/></soap:Header>"), SoapError::NotPlain),
        (envelope("").replace("utf-8", "utf-16"), SoapError::Encoding),
        (envelope("").replace("utf-8", "utf-7"), SoapError::Encoding),
        (envelope("").replace("<soap", "<\0soap"), SoapError::Encoding),
        (envelope("<soap:Body2/>"), SoapError::NotSoap),
        (envelope("<soap:Header/><soap:Header/>"), SoapError::NotSoap),
        (envelope("<soap:Header></soap:Header><soap:Header/>"), SoapError::NotSoap),
        (envelope("<x/>"), SoapError::NotSoap),
        (format!("<soap:Envelope xmlns:soap='{SOAP}'><soap:Body></soap:Body></soap:Envelope>"), SoapError::NotSoap),
        (
            format!("<soap:Envelope xmlns:soap='{SOAP}'><soap:Body><![CDATA[ ]]><a/></soap:Body></soap:Envelope>"),
            SoapError::NotSoap,
        ),
        (
            envelope(&format!(
                "<soap:Header><a{}/></soap:Header>",
                (0..65).map(|n| format!(" a{n}=''")).collect::<String>()
            )),
            SoapError::Malformed,
        ),
        (envelope("").replace(SOAP, "urn:other"), SoapError::NotSoap),
        (envelope("<Body/>"), SoapError::NotSoap),
        ("<a/>".to_owned(), SoapError::NotSoap),
        (String::new(), SoapError::Malformed),
        ("{}".to_owned(), SoapError::Malformed),
        (format!("<soap:Envelope xmlns:soap='{SOAP}'>"), SoapError::Malformed),
        (envelope("<soap:Header><a></b></soap:Header>"), SoapError::Malformed),
        (envelope("<soap:Header><a b='1' b='2'/></soap:Header>"), SoapError::Malformed),
        (envelope("<soap:Header><a b='<'/></soap:Header>"), SoapError::Malformed),
        (envelope("<soap:Header><1/></soap:Header>"), SoapError::Malformed),
        (envelope("<soap:Header><!-- a -- b --></soap:Header>"), SoapError::Malformed),
        (envelope(&format!("<soap:Header>{}</soap:Header>", "<a>".repeat(40))), SoapError::NotSoap),
    ] {
        assert_eq!(as_application(&request), Err(flaw), "{request}");
    }
    for (request, flaw) in [
        (envelope("").replacen("?>", "?><?xml version=\"1.0\"?>", 1), SoapError::NotSoap),
        (format!("\n{}", envelope("")), SoapError::NotSoap),
        (format!("x{}", envelope("").split_once('\n').unwrap().1), SoapError::Malformed),
        (envelope("x"), SoapError::Malformed),
        (envelope("<x></x>"), SoapError::NotSoap),
        (envelope("<soap:Header></soap:Header><soap:Header></soap:Header>"), SoapError::NotSoap),
        (envelope("").replace("<GetFolder/>", "x<GetFolder/>"), SoapError::Malformed),
    ] {
        assert_eq!(as_application(&request), Err(flaw), "{request}");
    }
    // The deepest header that is read, and one that is deeper.
    let nested =
        |depth: usize| envelope(&format!("<soap:Header>{}{}</soap:Header>", "<a>".repeat(depth), "</a>".repeat(depth)));
    assert!(as_application(&nested(DEPTH)).is_ok());
    assert_eq!(as_application(&nested(DEPTH + 1)), Err(SoapError::NotSoap));
    let utf_16: Vec<u8> = envelope("").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(look(&utf_16, false, None), Err(SoapError::Encoding));
    let utf_16_with_mark = [&[0xff, 0xfe], utf_16.as_slice()].concat();
    assert_eq!(look(&utf_16_with_mark, false, None), Err(SoapError::Encoding));
}

#[test]
fn a_beginning_is_unclear_until_the_body_begins() {
    let request = envelope("<soap:Header><t:a>é &amp; ü</t:a><t:ExchangeImpersonation/></soap:Header>");
    let whole = look(request.as_bytes(), true, None).unwrap();
    let Looked::Found { consumed, .. } = whole else { panic!() };
    for length in 0..request.len() {
        let looked = look(&request.as_bytes()[..length], false, None).unwrap();
        if length < consumed + "<soap:Body><GetFolder/>".len() {
            assert_eq!(looked, Looked::Unclear, "{length}");
        } else {
            assert_eq!(looked, whole, "{length}");
        }
    }
}

#[test]
fn what_hands_out_tokens_or_is_about_mailboxes_of_others_is_not_served() {
    for operation in BARRED {
        for element in [
            format!("<{operation}/>"),
            format!("\n<!-- <a/> --> <m:{operation} xmlns:m='urn:x' a='1'>"),
            format!("<x:{operation} xmlns:x='urn:other'><a/></x:{operation}>"),
        ] {
            assert_eq!(
                as_application(&envelope("").replace("<GetFolder/>", &element)),
                Err(SoapError::Barred),
                "{element}"
            );
        }
    }
    // Deeper in the body, or in text, it is no operation.
    for harmless in
        ["<a><GetClientAccessToken/></a>", "<!-- <GetClientAccessToken/> --><a/>", "<GetClientAccessToken2/>"]
    {
        assert!(as_application(&envelope("").replace("<GetFolder/>", harmless)).is_ok(), "{harmless}");
    }
}

/// Feeds a request in pieces of these sizes, which are repeated in turn.
fn arrived(request: &[u8], sizes: &[usize]) -> (Result<Option<Ready>, SoapError>, usize, usize) {
    let mut arriving = Arriving::new(256 * 1024);
    let (mut rest, mut sizes) = (request, sizes.iter().cycle());
    loop {
        let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        arriving.push(piece);
        rest = behind;
        let looked = arriving.look(rest.is_empty(), Some(&mailbox()));
        if rest.is_empty() || looked != Ok(None) {
            return (looked, arriving.parsed(), request.len() - rest.len());
        }
    }
}

#[test]
fn a_header_in_pieces_of_one_octet_is_parsed_in_linear_work() {
    let header = |octets: usize| envelope(&format!("<soap:Header><t:a>{}</t:a></soap:Header>", "x".repeat(octets)));
    for octets in [0, 1_000, 20_000, 200_000] {
        let request = header(octets);
        let (found, parsed, received) = arrived(request.as_bytes(), &[1]);
        assert!(found.unwrap().is_some());
        assert!(parsed <= 4 * received, "{parsed} octets were parsed of {received}");
    }
    // The same for a body that never begins.
    let endless = header(400_000);
    let (found, parsed, received) = arrived(endless.as_bytes(), &[1]);
    assert_eq!(found, Err(SoapError::TooLong));
    assert!(received == 256 * 1024 + 1 && parsed <= 4 * received, "{parsed} octets were parsed of {received}");
}

#[test]
fn held_octets_are_examined_once_twice_as_many_are_there() {
    let mut arriving = Arriving::new(1_000);
    for (piece, parsed) in [("<!-- ab", 7), ("123456", 7), ("7", 7 + 14), ("8", 7 + 14)] {
        arriving.push(piece.as_bytes());
        assert_eq!(arriving.look(false, None), Ok(None));
        assert_eq!(arriving.parsed(), parsed, "{piece}");
    }
    assert_eq!(arriving.into_octets(), b"<!-- ab12345678");
}

#[test]
fn a_request_is_decided_before_its_end_has_arrived() {
    let request = envelope("<soap:Header/>");
    let (begun, _) = request.split_once("</soap:Body>").unwrap();
    let mut arriving = Arriving::new(1_000);
    arriving.push(begun.as_bytes());
    let ready = arriving.look(false, Some(&mailbox())).unwrap().unwrap();
    assert!(ready.stands_for == begun.len() && String::from_utf8(ready.octets).unwrap().contains(&impersonation()));
}

#[test]
fn the_work_of_a_tag_does_not_grow_with_the_square_of_its_attributes() {
    let attributes: String = (0..40_000).map(|n| format!(" a{n}=''")).collect();
    // It is refused at the first one too many, and never compared completely.
    assert_eq!(
        as_application(&envelope(&format!("<soap:Header><a{attributes}/></soap:Header>"))),
        Err(SoapError::Malformed)
    );
}

proptest! {
    #[test]
    fn pieces_do_not_matter(padding in 0_usize..3_000, sizes in proptest::collection::vec(1_usize..400, 1..20), cut in 0_usize..4_000) {
        let request = envelope(&format!("<soap:Header><t:a>{}</t:a><t:ExchangeImpersonation/></soap:Header>", "é".repeat(padding)));
        let request = request.as_bytes().get(..cut).unwrap_or(request.as_bytes());
        let whole = look(request, true, Some(&mailbox()));
        let (in_pieces, parsed, received) = arrived(request, &sizes);
        prop_assert!(parsed <= 4 * received.max(1));
        match (whole, in_pieces) {
            (Ok(Looked::Found { beginning, consumed }), Ok(Some(Ready { octets, stands_for }))) => {
                prop_assert_eq!([&octets, &request[stands_for..]].concat(), [&beginning, &request[consumed..]].concat());
            }
            (Err(_), Err(_)) => {}
            (whole, in_pieces) => prop_assert!(false, "{:?} {:?}", whole, in_pieces),
        }
    }

    #[test]
    fn anything_may_arrive(text in "(<|/|>|s:|Envelope|Header|Body|ExchangeImpersonation| xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'|'|\"|=|&|;|lt|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|\\?>|a| |\u{e9}){0,40}", ended: bool) {
        let _verdict = look(text.as_bytes(), ended, Some(&mailbox()));
    }

    /// Whatever the header holds, the forwarded request has exactly one identity, and Gatepost has
    /// set it.
    #[test]
    fn there_is_never_another_identity(parts in proptest::collection::vec(0_usize..8, 0..12)) {
        const PARTS: [&str; 8] = ["<t:ExchangeImpersonation/>", "<t:a>", "</t:a>", "<!-- ", " -->", "<![CDATA[", "]]>", "<t:ExchangeImpersonation>x</t:ExchangeImpersonation>"];
        let header: String = parts.iter().map(|part| PARTS[*part]).collect();
        if let Ok(edited) = as_application(&envelope(&format!("<soap:Header>{header}</soap:Header>"))) {
            let (mut reader, mut depth, mut identities) = (quick_xml::reader::Reader::from_str(&edited), 0, 0);
            // Directly below the header; anything deeper is only text to Exchange.
            let counts = |start: &BytesStart<'_>, depth| {
                u32::from(depth == 2 && start.local_name().into_inner() == "ExchangeImpersonation")
            };
            loop {
                match reader.read_event().unwrap() {
                    Event::Start(start) => {
                        identities += counts(&start, depth);
                        depth += 1;
                    }
                    Event::Empty(start) => identities += counts(&start, depth),
                    Event::End(_) => depth -= 1,
                    Event::Eof => break,
                    _ => {}
                }
            }
            prop_assert_eq!(identities, 1);
        }
    }
}
