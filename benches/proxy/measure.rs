//! The measurements: each drives load through a running target and notes what its process used
//! meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::entra::Requests;
use crate::load::{Direction, Lane, USER, at_once, log_in_and_out, login_times, open, transfer, warm_up};
use crate::process::Process;
use crate::target::{DEVICES, Running, Setup, Target};
use crate::times::percentile;

const GIB: f64 = (1u64 << 30) as f64;
const FETCH_BYTES: u64 = 256 * 1024;
/// A measurement that takes longer has hung.
const DEADLINE: Duration = Duration::from_secs(180);
/// So long the sessions that stand do nothing while CPU is counted.
const STANDSTILL: Duration = Duration::from_secs(5);
/// Devices that log in at once while others are measured.
const DEVICES_AT_ONCE: usize = 50;

/// A figure of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// CPU ms per login, 16 at once, token cached.
    LoginCpu,
    /// Logins per second of the same.
    LoginRate,
    /// CPU s/GiB towards the client, one connection.
    DownCpu1,
    /// The same, eight connections.
    DownCpu8,
    /// CPU s/GiB towards the mailbox, one connection.
    UpCpu1,
    /// The same, eight connections.
    UpCpu8,
    /// GiB/s of the same four.
    DownRate1,
    /// Eight connections down.
    DownRate8,
    /// One connection up.
    UpRate1,
    /// Eight connections up.
    UpRate8,
    /// CPU us per small command and reply.
    TripCpu,
    /// Median time of one, us.
    TripTime,
    /// KiB per session that has just signed in.
    IdleMemory,
    /// The same after it fetched 256 KiB.
    UsedMemory,
    /// ms until all logins of a burst are done, token cached.
    BurstWarm,
    /// The same for a mailbox whose token nobody has asked for.
    BurstCold,
    /// The second by the first.
    BurstRatio,
    /// Token requests of the cold burst.
    BurstRequests,
    /// Logins of both bursts that did not succeed.
    BurstFailures,
    /// CPU ms per login while a few hundred sessions stand.
    FewLoginCpu,
    /// CPU ms per second that those cost by standing.
    FewIdleCpu,
    /// KiB for each of them.
    FewMemory,
    /// CPU ms per login while thousands of sessions stand.
    ManyLoginCpu,
    /// CPU ms per second that those cost by standing.
    ManyIdleCpu,
    /// KiB for each of them.
    ManyMemory,
    /// 99th percentile of a login, ms, 16 at once.
    QuietLoginP99,
    /// The same while passwords of devices are hashed.
    HashingLoginP99,
    /// ms from the start of the process to its first greeting.
    StartTime,
    /// MiB after that.
    StartMemory,
    /// MB of the program file.
    Binary,
}

/// What has been measured of one target: each figure once per round.
pub(crate) type Figures = BTreeMap<Metric, Vec<f64>>;

/// A group of figures that are measured together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measurement {
    /// Time to the first greeting, memory after it, size of the program.
    Start,
    /// Memory per session.
    Memory,
    /// CPU per login.
    Login,
    /// CPU per GiB.
    Bulk,
    /// CPU and time per round trip.
    Trip,
    /// A thousand logins at once.
    Burst,
    /// Logins while passwords of others are hashed. Gatepost only.
    Hashing,
    /// Memory, CPU and logins while ten thousand sessions stand. Gatepost only.
    Standing,
}

impl Measurement {
    /// In the order in which they run: what counts memory comes first, while the process is young.
    pub(crate) const ALL: [Self; 8] =
        [Self::Start, Self::Memory, Self::Login, Self::Bulk, Self::Trip, Self::Burst, Self::Hashing, Self::Standing];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Memory => "memory",
            Self::Login => "login",
            Self::Bulk => "bulk",
            Self::Trip => "trip",
            Self::Burst => "burst",
            Self::Hashing => "hashing",
            Self::Standing => "standing",
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy)]
pub(crate) struct Amounts {
    /// Logins at once.
    lanes: usize,
    logins: usize,
    bytes: u64,
    trips: usize,
    sessions: usize,
    burst: usize,
    /// Bursts of each kind.
    bursts: usize,
    /// Sessions that stand: a few, and many.
    standing: [usize; 2],
}

