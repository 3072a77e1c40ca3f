//! Sends a message with `sendMail` (Microsoft, "user: sendMail"), once.
//!
//! A message is sent again only if Microsoft has said that it did not process it. Graph has no key
//! by which it could recognize a repeated message. If Microsoft says nothing, the copy in Sent
//! Items tells that it was sent.

use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::http;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::Answer;
use super::body::Base64;
use super::not_sent::NotSent;
use super::outgoing::Outgoing;
use super::sent_items::{HandedOver, SentCopy};
use super::{GraphClient, authorized, outgoing, refused};
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::sasl::Bearer;

/// No request for a message begins later than this after the first, including waits. With the time
/// of the last request, this stays within the ten minutes that the client waits (RFC 5321
/// §4.5.3.2.6), so it learns the result.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most requests for one message.
const ATTEMPTS: u32 = 3;

/// Microsoft has accepted the message. That is not delivery: later failures come back to the
/// mailbox as a report.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The reply to the client.
    pub reply: Reply,
    /// What the log says besides; empty when there is nothing to say.
    pub remark: String,
    /// What the recipients do not get, because Graph drops it.
    pub loss: Option<Failure>,
}

/// Hears when a message is about to be handed over, which cannot be taken back.
pub trait HandOver: Sync {
    /// Whether a client waits for the result, for ten minutes. A message then waits for the end of a
    /// pause that Graph asks for. If not, the caller does, and a large message has time for its size.
    const WAITS: bool;

    /// Notes it. False: the message must not be handed over. It may be called more than once for a
    /// message.
    fn begins(&self) -> impl Future<Output = bool> + Send;
}

/// Notes nothing: the client waits for the answer, and knows what to do without one.
impl HandOver for () {
    const WAITS: bool = true;

    async fn begins(&self) -> bool {
        true
    }
}

impl GraphClient {
    /// Sends a message from the mailbox of `bearer` to the recipients of the envelope; a copy is
    /// kept in its Sent Items.
    ///
    /// If Graph asks for a short wait, this waits. If Graph does not say whether it took the
    /// message, this looks for the copy. The whole takes less than ten minutes.
    ///
    /// # Errors
    /// [`NotSent`], with a reply of class 5 when trying again is of no use.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the message was sent.
    pub async fn send_mail(
        &self,
        bearer: &Bearer,
        envelope: &Envelope,
        message: impl Into<Bytes>,
    ) -> Result<Sent, NotSent> {
        self.send_small(bearer, envelope, message.into(), &()).await
    }

    /// Sends a message like [`GraphClient::send_mail`]. `hand_over` hears of it directly before each
    /// request.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub(super) async fn send_small(
        &self,
        bearer: &Bearer,
        envelope: &Envelope,
        message: Bytes,
        hand_over: &impl HandOver,
    ) -> Result<Sent, NotSent> {
        let Outgoing { message, recipients, message_id, changed, loss } =
            outgoing::prepare(&bearer.user, envelope, &message)?;
        let since = Instant::now();
        let (reply, remark) = match self.hand_over(bearer, &message, hand_over).await {
            Ok(request) => {
                let words = format_args!("Accepted by Microsoft Graph, request {request}");
                (Reply::new(250, [0, 0], words), changed)
            }
            Err(not_sent) if not_sent.is_outcome_unknown() => {
                let sent = message_id.as_deref().map(|message_id| HandedOver {
                    message_id,
                    recipients: &recipients,
                    since,
                    before: Duration::ZERO,
                });
                let found = self.look_for_copy(bearer, sent, not_sent).await?;
                let words = "Accepted by Microsoft Graph, a copy is in Sent Items";
                (Reply::new(250, [0, 0], words), if changed.is_empty() { found } else { format!("{found}; {changed}") })
            }
            Err(not_sent) => return Err(not_sent),
        };
        Ok(Sent { reply, remark, loss })
    }

    /// Returns the id of the request by which Graph accepted the message; empty when it has none.
    async fn hand_over<H: HandOver>(
        &self,
        bearer: &Bearer,
        message: &Base64,
        hand_over: &H,
    ) -> Result<String, NotSent> {
        let first = Instant::now();
        let mut attempts = 0;
        loop {
            let quiet = self.throttle.wait(&bearer.user);
            if !quiet.is_zero() {
                return Err(refused::quiet(quiet));
            }
            if !hand_over.begins().await {
                return Err(refused::withdrawn());
            }
            let answer = self.post(bearer, message.clone()).await?;
            attempts += 1;
            if answer.status == 202 {
                return Ok(answer.request_id.unwrap_or_default());
            }
            // A failing proxy does not speak for Graph.
            let wait = answer.retry_after.filter(|_| refused::throttles(answer.status) && answer.is_graphs());
            if let Some(wait) = wait {
                self.throttle.close(&bearer.user, wait);
            }
            match wait {
                Some(wait)
                    if H::WAITS
                        && refused::not_looked_at(answer.status)
                        && attempts < ATTEMPTS
                        && first.elapsed() + wait <= PATIENCE =>
                {
                    sleep(wait).await;
                }
                _ => return Err(refused::explain(&answer, message.len())),
            }
        }
    }

    /// Looks into Sent Items, because Graph did not say whether it took the message. Returns the
    /// remark for the log.
    pub(super) async fn look_for_copy(
        &self,
        bearer: &Bearer,
        sent: Option<HandedOver<'_>>,
        mut not_sent: NotSent,
    ) -> Result<String, NotSent> {
        let copy = match sent {
            Some(sent) => self.find_sent_copy(bearer, &sent).await,
            None => SentCopy::Unknown("the message has no Message-ID that can be searched for".to_owned()),
        };
        let message = &mut not_sent.failure.message;
        match copy {
            SentCopy::Found => return Ok(format!("its copy is in Sent Items ({message})")),
            SentCopy::Missing => message.push_str(". No copy is in Sent Items yet"),
            SentCopy::Unknown(why) | SentCopy::Barred(why) => {
                message.push_str(&format!(". Sent Items could not be searched: {why}"))
            }
        }
        Err(not_sent)
    }

    async fn post(&self, bearer: &Bearer, message: Base64) -> Result<Answer, NotSent> {
        let defect = |error: http::Error| refused::defect(&error);
        let request = Request::post(self.uri(&path(&bearer.user))).header(CONTENT_TYPE, "text/plain");
        let (request, id) = authorized(request, &bearer.token).map_err(|error| defect(error.into()))?;
        let request = request.body(Either::Right(message)).map_err(defect)?;
        // Connecting has its own deadline, so a request that is late here was sent.
        let deadline = Instant::now() + self.connect + self.answer;
        let answer = match timeout_at(deadline, self.exchange(request)).await {
            Ok(Ok(response)) => Answer::read(response, deadline).await,
            Ok(Err(error)) => return Err(refused::no_answer(&error, self.origin(), &id)),
            Err(_) => return Err(refused::late(self.origin(), self.answer, &id)),
        };
        let request_id = answer.request_id.as_deref();
        tracing::debug!(mailbox = %bearer.user, client_request_id = id, request_id, status = answer.status, "sendMail");
        Ok(answer)
    }
}

/// Names the mailbox, because a token without a user has no `me`, and because a mailbox need not be
/// the user's own.
fn path(mailbox: &MailAddress) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(mailbox.as_str().as_bytes()).collect();
    format!("/v1.0/users/{encoded}/sendMail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_is_encoded() {
        let path = path(&MailAddress::parse("o'neil+%x@b\u{fc}ro.example").unwrap());
        assert_eq!(path, "/v1.0/users/o%27neil%2B%25x%40b%C3%BCro.example/sendMail");
    }
}
