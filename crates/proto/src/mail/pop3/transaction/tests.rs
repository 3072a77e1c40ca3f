use proptest::prelude::*;

use super::super::maildrop::UniqueId;
use super::*;

/// A mailbox whose message `n` is `n` lines of `n`, except those that are deleted or broken.
struct Caller {
    machine: Transaction,
    said: Vec<u8>,
    messages: u32,
    lists: u32,
    updates: Vec<Vec<u32>>,
    closed: bool,
}

impl Caller {
    fn new(messages: u32) -> Self {
        let machine = Transaction::new(false, "7F3A".into());
        Self { machine, said: Vec::new(), messages, lists: 0, updates: Vec::new(), closed: false }
    }

    fn text(number: u32) -> String {
        format!("Subject: {number}\r\n\r\n{}", format!(".{number}\r\n").repeat(number as usize))
    }

    fn listing(&self) -> Maildrop {
        Maildrop::new(
            (1..=self.messages)
                .map(|number| Message { octets: 1_000 * number, unique_id: UniqueId::of(&number.to_string()) }),
        )
    }

    fn drive(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                assert!(output.len() < OUTPUT_OCTETS + 1_024);
                self.said.extend(output);
            }
            match self.machine.poll_event() {
                None => return,
                Some(MaildropEvent::List) => {
                    self.lists += 1;
                    let listing = self.listing();
                    self.machine.listed(listing);
                }
                Some(MaildropEvent::Content { number: 13 }) => self.machine.refuse(Trouble::Gone),
                Some(MaildropEvent::Content { number: 14 }) => self.machine.refuse(Trouble::Temporary),
                Some(MaildropEvent::Content { number }) => {
                    self.machine.begin_content();
                    for piece in Self::text(number).as_bytes().chunks(7) {
                        if self.machine.wants_content() {
                            self.machine.content(piece);
                        }
                    }
                    self.machine.end_content();
                }
                Some(MaildropEvent::Update(numbers)) => {
                    let left = numbers.iter().filter(|number| **number >= 13).count();
                    self.updates.push(numbers);
                    self.machine.updated(left);
                }
                Some(MaildropEvent::Close) => self.closed = true,
            }
        }
    }

    fn say(&mut self, said: &str) -> String {
        self.said.clear();
        self.machine.handle_input(said.as_bytes());
        self.drive();
        String::from_utf8(self.said.clone()).unwrap()
    }

    fn ask(&mut self, command: &str) -> String {
        self.say(&format!("{command}\r\n"))
    }
}

#[test]
fn a_session_from_stat_to_quit() {
    let mut caller = Caller::new(3);
    assert_eq!(caller.ask("STAT"), "+OK 3 6000\r\n");
    assert_eq!(caller.ask("LIST"), "+OK 3 messages (6000 octets)\r\n1 1000\r\n2 2000\r\n3 3000\r\n.\r\n");
    assert_eq!(caller.ask("LIST 2"), "+OK 2 2000\r\n");
    let id = UniqueId::of("2");
    assert_eq!(caller.ask("UIDL 2"), format!("+OK 2 {id}\r\n"));
    assert!(caller.ask("UIDL").contains(&format!("\r\n2 {id}\r\n")));
    assert_eq!(caller.ask("RETR 2"), "+OK Message follows\r\nSubject: 2\r\n\r\n..2\r\n..2\r\n.\r\n");
    assert_eq!(caller.ask("TOP 2 1"), "+OK Message follows\r\nSubject: 2\r\n\r\n..2\r\n.\r\n");
    assert_eq!(caller.ask("LIST 2"), "+OK 2 22\r\n", "the size is known since it was sent");
    assert_eq!(caller.ask("NOOP"), "+OK\r\n");
    assert_eq!(caller.ask("DELE 2"), "+OK Marked for deletion\r\n");
    assert_eq!(caller.ask("STAT"), "+OK 2 4000\r\n");
    assert_eq!(caller.ask("LIST"), "+OK 2 messages (4000 octets)\r\n1 1000\r\n3 3000\r\n.\r\n");
    for command in ["RETR 2", "LIST 2", "UIDL 2", "DELE 2", "TOP 2 0", "RETR 4", "RETR 0"] {
        assert_eq!(caller.ask(command), "-ERR There is no such message\r\n", "{command}");
    }
    assert!(caller.updates.is_empty() && !caller.closed);
    assert_eq!(caller.ask("QUIT"), "+OK Bye, the marked messages are deleted\r\n");
    assert_eq!(caller.updates, [vec![2]]);
    assert!(caller.closed);
    assert_eq!(caller.lists, 1);
    assert_eq!(caller.ask("STAT"), "", "nothing is answered behind QUIT");
}

#[test]
fn rset_takes_the_marks_away() {
    let mut caller = Caller::new(3);
    caller.say("DELE 1\r\nDELE 3\r\n");
    assert_eq!(caller.ask("STAT"), "+OK 1 2000\r\n");
    assert_eq!(caller.ask("RSET"), "+OK\r\n");
    assert_eq!(caller.ask("STAT"), "+OK 3 6000\r\n");
    assert_eq!(caller.ask("QUIT"), "+OK Bye\r\n");
    assert!(caller.updates.is_empty());
}

#[test]
fn a_session_that_only_says_goodbye_lists_nothing() {
    let mut caller = Caller::new(3);
    assert_eq!(caller.say("CAPA\r\nNOOP\r\nQUIT\r\n").matches("+OK").count(), 3);
    assert_eq!(caller.lists, 0);
    assert!(caller.closed);
}

