//! Finds the route of a client's messages: a token with a connection to Exchange Online, or
//! permission to use Graph.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::exchange::Exchange;
use crate::graph::{HandOver, MessageOctets, NotSent, Sent};
use crate::login::device::KnownPassword;
use crate::login::{AuthorizedLogin, LoginRequest, Principal};
use crate::session::connection_info::ConnectionInfo;
use crate::session::context::SessionContext;
use crate::session::fresh_token::{HasToken, with_fresh_token};
use crate::session::login::{min_token_lifetime, min_token_lifetime_at, origin};
use crate::session::mail::clients_own_token;
use crate::session::mailbox_slots::MailboxPermit;
use crate::session::sign_in::Claimant;
use crate::session::submission::backend::SubmissionBackend;
use crate::session::submission::fallback::SmtpUnavailable;
use crate::session::submission::policy::SenderPolicy;
use crate::session::submission::refused::{self, Refused};
use crate::session::token_holder::TokenHolder;
use crate::session::upstream::MailServers;
use gatepost_config::{Config, Deliver, Grant, Resource, TrustedSender};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_oauth::tokens::explain::own_fault;
use gatepost_proto::mail::smtp::Envelope;
use gatepost_proto::sasl::{Bearer, Credentials};
use gatepost_store::queue::Queue;

/// What a client's right to send is based on.
#[derive(Clone)]
pub(super) enum Sender {
    /// It has logged in with these credentials, and without them there is no further token.
    LoggedIn(Arc<Credentials>),
    /// It has logged in, and its password is no longer kept.
    Proved(Arc<Principal>),
    /// Its address is trusted.
    Trusted(TrustedSender),
}

/// A sender with a token.
pub(super) struct Admitted {
    /// The mailbox and the token.
    pub(super) bearer: Bearer,
    /// `None` when the token is the client's own.
    pub(super) admission: Option<AuthorizedLogin>,
}

impl Admitted {
    /// Returns what the client's right to send is based on from now on. A password is kept only
    /// where no token is available without it.
    pub(super) fn sender(&self, credentials: &Arc<Credentials>) -> Sender {
        match &self.admission {
            Some(admission) if admission.account.grant != Grant::Password => Sender::Proved(Arc::new(Principal {
                account: Arc::clone(&admission.account),
                login: admission.login.clone(),
                mailbox: admission.bearer.user.clone(),
            })),
            _ => Sender::LoggedIn(Arc::clone(credentials)),
        }
    }

    /// Returns where the token comes from, for the log.
    pub(super) fn token(&self) -> &'static str {
        self.admission.as_ref().map_or("of the client", origin)
    }
}

/// How a message is sent.
pub(super) enum DeliveryRoute {
    /// Over this connection.
    Smtp(Box<Exchange>),
    /// Through Microsoft Graph.
    Graph,
}

/// Finds the route for the messages of one client.
pub(super) struct DeliveryRouter<'a> {
    pub(super) shared: &'a SessionContext,
    pub(super) ways: &'a SubmissionBackend,
    pub(super) subject: &'a ConnectionInfo,
    pub(super) sender: Sender,
}

