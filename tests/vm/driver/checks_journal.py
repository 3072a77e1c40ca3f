"""What is in systemd's journal and in the files of the logs."""

import json
from typing import Any

from rows import expect, row

from guest import ALICE, FILE, Guest

JQ = "journalctl --unit gatepost --output cat | jq -R 'fromjson? | select(.outcome == \"refused\")'"


def _with_log(**log: Any) -> Any:
    return lambda configuration: configuration["log"].update(log)


@row("F14", "`journalctl -p err` shows a refused reload, in both formats of the log")
def priority(guest: Guest) -> None:
    for format in ("json", "text"):
        guest.configure(_with_log(format=format))
        guest.do("systemctl restart gatepost")
        cursor = guest.cursor()
        guest.put(FILE, "listeners: {imap: {bind: nowhere}}\n")
        expect(guest.run("systemctl reload gatepost").code != 0, "a reload that is refused")
        loud = guest.do(f"journalctl -p err -u gatepost {guest.behind(cursor)} --output json")
        own = [entry for line in loud.splitlines() if (entry := json.loads(line))["_PID"] == guest.pid()]
        said = [str(entry["MESSAGE"]) for entry in own]
        expect(any("proxy.yaml" in text or "reload" in text for text in said), f"the mistake ({format})", loud)
        expect(not any(text.startswith("<") for text in said), "no prefix in the text", said)
        # What is no trouble has a lower priority.
        guest.expect_login()
        calm = guest.do(f"journalctl -p info..info -u gatepost {guest.behind(cursor)} --output cat")
        guest.wait("the login is noted", lambda: "alice" in guest.since(cursor, "-p info..info"))
        expect("<6>" not in calm, "no prefix in the text", calm)


@row("F15", "the documented jq command lists refused logins, with systemd's own lines in between")
def jq(guest: Guest) -> None:
    guest.start()
    guest.login(password="wrong")
    guest.do("systemctl restart gatepost")
    guest.login(password="wrong-too")
    guest.wait("both are noted", lambda: guest.journal().count('"outcome":"refused"') >= 2)
    done = guest.run(f"set -o pipefail; {JQ}")
    expect(done.code == 0 and not done.err, "jq without an error", done.err)
    expect(done.out.count('"outcome": "refused"') == 2, "both refused logins", done.out)


@row("H.audit", "`audit: journal` is under the service's name, and both logs go on after a restart of journald")
def audit(guest: Guest) -> None:
    guest.configure(_with_log(audit="journal"))
    guest.start()
    lines = []
    for _ in range(2):
        cursor = guest.cursor()
        guest.expect_login()
        lines.append(guest.wait("log and audit log", lambda: (t := guest.since(cursor)).count(ALICE) >= 2 and t))
        guest.do("systemctl restart systemd-journald")
    match = guest.do(f"journalctl --no-pager _SYSTEMD_UNIT=gatepost.service --output cat | grep -c {ALICE}")
    expect(int(match) >= 4, "lines of both logs under gatepost.service", lines)


@row("H.logrotate", "logrotate moves the audit log; Gatepost makes a new one, with the same rights")
def logrotate(guest: Guest) -> None:
    place = "/var/log/gatepost"
    guest.configure(_with_log(audit={"file": f"{place}/audit.jsonl"}))
    guest.start()
    for _ in range(3):
        guest.expect_login()
        guest.wait("a line of the audit log", lambda: guest.run(f"test -s {place}/audit.jsonl").code == 0)
        guest.do("logrotate --force /etc/logrotate.d/gatepost")
    guest.expect_login()
    guest.wait("a new file", lambda: guest.run(f"test -s {place}/audit.jsonl").code == 0)
    rights = guest.do(f"stat --format '%U %a' {place}/audit.jsonl").strip()
    expect(rights == "gatepost 600", "gatepost 600", rights)
    files = guest.do(f"ls {place}").split()
    expect({"audit.jsonl.1", "audit.jsonl.2.gz", "audit.jsonl.3.gz"} <= set(files), "older files, compressed", files)
    guest.do("logrotate /etc/logrotate.conf")
