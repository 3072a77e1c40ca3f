//! `docs/reference/metrics.md`, from the metrics themselves: each is counted once in every way, and
//! what Prometheus would read is described.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use gatepost_core::cause::Cause;
use gatepost_core::protocol::Protocol;
use gatepost_telemetry::metrics::{Ends, Metrics, Sent, TokenOutcome, Way};

use super::markdown::cell;

const HEAD: &str = "# Metrics

`admin.bind` serves these metrics at `/metrics`, for Prometheus. No user name, address or text of a client is
in them. Rules for alerts are in [deploy/prometheus](../../deploy/prometheus/rules.yaml), a dashboard is in
[deploy/grafana](../../deploy/grafana/gatepost.json).

This page is generated from the code
(`GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents`).

| metric | type | labels with their values | meaning |
|---|---|---|---|
";

/// Metrics in which every series has been counted.
fn counted() -> Metrics {
    let metrics = Metrics::new();
    for ends in [Ends::Certificate, Ends::Secret, Ends::Listener] {
        metrics.expires(ends, Some(1));
    }
    metrics.message(Way::None, Sent::Refused);
    metrics.token_requested("password", TokenOutcome::Granted, Duration::ZERO);
    for protocol in Protocol::ALL {
        metrics.login_refused(protocol, Cause::Timeout);
        metrics.request_refused(protocol, Cause::Timeout);
    }
    metrics.closed(Cause::Timeout);
    metrics.mail_refused(Cause::Timeout);
    metrics
}

pub(super) fn page() -> String {
    let text = counted().text();
    let mut page = HEAD.to_owned();
    let mut help = "";
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').unwrap().1;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            // The series follow the type.
            let series: Vec<_> = text.lines().filter(|line| is_of(line, name)).collect();
            assert!(!series.is_empty(), "{name} has no series, so its labels are unknown");
            let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (label, value) in series.iter().flat_map(|line| labels_of(line)) {
                // Buckets of a histogram are Prometheus's own.
                if label != "le" {
                    labels.entry(label).or_default().insert(value);
                }
            }
            let labels: Vec<String> =
                labels.iter().map(|(label, values)| format!("`{label}`: {}", words(label, values))).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join("<br>") };
            let _ = writeln!(page, "| <a id=\"{name}\"></a>`{name}` | {kind} | {labels} | {} |", cell(help));
        }
    }
    page
}

/// The values of a label, or what they are where there are many.
fn words(label: &str, values: &BTreeSet<&str>) -> String {
    match label {
        "cause" => "[causes](log-causes.md)".to_owned(),
        "version" => "the version of Gatepost".to_owned(),
        _ => values.iter().copied().collect::<Vec<_>>().join(", "),
    }
}

/// Whether a line is a sample of the metric.
fn is_of(line: &str, metric: &str) -> bool {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    name.strip_prefix(metric).is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
}

fn labels_of(line: &str) -> Vec<(&str, &str)> {
    let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')) else { return Vec::new() };
    labels
        .split(',')
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (name, value) = label.split_once('=').unwrap();
            (name, value.trim_matches('"'))
        })
        .collect()
}
