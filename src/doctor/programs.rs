//! The socket of `gatepost sendmail`: whether it is there, who reaches it, and whether the service
//! answers.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::facts::Facts;
use super::step::{Section, Step};
use crate::daemon::sendmail::{closed_directory, unseen};
use gatepost_config::{Sendmail, user};
use gatepost_core::failure::Actor;
use gatepost_core::system_error::Plain;

const HERE: Section = Section::Clients;
/// What the steps are about.
const SUBJECT: &str = "sendmail";
/// Time limit for the greeting of the service.
const GREETING: Duration = Duration::from_secs(5);
/// Longest greeting that is read.
const GREETING_OCTETS: u64 = 1_024;
/// Every user may write to the socket, which is what connecting needs.
const EVERYBODY: u32 = 0o002;

pub(super) async fn steps(facts: &Facts) -> Vec<Step> {
    let Some(config) = &facts.config.sendmail else { return Vec::new() };
    if facts.listening.is_none() {
        return vec![Step::skipped(HERE, SUBJECT, "the socket is not tested, because no service answers")];
    }
    let place = config.socket.display();
    let restart = || (Actor::GatepostAdmin, format!("restart Gatepost, and read its log for `{place}`"));
    match fs::symlink_metadata(&config.socket) {
        Ok(found) if !found.file_type().is_socket() => {
            let remedy = format!("remove `{place}`, then restart Gatepost");
            let text = format!("`{place}` is no socket");
            return vec![Step::problem(HERE, SUBJECT, text, (Actor::GatepostAdmin, remedy))];
        }
        Ok(_) => {}
        Err(error) => {
            let text = format!("no socket at `{place}` ({}), so no program can send", Plain(&error));
            return vec![Step::problem(HERE, SUBJECT, text, restart())];
        }
    }
    let answered = match timeout(GREETING, greeting(&config.socket)).await {
        Ok(Ok(greeting)) if greeting.starts_with("220 ") => {
            Step::ok(HERE, SUBJECT, format!("the service answers at `{place}`, {}", who(config)))
        }
        Ok(Ok(greeting)) => {
            let text = format!("the service refuses programs at `{place}`: {}", greeting.trim_end());
            Step::problem(HERE, SUBJECT, text, restart())
        }
        Ok(Err(error)) => {
            let text = format!("nothing answers at `{place}` ({}), so no program can send", Plain(&error));
            Step::problem(HERE, SUBJECT, text, restart())
        }
        Err(_) => {
            let text = format!("nothing answers at `{place}` within {GREETING:?}, so no program can send");
            Step::problem(HERE, SUBJECT, text, restart())
        }
    };
    [answered].into_iter().chain(of_users(config)).collect()
}

/// What keeps the configured users out.
fn of_users(config: &Sendmail) -> Vec<Step> {
    let others = match &config.users {
        Some(users) if users.is_empty() => return Vec::new(),
        Some(users) => users.as_slice(),
        None => &[],
    };
    let mut steps = Vec::new();
    let place = config.socket.display();
    if let Some((directory, mode)) = closed_directory(&config.socket) {
        let text = format!(
            "programs of other users cannot reach `{place}`: the directory `{}` has mode {mode:04o}",
            directory.display()
        );
        let remedy = "set `RuntimeDirectoryMode=0711` in the systemd unit, or set the mode to 0711".to_owned();
        steps.push(Step::problem(HERE, SUBJECT, text, (Actor::GatepostAdmin, remedy)));
    }
    let mode = fs::symlink_metadata(&config.socket).map(|found| found.permissions().mode() & 0o777);
    if let Ok(mode) = mode
        && mode & EVERYBODY == 0
    {
        let text = format!("programs of other users cannot reach `{place}`, which has mode {mode:04o}");
        let remedy = "restart Gatepost, which sets the mode to 0666".to_owned();
        steps.push(Step::problem(HERE, SUBJECT, text, (Actor::GatepostAdmin, remedy)));
    }
    if let Some(id) = unseen(others) {
        let text = format!("programs of user {} cannot send, because the service cannot see this user", user::name(id));
        let remedy = "install the drop-in `sendmail.conf` for the systemd unit (docs/recipes/sendmail.md)".to_owned();
        steps.push(Step::problem(HERE, SUBJECT, text, (Actor::GatepostAdmin, remedy)));
    }
    steps
}

fn who(config: &Sendmail) -> String {
    match &config.users {
        None => "and programs of every user may send".to_owned(),
        Some(users) if users.is_empty() => "and programs of root and the service's user may send".to_owned(),
        Some(users) => {
            let named: Vec<_> = users.iter().map(|id| user::name(*id)).collect();
            format!("and programs of root, the service's user and {} may send", named.join(", "))
        }
    }
}

/// Returns the first line of the service, which takes this process for a program of its own user.
async fn greeting(socket: &Path) -> io::Result<String> {
    let mut service = BufReader::new(UnixStream::connect(socket).await?);
    let mut line = String::new();
    (&mut service).take(GREETING_OCTETS).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    service.write_all(b"QUIT\r\n").await?;
    Ok(line)
}
