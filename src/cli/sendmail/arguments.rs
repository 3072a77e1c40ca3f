//! The command line of sendmail, as Postfix's sendmail(1) takes it. What has no meaning here is
//! ignored, as there.

use std::ffi::OsString;
use std::path::PathBuf;

use super::dsn::Reports;
use super::outcome::{Code, NotSent};

/// Flags that take a value, in the same word or in the next one.
const WITH_VALUE: &str = "ABCFLNORVXbefhopr";
/// Flags without one.
const WITHOUT_VALUE: &str = "GIUcimntvx";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Send a message.
    Send,
    /// Speak SMTP on standard input and output.
    Converse,
    /// Nothing needs to be done, for this reason.
    Nothing(&'static str),
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) task: Task,
    /// The socket of the service (`-C`).
    pub(super) socket: Option<PathBuf>,
    /// The envelope sender (`-f`, `-r`), as written.
    pub(super) sender: Option<String>,
    /// The name for a From field that is missing (`-F`).
    pub(super) full_name: Option<String>,
    /// Whether recipients come from the header (`-t`).
    pub(super) from_header: bool,
    /// Whether a line with a single dot ends the message.
    pub(super) dot_ends: bool,
    /// The reports that are wished for (`-N`, `-R`, `-V`).
    pub(super) reports: Reports,
    /// Recipients, as written.
    pub(super) recipients: Vec<String>,
}

impl Arguments {
    /// Reads the arguments of a command with this name.
    ///
    /// # Errors
    /// What is wrong with them, or what cannot be done.
    pub(super) fn read(name: &str, words: Vec<OsString>) -> Result<Self, NotSent> {
        let mut read = Self {
            task: Task::Send,
            socket: None,
            sender: None,
            full_name: None,
            from_header: false,
            dot_ends: true,
            reports: Reports::default(),
            recipients: Vec::new(),
        };
        match name {
            "newaliases" => read.mode("i")?,
            "mailq" => read.mode("p")?,
            _ => {}
        }
        let mut words = words
            .into_iter()
            .map(|word| word.into_string().map_err(|word| usage(format!("`{}` is not UTF-8", word.to_string_lossy()))));
        while let Some(word) = words.next() {
            let word = word?;
            match word.strip_prefix('-') {
                Some("-") => {
                    for recipient in words.by_ref() {
                        read.recipients.push(recipient?);
                    }
                }
                Some(flags) if !flags.is_empty() => read.flags(flags, &mut words)?,
                _ => read.recipients.push(word),
            }
        }
        Ok(read)
    }

    /// Reads a word of flags.
    fn flags(&mut self, flags: &str, more: &mut impl Iterator<Item = Result<String, NotSent>>) -> Result<(), NotSent> {
        let mut rest = flags.chars();
        while let Some(flag) = rest.next() {
            if WITH_VALUE.contains(flag) {
                let value = match rest.as_str() {
                    "" => more.next().ok_or_else(|| usage(format!("`-{flag}` needs a value")))??,
                    value => value.to_owned(),
                };
                return self.value(flag, value);
            }
            match flag {
                'i' => self.dot_ends = false,
                't' => self.from_header = true,
                'I' => self.mode("i")?,
                // The value of the queue run is optional, and in the same word.
                'q' => {
                    self.task = Task::Nothing("the service sends waiting messages by itself");
                    return Ok(());
                }
                flag if WITHOUT_VALUE.contains(flag) => {}
                flag => return Err(usage(format!("there is no flag `-{flag}`"))),
            }
        }
        Ok(())
    }

    fn value(&mut self, flag: char, value: String) -> Result<(), NotSent> {
        match flag {
            'b' => self.mode(&value)?,
            'f' | 'r' => self.sender = Some(value),
            'F' => self.full_name = Some(value).filter(|name| !name.is_empty()),
            'N' => self.reports.set_notify(&value)?,
            'R' => self.reports.set_return(&value)?,
            'V' => self.reports.set_envelope_id(&value)?,
            'C' => self.socket = Some(value.into()),
            'o' if value == "i" => self.dot_ends = false,
            _ => {}
        }
        Ok(())
    }

