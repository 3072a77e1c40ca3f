//! Proxy auto-configuration (PAC): a script of the network's administrators chooses the proxy for
//! each destination.
//!
//! The script comes from a file or from a web server in the internal network, which is reached
//! directly. It is read again when its file has changed, and hourly. An answer is cached for some
//! minutes. Without a script no connection is opened: a network that wants a proxy must not be
//! bypassed because its script is missing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, timeout};

use crate::tls::client::UpstreamTrust;
use gatepost_config::{PacLocation, ProxyScheme, ProxyServer};
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::failure::chain;

mod error;
mod script;

pub use error::PacError;

/// Largest script, in octets. The scripts of large companies have some 100 KiB.
const SCRIPT_OCTETS: usize = 1024 * 1024;
/// How long a script is used before it is fetched again.
const SCRIPT_AGE: Duration = Duration::from_secs(3_600);
/// How long to wait after a failed fetch before the next one.
const RETRY: Duration = Duration::from_secs(30);
/// The longest time for fetching the script.
const FETCH: Duration = Duration::from_secs(10);
/// The longest time for one call of the script, name resolution included.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an answer is cached, and how many of the latest answers.
const ANSWER_AGE: Duration = Duration::from_secs(300);
const ANSWERS: usize = 1_024;
/// Most calls of the script at once; each occupies a thread.
const QUESTIONS: usize = 4;
/// Most entries of an answer that are read.
const ENTRIES: usize = 16;

/// One entry of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Connect through this proxy.
    Proxy(ProxyServer),
    /// Connect directly.
    Direct,
}

/// The script and its cached answers.
pub(super) struct Pac {
    trust: Arc<UpstreamTrust>,
    script: AsyncMutex<Option<Script>>,
    answers: Mutex<BoundedMap<(String, u16), Answer>>,
    questions: Arc<Semaphore>,
}

/// A cached answer, and how long it may be used.
struct Answer {
    ways: Vec<Way>,
    until: Instant,
}

struct Script {
    text: Arc<str>,
    /// When to read the script again.
    until: Instant,
    /// Modification time of the file.
    modified: Option<SystemTime>,
}

impl Pac {
    pub(super) fn new(trust: Arc<UpstreamTrust>) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        let answers = Mutex::new(BoundedMap::new(ANSWERS));
        Self { trust, script: AsyncMutex::default(), answers, questions }
    }

    /// The ways to `host:port` in order of preference, at least one.
    ///
    /// # Errors
    /// See [`PacError`].
    pub(super) async fn ways(&self, location: &PacLocation, host: &str, port: u16) -> Result<Vec<Way>, PacError> {
        let script = self.script(location).await?;
        let key = (host.to_owned(), port);
        if let Some(answer) = self.answers.lock().peek(&key)
            && Instant::now() < answer.until
        {
            return Ok(answer.ways.clone());
        }
        // Scripts expect the URL of a web page, and `https` fits an encrypted connection.
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = if port == 443 { format!("https://{bracketed}/") } else { format!("https://{bracketed}:{port}/") };
        let (host, questions) = (host.to_owned(), Arc::clone(&self.questions));
        let answer = async move {
            // The thread holds this permit, because a name server can keep it busy longer than
            // anybody waits.
            let turn = questions.acquire_owned().await;
            let asked = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                script::find_proxy(&script, &url, &host, ANSWER)
            });
            asked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        };
        let answer = timeout(ANSWER, answer).await.unwrap_or(Err(PacError::TimedOut))?;
        let ways = ways(&answer)?;
        tracing::debug!(host = key.0, port, answer, "PAC script asked");
        let mut answers = self.answers.lock();
        answers.insert(key, Answer { ways: ways.clone(), until: Instant::now() + ANSWER_AGE });
        Ok(ways)
    }

    async fn script(&self, location: &PacLocation) -> Result<Arc<str>, PacError> {
        let mut known = self.script.lock().await;
        let modified = match location {
            PacLocation::File(path) => modified(path).await,
            PacLocation::Url(_) => None,
        };
        if let Some(script) = &*known
            && Instant::now() < script.until
            && script.modified == modified
        {
            return Ok(Arc::clone(&script.text));
        }
        let fetched = match location {
            PacLocation::File(path) => read(path).await,
            PacLocation::Url(url) => self.fetch(url.as_str()).await,
        };
        let (text, until) = match (fetched, known.take()) {
            (Ok(text), _) => (Arc::from(text), Instant::now() + SCRIPT_AGE),
            (Err(reason), Some(old)) => {
                tracing::warn!(location = %location, error = reason, "PAC script could not be read again. The last one is used");
                (old.text, Instant::now() + RETRY)
            }
            (Err(reason), None) => return Err(PacError::Unreadable { location: location.to_string(), reason }),
        };
        // Answers of the old script may be wrong now.
        self.answers.lock().clear();
        *known = Some(Script { text: Arc::clone(&text), until, modified });
        Ok(text)
    }

    async fn fetch(&self, url: &str) -> Result<String, String> {
        let tls = self.trust.client_config().await.map_err(|error| chain(&error))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH)
            .no_proxy();
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let response = client.build().map_err(failed)?.get(url).send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("the web server answered {}", response.status().as_u16()));
        }
        let (mut response, mut octets) = (response, Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if octets.len() + chunk.len() > SCRIPT_OCTETS {
                return Err("it is longer than 1 MiB".to_owned());
            }
            octets.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }
}

async fn modified(path: &Path) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.and_then(|metadata| metadata.modified()).ok()
}

async fn read(path: &Path) -> Result<String, String> {
    let length = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
    if length > SCRIPT_OCTETS as u64 {
        return Err("it is longer than 1 MiB".to_owned());
    }
    let octets = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// Parses `PROXY host:port; HTTPS host:port; SOCKS5 host:port; DIRECT`. Entries of other kinds are
/// left out.
fn ways(answer: &str) -> Result<Vec<Way>, PacError> {
    let ways: Vec<Way> = answer.split(';').take(ENTRIES).filter_map(way).collect();
    if ways.is_empty() {
        let shown = answer.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        return Err(PacError::Answer(shown));
    }
    Ok(ways)
}

fn way(entry: &str) -> Option<Way> {
    let (kind, address) = entry.trim().split_once([' ', '\t']).unwrap_or((entry.trim(), ""));
    let scheme = match kind.to_ascii_uppercase().as_str() {
        "DIRECT" => return Some(Way::Direct),
        "PROXY" | "HTTP" => ProxyScheme::Http,
        "HTTPS" => ProxyScheme::Https,
        "SOCKS" | "SOCKS5" => ProxyScheme::Socks5h,
        _ => return None,
    };
    ProxyServer::parse(scheme, address.trim()).map(Way::Proxy)
}

#[cfg(test)]
mod tests;
