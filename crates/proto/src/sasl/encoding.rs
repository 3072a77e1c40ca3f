//! Strict base64 (RFC 4648 §4), as the SASL profiles of IMAP, POP3 and SMTP demand it: only the
//! alphabet, padding only at the end and complete, no stray bits, nothing ignored (RFC 4954 §4, RFC
//! 5034 §4, RFC 9051 §6.2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The text is not strict base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not base64")]
pub struct NotBase64;

/// Decodes a base64 text. The octets may be a password, so they are wiped.
///
/// # Errors
/// [`NotBase64`] for anything that RFC 4648 §4 does not allow; white space is not skipped.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotBase64> {
    // The estimate is reserved at once, so that no reallocation leaves a copy behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len().div_ceil(4) * 3));
    STANDARD.decode_vec(text, &mut octets).map_err(|_| NotBase64)?;
    Ok(octets)
}

/// Encodes octets as padded base64. The text may hold a token, so it is wiped.
pub fn encode(octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(octets.len().div_ceil(3) * 4));
    STANDARD.encode_string(octets, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers_of_rfc_4648() {
        for (octets, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(octets.as_bytes()).as_str(), text);
            assert_eq!(decode(text.as_bytes()).unwrap().as_slice(), octets.as_bytes());
        }
    }

    #[test]
    fn nothing_but_strict_base64_is_taken() {
        for text in
            ["Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "Zm9v ", " Zm9v", "Zm\r\n9v", "Zm9-", "Zm9_", "=", "====", "*"]
        {
            assert_eq!(decode(text.as_bytes()), Err(NotBase64), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(&*decode(encode(&octets).as_bytes()).unwrap(), &octets);
        }

        #[test]
        fn what_decodes_is_the_only_text_for_its_octets(text in "[A-Za-z0-9+/=]{0,12}") {
            if let Ok(octets) = decode(text.as_bytes()) {
                let again = encode(&octets);
                prop_assert_eq!(again.as_str(), text);
            }
        }
    }
}
