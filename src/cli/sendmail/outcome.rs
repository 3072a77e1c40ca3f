//! Why a message was not handed over, and the exit code for it (sysexits.h), by which programs decide
//! whether to try again.

use std::fmt::Display;
use std::io;

use gatepost_core::system_error::Plain;
use gatepost_proto::mail::smtp::Reply;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The message was taken.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// The message is wrong.
    DataErr = 65,
    /// A recipient does not exist.
    NoUser = 67,
    /// The message was refused for good.
    Unavailable = 69,
    /// Something is wrong with this command.
    Software = 70,
    /// A later try may help. Nothing was sent, or that is unknown: then a later try may send it twice.
    TempFail = 75,
    /// This user may not send, or not so.
    NoPerm = 77,
}

/// Why a message was not handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotSent {
    pub(super) code: Code,
    pub(super) why: String,
}

impl NotSent {
    pub(super) fn new(code: Code, why: impl Display) -> Self {
        Self { code, why: why.to_string() }
    }

    /// A failure of the machine, which may pass.
    pub(super) fn of_system(doing: &str, error: &io::Error) -> Self {
        Self::new(Code::TempFail, format_args!("{doing}: {}", Plain(error)))
    }

    /// A refusal of the service. `recipient` is whom it concerns.
    pub(super) fn refused(reply: &Reply, recipient: Option<&str>) -> Self {
        let to = recipient.map_or_else(String::new, |recipient| format!(" to <{recipient}>"));
        Self::new(code(reply, recipient.is_some()), format_args!("message{to} not sent: {reply}"))
    }

    /// A refusal of the complete message. If the connection to Microsoft broke behind it (X.4.2), it
    /// may have been sent.
    pub(super) fn of_message(reply: &Reply) -> Self {
        match reply.status() {
            Some("4.4.2") => Self::new(Code::TempFail, format_args!("message status unknown: {reply}")),
            _ => Self::refused(reply, None),
        }
    }
}

/// The exit code for a reply that is not positive.
fn code(reply: &Reply, of_recipient: bool) -> Code {
    // Without the class, which the first digit of the code has too.
    let status = reply.status().and_then(|status| status.split_once('.')).map_or("", |(_, detail)| detail);
    match (reply.code(), status.split('.').next()) {
        (400..=499, _) => Code::TempFail,
        (552, _) | (_, Some("6")) => Code::DataErr,
        (_, Some("7")) => Code::NoPerm,
        (500..=504, _) => Code::Software,
        (550 | 551 | 553, _) if of_recipient => Code::NoUser,
        _ => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_the_code_that_programs_know() {
        for (code_of_reply, status, of_recipient, expected) in [
            (421, [3, 2], false, Code::TempFail),
            (450, [7, 1], true, Code::TempFail),
            (452, [4, 1], false, Code::TempFail),
            (550, [1, 1], true, Code::NoUser),
            (550, [5, 0], true, Code::NoUser),
            (550, [7, 1], true, Code::NoPerm),
            (550, [7, 60], false, Code::NoPerm),
            (554, [7, 1], false, Code::NoPerm),
            (552, [3, 4], false, Code::DataErr),
            (554, [6, 0], false, Code::DataErr),
            (501, [5, 4], false, Code::Software),
            (554, [2, 0], false, Code::Unavailable),
            (550, [2, 0], false, Code::Unavailable),
        ] {
            let reply = Reply::new(code_of_reply, status, "no");
            assert_eq!(code(&reply, of_recipient), expected, "{reply}");
        }
        assert_eq!(code(&Reply::plain(550, "no such user"), true), Code::NoUser);
        let refused = NotSent::refused(&Reply::new(550, [1, 1], "no such user"), Some("a@x"));
        assert_eq!(refused.why, "message to <a@x> not sent: 550 5.1.1 no such user");
        let lost = NotSent::of_message(&Reply::new(451, [4, 2], "It may have been sent"));
        assert_eq!(lost, NotSent::new(Code::TempFail, "message status unknown: 451 4.4.2 It may have been sent"));
        let refused = NotSent::of_message(&Reply::new(451, [4, 1], "no"));
        assert_eq!(refused, NotSent::new(Code::TempFail, "message not sent: 451 4.4.1 no"));
    }
}
