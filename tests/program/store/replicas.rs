//! Several processes that share a Redis: they ask Entra once, and one that dies holds nobody up for
//! long.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gatepost::login::{Authenticator, AuthorizedLogin, LoginRequest};
use gatepost_config::environment::Environment;
use gatepost_config::load::load_text;
use gatepost_core::account::LoginName;
use gatepost_core::clock::Clock;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_oauth::TokenHttpRequest;
use gatepost_oauth::endpoint::{Answer, Exchange, TokenEndpoint, TransportError, TransportFault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::common::port::free_port;
use crate::common::wait::PATIENCE;
use crate::store::child::spawn;
use crate::store::redis::{KEY, Server};

/// Longer than the second process needs to start.
const SLOW: Duration = Duration::from_millis(1_500);

const PASSWORD: &str = "correct horse battery staple";

/// The token endpoint is in the test's own process, which counts.
struct Elsewhere(u16);

impl TokenEndpoint for Elsewhere {
    fn exchange<'a>(&'a self, request: &'a TokenHttpRequest) -> Exchange<'a> {
        Box::pin(async move {
            let exchange = async {
                let mut entra = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).await?;
                entra.write_all(format!("{}\n", request.form.expose()).as_bytes()).await?;
                let mut answer = String::new();
                entra.read_to_string(&mut answer).await?;
                Ok(answer)
            };
            let body = exchange
                .await
                .map_err(|error: io::Error| TransportError::new(TransportFault::Broken, error.to_string()))?;
            let status = if body.contains("error") { 400 } else { 200 };
            Ok(Answer { status, retry_after: None, date: None, body: Zeroizing::new(body.into_bytes()) })
        })
    }
}

/// The surroundings of a replica: one variable, and no file.
struct Outside;

impl Environment for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "STATE_KEY").then(|| KEY.to_owned())
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn world_readable(&self, _: &Path) -> bool {
        false
    }

    fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
        Err("there is no such command".into())
    }
}

/// A replica that shares the Redis at one port and asks the token endpoint at the other.
async fn replica(redis: &str, entra: &str) -> Arc<Authenticator> {
    let yaml = format!(
        "listeners: {{smtp: {{bind: 127.0.0.1:1587}}}}\n\
         microsoft: {{tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}}\n\
         state: {{store: 'redis://127.0.0.1:{redis}/0', key: {{env: STATE_KEY}}}}\n"
    );
    let config = load_text(Some((Path::new("proxy.yaml"), &yaml)), &[], &BTreeMap::new(), &Outside);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let store = gatepost_store::open(&config.state).await.unwrap();
    let endpoint = Arc::new(Elsewhere(entra.parse().unwrap()));
    Authenticator::new(Arc::new(config), endpoint, store, Clock::system())
}

async fn admit(gate: &Arc<Authenticator>, password: &str) -> Result<AuthorizedLogin, Failure> {
    let (login, password) = (LoginName::parse("alice@contoso.com").unwrap(), Password::new(password.into()));
    let (source, protocol) = (IpAddr::from([192, 0, 2, 1]), Protocol::Imap);
    let request = LoginRequest {
        login: &login,
        acting_as: None,
        password: &password,
        source,
        protocol,
        resource: gatepost_config::Resource::Exchange,
    };
    gate.admit(request, Duration::ZERO).await
}

fn token(admission: &AuthorizedLogin) -> &str {
    admission.bearer.token.expose()
}

