//! Reads how messages leave an SMTP listener, and which devices send without a login: the keys
//! `deliver` and `trusted_senders`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::account::{Accounts, Grant, LoginPattern};
use super::model::issuer::Cloud;
use super::model::listener::{Listener, ListenerBackend};
use super::model::sending::SenderRule;
use super::model::state::State;
use super::model::submission::{Deliver, GraphLarge, Sendmail, TrustedSender, TrustedSource};
use super::reader::{Node, Section};
use super::state;
use super::value::{self, wrong};
use gatepost_core::account::LoginName;

/// Default limit of messages of a trusted device in a minute: the limit of Exchange Online for a
/// mailbox.
const MESSAGES_PER_MINUTE: u32 = 30;

/// Whether trusted devices or local programs send as this account.
pub(super) fn sends_only(
    pattern: &LoginPattern,
    listeners: &[Listener],
    sendmail: Option<&Sendmail>,
    accounts: &Accounts,
) -> bool {
    let submissions = listeners.iter().filter_map(|listener| match &listener.serves {
        ListenerBackend::Submission(submission) => Some(submission),
        _ => None,
    });
    let local = sendmail.map(|sendmail| &sendmail.rule);
    let mut rules = submissions.flat_map(|submission| &submission.trusted_senders).chain(local);
    matches!(pattern, LoginPattern::Address(_))
        && rules.any(|rule| accounts.find(&rule.login).is_some_and(|(account, _)| account.pattern == *pattern))
}

/// Reads `deliver`.
pub(super) fn read_deliver(section: &Section<'_>) -> Option<Deliver> {
    let words = [("smtp", Deliver::Smtp), ("graph", Deliver::Graph), ("auto", Deliver::Auto)];
    section.get("deliver").map_or(Some(Deliver::Smtp), |node| node.read(|text| value::choice(text, &words)))
}

/// Reads `graph_large`.
pub(super) fn read_graph_large(section: &Section<'_>, deliver: Deliver, cloud: Cloud) -> Option<GraphLarge> {
    let Some(node) = section.get("graph_large") else { return Some(GraphLarge::Refuse) };
    let words = [("draft", GraphLarge::Draft), ("refuse", GraphLarge::Refuse)];
    let large = node.read(|text| value::choice(text, &words))?;
    let name = section.path().trim_start_matches("listeners.");
    match (large, deliver, cloud) {
        (GraphLarge::Refuse, ..) => {}
        (_, Deliver::Smtp, _) => section.context().note(format!(
            "`graph_large` has no effect on the listener `{name}`, whose messages do not go through Microsoft Graph"
        )),
        (_, _, Cloud::UsGovGccHigh | Cloud::UsGovDod) => section.context().note(format!(
            "Microsoft offers no upload of files of more than 3 MB to messages in this cloud. The listener `{name}` can              send only messages with smaller ones (`graph_large: draft`)"
        )),
        _ => {}
    }
    Some(large)
}

/// Returns the directory for large messages, which listeners with `graph_large: draft` need.
pub(super) fn read_spool(root: &Section<'_>, state: Option<&State>, listeners: &[Listener]) -> Option<PathBuf> {
    let is_needed = |listener: &Listener| {
        matches!(&listener.serves, ListenerBackend::Submission(submission)
            if submission.graph_large == GraphLarge::Draft && submission.deliver != Deliver::Smtp)
    };
    if !listeners.iter().any(is_needed) {
        return None;
    }
    let directory = match state? {
        State::Memory => None,
        _ => state::read_directory(&root.section("state"))?,
    };
    if directory.is_none() {
        root.section("state").missing(
            "directory",
            ", which `graph_large: draft` needs for large messages on their way",
            "write `state: {directory: /var/lib/gatepost}`, or remove `graph_large` from the listeners",
        );
    }
    directory
}

/// Notes what a message loses on its way through Graph.
pub(super) fn note_lost_fields(section: &Section<'_>) {
    section.context().note(format!(
        "messages that the listener `{}` sends through Microsoft Graph lose Auto-Submitted, Precedence, List-* and X-* \
         fields. Guards against loops of automatic answers do not see them (docs/messages.md)",
        section.path().trim_start_matches("listeners."),
    ));
}

/// Reads `trusted_senders`.
pub(super) fn read_trusted_senders(section: &Section<'_>, accounts: &Accounts) -> Option<Vec<TrustedSender>> {
    let Some(node) = section.get("trusted_senders") else { return Some(Vec::new()) };
    let mut read: Vec<Option<TrustedSender>> = Vec::new();
    for item in node.list()? {
        let rule = read_one(&item, accounts);
        if let Some(rule) = &rule
            && read.iter().flatten().any(|other| other.from == rule.from)
        {
            item.problem(format!("`{}` has a rule already", rule.from), "keep one rule for each network");
        }
        read.push(rule);
    }
    read.into_iter().collect()
}

fn read_one(item: &Node<'_>, accounts: &Accounts) -> Option<TrustedSender> {
    let section = item.section();
    let from = match section.get("from") {
        Some(node) => node.read(trustworthy),
        None => {
            section.missing("from", "", "name the device's address or network, such as `from: 192.168.7.21`");
            None
        }
    };
    let rule = read_rule(&section, from.map(TrustedSource::Network), "the device sends as", accounts);
    section.finish();
    rule
}

