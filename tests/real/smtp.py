"""smtplib: send a small message, and 20 MB in a second session."""

import base64
import json
import smtplib
import ssl
import sys

settings = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=settings["root"])


def connect():
    if settings["tls"] == "Implicit":
        connection = smtplib.SMTP_SSL("localhost", settings["port"], context=context, timeout=120)
    else:
        connection = smtplib.SMTP("localhost", settings["port"], timeout=120)
    if settings["tls"] == "StartTls":
        connection.starttls(context=context)
    connection.ehlo()
    return connection


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def by_plain(connection):
    return connection.docmd("AUTH", "PLAIN " + encoded("\0".join(["", settings["login"], settings["password"]])))


def by_login(connection):
    """The user name in the same line, as .NET sends it."""
    code, _ = connection.docmd("AUTH", "login " + encoded(settings["login"]))
    assert code == 334, code
    return connection.docmd(encoded(settings["password"]))


def send(authenticate, message):
    connection = connect()
    code, text = authenticate(connection)
    assert code == 235, (code, text)
    # The upstream announces again what it can do, now that it knows who asks.
    connection.ehlo()
    options = ["BODY=8BITMIME"] if connection.has_extn("8bitmime") else []
    assert connection.sendmail(settings["login"], "recipient@example.org", message, options) == {}
    connection.quit()


send(by_plain, settings["message"].encode())
with open(settings["large"], "rb") as file:
    send(by_login, file.read())
