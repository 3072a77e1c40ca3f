//! `gatepost check`: the configuration, read and told again in short.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{CONFIGURATION, DONE, Settings};
use crate::config::load::DEFAULT_FILE;
use crate::config::problem::{Place, Problem};
use crate::config::{Config, ForwardProxy, Grant, Listener, ListenerTls, UpstreamTls};
use crate::net::connect::Scheme;

/// Checks the configuration; text goes to standard output when it is right, to standard error when it is wrong, JSON
/// always to standard output. Gives the exit code.
pub fn check(settings: &Settings, json: bool) -> u8 {
    let file = settings.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE)).display().to_string();
    match settings.load(std::env::vars_os()) {
        Ok(config) if json => {
            println!("{}", as_json(&config));
            DONE
        }
        Ok(config) => {
            print!("{}", summary(&file, &config));
            DONE
        }
        Err(problems) if json => {
            let problems: Vec<Value> = problems.iter().map(problem_as_json).collect();
            println!("{}", json!({"ok": false, "problems": problems}));
            CONFIGURATION
        }
        Err(problems) => super::report(&problems),
    }
}

/// How many accounts use each grant, in words of the configuration.
fn grants(config: &Config) -> [(&'static str, usize); 2] {
    let entries = config.accounts.entries();
    let passwords = entries.iter().filter(|account| matches!(account.grant, Grant::Password)).count();
    [("password", passwords), ("client_credentials", entries.len() - passwords)]
}

fn tls(listener: &Listener) -> &'static str {
    match listener.tls {
        ListenerTls::None => "none",
        ListenerTls::StartTls(_) => "starttls",
        ListenerTls::Implicit(_) => "implicit",
    }
}

fn upstream_tls(listener: &Listener) -> &'static str {
    match listener.upstream.tls {
        UpstreamTls::Implicit => "implicit",
        UpstreamTls::StartTls => "starttls",
    }
}

fn binds(listener: &Listener) -> Vec<String> {
    listener.bind.iter().map(ToString::to_string).collect()
}

/// An IPv6 address stands in brackets.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn proxies(proxy: &ForwardProxy) -> Vec<String> {
    proxy.servers.iter().map(ToString::to_string).collect()
}

fn summary(file: &str, config: &Config) -> String {
    let mut text = format!("{file} is right\n\nlisteners\n");
    let width = config.listeners.iter().map(|listener| listener.name.len()).max().unwrap_or(0);
    // Writing to a String cannot fail.
    for listener in &config.listeners {
        let _ = writeln!(
            text,
            "  {:width$}  {} on {}, tls {}, to {} ({})",
            listener.name,
            listener.protocol.name(),
            binds(listener).join(" and "),
            tls(listener),
            authority(&listener.upstream.host, listener.upstream.port),
            upstream_tls(listener),
        );
    }
    text.push_str("accounts\n");
    for (grant, count) in grants(config).into_iter().filter(|(_, count)| *count > 0) {
        let noun = if count == 1 { "entry" } else { "entries" };
        let _ = writeln!(text, "  {count} {noun} with grant {grant}");
    }
    text.push_str("forward proxy\n");
    let _ = match &config.forward_proxy {
        None => writeln!(text, "  none"),
        Some(proxy) => {
            let authentication = Scheme::of(&proxy.authentication).map_or("none", Scheme::key);
            writeln!(text, "  {}, authentication {authentication}", proxies(proxy).join(", then "))
        }
    };
    if !config.notes.is_empty() {
        text.push_str("notes\n");
        for note in &config.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

fn as_json(config: &Config) -> Value {
    let listeners: Vec<Value> = config
        .listeners
        .iter()
        .map(|listener| {
            json!({
                "name": &*listener.name,
                "protocol": listener.protocol.name(),
                "bind": binds(listener),
                "tls": tls(listener),
                "upstream": authority(&listener.upstream.host, listener.upstream.port),
                "upstream_tls": upstream_tls(listener),
            })
        })
        .collect();
    let [password, client_credentials] = grants(config).map(|(_, count)| count);
    json!({
        "ok": true,
        "listeners": listeners,
        "accounts": {"password": password, "client_credentials": client_credentials},
        "forward_proxy": config.forward_proxy.as_ref().map(proxies),
        "notes": config.notes,
    })
}

fn problem_as_json(problem: &Problem) -> Value {
    let (line, column) = match problem.place {
        Place::File { line, column, .. } => (Some(line), Some(column)),
        _ => (None, None),
    };
    let source = match &problem.place {
        Place::Environment(name) => Some(format!("environment variable {name}")),
        Place::Flag(key) => Some(format!("--set {key}")),
        _ => problem.file.clone(),
    };
    json!({
        "source": source,
        "line": line,
        "column": column,
        "key": problem.key,
        "reason": problem.reason,
        "hint": problem.hint,
    })
}
