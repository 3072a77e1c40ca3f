//! LOGIN (draft-murchison-sasl-login-00): a prompt for the name, a prompt for the password.

/// The first prompt, exactly as many devices demand it. The draft's own `User Name` makes them give up; it permits this
/// form because of them (§2.2).
pub const USERNAME_PROMPT: &str = "Username:";

/// The second prompt.
pub const PASSWORD_PROMPT: &str = "Password:";
