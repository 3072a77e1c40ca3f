//! Log lines: on standard error as text for people or JSON for machines, or in the journal of
//! systemd.
//!
//! Mail programs choose their user names and servers choose their error texts, so every value is
//! made harmless here. Control characters are escaped, a value is cut at [`VALUE_BYTES`], a line at
//! [`LINE_BYTES`]. Only Gatepost's own events are written below the level `error`. Libraries may
//! trace what they send, which can be a secret, and they warn of what any stranger does without
//! naming the peer. In a flood lines are dropped and counted.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::journald::{self, Entry, Journal, JournalError};
use super::rate::{Rate, Verdict};
use super::stderr;
use gatepost_config::{Log, LogFormat, suggestion};
use gatepost_core::reloadable::Reloadable;

/// Longest value, in octets; a cut value ends in `…`.
pub const VALUE_BYTES: usize = 1_024;

/// Longest line, in octets; fields that do not fit are left out.
pub const LINE_BYTES: usize = 8_192;

/// The program's name in the journal.
const IDENTIFIER: &str = "gatepost";

/// Why the log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no journal for `log.format: journal`.
    #[error("{0}. Set `log.format: text`, or start systemd-journald")]
    Journal(#[from] JournalError),
    /// It was started before.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// Writes the process's log lines to standard error or to the journal from now on.
///
/// Colours are used for text on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// [`LogError`].
pub fn init(log: &Log) -> Result<(), LogError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let look = Look { colour, prefixed: stderr::is_journal() };
    let (subscriber, handle) = changeable(prepare(log)?, look, io::stderr);
    subscriber.try_init()?;
    // Only the first call gets here.
    let _ = HANDLE.set(handle);
    Ok(())
}

/// Prepares a change of the format and the level of the process's log.
///
/// # Errors
/// [`LogError::Journal`].
pub fn prepare(log: &Log) -> Result<Change, LogError> {
    Ok(Change { form: Form::new(log.format, Path::new(journald::SOCKET))?, levels: targets(log) })
}

/// A change of the log that can no longer fail.
#[derive(Debug)]
pub struct Change {
    form: Form,
    levels: Targets,
}

impl Change {
    /// Makes the change in the process's log, if there is one.
    pub fn apply(self) {
        if let Some(Handle { form, levels }) = HANDLE.get() {
            form.set(self.form);
            // Fails only without its subscriber, which lives as long as the process.
            let _gone = levels.reload(self.levels);
        }
    }
}

/// The handle of the process's log.
static HANDLE: OnceLock<Handle> = OnceLock::new();

struct Handle {
    form: Arc<Reloadable<Form>>,
    levels: reload::Handle<Targets, Registry>,
}

/// A subscriber that writes the same lines to any writer and is not installed for the process; for
/// tests.
///
/// # Errors
/// [`LogError::Journal`].
pub fn subscriber<W>(
    log: &Log,
    colour: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    Ok(changeable(prepare(log)?, Look { colour, prefixed: false }, writer).0)
}

fn changeable<W>(change: Change, look: Look, writer: W) -> (impl Subscriber + Send + Sync + 'static, Handle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let form = Arc::new(Reloadable::new(change.form));
    let (targets, levels) = reload::Layer::new(change.levels);
    let lines = Lines { form: Arc::clone(&form), look, rate: Rate::new(), writer };
    (tracing_subscriber::registry().with(targets).with(lines), Handle { form, levels })
}

fn targets(log: &Log) -> Targets {
    let level = LevelFilter::from_level(log.level);
    Targets::new().with_target("gatepost", level).with_default(level.min(LevelFilter::ERROR))
}

/// The present format of the lines.
#[derive(Debug)]
enum Form {
    Text,
    Json,
    Journal(Journal),
}

impl Form {
    fn new(format: LogFormat, journal: &Path) -> Result<Self, JournalError> {
        Ok(match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
            LogFormat::Journal => Self::Journal(Journal::open_without_waiting(journal)?),
        })
    }
}

/// What the lines on standard error have besides, because of what reads them.
#[derive(Clone, Copy, Debug)]
struct Look {
    colour: bool,
    /// Each line begins with its priority.
    prefixed: bool,
}

