use super::*;

fn proxy(text: &str) -> Way {
    let (scheme, address) = text.split_once("://").unwrap();
    let scheme = [ProxyScheme::Http, ProxyScheme::Https, ProxyScheme::Socks5h].into_iter().find(|s| s.name() == scheme);
    Way::Proxy(ProxyServer::parse(scheme.unwrap(), address).unwrap())
}

#[test]
fn answers_are_read_entry_by_entry() {
    let all = "PROXY a.corp:3128; HTTPS B.corp ;SOCKS5 c.corp:1081;socks d.corp;PROXY [fd00::1]:8080; DIRECT";
    let expected = ["http://a.corp:3128", "https://b.corp:443", "socks5h://c.corp:1081", "socks5h://d.corp:1080"];
    let mut expected: Vec<Way> = expected.map(proxy).to_vec();
    expected.extend([proxy("http://[fd00::1]:8080"), Way::Direct]);
    assert_eq!(ways(all).unwrap(), expected);
    assert_eq!(ways("QUIC x:1; SOCKS4 y:1; PROXY; PROXY a b; PROXY x:0; DIRECT").unwrap(), [Way::Direct]);
    for nothing in ["", ";", "GOPHER x:70", "PROXY"] {
        assert!(matches!(ways(nothing), Err(PacError::Answer(_))), "{nothing}");
    }
}

/// The answer of a script that returns `expression` for the SMTP host.
fn answer(expression: &str) -> Result<String, PacError> {
    let script = format!("function FindProxyForURL(url, host) {{ return String({expression}); }}");
    let url = "https://smtp.office365.com:587/";
    script::find_proxy(&script, url, "smtp.office365.com", Duration::from_millis(500))
}

#[test]
fn the_standard_functions() {
    for (expression, expected) in [
        ("url + ' ' + host", "https://smtp.office365.com:587/ smtp.office365.com"),
        ("isPlainHostName('mail')", "true"),
        ("isPlainHostName(host)", "false"),
        ("dnsDomainIs(host, '.office365.com')", "true"),
        ("dnsDomainIs(host, '.office.com')", "false"),
        ("localHostOrDomainIs('smtp', 'smtp.office365.com')", "true"),
        ("localHostOrDomainIs(host, 'smtp.office365.com')", "true"),
        ("localHostOrDomainIs('imap', 'smtp.office365.com')", "false"),
        ("isResolvable('127.0.0.1')", "true"),
        ("isResolvable('name.invalid')", "false"),
        ("dnsResolve('localhost')", "127.0.0.1"),
        ("dnsDomainLevels(host)", "2"),
        ("convert_addr('192.0.2.7')", "3221225991"),
        ("isInNet('10.1.2.3', '10.0.0.0', '255.0.0.0')", "true"),
        ("isInNet('11.1.2.3', '10.0.0.0', '255.0.0.0')", "false"),
        ("isInNet('localhost', '127.0.0.0', '255.0.0.0')", "true"),
        ("isInNet('name.invalid', '0.0.0.0', '0.0.0.0')", "false"),
        ("isInNet('10.1.2.300', '0.0.0.0', '0.0.0.0')", "false"),
        ("shExpMatch(host, '*.office365.com')", "true"),
        ("shExpMatch(host, '*.office365_com')", "false"),
        ("shExpMatch('abc', 'a?c')", "true"),
        ("shExpMatch('a+(c', 'a+(c')", "true"),
        ("shExpMatch('xabc', 'abc')", "false"),
        ("/^\\d+\\.\\d+\\.\\d+\\.\\d+$/.test(myIpAddress())", "true"),
        ("weekdayRange('SUN', 'SAT') && weekdayRange('SUN', 'SAT', 'GMT')", "true"),
        ("dateRange(1, 31) && dateRange('JAN', 'DEC') && dateRange(2000, 2999, 'GMT')", "true"),
        ("dateRange(1, 'JAN', 2000, 31, 'DEC', 2001)", "false"),
        ("dateRange(1, 'JAN', 31, 'DEC') && dateRange('JAN', 2000, 'DEC', 2999)", "true"),
        ("timeRange(0, 0, 0, 23, 59, 59) && timeRange(0, 24, 'GMT')", "true"),
    ] {
        assert_eq!(answer(expression).as_deref(), Ok(expected), "{expression}");
    }
}

