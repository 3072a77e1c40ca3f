//! Turns errors of upstreams into one [`Failure`] each: the cause, who has to act, and what to do.
//! A mailbox without a free session permit is one of them.

use super::http::OriginError;
use super::upstream::OpenError;
use crate::graph::GraphError;
use crate::session::mailbox_slots::{Bound, MailboxFull};
use crate::session::refused_login;
use gatepost_config::{Origin, Upstream};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_core::system_error::Plain;
use gatepost_net::explain::{Role, Server, exchange};

impl OpenError {
    /// Returns the failure for this upstream.
    pub fn failure(&self, upstream: &Upstream) -> Failure {
        let server = Server { host: &upstream.host, port: upstream.port, name: &upstream.name, role: Role::Mail };
        match self {
            Self::Trust(error) => Server::trust(error),
            Self::QueueFull(_) => Failure::new(
                Cause::ConnectQueueFull,
                format!(
                    "so many logins want a connection to {server} that this one would wait over 10 seconds for its turn"
                ),
            ),
            Self::Dial(error) => server.dial(error),
            Self::EarlyBytes => server.early_bytes(),
            Self::Tls(error) => server.tls(error),
            Self::Lost(error) => Failure::new(
                Cause::UpstreamBroke,
                format!("the connection to {server} broke during the login: {}", Plain(error)),
            ),
            Self::Timeout(what) => {
                Failure::new(Cause::UpstreamTimeout, format!("{server} did not answer in time during {what}"))
            }
            Self::Upstream(reply) => refused_login::of_reply(reply, upstream),
            Self::NoServer(_) => Failure::new(Cause::ProviderLacksService, self.to_string()),
            Self::Outage(reply) => Failure::new(
                Cause::MailboxNotConnected,
                format!(
                    "{server} accepted the token, but did not open the mailbox, as it did within the last day (`{}`)",
                    reply.detail
                ),
            )
            .answered(Refusal::Unavailable)
            .by(Actor::Nobody)
            .to_do(
                "clients retry. If this lasts an hour, check Microsoft 365 service health, and that the account may \
                 still open the mailbox",
            ),
            Self::Paused(left) => Failure::new(
                Cause::UpstreamThrottles,
                format!("{server} wants no login of this mailbox for another {} s", left.as_secs().max(1)),
            ),
        }
    }
}

impl GraphError {
    /// Returns the failure for this Graph endpoint. If it says that a connection was lost, the
    /// request may have been received.
    pub(crate) fn failure(&self, graph: &Origin) -> Failure {
        let at = graph.to_string();
        match (self, self.connector()) {
            (Self::Trust(error), _) => Server::trust(error),
            (_, Some(error)) => server(graph).connector(error),
            (Self::Exchange(error), None) => {
                Failure::new(Cause::UpstreamBroke, format!("the connection to {at} broke: {}", exchange(error)))
            }
        }
    }
}

impl MailboxFull {
    /// Returns the failure for this protocol.
    pub(super) fn failure(&self, protocol: Protocol) -> Failure {
        let Self { places, bound, waited } = self;
        let remedy = match protocol {
            _ if *bound == Bound::Server => "let fewer programs use this mailbox at once",
            Protocol::Smtp => {
                "let fewer programs send from this mailbox at once, and let them close their connections after sending. \
                 Microsoft takes three at most"
            }
            Protocol::Imap => {
                "let fewer programs read this mailbox at once, or raise `limits.imap_sessions_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Pop3 => {
                "let fewer programs read this mailbox at once, or raise `limits.pop3_sessions_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Ews => {
                "let fewer programs use this mailbox at once, or raise `limits.ews_requests_per_mailbox` if Microsoft \
                 takes more"
            }
            Protocol::Graph => "let fewer programs use this mailbox at once. Microsoft takes four requests at a time",
        };
        let what = match (protocol, *places) {
            (Protocol::Ews | Protocol::Graph, 1) => "request",
            (Protocol::Ews | Protocol::Graph, _) => "requests",
            (_, 1) => "session",
            _ => "sessions",
        };
        let why = match bound {
            Bound::Configuration => "as many as Gatepost lets it have",
            Bound::Server => "Microsoft refused one more a moment ago",
        };
        Failure::new(
            Cause::MailboxOccupied,
            format!(
                "the mailbox has {places} {} {what} already, {why}, and no place came free within {waited:?}",
                protocol.title()
            ),
        )
        .to_do(remedy)
    }
}

