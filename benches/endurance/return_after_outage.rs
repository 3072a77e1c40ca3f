//! All clients come back within seconds, while the upstream has just been away: each gets in, and
//! each mailbox costs one token request.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Session};
use crate::row::{Row, report};
use crate::stage::{Place, Stage};
use crate::times::percentile;

/// What mail programs wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Mail programs try again soon, and then less often.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A client that is not in by then is lost.
const DEADLINE: Duration = Duration::from_secs(300);

/// How a client got in.
struct Return {
    session: Session,
    /// When it was in, since the first client came.
    at: Duration,
    refusals: Vec<String>,
}

pub(crate) async fn play(stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    let (clients, window) = match quick {
        false => (10_000, Duration::from_secs(10)),
        true => (1_000, Duration::from_secs(1)),
    };
    let clients = stage.fitting(clients);
    let mut service = stage.start(Place::Network).await?;
    // By then it knows what the upstream announces.
    service.client(0).log_in_within(PATIENCE, "first@contoso.com").await?.log_out().await?;

    stage.upstream_goes();
    let begin = Instant::now();
    let mut coming = JoinSet::new();
    for number in 0..clients {
        let delay = window.mul_f64(number as f64 / clients as f64);
        coming.spawn(come_back(service.client(number), user(number), delay, begin));
    }
    // One in five finds nobody there at first.
    sleep(window / 5).await;
    stage.upstream_comes()?;

    let (mut sessions, mut times, mut refusals, mut lost) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut told = Instant::now();
    while let Some(came) = coming.join_next().await {
        match came? {
            Ok(Return { session, at, refusals: own }) => {
                sessions.push(session);
                times.push(at);
                refusals.extend(own);
            }
            Err(error) => lost.push(format!("{error:#}")),
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("  after {} s: {} are in", begin.elapsed().as_secs(), sessions.len());
        }
    }
    // All of them at once still work.
    let never = lost.len();
    for session in &mut sessions {
        lost.extend(session.ping().await.err().map(|error| format!("after the login: {error:#}")));
    }
    eprintln!("  {never} never got in, {} sessions ended after the login", lost.len() - never);
    report("lost", &lost);
    report("refused for a while", &refusals);

    let asked: Vec<u64> = (0..clients).map(|number| stage.requests.of(&user(number))).collect();
    let mut broken = Vec::new();
    broken.extend(service.process.ended());
    let (total, most) = (asked.iter().sum::<u64>(), asked.iter().max().copied().unwrap_or(0));
    if asked.iter().any(|&times| times != 1) {
        broken.push(format!("{total} token requests, up to {most} for a mailbox"));
    }
    let blamed = refusals.iter().filter(|refusal| refusal.contains("AUTHENTICATIONFAILED")).count();
    if blamed > 0 {
        broken.push(format!("{blamed} clients were told that their password is wrong"));
    }
    let seconds = |percent| percentile(&times, percent).as_secs_f64();
    Ok(Row {
        amount: format!(
            "{clients} clients within {} s, upstream away for the first {:.1} s",
            window.as_secs(),
            window.as_secs_f64() / 5.0
        ),
        figure: format!(
            "half of them in after {:.1} s, the last after {:.1} s; {} refusals for a while, {total} token requests",
            seconds(50),
            seconds(100),
            refusals.len(),
        ),
        lost: lost.len(),
        broken,
    })
}

fn user(number: usize) -> String {
    format!("mailbox{number}@contoso.com")
}

/// Logs in, and tries again for as long as a client does.
async fn come_back(client: Client, user: String, delay: Duration, begin: Instant) -> anyhow::Result<Return> {
    sleep(delay).await;
    let (mut refusals, mut pause) = (Vec::new(), FIRST_PAUSE);
    loop {
        match client.log_in_within(PATIENCE, &user).await {
            Ok(session) => return Ok(Return { session, at: begin.elapsed(), refusals }),
            Err(error) if begin.elapsed() > DEADLINE => return Err(error),
            Err(error) => refusals.push(format!("{error:#}")),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
