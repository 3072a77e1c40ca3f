//! Sessions in IDLE for hours: memory does not grow, and none is lost.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::client::{Client, Session};
use crate::row::{Row, report};
use crate::stage::{Place, Stage};

/// In percent. What the allocator rounds up is less, and a leak in every renewal is more.
const GROWTH: f64 = 2.0;
/// Logins at once.
const LANES: usize = 50;

pub(crate) async fn play(stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let (sessions, time, renewal, length) = match quick {
        false => (10_000, minutes(120), minutes(29), "2 h"),
        // Long enough for two lines of the mailbox.
        true => (1_000, minutes(2), Duration::from_secs(75), "2 min"),
    };
    let sessions = stage.fitting(sessions);
    let service = stage.start(Place::Loopback).await?;
    let (stop, stopped) = watch::channel(false);
    let mut idling = JoinSet::new();
    let mut entering = JoinSet::new();
    let mut failures = Vec::new();
    for number in 0..sessions {
        while entering.len() >= LANES {
            enter(&mut entering, &mut idling, &stopped, renewal, &mut failures).await?;
        }
        let client = service.client.clone();
        entering.spawn(log_in(client, format!("mailbox{number}@contoso.com")));
    }
    while !entering.is_empty() {
        enter(&mut entering, &mut idling, &stopped, renewal, &mut failures).await?;
    }
    eprintln!("  {} sessions are in IDLE", idling.len());

    let begin = Instant::now();
    sleep(minutes(1)).await;
    let (pss, cpu, counted) = (service.process.pss_kib()?, service.process.cpu(), Instant::now());
    let mut told = Instant::now();
    while begin.elapsed() < time {
        sleep(Duration::from_secs(1)).await;
        while let Some(ended) = idling.try_join_next() {
            failures.extend(ended?.err().map(|error| format!("{error:#}")));
        }
        if told.elapsed() >= minutes(5) {
            told = Instant::now();
            let now = service.process.pss_kib()?;
            eprintln!("  after {} min: {} sessions, {now} KiB", begin.elapsed().as_secs() / 60, idling.len());
        }
    }
    let after = service.process.pss_kib()?;
    let load = (service.process.cpu() - cpu).as_secs_f64() * 1e3 / counted.elapsed().as_secs_f64();
    stop.send_replace(true);
    let mut silent = 0_usize;
    while let Some(ended) = idling.join_next().await {
        match ended? {
            Ok(0) => silent += 1,
            Ok(_) => {}
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    report("lost", &failures);

    let mut broken = Vec::new();
    let growth = (after as f64 / pss as f64 - 1.0) * 100.0;
    if growth > GROWTH {
        broken.push(format!("memory grew by more than {GROWTH} %"));
    }
    // Or nothing was relayed.
    if silent > 0 {
        broken.push(format!("{silent} sessions heard nothing"));
    }
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
    Ok(Row {
        amount: format!("{sessions} sessions, {length}"),
        figure: format!(
            "PSS {:.1} MiB, at the end {:.1} MiB ({growth:+.2} %), {load:.1} ms of CPU per s",
            mebibytes(pss),
            mebibytes(after)
        ),
        lost: failures.len(),
        broken,
    })
}

/// The next one that has logged in goes to IDLE.
async fn enter(
    entering: &mut JoinSet<anyhow::Result<Session>>,
    idling: &mut JoinSet<anyhow::Result<usize>>,
    stop: &watch::Receiver<bool>,
    renewal: Duration,
    failures: &mut Vec<String>,
) -> anyhow::Result<()> {
    match entering.join_next().await.context("nobody logs in")?? {
        Ok(session) => drop(idling.spawn(idle(session, renewal, stop.clone()))),
        Err(error) => failures.push(format!("{error:#}")),
    }
    Ok(())
}

async fn log_in(client: Client, user: String) -> anyhow::Result<Session> {
    client.log_in_within(Duration::from_secs(60), &user).await
}

/// IDLE until the end, begun again now and then; counts what the mailbox said.
async fn idle(mut session: Session, renewal: Duration, mut stop: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let mut heard = 0;
    let mut last = false;
    while !last {
        session.wire.send(b"i IDLE\r\n").await?;
        if !session.wire.line().await.context("IDLE")?.starts_with(b"+") {
            bail!("IDLE was refused");
        }
        let until = tokio::time::Instant::now() + renewal;
        loop {
            tokio::select! {
                line = session.wire.line() => {
                    let line = line.context("in IDLE")?;
                    if !line.starts_with(b"* ") || line.starts_with(b"* BYE") {
                        bail!("in IDLE, `{}`", line.escape_ascii());
                    }
                    heard += 1;
                }
                () = sleep_until(until) => break,
                _ = stop.changed() => {
                    last = true;
                    break;
                }
            }
        }
        session.wire.send(b"DONE\r\n").await?;
        session.completed("i").await.context("end of IDLE")?;
    }
    session.log_out().await?;
    Ok(heard)
}
