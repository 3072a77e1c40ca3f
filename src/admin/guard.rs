//! Checks that apply to every request to the page: the host name is ours, and posts come from our
//! own forms. It also sets header fields that keep a browser from doing more than the page needs.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};

use super::answer::plain;
use gatepost_config::Admin;
use gatepost_net::listen;

/// Scripts, styles and images come from the page itself. The browser may load nothing else, and may
/// not put the page into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Most cookies of one name that are checked.
const COOKIES: usize = 16;

/// The names and the scheme under which the page is reached.
#[derive(Clone, Debug)]
pub(super) struct HostPolicy {
    /// In lower case; addresses without brackets.
    names: Vec<String>,
    /// Whether browsers use TLS.
    pub(super) tls: bool,
    /// Whether both 127.0.0.1 and ::1 are ours, so that a browser that resolves `localhost` comes
    /// here. It is the only name that Entra redirects to without TLS.
    pub(super) localhost: bool,
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// The host name is not ours (DNS rebinding), or there is none.
    Name,
    /// The post comes from another page, or not from a browser.
    Origin,
}

impl HostPolicy {
    pub(super) fn new(admin: &Admin) -> Self {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
            .into_iter()
            .map(str::to_owned)
            .chain(admin.hosts.iter().cloned())
            .collect();
        let addresses = admin.bind.iter().map(|address| address.ip()).filter(|address| !address.is_unspecified());
        names.extend(addresses.map(|address| address.to_string()));
        let tls = admin.tls.is_some();
        let localhost = !tls && admin.bind.iter().any(|&address| listen::other_loopback(address).is_some());
        Self { names, tls, localhost }
    }

    /// Returns the host that the request names, and the port if it is named.
    pub(super) fn authority<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Authority<'a>, Rejected> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Rejected::Name) };
        let host = self.known(host.to_str().map_err(|_| Rejected::Name)?).ok_or(Rejected::Name)?;
        // RFC 9112 §3.2.2: a request target in absolute form overrides the field. Here both must be
        // ours.
        match uri.authority() {
            Some(authority) if self.known(authority.as_str()).is_none() => Err(Rejected::Name),
            _ => Ok(host),
        }
    }

    fn known<'a>(&self, text: &'a str) -> Option<Authority<'a>> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').and_then(|(host, rest)| match rest {
                "" => Some((host, None)),
                rest => Some((host, Some(rest.strip_prefix(':')?))),
            })?,
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        // Any port is allowed, because it may have been forwarded. A page cannot forge the name.
        let port = port.map(str::parse::<u16>).transpose().ok()?;
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host)).then_some(Authority { text, host, port })
    }

    /// Checks that a post comes from a form of the page itself, in the same browser and under the
    /// same name.
    pub(super) fn check_post(
        &self,
        method: &Method,
        authority: Authority<'_>,
        headers: &HeaderMap,
    ) -> Result<(), Rejected> {
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let own = format!("{}://{}", if self.tls { "https" } else { "http" }, authority.text);
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let is_own = |origin: &HeaderValue| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
        let (Some(true), None) = (origins.next().map(is_own), origins.next()) else { return Err(Rejected::Origin) };
        // Browsers that know these fields report the origin, whatever the page says.
        let mut sites = headers.get_all("sec-fetch-site").iter();
        match (sites.next(), sites.next()) {
            (None, None) => Ok(()),
            (Some(site), None) if site == "same-origin" => Ok(()),
            _ => Err(Rejected::Origin),
        }
    }
}

/// The host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    text: &'a str,
    /// The host, without brackets.
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl Authority<'_> {
    /// Returns the address to which a browser returns that has come by a loopback address; `None`
    /// for one that has come by another name.
    pub(super) fn loopback(&self) -> Option<String> {
        ["127.0.0.1", "::1"].contains(&self.host).then(|| format!("http://{}", self.text))
    }
}

impl Rejected {
    /// Returns the answer, which tells a person what to do.
    pub(super) fn answer(self) -> Response<Body> {
        let (status, text) = match self {
            Self::Name => (
                StatusCode::MISDIRECTED_REQUEST,
                "This name is not known to be Gatepost's. Use http://127.0.0.1 and the port, or have the Gatepost admin add the \
                 name to `admin.hosts`.\n",
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "This did not come from a form of Gatepost's own page. Open the page again, and fill in the form there.\n",
            ),
        };
        plain(status, text)
    }
}

