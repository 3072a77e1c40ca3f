//! Proxy auto-configuration: a script of the network's administrators says which proxy leads to which destination.
//!
//! The script comes from a file or from a web server inside the network, which is asked straight. It is read again when its
//! file has changed, and hourly. An answer is kept for some minutes. Without a script there is no connection: a network that
//! wants a proxy is not gone around because its script is missing.

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

/// Most octets of a script; large companies have some 100 KiB.
const SCRIPT_OCTETS: usize = 1024 * 1024;
/// The script is fetched again so long after the last time.
const SCRIPT_AGE: Duration = Duration::from_secs(3_600);
/// A script that could not be fetched is tried again so long after.
const RETRY: Duration = Duration::from_secs(30);
/// Fetching takes so long at most.
const FETCH: Duration = Duration::from_secs(10);
/// One question takes so long at most, the resolution of names included.
const ANSWER: Duration = Duration::from_secs(5);
/// An answer is kept so long, and so many of them, the latest.
const ANSWER_AGE: Duration = Duration::from_secs(300);
const ANSWERS: usize = 1_024;
/// Questions at once; each occupies a thread.
const QUESTIONS: usize = 4;
/// Most entries of an answer that are looked at.
const ENTRIES: usize = 16;

/// One entry of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through this proxy.
    Proxy(ProxyServer),
    /// Without any.
    Direct,
}

/// The script, and what it has answered.
pub(super) struct Pac {
    trust: Arc<UpstreamTrust>,
    script: AsyncMutex<Option<Script>>,
    answers: Mutex<BoundedMap<(String, u16), Answer>>,
    questions: Arc<Semaphore>,
}

/// What was answered, and until when that is good.
struct Answer {
    ways: Vec<Way>,
    until: Instant,
}

struct Script {
    text: Arc<str>,
    /// To be looked for again then.
    until: Instant,
    /// Of the file.
    modified: Option<SystemTime>,
}

impl Pac {
    pub(super) fn new(trust: Arc<UpstreamTrust>) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        let answers = Mutex::new(BoundedMap::new(ANSWERS));
        Self { trust, script: AsyncMutex::default(), answers, questions }
    }

    /// The ways to `host:port`, the first one first; never none.
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
        // Scripts expect the address of a page; `https` is what fits a connection that is encrypted.
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = if port == 443 { format!("https://{bracketed}/") } else { format!("https://{bracketed}:{port}/") };
        let (host, questions) = (host.to_owned(), Arc::clone(&self.questions));
        let answer = async move {
            // Held by the thread, which a name server can keep busy for longer than anybody waits.
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
                tracing::warn!(location = %location, error = reason, "PAC script could not be read again; the last one is used");
                (old.text, Instant::now() + RETRY)
            }
            (Err(reason), None) => return Err(PacError::Unreadable { location: location.to_string(), reason }),
        };
        // What the last script said may no longer be so.
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

/// Reads `PROXY host:port; HTTPS host:port; SOCKS5 host:port; DIRECT`. An entry of another kind is left out.
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