    fn mode(&mut self, mode: &str) -> Result<(), NotSent> {
        self.task = match mode {
            "m" => Task::Send,
            "s" => Task::Converse,
            "i" => Task::Nothing("there are no aliases: `sendmail.local_mail_to` gets mail for names without a domain"),
            "p" => {
                return Err(NotSent::new(
                    Code::Unavailable,
                    "the queue is the service's. Its user sees it with `gatepost queue list`",
                ));
            }
            "d" | "D" | "l" => return Err(usage("the service is `gatepost run`".to_owned())),
            "v" | "t" => return Err(usage("addresses cannot be tested. Send a message to them".to_owned())),
            other => return Err(usage(format!("there is no mode `-b{other}`"))),
        };
        Ok(())
    }
}

fn usage(why: String) -> NotSent {
    NotSent::new(Code::Usage, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, NotSent> {
        read_as("sendmail", line)
    }

    fn read_as(name: &str, line: &str) -> Result<Arguments, NotSent> {
        Arguments::read(name, line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn what_programs_write_is_understood() {
        // PHP, cron of Debian and of Red Hat, mailx, git, Symfony.
        for (line, sender, name, from_header, dot_ends, recipients) in [
            ("-t -i", None, None, true, false, &[][..]),
            ("-ti", None, None, true, false, &[]),
            ("-i -FCronDaemon -B8BITMIME -oem root", None, Some("CronDaemon"), false, false, &["root"]),
            ("-FCronDaemon -i -odi -oem -oi -t -f root", Some("root"), Some("CronDaemon"), true, false, &[]),
            ("-oi -f a@x -- b@x -c@x", Some("a@x"), None, false, false, &["b@x", "-c@x"]),
            ("-fa@x b@x c@x", Some("a@x"), None, false, true, &["b@x", "c@x"]),
            ("b@x -r a@x -om -oeq", Some("a@x"), None, false, true, &["b@x"]),
            ("-tvf a@x -N never -R hdrs -V id -h 5 -G -U -n -m -x -c", Some("a@x"), None, true, true, &[]),
            ("-bm -F x -p ESMTP -X log -A c -L tag -O k=v -e m -oQ/q a@x", None, Some("x"), false, true, &["a@x"]),
        ] {
            let read = read(line).unwrap();
            let found = (read.sender.as_deref(), read.full_name.as_deref(), read.from_header, read.dot_ends);
            assert_eq!(found, (sender, name, from_header, dot_ends), "{line}");
            assert_eq!((read.recipients.as_slice(), read.task), (recipients.map_to_owned().as_slice(), Task::Send));
        }
        assert_eq!(read("-C /run/x.sock -bs").unwrap().socket, Some("/run/x.sock".into()));
        assert_eq!(read("-bs -i").unwrap().task, Task::Converse);
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn what_needs_nothing_is_done() {
        for line in ["-q", "-q30m", "-qf", "-bi", "-I", "-i -q", "-vq", "-vq30m"] {
            assert!(matches!(read(line).unwrap().task, Task::Nothing(_)), "{line}");
        }
        assert!(matches!(read_as("newaliases", "").unwrap().task, Task::Nothing(_)));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (line, code) in [
            ("-bp", Code::Unavailable),
            ("-bd", Code::Usage),
            ("-bd -q30m", Code::Usage),
            ("-bv a@x", Code::Usage),
            ("-bz", Code::Usage),
            ("-Z", Code::Usage),
            ("-f", Code::Usage),
            ("--frobnicate", Code::Usage),
            ("-N sometimes a@x", Code::Usage),
            ("-R all a@x", Code::Usage),
        ] {
            assert_eq!(read(line).unwrap_err().code, code, "{line}");
        }
        assert_eq!(read_as("mailq", "").unwrap_err().code, Code::Unavailable);
    }
}
