//! Entra is away for most of an hour: clients whose token lives notice nothing, the others are told
//! that it is temporary, and are in soon after it is back.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Client;
use crate::row::{Row, report};
use crate::stage::{Place, Stage};

/// What mail programs wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts of a client that is refused.
const PAUSE: Duration = Duration::from_secs(5);
/// All is well so soon after Entra is back.
const SOON: Duration = Duration::from_secs(60);
/// Clients without a token.
const NEW: usize = 20;

/// What a client met.
#[derive(Default)]
struct Fate {
    logins: usize,
    failures: Vec<String>,
    /// When a client without a token was in.
    at: Option<Instant>,
}

pub(crate) async fn play(stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    // Gatepost uses no token in its last five minutes.
    let (known, every, away, lifetime, length) = match quick {
        false => (200, Duration::from_secs(10), Duration::from_secs(50 * 60), Duration::from_secs(4_799), "50 min"),
        true => (50, Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(440), "1 min"),
    };
    stage.set_token_lifetime(lifetime);
    let service = stage.start(Place::Loopback).await?;
    for number in 0..known {
        service.client.log_in_within(PATIENCE, &format!("known{number}@contoso.com")).await?.log_out().await?;
    }

    stage.entra_fails();
    let (stop, stopped) = watch::channel(false);
    let (mut using, mut coming) = (JoinSet::new(), JoinSet::new());
    for number in 0..known {
        let offset = every.mul_f64(number as f64 / known as f64);
        let user = format!("known{number}@contoso.com");
        using.spawn(use_token(service.client.clone(), user, offset, every, stopped.clone()));
    }
    for number in 0..NEW {
        coming.spawn(get_in(service.client.clone(), format!("new{number}@contoso.com"), stopped.clone()));
    }
    eprintln!("  Entra answers 503 for half of {length}");
    sleep(away / 2).await;
    stage.entra_goes();
    eprintln!("  Entra refuses connections for the other half");
    sleep(away / 2).await;
    stage.entra_comes()?;
    let back = Instant::now();
    eprintln!("  Entra is back");
    sleep(SOON).await;
    stop.send_replace(true);

    let mut lost = Vec::new();
    let mut logins = 0;
    while let Some(fate) = using.join_next().await {
        let fate = fate?;
        logins += fate.logins;
        lost.extend(fate.failures);
    }
    let (mut refusals, mut last, mut early, mut late) = (Vec::new(), Duration::ZERO, 0_usize, 0_usize);
    while let Some(fate) = coming.join_next().await {
        let fate = fate?;
        refusals.extend(fate.failures);
        match fate.at {
            Some(at) if at < back => early += 1,
            Some(at) if at - back <= SOON => last = last.max(at - back),
            _ => late += 1,
        }
    }
    report("lost", &lost);
    report("refused for a while", &refusals);

    let mut broken = Vec::new();
    let blamed = lost.iter().chain(&refusals).filter(|text| text.contains("AUTHENTICATIONFAILED")).count();
    if blamed > 0 {
        broken.push(format!("{blamed} clients were told that their password is wrong"));
    }
    // Or Entra was not away.
    if early > 0 || refusals.is_empty() {
        broken.push(format!("{early} clients without a token were in before Entra was back"));
    }
    if late > 0 {
        broken.push(format!("{late} clients were not in within a minute of its return"));
    }
    Ok(Row {
        amount: format!("{length}, {known} mailboxes with a token, {NEW} without"),
        figure: format!(
            "{logins} logins with tokens, {} temporary refusals, the last in {:.1} s after its return",
            refusals.len(),
            last.as_secs_f64(),
        ),
        lost: lost.len(),
        broken,
    })
}

/// Logs in now and then, and out again.
async fn use_token(
    client: Client,
    user: String,
    offset: Duration,
    every: Duration,
    stop: watch::Receiver<bool>,
) -> Fate {
    let mut fate = Fate::default();
    sleep(offset).await;
    while !*stop.borrow() {
        let visit = async { client.log_in_within(PATIENCE, &user).await?.log_out().await };
        match visit.await {
            Ok(()) => fate.logins += 1,
            Err(error) => fate.failures.push(format!("{error:#}")),
        }
        sleep(every).await;
    }
    fate
}

/// Tries until it is in.
async fn get_in(client: Client, user: String, stop: watch::Receiver<bool>) -> Fate {
    let mut fate = Fate::default();
    while !*stop.borrow() {
        match client.log_in_within(PATIENCE, &user).await {
            Ok(_) => {
                fate.at = Some(Instant::now());
                break;
            }
            Err(error) => fate.failures.push(format!("{error:#}")),
        }
        sleep(PAUSE).await;
    }
    fate
}