/// With a clock that is stopped at Monday, 23 November 2026, 08:30:15.
#[test]
fn ranges_of_time_end_and_go_around() {
    let at = |expression: &str| {
        let clock = "Date = function () { return { getDay: () => 1, getDate: () => 23, getMonth: () => 10, \
                     getFullYear: () => 2026, getHours: () => 8, getMinutes: () => 30, getSeconds: () => 15 }; };";
        let script = format!("{clock} function FindProxyForURL() {{ return String({expression}); }}");
        script::find_proxy(&script, "", "", Duration::from_millis(500)).unwrap() == "true"
    };
    for yes in [
        "weekdayRange('MON')",
        "weekdayRange('SAT', 'TUE')",
        "dateRange(23)",
        "dateRange('NOV')",
        "dateRange(2026)",
        "dateRange(20, 25)",
        "dateRange('OCT', 'JAN')",
        "dateRange(24, 'OCT', 23, 'NOV')",
        "dateRange('NOV', 2026, 'NOV', 2026)",
        "dateRange(23, 'NOV', 2026, 23, 'NOV', 2026)",
        "timeRange(8)",
        "timeRange(8, 9)",
        "timeRange(22, 9)",
        "timeRange(8, 30, 8, 31)",
        "timeRange(8, 30, 15, 8, 30, 15)",
    ] {
        assert!(at(yes), "{yes}");
    }
    for no in [
        "weekdayRange('TUE')",
        "weekdayRange('TUE', 'SUN')",
        "dateRange(24)",
        "dateRange('DEC', 'OCT')",
        "dateRange(2027, 2028)",
        "dateRange(24, 'NOV', 22, 'NOV')",
        "timeRange(9)",
        "timeRange(9, 22)",
        "timeRange(8, 30, 16, 9, 0, 0)",
    ] {
        assert!(!at(no), "{no}");
    }
}

#[test]
fn a_script_is_bounded_in_everything() {
    let begin = std::time::Instant::now();
    assert_eq!(answer("(function () { for (;;); })()"), Err(PacError::TimedOut));
    assert!(begin.elapsed() < Duration::from_secs(5));
    for (expression, words) in [
        ("(function () { var a = []; for (;;) a.push(new Array(100000).fill(a.length)); })()", "out of memory"),
        ("(function f() { return f() + 1; })()", "stack"),
        ("nothing.there", "nothing"),
        ("(function () { throw new Error('x'.repeat(1000) + '\\n'); })()", "xxx"),
    ] {
        match answer(expression) {
            Err(PacError::Script(message)) => {
                assert!(message.contains(words) && message.chars().count() <= 200, "{expression}: {message}");
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
    for script in ["", "function FindProxyForURL() { return 5; }", "var FindProxyForURL = 1;", "function ("] {
        let asked = script::find_proxy(script, "", "", Duration::from_secs(1));
        assert!(matches!(asked, Err(PacError::Script(_))), "{script}: {asked:?}");
    }
}

#[test]
fn nothing_of_this_machine_is_within_reach() {
    for name in ["require", "process", "os", "std", "fetch", "XMLHttpRequest", "Deno", "scriptArgs", "load"] {
        assert_eq!(answer(&format!("typeof {name}")).as_deref(), Ok("undefined"), "{name}");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_has_changed_and_its_answers_are_forgotten() {
    let trust = Arc::new(UpstreamTrust::new(gatepost_config::Trust {
        system_roots: true,
        additional_ca: None,
        destinations: Vec::new(),
    }));
    let pac = Pac::new(trust);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.pac");
    let location = PacLocation::File(path.clone());
    let missing = pac.ways(&location, "host", 993).await;
    assert!(matches!(missing, Err(PacError::Unreadable { .. })), "{missing:?}");

    let write = |answer: &str, age: u64| {
        std::fs::write(&path, format!("function FindProxyForURL() {{ return '{answer}'; }}")).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
    };
    write("PROXY a:1", 1);
    assert_eq!(pac.ways(&location, "host", 993).await.unwrap(), [proxy("http://a:1")]);
    write("PROXY b:1", 1);
    assert_eq!(pac.ways(&location, "host", 993).await.unwrap(), [proxy("http://a:1")], "nothing tells of a change");
    write("DIRECT", 2);
    assert_eq!(pac.ways(&location, "host", 993).await.unwrap(), [Way::Direct]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(pac.ways(&location, "host", 993).await.unwrap(), [Way::Direct], "an old script is better than none");
}

#[tokio::test]
async fn a_web_server_inside_is_asked_straight_and_bounded() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let trust = Arc::new(UpstreamTrust::new(gatepost_config::Trust {
        system_roots: true,
        additional_ca: None,
        destinations: Vec::new(),
    }));
    let script = "function FindProxyForURL() { return 'PROXY a:1'; }";
    let answer =
        |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (answer, expected) in [
        (answer("200 OK", script), Ok(())),
        (answer("404 Not Found", script), Err("answered 404")),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n".into(),
            Err("answered 302"),
        ),
        (answer("200 OK", &format!("{script}{}", " ".repeat(1024 * 1024))), Err("longer than 1 MiB")),
        ("SSH-2.0\r\n".into(), Err("")),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/proxy.pac", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _read = socket.read(&mut [0; 2_048]).await;
            let _gone = socket.write_all(answer.as_bytes()).await;
        });
        let location = PacLocation::Url(url.parse().unwrap());
        match (Pac::new(Arc::clone(&trust)).ways(&location, "host", 993).await, expected) {
            (Ok(ways), Ok(())) => assert_eq!(ways, [proxy("http://a:1")]),
            (Err(PacError::Unreadable { location, reason }), Err(words)) => {
                assert!(location == url && reason.contains(words), "{location}: {reason}");
            }
            (other, expected) => panic!("{expected:?}: {other:?}"),
        }
    }
}
