//! Metrics for Prometheus. Label values come from closed sets. No name, address or text of a client
//! or server ever becomes one, so that the number of series is bounded and nothing private is
//! exposed.
//!
//! Counting is a few atomic operations. Values that must be looked up, such as the expiry of
//! certificates, are looked up when metrics are requested.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use gatepost_core::cause::Cause;
use gatepost_core::protocol::Protocol;

mod labels;
mod queue;
mod series;

use labels::{
    By, ByCause, ByProtocol, ByteLabels, GRANTS, Kind, LoginLabels, MessageLabels, Outcome, RefusedLabels, TokenLabels,
    Version, message_labels, reload_label,
};
pub use labels::{DEVICE_CODE, Ends, MANAGED_IDENTITY, Sent, Throttle, TokenOutcome, Way};
pub use queue::{QueueMetrics, QueueOutcome};
use series::PerProtocol;
pub use series::Timing;

/// Seconds: a token endpoint answers in a tenth of one, and a request times out after ten.
const TOKEN_BUCKETS: [f64; 10] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0];
/// Seconds: TCP, TLS and the login at a mail server.
const CONNECT_BUCKETS: [f64; 10] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    sessions: PerProtocol<Gauge>,
    accepted: PerProtocol<Counter>,
    logins: Family<LoginLabels, Counter>,
    refused: AtomicU64,
    token_requests: Family<TokenLabels, Counter>,
    /// The time of each token request.
    pub token_request: Timing,
    cache_hits: Counter,
    cache_misses: Counter,
    bytes: PerProtocol<[Counter; 2]>,
    /// The time from the dial to the end of the login at a mail server.
    pub upstream_connect: Timing,
    expiry: Family<Kind, Gauge>,
    throttled: Family<By, Counter>,
    messages: Family<MessageLabels, Counter>,
    ready: Gauge,
    draining: Gauge,
    reloads: Family<Outcome, Counter>,
    last_reload: Gauge,
    renewals: Family<Outcome, Counter>,
    panics: Counter,
    closed: Family<ByCause, Counter>,
    requests_refused: Family<RefusedLabels, Counter>,
    mail_refused: Family<ByCause, Counter>,
    /// The queue.
    pub queue: QueueMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates all metrics with the value zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("gatepost");
        let r = &mut registry;
        let sessions: Family<ByProtocol, Gauge> = registered(r, "sessions", "Sessions that have logged in", default());
        let logins: Family<LoginLabels, Counter> = registered(r, "logins", "Logins that were decided", default());
        let token_requests: Family<TokenLabels, Counter> =
            registered(r, "token_requests", "Requests to token endpoints, by what they came to", default());
        let token_request = Timing::new(TOKEN_BUCKETS);
        r.register("token_request_seconds", "Time of a request to a token endpoint", token_request.histogram.clone());
        let cache_hits = registered(r, "token_cache_hits", "Logins served from the token cache", default());
        let cache_misses = registered(r, "token_cache_misses", "Logins that had to wait for a token", default());
        let bytes: Family<ByteLabels, Counter> =
            registered(r, "relayed_bytes", "Bytes of sessions after the login", default());
        let upstream_connect = Timing::new(CONNECT_BUCKETS);
        let help = "Time from the dial to the end of the login at a mail server";
        r.register("upstream_connect_seconds", help, upstream_connect.histogram.clone());
        let help = "The nearest end of a certificate or secret, in seconds since 1970";
        let expiry = registered(r, "expiry_timestamp_seconds", help, default());
        let help = "Times that Microsoft asked for a pause, or Gatepost paused to stay within its limits";
        let throttled: Family<By, Counter> = registered(r, "throttled", help, default());
        let help = "Messages that Gatepost handed on itself";
        let messages: Family<MessageLabels, Counter> = registered(r, "messages_sent", help, default());
        let build: Family<Version, Gauge> = registered(r, "build_info", "The version that runs", default());
        let ready = registered(r, "ready", "1 while logins are taken and the store answers", default());
        let draining = registered(r, "draining", "1 while the service ends", default());
        let help = "Times that the configuration was read again";
        let reloads: Family<Outcome, Counter> = registered(r, "config_reloads", help, default());
        let help = "The last time that the configuration was read again, in seconds since 1970";
        let last_reload = registered(r, "config_last_reload_timestamp_seconds", help, default());
        let help = "Steps of renewing a certificate of an application: put in use, or failed";
        let renewals: Family<Outcome, Counter> = registered(r, "certificate_renewals", help, default());
        let panics = registered(r, "panics", "Faults of Gatepost that ended one session", default());
        let help = "Connections that were closed, by cause";
        let closed: Family<ByCause, Counter> = registered(r, "connections_closed", help, default());
        let help = "Requests over HTTP that Gatepost or Microsoft refused for another reason than their login";
        let requests_refused: Family<RefusedLabels, Counter> = registered(r, "requests_refused", help, default());
        let help = "Senders, recipients and messages over SMTP that were refused after the login, by cause";
        let mail_refused: Family<ByCause, Counter> = registered(r, "mail_refused", help, default());
        let queue = QueueMetrics::new(r);

        // Series that exist from the start begin at zero, so that rates can be computed.
        let protocol = |protocol: Protocol| ByProtocol { protocol: protocol.name() };
        let sessions = PerProtocol::of(|of| sessions.get_or_create_owned(&protocol(of)));
        let bytes = PerProtocol::of(|of| {
            ["sent", "received"]
                .map(|direction| bytes.get_or_create_owned(&ByteLabels { protocol: of.name(), direction }))
        });
        let accepted = PerProtocol::of(|of| {
            logins.get_or_create_owned(&LoginLabels { protocol: of.name(), outcome: "accepted", cause: "none" })
        });
        for by in Throttle::ALL {
            drop(throttled.get_or_create(&By { by: by.name() }));
        }
        for way in [Way::Smtp, Way::Graph] {
            for outcome in [Sent::Accepted, Sent::Deferred, Sent::Refused, Sent::Unknown] {
                drop(messages.get_or_create(&message_labels(way, outcome)));
            }
        }
        for outcome in [true, false] {
            drop(reloads.get_or_create(&reload_label(outcome)));
            drop(renewals.get_or_create(&reload_label(outcome)));
        }
        for grant in GRANTS {
            for outcome in TokenOutcome::ALL {
                drop(token_requests.get_or_create(&TokenLabels { grant, outcome: outcome.name() }));
            }
        }
        build.get_or_create(&Version { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            registry,
            sessions,
            accepted,
            logins,
            refused: AtomicU64::new(0),
            token_requests,
            token_request,
            cache_hits,
            cache_misses,
            bytes,
            upstream_connect,
            expiry,
            throttled,
            messages,
            ready,
            draining,
            reloads,
            last_reload,
            renewals,
            panics,
            closed,
            requests_refused,
            mail_refused,
            queue,
        }
    }

    /// Counts a session that has begun or ended.
    pub fn session(&self, protocol: Protocol, begun: bool) {
        let gauge = self.sessions.get(protocol);
        if begun {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    /// The number of logged-in sessions.
    pub fn sessions(&self, protocol: Protocol) -> u64 {
        u64::try_from(self.sessions.get(protocol).get()).unwrap_or(0)
    }

    /// Counts an accepted login.
    pub fn login_accepted(&self, protocol: Protocol) {
        self.accepted.get(protocol).inc();
    }

    /// Counts a refused login.
    pub fn login_refused(&self, protocol: Protocol, cause: Cause) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let labels = LoginLabels { protocol: protocol.name(), outcome: "refused", cause: cause.name() };
        self.logins.get_or_create(&labels).inc();
    }

    /// Accepted and refused logins since the start.
    pub fn logins(&self) -> (u64, u64) {
        let accepted = self.accepted.0.iter().map(Counter::get).sum();
        (accepted, self.refused.load(Ordering::Relaxed))
    }

    /// Counts a token request that has ended.
    pub fn token_requested(&self, grant: &'static str, outcome: TokenOutcome, took: Duration) {
        self.token_requests.get_or_create(&TokenLabels { grant, outcome: outcome.name() }).inc();
        self.token_request.observe(took);
    }

    /// Counts a login that found a cached token, or did not.
    pub fn token_looked_up(&self, found: bool) {
        if found {
            self.cache_hits.inc()
        } else {
            self.cache_misses.inc()
        };
    }

    /// Logins that found a cached token, and logins that did not.
    pub fn token_lookups(&self) -> (u64, u64) {
        (self.cache_hits.get(), self.cache_misses.get())
    }

    /// Sets the octets of all sessions so far: to Microsoft, and from there.
    pub fn relayed(&self, protocol: Protocol, (sent, received): (u64, u64)) {
        let [to, from] = self.bytes.get(protocol);
        to.inner().store(sent, Ordering::Relaxed);
        from.inner().store(received, Ordering::Relaxed);
    }

    /// Sets the nearest expiry of a kind; `None` when none is known.
    pub fn expires(&self, ends: Ends, at: Option<u64>) {
        let kind = Kind { kind: ends.name() };
        match at.map(|at| i64::try_from(at).unwrap_or(i64::MAX)) {
            Some(at) => drop(self.expiry.get_or_create(&kind).set(at)),
            None => drop(self.expiry.remove(&kind)),
        }
    }

    /// Counts a throttling: a request to wait for a while.
    pub fn throttled(&self, by: Throttle) {
        self.throttled.get_or_create(&By { by: by.name() }).inc();
    }

    /// Counts a message that Gatepost took, with the result of its delivery.
    pub fn message(&self, way: Way, outcome: Sent) {
        self.messages.get_or_create(&message_labels(way, outcome)).inc();
    }

    /// Sets whether the service is ready, and whether it is draining.
    pub fn standing(&self, ready: bool, draining: bool) {
        self.ready.set(i64::from(ready));
        self.draining.set(i64::from(draining));
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, succeeded: bool, at: u64) {
        self.reloads.get_or_create(&reload_label(succeeded)).inc();
        self.last_reload.set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// Counts a certificate that was renewed, or a step of a renewal that failed.
    pub fn renewed(&self, succeeded: bool) {
        self.renewals.get_or_create(&reload_label(succeeded)).inc();
    }

    /// Counts a session that a bug in Gatepost ended.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a closed connection.
    pub fn closed(&self, cause: Cause) {
        self.closed.get_or_create(&ByCause { cause: cause.name() }).inc();
    }

    /// Counts a refused request.
    pub fn request_refused(&self, protocol: Protocol, cause: Cause) {
        let labels = RefusedLabels { protocol: protocol.name(), cause: cause.name() };
        self.requests_refused.get_or_create(&labels).inc();
    }

    /// Counts a sender, recipient or message that was refused after the login.
    pub fn mail_refused(&self, cause: Cause) {
        self.mail_refused.get_or_create(&ByCause { cause: cause.name() }).inc();
    }

    /// All metrics in the format OpenMetrics 1.0.
    pub fn open_metrics(&self) -> String {
        let mut written = String::new();
        // Writing to a string cannot fail.
        let _written = text::encode(&mut written, &self.registry);
        written
    }

    /// All metrics in version 0.0.4 of Prometheus's text format. There a counter's name ends in
    /// `_total` in its description, too.
    pub fn text(&self) -> String {
        let mut written = String::new();
        let mut help: Option<&str> = None;
        let open_metrics = self.open_metrics();
        for line in open_metrics.lines().filter(|line| *line != "# EOF") {
            if let Some(described) = line.strip_prefix("# HELP ") {
                help = Some(described);
                continue;
            }
            if let (Some(typed), Some(described)) = (line.strip_prefix("# TYPE "), help.take()) {
                let (name, kind) = typed.split_once(' ').unwrap_or((typed, ""));
                let words = described.strip_prefix(name).unwrap_or_default();
                let total = if kind == "counter" { "_total" } else { "" };
                written.push_str(&format!("# HELP {name}{total}{words}\n# TYPE {name}{total} {kind}\n"));
                continue;
            }
            written.push_str(line);
            written.push('\n');
        }
        written
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}

fn default<M: Default>() -> M {
    M::default()
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(metrics: &Metrics) -> Vec<String> {
        metrics.text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn the_names_are_those_that_dashboards_are_written_against() {
        let metrics = Metrics::new();
        metrics.closed(Cause::Timeout);
        metrics.request_refused(Protocol::Ews, Cause::Refused);
        metrics.mail_refused(Cause::SendAsDenied);
        metrics.expires(Ends::Secret, Some(1_800_000_000));
        let text = metrics.text();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(
            types,
            [
                "gatepost_sessions gauge",
                "gatepost_logins_total counter",
                "gatepost_token_requests_total counter",
                "gatepost_token_request_seconds histogram",
                "gatepost_token_cache_hits_total counter",
                "gatepost_token_cache_misses_total counter",
                "gatepost_relayed_bytes_total counter",
                "gatepost_upstream_connect_seconds histogram",
                "gatepost_expiry_timestamp_seconds gauge",
                "gatepost_throttled_total counter",
                "gatepost_messages_sent_total counter",
                "gatepost_build_info gauge",
                "gatepost_ready gauge",
                "gatepost_draining gauge",
                "gatepost_config_reloads_total counter",
                "gatepost_config_last_reload_timestamp_seconds gauge",
                "gatepost_certificate_renewals_total counter",
                "gatepost_panics_total counter",
                "gatepost_connections_closed_total counter",
                "gatepost_requests_refused_total counter",
                "gatepost_mail_refused_total counter",
                "gatepost_queue_messages gauge",
                "gatepost_queue_bytes gauge",
                "gatepost_queue_size_bytes gauge",
                "gatepost_queue_oldest_seconds gauge",
                "gatepost_queue_outcomes_total counter",
            ]
        );
        assert!(text.contains("# HELP gatepost_panics_total Faults of Gatepost that ended one session.\n"), "{text}");
        assert!(text.contains("gatepost_expiry_timestamp_seconds{kind=\"secret\"} 1800000000\n"), "{text}");
        let open = metrics.open_metrics();
        assert!(open.ends_with("# EOF\n") && open.contains("# TYPE gatepost_panics counter\n"), "{open}");
    }

    #[test]
    fn logins_are_counted_by_protocol_and_cause() {
        let metrics = Metrics::new();
        metrics.login_accepted(Protocol::Smtp);
        metrics.login_refused(Protocol::Imap, Cause::WrongPassword);
        metrics.login_refused(Protocol::Imap, Cause::WrongPassword);
        let series = series(&metrics);
        for line in [
            "gatepost_logins_total{protocol=\"smtp\",outcome=\"accepted\",cause=\"none\"} 1",
            "gatepost_logins_total{protocol=\"imap\",outcome=\"refused\",cause=\"wrong-password\"} 2",
        ] {
            assert!(series.iter().any(|found| found == line), "{line}: {series:#?}");
        }
        assert_eq!(metrics.logins(), (1, 2));
    }

    #[test]
    fn all_causes_in_all_protocols_make_a_bounded_number_of_series() {
        let metrics = Metrics::new();
        let without = series(&metrics).len();
        for _ in 0..10 {
            for &cause in Cause::ALL {
                metrics.closed(cause);
                metrics.mail_refused(cause);
                for protocol in Protocol::ALL {
                    metrics.login_refused(protocol, cause);
                }
            }
            for ends in [Ends::Certificate, Ends::Secret, Ends::Listener] {
                metrics.expires(ends, Some(1));
            }
        }
        let series = series(&metrics);
        assert_eq!(series.len(), without + 3 + Cause::ALL.len() * (Protocol::ALL.len() + 2));
        assert!(series.len() <= 1_320, "{}", series.len());
        assert_eq!(metrics.logins().1, 10 * (Cause::ALL.len() * Protocol::ALL.len()) as u64);
    }
}
