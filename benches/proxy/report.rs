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

/// A demand on Gatepost.
struct Gate {
    what: &'static str,
    target: Target,
    metric: Metric,
    bound: Bound,
    /// What is hoped for beyond the gate, in the bound's unit.
    aim: Option<f64>,
}

enum Bound {
    Exactly(f64),
    AtMost(f64),
    /// So many times this figure of that target.
    Times(f64, Target, Metric),
}

const GATES: [Gate; 29] = {
    use Bound::{AtMost, Exactly, Times};
    use Metric as M;
    use Target::{Gatepost, GatepostTls, Haproxy, HaproxyTls, Nginx};
    [
        gate("CPU ms per login", Gatepost, M::LoginCpu, Times(0.65, Nginx, M::LoginCpu), Some(0.58)),
        gate("CPU ms per login", Gatepost, M::LoginCpu, Times(0.45, Haproxy, M::LoginCpu), Some(0.39)),
        gate("CPU s/GiB down, 1 connection", Gatepost, M::DownCpu1, Times(0.6, Haproxy, M::DownCpu1), Some(0.55)),
        gate("CPU s/GiB down, 8 connections", Gatepost, M::DownCpu8, Times(0.6, Haproxy, M::DownCpu8), Some(0.55)),
        gate("CPU s/GiB up, 1 connection", Gatepost, M::UpCpu1, Times(0.6, Haproxy, M::UpCpu1), Some(0.55)),
        gate("CPU s/GiB up, 8 connections", Gatepost, M::UpCpu8, Times(0.6, Haproxy, M::UpCpu8), Some(0.55)),
        gate("CPU ms per login", GatepostTls, M::LoginCpu, Times(0.75, HaproxyTls, M::LoginCpu), Some(0.6)),
        gate("CPU s/GiB down, 1 connection", GatepostTls, M::DownCpu1, Times(0.75, HaproxyTls, M::DownCpu1), Some(0.6)),
        gate(
            "CPU s/GiB down, 8 connections",
            GatepostTls,
            M::DownCpu8,
            Times(0.75, HaproxyTls, M::DownCpu8),
            Some(0.6),
        ),
        gate("CPU s/GiB up, 1 connection", GatepostTls, M::UpCpu1, Times(0.75, HaproxyTls, M::UpCpu1), Some(0.6)),
        gate("CPU s/GiB up, 8 connections", GatepostTls, M::UpCpu8, Times(0.75, HaproxyTls, M::UpCpu8), Some(0.6)),
        gate("CPU us per round trip", Gatepost, M::TripCpu, Times(0.85, Nginx, M::TripCpu), Some(0.78)),
        gate("PSS KiB per idle session, fresh", Gatepost, M::IdleMemory, AtMost(6.5), Some(5.5)),
        gate("PSS KiB per idle session, used", Gatepost, M::UsedMemory, AtMost(6.5), Some(5.5)),
        gate("PSS KiB per idle session, fresh", GatepostTls, M::IdleMemory, AtMost(9.0), Some(8.0)),
        gate("PSS KiB per idle session, used", GatepostTls, M::UsedMemory, AtMost(9.0), Some(8.0)),
        gate("token requests of a cold burst", Gatepost, M::BurstRequests, Exactly(1.0), None),
        gate("failed logins of the bursts", Gatepost, M::BurstFailures, Exactly(0.0), None),
        gate("ms of a cold burst", Gatepost, M::BurstCold, Times(1.3, Haproxy, M::BurstWarm), Some(1.15)),
        gate("ms from start to first greeting", Gatepost, M::StartTime, AtMost(20.0), Some(5.0)),
        gate("PSS MiB after start", Gatepost, M::StartMemory, AtMost(7.5), Some(5.0)),
        gate("program file, MB", Gatepost, M::Binary, AtMost(16.0), Some(10.0)),
        gate(
            "CPU ms per login, thousands standing",
            Gatepost,
            M::ManyLoginCpu,
            Times(1.1, Gatepost, M::FewLoginCpu),
            Some(1.0),
        ),
        gate(
            "PSS KiB each, thousands standing",
            Gatepost,
            M::ManyMemory,
            Times(1.1, Gatepost, M::FewMemory),
            Some(1.0),
        ),
        gate("CPU ms/s idle, thousands standing", Gatepost, M::ManyIdleCpu, AtMost(1.0), None),
        gate(
            "CPU ms per login, thousands standing",
            GatepostTls,
            M::ManyLoginCpu,
            Times(1.1, GatepostTls, M::FewLoginCpu),
            Some(1.0),
        ),
        gate(
            "PSS KiB each, thousands standing",
            GatepostTls,
            M::ManyMemory,
            Times(1.1, GatepostTls, M::FewMemory),
            Some(1.0),
        ),
        gate("CPU ms/s idle, thousands standing", GatepostTls, M::ManyIdleCpu, AtMost(1.0), None),
        gate(
            "login ms, p99, beside 50 hashes",
            Gatepost,
            M::HashingLoginP99,
            Times(2.0, Gatepost, M::QuietLoginP99),
            None,
        ),
    ]
};

