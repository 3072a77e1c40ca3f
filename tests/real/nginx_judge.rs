//! nginx as the server of Microsoft's: whatever a client sends through Gatepost, nginx understands
//! the requests that were meant, and no other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::authority::Authority;
use super::cloud::{LOGIN, PASSWORD};
use super::process::{Directory, Server, free_port, is_root, wait_for};
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};

/// nginx behind TLS, which writes down every request that it finds.
fn nginx(directory: &Directory, authority: &Authority) -> (Server, u16) {
    let port = free_port();
    let at = directory.path().display();
    let user = if is_root() { "user www-data;" } else { "" };
    let configuration = format!(
        "{user} daemon off; worker_processes 1; pid {at}/nginx.pid; error_log stderr info;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           log_format found escape=json '$status $request_method $request_uri $http_content_length$http_transfer_encoding';\n\
           access_log {at}/found.log found;\n\
           client_max_body_size 100m; client_body_temp_path {at}/body;\n\
           server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             location / {{ default_type application/json; return 200 '{{}}'; }} }}\n\
         }}\n",
        certificate = authority.certificate.display(),
        key = authority.private_key.display(),
    );
    let mut command = Command::new("nginx");
    command.arg("-c").arg(directory.write("nginx.conf", configuration)).arg("-e").arg("stderr");
    let mut server = Server::start("nginx", &mut command, directory.path().join("nginx.log"));
    server.wait_for_port(port);
    (server, port)
}

