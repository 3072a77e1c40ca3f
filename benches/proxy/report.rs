//! The tables: figures, ratios, gates; and the same as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use crate::measure::{Figures, Metric, median};
use crate::target::Target;

/// Everything that has been measured.
#[derive(Default)]
pub(crate) struct Report {
    /// The machine.
    pub(crate) machine: String,
    /// How often each target had its turn.
    pub(crate) rounds: usize,
    /// With smaller amounts.
    pub(crate) quick: bool,
    /// Figures of those that answered.
    pub(crate) figures: BTreeMap<Target, Figures>,
    /// Those without figures, and why in a few words.
    pub(crate) absent: BTreeMap<Target, String>,
    /// What went wrong.
    pub(crate) notes: Vec<String>,
}

/// A demand on Gatepost with a plain local side.
struct Gate {
    what: &'static str,
    metric: Metric,
    bound: Bound,
    /// What is hoped for beyond the gate.
    aim: Option<f64>,
}

enum Bound {
    /// Only an aim.
    None,
    Exactly(f64),
    AtMost(f64),
    /// So many times the peer's figure.
    AtMostPeers(f64, Target),
}

const GATES: [Gate; 19] = [
    gate("CPU ms per login", Metric::LoginCpu, Bound::AtMost(0.35), Some(0.25)),
    gate("CPU ms per login", Metric::LoginCpu, Bound::AtMostPeers(1.0, Target::Nginx), None),
    gate("CPU s/GiB down, 1 connection", Metric::DownCpu1, Bound::AtMost(0.45), Some(0.30)),
    gate("CPU s/GiB down, 8 connections", Metric::DownCpu8, Bound::AtMost(0.45), Some(0.30)),
    gate("CPU s/GiB up, 1 connection", Metric::UpCpu1, Bound::AtMost(0.42), Some(0.28)),
    gate("CPU s/GiB up, 8 connections", Metric::UpCpu8, Bound::AtMost(0.42), Some(0.28)),
    gate("CPU s/GiB down, 1 connection", Metric::DownCpu1, Bound::AtMostPeers(0.45, Target::Haproxy), None),
    gate("CPU s/GiB down, 8 connections", Metric::DownCpu8, Bound::AtMostPeers(0.45, Target::Haproxy), None),
    gate("CPU s/GiB up, 1 connection", Metric::UpCpu1, Bound::AtMostPeers(0.45, Target::Haproxy), None),
    gate("CPU s/GiB up, 8 connections", Metric::UpCpu8, Bound::AtMostPeers(0.45, Target::Haproxy), None),
    gate("CPU us per round trip", Metric::TripCpu, Bound::AtMostPeers(1.0, Target::Nginx), Some(52.0)),
    gate("PSS KiB per idle session, fresh", Metric::IdleMemory, Bound::AtMost(14.0), Some(6.0)),
    gate("PSS KiB per idle session, used", Metric::UsedMemory, Bound::AtMost(28.0), Some(6.0)),
    gate("token requests of a cold burst", Metric::BurstRequests, Bound::Exactly(1.0), None),
    gate("failed logins of the bursts", Metric::BurstFailures, Bound::AtMost(0.0), None),
    gate("cold burst, multiple of a warm one", Metric::BurstRatio, Bound::None, Some(1.1)),
    gate("ms from start to first greeting", Metric::StartTime, Bound::AtMost(40.0), Some(5.0)),
    gate("PSS MiB after start", Metric::StartMemory, Bound::AtMost(10.0), Some(4.0)),
    gate("program file, MB", Metric::Binary, Bound::AtMost(16.0), Some(8.0)),
];

const fn gate(what: &'static str, metric: Metric, bound: Bound, aim: Option<f64>) -> Gate {
    Gate { what, metric, bound, aim }
}

impl Gate {
    /// The demand as text, and whether it is met. `None` where there is none, or something has not
    /// been measured.
    fn verdict(&self, report: &Report) -> Option<(String, bool)> {
        let value = report.median(Target::Gatepost, self.metric)?;
        match self.bound {
            Bound::None => None,
            Bound::Exactly(bound) => Some((format!("= {}", digits(bound)), value == bound)),
            Bound::AtMost(bound) => Some((format!("≤ {}", digits(bound)), value <= bound)),
            Bound::AtMostPeers(factor, peer) => {
                let bound = report.median(peer, self.metric)? * factor;
                let times = if factor == 1.0 { String::new() } else { format!("{factor} x ") };
                Some((format!("≤ {} ({times}{})", digits(bound), peer.name()), value <= bound))
            }
        }
    }
}