impl<'a> DeliveryRouter<'a> {
    /// Returns a permit for a message that is collected for Graph.
    ///
    /// # Errors
    /// The refusal, if there are too many already.
    pub(super) fn graph_room(&self) -> Result<SemaphorePermit<'a>, Refused> {
        self.ways.room.try_acquire().map_err(|_| refused::no_room())
    }

    /// Returns what the present configuration says about the sender of the client's messages. The
    /// client has logged in, or its address is trusted.
    ///
    /// # Errors
    /// A [`Failure`] when the client may no longer send.
    pub(super) fn policy(&self) -> Result<SenderPolicy, Failure> {
        let authenticator = &self.shared.authenticator;
        let mut own_token = false;
        let principal = match &self.sender {
            Sender::Trusted(rule) => {
                self.trusts(rule)?;
                return Ok(SenderPolicy::new(rule.sender, authenticator.identify(&rule.login, None)?, false));
            }
            Sender::Proved(principal) => {
                authenticator.confirm(&principal.login, &principal.account)?;
                Principal::clone(principal)
            }
            Sender::LoggedIn(credentials) => match &**credentials {
                Credentials::Token(bearer) => {
                    own_token = true;
                    authenticator.owner(&bearer.user)?
                }
                Credentials::Password { login, acting_as, .. } => authenticator.identify(login, acting_as.as_ref())?,
            },
        };
        let rule = principal.account.sending.sender.unwrap_or(self.ways.config.sender);
        Ok(SenderPolicy::new(rule, principal, own_token))
    }

    /// Authorizes a client that logs in. Prepares a route for its first message, so that one whose
    /// mailbox may not send is refused now, unless that depends on the message.
    /// There is time until `end`, which the caller enforces.
    pub(super) async fn log_in(&self, end: Instant) -> Result<(Admitted, Option<DeliveryRoute>), Failure> {
        let admitted = self.admit(self.resource()).await?;
        let sends_as_others = |login: &AuthorizedLogin| !login.account.sending.send_as.is_empty();
        if admitted.admission.as_ref().is_some_and(sends_as_others) {
            return Ok((admitted, None));
        }
        let (admitted, route) = self.route(admitted, end).await?;
        Ok((admitted, Some(route)))
    }

    /// Verifies the password of a client whose messages are queued, without asking Microsoft. `None`:
    /// its messages cannot be queued, because they need its password or its token.
    ///
    /// # Errors
    /// A [`Failure`] when the client may not log in.
    pub(super) async fn verify_for_queue(&self) -> Result<Option<(Principal, Option<Arc<KnownPassword>>)>, Failure> {
        let (Some(_), Sender::LoggedIn(credentials)) = (&self.ways.queue, &self.sender) else { return Ok(None) };
        let Credentials::Password { login, acting_as, password } = &**credentials else { return Ok(None) };
        let request = LoginRequest {
            login,
            acting_as: acting_as.as_ref(),
            password,
            source: self.subject.peer.ip(),
            protocol: Protocol::Smtp,
            resource: self.resource(),
        };
        self.shared.authenticator.verify(request).await
    }

    /// Returns the queue for the client's messages; `None` if they go directly.
    pub(super) fn queue(&self) -> Option<&'a Queue> {
        let ways: &'a SubmissionBackend = self.ways;
        match self.sender {
            Sender::Proved(_) | Sender::Trusted(_) => ways.queue.as_ref(),
            Sender::LoggedIn(_) => None,
        }
    }

    /// Returns the address of the account that sends, if it needs no password.
    pub(super) fn login(&self) -> Option<MailAddress> {
        match &self.sender {
            Sender::Proved(principal) => Some(principal.login.clone()),
            Sender::Trusted(rule) => {
                let found = self.shared.authenticator.config().accounts.find(&rule.login);
                found.map(|(_, login)| login)
            }
            Sender::LoggedIn(_) => None,
        }
    }

    /// Authorizes the sender, and prepares a route for a message of `mailbox`, within the time limit
    /// of a login.
    pub(super) async fn prepare(&self, mailbox: &MailAddress) -> Result<(Admitted, DeliveryRoute), Failure> {
        let limit = self.shared.limits.login;
        let end = Instant::now() + limit;
        let preparing = async { self.route(self.admit_as(mailbox, self.resource()).await?, end).await };
        timeout_at(end, preparing).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Cause::LoginTimeout,
                format!("there was no connection for the message within {limit:?} (`limits.login`)"),
            ))
        })
    }

    /// Returns the resource of the token that is needed first.
    fn resource(&self) -> Resource {
        if self.ways.smtp.is_some() { Resource::Exchange } else { Resource::Graph }
    }

    /// Prepares a route for a message of the admitted mailbox, for which there is time until `end`.
    async fn route(&self, admitted: Admitted, end: Instant) -> Result<(Admitted, DeliveryRoute), Failure> {
        let Some(servers) = &self.ways.smtp else { return self.through_graph(admitted).await };
        if self.ways.config.deliver == Deliver::Smtp {
            return self.by_smtp(servers, admitted, end).await.map_err(|(_, error)| error);
        }
        let (mailbox, is_proved) = (admitted.bearer.user.clone(), admitted.admission.is_some());
        if !self.ways.fallback.lead_through_graph(&mailbox) {
            match self.by_smtp(servers, admitted, end).await {
                Ok(ready) => {
                    self.ways.fallback.forget(&mailbox);
                    return Ok(ready);
                }
                // A failure of an unjudged token says nothing about the mailbox.
                Err((Some(SmtpUnavailable::Disabled), _)) if !is_proved => {}
                Err((Some(barred), failure)) => {
                    self.ways.fallback.note(&mailbox, barred);
                    tracing::info!(
                        session = &*self.subject.session,
                        listener = &*self.subject.listener,
                        mailbox = %mailbox,
                        cause = failure.cause.name(),
                        "messages go through Microsoft Graph for the next ten minutes (`deliver: auto`): {}",
                        failure.message
                    );
                }
                Err((None, failure)) => return Err(failure),
            }
        }
        self.through_graph(self.admit_as(&mailbox, Resource::Graph).await?).await
    }

    async fn through_graph(&self, admitted: Admitted) -> Result<(Admitted, DeliveryRoute), Failure> {
        if admitted.admission.is_none() {
            // A mail server may have judged the token before, but not for Graph.
            self.shared.judge_at_graph(&self.ways.graph, &admitted.bearer, self.subject.peer.ip()).await?;
        }
        Ok((admitted, DeliveryRoute::Graph))
    }

    /// Gets a token for the sender, as [`DeliveryRouter::admit`], that opens `mailbox`.
    pub(super) async fn admit_as(&self, mailbox: &MailAddress, resource: Resource) -> Result<Admitted, Failure> {
        let (mut admitted, min_token_lifetime) = (self.admit(resource).await?, self.min_token_lifetime(resource));
        if let Some(admission) = &admitted.admission {
            let admitting = self.shared.authenticator.admit_to(mailbox, admission, resource, min_token_lifetime);
            if let Some(other) = admitting.await? {
                return Ok(other.into());
            }
        }
        admitted.bearer.user = mailbox.clone();
        Ok(admitted)
    }

    /// The least remaining lifetime that a token should have.
    fn min_token_lifetime(&self, resource: Resource) -> Duration {
        match (&self.ways.smtp, resource) {
            (Some(servers), Resource::Exchange) => min_token_lifetime_at(&servers.own().upstream),
            _ => min_token_lifetime(Protocol::Smtp),
        }
    }

    /// Gets a token for the sender, also for a second time. A client's own token is returned as the
    /// client brought it. It must be judged before it is used.
    async fn admit(&self, resource: Resource) -> Result<Admitted, Failure> {
        let authenticator = &self.shared.authenticator;
        let min_token_lifetime = self.min_token_lifetime(resource);
        let credentials = match &self.sender {
            Sender::Proved(principal) => {
                let Principal { account, login, mailbox } = &**principal;
                let admitted = authenticator.admit_again(login, account, mailbox, resource, min_token_lifetime);
                return Ok(admitted.await?.into());
            }
            Sender::Trusted(rule) => {
                self.trusts(rule)?;
                return Ok(authenticator.admit_proved(&rule.login, resource, min_token_lifetime).await?.into());
            }
            Sender::LoggedIn(credentials) => credentials,
        };
        match &**credentials {
            Credentials::Token(bearer) => {
                authenticator.owner(&bearer.user)?;
                Ok(Admitted { bearer: bearer.clone(), admission: None })
            }
            Credentials::Password { login, acting_as, password } => {
                let request = LoginRequest {
                    login,
                    acting_as: acting_as.as_ref(),
                    password,
                    source: self.subject.peer.ip(),
                    protocol: Protocol::Smtp,
                    resource,
                };
                Ok(authenticator.admit(request, min_token_lifetime).await?.into())
            }
        }
    }

    /// Checks that the rule still holds that lets the client send without a login.
    fn trusts(&self, rule: &TrustedSender) -> Result<(), Failure> {
        self.shared.authenticator.trusts(&self.subject.listener, self.subject.peer.ip(), rule)
    }

    /// Waits for a configuration without the rule that lets the client send without a login.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn trusts_no_longer(&self, changes: &mut watch::Receiver<Arc<Config>>) {
        let Sender::Trusted(rule) = &self.sender else { return pending().await };
        while changes.changed().await.is_ok() {
            if self.trusts(rule).is_err() {
                return;
            }
        }
        // There will be no further configuration.
        pending().await
    }

    /// Whether the account or rule that admitted the client is unchanged in the current
    /// configuration.
    pub(super) fn still_admits(&self, admitted: &Admitted) -> bool {
        let authenticator = &self.shared.authenticator;
        let has_account = match &admitted.admission {
            Some(admission) => authenticator.is_as_it_was(&admission.login, &admission.account),
            None => authenticator.owner(&admitted.bearer.user).is_ok(),
        };
        has_account
            && match &self.sender {
                Sender::Trusted(rule) => self.trusts(rule).is_ok(),
                Sender::LoggedIn(_) | Sender::Proved(_) => true,
            }
    }

    /// Signs in at the mail server. An error says whether SMTP is unavailable for a while.
    async fn by_smtp(
        &self,
        servers: &MailServers,
        admitted: Admitted,
        end: Instant,
    ) -> Result<(Admitted, DeliveryRoute), (Option<SmtpUnavailable>, Failure)> {
        let Admitted { bearer, admission } = admitted;
        let Some(admission) = admission else { return self.by_smtp_with_own(servers, bearer, end).await };
        let mailbox = bearer.user;
        let place = self.place(Protocol::Smtp, &mailbox).await.map_err(|failure| (None, failure))?;
        let sign_in = |admission: &AuthorizedLogin| self.shared.sign_in_as(servers, admission, &mailbox, &place, end);
        let admit = async || {
            // Whoever sends with an account's token has one again.
            self.admit_as(&mailbox, Resource::Exchange).await?.admission.ok_or_else(own_fault)
        };
        let signed_in = with_fresh_token(&self.shared.authenticator, admission, admit, sign_in).await;
        let (admission, (stream, authenticated)) = signed_in
            .map_err(|failure| (None, failure))?
            .map_err(|refused| (SmtpUnavailable::of(&refused.error), refused.failure))?;
        let admitted =
            Admitted { bearer: Bearer { user: mailbox, ..admission.bearer.clone() }, admission: Some(admission) };
        let exchange = Exchange::new(stream, authenticated, place, &self.shared.limits);
        Ok((admitted, DeliveryRoute::Smtp(Box::new(exchange))))
    }

    /// Signs in with the client's own token, which the server judges. The permit is taken after the
    /// server accepted it. Before that, the token may be anybody's.
    async fn by_smtp_with_own(
        &self,
        servers: &MailServers,
        bearer: Bearer,
        end: Instant,
    ) -> Result<(Admitted, DeliveryRoute), (Option<SmtpUnavailable>, Failure)> {
        let target = self.shared.server_of_owner(servers, &bearer).map_err(|failure| (None, failure))?;
        let mut barred = None;
        let ask = async {
            let claimant = Claimant::Token(self.subject.peer.ip());
            self.shared.sign_in(target, claimant, bearer.clone(), end).await.map_err(|error| {
                barred = SmtpUnavailable::of(&error);
                clients_own_token(&error, &target.upstream)
            })
        };
        let judged = self.shared.judge(&bearer, self.subject.peer.ip(), target.judge(Protocol::Smtp), ask).await;
        let (stream, authenticated) = judged.map_err(|failure| (barred, failure))?;
        let place = self.place(Protocol::Smtp, &bearer.user).await.map_err(|failure| (None, failure))?;
        let exchange = Exchange::new(stream, authenticated, place, &self.shared.limits);
        Ok((Admitted { bearer, admission: None }, DeliveryRoute::Smtp(Box::new(exchange))))
    }

    /// Sends a message through Graph; `hand_over` hears of it directly before.
    ///
    /// # Errors
    /// A [`Failure`] before Graph was asked; within the result, that of Graph.
    pub(super) async fn send_through_graph(
        &self,
        admitted: Admitted,
        envelope: &Envelope,
        message: MessageOctets,
        hand_over: &impl HandOver,
    ) -> Result<Result<Sent, NotSent>, Failure> {
        let mailbox = admitted.bearer.user.clone();
        let _place = self.place(Protocol::Graph, &mailbox).await?;
        let large = self.ways.config.graph_large;
        let (graph, authenticator) = (&self.ways.graph, &self.shared.authenticator);
        let send = |admitted: &Admitted| {
            let (bearer, message) = (admitted.bearer.clone(), message.clone());
            let holder = admitted.admission.as_ref().map(|admission| TokenHolder::new(admission, &bearer.user));
            async move {
                let sent = graph.send_noted(&bearer, envelope, &message, large, hand_over).await;
                sent.map_err(|not_sent| match holder {
                    Some(holder) => {
                        NotSent { failure: holder.refused_over_https(not_sent.failure, not_sent.access), ..not_sent }
                    }
                    None => not_sent,
                })
            }
        };
        let fetch = || self.admit_as(&mailbox, Resource::Graph);
        let sent = with_fresh_token(authenticator, admitted, fetch, send).await?;
        Ok(sent.map(|(_, sent)| sent))
    }

    pub(super) async fn place(&self, protocol: Protocol, mailbox: &MailAddress) -> Result<MailboxPermit, Failure> {
        self.shared.places.acquire(protocol, mailbox).await.map_err(|occupied| occupied.failure(protocol))
    }
}

/// Returns the mailbox as which a trusted sender sends, if there still is its account.
pub(super) fn mailbox_of(shared: &SessionContext, rule: &TrustedSender) -> Option<MailAddress> {
    let (account, address) = shared.authenticator.config().accounts.find(&rule.login)?;
    Some(account.own_mailbox(&address).clone())
}

impl HasToken for Admitted {
    fn admission(&self) -> Option<&AuthorizedLogin> {
        self.admission.as_ref()
    }
}

impl From<AuthorizedLogin> for Admitted {
    fn from(admission: AuthorizedLogin) -> Self {
        Self { bearer: admission.bearer.clone(), admission: Some(admission) }
    }
}
