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

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret!(
    /// What a mail client presented as its password: 1 to 1,024 octets, no CR, LF, NUL or ^A
    /// once it has passed [`crate::sasl`].
    Password
);
secret!(
    /// An OAuth 2.0 access token (RFC 6750 §2.1: `b64token` characters only, checked by [`crate::oauth`]).
    AccessToken
);
secret!(
    /// The secret of a confidential Entra application (the secret's *value*, not its id).
    ClientSecret
);
secret!(
    /// What the corporate forward proxy wants to hear.
    ProxyPassword
);
secret!(
    /// The value of a `Proxy-Authorization` field: a scheme and its credentials (RFC 9110 §11.7.2).
    ProxyAuthorization
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