/// Reads what somebody may send without a login.
pub(super) fn read_rule(
    section: &Section<'_>,
    from: Option<TrustedSource>,
    what: &str,
    accounts: &Accounts,
) -> Option<TrustedSender> {
    let login = match section.get("login") {
        Some(node) => node.read(|text| sending_account(text, accounts)),
        None => {
            section.missing("login", "", format!("name the account that {what}"));
            None
        }
    };
    let words = [("forced", SenderRule::Forced), ("checked", SenderRule::Checked)];
    let sender =
        section.get("sender").map_or(Some(SenderRule::Forced), |node| node.read(|text| value::choice(text, &words)));
    let recipient_domains = section.get("recipient_domains").map_or(Some(Vec::new()), |node| {
        if node.list_is_empty() {
            node.problem("the list is empty, so nobody could be written to", "name a domain, or remove the key");
        }
        node.read_each(domain)
    });
    let messages_per_minute = section
        .get("messages_per_minute")
        .map_or(Some(MESSAGES_PER_MINUTE), |node| node.count().and_then(|count| u32::try_from(count).ok()));
    Some(TrustedSender {
        from: from?,
        login: login?,
        sender: sender?,
        recipient_domains: recipient_domains?,
        messages_per_minute: messages_per_minute?,
    })
}

fn domain(text: &str) -> Result<String, value::ValueError> {
    value::host_name(text.strip_prefix('@').unwrap_or(text))
}

/// The account of a device must get its token without a password, because nobody would enter one.
fn sending_account(text: &str, accounts: &Accounts) -> Result<LoginName, value::ValueError> {
    let login = match LoginName::parse(text) {
        Ok(login) => login,
        Err(error) => return wrong(error.to_string(), "name the account that the device sends as"),
    };
    match accounts.find(&login) {
        None => wrong(
            format!("there is no account for {}", value::quoted(text)),
            "add it to `accounts`, with a grant that needs no password",
        ),
        Some((account, _)) if account.grant == Grant::Password => wrong(
            format!("{} gets its token with its user's password, which no device gives here", value::quoted(text)),
            "give the account `grant: client_credentials` or `grant: authorization_code`, or let the device log in",
        ),
        // The address is used, even if a short name was written.
        Some((_, address)) => Ok(address.as_login().clone()),
    }
}

/// Checks that a network may be trusted: it must be local, or small.
fn trustworthy(text: &str) -> Result<IpNet, value::ValueError> {
    let network = value::network(text)?;
    if is_narrow(&network) {
        Ok(network)
    } else {
        wrong(
            format!("{} is far more than a few devices: anybody in it could send as this account", value::quoted(text)),
            "name the addresses of the devices, or a private network. Of public ones at most a /24 (IPv6: /48)",
        )
    }
}

/// Whether a network is private, link-local or loopback, or as small as an office's.
fn is_narrow(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() >= 24 || LOCAL_V4.iter().any(|local| local.contains(network)),
        IpNet::V6(network) => network.prefix_len() >= 48 || LOCAL_V6.iter().any(|local| local.contains(network)),
    }
}

/// RFC 1918, RFC 6598, RFC 3927, loopback.
const LOCAL_V4: [Ipv4Net; 6] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
];

/// RFC 4193, link-local.
const LOCAL_V6: [Ipv6Net; 2] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

/// Checks that `trusted_senders` and `allow_from` have addresses in common. A listener that is open
/// to the world may have no trusted senders. Behind an address translator or a load balancer every
/// client would look like a neighbor.
pub(super) fn check_reach(section: &Section<'_>, rules: &[TrustedSender], allow_from: &[IpNet]) {
    if rules.is_empty() {
        return;
    }
    for rule in rules {
        section.context().note(format!(
            "everybody who connects from `{}` to the listener `{}` sends mail as `{}` without a login",
            rule.from,
            section.path().trim_start_matches("listeners."),
            rule.login
        ));
    }
    if let Some(wide) = allow_from.iter().find(|network| !is_narrow(network)) {
        section.problem(
            format!("`allow_from` lets `{wide}` in, and some of it may send without a login"),
            "give the devices of `trusted_senders` a listener of their own, with a narrow `allow_from`",
        );
    }
    let reached = |rule: &&TrustedSender| match rule.from {
        TrustedSource::Network(from) => {
            allow_from.iter().any(|allowed| allowed.contains(&from) || from.contains(allowed))
        }
        TrustedSource::User(_) => true,
    };
    for rule in rules.iter().filter(|rule| !reached(rule)) {
        section.problem(
            format!("`{}` is trusted, but `allow_from` keeps it out", rule.from),
            format!("add `{}` to `allow_from`", rule.from),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_few_may_be_trusted() {
        for narrow in
            ["192.168.0.0/16", "10.0.0.0/8", "203.0.113.0/24", "203.0.113.7", "fd00::/8", "2001:db8::/48", "::1"]
        {
            assert!(trustworthy(narrow).is_ok(), "{narrow}");
        }
        for wide in ["0.0.0.0/0", "::/0", "203.0.112.0/23", "8.0.0.0/7", "2001:db8::/47", "172.0.0.0/8", "::/1"] {
            assert!(trustworthy(wide).is_err(), "{wide}");
        }
    }
}
