"""exchangelib: folders, finding, reading, marking, sending, moving, deleting, and news while a request stays open."""

import base64
import hashlib
import json
import os
import sys
import threading

settings = json.loads(sys.argv[1])
# Before requests is loaded.
os.environ["REQUESTS_CA_BUNDLE"] = settings["root"]
os.environ["NO_PROXY"] = "*"

from exchangelib import BASIC, DELEGATE, IMPERSONATION, OAUTH2  # noqa: E402
from exchangelib import Account, Configuration, Credentials, FileAttachment, Identity, Mailbox, Message  # noqa: E402
from exchangelib import OAuth2AuthorizationCodeCredentials  # noqa: E402
from exchangelib.errors import DoesNotExist, ErrorItemNotFound, UnauthorizedError  # noqa: E402
from oauthlib.oauth2 import OAuth2Token  # noqa: E402


def account(password):
    if "token" in settings:
        token = OAuth2Token({"access_token": settings["token"], "token_type": "Bearer", "expires_in": 3600})
        # What is asked before there is an account must be impersonated, too.
        identity = Identity(primary_smtp_address=settings["login"]) if settings.get("impersonates") else None
        credentials, kind = OAuth2AuthorizationCodeCredentials(access_token=token, identity=identity), OAUTH2
    else:
        credentials, kind = Credentials(settings["login"], password), BASIC
    configuration = Configuration(service_endpoint=settings["endpoint"], credentials=credentials, auth_type=kind, max_connections=3)
    access = IMPERSONATION if settings.get("impersonates") else DELEGATE
    return Account(settings["login"], config=configuration, autodiscover=False, access_type=access)


if settings.get("expect_refusal"):
    try:
        account(settings["password"]).inbox.refresh()
    except UnauthorizedError:
        sys.exit(0)
    sys.exit("the password was accepted")

me = account(settings.get("password"))
names = [folder.name for folder in me.msg_folder_root.children]
assert "Inbox" in names and "Sent Items" in names, names
assert me.inbox.total_count == 5, me.inbox.total_count

# Reading: octet by octet, as it lies in the mailbox.
messages = list(me.inbox.all().order_by("datetime_received"))
assert [message.subject for message in messages][2] == "Grüße aus Köln", messages
digests = [hashlib.sha256(message.mime_content).hexdigest() for message in messages]
assert digests == settings["digests"], digests
assert messages[2].sender.name == "Jürgen Müller" and "Schöne Grüße" in messages[2].body
assert messages[1].attachments[0].content.startswith(b"Position,Amount"), messages[1].attachments

messages[0].is_read = True
messages[0].save(update_fields=["is_read"])
assert me.inbox.filter(is_read=False).count() == 4
assert [found.subject for found in me.inbox.filter(subject__contains="Pump")] == ["FW: Pump 3 reports low pressure"]

# Sending: in pieces with an attachment, and a draft of the program's own making.
to = [Mailbox(email_address=settings["to"])]
message = Message(account=me, folder=me.sent, subject="Häuser & <Bäume>", body="Erste Zeile\nZweite", to_recipients=to)
message.attach(FileAttachment(name="Zahlen.bin", content=bytes(range(256)) * 1000))
message.send_and_save()
mime = base64.b64decode(settings["mime"])
draft = Message(account=me, folder=me.drafts, mime_content=mime)
draft.save()
draft.send(save_copy=True)
assert me.sent.all().count() == 2 and me.drafts.all().count() == 0

gone = messages[4].id
messages[3].move_to_trash()
messages[4].delete()
me.inbox.refresh()
assert me.inbox.total_count == 3 and me.trash.all().count() == 1
try:
    me.inbox.get(id=gone)
    sys.exit("a deleted message is still there")
except (DoesNotExist, ErrorItemNotFound):
    pass

# News: the answer is read while it is open, and a message arrives meanwhile.
with me.inbox.streaming_subscription() as subscription:
    self_addressed = Message(account=me, subject="news", body="now", to_recipients=[Mailbox(email_address=settings["login"])])
    sender = threading.Timer(0.5, self_addressed.send)
    sender.start()
    kinds = []
    for notification in me.inbox.get_streaming_events(subscription, connection_timeout=1, max_notifications_returned=1):
        kinds += [type(event).__name__ for event in notification.events]
    sender.join()
    assert "NewMailEvent" in kinds, kinds
