//! Tests of the machine from the view of a client and a caller.

use proptest::prelude::*;

use super::*;

const EXTENSIONS: Extensions = Extensions { size: 1_000, dsn: true, smtputf8: true };

fn settings() -> Settings {
    Settings {
        server_name: "gatepost.example".into(),
        extensions: EXTENSIONS,
        recipients: 3,
        logged_in: true,
        client_tokens: ClientTokens::Accept,
        legacy: false,
        sender_is_replaced: false,
        bare_lf: false,
    }
}

/// Acts as the caller: accepts everything but recipients at `refused.example` and messages that
/// begin with `NO`.
struct Caller {
    machine: Submission,
    /// One line per event. Pieces of one message are joined; those of a message with an error are
    /// left out.
    events: Vec<String>,
    message: Vec<u8>,
    output: Vec<u8>,
}

impl Caller {
    fn new(settings: Settings) -> Self {
        let machine = Submission::new(settings, b"");
        Self { machine, events: Vec::new(), message: Vec::new(), output: Vec::new() }
    }

    fn send(&mut self, input: &[u8]) {
        self.machine.handle_input(input);
        loop {
            self.answer();
            let Some(output) = self.machine.poll_output() else { return };
            self.output.extend(output);
        }
    }

    fn answer(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Mail(mail) => {
                    self.events.push(mail.to_line(|_| true));
                    self.machine.answer(&Reply::new(250, [1, 0], "Sender OK"));
                }
                Event::Recipient(recipient) => {
                    let refused = recipient.address.ends_with("@refused.example");
                    self.events.push(recipient.to_line(|_| true));
                    self.machine.answer(&match refused {
                        true => Reply::new(550, [1, 1], "No such user"),
                        false => Reply::new(250, [1, 5], "Recipient OK"),
                    });
                }
                Event::Message => {
                    self.events.push("message".into());
                    self.machine.answer(&Reply::plain(354, "Go on"));
                }
                Event::Content(piece) => self.message.extend_from_slice(&piece),
                Event::End => {
                    let message = mem::take(&mut self.message);
                    self.events.push(format!("sent {}", message.escape_ascii()));
                    let refused = message.starts_with(b"NO");
                    self.machine.answer(&match refused {
                        true => Reply::new(554, [6, 0], "Not this one"),
                        false => Reply::new(250, [0, 0], "Sent"),
                    });
                }
                other @ (Event::Flawed(_) | Event::Reset | Event::Close(_)) => {
                    self.message.clear();
                    self.events.push(format!("{other:?}"));
                }
            }
        }
    }

    fn codes(&mut self) -> Vec<u16> {
        let output = String::from_utf8(mem::take(&mut self.output)).unwrap();
        let last = |line: &str| line.as_bytes()[3] == b' ';
        output.lines().filter(|line| last(line)).map(|line| line[..3].parse().unwrap()).collect()
    }
}

fn run(settings: Settings, input: &[u8]) -> (Vec<String>, Vec<u16>) {
    let mut caller = Caller::new(settings);
    caller.send(input);
    let codes = caller.codes();
    (caller.events, codes)
}

fn legacy() -> Settings {
    Settings { legacy: true, bare_lf: true, ..settings() }
}

#[test]
fn pipelined_messages_are_answered_in_order() {
    let (events, codes) = run(
        settings(),
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<x@refused.example>\r\nDATA\r\n..hello\r\n.\r\n\
          MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\nNO\r\n.\r\nNOOP\r\nQUIT\r\nMAIL FROM:<never@read>\r\n",
    );
    assert_eq!(
        events,
        [
            "MAIL FROM:<a@b>",
            "RCPT TO:<c@d>",
            "RCPT TO:<x@refused.example>",
            "message",
            r"sent .hello\r\n",
            "MAIL FROM:<>",
            "RCPT TO:<c@d>",
            "message",
            r"sent NO\r\n",
            "Close(Quit)"
        ]
    );
    assert_eq!(codes, [250, 250, 250, 550, 354, 250, 250, 250, 354, 554, 250, 221]);
}

