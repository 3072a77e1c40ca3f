//! Faults of the HTTP services on demand, call by call: those that a proxy must survive without
//! doing anything twice.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::mode::Service;

/// What becomes of a call to Graph or EWS whose token is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// It is refused, and nothing is done.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// Microsoft's error code; by default the one that usually comes with that status.
        code: Option<&'static str>,
        /// When to come back, in whole seconds. EWS tells it as `BackOffMilliseconds`, in a SOAP
        /// fault
        /// `ErrorServerBusy`.
        retry_after: Option<Duration>,
    },
    /// It is done, and the answer is this status, as of a gateway that stopped waiting.
    RefuseWhenDone(u16),
    /// It waits, and goes on once the faults are cleared.
    Hang,
    /// It is done, and the answer waits until the faults are cleared.
    HangWhenDone,
    /// The connection is closed when the whole request was taken; nothing is done.
    Cut,
    /// It is done, and the connection is closed instead of an answer.
    CutWhenDone,
    /// It is done, and the connection is closed in the middle of the answer.
    CutInAnswer,
    /// It is done after this time.
    Slow(Duration),
    /// It is done, and each octet of the answer takes this time.
    Drip(Duration),
    /// 200 with nothing in it and nothing done, as Graph was seen to answer messages that were too
    /// large.
    OkNotDone,
    /// 200 with an HTML page, as a web filter in between would send.
    Html,
    /// 307 to another host, where no token must be sent.
    Redirect,
}

impl HttpFault {
    /// A refusal with the usual code of this status.
    pub const fn status(status: u16) -> Self {
        Self::Refuse { status, code: None, retry_after: None }
    }

    /// A refusal with a code of the caller's choice.
    pub const fn code(status: u16, code: &'static str) -> Self {
        Self::Refuse { status, code: Some(code), retry_after: None }
    }

    /// 429 with the time when to come back.
    pub const fn throttled(retry_after: Duration) -> Self {
        Self::Refuse { status: 429, code: None, retry_after: Some(retry_after) }
    }
}

struct Planned {
    call: String,
    fault: HttpFault,
    left: usize,
}

/// The faults that wait for their calls.
#[derive(Default)]
pub(crate) struct Faults {
    planned: Mutex<HashMap<Service, Vec<Planned>>>,
    cleared: watch::Sender<()>,
}

impl Faults {
    pub(crate) fn plan(&self, service: Service, call: &str, fault: HttpFault, times: usize) {
        self.with(|planned| {
            planned.entry(service).or_default().push(Planned { call: call.to_owned(), fault, left: times });
        });
    }

    pub(crate) fn clear(&self, service: Service) {
        self.with(|planned| planned.remove(&service));
        self.cleared.send_replace(());
    }

    /// The fault that meets this call, if there is one.
    pub(super) fn take(&self, service: Service, call: &str) -> Option<HttpFault> {
        self.with(|planned| {
            let planned = planned.get_mut(&service)?;
            let at = planned.iter().position(|plan| plan.left > 0 && call.contains(&plan.call))?;
            planned[at].left -= 1;
            let fault = planned[at].fault.clone();
            planned.retain(|plan| plan.left > 0);
            Some(fault)
        })
    }

    pub(super) fn clearing(&self) -> watch::Receiver<()> {
        self.cleared.subscribe()
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<Service, Vec<Planned>>) -> R) -> R {
        work(&mut self.planned.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_the_calls_it_is_meant_for_and_then_is_over() {
        let faults = Faults::default();
        faults.plan(Service::Graph, "/sendMail", HttpFault::status(503), 2);
        faults.plan(Service::Graph, "", HttpFault::Cut, 1);
        let take = |call| faults.take(Service::Graph, call);
        assert_eq!(faults.take(Service::Ews, "CreateItem"), None);
        assert_eq!(take("POST /sendMail"), Some(HttpFault::status(503)));
        assert_eq!(take("GET /messages"), Some(HttpFault::Cut));
        assert_eq!(take("GET /messages"), None);
        assert_eq!(take("POST /sendMail"), Some(HttpFault::status(503)));
        assert_eq!(take("POST /sendMail"), None);
        faults.plan(Service::Graph, "", HttpFault::Cut, usize::MAX);
        faults.clear(Service::Graph);
        assert_eq!(take("GET /messages"), None);
    }
}
