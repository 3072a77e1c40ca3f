//! Listeners for EWS and Graph.

use gatepost_config::ListenerBackend;
use gatepost_proto::http::rules::HttpService;
use hyper::Method;

use crate::support::{Outside, microsoft};

fn yaml(listener: &str) -> String {
    format!("{}listeners:\n  {listener}\naccounts:\n  - {{login: '*'}}\n", microsoft(""))
}

fn told(listener: &str) -> Vec<String> {
    let problems = Outside::default().load(&yaml(listener)).unwrap_err();
    problems.iter().map(|problem| format!("{}: {}; {}", problem.key, problem.reason, problem.hint)).collect()
}

#[test]
fn a_bind_is_enough_and_the_rest_is_mail_in_the_own_mailbox() {
    let config = Outside::default().load(&yaml("graph: {bind: '127.0.0.1:8443'}")).unwrap();
    let ListenerBackend::Http(http) = &config.listeners[0].serves else { panic!() };
    assert_eq!((http.service, http.origin.to_string().as_str()), (HttpService::Graph, "graph.microsoft.com:443"));
    assert_eq!(http.graph.paths.len(), 4);
    assert!(http.graph.methods.contains(&Method::DELETE) && !http.graph.other_mailboxes);
    assert!(config.notes.is_empty(), "{:?}", config.notes);
    let own = "graph: {bind: '127.0.0.1:8443', paths: [/, calendar/events], methods: GET, other_mailboxes: true, hosts: [Gate, 192.0.2.1]}";
    let config = Outside::default().load(&yaml(own)).unwrap();
    let ListenerBackend::Http(http) = &config.listeners[0].serves else { panic!() };
    assert_eq!(http.graph.paths, [vec![], vec!["calendar".to_owned(), "events".to_owned()]]);
    assert_eq!(http.graph.methods, [Method::GET]);
    assert_eq!(http.hosts.len(), 2);
    assert!(config.notes[0].contains("every mailbox that its token opens"), "{:?}", config.notes);
}

#[test]
fn the_end_of_ews_is_told() {
    let config = Outside::default().load(&yaml("ews: {bind: '127.0.0.1:8444'}")).unwrap();
    let ListenerBackend::Http(http) = &config.listeners[0].serves else { panic!() };
    assert_eq!((http.service, http.origin.to_string().as_str()), (HttpService::Ews, "outlook.office365.com:443"));
    let note = config.notes.iter().find(|note| note.contains("1 April 2027")).unwrap();
    assert!(note.starts_with("listeners.ews serves EWS") && note.contains("EwsAllowedAppIDs"), "{note}");
}

#[test]
fn mistakes_have_their_sentences() {
    for (listener, expected) in [
        (
            "graph: {bind: '127.0.0.1:1', paths: [/me/messages]}",
            "`/me/messages` is not a path below a mailbox; write it without a slash in front, such as `messages` or `outlook/masterCategories`. `/` is the user itself",
        ),
        (
            "graph: {bind: '127.0.0.1:1', paths: []}",
            "the list is empty, so nothing could be asked for; name something, or remove the key",
        ),
        ("graph: {bind: '127.0.0.1:1', methods: [TRACE]}", "`TRACE` is not one of"),
        ("ews: {bind: '127.0.0.1:1', paths: [x]}", "`paths` is not a known key"),
        (
            "graph: {bind: '127.0.0.1:1', client_tokens: accept}",
            "EWS and Graph listeners take HTTP Basic only, never a client's own token; remove the key",
        ),
        ("graph: {bind: '127.0.0.1:1', hosts: ['a b']}", "`a b`"),
        (
            "ews: {bind: '0.0.0.0:1', allow_from: 10.0.0.0/8}",
            "without TLS passwords would cross the network in the clear, so nobody could log in; write `tls: implicit` with a \
             certificate, or name the networks that you trust in `allow_plaintext_from`",
        ),
    ] {
        let told = told(listener);
        assert!(told.len() == 1 && told[0].contains(expected), "{listener}: {told:?}");
    }
}

/// A user's token opens the user's own mailbox in EWS, and no other.
#[test]
fn an_ews_listener_serves_no_account_for_a_mailbox_of_somebody_else() {
    let told = |accounts: &str, listener: &str| {
        let yaml = format!("{}listeners:\n  {listener}\naccounts:\n{accounts}", microsoft(""));
        let problems = Outside::default().load(&yaml).err();
        let problems = problems.iter().flat_map(|problems| problems.iter());
        problems.map(|problem| format!("{}: {}; {}", problem.key, problem.reason, problem.hint)).collect::<Vec<_>>()
    };
    let ews = "ews: {bind: '127.0.0.1:8444'}";
    let office = "  - {login: office@contoso.com, grant: device_code, signs_in_as: anna@contoso.com}\n";
    assert_eq!(
        told(office, ews),
        [
            "listeners.ews: the account `office@contoso.com` is for the mailbox `office@contoso.com`, but EWS would open that of \
          `anna@contoso.com`, whose token it is; write `protocol: graph` here, `grant: client_credentials` there, or remove \
          one of the two"
        ]
    );
    let scanner = "  - {login: alice@contoso.com, mailbox: scanner@contoso.com}\n";
    let told_of_scanner = told(scanner, ews);
    assert!(
        told_of_scanner.len() == 1 && told_of_scanner[0].contains("that of `alice@contoso.com`"),
        "{told_of_scanner:?}"
    );
    for (accounts, listener) in [
        (office, "graph: {bind: '127.0.0.1:8444'}"),
        (office, "imap: {bind: '127.0.0.1:8444'}"),
        ("  - {login: '*@contoso.com', mailbox: scanner@contoso.com}\n", ews),
        ("  - {login: alice@contoso.com, mailbox: Alice@contoso.com}\n", ews),
        (
            "  - {login: office@contoso.com, grant: device_code, signs_in_as: anna@contoso.com, mailbox: anna@contoso.com}\n",
            ews,
        ),
    ] {
        assert_eq!(told(accounts, listener), Vec::<String>::new(), "{accounts}{listener}");
    }
}
