//! The same in large numbers, which `tests/endurance/run` sets to its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gatepost_sandbox::SandboxAccount;
use rustix::process::Signal;

use crate::common::port::free_address;
use crate::life::client::Client;
use crate::life::program::{ALICE, ALICES, World};
use crate::life::restart::{self, Call, Callers};

/// An amount, which `tests/endurance/run` sets.
pub(crate) fn amount(name: &str, default: usize) -> usize {
    std::env::var(format!("GATEPOST_ENDURANCE_{name}")).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run runs it"]
async fn a_hundred_restarts_under_a_hundred_connections_a_second_refuse_nobody() {
    let world = World::new().await;
    restart::restart(&world, amount("TAKE_OVERS", 100), Duration::from_millis(10)).await;
}

/// Sessions that are never at rest.
async fn busy(world: &World, sessions: usize) -> tokio::task::JoinSet<u64> {
    let stop = Instant::now() + Duration::from_secs(3_600);
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..sessions {
        let mut client = Client::imap(world.imap).await;
        busy.spawn(async move {
            let mut exchanges = 0;
            while Instant::now() < stop {
                if client.ask("n NOOP", "n OK").await.is_err() {
                    break;
                }
                exchanges += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            exchanges
        });
    }
    busy
}

#[cfg(target_os = "linux")]
async fn reloads_under_relays(reloads: usize, sessions: usize) {
    let world = World::new().await;
    let base = format!("  imap_sessions_per_mailbox: {}\n  reload_check: 0s", sessions + 100);
    world.configure(&base);
    let mut program = world.start(&[]);
    let mut busy = busy(&world, sessions).await;
    let logins = Callers::start(Call::Login, [world.imap], Duration::from_millis(250));
    // Each is closed and bound again, and at 127.0.0.1 another program could take it meanwhile.
    let [one, other] = [free_address(), free_address()].map(|free| SocketAddr::from(([127, 77, 0, 1], free.port())));
    let certificate = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        world.write("c.pem", &made.cert.pem());
        world.write("c.key", &made.signing_key.serialize_pem());
    };
    certificate();
    let mut flat = None;
    for round in 0..reloads {
        let text = |bind, limits: &str, accounts: &str| {
            world.configure(&format!("{base}{limits}"));
            let yaml = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
            let tls = "tls: starttls, certificate: c.pem, private_key: c.key";
            let upstream = world.sandbox.imap().port();
            let listener = format!(
                "  more: {{protocol: imap, bind: '{bind}', upstream: 'localhost:{upstream}', {tls}}}\nmicrosoft:"
            );
            let accounts = format!("accounts: [{accounts}{{login: '*'}}]");
            yaml.replace("microsoft:", &listener).replace("accounts: [{login: '*'}]", &accounts)
        };
        let carol = "{login: carol@contoso.example}, ";
        let (yaml, valid) = match round % 5 {
            0 => (text(one, "", carol), true),
            1 => (text(other, "", carol), true),
            2 => (text(other, "\n  login: never", ""), false),
            3 => (text(other, "\n  login: 50s", ""), true),
            _ => {
                certificate();
                (text(other, "\n  login: 50s", carol), true)
            }
        };
        world.write("proxy.yaml", &yaml);
        program.signal(Signal::HUP);
        if valid {
            program.says_times("configuration reloaded: ", round + 1 - (round + 3) / 5);
        } else {
            program.says_times("reload failed, the former configuration stays active", (round + 3) / 5);
        }
        assert!(busy.try_join_next().is_none(), "a session was dropped in round {round}");
        if round % 5 == 4
            && let Some(open) = program.descriptors()
        {
            let before = *flat.get_or_insert(open);
            // Connections of token requests and of lists that are learned come and go.
            assert!(open <= before + 16, "{open} descriptors instead of {before} in round {round}");
        }
    }
    let logged_in = logins.served();
    assert_eq!(logins.failures().await, Vec::<String>::new(), "of {logged_in}");
    let asked = world.sandbox.counters().token_requests_of("password", ALICE).succeeded;
    assert_eq!(asked, 1, "no reload has cost a token");
    program.kill();
    let mut exchanges = 0;
    while let Some(ended) = busy.join_next().await {
        exchanges += ended.unwrap();
    }
    assert!(exchanges >= sessions as u64);
    println!("figure: {exchanges} exchanges, {logged_in} logins");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn reloads_drop_no_session_and_keep_no_descriptor() {
    reloads_under_relays(20, 10).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run runs it"]
async fn a_thousand_reloads_under_five_hundred_relays_drop_none() {
    reloads_under_relays(amount("RELOADS", 1_000), amount("SESSIONS", 500)).await;
}

/// Pieces of a message.
const PARTS: u32 = 20;

/// Sends one message, which takes `time` on however fast a machine, and leaves.
async fn deliver(
    world: &World,
    user: &str,
    (octets, time): (usize, Duration),
    started: tokio::sync::mpsc::Sender<()>,
) -> impl Future<Output = ()> + use<> {
    let mut client = Client::smtp(world.smtp, user).await;
    client.ask(&format!("MAIL FROM:<{user}>"), "250").await.unwrap();
    client.ask(&format!("RCPT TO:<{ALICE}>"), "250").await.unwrap();
    client.ask("DATA", "354").await.unwrap();
    async move {
        client.send(b"Subject: large\r\n\r\n").await.unwrap();
        let line = [[b'x'; 70].as_slice(), b"\r\n"].concat();
        let part = line.repeat((octets / PARTS as usize).div_ceil(line.len()));
        for _ in 0..PARTS {
            client.send(&part).await.unwrap();
            let _all_know = started.try_send(());
            tokio::time::sleep(time / PARTS).await;
        }
        client.ask(".", "250").await.unwrap();
        // Whoever has nothing more to do is told goodbye, or says it.
        let _ended = client.ask("QUIT", "221").await;
    }
}

/// Drains under transfers and idle sessions. No second has more goodbyes than its share.
async fn drain(transfers: usize, (octets, time): (usize, Duration), idling: usize, drain: Duration) {
    let world = World::new().await;
    let seconds = drain.as_secs();
    world.configure(&format!("  drain: {seconds}s\n  imap_sessions_per_mailbox: {}", idling + 1));
    let mut program = world.start(&[]);
    let mut goodbyes = tokio::task::JoinSet::new();
    for _ in 0..idling {
        let mut client = Client::imap(world.imap).await;
        client.idle().await;
        goodbyes.spawn(async move {
            // What was delivered meanwhile is told first.
            let rest = client.last_words().await.unwrap();
            assert!(
                rest.ends_with("\r\n* BYE The service is stopping, connect again\r\n") || rest.starts_with("* BYE "),
                "{rest}"
            );
            Instant::now()
        });
    }
    let mut sending = tokio::task::JoinSet::new();
    let (started, mut begun) = tokio::sync::mpsc::channel(1);
    for number in 0..transfers {
        // Microsoft lets a mailbox have three at once.
        let user = format!("sender{}@contoso.example", number / 3);
        world.sandbox.add_account(SandboxAccount::new(&user, ALICES));
        sending.spawn(deliver(&world, &user, (octets, time), started.clone()).await);
    }
    begun.recv().await.unwrap();
    program.signal(Signal::TERM);
    let begin = Instant::now();
    let mut of_second = vec![0_usize; usize::try_from(seconds).unwrap() + 1];
    while let Some(at) = goodbyes.join_next().await {
        of_second[usize::try_from(at.unwrap().duration_since(begin).as_secs()).unwrap()] += 1;
    }
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
    }
    assert!(program.ended().success());
    assert_eq!(
        world.sandbox.messages(ALICE, "INBOX").iter().filter(|message| message.len() >= octets).count(),
        transfers
    );
    assert!(!program.log().contains("remaining sessions are cut"), "{}", program.log());
    let most = *of_second.iter().max().unwrap();
    println!("goodbyes by second: {of_second:?}");
    if drain >= Duration::from_secs(25) {
        assert!(most * 20 <= idling + 20, "{of_second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_may_finish_and_whoever_idles_hears_goodbye() {
    drain(6, (512 * 1024, Duration::from_secs(2)), 20, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run runs it"]
async fn five_hundred_goodbyes_and_a_hundred_large_messages() {
    drain(100, (2 * 1024 * 1024, Duration::from_secs(10)), 500, Duration::from_secs(60)).await;
}