const fn gate(what: &'static str, target: Target, metric: Metric, bound: Bound, aim: Option<f64>) -> Gate {
    Gate { what, target, metric, bound, aim }
}

impl Gate {
    /// How the value is compared: the value in the bound's unit, and the bound as text. `None`
    /// where something has not been measured.
    fn compared(&self, report: &Report) -> Option<(f64, String)> {
        let value = report.median(self.target, self.metric)?;
        match self.bound {
            Bound::Exactly(bound) => Some((value, format!("= {}", digits(bound)))),
            Bound::AtMost(bound) => Some((value, format!("≤ {}", digits(bound)))),
            Bound::Times(factor, peer, metric) => {
                let other = report.median(peer, metric).filter(|&other| other > 0.0)?;
                let whose = match metric {
                    Metric::BurstWarm => format!("{}, warm", peer.name()),
                    Metric::FewLoginCpu | Metric::FewMemory => "few standing".to_owned(),
                    Metric::QuietLoginP99 => "without hashes".to_owned(),
                    _ => peer.name().to_owned(),
                };
                Some((value / other, format!("≤ {factor} x {} ({whose})", digits(other))))
            }
        }
    }

    /// Whether a value in the bound's unit is within it.
    fn holds(&self, value: f64) -> bool {
        match self.bound {
            Bound::Exactly(bound) => value == bound,
            Bound::AtMost(bound) | Bound::Times(bound, ..) => value <= bound,
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
        self.render_standing(&mut text);
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
            let alike = |peer: &Target| !peer.is_ours() && *peer != Target::Direct && peer.has_tls() == own.has_tls();
            let peers: Vec<_> = self.figures.keys().copied().filter(alike).collect();
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

    fn render_standing(&self, text: &mut String) {
        use Metric as M;
        let header = [
            "hundreds / thousands of sessions standing",
            "PSS KiB/session",
            "CPU ms/s idle",
            "CPU ms/login",
            "login p99 ms, quiet / beside 50 hashes",
        ];
        let pair = |target, a, b| format!("{} / {}", self.text(target, a), self.text(target, b));
        let rows = self.figures.keys().filter(|target| target.is_ours()).map(|&target| {
            vec![
                target.name().to_owned(),
                pair(target, M::FewMemory, M::ManyMemory),
                pair(target, M::FewIdleCpu, M::ManyIdleCpu),
                pair(target, M::FewLoginCpu, M::ManyLoginCpu),
                pair(target, M::QuietLoginP99, M::HashingLoginP99),
            ]
        });
        table(text, &header, rows);
    }

    fn render_gates(&self, text: &mut String) {
        let rows = GATES.iter().filter(|gate| self.figures.contains_key(&gate.target)).map(|gate| {
            let compared = gate.compared(self);
            let value = compared.as_ref().map(|(value, _)| *value);
            vec![
                format!("{}: {}", gate.target.name(), gate.what),
                self.text(gate.target, gate.metric),
                compared.as_ref().map_or_else(|| "–".to_owned(), |(_, bound)| bound.clone()),
                match (value, &gate.bound) {
                    (Some(value), Bound::Times(..)) => format!("{} x", digits(value)),
                    _ => String::new(),
                },
                value.map_or("–", |value| if gate.holds(value) { "pass" } else { "MISS" }).to_owned(),
                match (value, gate.aim) {
                    (Some(value), Some(aim)) => {
                        format!("{} {}", digits(aim), if value <= aim { "reached" } else { "not yet" })
                    }
                    _ => "–".to_owned(),
                },
            ]
        });
        table(text, &["gate", "value", "bound", "ratio", "", "aim"], rows);
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
                let value = self.median(gate.target, gate.metric);
                let (compared, bound) = gate.compared(self).unzip();
                json!({
                    "target": gate.target.name(), "gate": gate.what, "value": value, "bound": bound,
                    "compared": compared, "aim": gate.aim, "pass": compared.map(|value| gate.holds(value)),
                })
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
