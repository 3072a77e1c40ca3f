//! What the load generator does with many sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::JoinSet;

use crate::client::{Client, Session};
use crate::target::USERS;

/// Who logs in, but for bursts.
pub(crate) const USER: &str = USERS[0];

/// Which way bytes are moved.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// Towards the client.
    Down,
    /// Towards the mailbox.
    Up,
}

/// Sessions that take turns with one another; lanes run side by side.
pub(crate) type Lane = Vec<Session>;

/// Has the token fetched by one, and what is made at the first logins made.
pub(crate) async fn warm_up(client: &Client, lanes: usize) -> anyhow::Result<()> {
    client.log_in(USER).await?.log_out().await?;
    log_in_and_out(client, lanes, lanes).await
}

/// So many logins and logouts, so many of them at any time.
pub(crate) async fn log_in_and_out(client: &Client, count: usize, at_once: usize) -> anyhow::Result<()> {
    let lanes = (0..at_once).map(|lane| {
        let client = client.clone();
        async move {
            for _ in (lane..count).step_by(at_once) {
                client.log_in(USER).await?.log_out().await?;
            }
            Ok(())
        }
    });
    join_all(lanes).await.map(drop)
}

/// Logs in and out, so many at any time, until something has happened; the time of each login.
pub(crate) async fn login_times(
    client: &Client,
    at_once: usize,
    until: impl Future<Output = ()>,
) -> anyhow::Result<Vec<Duration>> {
    let over = Arc::new(AtomicBool::new(false));
    let lanes = (0..at_once).map(|_| {
        let (client, over) = (client.clone(), Arc::clone(&over));
        async move {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                let session = client.log_in(USER).await?;
                times.push(start.elapsed());
                session.log_out().await?;
            }
            Ok(times)
        }
    });
    let end = async {
        until.await;
        over.store(true, Ordering::Relaxed);
    };
    let (times, ()) = tokio::join!(join_all(lanes), end);
    Ok(times?.concat())
}

/// Opens so many sessions, so many of them at any time.
pub(crate) async fn open(client: &Client, count: usize, at_once: usize) -> anyhow::Result<Vec<Lane>> {
    let lanes = (0..at_once).map(|lane| {
        let client = client.clone();
        async move {
            let mut sessions = Lane::new();
            for _ in (lane..count).step_by(at_once) {
                sessions.push(client.log_in(USER).await?);
            }
            Ok(sessions)
        }
    });
    join_all(lanes).await
}

/// Moves so many bytes over every session, and gives the sessions back.
pub(crate) async fn transfer(lanes: Vec<Lane>, direction: Direction, bytes: u64) -> anyhow::Result<Vec<Lane>> {
    let lanes = lanes.into_iter().map(|mut lane| async move {
        for session in &mut lane {
            match direction {
                Direction::Down => session.download(bytes).await?,
                Direction::Up => session.upload(bytes).await?,
            }
        }
        Ok(lane)
    });
    join_all(lanes).await
}

/// Every login in the same moment: the time until the last one is done, and how many failed.
pub(crate) async fn at_once(client: &Client, user: &str, count: usize) -> anyhow::Result<(Duration, usize)> {
    let mut logins = JoinSet::new();
    let start = Instant::now();
    for _ in 0..count {
        let (client, user) = (client.clone(), user.to_owned());
        logins.spawn(async move { client.log_in(&user).await });
    }
    let results = logins.join_all().await;
    let time = start.elapsed();
    let failures: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    if failures.len() == count {
        bail!("every login of the burst failed: {:#}", failures[0]);
    }
    if let Some(first) = failures.first() {
        eprintln!("{} of {count} logins of the burst failed: {first:#}", failures.len());
    }
    Ok((time, failures.len()))
}

/// Runs all side by side; the first error ends the others.
async fn join_all<T, F>(work: impl Iterator<Item = F>) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = work.collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        results.push(result??);
    }
    Ok(results)
}
