//! LOGIN (draft-murchison-sasl-login-00): a prompt for the name, a prompt for the password.

/// The first prompt, in exactly the form that many devices need. They abort on the draft's own
/// `User Name`; the draft permits this form because of them (§2.2).
pub const USERNAME_PROMPT: &str = "Username:";

/// The second prompt.
pub const PASSWORD_PROMPT: &str = "Password:";
