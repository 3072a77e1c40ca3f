"""What the rows do in a machine: Gatepost's package, its configuration, mail programs, the ports that are open."""

import base64
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from machine import COMMAND, Done, Machine
from rows import Failure, expect

# Longest wait for a condition. A busy host is slow; a row that holds does not wait so long.
PATIENCE = 400
ALICE, ALICES = "alice@contoso.example", "correct-horse-battery"
SCANNER = "scanner@contoso.example"
# The password of the device that the configuration knows.
DEVICE = "of-the-first-device"
GATEPOST = "sudo -u gatepost gatepost"
FILE = "/etc/gatepost/proxy.yaml"

CERTIFICATE = "/etc/gatepost/server.pem"
KEY = "/run/credentials/gatepost.service/server.key"

# The embedded Microsoft 365 has these ports, see guest/microsoft.py.
BASE: dict[str, Any] = {
    "listeners": {
        "imap": {"bind": "127.0.0.1:1143", "upstream": "localhost:21993"},
        "smtp": {"bind": "127.0.0.1:1587", "upstream": "localhost:21587"},
    },
    "microsoft": {
        "authority": "https://localhost:21443/",
        "tenant": "contoso.example",
        "client_id": "0f7bd2c4-6f0e-4f6b-8a41-5d1c9e7a3b20",
        "grant": "password",
    },
    "accounts": [
        {"login": "*@contoso.example"},
        {
            "login": SCANNER,
            "grant": "client_credentials",
            "client_id": "c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36",
            "client_secret": "sandbox-secret",
            # `prepare` makes the hash of `DEVICE`.
            "passwords": [],
        },
    ],
    "trust": {"system_roots": False, "additional_ca": "/etc/gatepost/ca.pem"},
    "forward_proxy": "none",
    "admin": {"bind": "127.0.0.1:9180"},
    # An emulated machine on a busy host is slow.
    "limits": {
        "drain": "20s",
        "tls_handshake": "1m",
        "connect": "30s",
        "connect_attempt": "15s",
        "token_request": "40s",
        "token_total": "50s",
    },
    "log": {"format": "json"},
}

START = ("ActiveEnterTimestampMonotonic", "InactiveExitTimestampMonotonic")
PAGE = {"127.0.0.1:9180", "[::1]:9180"}
CREDENTIALS = """\
[Service]
LoadCredential=client-secret:/etc/gatepost/client-secret
LoadCredential=server.key:/etc/gatepost/server.key
"""


