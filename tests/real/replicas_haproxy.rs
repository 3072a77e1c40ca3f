//! Two replicas that share a Redis, behind HAProxy with PROXY headers of version 2: one is killed
//! under load, and only its own sessions are lost.
//!
//! The clients must have addresses other than loopback, which no balancer may claim. So the test
//! runs once more in a network namespace of its own, where such addresses are on the loopback
//! interface.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::cloud::{Cloud, Instance, LOGIN, program};
use super::process::{Directory, Server, free_port, is_root, wait_for};
use crate::common::again::again;

const INSIDE: &str = "GATEPOST_TEST_INSIDE";
const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// Clients that hold sessions, and clients that log in all the time.
const HELD: u8 = 20;
const BUSY: u8 = 8;
/// Logins of each busy client before and after one replica is gone.
const LOGINS: usize = 20;

/// Of 192.0.2.0/25, and what opens the mailbox from there.
const PASSWORD: &str = "of-the-devices-in-one-network";
/// What opens it from 192.0.2.200 alone.
const ELSEWHERE: &str = "of-the-device-in-another-place";

#[test]
#[ignore = "needs HAProxy, Redis and root: run tests/run"]
fn of_two_replicas_behind_haproxy_one_is_killed_and_only_its_sessions_are_lost() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    assert!(is_root(), "network namespaces need root");
    let script = "ip link set lo up && ip address add 192.0.2.0/24 dev lo && exec \"$0\" \"$@\"";
    let again = again(module_path!(), "of_two_replicas_behind_haproxy_one_is_killed_and_only_its_sessions_are_lost");
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(again.get_program())
        .args(again.get_args())
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "in the namespace: {status}");
}

fn inside() {
    let cloud = Cloud::start([]);
    let directory = Directory::new();
    let redis_port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(directory.path());
    let mut redis = Server::start("redis", &mut command, directory.path().join("redis.log"));
    redis.wait_for_port(redis_port);

    let ports = [free_port(), free_port()];
    let key = directory.write("state.key", "ISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhISE=");
    let state = format!("state: {{store: 'redis://127.0.0.1:{redis_port}/0', key: {{file: '{}'}}}}", key.display());
    let configurations = ports.map(|port| configuration(&cloud, port, &state));
    for (name, from, password) in [("devices", "192.0.2.0/25", PASSWORD), ("elsewhere", "192.0.2.200", ELSEWHERE)] {
        let arguments = ["password", "add", LOGIN, "--name", name, "--from", from, "--chosen"];
        let mut adding = program(&configurations[0], &arguments).stdin(Stdio::piped()).spawn().unwrap();
        adding.stdin.take().unwrap().write_all(format!("{password}\n{password}\n").as_bytes()).unwrap();
        assert!(adding.wait().unwrap().success());
    }
    let [one, other] = configurations;
    let (mut one, other) = (Instance::start(one, &ports[..1]), Instance::start(other, &ports[1..]));

    let balanced = free_port();
    let [first, second] = ports;
    let haproxy = directory.write(
        "haproxy.cfg",
        format!(
            "defaults\n  mode tcp\n  retries 3\n  option redispatch\n  timeout connect 2s\n  timeout check 2s\n  \
             timeout client 60s\n  timeout server 60s\n  \
             default-server check inter 100ms fall 2 rise 2 send-proxy-v2 check-send-proxy\n\
             listen imap\n  bind {BALANCER}:{balanced}\n  balance roundrobin\n  \
             server one 127.0.0.1:{first}\n  server other 127.0.0.1:{second}\n"
        ),
    );
    let mut command = Command::new("haproxy");
    let log = directory.path().join("haproxy.log");
    let mut haproxy = Server::start("haproxy", command.arg("-db").arg("-f").arg(haproxy), log);
    let balancer = SocketAddr::from((BALANCER, balanced));
    haproxy.wait_for_address(balancer);
    let log_in = |last: u8, password: &str| Session::log_in(Ipv4Addr::new(192, 0, 2, last), balancer, password);

    // A device password that is for one network is good from there, and nowhere else.
    assert_eq!(log_in(200, ELSEWHERE).map(drop), Ok(()));
    let refused = log_in(201, ELSEWHERE).map(drop).unwrap_err();
    assert!(refused.contains("[AUTHENTICATIONFAILED]"), "{refused}");
    let refused = log_in(200, PASSWORD).map(drop).unwrap_err();
    assert!(refused.contains("[AUTHENTICATIONFAILED]"), "{refused}");

    let mut held: Vec<_> = (1..=HELD).map(|last| log_in(last, PASSWORD).unwrap()).collect();
    let (killed, lost) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let before = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..BUSY {
            let (killed, lost, before) = (&killed, &lost, &before);
            scope.spawn(move || {
                let mut after = 0;
                while after < LOGINS {
                    // Known before the login begins: what is counted began without the replica.
                    let is_killed = killed.load(Ordering::SeqCst);
                    let outcome = log_in(30 + client, PASSWORD).and_then(|mut session| session.works());
                    match outcome {
                        Ok(()) if is_killed => after += 1,
                        Ok(()) => drop(before.fetch_add(1, Ordering::SeqCst)),
                        Err(error) => lost.lock().unwrap().push((is_killed, error)),
                    }
                    assert!(lost.lock().unwrap().len() < 1_000, "{:?}", lost.lock().unwrap().first());
                }
            });
        }
        wait_for("logins before", || (before.load(Ordering::SeqCst) >= LOGINS * usize::from(BUSY)).then_some(()));
        assert_eq!(*lost.lock().unwrap(), []);
        one.kill();
        killed.store(true, Ordering::SeqCst);
    });

    // Only what was under way while the replica died is lost, and came through at another try; who
    // begins without it does not notice.
    let lost = lost.into_inner().unwrap();
    assert!(lost.iter().all(|(is_killed, _)| !is_killed), "{lost:?}");

    // The log of each replica has its clients' own addresses.
    let (log_of_one, log_of_other) = (one.log(), other.log());
    let is_in = |log: &str, session: &Session| {
        let peer = format!("peer={} ", session.local);
        log.lines().any(|line| line.contains(&peer) && line.contains("outcome=accepted"))
    };
    let mut of_one = 0;
    for session in &mut held {
        let (in_one, in_other) = (is_in(&log_of_one, session), is_in(&log_of_other, session));
        assert!(in_one != in_other, "{}", session.local);
        assert_eq!(session.works().is_ok(), in_other, "{}", session.local);
        of_one += usize::from(in_one);
    }
    assert!((1..held.len()).contains(&of_one), "each replica had some: {of_one} of {}", held.len());

    // The health checks, ten a second, and the connections behind headers have made no noise.
    for log in [&log_of_one, &log_of_other] {
        for cause in ["no-proxy-header", "not-allowed", "penalised", "too-many-connections"] {
            assert!(!log.contains(&format!("cause={cause}")), "{cause}");
        }
    }
    let asked =
        cloud.sandbox.counters().token_requests_of("client_credentials", cloud.sandbox.confidential_client_id());
    assert!(asked.refused == 0 && asked.succeeded == 1, "the replicas share the token: {asked:?}");
    drop(held);
    other.stop();
    haproxy.stop();
    redis.stop();
}

