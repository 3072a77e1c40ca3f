//! Sealed records in Redis 7, or a server with the same protocol: one store for all replicas.
//!
//! Each change is a script, which the server runs as one step (Redis, "Scripting with Lua"). After
//! a failure calls fail at once, and only an occasional call tries the server again. So nobody
//! waits repeatedly for an unreachable server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, Script, ScriptInvocation,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::StoreError;
use super::records::{Change, Done, Fault, KeyTable, PassingRecords, Record, Records};
use super::seal::{KEPT, KeyId, Kind, Place};
use gatepost_config::RedisServer;
use gatepost_core::clock::since_1970;
use gatepost_net::tls::client::UpstreamTrust;

mod scripts;

use scripts::{Answer, NO, OTHER_KEY, Scripts, YES};

/// The format that this version writes. A store of a later format is refused.
const FORMAT: u32 = 1;

/// Limit of TCP, TLS and the login at the server.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Limit of one answer.
const ANSWER: Duration = Duration::from_millis(1_500);

/// How long a server is not tried after a failure; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const STORE: &str = "gatepost:store";
const KEYS: &str = "gatepost:keys";

/// A Redis server.
pub(super) struct Redis {
    server: Arc<RedisServer>,
    shown: String,
    trust: Option<UpstreamTrust>,
    link: Mutex<Link>,
    /// Whether the last try failed.
    away: AtomicBool,
    scripts: Scripts,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    not_before: Option<Instant>,
    pause: Duration,
}

impl Redis {
    /// Creates the store without connecting.
    pub(super) fn new(server: Arc<RedisServer>) -> Self {
        let scheme = if server.tls.is_some() { "rediss" } else { "redis" };
        let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
        Self {
            shown: format!("{scheme}://{host}:{}/{}", server.port, server.database),
            trust: server.tls.clone().map(UpstreamTrust::new),
            link: Mutex::default(),
            away: AtomicBool::new(false),
            scripts: Scripts::new(),
            server,
        }
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable(format!("`{}`: {why}", self.shown))
    }

    fn told(&self, error: &RedisError) -> StoreError {
        let shown = &self.shown;
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => self.unavailable(
                "it refuses the user name or password. Correct them in `state.store`, or give the user its rights",
            ),
            (_, Some("OOM" | "MISCONF" | "READONLY" | "NOREPLICAS")) => StoreError::NotKept(format!(
                "`{shown}`: it takes no writes ({}). Give it memory and disk, and name the primary",
                error.code().unwrap_or_default()
            )),
            (_, Some(code @ ("LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN"))) => {
                self.unavailable(&format!("it is busy with itself ({code}), which passes"))
            }
            (_, Some("WRONGTYPE")) => StoreError::Sealed(format!(
                "`{shown}` has something else where the store should be. Name another database in `state.store`"
            )),
            _ if error.is_timeout() => {
                self.unavailable("it did not answer in time. Look at the server and the way to it")
            }
            // The server's error text may repeat arguments; that of the system does not.
            _ if error.is_io_error() => {
                self.unavailable(&format!("it cannot be reached ({error}). Check the server and the network to it"))
            }
            (kind, code) => self.unavailable(&format!(
                "it answered what Gatepost does not understand ({kind:?} {}). Use Redis 7 or Valkey",
                code.unwrap_or_default()
            )),
        }
    }

    /// The connection, or a new one when there is none and the last try is long enough ago.
    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut link = match self.link.try_lock() {
            Ok(link) => link,
            // Another task is trying whether the server is back, and no further one waits for that.
            Err(_) if self.away.load(Ordering::Acquire) => return Err(self.still_away()),
            Err(_) => self.link.lock().await,
        };
        if let Some(connection) = &link.connection {
            return Ok(connection.clone());
        }
        if link.not_before.is_some_and(|at| Instant::now() < at) {
            return Err(self.still_away());
        }
        let connected = match timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unavailable("it did not answer in time. Look at the server and the way to it")),
        };
        match connected {
            Ok(connection) => {
                if self.away.swap(false, Ordering::AcqRel) {
                    tracing::info!(store = self.shown, "the store answers again");
                }
                *link = Link { connection: Some(connection.clone()), ..Link::default() };
                Ok(connection)
            }
            Err(error) => {
                self.went_away(&mut link, &error);
                Err(error)
            }
        }
    }

    fn still_away(&self) -> StoreError {
        self.unavailable("it is away. It is tried again within seconds")
    }

    fn went_away(&self, link: &mut MutexGuard<'_, Link>, error: &StoreError) {
        if !self.away.swap(true, Ordering::AcqRel) {
            tracing::warn!(store = self.shown, "{error}. Cached tokens stay in use meanwhile");
        }
        link.connection = None;
        link.pause = (link.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        link.not_before = Some(Instant::now() + link.pause);
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let cannot = |error: &dyn std::fmt::Display| {
            self.unavailable(&format!("it cannot be reached ({error}). Check the server and the network to it"))
        };
        let RedisServer { host, port, .. } = &*self.server;
        let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| cannot(&error))?;
        socket.set_nodelay(true).map_err(|error| cannot(&error))?;
        let Some(trust) = &self.trust else { return self.greet(socket).await };
        let config = trust.client_config().await.map_err(|error| cannot(&error))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| cannot(&error))?;
        let secured = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        self.greet(secured.map_err(|error| cannot(&error))?).await
    }

    async fn greet<S>(&self, stream: S) -> Result<MultiplexedConnection, StoreError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let server = &self.server;
        let mut info = RedisConnectionInfo::default().set_db(i64::from(server.database)).set_skip_set_lib_name();
        if let Some(username) = &server.username {
            info = info.set_username(username);
        }
        if let Some(password) = &server.password {
            info = info.set_password(password.expose());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
        let greeted = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = greeted.map_err(|error| self.told(&error))?;
        // The task ends with the last copy of the connection.
        tokio::spawn(driver);
        Ok(connection)
    }

    /// Asks once, and once more over a new connection when the present one is broken.
    async fn ask<T: FromRedisValue>(&self, question: Question<'_>) -> Result<T, Fault> {
        let mut again = true;
        loop {
            let mut connection = self.connection().await?;
            let answer = match &question {
                Question::Script(script) => script.invoke_async(&mut connection).await,
                Question::Command(command) => command.query_async(&mut connection).await,
            };
            let error: RedisError = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let told = self.told(&error);
            if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType) {
                return Err(told.into());
            }
            let mut link = self.link.lock().await;
            if std::mem::take(&mut again) && !error.is_timeout() {
                link.connection = None;
                continue;
            }
            self.went_away(&mut link, &told);
            return Err(told.into());
        }
    }

    async fn run(&self, script: &ScriptInvocation<'_>) -> Result<Answer, Fault> {
        let Answer(code, rest) = self.ask(Question::Script(script)).await?;
        if code == OTHER_KEY { Err(Fault::OtherKey) } else { Ok(Answer(code, rest)) }
    }

    /// Invokes a script that works with the records of a kind.
    fn on<'a>(&'a self, script: &'a Script, current: KeyId, kind: Kind) -> ScriptInvocation<'a> {
        let mut invocation = script.key(STORE);
        invocation.key(records(kind)).arg(&current.0);
        invocation
    }

    fn garbled(&self) -> Fault {
        StoreError::Sealed(format!("`{}` holds a record that is none. Restore it from a backup", self.shown)).into()
    }
}

