//! Several processes that share a Redis: they ask Entra once, and one that dies holds nobody up for long.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gatepost::account::LoginName;
use gatepost::clock::Clock;
use gatepost::config::load::{Surroundings, load_text};
use gatepost::login::{Gatekeeper, LoginRequest};
use gatepost::oauth::TokenRequest;
use gatepost::oauth::endpoint::{Answer, Exchange, TokenEndpoint, TransportError, TransportFault};
use gatepost::proto::Protocol;
use gatepost::secret::Password;
use gatepost::store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::child::spawn;
use crate::redis::{KEY, Server};

const PASSWORD: &str = "correct horse battery staple";

/// The token endpoint is in the test's own process, which counts.
struct Elsewhere(u16);

impl TokenEndpoint for Elsewhere {
    fn exchange<'a>(&'a self, request: &'a TokenRequest) -> Exchange<'a> {
        Box::pin(async move {
            let exchange = async {
                let mut entra = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).await?;
                entra.write_all(format!("{}\n", request.form.expose()).as_bytes()).await?;
                let mut token = String::new();
                entra.read_to_string(&mut token).await?;
                Ok(format!(r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{token}"}}"#))
            };
            let body = exchange.await.map_err(|error: io::Error| TransportError {
                fault: TransportFault::Broken,
                detail: error.to_string(),
            })?;
            Ok(Answer { status: 200, retry_after: None, body: Zeroizing::new(body.into_bytes()) })
        })
    }
}

/// The surroundings of a replica: one variable, and no file.
struct Outside;

impl Surroundings for Outside {
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

/// A replica: logs `number` clients in at once, and says with which tokens. `argument` is the port of Redis and the one of
/// the token endpoint.
pub(crate) async fn log_in(argument: &str, number: u32) {
    let (redis, entra) = argument.split_once(' ').unwrap();
    let yaml = format!(
        "listeners: {{smtp: {{bind: 127.0.0.1:1587}}}}\n\
         microsoft: {{tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}}\n\
         state: {{store: 'redis://127.0.0.1:{redis}/0', key: {{env: STATE_KEY}}}}\n"
    );
    let config = load_text(Some((Path::new("proxy.yaml"), &yaml)), &[], &BTreeMap::new(), &Outside);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let store = store::open(&config.state).await.unwrap();
    let endpoint = Arc::new(Elsewhere(entra.parse().unwrap()));
    let gate = Gatekeeper::new(Arc::new(config), endpoint, store, Clock::system());
    let logins: Vec<_> = (0..number)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let (login, password) =
                    (LoginName::parse("alice@contoso.com").unwrap(), Password::new(PASSWORD.into()));
                let source = IpAddr::from([192, 0, 2, 1]);
                let protocol = Protocol::Imap;
                let request = LoginRequest { login: &login, acting_as: None, password: &password, source, protocol };
                let admission = gate.admit(request, Duration::ZERO).await.unwrap_or_else(|failure| panic!("{failure}"));
                admission.bearer.token.expose().to_owned()
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for login in logins {
        tokens.push(login.await.unwrap());
    }
    tokens.dedup();
    println!("\n{number} logins: {}", tokens.join(" "));
    // The token is left for others behind the logins' backs.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A token endpoint that takes its time, and none at all for the first `unanswered` requests. Tells of each request.
fn entra(unanswered: usize) -> (u16, Receiver<()>) {
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
                std::thread::sleep(Duration::from_millis(1_500));
                (&client).write_all(format!("token-{}", number + 1).as_bytes()).unwrap();
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
    let (redis, (entra, asked)) = (Server::start(&[]), entra(0));
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
    let (redis, (entra, asked)) = (Server::start(&[]), entra(1));
    let argument = format!("{} {entra}", redis.port);
    let mut first = spawn("log-in", &argument, 1);
    asked.recv_timeout(Duration::from_secs(20)).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let started = Instant::now();
    assert!(output(spawn("log-in", &argument, 100)).contains("\n100 logins: token-2\n"));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn without_redis_every_process_asks_for_itself() {
    let (entra, asked) = entra(0);
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let argument = format!("{nobody} {entra}");
    let started = Instant::now();
    let replicas = [spawn("log-in", &argument, 500), spawn("log-in", &argument, 500)];
    for replica in replicas {
        assert!(output(replica).contains("\n500 logins: token-"));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(asked.try_iter().count(), 2);
}
