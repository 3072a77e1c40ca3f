//! Exchange Web Services.
use std::io;
use std::sync::Arc;

use hyper::StatusCode;

use super::Shared;
use super::http::body::Answer;
use super::http::{Call, plain};

pub(super) async fn respond(_shared: &Arc<Shared>, _call: &Call) -> io::Result<Answer> {
    Ok(plain(StatusCode::NOT_IMPLEMENTED, "text/plain", ""))
}