/// All that is answered, until Gatepost closes or says nothing more.
fn send(port: u16, octets: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may close before it has read everything.
    let _closed = socket.write_all(octets);
    let mut answer = Vec::new();
    let _reset = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn nginx_finds_the_requests_that_were_meant_and_no_other() {
    let directory = Directory::new();
    let authority = Authority::new(&directory);
    let (_nginx, origin) = nginx(&directory, &authority);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let accounts = vec![SandboxAccount::new(LOGIN, PASSWORD)];
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() })).unwrap();
    let roots = format!("{}{}", std::fs::read_to_string(&authority.root).unwrap(), sandbox.ca_pem());
    let port = free_port();
    let yaml = format!(
        "listeners:\n  graph: {{bind: '127.0.0.1:{port}', upstream: 'localhost:{origin}'}}\n\
         microsoft: {{authority: '{}', tenant: contoso.example, client_id: {}, grant: password}}\n\
         accounts:\n  - login: '*@contoso.example'\n\
         trust: {{system_roots: false, additional_ca: {}}}\nlog: {{level: debug}}\n\
         limits: {{http_idle: 2s, http_head: 1s}}\n",
        sandbox.authority(),
        sandbox.public_client_id(),
        directory.write("roots.pem", roots).display(),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["run", "-c"]).arg(directory.write("proxy.yaml", yaml));
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let mut gatepost = Server::start("gatepost", &mut command, directory.path().join("gatepost.log"));
    gatepost.wait_for_port(port);

    let credentials =
        format!("Host: localhost\r\nAuthorization: Basic {}\r\n", STANDARD.encode(format!("{LOGIN}:{PASSWORD}")));
    let get = |path: &str| format!("GET /v1.0/me/messages/{path} HTTP/1.1\r\n{credentials}\r\n");
    let post = |path: &str, fields: &str, body: &str| {
        format!("POST /v1.0/me/messages/{path} HTTP/1.1\r\n{credentials}{fields}\r\n{body}")
    };
    let smuggled = get("smuggled");
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let length = |body: &str| format!("Content-Length: {}\r\n", body.len());
    let mut meant = Vec::new();
    // What is sound, with requests that are only text.
    for (octets, found) in [
        (get("1"), vec!["GET /v1.0/me/messages/1 "]),
        (get("2") + &get("3"), vec!["GET /v1.0/me/messages/2 ", "GET /v1.0/me/messages/3 "]),
        (post("4", &length(&smuggled), &smuggled), vec!["POST /v1.0/me/messages/4 LENGTH"]),
        (
            post("5", "Transfer-Encoding: chunked\r\n", &(chunk(&smuggled) + "0\r\n\r\n")),
            vec!["POST /v1.0/me/messages/5 chunked"],
        ),
        (
            post("6", "Transfer-Encoding: chunked\r\n", &(chunk("0\r\n\r\n") + &chunk(&smuggled) + "0\r\n\r\n"))
                + &get("7"),
            vec!["POST /v1.0/me/messages/6 chunked", "GET /v1.0/me/messages/7 "],
        ),
        (
            post("8", "Content-Length: 0\r\n", "") + &get("9"),
            vec!["POST /v1.0/me/messages/8 0", "GET /v1.0/me/messages/9 "],
        ),
        (post("10", "X-Content-Length: 5\r\nContent-Length: 2\r\n", "{}"), vec!["POST /v1.0/me/messages/10 2"]),
        // Listed in Connection, the length would be lost on the way: it is Gatepost's own that
        // counts.
        (
            post("11", &format!("Connection: content-length\r\n{}", length(&smuggled)), &smuggled),
            vec!["POST /v1.0/me/messages/11 LENGTH"],
        ),
        (
            post(
                "12",
                "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
                &(chunk(&smuggled) + "0\r\n\r\n"),
            ),
            vec!["POST /v1.0/me/messages/12 chunked"],
        ),
        (
            post("13", &format!("Upgrade: h2c\r\nConnection: upgrade\r\n{}", length(&smuggled)), &smuggled),
            vec!["POST /v1.0/me/messages/13 LENGTH"],
        ),
        // What stands beside chunks is left out (RFC 9112 §7.1.1, §7.1.2).
        (
            post("14", "Transfer-Encoding: chunked\r\n", "00000000000000005;x=\"y\"\r\nhello\r\n0;z\r\nX: y\r\n\r\n")
                + &get("15"),
            vec!["POST /v1.0/me/messages/14 chunked", "GET /v1.0/me/messages/15 "],
        ),
    ] {
        let last = octets + &format!("GET /v1.0/me/messages/last HTTP/1.1\r\n{credentials}Connection: close\r\n\r\n");
        let answer = send(port, last.as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), found.len() + 1, "{last}\n{answer}");
        meant.extend(found.iter().map(|line| line.replace("LENGTH", &smuggled.len().to_string())));
        meant.push("GET /v1.0/me/messages/last ".to_owned());
    }
    // What is not: nothing of it arrives, whole or in part.
    for (fields, body) in [
        ("Content-Length: 0\r\nContent-Length: 400\r\n", ""),
        ("Content-Length: 400\r\nContent-Length: 0\r\n", ""),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding\r\n : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\n\tTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: +0\r\n", ""),
        ("Content-Length: 0x0\r\n", ""),
        ("Content-Length: 0,0\r\n", ""),
        ("Content-Length: -1\r\n", ""),
        ("Content_Length: 0\r\nContent-Length: 400\r\nContent-Length: 0\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "0;x=\x01\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\nX : y\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\nX: y\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nxx0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
        ("Host: localhost\r\nContent-Length: 0\r\n", ""),
        ("X\0: y\r\nContent-Length: 0\r\n", ""),
        ("X: \0\r\nContent-Length: 0\r\n", ""),
        ("Expect: 200-ok\r\nContent-Length: 0\r\n", ""),
    ] {
        let answer = send(port, (post("bad", fields, body) + &smuggled).as_bytes());
        // nginx may answer the beginning of a request whose chunks turn out not to be any; what
        // follows is never one.
        let early = usize::from(fields == "Transfer-Encoding: chunked\r\n");
        assert!(answer.matches(" 200 ").count() <= early, "{fields:?} {body:?}\n{answer}");
    }
    // nginx writes its log when a request has ended.
    let log = || std::fs::read_to_string(directory.path().join("found.log")).unwrap_or_default();
    wait_for("last request in nginx's log", || (log().matches("200 ").count() >= meant.len()).then_some(()));
    let log = log();
    // Of chunks that turn out not to be any, the beginning may be on its way already, and nginx
    // answers early; such a request breaks off.
    let begun = |line: &&str| !line.ends_with(" POST /v1.0/me/messages/bad chunked");
    let mut found: Vec<&str> = log.lines().filter(begun).filter_map(|line| line.strip_prefix("200 ")).collect();
    // Two that came over different connections may be written in either order.
    found.sort_unstable();
    meant.sort_unstable();
    assert_eq!(found, meant, "what nginx found is not what was meant\n{log}");
    assert!(!log.contains("smuggled"), "{log}");
    drop(gatepost);
    let _entered = runtime.enter();
    drop(sandbox);
}