/// A server that is asked over HTTPS.
fn server(origin: &Origin) -> Server<'_> {
    Server { host: &origin.host, port: origin.port, name: &origin.name, role: Role::Https }
}

impl OriginError {
    /// Returns the failure for this origin.
    pub(super) fn failure(&self, origin: &Origin) -> Failure {
        let at = origin.to_string();
        match (self, self.connector()) {
            (Self::Trust(error), _) => Server::trust(error),
            (_, Some(error)) => server(origin).connector(error),
            (Self::Timeout(limit), None) => {
                Failure::new(Cause::UpstreamTimeout, format!("{at} did not begin to answer within {limit:?}"))
            }
            (Self::Exchange(_) | Self::Stalled, None) => {
                Failure::new(Cause::UpstreamBroke, format!("the connection to {at} broke: {}", exchange(self)))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gatepost_config::UpstreamTls;
    use gatepost_core::protocol::MailProtocol;
    use gatepost_proto::mail::{UpstreamFailure, UpstreamFailureKind};

    pub(crate) fn upstream(protocol: MailProtocol) -> Upstream {
        Upstream {
            exchange: gatepost_proto::mail::TokenExchange::EXCHANGE_ONLINE,
            protocol,
            host: "outlook.office365.com".into(),
            port: 993,
            tls: UpstreamTls::Implicit,
            name: "outlook.office365.com".into(),
        }
    }

    #[test]
    fn no_reply_to_a_token_of_ours_is_the_clients_fault() {
        use UpstreamFailureKind as Kind;
        for (kind, refusal) in [
            (Kind::TokenRefused, Refusal::ContactAdmin),
            (Kind::TokenNotUnderstood { characters: 5_000 }, Refusal::ContactAdmin),
            (Kind::MailboxNotConnected, Refusal::ContactAdmin),
            (Kind::Disabled, Refusal::ContactAdmin),
            (Kind::Unavailable, Refusal::Unavailable),
            (Kind::Limit, Refusal::Limit),
            (Kind::NoStartTls, Refusal::Unavailable),
            (Kind::SpokeBeforeTls, Refusal::Unavailable),
            (Kind::Preauth, Refusal::Unavailable),
            (Kind::NameRefused, Refusal::ContactAdmin),
            (Kind::NoXoauth2, Refusal::ContactAdmin),
            (Kind::Protocol, Refusal::Unavailable),
            (Kind::Closed, Refusal::Unavailable),
        ] {
            for protocol in [MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp] {
                let error =
                    OpenError::Upstream(UpstreamFailure { kind, detail: "535 5.7.3 no".into(), retry_after: None });
                let failure = error.failure(&upstream(protocol));
                assert_eq!(failure.refusal, refusal, "{kind:?}");
                assert!(failure.message.contains("535 5.7.3 no"));
                assert!(!failure.remedy.is_empty());
            }
        }
    }

    #[test]
    fn a_full_mailbox_is_told_with_its_number_its_reason_and_the_key_that_may_help() {
        for (protocol, places, bound, what, key) in [
            (Protocol::Imap, 1, Bound::Configuration, "1 IMAP session already, as many", Some("imap_sessions")),
            (Protocol::Pop3, 2, Bound::Configuration, "2 POP3 sessions already, as many", Some("pop3_sessions")),
            (Protocol::Imap, 20, Bound::Server, "sessions already, Microsoft refused one more", None),
            (Protocol::Smtp, 3, Bound::Configuration, "sessions already, as many", None),
            (Protocol::Ews, 1, Bound::Configuration, "request already, as many", Some("ews_requests")),
            (Protocol::Ews, 27, Bound::Configuration, "requests already, as many", Some("ews_requests")),
            (Protocol::Graph, 1, Bound::Server, "request already, Microsoft refused one more", None),
            (Protocol::Graph, 4, Bound::Configuration, "requests already, as many", None),
        ] {
            let failure = MailboxFull { places, bound, waited: std::time::Duration::from_secs(9) }.failure(protocol);
            assert!(failure.message.contains(what) && failure.message.ends_with("within 9s"), "{failure}");
            match key {
                Some(key) => {
                    assert!(failure.remedy.contains(&format!("raise `limits.{key}_per_mailbox`")), "{failure}")
                }
                None => assert!(!failure.remedy.contains("limits."), "{failure}"),
            }
        }
    }
}
