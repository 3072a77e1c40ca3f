//! Reads the keys of listeners for EWS and Microsoft Graph.

use std::time::UNIX_EPOCH;

use hyper::Method;
use time::{Date, Month, OffsetDateTime};

use super::model::account::{Accounts, LoginPattern};
use super::model::listener::{Http, ListenerTls};
use super::model::server::Origin;
use super::reader::{Node, Section};
use super::value::{self, wrong};
use gatepost_core::clock::system_time;
use gatepost_proto::http::rules::{GraphRules, HttpService};

/// The day on which Microsoft ends EWS in Exchange Online.
const END_OF_EWS: (i32, Month, u8) = (2027, Month::April, 1);

/// Reads the remaining keys of a listener with the destination `origin`.
pub(super) fn read(section: &Section<'_>, service: HttpService, origin: Origin, accounts: &Accounts) -> Option<Http> {
    let hosts = section.get("hosts").map_or(Some(Vec::new()), |node| node.read_each(value::host_name));
    let graph = match service {
        HttpService::Graph => read_rules(section),
        HttpService::Ews => {
            section.context().note(end_of_ews(section, today()));
            check_mailboxes(section, accounts);
            Some(GraphRules::default())
        }
    };
    Some(Http { service, origin, hosts: hosts?, graph: graph? })
}

/// Reports accounts for another mailbox. A user's token opens the mailbox of that user in EWS,
/// whatever the request says, so it would open the wrong one. For a pattern this is known only at
/// the login, which is refused then.
fn check_mailboxes(section: &Section<'_>, accounts: &Accounts) {
    for account in accounts.entries().iter().filter(|account| account.grant.is_of_user()) {
        let LoginPattern::Address(login) = &account.pattern else { continue };
        let person = account.person(login);
        let mailbox = account.own_mailbox(login);
        if person != mailbox {
            section.problem(
                format!(
                    "the account `{login}` is for the mailbox `{mailbox}`, but EWS would open that of `{person}`, \
                     whose token it is"
                ),
                "write `protocol: graph` here, `grant: client_credentials` there, or remove one of the two",
            );
        }
    }
}

/// Reports STARTTLS, which only mail protocols have.
pub(super) fn check_tls(section: &Section<'_>, tls: &ListenerTls) {
    if let ListenerTls::StartTls(_) = tls {
        let (reason, hint) = ("HTTP has no STARTTLS", "write `tls: implicit`");
        match section.get("tls") {
            Some(node) => node.problem(reason, hint),
            None => section.problem(reason, hint),
        }
    }
}

fn read_rules(section: &Section<'_>) -> Option<GraphRules> {
    let defaults = GraphRules::default();
    let paths = match section.get("paths") {
        Some(node) => not_empty(&node, node.read_each(path)),
        None => Some(defaults.paths),
    };
    let words = [
        ("GET", Method::GET),
        ("POST", Method::POST),
        ("PATCH", Method::PATCH),
        ("PUT", Method::PUT),
        ("DELETE", Method::DELETE),
        ("HEAD", Method::HEAD),
    ];
    let method = |text: &str| {
        let words: Vec<_> = words.iter().map(|(word, method)| (*word, method)).collect();
        value::choice(text, &words).cloned()
    };
    let methods = match section.get("methods") {
        Some(node) => not_empty(&node, node.read_each(method)),
        None => Some(defaults.methods),
    };
    let other_mailboxes = section.get("other_mailboxes").map_or(Some(false), |node| node.read(value::truth))?;
    if other_mailboxes {
        section.context().note(format!(
            "{} lets each login reach every mailbox that its token opens. With `grant: client_credentials` that may \
             be all of \
             the tenant",
            section.path()
        ));
    }
    Some(GraphRules { paths: paths?, methods: methods?, other_mailboxes })
}

fn not_empty<T>(node: &Node<'_>, items: Option<Vec<T>>) -> Option<Vec<T>> {
    if items.as_ref().is_some_and(Vec::is_empty) {
        node.problem("the list is empty, so nothing could be asked for", "name something, or remove the key");
        return None;
    }
    items
}

/// A path below the mailbox, such as `messages`; `/` is the mailbox's user.
fn path(text: &str) -> Result<Vec<String>, value::ValueError> {
    if text == "/" {
        return Ok(Vec::new());
    }
    let plain = |segment: &str| !segment.is_empty() && segment.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if !text.split('/').all(plain) {
        return wrong(
            format!("{} is not a path below a mailbox", value::quoted(text)),
            "write it without a slash in front, such as `messages` or `outlook/masterCategories`. `/` is the user \
             itself",
        );
    }
    Ok(text.to_ascii_lowercase().split('/').map(str::to_owned).collect())
}

fn today() -> Option<Date> {
    let seconds = system_time().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?.date())
}

fn end_of_ews(section: &Section<'_>, today: Option<Date>) -> String {
    let (year, month, day) = END_OF_EWS;
    let end = Date::from_calendar_date(year, month, day).ok();
    let left = today.zip(end).map(|(today, end)| (end - today).whole_days());
    let left = match left {
        Some(days @ 2..) => format!("in {days} days"),
        Some(1) => "tomorrow".to_owned(),
        Some(0) => "today".to_owned(),
        Some(_) => "which has passed: it may work no more".to_owned(),
        None => "by then it works no more".to_owned(),
    };
    format!(
        "{} serves EWS, which Microsoft ends in Exchange Online on 1 April 2027 ({left}), and until then answers only \
         where `EwsEnabled` is true and the application's id is in `EwsAllowedAppIDs`. Plan the \
         move to `protocol: graph`, IMAP or POP3",
        section.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_names() {
        assert_eq!(path("mailFolders").unwrap(), ["mailfolders"]);
        assert_eq!(path("outlook/masterCategories").unwrap(), ["outlook", "mastercategories"]);
        assert_eq!(path("/").unwrap(), Vec::<String>::new());
        for bad in ["/messages", "messages/", "a//b", "..", "$batch", "messages?x", "a b", "users/x@y"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
