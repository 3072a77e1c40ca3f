use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;

use super::*;

/// A body of frames of these lengths.
struct Frames(Vec<usize>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(next.map(|octets| Ok(Frame::data("x".repeat(octets).into()))))
    }
}

#[test]
fn the_code_and_the_words_of_an_answer_are_found() {
    let fault = "<s:Fault><faultcode>a:E</faultcode><faultstring xml:lang=\"en-US\">No mailbox.</faultstring><detail>\
                 <e:ResponseCode xmlns:e=\"x\">ErrorNonExistentMailbox</e:ResponseCode></detail></s:Fault>";
    assert_eq!(value(fault, "ResponseCode"), Some("ErrorNonExistentMailbox"));
    assert_eq!(value(fault, "faultstring"), Some("No mailbox."));
    assert_eq!(value(fault, "MessageText"), None);
    assert_eq!(value("<m:ResponseCodes>no</m:ResponseCodes>", "ResponseCode"), None);
    assert_eq!(value("ResponseCode", "ResponseCode"), None);
    assert_eq!(value("<MessageText/>no", "MessageText"), None);
    assert_eq!(value("<MessageTexts>no</MessageTexts><m:MessageText> yes <", "MessageText"), Some("yes"));
}

#[test]
fn only_an_answer_without_an_error_opens_the_inbox() {
    let answer = |code: &str, words: &str| format!("<m:ResponseCode>{code}</m:ResponseCode>{words}");
    let refused = |status, body: &str| match opened(status, body) {
        Err(Unserved::Refused { code, words }) => Some((code, words)),
        Err(Unserved::Failed(failure)) => panic!("{failure}"),
        Ok(()) => None,
    };
    let (no, words) = ("ErrorAccessDenied", "<m:MessageText>Not you.</m:MessageText><faultstring>x</faultstring>");
    assert_eq!(refused(200, &answer("NoError", "")), None);
    assert_eq!(refused(500, &answer("NoError", "")), Some(("NoError".into(), String::new())));
    assert_eq!(refused(200, &answer(no, words)), Some((no.into(), "Not you.".into())));
    assert_eq!(refused(500, "<faultstring>Broken</faultstring>"), Some((String::new(), "Broken".into())));
    assert_eq!(refused(200, ""), Some((String::new(), String::new())));
}

#[tokio::test]
async fn of_an_answer_only_the_beginning_is_read() {
    let frames = |octets: &[usize]| Frames(octets.to_vec());
    let end = Instant::now() + std::time::Duration::from_secs(60);
    assert_eq!(read(frames(&[1, 2, 3]), end).await, "xxxxxx");
    assert_eq!(read(frames(&[ANSWER_OCTETS - 1, 1]), end).await.len(), ANSWER_OCTETS);
    assert_eq!(read(frames(&[ANSWER_OCTETS - 1, 2, 1]), end).await.len(), ANSWER_OCTETS - 1);
}
