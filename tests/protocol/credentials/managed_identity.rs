//! Managed identities: IMDS, App Service, Azure Arc, and what can be wrong with each.

use std::net::SocketAddr;
use std::sync::Arc;

use gatepost_oauth::fetch_error::FetchError;
use gatepost_oauth::managed_identity::{IdentityError, ManagedIdentities};
use gatepost_sandbox::{Attempts, Sandbox};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::again::again;
use crate::credentials::support::{Setup, World};

fn identity(who: &str) -> Setup {
    Setup { microsoft: format!("  managed_identity: {who}\n"), ..Setup::bare() }
}

fn given(sandbox: &Sandbox, who: &str) -> Attempts {
    sandbox.counters().token_requests_of("managed_identity", who)
}

async fn identity_error(world: &World) -> IdentityError {
    match world.error().await {
        FetchError::Identity(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn imds_gives_tokens_to_the_system_and_to_an_assigned_identity() {
    for (who, name) in [("system", "system"), ("'{assigned}'", "5a2e8f31-6c4d-4b7a-9e10-3f2c8d7b6a59")] {
        // A proxy that nobody could reach: nothing goes there.
        let sections = "forward_proxy: {url: 'http://127.0.0.1:1'}";
        let world = Setup { sections, ..identity(who) }.start().await;
        assert_eq!(world.ask.application.client_id, name);
        world.granted().await;
        assert_eq!(given(&world.sandbox, name), Attempts { succeeded: 1, refused: 0 });
        assert_eq!(world.sandbox.counters().http_requests, 0, "Entra itself is not asked");
    }
}

/// The test above once more, in a process whose environment names a proxy for everything.
#[test]
fn the_environments_proxy_is_not_asked() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = again(module_path!(), "imds_gives_tokens_to_the_system_and_to_an_assigned_identity");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, &address);
    }
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected to the proxy");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let world = identity("system").start().await;
    world.sandbox.fail_identity_with(&[404]);
    world.granted().await;
    for status in [400, 401, 403] {
        world.sandbox.fail_identity_with(&[status, 200]);
        let expected = IdentityError::Refused { status, error: "out_of_order".into() };
        assert_eq!(identity_error(&world).await, expected);
        world.sandbox.fail_identity_with(&[]);
    }
}

#[tokio::test]
async fn an_identity_that_is_not_assigned_gets_nothing() {
    let world = identity("00000000-0000-0000-0000-000000000001").start().await;
    let nothing = IdentityError::Refused { status: 400, error: "identity_not_found".into() };
    assert_eq!(identity_error(&world).await, nothing);
    let world = identity("system").start().await;
    world.sandbox.set_identity_absent(true);
    assert_eq!(identity_error(&world).await, nothing);
    world.sandbox.set_identity_absent(false);
    world.granted().await;
}

fn app_service(header: &str) -> Setup {
    let mut setup = identity("system");
    setup.variables =
        vec![("IDENTITY_ENDPOINT", "http://{identity}/msi/token".to_owned()), ("IDENTITY_HEADER", header.to_owned())];
    setup
}

#[tokio::test]
async fn app_service_wants_its_header() {
    let world = app_service("{header}").start().await;
    let token = world.source.fetch(&world.ask, true).await.unwrap();
    // It says only when the token ends.
    assert!((3_590..=3_600).contains(&token.lifetime().as_secs()), "{:?}", token.lifetime());
    assert_eq!(given(&world.sandbox, "system"), Attempts { succeeded: 1, refused: 0 });
    let world = app_service("the header of somebody else").start().await;
    let unauthorized = IdentityError::Refused { status: 401, error: "Unauthorized".into() };
    assert_eq!(identity_error(&world).await, unauthorized);
}

fn arc() -> Setup {
    let mut setup = identity("system");
    setup.variables = vec![
        ("IDENTITY_ENDPOINT", "http://{identity}/metadata/identity/oauth2/token".to_owned()),
        ("IMDS_ENDPOINT", "http://{identity}".to_owned()),
    ];
    setup
}

#[tokio::test]
async fn azure_arc_wants_a_key_from_its_own_directory() {
    let world = arc().start().await;
    world.sandbox.set_arc_keys(world.directory.path());
    world.granted().await;
    world.granted().await;
    assert_eq!(given(&world.sandbox, "system"), Attempts { succeeded: 2, refused: 0 });
    // A challenge that names a file elsewhere is not followed.
    let elsewhere = world.directory.file("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.sandbox.set_arc_keys(&elsewhere);
    assert!(matches!(identity_error(&world).await, IdentityError::NoKey(why) if why.contains("outside")));
    assert_eq!(given(&world.sandbox, "system"), Attempts { succeeded: 2, refused: 0 });
}

/// Answers every connection with the same octets.
async fn serve(reply: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _written = stream.write_all(reply.as_bytes()).await;
        }
    });
    address
}

async fn asked_of(address: SocketAddr) -> IdentityError {
    let mut world = identity("system").start().await;
    let imds = format!("http://{address}/metadata/identity/oauth2/token");
    let elsewhere = ManagedIdentities::elsewhere(&imds, world.directory.path());
    let source = Arc::into_inner(world.source).unwrap();
    world.source = Arc::new(source.with_identities(elsewhere));
    identity_error(&world).await
}

#[tokio::test]
async fn whatever_else_answers_is_not_believed() {
    let reply = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let redirect = serve(reply("302 Found", "Location: http://169.254.169.254/elsewhere\r\n", "")).await;
    assert_eq!(asked_of(redirect).await, IdentityError::Unclear { status: 302, why: "not JSON" });
    let portal = serve(reply("200 OK", "", "<html>Please log in")).await;
    assert_eq!(asked_of(portal).await, IdentityError::Unclear { status: 200, why: "not JSON" });
    let long = serve(reply("200 OK", "", &" ".repeat(64 * 1024 + 1))).await;
    assert!(matches!(asked_of(long).await, IdentityError::Unreachable(error) if error.detail.contains("64 KiB")));
    // Nobody at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    assert!(matches!(asked_of(gone).await, IdentityError::Unreachable(_)));
}

#[tokio::test]
async fn a_platforms_variables_cannot_lead_elsewhere() {
    let both = [("IDENTITY_HEADER", "x"), ("IMDS_ENDPOINT", "http://127.0.0.1")];
    for (url, with, words) in [
        ("https://127.0.0.1/msi/token", &both[..1], "is not an `http` address"),
        ("http://evil.example/msi/token", &both[..1], "does not lead to this machine or a private network"),
        ("http://203.0.113.7/msi/token", &both[..1], "does not lead to this machine or a private network"),
        ("http://10.0.0.7/metadata/identity/oauth2/token", &both[1..], "does not lead to this machine"),
        ("http://127.0.0.1:40342/x", &[], "comes without `IDENTITY_HEADER` (App Service) or `IMDS_ENDPOINT`"),
    ] {
        let mut setup = identity("system");
        setup.variables = vec![("IDENTITY_ENDPOINT", url.to_owned())];
        setup.variables.extend(with.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let Err(problems) = setup.try_start().await else { panic!("{url} was accepted") };
        assert!(problems.to_string().contains(words), "{problems}");
    }
    let mut setup = arc();
    setup.microsoft = "  managed_identity: 00000000-0000-0000-0000-000000000001\n".to_owned();
    let Err(problems) = setup.try_start().await else { panic!("accepted") };
    assert!(problems.to_string().contains("Azure Arc knows no identity but the system's"), "{problems}");
}