/// A process as a replica: logs `number` clients in at once, and says with which tokens. `argument`
/// has both ports.
pub(crate) async fn log_in(argument: &str, number: u32) {
    let (redis, entra) = argument.split_once(' ').unwrap();
    let gate = replica(redis, entra).await;
    let logins: Vec<_> = (0..number)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { admit(&gate, PASSWORD).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for login in logins {
        let admission = login.await.unwrap().unwrap_or_else(|failure| panic!("{failure}"));
        tokens.push(token(&admission).to_owned());
    }
    tokens.dedup();
    println!("\n{number} logins: {}", tokens.join(" "));
    // The token is left for others behind the logins' backs.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A token endpoint that answers after `wait`, and not at all the first `unanswered` requests.
/// Tells of each request.
fn entra(unanswered: usize, wait: Duration) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (number, client) in listener.incoming().enumerate() {
            let client: TcpStream = client.unwrap();
            let mut form = String::new();
            BufReader::new(&client).read_line(&mut form).unwrap();
            assert!(form.contains("grant_type=password"), "{form}");
            if tell.send(()).is_err() {
                return;
            }
            if number < unanswered {
                held.push(client);
                continue;
            }
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                let token = format!("token-{}", number + 1);
                let granted = format!(r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{token}"}}"#);
                let denied = r#"{"error":"invalid_grant","error_codes":[50126]}"#.to_owned();
                let answer = if form.contains("wrong") { denied } else { granted };
                (&client).write_all(answer.as_bytes()).unwrap();
            });
        }
    });
    (port, asked)
}

fn output(mut child: std::process::Child) -> String {
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    said
}

#[test]
#[ignore = "needs redis-server: run tests/run"]
fn a_thousand_logins_in_two_processes_are_one_request() {
    let (redis, (entra, asked)) = (Server::start(&[]), entra(0, SLOW));
    let argument = format!("{} {entra}", redis.port);
    let replicas = [spawn("log-in", &argument, 500), spawn("log-in", &argument, 500)];
    for replica in replicas {
        let said = output(replica);
        assert!(said.contains("\n500 logins: token-1\n"), "{said}");
    }
    // One that starts later finds the token, too.
    assert!(output(spawn("log-in", &argument, 1)).contains("\n1 logins: token-1\n"));
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
#[ignore = "needs redis-server: run tests/run"]
fn a_replica_that_dies_with_the_lease_holds_the_others_up_for_seconds() {
    let (redis, (entra, asked)) = (Server::start(&[]), entra(1, SLOW));
    let argument = format!("{} {entra}", redis.port);
    let mut first = spawn("log-in", &argument, 1);
    asked.recv_timeout(PATIENCE).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let started = Instant::now();
    assert!(output(spawn("log-in", &argument, 100)).contains("\n100 logins: token-2\n"));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn without_redis_every_process_asks_for_itself() {
    let (entra, asked) = entra(0, SLOW);
    let nobody = free_port();
    let argument = format!("{nobody} {entra}");
    let started = Instant::now();
    let replicas = [spawn("log-in", &argument, 500), spawn("log-in", &argument, 500)];
    for replica in replicas {
        assert!(output(replica).contains("\n500 logins: token-"));
    }
    // A second for each login would be minutes.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(asked.try_iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn what_is_shared_stands_behind_the_password_and_is_not_used_again_once_refused() {
    let (redis, (entra, asked)) = (Server::start(&[]), entra(0, Duration::from_millis(10)));
    let (redis, entra) = (redis.port.to_string(), entra.to_string());
    let (here, there) = (replica(&redis, &entra).await, replica(&redis, &entra).await);
    assert_eq!(token(&admit(&here, PASSWORD).await.unwrap()), "token-1");
    // It is left behind the login's back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let failure = admit(&there, "wrong").await.unwrap_err();
    assert_eq!(failure.refusal, Refusal::InvalidCredentials, "another password is another login");
    let fetched = admit(&there, PASSWORD).await.unwrap();
    assert_eq!(token(&fetched), "token-1");
    let cached = admit(&there, PASSWORD).await.unwrap();
    assert_eq!(asked.try_iter().count(), 2, "the first one, and the wrong password");

    // Exchange does not take it, whatever Entra said: the one that is shared would fare no better.
    assert!(there.token_refused(&cached));
    assert_eq!(token(&admit(&there, PASSWORD).await.unwrap()), "token-3");
    assert_eq!(asked.try_iter().count(), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cached = admit(&here, PASSWORD).await.unwrap();
    assert_eq!(token(&cached), "token-1", "nobody has complained here");
    assert!(here.token_refused(&cached));
    assert_eq!(token(&admit(&here, PASSWORD).await.unwrap()), "token-3", "the other replica has a newer one");
    assert_eq!(asked.try_iter().count(), 0);
}
