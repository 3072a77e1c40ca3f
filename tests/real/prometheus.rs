//! A real Prometheus scrapes a running Gatepost, and its own tool reads the metrics.

use std::process::{Command, Stdio};

use super::process::{Directory, Server, free_port, run};

#[test]
#[ignore = "needs Prometheus: run tests/run"]
fn prometheus_scrapes_every_metric_and_finds_nothing_to_complain_about() {
    let directory = Directory::new();
    let (imap, page, port) = (free_port(), free_port(), free_port());
    let config = directory.write(
        "proxy.yaml",
        format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:{imap}', upstream: '127.0.0.1:9'}}\n\
             microsoft: {{tenant: contoso.example, client_id: 00000000-0000-0000-0000-000000000000}}\n\
             admin: {{bind: '127.0.0.1:{page}'}}\n"
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let mut service =
        Server::start("gatepost", command.arg("run").arg("-c").arg(&config), directory.path().join("gatepost.log"));
    service.wait_for_port(page);
    let metrics = format!("http://127.0.0.1:{page}/metrics");
    let text = run(Command::new("curl").args(["--silent", "--fail", &metrics])).expect_success("curl").stdout;
    let file = directory.write("metrics", &text);
    let input = Stdio::from(std::fs::File::open(file).unwrap());
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(input).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let scrape = directory.write(
        "prometheus.yml",
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: gatepost\n    static_configs: [{{targets: \
             ['127.0.0.1:{page}']}}]\n"
        ),
    );
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", scrape.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut prometheus = Server::start("prometheus", &mut command, directory.path().join("prometheus.log"));
    let ask = |query: &str| {
        let query = format!("http://127.0.0.1:{port}/api/v1/query?query={query}");
        let output = Command::new("curl").args(["--silent", &query]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()
    };
    prometheus.wait_until("scrape Gatepost", || ask("gatepost_ready")["data"]["result"][0]["value"][1] == "1");
    for (query, value) in [
        ("up", "1"),
        ("gatepost_draining", "0"),
        ("sum(gatepost_logins_total)", "0"),
        ("count(gatepost_relayed_bytes_total)", "10"),
        ("gatepost_token_request_seconds_count", "0"),
        ("gatepost_build_info", "1"),
    ] {
        assert_eq!(ask(query)["data"]["result"][0]["value"][1], value, "{query}");
    }
    prometheus.stop();
    service.stop();
}
