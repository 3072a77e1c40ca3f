//! The POP3 server side towards a mail client until its login is decided (RFC 1939 §7, RFC 2449,
//! RFC 5034).

use super::capabilities;
use super::command::{self, Auth, Command};
use crate::mail::machine::{self, Abort, CloseReply, Context, Dialect, Input, Machine, Step, Wants};
use crate::mail::{Capabilities, CloseReason, Limits, Rejection, ShutdownReason};
use crate::sasl::{BadName, Exchange, text};
use gatepost_core::account::LoginName;
use gatepost_core::failure::Refusal;

/// The POP3 machine.
pub type Pop3 = Machine<Dialog>;

/// The state of a POP3 client.
pub struct Dialog(State);

enum State {
    /// Waits for a command.
    Command,
    /// USER was the last command. Whether the name is possible is reported only after PASS.
    Named(Result<LoginName, BadName>),
    /// Waits for a SASL response.
    Response(Exchange),
}

impl Dialog {
    fn command(state: State, line: &[u8], context: &mut Context) -> Step<Self> {
        match command::parse(line) {
            Some(Command::Capa) => capabilities::list(context),
            // Without TLS the client can still be stopped before it sends its password.
            Some(Command::User(_)) if !context.offers_login() => Self::demand_tls((), context),
            Some(Command::User(name)) => {
                context.reply(format_args!("+OK"));
                return Step::Read(Self(State::Named(text::login_name(name))));
            }
            Some(Command::Pass(_)) if !context.offers_login() => return Step::Reject((), Rejection::PlaintextLogin),
            Some(Command::Pass(password)) => match state {
                State::Named(name) => return machine::present((), text::credentials(name, password)),
                State::Command | State::Response(_) => {
                    context.reply(format_args!("-ERR USER comes first"));
                    return Step::Bad(Self::fresh());
                }
            },
            Some(Command::Auth(None)) => capabilities::mechanisms(context),
            Some(Command::Auth(Some(Auth { mechanism, initial }))) => {
                return machine::authenticate((), mechanism, initial, context);
            }
            Some(Command::Stls) if context.offers_starttls() => {
                context.reply(format_args!("+OK Begin TLS negotiation now"));
                return Step::StartTls;
            }
            Some(Command::Stls) => {
                context.reply(format_args!("-ERR STLS is not available"));
                return Step::Bad(Self::fresh());
            }
            Some(Command::Noop) => context.reply(format_args!("+OK")),
            Some(Command::Quit) => {
                context.reply(format_args!("+OK Bye"));
                return Step::Close(CloseReason::Logout);
            }
            Some(Command::Unknown) => context.reply(format_args!("-ERR Command unknown")),
            Some(Command::AfterLogin) => context.reply(format_args!("-ERR Log in first")),
            None => {
                context.reply(format_args!("-ERR Command unknown or malformed"));
                return Step::Bad(Self::fresh());
            }
        }
        Step::Read(Self::fresh())
    }
}

impl Dialect for Dialog {
    type CommandTag = ();

    const LOGIN_COMMAND: &'static str = "USER/PASS";
    const CONTINUATION: &'static str = "+ ";

    fn fresh() -> Self {
        Self(State::Command)
    }

    fn authenticating((): (), exchange: Exchange) -> Self {
        Self(State::Response(exchange))
    }

    fn awaits_command(&self) -> bool {
        !matches!(self.0, State::Response(_))
    }

    fn wants(&self, limits: &Limits, received: &[u8]) -> Wants {
        match self.0 {
            State::Response(_) => Wants::Response(limits.sasl_line_bytes),
            _ if command::begins_auth(received) => Wants::Line(limits.sasl_line_bytes),
            _ => Wants::Line(limits.line_bytes),
        }
    }

    fn handle(self, input: Input, context: &mut Context) -> Step<Self> {
        match (self.0, input) {
            (State::Response(exchange), Input::Read(line)) => machine::respond((), exchange, &line, context),
            (state, Input::Read(line)) => Self::command(state, &line, context),
            (_, Input::TooLong) => {
                context.reply(format_args!("-ERR Line too long"));
                Step::Close(CloseReason::TooLong)
            }
            (_, Input::Flawed) => {
                context.reply(format_args!("-ERR A line ends in CRLF and holds no NUL"));
                Step::Bad(Self::fresh())
            }
        }
    }

    fn greet(context: &mut Context) {
        // There is no `<...>`, which would make clients try APOP.
        context.reply(format_args!("+OK Gatepost ready"));
    }

    fn succeed((): (), _upstream: &Capabilities, context: &mut Context) {
        context.reply(format_args!("+OK Logged in"));
    }

    fn refuse((): (), refusal: Refusal, context: &mut Context) {
        let code = match refusal {
            Refusal::InvalidCredentials | Refusal::NotAuthorized => "AUTH",
            Refusal::ContactAdmin => "SYS/PERM",
            Refusal::Unavailable | Refusal::ServerBug => "SYS/TEMP",
            Refusal::Limit => "IN-USE",
        };
        let text = context.refusal(refusal);
        context.reply(format_args!("-ERR [{code}] {text}"));
    }

    fn demand_tls((): (), context: &mut Context) {
        let text = context.tls_demand();
        context.reply(format_args!("-ERR [SYS/PERM] {text}"));
    }

    fn abort((): (), abort: Abort, context: &mut Context) {
        let text = match abort {
            Abort::Mechanism => "Mechanism not supported",
            Abort::Syntax => "Malformed SASL message",
            Abort::Cancelled => "Authentication cancelled",
        };
        context.reply(format_args!("-ERR {text}"));
    }

    fn close_reply(reply: CloseReply, awaited: bool, context: &mut Context) {
        let code = match reply {
            // POP3 has no unsolicited replies: a client that waits for none only sees the end (RFC
            // 1939 §3).
            CloseReply::Shutdown(_) if !awaited => return,
            CloseReply::Shutdown(
                ShutdownReason::Draining | ShutdownReason::Timeout | ShutdownReason::TooManyConnections,
            ) => "[SYS/TEMP] ",
            CloseReply::TooManyCommands | CloseReply::TooManyBadCommands | CloseReply::TooManyAttempts => "",
        };
        context.reply(format_args!("-ERR {code}{}", reply.text()));
    }
}
