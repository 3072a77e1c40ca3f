//! How messages leave an SMTP listener, and who may send them without a login.

use std::net::IpAddr;

use ipnet::IpNet;

use super::sending::SenderRule;
use super::server::{Origin, Upstream};
use gatepost_core::account::LoginName;

/// How messages leave, and who may send them without a login.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// How a message is delivered.
    pub deliver: Deliver,
    /// The mail server; `None` with [`Deliver::Graph`].
    pub smtp: Option<Upstream>,
    /// Microsoft Graph; unused with [`Deliver::Smtp`].
    pub graph: Origin,
    /// The sender of those who log in, unless their account says otherwise.
    pub sender: SenderRule,
    /// Devices that cannot log in.
    pub trusted_senders: Vec<TrustedSender>,
    /// What becomes of messages that are too large for Graph's `sendMail`.
    pub graph_large: GraphLarge,
    /// Whether messages are accepted into the queue, and delivered at Microsoft's pace.
    pub queue: bool,
}

/// How a submitted message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// SMTP AUTH with XOAUTH2.
    Smtp,
    /// Microsoft Graph's `sendMail`.
    Graph,
    /// SMTP; Graph where SMTP AUTH is switched off or cannot be reached.
    Auto,
}

/// What becomes of messages that are too large for Graph's `sendMail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphLarge {
    /// They become drafts with files, which are sent.
    Draft,
    /// They are refused.
    Refuse,
}

/// Addresses that may send as an account without a login.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedSender {
    /// Their network.
    pub from: IpNet,
    /// The account; its grant needs no password of a user.
    pub login: LoginName,
    /// The sender that they may use; never [`SenderRule::Free`].
    pub sender: SenderRule,
    /// The only allowed domains of recipients, folded; empty: any.
    pub recipient_domains: Vec<String>,
    /// Most messages in a minute, both for one address and for the mailbox.
    pub messages_per_minute: u32,
}

impl Submission {
    /// The rule for an address: that of the smallest network that contains it.
    pub fn trusted(&self, peer: IpAddr) -> Option<&TrustedSender> {
        let peer = peer.to_canonical();
        let around = self.trusted_senders.iter().filter(|rule| rule.from.contains(&peer));
        around.max_by_key(|rule| rule.from.prefix_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_network_has_the_word() {
        let rule = |from: &str, login: &str| TrustedSender {
            from: from.parse().unwrap(),
            login: LoginName::parse(login).unwrap(),
            sender: SenderRule::Forced,
            recipient_domains: Vec::new(),
            messages_per_minute: 30,
        };
        let submission = Submission {
            deliver: Deliver::Graph,
            smtp: None,
            graph: Origin { host: "graph.example".into(), port: 443, name: "graph.example".into() },
            sender: SenderRule::default(),
            trusted_senders: vec![
                rule("192.168.7.0/24", "all@contoso.com"),
                rule("192.168.7.21/32", "one@contoso.com"),
                rule("192.168.0.0/16", "wide@contoso.com"),
            ],
            graph_large: GraphLarge::Refuse,
            queue: false,
        };
        let login = |peer: &str| submission.trusted(peer.parse().unwrap()).map(|rule| rule.login.as_str());
        assert_eq!(login("192.168.7.21"), Some("one@contoso.com"));
        assert_eq!(login("::ffff:192.168.7.22"), Some("all@contoso.com"));
        assert_eq!(login("192.168.8.1"), Some("wide@contoso.com"));
        assert_eq!(login("192.169.7.21"), None);
    }
}