@dataclass
class Guest:
    """A machine with the package installed, the embedded Microsoft 365 running, and Gatepost not started."""

    machine: Machine
    suite: str
    power_cuts: int = 5
    # What the rows have measured, for the report.
    notes: list[str] = field(default_factory=list)
    _numbers: int = 0

    # Commands.

    def run(self, script: str, seconds: float = COMMAND) -> Done:
        """Runs a script as root."""
        return self.machine.run(script, seconds)

    def do(self, script: str, seconds: float = COMMAND) -> str:
        """Runs a script that has to succeed, and returns what it wrote to standard output."""
        done = self.run(f"set -e\n{script}", seconds)
        if done.code != 0:
            # systemctl itself says no more than to look there.
            why = self.journal(12) if "systemctl" in script else ""
            raise Failure(f"expected success of `{script}`; seen: exit code {done.code}: {done.text.strip()}\n{why}")
        return done.out

    def install(self, package: str) -> str:
        """Installs a package, waits until the restart in the background is over, and returns what dpkg wrote."""
        said = self.do(f"dpkg --install {package} 2>&1")
        jobs = "systemctl list-jobs --no-legend | grep -q gatepost"
        self.wait("the service is restarted", lambda: self.run(jobs).code != 0)
        return said

    def put(self, path: str, content: str, mode: str = "644") -> None:
        """Writes a file."""
        text = base64.b64encode(content.encode()).decode()
        new = f"{path}.new"
        self.do(f"mkdir -p $(dirname {path}); echo {text} | base64 -d > {new}; chmod {mode} {new}; mv {new} {path}")

    def read(self, path: str) -> str:
        """Returns a file's content; empty when there is none."""
        return self.run(f"cat {path}").out

    def wait(self, what: str, holds: Callable[[], object], seconds: float = PATIENCE) -> Any:
        """Waits until something holds, and returns it."""
        deadline = time.monotonic() + seconds
        while not (value := holds()):
            if time.monotonic() > deadline:
                raise Failure(f"{what}: not within {seconds:.0f} s\n{self.journal(20)}")
            time.sleep(0.3)
        return value

    # Gatepost.

    def configure(self, change: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Writes the configuration of the tests, with a change."""
        configuration = copy.deepcopy(BASE)
        if change:
            change(configuration)
        # JSON is YAML.
        self.put(FILE, json.dumps(configuration, indent=1) + "\n")

    def drop_in(self, text: str, unit: str = "gatepost.service", name: str = "tests") -> None:
        """Adds to a unit."""
        self.put(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.do("systemctl daemon-reload")

    def make_credentials(self) -> None:
        """Lets systemd hand over the client secret and the key of a certificate, both for root alone."""
        self.do(
            "umask 077; cd /etc/gatepost; echo sandbox-secret > client-secret; "
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost "
            "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout server.key -out server.pem 2>/dev/null; "
            "chmod 644 server.pem"
        )

    def start(self, unit: str = "gatepost") -> None:
        self.do(f"systemctl start {unit}")

    def wait_until_serving(self, unit: str = "gatepost") -> None:
        """Waits until the service is ready; fails at once when systemd has given it up."""

        def serving() -> bool:
            expect(self.show(unit, "ActiveState") != "failed", f"{unit} to serve", self.journal(20))
            return self.show(unit, "StatusText").startswith("Serving")

        self.wait(f"{unit} serves", serving)

    def show(self, unit: str, key: str) -> str:
        """Returns a property of a unit."""
        return self.do(f"systemctl show --property {key} --value {unit}").strip()

    def note_start(self, unit: str = "gatepost") -> None:
        """Notes how long the service took to be ready."""
        ready, begun = (int(self.show(unit, key)) for key in START)
        self.notes.append(f"ready after {(ready - begun) / 1e6:.0f} s")

    def pid(self, unit: str = "gatepost") -> str:
        return self.show(unit, "MainPID")

    def journal(self, lines: int = 400, more: str = "") -> str:
        """Returns the last lines of the service's journal."""
        return self.run(f"journalctl --no-pager --unit 'gatepost*' --lines {lines} --output short-precise {more}").out

    def cursor(self) -> str:
        """Returns a place in the journal: its end."""
        self.do("journalctl --sync")
        return self.do("journalctl --lines 0 --show-cursor").split("cursor: ")[1].strip()

    def since(self, cursor: str, more: str = "") -> str:
        """Returns what Gatepost and systemd have written about it since a place in the journal."""
        return self.do(f"journalctl --no-pager --unit 'gatepost*' {self.behind(cursor)} --output cat {more}")

    def behind(self, cursor: str) -> str:
        """Returns the option of journalctl for what has come behind a place in the journal.

        With `--after-cursor` and a filter, systemd before 253 leaves out the first entry that passes the filter. So the
        option names the next entry.
        """
        self.do("journalctl --sync")
        entries = self.do(f"journalctl --no-pager --after-cursor '{cursor}' --output json")
        following = entries.splitlines()[:1]
        return f"--cursor '{json.loads(following[0])['__CURSOR']}'" if following else f"--after-cursor '{cursor}'"

    # What the world sees.

    def ports(self) -> set[str]:
        """Returns the addresses on which Gatepost, or systemd for it, listens."""
        lines = self.do("ss --listening --tcp --numeric --no-header").splitlines()
        addresses = {line.split()[3] for line in lines}
        # The embedded Microsoft 365 has higher ports, and Redis that one.
        return {address for address in addresses if (port := int(address.rsplit(":", 1)[1])) < 10_000 and port != 6379}

    def expect_ports(self, *addresses: str, page: bool = True) -> None:
        """Requires that exactly these addresses, and the status page, are open, and that there is an answer on each."""
        wanted = set(addresses) | (PAGE if page else set())
        seen = self.ports()
        expect(seen == wanted, f"open ports {sorted(wanted)}", sorted(seen))

    def greeted(self, address: str, seconds: int = 120) -> bool:
        """Whether somebody behind an address speaks, without TLS."""
        host, port = address.rsplit(":", 1)
        script = f'exec 3<>/dev/tcp/{host.strip("[]")}/{port} && IFS= read -r -t {seconds} line <&3 && echo "$line"'
        return bool(self.run(script, seconds + 60).out.strip())

    def login(
        self, port: int = 1143, user: str = ALICE, password: str = ALICES, scheme: str = "imap", host: str = "127.0.0.1"
    ) -> Done:
        """Logs in with curl and lists the folders."""
        return self.run(
            f"curl --silent --show-error --insecure --max-time 300 --user '{user}:{password}' {scheme}://{host}:{port}/"
        )

    def expect_login(self, *arguments: Any, **named: Any) -> None:
        """Requires that a login succeeds."""
        done = self.login(*arguments, **named)
        expect(done.code == 0 and "INBOX" in done.out, f"a login {arguments} {named}", done.text + self.journal(10))

    # Mail programs in the background.

    def _mail(self, what: str, **options: Any) -> str:
        self._numbers += 1
        name = f"mail-{self._numbers}"
        words = [
            f"--{key}" if value is True else f"--{key} {value}" for key, value in options.items() if value is not False
        ]
        self.do(f"systemd-run --quiet --unit {name} python3 /mnt/mail.py {what} {' '.join(words)} /run/{name}.json")
        return name

    def _seen(self, name: str) -> list[dict[str, Any]]:
        text = self.read(f"/run/{name}.json")
        return json.loads(text) if text else []

    def hold(self, count: int, mode: str = "busy", port: int = 1143, **options: Any) -> "Held":
        """Opens sessions and keeps them."""
        held = Held(self, self._mail("hold", count=count, mode=mode, port=port, **options), count)
        self.wait(f"{count} sessions are logged in", lambda: held.states().count("held") == count or held.ended())
        expect(held.states() == ["held"] * count, f"{count} sessions", self._seen(held.name))
        return held

    def trickle(self, count: int, every: float = 0.7, port: int = 1143, **options: Any) -> "Trickle":
        """Begins to log in and out, once in each interval."""
        trickle = Trickle(self, self._mail("trickle", count=count, every=every, port=port, **options), count)
        self.wait("the trickle has begun", lambda: "served" in trickle.states())
        return trickle


@dataclass
class Mail:
    """A mail program in the background."""

    guest: Guest
    name: str
    count: int

    def seen(self) -> list[dict[str, Any]]:
        return self.guest._seen(self.name)

    def states(self) -> list[str]:
        return [one["state"] for one in self.seen()]

    def ended(self) -> bool:
        return self.guest.run(f"systemctl is-active --quiet {self.name}").code != 0


class Held(Mail):
    """Sessions that are held: `held`, then `done`, told `bye`, or `cut`."""

    def alive(self) -> int:
        return self.states().count("held")

    def asked(self) -> int:
        """Returns how often the sessions have got an answer since they logged in."""
        return sum(one["asked"] for one in self.seen())

    def expect_answers(self) -> None:
        """Requires that all sessions go on: each gets further answers."""
        before = [one["asked"] for one in self.seen()]
        self.guest.wait(
            f"all of {self.name} get answers",
            lambda: (
                set(self.states()) != {"held"} or all(o["asked"] > b for o, b in zip(self.seen(), before, strict=True))
            ),
        )
        expect(self.states() == ["held"] * self.count, f"{self.count} sessions held", self.seen())

    def expect_goodbye(self) -> None:
        """Waits for the end of all sessions, and requires that none was cut off."""
        self.guest.wait(f"all of {self.name} have ended", lambda: "held" not in self.states())
        if not set(self.states()) <= {"bye", "done"}:
            why = self.guest.journal(200, "--grep 'session ended|drain|stop|Stop'")
            raise Failure(f"expected BYE to every session; seen: {self.seen()}\n{why}")

    def release(self) -> None:
        """Lets the sessions end by themselves, and requires that all could."""
        self.guest.do(f"touch /run/{self.name}.stop")
        self.guest.wait(f"{self.name} ends", self.ended)
        expect(set(self.states()) == {"done"}, f"{self.count} sessions until their own end", self.seen())


class Trickle(Mail):
    """Short sessions, one after the other: `served`, `refused` or `cut`."""

    def expect_served(self) -> None:
        """Waits for the last one, and requires that every one was served."""
        self.guest.wait(f"{self.name} ends", self.ended, PATIENCE * 2)
        failed = [one for one in self.seen() if one["state"] != "served"]
        served = [one["seconds"] for one in self.seen() if one["state"] == "served"]
        expect(
            len(served) == self.count and not failed, f"{self.count} of {self.count} served", f"{len(served)}, {failed}"
        )
        self.guest.notes.append(f"{self.count} of {self.count} served, slowest {max(served)} s")
