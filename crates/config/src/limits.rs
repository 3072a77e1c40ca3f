//! Reads the section `limits`: each limit and deadline is a key, with its unit in the value.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::model::account::Cloud;
use super::model::limits::Limits;
use super::penalties::{MOST_SPRAYING_ACCOUNTS, Rules};
use super::reader::Section;
use super::value::{self, ValueError};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Shortest deadline that makes sense on a network.
const SHORTEST: Duration = Duration::from_millis(100);

/// What the default of `token_total` leaves of `login`, for connecting to the upstream and signing
/// in there.
const AFTER_TOKEN: Duration = Duration::from_secs(5);
/// The least default of `token_total`: two requests that time out, and a bit.
const LEAST_TOKEN_TOTAL: Duration = Duration::from_secs(25);

/// Longest time for a login at the upstream.
const LONGEST_UPSTREAM_LOGIN: Duration = Duration::from_secs(120);

/// A limit of the protocol machines may be raised to this multiple of its default. Input before a
/// login is not trusted, and memory is calculated with these limits.
const PROTOCOL_FACTOR: u64 = 4;

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

    count(section, "connections", &mut l.connections, 1..=1_000_000);
    count(section, "connections_per_source", &mut l.connections_per_source, 1..=1_000_000);
    count(section, "pre_auth_connections", &mut l.pre_auth_connections, 2..=100_000);
    count(section, "pre_auth_connections_per_source", &mut l.pre_auth_connections_per_source, 1..=100_000);

    time(section, "tls_handshake", &mut l.tls_handshake, SHORTEST..=60 * SECOND);
    time(section, "command", &mut l.command, SHORTEST..=300 * SECOND);
    time(section, "pre_auth", &mut l.pre_auth, SHORTEST..=600 * SECOND);
    time(section, "failure_delay", &mut l.failure_delay, Duration::ZERO..=30 * SECOND);
    count(section, "delayed_failures", &mut l.delayed_failures, 0..=100_000);
    time(section, "login", &mut l.login, SHORTEST..=300 * SECOND);

    time(section, "resolve", &mut l.resolve, SHORTEST..=60 * SECOND);
    time(section, "connect_attempt", &mut l.connect_attempt, SHORTEST..=60 * SECOND);
    time(section, "connect", &mut l.connect, SHORTEST..=120 * SECOND);
    time(section, "connect_via_proxy", &mut l.connect_via_proxy, SHORTEST..=120 * SECOND);
    // Exchange was seen to take 40 s, so by default the login alone is the bound.
    l.upstream_login = l.login.min(LONGEST_UPSTREAM_LOGIN);
    time(section, "upstream_login", &mut l.upstream_login, SHORTEST..=LONGEST_UPSTREAM_LOGIN);
    number(section, "upstream_connects_per_second", &mut l.upstream_connects_per_second, 1..=1_000_000);
    count_or_none(section, "imap_sessions_per_mailbox", &mut l.imap_sessions_per_mailbox, 1..=1_000_000);
    count_or_none(section, "pop3_sessions_per_mailbox", &mut l.pop3_sessions_per_mailbox, 1..=1_000_000);
    count(section, "smtp_sessions_per_mailbox", &mut l.smtp_sessions_per_mailbox, 1..=1_000_000);
    count(section, "ews_requests_per_mailbox", &mut l.ews_requests_per_mailbox, 1..=1_000_000);
    count(section, "graph_requests_per_mailbox", &mut l.graph_requests_per_mailbox, 1..=1_000_000);
    count(section, "graph_messages", &mut l.graph_messages, 1..=10_000);
    count(section, "recipients", &mut l.recipients, 1..=10_000);
    size(section, "message", &mut l.message_bytes, 65_536..=1_024 * 1_024 * 1_024);
    time(section, "smtp_command", &mut l.smtp_command, SHORTEST..=HOUR);
    time(section, "smtp_verdict", &mut l.smtp_verdict, SHORTEST..=HOUR);
    // A client waits ten minutes for the reply to a message (RFC 5321 §4.5.3.2.6), a minute of
    // which may pass before.
    time(section, "graph_answer", &mut l.graph_answer, SHORTEST..=480 * SECOND);
    count(section, "maildrop_messages", &mut l.maildrop_messages, 1..=1_000_000);
    time(section, "http_head", &mut l.http_head, SHORTEST..=60 * SECOND);
    size(section, "http_head_size", &mut l.http_head_bytes, 4_096..=128 * 1_024);
    count(section, "http_fields", &mut l.http_fields, 16..=400);
    time(section, "http_idle", &mut l.http_idle, SHORTEST..=HOUR);
    time(section, "http_answer", &mut l.http_answer, SHORTEST..=HOUR);
    size(section, "soap_head", &mut l.soap_head_bytes, 4_096..=4 * 1_024 * 1_024);
    time(section, "mailbox_wait", &mut l.mailbox_wait, Duration::ZERO..=300 * SECOND);
    time(section, "capability_refresh", &mut l.capability_refresh, SECOND..=7 * DAY);

    time(section, "token_request", &mut l.token_request, SHORTEST..=60 * SECOND);
    l.token_total = l.login.saturating_sub(AFTER_TOKEN).clamp(LEAST_TOKEN_TOTAL, 120 * SECOND);
    time(section, "token_total", &mut l.token_total, SHORTEST..=120 * SECOND);
    count(section, "token_requests", &mut l.token_requests, 1..=1_000);
    count(section, "token_queue", &mut l.token_queue, 0..=100_000);

    number(section, "refused_passwords_per_account", &mut l.refused_passwords_per_account, 1..=100);
    number(section, "refused_passwords_per_minute", &mut l.refused_passwords_per_minute, 1..=10_000);
    number(section, "refused_passwords_per_hour", &mut l.refused_passwords_per_hour, 1..=100_000);
    number(section, "replicas", &mut l.replicas, 1..=1_000);
    number(section, "replica_index", &mut l.replica_index, 0..=999);
    time(section, "refused_password_memory", &mut l.refused_password_memory, SECOND..=DAY);
    time(section, "accepted_password_memory", &mut l.accepted_password_memory, SECOND..=DAY);
    count(section, "password_hashes", &mut l.password_hashes, 1..=64);
    count(section, "password_hash_queue", &mut l.password_hash_queue, 0..=10_000);
    time(section, "password_hash_wait", &mut l.password_hash_wait, SHORTEST..=60 * SECOND);

    size(section, "relay_buffer", &mut l.relay_buffer_bytes, 4_096..=4 * 1_024 * 1_024);
    time(section, "imap_idle", &mut l.imap_idle, SHORTEST..=DAY);
    time(section, "pop3_idle", &mut l.pop3_idle, SHORTEST..=DAY);
    time(section, "smtp_idle", &mut l.smtp_idle, SHORTEST..=DAY);
    time(section, "half_closed", &mut l.half_closed, SHORTEST..=HOUR);
    time(section, "write_stall", &mut l.write_stall, SHORTEST..=HOUR);
    time(section, "drain", &mut l.drain, Duration::ZERO..=HOUR);
    time(section, "reload_check", &mut l.reload_check, Duration::ZERO..=HOUR);
    limits
}

