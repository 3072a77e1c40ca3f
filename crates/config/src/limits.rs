//! Reads the section `limits`: each limit and deadline is a key, with its unit in the value. The
//! bounds are in the reference.

use std::sync::Arc;
use std::time::Duration;

use super::model::issuer::Cloud;
use super::model::limits::Limits;
use super::penalties::Rules;
use super::reader::{Node, Section};
use super::value;

/// What the default of `token_total` leaves of `login`, for connecting to the upstream and signing
/// in there.
const AFTER_TOKEN: Duration = Duration::from_secs(5);
/// The least default of `token_total`: two requests that time out, and a bit.
const LEAST_TOKEN_TOTAL: Duration = Duration::from_secs(25);

/// Longest default of `token_total` and `upstream_login`.
const LONGEST: Duration = Duration::from_secs(120);

/// Checks `replicas` and `replica_index`. If the share of a replica would be less than one
/// password, a replica must know which accounts are its own. This does not apply where replicas
/// count together in a shared store.
pub(super) fn check_replicas(
    section: &Section<'_>,
    limits: &Limits,
    counts_together: bool,
    clouds: impl Iterator<Item = Cloud>,
) {
    let Limits { replicas, replica_index, .. } = *limits;
    let fewest = clouds.map(|cloud| limits.password_budget(cloud).unfamiliar).min().unwrap_or(u32::MAX);
    let at = |key, reason: String, hint| match section.get(key) {
        Some(node) => node.problem(reason, hint),
        None => section.problem(reason, hint),
    };
    if replica_index >= replicas {
        let reason = format!("with `replicas: {replicas}` there is no replica {replica_index}: they count from 0");
        at("replica_index", reason, "write how many there are, and in each replica another number below that");
    } else if !counts_together && replicas > fewest && !section.has("replica_index") {
        let reason = format!(
            "{replicas} replicas share {fewest} refused passwords of each account, which is less than one each"
        );
        let hint = "write `replica_index`, another one in each replica, so that each account has one that forwards its passwords";
        at("replicas", reason, hint);
    }
}

/// Reads the section. Absent keys keep their defaults.
pub(super) fn read(section: &Section<'_>) -> Limits {
    let limits = read_keys(section);
    check_order(section, &limits);
    section.finish();
    limits
}

