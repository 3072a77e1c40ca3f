//! Reads the section `state`: where sign-ins and device passwords are kept, and the key that seals
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::model::state::{RedisServer, State, StateKey};
use super::model::trust::Trust;
use super::purpose::{Purpose, Secret};
use super::reader::{Context, Node, Section};
use super::secrets;
use super::value::{ValueError, quoted, wrong};
use gatepost_core::secret::{RedisPassword, StateKeyText};

/// The usual state directory of packages and of the unit file.
const DEFAULT_DIRECTORY: &str = "/var/lib/gatepost";

/// Name of the key file in the directory.
const KEY_FILE: &str = "state.key";

/// The systemd credential with this name holds the key when the configuration names none.
const CREDENTIAL: &str = "gatepost.state.key";

/// How long a device is listed after it connected last.
const DEVICES: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The port that Redis has (IANA).
const REDIS_PORT: u16 = 6379;

const KEY_FORMS: &str = "write `{file: PATH}`, `{credential: NAME}`, `{env: NAME}` or `{command: [PROGRAM, ARGUMENT]}`";

enum Engine {
    Sqlite,
    Redis(RedisServer),
    /// Its address is a secret that was not read.
    NotRead,
}

/// Reads the section, and how long devices are kept (`None`: not at all). Nothing is opened yet.
pub(super) fn read(root: &Section<'_>, trust: Option<&Trust>) -> (Option<State>, Option<Duration>) {
    let section = root.section("state");
    let devices = match section.get("devices") {
        Some(node) if node.as_text() == Some("off") => None,
        Some(node) => node.time(),
        None => Some(DEVICES),
    };
    (read_place(root, &section, trust), devices)
}