enum Question<'a> {
    Script(&'a ScriptInvocation<'a>),
    Command(&'a redis::Cmd),
}

fn records(kind: Kind) -> String {
    format!("gatepost:records:{}", kind as u8)
}

fn passing(place: &Place) -> String {
    let what = if place.kind == Kind::Lease { "lease" } else { "token" };
    let name: String = place.name.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("gatepost:{what}:{name}")
}

/// Encodes version, key and sealed octets.
fn encode(record: &Record) -> Vec<u8> {
    let mut octets = Vec::with_capacity(16 + record.sealed.len());
    octets.extend_from_slice(&record.version.to_be_bytes());
    octets.extend_from_slice(&record.key.0);
    octets.extend_from_slice(&record.sealed);
    octets
}

fn decode(octets: &[u8]) -> Option<Record> {
    let (version, rest) = octets.split_first_chunk()?;
    let (key, sealed) = rest.split_first_chunk()?;
    Some(Record { version: u64::from_be_bytes(*version), key: KeyId(*key), sealed: sealed.to_vec() })
}

fn milliseconds(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Records for Redis {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn keys(&self) -> Done<'_, KeyTable> {
        Box::pin(async move {
            let mut script = self.scripts.keys.key(STORE);
            script.key(KEYS);
            let Answer(_, octets) = self.run(&script).await?;
            let [format, current, checks @ ..] = &octets[..] else { return Err(self.garbled()) };
            let format = String::from_utf8_lossy(format);
            if let Some(found) = format.parse::<u32>().ok().filter(|found| *found > FORMAT) {
                return Err(StoreError::Sealed(format!(
                    "`{}` has format {found}, and this version of Gatepost knows formats up to {FORMAT}. Run the \
                     newer version again",
                    self.shown
                ))
                .into());
            }
            let id = |octets: &[u8]| octets.try_into().map(KeyId).map_err(|_| self.garbled());
            let check = |pair: &[Vec<u8>]| match pair {
                [key, check] => Ok((id(key)?, check.clone())),
                _ => Err(self.garbled()),
            };
            Ok(KeyTable {
                current: Some(&current[..]).filter(|current| !current.is_empty()).map(id).transpose()?,
                checks: checks.chunks(2).map(check).collect::<Result<_, Fault>>()?,
            })
        })
    }

    fn found<'a>(&'a self, key: KeyId, check: &'a [u8]) -> Done<'a, bool> {
        Box::pin(async move {
            // Another revision than before, in case this store was emptied.
            let revision = since_1970();
            let mut script = self.scripts.found.key(STORE);
            script.key(KEYS).arg(&key.0).arg(check).arg(FORMAT).arg(milliseconds(revision));
            Ok(self.run(&script).await?.0 == YES)
        })
    }

    fn promote<'a>(&'a self, current: KeyId, to: KeyId, check: &'a [u8]) -> Done<'a, ()> {
        Box::pin(async move {
            let mut script = self.scripts.promote.key(STORE);
            script.key(KEYS).arg(&current.0).arg(&to.0).arg(check);
            self.run(&script).await.map(|_| ())
        })
    }

    fn retire(&self, current: KeyId) -> Done<'_, bool> {
        Box::pin(async move {
            let mut script = self.scripts.retire.key(STORE);
            script.key(KEYS);
            for kind in KEPT {
                script.key(records(kind));
            }
            script.arg(&current.0);
            Ok(self.run(&script).await?.0 == YES)
        })
    }

    fn outdated(&self, current: KeyId) -> Done<'_, Vec<(Place, Record)>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for kind in KEPT {
                found.extend(self.list(current, kind).await?);
            }
            found.retain(|(_, record)| record.key != current);
            Ok(found)
        })
    }

    fn tidy(&self) -> Done<'_, ()> {
        // The operator decides what Redis writes to its disk, and when.
        Box::pin(async { Ok(()) })
    }

    fn get(&self, current: KeyId, place: Place) -> Done<'_, Option<Record>> {
        Box::pin(async move {
            let mut script = self.on(&self.scripts.get, current, place.kind);
            script.arg(&place.name);
            match self.run(&script).await? {
                Answer(YES, octets) => {
                    octets.first().and_then(|octets| decode(octets)).map(Some).ok_or_else(|| self.garbled())
                }
                Answer(..) => Ok(None),
            }
        })
    }

    fn list(&self, current: KeyId, kind: Kind) -> Done<'_, Vec<(Place, Record)>> {
        Box::pin(async move {
            let Answer(_, octets) = self.run(&self.on(&self.scripts.list, current, kind)).await?;
            let pair = |pair: &[Vec<u8>]| {
                let [name, record] = pair else { return None };
                Some((Place { kind, name: name.as_slice().try_into().ok()? }, decode(record)?))
            };
            octets.chunks(2).map(|chunk| pair(chunk).ok_or_else(|| self.garbled())).collect()
        })
    }

    fn change(&self, current: KeyId, changes: Vec<Change>, counts: bool) -> Done<'_, bool> {
        Box::pin(async move {
            let mut script = self.scripts.change.key(STORE);
            script.arg(&current.0).arg(u8::from(counts));
            for Change { place, replaces, record } in &changes {
                let replaces = replaces.map(u64::to_be_bytes);
                script.key(records(place.kind)).arg(&place.name);
                script.arg(replaces.as_ref().map_or(&[][..], |version| &version[..]));
                script.arg(record.as_ref().map(encode).unwrap_or_default());
            }
            Ok(self.run(&script).await?.0 == YES)
        })
    }

    fn remove(&self, current: KeyId, place: Place) -> Done<'_, bool> {
        Box::pin(async move {
            let mut script = self.on(&self.scripts.remove, current, place.kind);
            script.arg(&place.name);
            Ok(self.run(&script).await?.0 == YES)
        })
    }

    fn revision(&self) -> Done<'_, u64> {
        Box::pin(async move {
            let mut look = redis::cmd("HGET");
            look.arg(STORE).arg("revision");
            let revision: Option<u64> = self.ask(Question::Command(&look)).await?;
            revision.ok_or(Fault::OtherKey)
        })
    }

    fn take_lease(&self, place: Place, holder: [u8; 16], life: Duration) -> Done<'_, bool> {
        Box::pin(async move {
            let mut script = self.scripts.take_lease.key(passing(&place));
            script.arg(&holder).arg(milliseconds(life));
            Ok(self.run(&script).await?.0 != NO)
        })
    }

    fn release_lease(&self, place: Place, holder: [u8; 16]) -> Done<'_, ()> {
        Box::pin(async move {
            let mut script = self.scripts.release_lease.key(passing(&place));
            script.arg(&holder);
            self.run(&script).await.map(|_| ())
        })
    }

    fn passing(&self) -> Option<&dyn PassingRecords> {
        Some(self)
    }
}

impl PassingRecords for Redis {
    fn get(&self, place: Place) -> Done<'_, Option<Record>> {
        Box::pin(async move {
            let mut look = redis::cmd("GET");
            look.arg(passing(&place));
            let octets: Option<Vec<u8>> = self.ask(Question::Command(&look)).await?;
            octets.map(|octets| decode(&octets).ok_or_else(|| self.garbled())).transpose()
        })
    }

    fn keep(&self, place: Place, record: Record, life: Duration) -> Done<'_, ()> {
        Box::pin(async move {
            let mut set = redis::cmd("SET");
            set.arg(passing(&place)).arg(encode(&record)).arg("PX").arg(milliseconds(life));
            self.ask(Question::Command(&set)).await
        })
    }

    fn forget(&self, place: Place) -> Done<'_, ()> {
        Box::pin(async move {
            let mut delete = redis::cmd("DEL");
            delete.arg(passing(&place));
            self.ask::<i64>(Question::Command(&delete)).await.map(|_| ())
        })
    }
}
