//! The section `sendmail`.

use std::path::Path;

use gatepost_config::{Config, ListenerBackend, SenderRule, Sendmail, TrustedSource};

use crate::support::{Outside, complete, config, mistakes, told};

const ACCOUNTS: &str =
    "accounts: [{login: scanner@contoso.com, aliases: [scan7], grant: client_credentials, client_secret: s}]\n";

fn with(section: &str) -> Config {
    config(&format!("{ACCOUNTS}{section}"))
}

fn sendmail(keys: &str) -> Sendmail {
    with(&format!("sendmail: {{login: scan7{keys}}}")).sendmail.unwrap()
}

#[test]
fn the_least_and_every_key() {
    assert!(with("").sendmail.is_none());
    let least = sendmail("");
    assert_eq!((&*least.listener, least.socket.as_path()), ("smtp", Path::new(Sendmail::DEFAULT_SOCKET)));
    assert_eq!((&least.users, &least.local_mail_to), (&Some(Vec::new()), &None));
    let rule = least.rule_for(0).unwrap();
    assert_eq!((rule.from, rule.login.as_str()), (TrustedSource::User(0), "scanner@contoso.com"));
    assert_eq!((rule.sender, rule.messages_per_minute), (SenderRule::Forced, 30));
    assert!(rule.recipient_domains.is_empty());
    let most = sendmail(
        ", listener: smtp, socket: run/mail.sock, users: [7, '8'], local_mail_to: admin@contoso.com, sender: checked, \
         recipient_domains: [contoso.com], messages_per_minute: 3",
    );
    assert!(most.socket.ends_with("run/mail.sock"));
    assert_eq!(
        (most.users.as_deref(), most.local_mail_to.as_ref().unwrap().as_str()),
        (Some(&[7, 8][..]), "admin@contoso.com")
    );
    let rule = most.rule_for(8).unwrap();
    assert_eq!((rule.from, rule.sender, rule.messages_per_minute), (TrustedSource::User(8), SenderRule::Checked, 3));
}

#[test]
fn root_and_the_listed_users_send_and_nobody_else() {
    let own = gatepost_config::user::own();
    let other = own + 12_345;
    let some = sendmail(", users: 4711");
    assert!([0, own, 4711].iter().all(|user| some.rule_for(*user).is_some()));
    assert!(some.rule_for(other).is_none() && sendmail("").rule_for(4711).is_none());
    assert!(sendmail(", users: '*'").rule_for(other).is_some());
    // What a user namespace shows in place of the others.
    let said = mistakes(&format!("{ACCOUNTS}sendmail: {{login: scan7, users: [65534]}}"));
    assert!(
        said[0].starts_with("sendmail.users[0]: `65534` stands for every user whom the service cannot see; "),
        "{said:?}"
    );
}

#[test]
fn the_listener_takes_the_messages_itself() {
    let takes = |config: &Config, name: &str| {
        let listener = config.listeners.iter().find(|listener| &*listener.name == name).unwrap();
        matches!(listener.serves, ListenerBackend::Submission(_))
    };
    assert!(!takes(&with(""), "smtp"));
    assert!(takes(&with("sendmail: {login: scan7}"), "smtp"));
    let two = "listeners: {one: {protocol: smtp, bind: '127.0.0.1:1'}, two: {protocol: smtp, bind: '127.0.0.1:2'}}\n";
    let named = with(&format!("{two}sendmail: {{login: scan7, listener: two}}"));
    assert!(takes(&named, "two") && !takes(&named, "one"));
    for (section, said) in [
        (
            format!("{two}sendmail: {{login: scan7}}"),
            "sendmail.listener: `listener` is missing; name the SMTP listener",
        ),
        ("sendmail: {login: scan7, listener: x}".to_owned(), "sendmail.listener: there is no listener `x`; name the"),
        (
            "listeners: {imap: {bind: '127.0.0.1:1'}}\nsendmail: {login: scan7, listener: imap}".to_owned(),
            "sendmail.listener: the listener `imap` is not for SMTP; name an SMTP listener",
        ),
        (
            "sendmail: {users: '*'}".to_owned(),
            "sendmail.login: `login` is missing; name the account that local programs",
        ),
        ("sendmail: {login: scan7, local_mail_to: root}".to_owned(), "sendmail.local_mail_to: "),
    ] {
        let all = mistakes(&format!("{ACCOUNTS}{section}"));
        assert!(all.iter().any(|one| one.starts_with(said)), "{all:?}");
    }
}

#[test]
fn who_sends_without_a_login_is_noted_and_an_unknown_user_too() {
    let notes = with("sendmail: {login: scan7, users: [no-such-user]}").notes;
    for note in [
        "programs of root and the service's own user on this machine send mail as `scanner@contoso.com` without a login",
        "`sendmail.users`: this machine has no user `no-such-user`, so nobody can send under this name. A user of a \
         directory service is written as its number (`id -u`)",
    ] {
        assert!(notes.iter().any(|found| found == note), "{notes:?}");
    }
}

#[test]
fn the_account_of_programs_needs_no_password_and_the_socket_follows_the_runtime_directory() {
    let unproved = "accounts: [{login: scanner@contoso.com, grant: client_credentials, client_secret: s}]";
    assert!(config(&format!("{unproved}\nsendmail: {{login: scanner@contoso.com}}")).unproved.is_empty());
    let by_password = mistakes("accounts: [{login: scanner@contoso.com}]\nsendmail: {login: scanner@contoso.com}");
    assert!(by_password[0].starts_with("sendmail.login: `scanner@contoso.com` gets its token with"), "{by_password:?}");
    let mut outside = Outside::default();
    outside.variables.insert("RUNTIME_DIRECTORY".to_owned(), "/run/a:/run/b".to_owned());
    let read = outside.load(&complete(&format!("{ACCOUNTS}sendmail: {{login: scan7}}")));
    let read = read.unwrap_or_else(|problems| panic!("{:?}", told(&problems)));
    assert_eq!(read.sendmail.unwrap().socket, Path::new("/run/a/sendmail.sock"));
}
