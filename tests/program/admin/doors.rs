//! Who gets in, and who does not.

use crate::admin::http::{Browser, raw};
use crate::admin::support::{ALICE, ALICES, ANNA, TOKEN, World};

/// Ways to write a path that means another one to somebody.
fn disguises(path: &str) -> Vec<String> {
    let bare = path.trim_start_matches('/');
    let mut disguises = vec![
        path.to_owned(),
        format!("/{path}"),
        format!("/.{path}"),
        format!("/livez/..{path}"),
        format!("/livez/%2e%2e{path}"),
        format!("/livez/..%2f{bare}"),
        format!("/livez;{path}"),
        format!("/livez{path}"),
        format!("/livez?{path}"),
        format!("/livez%00{path}"),
        format!("/%2f{bare}"),
        format!("/%2e{path}"),
        format!("/metrics/..{path}"),
        format!("/metrics%2f..{path}"),
        format!("/style.css/..{path}"),
        format!("/login{path}"),
        format!("/login/..{path}"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}%20"),
        format!("{path}%00"),
        format!("{path};a=b"),
        format!("{path}.css"),
        format!("{path}?livez"),
        format!("{path}#/livez"),
        format!("{path}?refresh"),
        format!("\\{bare}"),
        path.to_uppercase(),
        format!("http://localhost{path}"),
    ];
    disguises.extend(path.rfind('/').map(|at| format!("{}%2f{}", &path[..at], &path[at + 1..])));
    disguises
}