fn read_penalties(section: &Section<'_>) -> Rules {
    let mut rules = Rules::default();
    let r = &mut rules;
    time(section, "penalty_threshold", &mut r.threshold, Duration::ZERO..=DAY);
    time(section, "penalty_cap", &mut r.cap, Duration::ZERO..=DAY);
    time(section, "penalty_wrong_password", &mut r.wrong_password, Duration::ZERO..=HOUR);
    time(section, "penalty_no_login", &mut r.no_login, Duration::ZERO..=HOUR);
    time(section, "penalty_timeout", &mut r.timeout, Duration::ZERO..=HOUR);
    time(section, "penalty_garbage", &mut r.garbage, Duration::ZERO..=HOUR);
    time(section, "penalty_http", &mut r.http, Duration::ZERO..=HOUR);
    time(section, "penalty_panic", &mut r.panic, Duration::ZERO..=HOUR);
    time(section, "penalty_spraying", &mut r.spraying, Duration::ZERO..=HOUR);
    count(section, "spraying_accounts", &mut r.spraying_accounts, 1..=MOST_SPRAYING_ACCOUNTS as u64);
    count(section, "penalty_sources", &mut r.sources, 1_000..=1_000_000);
    rules
}

fn read_protocol(section: &Section<'_>) -> gatepost_proto::mail::Limits {
    let mut limits = gatepost_proto::mail::Limits::default();
    let l = &mut limits;
    let up_to = |default: usize, least: u64| least..=PROTOCOL_FACTOR * default as u64;
    let up_to_number = |default: u32| 1..=PROTOCOL_FACTOR * u64::from(default);

    let range = up_to(l.imap_line_bytes, 512);
    size(section, "imap_line", &mut l.imap_line_bytes, range);
    let range = up_to(l.imap_literal_bytes, 64);
    size(section, "imap_literal", &mut l.imap_literal_bytes, range);
    let range = up_to(l.imap_literals, 1);
    count(section, "imap_literals", &mut l.imap_literals, range);
    let range = up_to(l.imap_literals_bytes, 64);
    size(section, "imap_literals_total", &mut l.imap_literals_bytes, range);
    let range = up_to(l.line_bytes, 128);
    size(section, "line", &mut l.line_bytes, range);
    let range = up_to(l.sasl_line_bytes, 512);
    size(section, "sasl_line", &mut l.sasl_line_bytes, range);
    let range = up_to(l.held_bytes, 512);
    size(section, "held", &mut l.held_bytes, range);
    let range = up_to_number(l.commands);
    number(section, "commands", &mut l.commands, range);
    let range = up_to_number(l.bad_commands);
    number(section, "bad_commands", &mut l.bad_commands, range);
    let range = up_to_number(l.attempts);
    number(section, "attempts", &mut l.attempts, range);
    let range = up_to(l.upstream_line_bytes, 512);
    size(section, "upstream_line", &mut l.upstream_line_bytes, range);
    let range = up_to(l.upstream_lines, 8);
    count(section, "upstream_lines", &mut l.upstream_lines, range);
    let range = up_to(l.upstream_bytes, 4_096);
    size(section, "upstream_total", &mut l.upstream_bytes, range);
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

fn time(section: &Section<'_>, key: &'static str, field: &mut Duration, range: RangeInclusive<Duration>) {
    if let Some(time) = section.get(key).and_then(|node| node.read(|text| value::duration(text, &range))) {
        *field = time;
    }
}

fn size(section: &Section<'_>, key: &'static str, field: &mut usize, range: RangeInclusive<u64>) {
    let size = section.get(key).and_then(|node| node.read(|text| value::size(text, &range)));
    if let Some(size) = size.and_then(|size| usize::try_from(size).ok()) {
        *field = size;
    }
}

fn count(section: &Section<'_>, key: &'static str, field: &mut usize, range: RangeInclusive<u64>) {
    let count = section.get(key).and_then(|node| node.read(|text| value::count(text, &range)));
    if let Some(count) = count.and_then(|count| usize::try_from(count).ok()) {
        *field = count;
    }
}

/// Like [`count`], for a key that may be `none`.
fn count_or_none(section: &Section<'_>, key: &'static str, field: &mut Option<usize>, range: RangeInclusive<u64>) {
    let read = |text: &str| match text {
        "none" => Ok(None),
        text => value::count(text, &range)
            .map(Some)
            .map_err(|wrong| ValueError { hint: format!("{}, or `none`", wrong.hint), ..wrong }),
    };
    if let Some(count) = section.get(key).and_then(|node| node.read(read)) {
        *field = count.and_then(|count| usize::try_from(count).ok());
    }
}

fn number(section: &Section<'_>, key: &'static str, field: &mut u32, range: RangeInclusive<u64>) {
    let count = section.get(key).and_then(|node| node.read(|text| value::count(text, &range)));
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
