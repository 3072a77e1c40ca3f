"""exchangelib: finds EWS by Autodiscover, with nothing but an address and a password."""

import json
import os
import sys

settings = json.loads(sys.argv[1])
# Before requests and tempfile are loaded.
os.environ["REQUESTS_CA_BUNDLE"] = settings["root"]
os.environ["NO_PROXY"] = "*"
os.environ["TMPDIR"] = settings["directory"]

import exchangelib.autodiscover.discovery as discovery  # noqa: E402
from exchangelib import DELEGATE, Account, Credentials  # noqa: E402
from exchangelib.errors import ErrorNonExistentMailbox  # noqa: E402

# The domain has no records in DNS; where they would lead is the listener.
discovery.get_domain = lambda email: settings["host"]
discovery.Autodiscovery._ensure_valid_hostname = lambda self, url: None

credentials = Credentials(settings["login"], settings["password"])
me = Account(settings["login"], credentials=credentials, autodiscover=True, access_type=DELEGATE)
endpoint = me.protocol.service_endpoint
assert endpoint == f"https://{settings['host']}/EWS/Exchange.asmx", endpoint
assert me.inbox.total_count == 5, me.inbox.total_count

try:
    Account(settings["other"], credentials=credentials, autodiscover=True, access_type=DELEGATE)
    sys.exit("another mailbox was found")
except ErrorNonExistentMailbox:
    pass
