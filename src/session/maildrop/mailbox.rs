//! Requests to Graph on behalf of one session: with its token, renewed when Graph no longer takes it, and within the
//! places of the mailbox.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::super::login::min_token_lifetime;
use super::inbox::Inbox;
use crate::graph::GraphClient;
use crate::graph::messages::{MessageContent, Page, Unserved};
use crate::session::context::SessionContext;
use crate::session::mailbox_slots::MailboxPermit;
use gatepost_config::{Account, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_proto::sasl::Bearer;

/// Messages that are deleted at once; Graph takes no more requests of one mailbox.
const DELETIONS: usize = 4;
/// After so many failures in a row the rest is not tried.
const FAILURES: usize = 5;

/// How a session gets another token.
pub(super) enum Renewal {
    /// Without anybody's help, while the account is what it was at the login.
    Of(MailAddress, Arc<Account>),
    /// Only a login brings one, because the password is needed.
    ByLogin,
    /// The client brought its own.
    ByClient,
}

/// A mailbox at Graph, opened by one session.
pub(super) struct Mailbox {
    shared: Arc<SessionContext>,
    graph: Arc<GraphClient>,
    user: MailAddress,
    bearer: Mutex<Bearer>,
    renewal: Renewal,
}

/// What became of the messages that a session deletes.
pub(super) struct Deleted {
    /// How many could not be deleted.
    pub(super) left: usize,
    /// The last failure, if there was any.
    pub(super) failure: Option<Failure>,
}

/// A message under way; the place of its request is given back with it.
pub(super) struct Download<'a> {
    pub(super) content: MessageContent<'a>,
    _place: MailboxPermit,
}

impl Mailbox {
    pub(super) fn new(shared: Arc<SessionContext>, graph: Arc<GraphClient>, bearer: Bearer, renewal: Renewal) -> Self {
        Self { shared, graph, user: bearer.user.clone(), bearer: Mutex::new(bearer), renewal }
    }

    /// The beginning of the Inbox, with the token of the login.
    pub(super) async fn open(&mut self, most: usize) -> Result<Inbox, Unserved> {
        let _place = self.place().await?;
        let first = self.graph.list_inbox(self.bearer.get_mut(), None).await?;
        Ok(Inbox::new(first, most))
    }

    /// The next part of the Inbox; nothing when it is complete.
    pub(super) async fn list_more(&self, inbox: &Inbox) -> Result<Option<Page>, Unserved> {
        let Some(next) = inbox.next() else { return Ok(None) };
        let _place = self.place().await?;
        let list = |bearer| async move { self.graph.list_inbox(&bearer, Some(next)).await };
        self.ask(list).await.map(Some)
    }

    /// A message.
    pub(super) async fn message(&self, id: &str) -> Result<Download<'_>, Unserved> {
        let place = self.place().await?;
        let fetch = |bearer| async move { self.graph.message(&bearer, id).await };
        let content = self.ask(fetch).await?;
        Ok(Download { content, _place: place })
    }

    /// Deletes messages, as many as can be; several at once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open which of those under way are deleted.
    pub(super) async fn delete(self: &Arc<Self>, ids: impl Iterator<Item = Box<str>>) -> Deleted {
        let mut waiting: VecDeque<Box<str>> = ids.collect();
        let mut deleted = Deleted { left: 0, failure: None };
        let mut in_a_row = 0;
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < DELETIONS
                && in_a_row < FAILURES
                && let Some(id) = waiting.pop_front()
            {
                let mailbox = Arc::clone(self);
                under_way.spawn(async move { mailbox.delete_one(&id).await });
            }
            match under_way.join_next().await {
                None => break,
                Some(Ok(Ok(()))) => in_a_row = 0,
                Some(Ok(Err(unserved))) => {
                    in_a_row += 1;
                    deleted.left += 1;
                    deleted.failure = Some(unserved.into_failure());
                }
                Some(Err(_panicked)) => deleted.left += 1,
            }
        }
        deleted.left += waiting.len();
        deleted
    }

    async fn delete_one(&self, id: &str) -> Result<(), Unserved> {
        let _place = self.place().await?;
        self.ask(|bearer| async move { self.graph.delete_message(&bearer, id).await }).await
    }

    /// Each request takes one of the places that the mailbox has at Graph, whoever else uses it.
    async fn place(&self) -> Result<MailboxPermit, Unserved> {
        let place = self.shared.places.acquire(Protocol::Graph, &self.user).await;
        place.map_err(|occupied| Unserved::Failed(occupied.failure(Protocol::Graph)))
    }

    /// Asks with the token of the session, and once more with another one if Graph refuses that.
    async fn ask<T, Asking>(&self, request: impl Fn(Bearer) -> Asking) -> Result<T, Unserved>
    where
        Asking: Future<Output = Result<T, Unserved>>,
    {
        let bearer = self.bearer.lock().await.clone();
        match request(bearer.clone()).await {
            Err(Unserved::TokenRefused(failure)) => request(self.renew(&bearer, failure).await?).await,
            answer => answer,
        }
    }

    /// Another token in place of one that Graph refused. Of several requests that meet the same refusal one asks.
    async fn renew(&self, refused: &Bearer, failure: Failure) -> Result<Bearer, Unserved> {
        let mut bearer = self.bearer.lock().await;
        if !Arc::ptr_eq(&bearer.token, &refused.token) {
            return Ok(bearer.clone());
        }
        let (login, account) = match &self.renewal {
            Renewal::Of(login, account) => (login, account),
            Renewal::ByLogin | Renewal::ByClient => return Err(Unserved::Failed(log_in_again(failure))),
        };
        let authenticator = &self.shared.authenticator;
        let admit = || authenticator.admit_again(login, account, Resource::Graph, min_token_lifetime(Protocol::Pop3));
        let mut admission = admit().await.map_err(Unserved::Failed)?;
        if Arc::ptr_eq(&admission.bearer.token, &refused.token) && authenticator.token_refused(&admission) {
            admission = admit().await.map_err(Unserved::Failed)?;
        }
        if Arc::ptr_eq(&admission.bearer.token, &refused.token) {
            return Err(Unserved::Failed(failure));
        }
        *bearer = admission.bearer;
        Ok(bearer.clone())
    }
}

fn log_in_again(failure: Failure) -> Failure {
    Failure {
        refusal: Refusal::Unavailable,
        actor: Actor::Client,
        cause: Cause::TokenExpired,
        remedy: "the client logs in again: this session's token has run out, and only a login brings another".into(),
        ..failure
    }
}

impl Unserved {
    /// The failure, for a request that was not about a single message, or for whoever does not care.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::TokenRefused(failure) | Self::Failed(failure) => failure,
            Self::Gone => Failure {
                refusal: Refusal::ContactAdmin,
                actor: Actor::TenantAdministrator,
                cause: Cause::NoInbox,
                message: "Microsoft Graph finds no Inbox in this mailbox".into(),
                remedy: "check that the mailbox is one of Exchange Online and has a licence".into(),
                delay: false,
            },
        }
    }
}
