//! Forms that a person has submitted.

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::answer::{Page, plain};

/// Most octets of a form. A pasted address has about 2 KiB.
const FORM_OCTETS: usize = 32 * 1024;

/// The values of a form. They may include passwords and codes.
pub(super) struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Form {
    pub(super) async fn read(body: Body) -> Result<Self, Page> {
        let octets = to_bytes(body, FORM_OCTETS).await;
        let octets = octets.map_err(|_| plain(StatusCode::PAYLOAD_TOO_LARGE, "The form is too long.\n"))?;
        let pairs = form_urlencoded::parse(&octets);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned().into(), value.into_owned().into())).collect()))
    }

    /// Returns the first value of a field.
    pub(super) fn value(&self, name: &'static str) -> Option<&str> {
        self.values(name).next()
    }

    pub(super) fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(of, _)| **of == name).map(|(_, value)| value.as_str())
    }

    /// Returns the trimmed text of a field; empty when it is absent.
    pub(super) fn text(&self, name: &'static str) -> &str {
        self.value(name).unwrap_or_default().trim()
    }
}
