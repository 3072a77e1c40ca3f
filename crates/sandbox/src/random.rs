//! Identifiers that nobody can guess.

use std::fmt::Write as _;

/// Random octets from the TLS library's generator.
///
/// # Errors
/// When the operating system gives no randomness.
pub(super) fn octets<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| std::io::Error::other("no randomness available"))?;
    Ok(octets)
}

/// A GUID for tracing. All zeros when there is no randomness: nothing depends on its being unique.
pub(super) fn guid() -> String {
    let octets: [u8; 16] = octets().unwrap_or_default();
    let mut text = String::with_capacity(36);
    for (index, octet) in octets.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_its_form() {
        let guid = guid();
        assert_eq!(guid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(guid, super::guid());
    }
}
