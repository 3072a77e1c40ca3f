"""Which addresses are open: after changes of `bind`, and with socket units."""

import json
from collections.abc import Callable
from typing import Any

from rows import Failure, expect, row

from guest import CERTIFICATE, CREDENTIALS, GATEPOST, Guest

SMTP = "127.0.0.1:1587"
UNITS = "gatepost-imaps.socket gatepost-submission.socket"
# With ListenStream=PORT systemd opens one socket for IPv6 and IPv4.
WITH_UNITS = ("*:993", "*:587")


def _imap(*binds: str) -> dict[str, Any]:
    listener = {"protocol": "imap", "bind": list(binds), "upstream": "localhost:21993"}
    return listener | {"allow_from": ["127.0.0.0/8"], "allow_plaintext_from": ["127.0.0.0/8"]}


# From one configuration to the next: what changes, the IMAP listener's name, its addresses, and whether there is SMTP.
STEPS = (
    ("a second address", "imap", ("127.0.0.1:1143", "127.0.0.1:2143"), True),
    ("another port", "imap", ("127.0.0.1:3143",), True),
    ("every address", "imap", ("0.0.0.0:3143",), True),
    ("narrowed to loopback", "imap", ("127.0.0.1:3143",), True),
    ("another name", "mail", ("127.0.0.1:3143",), True),
    ("a listener removed", "mail", ("127.0.0.1:3143",), False),
    ("a listener added", "mail", ("127.0.0.1:3143",), True),
)


def _change_of_binds(guest: Guest, name: str, binds: tuple[str, ...], smtp: bool) -> None:
    def change(configuration: dict[str, Any]) -> None:
        listeners = configuration["listeners"]
        del listeners["imap"]
        listeners[name] = _imap(*binds)
        if not smtp:
            del listeners["smtp"]
        # Gatepost's own look at the file would do the work of what is tested.
        configuration["limits"] |= {"reload_check": "0s", "drain": "5s"}

    guest.configure(change)


def _every_change(guest: Guest, put_in_force: Callable[[int], object], start: str = "gatepost") -> None:
    """Goes through all changes and looks at the open ports after each."""
    _change_of_binds(guest, "imap", ("127.0.0.1:1143",), True)
    guest.start(start)
    guest.expect_ports("127.0.0.1:1143", SMTP)
    failures = []
    for number, (what, name, binds, smtp) in enumerate(STEPS):
        _change_of_binds(guest, name, binds, smtp)
        wanted = (*binds, SMTP) if smtp else binds
        try:
            put_in_force(number)
            guest.expect_ports(*wanted)
            for address in wanted:
                local = address.replace("0.0.0.0", "127.0.0.1")
                expect(guest.greeted(local), f"a greeting on {local}", guest.journal(10))
        except Failure as failure:
            failures.append(f"{what}: {failure}")
            # So that the next step begins at what this one should have led to.
            guest.do(f"systemctl stop 'gatepost*'; systemctl reset-failed; systemctl start {start}")
    expect(not failures, "the ports of the file after each change", "\n".join(failures))


@row("F1.reload", "a reload opens and closes exactly what the file says")
def reload(guest: Guest) -> None:
    _every_change(guest, lambda _: guest.do("systemctl reload gatepost"))


@row("F1.restart", "a restart opens and closes exactly what the file says")
def restart(guest: Guest) -> None:
    _every_change(guest, lambda _: guest.do("systemctl restart gatepost"))


@row("F1.kill", "after SIGKILL exactly what the file says is open")
def kill(guest: Guest) -> None:
    def put_in_force(_: int) -> None:
        before = guest.pid()
        guest.do("systemctl kill --signal KILL gatepost")
        guest.wait("systemd has started it again", lambda: guest.pid() not in ("0", before))
        guest.wait_until_serving()

    _every_change(guest, put_in_force)


@row("F1.upgrade", "after an upgrade of the package exactly what the file says is open")
def upgrade(guest: Guest) -> None:
    _every_change(guest, lambda number: guest.install(f"/mnt/gatepost-{2 - number % 2}.deb"))


