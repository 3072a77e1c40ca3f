//! Gets tokens of a managed identity from the platform's own endpoint: Azure's instance metadata
//! service (IMDS), App Service, or Azure Arc (Microsoft, "How to use managed identities on a VM to
//! acquire an access token", "How to use managed identities for App Service", "Authenticate against
//! Azure resources with Azure Arc-enabled servers").
//!
//! Requests never use a proxy and never follow a redirect. The only secret that Gatepost sends
//! there is the one that the platform gave it for this purpose.

use std::fmt;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, DATE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::endpoint::{Answer, TransportError, TransportFault, setup};
use crate::response::{self, Dialect, NotGranted, printable};
use crate::token::Token;
use gatepost_config::{IdentityEndpoint, ManagedIdentity};
use gatepost_core::clock::Clock;
use gatepost_core::secret::AccessToken;
use gatepost_net::explain::exchange;

/// The one address of IMDS. It is link-local, so whatever answers there belongs to the host.
const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const IMDS_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";
const ARC_VERSION: &str = "2020-06-01";

/// Where the agent of Azure Arc leaves the keys of its challenges; only root and its group may read
/// them.
#[cfg(not(windows))]
const ARC_KEYS: &str = "/var/opt/azcmagent/tokens";
#[cfg(windows)]
const ARC_KEYS: &str = r"C:\ProgramData\AzureConnectedMachineAgent\Tokens";

/// Longest key of a challenge, in octets.
const ARC_KEY_OCTETS: u64 = 4096;

/// Most octets of an answer that are read.
const ANSWER_OCTETS: usize = 64 * 1024;

/// Limit of a connection attempt. The endpoint is local: if it does not answer within this time, it
/// is not there.
const CONNECT: Duration = Duration::from_secs(2);

/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(10);

/// Limit of all requests and waits for one token: the seventy seconds of an update, and a reserve.
const TOTAL: Duration = Duration::from_secs(90);

/// Why the platform gave no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// Nothing answers.
    Unreachable(TransportError),
    /// It does not give this identity a token.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its `error`, if it gave one.
        error: String,
    },
    /// It stayed out of order through all retries.
    Busy {
        /// The last HTTP status.
        status: u16,
    },
    /// What answered is not such an endpoint.
    Unclear {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the answer.
        why: &'static str,
    },
    /// The key of Azure Arc's challenge cannot be read.
    NoKey(String),
}

/// Asks the platform's endpoints.
pub struct ManagedIdentities {
    imds: String,
    arc_keys: PathBuf,
    client: OnceCell<Client>,
}

impl Default for ManagedIdentities {
    fn default() -> Self {
        Self { imds: IMDS.to_owned(), arc_keys: ARC_KEYS.into(), client: OnceCell::new() }
    }
}

impl ManagedIdentities {
    /// Uses another address for IMDS, and another directory for Arc's keys. For tests: no
    /// configuration sets them.
    pub fn elsewhere(imds: &str, arc_keys: &Path) -> Self {
        Self { imds: imds.to_owned(), arc_keys: arc_keys.to_owned(), client: OnceCell::new() }
    }

