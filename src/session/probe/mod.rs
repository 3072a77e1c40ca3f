//! Examines the way of a client, without one, for `gatepost doctor`: whether a server can be
//! reached (`reach`), and whether a mailbox opens over IMAP, POP3 and SMTP (`mailbox`). The
//! connections, the sign-in and the words of a failure are those of a client's login.

mod mailbox;
mod reach;
mod talk;

pub(crate) use mailbox::{MailboxProbe, Message, Unopened};
pub(crate) use reach::reach;