impl Report {
    fn median(&self, target: Target, metric: Metric) -> Option<f64> {
        self.figures.get(&target)?.get(&metric).map(|values| median(values))
    }

    fn text(&self, target: Target, metric: Metric) -> String {
        self.median(target, metric).map_or_else(|| "–".to_owned(), digits)
    }

    /// All tables, as Markdown that reads well as it is.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("\n{}\n", self.machine);
        let rounds = if self.rounds == 1 {
            "one round".to_owned()
        } else {
            format!("medians of {} alternating rounds", self.rounds)
        };
        let amounts = if self.quick { "; quick: smaller amounts, rougher figures" } else { "" };
        writeln!(text, "{rounds}{amounts}; CPU: user + system of the proxy's whole process tree\n").ok();
        self.render_costs(&mut text);
        self.render_rates(&mut text);
        self.render_ratios(&mut text);
        self.render_gates(&mut text);
        for note in &self.notes {
            writeln!(text, "note: {note}").ok();
        }
        text
    }

    fn render_costs(&self, text: &mut String) {
        use Metric as M;
        let header = [
            "cost",
            "CPU ms/login",
            "CPU s/GiB down 1 / 8",
            "up 1 / 8",
            "round trip CPU us / added us",
            "PSS KiB/session fresh / used",
            "start ms",
            "start PSS MiB",
        ];
        let pair = |target, a, b| format!("{} / {}", self.text(target, a), self.text(target, b));
        let direct = self.median(Target::Direct, M::TripTime);
        let rows = Target::ALL.into_iter().filter(|&target| target != Target::Direct).filter_map(|target| {
            if let Some(reason) = self.absent.get(&target) {
                let mut row = vec!["–".to_owned(); header.len()];
                (row[0], row[1]) = (target.name().to_owned(), reason.clone());
                return Some(row);
            }
            self.figures.get(&target)?;
            let added = self.median(target, M::TripTime).zip(direct).map(|(time, direct)| time - direct);
            Some(vec![
                target.name().to_owned(),
                self.text(target, M::LoginCpu),
                pair(target, M::DownCpu1, M::DownCpu8),
                pair(target, M::UpCpu1, M::UpCpu8),
                format!("{} / {}", self.text(target, M::TripCpu), added.map_or_else(|| "–".to_owned(), digits)),
                pair(target, M::IdleMemory, M::UsedMemory),
                self.text(target, M::StartTime),
                self.text(target, M::StartMemory),
            ])
        });
        table(text, &header, rows);
    }

    fn render_rates(&self, text: &mut String) {
        use Metric as M;
        let header = [
            "what a client sees",
            "logins/s",
            "GiB/s down 1 / 8",
            "up 1 / 8",
            "round trip us",
            "burst ms, warm",
            "burst ms, cold",
            "cold / warm",
            "token requests",
            "failed",
        ];
        let rows = self.figures.keys().map(|&target| {
            // Beside the figure its ratio to the direct connection, where more than one thing is to
            // be compared.
            let rated = |metric| match (self.median(target, metric), self.median(Target::Direct, metric)) {
                (Some(value), Some(direct)) if target != Target::Direct => {
                    format!("{} ({} x)", digits(value), digits(value / direct))
                }
                _ => self.text(target, metric),
            };
            vec![
                target.name().to_owned(),
                rated(M::LoginRate),
                format!("{} / {}", rated(M::DownRate1), rated(M::DownRate8)),
                format!("{} / {}", rated(M::UpRate1), rated(M::UpRate8)),
                rated(M::TripTime),
                rated(M::BurstWarm),
                self.text(target, M::BurstCold),
                self.text(target, M::BurstRatio),
                self.text(target, M::BurstRequests),
                self.text(target, M::BurstFailures),
            ]
        });
        table(text, &header, rows);
    }

    fn render_ratios(&self, text: &mut String) {
        use Metric as M;
        let metrics = [
            ("CPU/login", M::LoginCpu),
            ("CPU down 1", M::DownCpu1),
            ("down 8", M::DownCpu8),
            ("up 1", M::UpCpu1),
            ("up 8", M::UpCpu8),
            ("CPU/round trip", M::TripCpu),
            ("round trip time", M::TripTime),
            ("PSS/session fresh", M::IdleMemory),
            ("used", M::UsedMemory),
            ("burst, warm", M::BurstWarm),
            ("start", M::StartTime),
            ("start PSS", M::StartMemory),
        ];
        for own in [Target::Gatepost, Target::GatepostTls] {
            let peers: Vec<_> =
                self.figures.keys().copied().filter(|peer| !peer.is_ours() && *peer != Target::Direct).collect();
            if !self.figures.contains_key(&own) || peers.is_empty() {
                continue;
            }
            let title = format!("{} as a multiple of", own.name());
            let header: Vec<_> = std::iter::once(title.as_str()).chain(metrics.iter().map(|(name, _)| *name)).collect();
            let rows = peers.into_iter().map(|peer| {
                let ratio = |metric| match (self.median(own, metric), self.median(peer, metric)) {
                    (Some(value), Some(other)) if other > 0.0 => digits(value / other),
                    _ => "–".to_owned(),
                };
                std::iter::once(peer.name().to_owned())
                    .chain(metrics.iter().map(|&(_, metric)| ratio(metric)))
                    .collect()
            });
            table(text, &header, rows);
        }
    }

    fn render_gates(&self, text: &mut String) {
        if !self.figures.contains_key(&Target::Gatepost) {
            return;
        }
        let rows = GATES.iter().map(|gate| {
            let value = self.median(Target::Gatepost, gate.metric);
            let (bound, verdict) = match gate.verdict(self) {
                Some((bound, true)) => (bound, "pass"),
                Some((bound, false)) => (bound, "MISS"),
                None => ("–".to_owned(), "–"),
            };
            vec![
                gate.what.to_owned(),
                self.text(Target::Gatepost, gate.metric),
                bound,
                verdict.to_owned(),
                match (value, gate.aim) {
                    (Some(value), Some(aim)) => {
                        format!("{} {}", digits(aim), if value <= aim { "reached" } else { "not yet" })
                    }
                    _ => "–".to_owned(),
                },
                self.text(Target::GatepostTls, gate.metric),
            ]
        });
        table(text, &["gate", "gatepost", "bound", "", "aim", "gatepost-tls, for comparison"], rows);
    }

    /// For programs, and for comparing two runs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let figures = |figures: &Figures| -> serde_json::Map<_, _> {
            let of = |(metric, values): (&Metric, &Vec<f64>)| {
                (format!("{metric:?}"), json!({ "median": median(values), "rounds": values }))
            };
            figures.iter().map(of).collect()
        };
        let targets: serde_json::Map<_, _> =
            self.figures.iter().map(|(target, all)| (target.name().to_owned(), figures(all).into())).collect();
        let absent: serde_json::Map<_, _> =
            self.absent.iter().map(|(target, reason)| (target.name().to_owned(), reason.as_str().into())).collect();
        let gates: Vec<_> = GATES
            .iter()
            .map(|gate| {
                let value = self.median(Target::Gatepost, gate.metric);
                let verdict = gate.verdict(self);
                let (bound, pass) = verdict.unzip();
                json!({ "gate": gate.what, "value": value, "bound": bound, "aim": gate.aim, "pass": pass })
            })
            .collect();
        json!({
            "machine": self.machine, "rounds": self.rounds, "quick": self.quick,
            "targets": targets, "absent": absent, "gates": gates, "notes": self.notes,
        })
    }
}

/// About three significant digits: more would not be true.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        tiny if tiny < 0.0995 => format!("{value:.4}"),
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A Markdown table whose columns line up.
fn table(text: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut lines = vec![header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    if lines.len() == 1 {
        return;
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        for (cell, &width) in line.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").ok();
        }
        text.push_str("|\n");
        if number == 0 {
            for &width in &widths {
                write!(text, "|{}", "-".repeat(width + 2)).ok();
            }
            text.push_str("|\n");
        }
    }
    text.push('\n');
}
