//! `gatepost check`: checks the configuration and summarizes it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::exit::{CONFIGURATION, DONE, FAILED};
use super::output::{complain, failed, report, result, told};
use super::run;
use super::settings::Settings;
use gatepost_config::load::DEFAULT_FILE;
use gatepost_config::problem::{Place, Problem, Problems};
use gatepost_config::{
    Config, Finding, ForwardProxy, Grant, Listener, ListenerTls, ProxyChoice, Purpose, Severity, State, UpstreamTls,
};
use gatepost_proto::tunnel::connect::Scheme;
use gatepost_store::{FileProblem, KeyProblem, OpenError};

/// Checks the configuration. Text goes to standard output if there are no problems, and otherwise to
/// standard error. JSON always goes to standard output. Returns the exit code:
/// [`CONFIGURATION`] if the service would refuse the configuration, [`FAILED`] for other problems.
pub fn check(settings: &Settings, json: bool) -> u8 {
    let file = settings.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE)).display().to_string();
    let checked = match settings.load(Purpose::Check, std::env::vars_os()) {
        Ok(mut config) => match look_up(&mut config) {
            Ok(Some(unproved)) => Err(unproved),
            Ok(None) => Ok(config),
            Err(code) => return code,
        },
        Err(problems) => Err(problems),
    };
    match checked {
        Ok(config) => {
            let has_problems = config.findings.iter().any(is_problem);
            let code = match (json, has_problems) {
                (true, true) => result(format_args!("{}\n", problems_as_json(&config))),
                (true, false) => result(format_args!("{}\n", as_json(&config))),
                (false, true) => {
                    complain(findings(&config));
                    DONE
                }
                (false, false) => result(summary(&file, &config)),
            };
            if has_problems && code == DONE { FAILED } else { code }
        }
        Err(problems) if json => {
            let problems: Vec<Value> = problems.iter().map(problem_as_json).collect();
            match result(format_args!("{}\n", json!({"ok": false, "problems": problems}))) {
                DONE => CONFIGURATION,
                code => code,
            }
        }
        Err(problems) => report(&problems),
    }
}

fn is_problem(finding: &Finding) -> bool {
    finding.severity == Severity::Problem
}

/// Returns the problems with their number, and the warnings between them.
fn findings(config: &Config) -> String {
    let mut text = String::new();
    for finding in &config.findings {
        let label = if is_problem(finding) { "" } else { "warning: " };
        text.push_str(&format!("{label}{}\n", finding.problem));
    }
    match config.findings.iter().filter(|finding| is_problem(finding)).count() {
        1 => text.push_str("1 problem found"),
        count => text.push_str(&format!("{count} problems found")),
    }
    text
}

/// Looks up in the store whether each account has a password, if the configuration does not tell.
/// A store that is not this user's is noted. If the look-up fails, the error is an exit code.
fn look_up(config: &mut Config) -> Result<Option<Problems>, u8> {
    // A check creates nothing.
    let is_new = matches!(&config.state, State::Sqlite { directory, .. } if !gatepost_store::exists(directory));
    if config.unproved.is_empty() || is_new {
        return Ok(config.unproved_accounts([]));
    }
    if config.findings.iter().any(|finding| is_problem(finding) && finding.problem.key.starts_with("state")) {
        return Ok(None);
    }
    let passwords = run::runtime()?.block_on(async {
        let store = gatepost_store::open(&config.state).await?;
        Ok::<_, OpenError>(store.device_passwords().await?)
    });
    match passwords {
        Ok(passwords) => Ok(config.unproved_accounts(passwords.iter().map(|password| &password.login))),
        Err(
            error @ (OpenError::Directory(FileProblem::Owner { .. })
            | OpenError::Key(KeyProblem::Credential { .. })
            | OpenError::NotRead),
        ) => {
            config.notes.push(format!("not checked whether each account has a password: {error}"));
            Ok(None)
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            Err(failed(format_args!("cannot check whether each account has a password: {}", told(&error))))
        }
    }
}

/// Counts the accounts of each grant, by its name in the configuration.
fn grants(config: &Config) -> [(&'static str, usize); 4] {
    let count = |grant| config.accounts.entries().iter().filter(|account| account.grant == grant).count();
    [
        ("password", count(Grant::Password)),
        ("client_credentials", count(Grant::ClientCredentials)),
        ("authorization_code", count(Grant::AuthorizationCode)),
        ("device_code", count(Grant::DeviceCode)),
    ]
}

fn tls(listener: &Listener) -> &'static str {
    match listener.tls {
        ListenerTls::None => "none",
        ListenerTls::StartTls(_) => "starttls",
        ListenerTls::Implicit(_) => "implicit",
    }
}

/// Returns the TLS mode of the connection to the listener's upstream.
fn upstream_tls(listener: &Listener) -> &'static str {
    match listener.mail_server().map(|upstream| upstream.tls) {
        Some(UpstreamTls::StartTls) => "starttls",
        Some(UpstreamTls::Implicit) | None => "implicit",
    }
}

fn binds(listener: &Listener) -> Vec<String> {
    listener.bind.iter().map(ToString::to_string).collect()
}

fn proxies(proxy: &ForwardProxy) -> Vec<String> {
    match &proxy.choice {
        ProxyChoice::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
        #[cfg(feature = "pac")]
        ProxyChoice::Script { location, .. } => vec![format!("as {location} says")],
    }
}

fn summary(file: &str, config: &Config) -> String {
    let mut text = format!("{file}: no problems found. To test the connection to Microsoft, run `gatepost doctor`.\n");
    for finding in &config.findings {
        let _ = write!(text, "\nwarning: {}", finding.problem);
    }
    text.push_str("\nlisteners\n");
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
            listener.destination(),
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
            let authentication = match &proxy.authentication {
                Some(authentication) => Scheme::of(authentication).map_or("none", Scheme::key),
                None => "not checked here",
            };
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
                "upstream": listener.destination(),
                "upstream_tls": upstream_tls(listener),
            })
        })
        .collect();
    let accounts: serde_json::Map<String, Value> =
        grants(config).into_iter().map(|(grant, count)| (grant.to_owned(), Value::from(count))).collect();
    json!({
        "ok": true,
        "listeners": listeners,
        "accounts": accounts,
        "forward_proxy": config.forward_proxy.as_deref().map(proxies),
        "notes": config.notes,
        "warnings": config.findings.iter().map(|finding| problem_as_json(&finding.problem)).collect::<Vec<_>>(),
    })
}

fn problems_as_json(config: &Config) -> Value {
    let of = |wanted: Severity| -> Vec<Value> {
        let found = config.findings.iter().filter(|finding| finding.severity == wanted);
        found.map(|finding| problem_as_json(&finding.problem)).collect()
    };
    json!({"ok": false, "problems": of(Severity::Problem), "warnings": of(Severity::Warning)})
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
