//! The beginning of an EWS request.

use gatepost_core::account::MailAddress;
use gatepost_proto::http::soap::{Arriving, Looked, Ready, look};

/// The bound on what is held.
const MOST: usize = 1_024;

/// The first octet chooses: 0 an application's token, 1 the input ends here; the rest of it how
/// long the pieces are, from one octet on. The rest is the request.
pub fn check(data: &[u8]) {
    let Some((choice, input)) = data.split_first() else { return };
    let mailbox = MailAddress::parse("o'neil@contoso.com").expect("an address");
    let acting_for = (choice & 1 != 0).then_some(&mailbox);
    let ended = choice & 2 != 0;
    let whole = look(input, ended, acting_for);
    if let Ok(Looked::Found { beginning, consumed }) = &whole {
        let edited = [beginning.as_slice(), &input[*consumed..]].concat();
        // What went through once goes through again, and is the same.
        match look(&edited, ended, acting_for) {
            Ok(Looked::Found { beginning: again, consumed }) => {
                assert_eq!((again.as_slice(), consumed), (beginning.as_slice(), beginning.len()));
            }
            other => panic!("{other:?}"),
        }
        // Without a mailbox to act for, only what Gatepost put there is cut.
        let named = beginning.windows(21).filter(|part| part == b"ExchangeImpersonation").count();
        assert!(acting_for.is_none() || named >= 2);
    }
    // A part of it never says something else.
    let half = &input[..input.len() / 2];
    match (look(half, false, acting_for), &whole) {
        (Ok(Looked::Unclear), _) => {}
        (Ok(found), whole) => assert_eq!(Ok(&found), whole.as_ref()),
        (Err(_), Ok(found)) => panic!("{found:?} came of what was refused"),
        (Err(_), Err(_)) => {}
    }
    check_pieces(input, usize::from(choice >> 2) + 1, acting_for);
}

/// In pieces the request is what it is as a whole, and takes no more work than its octets allow.
fn check_pieces(input: &[u8], size: usize, acting_for: Option<&MailAddress>) {
    let mut arriving = Arriving::new(MOST);
    let mut pieces = input.chunks(size).peekable();
    let mut received = 0;
    let in_pieces = loop {
        let piece = pieces.next().unwrap_or_default();
        arriving.push(piece);
        received += piece.len();
        let ended = pieces.peek().is_none();
        let looked = arriving.look(ended, acting_for);
        assert!(arriving.parsed() <= 4 * received, "{} octets were parsed of {received}", arriving.parsed());
        if ended || looked != Ok(None) {
            break looked;
        }
    };
    match (in_pieces, look(input, true, acting_for)) {
        (Ok(Some(Ready { octets, stands_for })), Ok(Looked::Found { beginning, consumed })) => {
            assert_eq!([&octets, &input[stands_for..]].concat(), [&beginning, &input[consumed..]].concat());
        }
        (Ok(None), _) => panic!("at its end a request is clear"),
        (Ok(Some(ready)), whole) => panic!("{ready:?}, but {whole:?}"),
        (Err(flaw), Ok(_)) => assert!(received > MOST, "{flaw:?} of a good request"),
        (Err(_), _) => {}
    }
}