fn configuration(cloud: &Cloud, port: u16, state: &str) -> Directory {
    let listeners = format!(
        "  imap:\n    bind: 127.0.0.1:{port}\n    upstream: '{{imap}}'\n    proxy_protocol_from: [127.0.0.1]\n    \
         allow_from: [192.0.2.0/24]\n    allow_plaintext_from: [192.0.2.0/24]"
    );
    let sections = format!(
        "accounts:\n  - {{login: {LOGIN}, grant: client_credentials, client_id: {client}, client_secret: sandbox-secret}}\n\
         limits: {{imap_sessions_per_mailbox: 1000, failure_delay: 0s}}\n\
         {state}\n",
        client = cloud.sandbox.confidential_client_id(),
    );
    cloud.configuration(&listeners, &sections)
}

/// A client that has logged in by IMAP.
struct Session {
    local: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Session {
    fn log_in(from: Ipv4Addr, balancer: SocketAddr, password: &str) -> Result<Self, String> {
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((from, 0)).into())?;
            socket.connect_timeout(&balancer.into(), Duration::from_secs(10))?;
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            Ok::<_, std::io::Error>(Self { local: stream.local_addr()?, stream: BufReader::new(stream) })
        };
        let mut session = connect().map_err(|error| format!("connect: {error}"))?;
        session.hear("* OK")?;
        session.say(&format!("a LOGIN {LOGIN} {password}"), "a OK")?;
        Ok(session)
    }

    /// The mailbox answers.
    fn works(&mut self) -> Result<(), String> {
        self.say("n NOOP", "n OK")
    }

    fn say(&mut self, line: &str, reply: &str) -> Result<(), String> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).map_err(|error| error.to_string())?;
        self.hear(reply)
    }

    /// Hears until a line that is no information; it must begin so.
    fn hear(&mut self, begin: &str) -> Result<(), String> {
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(_) if line.starts_with(begin) => return Ok(()),
                Ok(_) if line.starts_with("* ") => {}
                Ok(_) => return Err(line),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
