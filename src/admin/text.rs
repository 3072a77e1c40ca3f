//! The status as text for a terminal.

use super::attention::Health;
use super::status::Status;
use super::units::{octets, span};
use super::view::AccountLine;
use gatepost_config::suggestion;
use gatepost_telemetry::log::is_plain;

/// Returns the whole status, in sections with a heading each.
pub(super) fn status(status: &Status) -> String {
    let mut text = String::new();
    let state = match (status.health, &status.hindrance) {
        (Health::Healthy, _) => "healthy".to_owned(),
        (Health::NeedsAttention, _) => format!("needs attention ({})", status.attention.len()),
        (Health::NotReady, hindrance) => format!("not ready: {}", hindrance.as_deref().unwrap_or_default()),
        (Health::Stopping, _) => match status.drain_seconds_left {
            Some(left) => format!("stopping: {} sessions left, at most {}", status.sessions_total, span(left)),
            None => format!("stopping: {} sessions left", status.sessions_total),
        },
    };
    text.push_str(&format!(
        "Gatepost {}, {state}\n  process {}, up {}, configuration version {}{}\n",
        status.version,
        status.pid,
        span(status.uptime_seconds),
        status.generation,
        match &status.last_reload {
            Some(reload) if reload.succeeded => format!(", reloaded at {}", reload.at),
            Some(reload) => format!(", reload rejected at {}", reload.at),
            None => String::new(),
        }
    ));
    if let Some(confinement) = &status.confinement {
        text.push_str(&format!("  confinement: {} ({})\n", confinement.degree, confinement.report.join("; ")));
    }
    text.push_str(&format!(
        "  Logins: {} accepted, {} refused. Token cache: {} hits, {} misses.\n",
        status.logins_accepted, status.logins_refused, status.token_cache_hits, status.token_cache_misses
    ));
    if let Some(queue) = &status.queue {
        text.push_str(&format!("  Queue: {}.\n", queue.line()));
    }
    if !status.attention.is_empty() {
        text.push_str("\nNeeds attention\n");
        for attention in status.attention.iter().take(FEW) {
            text.push_str(&format!("  {}\n", visible(&attention.message)));
            for line in attention.details.lines() {
                text.push_str(&format!("      {}\n", visible(line)));
            }
        }
    }

    let listeners = status.listeners.iter().map(|listener| {
        let certificate =
            listener.certificate_days_left.map_or_else(String::new, |days| format!(", certificate {days} d"));
        [
            listener.name.clone(),
            listener.protocol.to_owned(),
            listener.bind.clone(),
            format!("{}{certificate}", listener.tls),
            listener.destination.clone(),
            listener.sessions.to_string(),
        ]
    });
    table(&mut text, "Listeners", ["NAME", "PROTOCOL", "ADDRESS", "TLS", "DESTINATION", "SESSIONS"], listeners, 0);
    for warning in status.listeners.iter().filter_map(|listener| listener.warning.as_ref()) {
        text.push_str(&format!("  ! {warning}\n"));
    }
    let accounts = status.accounts.iter().take(FEW).map(|account| {
        [
            account.login.clone(),
            account.grant.to_owned(),
            token(account),
            sign_in(account),
            account.device_passwords.to_string(),
            account.sessions.to_string(),
        ]
    });
    let head = ["ACCOUNT", "GRANT", "TOKEN", "SIGN-IN", "PASSWORDS", "SESSIONS"];
    table(&mut text, "Accounts", head, accounts, status.accounts_total.saturating_sub(FEW));
    let sessions = status.sessions.iter().take(FEW).map(|session| {
        [
            session.id.clone(),
            session.listener.clone(),
            session.account.clone(),
            session.peer.clone(),
            span(session.seconds),
            format!("{} / {}", octets(session.bytes_sent), octets(session.bytes_received)),
        ]
    });
    let head = ["ID", "LISTENER", "ACCOUNT", "CLIENT", "DURATION", "SENT / RECEIVED"];
    table(&mut text, "Sessions", head, sessions, status.sessions_total.saturating_sub(FEW));

    if !status.expiries.is_empty() {
        text.push_str("\nExpiring\n");
        for expiry in &status.expiries {
            let days = match expiry.days_left {
                days if days < 0 => "expired".to_owned(),
                days => format!("in {days} days"),
            };
            let renewed = if expiry.renews_itself { ", renewed by Gatepost" } else { "" };
            text.push_str(&format!("  {}  {days}: {}{renewed}\n", expiry.expires_at, expiry.what));
            if let Some(why) = &expiry.renewal_failure {
                text.push_str(&format!("    not renewed: {why}\n"));
            }
        }
    }
    if !status.failures.is_empty() {
        text.push_str("\nRecent failures\n");
        for failure in status.failures.iter().take(FEW) {
            let account = if failure.account.is_empty() { "" } else { " " };
            text.push_str(&format!(
                "  {} ago, {}×, {}{account}{}, {} ({})\n    {}\n    {}: {}\n",
                span(failure.seconds_ago),
                failure.count,
                failure.listener,
                visible(&failure.account),
                failure.peer,
                failure.cause,
                failure.message,
                failure.label,
                failure.remedy
            ));
        }
    }
    suggestion::complete(&text).into_owned()
}

/// Most lines of a list on a terminal; JSON has more.
const FEW: usize = 50;

fn table<const N: usize>(
    text: &mut String,
    title: &str,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    more: usize,
) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    if rows.len() == 1 {
        text.push_str(&format!("\n{title}: none\n"));
        return;
    }
    let mut widths = [0; N];
    for row in &rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    text.push_str(&format!("\n{title}\n"));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    if more > 0 {
        text.push_str(&format!("  … and {more} more (all with --json)\n"));
    }
}

fn token(account: &AccountLine) -> String {
    let shortest = account.tokens.iter().map(|token| token.seconds_left).min();
    shortest.map_or_else(|| "-".to_owned(), |left| format!("{} left", span(left)))
}

fn sign_in(account: &AccountLine) -> String {
    match &account.sign_in {
        None => "-".to_owned(),
        Some(sign_in) => match (sign_in.state, sign_in.code) {
            ("missing", _) => "sign-in required: run `gatepost login`".to_owned(),
            ("refused", Some(code)) => format!("sign-in required again: AADSTS{code}"),
            ("refused", None) => "sign-in required again".to_owned(),
            _ => sign_in.username.clone().unwrap_or_default(),
        },
    }
}

/// Makes text from strangers safe for a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}
