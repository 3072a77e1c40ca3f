//! Thousands of clients that send an octet every few seconds, or do not read what they asked for,
//! beside fifty good ones, whose waiting times they must not double.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Session};
use crate::row::{Row, millis, report};
use crate::stage::{Place, Service, Stage};
use crate::times::percentile;

const GOOD: usize = 50;
/// Round trips of a good client between login and logout, and the pause after each.
const TRIPS: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// A command of eight octets takes 24 of the 30 seconds that Gatepost waits for it.
const OCTET: Duration = Duration::from_secs(3);
const COMMAND: &[u8] = b"a NOOP\r\n";

/// More than what fits into the kernel's buffers beside [`Client::receive_buffer`].
const UNREAD: u64 = 1 << 20;

/// A little less than `limits.write_stall`.
const STALL: Duration = Duration::from_secs(115);
/// Logins at once of those that will not read.
const LANES: usize = 20;

/// A difference that a moment of the machine makes, and no client notices.
const NOISE: Duration = Duration::from_millis(10);

/// What the good clients waited for.
#[derive(Default)]
struct Times {
    logins: Vec<Duration>,
    trips: Vec<Duration>,
    failures: Vec<String>,
}

pub(crate) async fn play(stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    // Gatepost ends a session that reads nothing after two minutes, so it is less.
    let (slow, time) = match quick {
        false => (5_000, Duration::from_secs(60)),
        true => (500, Duration::from_secs(15)),
    };
    let slow = stage.fitting(slow);
    let service = stage.start(Place::Loopback).await?;
    // Each mailbox has its token, and each path has been used.
    good_clients(&service, Duration::from_secs(2)).await?;
    eprintln!("  {GOOD} good clients alone");
    let alone = good_clients(&service, time).await?;

    let (stop, stopped) = watch::channel(false);
    let mut dribbling = JoinSet::new();
    for number in 0..slow / 2 {
        let offset = OCTET.mul_f64(number as f64 / (slow / 2) as f64);
        dribbling.spawn(dribble(service.client.clone(), offset, stopped.clone()));
    }
    let deaf = Client { receive_buffer: Some(4096), ..service.client.clone() };
    let (mut sessions, mut failures) = (Vec::new(), Vec::new());
    let (asked, mut asking) = (Instant::now(), JoinSet::new());
    for number in 0..slow / 2 {
        if number >= LANES {
            collect(asking.join_next().await.context("nobody asks")??, &mut sessions, &mut failures);
        }
        asking.spawn(ask_and_not_read(deaf.clone(), format!("deaf{}@contoso.com", number % 50)));
    }
    while let Some(answer) = asking.join_next().await {
        collect(answer?, &mut sessions, &mut failures);
    }
    until_buffers_are_full(&service).await;
    eprintln!("  beside {} that dribble and {} that do not read", dribbling.len(), sessions.len());
    let beside = good_clients(&service, time).await?;

    if asked.elapsed() > STALL {
        bail!("this machine is too slow: it took {} s, after which unread sessions end", asked.elapsed().as_secs());
    }
    stop.send_replace(true);
    let mut dribbled = 0;
    while let Some(ended) = dribbling.join_next().await {
        match ended? {
            Ok(commands) => dribbled += commands,
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    // Those who did not read have lost nothing by it. All read at once, because a small buffer takes
    // its time.
    let mut reading = JoinSet::new();
    for mut session in sessions {
        reading.spawn(async move {
            session.wire.discard(UNREAD).await?;
            session.ping().await
        });
    }
    while let Some(read) = reading.join_next().await {
        failures.extend(read?.err().map(|error| format!("unread: {error:#}")));
    }
    // What else the machine did during the first measurement must not excuse the second.
    eprintln!("  {GOOD} good clients alone again");
    let again = good_clients(&service, time).await?;
    failures.extend([&alone, &beside, &again].into_iter().flat_map(|times| &times.failures).cloned());
    report("lost", &failures);

    let mut broken = Vec::new();
    let mut compare = |what: &str, times: fn(&Times) -> &[Duration]| {
        let [before, with, after] = [&alone, &beside, &again].map(|phase| percentile(times(phase), 99));
        if with > (before.min(after) * 2).max(NOISE) {
            broken.push(format!("p99 of {what} more than doubled"));
        }
        let [before, with, after] = [before, with, after].map(millis);
        format!("p99 of {what} {with}, without the slow ones {before} before and {after} after")
    };
    let logins = compare("logins", |phase| &phase.logins);
    let trips = compare("round trips", |phase| &phase.trips);
    // Or the slow ones were not there.
    if dribbled == 0 && time > OCTET * 8 {
        broken.push("no slow client completed a command".to_owned());
    }
    Ok(Row {
        amount: format!("{slow} slow clients beside {GOOD} good ones, {} s", time.as_secs()),
        figure: format!("{logins}; {trips}; {} logins", beside.logins.len()),
        lost: failures.len(),
        broken,
    })
}

/// So many clients that log in, work and leave, over and over.
async fn good_clients(service: &Service, time: Duration) -> anyhow::Result<Times> {
    let end = Instant::now() + time;
    let mut working = JoinSet::new();
    for number in 0..GOOD {
        let client = service.client.clone();
        working.spawn(async move {
            let mut times = Times::default();
            sleep(PAUSE.mul_f64(number as f64 / GOOD as f64)).await;
            while Instant::now() < end {
                let worked = work(&client, &format!("good{number}@contoso.com"), &mut times).await;
                times.failures.extend(worked.err().map(|error| format!("{error:#}")));
            }
            times
        });
    }
    let mut all = Times::default();
    while let Some(times) = working.join_next().await {
        let times = times?;
        all.logins.extend(times.logins);
        all.trips.extend(times.trips);
        all.failures.extend(times.failures);
    }
    Ok(all)
}

async fn work(client: &Client, user: &str, times: &mut Times) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut session = client.log_in(user).await?;
    times.logins.push(begin.elapsed());
    for _ in 0..TRIPS {
        sleep(PAUSE).await;
        let begin = Instant::now();
        session.ping().await?;
        times.trips.push(begin.elapsed());
    }
    session.log_out().await
}

/// Commands before the login, octet by octet, until the end; counts those that were answered.
async fn dribble(client: Client, offset: Duration, mut stop: watch::Receiver<bool>) -> anyhow::Result<usize> {
    sleep(offset).await;
    let mut commands = 0;
    'connections: while !*stop.borrow() {
        let mut wire = client.greeting().await?;
        loop {
            for octet in COMMAND {
                if tokio::time::timeout(OCTET, stop.changed()).await.is_ok() {
                    break 'connections;
                }
                // Gatepost ends the connection a minute after its beginning: begin again.
                if wire.send(&[*octet]).await.is_err() {
                    continue 'connections;
                }
            }
            match wire.line().await {
                Ok(line) if line.starts_with(b"a OK") => commands += 1,
                _ => continue 'connections,
            }
        }
    }
    Ok(commands)
}

/// Waits until what is not read has filled the buffers of the kernel. Until then Gatepost carries
/// gigabytes, which slows everybody down.
async fn until_buffers_are_full(service: &Service) {
    const STEP: Duration = Duration::from_millis(500);
    // Dribbling clients cost less than a tenth of a CPU.
    for _ in 0..40 {
        let before = service.process.cpu();
        sleep(STEP).await;
        if service.process.cpu().saturating_sub(before) < STEP / 10 {
            return;
        }
    }
}

fn collect(answer: anyhow::Result<Session>, sessions: &mut Vec<Session>, failures: &mut Vec<String>) {
    match answer {
        Ok(session) => sessions.push(session),
        Err(error) => failures.push(format!("{error:#}")),
    }
}

async fn ask_and_not_read(client: Client, user: String) -> anyhow::Result<Session> {
    let mut session = client.log_in(&user).await.context("one that will not read")?;
    session.wire.send(format!("d DOWN {UNREAD}\r\n").as_bytes()).await?;
    Ok(session)
}
