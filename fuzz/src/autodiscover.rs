//! A question of an EWS client for the address of EWS.

use gatepost_proto::http::autodiscover::{Form, Question, Subject};

const EWS: &str = "https://gate.example/EWS/Exchange.asmx";

/// The first octet chooses the form: plain XML if it is even, SOAP if it is odd. The rest is the
/// request.
pub fn check(data: &[u8]) {
    let Some((choice, input)) = data.split_first() else { return };
    let form = if choice & 1 == 0 { Form::Pox } else { Form::Soap };
    let Ok(question) = Question::read(form, input) else { return };
    let subjects: Vec<Subject<'_>> = question.subjects().collect();
    assert!((1..=100).contains(&subjects.len()));
    let none = question.answer(EWS, |_| false);
    assert!(!none.text.contains(EWS), "nobody may know it: {}", none.text);
    let all = question.answer(EWS, |_| true);
    // What the client wrote comes back as text, so it adds no tag.
    let longest = all.text.matches('<').count();
    assert!(longest <= 40 + 40 * subjects.len(), "{}", all.text);
    // The answer depends on nothing else.
    assert_eq!(Question::read(form, input).as_ref(), Ok(&question));
}