/// Adds the header fields that every answer has.
pub(super) fn protect(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    let fields = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Neither value tells other origins anything. With `no-referrer`, a browser would also hide the
    // origin of our own forms (Fetch, "append a request Origin header"), so pages with forms set
    // their own value.
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

/// Returns the values of a cookie. There may be several, because a page on another port can set
/// cookies of any name for this host.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(of, _)| *of == name)
        .map(|(_, value)| value)
        .take(COOKIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(yaml_hosts: &[&str], bind: &str, tls: bool) -> HostPolicy {
        let identity = gatepost_config::Identity { certificate: "c".into(), private_key: "k".into() };
        HostPolicy::new(&Admin {
            bind: vec![bind.parse().unwrap()],
            tls: tls.then_some(identity),
            hosts: yaml_hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Admin::default()
        })
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn only_names_of_our_own_are_answered() {
        let local = reach(&["gatepost.corp.example"], "127.0.0.1:9180", false);
        let uri = Uri::from_static("/");
        for host in [
            "localhost:9180",
            "LOCALHOST",
            "127.0.0.1:9180",
            "[::1]:9180",
            "[::1]",
            "localhost:8080",
            "Gatepost.Corp.example",
        ] {
            assert!(local.authority(&uri, &headers(&[("host", host)])).is_ok(), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:9180",
            "localhost@evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "[::1",
            "[::1]evil.example",
            "::1",
            "0.0.0.0:9180",
            "127.0.0.2:9180",
            "localhost.",
            "2130706433",
            "0x7f.1",
            "localhost, evil.example",
            "localhost evil.example",
            "localhost/evil.example",
        ] {
            assert_eq!(local.authority(&uri, &headers(&[("host", host)])), Err(Rejected::Name), "{host}");
        }
        assert_eq!(local.authority(&uri, &headers(&[])), Err(Rejected::Name));
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert_eq!(local.authority(&uri, &twice), Err(Rejected::Name));
        let ours = headers(&[("host", "localhost")]);
        assert_eq!(local.authority(&Uri::from_static("http://evil.example/"), &ours), Err(Rejected::Name));
        assert!(local.authority(&Uri::from_static("http://localhost/"), &ours).is_ok());
    }

    #[test]
    fn only_our_own_forms_may_post() {
        let (plain, secure) =
            (reach(&[], "127.0.0.1:9180", false), reach(&["gatepost.corp.example"], "0.0.0.0:9180", true));
        let check = |reach: &HostPolicy, method: &Method, fields: &[(&'static str, &str)]| {
            let headers = headers(fields);
            let uri = Uri::from_static("/");
            reach.authority(&uri, &headers).and_then(|host| reach.check_post(method, host, &headers))
        };
        let host = ("host", "localhost:9180");
        for fields in [
            &[host, ("origin", "http://localhost:9180")][..],
            &[host, ("origin", "http://localhost:9180"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check(&plain, &Method::POST, fields), Ok(()), "{fields:?}");
        }
        for fields in [
            &[host][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "")],
            &[host, ("origin", "http://localhost")],
            &[host, ("origin", "http://localhost:8080")],
            &[host, ("origin", "http://127.0.0.1:9180")],
            &[host, ("origin", "https://localhost:9180")],
            &[host, ("origin", "http://localhost:9180.evil.example")],
            &[host, ("origin", "http://evil.example")],
            &[host, ("origin", "http://localhost:9180"), ("origin", "http://localhost:9180")],
            &[host, ("origin", "http://localhost:9180"), ("sec-fetch-site", "cross-site")],
            &[host, ("origin", "http://localhost:9180"), ("sec-fetch-site", "same-site")],
            &[host, ("origin", "http://localhost:9180"), ("sec-fetch-site", "none")],
            &[
                host,
                ("origin", "http://localhost:9180"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[host, ("referer", "http://localhost:9180/"), ("sec-fetch-site", "same-origin")],
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                assert_eq!(check(&plain, &method, fields), Err(Rejected::Origin), "{method} {fields:?}");
            }
            assert_eq!(check(&plain, &Method::GET, fields), Ok(()), "{fields:?}");
        }
        let host = ("host", "gatepost.corp.example");
        assert_eq!(check(&secure, &Method::POST, &[host, ("origin", "https://gatepost.corp.example")]), Ok(()));
        let in_clear = [host, ("origin", "http://gatepost.corp.example")];
        assert_eq!(check(&secure, &Method::POST, &in_clear), Err(Rejected::Origin));
    }

    #[test]
    fn each_cookie_of_the_name_is_found() {
        let once = headers(&[("cookie", "a=1; gatepost=secret; b=2")]);
        assert!(cookies(&once, "gatepost").eq(["secret"]));
        assert_eq!(cookies(&once, "gate").next(), None);
        assert!(cookies(&headers(&[("cookie", "gatepost=x; gatepost=y")]), "gatepost").eq(["x", "y"]));
        let twice = headers(&[("cookie", "gatepost=x"), ("cookie", "gatepost=y")]);
        assert!(cookies(&twice, "gatepost").eq(["x", "y"]));
        let many = headers(&[("cookie", &"gatepost=x; ".repeat(1_000))]);
        assert_eq!(cookies(&many, "gatepost").count(), COOKIES);
    }
}