/// Writes events as lines, within the limits of [`Rate`].
struct Lines<W> {
    form: Arc<Reloadable<Form>>,
    look: Look,
    rate: Rate,
    writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let form = self.form.get();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let dropped = match self.rate.count(fields.peer, event.metadata().target()) {
            Verdict::Write => None,
            Verdict::WriteAfter(dropped) => Some(dropped),
            Verdict::Drop => return,
        };
        if let Some(dropped) = dropped {
            let message = format!("{dropped} lines of the log were dropped, because there were too many in a second");
            self.write(Line::new(&form, self.look, Level::WARN, &message));
        }
        let mut line = Line::new(&form, self.look, *event.metadata().level(), &fields.message);
        // The session's fields come first, because people search for them.
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                of_span.values.iter().for_each(|value| line.push(value));
            }
        }
        fields.values.iter().for_each(|value| line.push(value));
        self.write(line);
    }
}

impl<W> Lines<W>
where
    W: for<'w> MakeWriter<'w>,
{
    /// Writes a line. One that the journal does not take goes to standard error.
    fn write(&self, line: Line<'_>) {
        if let Some(text) = line.finish() {
            // There is no other place to report that standard error is closed.
            let _closed = self.writer.make_writer().write_all(text.as_bytes());
        }
    }
}

/// A line in the making.
struct Line<'f> {
    form: &'f Form,
    text: String,
    /// Where the message begins in the text.
    message: usize,
    /// The fields for the journal. They are those of the text with longer names, so that a datagram
    /// holds them all.
    entry: Option<Entry>,
}

impl<'f> Line<'f> {
    fn new(form: &'f Form, look: Look, level: Level, message: &str) -> Self {
        let prefix = if look.prefixed { stderr::prefix(level) } else { String::new() };
        let mut time = String::new();
        // A string takes everything.
        let _always = SystemTime.format_time(&mut Writer::new(&mut time));
        let (name, (on, off)) = (level.as_str(), if look.colour { (colour_of(level), "\x1b[0m") } else { ("", "") });
        let mut text = match form {
            Form::Json => format!("{prefix}{{\"time\":\"{time}\",\"level\":\"{}\"", name.to_ascii_lowercase()),
            Form::Text | Form::Journal(_) => format!("{prefix}{time} {on}{name:>5}{off} "),
        };
        let start = text.len();
        match form {
            Form::Json => push_json(&mut text, "message", message),
            Form::Text | Form::Journal(_) => push_harmless(&mut text, message),
        }
        let entry = match form {
            Form::Journal(_) => Some(Entry::new(IDENTIFIER, journald::priority(level))),
            Form::Text | Form::Json => None,
        };
        Self { form, text, message: start, entry }
    }

    /// Adds a value if it fits; leaves room for the end of a JSON object.
    fn push(&mut self, value: &Value) {
        let Value { name, text, bare } = value;
        let mut part = String::new();
        let mut plain = String::new();
        match self.form {
            Form::Json if *bare => part = format!(",\"{name}\":{text}"),
            Form::Json => push_json(&mut part, name, text),
            Form::Text | Form::Journal(_) => {
                push_harmless(&mut plain, text);
                let quoted = plain.is_empty() || plain.contains([' ', '"', '=']);
                part = match quoted {
                    true => format!(" {name}=\"{}\"", plain.replace('"', "\\\"")),
                    false => format!(" {name}={plain}"),
                };
            }
        }
        if self.text.len() + part.len() < LINE_BYTES {
            self.text.push_str(&part);
            if let Some(entry) = &mut self.entry {
                entry.field(name, &plain);
            }
        }
    }

