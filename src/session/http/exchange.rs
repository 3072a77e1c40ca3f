//! Handles one request: checks its head, verifies its credentials, sends it to Microsoft with a
//! token, and streams the answer back.

use std::convert::Infallible;
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::Refused;
use super::body::{Answer, Progress, Upload};
use super::gateway::AccountKey;
use super::prepare::{Prepared, broke_off, prepare, read_away, stalled};
use super::{Connection, OriginError, Traffic, failures};
use crate::login::{AuthorizedLogin, LoginRequest};
use crate::session::attempt::Claim;
use crate::session::fresh_token::{TokenError, with_fresh_token};
use crate::session::incident::RefusedRequest;
use crate::session::login::{min_token_lifetime, origin};
use crate::session::mailbox_slots::MailboxPermit;
use crate::session::token_holder::TokenHolder;
use gatepost_config::Grant;
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::escape::escaped;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::secret::Password;
use gatepost_net::penalty::Misbehavior;
use gatepost_oauth::MailAccess;
use gatepost_proto::http::basic::Presented;
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::http::target::Denied;
use gatepost_proto::http::{basic, fields, head, target};
use gatepost_proto::sasl::{Credentials, CredentialsError};

/// How much is shown of a host that a client names.
const HOST_OCTETS: usize = 100;

/// What each field of a head counts in addition to its text.
const FIELD_OCTETS: usize = 64;

impl Connection {
    /// Answers one request.
    pub(super) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let _busy = self.busy();
        let started = Instant::now();
        let http_1 = request.version() < Version::HTTP_2;
        let (parts, body) = request.into_parts();
        let mut exchange = Exchange { connection: &self, parts, body: Some(body), account: None };
        let outcome = match self.hold_head(size_of_head(&exchange.parts)) {
            Some(_held) => exchange.answer().await,
            None => Err(Refused::before_login()),
        };
        let Exchange { parts, body, account, .. } = exchange;
        let response = match outcome {
            Ok(response) => response,
            Err(refused) => {
                self.log_request_refused(&refused, &parts, account.as_ref());
                let mut response = refused.answer(self.gateway.config.service, &self.subject.session);
                // The EWS Managed API first asks with GET and without credentials, and goes on only if
                // it is told this.
                if self.gateway.config.service == HttpService::Ews && target::is_autodiscover(parts.uri.path()) {
                    response.headers_mut().insert("x-soap-enabled", HeaderValue::from_static("True"));
                }
                let unread = body.is_some_and(|body| !body.is_end_stream());
                // An unread request body would block the next request.
                if refused.close || http_1 && unread && !is_judges_own(&parts) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if refused.close {
                    self.enough.cancel();
                }
                if !http_1 {
                    response.headers_mut().remove(CONNECTION);
                }
                response
            }
        };
        tracing::debug!(
            session = &*self.subject.session,
            listener = &*self.subject.listener,
            peer = %self.subject.peer,
            method = parts.method.as_str(),
            path = parts.uri.path(),
            status = response.status().as_u16(),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request answered"
        );
        Ok(response)
    }

    /// Logs a refusal that the log does not have yet.
    pub(super) fn log_request_refused(&self, refused: &Refused, parts: &Parts, account: Option<&MailAddress>) {
        let Some(failure) = &refused.unlogged else { return };
        // What the validator has refused has neither.
        let is_whole = !is_judges_own(parts);
        // What stands before an `@` is a user name and a password, which no log may show.
        let host =
            parts.uri.host().or_else(|| parts.headers.get(HOST)?.to_str().ok().filter(|host| !host.contains('@')));
        self.shared.journal.request_refused(
            self.protocol(),
            &self.subject,
            &RefusedRequest {
                account: account.map(MailAddress::as_str),
                failure,
                status: refused.status.as_u16(),
                host: host.filter(|_| is_whole),
                method: is_whole.then_some(parts.method.as_str()),
                path: is_whole.then_some(parts.uri.path()),
            },
        );
    }
}

/// Returns the memory of a head in octets. A field takes an entry in the table in addition to its
/// text.
fn size_of_head(parts: &Parts) -> usize {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OCTETS);
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    fields.sum::<usize>() + target + authority
}

/// Whether this is the validator's own request, which replaces one that it refused.
fn is_judges_own(parts: &Parts) -> bool {
    parts.method == head::REFUSED
}

pub(super) struct Exchange<'a> {
    pub(super) connection: &'a Connection,
    pub(super) parts: Parts,
    /// Present until it is sent to the origin.
    pub(super) body: Option<Incoming>,
    /// The account, once its credentials were accepted.
    pub(super) account: Option<MailAddress>,
}

