//! The reports on delivery that a program wishes for (RFC 3461), as Postfix's sendmail(1) takes them.

use std::fmt::Write as _;

use super::outcome::{Code, NotSent};

/// Longest ENVID (RFC 3461 §4.4).
const ENVELOPE_ID_OCTETS: usize = 100;

/// What is wished for. Where nothing is, the server decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reports {
    notify: Option<String>,
    returned: Option<&'static str>,
    envelope_id: Option<String>,
}

impl Reports {
    /// Reads `-N`: `never`, or some of `success`, `failure` and `delay`, with commas.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn set_notify(&mut self, value: &str) -> Result<(), NotSent> {
        let words: Vec<String> = value.split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
        let is_known = |word: &String| matches!(word.as_str(), "SUCCESS" | "FAILURE" | "DELAY");
        if words != ["NEVER"] && !words.iter().all(is_known) {
            return Err(usage("-N", value, "`never`, or a list of `success`, `failure` and `delay`"));
        }
        self.notify = Some(words.join(","));
        Ok(())
    }

    /// Reads `-R`: `full` or `hdrs`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn set_return(&mut self, value: &str) -> Result<(), NotSent> {
        self.returned = match value.to_ascii_lowercase().as_str() {
            "full" => Some("FULL"),
            "hdrs" => Some("HDRS"),
            _ => return Err(usage("-R", value, "`full` or `hdrs`")),
        };
        Ok(())
    }

    /// Reads `-V`, an identifier of the program's own. An empty one is none.
    ///
    /// # Errors
    /// It is too long, or has other characters than printable ASCII.
    pub(super) fn set_envelope_id(&mut self, value: &str) -> Result<(), NotSent> {
        let id = xtext(value);
        if id.len() > ENVELOPE_ID_OCTETS || !value.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            return Err(usage("-V", value, "printable ASCII of at most 100 characters"));
        }
        self.envelope_id = Some(id).filter(|id| !id.is_empty());
        Ok(())
    }

    /// Returns the parameters of MAIL.
    pub(super) fn of_message(&self) -> Vec<String> {
        let returned = self.returned.map(|value| format!("RET={value}"));
        let envelope_id = self.envelope_id.as_ref().map(|id| format!("ENVID={id}"));
        returned.into_iter().chain(envelope_id).collect()
    }

    /// Returns the parameters of each RCPT.
    pub(super) fn of_recipient(&self) -> Vec<String> {
        self.notify.iter().map(|words| format!("NOTIFY={words}")).collect()
    }
}

/// Encodes what may not stand in a parameter (RFC 3461 §4).
fn xtext(value: &str) -> String {
    let mut encoded = String::new();
    for octet in value.bytes() {
        match octet {
            b'+' | b'=' | 0..=b' ' | 127.. => {
                // Writing to a string does not fail.
                let _ = write!(encoded, "+{octet:02X}");
            }
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

fn usage(flag: &str, value: &str, expected: &str) -> NotSent {
    NotSent::new(Code::Usage, format_args!("`{flag} {value}` is not known. Write {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(notify: &str, returned: &str, envelope_id: &str) -> Result<(Vec<String>, Vec<String>), NotSent> {
        let mut reports = Reports::default();
        reports.set_notify(notify)?;
        reports.set_return(returned)?;
        reports.set_envelope_id(envelope_id)?;
        Ok((reports.of_message(), reports.of_recipient()))
    }

    #[test]
    fn the_words_of_postfix_become_parameters() {
        for (notify, returned, id, message, recipient) in [
            ("success,delay", "hdrs", "job-7", &["RET=HDRS", "ENVID=job-7"][..], "NOTIFY=SUCCESS,DELAY"),
            ("Never", "FULL", "a+b=c d", &["RET=FULL", "ENVID=a+2Bb+3Dc+20d"], "NOTIFY=NEVER"),
            ("failure, success", "full", "", &["RET=FULL"], "NOTIFY=FAILURE,SUCCESS"),
        ] {
            let (of_message, of_recipient) = reports(notify, returned, id).unwrap();
            assert_eq!(of_message, message, "{notify}");
            assert_eq!(of_recipient, [recipient], "{notify}");
        }
        assert_eq!(Reports::default().of_message(), Vec::<String>::new());
        assert_eq!(Reports::default().of_recipient(), Vec::<String>::new());
    }

    #[test]
    fn nothing_else_gets_into_a_command() {
        let long = "x".repeat(ENVELOPE_ID_OCTETS + 1);
        for (notify, returned, id) in [
            ("never,success", "full", ""),
            ("", "full", ""),
            ("success delay", "full", ""),
            ("never", "body", ""),
            ("never", "full", "a\r\nRCPT TO:<b@x>"),
            ("never", "full", "\u{e9}"),
            ("never", "full", &long),
        ] {
            assert_eq!(reports(notify, returned, id).unwrap_err().code, Code::Usage, "{notify} {returned} {id}");
        }
    }
}