#[tokio::test]
async fn no_disguise_of_a_path_and_no_field_opens_what_is_closed() {
    let world = World::new().await;
    let _alice = world.imap(ALICE, ALICES).await.unwrap();
    let port = world.page.port();
    let mut cases = Vec::new();
    // The path of a session is in the history of a browser: without the cookie it opens nothing.
    let base = world.visitor().await.at("");
    for path in [
        "/",
        "/status.json",
        "/live",
        "/metrics",
        "/sessions/end",
        "/passwords/add",
        "/sign-in",
        "/sign-in/1",
        "/reload",
        "/logout",
    ] {
        let mut targets = disguises(&format!("{base}{path}"));
        if path != "/metrics" {
            targets.extend(disguises(path));
        }
        cases.extend(targets.into_iter().map(|target| ("GET".to_owned(), target, String::new())));
    }
    for method in ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "G%45T", "STATUS"] {
        for path in ["/status.json", "/live", "/sessions/end"] {
            cases.push((method.to_owned(), format!("{base}{path}"), String::new()));
        }
    }
    for field in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "X-Original-URL: /livez",
        "X-Rewrite-URL: /livez",
        "X-Forwarded-User: admin",
        "X-Auth-Request-User: admin",
        "Forwarded: for=127.0.0.1;host=localhost",
        "User-Agent: kube-probe/1.33",
        "User-Agent: GoogleHC/1.0",
        "User-Agent: Prometheus/3.0",
        "Authorization: Basic YWRtaW46YWRtaW4=",
        "Authorization: Bearer ",
        "Authorization: Bearer gatepost",
        "Cookie: gatepost=",
        "Cookie: gatepost=admin",
        "Cookie: gatepost=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "X-HTTP-Method-Override: GET",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Accept: application/json",
        "Transfer-Encoding: chunked",
    ] {
        for path in ["/status.json", "/live", "/"] {
            cases.push(("GET".to_owned(), format!("{base}{path}"), format!("{field}\r\n")));
        }
    }
    assert!(cases.len() >= 200, "{}", cases.len());
    for (method, target, field) in cases {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{field}Connection: close\r\n\r\n");
        let answer = raw(world.page, &request).await;
        assert!(!answer.body.contains("contoso.example"), "{request}{answer:?}");
        assert!(!answer.body.contains("name=\"form\""), "{request}{answer:?}");
        let open = ["/livez?", "/login", "/metrics"].iter().any(|open| target.starts_with(open));
        assert!(answer.status != 200 || open, "{request}{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_answered_nowhere() {
    let world = World::new().await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/login", "/style.css", "/nothing"] {
        for host in ["Host: evil.example\r\n", "", "Host: localhost\r\nHost: evil.example\r\n", "Host: 0.0.0.0\r\n"] {
            let answer = raw(world.page, &format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await;
            assert!(matches!(answer.status, 400 | 421), "{path} {host}: {answer:?}");
            assert!(answer.status == 400 || answer.body.contains("admin.hosts"), "{answer:?}");
        }
    }
    let foreign = "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(world.page, foreign).await.status, 421);
    let port = world.page.port();
    let by_name = format!("GET /login?a HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    let answer = raw(world.page, &by_name).await;
    let elsewhere = format!("http://127.0.0.1:{port}/login?a");
    assert_eq!((answer.status, answer.field("location")), (303, Some(&*elsewhere)), "one name for one set of cookies");
}

#[tokio::test]
async fn only_forms_of_the_page_change_anything() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut alice = world.imap(ALICE, ALICES).await.unwrap();
    let page = visitor.visit("/").await;
    let port = world.page.port();
    let own = format!("Origin: http://127.0.0.1:{port}\r\n");
    let end = visitor.at("/sessions/end");
    let id = page.body.split_once("name=\"id\" value=\"").unwrap().1.split_once('"').unwrap().0;
    let token = page.form_token(&end);
    let other_token = page.form_token(&visitor.at("/logout"));
    let own_form = [("id", id), ("form", &token)];
    let heads = [
        String::new(),
        "Origin: null\r\n".to_owned(),
        "Origin: http://evil.example\r\n".to_owned(),
        format!("Origin: http://localhost:{port}\r\n"),
        format!("Origin: http://127.0.0.1:{}\r\n", port ^ 1),
        format!("Origin: https://127.0.0.1:{port}\r\n"),
        format!("{own}{own}"),
        format!("{own}Sec-Fetch-Site: cross-site\r\n"),
        format!("{own}Sec-Fetch-Site: same-site\r\n"),
        format!("{own}Sec-Fetch-Site: none\r\n"),
        format!("Referer: http://127.0.0.1:{port}/\r\n"),
    ];
    for head in heads {
        let answer = visitor.post_with(&end, &own_form, &head).await;
        assert_eq!(answer.status, 403, "{head}: {answer:?}");
    }
    for fields in [
        &[("id", id)][..],
        &[("id", id), ("form", "")],
        &[("id", id), ("form", &other_token)],
        &[("id", id), ("form", TOKEN)],
        &[("id", id), ("FORM", &token)],
    ] {
        let answer = visitor.post(&end, fields).await;
        assert_eq!(answer.status, 403, "{fields:?}: {answer:?}");
    }
    // A GET changes nothing, and neither does a form in the query.
    let query = format!("{end}?id={id}&form={token}");
    assert_eq!(visitor.get(&query).await.status, 405);
    assert_eq!(visitor.post(&query, &[]).await.status, 403);
    // A form of one session in the browser of another.
    let other = world.visitor().await;
    let answer = other.post(&other.at("/sessions/end"), &own_form).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    // Without a session.
    let answer = Browser::new(world.page).post(&end, &own_form).await;
    assert_eq!((answer.status, answer.field("location")), (303, Some("/login")));
    assert!(alice.ask("NOOP").await.starts_with("a OK"), "her session goes on");

    let answer = visitor.post(&end, &own_form).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(alice.ask("NOOP").await, "", "her session has ended");
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_more_than_it_needs() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    for (target, status) in [
        (visitor.at("/"), 200),
        (visitor.at("/status.json"), 200),
        ("/style.css".to_owned(), 200),
        ("/nothing".to_owned(), 404),
        ("/livez".to_owned(), 200),
        (visitor.at("/sessions/end"), 405),
    ] {
        let answer = visitor.get(&target).await;
        assert_eq!(answer.status, status, "{target}");
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{target} {name}");
        }
        assert!(["no-referrer", "same-origin"].contains(&answer.field("referrer-policy").unwrap()));
        assert!(!answer.head.to_lowercase().contains("access-control"), "{target}: {}", answer.head);
        // Nothing inline, which the policy would not let run, and nothing from elsewhere.
        for foreign in ["style=\"", "<style", "onclick", "javascript:", "src=\"http", "<script>"] {
            assert!(!answer.body.contains(foreign), "{target}: {foreign}");
        }
    }
}

#[tokio::test]
async fn tries_to_guess_the_token_are_counted_and_the_right_one_opens_the_page() {
    let world = World::new().await;
    let guesser = Browser::new(world.page);
    for guess in ["", "admin", ANNA, "3xhEwCwvyTtjNnH0gXhTQd1q"] {
        let answer = guesser.post("/login", &[("token", guess)]).await;
        assert_eq!(answer.status, 403, "{guess}");
        assert!(answer.field("set-cookie").is_none());
    }
    let visitor = world.visitor().await;
    assert_eq!(visitor.visit("/").await.status, 200);
    for _ in 0..6 {
        assert_eq!(guesser.post("/login", &[("token", "again")]).await.status, 403);
    }
    assert_eq!(guesser.post("/login", &[("token", TOKEN)]).await.status, 429);
    assert_eq!(visitor.visit("/").await.status, 200, "who is in stays in");
    let answer = visitor.fill_in("/logout", &[]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(visitor.visit("/").await.field("location"), Some("/login"));
}
