"""smtplib against a listener that takes messages itself: what is right, what is wrong, and a client that dies."""

import json
import smtplib
import socket
import sys

settings = json.loads(sys.argv[1])
login = settings["login"]


def connect():
    connection = smtplib.SMTP("localhost", settings["port"], timeout=120)
    connection.ehlo()
    if settings["password"] is not None:
        connection.login(login, settings["password"])
    return connection


def envelope(connection):
    assert connection.mail(login)[0] == 250
    assert connection.rcpt(login)[0] == 250


# The usual way, with letters beyond ASCII in header and body, declared and not.
connection = connect()
message = settings["message"].encode()
assert connection.sendmail(login, [login], message, ["BODY=8BITMIME"]) == {}
assert connection.sendmail(login, [login], message) == {}

# The same in chunks, which smtplib itself does not know. A chunk may end between CR and LF.
assert connection.has_extn("chunking")
envelope(connection)
chunks = [message[:10], message[10 : message.index(b"\r\n") + 1], message[message.index(b"\r\n") + 1 :]]
for number, chunk in enumerate(chunks):
    last = " LAST" if number == len(chunks) - 1 else ""
    connection.send(b"BDAT %d%s\r\n%s" % (len(chunk), last.encode(), chunk))
    code, text = connection.getreply()
    assert code == 250, (code, text)

# Line ends that are none are refused at the end, and the session goes on.
for flawed in [b"From: a\nTo: b\r\n\r\n", b"From: a\r\n\r\nx\ry\r\n", b"From: a\r\n\r\n\0\r\n"]:
    envelope(connection)
    assert connection.docmd("DATA")[0] == 354
    connection.send(flawed + b".\r\n")
    code, text = connection.getreply()
    assert code == settings["flawed"], (flawed, code, text)
    if code == 250:
        break

# Ten thousand recipients hurt nobody.
assert connection.mail(login)[0] == 250
connection.send("".join(f"RCPT TO:<r{number}@example.org>\r\n" for number in range(10_000)))
codes = [connection.getreply()[0] for _ in range(10_000)]
assert codes.count(250) == settings["recipients"] and codes.count(452) == 10_000 - codes.count(250), codes.count(250)
assert connection.rset()[0] == 250

# Somebody who dies in the middle has sent nothing.
envelope(connection)
assert connection.docmd("DATA")[0] == 354
connection.send(b"From: " + login.encode() + b"\r\n\r\nhalf a message\r\n")
connection.sock.shutdown(socket.SHUT_RDWR)
connection.close()

connection = connect()
with open(settings["large"], "rb") as file:
    content = file.read()
try:
    connection.sendmail(login, [login], content)
    assert not settings["too_large"]
except smtplib.SMTPResponseException as refused:
    assert settings["too_large"] and refused.smtp_code == 552, refused
connection.quit()
