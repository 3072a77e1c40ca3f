"""poplib: read an Inbox twice, see the same unique ids, and delete what was read."""

import json
import poplib
import sys

settings = json.loads(sys.argv[1])
messages = settings["messages"]


def connect():
    connection = poplib.POP3("localhost", settings["port"], timeout=60)
    connection.user(settings["login"])
    connection.pass_(settings["password"])
    return connection


connection = connect()
assert connection.stat()[0] == len(messages)
assert len(connection.list()[1]) == len(messages)
ids = [line.split()[1] for line in connection.uidl()[1]]
assert len(set(ids)) == len(messages)
for number, message in enumerate(messages, 1):
    _, lines, octets = connection.retr(number)
    assert b"".join(line + b"\r\n" for line in lines) == message.encode(), number
    header, _ = message.split("\r\n\r\n", 1)
    _, top, _ = connection.top(number, 0)
    assert b"\r\n".join(top) == header.encode() + b"\r\n", number
    # What LIST says of a message that was read is exact.
    assert int(connection.list(number).split()[2]) == len(message.encode()), number
connection.dele(1)
connection.rset()
connection.quit()

connection = connect()
assert [line.split()[1] for line in connection.uidl()[1]] == ids
connection.dele(1)
connection.close()

connection = connect()
assert [line.split()[1] for line in connection.uidl()[1]] == ids, "only QUIT deletes"
for number in range(1, len(messages)):
    connection.dele(number)
connection.quit()

connection = connect()
assert [line.split()[1] for line in connection.uidl()[1]] == ids[-1:]
connection.quit()
