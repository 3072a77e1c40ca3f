"""Two instances of the template take turns."""

from rows import expect, row

from guest import GATEPOST, Guest, Held

SOCKET = "/run/gatepost/gatepost.sock"


def _turn(guest: Guest, old: str, new: str) -> None:
    """Starts the new unit beside the old one, with sessions and a trickle of connections."""
    held: Held = guest.hold(3)
    trickle = guest.trickle(30)
    guest.start(new)
    expect(guest.show(new, "ActiveState") == "active", f"{new} active", guest.journal(20))
    guest.expect_login()
    # The old one tells resting sessions goodbye within `limits.drain`, and ends.
    held.expect_goodbye()
    guest.wait(f"{old} has ended", lambda: guest.show(old, "ActiveState") in ("inactive", "failed"))
    expect(guest.show(old, "Result") == "success", f"{old} deactivated successfully", guest.show(old, "Result"))
    trickle.expect_served()
    _whole(guest, new)


def _whole(guest: Guest, unit: str) -> None:
    """Requires that an instance serves, alone, and can be asked and reloaded."""
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587")
    guest.do(f"test -S {SOCKET}")
    said = guest.do(f"{GATEPOST} status --socket {SOCKET}")
    expect("imap" in said, "the listeners in the status", said)
    guest.do(f"systemctl reload {unit}")
    guest.expect_login()
    expect(guest.show(unit, "NRestarts") == "0", "no restart", guest.show(unit, "NRestarts"))


@row("F3.turns", "gatepost@b takes over from gatepost@a, and then a from b: all sessions and connections are served")
def turns(guest: Guest) -> None:
    guest.start("gatepost@a")
    _whole(guest, "gatepost@a")
    _turn(guest, "gatepost@a", "gatepost@b")
    _turn(guest, "gatepost@b", "gatepost@a")


@row("F3.service", "gatepost@b takes over from gatepost.service")
def from_service(guest: Guest) -> None:
    guest.start()
    _turn(guest, "gatepost", "gatepost@b")


@row("F3.sessions", "sessions of the old instance are untouched until the drain ends")
def sessions(guest: Guest) -> None:
    guest.configure(lambda configuration: configuration["limits"].update(drain="10m"))
    guest.start("gatepost@a")
    # With so long a drain they count as busy, and are not told goodbye.
    held = guest.hold(3)
    guest.start("gatepost@b")
    asked = held.asked()
    guest.wait("the sessions go on", lambda: held.asked() > asked + 6 or held.alive() == 0)
    held.release()
    guest.wait("the old one has ended", lambda: guest.show("gatepost@a", "ActiveState") == "inactive")
    _whole(guest, "gatepost@b")


@row("F3.kill", "an instance that has taken over is started again after SIGKILL, and refuses nobody")
def killed(guest: Guest) -> None:
    guest.start("gatepost@a")
    guest.start("gatepost@b")
    guest.wait("the old one has ended", lambda: guest.show("gatepost@a", "ActiveState") == "inactive")
    guest.do("systemctl kill --signal KILL gatepost@b")
    guest.wait("systemd has started it again", lambda: guest.show("gatepost@b", "NRestarts") == "1")
    guest.wait_until_serving("gatepost@b")
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587")
    guest.expect_login()
    guest.do(f"{GATEPOST} status --socket {SOCKET}")


@row("F3.stop", "stopping the one instance that runs closes everything")
def stopped(guest: Guest) -> None:
    guest.start("gatepost@a")
    guest.start("gatepost@b")
    guest.wait("the old one has ended", lambda: guest.show("gatepost@a", "ActiveState") == "inactive")
    guest.do("systemctl stop gatepost@b")
    expect(not guest.ports(), "no open port", guest.ports())
    guest.start("gatepost@a")
    _whole(guest, "gatepost@a")
