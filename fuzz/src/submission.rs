//! The server that a client sends mail through.

use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::content::Stuffing;
use gatepost_proto::mail::smtp::submission::{Event, Settings, Submission};
use gatepost_proto::mail::smtp::transaction::Extensions;
use gatepost_proto::sasl::ClientTokens;

use super::recipe::{Chunks, Recipe};

/// Small, so that small inputs reach it.
const MESSAGE_OCTETS: u64 = 200;
const RECIPIENTS: usize = 3;

/// Flags: 0 legacy, 1 bare LF, 2 DSN, 3 SMTPUTF8, 4 any sender. A bit of the decisions per question:
/// yes or no.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(&recipe, false);
        assert_eq!(whole, run(&recipe, true));
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    events: Vec<String>,
    /// What has come of the message under way, while nothing is wrong with it.
    message: Vec<u8>,
    output: Vec<u8>,
    questions: u32,
    over: bool,
}

fn run(recipe: &Recipe<'_>, split: bool) -> Trace {
    let settings = settings(recipe);
    let legacy = settings.legacy;
    let mut machine = Submission::new(settings, b"");
    let mut trace = Trace::default();
    let mut chunks = recipe.chunks(split);
    let mut rest = recipe.body;
    while !rest.is_empty() && !trace.over {
        let (chunk, behind) = Chunks::cut(&mut chunks, rest);
        machine.handle_input(chunk);
        rest = behind;
        loop {
            while let Some(event) = machine.poll_event() {
                assert!(!trace.over, "{event:?} behind the end");
                handle(event, &mut machine, &mut trace, recipe.decisions, legacy);
            }
            let Some(output) = machine.poll_output() else { break };
            trace.output.extend(output);
        }
    }
    check_output(&trace.output);
    trace
}

fn settings(recipe: &Recipe<'_>) -> Settings {
    let legacy = recipe.flag(0);
    Settings {
        server_name: "gatepost.example".into(),
        extensions: Extensions { size: MESSAGE_OCTETS, dsn: recipe.flag(2), smtputf8: recipe.flag(3) },
        recipients: RECIPIENTS,
        logged_in: true,
        client_tokens: ClientTokens::Accept,
        legacy,
        sender_is_replaced: recipe.flag(4),
        bare_lf: legacy && recipe.flag(1),
    }
}

fn handle(event: Event, machine: &mut Submission, trace: &mut Trace, decisions: u8, legacy: bool) {
    let reply = match &event {
        Event::Content(piece) => {
            trace.message.extend_from_slice(piece);
            return;
        }
        Event::Flawed(flaw) => {
            trace.message.clear();
            trace.events.push(format!("{flaw:?}"));
            return;
        }
        Event::Reset => {
            trace.message.clear();
            trace.events.push("Reset".into());
            return;
        }
        Event::Close(ending) => {
            trace.message.clear();
            trace.events.push(format!("{ending:?}"));
            trace.over = true;
            return;
        }
        Event::Message => (Reply::plain(354, "Go on"), Reply::new(451, [3, 0], "Not now")),
        Event::Mail(_) | Event::Recipient(_) | Event::End => {
            (Reply::new(250, [0, 0], "Yes"), Reply::new(550, [7, 1], "No"))
        }
    };
    assert!(machine.poll_event().is_none(), "an event before the answer");
    if let Event::End = event {
        let message = std::mem::take(&mut trace.message);
        check_message(&message, legacy);
        trace.events.push(format!("{event:?} {}", message.escape_ascii()));
    } else {
        trace.events.push(format!("{event:?}"));
    }
    let yes = decisions & (1 << (trace.questions % 8)) == 0;
    trace.questions += 1;
    machine.answer(if yes { &reply.0 } else { &reply.1 });
}

/// A message is no longer than it may be, its lines end in CRLF, and on the way to the next server
/// it is one message and the same.
fn check_message(message: &[u8], legacy: bool) {
    assert!(message.len() as u64 <= MESSAGE_OCTETS);
    assert!(!message.contains(&0));
    let mut wire = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n".to_vec();
    let mut stuffing = Stuffing::default();
    stuffing.write(message, &mut wire);
    stuffing.finish(&mut wire);
    for (at, octet) in wire.iter().enumerate() {
        match octet {
            b'\r' => assert_eq!(wire.get(at + 1), Some(&b'\n'), "a bare CR"),
            b'\n' => assert_eq!(wire[at - 1], b'\r', "a bare LF"),
            _ => {}
        }
    }
    let extensions = Extensions { size: MESSAGE_OCTETS + 2, dsn: false, smtputf8: false };
    let next = Settings {
        server_name: "next.example".into(),
        extensions,
        recipients: 1,
        logged_in: true,
        client_tokens: ClientTokens::Accept,
        legacy,
        sender_is_replaced: false,
        bare_lf: false,
    };
    let mut next = Submission::new(next, &wire);
    let mut arrived = Vec::new();
    let mut messages = 0;
    while let Some(event) = next.poll_event() {
        match event {
            Event::Mail(_) | Event::Recipient(_) => next.answer(&Reply::new(250, [0, 0], "Yes")),
            Event::Message => next.answer(&Reply::plain(354, "Go on")),
            Event::Content(piece) => arrived.extend(piece),
            Event::End => {
                messages += 1;
                next.answer(&Reply::new(250, [0, 0], "Yes"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(messages, 1);
    let ended = message.is_empty() || message.ends_with(b"\r\n");
    assert_eq!(arrived, [message, if ended { &b""[..] } else { b"\r\n" }].concat());
}

/// Whole lines of printable ASCII, each with a code.
fn check_output(output: &[u8]) {
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("replies end in CRLF");
        assert!(line.len() <= 510 && line.iter().all(|octet| (0x20..0x7f).contains(octet)));
        assert!(line[..3].iter().all(u8::is_ascii_digit) && b" -".contains(&line[3]));
    }
}
