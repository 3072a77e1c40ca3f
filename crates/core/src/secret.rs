//! Types for secrets, which cannot be printed by mistake.
//!
//! Each type wraps [`secrecy::SecretString`], which wipes its memory on drop. None of them has
//! `Display` or `Serialize`, and `Debug` writes only the type's name. `expose` is the only access
//! to the text, so that a search finds every use.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(SecretString);

        impl $name {
            /// Takes over the text. If the caller has a copy, the caller must wipe it.
            pub fn new(text: String) -> Self {
                Self(SecretString::from(text))
            }

            /// The text itself. Never format it, log it or put it into an error.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        /// Takes the same time for any two secrets of the same length.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                let (ours, theirs) = (self.expose().as_bytes(), other.expose().as_bytes());
                aws_lc_rs::constant_time::verify_slices_are_equal(ours, theirs).is_ok()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret!(
    /// The password that a mail client presented: 1 to 1,024 octets, no CR, LF, NUL or ^A once it
    /// has passed the checks of `sasl`.
    Password
);
secret!(
    /// An OAuth 2.0 access token (RFC 6750 §2.1: `b64token` characters only, checked by
    /// `gatepost_oauth`).
    AccessToken
);
secret!(
    /// An OAuth 2.0 refresh token (RFC 6749 §1.5). It gives access to a mailbox for months.
    RefreshToken
);
secret!(
    /// An ID token (OpenID Connect Core §2). It gives no access, but says who a person is.
    IdToken
);
secret!(
    /// An authorization code (RFC 6749 §4.1.2), valid for one token within ten minutes.
    AuthorizationCode
);
secret!(
    /// Proves that a code is redeemed by the client that asked for it (RFC 7636 §4.1).
    CodeVerifier
);
secret!(
    /// The code with which a device polls while its user signs in elsewhere (RFC 8628 §3.2).
    DeviceCode
);
secret!(
    /// The secret of a confidential Entra application (the secret's *value*, not its ID).
    ClientSecret
);
secret!(
    /// A signed JWT that authenticates an application (RFC 7523 §2.2). Its holder can act as the
    /// application until it expires.
    ClientAssertion
);
secret!(
    /// The password of a private key or a PKCS#12 file.
    CertificatePassword
);
secret!(
    /// The key for the local endpoint of a managed identity: App Service's `IDENTITY_HEADER`, or
    /// Azure Arc's key.
    IdentityKey
);
secret!(
    /// The password for the corporate forward proxy.
    ProxyPassword
);
secret!(
    /// The value of a `Proxy-Authorization` field: a scheme and its credentials (RFC 9110 §11.7.2).
    ProxyAuthorization
);
secret!(
    /// The text of `state.key`, the key that encrypts the records of the store.
    StateKeyText
);
secret!(
    /// The password for Redis.
    RedisPassword
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_type_only() {
        assert_eq!(format!("{:?}", Password::new("hunter2".into())), "Password(…)");
        assert_eq!(format!("{:#?}", Some(AccessToken::new("eyJ0".into()))), "Some(\n    AccessToken(…),\n)");
    }
}
