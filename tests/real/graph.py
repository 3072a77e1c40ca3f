"""requests, as small programs use Graph: paging, raw messages, sending, marking, deleting, errors."""

import base64
import hashlib
import json
import sys

import requests

settings = json.loads(sys.argv[1])
base = settings["base"]
session = requests.Session()
session.verify = settings["root"]
session.trust_env = False
if "token" in settings:
    session.headers["Authorization"] = "Bearer " + settings["token"]
else:
    # requests writes ISO 8859-1 unless it gets octets.
    session.auth = (settings["login"].encode(), settings["password"].encode())


def get(url, expected=200, **more):
    answer = session.get(url, timeout=60, **more)
    assert answer.status_code == expected, (url, answer.status_code, answer.text)
    assert answer.headers["request-id"], answer.headers
    return answer


# Reading: page by page, following what the answers say.
url = base + "/me/mailFolders/inbox/messages?$select=id,subject,receivedDateTime&$orderby=receivedDateTime asc&$top=2"
listed, pages = [], 0
while url:
    assert url.startswith(base), "the next page is somewhere else: " + url
    page = get(url, headers={"Prefer": 'IdType="ImmutableId"'}).json()
    listed += page["value"]
    url = page.get("@odata.nextLink")
    pages += 1
assert (len(listed), pages) == (5, 3), (len(listed), pages)
assert listed[2]["subject"] == "Grüße aus Köln", listed[2]
ids = [requests.utils.quote(message["id"], safe="") for message in listed]
digests = [hashlib.sha256(get(f"{base}/me/messages/{id}/$value").content).hexdigest() for id in ids]
assert digests == settings["digests"], digests

# Sending: MIME, then JSON.
mime = base64.b64decode(settings["mime"])
sent = session.post(base + "/me/sendMail", data=base64.b64encode(mime), headers={"Content-Type": "text/plain"}, timeout=60)
assert (sent.status_code, sent.content) == (202, b""), (sent.status_code, sent.text)
message = {
    "subject": "Häuser & <Bäume>",
    "body": {"contentType": "Text", "content": "Erste Zeile\nZweite"},
    "toRecipients": [{"emailAddress": {"address": settings["to"]}}],
    "attachments": [
        {
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": "Zahlen.bin",
            "contentBytes": base64.b64encode(bytes(range(256)) * 1000).decode(),
        }
    ],
}
sent = session.post(base + "/me/sendMail", json={"message": message}, timeout=60)
assert (sent.status_code, sent.content) == (202, b""), (sent.status_code, sent.text)

# Marking and deleting, by identifiers that outlive a move.
marked = session.patch(f"{base}/me/messages/{ids[0]}", json={"isRead": True}, timeout=60)
assert marked.status_code == 200 and marked.json()["isRead"], marked.text
for status in (204, 204, 404):
    deleted = session.delete(f"{base}/me/messages/{ids[4]}", timeout=60)
    assert deleted.status_code == status, (deleted.status_code, deleted.text)
inbox = get(base + "/me/mailFolders/inbox").json()
assert (inbox["totalItemCount"], inbox["unreadItemCount"]) == (4, 3), inbox

# Errors are Microsoft's own.
wrong = session.post(base + "/me/sendMail", data="?", headers={"Content-Type": "text/plain"}, timeout=60)
assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "ErrorMimeContentInvalidBase64String"), wrong.text