#[test]
fn the_sequence_of_commands_is_kept() {
    for (input, expected) in [
        (&b"RCPT TO:<a@b>\r\n"[..], &[503_u16][..]),
        (b"DATA\r\n", &[503]),
        (b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", &[250, 503]),
        (b"MAIL FROM:<a@b>\r\nDATA\r\n", &[250, 554]),
        (b"MAIL FROM:<a@b>\r\nRCPT TO:<x@refused.example>\r\nDATA\r\n", &[250, 550, 554]),
        (b"MAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n", &[250, 250, 503]),
        (b"MAIL FROM:<a@b>\r\nEHLO x\r\nRCPT TO:<a@b>\r\n", &[250, 250, 503]),
        (b"MAIL FROM:<a@b>\r\nHELO x\r\nMAIL FROM:<a@b>\r\n", &[250, 250, 250]),
        (b"AUTH PLAIN AGFAYgBj\r\nSTARTTLS\r\nVRFY a\r\nHELP\r\nNOOP x\r\n", &[503, 503, 252, 214, 250]),
        (b"EXPN a\r\nTURN\r\nETRN a\r\nBURL a\r\nXCLIENT a\r\nLHLO a\r\n", &[502, 502, 502, 502, 500, 500]),
        (b"MAIL FROM:<a@b> SIZE=1001\r\nRCPT TO:<a@b>\r\n", &[552, 503]),
        (b"MAIL FROM:a@b\r\nDATA x\r\n", &[501, 501]),
    ] {
        assert_eq!(run(settings(), input).1, expected, "{}", input.escape_ascii());
    }
}

#[test]
fn a_chunk_is_counted_and_never_looked_into() {
    let (events, codes) = run(
        settings(),
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 9\r\na\r\n.\r\nQUIRCPT TO:<e@f>\r\nDATA\r\nBDAT 3 LAST\r\nT\r\nRSET\r\n",
    );
    assert_eq!(events, ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "message", r"sent a\r\n.\r\nQUIT\r\n"]);
    assert_eq!(codes, [250, 250, 250, 503, 503, 250, 250]);
    let (events, codes) = run(settings(), b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n");
    assert_eq!((events.last().unwrap().as_str(), codes), ("sent ", vec![250, 250, 250]));
}

#[test]
fn a_chunk_that_is_refused_is_read_all_the_same() {
    let (events, codes) =
        run(settings(), b"BDAT 6\r\nQUIT\r\nMAIL FROM:<a@b>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(events, ["MAIL FROM:<a@b>"]);
    assert_eq!(codes, [503, 250, 554, 554, 250]);
    // The end of the chunk is not known, so what follows could be content.
    let (events, codes) = run(settings(), b"BDAT x LAST\r\nMAIL FROM:<a@b>\r\n");
    assert_eq!((events, codes), (vec!["Close(Lost)".to_owned()], vec![501]));
}

#[test]
fn a_flawed_message_is_forgotten_and_its_end_is_found() {
    for (message, flaw) in [
        (&b"a\nb\r\n.\r\n"[..], "Flawed(LineEnd)"),
        (b"a\r\n.\nMAIL FROM:<x@y>\r\n.\r\n", "Flawed(LineEnd)"),
        (b"a\0\r\n.\r\n", "Flawed(Nul)"),
        (&[&[b'a'; 1_001][..], b"\r\n.\r\n"].concat(), "Flawed(TooLarge)"),
    ] {
        let input = [b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", message, b"NOOP\r\n"].concat();
        let (events, codes) = run(settings(), &input);
        assert_eq!(events.last().unwrap(), flaw);
        let code = if flaw.contains("TooLarge") { 552 } else { 554 };
        assert_eq!(codes, [250, 250, 354, code, 250]);
    }
    let (events, codes) = run(settings(), b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2\r\na\nBDAT 1 LAST\r\nbNOOP\r\n");
    assert_eq!((events.last().unwrap().as_str(), codes), ("Flawed(LineEnd)", vec![250, 250, 554, 503, 250]));
}

#[test]
fn the_callers_bound_holds_for_one_message() {
    let mut caller = Caller::new(settings());
    for (limit, code) in [(Some(3), 552), (None, 250)] {
        caller.machine.handle_input(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nabcd\r\n.\r\n");
        assert!(matches!(caller.machine.poll_event(), Some(Event::Mail(_))));
        if let Some(limit) = limit {
            caller.machine.limit_message(limit);
        }
        caller.machine.answer(&Reply::new(250, [1, 0], "OK"));
        caller.send(b"");
        assert_eq!(caller.codes().last(), Some(&code));
    }
}

#[test]
fn recipients_are_bounded_and_the_others_go() {
    let recipients = "RCPT TO:<a@b>\r\n".repeat(10_000);
    let input = format!("MAIL FROM:<a@b>\r\n{recipients}DATA\r\n.\r\n");
    let (events, codes) = run(settings(), input.as_bytes());
    assert_eq!(events.iter().filter(|event| event.starts_with("RCPT")).count(), 3);
    assert_eq!(codes.iter().filter(|code| **code == 452).count(), 9_997);
    assert_eq!(codes.last(), Some(&250));
}

#[test]
fn nonsense_ends_a_session_but_not_that_of_an_old_device() {
    let nonsense = b"X\r\n".repeat(30);
    let (events, codes) = run(settings(), &nonsense);
    assert_eq!((events, codes.len()), (vec!["Close(TooManyErrors)".to_owned()], 21));
    let (events, codes) = run(legacy(), &nonsense);
    assert_eq!((events, codes.len()), (vec![], 30));
}

#[test]
fn a_long_line_is_skipped() {
    let input = [b"NOOP ", &[b'x'; 5_000][..], b"\r\nRSET\r\n"].concat();
    let (_, codes) = run(settings(), &input);
    assert_eq!(codes, [500, 250]);
}

#[test]
fn old_devices_are_helped() {
    let (events, codes) = run(
        legacy(),
        b"\nmail from: a@b\nrcpt to: c@d\ndata now\na\nb\n..c\n.\n\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\
          a\n.\nb\r\n.\r\nquit now\n\x1b[A",
    );
    assert_eq!(
        events,
        [
            "MAIL FROM:<a@b>",
            "RCPT TO:<c@d>",
            "message",
            r"sent a\r\nb\r\n.c\r\n",
            "MAIL FROM:<a@b>",
            "RCPT TO:<c@d>",
            "message",
            r"sent a\r\n.\r\nb\r\n",
            "Close(Quit)"
        ]
    );
    assert_eq!(codes, [250, 250, 354, 250, 250, 250, 354, 250, 221]);
    let (_, codes) = run(settings(), b"NOOP\n\r\nNOOP\r\n");
    assert_eq!(codes, [500, 500, 250]);
}

#[test]
fn a_reply_of_421_is_the_last() {
    let mut machine = Submission::new(settings(), b"MAIL FROM:<a@b>\r\nNOOP\r\n");
    assert!(matches!(machine.poll_event(), Some(Event::Mail(_))));
    machine.answer(&Reply::new(421, [3, 2], "Gone"));
    assert_eq!(machine.poll_event(), Some(Event::Close(Ending::Told)));
    assert_eq!(machine.poll_event(), None);
    assert_eq!(machine.poll_output().unwrap(), b"421 4.3.2 Gone\r\n");
}

#[test]
fn what_a_session_is_doing_is_known() {
    let mut machine = Submission::new(settings(), b"");
    let mut told = Vec::new();
    let (ok, go_on) = (Reply::new(250, [0, 0], "OK"), Reply::plain(354, "Go on"));
    for (input, reply) in [
        ("NOOP\r\n", None),
        ("MAIL FROM:<a@b>\r\n", Some(&ok)),
        ("RCPT TO:<c@d>\r\n", Some(&ok)),
        ("DATA\r\n", Some(&go_on)),
        (".\r\n", Some(&ok)),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", Some(&ok)),
        ("BDAT 2\r\n", Some(&ok)),
        ("x\r", None),
        ("RSET\r\n", None),
    ] {
        machine.handle_input(input.as_bytes());
        while let Some(event) = machine.poll_event() {
            assert_eq!(machine.is_idle(), event == Event::Reset);
            reply.into_iter().for_each(|reply| machine.answer(reply));
        }
        told.push((machine.is_idle(), machine.is_receiving()));
    }
    let (idle, open, receiving) = ((true, false), (false, false), (false, true));
    assert_eq!(told, [idle, open, open, receiving, idle, open, receiving, open, idle]);
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut machine = Submission::new(settings(), b"NOOP\r\n");
    assert_eq!(machine.poll_event(), None);
    machine.poll_output();
    machine.answer(&Reply::new(250, [1, 0], "Sender OK"));
    assert_eq!((machine.poll_output(), machine.is_idle()), (None, true));
}

#[test]
fn a_session_is_closed_once_and_with_a_reason() {
    let mut machine = Submission::new(settings(), b"");
    for reply in [Some(&b"421 4.3.2 Gone\r\n"[..]), None] {
        machine.close(&Reply::new(421, [3, 2], "Gone"));
        assert_eq!(machine.poll_output().as_deref(), reply);
        assert_eq!(machine.poll_event(), reply.map(|_| Event::Close(Ending::Told)));
    }
}

#[test]
fn what_is_refused_is_discarded_up_to_a_bound() {
    // One octet of the chunk has come.
    let refused = |left: u64| run(settings(), format!("BDAT {}\r\nx", left + 1).as_bytes());
    assert_eq!(refused(DISCARDED_OCTETS), (vec![], vec![]));
    assert_eq!(refused(DISCARDED_OCTETS + 1), (vec!["Close(Lost)".to_owned()], vec![552]));
}

#[test]
fn a_smaller_size_can_be_announced_and_no_larger_one() {
    for (size, announced) in [(10, "250-SIZE 10\r\n"), (5_000, "250-SIZE 1000\r\n")] {
        let mut machine = Submission::new(settings(), b"EHLO x\r\n");
        machine.announce_size(size);
        assert_eq!(machine.poll_event(), None);
        let list = String::from_utf8(machine.poll_output().unwrap()).unwrap();
        assert!(list.contains(announced), "{list}");
    }
}

#[test]
fn ehlo_lists_what_works() {
    let list = |settings| {
        let mut machine = Submission::new(settings, b"EHLO x\r\n");
        assert_eq!(machine.poll_event(), None);
        String::from_utf8(machine.poll_output().unwrap()).unwrap()
    };
    assert_eq!(
        list(settings()),
        "250-gatepost.example\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-DSN\r\n\
         250-SMTPUTF8\r\n250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n"
    );
    let extensions = Extensions { size: 7, dsn: false, smtputf8: false };
    assert_eq!(
        list(Settings { extensions, logged_in: false, ..settings() }),
        "250-gatepost.example\r\n250-SIZE 7\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n\
         250 ENHANCEDSTATUSCODES\r\n"
    );
}

/// Input of clients, well formed or not.
fn session() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"EHLO x\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<a@b> SIZE=5 BODY=8BITMIME\r\n",
        b"mail from: a@b\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<x@refused.example>\r\n",
        b"DATA\r\n",
        b"DATA\n",
        b"a line\r\n",
        b"..stuffed\r\n",
        b"bare\nlf\r\n",
        b"bare\rcr\r\n",
        b"\0\r\n",
        b".\r\n",
        b".\n",
        b"\r\n",
        b"\n",
        b"BDAT 5\r\n",
        b"BDAT 7 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"NO\r\n",
        b"XCLIENT x\r\n",
    ];
    let whole: &[u8] = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let piece = prop_oneof![
        10 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        3 => Just(whole.to_vec()),
        1 => Just(b"QUIT\r\n".to_vec()),
        1 => Just(b"BDAT x\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_the_input_is_the_same(
        input in session(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        lenient in any::<bool>(),
    ) {
        let settings = || if lenient { legacy() } else { settings() };
        let mut whole = Caller::new(settings());
        whole.send(&input);
        let mut split = Caller::new(settings());
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).chain([0, input.len()]).collect();
        at.sort_unstable();
        for range in at.windows(2) {
            split.send(&input[range[0]..range[1]]);
        }
        let mut octets = Caller::new(settings());
        for octet in &input {
            octets.send(&[*octet]);
        }
        for other in [split, octets] {
            prop_assert_eq!(&whole.events, &other.events);
            prop_assert_eq!(whole.output.escape_ascii().to_string(), other.output.escape_ascii().to_string());
            // The content of an unfinished message without error is the same too.
            prop_assert_eq!(&whole.message, &other.message);
        }
    }

    /// A message that was stuffed and sent arrives unchanged, and nothing after it is taken for a
    /// part of it.
    #[test]
    fn a_message_survives(lines in proptest::collection::vec("[.a\u{e4} ]{0,5}", 0..12)) {
        let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut wire = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n".to_vec();
        let mut stuffing = super::super::content::Stuffing::default();
        stuffing.write(message.as_bytes(), &mut wire);
        stuffing.finish(&mut wire);
        wire.extend_from_slice(b"NOOP\r\n");
        let (events, codes) = run(settings(), &wire);
        prop_assert_eq!(events.last().unwrap(), &format!("sent {}", message.as_bytes().escape_ascii()));
        prop_assert_eq!(codes, [250, 250, 354, 250, 250]);
    }
}

#[test]
fn replies_that_nobody_takes_do_not_pile_up() {
    // Commands after the end of a message, in one read.
    let input = b"EHLO x\r\n".repeat(32 * 1_024 / 8);
    let mut machine = Submission::new(settings(), &input);
    let (mut most, mut replies) = (0, 0);
    loop {
        while machine.poll_event().is_some() {}
        let Some(output) = machine.poll_output() else { break };
        most = most.max(output.len());
        replies += output.windows(4).filter(|octets| octets == b"250 ").count();
    }
    assert_eq!(replies, 32 * 1_024 / 8);
    assert!(most <= 17 * 1_024, "{most} octets wait");
}
