//! The mail that a new mailbox finds in its INBOX: one message of each common build.

use crate::calendar;

/// The messages for `address`, oldest first, each with its time of arrival; `now` in seconds since
/// 1970.
pub(crate) fn messages(address: &str, now: i64) -> Vec<(i64, Vec<u8>)> {
    let builds: [(i64, &str, &str, &str); 5] = [
        (96 * 3_600, "IT Service Desk <servicedesk@contoso.example>", "Welcome to your mailbox", PLAIN),
        (51 * 3_600, "Accounts Payable <invoices@fabrikam.example>", "Invoice 2026-1187", ATTACHMENT),
        (26 * 3_600, "=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <j.mueller@fabrikam.example>", GREETING, QUOTED_PRINTABLE),
        (3 * 3_600, "Printer 7 <printer7@contoso.example>", "Scanned document", ALTERNATIVE),
        (20 * 60, "Night shift <night@contoso.example>", "FW: Pump 3 reports low pressure", FORWARDED),
    ];
    builds
        .into_iter()
        .enumerate()
        .map(|(index, (age, from, subject, rest))| {
            let at = now - age;
            let date = calendar::message_date(at);
            let head = format!(
                "Date: {date}\nFrom: {from}\nTo: <{address}>\nSubject: {subject}\n\
                 Message-ID: <sample-{index}@contoso.example>\nMIME-Version: 1.0\n"
            );
            (at, format!("{head}{rest}").replace('\n', "\r\n").into_bytes())
        })
        .collect()
}

// "Grüße aus Köln".
const GREETING: &str = "=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=";

const PLAIN: &str = "Content-Type: text/plain; charset=us-ascii

Welcome.

This mailbox lives in the memory of the Gatepost sandbox and vanishes with it.
It accepts nothing but XOAUTH2, exactly like Exchange Online.

. A line that starts with a dot, to keep POP3 and SMTP honest.
.
-- 
IT Service Desk
";

const ATTACHMENT: &str = "Content-Type: multipart/mixed; boundary=\"mixed-1187\"

This is a multi-part message in MIME format.
--mixed-1187
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

Please find the positions of invoice 2026-1187 attached.
--mixed-1187
Content-Type: text/csv; name=\"positions.csv\"
Content-Disposition: attachment; filename=\"positions.csv\"
Content-Transfer-Encoding: base64

UG9zaXRpb24sQW1vdW50LEV1cm8NCjEsNCwxMjAuMDANCjIsMSw5OS45MA0K
--mixed-1187--
";

const QUOTED_PRINTABLE: &str = "Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Sch=C3=B6ne Gr=C3=BC=C3=9Fe! Die Unterlagen liegen im Schlie=C3=9Ffach.
";

const ALTERNATIVE: &str = "Content-Type: multipart/alternative; boundary=\"alternative-7\"

--alternative-7
Content-Type: text/plain; charset=us-ascii

Your document has 2 pages.
--alternative-7
Content-Type: text/html; charset=us-ascii

<html><body><p>Your document has <b>2</b> pages.</p></body></html>
--alternative-7--
";

const FORWARDED: &str = "Content-Type: multipart/mixed; boundary=\"forward-3\"

--forward-3
Content-Type: text/plain; charset=us-ascii

Please have a look.
--forward-3
Content-Type: message/rfc822
Content-Disposition: attachment

Date: Mon, 16 Nov 2026 05:12:44 +0000
From: Monitoring <monitoring@contoso.example>
To: Night shift <night@contoso.example>
Subject: Pump 3 reports low pressure
Message-ID: <alarm-3@contoso.example>
Content-Type: text/plain; charset=us-ascii

Pressure 1.2 bar, expected at least 2.0 bar.
--forward-3--
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ends_in_crlf_and_the_oldest_comes_first() {
        let messages = messages("alice@contoso.example", 1_800_000_000);
        assert_eq!(messages.len(), 5);
        assert!(messages.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (_, raw) in messages {
            let text = String::from_utf8(raw).unwrap();
            assert!(text.is_ascii());
            assert!(text.contains("To: <alice@contoso.example>\r\n"));
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        }
    }
}