#[test]
fn messages_that_are_not_deleted_are_told() {
    let mut caller = Caller::new(14);
    caller.say("DELE 1\r\nDELE 13\r\n");
    assert_eq!(
        caller.ask("QUIT"),
        "-ERR [SYS/TEMP] One marked message was not deleted, try again later (session 7F3A)\r\n"
    );
    assert!(caller.closed);
    let mut caller = Caller::new(14);
    assert!(
        caller.say("DELE 13\r\nDELE 14\r\nQUIT\r\n").contains("-ERR [SYS/TEMP] 2 marked messages were not deleted")
    );
}

#[test]
fn trouble_ends_the_command_and_not_the_session() {
    let mut caller = Caller::new(14);
    assert_eq!(caller.ask("RETR 13"), "-ERR That message has been deleted or moved elsewhere\r\n");
    assert_eq!(
        caller.ask("TOP 14 0"),
        "-ERR [SYS/TEMP] The mailbox cannot be read for now, try again later (session 7F3A)\r\n"
    );
    assert!(caller.ask("RETR 1").starts_with("+OK"));

    let mut machine = Transaction::new(false, "7F3A".into());
    machine.handle_input(b"STAT\r\nSTAT\r\n");
    assert_eq!(machine.poll_event(), Some(MaildropEvent::List));
    machine.refuse(Trouble::Permanent);
    assert_eq!(
        machine.poll_output().unwrap(),
        b"-ERR [SYS/PERM] An administrator needs to fix this (session 7F3A)\r\n"
    );
    assert_eq!(machine.poll_event(), Some(MaildropEvent::List), "it is asked for again");
    machine.listed(Maildrop::default());
    assert_eq!(machine.poll_output().unwrap(), b"+OK 0 0\r\n");
}

#[test]
fn what_is_wrong_gets_one_reply_each() {
    let mut caller = Caller::new(1);
    for (said, reply) in [
        ("XTND\r\n", "-ERR Command unknown\r\n"),
        ("\r\n", "-ERR Command unknown\r\n"),
        ("RETR one\r\n", "-ERR Arguments missing or malformed\r\n"),
        ("USER alice\r\n", "-ERR You are logged in already\r\n"),
        ("NOOP\n", "-ERR A line ends in CRLF and holds no NUL\r\n"),
        ("NO\0OP\r\n", "-ERR A line ends in CRLF and holds no NUL\r\n"),
    ] {
        assert_eq!(caller.say(said), reply, "{said:?}");
    }
    let long = "x".repeat(254);
    assert_eq!(caller.say(&long), "");
    assert_eq!(caller.say("y"), "-ERR Line too long\r\n");
    assert_eq!(caller.say(&long.repeat(100)), "");
    assert_eq!(caller.say("\r\nNOOP\r\n"), "+OK\r\n", "and what follows the line is a command again");
}

#[test]
fn a_bare_lf_ends_a_command_where_it_may() {
    let mut machine = Transaction::new(true, "7F3A".into());
    machine.handle_input(b"NOOP\n");
    assert_eq!(machine.poll_output().unwrap(), b"+OK\r\n");
}

#[test]
fn capa_repeats_what_was_announced() {
    let said = Caller::new(0).ask("CAPA");
    assert_eq!(
        said,
        "+OK Capability list follows\r\nTOP\r\nUIDL\r\nEXPIRE NEVER\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n\
         IMPLEMENTATION Gatepost\r\n.\r\n"
    );
}

#[test]
fn fifty_thousand_messages_are_listed_bit_by_bit() {
    let mut caller = Caller::new(50_000);
    // Each output is also checked to be within its limit.
    let said = caller.say("UIDL\r\nLIST\r\nNOOP\r\n");
    assert_eq!(said.lines().count(), 2 * 50_002 + 1);
    assert!(said.ends_with("50000 50000000\r\n.\r\n+OK\r\n"));
}

#[test]
fn a_listing_goes_on_only_when_its_beginning_was_taken() {
    let mut caller = Caller::new(50_000);
    caller.machine.handle_input(b"UIDL\r\nQUIT\r\n");
    assert_eq!(caller.machine.poll_event(), Some(MaildropEvent::List));
    let listing = caller.listing();
    caller.machine.listed(listing);
    assert_eq!(caller.machine.poll_event(), None, "QUIT is not carried out yet");
    assert!(caller.machine.output.len() < OUTPUT_OCTETS + 1_024);
}

proptest! {
    #[test]
    fn no_split_of_the_input_makes_a_difference(
        commands in prop::collection::vec(
            prop::sample::select(vec![
                "STAT\r\n", "LIST\r\n", "LIST 2\r\n", "UIDL\r\n", "RETR 1\r\n", "RETR 13\r\n", "RETR 14\r\n", "TOP 5 2\r\n",
                "DELE 1\r\n", "DELE 14\r\n", "RSET\r\n", "NOOP\r\n", "CAPA\r\n", "bad\r\n", "NOOP\n", "\r\n", "QUIT\r\n",
            ]),
            0..20,
        ),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let input = commands.concat();
        let mut whole = Caller::new(14);
        let said = whole.say(&input);
        let mut split = Caller::new(14);
        let mut said_split = String::new();
        let (mut rest, mut cuts) = (input.as_str(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            said_split.push_str(&split.say(piece));
            rest = behind;
        }
        prop_assert_eq!(said, said_split);
        prop_assert_eq!(whole.updates, split.updates);
        prop_assert_eq!(whole.closed, split.closed);
    }
}
