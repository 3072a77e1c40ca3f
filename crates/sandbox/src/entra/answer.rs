//! The answers of Entra's endpoints: a body that is never cached, with the number of the request.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::random;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    plain(status, "application/json; charset=utf-8", body.to_string())
}

pub(super) fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::<Bytes>::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::from_str(&random::guid()) {
        headers.insert("x-ms-request-id", id);
    }
    answer
}
