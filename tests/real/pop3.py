"""poplib: log in, list, retrieve 20 MB, delete."""

import base64
import json
import poplib
import ssl
import sys

settings = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=settings["root"])


def connect():
    if settings["tls"] == "Implicit":
        connection = poplib.POP3_SSL("localhost", settings["port"], context=context, timeout=60)
    else:
        connection = poplib.POP3("localhost", settings["port"], timeout=60)
    if settings["tls"] == "StartTls":
        connection.stls(context=context)
    return connection


def retrieve(connection, number):
    return b"".join(line + b"\r\n" for line in connection.retr(number)[1])


# SASL PLAIN, which poplib does not know.
connection = connect()
response = base64.b64encode("\0".join(["", settings["login"], settings["password"]]).encode())
assert connection._shortcmd("AUTH PLAIN " + response.decode()).startswith(b"+OK")
assert connection.stat()[0] == 2
connection.quit()

connection = connect()
assert "USER" in connection.capa()
connection.user(settings["login"])
connection.pass_(settings["password"])
assert connection.stat()[0] == 2
assert len(connection.uidl()[1]) == 2
assert retrieve(connection, 1) == settings["message"].encode()
with open(settings["large"], "rb") as file:
    assert retrieve(connection, 2) == file.read(), "20 MB, octet for octet"
connection.dele(1)
connection.quit()
