//! Reports by mail to an administrator: which messages failed or have an unknown outcome.
//! All but [`Report::put`] is pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_store::queue::{NewMessage, Queue, QueueError, QueueId, Recipient};

/// Where reports come from. Messages from there cause no report.
const DEVICE: &str = "report";

/// Messages that fail together are in one report.
const FIRST: Duration = Duration::from_secs(10);

/// The time between two reports about a mailbox.
const BETWEEN: Duration = Duration::from_secs(15 * 60);

/// Most messages that a report names. It says how many more there are.
const NAMED: usize = 100;

/// Most octets of a line (RFC 5321 allows 998).
const LINE: usize = 900;

/// What a report says about a message.
pub(super) struct Line {
    pub(super) id: QueueId,
    /// What happened, who must act and what to do.
    pub(super) text: String,
}

/// Reports that are to be sent, by the mailbox that they are about.
#[derive(Default)]
pub(super) struct Reports {
    mailboxes: HashMap<MailAddress, Collected>,
}

struct Collected {
    listener: String,
    login: String,
    lines: Vec<Line>,
    /// The messages beyond [`NAMED`].
    more: Vec<QueueId>,
    due: Instant,
}

/// A report that is due.
pub(super) struct Report {
    pub(super) message: NewMessage,
    pub(super) content: String,
    mailbox: MailAddress,
    lines: Vec<Line>,
    more: Vec<QueueId>,
}

impl Report {
    /// The messages that it is about.
    pub(super) fn about(&self) -> Vec<QueueId> {
        self.lines.iter().map(|line| line.id).chain(self.more.iter().copied()).collect()
    }

    /// Puts it into the queue like any other message.
    pub(super) async fn put(&self, queue: &Queue) -> Result<(), QueueError> {
        let reservation = queue.reserve(Some(self.content.len() as u64)).await?;
        let mut writer = queue.writer(reservation).await?;
        writer.write(self.content.as_bytes()).await?;
        writer.commit(&self.message).await.map(drop)
    }
}

impl Reports {
    /// Whether a message is to be in a report.
    pub(super) fn wants(of: &NewMessage) -> bool {
        of.device != DEVICE
    }

    /// Notes that a message waits for a person.
    pub(super) fn add(&mut self, mailbox: &MailAddress, of: &NewMessage, line: Line, now: Instant) {
        if !Self::wants(of) {
            return;
        }
        let collected = self.mailboxes.entry(mailbox.clone()).or_insert_with(|| Collected {
            listener: of.listener.clone(),
            login: of.login.clone(),
            lines: Vec::new(),
            more: Vec::new(),
            due: now + FIRST,
        });
        if collected.lines.len() < NAMED {
            collected.lines.push(line);
        } else {
            collected.more.push(line.id);
        }
    }

    /// Takes back a report that could not be put into the queue. It is due again when the next one is.
    pub(super) fn take_back(&mut self, report: Report) {
        if let Some(collected) = self.mailboxes.get_mut(&report.mailbox) {
            let mut lines = report.lines;
            lines.append(&mut collected.lines);
            let beyond = lines.split_off(lines.len().min(NAMED));
            collected.more.extend(report.more);
            collected.more.extend(beyond.into_iter().map(|line| line.id));
            collected.lines = lines;
        }
    }

    /// Returns the reports that are due.
    pub(super) fn due(&mut self, to: Option<&MailAddress>, server: &str, at: UnixTime, now: Instant) -> Vec<Report> {
        let mut due = Vec::new();
        self.mailboxes.retain(|mailbox, collected| {
            if collected.due > now {
                return true;
            }
            let lines = std::mem::take(&mut collected.lines);
            let more = std::mem::take(&mut collected.more);
            collected.due = now + BETWEEN;
            let is_empty = lines.is_empty();
            if let (Some(to), false) = (to, is_empty) {
                due.push(report(mailbox, collected, (lines, more), (to, server, at)));
            }
            // It is remembered until another report may follow.
            !is_empty
        });
        due
    }
}

