//! A real browser on the status page: an administrator signs an account in at Entra's page and
//! comes back, and a mail program then logs in with the device password that the page has shown.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread::JoinHandle;

use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::browser::Browser;
use super::process::{Directory, Server, free_port, run};

const ANNA: &str = "anna@contoso.example";
const ANNAS: &str = "anna's secret";

/// A server of somebody else on a port of this machine: what the first request to it says.
fn neighbour() -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut octets) = (Vec::new(), [0; 4096]);
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let read = stream.read(&mut octets).unwrap();
            assert_ne!(read, 0, "the head broke off");
            head.extend_from_slice(&octets[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
        String::from_utf8(head).unwrap()
    });
    (port, heard)
}

#[test]
#[ignore = "needs Chromium: run tests/run"]
fn an_account_signed_in_on_the_page_reads_its_mail() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let accounts = vec![SandboxAccount::new(ANNA, ANNAS)];
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() })).unwrap();
    let directory = Directory::new();
    directory.write("ca.pem", sandbox.ca_pem());
    let (imap, page) = (free_port(), free_port());
    let config = directory.write(
        "proxy.yaml",
        format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:{imap}', upstream: 'localhost:{upstream}'}}\n\
             microsoft: {{authority: 'https://localhost:{entra}/', tenant: contoso.example, client_id: {client}}}\n\
             accounts:\n  - {{login: {ANNA}, grant: authorization_code}}\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             admin: {{bind: '127.0.0.1:{page}'}}\n",
            upstream = sandbox.imap().port(),
            entra = sandbox.entra().port(),
            client = sandbox.public_client_id(),
        ),
    );
    let gatepost = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(arguments).arg("-c").arg(&config);
        command
    };
    let mut service = Server::start("gatepost", &mut gatepost(&["run"]), directory.path().join("gatepost.log"));
    service.wait_for_port(page);
    let link = run(&mut gatepost(&["status", "--page"])).expect_success("gatepost status").stdout;
    let link = String::from_utf8(link).unwrap();

    assert!(link.starts_with(&format!("http://127.0.0.1:{page}/enter?")), "{link}");

    let browser = Browser::start(&runtime, &directory);
    browser.open(link.trim());
    // The page of another program on the same machine gets no cookie, by whichever name the browser
    // looks for it.
    browser.element("#accounts");
    for host in ["127.0.0.1", "localhost"] {
        let (neighbour, heard) = neighbour();
        browser.open(&format!("http://{host}:{neighbour}/"));
        let asked = heard.join().unwrap();
        assert!(asked.starts_with("GET / ") && !asked.to_lowercase().contains("\ncookie:"), "{asked}");
        browser.post("/back", &json!({}));
    }
    // The script of the page goes on by itself; the policy of the page lets it.
    browser.click(&format!("form[action$='/sign-in']:has(input[value='{ANNA}']) button"));
    browser.click("main a.button");
    browser.sign_in(ANNA, ANNAS);
    let password = browser.text(".secret code");
    assert_eq!(browser.get("/url").as_str().unwrap().split("/sign-in/").count(), 2, "the code is no longer shown");

    let fetched = run(Command::new("curl").args(["--silent", "--show-error", "--max-time", "60", "--user"]).args([
        format!("{ANNA}:{password}"),
        format!("imap://127.0.0.1:{imap}/INBOX"),
        "--request".to_owned(),
        "NOOP".to_owned(),
    ]));
    fetched.expect_success("curl");

    // Seen in the browser: no horizontal scroll on a phone, and nothing that the policy of the page
    // forbids.
    browser.click("form[action$='/end'] button");
    browser.post("/window/rect", &json!({"width": 500, "height": 900}));
    let too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    browser.element("#accounts .pill.good");
    assert_eq!(browser.script(too_wide), Value::Bool(false));
    let refused = "return fetch('https://example.com/').then(() => 'fetched', () => 'refused')";
    assert_eq!(browser.script(refused), "refused");
    drop(browser);
    service.stop();
}
