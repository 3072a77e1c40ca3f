//! Alerts and dashboard.

use std::collections::BTreeSet;

use gatepost_telemetry::metrics::{Ends, Metrics};
use serde_json::{Value, json};

use crate::common::directory::Directory;
use crate::deploy::support::{run, said, succeed, text, yaml};

/// What the service counts, at the latest when it happens.
fn counted() -> BTreeSet<String> {
    let metrics = Metrics::new();
    metrics.expires(Ends::Secret, Some(1));
    let names = |text: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned())).collect()
    };
    let mut counted = names(&metrics.text());
    // Without a series before the first of its kind.
    for name in ["connections_closed", "mail_refused", "requests_refused"] {
        counted.insert(format!("gatepost_{name}_total"));
    }
    counted
}

fn rules() -> Vec<Value> {
    let rules = yaml(&text("deploy/prometheus/rules.yaml"));
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/gatepost.json")).unwrap()
}

/// Every value of `key`, at whatever depth.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|member| all(member, key, found));
        }
        _ => {}
    }
}

fn expressions(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    all(value, "expr", &mut found);
    found
}

/// The metrics that an expression names, a histogram by its own name.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("gatepost_")).map(|word| word.trim_end_matches("_bucket")).collect()
}

#[test]
fn alerts_and_dashboard_name_only_what_the_service_counts() {
    let (rules, dashboard, counted) = (Value::Array(rules()), dashboard(), counted());
    for expression in expressions(&rules).into_iter().chain(expressions(&dashboard)) {
        for name in metrics(expression) {
            assert!(counted.contains(name), "{name} in {expression}");
        }
    }
}

#[test]
fn the_dashboard_shows_all_that_is_counted() {
    let dashboard = dashboard();
    let shown: BTreeSet<String> = expressions(&dashboard).into_iter().flat_map(metrics).map(str::to_owned).collect();
    assert_eq!(shown, counted());
}

#[test]
fn the_dashboard_has_a_place_of_its_own_for_each_panel() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies over another", panel["title"]);
            }
        }
    }
    let ids: BTreeSet<u64> =
        dashboard["panels"].as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_can_read_every_expression_of_the_dashboard() {
    let dashboard = dashboard();
    let rules: Vec<Value> = expressions(&dashboard)
        .into_iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression =
                expression.replace("$__rate_interval", "1m").replace("$job", "gatepost").replace("$instance", ".*");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let directory = Directory::new();
    let file = directory.write("panels.yaml", json!({"groups": [{"name": "panels", "rules": rules}]}).to_string());
    succeed("promtool", &["check", "rules", file.to_str().unwrap()]);
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_rules_and_scrape_configuration() {
    let said = succeed("promtool", &["check", "config", "deploy/prometheus/scrape.yaml"]);
    assert!(said.contains(&format!("SUCCESS: {} rules found", rules().len())), "{said}");
}

#[test]
#[ignore = "needs promtool"]
fn each_alert_fires_when_it_should_and_none_on_a_quiet_day() {
    let directory = Directory::new();
    directory.write("rules.yaml", text("deploy/prometheus/rules.yaml"));
    let cases = text("tests/deploy/alerts.test.yaml");
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(cases.contains(&format!("{{alertname=\"{name}\"}}")), "{name} is never tried");
    }
    let file = directory.write("cases.yaml", &cases);
    succeed("promtool", &["test", "rules", file.to_str().unwrap()]);

    // The cases can fail.
    let broken = directory.write("broken.yaml", cases.replacen("value: 1}", "value: 2}", 1));
    let output = run("promtool", &["test", "rules", broken.to_str().unwrap()]);
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn each_alert_says_what_happened_whose_turn_it_is_and_what_to_do() {
    let page = text("docs/operate/monitor.md");
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default().to_owned();
        assert!(!annotation("summary").is_empty() && annotation("description").len() > 100, "{name}");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/operate/monitor.md");
    }
}