@row("F1.take-over", "after a take-over exactly what the file says is open")
def take_over(guest: Guest) -> None:
    def put_in_force(_: int) -> None:
        old, new = ("a", "b") if guest.show("gatepost@a", "ActiveState") == "active" else ("b", "a")
        guest.start(f"gatepost@{new}")
        guest.wait("the old one ends", lambda: guest.show(f"gatepost@{old}", "ActiveState") == "inactive")

    _every_change(guest, put_in_force, "gatepost@a")


def with_tls(configuration: dict[str, Any]) -> None:
    """The listeners of the shipped socket units, with addresses of their own as in the shipped sample."""
    tls = {"certificate": CERTIFICATE, "private_key": {"credential": "server.key"}, "allow_from": ["127.0.0.0/8", "::1"]}
    imaps = {
        "protocol": "imap",
        "bind": ["0.0.0.0:1993", "[::]:1993"],
        "tls": "implicit",
        "upstream": "localhost:21993",
    }
    submission = {
        "protocol": "smtp",
        "bind": ["0.0.0.0:1587", "[::]:1587"],
        "tls": "starttls",
        "upstream": "localhost:21587",
    }
    configuration["listeners"] = {"imaps": imaps | tls, "submission": submission | tls}


def prepare_socket_units(guest: Guest) -> None:
    """Writes the configuration and secrets for the shipped socket units."""
    guest.make_credentials()
    guest.drop_in(CREDENTIALS)
    guest.configure(with_tls)


def start_socket_units(guest: Guest) -> None:
    """Starts sockets and service, sockets first."""
    prepare_socket_units(guest)
    guest.do(f"systemctl enable gatepost {UNITS} 2>&1; systemctl start {UNITS} gatepost")


def expect_socket_units(guest: Guest) -> None:
    """Requires that the ports of the socket units are open, no others, and that both are served."""
    guest.expect_ports(*WITH_UNITS)
    expect_served_units(guest)


def expect_served_units(guest: Guest) -> None:
    """Requires that there is an answer on the ports of both socket units."""
    guest.expect_login(993, scheme="imaps")
    done = guest.run(
        "printf 'Subject: x\\r\\n\\r\\nx\\r\\n' | curl -sS --insecure --ssl-reqd --max-time 300 "
        "--user alice@contoso.example:correct-horse-battery smtp://127.0.0.1:587 "
        "--mail-from alice@contoso.example --mail-rcpt alice@contoso.example --upload-file -"
    )
    expect(done.code == 0, "a message over 587", done.text)


@row("F2.documented", "sockets can be added to a service that runs: enable, stop, start")
def sockets_later(guest: Guest) -> None:
    prepare_socket_units(guest)
    guest.do("systemctl enable --now gatepost 2>&1")
    guest.do(f"systemctl enable {UNITS} 2>&1; systemctl stop gatepost; systemctl start {UNITS} gatepost")
    expect_socket_units(guest)
    guest.do("systemctl restart gatepost")
    expect_socket_units(guest)


@row("F2.restart", "restarting service and sockets together opens 993 and 587 alone, with Gatepost behind both")
def sockets_by_restart(guest: Guest) -> None:
    prepare_socket_units(guest)
    guest.do("systemctl enable --now gatepost 2>&1")
    guest.run(f"systemctl enable {UNITS}; systemctl restart gatepost {UNITS}")
    guest.wait("the service runs", lambda: guest.show("gatepost", "ActiveState") == "active")
    expect_socket_units(guest)


@row("F2.first", "sockets first and then the service: 993 and 587 alone, with Gatepost behind both")
def sockets_first(guest: Guest) -> None:
    start_socket_units(guest)
    expect_socket_units(guest)


@row("F2.back", "without the socket units the addresses of the file are open again, and no others")
def sockets_gone(guest: Guest) -> None:
    start_socket_units(guest)
    guest.do(f"systemctl disable --now {UNITS} 2>&1; systemctl restart gatepost")
    guest.expect_ports("0.0.0.0:1993", "[::]:1993", "0.0.0.0:1587", "[::]:1587")
    guest.expect_login(1993, scheme="imaps")


