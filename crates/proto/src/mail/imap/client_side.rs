//! The IMAP server side towards a mail client until its login is decided (RFC 3501 and RFC 9051,
//! §6.1 and §6.2).

use zeroize::Zeroizing;

use super::capabilities;
use super::command::{self, Command};
use crate::mail::line::append;
use crate::mail::machine::{self, Abort, CloseReply, Context, Dialect, Input, Machine, Step, Wants};
use crate::mail::{Capabilities, CloseReason, Limits, Rejection, ShutdownReason};
use crate::sasl::{Exchange, text};
use gatepost_core::failure::Refusal;

/// The IMAP machine.
pub type Imap = Machine<Dialog>;

/// The state of an IMAP client.
pub struct Dialog(State);

enum State {
    /// Waits for a command, or for the line that continues after one of its literals.
    Line(Partial),
    /// Waits for a literal inside a command.
    Literal(Partial, usize),
    /// Waits for a SASL response.
    Response(Tag, Exchange),
}

/// The tag of a command, with which its reply begins. It is `*` if the client gave none that can be
/// repeated.
pub struct Tag(Box<str>);

impl Tag {
    fn of(command: &[u8]) -> Self {
        Self(command::tag(command).map_or("*", |(tag, _)| tag).into())
    }
}

/// The part of a command read so far, including the octets of its literals.
#[derive(Default)]
struct Partial {
    octets: Zeroizing<Vec<u8>>,
    literals: usize,
    literal_octets: usize,
}

impl Dialog {
    fn awaiting(partial: Partial) -> Self {
        Self(State::Line(partial))
    }

    /// Handles a line: a literal follows, or the command is complete.
    fn line(mut partial: Partial, line: &[u8], context: &mut Context) -> Step<Self> {
        append(&mut partial.octets, line);
        let Some(literal) = command::announced_literal(line) else {
            return Self::command(&partial.octets, context);
        };
        let limits = &context.settings().limits;
        let fits = |octets: &usize| {
            *octets <= limits.imap_literal_bytes
                && partial.literal_octets.saturating_add(*octets) <= limits.imap_literals_bytes
                && partial.literals < limits.imap_literals
        };
        let Some(octets) = literal.octets.filter(fits) else {
            if literal.synchronising {
                context.reply(format_args!("{} BAD Literal too large", Tag::of(&partial.octets).0));
                return Step::Bad(Self::fresh());
            }
            // The client is already sending the octets. Reading them would cost memory; unread,
            // they would be taken for commands.
            context.reply(format_args!("* BYE [TOOBIG] Literal too large"));
            return Step::Close(CloseReason::TooLong);
        };
        if literal.synchronising {
            if !context.offers_login() && command::begins_login(&partial.octets) {
                // The client has not sent its password yet.
                return Step::Reject(Tag::of(&partial.octets), Rejection::PlaintextLogin);
            }
            context.reply(format_args!("+ OK"));
        }
        append(&mut partial.octets, b"\r\n");
        partial.literals += 1;
        partial.literal_octets += octets;
        Step::Read(Self(State::Literal(partial, octets)))
    }

    fn command(octets: &[u8], context: &mut Context) -> Step<Self> {
        let Some((tag, rest)) = command::tag(octets) else {
            context.reply(format_args!("* BAD Command without a tag"));
            return Step::Bad(Self::fresh());
        };
        match command::parse(rest) {
            Some(Command::Capability) => {
                let capabilities = capabilities::before_login(context);
                context.reply(format_args!("* CAPABILITY {capabilities}"));
                context.reply(format_args!("{tag} OK CAPABILITY completed"));
            }
            Some(Command::Noop) => context.reply(format_args!("{tag} OK NOOP completed")),
            Some(Command::Id) => {
                let version = env!("CARGO_PKG_VERSION");
                context.reply(format_args!("* ID (\"name\" \"Gatepost\" \"version\" \"{version}\")"));
                context.reply(format_args!("{tag} OK ID completed"));
            }
            Some(Command::Logout) => {
                context.reply(format_args!("* BYE Logging out"));
                context.reply(format_args!("{tag} OK LOGOUT completed"));
                return Step::Close(CloseReason::Logout);
            }
            Some(Command::StartTls) if context.offers_starttls() => {
                context.reply(format_args!("{tag} OK Begin TLS negotiation now"));
                return Step::StartTls;
            }
            Some(Command::StartTls) => {
                context.reply(format_args!("{tag} BAD STARTTLS is not available"));
                return Step::Bad(Self::fresh());
            }
            Some(Command::Login { name, password }) => {
                let tag = Tag(tag.into());
                if !context.offers_login() {
                    return Step::Reject(tag, Rejection::PlaintextLogin);
                }
                let credentials = text::credentials(text::login_name(&name), &password);
                return machine::present(tag, credentials);
            }
            Some(Command::Authenticate { mechanism, initial }) => {
                return machine::authenticate(Tag(tag.into()), mechanism, initial, context);
            }
            Some(Command::Unknown) => context.reply(format_args!("{tag} BAD Command unknown")),
            Some(Command::AfterLogin) => context.reply(format_args!("{tag} BAD Log in first")),
            None if command::begins_login(octets) || command::begins_authenticate(octets) => {
                return Step::Reject(Tag(tag.into()), Rejection::Malformed);
            }
            None => {
                context.reply(format_args!("{tag} BAD Command unknown or malformed"));
                return Step::Bad(Self::fresh());
            }
        }
        Step::Read(Self::fresh())
    }
}

