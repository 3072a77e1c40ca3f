//! Limits on peers.

/// Limits on what a peer may send before the login.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest IMAP command line without its literals, in octets with CRLF.
    pub imap_line_bytes: usize,
    /// Longest single IMAP literal, in octets.
    pub imap_literal_bytes: usize,
    /// Most literals in one IMAP command.
    pub imap_literals: usize,
    /// Most octets of literals in one IMAP command.
    pub imap_literals_bytes: usize,
    /// Longest POP3 or SMTP command line, in octets with CRLF.
    pub line_bytes: usize,
    /// Longest SASL response line, and longest line that begins an authentication command, in
    /// octets with CRLF.
    pub sasl_line_bytes: usize,
    /// Most octets after a login command that are held while the login is decided.
    pub held_bytes: usize,
    /// Most commands before the login.
    pub commands: u32,
    /// Most senseless commands before the connection is closed.
    pub bad_commands: u32,
    /// Failed logins before the connection is closed.
    pub attempts: u32,
    /// Longest line accepted from an upstream before the login has succeeded, in octets.
    pub upstream_line_bytes: usize,
    /// Most lines accepted from an upstream before the login has succeeded.
    pub upstream_lines: usize,
    /// Most octets accepted from an upstream before the login has succeeded.
    pub upstream_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            imap_line_bytes: 8_192,
            imap_literal_bytes: 4_096,
            imap_literals: 4,
            imap_literals_bytes: 8_192,
            line_bytes: 512,
            sasl_line_bytes: 12_288,
            held_bytes: 8_192,
            commands: 20,
            bad_commands: 3,
            attempts: 3,
            upstream_line_bytes: 8_192,
            upstream_lines: 128,
            upstream_bytes: 65_536,
        }
    }
}
