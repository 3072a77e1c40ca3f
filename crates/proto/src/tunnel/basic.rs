//! Basic authentication (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use gatepost_core::secret::{ProxyAuthorization, ProxyPassword};

/// The value of `Proxy-Authorization` for a user name and password in UTF-8.
pub fn authorization(username: &str, password: &ProxyPassword) -> ProxyAuthorization {
    let pair = Zeroizing::new([username.as_bytes(), b":", password.expose().as_bytes()].concat());
    // Reserved at once, because text that grows leaves a copy of the password behind.
    let mut text = String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4);
    text.push_str("Basic ");
    STANDARD.encode_string(&*pair, &mut text);
    ProxyAuthorization::new(text)
}
