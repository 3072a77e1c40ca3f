//! Log lines on standard error: text for people, JSON for machines.
//!
//! Mail programs choose their user names and servers choose their error texts, so every value is
//! made harmless here. Control characters are escaped, a value is cut at [`VALUE_BYTES`], a line at
//! [`LINE_BYTES`]. Only Gatepost's own events are written below the level `error`. Libraries may
//! trace what they send, which can be a secret, and they warn of what any stranger does without
//! naming the peer. In a flood lines are dropped and counted.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::rate::{Rate, Verdict};
use gatepost_config::{Log, LogFormat};

/// Longest value, in octets; a cut value ends in `…`.
pub const VALUE_BYTES: usize = 1_024;

/// Longest line, in octets; fields that do not fit are left out.
pub const LINE_BYTES: usize = 8_192;

/// Writes the process's log lines to standard error from now on.
///
/// Colours are used for text on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// When it has been called before.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, handle) = changeable(log, colour, std::io::stderr);
    subscriber.try_init()?;
    // Only the first call gets here.
    let _ = HANDLE.set(handle);
    Ok(())
}

/// Changes the format and the level of the process's log, if there is one.
pub fn change(log: &Log) {
    if let Some(Handle { form, levels }) = HANDLE.get() {
        form.set(log.format);
        // Fails only without its subscriber, which lives as long as the process.
        let _gone = levels.reload(targets(log));
    }
}

/// The handle of the process's log.
static HANDLE: OnceLock<Handle> = OnceLock::new();

struct Handle {
    form: Forms,
    levels: reload::Handle<Targets, Registry>,
}

/// A subscriber that writes the same lines to any writer and is not installed for the process; for
/// tests.
pub fn subscriber<W>(log: &Log, colour: bool, writer: W) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    changeable(log, colour, writer).0
}

fn changeable<W>(log: &Log, colour: bool, writer: W) -> (impl Subscriber + Send + Sync + 'static, Handle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let form = Forms { json: Arc::default(), colour };
    form.set(log.format);
    let (targets, levels) = reload::Layer::new(targets(log));
    let events = Lines { form: form.clone(), rate: Rate::new() };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .fmt_fields(form.clone())
        .event_format(events);
    (tracing_subscriber::registry().with(targets).with(lines), Handle { form, levels })
}

fn targets(log: &Log) -> Targets {
    let level = LevelFilter::from_level(log.level);
    Targets::new().with_target("gatepost", level).with_default(level.min(LevelFilter::ERROR))
}

/// The present format of the lines.
#[derive(Clone, Debug)]
struct Forms {
    json: Arc<AtomicBool>,
    colour: bool,
}

impl Forms {
    fn set(&self, format: LogFormat) {
        self.json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    fn get(&self) -> Form {
        if self.json.load(Ordering::Relaxed) { Form::Json } else { Form::Text { colour: self.colour } }
    }
}

/// The format of one line. Fields of spans are kept in the same format until an event needs them.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text { colour: bool },
    Json,
}

/// Formats events as lines, within the limits of [`Rate`].
#[derive(Debug)]
struct Lines {
    form: Forms,
    rate: Rate,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let form = self.form.get();
        let mut fields = Fields::new(form);
        event.record(&mut fields);
        let dropped = match self.rate.count(fields.peer, event.metadata().target()) {
            Verdict::Write => None,
            Verdict::WriteAfter(dropped) => Some(dropped),
            Verdict::Drop => return Ok(()),
        };
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        if let Some(dropped) = dropped {
            let message = format!("{dropped} lines of the log were dropped, because there were too many in a second");
            let line = form.begin(&time, Level::WARN, &message);
            writeln!(writer, "{line}{}", form.end())?;
        }
        let mut line = form.begin(&time, *event.metadata().level(), &fields.message);
        // The session's fields come first, because people search for them.
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(kept) = span.extensions().get::<FormattedFields<N>>() {
                push_bounded(&mut line, &kept.fields);
            }
        }
        for part in &fields.parts {
            push_bounded(&mut line, part);
        }
        writeln!(writer, "{line}{}", form.end())
    }
}

