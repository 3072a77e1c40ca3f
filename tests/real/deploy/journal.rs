//! What the page about logs says about systemd: the line with jq, and the fields of
//! `log.format: journal`, which a journal of the test's own gets.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::directory::Directory;
use crate::common::port::free_address;
use crate::common::wait::PATIENCE;
use crate::deploy::support::{Server, text};

#[test]
#[ignore = "needs jq"]
fn the_documented_line_finds_what_it_says_among_the_lines_of_systemd() {
    const REFUSED: &str = r#"{"time":"2026-01-01T00:00:00Z","level":"info","message":"login","outcome":"refused"}"#;
    let mixed = [
        "Starting gatepost.service - Gatepost...",
        r#"{"time":"2026-01-01T00:00:00Z","level":"info","message":"ready"}"#,
        REFUSED,
        "configuration reloaded: nothing has changed",
        r#"{"cut"#,
        "",
        REFUSED,
    ];
    let page = text("docs/operate/logs-and-audit.md");
    let line = page.lines().find(|line| line.contains("| jq ")).unwrap();
    let (_, filter) = line.split_once(" | ").unwrap();
    let script = format!("printf '%s\\n' \"$@\" | {filter}");
    let output = Command::new("sh").args(["-c", &script, "sh"]).args(mixed).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    let refused: serde_json::Value = serde_json::from_str(REFUSED).unwrap();
    assert_eq!(found, [refused.clone(), refused]);
}

/// A login with an account that does not exist.
fn refused_login(at: SocketAddr) {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"a LOGIN bob@contoso.example wrong\r\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("a NO") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "closed");
    }
}

fn journal(path: &Path) -> UnixDatagram {
    let journal = UnixDatagram::bind(path).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    journal
}

type Entry = Vec<String>;

/// The first entry that has all these lines, for each of them. The two logs are written by two
/// threads, so entries come in any order.
fn entries<const N: usize>(journal: &UnixDatagram, wanted: [&[&str]; N]) -> [Entry; N] {
    let mut octets = vec![0; 1 << 16];
    let mut found = wanted.map(|_| None);
    while found.iter().any(Option::is_none) {
        let length = journal.recv(&mut octets).unwrap_or_else(|error| panic!("{found:?} of {wanted:?}: {error}"));
        let lines: Entry = String::from_utf8_lossy(&octets[..length]).lines().map(str::to_owned).collect();
        let at = wanted.iter().position(|wanted| wanted.iter().all(|wanted| lines.iter().any(|line| line == wanted)));
        if let Some(at) = at {
            found[at].get_or_insert(lines);
        }
    }
    found.map(Option::unwrap)
}

#[test]
#[ignore = "needs bwrap"]
fn the_fields_of_both_logs_reach_a_journal_and_one_that_was_restarted() {
    let (directory, imap) = (Directory::new(), free_address());
    let log = "SYSLOG_IDENTIFIER=gatepost";
    directory.write(
        "proxy.yaml",
        format!(
            "listeners: {{imap: {{bind: '{imap}', upstream: 'localhost:1'}}}}\n\
             microsoft: {{tenant: contoso.example, client_id: 00000000-0000-0000-0000-000000000000, grant: password}}\n\
             accounts: [{{login: alice@contoso.example}}]\nstate: {{directory: {}}}\n\
             limits: {{failure_delay: 0s}}\nlog: {{format: journal, audit: journal}}\n",
            directory.file("state").display()
        ),
    );
    let place = directory.file("journal");
    fs::create_dir(&place).unwrap();
    let socket = place.join("socket");
    let first = journal(&socket);
    let mut service = Command::new("bwrap");
    service.args(["--dev-bind", "/", "/", "--tmpfs", "/run", "--bind"]).arg(&place).arg("/run/systemd/journal");
    service.args(["--die-with-parent", env!("CARGO_BIN_EXE_gatepost"), "run", "--config"]);
    service.arg(directory.file("proxy.yaml"));
    let errors = directory.file("errors");
    service.stdin(Stdio::null()).stderr(fs::File::create(&errors).unwrap());
    let _service = Server(service.spawn().expect("start bwrap; `tests/run` installs it"));

    let version = concat!("GATEPOST_VERSION=", env!("CARGO_PKG_VERSION"));
    let [ready] = entries(&first, [&[log, "PRIORITY=6", version]]);
    assert!(ready.iter().any(|line| line.starts_with("MESSAGE=ready version=")), "{ready:?}");
    let is_refused = |journal: &UnixDatagram| {
        refused_login(imap);
        let cause = "GATEPOST_CAUSE=unknown-account";
        let account = "GATEPOST_ACCOUNT=bob@contoso.example";
        let audit = "SYSLOG_IDENTIFIER=gatepost-audit";
        let wanted: [&[&str]; 2] = [&[log, "PRIORITY=6", cause, account], &[audit, "PRIORITY=5", cause, account]];
        let [_, audited] = entries(journal, wanted);
        let object = audited.iter().find_map(|line| line.strip_prefix("MESSAGE=")).unwrap();
        let object: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!(object["outcome"], "refused");
    };
    is_refused(&first);
    assert_eq!(fs::read_to_string(errors).unwrap(), "");
    drop(first);
    fs::remove_file(&socket).unwrap();
    is_refused(&journal(&socket));
}
