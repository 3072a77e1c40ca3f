//! Decides where a request goes once its credentials are accepted: to the origin, or nowhere.
//! Autodiscover is answered here, with the listener's own address.

use std::ops::ControlFlow;

use hyper::{Response, StatusCode};

use super::answer::{Refused, respond};
use super::body::Answer;
use super::exchange::{Exchange, person};
use super::prepare::read_whole;
use crate::login::AuthorizedLogin;
use gatepost_config::Mailboxes;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Actor;
use gatepost_proto::http::autodiscover::{Form, Question, Subject};
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::http::target::{self, Denied, EwsTarget, Owner};

/// Where a request goes.
enum Target {
    /// To the origin, by this path with its query.
    Origin(String),
    /// It asks for the address of EWS.
    Autodiscover(Form),
}

impl Exchange<'_> {
    /// Returns the request's target at the origin, with its query, or the answer to a request that
    /// does not go there. The client is at `here`.
    pub(super) async fn route(
        &mut self,
        admission: &AuthorizedLogin,
        here: &str,
    ) -> Result<ControlFlow<Response<Answer>, String>, Refused> {
        match self.target(admission)? {
            Target::Origin(target) => Ok(ControlFlow::Continue(target)),
            Target::Autodiscover(form) => self.autodiscover(form, admission, here).await.map(ControlFlow::Break),
        }
    }

    fn target(&self, admission: &AuthorizedLogin) -> Result<Target, Refused> {
        let config = &self.connection.gateway.config;
        let (method, uri) = (&self.parts.method, &self.parts.uri);
        let target = match config.service {
            HttpService::Ews => target::ews(method, uri.path()).map(|target| match target {
                EwsTarget::Origin(path) => Target::Origin(path.to_owned()),
                EwsTarget::Autodiscover(form) => Target::Autodiscover(form),
            }),
            HttpService::Graph => {
                let is_me = admission.account.grant.is_of_user() && *person(admission) == admission.bearer.user;
                let owner = Owner { login: &admission.login, mailbox: &admission.bearer.user, is_me };
                let path = target::graph(&config.graph, method, uri.path(), owner);
                let path = path.and_then(|path| target::query(uri.query().unwrap_or_default()).map(|()| path));
                path.map(|path| match uri.query() {
                    Some(query) => Target::Origin(format!("{path}?{query}")),
                    None => Target::Origin(path),
                })
            }
        };
        target.map_err(|denied| match denied {
            Denied::Malformed => Refused::new(StatusCode::BAD_REQUEST, "The path can be read in two ways"),
            Denied::NotServed if config.service == HttpService::Ews => {
                Refused::new(StatusCode::NOT_FOUND, "Only /EWS/Exchange.asmx and Autodiscover are served here")
            }
            Denied::NotServed => Refused::new(
                StatusCode::FORBIDDEN,
                "This path is not served here. `paths` of the listener lists those that are",
            )
            .mended_by(Actor::GatepostAdmin, "add the path to `paths` of the listener if the client needs it"),
            Denied::Cast => Refused::new(
                StatusCode::FORBIDDEN,
                "Casts (`microsoft.graph.…`) lead out of the `paths` of the listener, and are not served",
            )
            .mended_by(Actor::ClientOwner, "let the client request without a cast"),
            Denied::Method(methods) => {
                let allow: Vec<&str> = methods.iter().map(hyper::Method::as_str).collect();
                Refused {
                    allow: allow.join(", "),
                    ..Refused::new(StatusCode::METHOD_NOT_ALLOWED, "This method is not served here")
                }
            }
            Denied::OtherMailbox => {
                Refused::new(StatusCode::FORBIDDEN, "These credentials are for their own mailbox only")
                    .mended_by(Actor::GatepostAdmin, "let the client log in with an account of that mailbox")
            }
        })
    }

    /// Tells the address of EWS on this listener.
    async fn autodiscover(
        &mut self,
        form: Form,
        admission: &AuthorizedLogin,
        here: &str,
    ) -> Result<Response<Answer>, Refused> {
        let octets = match self.body.take() {
            Some(body) => read_whole(&self.parts.headers, body, &self.connection.shared.limits).await?,
            None => Vec::new(),
        };
        let question = Question::read(form, &octets);
        let question = question.map_err(|flaw| Refused::new(StatusCode::BAD_REQUEST, flaw.to_string()))?;
        if !question.subjects().all(|subject| is_open(admission, subject)) {
            let text = "Autodiscover was asked for a mailbox that the account may not open";
            let refused = Refused::because(Cause::ActingAsNotAllowed, StatusCode::OK, text);
            self.connection.log_request_refused(&refused, &self.parts, self.account.as_ref());
        }
        let body = question.answer(&format!("{here}/EWS/Exchange.asmx"), |subject| is_open(admission, subject));
        Ok(respond(StatusCode::OK, body))
    }
}

/// Whether a login may open a mailbox, or one in a domain.
fn is_open(admission: &AuthorizedLogin, subject: Subject<'_>) -> bool {
    let account = &admission.account;
    let own = [&admission.login, &admission.bearer.user];
    let listed = match &account.mailboxes {
        Mailboxes::Any => return true,
        Mailboxes::Listed(listed) => listed,
    };
    let mut open = own.into_iter().chain(listed);
    match subject {
        Subject::Mailbox(address) => MailAddress::parse(address)
            .is_ok_and(|address| open.any(|own| *own == address) || account.aliases.contains(address.as_login())),
        Subject::Domain(domain) => open.any(|own| own.domain().eq_ignore_ascii_case(domain)),
    }
}
