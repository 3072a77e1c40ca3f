//! Sends requests to Graph for one session: with its token, which is renewed when Graph refuses it,
//! and within the permits of the mailbox.

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
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_proto::sasl::Bearer;

/// How many messages are deleted at once. Graph takes no more requests of one mailbox.
const DELETIONS: usize = 4;
/// After so many failures in a row, the rest is not tried.
const FAILURES: usize = 5;

/// How a session gets another token.
pub(super) enum Renewal {
    /// By itself, while the account is unchanged since the login.
    Of(MailAddress, Arc<Account>),
    /// Only by a new login, because the password is needed.
    ByLogin,
    /// Not at all, because the client brought its own token.
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

/// The result of deleting a session's messages.
pub(super) struct Deleted {
    /// How many could not be deleted.
    pub(super) left: usize,
    /// The last failure, if there was any.
    pub(super) failure: Option<Failure>,
}

/// A message being downloaded, with the permit of its request.
pub(super) struct Download<'a> {
    pub(super) content: MessageContent<'a>,
    _place: MailboxPermit,
}

impl Mailbox {
    pub(super) fn new(shared: Arc<SessionContext>, graph: Arc<GraphClient>, bearer: Bearer, renewal: Renewal) -> Self {
        Self { shared, graph, user: bearer.user.clone(), bearer: Mutex::new(bearer), renewal }
    }

    /// Returns the first part of the Inbox, with the token of the login.
    pub(super) async fn open(&mut self, most: usize) -> Result<Inbox, Unserved> {
        let _place = self.place().await?;
        let first = self.graph.list_inbox(self.bearer.get_mut(), None).await?;
        Ok(Inbox::new(first, most))
    }

    /// Returns the next part of the Inbox; `None` when it is complete.
    pub(super) async fn list_more(&self, inbox: &Inbox) -> Result<Option<Page>, Unserved> {
        let Some(next) = inbox.next() else { return Ok(None) };
        let _place = self.place().await?;
        let list = |bearer| async move { self.graph.list_inbox(&bearer, Some(next)).await };
        self.ask(list).await.map(Some)
    }

    /// Fetches a message.
    pub(super) async fn message(&self, id: &str) -> Result<Download<'_>, Unserved> {
        let place = self.place().await?;
        let fetch = |bearer| async move { self.graph.message(&bearer, id).await };
        let content = self.ask(fetch).await?;
        Ok(Download { content, _place: place })
    }

    /// Deletes as many of the messages as possible, several at once.
    ///
    /// # Cancel safety
    /// If the future is dropped, it is open which of the deletions under way happen.
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

    /// Takes one of the mailbox's permits for Graph, which every request needs and all clients
    /// share.
    async fn place(&self) -> Result<MailboxPermit, Unserved> {
        let place = self.shared.places.acquire(Protocol::Graph, &self.user).await;
        place.map_err(|occupied| Unserved::Failed(occupied.failure(Protocol::Graph)))
    }

    /// Sends a request with the session's token, and once more with another if Graph refuses it.
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

    /// Returns another token in place of one that Graph refused. If several requests meet the same
    /// refusal, only one asks for it.
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
        let lifetime = min_token_lifetime(Protocol::Pop3);
        let admit = || authenticator.admit_again(login, account, &self.user, Resource::Graph, lifetime);
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
    Failure::new(Cause::TokenExpired, failure.message)
}
