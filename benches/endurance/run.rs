//! The order of events: arguments, surroundings, scenario, row.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::{self, Cpus};
use crate::row::Row;
use crate::stage::Stage;
use crate::{entra_away, gap, idle, return_after_outage, slow_clients};

/// What hours and crowds do to Gatepost.
#[derive(Parser)]
#[command(name = "cargo bench --bench endurance --")]
struct Arguments {
    scenario: Option<Scenario>,
    /// The same in minutes, with fewer clients.
    #[arg(long)]
    quick: bool,
    /// Prints the line about the machine, and runs nothing.
    #[arg(long)]
    machine: bool,
    /// Permits a build that is not of the bench profile, of which figures mean little.
    #[arg(long, hide = true)]
    any_build: bool,
    /// Given by `cargo bench`, not by `cargo test`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Thousands of sessions in IDLE keep to their memory.
    Idle,
    /// The network is away for a moment.
    Gap,
    /// All clients come back within seconds after the upstream was away.
    Return,
    /// Entra is away while tokens live.
    EntraAway,
    /// Thousands of clients that hardly send or never read do not hold the others up.
    SlowClients,
}

/// Runs a scenario; 1 when its rule is broken or it could not be run.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench && !arguments.any_build {
        eprintln!("run it by `cargo bench --bench endurance`: figures of a debug build mean nothing");
        return ExitCode::SUCCESS;
    }
    machine::in_namespace(|| run(&arguments))
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let cpus = Cpus::divide()?;
    if arguments.machine {
        println!("{}", machine::describe(&cpus));
        return Ok(true);
    }
    let Some(scenario) = arguments.scenario else { bail!("name a scenario, see --help") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let row = runtime.block_on(async {
        let mut stage = Stage::new(cpus)?;
        let mut terminate = signal(SignalKind::terminate())?;
        // What is dropped on the way out ends its processes and removes its files.
        tokio::select! {
            row = play(scenario, &mut stage, arguments.quick) => row,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to stop"),
        }
    })?;
    let name = scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    println!("| {name} | {row} |");
    Ok(row.holds())
}

async fn play(scenario: Scenario, stage: &mut Stage, quick: bool) -> anyhow::Result<Row> {
    match scenario {
        Scenario::Idle => idle::play(stage, quick).await,
        Scenario::Gap => gap::play(stage, quick).await,
        Scenario::Return => return_after_outage::play(stage, quick).await,
        Scenario::EntraAway => entra_away::play(stage, quick).await,
        Scenario::SlowClients => slow_clients::play(stage, quick).await,
    }
}
