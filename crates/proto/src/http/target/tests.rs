use std::sync::LazyLock;

use super::*;

fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

static MAIL_ONLY: LazyLock<GraphRules> = LazyLock::new(GraphRules::default);

/// The path that is sent to the origin with an application's token.
fn app_only(path: &str) -> Result<String, Denied<'static>> {
    let (login, mailbox) = (address("scanner@contoso.com"), address("o'neil@contoso.com"));
    let owner = Owner { login: &login, mailbox: &mailbox, is_me: false };
    graph(&MAIL_ONLY, &Method::GET, path, owner)
}

fn delegated(path: &str) -> Result<String, Denied<'static>> {
    let alice = address("alice@contoso.com");
    graph(&MAIL_ONLY, &Method::GET, path, Owner { login: &alice, mailbox: &alice, is_me: true })
}

#[test]
fn me_is_the_mailbox_of_the_credentials() {
    assert_eq!(delegated("/v1.0/me/messages").unwrap(), "/v1.0/me/messages");
    assert_eq!(
        delegated("/beta/Me/mailFolders('inbox')/messages/AAMk=").unwrap(),
        "/beta/me/mailFolders('inbox')/messages/AAMk="
    );
    assert_eq!(app_only("/v1.0/me/messages").unwrap(), "/v1.0/users/o%27neil@contoso.com/messages");
    assert_eq!(app_only("/v1.0/me/sendMail/").unwrap(), "/v1.0/users/o%27neil@contoso.com/sendMail");
}

#[test]
fn every_name_of_the_own_mailbox_leads_to_it_and_no_other_does() {
    for own in [
        "/v1.0/users/o'neil@contoso.com/messages",
        "/v1.0/users/O'Neil%40Contoso.com/messages",
        "/v1.0/users('o''neil@contoso.com')/messages",
        "/v1.0/users(%27o%27%27neil%40contoso.com%27)/messages",
        "/v1.0/users/scanner@contoso.com/messages",
        "/V1.0/Users/Scanner@contoso.com/messages",
    ] {
        assert_eq!(app_only(own).as_deref(), Ok("/v1.0/users/o%27neil@contoso.com/messages"), "{own}");
    }
    for other in [
        "/v1.0/users/bob@contoso.com/messages",
        "/v1.0/users('bob@contoso.com')/messages",
        "/v1.0/users/8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d/messages",
        "/v1.0/users/o'neil@contoso.com.evil.example/messages",
        "/v1.0/users/me/messages",
        "/v1.0/users/%20o'neil@contoso.com/messages",
    ] {
        assert_eq!(app_only(other), Err(Denied::OtherMailbox), "{other}");
        assert!(delegated(other).is_err(), "{other}");
    }
    let (login, rules) = (address("a@b.c"), GraphRules { other_mailboxes: true, ..GraphRules::default() });
    let owner = Owner { login: &login, mailbox: &login, is_me: true };
    let other = graph(&rules, &Method::GET, "/v1.0/users/bob%40b.c/messages", owner);
    assert_eq!(other.as_deref(), Ok("/v1.0/users/bob@b.c/messages"));
}

/// Eighty known attempts to get around a prefix.
#[test]
fn nothing_but_the_allowed_paths_of_the_mailbox_is_served() {
    for path in [
        "",
        "/",
        "//",
        "/v1.0",
        "/v1.0/",
        "/v1.0/me",
        "/v1.0/me/",
        "/v1.0/users",
        "/v1.0/users/",
        "/v1.0/$batch",
        "/beta/$batch",
        "/v2.0/me/messages",
        "/v1.0/groups",
        "/v1.0/organization",
        "/v1.0/applications",
        "/v1.0/servicePrincipals",
        "/v1.0/directory/deletedItems",
        "/v1.0/me/drive/root",
        "/v1.0/me/messages2",
        "/v1.0/me/calendar",
        "/v1.0/me/events",
        "/v1.0/me/outlook",
        "/v1.0/me/outlook/supportedLanguages",
        "/v1.0/me/manager",
        "/v1.0/me/authentication/methods",
        "/v1.0//me/messages",
        "//v1.0/me/messages",
        "/v1.0/me//messages",
        "/v1.0/me/messages//",
        "/v1.0/./me/messages",
        "/v1.0/../v1.0/me/messages",
        "/v1.0/me/messages/..",
        "/v1.0/me/messages/../../users",
        "/v1.0/me/messages/./x",
        "/v1.0/me/messages/%2e%2e/x",
        "/v1.0/me/messages/%2E%2E",
        "/v1.0/me/messages/.%2e/x",
        "/v1.0/me/messages/%2e/x",
        "/v1.0/me/messages/..%2f..%2fusers",
        "/v1.0/me%2fmessages",
        "/v1.0%2fme/messages",
        "/v1.0/me/messages%2f..",
        "/v1.0/me/messages/%2F",
        "/v1.0/me/messages/%5c..%5c",
        "/v1.0/me/messages\\..\\x",
        "/v1.0\\me\\messages",
        "/v1.0/me/messages/%252e%252e/x",
        "/v1.0/me/messages/%25",
        "/v1.0/me/messages/%00",
        "/v1.0/me/messages/a%00b",
        "/v1.0/me/messages/%0d%0aHost:x",
        "/v1.0/me/messages/%0a",
        "/v1.0/me/messages/%7f",
        "/v1.0/me/messages/%",
        "/v1.0/me/messages/%2",
        "/v1.0/me/messages/%zz",
        "/v1.0/me/messages/%c0%af",
        "/v1.0/me/messages/%c0%ae%c0%ae",
        "/v1.0/me/messages/%e0%80%af",
        "/v1.0/me/messages/%ff",
        "/v1.0/me/messages/%u002e",
        "/v1.0;x/me/messages",
        "/v1.0/me;a=b/messages",
        "/v1.0/me/messages;/..",
        "/v1.0/me/messages/..;/x",
        "/v1.0/me/messages%3b/..",
        "/v1.0/me/messages/%3f",
        "/v1.0/me/messages/%23",
        "/v1.0/me/messages#x",
        "/v1.0/me/messages?x",
        "v1.0/me/messages",
        "http://169.254.169.254/v1.0/me/messages",
        "/http://evil.example/",
        "/@evil.example/v1.0/me/messages",
        "/v1.0/me@evil.example/messages",
        "/v1.0/users/me/messages",
        "/%76%31.0%2Fme/messages",
        "/v1.0/ me/messages",
        "/v1.0/me/\u{2024}\u{2024}/messages",
        "/v1.0/m\u{e9}/messages",
        "/EWS/Exchange.asmx",
        "/latest/meta-data/",
        "/v1.0/me/%c2%85/messages",
    ] {
        assert!(delegated(path).is_err(), "{path:?}");
        assert!(app_only(path).is_err(), "{path:?}");
    }
}