fn read_keys(section: &Section<'_>) -> Limits {
    let mut limits =
        Limits { protocol: Arc::new(read_protocol(section)), penalties: read_penalties(section), ..Limits::default() };
    let l = &mut limits;

    count(section, "connections", &mut l.connections);
    count(section, "connections_per_source", &mut l.connections_per_source);
    count(section, "pre_auth_connections", &mut l.pre_auth_connections);
    count(section, "pre_auth_connections_per_source", &mut l.pre_auth_connections_per_source);

    time(section, "tls_handshake", &mut l.tls_handshake);
    time(section, "command", &mut l.command);
    time(section, "pre_auth", &mut l.pre_auth);
    time(section, "failure_delay", &mut l.failure_delay);
    count(section, "delayed_failures", &mut l.delayed_failures);
    time(section, "login", &mut l.login);

    time(section, "resolve", &mut l.resolve);
    time(section, "connect_attempt", &mut l.connect_attempt);
    time(section, "connect", &mut l.connect);
    time(section, "connect_via_proxy", &mut l.connect_via_proxy);
    // Exchange was seen to take 40 s, so by default the login alone is the bound.
    l.upstream_login = l.login.min(LONGEST);
    time(section, "upstream_login", &mut l.upstream_login);
    number(section, "upstream_connects_per_second", &mut l.upstream_connects_per_second);
    count_or_none(section, "imap_sessions_per_mailbox", &mut l.imap_sessions_per_mailbox);
    count_or_none(section, "pop3_sessions_per_mailbox", &mut l.pop3_sessions_per_mailbox);
    count(section, "smtp_sessions_per_mailbox", &mut l.smtp_sessions_per_mailbox);
    count(section, "ews_requests_per_mailbox", &mut l.ews_requests_per_mailbox);
    count(section, "graph_requests_per_mailbox", &mut l.graph_requests_per_mailbox);
    count(section, "graph_messages", &mut l.graph_messages);
    count(section, "recipients", &mut l.recipients);
    size(section, "message", &mut l.message_bytes);
    time(section, "smtp_command", &mut l.smtp_command);
    time(section, "smtp_verdict", &mut l.smtp_verdict);
    time(section, "graph_answer", &mut l.graph_answer);
    count(section, "maildrop_messages", &mut l.maildrop_messages);
    time(section, "http_head", &mut l.http_head);
    size(section, "http_head_size", &mut l.http_head_bytes);
    count(section, "http_fields", &mut l.http_fields);
    time(section, "http_idle", &mut l.http_idle);
    time(section, "http_answer", &mut l.http_answer);
    size(section, "soap_head", &mut l.soap_head_bytes);
    time(section, "mailbox_wait", &mut l.mailbox_wait);
    time(section, "capability_refresh", &mut l.capability_refresh);

    time(section, "token_request", &mut l.token_request);
    l.token_total = l.login.saturating_sub(AFTER_TOKEN).clamp(LEAST_TOKEN_TOTAL, LONGEST);
    time(section, "token_total", &mut l.token_total);
    count(section, "token_requests", &mut l.token_requests);
    count(section, "token_queue", &mut l.token_queue);

    number(section, "refused_passwords_per_account", &mut l.refused_passwords_per_account);
    number(section, "refused_passwords_per_minute", &mut l.refused_passwords_per_minute);
    number(section, "refused_passwords_per_hour", &mut l.refused_passwords_per_hour);
    number(section, "replicas", &mut l.replicas);
    number(section, "replica_index", &mut l.replica_index);
    time(section, "refused_password_memory", &mut l.refused_password_memory);
    time(section, "accepted_password_memory", &mut l.accepted_password_memory);
    count(section, "password_hashes", &mut l.password_hashes);
    count(section, "password_hash_queue", &mut l.password_hash_queue);
    time(section, "password_hash_wait", &mut l.password_hash_wait);

    size(section, "relay_buffer", &mut l.relay_buffer_bytes);
    time(section, "imap_idle", &mut l.imap_idle);
    time(section, "pop3_idle", &mut l.pop3_idle);
    time(section, "smtp_idle", &mut l.smtp_idle);
    time(section, "half_closed", &mut l.half_closed);
    time(section, "write_stall", &mut l.write_stall);
    time(section, "drain", &mut l.drain);
    time(section, "reload_check", &mut l.reload_check);
    limits
}

fn read_penalties(section: &Section<'_>) -> Rules {
    let mut rules = Rules::default();
    let r = &mut rules;
    time(section, "penalty_threshold", &mut r.threshold);
    time(section, "penalty_cap", &mut r.cap);
    time(section, "penalty_wrong_password", &mut r.wrong_password);
    time(section, "penalty_no_login", &mut r.no_login);
    time(section, "penalty_timeout", &mut r.timeout);
    time(section, "penalty_garbage", &mut r.garbage);
    time(section, "penalty_http", &mut r.http);
    time(section, "penalty_panic", &mut r.panic);
    time(section, "penalty_spraying", &mut r.spraying);
    count(section, "spraying_accounts", &mut r.spraying_accounts);
    count(section, "penalty_sources", &mut r.sources);
    rules
}

fn read_protocol(section: &Section<'_>) -> gatepost_proto::mail::Limits {
    let mut limits = gatepost_proto::mail::Limits::default();
    let l = &mut limits;
    size(section, "imap_line", &mut l.imap_line_bytes);
    size(section, "imap_literal", &mut l.imap_literal_bytes);
    count(section, "imap_literals", &mut l.imap_literals);
    size(section, "imap_literals_total", &mut l.imap_literals_bytes);
    size(section, "line", &mut l.line_bytes);
    size(section, "sasl_line", &mut l.sasl_line_bytes);
    size(section, "held", &mut l.held_bytes);
    number(section, "commands", &mut l.commands);
    number(section, "bad_commands", &mut l.bad_commands);
    number(section, "attempts", &mut l.attempts);
    size(section, "upstream_line", &mut l.upstream_line_bytes);
    count(section, "upstream_lines", &mut l.upstream_lines);
    size(section, "upstream_total", &mut l.upstream_bytes);
    limits
}