    /// Gets a token for the resource that `scope` names. Takes up to 90 seconds while IMDS is being
    /// updated.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub async fn fetch(&self, identity: &ManagedIdentity, scope: &str, clock: &Clock) -> Result<Token, IdentityError> {
        timeout(TOTAL, self.keep_asking(identity, scope, clock)).await.unwrap_or_else(|_| {
            let detail = "no token in time";
            Err(IdentityError::Unreachable(TransportError::new(TransportFault::Timeout, detail)))
        })
    }

    async fn keep_asking(
        &self,
        identity: &ManagedIdentity,
        scope: &str,
        clock: &Clock,
    ) -> Result<Token, IdentityError> {
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        let mut patience = Patience::default();
        loop {
            let sent_at = clock.now();
            let answer = self.ask(identity, resource).await?;
            match granted(&answer, clock) {
                Ok((access_token, lifetime)) => {
                    return Ok(Token {
                        access_token: Arc::new(access_token),
                        requested_at: sent_at,
                        expires_at: sent_at.after(lifetime),
                    });
                }
                Err(error) => match patience.wait(answer.status) {
                    Some(wait) => {
                        tracing::debug!(?error, ?wait, "no token of the managed identity yet");
                        sleep(wait).await;
                    }
                    None => return Err(error),
                },
            }
        }
    }

    async fn ask(&self, identity: &ManagedIdentity, resource: &str) -> Result<Answer, IdentityError> {
        let metadata = || (HeaderName::from_static("metadata"), HeaderValue::from_static("true"));
        let (base, version, header) = match &identity.endpoint {
            IdentityEndpoint::Imds => (self.imds.as_str(), IMDS_VERSION, metadata()),
            IdentityEndpoint::AppService { url, key } => {
                let key =
                    secret_header(key.expose()).ok_or_else(|| no_key("IDENTITY_HEADER holds control characters"))?;
                (url.as_str(), APP_SERVICE_VERSION, (HeaderName::from_static("x-identity-header"), key))
            }
            IdentityEndpoint::Arc { url } => (url.as_str(), ARC_VERSION, metadata()),
        };
        let mut url = Url::parse(base).map_err(|error| IdentityError::Unreachable(setup(&error)))?;
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
        if let Some(client_id) = &identity.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let client = self.client().await.map_err(IdentityError::Unreachable)?;
        let send = |more: Option<(HeaderName, HeaderValue)>| {
            let request = client.get(url.clone()).header(header.0.clone(), header.1.clone());
            more.into_iter().fold(request, |request, (name, value)| request.header(name, value)).send()
        };
        let unreachable = |error| IdentityError::Unreachable(transport_error(error));
        let mut response = send(None).await.map_err(unreachable)?;
        if let (IdentityEndpoint::Arc { .. }, 401) = (&identity.endpoint, response.status().as_u16()) {
            let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            let file = challenge.and_then(|value| value.strip_prefix("Basic realm=")).unwrap_or_default();
            let key = self.arc_key(PathBuf::from(file.trim_matches('"'))).await?;
            response = send(Some((AUTHORIZATION, key))).await.map_err(unreachable)?;
        }
        answer(response).await.map_err(IdentityError::Unreachable)
    }

    /// Reads the key of Azure Arc's challenge: only a process that may read the agent's files gets
    /// a token. The path comes from whatever answered on the agent's port. So it may only name a
    /// key in the agent's own directory.
    async fn arc_key(&self, file: PathBuf) -> Result<HeaderValue, IdentityError> {
        let is_plain = !file.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir));
        let is_key = file.extension().is_some_and(|extension| extension == "key");
        if !is_plain || !is_key || file.parent() != Some(&self.arc_keys) {
            return Err(no_key("the challenge names a file outside the agent's directory"));
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut key = Zeroizing::new(Vec::with_capacity(8 * 1024));
            std::fs::File::open(&file)?.take(ARC_KEY_OCTETS + 1).read_to_end(&mut key)?;
            std::io::Result::Ok(key)
        });
        let key = match read.await {
            Ok(Ok(key)) if key.len() as u64 <= ARC_KEY_OCTETS => key,
            Ok(Ok(_)) => return Err(no_key("the key of the challenge is longer than 4 KiB")),
            Ok(Err(error)) => return Err(no_key(&format!("the key of the challenge cannot be read: {error}"))),
            Err(_) => return Err(no_key("reading the key of the challenge was given up")),
        };
        let text = std::str::from_utf8(&key).map_err(|_| no_key("the key of the challenge is not text"))?;
        let basic = Zeroizing::new(format!("Basic {}", text.trim()));
        secret_header(&basic).ok_or_else(|| no_key("the key of the challenge holds control characters"))
    }

    async fn client(&self) -> Result<&Client, TransportError> {
        let build = || async {
            Client::builder()
                // The client uses only plain HTTP to local endpoints.
                .tls_certs_only([])
                .no_proxy()
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .timeout(REQUEST)
                .pool_max_idle_per_host(0)
                .build()
                .map_err(|error| setup(&error))
        };
        self.client.get_or_try_init(build).await
    }
}

