//! The beginning of an EWS request.

use gatepost::account::MailAddress;
use gatepost::http::soap::{Looked, look};

/// The first octet chooses: 0 an application's token, 1 the input ends here. The rest is the request.
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
}
