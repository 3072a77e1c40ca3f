//! A network that misbehaves: each scene has a network namespace to itself, with its own name
//! server, in which packets are lost as the scene wants it. All of it is loopback traffic. Needs
//! the right to make namespaces, `unshare`, `ip` and `nft`; `tests/run` installs them and runs
//! these tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::common::again::again;
use crate::common::directory::Directory;
use crate::session::dns::{Dns, NXDOMAIN, SERVFAIL, Says};
use crate::session::support::{ALICE, ALICES, PROTOCOLS, Setup, World, is_accepted};

use MailProtocol::{Imap, Pop3, Smtp};

/// Set inside the namespace: the directory with its `resolv.conf`.
const STAGE: &str = "GATEPOST_TEST_STAGE";

/// Brings up loopback, puts the files of the stage in the place of the system's, and runs one test.
const SET_UP: &str = r#"
ip link set lo up
for file in resolv.conf nsswitch.conf hosts; do mount --bind "$1/$file" "/etc/$file"; done
shift; exec timeout 600 "$@"
"#;

const RESOLV: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:3\n";

/// Runs a scene: from outside, by running this test again inside a namespace.
fn on_stage(name: &str, scene: impl Future<Output = ()>) {
    if std::env::var_os(STAGE).is_some() {
        return tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scene);
    }
    let stage = Directory::new();
    for (file, text) in [
        ("resolv.conf", RESOLV),
        ("nsswitch.conf", "hosts: files dns\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        stage.write(file, text);
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--", "sh", "-euc", SET_UP, "sh"]);
    let again = again(module_path!(), name);
    command.arg(stage.path()).arg(again.get_program()).args(again.get_args()).env(STAGE, stage.path());
    let output = command.output().expect("`unshare` is there");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name} failed in its namespace:\n{text}");
    text.lines().filter(|line| line.starts_with("figure: ")).for_each(|line| println!("{line}"));
}

fn stage() -> PathBuf {
    std::env::var_os(STAGE).unwrap().into()
}

/// Packets that match are dropped when they arrive, unheard; named so that they can be counted.
fn drops(name: &str, rule: &str) {
    let table = format!(
        "table inet {name} {{\ncounter dropped {{ }}\nchain arriving {{\ntype filter hook input priority 0;\n{rule} counter \
         name dropped drop;\n}}\n}}\n"
    );
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("`nft` is there");
    nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{table}");
}

/// Only the beginnings of connections are meant: those that stand would repeat what is lost of
/// them, and be counted.
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";