fn read_place(root: &Section<'_>, section: &Section<'_>, trust: Option<&Trust>) -> Option<State> {
    let is_place = |(key, _): &(&str, Node<'_>)| *key != "devices";
    let written =
        root.get("state").is_some_and(|node| !node.is_table() || node.section().entries().iter().any(is_place));
    let context = section.context();
    let directory = read_directory(section)?;
    let engine = section.get("store").map_or(Some(Engine::Sqlite), |node| read_engine(&node, trust));
    let key = match section.get("key") {
        Some(node) => Some(read_key(&node)),
        None => default_key(context, directory.as_deref()).map(Some),
    };
    section.finish();
    match (engine?, directory, key) {
        (Engine::Sqlite, None, _) if !written => Some(State::Memory),
        (Engine::Sqlite, None, _) => {
            section.missing(
                "directory",
                ", and there is none to fall back on",
                format!("write `directory: {DEFAULT_DIRECTORY}`, or another one that belongs to Gatepost alone"),
            );
            None
        }
        (Engine::Sqlite, Some(directory), key) => Some(State::Sqlite { directory, key: key?? }),
        (Engine::Redis(server), _, Some(key)) => Some(State::Redis { server: Arc::new(server), key: key? }),
        (Engine::NotRead, _, _) => Some(State::NotRead),
        (Engine::Redis(_), _, None) => {
            section.missing(
                "key",
                ", which all replicas have to share",
                format!("make one with `openssl rand -base64 32`, give it to each of them, and {KEY_FORMS}"),
            );
            None
        }
    }
}

/// The directory of the database; `None` for a store that is elsewhere.
pub(super) fn directory(root: &Section<'_>) -> Option<PathBuf> {
    let section = root.section("state");
    let is_database = section.get("store").is_none_or(|node| node.as_text() == Some("sqlite"));
    read_directory(&section)?.filter(|_| is_database)
}

/// Reads `directory`, whatever the store. The outer `None`: it is wrong, which has been reported.
pub(super) fn read_directory(section: &Section<'_>) -> Option<Option<PathBuf>> {
    let context = section.context();
    match section.get("directory") {
        Some(node) => Some(Some(context.path(node.text()?))),
        None => Some(default_directory(context)),
    }
}

/// `$STATE_DIRECTORY` as systemd sets it (systemd.exec(5)), or the usual directory if this process
/// may write to it. For the unit's configuration, a command is not misled by what it may do: the
/// usual directory is the unit's.
fn default_directory(context: &Context<'_>) -> Option<PathBuf> {
    let given = context.outside.variable("STATE_DIRECTORY").unwrap_or_default();
    // Several directories are joined by colons.
    if let Some(first) = given.split(':').find(|part| part.starts_with('/')) {
        return Some(PathBuf::from(first));
    }
    let usual = Path::new(DEFAULT_DIRECTORY);
    let is_of_unit =
        || !context.is_for(Purpose::Service) && context.is_of_unit() && context.outside.is_directory(usual);
    (context.outside.is_writable_directory(usual) || is_of_unit()).then(|| usual.to_path_buf())
}

fn default_key(context: &Context<'_>, directory: Option<&Path>) -> Option<StateKey> {
    let given = context.credential(CREDENTIAL).filter(|path| context.outside.read(path).is_ok());
    let own = || directory.map(|directory| StateKey::File(directory.join(KEY_FILE)));
    given.map(StateKey::Credential).or_else(own)
}

fn read_key(node: &Node<'_>) -> Option<StateKey> {
    if !node.is_table() {
        node.problem("the key itself does not belong here", KEY_FORMS);
        return None;
    }
    let section = node.section();
    let sources = ["file", "credential", "env", "command"].map(|kind| (kind, section.get(kind)));
    section.finish();
    let mut given = sources.into_iter().filter_map(|(kind, node)| Some((kind, node?)));
    let (Some((kind, source)), None) = (given.next(), given.next()) else {
        node.problem("exactly one source of the key is expected", KEY_FORMS);
        return None;
    };
    let context = node.context();
    match kind {
        "file" => Some(StateKey::File(context.path(source.text()?))),
        "credential" => {
            let path = secrets::credential_path(&source)?;
            // A command reads it when it opens the store.
            source.content(&path, Purpose::Check, &secrets::load_credential(source.text()?))?;
            Some(StateKey::Credential(path))
        }
        "env" => {
            let name = source.text()?;
            let value = context.outside.variable(name);
            if value.is_none() {
                source.problem(
                    format!("the environment variable {} is not set", quoted(name)),
                    "set it where Gatepost is started, or use `{file: PATH}`",
                );
            }
            value.map(|text| StateKey::Literal(Arc::new(StateKeyText::new(text))))
        }
        _ => {
            let words = source.list()?;
            let command = words.iter().map(|word| word.text().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            if command.is_empty() {
                source.problem("no command is named", KEY_FORMS);
                return None;
            }
            let hidden = secrets::variables(&context.document.merged.values);
            Some(StateKey::Command { command, hidden })
        }
    }
}

fn read_engine(node: &Node<'_>, trust: Option<&Trust>) -> Option<Engine> {
    // The address may hold a password: nothing of it is repeated, and all of it may come from where
    // secrets do.
    let holds_password = node.as_text().is_some_and(|text| text.contains('@'));
    let text = match node.is_table() || holds_password {
        true => match secrets::read(node, Purpose::Store)? {
            Secret::Read(text) => text,
            Secret::NotRead => return Some(Engine::NotRead),
        },
        false => node.text()?.to_owned(),
    };
    match text.as_str() {
        "sqlite" => Some(Engine::Sqlite),
        text => redis(text, trust).map_err(|wrong| node.wrong(wrong)).ok().map(Engine::Redis),
    }
}

/// `redis://user:password@host:port/database`, as registered with IANA; `rediss` is TLS.
fn redis(text: &str, trust: Option<&Trust>) -> Result<RedisServer, ValueError> {
    let hint = "write `sqlite`, or `redis://user:password@host:6379/0` (`rediss://` with TLS)";
    let Ok(url) = Url::parse(text) else { return wrong("this is neither `sqlite` nor a Redis URL", hint) };
    let tls = match (url.scheme(), trust) {
        ("redis", _) => None,
        ("rediss", trust) => trust.cloned(),
        _ => return wrong(format!("stores are not reached by `{}://`", url.scheme()), hint),
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return wrong("the address of the store has no host", hint);
    };
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("the address of the store holds more than host, port and database", hint);
    }
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => match number.parse::<u16>() {
            Ok(number) => number,
            Err(_) => return wrong("the database in the address of the store is not a number", hint),
        },
    };
    let decoded = |text: &str| match super::forward_proxy::percent_decode(text) {
        Some(text) => Ok(text),
        None => wrong("the user name or password in the address of the store is not text", hint),
    };
    let username = Some(decoded(url.username())?).filter(|name| !name.is_empty());
    let password = url.password().map(decoded).transpose()?.map(RedisPassword::new);
    Ok(RedisServer {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(REDIS_PORT),
        database,
        username,
        password,
        tls,
    })
}
