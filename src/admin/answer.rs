//! Answers of the page and the socket.

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};

/// An answer.
pub(super) type Page = Response<Body>;
/// An answer with one sentence of plain text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn to(target: &str) -> Page {
    let mut answer = plain(StatusCode::SEE_OTHER, "");
    if let Ok(target) = HeaderValue::from_str(target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

pub(super) fn asset(kind: &'static str, content: &str) -> Page {
    let mut answer = Response::new(Body::from(content.to_owned()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Sets a cookie that is sent to `path` and below. `rest` is the value of `SameSite`, and what
/// follows.
pub(super) fn set_cookie(answer: &mut Page, name: &str, value: &str, path: &str, tls: bool, rest: &str) {
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path={path}; HttpOnly{secure}; SameSite={rest}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
