//! Secrets as types: what may not be printed has no way to be printed.
//!
//! Each wraps [`secrecy::SecretString`], which wipes its memory on drop. None of them has `Display` or `Serialize`;
//! `Debug` writes the type's name only. The one way to the text is `expose`, so that a search finds every use.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(SecretString);

        impl $name {
            /// Takes the text over; the caller's copy, if any, is the caller's to wipe.
            pub fn new(text: String) -> Self {
                Self(SecretString::from(text))
            }

            /// The text itself. Never format it, log it or put it into an error.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        /// Takes the same time for any two of one length.
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
    /// What a mail client presented as its password: 1 to 1,024 octets, no CR, LF, NUL or ^A
    /// once it has passed `gatepost_proto::sasl`.
    Password
);
secret!(
    /// An OAuth 2.0 access token (RFC 6750 §2.1: `b64token` characters only, checked by `gatepost_oauth`).
    AccessToken
);
secret!(
    /// An OAuth 2.0 refresh token (RFC 6749 §1.5): months of access to a mailbox.
    RefreshToken
);
secret!(
    /// An ID token (OpenID Connect Core §2): no key to anything, but it tells who somebody is.
    IdToken
);
secret!(
    /// An authorization code (RFC 6749 §4.1.2), good for one token within ten minutes.
    AuthorizationCode
);
secret!(
    /// What proves that a code is redeemed by whoever asked for it (RFC 7636 §4.1).
    CodeVerifier
);
secret!(
    /// What a device polls with while its user signs in elsewhere (RFC 8628 §3.2).
    DeviceCode
);
secret!(
    /// The secret of a confidential Entra application (the secret's *value*, not its id).
    ClientSecret
);
secret!(
    /// A signed JWT that proves an application (RFC 7523 §2.2): whoever has it is the application until it expires.
    ClientAssertion
);
secret!(
    /// What decrypts a private key or a PKCS#12 file.
    CertificatePassword
);
secret!(
    /// What the local endpoint of a managed identity wants to hear: App Service's `IDENTITY_HEADER`, Azure Arc's key.
    IdentityKey
);
secret!(
    /// What the corporate forward proxy wants to hear.
    ProxyPassword
);
secret!(
    /// The value of a `Proxy-Authorization` field: a scheme and its credentials (RFC 9110 §11.7.2).
    ProxyAuthorization
);
secret!(
    /// The text of `state.key`: what the records of the store are sealed under.
    StateKeyText
);
secret!(
    /// What Redis wants to hear.
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
