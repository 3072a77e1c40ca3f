//! The command: from the arguments to the exit code.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use tokio::runtime::Builder;

use super::arguments::{Arguments, Task};
use super::client::{self, Envelope};
use super::letter::{Letter, addresses};
use super::outcome::{Code, NotSent};
use gatepost_config::Sendmail;
use gatepost_telemetry::stderr;
use tracing::Level;

/// The environment variable with the socket, for a service that has another one than usual.
const SOCKET: &str = "GATEPOST_SENDMAIL_SOCKET";

/// The names under which the program is sendmail.
const NAMES: [&str; 3] = ["sendmail", "mailq", "newaliases"];

/// The socket of the system's log (syslog(3)).
const SYSTEM_LOG: &str = "/dev/log";
/// Facility `mail`, severity `err`.
const MAIL_ERROR: u8 = 2 << 3 | 3;

/// Returns name and arguments if the program was called as sendmail: by such a name, or with the
/// command `sendmail`. Then nothing in them is a flag of another command.
pub fn called(arguments: impl IntoIterator<Item = OsString>) -> Option<(String, Vec<OsString>)> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next()?;
    let name = Path::new(&program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    if NAMES.contains(&name) {
        return Some((name.to_owned(), arguments.collect()));
    }
    let arguments: Vec<_> = arguments.collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "sendmail" && !rest.iter().any(|word| word == "--help") => {
            Some(("sendmail".to_owned(), rest.to_vec()))
        }
        _ => None,
    }
}

/// Sends the message on standard input. Returns the exit code.
pub fn sendmail(name: &str, arguments: Vec<OsString>) -> u8 {
    match Arguments::read(name, arguments).and_then(|arguments| run(&arguments)) {
        Ok(()) => Code::Ok as u8,
        Err(NotSent { code, why }) => {
            complain(&why);
            code as u8
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), NotSent> {
    if let Task::Nothing(why) = arguments.task {
        stderr::write(Level::INFO, &format!("gatepost sendmail: nothing to do: {why}"));
        return Ok(());
    }
    let socket = arguments
        .socket
        .clone()
        .or_else(|| env::var_os(SOCKET).filter(|path| !path.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(Sendmail::DEFAULT_SOCKET));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NotSent::of_system("the command cannot start", &error))?;
    if arguments.task == Task::Converse {
        let service = runtime.block_on(client::connect(&socket))?;
        return converse(service).map_err(|error| NotSent::of_system("the connection to the service broke", &error));
    }
    let mut letter = Letter::read(io::stdin().lock(), arguments.dot_ends)?;
    let (sender, recipients) = (sender(arguments)?, letter.recipients(arguments)?);
    let envelope = Envelope { sender, recipients, reports: arguments.reports.clone() };
    let full_name = arguments.full_name.as_deref();
    runtime.block_on(client::hand_over(&socket, &envelope, &mut letter, full_name))
}

/// Connects standard input and output to the service, for programs that speak SMTP (`-bs`).
fn converse(service: UnixStream) -> io::Result<()> {
    let to_service = service.try_clone()?;
    // Ends with the input, or with the process.
    thread::spawn(move || {
        let _gone = pass(io::stdin().lock(), &to_service);
        to_service.shutdown(Shutdown::Write)
    });
    pass(service, io::stdout().lock())
}

/// Passes on what comes, at once: the other side waits for each line.
fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(buffer.get(..read).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the envelope sender. `None`: the mailbox of the service, also in place of a user of this
/// machine, whom no reply would reach. An empty one is `<>`.
fn sender(arguments: &Arguments) -> Result<Option<String>, NotSent> {
    let Some(sender) = arguments.sender.as_deref() else { return Ok(None) };
    if matches!(sender.trim(), "" | "<>") {
        return Ok(Some(String::new()));
    }
    match addresses(sender.as_bytes()).as_deref() {
        Some([address]) if address.ends_with("@localhost") => Ok(None),
        Some([address]) => Ok(Some(address.clone())),
        _ => Err(NotSent::new(Code::Usage, format_args!("the sender `{sender}` is no address"))),
    }
}

/// Says why a message was not sent: to the program, and to the system's log, because many programs
/// pass it on to nobody.
fn complain(why: &str) {
    stderr::write(Level::ERROR, &format!("gatepost sendmail: {why}"));
    let told = UnixDatagram::unbound().and_then(|log| {
        log.set_nonblocking(true)?;
        let line = why.replace(char::is_control, " ");
        log.send_to(format!("<{MAIL_ERROR}>gatepost-sendmail[{}]: {line}", std::process::id()).as_bytes(), SYSTEM_LOG)
    });
    // Containers have no such log.
    let _no_log = told;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called_as(line: &str) -> Option<(String, Vec<OsString>)> {
        called(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_name_of_the_program_or_the_command_makes_it_sendmail() {
        for (line, name) in [
            ("/usr/sbin/sendmail -t -i", "sendmail"),
            ("sendmail --help", "sendmail"),
            ("mailq", "mailq"),
            ("/usr/bin/newaliases", "newaliases"),
            ("gatepost sendmail -t -i", "sendmail"),
        ] {
            assert_eq!(called_as(line).map(|(name, _)| name).as_deref(), Some(name), "{line}");
        }
        assert_eq!(called_as("gatepost sendmail -C x").unwrap().1, ["-C", "x"]);
        for line in
            ["gatepost", "gatepost run", "gatepost check sendmail", "gatepost sendmail --help", "sendmail.bak -t"]
        {
            assert_eq!(called_as(line), None, "{line}");
        }
    }

    #[test]
    fn a_user_of_the_machine_is_no_sender() {
        let of = |line: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            sender(&Arguments::read("sendmail", words).unwrap())
        };
        assert_eq!(of("-t"), Ok(None));
        assert_eq!(of("-f www-data"), Ok(None));
        assert_eq!(of("-f <www-data>"), Ok(None));
        assert_eq!(of("-froot(Cron)"), Ok(None));
        assert_eq!(of("-f <>"), Ok(Some(String::new())));
        assert_eq!(of("-f <a@x>"), Ok(Some("a@x".to_owned())));
        assert_eq!(of("-f a@x,b@x").unwrap_err().code, Code::Usage);
    }
}