impl Dialect for Dialog {
    type CommandTag = Tag;

    // The space stays if the challenge is empty, because old clients need it (RFC 4959 §4,
    // examples).
    const LOGIN_COMMAND: &'static str = "LOGIN";
    const CONTINUATION: &'static str = "+ ";

    fn fresh() -> Self {
        Self::awaiting(Partial::default())
    }

    fn authenticating(tag: Tag, exchange: Exchange) -> Self {
        Self(State::Response(tag, exchange))
    }

    fn awaits_command(&self) -> bool {
        matches!(&self.0, State::Line(partial) if partial.octets.is_empty())
    }

    fn wants(&self, limits: &Limits, received: &[u8]) -> Wants {
        match &self.0 {
            State::Literal(_, octets) => Wants::Octets(*octets),
            State::Response(..) => Wants::Response(limits.sasl_line_bytes),
            State::Line(partial) if partial.octets.is_empty() && command::begins_authenticate(received) => {
                Wants::Line(limits.sasl_line_bytes)
            }
            State::Line(partial) => {
                let lines = partial.octets.len() - partial.literal_octets;
                Wants::Line(limits.imap_line_bytes.saturating_sub(lines))
            }
        }
    }

    fn handle(self, input: Input, context: &mut Context) -> Step<Self> {
        match (self.0, input) {
            (State::Line(partial), Input::Read(line)) => Self::line(partial, &line, context),
            (State::Literal(mut partial, _), Input::Read(octets)) => {
                append(&mut partial.octets, &octets);
                Step::Read(Self::awaiting(partial))
            }
            (State::Response(tag, exchange), Input::Read(line)) => machine::respond(tag, exchange, &line, context),
            (_, Input::TooLong) => {
                context.reply(format_args!("* BAD Command line too long"));
                Step::Close(CloseReason::TooLong)
            }
            (state, Input::Flawed) => {
                let tag = match state {
                    State::Line(partial) | State::Literal(partial, _) => Tag::of(&partial.octets),
                    State::Response(tag, _) => tag,
                };
                context.reply(format_args!("{} BAD A line ends in CRLF and holds no NUL", tag.0));
                Step::Bad(Self::fresh())
            }
        }
    }

    fn greet(context: &mut Context) {
        // The greeting has the list, because some clients never ask for it.
        let capabilities = capabilities::before_login(context);
        context.reply(format_args!("* OK [CAPABILITY {capabilities}] Gatepost ready"));
    }

    fn succeed(tag: Tag, upstream: &Capabilities, context: &mut Context) {
        let capabilities = capabilities::after_login(upstream);
        if capabilities.is_empty() {
            context.reply(format_args!("{} OK Logged in", tag.0));
        } else {
            context.reply(format_args!("{} OK [CAPABILITY {capabilities}] Logged in", tag.0));
        }
    }

    fn refuse(tag: Tag, refusal: Refusal, context: &mut Context) {
        let code = match refusal {
            Refusal::InvalidCredentials => "AUTHENTICATIONFAILED",
            Refusal::NotAuthorized => "AUTHORIZATIONFAILED",
            Refusal::ContactAdmin => "CONTACTADMIN",
            Refusal::Unavailable => "UNAVAILABLE",
            Refusal::Limit => "LIMIT",
            Refusal::ServerBug => "SERVERBUG",
        };
        let text = context.refusal(refusal);
        context.reply(format_args!("{} NO [{code}] {text}", tag.0));
    }

    fn demand_tls(tag: Tag, context: &mut Context) {
        let text = context.tls_demand();
        context.reply(format_args!("{} NO [PRIVACYREQUIRED] {text}", tag.0));
    }

    fn abort(tag: Tag, abort: Abort, context: &mut Context) {
        let text = match abort {
            Abort::Mechanism => "NO Mechanism not supported",
            Abort::Syntax => "BAD Malformed login",
            Abort::Cancelled => "BAD AUTHENTICATE cancelled",
        };
        context.reply(format_args!("{} {text}", tag.0));
    }

    fn close_reply(reply: CloseReply, _awaited: bool, context: &mut Context) {
        let code = match reply {
            CloseReply::Shutdown(ShutdownReason::TooManyConnections) => "[LIMIT] ",
            CloseReply::Shutdown(ShutdownReason::Draining) => "[UNAVAILABLE] ",
            _ => "",
        };
        context.reply(format_args!("* BYE {code}{}", reply.text()));
    }
}
