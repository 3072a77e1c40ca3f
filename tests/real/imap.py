"""imaplib: log in in three ways, list, append and fetch 20 MB, search, wait with IDLE for a message of another session."""

import imaplib
import json
import ssl
import sys

settings = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=settings["root"])


def connect():
    if settings["tls"] == "Implicit":
        connection = imaplib.IMAP4_SSL("localhost", settings["port"], ssl_context=context, timeout=60)
    else:
        connection = imaplib.IMAP4("localhost", settings["port"], timeout=60)
    if settings["tls"] == "StartTls":
        connection.starttls(ssl_context=context)
    return connection


def done(answer):
    kind, data = answer
    assert kind == "OK", answer
    return data


def by_login():
    connection = connect()
    # imaplib sends ASCII unless it is told otherwise; servers take UTF-8 here.
    connection._encoding = "utf-8"
    done(connection.login(settings["login"], settings["password"]))
    return connection


def by_plain():
    connection = connect()
    response = "\0".join(["", settings["login"], settings["password"]]).encode()
    done(connection.authenticate("PLAIN", lambda _: response))
    return connection


def by_auth_login():
    connection = connect()
    answers = iter([settings["login"].encode(), settings["password"].encode()])
    done(connection.authenticate("LOGIN", lambda _: next(answers)))
    return connection


def by_literals():
    """LOGIN with both arguments as synchronising literals, as old clients send what they cannot quote."""
    connection = connect()
    login, password = settings["login"].encode(), settings["password"].encode()
    connection.send(b"x1 LOGIN {%d}\r\n" % len(login))
    assert connection.readline().startswith(b"+")
    connection.send(login + b" {%d}\r\n" % len(password))
    assert connection.readline().startswith(b"+")
    connection.send(password + b"\r\n")
    while not (line := connection.readline()).startswith(b"x1 "):
        assert line.startswith(b"* "), line
    assert line.startswith(b"x1 OK"), line
    connection.state = "AUTH"
    return connection


def fetch(connection, number):
    return done(connection.fetch(number, "(BODY.PEEK[])"))[0][1]


for way in (by_login, by_plain, by_auth_login, by_literals):
    connection = way()
    assert done(connection.select("INBOX", readonly=True)) == [b"2"], way
    connection.logout()

reader = by_login()
assert any(b"INBOX" in line for line in done(reader.list()))
done(reader.create("Archive"))
assert done(reader.select("INBOX")) == [b"2"]

with open(settings["large"], "rb") as file:
    large = file.read()
done(reader.append("Archive", None, None, large))
assert done(reader.select("Archive")) == [b"1"]
assert fetch(reader, "1") == large, "20 MB, octet for octet"

done(reader.select("INBOX"))
done(reader.store("1", "+FLAGS", r"(\Deleted)"))
done(reader.expunge())
assert done(reader.search(None, "SUBJECT", '"message 2"')) == [b"1"]

reader.send(b"idle1 IDLE\r\n")
assert reader.readline().startswith(b"+")
writer = by_plain()
message = settings["message"].encode()
done(writer.append("INBOX", None, None, message))
while b"EXISTS" not in (line := reader.readline()):
    assert line.startswith(b"* "), line
assert line == b"* 2 EXISTS\r\n", line
reader.send(b"DONE\r\n")
while not (line := reader.readline()).startswith(b"idle1"):
    assert line.startswith(b"* "), line
assert line.startswith(b"idle1 OK"), line
assert fetch(reader, "2") == message

for connection in (reader, writer):
    connection.logout()
