//! The order of events: arguments, surroundings, measurements, table.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig, Service, UpstreamMode};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::device::{Device, mailbox, source};
use crate::directory;
use crate::machine::{self, Cpus};
use crate::process::Process;

const DEVICES: u8 = 50;
/// The body of most messages: a notice of a monitoring system, a page of a scan in low quality.
const SMALL: usize = 10 << 10;
const LARGE: usize = 10 << 20;
/// A measurement that takes longer has hung.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs everything; 1 when something could not be measured.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("run it by `cargo bench --bench queue`: figures of a debug build mean nothing");
        return ExitCode::SUCCESS;
    }
    machine::in_namespace(|| {
        println!("{}", run(arguments.iter().any(|argument| argument == "--quick"))?);
        Ok(true)
    })
}

fn run(quick: bool) -> anyhow::Result<String> {
    machine::raise_open_files();
    let cpus = Cpus::divide()?;
    let base = std::env::var_os("GATEPOST_BENCH_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory::temporary(&base)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(directory.path(), &cpus, if quick { 300 } else { 3_000 }))?;
    let mut table = format!("{}\n\n| queue | figure |\n|---|---|\n", machine::describe(&cpus));
    for (name, figure) in rows {
        writeln!(table, "| {name} | {figure} |")?;
    }
    Ok(table)
}

async fn measure(directory: &Path, cpus: &Cpus, count: usize) -> anyhow::Result<Vec<(&'static str, String)>> {
    let accounts = (1..=DEVICES).map(|device| SandboxAccount::new(&mailbox(device), "known-to-nobody")).collect();
    let sandbox = Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await?;
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    std::fs::write(directory.join("ca.pem"), sandbox.ca_pem())?;
    std::fs::write(directory.join("proxy.yaml"), configuration(&sandbox, server))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["run", "--config", "proxy.yaml"]).current_dir(directory).env_clear();
    let mut process = cpus.on_proxy_cpu(|| Process::start(&mut command, &directory.join("output.log")))??;
    let begin = Instant::now();
    while Device::connect(1, server).await.is_err() {
        if let Some(end) = process.ended() {
            bail!("{end}");
        }
        if begin.elapsed() > DEADLINE {
            bail!("it does not answer{}", process.last_words());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let work = figures(&sandbox, server, &process, count);
    let figures = timeout(DEADLINE, work).await.context("took too long").flatten();
    figures.map_err(|error| anyhow::anyhow!("{error:#}{}", process.last_words()))
}

/// All figures, while Microsoft is there and then while it is away.
async fn figures(
    sandbox: &Sandbox,
    server: SocketAddr,
    process: &Process,
    count: usize,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let per_second = |messages: usize, time: Duration| format!("{:.0} a second", messages as f64 / time.as_secs_f64());
    let cpu_each = |before: Duration, messages: usize| {
        format!("{:.2} ms of CPU", (process.cpu() - before).as_secs_f64() * 1e3 / messages as f64)
    };
    let mut rows = Vec::new();

    // Tokens and connections are made first.
    send(server, "warm", usize::from(DEVICES), usize::from(DEVICES), SMALL).await?;
    delivered(sandbox, usize::from(DEVICES)).await;
    let (before, begin) = (process.cpu(), Instant::now());
    send(server, "through", count, usize::from(DEVICES), SMALL).await?;
    delivered(sandbox, usize::from(DEVICES) + count).await;
    rows.push(("10 KiB, accepted and delivered, 50 devices", per_second(count, begin.elapsed())));
    rows.push(("the same, each", cpu_each(before, count)));

    sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Refuse);
    // The first message of each mailbox finds out that Microsoft is away.
    send(server, "away", usize::from(DEVICES), usize::from(DEVICES), SMALL).await?;
    sleep(Duration::from_secs(2)).await;
    for (name, devices) in [("10 KiB, accepted, one device", 1), ("10 KiB, accepted, 16 devices", 16)] {
        let messages = count / 2;
        let begin = Instant::now();
        send(server, name, messages, devices, SMALL).await?;
        rows.push((name, per_second(messages, begin.elapsed())));
    }

    let settle = || sleep(Duration::from_secs(1));
    settle().await;
    let before = process.pss_kib()?;
    send(server, "waiting", count, 16, SMALL).await?;
    settle().await;
    let small = process.pss_kib()?;
    let large = 20;
    send(server, "large", large, 4, LARGE).await?;
    settle().await;
    let each = |before: u64, after: u64, messages: usize| {
        format!("{:.2} KiB", after.saturating_sub(before) as f64 / messages as f64)
    };
    rows.push(("memory of a waiting message of 10 KiB", each(before, small, count)));
    rows.push(("memory of a waiting message of 10 MiB", each(small, process.pss_kib()?, large)));
    Ok(rows)
}

/// Sends messages from so many devices at once.
async fn send(server: SocketAddr, name: &str, messages: usize, devices: usize, body: usize) -> anyhow::Result<()> {
    let mut sending = JoinSet::new();
    for device in 1..=devices {
        let (name, share) = (name.replace(' ', "-"), messages / devices + usize::from(device <= messages % devices));
        let number = u8::try_from(device)?;
        sending.spawn(async move {
            let mut device = Device::connect(number, server).await?;
            for message in 0..share {
                device.send(&format!("<{name}.{number}.{message}@devices.example>"), body).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

/// Waits until so many messages have left.
async fn delivered(sandbox: &Sandbox, messages: usize) {
    while sandbox.deliveries().len() < messages {
        sleep(Duration::from_millis(20)).await;
    }
}

fn configuration(sandbox: &Sandbox, server: SocketAddr) -> String {
    let trusted: String = (1..=DEVICES)
        .map(|device| {
            let (from, login) = (source(device), mailbox(device));
            format!("      - {{from: {from}, login: {login}, messages_per_minute: 10000}}\n")
        })
        .collect();
    let accounts: String = (1..=DEVICES).map(|device| format!("{{login: {}}}, ", mailbox(device))).collect();
    format!(
        "listeners:\n  \
           devices:\n    \
             protocol: smtp\n    \
             bind: '{server}'\n    \
             upstream: 'localhost:{}'\n    \
             queue: true\n    \
             trusted_senders:\n{trusted}\
         microsoft:\n  \
           authority: '{}'\n  \
           tenant: contoso.example\n  \
           grant: client_credentials\n  \
           client_id: {}\n  \
           client_secret: sandbox-secret\n\
         accounts: [{accounts}]\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n\
         state: {{directory: state}}\n\
         queue: {{messages_per_minute: 10000}}\n",
        sandbox.smtp().port(),
        sandbox.authority(),
        sandbox.confidential_client_id(),
    )
}
