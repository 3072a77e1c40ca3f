//! Secrets as types: none can be formatted, written out or copied.

use std::fmt;

use gatepost_core::secret::{AccessToken, ClientSecret, Password, ProxyPassword, RefreshToken};
use gatepost_oauth::cache::TokenCache;
use gatepost_oauth::grant::Form;
use gatepost_oauth::password_digest::{PasswordDigest, PasswordDigestKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Does not compile when the type has one of the traits: then there are two `Probe`s to choose
/// from.
macro_rules! has_none_of {
    ($type:ty: $($trait:path),+) => {{
        trait Probe<Which> {
            fn probe() {}
        }
        impl<T: ?Sized> Probe<()> for T {}
        $({
            struct Has;
            impl<T: ?Sized + $trait> Probe<Has> for T {}
        })+
        <$type as Probe<_>>::probe();
    }};
}

#[test]
fn no_secret_can_be_shown_written_out_or_copied() {
    has_none_of!(Password: fmt::Display, Serialize, DeserializeOwned, Clone, ToString, AsRef<str>, AsRef<[u8]>);
    has_none_of!(AccessToken: fmt::Display, Serialize, DeserializeOwned, Clone, ToString, AsRef<str>, AsRef<[u8]>);
    has_none_of!(RefreshToken: fmt::Display, Serialize, DeserializeOwned, Clone, ToString, AsRef<str>, AsRef<[u8]>);
    has_none_of!(ClientSecret: fmt::Display, Serialize, DeserializeOwned, Clone, ToString, AsRef<str>, AsRef<[u8]>);
    has_none_of!(ProxyPassword: fmt::Display, Serialize, DeserializeOwned, Clone, ToString, AsRef<str>, AsRef<[u8]>);
    // What holds them, or is made of them.
    has_none_of!(Form: fmt::Display, Serialize, Clone, ToString);
    has_none_of!(PasswordDigestKey: fmt::Display, Serialize, Clone, ToString);
    has_none_of!(PasswordDigest: fmt::Display, fmt::LowerHex, Serialize, ToString, AsRef<[u8]>);
    has_none_of!(TokenCache: fmt::Display, Serialize, Clone);
}
