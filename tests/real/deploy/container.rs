//! The container image: its build file, its content, and the program within it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::directory::Directory;
use crate::common::port::free_port;
use crate::deploy::support::{Server, repository, said, succeed, text, tool, yaml};

#[test]
#[ignore = "needs hadolint"]
fn hadolint_finds_nothing_wrong_with_the_dockerfile() {
    assert_eq!(succeed(tool("hadolint"), &["deploy/Dockerfile"]), "");
}

#[test]
#[ignore = "needs Python's compose-spec"]
fn the_compose_file_is_one() {
    let check = "import compose_spec, sys; compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()).validate()";
    succeed(tool("python"), &["-c", check, "deploy/compose.yaml"]);
}

#[test]
fn the_compose_file_confines_the_service() {
    let compose = yaml(&text("deploy/compose.yaml"));
    let service = &compose["services"]["gatepost"];
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
    assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]));
    assert_eq!(service["user"], "65532:65532");
    assert!(text("deploy/Dockerfile").contains("\nUSER 65532:65532\n"));
    let source = |list: &str| service[list].as_array().unwrap().clone();
    for secret in source("secrets") {
        assert!(compose["secrets"][secret.as_str().unwrap()]["file"].is_string(), "{secret}");
    }
    for config in source("configs") {
        assert!(compose["configs"][config["source"].as_str().unwrap()]["file"].is_string(), "{config}");
    }
}

/// Octets of all files below `path`; none of them may give its user more rights.
fn size(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            assert_eq!(about.permissions().mode() & 0o6000, 0, "{}", path.display());
            if about.is_dir() { size(&path) } else { about.len() }
        })
        .sum()
}

/// The image's content, with the program that is tested.
fn image(directory: &Directory) -> std::path::PathBuf {
    let root = directory.path().join("image");
    succeed(repository("deploy/image-root"), &[env!("CARGO_BIN_EXE_gatepost"), root.to_str().unwrap()]);
    root
}

#[test]
#[ignore = "needs root"]
fn the_image_is_small_and_has_no_shell() {
    let directory = Directory::new();
    let root = image(&directory);
    let program = root.join("usr/local/bin/gatepost").metadata().unwrap().len();
    // The release build of the program has 16 MB at most, the image 25 MiB.
    assert!(size(&root) - program < (25 << 20) - 16_000_000);
    for shell in ["bin/sh", "usr/bin/sh", "bin/bash"] {
        assert!(!root.join(shell).exists());
    }
    let state = root.join("var/lib/gatepost").metadata().unwrap();
    assert_eq!((state.uid(), state.mode() & 0o777), (65532, 0o700));
}

#[test]
#[ignore = "needs root and bubblewrap"]
fn the_image_serves_without_rights_on_a_root_that_is_read_only() {
    let directory = Directory::new();
    let root = image(&directory);
    let port = free_port();
    let configuration = directory.write(
        "etc/proxy.yaml",
        format!(
            "listeners: {{pop3: {{bind: '127.0.0.1:{port}', upstream: '127.0.0.1:9'}}}}\n\
             microsoft: {{tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}}\n\
             state: {{directory: /var/lib/gatepost}}\nforward_proxy: none\n"
        ),
    );
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    // What a container engine does with `--read-only --cap-drop=ALL
    // --security-opt=no-new-privileges`.
    let mut sandbox = Command::new("bwrap");
    sandbox
        .args("--unshare-all --share-net --unshare-user --uid 65532 --gid 65532 --cap-drop ALL".split(' '))
        .args("--die-with-parent --new-session --proc /proc --dev /dev --ro-bind".split(' '))
        .arg(&root)
        .args(["/", "--ro-bind"])
        .arg(configuration.parent().unwrap())
        .arg("/etc/gatepost")
        .args("--perms 0700 --tmpfs /var/lib/gatepost --bind".split(' '))
        .arg(&run)
        .arg("/run/gatepost")
        .args("--clearenv --setenv RUNTIME_DIRECTORY /run/gatepost".split(' '))
        .args("/usr/local/bin/gatepost run --config /etc/gatepost/proxy.yaml --log-format json".split(' '))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = Server(sandbox.spawn().expect("start bwrap; `tests/run` installs it"));
    let mut log = BufReader::new(server.0.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("\"message\":\"ready\"") {
        assert_ne!(log.read_line(&mut lines).unwrap(), 0, "it ended:\n{lines}");
    }
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut greeting = [0; 3];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"+OK");

    // The health check of the image and the probes of the pods.
    let socket = run.join("gatepost.sock");
    let status = |socket: &Path| {
        crate::deploy::support::run(env!("CARGO_BIN_EXE_gatepost"), &["status", "--socket", socket.to_str().unwrap()])
    };
    assert!(text("deploy/Dockerfile").contains(r#""status", "--socket", "/run/gatepost/gatepost.sock"]"#));
    assert!(said(&status(&socket)).contains(", healthy"), "{}", said(&status(&socket)));
    assert_eq!(status(&run.join("nobody")).status.code(), Some(1));
}
