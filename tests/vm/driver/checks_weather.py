"""What happens around a service: a machine that stands still, clocks that jump, addresses that come later."""

from typing import Any

from checks_commands import CONFIG, shown_password
from rows import expect, row

from guest import ALICE, ALICES, GATEPOST, SCANNER, Guest

LATE = "192.0.2.10"


def _freeze(guest: Guest, seconds: int) -> None:
    guest.start()
    held, pid = guest.hold(4), guest.pid()
    before = float(guest.read("/proc/uptime").split()[0])
    guest.machine.freeze(seconds)
    passed = float(guest.read("/proc/uptime").split()[0]) - before
    expect(passed > seconds * 0.9, f"a machine whose clock went on for {seconds} s", f"{passed:.0f} s")
    held.expect_answers()
    guest.expect_login()
    expect(guest.pid() == pid, f"the process {pid} still", guest.journal(20))
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))
    held.release()


@row("F8.12", "a machine that stands still for 12 s loses no session")
def freeze_12(guest: Guest) -> None:
    _freeze(guest, 12)


@row("F8.30", "a machine that stands still for 30 s loses no session")
def freeze_30(guest: Guest) -> None:
    _freeze(guest, 30)


@row("F8.60", "a machine that stands still for 60 s loses no session")
def freeze_60(guest: Guest) -> None:
    _freeze(guest, 60)


def late_address(configuration: dict[str, Any]) -> None:
    """A listener on an address that the machine does not have yet."""
    configuration["listeners"]["imap"] |= {
        "bind": ["127.0.0.1:1143", f"{LATE}:1143"],
        "allow_from": ["127.0.0.0/8", "192.0.2.0/24"],
        "allow_plaintext_from": ["127.0.0.0/8", "192.0.2.0/24"],
    }


def expect_late_address(guest: Guest) -> None:
    """Requires that the listener serves, and serves the late address once it is there."""
    guest.expect_login()
    expect(guest.show("gatepost", "ActiveState") == "active", "an active service", guest.journal(20))
    said = guest.journal()
    expect(LATE in said, "a warning that names the address", said)
    guest.do(f"ip address add {LATE}/32 dev lo")
    guest.wait("a login over the late address", lambda: guest.login(host=LATE).code == 0)


@row("F9", "an address that comes after the start is served when it is there")
def address(guest: Guest) -> None:
    guest.configure(late_address)
    guest.run("systemctl start gatepost")
    guest.wait_until_serving()
    expect_late_address(guest)
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))


@row("H.clock", "a clock that jumps by two hours costs no session and no login")
def clock(guest: Guest) -> None:
    guest.start()
    held = guest.hold(4)
    for jump in ("+2 hours", "-2 hours", "-2 hours", "+2 hours"):
        guest.do(f"date --set '{jump}' >/dev/null")
        guest.expect_login()
        held.expect_answers()
    held.release()
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))


def _wrong_clock(guest: Guest, then: str) -> None:
    now = guest.do("date +%s").strip()
    guest.do(f"date --set '{then}' >/dev/null")
    guest.start()
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587")
    guest.login()
    guest.do(f"date --set @{now} >/dev/null")
    guest.wait("logins succeed with the right clock", lambda: guest.login().code == 0)
    made = shown_password(guest.do(f"{GATEPOST} password add {SCANNER} --name printer {CONFIG}"))
    guest.expect_login(user=SCANNER, password=made)
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))


@row("W.1970", "it starts while the clock says 1970, and logs in once that is right")
def year_1970(guest: Guest) -> None:
    _wrong_clock(guest, "1970-01-02")


@row("W.2000", "it starts while the clock says 2000, and logs in once that is right")
def year_2000(guest: Guest) -> None:
    _wrong_clock(guest, "2000-01-01")


def silent_names(guest: Guest) -> None:
    """No name server answers, now and after a boot."""
    guest.put("/etc/resolv.conf", "nameserver 127.0.0.9\n")
    rules = "add table ip silence\nadd chain ip silence out {type filter hook output priority 0;}\n"
    rules += "add rule ip silence out udp dport 53 drop\nadd rule ip silence out tcp dport 53 drop\n"
    guest.put("/etc/silence.nft", rules)
    unit = (
        "[Unit]\nDefaultDependencies=no\nBefore=network-pre.target\nWants=network-pre.target\n[Service]\nType=oneshot\n"
    )
    unit += "ExecStart=nft -f /etc/silence.nft\n[Install]\nWantedBy=sysinit.target\n"
    guest.put("/etc/systemd/system/silence.service", unit)
    guest.do("systemctl daemon-reload; systemctl enable --now silence 2>&1")


def with_microsofts_names(configuration: dict[str, Any]) -> None:
    """A listener whose server has a name that has to be looked up."""
    configuration["listeners"]["pop3"] = {"bind": "127.0.0.1:1995"}


@row("W.dns", "it starts, and serves what it can, while no name server answers")
def names(guest: Guest) -> None:
    silent_names(guest)
    guest.configure(with_microsofts_names)
    guest.start()
    guest.note_start()
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587", "127.0.0.1:1995")
    guest.expect_login()
    expect(guest.greeted("127.0.0.1:1995"), "a greeting of the listener without an upstream")
    guest.do("systemctl reload gatepost")


def with_redis(configuration: dict[str, Any]) -> None:
    """The store is a Redis."""
    configuration["state"] = {"store": "redis://127.0.0.1:6379/0", "key": {"file": "/etc/gatepost/state.key"}}


def make_redis_key(guest: Guest) -> None:
    """Writes the key with which records in the Redis are sealed."""
    guest.do("umask 077; openssl rand -base64 32 > /etc/gatepost/state.key; chown gatepost: /etc/gatepost/state.key")


def expect_redis(guest: Guest) -> None:
    """Requires that logins work without the Redis, and device passwords once it is there."""
    expect(guest.show("gatepost", "ActiveState") == "active", "an active service", guest.journal(20))
    guest.expect_login()
    guest.do("systemctl start redis-server")
    added = guest.wait(
        "a device password is made",
        lambda: (
            (done := guest.run(f"{GATEPOST} password add {SCANNER} --name printer {CONFIG}")).code == 0 and done.out
        ),
    )
    made = shown_password(added)
    guest.wait("the password opens", lambda: guest.login(user=SCANNER, password=made).code == 0)
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))
    ready = guest.wait("ready", lambda: guest.run("curl -sS http://127.0.0.1:9180/readyz").out.startswith("ready"))
    expect(ready, "ready")


@row("W.redis", "it starts, and serves what it can, while its Redis is not there yet")
def redis(guest: Guest) -> None:
    make_redis_key(guest)
    guest.configure(with_redis)
    guest.run("systemctl start gatepost")
    guest.wait_until_serving()
    expect_redis(guest)


@row("W.wrong-password", "a wrong password is refused at once, and the service goes on")
def wrong_password(guest: Guest) -> None:
    guest.start()
    done = guest.login(user=ALICE, password=f"{ALICES}-no")
    expect(done.code == 67, "curl's exit code for a refused login", done)
    guest.expect_login()