@row("F4", "a take-over is refused with socket units, and the running service goes on undisturbed")
def take_over_with_sockets(guest: Guest) -> None:
    start_socket_units(guest)
    guest.drop_in(CREDENTIALS, "gatepost@.service")
    old, held = guest.pid(), guest.hold(3, port=993, tls=True)
    trickle, cursor = guest.trickle(20, port=993, tls=True), guest.cursor()
    expect(guest.run("systemctl cat gatepost@b.service").code == 0, "a template gatepost@.service in the package")
    done = guest.run("systemctl start gatepost@b")
    expect(done.code != 0, "no take-over", done.text + guest.since(cursor))
    said = guest.since(cursor)
    expect("socket unit" in said or ".socket" in said, "the reason in the journal", said)
    guest.run("systemctl stop gatepost@b")
    held.expect_answers()
    trickle.expect_served()
    held.release()
    expect(guest.pid() == old, f"the process {old} still", guest.pid())
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))
    expect_socket_units(guest)
    guest.do("systemctl reload gatepost")
    guest.do(f"{GATEPOST} status --socket /run/gatepost/gatepost.sock")


def refused(guest: Guest, port: int) -> bool:
    """Whether a new connection is refused."""
    return "refused" in guest.run(f"timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'").text


@row("F10.stop", "a stop refuses new connections at once while sessions drain")
def stop_refuses(guest: Guest) -> None:
    guest.configure(lambda configuration: configuration["limits"].update(drain="2m"))
    guest.start()
    held = guest.hold(6, mode="idle")
    guest.do("systemctl stop --no-block gatepost")

    def state() -> str:
        closed, active = refused(guest, 1143), guest.show("gatepost", "ActiveState")
        return "refused" if closed and active == "deactivating" else active if active == "inactive" else ""

    seen = guest.wait("new connections are refused", state)
    expect(seen == "refused" and "held" in held.states(), "refused connections beside sessions that drain", seen)
    expect(refused(guest, 1587), "1587 closed as well")
    held.expect_goodbye()
    guest.wait("it has stopped", lambda: guest.show("gatepost", "ActiveState") == "inactive")
    expect(guest.show("gatepost", "Result") == "success", "a stop without trouble", guest.show("gatepost", "Result"))
    expect(not guest.ports(), "no open port", guest.ports())


@row("F10.sockets", "stopping service and socket units closes all, and it stays so")
def stop_with_sockets(guest: Guest) -> None:
    start_socket_units(guest)
    guest.do(f"systemctl stop gatepost {UNITS} 2>&1")
    expect(refused(guest, 993) and refused(guest, 587), "refused connections on 993 and 587")
    expect(not guest.ports(), "no open port", guest.ports())
    states = guest.run(f"systemctl is-active gatepost {UNITS}").out.split()
    expect(states == ["inactive"] * 3, "everything inactive", states)


def _loud(lines: str) -> set[str]:
    """Returns the messages of warnings and errors of Gatepost."""
    entries = (json.loads(line) for line in lines.splitlines() if line.startswith("{"))
    return {entry["message"] for entry in entries if entry["level"].lower() in ("warn", "error")}


@row("F11", "a restart with socket units writes no warning that the start did not write")
def quiet_restart(guest: Guest) -> None:
    before = guest.cursor()
    start_socket_units(guest)
    # The servers of the tests are not Microsoft's, which is worth a warning at each start.
    usual = _loud(guest.since(before))
    cursor = guest.cursor()
    guest.do("systemctl restart gatepost; systemctl restart gatepost")
    lines = guest.since(cursor)
    loud = _loud(lines) - usual
    expect(not loud, "no further warning", "\n".join(loud))
    expect("no listener has asked for" not in lines, "every socket is used", lines)


@row("F12.binds", "a named socket takes the place of all addresses of its listener")
def named_socket(guest: Guest) -> None:
    start_socket_units(guest)
    guest.expect_ports(*WITH_UNITS)


@row("F12.peers", "clients over IPv4 are logged with their IPv4 address")
def peers(guest: Guest) -> None:
    def change(configuration: dict[str, Any]) -> None:
        with_tls(configuration)
        configuration["log"]["audit"] = {"file": "/var/log/gatepost/audit.jsonl"}

    prepare_socket_units(guest)
    guest.configure(change)
    guest.do(f"systemctl start {UNITS} gatepost")
    cursor = guest.cursor()
    guest.expect_login(993, scheme="imaps")
    said = guest.wait("the session's lines", lambda: "alice" in (text := guest.since(cursor)) and text)
    said += guest.read("/var/log/gatepost/audit.jsonl")
    expect("ffff:" not in said, "127.0.0.1", said)
    expect("127.0.0.1" in said, "the peer's address", said)
