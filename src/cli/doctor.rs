//! `gatepost doctor`: examines the way of each account, in the running service if there is one, and
//! shows the outcome of each step.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::exit::{DONE, FAILED, USAGE};
use super::options::DoctorOptions;
use super::output::{complain, failed, report, result, write};
use super::run;
use super::settings::Settings;
use super::store_context::by;
use crate::app::server_name;
use crate::doctor::{Block, Event, Facts, Order, Recipient, Section, Step, Summary, closing, examine, heading};
use gatepost_config::load::Loaded;
use gatepost_config::{AuditLog, suggestion};
use gatepost_core::secret::Password;
use gatepost_core::system_error::Plain;
use gatepost_telemetry::audit::{self, Entry};

/// A section that takes longer is named on a terminal.
const SILENCE: Duration = Duration::from_secs(1);
/// Longest password, in bytes. Entra takes 256 characters.
const PASSWORD_BYTES: usize = 2_048;
/// Most events that wait to be shown.
const WAITING: usize = 64;

/// Examines what the options name, and returns the exit code: 0 without a problem, 1 with one.
pub fn doctor(options: DoctorOptions) -> u8 {
    let password = match options.login.is_some().then(read_password).transpose() {
        Ok(password) => password,
        Err(NotRead::Unreadable(error)) => {
            return failed(format_args!("the password cannot be read: {}", Plain(&error)));
        }
        Err(unusable) => return misused(&unusable.to_string()),
    };
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(examined(options, password));
    // Connections that close need not be waited for.
    runtime.shutdown_background();
    code
}

/// Examines a configuration in this process, whether a service runs or not. Returns the exit code.
pub(super) fn examine_alone(settings: Settings) -> u8 {
    let places = match settings.service_sockets(std::env::vars_os()) {
        Ok(places) => places,
        Err(problems) => return report(&problems),
    };
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let options = DoctorOptions {
        account: None,
        login: None,
        from: None,
        send: false,
        send_test: None,
        json: false,
        socket: None,
        settings,
    };
    let code = runtime.block_on(alone(options, None, places));
    runtime.shutdown_background();
    code
}

async fn examined(options: DoctorOptions, password: Option<Password>) -> u8 {
    #[cfg(unix)]
    let places = match &options.socket {
        Some(socket) => vec![socket.clone()],
        None => match options.settings.service_sockets(std::env::vars_os()) {
            Ok(places) => places,
            Err(problems) => return report(&problems),
        },
    };
    #[cfg(not(unix))]
    let places = Vec::new();
    #[cfg(unix)]
    {
        if !places.is_empty() {
            use super::socket::stream;
            let (sender, events) = mpsc::channel(WAITING);
            let show = Show::new(options.json);
            let form = form(&options, password.as_ref());
            let (line, lines) = mpsc::channel(WAITING);
            let asking = stream(&places, "/doctor", form, line);
            let (asked, (), shown) = tokio::join!(asking, read_events(lines, sender), show.all(events));
            return match (asked, shown) {
                (_, Some(code)) => code,
                (Ok(None), None) => failed("the service broke the examination off. Its log says why"),
                (Ok(Some((StatusCode::UNPROCESSABLE_ENTITY, text))), None) => misused(text.trim_end()),
                (Ok(Some((_, text))), None) => failed(text.trim_end()),
                (Err(error), None) if options.socket.is_none() && error.is_absence() => {
                    alone(options, password, places).await
                }
                (Err(error), None) => failed(error.told()),
            };
        }
    }
    alone(options, password, places).await
}

