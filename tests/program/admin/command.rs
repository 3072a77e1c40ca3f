//! `gatepost status`.

use std::process::{Command, Stdio};

use crate::admin::http::Browser;
use crate::admin::support::{ALICE, ALICES, World, link};
use crate::common::directory::Directory;

async fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("status").args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_running_service_is_shown_to_people_and_to_programs() {
    let world = World::new().await;
    let _alice = world.imap(ALICE, ALICES).await.unwrap();
    assert!(world.imap(ALICE, "wrong").await.is_err());
    let socket = world.socket.to_str().unwrap();
    let (code, text, _) = status(&["--socket", socket]).await;
    assert_eq!(code, Some(0), "{text}");
    for shown in [
        "needs attention (1)",
        "anna@contoso.example needs a sign-in",
        "imap",
        ALICE,
        "59 min left",
        "wrong-password",
        "Device owner:",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("/enter?"), "no key to the page where it may be kept: {text}");
    let (code, text, _) = status(&["--socket", socket, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["sessions"][0]["account"]), (Some(0), &ALICE.into()));
}

#[tokio::test]
async fn a_probe_learns_whether_new_connections_are_served() {
    let world = World::new().await;
    let socket = world.socket.to_str().unwrap();
    assert_eq!(status(&["--ready", "--socket", socket]).await, (Some(0), "ready\n".into(), String::new()));
    let _session = world.imap(ALICE, ALICES).await.unwrap();
    world.stop.drain();
    let (code, _, told) = until_not_ready(socket).await;
    assert_eq!((code, told.as_str()), (Some(1), "gatepost: not ready: the service is stopping\n"));
    let (code, text, _) = status(&["--socket", socket]).await;
    assert!(code == Some(0) && text.contains("stopping: "), "it still tells how it stands: {text}");
}

/// The word to drain takes a moment to arrive.
async fn until_not_ready(socket: &str) -> (Option<i32>, String, String) {
    loop {
        let answer = status(&["--ready", "--socket", socket]).await;
        if answer.0 != Some(0) {
            return answer;
        }
    }
}

#[tokio::test]
async fn the_link_opens_the_page_once() {
    let world = World::new().await;
    let (link, secret) = link(&world).await;
    let target = format!("/enter?link={secret}");
    assert_eq!(
        link,
        format!("http://127.0.0.1:{}{target}", world.page.port()),
        "by address: nobody else answers there"
    );
    let browser = Browser::new(world.page);
    // Whoever only looks where it leads does not use it up.
    for _ in 0..2 {
        let answer = browser.get(&target).await;
        assert_eq!((answer.status, answer.field("set-cookie")), (200, None));
    }
    let entered = browser.post("/enter", &[("link", &secret)]).await;
    assert_eq!(entered.field("location"), Some(&*browser.at("/")));
    assert_eq!(browser.visit("/").await.status, 200);
    let answer = Browser::new(world.page).post("/enter", &[("link", &secret)]).await;
    assert!(answer.status == 403 && answer.body.contains("opened before"), "{answer:?}");
}

#[tokio::test]
async fn that_no_service_runs_is_said_in_a_sentence() {
    let directory = Directory::new();
    let socket = directory.file("gatepost.sock");
    let (code, _, told) = status(&["--socket", socket.to_str().unwrap()]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("no service is running here") && told.contains("gatepost run"), "{told}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_socket_is_its_owners_and_leaves_with_the_service() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut world = World::new().await;
    let mode = std::fs::metadata(&world.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.stop.drain();
    (&mut world.serving).await.unwrap();
    assert!(!world.socket.exists());
}