impl Form {
    fn begin(self, time: &str, level: Level, message: &str) -> String {
        match self {
            Self::Text { colour } => {
                let (on, off) = if colour { (colour_of(level), "\x1b[0m") } else { ("", "") };
                format!("{time} {on}{:>5}{off} {message}", level.as_str())
            }
            Self::Json => {
                let level = level.as_str().to_ascii_lowercase();
                let mut line = format!("{{\"time\":\"{time}\",\"level\":\"{level}\"");
                push_json(&mut line, "message", message);
                line
            }
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Text { .. } => "",
            Self::Json => "}",
        }
    }
}

impl<'writer> FormatFields<'writer> for Forms {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields::new(self.get());
        fields.record(&mut visitor);
        visitor.parts.iter().try_for_each(|part| writer.write_str(part))
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
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

/// Appends `part` if it fits; leaves room for the end of a JSON object.
fn push_bounded(line: &mut String, part: &str) {
    if line.len() + part.len() < LINE_BYTES {
        line.push_str(part);
    }
}

/// Fields in the format of the line, each with its separator in front.
struct Fields {
    form: Form,
    message: String,
    parts: Vec<String>,
    /// The peer that the line is about.
    peer: Option<SocketAddr>,
}

impl Fields {
    fn new(form: Form) -> Self {
        Self { form, message: String::new(), parts: Vec::new(), peer: None }
    }

    /// Adds a field. `bare` values (numbers, truth values) need no quotes.
    fn push(&mut self, field: &Field, value: &str, bare: bool) {
        let name = field.name();
        if name == "message" {
            // JSON is escaped when the line is put together.
            self.message = match self.form {
                Form::Text { .. } => harmless(value),
                Form::Json => cut(value).to_owned(),
            };
            return;
        }
        let mut part = String::new();
        match self.form {
            Form::Text { .. } => {
                let value = harmless(value);
                let plain = !value.is_empty() && !value.contains([' ', '"', '=']);
                let quoted = if plain { value } else { format!("\"{}\"", value.replace('"', "\\\"")) };
                part = format!(" {name}={quoted}");
            }
            Form::Json if bare => part = format!(",\"{name}\":{value}"),
            Form::Json => push_json(&mut part, name, cut(value)),
        }
        self.parts.push(part);
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
        self.push(field, &text.0, false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value, false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, &value.to_string(), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, &value.to_string(), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, if value { "true" } else { "false" }, true);
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

fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(VALUE_BYTES)).unwrap_or_default()
}

/// Cuts a value and escapes control, invisible and direction-changing characters.
fn harmless(value: &str) -> String {
    let mut text = String::new();
    for c in cut(value).chars() {
        if is_plain(c) {
            text.push(c);
        } else {
            text.extend(c.escape_default());
        }
        if text.len() > VALUE_BYTES {
            text.truncate(text.floor_char_boundary(VALUE_BYTES));
            break;
        }
    }
    if value.len() > VALUE_BYTES || text.len() == VALUE_BYTES {
        text.push('…');
    }
    text
}

/// True for a character that affects only itself: no control, no line separator, no change of
/// direction.
fn is_plain(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
}

/// Appends `,"name":"value"` with the value escaped (RFC 8259 §7), C1 controls and DEL as well.
fn push_json(line: &mut String, name: &str, value: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":\"");
    let start = line.len();
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if is_plain(c) => line.push(c),
            // Every character that is not plain is below U+10000, one unit of UTF-16.
            c => line.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        if line.len() - start > VALUE_BYTES {
            line.push('…');
            break;
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

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
        tracing::subscriber::with_default(subscriber(&log, false, move || sink.clone()), events);
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