fn report(
    mailbox: &MailAddress,
    of: &Collected,
    (lines, more): (Vec<Line>, Vec<QueueId>),
    (to, server, at): (&MailAddress, &str, UnixTime),
) -> Report {
    let number = lines.len() + more.len();
    let first = lines.first().map_or(0, |line| line.id.0);
    let id = format!("<queue-report-{first}-{}@{server}>", at.0);
    let messages = if number == 1 { "1 message".to_owned() } else { format!("{number} messages") };
    let mut content = format!(
        "From: {mailbox}\r\nTo: {to}\r\nSubject: Gatepost: {messages} of {mailbox} not delivered\r\nDate: \
         {}\r\nMessage-ID: {id}\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; \
         charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThese messages of {mailbox} wait in the queue of \
         Gatepost on {server} until somebody acts.\r\n",
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(at.0)).replace("GMT", "+0000"),
    );
    for Line { id, text } in &lines {
        // Writing to a string does not fail. No line is longer than RFC 5321 allows.
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.truncate(text.floor_char_boundary(LINE));
        let _ = write!(content, "\r\nMessage {id}\r\n{text}\r\n");
    }
    if !more.is_empty() {
        let _ = write!(content, "\r\nThere are {} more.\r\n", more.len());
    }
    content.push_str("\r\nTo see them, run `gatepost queue list` on that machine.\r\n");
    let message = NewMessage {
        listener: of.listener.clone(),
        login: of.login.clone(),
        mailbox: mailbox.to_string(),
        device: DEVICE.to_owned(),
        sender: Some(mailbox.to_string()),
        body: Some("8BITMIME".to_owned()),
        smtputf8: false,
        dsn: Vec::new(),
        recipients: vec![Recipient { address: to.to_string(), dsn: Vec::new() }],
        message_id: Some(id),
    };
    Report { message, content, mailbox: mailbox.clone(), lines, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(local: &str) -> MailAddress {
        MailAddress::parse(&format!("{local}@contoso.com")).unwrap()
    }

    fn message(device: &str) -> NewMessage {
        NewMessage {
            listener: "smtp".into(),
            login: "scanner@contoso.com".into(),
            mailbox: "scanner@contoso.com".into(),
            device: device.into(),
            sender: None,
            body: None,
            smtputf8: false,
            dsn: Vec::new(),
            recipients: Vec::new(),
            message_id: None,
        }
    }

    fn line(id: u64) -> Line {
        Line { id: QueueId(id), text: format!("550 5.7.60 refused {id}\r\n.\r\nQUIT") }
    }

    #[test]
    fn a_mailbox_has_one_report_in_a_quarter_of_an_hour_and_the_rest_is_collected() {
        let (mut reports, start) = (Reports::default(), Instant::now());
        let (scanner, admin) = (address("scanner"), address("admin"));
        let at = UnixTime(1_800_000_000);
        let due = |reports: &mut Reports, seconds: u64| {
            reports.due(Some(&admin), "gatepost.contoso.com", at, start + Duration::from_secs(seconds))
        };
        reports.add(&scanner, &message("192.168.7.21"), line(1), start);
        reports.add(&scanner, &message("192.168.7.21"), line(2), start);
        assert!(due(&mut reports, 9).is_empty());
        let first = due(&mut reports, 10);
        let [Report { message: sent, content, .. }] = &first[..] else { panic!("{}", first.len()) };
        assert_eq!((&*sent.mailbox, &*sent.recipients[0].address), ("scanner@contoso.com", "admin@contoso.com"));
        assert!(content.contains("\r\nSubject: Gatepost: 2 messages of scanner@contoso.com not delivered\r\n"));
        assert!(content.contains("\r\nMessage 2\r\n550 5.7.60 refused 2  .  QUIT\r\n"), "{content}");
        assert!(content.contains(&format!("\r\nMessage-ID: {}\r\n", sent.message_id.as_ref().unwrap())));
        for id in 3..=150 {
            reports.add(&scanner, &message("192.168.7.21"), line(id), start + Duration::from_secs(20));
        }
        assert!(due(&mut reports, 900).is_empty());
        let second = due(&mut reports, 911);
        assert!(second[0].content.contains("There are 48 more."), "{}", second[0].content);
        assert!(second[0].content.contains("Gatepost: 148 messages of "), "{}", second[0].content);
        assert_eq!(second[0].about(), (3..=150).map(QueueId).collect::<Vec<_>>(), "also those without a line");
        assert!(due(&mut reports, 10_000).is_empty());
        assert!(reports.mailboxes.is_empty(), "nothing is remembered for ever");
    }

    #[test]
    fn a_report_that_finds_no_room_is_made_again_and_no_line_is_too_long() {
        let (mut reports, start) = (Reports::default(), Instant::now());
        let (scanner, admin) = (address("scanner"), address("admin"));
        let due = |reports: &mut Reports, seconds: u64| {
            reports.due(Some(&admin), "x", UnixTime(0), start + Duration::from_secs(seconds))
        };
        let long = Line { id: QueueId(1), text: "ü".repeat(2_000) };
        reports.add(&scanner, &message("192.168.7.21"), long, start);
        let first = due(&mut reports, 10).remove(0);
        assert!(first.content.lines().all(|line| line.len() <= 998));
        reports.add(&scanner, &message("192.168.7.21"), line(2), start);
        reports.take_back(first);
        let again = due(&mut reports, 911).remove(0);
        assert!(
            again.content.contains("Message 1\r\n") && again.content.contains("Message 2\r\n"),
            "{}",
            again.content
        );
    }

    #[test]
    fn a_report_causes_none_and_without_an_address_there_is_none() {
        let (mut reports, start) = (Reports::default(), Instant::now());
        let later = start + Duration::from_secs(60);
        reports.add(&address("scanner"), &message(DEVICE), line(1), start);
        assert!(reports.due(Some(&address("admin")), "x", UnixTime(0), later).is_empty());
        reports.add(&address("scanner"), &message("::1"), line(1), start);
        assert!(reports.due(None, "x", UnixTime(0), later).is_empty());
    }
}