impl Amounts {
    /// For a target, with so many open files allowed: a session needs one at each end of ours, and
    /// a proxy two.
    pub(crate) fn new(quick: bool, target: Target, open_files: usize) -> Self {
        let mut amounts = match quick {
            false => Self {
                lanes: 16,
                logins: 2_000,
                bytes: 512 << 20,
                trips: 5_000,
                sessions: 1_000,
                burst: 1_000,
                bursts: 2,
                standing: [400, 10_000],
            },
            true => Self {
                lanes: 16,
                logins: 320,
                bytes: 128 << 20,
                trips: 2_000,
                sessions: 200,
                burst: 1_000,
                bursts: 1,
                standing: [400, 2_000],
            },
        };
        match target {
            Target::Gatepost | Target::GatepostTls => {}
            Target::Direct
            | Target::Haproxy
            | Target::HaproxyTls
            | Target::Nginx
            | Target::NginxTls
            | Target::Stunnel
            | Target::StunnelTls => amounts.bursts = 1,
            // Takes more than ten seconds per GiB up.
            Target::Dovecot => (amounts.bytes, amounts.bursts) = (amounts.bytes / 8, 1),
            // Needs a hundred times the others' time for a login; its listen queue holds five, and
            // what does not fit waits for seconds; `select` ends at 508 sessions.
            Target::EmailProxy => {
                amounts.lanes = 5;
                amounts.logins = amounts.logins / 50 + 10;
                amounts.bytes /= 4;
                amounts.sessions = amounts.sessions / 12 + 16;
                (amounts.burst, amounts.bursts) = (0, 0);
            }
        }
        let most = open_files.saturating_sub(200) / 2;
        amounts.sessions = amounts.sessions.min(most);
        amounts.burst = amounts.burst.min(most);
        amounts.standing = amounts.standing.map(|sessions| sessions.min(most));
        amounts
    }
}

/// One stint of one target.
pub(crate) struct Bench<'a> {
    /// Who.
    pub(crate) target: Target,
    /// Its process and client.
    pub(crate) running: &'a Running,
    /// For another process of it.
    pub(crate) setup: &'a Setup,
    /// How much.
    pub(crate) amounts: Amounts,
    /// What the token endpoint has been asked.
    pub(crate) requests: &'a Requests,
    /// Where figures go.
    pub(crate) figures: &'a mut Figures,
    /// Makes names of cold mailboxes unique.
    pub(crate) round: usize,
}