    /// Sends the line to the journal, or returns it for standard error.
    fn finish(mut self) -> Option<String> {
        if let (Form::Journal(journal), Some(entry)) = (self.form, self.entry) {
            let message = self.text.get(self.message..).unwrap_or_default();
            if journal.send(&entry.message(message)).is_ok() {
                return None;
            }
        }
        if let Form::Json = self.form {
            self.text.push('}');
        }
        self.text.push('\n');
        Some(self.text)
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

/// The fields of an event or of a span. They are kept as they are, because the format may change
/// while a span lives.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    values: Vec<Value>,
    /// The peer that the line is about.
    peer: Option<SocketAddr>,
}

#[derive(Debug)]
struct Value {
    name: &'static str,
    text: String,
    /// Numbers and truth values need no quotes.
    bare: bool,
}

impl Fields {
    fn push(&mut self, field: &Field, text: String, bare: bool) {
        let text = match suggestion::complete(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(completed) => completed,
        };
        match field.name() {
            "message" => self.message = text,
            name => self.values.push(Value { name, text, bare }),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // Writing stops when a value is too long; the part that was written is used.
        let _ = write!(text, "{value:?}");
        if field.name() == "peer" {
            self.peer = text.0.parse().ok();
        }
        self.push(field, text.0, false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded(String::new());
        let _ = text.write_str(value);
        self.push(field, text.0, false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.to_string(), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.to_string(), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.to_string(), true);
    }
}

/// Takes a little more than a value may have, so that the cut is visible, and then refuses.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text.get(..text.floor_char_boundary(2 * VALUE_BYTES)).unwrap_or_default());
        if self.0.len() > VALUE_BYTES { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Returns the value in the form in which text lines and the journal have it: cut, with control,
/// invisible and direction-changing characters escaped.
pub(super) fn harmless(value: &str) -> String {
    let mut text = String::new();
    push_harmless(&mut text, value);
    text
}

fn push_harmless(line: &mut String, value: &str) {
    push_cut(line, value, |line, c| match is_plain(c) {
        true => line.push(c),
        false => line.extend(c.escape_default()),
    });
}

/// Appends `,"name":"value"` with the value escaped (RFC 8259 §7), C1 controls and DEL as well.
fn push_json(line: &mut String, name: &str, value: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":\"");
    push_cut(line, value, |line, c| match c {
        '"' | '\\' => line.extend(['\\', c]),
        c if is_plain(c) => line.push(c),
        // Every character that is not plain is below U+10000, one unit of UTF-16.
        c => line.push_str(&format!("\\u{:04x}", u32::from(c))),
    });
    line.push('"');
}

/// Appends the characters of a value in the form that `push` gives them, until there are
/// [`VALUE_BYTES`].
fn push_cut(line: &mut String, value: &str, push: impl Fn(&mut String, char)) {
    let start = line.len();
    for c in value.chars() {
        let end = line.len();
        push(line, c);
        if line.len() - start > VALUE_BYTES {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
}

/// True for a character that affects only itself: no control, no line separator, no change of
/// direction.
pub fn is_plain(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    #[cfg(unix)]
    use crate::journald::fake::Fake;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: Level, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let sink = lines.clone();
        let log = Log { format, level, audit: None };
        tracing::subscriber::with_default(subscriber(&log, false, move || sink.clone()).unwrap(), events);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn session() {
        let span = tracing::info_span!(target: "gatepost", "session", session = "a1", login = tracing::field::Empty);
        let _entered = span.enter();
        span.record("login", "alice@contoso.com");
        tracing::info!(target: "gatepost", bytes = 12_u64, outcome = "ended well", "session ended");
    }

    #[test]
    fn text_lines_carry_the_fields_of_the_session() {
        let text = written(LogFormat::Text, Level::INFO, session);
        let (_, rest) = text.split_once("  INFO ").unwrap();
        assert_eq!(rest, "session ended session=a1 login=alice@contoso.com bytes=12 outcome=\"ended well\"\n");
    }

    #[test]
    fn json_lines_are_objects() {
        let text = written(LogFormat::Json, Level::INFO, session);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "session ended");
        assert_eq!(value["level"], "info");
        assert_eq!(value["session"], "a1");
        assert_eq!(value["login"], "alice@contoso.com");
        assert_eq!(value["bytes"], 12);
    }

    #[test]
    fn a_session_that_outlives_a_change_of_the_format_stands_in_the_new_one() {
        let lines = Lines::default();
        let sink = lines.clone();
        let log = |format| Log { format, level: Level::INFO, audit: None };
        let look = Look { colour: false, prefixed: true };
        let (subscriber, handle) = changeable(prepare(&log(LogFormat::Text)).unwrap(), look, move || sink.clone());
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: "gatepost", "session", session = "a1").entered();
            handle.form.set(prepare(&log(LogFormat::Json)).unwrap().form);
            tracing::warn!(target: "gatepost", "slow");
            handle.form.set(prepare(&log(LogFormat::Text)).unwrap().form);
            tracing::debug!(target: "gatepost", "not at this level");
            tracing::error!(target: "gatepost", "ended");
            drop(span);
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let (json, plain) = text.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(json.strip_prefix("<4>").unwrap()).unwrap();
        assert_eq!((&json["message"], &json["session"]), (&"slow".into(), &"a1".into()));
        assert!(plain.starts_with("<3>") && plain.ends_with(" ERROR ended session=a1\n"), "{plain}");
    }

    #[cfg(unix)]
    fn in_journal(fake: &Fake, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let sink = lines.clone();
        let form = Form::new(LogFormat::Journal, &fake.path).unwrap();
        let log = Log { format: LogFormat::Journal, level: Level::INFO, audit: None };
        let change = Change { form, levels: targets(&log) };
        let (subscriber, _) = changeable(change, Look { colour: false, prefixed: true }, move || sink.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_of_the_journal_has_the_text_and_each_field() {
        let fake = Fake::new();
        let hostile = || tracing::error!(target: "gatepost", user = "x\n_UID=0\u{1b}", "not\nMESSAGE=so");
        assert_eq!(in_journal(&fake, || [session as fn(), hostile].iter().for_each(|event| event())), "");
        assert_eq!(
            fake.lines(),
            [
                "SYSLOG_IDENTIFIER=gatepost",
                "PRIORITY=6",
                "GATEPOST_SESSION=a1",
                "GATEPOST_LOGIN=alice@contoso.com",
                "GATEPOST_BYTES=12",
                "GATEPOST_OUTCOME=ended well",
                "MESSAGE=session ended session=a1 login=alice@contoso.com bytes=12 outcome=\"ended well\"",
            ]
        );
        assert_eq!(
            fake.lines(),
            [
                "SYSLOG_IDENTIFIER=gatepost",
                "PRIORITY=3",
                r"GATEPOST_USER=x\n_UID=0\u{1b}",
                r#"MESSAGE=not\nMESSAGE=so user="x\n_UID=0\u{1b}""#,
            ]
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_the_journal_does_not_take_goes_to_standard_error() {
        let fake = Fake::new();
        let text = in_journal(&fake, || {
            fake.end();
            session();
        });
        assert!(text.starts_with("<6>2"), "{text}");
        assert!(
            text.ends_with(" INFO session ended session=a1 login=alice@contoso.com bytes=12 outcome=\"ended well\"\n")
        );
    }

    #[test]
    fn hostile_values_stay_on_their_line() {
        let hostile = "x\r\n\x1b[31mroot logged in\u{9b}\u{202e}\"\\\0";
        let event = || {
            tracing::warn!(target: "gatepost", user = hostile, debug = ?hostile, "hello {hostile}");
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(format, Level::INFO, event);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
            assert!(!text.contains('\u{202e}'), "{text:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, Level::INFO, event)).unwrap();
        assert_eq!(value["user"], hostile);
    }

    #[test]
    fn long_values_and_lines_are_cut() {
        let long = "ä\u{7}".repeat(100_000);
        let event = || {
            let l = long.as_str();
            tracing::info!(target: "gatepost", a = l, b = l, c = l, d = l, e = l, f = l, g = l, h = ?l, i = l, "{l}");
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(format, Level::INFO, event);
            assert!(text.len() <= LINE_BYTES + 1, "{}", text.len());
            assert!(text.contains('…'));
        }
        assert!(serde_json::from_str::<serde_json::Value>(&written(LogFormat::Json, Level::INFO, event)).is_ok());
    }

    #[test]
    fn a_flood_from_one_source_is_cut_and_counted() {
        let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let events = || {
            let begin = std::time::Instant::now();
            while begin.elapsed() < std::time::Duration::from_millis(1_100) {
                tracing::info!(target: "gatepost", %peer, "again");
                tracing::info!(target: "gatepost", "another");
            }
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(format, Level::INFO, events);
            let about = text.lines().filter(|line| line.contains("192.0.2.1")).count();
            assert!((100..=300).contains(&about), "{about}");
            assert!(text.lines().count() <= 3 * 5_000 + 2);
            assert!(text.lines().any(|line| line.contains("lines of the log were dropped")), "{format:?}");
            if let LogFormat::Json = format {
                assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
            }
        }
    }

    #[test]
    fn libraries_are_quiet_below_error() {
        let events = || {
            tracing::trace!(target: "hyper::proto", "authorization: Bearer eyJ0");
            tracing::trace!(target: "gatepost::session", "ours");
            tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
            tracing::error!(target: "rustls", "theirs");
        };
        let text = written(LogFormat::Text, Level::TRACE, events);
        assert!(text.contains("ours") && text.contains("theirs"), "{text}");
        assert!(!text.contains("Bearer") && !text.contains("PING"), "{text}");
    }

    #[test]
    fn a_flood_of_a_library_is_cut_and_takes_nothing_from_the_others() {
        const OURS: usize = 40;
        let events = || {
            for _ in 0..OURS {
                (0..1_000).for_each(|_| tracing::error!(target: "h2::proto", "theirs"));
                tracing::info!(target: "gatepost::session", "ours");
            }
        };
        let text = written(LogFormat::Text, Level::INFO, events);
        assert_eq!(text.lines().filter(|line| line.contains("ours")).count(), OURS);
    }
}