fn dropped(name: &str) -> u64 {
    let listed = Command::new("nft").args(["list", "counter", "inet", name, "dropped"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAME_SERVER: &str = "127.0.0.1:53";

/// Several addresses of one IMAP server, all at the same port.
struct Addresses {
    port: u16,
    /// Where they lead, once it is known.
    server: Arc<OnceLock<SocketAddr>>,
    /// Connections taken, by address.
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Addresses {
    async fn new(addresses: &[IpAddr]) -> Self {
        let server: Arc<OnceLock<SocketAddr>> = Arc::default();
        let taken: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
        let mut port = 0;
        for address in addresses {
            let listener = TcpListener::bind(SocketAddr::new(*address, port)).await.unwrap();
            port = listener.local_addr().unwrap().port();
            let (server, taken, address) = (Arc::clone(&server), Arc::clone(&taken), *address);
            tokio::spawn(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    *taken.lock().unwrap().entry(address).or_default() += 1;
                    let Some(server) = server.get().copied() else { continue };
                    tokio::spawn(async move {
                        let mut upstream = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut socket, &mut upstream).await
                    });
                }
            });
        }
        Self { port, server, taken }
    }

    /// A Gatepost whose IMAP upstream has these addresses, and a name; that of POP3 is there
    /// without any name server.
    async fn world(&self, limits: &'static str) -> World {
        let listeners = format!(
            "
  imap: {{bind: '127.0.0.1:0', upstream: 'mail.example:{}', upstream_name: localhost}}
  pop3: {{bind: '127.0.0.1:0', upstream: 'localhost:{{pop3}}'}}",
            self.port
        );
        let world = Setup { listeners, limits, ..Setup::default() }.start().await;
        self.server.set(world.sandbox.imap()).unwrap();
        world
    }

    fn taken_by(&self, address: IpAddr) -> usize {
        self.taken.lock().unwrap().get(&address).copied().unwrap_or(0)
    }
}

/// One login on a connection of its own, which is then closed.
async fn timed_login(world: &World) -> Duration {
    let mut client = world.client(Imap).await;
    let asked = Instant::now();
    let reply = client.log_in(ALICE, ALICES).await;
    assert!(is_accepted(Imap, &reply), "{reply}");
    asked.elapsed()
}

/// Whether a login succeeds within a time.
async fn comes_back(world: &World, within: Duration) {
    let until = Instant::now() + within;
    loop {
        let reply = world.reply(Imap, ALICE, ALICES).await;
        if is_accepted(Imap, &reply) {
            return;
        }
        assert!(Instant::now() < until, "after {within:?} still {reply}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn figure(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1].as_millis();
    println!("figure: {what}: {} logins, p50 {} ms, p99 {} ms, slowest {} ms", times.len(), at(50), at(99), at(100));
}

/// The address that is tried first begins to swallow packets while many log in. Each of them gets
/// in, and once that has been noticed the address is not tried again.
#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn one_of_four_addresses_dies() {
    on_stage("one_of_four_addresses_dies", async {
        let four: Vec<_> = (1..=4).map(v4).collect();
        let _dns = Dns::start(NAME_SERVER.parse().unwrap(), Says::Addresses(four.clone())).await;
        let addresses = Addresses::new(&four).await;
        let world = addresses.world("  imap_sessions_per_mailbox: 1000").await;
        figure("all four addresses live", timed_logins(&world, 150).await);
        figure("all four addresses live, 50 at once", logins_at_once(&world, 50).await);
        let first = *four.iter().max_by_key(|address| addresses.taken_by(**address)).unwrap();
        let before = addresses.taken_by(first);
        assert!(before >= 200, "they all took the first: {:?}", addresses.taken);

        drops("dead", &format!("ip daddr {first} tcp dport {} {SYN}", addresses.port));
        figure("the first has just died, 50 at once", logins_at_once(&world, 50).await);
        let tried = dropped("dead");
        assert!(tried > 0);
        figure("from then on", timed_logins(&world, 150).await);
        assert_eq!(dropped("dead"), tried, "it is not tried again");
        assert_eq!(addresses.taken_by(first), before);
    });
}

async fn timed_logins(world: &World, number: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..number {
        times.push(timed_login(world).await);
    }
    times
}

async fn logins_at_once(world: &World, number: usize) -> Vec<Duration> {
    let mut running = Vec::new();
    for _ in 0..number {
        let mut client = world.client(Imap).await;
        running.push(tokio::spawn(async move {
            let asked = Instant::now();
            let reply = client.log_in(ALICE, ALICES).await;
            assert!(is_accepted(Imap, &reply), "{reply}");
            asked.elapsed()
        }));
    }
    let mut times = Vec::new();
    for login in running {
        times.push(login.await.unwrap());
    }
    times
}

#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn ipv6_swallows_packets() {
    on_stage("ipv6_swallows_packets", async {
        let _dns = Dns::start(NAME_SERVER.parse().unwrap(), Says::Addresses(vec![V6, v4(1)])).await;
        let addresses = Addresses::new(&[V6, v4(1)]).await;
        drops("dead", &format!("ip6 daddr ::1 tcp dport {} {SYN}", addresses.port));
        let world = addresses.world("").await;
        // The capability list was asked for first, and met the black hole.
        let tried = dropped("dead");
        assert!(tried > 0);
        figure("IPv6 swallows packets", timed_logins(&world, 20).await);
        assert_eq!(dropped("dead"), tried);
        assert_eq!((addresses.taken_by(V6), addresses.taken_by(v4(1)) >= 20), (0, true));
    });
}

#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn the_resolver_is_silent() {
    on_stage("the_resolver_is_silent", async {
        let dns = Dns::start(NAME_SERVER.parse().unwrap(), Says::Nothing).await;
        let addresses = Addresses::new(&[v4(1)]).await;
        let world = addresses.world("  resolve: 1s").await;
        // However many wait, one thread hangs; and who needs no name server does not notice.
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let mut client = world.client(Imap).await;
            waiting.push(tokio::spawn(async move { client.log_in(ALICE, ALICES).await }));
        }
        world.session(Pop3, ALICE, ALICES).await.works().await;
        let hanging = std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
            let name = task.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "resolve")
        });
        assert_eq!(hanging.count(), 1);
        for one in waiting {
            let reply = one.await.unwrap();
            world.was_refused(Imap, &reply, Refusal::Unavailable, "name-not-resolved");
        }
        dns.now_says(Says::Addresses(vec![v4(1)]));
        comes_back(&world, Duration::from_secs(15)).await;
        // From then on what is known stands in for it, also when it should be asked anew.
        dns.now_says(Says::Nothing);
        let mut held = world.session(Imap, ALICE, ALICES).await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        figure("the resolver is silent, the last answer is old", timed_logins(&world, 20).await);
        held.works().await;
    });
}

