#!/usr/bin/env python3
"""Writes messages/*.eml, changed/*.eml and manifest.tsv: messages, each awkward in one way, and what becomes of each when it
is sent through Microsoft Graph.

    python3 tests/corpus/generate.py

A verdict is one of
    identical       every octet goes out as it came
    bcc             the same behind a new Bcc field that names the addresses in the column "blind"
    changed         what goes out is the file of that name in changed/
    refused CODE    nothing goes out; the client hears that code
A message without Message-ID also gets one, which these files do not show. What is changed could be read by somebody else as
other fields, or as naming other people. What is refused has no one meaning.
"""

import base64
import pathlib

HERE = pathlib.Path(__file__).parent
ME = "alice@contoso.example"
A, B, C = (f"{name}@fabrikam.example" for name in ("anna", "bert", "carl"))
FROM = f"From: Alice <{ME}>\r\n"
TO = f"To: {A}\r\n"
HEAD = FROM + TO + "Subject: Test\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@contoso.example>\r\n"
MIME = HEAD + "MIME-Version: 1.0\r\n"
messages = []


def octets(text):
    return text if isinstance(text, bytes) else text.encode("utf-8")


def add(name, what, verdict, content, to=(A,), blind=(), after=None):
    messages.append((name, what, verdict, octets(content), list(to), list(blind), after))


def same(name, what, content, to=(A,)):
    add(name, what, "identical", content, to)


def bcc(name, what, content, to, blind):
    add(name, what, "bcc", content, to, blind)


def changed(name, what, before, after, to=(A,)):
    add(name, what, "changed", before, to, after=octets(after))


def refused(name, what, code, content, to=(A,)):
    add(name, what, f"refused {code}", content, to)


def part(kind, body, *fields):
    return "".join(f"{field}\r\n" for field in (f"Content-Type: {kind}", *fields)) + "\r\n" + body


def multipart(boundary, *parts, preamble="", epilogue=""):
    return preamble + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n" + epilogue


def wrapped(data):
    text = base64.b64encode(data).decode()
    return "".join(text[at:at + 76] + "\r\n" for at in range(0, len(text), 76))


BINARY = bytes(range(256)) * 4

# --- Line lengths and folding.
same("line-78", "body lines of 78 octets", HEAD + "\r\n" + ("x" * 78 + "\r\n") * 3)
same("line-998", "a body line as long as RFC 5322 allows", HEAD + "\r\n" + "x" * 998 + "\r\n")
same("line-999", "a body line one octet longer", HEAD + "\r\n" + "x" * 999 + "\r\n")
same("line-20000", "a body line of 20,000 octets", HEAD + "\r\n" + "x" * 20_000 + "\r\n")
same("header-line-998", "a header line as long as RFC 5322 allows", HEAD + "X-Long: " + "x" * 990 + "\r\n\r\nText\r\n")
same("header-line-5000", "a header line far longer", HEAD + "X-Long: " + "x" * 5_000 + "\r\n\r\nText\r\n")
same("subject-folded-50", "a subject of 50 folded lines", HEAD.replace("Test", "\r\n ".join(["word"] * 50)) + "\r\nText\r\n")
same("fold-with-tab", "a fold that begins with a tab", FROM + TO + "Subject: one\r\n\ttwo\r\n\r\nText\r\n")
same("fold-many-blanks", "a fold with forty blanks", FROM + TO + "Subject: one\r\n" + " " * 40 + "two\r\n\r\nText\r\n")
same("fold-before-value", "a value that begins in the next line", FROM + "To:\r\n " + A + "\r\nSubject:\r\n Test\r\n\r\nText\r\n")
same("fold-inside-quotes", "a fold inside a quoted display name", FROM + f'To: "Anna\r\n Berger" <{A}>\r\n\r\nText\r\n')
same("fold-before-bracket", "a fold between name and address", FROM + f"To: Anna Berger\r\n <{A}>\r\n\r\nText\r\n")
same("fold-in-comment", "a fold inside a comment", FROM + f"To: {A} (Anna\r\n Berger)\r\n\r\nText\r\n")
same("to-line-900", "a To line of 900 octets", FROM + "To: " + "x" * 870 + f" <{A}>\r\n\r\nText\r\n")
same("blanks-behind-values", "blanks and tabs at the end of header lines", FROM.replace("\r", "  \r") + TO.replace("\r", "\t\r") + "\r\nText\r\n")
same("blanks-behind-lines", "blanks and tabs at the end of body lines", HEAD + "\r\nText   \r\n\t\r\n -- \r\n")
same("tabs-in-body", "tabs everywhere", HEAD + "\r\n\ta\tb\t\tc\r\n")
same("no-space-behind-colon", "no blank behind the colons", f"From:{ME}\r\nTo:{A}\r\nSubject:Test\r\n\r\nText\r\n")
same("tab-behind-colon", "a tab behind the colons", f"From:\t{ME}\r\nTo:\t{A}\r\n\r\nText\r\n")
same("names-in-capitals", "field names in capitals", f"FROM: {ME}\r\nTO: {A}\r\nSUBJECT: Test\r\n\r\nText\r\n")
same("names-in-small", "field names in small letters", f"from: {ME}\r\nto: {A}\r\nsubject: Test\r\n\r\nText\r\n")
same("field-300", "300 fields", HEAD + "".join(f"X-Field-{n}: {n}\r\n" for n in range(300)) + "\r\nText\r\n")
same("head-200k", "a header of 200 KB", HEAD + ("X-Log: " + "x" * 93 + "\r\n") * 1_960 + "\r\nText\r\n")

