//! The order of events: arguments, surroundings, rounds, report.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use crate::directory;
use crate::entra::Requests;
use crate::machine::{self, Cpus};
use crate::measure::{Amounts, Bench, Measurement};
use crate::pki::Pki;
use crate::report::Report;
use crate::target::{Setup, Target};
use crate::{backend, entra};

/// What Gatepost costs beside a direct connection and its peers.
#[derive(Parser)]
#[command(name = "cargo bench --bench proxy --")]
struct Arguments {
    /// Smaller amounts and one round: rough figures in about a minute.
    #[arg(long)]
    quick: bool,
    /// Only this measurement or target; may be repeated. Measurements: start, memory, login, bulk,
    /// trip, burst, hashing, standing. Targets: direct, gatepost, haproxy, nginx-stream, stunnel,
    /// dovecot, email-oauth2-proxy; with TLS towards the client gatepost-tls, haproxy-tls,
    /// nginx-stream-tls, stunnel-tls.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Turns per target; the tables show medians. Default: 3, with --quick 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Writes all figures of all rounds there, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`, not by `cargo test`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs everything; 1 when something could not be measured.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        eprintln!("run it by `cargo bench --bench proxy`: figures of a debug build mean nothing");
        return ExitCode::SUCCESS;
    }
    machine::in_namespace(|| run(&arguments))
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let (targets, measurements) = selection(&arguments.only)?;
    let rounds = usize::from(arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 }));
    let open_files = machine::raise_open_files();
    let cpus = Cpus::divide()?;
    let directory = directory::temporary(&std::env::temp_dir())?;
    let mut report = Report { machine: machine::describe(&cpus), rounds, quick: arguments.quick, ..Report::default() };
    eprintln!("{}", report.machine);

    let pki = Pki::new(directory.path())?;
    let requests = Requests::default();
    let (backend, entra) = serve(Arc::clone(&pki.server), requests.clone())?;
    let setup = Setup { pki, backend, entra, directory: directory.path().to_owned(), cpus };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let complete = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // What is dropped on the way out ends its processes and removes its files.
        tokio::select! {
            complete = measure(&mut report, targets, &measurements, &setup, &requests, open_files) => Ok(complete),
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to stop"),
        }
    })?;
    println!("{}", report.render());
    if let Some(file) = &arguments.json {
        write_json(file, &report)?;
    }
    Ok(complete)
}

/// All targets in turn, round after round. False when something is missing that could have been
/// there.
async fn measure(
    report: &mut Report,
    targets: Vec<Target>,
    measurements: &[Measurement],
    setup: &Setup,
    requests: &Requests,
    open_files: usize,
) -> bool {
    let mut present = Vec::new();
    for target in targets {
        match target.program() {
            Ok(_) => present.push(target),
            Err(reason) => {
                report.absent.insert(target, reason);
            }
        }
    }
    let mut complete = true;
    let start = Instant::now();
    let rounds = report.rounds;
    for round in 1..=rounds {
        // One that could not be started will not start the next time either.
        let mut failed = Vec::new();
        for &target in &present {
            let say = |what: &str| {
                let seconds = start.elapsed().as_secs();
                eprintln!("[{seconds:>4} s] round {round} of {rounds}, {}: {what}", target.name());
            };
            say("start");
            let running = match target.start(setup).await {
                Ok(running) => running,
                Err(error) => {
                    say(&format!("{error:#}"));
                    report.notes.push(format!("{} did not start: {error:#}", target.name()));
                    if !report.figures.contains_key(&target) {
                        report.absent.insert(target, "did not start".to_owned());
                    }
                    failed.push(target);
                    continue;
                }
            };
            let mut bench = Bench {
                target,
                running: &running,
                setup,
                amounts: Amounts::new(report.quick, target, open_files),
                requests,
                figures: report.figures.entry(target).or_default(),
                round,
            };
            for &measurement in measurements {
                if measurement != Measurement::Start {
                    say(measurement.name());
                }
                if let Err(error) = bench.run(measurement).await {
                    say(&format!("{error:#}"));
                    report.notes.push(format!("{}, {}, round {round}: {error:#}", target.name(), measurement.name()));
                    complete = false;
                    // It would most likely fail at the next one too, after another long wait.
                    break;
                }
            }
        }
        complete &= failed.is_empty();
        present.retain(|target| !failed.contains(target));
    }
    complete
}

fn write_json(file: &Path, report: &Report) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&report.json())?;
    std::fs::write(file, text + "\n").with_context(|| format!("write `{}`", file.display()))
}

/// Names of measurements narrow the measurements, names of targets the targets.
fn selection(only: &[String]) -> anyhow::Result<(Vec<Target>, Vec<Measurement>)> {
    let mut targets = Vec::new();
    let mut measurements = Vec::new();
    for name in only {
        let target = Target::ALL.into_iter().find(|target| target.name() == name);
        let measurement = Measurement::ALL.into_iter().find(|measurement| measurement.name() == name);
        if target.is_none() && measurement.is_none() {
            bail!("`{name}` is neither a measurement nor a target; `--help` lists them");
        }
        targets.extend(target);
        measurements.extend(measurement);
    }
    if targets.is_empty() {
        targets.extend(Target::ALL);
    }
    if measurements.is_empty() {
        measurements.extend(Measurement::ALL);
    }
    Ok((targets, measurements))
}

/// Starts mailbox and token endpoint on a thread of their own, which lives as long as the process.
fn serve(tls: Arc<ServerConfig>, requests: Requests) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (backend, entra) = {
        let _inside = runtime.enter();
        (listen()?, listen()?)
    };
    let addresses = (backend.local_addr()?, entra.local_addr()?);
    std::thread::Builder::new().name("backend".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::join!(backend::serve(backend, Arc::clone(&tls)), entra::serve(entra, tls, requests, Arc::default()));
        });
    })?;
    Ok(addresses)
}

/// With room for a burst.
fn listen() -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.listen(4096)?)
}