async fn answer(mut response: Response) -> Result<Answer, TransportError> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, retry_after, date) = (response.status().as_u16(), header(RETRY_AFTER), header(DATE));
    let mut body = Zeroizing::new(Vec::with_capacity(8 * 1024));
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        if body.len() + chunk.len() > ANSWER_OCTETS {
            let detail = format!("the answer is longer than {} KiB", ANSWER_OCTETS / 1024);
            return Err(TransportError::new(TransportFault::TooLong, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, date, body })
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let fault = match (error.is_timeout(), error.is_connect()) {
        (true, _) => TransportFault::Timeout,
        (false, true) => TransportFault::Connect,
        (false, false) => TransportFault::Broken,
    };
    TransportError::new(fault, exchange(&error))
}

impl fmt::Debug for ManagedIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedIdentities").field("imds", &self.imds).finish_non_exhaustive()
    }
}

fn no_key(why: &str) -> IdentityError {
    IdentityError::NoKey(why.to_owned())
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the token and its lifetime. App Service gives no `expires_in`, only the time of the end.
fn granted(answer: &Answer, clock: &Clock) -> Result<(AccessToken, Duration), IdentityError> {
    #[derive(Deserialize)]
    struct Times {
        expires_in: Option<Value>,
        expires_on: Option<Value>,
    }
    let status = answer.status;
    let granted = response::parse(status, &answer.body, Dialect::ENTRA).map_err(|error| match error {
        // IMDS: 404 while it starts, 410 while it is updated.
        _ if matches!(status, 404 | 410) => IdentityError::Busy { status },
        NotGranted::Busy { .. } => IdentityError::Busy { status },
        NotGranted::Refused(error) => IdentityError::Refused { status, error: error.error },
        NotGranted::Unclear { .. } if (400..500).contains(&status) => {
            IdentityError::Refused { status, error: refusal(&answer.body) }
        }
        NotGranted::Unclear { why, .. } => IdentityError::Unclear { status, why },
    })?;
    let lifetime = match serde_json::from_slice::<Times>(&answer.body) {
        Ok(Times { expires_in: None, expires_on: Some(end) }) => {
            let end = end.as_u64().or_else(|| end.as_str()?.trim().parse().ok());
            let why = "an `expires_on` that is no time in seconds";
            let end = end.ok_or(IdentityError::Unclear { status, why })?;
            let seconds = end.saturating_sub(clock.unix_time().0);
            Duration::from_secs(seconds).min(response::LONGEST_LIFE)
        }
        _ => granted.lifetime,
    };
    Ok((granted.access_token, lifetime))
}

/// The error word of an answer that is not an OAuth error, as App Service writes it.
fn refusal(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let word = |json: &Value| Some(json.pointer("/error/code").or(json.get("message"))?.as_str()?.to_owned());
    let word = json.as_ref().and_then(word).unwrap_or_default();
    printable(&word, |c| c.is_ascii_graphic() && c != '`' || c == ' ')
}

/// Microsoft's rules for IMDS: 404, 429 and 5xx pass soon; 410 means that it is being updated, for
/// 70 seconds at most.
#[derive(Debug, Default)]
struct Patience {
    soon: usize,
    updating: usize,
}

impl Patience {
    const SOON: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
    const UPDATING: [Duration; 7] = [Duration::from_secs(10); 7];

    /// How long to wait before the next try. `None` when another try is useless.
    fn wait(&mut self, status: u16) -> Option<Duration> {
        let (waits, at) = match status {
            404 | 429 | 500..=599 => (&Self::SOON[..], &mut self.soon),
            410 => (&Self::UPDATING[..], &mut self.updating),
            _ => return None,
        };
        let wait = waits.get(*at).copied();
        *at += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(statuses: &[u16]) -> Vec<Option<u64>> {
        let mut patience = Patience::default();
        statuses.iter().map(|status| patience.wait(*status).map(|wait| wait.as_secs())).collect()
    }

    #[test]
    fn each_status_has_its_own_patience() {
        assert_eq!(waits(&[404, 429, 500, 503]), [Some(1), Some(2), Some(4), None]);
        assert_eq!(waits(&[410; 8]), [[Some(10); 7].as_slice(), &[None]].concat());
        assert_eq!(waits(&[503, 410, 503]), [Some(1), Some(10), Some(2)]);
        for status in [200, 301, 400, 401, 403, 405] {
            assert_eq!(waits(&[status]), [None], "{status}");
        }
    }

    #[test]
    fn the_longest_update_ends_before_the_deadline() {
        let waits: Duration = Patience::SOON.iter().chain(&Patience::UPDATING).sum();
        assert!(waits < TOTAL, "{waits:?}");
    }

    #[tokio::test]
    async fn only_a_key_in_the_agents_directory_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        std::fs::create_dir_all(directory.join("below")).unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let identities = ManagedIdentities::elsewhere(IMDS, directory);
        let key = identities.arc_key(write("a.key", b"secret\n")).await.unwrap();
        assert!(key.is_sensitive());
        assert_eq!(key, "Basic secret");
        assert!(identities.arc_key(write("longest.key", &[b'x'; 4096])).await.is_ok());
        for path in [
            write("longer.key", &[b'x'; 4097]),
            write("other.pem", b"secret"),
            write("below/a.key", b"secret"),
            write("binary.key", b"\xff"),
            write("lines.key", b"a\nb"),
            directory.join("missing.key"),
            directory.join("below/../a.key"),
            directory.join("./a.key"),
            PathBuf::from("a.key"),
            PathBuf::from("/etc/a.key"),
            PathBuf::new(),
        ] {
            // A dot in the middle is the same file by another name, and does no harm.
            if path == directory.join("a.key") {
                continue;
            }
            let refused = identities.arc_key(path.clone()).await;
            assert!(matches!(refused, Err(IdentityError::NoKey(_))), "{}", path.display());
        }
    }

    #[test]
    fn the_life_of_a_token_is_told_in_two_ways() {
        let clock = Clock::manual();
        let end = clock.unix_time().0 + 7_200;
        let life = |times: &str| {
            let body = format!(r#"{{"token_type":"Bearer","access_token":"t"{times}}}"#).into_bytes();
            let answer = Answer { status: 200, retry_after: None, date: None, body: Zeroizing::new(body) };
            granted(&answer, &clock).map(|(_, life)| life.as_secs())
        };
        assert_eq!(life(r#","expires_in":"86399","expires_on":"1""#), Ok(86_399));
        assert_eq!(life(&format!(r#","expires_on":"{end}""#)), Ok(7_200));
        assert_eq!(life(&format!(r#","expires_on":{end}"#)), Ok(7_200));
        assert_eq!(life(&format!(r#","expires_on":"{}""#, u64::MAX)), Ok(28 * 3_600));
        assert_eq!(life(r#","expires_on":"1""#), Ok(0));
        assert_eq!(life(""), Ok(3_600));
        assert!(life(r#","expires_on":"tomorrow""#).is_err());
    }

    #[test]
    fn a_refusal_keeps_the_platforms_word_and_nothing_that_could_not_be_shown() {
        assert_eq!(
            refusal(br#"{"statusCode":400,"message":"No `managed` identity\u0007 found"}"#),
            "No managed identity found"
        );
        assert_eq!(refusal(br#"{"error":{"code":"unsupported"}}"#), "unsupported");
        assert_eq!(refusal(b"<html>"), "");
    }

    #[test]
    fn a_platform_that_starts_or_is_updated_is_busy_and_refuses_nothing() {
        for (status, told) in [
            (404, IdentityError::Busy { status: 404 }),
            (410, IdentityError::Busy { status: 410 }),
            (403, IdentityError::Refused { status: 403, error: "unsupported".to_owned() }),
        ] {
            let body = Zeroizing::new(br#"{"error":{"code":"unsupported"}}"#.to_vec());
            let answer = Answer { status, retry_after: None, date: None, body };
            assert_eq!(granted(&answer, &Clock::manual()).map(drop), Err(told));
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_greatest_length() {
        let of_length = async |octets| answer(Response::from(hyper::Response::new(vec![b'x'; octets]))).await;
        assert_eq!(of_length(ANSWER_OCTETS).await.unwrap().body.len(), ANSWER_OCTETS);
        assert_eq!(of_length(ANSWER_OCTETS + 1).await.unwrap_err().fault, TransportFault::TooLong);
    }
}
