//! `deliver`, `trusted_senders` and `legacy`.

use std::path::Path;
use std::time::Duration;

use gatepost_config::{Deliver, GraphLarge, ListenerBackend, SenderRule, Submission};
use gatepost_core::account::MailAddress;

use crate::support::{HASH, config as load, mistakes};

/// A scanner's account that needs no password, and Alice's that needs hers.
fn accounts() -> String {
    format!(
        "accounts:\n  - {{login: alice@contoso.com}}\n  - {{login: scanner@contoso.com, aliases: [scan7], grant: \
         client_credentials, client_secret: s, passwords: ['{HASH}']}}"
    )
}

fn listener(keys: &str) -> String {
    format!("listeners: {{smtp: {{bind: '192.168.7.1:25', {keys}}}}}\n{}", accounts())
}

fn submission(keys: &str) -> Submission {
    match load(&listener(keys)).listeners.remove(0).serves {
        ListenerBackend::Submission(submission) => submission,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_way_to_deliver() {
    let local = "allow_from: 192.168.7.0/24, allow_plaintext_from: 192.168.7.0/24";
    let graph = submission(&format!("{local}, deliver: graph"));
    assert!(graph.smtp.is_none() && graph.deliver == Deliver::Graph);
    assert_eq!(graph.graph.to_string(), "graph.microsoft.com:443");
    let auto = submission(&format!("{local}, deliver: auto, graph: 'graph.example:8443'"));
    assert_eq!(auto.smtp.unwrap().host, "smtp.office365.com");
    assert_eq!(auto.graph.to_string(), "graph.example:8443");
    let legacy = load(&listener(&format!("{local}, legacy: true"))).listeners.remove(0);
    assert!(legacy.bare_lf && legacy.legacy && matches!(legacy.serves, ListenerBackend::Submission(_)));
    let relay = load(&listener(&format!("{local}, deliver: smtp"))).listeners.remove(0);
    assert!(matches!(relay.serves, ListenerBackend::Relay(_)));
}

#[test]
fn large_messages_need_a_place() {
    let listener =
        |keys: &str| format!("listeners: {{smtp: {{bind: '127.0.0.1:25', {keys}}}}}\naccounts: [{{login: '*'}}]\n");
    let config =
        load(&format!("{}state: {{directory: /srv/gatepost}}", listener("deliver: graph, graph_large: draft")));
    let ListenerBackend::Submission(submission) = &config.listeners[0].serves else { panic!("a relay") };
    assert_eq!(submission.graph_large, GraphLarge::Draft);
    assert_eq!(config.spool.as_deref(), Some(Path::new("/srv/gatepost")));
    assert_eq!(
        mistakes(&listener("deliver: auto, graph_large: draft")),
        [
            "state.directory: `directory` is missing, which `graph_large: draft` needs for large messages on their way; write \
          `state: {directory: /var/lib/gatepost}`, or remove `graph_large` from the listeners"
        ]
    );
    let notes = |keys: &str| load(&format!("{}state: {{directory: /srv/gatepost}}", listener(keys))).notes;
    let has = |keys: &str, what: &str| notes(keys).iter().any(|note| note.contains(what));
    assert!(has(
        "deliver: smtp, legacy: true, graph_large: draft",
        "`graph_large` has no effect on the listener `smtp`"
    ));
    assert!(!has("deliver: smtp, legacy: true, graph_large: refuse", "graph_large"));
    assert!(!has("deliver: graph, graph_large: draft", "graph_large"));
    let cloud = format!(
        "{}microsoft: {{cloud: us-gov-dod, tenant: contoso.us, client_id: 00000000-0000-0000-0000-000000000001}}",
        listener("deliver: graph, graph_large: draft")
    );
    let notes = load(&format!("{cloud}\nstate: {{directory: /srv/gatepost}}")).notes;
    assert!(notes.iter().any(|note| note.contains("Microsoft offers no upload")), "{notes:?}");
    // Without a listener that needs it, there is none.
    assert_eq!(load(&format!("{}state: {{directory: /srv/gatepost}}", listener("deliver: graph"))).spool, None);
}

#[test]
fn who_logs_in_sends_as_anybody_unless_a_rule_says_otherwise() {
    let serves = |listener: &str, account: &str| {
        let yaml =
            format!("listeners: {{smtp: {{bind: '127.0.0.1:25', {listener}}}}}\naccounts: [{{login: '*', {account}}}]");
        let config = load(&yaml);
        (config.listeners[0].serves.clone(), config.accounts.entries()[0].sending.sender)
    };
    for (listener, account, rule) in [
        ("", "", None),
        ("sender: free", "", None),
        ("", "sender: free", None),
        ("sender: forced", "", Some(SenderRule::Forced)),
        ("sender: checked", "sender: free", Some(SenderRule::Checked)),
        // One account with a rule is enough, because the account is known after the login only.
        ("", "sender: forced", Some(SenderRule::Free)),
        ("sender: free", "sender: checked", Some(SenderRule::Free)),
    ] {
        let rule_of_listener = match serves(listener, account).0 {
            ListenerBackend::Submission(submission) => Some(submission.sender),
            _ => None,
        };
        assert_eq!(rule_of_listener, rule, "{listener} {account}");
    }
    assert_eq!(serves("", "sender: forced").1, Some(SenderRule::Forced));
    assert_eq!(serves("", "").1, None);
}

#[test]
fn an_account_sends_as_mailboxes_and_domains() {
    let config = |keys: &str| {
        let listener = "listeners: {smtp: {bind: '127.0.0.1:25'}}";
        load(&format!("{listener}\naccounts: [{{login: app@contoso.com, {keys}}}]"))
    };
    let app_only = format!("grant: client_credentials, client_secret: s, passwords: ['{HASH}']");
    let with_list = config(&format!("{app_only}, send_as: [Sales@Contoso.com, Fabrikam.com, '@adatum.com']"));
    let send_as = &with_list.accounts.entries()[0].sending.send_as;
    let has = |address: &str| send_as.has(&MailAddress::parse(address).unwrap());
    assert!(has("sales@contoso.com") && has("any@fabrikam.com") && has("any@adatum.com"));
    assert!(!has("any@contoso.com") && !has("any@mail.fabrikam.com") && !has("any@notfabrikam.com"));
    assert!(matches!(with_list.listeners[0].serves, ListenerBackend::Submission(_)));
    assert!(with_list.notes.contains(
        &"each client of the account `app@contoso.com` may send as every mailbox of `fabrikam.com` and `adatum.com` that the \
          application may use"
            .into()
    ));
    assert!(!config("send_as: []").notes.iter().any(|note| note.contains("send_as")));
    for wrong in ["sales", "*", "contoso..com", "a@b@c.com", "@", "con toso.com", "sales@"] {
        let yaml =
            format!("listeners: {{smtp: {{bind: '127.0.0.1:25'}}}}\naccounts: [{{login: '*', send_as: ['{wrong}']}}]");
        let found = mistakes(&yaml);
        assert!(
            matches!(&found[..], [one] if one.contains("is neither an address nor a domain")),
            "{wrong}: {found:?}"
        );
    }
    // A user's token needs more.
    let notes = config("send_as: sales@contoso.com").notes;
    assert!(notes.iter().any(|note| note.contains("Full Access and SendAs") && note.contains("`Mail.Send.Shared`")));
    let imap = load("listeners: {imap: {bind: '127.0.0.1:143'}}\naccounts: [{login: '*', sender: forced}]");
    assert!(imap.notes.contains(&"`sender` and `send_as` of accounts have no effect without an SMTP listener".into()));
}

#[test]
fn a_trusted_sender_with_every_key_and_with_the_least() {
    let rules = "trusted_senders: [{from: 192.168.7.21, login: SCAN7, sender: checked, recipient_domains: [Contoso.com, \
                 '@fabrikam.com'], messages_per_minute: 5}, {from: 192.168.7.0/24, login: scanner@contoso.com}]";
    let submission = submission(&format!("allow_from: 192.168.7.0/24, {rules}"));
    let [one, all] = submission.trusted_senders.as_slice() else { panic!("two rules") };
    assert_eq!(
        (one.login.as_str(), one.sender, one.messages_per_minute),
        ("scanner@contoso.com", SenderRule::Checked, 5)
    );
    assert_eq!(one.recipient_domains, ["contoso.com", "fabrikam.com"]);
    assert_eq!((all.sender, all.messages_per_minute), (SenderRule::Forced, 30));
    assert!(all.recipient_domains.is_empty());
}

#[test]
fn who_needs_no_login_is_noted() {
    let rule = "allow_from: 192.168.7.0/24, trusted_senders: [{from: 192.168.7.21, login: scan7}]";
    assert!(load(&listener(rule)).notes.contains(
        &"everybody who connects from `192.168.7.21/32` to the listener `smtp` sends mail as `scanner@contoso.com` without a login".into()
    ));
}

#[test]
fn what_messages_lose_through_graph_is_noted() {
    let local = "allow_from: 192.168.7.0/24, allow_plaintext_from: 192.168.7.0/24";
    let is_noted = |keys: &str| {
        let notes = load(&listener(&format!("{local}, {keys}"))).notes;
        notes
            .iter()
            .any(|note| note.starts_with("messages that the listener `smtp` sends through Microsoft Graph lose"))
    };
    assert!(is_noted("deliver: graph") && is_noted("deliver: auto"));
    assert!(!is_noted("deliver: smtp") && !is_noted("legacy: true"));
}

#[test]
fn an_account_for_devices_alone_needs_no_password() {
    let yaml =
        listener("allow_from: 192.168.7.0/24, trusted_senders: [{from: 192.168.7.21, login: scanner@contoso.com}]");
    let without = yaml.replace(&format!(", passwords: ['{HASH}']"), "");
    assert!(load(&without).unproved.is_empty());
    let plain = format!("listeners: {{smtp: {{bind: '127.0.0.1:25'}}}}\n{}", accounts());
    assert_eq!(load(&plain.replace(&format!(", passwords: ['{HASH}']"), "")).unproved.len(), 1);
}

#[test]
fn every_mistake_about_devices_has_its_sentence() {
    let rule = |rule: &str| {
        listener(&format!(
            "allow_from: 192.168.7.0/24, trusted_senders: [{{from: 192.168.7.21, login: scanner@contoso.com, {rule}}}]"
        ))
    };
    let trusted =
        |allow_from: &str, rule: &str| listener(&format!("allow_from: {allow_from}, trusted_senders: [{rule}]"));
    let at = "listeners.smtp.trusted_senders[0]";
    for (yaml, expected) in [
        (
            listener("allow_from: 192.168.7.0/24, allow_plaintext_from: 192.168.7.0/24, deliver: lmtp"),
            "listeners.smtp.deliver: `lmtp` is not one of `smtp`, `graph`, `auto`; did you mean `smtp`?".into(),
        ),
        (
            trusted("192.168.7.0/24", "{login: scanner@contoso.com}"),
            format!("{at}.from: `from` is missing; name the device's address or network, such as `from: 192.168.7.21`"),
        ),
        (
            trusted("192.168.7.0/24", "{from: 192.168.7.21}"),
            format!("{at}.login: `login` is missing; name the account that the device sends as"),
        ),
        (
            trusted("192.168.7.0/24", "{from: 192.168.7.21, login: nobody@contoso.com}"),
            format!(
                "{at}.login: there is no account for `nobody@contoso.com`; add it to `accounts`, with a grant that needs no \
                 password"
            ),
        ),
        (
            trusted("192.168.7.0/24", "{from: 192.168.7.21, login: alice@contoso.com}"),
            format!(
                "{at}.login: `alice@contoso.com` gets its token with its user's password, which no device gives here; give \
                 the account `grant: client_credentials` or `grant: authorization_code`, or let the device log in"
            ),
        ),
        (
            trusted("192.168.7.0/24", "{from: 0.0.0.0/0, login: scanner@contoso.com}"),
            format!(
                "{at}.from: `0.0.0.0/0` is far more than a few devices: anybody in it could send as this account; name \
                 the addresses of the devices, or a private network. Of public ones at most a /24 (IPv6: /48)"
            ),
        ),
        (
            trusted("[192.168.7.0/24, 203.0.0.0/8]", "{from: 192.168.7.21, login: scanner@contoso.com}"),
            "listeners.smtp: `allow_from` lets `203.0.0.0/8` in, and some of it may send without a login; give the devices \
             of `trusted_senders` a listener of their own, with a narrow `allow_from`"
                .into(),
        ),
        (
            trusted("192.168.7.0/24", "{from: 192.168.8.21, login: scanner@contoso.com}"),
            "listeners.smtp: `192.168.8.21/32` is trusted, but `allow_from` keeps it out; add `192.168.8.21/32` to \
             `allow_from`"
                .into(),
        ),
        (
            trusted(
                "192.168.7.0/24",
                "{from: 192.168.7.21, login: scanner@contoso.com}, {from: 192.168.7.21, login: scan7}",
            ),
            "listeners.smtp.trusted_senders[1]: `192.168.7.21/32` has a rule already; keep one rule for each network".into(),
        ),
        (
            rule("sender: free"),
            format!("{at}.sender: `free` is not one of `forced`, `checked`; write `forced` or `checked`"),
        ),
        (
            rule("recipient_domains: []"),
            format!(
                "{at}.recipient_domains: the list is empty, so nobody could be written to; name a domain, or remove the key"
            ),
        ),
        (
            rule("recipient_domains: ['bob@contoso.com']"),
            format!(
                "{at}.recipient_domains[0]: `bob@contoso.com` is not a host name; write the name in ASCII letters, digits, \
                 `-` and `.`"
            ),
        ),
        (
            rule("rate: 5"),
            format!("{at}.rate: `rate` is not a known key; the keys here are from, login, messages_per_minute, recipient_domains, sender"),
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn the_limits_of_messages_have_defaults() {
    let limits =
        load(&listener("allow_from: 192.168.7.0/24, deliver: graph, allow_plaintext_from: 192.168.7.0/24")).limits;
    assert_eq!((limits.recipients, limits.message_bytes, limits.graph_messages), (1_000, 157_286_400, 100));
    assert_eq!((limits.smtp_command, limits.smtp_verdict), (Duration::from_secs(300), Duration::from_secs(600)));
}