/// Reads the lines of the service as events. What a newer service tells besides is left out.
#[cfg(unix)]
async fn read_events(mut lines: mpsc::Receiver<String>, events: mpsc::Sender<Event>) {
    while let Some(line) = lines.recv().await {
        if let Ok(event) = serde_json::from_str(&line)
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Says why the command line cannot be carried out, and returns the exit code.
fn misused(why: &str) -> u8 {
    complain(format_args!("gatepost: {why}"));
    USAGE
}

/// Examines in this process, because no service answers at these sockets.
async fn alone(options: DoctorOptions, password: Option<Password>, service_sockets: Vec<PathBuf>) -> u8 {
    let Loaded { config, .. } = options.settings.load_tracked(std::env::vars_os());
    let config = match config {
        Ok(config) => config,
        Err(problems) => return report(&problems),
    };
    let order = Order {
        login: options.account.or(options.login),
        password,
        from: options.from,
        send: options.send_test.map(Recipient::Address).or(options.send.then_some(Recipient::Itself)),
    };
    if let Some(why) = order.lacks_password(&config) {
        return misused(&why);
    }
    let (server_name, audit) = (server_name(&config), config.log.audit.clone());
    let facts = match Facts::alone(config, server_name, service_sockets).await {
        Ok(facts) => Arc::new(facts),
        Err(error) => return failed(format_args!("no service would start with this configuration: {error}")),
    };
    if let Some(audit) = &audit {
        note(audit, &order);
    }
    let (sender, events) = mpsc::channel(WAITING);
    let examining = tokio::spawn(examine(facts, order, sender));
    let shown = Show::new(options.json).all(events).await;
    match (examining.await, shown) {
        (_, Some(code)) => code,
        (_, None) => failed("the examination broke off. Report it"),
    }
}

/// Writes into the audit log what the order does beyond looking.
fn note(audit: &AuditLog, order: &Order) {
    let by = by();
    for (outcome, message) in order.acts() {
        let account = order.account();
        let entry = Entry { event: "admin", outcome, account, by: &by, message: &message, ..Entry::default() };
        if let Err(error) = audit::record_once(audit, &entry) {
            complain(format_args!("gatepost: this is missing in the audit log: {error}"));
        }
    }
}

/// The form for the service.
#[cfg(unix)]
fn form(options: &DoctorOptions, password: Option<&Password>) -> Zeroizing<String> {
    // Room for everything at once, because a buffer that grows leaves copies of the password behind.
    let room = 4 * 1024 + 3 * password.map_or(0, |password| password.expose().len());
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
    if let Some(login) = options.account.as_ref().or(options.login.as_ref()) {
        form.append_pair("login", login.as_str());
    }
    if let Some(from) = options.from {
        form.append_pair("from", &from.to_string());
    }
    if options.send {
        form.append_pair("send", "yes");
    }
    if let Some(to) = &options.send_test {
        form.append_pair("send_test", to.as_str());
    }
    if let Some(password) = password {
        form.append_pair("password", password.expose());
    }
    Zeroizing::new(form.finish())
}

/// Reads the password of an account: from the terminal without echo, otherwise one line of standard
/// input.
///
/// # Errors
/// [`NotRead`].
fn read_password() -> Result<Password, NotRead> {
    if io::stdin().is_terminal() {
        return usable(rpassword::prompt_password("Password: ")?);
    }
    // Room for the longest line with its end, and for one byte that shows that it is longer. A buffer
    // that grows leaves copies of the password behind.
    let room = PASSWORD_BYTES + 3;
    let mut line = String::with_capacity(room);
    io::stdin().lock().take(room as u64).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    usable(line)
}

fn usable(password: String) -> Result<Password, NotRead> {
    let length = password.len();
    let password = Password::new(password);
    match length {
        0 => Err(NotRead::Empty),
        1..=PASSWORD_BYTES => Ok(password),
        _ => Err(NotRead::TooLong),
    }
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
enum NotRead {
    /// The system does not give it.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Nothing came.
    #[error("the password is empty. Enter it at the prompt, or give it as one line of standard input")]
    Empty,
    /// More came than a password has.
    #[error("the password has more than {PASSWORD_BYTES} bytes. Give it alone, as one line of standard input")]
    TooLong,
}

/// Shows events.
struct Show {
    json: bool,
    colored: bool,
    /// Whether the section in progress is named while nothing is shown.
    progress: bool,
    /// Whether such a name is on the screen.
    named: bool,
    begin: Option<Event>,
    steps: Vec<Step>,
    block: Option<Block>,
    summary: Option<Summary>,
    /// Why standard output cannot be written.
    broken: Option<io::Error>,
}

impl Show {
    fn new(json: bool) -> Self {
        Self {
            json,
            colored: !json && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            progress: io::stderr().is_terminal(),
            named: false,
            begin: None,
            steps: Vec::new(),
            block: None,
            summary: None,
            broken: None,
        }
    }

    /// Shows all events, and returns the exit code; `None` if none came, or not the last.
    async fn all(mut self, mut events: mpsc::Receiver<Event>) -> Option<u8> {
        let mut working: Option<Section> = None;
        loop {
            let event = match timeout(SILENCE, events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => {
                    if let Some(section) = working {
                        self.name(section);
                    }
                    continue;
                }
            };
            // A sign of life need not be seen.
            if !matches!(event, Event::Working { section } if working == Some(section)) {
                self.unname();
            }
            match event {
                Event::Begin { .. } => {
                    self.out(&heading(&event));
                    self.begin = Some(event);
                }
                Event::Working { section } => working = Some(section),
                Event::Step(step) => self.step(step),
                Event::End(summary) => self.summary = Some(summary),
            }
        }
        self.unname();
        if let Some(block) = self.block.take() {
            let lines = block.lines(self.colored);
            self.out(&lines);
        }
        let summary = self.summary?;
        if !self.json {
            self.out(&closing(&summary));
        }
        if let Some(error) = self.broken {
            return Some(failed(format_args!("standard output cannot be written: {error}")));
        }
        let code = if summary.problems > 0 { FAILED } else { DONE };
        if !self.json {
            return Some(code);
        }
        Some(match result(format_args!("{:#}\n", self.document(&summary))) {
            DONE => code,
            failed => failed,
        })
    }

    fn step(&mut self, step: Step) {
        if self.json {
            self.steps.push(step);
            return;
        }
        let refused = match &mut self.block {
            Some(block) => block.add(step),
            None => Some(step),
        };
        if let Some(step) = refused {
            let done = self.block.replace(Block::new(step));
            if let Some(done) = done {
                let lines = done.lines(self.colored);
                self.out(&lines);
            }
        }
    }

    fn document(&self, summary: &Summary) -> serde_json::Value {
        let mut document = json!({
            "ok": summary.problems == 0,
            "problems": summary.problems,
            "warnings": summary.warnings,
            "skipped": summary.skipped,
            "steps": self.steps,
        });
        if let (Some(Event::Begin { version, running, pid, user, file }), Some(fields)) =
            (&self.begin, document.as_object_mut())
        {
            let begin = [
                ("version", json!(version)),
                ("running", json!(running)),
                ("pid", json!(pid)),
                ("user", json!(user)),
                ("file", json!(file)),
            ];
            fields.extend(begin.map(|(name, value)| (name.to_owned(), value)));
        }
        document
    }

    fn out(&mut self, text: &str) {
        if self.json || self.broken.is_some() {
            return;
        }
        if let Err(error) = write(io::stdout().lock(), suggestion::complete(text)) {
            self.broken = Some(error);
        }
    }

    /// Names the section in progress on the last line of the terminal.
    fn name(&mut self, section: Section) {
        if self.progress && !self.named {
            self.named = true;
            let _unseen = write(io::stderr().lock(), format_args!("checking {} …", section.title().to_lowercase()));
        }
    }

    fn unname(&mut self) {
        if self.named {
            self.named = false;
            // Returns to the beginning of the line and clears it.
            let _unseen = write(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
