//! The network is away for a few seconds, just as Gatepost asks silent peers whether they are there:
//! no session ends.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Session;
use crate::machine;
use crate::row::{Row, report};
use crate::stage::{Place, Stage};

/// Gatepost asks after a minute of silence, and then every 15 s.
const BEFORE: Duration = Duration::from_secs(55);
const GAP: Duration = Duration::from_secs(12);
/// By then it has asked again.
const AFTER: Duration = Duration::from_secs(20);

pub(crate) async fn play(stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    if std::env::var_os(machine::INSIDE).is_none() {
        bail!("there is no network namespace in which the network could go away");
    }
    let count = stage.fitting(if quick { 200 } else { 2_000 });
    let mut service = stage.start(Place::Loopback).await?;
    let mut sessions = Vec::new();
    for number in 0..count {
        sessions.push(service.client.log_in(&format!("mailbox{number}@contoso.com")).await?);
    }
    eprintln!("  {count} sessions are silent");
    sleep(BEFORE).await;
    loopback("down")?;
    sleep(GAP).await;
    loopback("up")?;
    sleep(AFTER).await;
    let failures = pinged(sessions).await?;
    report("lost", &failures);
    Ok(Row {
        amount: format!("{count} silent sessions, network away for {} s", GAP.as_secs()),
        figure: format!("{} sessions answer afterwards", count - failures.len()),
        lost: failures.len(),
        broken: service.process.ended().into_iter().collect(),
    })
}

fn loopback(state: &str) -> anyhow::Result<()> {
    let done = Command::new("ip").args(["link", "set", "lo", state]).status().context("ip (iproute2)")?;
    if !done.success() {
        bail!("loopback could not be set {state}");
    }
    Ok(())
}

/// Lets each session work; what went wrong.
async fn pinged(sessions: Vec<Session>) -> anyhow::Result<Vec<String>> {
    let mut working: JoinSet<_> = sessions.into_iter().map(|mut session| async move { session.ping().await }).collect();
    let mut failures = Vec::new();
    while let Some(worked) = working.join_next().await {
        failures.extend(worked?.err().map(|error| format!("{error:#}")));
    }
    Ok(failures)
}
