//! How messages leave an SMTP listener, and who may send them without a login.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::sending::SenderRule;
use super::server::{Origin, Upstream};
use crate::user;
use gatepost_core::account::{LoginName, MailAddress};

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

/// Who may send as an account without a login.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedSender {
    /// Where they are.
    pub from: TrustedSource,
    /// The account; its grant needs no password of a user.
    pub login: LoginName,
    /// The sender that they may use; never [`SenderRule::Free`].
    pub sender: SenderRule,
    /// The only allowed domains of recipients, folded; empty: any.
    pub recipient_domains: Vec<String>,
    /// Most messages in a minute, both for one address and for the mailbox.
    pub messages_per_minute: u32,
}

/// What is known about somebody who sends without a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedSource {
    /// The address is in this network.
    Network(IpNet),
    /// A program of the user with this id, over the socket of `gatepost sendmail`.
    User(u32),
}

impl TrustedSource {
    /// The key of the configuration with the rule.
    pub fn key(self) -> &'static str {
        match self {
            Self::Network(_) => "trusted_senders",
            Self::User(_) => "sendmail",
        }
    }
}

impl fmt::Display for TrustedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::User(id) => write!(f, "user {}", user::name(*id)),
        }
    }
}

/// The socket of `gatepost sendmail`, and whose programs may use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sendmail {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The SMTP listener whose messages these are.
    pub listener: Arc<str>,
    /// Users besides root and the service's own; `None`: every user.
    pub users: Option<Vec<u32>>,
    /// Who gets mail for names without a domain, such as `root`.
    pub local_mail_to: Option<MailAddress>,
    /// The rule for all of them, whatever its `from`.
    pub(crate) rule: TrustedSender,
}

impl Sendmail {
    /// The rule for the programs of a user; `None` if they may not send.
    pub fn rule_for(&self, id: u32) -> Option<TrustedSender> {
        let is_listed = self.users.as_ref().is_none_or(|users| users.contains(&id));
        let may_send = is_listed || id == 0 || id == user::own();
        may_send.then(|| TrustedSender { from: TrustedSource::User(id), ..self.rule.clone() })
    }
}

impl Submission {
    /// The rule for an address: that of the smallest network that contains it.
    pub fn trusted(&self, peer: IpAddr) -> Option<&TrustedSender> {
        let peer = peer.to_canonical();
        let around = self.trusted_senders.iter().filter_map(|rule| match rule.from {
            TrustedSource::Network(network) if network.contains(&peer) => Some((network.prefix_len(), rule)),
            _ => None,
        });
        around.max_by_key(|(prefix, _)| *prefix).map(|(_, rule)| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_network_has_the_word() {
        let rule = |from: &str, login: &str| TrustedSender {
            from: TrustedSource::Network(from.parse().unwrap()),
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
