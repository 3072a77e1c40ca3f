//! Faults of SMTP on demand, message by message.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

/// What becomes of a message over SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpFault {
    /// MAIL is answered with this line.
    RefuseSender(&'static str),
    /// Each RCPT is answered with this line.
    RefuseRecipients(&'static str),
    /// The content is answered with this line, and nothing is sent.
    RefuseMessage(&'static str),
    /// The message is sent, and its content is answered with this line.
    RefuseWhenDone(&'static str),
    /// The connection is closed behind the reply to DATA, or at BDAT; nothing is sent.
    CutBeforeContent,
    /// The connection is closed when the whole message was taken; nothing is sent.
    Cut,
    /// The message is sent, and the connection is closed instead of a reply.
    CutWhenDone,
    /// The message is sent, and the reply to its content comes so much later.
    Slow(Duration),
}

/// The faults that wait for their messages.
#[derive(Default)]
pub(super) struct SmtpFaults(Mutex<VecDeque<SmtpFault>>);

impl SmtpFaults {
    pub(super) fn plan(&self, fault: SmtpFault, times: usize) {
        self.0.lock().extend(std::iter::repeat_n(fault, times));
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// The fault that meets the next message, if one was planned.
    pub(super) fn take(&self) -> Option<SmtpFault> {
        self.0.lock().pop_front()
    }
}