/// Credentials that a request presents.
struct Proof {
    login: LoginName,
    password: Password,
}

/// Why credentials were not accepted.
struct NotAdmitted {
    refused: Refused,
    /// They were checked and are wrong.
    are_wrong: bool,
}

impl From<Refused> for NotAdmitted {
    fn from(refused: Refused) -> Self {
        Self { refused, are_wrong: false }
    }
}

/// Why there is no answer from the origin to pass on.
enum Unanswered {
    Refused(Refused),
    /// The origin answered 401 to the token of this login.
    TokenRefused(TokenHolder, Response<Incoming>),
}

impl TokenError for Unanswered {
    fn is_of_token(&self) -> bool {
        matches!(self, Self::TokenRefused(..))
    }
}

impl Exchange<'_> {
    async fn answer(&mut self) -> Result<Response<Answer>, Refused> {
        let here = self.check_head()?;
        let presented = basic::take(&mut self.parts.headers);
        self.connection.subject.note(|client| client.method = "HTTP Basic");
        let proof = match self.proof(presented).await {
            Ok(proof) => proof,
            Err(refused) => {
                self.read_away().await;
                return Err(refused);
            }
        };
        let (admission, traffic) = match self.admit(&proof).await {
            Ok(admitted) => admitted,
            Err(NotAdmitted { refused, are_wrong }) => {
                if are_wrong {
                    self.read_away().await;
                }
                return Err(refused);
            }
        };
        self.account = Some(admission.login.clone());
        let target = match self.route(&admission, &here).await? {
            ControlFlow::Continue(target) => target,
            ControlFlow::Break(answer) => return Ok(answer),
        };
        let of_mailbox = self.place(&admission).await?;
        let acting_for = admission.account.grant == Grant::ClientCredentials;
        let prepared = self.prepare(acting_for.then_some(&admission.bearer.user)).await?;
        let spare = prepared.rest.is_none().then(|| Prepared::whole(prepared.beginning.clone()));
        let has_spare = spare.is_some();
        let mut bodies = iter::once(prepared).chain(spare);
        let this = &*self;
        let ask = |admission: &AuthorizedLogin| {
            let request = bodies.next().ok_or_else(Refused::repeat).and_then(|body| {
                let Prepared { beginning, rest, length } = body;
                let progress = Progress::new();
                let upload = Upload::new(beginning, rest, length, Arc::clone(&traffic.sent), Arc::clone(&progress));
                Ok((this.request(&target, admission, upload)?, progress))
            });
            let key = (admission.login.clone(), admission.bearer.user.clone());
            let holder = TokenHolder::new(admission, &admission.bearer.user);
            async move {
                let (request, progress) = request.map_err(Unanswered::Refused)?;
                let answered = this.ask(&key, request, &progress).await;
                let response = answered.map_err(|error| Unanswered::Refused(this.way_failed(&error, &key.0)))?;
                match response.status() {
                    StatusCode::UNAUTHORIZED => Err(Unanswered::TokenRefused(holder, response)),
                    _ => Ok(response),
                }
            }
        };
        let fetch = || async {
            match has_spare {
                true => this.admit(&proof).await.map(|(admission, _)| admission).map_err(|it| it.refused),
                false => Err(Refused::repeat()),
            }
        };
        let connection = this.connection;
        match with_fresh_token(&connection.shared.authenticator, admission, fetch, ask).await? {
            // The permit is held until the end of the answer.
            Ok((admission, response)) => {
                connection.note_sent(this.parts.uri.path(), &response, &admission);
                connection.pass(response, &admission, &traffic, of_mailbox, &here)
            }
            Err(Unanswered::Refused(refused)) => Err(refused),
            Err(Unanswered::TokenRefused(holder, response)) => {
                let config = &connection.gateway.config;
                let refused = failures::token_refused(&response, config);
                let failure = match config.service {
                    HttpService::Ews => holder.refused_over_https(refused, MailAccess::Ews),
                    // Each request to Graph needs a permission of its own, and 401 does not say which.
                    HttpService::Graph => refused,
                };
                Err(this.refuse_later(holder.login(), &failure))
            }
        }
    }

    /// Checks the head of any sender. Returns the address that the client used: scheme and
    /// authority.
    fn check_head(&mut self) -> Result<String, Refused> {
        let connection = self.connection;
        let bad = |status, message: &str| Err(Refused::new(status, message));
        if self.parts.method == head::REFUSED && self.parts.version < Version::HTTP_2 {
            let flaw = head::HeadError::of_path(self.parts.uri.path()).unwrap_or(head::HeadError::RequestLine);
            self.penalize(if flaw == head::HeadError::Slow { Misbehavior::Timeout } else { Misbehavior::Garbage });
            let status = StatusCode::from_u16(flaw.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let cause = if flaw == head::HeadError::Slow { Cause::Timeout } else { Cause::Refused };
            return Err(Refused::because(cause, status, flaw.to_string()).and_close());
        }
        let headers = &self.parts.headers;
        let limits = &connection.shared.limits;
        if headers.len() > limits.http_fields {
            return bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long");
        }
        if headers.keys().any(|name| head::is_look_alike(name.as_str())) {
            self.penalize(Misbehavior::Garbage);
            return bad(StatusCode::BAD_REQUEST, "a header field has `_` in its name where `-` belongs");
        }
        let target_is_plain = self.parts.uri.path_and_query().is_some_and(|target| {
            target.as_str().bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'\\' | b'#'))
        });
        if !target_is_plain {
            return bad(StatusCode::BAD_REQUEST, "the target is not a plain path of this server");
        }
        let authority = self.authority()?;
        if !connection.gateway.hosts.has(&authority, connection.local) {
            let message = "This server is not known by that name. Gatepost admin: add it to `hosts` of the listener";
            // `hosts` has names without a port.
            let shown = escaped(without_port(&authority).as_bytes(), HOST_OCTETS);
            let name = connection.service.listener.name.clone();
            return Err(Refused::because(Cause::UnknownHost, StatusCode::MISDIRECTED_REQUEST, message)
                .logged_as(format!("the request is for the host `{shown}`, which listener `{name}` does not know"))
                .mended_by(
                    Actor::GatepostAdmin,
                    format!("add `{shown}` to `hosts` of listener `{name}` if clients use that name"),
                ));
        }
        // Only web pages send `Origin`. What they request in a user's name is not served.
        if headers.contains_key(ORIGIN) || headers.contains_key("access-control-request-method") {
            return Err(Refused::new(StatusCode::FORBIDDEN, "Requests of web pages are not served")
                .mended_by(Actor::ClientOwner, "use a program or library that is not a web page"));
        }
        let secure = connection.service.tls.is_some();
        if !secure && !connection.service.allows_plaintext(connection.subject.peer.ip()) {
            let mut refused = Refused::new(StatusCode::FORBIDDEN, "Turn on TLS to log in")
                .mended_by(Actor::ClientOwner, "write `https://` in the client in place of `http://`")
                .and_close();
            if headers.contains_key(AUTHORIZATION) {
                connection.login_attempts().refused_unjudged("", &failures::plaintext());
                refused.unlogged = None;
            }
            return Err(refused);
        }
        Ok(format!("{}://{authority}", if secure { "https" } else { "http" }))
    }

    /// Returns the authority that the request is for. The client may give it once, or twice the
    /// same.
    fn authority(&self) -> Result<String, Refused> {
        let mut hosts = self.parts.headers.get_all(HOST).iter();
        let host = match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (None, _) => None,
            (Some(Ok(host)), None) => Some(host),
            _ => return Err(Refused::new(StatusCode::BAD_REQUEST, "the Host field is malformed")),
        };
        // HTTP/2 always has an authority; with HTTP/1.1 it comes from the absolute form (RFC 9112
        // §3.2.2).
        let authority = self.parts.uri.authority().map(hyper::http::uri::Authority::as_str);
        match (authority, host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                Err(Refused::new(StatusCode::BAD_REQUEST, "the request is for two hosts"))
            }
            (Some(one), _) | (None, Some(one)) if one.contains('@') => {
                Err(Refused::new(StatusCode::BAD_REQUEST, "the host of the request is malformed"))
            }
            (Some(one), _) | (None, Some(one)) => Ok(one.to_owned()),
            (None, None) => Err(Refused::new(StatusCode::BAD_REQUEST, "the request names no host")),
        }
    }

    fn penalize(&self, offence: Misbehavior) {
        if !self.connection.logged_in.load(Ordering::Relaxed) {
            self.connection.visit.penalize(offence);
        }
    }

    /// Returns the credentials, or the answer that asks for them.
    async fn proof(&mut self, presented: Presented) -> Result<Proof, Refused> {
        let connection = self.connection;
        match presented {
            Presented::Credentials(Credentials::Password { login, password, .. }) => Ok(Proof { login, password }),
            Presented::Nothing => {
                // Many libraries first send a request without credentials. A scanner does not know
                // the path.
                let path = self.parts.uri.path();
                let knows_the_way = match connection.gateway.config.service {
                    HttpService::Ews => matches!(target::ews(&self.parts.method, path), Ok(_) | Err(Denied::Method(_))),
                    HttpService::Graph => path.starts_with("/v1.0/") || path.starts_with("/beta/"),
                };
                if knows_the_way {
                    connection.visit.forgive();
                }
                Err(Refused::challenge())
            }
            Presented::OtherScheme | Presented::Credentials(Credentials::Token(_)) => {
                connection.visit.forgive();
                Err(Refused::new(StatusCode::UNAUTHORIZED, "Only HTTP Basic is served here")
                    .mended_by(Actor::ClientOwner, "set the authentication of the client to Basic"))
            }
            Presented::Malformed => {
                self.penalize(Misbehavior::Garbage);
                let message = "the Authorization field is malformed";
                Err(Refused::because(Cause::MalformedLogin, StatusCode::BAD_REQUEST, message).and_close())
            }
            Presented::Unusable(flaw) => {
                let name = if let CredentialsError::Name(bad) = &flaw { bad.hint.as_str() } else { "" };
                let failure = failures::unusable(&flaw);
                connection.login_attempts().refused_unjudged(name, &failure);
                Err(self.refuse(&failure).await)
            }
        }
    }

    /// Accepts the credentials and gets a token, or says why not.
    async fn admit(&self, proof: &Proof) -> Result<(AuthorizedLogin, Arc<Traffic>), NotAdmitted> {
        let connection = self.connection;
        let protocol = connection.protocol();
        let resources = connection.service.listener.resources();
        let Some(&resource) = resources.first() else {
            return Err(Refused::broken(Cause::InternalError).into());
        };
        let request = LoginRequest {
            login: &proof.login,
            acting_as: None,
            password: &proof.password,
            source: connection.subject.peer.ip(),
            protocol,
            resource,
        };
        let end = Instant::now() + connection.shared.limits.login;
        let permit = self.attempt(proof, end).await?;
        let attempts = connection.login_attempts();
        let admitting = connection.shared.authenticator.admit(request, min_token_lifetime(protocol));
        match attempts.judge(end, admitting).await {
            Ok(admission) => {
                if !self.is_own_mailbox(&admission) {
                    connection.visit.forgive();
                    let failure = failures::other_mailbox(person(&admission), &admission.bearer.user);
                    return Err(self.refuse_later(&admission.login, &failure).into());
                }
                let traffic = connection.logged_in(&admission, origin(&admission));
                Ok((admission, traffic))
            }
            Err(failure) => {
                permit.forget();
                attempts.refused(Claim::Password(&proof.login, &proof.password), &failure);
                Err(NotAdmitted { refused: self.refuse(&failure).await, are_wrong: true })
            }
        }
    }

    /// Returns a permit to have credentials judged, which is not given back if they are refused.
    /// All logins under way on one connection may be wrong, so there are never more of them than
    /// attempts left. Further ones wait until `end`.
    async fn attempt(&self, proof: &Proof, end: Instant) -> Result<SemaphorePermit<'_>, Refused> {
        let connection = self.connection;
        let attempts = connection.login_attempts();
        connection.visit.forgive();
        let Ok(permit) = timeout_at(end, connection.attempts.acquire()).await else {
            let failure = attempts.too_late();
            attempts.log(&attempts.shown(&proof.login), &failure);
            return Err(Refused::of(&failure));
        };
        let permit = permit.map_err(|_| too_many_attempts(None))?;
        let is_stranger = !connection.logged_in.load(Ordering::Relaxed);
        match is_stranger.then(|| attempts.closed()).flatten() {
            Some(closed) => Err(too_many_attempts(Some(closed.wait))),
            None => Ok(permit),
        }
    }

    /// Whether the token opens the login's own mailbox. EWS serves only the mailbox of the token,
    /// so a user's token must be for the mailbox that the login is for.
    fn is_own_mailbox(&self, admission: &AuthorizedLogin) -> bool {
        self.connection.gateway.config.service != HttpService::Ews
            || !admission.account.grant.is_of_user()
            || *person(admission) == admission.bearer.user
    }

    /// Counts a refused login, and delays the refusal.
    async fn refuse(&self, failure: &Failure) -> Refused {
        let Connection { shared, failures, attempts, .. } = self.connection;
        let refused = Refused::of(failure);
        // Counted before the delay, so that parallel streams do not gain from it.
        let last = failures.fetch_add(1, Ordering::Relaxed) + 1 >= shared.limits.protocol.attempts;
        if last {
            attempts.close();
        }
        if failure.delay && self.connection.login_attempts().hold_back().await.is_err() {
            // `limits.delayed_failures` is reached.
            return refused.and_close();
        }
        if last { refused.and_close() } else { refused }
    }

    /// Returns the refusal of a request after its login. The password is not the cause.
    fn refuse_later(&self, login: &MailAddress, failure: &Failure) -> Refused {
        self.connection.log_refused(login.as_str(), failure);
        Refused::of(failure)
    }

    fn way_failed(&self, error: &OriginError, login: &MailAddress) -> Refused {
        if let OriginError::Stalled = error {
            return stalled();
        }
        if error.is_of_client() {
            return broke_off();
        }
        let failure = error.failure(&self.connection.gateway.config.origin);
        self.connection.log_refused(login.as_str(), &failure);
        Refused::of_way(&failure)
    }

    async fn place(&self, admission: &AuthorizedLogin) -> Result<MailboxPermit, Refused> {
        let connection = self.connection;
        let protocol = connection.service.listener.protocol;
        let place = connection.shared.places.acquire(protocol, &admission.bearer.user).await;
        place.map_err(|occupied| self.refuse_later(&admission.login, &occupied.failure(protocol)))
    }

    async fn prepare(&mut self, acting_for: Option<&MailAddress>) -> Result<Prepared, Refused> {
        let Some(body) = self.body.take() else { return Ok(Prepared::empty()) };
        let Connection { shared, gateway, .. } = self.connection;
        prepare(&self.parts, body, gateway.config.service, &shared.limits, acting_for).await
    }

    /// Reads the body, so that the connection can be used further.
    async fn read_away(&mut self) {
        if let Some(body) = &mut self.body {
            read_away(&self.parts.headers, body).await;
        }
    }

    fn request(&self, target: &str, admission: &AuthorizedLogin, upload: Upload) -> Result<Request<Upload>, Refused> {
        let gateway = &self.connection.gateway;
        let broken = || Refused::broken(Cause::RequestNotMade);
        let mut headers = self.parts.headers.clone();
        fields::to_origin(&mut headers);
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", admission.bearer.token.expose()));
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| broken())?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        // The library omits it, and Microsoft's servers require it (411).
        if upload.size_hint().exact() == Some(0) && self.parts.method != Method::GET {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        match gateway.config.service {
            HttpService::Ews => {
                let mailbox = HeaderValue::from_bytes(admission.bearer.user.as_str().as_bytes());
                headers.insert("x-anchormailbox", mailbox.map_err(|_| broken())?);
            }
            HttpService::Graph => {
                // Uncompressed, because links in the answer are rewritten.
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
        }
        let name = &gateway.config.origin.name;
        let authority = if name.contains(':') { format!("[{name}]") } else { name.clone() };
        let mut request = Request::new(upload);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = format!("https://{authority}{target}").parse().map_err(|_| broken())?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends the request. Its body must not stall for `limits.http_idle`, and the answer must begin
    /// within `limits.http_answer` of the body's end.
    async fn ask(
        &self,
        account: &AccountKey,
        request: Request<Upload>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, OriginError> {
        let limits = &self.connection.shared.limits;
        let mut answer = std::pin::pin!(self.connection.gateway.send(account, request));
        loop {
            let limit = if progress.has_ended() { limits.http_answer } else { limits.http_idle };
            let end = progress.pulse.last() + limit;
            if Instant::now() >= end {
                return Err(if progress.has_ended() { OriginError::Timeout(limit) } else { OriginError::Stalled });
            }
            tokio::select! {
                answer = &mut answer => return answer,
                () = sleep_until(end) => {}
            }
        }
    }
}

/// The answer to a request whose connection or source has no attempts left.
fn too_many_attempts(wait: Option<Duration>) -> Refused {
    let cause = if wait.is_some() { Cause::Penalised } else { Cause::TooManyAttempts };
    let message = "Too many logins failed, try again later";
    Refused { wait, ..Refused::because(cause, StatusCode::TOO_MANY_REQUESTS, message).and_close() }
}

/// Returns the person of the token, when it is a user's.
pub(super) fn person(admission: &AuthorizedLogin) -> &MailAddress {
    admission.account.person(&admission.login)
}

/// Returns the host of an authority (RFC 3986 §3.2), without its port.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|octet| octet.is_ascii_digit()) && (host.ends_with(']') || !host.contains(':')) =>
        {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests;
