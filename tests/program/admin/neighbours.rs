//! Other users of the same machine: what they may not get by listening where a browser could look,
//! nor by a page on another port.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use gatepost::daemon::Inherited;

use crate::admin::http::{Browser, raw};
use crate::admin::support::{ANNA, TOKEN, World};

/// True where the machine has an IPv6 loopback address.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[tokio::test]
async fn the_page_has_both_loopback_addresses() {
    let world = World::new().await;
    let port = world.page.port();
    for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
        if address.is_ipv4() || has_ipv6() {
            let answer = raw(address, &format!("GET /livez HTTP/1.0\r\nHost: {address}\r\n\r\n")).await;
            assert_eq!(answer.status, 200, "{address}");
        }
    }
}

#[tokio::test]
async fn the_service_does_not_start_where_another_process_has_the_other_loopback_address() {
    if !has_ipv6() {
        return;
    }
    for (theirs, ours) in [("[::1]", "127.0.0.1"), ("127.0.0.1", "[::1]")] {
        let taken = TcpListener::bind(format!("{theirs}:0")).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = World::start(&format!("{ours}:{port}"), "").await.err().expect("it started");
        let told = error.to_string();
        assert!(told.contains(&format!("`{theirs}:{port}`")), "{told}");
        assert!(told.contains("another program") && told.contains("`admin.bind`"), "{told}");
    }
}

#[tokio::test]
async fn no_redirect_leads_to_a_name_that_another_process_may_answer() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = visitor.fill_in("/sign-in", &[("login", ANNA), ("way", "browser")]).await;
    let page = page.field("location").unwrap().to_owned();
    let cookies = visitor.cookie_field(&page);
    let port = world.page.port();
    let link = format!("/enter?link={}", "x".repeat(43));
    let mut redirects = 0;
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        for target in
            ["/", "/login", "/login?a=b", &link, "/status.json", "/live", "/?code=c&state=s", "/sign-in/1", &page]
        {
            for cookie in ["", &*cookies] {
                let head = format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n{cookie}Connection: close\r\n\r\n");
                let answer = raw(world.page, &head).await;
                if let Some(location) = answer.field("location") {
                    let by_address = location.starts_with(&format!("http://127.0.0.1:{port}/"));
                    assert!(by_address || (location.starts_with('/') && !location.starts_with("//")), "{location}");
                    redirects += 1;
                }
            }
        }
    }
    assert!(redirects > 10, "{redirects}");
}

#[tokio::test]
async fn a_browser_sends_the_cookie_to_the_path_of_its_session_only() {
    let world = World::new().await;
    let mut paths = Vec::new();
    let mut fields = Vec::new();
    for _ in 0..2 {
        let answer = Browser::new(world.page).post("/login", &[("token", TOKEN)]).await;
        let cookie = answer.field("set-cookie").unwrap().to_owned();
        let path = cookie.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap().to_owned();
        assert!(path.len() > 22 && path.starts_with("/s/"), "{cookie}");
        assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
        assert_eq!(answer.field("location"), Some(&*format!("{path}/")));
        fields.push(cookie.split(';').next().unwrap().to_owned());
        paths.push(path);
    }
    assert_ne!(paths[0], paths[1]);
    let port = world.page.port();
    let ask = async |target: &str, cookie: &str| {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        raw(world.page, &head).await.status
    };
    assert_eq!(ask(&format!("{}/status.json", paths[0]), &fields[0]).await, 200);
    // Another path has no session, whatever cookie comes: not even a browser that was tricked sends
    // it to good purpose.
    for target in [
        "/",
        "/status.json",
        "/live",
        "/s/",
        "/s//",
        "/s/x/status.json",
        "/s/status.json",
        &format!("{}/status.json", paths[1]),
    ] {
        assert_ne!(ask(target, &fields[0]).await, 200, "{target}");
    }
    assert_ne!(ask(&format!("{}/status.json", paths[0]), "").await, 200, "the path is no key");
    // A page on another port may set cookies of the same name; they shut nobody out.
    let tossed = format!("gatepost=evil; {}; gatepost=more", fields[0]);
    assert_eq!(ask(&format!("{}/status.json", paths[0]), &tossed).await, 200);
}

#[tokio::test]
async fn a_socket_that_systemd_opened_is_completed_to_both_addresses_or_refused() {
    if !has_ipv6() {
        return;
    }
    let open = |address: &str| TcpListener::bind(address).unwrap();
    // Both are handed over.
    let v4 = open("127.0.0.1:0");
    let port = v4.local_addr().unwrap().port();
    let v6 = open(&format!("[::1]:{port}"));
    let bind = format!("127.0.0.1:{port}");
    let mut inherited = Inherited::default();
    inherited.add_kept(v4);
    inherited.add_kept(v6);
    assert!(World::start_with(&bind, "", &mut inherited).await.is_ok());
    // One is, and the other one is free, or is not.
    for taken in [false, true] {
        let v4 = open("127.0.0.1:0");
        let port = v4.local_addr().unwrap().port();
        let other = taken.then(|| open(&format!("[::1]:{port}")));
        let mut inherited = Inherited::default();
        inherited.add_kept(v4);
        let started = World::start_with(&format!("127.0.0.1:{port}"), "", &mut inherited).await;
        assert_eq!(started.is_ok(), !taken);
        drop(other);
    }
}