/// Reports a part that is longer than its whole, because it would never be reached, or never be
/// allowed to end.
fn check_order(section: &Section<'_>, limits: &Limits) {
    let l = limits;
    let times = [
        ("connect_attempt", l.connect_attempt, "connect", l.connect),
        ("token_request", l.token_request, "token_total", l.token_total),
        ("token_total", l.token_total, "login", l.login),
        ("upstream_login", l.upstream_login, "login", l.login),
        ("penalty_threshold", l.penalties.threshold, "penalty_cap", l.penalties.cap),
        ("mailbox_wait", l.mailbox_wait, "login", l.login),
        ("http_head", l.http_head, "http_idle", l.http_idle),
    ];
    for (part, short, whole, long) in times {
        if short > long {
            order_problem(section, part, whole, &value::show_duration(long));
        }
    }
    let counts = [
        ("replicas", size_of(l.replicas), "refused_passwords_per_minute", size_of(l.refused_passwords_per_minute)),
        ("replicas", size_of(l.replicas), "refused_passwords_per_hour", size_of(l.refused_passwords_per_hour)),
        ("pre_auth_connections", l.pre_auth_connections, "connections", l.connections),
        (
            "pre_auth_connections_per_source",
            l.pre_auth_connections_per_source,
            "pre_auth_connections",
            l.pre_auth_connections,
        ),
        ("imap_literal", l.protocol.imap_literal_bytes, "imap_literals_total", l.protocol.imap_literals_bytes),
    ];
    for (part, small, whole, large) in counts {
        if small > large {
            order_problem(section, part, whole, &large.to_string());
        }
    }
}

fn size_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn order_problem(section: &Section<'_>, part: &'static str, whole: &'static str, bound: &str) {
    let reason = format!("`{part}` is greater than `{whole}`, which is {bound}");
    let hint = format!("lower `{part}` or raise `{whole}`");
    // Reported at whichever of the two is written. Both cannot be absent, because the defaults are
    // in order.
    match section.get(part).or_else(|| section.get(whole)) {
        Some(node) => node.problem(reason, hint),
        None => section.problem(reason, hint),
    }
}

fn time(section: &Section<'_>, key: &'static str, field: &mut Duration) {
    if let Some(time) = section.get(key).and_then(|node| node.time()) {
        *field = time;
    }
}

fn size(section: &Section<'_>, key: &'static str, field: &mut usize) {
    let size = section.get(key).and_then(|node| node.size());
    if let Some(size) = size.and_then(|size| usize::try_from(size).ok()) {
        *field = size;
    }
}

fn count(section: &Section<'_>, key: &'static str, field: &mut usize) {
    let count = section.get(key).and_then(|node| node.count());
    if let Some(count) = count.and_then(|count| usize::try_from(count).ok()) {
        *field = count;
    }
}

/// Like [`count`], for a key that may be `none`.
fn count_or_none(section: &Section<'_>, key: &'static str, field: &mut Option<usize>) {
    let read = |node: Node<'_>| match node.as_text() {
        Some("none") => Some(None),
        _ => node.count().map(Some),
    };
    if let Some(count) = section.get(key).and_then(read) {
        *field = count.and_then(|count| usize::try_from(count).ok());
    }
}

fn number(section: &Section<'_>, key: &'static str, field: &mut u32) {
    let count = section.get(key).and_then(|node| node.count());
    if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
        *field = count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::purpose::Purpose;
    use super::super::raw::Layer;
    use super::super::reader::{Context, Document};
    use super::*;
    use std::io;
    use std::path::Path;

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn world_readable(&self, _: &Path) -> bool {
            false
        }

        fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
            Err("nothing runs here".into())
        }
    }

    fn with_section<T>(yaml: &str, then: impl FnOnce(&Section<'_>) -> T) -> T {
        let document = Document { file: None, directory: "".into(), merged: Layer::from_yaml(yaml).unwrap() };
        let context = Context::new(&document, &Nothing, Purpose::Service);
        let root = context.root();
        then(&root.section("limits"))
    }

    #[test]
    fn an_absent_section_gives_the_defaults() {
        let limits = with_section("", read);
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let example = include_str!("../../../proxy.example.yaml");
        let keys = with_section("", |section| {
            let _ = read_keys(section);
            section.known()
        });
        // One key for each field, less the two that hold others.
        let fields = format!("{:#?}", Limits::default()).lines().filter(|line| line.contains(": ")).count() - 2;
        assert_eq!(keys.len(), fields);
        with_section(example, |section| {
            for key in &keys {
                assert!(section.has(key), "limits.{key} is not in proxy.example.yaml");
            }
            assert_eq!(format!("{:?}", read(section)), format!("{:?}", Limits::default()));
        });
    }
}
