//! Makes text from a peer fit for a log: printable ASCII, bounded, without secrets.

use memchr::memmem;

/// A run of at least so many octets that also occurs in a secret is left out. A shorter run does
/// not reveal anything useful.
const SECRET_RUN: usize = 16;

/// Text from a peer for the log: at most `octets` octets of ASCII, everything else as `\xNN`.
pub fn escaped(text: &[u8], octets: usize) -> String {
    escape(text, octets, |_| 0)
}

/// Like [`escaped`], but leaves out every run of 16 octets or more that also occurs in
/// one of `secrets`.
pub fn excerpt(text: &[u8], octets: usize, secrets: &[&[u8]]) -> String {
    escape(text, octets, |rest| secret_run(rest, secrets))
}

/// Escapes a text. `hidden` returns how many octets at its beginning are to be left out.
fn escape(text: &[u8], octets: usize, hidden: impl Fn(&[u8]) -> usize) -> String {
    const CUT: &str = "...";
    let mut out = String::new();
    // Length of the output that still leaves room for `CUT`.
    let mut kept = 0;
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let run = hidden(rest);
        if run > 0 {
            out.push_str("(secret)");
            rest = rest.get(run..).unwrap_or_default();
        } else {
            match first {
                b'\\' => out.push_str("\\\\"),
                0x20..0x7f => out.push(char::from(first)),
                _ => out.push_str(&format!("\\x{first:02x}")),
            }
            rest = tail;
        }
        if out.len() > octets {
            out.truncate(kept);
            out.push_str(CUT);
            break;
        }
        if out.len() + CUT.len() <= octets {
            kept = out.len();
        }
    }
    out
}

/// How many octets at the beginning of `text` also occur in one of the secrets; 0 if fewer than
/// [`SECRET_RUN`].
fn secret_run(text: &[u8], secrets: &[&[u8]]) -> usize {
    let Some(window) = text.get(..SECRET_RUN) else { return 0 };
    let of_token = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    if !window.iter().all(of_token) {
        return 0;
    }
    let common = |secret: &&[u8]| {
        let at = memmem::find(secret, window)?;
        Some(secret.get(at..)?.iter().zip(text).take_while(|(a, b)| a == b).count())
    };
    secrets.iter().filter_map(common).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_escaped_and_bounded() {
        assert_eq!(escaped(b"a\r\n\\\xff b", 100), "a\\x0d\\x0a\\\\\\xff b");
        assert_eq!(escaped(b"12345678", 8), "12345678");
        assert_eq!(escaped(b"123456789", 8), "12345...");
        assert_eq!(escaped(b"1234\x01789", 8), "1234...");
        for length in 0..2_000 {
            assert!(excerpt(&vec![b'\n'; length], 1_024, &[]).len() <= 1_024);
        }
    }
}
