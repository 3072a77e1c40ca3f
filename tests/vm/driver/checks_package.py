"""The Debian package: installed, upgraded, removed, purged."""

from checks_commands import CONFIG, shown_password
from checks_sockets import UNITS, expect_served_units, refused, start_socket_units
from rows import expect, row

from guest import FILE, GATEPOST, SCANNER, Guest

NEXT, FIRST = "/mnt/gatepost-2.deb", "/mnt/gatepost-1.deb"
# What an upgrade must not change.
KEPT = f"sha256sum /var/lib/gatepost/state.key {FILE}; systemctl is-enabled gatepost; stat -c %U%a /var/lib/gatepost"


@row("H.package", "the package makes the user, brings units without a fault, and enables and starts nothing")
def installed(guest: Guest) -> None:
    user = guest.do("getent passwd gatepost").strip().split(":")
    expect(user[6].endswith("nologin") and user[5] == "/var/lib/gatepost", "a user without a shell", user)
    guest.do("getent group gatepost")
    units = guest.do("ls /usr/lib/systemd/system | grep ^gatepost").split()
    for unit in units:
        name = unit.replace("@.", "@a.")
        state = guest.run(f"systemctl is-enabled {name}").out.strip()
        expect(state == "disabled", f"{name} disabled", state)
        expect(guest.show(name, "ActiveState") == "inactive", f"{name} inactive")
        done = guest.run(f"systemd-analyze verify --man=no {name}")
        expect(done.code == 0 and not done.text.strip(), f"no fault in {name}", done.text)
    guest.do(f"rm {FILE}; systemctl start gatepost")
    expect(guest.show("gatepost", "ActiveState") == "inactive", "no start without a configuration")


@row("H.upgrade", "an upgrade restarts the service; nobody is refused or cut off, and everything is kept")
def upgrade(guest: Guest) -> None:
    guest.do("systemctl enable gatepost 2>&1")
    guest.start()
    made = shown_password(guest.do(f"{GATEPOST} password add {SCANNER} --name printer {CONFIG}"))
    before, pid = guest.do(KEPT), guest.pid()
    held, trickle = guest.hold(3), guest.trickle(60)
    guest.install(NEXT)
    expect(guest.pid() != pid, "another process", guest.pid())
    held.expect_goodbye()
    trickle.expect_served()
    expect(guest.do(KEPT) == before, before, guest.do(KEPT))
    guest.expect_login(user=SCANNER, password=made)


@row("H.upgrade-stopped", "an upgrade leaves a stopped service stopped")
def upgrade_stopped(guest: Guest) -> None:
    guest.start()
    guest.do("systemctl stop gatepost")
    guest.install(NEXT)
    expect(guest.show("gatepost", "ActiveState") == "inactive", "a stopped service")
    expect(guest.run("systemctl is-enabled gatepost").out.strip() == "disabled", "a service that is not enabled")


@row("H.upgrade-sockets", "an upgrade with socket units refuses nobody")
def upgrade_with_sockets(guest: Guest) -> None:
    start_socket_units(guest)
    trickle = guest.trickle(40, port=993, tls=True)
    guest.install(NEXT)
    trickle.expect_served()
    expect_served_units(guest)


@row("H.reinstall", "removed and installed again, the device passwords are there")
def reinstall(guest: Guest) -> None:
    guest.start()
    made = shown_password(guest.do(f"{GATEPOST} password add {SCANNER} --name printer {CONFIG}"))
    guest.do(f"dpkg --remove gatepost 2>&1; dpkg --install {FIRST} 2>&1")
    guest.start()
    guest.expect_login(user=SCANNER, password=made)


def _nothing_runs(guest: Guest) -> None:
    listed = guest.do("systemctl list-units --all --plain --no-legend 'gatepost*'").strip()
    expect("active running" not in listed and "active listening" not in listed, "no unit that is active", listed)
    expect(not guest.ports(), "no open port", guest.ports())


@row("F16.remove", "removing the package stops service and socket units")
def remove(guest: Guest) -> None:
    start_socket_units(guest)
    guest.do("dpkg --remove gatepost 2>&1")
    _nothing_runs(guest)
    expect(refused(guest, 993), "993 closed")
    enabled = guest.run(f"systemctl is-active {UNITS}").out.split()
    expect("active" not in enabled, "inactive socket units", enabled)


@row("F16.instance", "removing the package stops an instance of the template")
def remove_instance(guest: Guest) -> None:
    guest.do("systemctl enable --now gatepost@a 2>&1")
    guest.do("dpkg --remove gatepost 2>&1")
    _nothing_runs(guest)


@row("F16.purge", "purging leaves no link behind, and removes directories and user or says that they stay")
def purge(guest: Guest) -> None:
    start_socket_units(guest)
    guest.do("dpkg --remove gatepost 2>&1")
    said = guest.do("dpkg --purge gatepost 2>&1")
    _nothing_runs(guest)
    # Until then they are kept, as Debian does it, so that a package installed again is enabled as before.
    dangling = guest.do("find /etc/systemd/system -xtype l").split()
    expect(not dangling, "no link without a target", dangling)
    for place in ("/var/lib/gatepost", "/var/log/gatepost"):
        there = guest.run(f"test -e {place}").code == 0
        expect(not there or place in said, f"{place} removed, or named by the purge", said)
    there = guest.run("getent passwd gatepost").code == 0
    expect(not there or "user" in said, "the user removed, or named by the purge", said)


@row("F18", "an upgrade says that it waits for the sessions")
def told(guest: Guest) -> None:
    guest.start()
    guest.hold(2)
    said = guest.install(NEXT).lower()
    expect("session" in said or "drain" in said or "limits.drain" in said, "a word on the wait", said)