impl Bench<'_> {
    /// Runs one group of measurements.
    pub(crate) async fn run(&mut self, measurement: Measurement) -> anyhow::Result<()> {
        let work = async {
            match measurement {
                Measurement::Start => self.start(),
                Measurement::Memory => self.memory().await,
                Measurement::Login => self.login().await,
                Measurement::Bulk => self.bulk().await,
                Measurement::Trip => self.trip().await,
                Measurement::Burst => self.burst().await,
                Measurement::Hashing => self.hashing().await,
                Measurement::Standing => self.standing().await,
            }
        };
        let result = timeout(DEADLINE, work).await.context("took too long").flatten();
        let last_words = || self.running.process.as_ref().map(Process::last_words).unwrap_or_default();
        result.map_err(|error| anyhow::anyhow!("{error:#}{}", last_words()))
    }

    fn note(&mut self, metric: Metric, value: f64) {
        self.figures.entry(metric).or_default().push(value);
    }

    /// CPU of the proxy since `before`, which is what this gave earlier. `None` for the direct
    /// connection.
    async fn cpu(&self, before: Option<Duration>) -> Option<Duration> {
        let cpu = settled_cpu(self.running.process.as_ref()?).await;
        Some(cpu.saturating_sub(before.unwrap_or_default()))
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let Some(process) = &self.running.process else { return Ok(()) };
        let pss = process.pss_kib()? as f64 / 1024.0;
        let binary = std::fs::metadata(self.target.program().map_err(anyhow::Error::msg)?)?.len() as f64 / 1e6;
        self.note(Metric::StartTime, millis(self.running.until_greeting));
        self.note(Metric::StartMemory, pss);
        if self.target.is_ours() {
            self.note(Metric::Binary, binary);
        }
        Ok(())
    }

    async fn memory(&mut self) -> anyhow::Result<()> {
        let Some(process) = &self.running.process else { return Ok(()) };
        // What is made once, at the first login, is no session's.
        warm_up(&self.running.client, self.amounts.lanes).await?;
        let settle = || sleep(Duration::from_millis(300));
        settle().await;
        let before = process.pss_kib()?;
        let sessions = open(&self.running.client, self.amounts.sessions, self.amounts.lanes).await?;
        settle().await;
        let idle = process.pss_kib()?;
        let sessions = transfer(sessions, Direction::Down, FETCH_BYTES).await?;
        settle().await;
        let used = process.pss_kib()?;
        let count = self.amounts.sessions as f64;
        self.note(Metric::IdleMemory, idle.saturating_sub(before) as f64 / count);
        self.note(Metric::UsedMemory, used.saturating_sub(before) as f64 / count);
        drop(sessions);
        settle().await;
        Ok(())
    }

    async fn login(&mut self) -> anyhow::Result<()> {
        let (client, lanes, logins) = (&self.running.client, self.amounts.lanes, self.amounts.logins);
        warm_up(client, lanes).await?;
        let start = Instant::now();
        let cpu = match &self.running.process {
            Some(process) => Some(login_cpu(process, client, logins, lanes).await?),
            None => log_in_and_out(client, logins, lanes).await.map(|()| None)?,
        };
        self.note(Metric::LoginRate, logins as f64 / start.elapsed().as_secs_f64());
        cpu.into_iter().for_each(|cpu| self.note(Metric::LoginCpu, cpu));
        Ok(())
    }

    async fn bulk(&mut self) -> anyhow::Result<()> {
        let cases = [
            (Direction::Down, 1, Metric::DownCpu1, Metric::DownRate1),
            (Direction::Down, 8, Metric::DownCpu8, Metric::DownRate8),
            (Direction::Up, 1, Metric::UpCpu1, Metric::UpRate1),
            (Direction::Up, 8, Metric::UpCpu8, Metric::UpRate8),
        ];
        for (direction, connections, cpu_metric, rate_metric) in cases {
            let sessions = open(&self.running.client, connections, self.amounts.lanes).await?;
            let sessions = sessions.into_iter().flatten().map(|session| vec![session]).collect();
            let bytes = self.amounts.bytes / connections as u64;
            // Buffers of the kernel and of the proxy find their size first.
            let sessions = transfer(sessions, direction, bytes / 32).await?;
            let before = self.cpu(None).await;
            let start = Instant::now();
            let sessions = transfer(sessions, direction, bytes).await?;
            let time = start.elapsed();
            let cpu = self.cpu(before).await;
            drop(sessions);
            let gib = (bytes * connections as u64) as f64 / GIB;
            self.note(rate_metric, gib / time.as_secs_f64());
            if let Some(cpu) = cpu {
                self.note(cpu_metric, cpu.as_secs_f64() / gib);
            }
        }
        Ok(())
    }

    async fn trip(&mut self) -> anyhow::Result<()> {
        let mut session = self.running.client.log_in(USER).await?;
        for _ in 0..200 {
            session.ping().await?;
        }
        let before = self.cpu(None).await;
        let mut times = Vec::with_capacity(self.amounts.trips);
        for _ in 0..self.amounts.trips {
            let start = Instant::now();
            session.ping().await?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        let cpu = self.cpu(before).await;
        self.note(Metric::TripTime, median(&times));
        if let Some(cpu) = cpu {
            self.note(Metric::TripCpu, cpu.as_secs_f64() * 1e6 / self.amounts.trips as f64);
        }
        session.log_out().await
    }

    async fn burst(&mut self) -> anyhow::Result<()> {
        let count = self.amounts.burst;
        if count == 0 {
            return Ok(());
        }
        let client = &self.running.client;
        warm_up(client, self.amounts.lanes).await?;
        let mut failures = 0;
        let mut run = async |user: &str| -> anyhow::Result<f64> {
            let (time, failed) = at_once(client, user, count).await?;
            failures += failed;
            sleep(Duration::from_millis(300)).await;
            Ok(millis(time))
        };
        // The first burst makes room for all the others.
        run(USER).await?;
        let (mut warm, mut cold, mut requests) = (Vec::new(), Vec::new(), 0);
        for burst in 0..self.amounts.bursts {
            warm.push(run(USER).await?);
            if self.target.is_ours() {
                let user = format!("burst-{}-{}-{burst}@contoso.com", self.target.name(), self.round);
                cold.push(run(&user).await?);
                requests = requests.max(self.requests.of(&user));
            }
        }
        self.note(Metric::BurstWarm, median(&warm));
        self.note(Metric::BurstFailures, failures as f64);
        if !cold.is_empty() {
            self.note(Metric::BurstCold, median(&cold));
            self.note(Metric::BurstRatio, median(&cold) / median(&warm));
            self.note(Metric::BurstRequests, requests as f64);
        }
        Ok(())
    }

    /// While 50 devices log in for the first time, everybody else's logins go on.
    async fn hashing(&mut self) -> anyhow::Result<()> {
        if !self.target.is_ours() {
            return Ok(());
        }
        let (client, lanes) = (&self.running.client, self.amounts.lanes);
        warm_up(client, lanes).await?;
        let quiet = login_times(client, lanes, sleep(Duration::from_secs(3))).await?;
        let mut devices = JoinSet::new();
        for device in 0..DEVICES_AT_ONCE {
            let (client, name) = (client.clone(), format!("{}-{device}@{DEVICES}", self.round));
            devices.spawn(async move {
                // A device that is told to come back does. On one CPU, not all get their turn in time.
                loop {
                    match client.log_in(&name).await {
                        Err(error) if format!("{error:#}").contains("[UNAVAILABLE]") => {}
                        session => return session?.log_out().await,
                    }
                }
            });
        }
        let mut refused = Ok(());
        let all_in = async {
            while let Some(result) = devices.join_next().await {
                refused = std::mem::replace(&mut refused, Ok(())).and(result.map_err(Into::into).flatten());
            }
        };
        let beside = login_times(client, lanes, all_in).await?;
        refused.context("the login of a device")?;
        self.note(Metric::QuietLoginP99, millis(percentile(&quiet, 99)));
        self.note(Metric::HashingLoginP99, millis(percentile(&beside, 99)));
        Ok(())
    }

    /// What sessions cost that stand, and what logins cost beside them: few of them, then many. In a
    /// process of its own, because one that has served many has room for them already.
    async fn standing(&mut self) -> anyhow::Result<()> {
        if !self.target.is_ours() {
            return Ok(());
        }
        let Running { process, client, .. } = self.target.start(self.setup).await?;
        let (process, lanes) = (process.context("a process")?, self.amounts.lanes);
        warm_up(&client, lanes).await?;
        sleep(Duration::from_millis(300)).await;
        let (empty, mut sessions) = (process.pss_kib()?, Vec::new());
        let metrics = [
            (Metric::FewMemory, Metric::FewIdleCpu, Metric::FewLoginCpu),
            (Metric::ManyMemory, Metric::ManyIdleCpu, Metric::ManyLoginCpu),
        ];
        for (count, (memory, idle, login)) in self.amounts.standing.into_iter().zip(metrics) {
            let standing: usize = sessions.iter().map(Lane::len).sum();
            sessions.extend(open(&client, count - standing, lanes).await?);
            sleep(Duration::from_secs(1)).await;
            let each = process.pss_kib()?.saturating_sub(empty) as f64 / count as f64;
            let before = process.cpu();
            sleep(STANDSTILL).await;
            let standstill = process.cpu().saturating_sub(before);
            let cpu = login_cpu(&process, &client, self.amounts.logins, lanes).await?;
            self.note(memory, each);
            self.note(idle, millis(standstill) / STANDSTILL.as_secs_f64());
            self.note(login, cpu);
        }
        Ok(())
    }
}

/// The middle value; of an even number the mean of the two in the middle. Zero of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// CPU ms of each of so many logins, so many of them at any time.
async fn login_cpu(process: &Process, client: &Client, logins: usize, at_once: usize) -> anyhow::Result<f64> {
    let before = settled_cpu(process).await;
    log_in_and_out(client, logins, at_once).await?;
    Ok(millis(settled_cpu(process).await.saturating_sub(before)) / logins as f64)
}

/// CPU time so far. What is still to be closed belongs to the work.
async fn settled_cpu(process: &Process) -> Duration {
    sleep(Duration::from_millis(50)).await;
    process.cpu()
}
