//! The server that a mail client sees behind its login, when the maildrop is Gatepost's own.

use gatepost_proto::mail::pop3::maildrop::{Maildrop, Message, UniqueId};
use gatepost_proto::mail::pop3::transaction::{MaildropEvent, Transaction, Trouble};

use super::recipe::Recipe;

const MESSAGES: u32 = 5;

/// The first flight is what the client sends, the second what is in each message. Flags: 0 bare LF.
/// A bit of the decisions per event: what was asked for works or not.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        assert_eq!(run(&recipe, false), run(&recipe, true));
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    events: Vec<String>,
    output: Vec<u8>,
}

fn run(recipe: &Recipe<'_>, split: bool) -> Told {
    let mut flights = recipe.flights();
    let (mut input, message) = (flights.next().unwrap_or_default(), flights.next().unwrap_or_default());
    let mut run =
        Run { machine: Transaction::new(recipe.flag(0), "7f3a".into()), message, recipe, split, told: Told::default() };
    let mut chunks = recipe.chunks(split);
    while !input.is_empty() {
        let (chunk, behind) = chunks.cut(input);
        run.machine.handle_input(chunk);
        run.answer();
        input = behind;
    }
    run.told
}

struct Run<'a> {
    machine: Transaction,
    message: &'a [u8],
    recipe: &'a Recipe<'a>,
    split: bool,
    told: Told,
}

impl Run<'_> {
    fn answer(&mut self) {
        loop {
            self.take();
            let Some(event) = self.machine.poll_event() else { return };
            let works = self.recipe.decisions & (1 << (self.told.events.len() % 8)) == 0;
            self.told.events.push(format!("{event:?}"));
            match event {
                MaildropEvent::List if works => {
                    let message =
                        |number: u32| Message { octets: number * 100, unique_id: UniqueId::of(&number.to_string()) };
                    self.machine.listed(Maildrop::new((1..=MESSAGES).map(message)));
                }
                MaildropEvent::List => self.machine.refuse(Trouble::Permanent),
                MaildropEvent::Content { number } => {
                    assert!((1..=MESSAGES).contains(&number));
                    if works { self.content() } else { self.machine.refuse(Trouble::Gone) }
                }
                MaildropEvent::Update(numbers) => {
                    assert!(!numbers.is_empty() && numbers.is_sorted());
                    assert!(numbers.iter().all(|number| (1..=MESSAGES).contains(number)));
                    self.machine.updated(if works { 0 } else { numbers.len() });
                }
                MaildropEvent::Close => {
                    self.machine.handle_input(b"STAT\r\n");
                    assert!(self.machine.poll_output().is_none() && self.machine.poll_event().is_none());
                }
            }
        }
    }

    fn content(&mut self) {
        let before = self.told.output.len();
        self.machine.begin_content();
        let mut rest = self.message;
        let mut chunks = self.recipe.chunks(self.split);
        while !rest.is_empty() && self.machine.wants_content() {
            let (chunk, behind) = chunks.cut(rest);
            self.machine.content(chunk);
            // Not `take`: what follows the message would be taken with it.
            rest = behind;
        }
        let all = self.machine.wants_content();
        self.machine.end_content();
        self.take();
        let sent = &self.told.output[before..];
        let text = received(sent);
        let letters =
            |octets: &[u8]| octets.iter().copied().filter(|o| !matches!(o, b'\r' | b'\n')).collect::<Vec<_>>();
        let (text, message) = (letters(&text), letters(self.message));
        assert!(if all { text == message } else { message.starts_with(&text) });
    }

    fn take(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            assert!(output.ends_with(b"\r\n"));
            self.told.output.extend(output);
        }
    }
}

/// What RFC 1939 has a client make of the reply to RETR, and nothing of what may follow it.
fn received(sent: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut lines = sent.split_inclusive(|octet| *octet == b'\n');
    assert_eq!(lines.next(), Some(&b"+OK Message follows\r\n"[..]));
    for line in lines {
        let line = line.strip_suffix(b"\r\n").expect("a line ends in CRLF");
        assert!(!line.contains(&b'\r'));
        match line {
            b"." => return text,
            [b'.', rest @ ..] => text.extend_from_slice(rest),
            line => text.extend_from_slice(line),
        }
    }
    panic!("the message has no end");
}