#[test]
fn methods_and_paths_are_as_configured() {
    let alice = address("alice@contoso.com");
    let owner = Owner { login: &alice, mailbox: &alice, is_me: true };
    let rules = GraphRules {
        paths: vec![Vec::new(), vec!["outlook".to_owned(), "mastercategories".to_owned()]],
        methods: vec![Method::GET],
        other_mailboxes: false,
    };
    assert!(graph(&rules, &Method::GET, "/v1.0/me", owner).is_ok());
    assert!(graph(&rules, &Method::GET, "/v1.0/me/outlook/masterCategories/1", owner).is_ok());
    assert_eq!(graph(&rules, &Method::GET, "/v1.0/me/messages", owner), Err(Denied::NotServed));
    assert_eq!(graph(&rules, &Method::DELETE, "/v1.0/me", owner), Err(Denied::Method(&[Method::GET])));
}

#[test]
fn ews_is_one_path_with_its_description_and_autodiscover() {
    let origin = |path| Ok(EwsTarget::Origin(path));
    for (method, path, target) in [
        (Method::POST, "/ews/exchange.asmx", origin("/EWS/Exchange.asmx")),
        (Method::POST, "/EWS/Exchange.asmx/", origin("/EWS/Exchange.asmx")),
        (Method::GET, "/EWS/services.WSDL", origin("/EWS/Services.wsdl")),
        (Method::GET, "/ews/messages.xsd", origin("/EWS/messages.xsd")),
        (Method::GET, "/EWS/Types.xsd", origin("/EWS/types.xsd")),
        (Method::POST, "/Autodiscover/Autodiscover.xml", Ok(EwsTarget::Autodiscover(Form::Pox))),
        (Method::POST, "/autodiscover/autodiscover.svc", Ok(EwsTarget::Autodiscover(Form::Soap))),
        (Method::GET, "/EWS/Exchange.asmx", Err(Denied::Method(&[Method::POST]))),
        (Method::POST, "/EWS/Services.wsdl", Err(Denied::Method(&[Method::GET]))),
        (Method::GET, "/autodiscover/autodiscover.xml", Err(Denied::Method(&[Method::POST]))),
    ] {
        assert_eq!(ews(&method, path), target, "{method} {path}");
    }
    for path in [
        "/",
        "/EWS/Exchange.asmx/x",
        "/EWS/Services.wsdl/x",
        "/EWS/other.xsd",
        "/EWS/",
        "/owa",
        "/autodiscover/autodiscover.json",
        "/api/v2.0/me",
    ] {
        assert_eq!(ews(&Method::POST, path), Err(Denied::NotServed), "{path}");
    }
    for path in [
        "/EWS//Exchange.asmx",
        "/EWS/Exchange.asmx//",
        "/EWS/../EWS/Exchange.asmx",
        "/EWS/%2e%2e/Exchange.asmx",
        "/EWS;x/Exchange.asmx",
    ] {
        assert_eq!(ews(&Method::POST, path), Err(Denied::Malformed), "{path}");
    }
}

#[test]
fn a_query_does_not_expand_into_another_type() {
    for text in ["$expand=microsoft.graph.message/x", "expand=Microsoft.Graph.user", "%24EXPAND=a/micro%73oft.graph.b"]
    {
        assert!(matches!(query(text), Err(Denied::Cast)), "{text}");
    }
    for text in ["", "$expand=attachments", "$filter=subject eq 'microsoft.graph.user'"] {
        assert!(query(text).is_ok(), "{text}");
    }
}

#[test]
fn only_the_path_of_autodiscover_is_one_of_autodiscover() {
    assert!(is_autodiscover("/autodiscover/autodiscover.xml"));
    assert!(!is_autodiscover("/EWS/Exchange.asmx") && !is_autodiscover("/"));
}
