//! The SMTP submission server side towards a mail client until its login is decided (RFC 5321, RFC
//! 4954, RFC 3207).
//!
//! It does not remember whether EHLO, HELO or neither was sent: printers send AUTH after HELO, and
//! refusing that helps nobody.

use zeroize::Zeroizing;

use super::capabilities;
use super::command::{self, Auth, Command};
use crate::mail::machine::{self, Abort, CloseReply, Context, Dialect, Input, Machine, Step, Wants};
use crate::mail::{Capabilities, CloseReason, Limits, ShutdownReason};
use crate::sasl::Exchange;
use gatepost_core::failure::Refusal;

/// The SMTP machine.
pub type Smtp = Machine<Dialog>;

/// The state of an SMTP client.
pub struct Dialog(State);

enum State {
    /// Waits for a command.
    Command,
    /// Waits for a SASL response.
    Response(Exchange),
}

impl Dialog {
    fn command(line: &[u8], context: &mut Context) -> Step<Self> {
        match command::parse(line) {
            Command::Ehlo => capabilities::list(context),
            Command::Helo => {
                let server_name = context.settings().server_name.clone();
                context.reply(format_args!("250 {server_name}"));
            }
            Command::StartTls(true) if context.offers_starttls() => {
                context.reply(format_args!("220 2.0.0 Begin TLS negotiation now"));
                return Step::StartTls;
            }
            Command::StartTls(true) if context.tls() => return Self::bad("503 5.5.1 TLS is on already", context),
            Command::StartTls(true) => return Self::bad("502 5.5.1 STARTTLS is not available", context),
            Command::StartTls(false) => return Self::bad("501 5.5.4 STARTTLS has no arguments", context),
            Command::Auth(Some(Auth { mechanism, initial })) => {
                return machine::authenticate((), mechanism, initial, context);
            }
            Command::Auth(None) => return Self::bad("501 5.5.4 AUTH takes a mechanism and one response", context),
            Command::Noop | Command::Rset => context.reply(format_args!("250 2.0.0 OK")),
            Command::Vrfy => context.reply(format_args!("252 2.0.0 Cannot verify, but will take the message")),
            Command::Help => context.reply(format_args!("214 2.0.0 Log in with AUTH, then send mail")),
            Command::Quit => {
                context.reply(format_args!("221 2.0.0 Bye"));
                return Step::Close(CloseReason::Logout);
            }
            Command::Transaction if context.settings().trusted => {
                if command::begins_message(line) {
                    return Step::Submission(Zeroizing::new(line.to_vec()));
                }
                context.reply(format_args!("503 5.5.1 MAIL comes first"));
            }
            Command::Transaction if context.offers_login() => {
                context.reply(format_args!("530 5.7.0 Authentication required"));
            }
            Command::Transaction if context.offers_starttls() => {
                context.reply(format_args!("530 5.7.0 Must issue a STARTTLS command first"));
            }
            Command::Transaction => context.reply(format_args!("530 5.7.0 Must use TLS")),
            Command::NotImplemented => context.reply(format_args!("502 5.5.1 Command not implemented")),
            Command::Unknown if machine::is_well_formed(line) => {
                context.reply(format_args!("500 5.5.1 Command unknown"));
            }
            Command::Unknown if context.settings().legacy => {
                if !line.trim_ascii().is_empty() {
                    context.reply(format_args!("500 5.5.1 Command unknown"));
                }
            }
            Command::Unknown => return Self::bad("500 5.5.1 Command unknown", context),
        }
        Step::Read(Self::fresh())
    }

    fn bad(reply: &str, context: &mut Context) -> Step<Self> {
        context.reply(format_args!("{reply}"));
        Step::Bad(Self::fresh())
    }
}

impl Dialect for Dialog {
    type CommandTag = ();

    // The space stays if the challenge is empty (RFC 4954 §4).
    const LOGIN_COMMAND: &'static str = "AUTH";
    const CONTINUATION: &'static str = "334 ";

    fn fresh() -> Self {
        Self(State::Command)
    }

    fn authenticating((): (), exchange: Exchange) -> Self {
        Self(State::Response(exchange))
    }

    fn awaits_command(&self) -> bool {
        matches!(self.0, State::Command)
    }

    fn wants(&self, limits: &Limits, received: &[u8]) -> Wants {
        match self.0 {
            State::Response(_) => Wants::Response(limits.sasl_line_bytes),
            State::Command if command::begins_auth(received) => Wants::Line(limits.sasl_line_bytes),
            State::Command => Wants::Line(limits.line_bytes),
        }
    }

    fn handle(self, input: Input, context: &mut Context) -> Step<Self> {
        match (self.0, input) {
            (State::Command, Input::Read(line)) => Self::command(&line, context),
            (State::Response(exchange), Input::Read(line)) => machine::respond((), exchange, &line, context),
            (State::Command, Input::TooLong) => {
                context.reply(format_args!("500 5.5.2 Line too long"));
                Step::Close(CloseReason::TooLong)
            }
            (State::Response(_), Input::TooLong) => {
                context.reply(format_args!("500 5.5.6 Authentication exchange line is too long"));
                Step::Close(CloseReason::TooLong)
            }
            (_, Input::Flawed) => Self::bad("500 5.5.2 A line ends in CRLF and holds no NUL", context),
        }
    }

    fn greet(context: &mut Context) {
        let server_name = context.settings().server_name.clone();
        context.reply(format_args!("220 {server_name} ESMTP Gatepost"));
    }

    fn succeed((): (), _upstream: &Capabilities, context: &mut Context) {
        context.reply(format_args!("235 2.7.0 Logged in"));
    }

    fn refuse((): (), refusal: Refusal, context: &mut Context) {
        let code = match refusal {
            Refusal::InvalidCredentials | Refusal::NotAuthorized => "535 5.7.8",
            // The code is temporary, so that a client neither forgets its password nor drops its
            // messages (RFC 4954 §6).
            Refusal::ContactAdmin | Refusal::Unavailable | Refusal::Limit => "454 4.7.0",
            Refusal::ServerBug => "451 4.3.0",
        };
        let text = context.refusal(refusal);
        context.reply(format_args!("{code} {text}"));
    }

    fn demand_tls((): (), context: &mut Context) {
        let text = context.tls_demand();
        context.reply(format_args!("538 5.7.11 {text}"));
    }

    fn abort((): (), abort: Abort, context: &mut Context) {
        let reply = match abort {
            Abort::Mechanism => "504 5.5.4 Mechanism not supported",
            Abort::Syntax => "501 5.5.2 Malformed SASL message",
            Abort::Cancelled => "501 5.7.0 Authentication cancelled",
        };
        context.reply(format_args!("{reply}"));
    }

    fn close_reply(reply: CloseReply, _awaited: bool, context: &mut Context) {
        let code = match reply {
            CloseReply::Shutdown(ShutdownReason::Timeout) => "421 4.4.2",
            CloseReply::Shutdown(ShutdownReason::Draining | ShutdownReason::TooManyConnections) => "421 4.3.2",
            CloseReply::TooManyCommands | CloseReply::TooManyBadCommands | CloseReply::TooManyAttempts => "421 4.7.0",
        };
        context.reply(format_args!("{code} {}", reply.text()));
    }
}