# --- Characters.
same("latin1-body", "an 8-bit body in Latin-1 that does not say so", octets(HEAD + "\r\n") + "Grüße\r\n".encode("latin-1"))
same("utf8-body", "an 8-bit body in UTF-8", MIME + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße, 世界\r\n")
same("utf8-invalid", "a body that says UTF-8 and is not", octets(MIME + "Content-Type: text/plain; charset=utf-8\r\n\r\n") + b"a\xff\xfe\xc3\r\n")
same("shift-jis", "a body in Shift-JIS, whose second octets are ASCII", octets(MIME + "Content-Type: text/plain; charset=shift_jis\r\n\r\n") + "表示能力\r\n".encode("shift-jis"))
same("iso-2022-jp", "a body in ISO-2022-JP with escape sequences", octets(MIME + "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n") + "日本語\r\n".encode("iso2022-jp"))
same("utf-7", "a body in UTF-7", MIME + "Content-Type: text/plain; charset=utf-7\r\n\r\nGr+APwA3w-e\r\n")
same("latin1-subject", "a subject in raw Latin-1", octets(FROM + TO) + "Subject: Prüfung\r\n\r\nText\r\n".encode("latin-1"))
same("utf8-subject", "a subject in raw UTF-8 (RFC 6532)", FROM + TO + "Subject: Prüfung 世界\r\n\r\nText\r\n")
same("latin1-display-name", "a display name in raw Latin-1", octets(FROM) + f"To: Jörg Müller <{A}>\r\n\r\nText\r\n".encode("latin-1"))
same("utf8-display-name", "a display name in raw UTF-8", FROM + f"To: Jörg 世界 <{A}>\r\n\r\nText\r\n")
same("encoded-q", "a display name in encoded words (Q)", FROM + f"To: =?utf-8?Q?J=C3=B6rg_M=C3=BCller?= <{A}>\r\n\r\nText\r\n")
same("encoded-b", "a display name in encoded words (B)", FROM + f"To: =?utf-8?B?SsO2cmc=?= <{A}>\r\n\r\nText\r\n")
same("encoded-folded", "encoded words over a fold", FROM + f"To: =?utf-8?Q?J=C3=B6rg?=\r\n =?utf-8?Q?_M=C3=BCller?= <{A}>\r\n\r\nText\r\n")
same("encoded-language", "an encoded word with a language (RFC 2231)", FROM + f"To: =?utf-8*de?Q?J=C3=B6rg?= <{A}>\r\n\r\nText\r\n")
same("encoded-broken", "an encoded word without its end", FROM + f"To: =?utf-8?Q?J=C3=B6rg <{A}>\r\n\r\nText\r\n")
same("encoded-unknown-charset", "an encoded word in a charset that nobody knows", FROM + f"To: =?x-none?Q?abc?= <{A}>\r\n\r\nText\r\n")
same("encoded-in-quotes", "an encoded word inside quotes", FROM + f'To: "=?utf-8?Q?J=C3=B6rg?=" <{A}>\r\n\r\nText\r\n')
same("subject-encoded-split", "a character split between two encoded words", FROM + TO + "Subject: =?utf-8?B?w7w=?= =?utf-8?B?w4M=?=\r\n =?utf-8?B?vA==?=\r\n\r\nText\r\n")
same("control-in-subject", "a bell and an escape in the subject", FROM + TO + "Subject: \x07Test\x1b[1m\r\n\r\nText\r\n")
same("form-feed-body", "form feeds and vertical tabs in the body", HEAD + "\r\npage 1\x0cpage 2\x0b\r\n")
same("nel-body", "U+0085 and U+2028, line ends to some", HEAD + "\r\none\u0085two\u2028three\r\n")
same("bom-in-body", "a byte order mark at the start of the body", HEAD + "\r\n\ufeffText\r\n")
same("utf16-body-base64", "a body in UTF-16, encoded", MIME + "Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped("\ufeffGrüße".encode("utf-16-le")))

# --- Transfer encodings.
same("qp-soft-breaks", "quoted-printable with soft line breaks", MIME + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe und eine lange Zeile, die umbrochen wird, weil sie zu lang =\r\nist=20\r\n=\r\n")
same("qp-url-equals", "quoted-printable with URLs", MIME + "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D\"https://x.example/?a=3D1&b=3D=\r\n2\">x</a>\r\n")
same("qp-broken", "quoted-printable with sequences that are none", MIME + "Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ =4 =\t\r\n=e4\r\n")
same("qp-dot-lines", "quoted-printable with lines that begin with dots", MIME + "Content-Transfer-Encoding: quoted-printable\r\n\r\n.=\r\n..=\r\n=2E\r\n")
same("base64-attachment", "an attachment in base64", MIME + 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + multipart("b", part("text/plain", "Text"), part("application/octet-stream", wrapped(BINARY), "Content-Transfer-Encoding: base64", 'Content-Disposition: attachment; filename="a.bin"')))
same("base64-one-line", "base64 in a single line of 11,000 octets", MIME + "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(BINARY * 8).decode() + "\r\n")
same("base64-no-padding", "base64 without padding", MIME + "Content-Transfer-Encoding: base64\r\n\r\nVGV4dA\r\n")
same("base64-blanks", "base64 with blanks and empty lines", MIME + "Content-Transfer-Encoding: base64\r\n\r\nVG V4\r\n\r\n dA==\r\n")
same("uuencode", "a uuencoded file in the text", HEAD + "\r\nbegin 644 a.txt\r\n#86)C\r\n`\r\nend\r\n")
same("yenc", "a yEnc block with 8-bit octets", octets(HEAD + "\r\n=ybegin line=128 size=3 name=a\r\n") + bytes([0x8b, 0x8c, 0x8d]) + b"\r\n=yend size=3\r\n")
same("encoding-unknown", "a transfer encoding that nobody knows", MIME + "Content-Transfer-Encoding: x-none\r\n\r\nText\r\n")
same("encoding-binary", "a binary body without NUL", octets(MIME + "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n") + bytes(n for n in range(1, 256) if n not in (10, 13)) + b"\r\n")

# --- Structures.
same("multipart-alternative", "text and HTML", MIME + "Content-Type: multipart/alternative; boundary=b\r\n\r\n" + multipart("b", part("text/plain", "Text"), part("text/html", "<p>Text</p>")))
deep = part("text/plain", "Text")
for level in range(30):
    deep = part(f"multipart/mixed; boundary=b{level}", multipart(f"b{level}", deep))
same("multipart-30-deep", "multiparts inside each other, thirty levels", FROM + TO + deep)
same("multipart-500-parts", "a multipart of 500 parts", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", *[part("text/plain", str(n)) for n in range(500)]))
same("multipart-related", "HTML with an image inside", MIME + "Content-Type: multipart/related; boundary=b; type=\"text/html\"\r\n\r\n" + multipart("b", part("text/html", '<img src="cid:1@x">'), part("image/png", wrapped(b"\x89PNG"), "Content-ID: <1@x>", "Content-Transfer-Encoding: base64")))
same("multipart-no-end", "a multipart without its closing line", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nText\r\n")
same("multipart-no-boundary", "a multipart that names no boundary", MIME + "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nText\r\n--b--\r\n")
same("multipart-empty", "a multipart without parts", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n")
same("multipart-texts-around", "text before the first and behind the last part", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", part("text/plain", "Text"), preamble="Before\r\n", epilogue="Behind\r\n"))
same("boundary-prefix", "a boundary that begins another", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", part("multipart/mixed; boundary=bb", multipart("bb", part("text/plain", "Text")))))
same("boundary-70-signs", "a boundary of 70 characters with all signs", MIME + 'Content-Type: multipart/mixed; boundary="' + "a'()+_,-./:=?" * 5 + 'aaaaa"\r\n\r\n' + multipart("a'()+_,-./:=?" * 5 + "aaaaa", part("text/plain", "Text")))
same("boundary-in-text", "a line that looks like the boundary, and is none", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", part("text/plain", "--bc\r\n --b\r\nx--b")))
same("boundary-trailing-blanks", "blanks behind the boundary", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b  \r\n\r\nText\r\n--b--  \r\n")
same("boundary-twice", "two boundaries in one field", MIME + 'Content-Type: multipart/mixed; boundary=b; boundary="c"\r\n\r\n--b\r\n\r\nText\r\n--b--\r\n')
same("content-type-twice", "two Content-Type fields", MIME + "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n<p>\r\n")
same("content-type-broken", "a Content-Type that is none", MIME + "Content-Type: text\r\n\r\nText\r\n")
same("mime-version-missing", "a multipart without MIME-Version", HEAD + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", part("text/plain", "Text")))
same("rfc822-attached", "a message as an attachment, with recipients of its own", MIME + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + multipart("b", part("message/rfc822", f"From: x@x.example\r\nTo: {C}\r\nBcc: {B}\r\n\r\nInner\r\n")))
same("rfc822-whole", "a message that is nothing but an attached one", MIME + f"Content-Type: message/rfc822\r\n\r\nTo: {C}\r\n\r\nInner\r\n")
same("partial", "one part of a message sent in pieces", MIME + 'Content-Type: message/partial; id="1@x"; number=1; total=2\r\n\r\nTo: x@x.example\r\n')
same("external-body", "a body that is elsewhere", MIME + 'Content-Type: message/external-body; access-type=URL; URL="ftp://x.example/"\r\n\r\nContent-Type: text/plain\r\n\r\n')
same("filename-rfc2231", "a file name in RFC 2231's form", MIME + "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*0*=utf-8''Pr%C3%BCf;\r\n filename*1=\"ung.pdf\"\r\n\r\nx\r\n")
same("filename-raw-8-bit", "a file name in raw Latin-1", octets(MIME) + "Content-Disposition: attachment; filename=\"Prüfung.pdf\"\r\n\r\nx\r\n".encode("latin-1"))

# --- Particular contents.
same("smime-signed", "S/MIME: a clear signature", MIME + 'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b\r\n\r\n' + multipart("b", part("text/plain", "Signed  \r\ntext. \r\n"), part('application/pkcs7-signature; name="smime.p7s"', wrapped(BINARY), "Content-Transfer-Encoding: base64")))
same("smime-opaque", "S/MIME: an opaque signature", MIME + 'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n' + wrapped(BINARY))
same("smime-encrypted", "S/MIME: encrypted", MIME + 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n' + wrapped(BINARY[::-1]))
same("pgp-signed", "OpenPGP: a detached signature", MIME + 'Content-Type: multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha256; boundary=b\r\n\r\n' + multipart("b", part("text/plain", "Signed\r\n- -- \r\n"), part("application/pgp-signature", "-----BEGIN PGP SIGNATURE-----\r\n\r\niQE=\r\n-----END PGP SIGNATURE-----\r\n")))
same("pgp-encrypted", "OpenPGP: encrypted", MIME + 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n\r\n' + multipart("b", part("application/pgp-encrypted", "Version: 1\r\n"), part("application/octet-stream", "-----BEGIN PGP MESSAGE-----\r\n\r\nhQE=\r\n-----END PGP MESSAGE-----\r\n")))
same("pgp-inline", "OpenPGP inside the text, with escaped dashes", HEAD + "\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n- -- Anna\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niQE=\r\n-----END PGP SIGNATURE-----\r\n")
same("dkim-signed", "a message that is DKIM-signed already", "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=contoso.example; s=s1;\r\n\th=From:To:Subject; bh=abc=;\r\n\tb=def=\r\n" + HEAD + "\r\nText\r\n")
same("calendar", "an invitation", MIME + "Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nDESCRIPTION:long\r\n er than a line\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
same("tnef", "winmail.dat", MIME + 'Content-Type: application/ms-tnef; name="winmail.dat"\r\nContent-Transfer-Encoding: base64\r\n\r\n' + wrapped(b"\x78\x9f\x3e\x22" + BINARY))
same("delivery-report", "a report of failed delivery", MIME + "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" + multipart("b", part("text/plain", "Sorry"), part("message/delivery-status", f"Reporting-MTA: dns; x.example\r\n\r\nFinal-Recipient: rfc822; {C}\r\nAction: failed\r\nStatus: 5.1.1\r\n")))
same("read-receipt", "a message that asks for a receipt", HEAD + f"Disposition-Notification-To: {ME}\r\nReturn-Receipt-To: {ME}\r\n\r\nText\r\n")
same("abuse-report", "an abuse report", MIME + "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n" + multipart("b", part("message/feedback-report", "Feedback-Type: abuse\r\nVersion: 1\r\n")))
same("format-flowed", "flowed text with space-stuffed lines", MIME + "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n From stuffed \r\n>> quoted \r\n-- \r\n")
same("html-long-style", "HTML in one line of 8,000 octets", MIME + "Content-Type: text/html\r\n\r\n<p style=\"" + "color:red;" * 800 + "\">x</p>\r\n")
same("list-fields", "the fields of a mailing list", HEAD + "List-Id: <l.x.example>\r\nList-Unsubscribe: <mailto:u@x.example>,\r\n <https://x.example/>\r\nPrecedence: bulk\r\n\r\nText\r\n")
same("auto-submitted", "an automatic message with an empty reverse path in mind", HEAD + "Auto-Submitted: auto-generated\r\nReturn-Path: <>\r\n\r\nText\r\n")
same("received-30", "30 Received fields", "".join(f"Received: from h{n}.x.example by x.example;\r\n\tMon, 23 Nov 2026 09:00:00 +0000\r\n" for n in range(30)) + HEAD + "\r\nText\r\n")

# --- Bodies.
same("empty-body", "nothing behind the header", HEAD + "\r\n")
same("no-blank-line", "a header, and the message ends", HEAD)
same("no-final-crlf", "a body without its last CRLF", HEAD + "\r\nText")
same("no-final-crlf-in-header", "a header without its last CRLF", (HEAD + "X-Last: 1"))
same("only-blank-lines", "a body of empty lines", HEAD + "\r\n" + "\r\n" * 20)
same("one-dot", "a line with nothing but a dot", HEAD + "\r\nbefore\r\n.\r\nbehind\r\n")
same("first-dot", "a body that begins with a lone dot", HEAD + "\r\n.\r\n")
same("last-dot", "a body that ends with a lone dot", HEAD + "\r\nText\r\n.\r\n")
same("dots", "lines of one to five dots", HEAD + "\r\n" + "".join("." * n + "\r\n" for n in range(1, 6)))
same("dot-words", "lines that begin with dots", HEAD + "\r\n.profile\r\n..hidden\r\n. blank\r\n")
same("dot-no-crlf", "a body that is a dot without line end", HEAD + "\r\n.")
same("smuggled-commands", "SMTP commands in the text", HEAD + "\r\n.\r\nMAIL FROM:<x@x.example>\r\nRCPT TO:<y@x.example>\r\nDATA\r\n.\r\nQUIT\r\n")
same("mbox-line-in-body", "a body line that begins with From", HEAD + "\r\nFrom here on\r\n>From there\r\n")
same("header-in-body", "lines in the body that look like recipients", HEAD + f"\r\nTo: {B}\r\nBcc: {C}\r\n")
same("blank-first-body-line", "a body that begins with an empty line", HEAD + "\r\n\r\nText\r\n")
same("signature-dashes", "dashes and a blank", HEAD + "\r\n-- \r\n--\r\n---\r\n")
same("body-300k", "a body of 300 KB", HEAD + "\r\n" + ("0123456789abcdef" * 4 + "\r\n") * 4_600)

# --- What devices write.
bcc("empty-header", "a message that begins with the empty line", "\r\nText\r\n", (A,), (A,))
bcc("empty-message", "no octet at all but the empty line", "\r\n", (A,), (A,))
bcc("only-subject", "a header of a subject alone", "Subject: Scan\r\n\r\nText\r\n", (A,), (A,))
same("no-from", "no From", TO + "Subject: Scan\r\n\r\nText\r\n")
same("no-date-no-id", "neither Date nor Message-ID", FROM + TO + "\r\nText\r\n")
same("date-broken", "a date that is none", FROM + TO + "Date: 23.11.26 9:00\r\n\r\nText\r\n")
same("date-1970", "a date of a clock that was never set", FROM + TO + "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nText\r\n")
same("message-id-broken", "a Message-ID without brackets", FROM + TO + "Message-ID: 12345\r\n\r\nText\r\n")
same("fields-twice", "Subject, Date and Message-ID twice", HEAD + "Subject: Again\r\nDate: now\r\nMessage-ID: <2@x>\r\n\r\nText\r\n")
same("subject-empty", "an empty subject, and one of blanks", FROM + TO + "Subject:\r\nComments:   \r\n\r\nText\r\n")
bcc("to-empty", "an empty To", FROM + "To:\r\nSubject: Scan\r\n\r\nText\r\n", (A,), (A,))
bcc("to-blank", "a To of blanks", FROM + "To:    \r\n\r\nText\r\n", (A,), (A,))
same("x-fields", "odd but allowed field names", HEAD + "X!#$%&'*+-.^_`|~1: a\r\n1: b\r\n\r\nText\r\n")
same("url-field", "a line that is a field by its colon", HEAD + "http://x.example/\r\n\r\nText\r\n")
same("reply-to-unreadable", "a Reply-To that is no address", HEAD + "Reply-To: nobody\r\n\r\nText\r\n")
same("sender-same", "a Sender that is the mailbox", HEAD + f"Sender: {ME}\r\n\r\nText\r\n")
same("from-address-only", "From without display name", f"From: {ME}\r\n" + TO + "\r\nText\r\n")

# --- Recipients, as lists write them.
same("to-three", "three recipients", FROM + f"To: {A}, {B},{C}\r\n\r\nText\r\n", (A, B, C))
same("to-and-cc", "To and Cc", FROM + f"To: {A}\r\nCc: {B}\r\n\r\nText\r\n", (A, B))
same("cc-only", "Cc alone", FROM + f"Cc: {A}\r\n\r\nText\r\n")
same("to-folded-each", "one recipient per line", FROM + f"To: {A},\r\n {B},\r\n\t{C}\r\n\r\nText\r\n", (A, B, C))
same("to-name-comma", "a comma in a quoted display name", FROM + f'To: "Berger, Anna" <{A}>, {B}\r\n\r\nText\r\n', (A, B))
same("to-name-quote", "an escaped quote in a display name", FROM + f'To: "Anna \\"the \\\\ one\\"" <{A}>\r\n\r\nText\r\n')
same("to-name-address", "another address as a quoted display name", FROM + f'To: "{C}" <{A}>\r\n\r\nText\r\n')
same("to-name-dots", "dots in a display name", FROM + f"To: Dr. A. B. Berger <{A}>\r\n\r\nText\r\n")
same("to-brackets-only", "brackets without a name", FROM + f"To: <{A}>\r\n\r\nText\r\n")
same("to-comment-name", "the name as a comment", FROM + f"To: {A} (Anna (née Berg) Berger)\r\n\r\nText\r\n")
same("to-comment-address", "another address in a comment", FROM + f"To: {A} ({B}, \\))\r\n\r\nText\r\n")
same("to-comments-inside", "comments inside an address list", FROM + f"To: (one) {A} (two), (three) Bert <{B}> (four)\r\n\r\nText\r\n", (A, B))
same("to-empty-elements", "empty elements in a list", FROM + f"To: ,{A},, {B} ,\r\n\r\nText\r\n", (A, B))
same("to-case", "other capitals than the envelope", FROM + f"To: {A.upper()}\r\n\r\nText\r\n")
same("to-same-twice", "one recipient twice in a field", FROM + f"To: {A}, Anna <{A}>\r\n\r\nText\r\n")
same("to-in-to-and-cc", "one recipient in To and in Cc", FROM + f"To: {A}\r\nCc: {A}\r\n\r\nText\r\n")
same("group", "a group", FROM + f"To: Team: {A}, Bert <{B}>;\r\n\r\nText\r\n", (A, B))
same("group-and-others", "a group among others", FROM + f"To: {C}, Team: {A};, {B}\r\n\r\nText\r\n", (A, B, C))
same("group-quoted-name", "a group with a quoted name", FROM + f'To: "A; B": {A};\r\n\r\nText\r\n')
same("local-quoted", "a quoted local part", FROM + 'To: "anna berger"@fabrikam.example\r\n\r\nText\r\n', ('"anna berger"@fabrikam.example',))
same("local-needless-quotes", "a local part in quotes that it does not need", FROM + 'To: "anna"@fabrikam.example\r\n\r\nText\r\n')
same("local-signs", "a local part of signs", FROM + "To: a!#$%&'*+-/=?^_`{|}~@fabrikam.example\r\n\r\nText\r\n", ("a!#$%&'*+-/=?^_`{|}~@fabrikam.example",))
same("local-plus", "a local part with a plus", FROM + "To: anna+x.y@fabrikam.example\r\n\r\nText\r\n", ("anna+x.y@fabrikam.example",))
same("domain-punycode", "an international domain in ASCII", FROM + "To: anna@xn--bcher-kva.example\r\n\r\nText\r\n", ("anna@xn--bcher-kva.example",))
same("domain-utf8", "an international domain in UTF-8 in both", FROM + "To: anna@bücher.example\r\n\r\nText\r\n", ("anna@bücher.example",))
same("bcc-there", "a Bcc of the program's own", FROM + TO + f"Bcc: {B}\r\n\r\nText\r\n", (A, B))
same("bcc-alone", "nothing but Bcc", FROM + f"Bcc: {A}\r\n\r\nText\r\n")
same("bcc-empty", "an empty Bcc", FROM + TO + "Bcc:\r\n\r\nText\r\n")
same("resent", "Resent fields, which count for nothing", f"Resent-From: x@x.example\r\nResent-To: {C}\r\nResent-Bcc: {B}\r\n" + HEAD + "\r\nText\r\n")
same("to-1000", "a To of 400 recipients", FROM + "To: " + ",\r\n ".join(f"r{n}@fabrikam.example" for n in range(400)) + "\r\n\r\nText\r\n", [f"r{n}@fabrikam.example" for n in range(400)])

# --- Recipients that are in the envelope only, or that a reader might miss.
bcc("bcc-classic", "a blind copy as mail programs send it", HEAD + "\r\nText\r\n", (A, B), (B,))
bcc("undisclosed", "undisclosed recipients", FROM + "To: undisclosed-recipients:;\r\n\r\nText\r\n", (A, B), (A, B))
bcc("no-recipients", "neither To nor Cc", FROM + "Subject: Test\r\n\r\nText\r\n", (A,), (A,))
bcc("blind-300", "300 blind copies", HEAD + "\r\nText\r\n", [A] + [f"r{n}@fabrikam.example" for n in range(300)], [f"r{n}@fabrikam.example" for n in range(300)])
bcc("blind-quoted", "a blind copy to a quoted local part", HEAD + "\r\nText\r\n", (A, '"a, b"@fabrikam.example'), ('"a, b"@fabrikam.example',))
bcc("blind-no-final-crlf", "a blind copy where the header does not end", HEAD + "X-Last: 1", (A, B), (B,))
bcc("blind-received", "a blind copy where Received comes first", "Received: from x by y; now\r\n" + HEAD + "\r\nText\r\n", (A, B), (B,))

# --- Recipients as a reader might miss them: a plain field takes the place.
for name, what, before, people in (
    ("to-space-colon", "a blank before the colon of To", f"To : {A}", (A,)),
    ("to-semicolons", "semicolons between addresses", f"To: {A}; {B};", (A, B)),
    ("group-no-end", "a group without its end", f"To: Team: {A}", (A,)),
    ("route", "a route before the address", f"To: <@relay.example:{A}>", (A,)),
    ("dots-in-local", "two dots beside each other", "To: anna..b@fabrikam.example", ('"anna..b"@fabrikam.example',)),
    ("name-is-address", "the address itself as the display name, without quotes", f"To: {A} <{A}>", (A,)),
    ("name-literal", "a display name with brackets", f"To: [External] Anna <{A}>", (A,)),
):
    plain, original = ",\r\n ".join(people), before.split(":", 1)[1]
    changed(name, what, FROM + before + "\r\n\r\nText\r\n", f"To: {plain}\r\n{FROM}X-Original-To:{original}\r\n\r\nText\r\n", people)
changed("to-twice", "two To fields", FROM + f"To: {A}\r\nTo: {B}\r\n\r\nText\r\n", f"To: {A},\r\n {B}\r\n" + FROM + f"X-Original-To: {A}\r\nX-Original-To: {B}\r\n\r\nText\r\n", (A, B))
changed("cc-twice", "two Cc fields", FROM + TO + f"Cc: {B}\r\nCc: {C}\r\n\r\nText\r\n", f"Cc: {B},\r\n {C}\r\n" + FROM + TO + f"X-Original-Cc: {B}\r\nX-Original-Cc: {C}\r\n\r\nText\r\n", (A, B, C))
changed("to-blank-line-before", "a line of blanks before To", FROM + "Subject: Test\r\n \r\n" + TO + "\r\nText\r\n", TO + FROM + "Subject: Test\r\n \r\nX-Original-" + TO + "\r\nText\r\n")

# --- Bcc fields that do not name everybody, or that a reader might show.
for name, what, field, blind in (
    ("bcc-extended", "a Bcc that names one of two", f"Bcc: {B}\r\nSubject: Test\r\n", (B, C)),
    ("bcc-extended-folded", "a folded Bcc with a comment at its end", f"Bcc: {B},\r\n dora@fabrikam.example\r\n (last)\r\n", (B, C, "dora@fabrikam.example")),
    ("bcc-extended-empty", "an empty Bcc where one is needed", "Bcc: \r\n", (B,)),
    ("bcc-twice", "two Bcc fields", f"Bcc: {B}\r\nBcc: {C}\r\n", (B, C)),
    ("bcc-space-colon", "a blank before the colon of Bcc", f"Bcc : {B}\r\n", (B,)),
    ("bcc-semicolons", "semicolons in Bcc", f"Bcc: {B}; {C}\r\n", (B, C)),
):
    rest = "Subject: Test\r\n" if "Subject" in field else ""
    changed(name, what, FROM + TO + field + "\r\nText\r\n", "Bcc: " + ",\r\n ".join(blind) + "\r\n" + FROM + TO + rest + "\r\nText\r\n", (A, *blind))
changed("bcc-not-addressed", "Bcc names somebody who is not addressed", HEAD + f"Bcc: {B}\r\n\r\nText\r\n", HEAD + "\r\nText\r\n")

# --- Set aside: fields that name people whom the envelope does not, or that cannot be read for certain.
changed("cc-not-addressed", "Cc names somebody who is not addressed", HEAD + f"Cc: {B}\r\n\r\nText\r\n", HEAD + f"X-Original-Cc: {B}\r\n\r\nText\r\n")
changed("nobody-of-to", "a list's message to a member", FROM + "To: list@fabrikam.example\r\n\r\nText\r\n", f"Bcc: {B}\r\n" + FROM + "X-Original-To: list@fabrikam.example\r\n\r\nText\r\n", (B,))
for name, what, value in (
    ("one-of-two", "To names two, the envelope one of them", f"{A}, {B}"),
    ("group-not-addressed", "a group names somebody who is not addressed", f"Team: {A}, {B};"),
    ("encoded-comma", "an encoded word with a bare comma", f"=?utf-8?Q?M=C3=BCller,_Anna?= <{A}>"),
    ("name-hides-comma", "an encoded word that hides an address", f"=?utf-8?Q?x@x,?= <{A}>"),
    ("name-with-comma", "a display name with a comma and without quotes", f"Miller, Anna <{A}>"),
    ("undisclosed-words", "words where addresses should be", "undisclosed recipients"),
    ("undisclosed-no-end", "undisclosed recipients without the semicolon", "undisclosed-recipients:"),
    ("to-word", "a local name without domain", "root"),
    ("to-empty-brackets", "empty brackets", "<>"),
    ("to-two-addresses", "two addresses without a comma", f"{A} {B}"),
    ("to-address-as-name", "another address as a display name without quotes", f"{B} <{A}>"),
    ("to-unclosed-bracket", "a bracket that is never closed", f"Anna <{A}"),
    ("to-unclosed-quote", "a quote that is never closed", f'"Anna <{A}>'),
    ("to-unclosed-comment", "a comment that is never closed", f"{A} (Anna"),
    ("to-no-domain", "an address that ends with its at sign", "anna@"),
    ("to-two-ats", "an address with two at signs", "anna@x@fabrikam.example"),
    ("to-blanks-inside", "blanks inside an address", "anna @ fabrikam . example"),
    ("to-comment-inside", "a comment inside an address", "anna(Berger)@fabrikam.example"),
    ("to-mailto", "a mailto URL in brackets", f"<mailto:{A}>"),
    ("to-backslash", "a backslash without quotes", f"DOMAIN\\anna <{A}>"),
    ("to-control", "a control character in an address", f"anna\x01@fabrikam.example"),
    ("to-latin1-address", "an address in raw Latin-1", "jörg@fabrikam.example".encode("latin-1")),
    ("to-shift-jis", "a display name in raw Shift-JIS, with ASCII signs among its octets", "表示能力".encode("shift-jis") + octets(f" <{A}>")),
    ("to-comments-100-deep", "comments inside each other, a hundred levels", "(" * 100 + "x" + ")" * 100 + A),
):
    to = b"To: " + octets(value) + b"\r\n\r\nText\r\n"
    changed(name, what, octets(FROM) + to, octets(f"Bcc: {A}\r\n{FROM}X-Original-") + to)

# --- No header, or none that ends.
for name, what, text in (
    ("text-only", "text without a header", "Text\r\nMore\r\n"),
    ("begins-folded", "a message that begins with a folded line", " " + HEAD + "\r\nText\r\n"),
    ("http", "an HTTP request", "POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
):
    changed(name, what, text, f"Bcc: {A}\r\n\r\n" + text)
for name, what, before in (
    ("mbox-line", "the From line of a mailbox file", f"From {ME} Mon Nov 23 09:00:00 2026\r\n"),
    ("mbox-line-quoted", "the same, quoted", f">From {ME} Mon Nov 23 09:00:00 2026\r\n"),
    ("bom-utf8", "a UTF-8 byte order mark before the header", "\ufeff"),
):
    changed(name, what, before + HEAD + "\r\nText\r\n", HEAD + "\r\nText\r\n")
for name, what, text in (
    ("no-colon", "a line without colon between the fields", "Scanner ready\r\nX: 1\r\n\r\nText\r\n"),
    ("name-with-blank", "a blank inside a field name", "X Mailer: 1\r\n\r\nText\r\n"),
    ("name-8-bit", "an umlaut in a field name", "Größe: 1\r\n\r\nText\r\n"),
    ("name-empty", "a field without a name", ": 1\r\n\r\nText\r\n"),
    ("blank-line-missing", "text right behind the header", "This is the text.\r\n"),
    ("blank-line-missing-to", "text that looks like recipients right behind the header", f"This is the text.\r\nTo: {B}\r\nBcc: {C}\r\n"),
):
    changed(name, what, HEAD + text, HEAD + "\r\n" + text)

# --- Refused: what has no one meaning, or is too much.
refused("utf-16", "a message in UTF-16", 554, (HEAD + "\r\nText\r\n").encode("utf-16"))
refused("bare-lf", "line ends without CR", 554, (HEAD + "\r\nText\r\n").replace("\r\n", "\n"))
refused("bare-cr", "line ends without LF", 554, (HEAD + "\r\nText\r\n").replace("\r\n", "\r"))
refused("bare-lf-in-body", "one bare LF in the body", 554, HEAD + "\r\none\ntwo\r\n")
refused("bare-cr-in-body", "one bare CR in the body", 554, HEAD + "\r\none\rtwo\r\n")
refused("crcrlf", "two CRs before LF", 554, HEAD + "\r\none\r\r\ntwo\r\n")
refused("lf-dot-crlf", "an end of data that only some see", 554, HEAD + "\r\none\n.\r\nMAIL FROM:<x@x>\r\n")
refused("ends-with-cr", "a message that ends with a bare CR", 554, HEAD + "\r\nText\r")
refused("nul-in-header", "a NUL in the subject", 554, FROM + TO + "Subject: a\0b\r\n\r\nText\r\n")
refused("nul-in-body", "a NUL in the body", 554, HEAD + "\r\na\0b\r\n")
refused("head-300k", "a header of 300 KB", 554, HEAD + ("X-Log: " + "x" * 93 + "\r\n") * 2_950 + "\r\nText\r\n")


def main():
    for folder in ("messages", "changed"):
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).glob("*.eml"):
            old.unlink()
    lines = ["file\tverdict\tenvelope\tblind\twhat is awkward"]
    names = set()
    for number, (name, what, verdict, content, to, blind, after) in enumerate(messages, 1):
        assert name not in names, name
        names.add(name)
        file = f"{number:03}-{name}.eml"
        (HERE / "messages" / file).write_bytes(content)
        if after is not None:
            (HERE / "changed" / file).write_bytes(after)
        lines.append("\t".join((file, verdict, " | ".join(to), " | ".join(blind), what)))
    (HERE / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(len(messages))


if __name__ == "__main__":
    main()