#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn the_resolver_errs_and_changes_its_mind() {
    on_stage("the_resolver_errs_and_changes_its_mind", async {
        let dns = Dns::start(NAME_SERVER.parse().unwrap(), SERVFAIL).await;
        let addresses = Addresses::new(&[v4(1), v4(2)]).await;
        let world = addresses.world("").await;
        world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "name-not-resolved").await;
        dns.now_says(NXDOMAIN);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let asked = Instant::now();
        world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "name-not-resolved").await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());

        // Another network: `resolv.conf` names another name server, and nobody restarts anything.
        let other = Dns::start("127.0.0.53:53".parse().unwrap(), Says::OnlyOverTcp(vec![v4(9)])).await;
        std::fs::write(stage().join("resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
        // There nobody listens; that the answer came shows that TCP works.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-unreachable").await;
        // The server has moved.
        other.now_says(Says::Addresses(vec![v4(2)]));
        comes_back(&world, Duration::from_secs(15)).await;
        assert!(addresses.taken_by(v4(2)) > 0 && addresses.taken_by(v4(1)) == 0);
    });
}

#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn one_packet_in_twenty_is_lost() {
    on_stage("one_packet_in_twenty_is_lost", async {
        let world = Setup::default().start().await;
        drops("loss", "meta l4proto tcp numgen random mod 100 < 5");
        let mut times = Vec::new();
        for round in 0..10 {
            for protocol in PROTOCOLS {
                let asked = Instant::now();
                let mut session = world.session(protocol, ALICE, ALICES).await;
                session.works().await;
                times.push(asked.elapsed());
                drop(session);
                assert!(!world.log.has("outcome=refused"), "round {round}");
            }
        }
        assert!(dropped("loss") > 0);
        figure("one packet in twenty is lost", times);
    });
}

/// A peer that vanishes without a word, while nobody says anything: the keep-alive notices, and the
/// other side hears it.
#[test]
#[ignore = "needs network namespaces, and takes two minutes: run tests/run"]
fn a_silent_peer_that_vanished_is_noticed() {
    on_stage("a_silent_peer_that_vanished_is_noticed", async {
        let addresses = Addresses::new(&[v4(2)]).await;
        let _dns = Dns::start(NAME_SERVER.parse().unwrap(), Says::Addresses(vec![v4(2)])).await;
        let world = addresses.world("").await;
        let mut client = world.session(Imap, ALICE, ALICES).await;
        client.works().await;
        let listener = world.address("imap").port();
        // As soon as the last octets are acknowledged, until when another timer runs.
        world.until("it runs towards the client", || kept_alive(listener, true) == 1).await;
        world.until("it runs towards the upstream", || kept_alive(addresses.port, false) == 1).await;
        drops("gone", &format!("tcp sport {}", addresses.port));
        drops("as_well", &format!("tcp dport {}", addresses.port));
        let vanished = Instant::now();
        while !world.log.has("session ended") {
            assert!(vanished.elapsed() < Duration::from_secs(125), "nobody noticed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("figure: a vanished upstream was noticed after {} s", vanished.elapsed().as_secs());
        client.rest().await;
    });
}

/// Established connections at a port whose keep-alive timer runs (`tr` is 2 in `/proc/net/tcp`) and
/// ends within a minute.
fn kept_alive(port: u16, local: bool) -> usize {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string(Path::new("/proc/net/tcp")).unwrap();
    let kept = table.lines().skip(1).filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let at = fields[if local { 1 } else { 2 }];
        let (timer, left) = fields[5].split_once(':').unwrap();
        // Hundredths of a second.
        let left = u64::from_str_radix(left, 16).unwrap();
        at.ends_with(&format!(":{port:04X}")) && fields[3] == ESTABLISHED && timer == "02" && left <= 6_000
    });
    kept.count()
}

#[test]
#[ignore = "needs network namespaces: run tests/run"]
fn smtp_is_not_reached_by_another_name() {
    on_stage("smtp_is_not_reached_by_another_name", async {
        // A name server that lies: what it leads to cannot show the certificate, so no token gets
        // there.
        let _dns = Dns::start(NAME_SERVER.parse().unwrap(), Says::Addresses(vec![v4(1)])).await;
        let listeners = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'mail.example:{smtp}'}".to_owned();
        let world = Setup { listeners, ..Setup::default() }.start().await;
        world.refuses(Smtp, ALICE, ALICES, Refusal::Unavailable, "bad-certificate").await;
    });
}
