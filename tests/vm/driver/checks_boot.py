"""What needs a boot of the machine: it starts by itself, with everything around it late, and after a power cut."""

import random
import re
import time
from collections.abc import Callable
from typing import Any

from checks_commands import CONFIG
from checks_sockets import expect_served_units, start_socket_units
from checks_weather import (
    expect_late_address,
    expect_redis,
    late_address,
    make_redis_key,
    silent_names,
    with_microsofts_names,
    with_redis,
)
from rows import expect, row

from guest import DEVICE, GATEPOST, SCANNER, Guest


def _wait_for_boot(guest: Guest, before: str) -> None:
    guest.machine.wait_for_boot(before)
    # Also when a unit has failed: the row looks at what matters to it.
    guest.run("systemctl is-system-running --wait", 900)


def reboot(guest: Guest) -> None:
    """Restarts the machine in an orderly way and waits until it is up."""
    before = guest.machine.boot_id()
    # A moment later, so that this command is answered.
    guest.do("sync; systemd-run --quiet --on-active=1 --timer-property=AccuracySec=100ms systemctl reboot")
    _wait_for_boot(guest, before)


def start_microsoft(guest: Guest) -> None:
    """Starts the embedded Microsoft 365, which ends with the machine."""
    guest.do("systemctl start microsoft", 1200)


def _booted(guest: Guest, change: Callable[[dict[str, Any]], None] | None) -> None:
    """Enables the service and boots with a configuration; it has to serve by itself."""
    guest.configure(change)
    guest.do("systemctl enable gatepost 2>&1")
    reboot(guest)
    guest.wait_until_serving()
    guest.note_start()


def _start_microsoft(guest: Guest) -> None:
    """Starts Microsoft 365 after a boot. It has another authority now, whose certificate Gatepost reads within seconds."""
    start_microsoft(guest)
    guest.wait("a login", lambda: guest.login().code == 0)


@row("H.boot", "service, socket units and credentials come up by themselves")
def boot(guest: Guest) -> None:
    start_socket_units(guest)
    reboot(guest)
    expect(guest.show("gatepost", "ActiveState") == "active", "an active service", guest.journal(20))
    start_microsoft(guest)
    # It has another authority now, whose certificate Gatepost reads within seconds.
    guest.wait("a login", lambda: guest.login(993, scheme="imaps").code == 0)
    expect_served_units(guest)
    failed = guest.do("systemctl --failed --plain --no-legend").strip()
    expect(not failed, "no failed unit", failed)


@row("W.boot-address", "it starts at boot while one of its addresses is missing")
def boot_address(guest: Guest) -> None:
    _booted(guest, late_address)
    _start_microsoft(guest)
    expect_late_address(guest)


@row("W.boot-dns", "it starts at boot while no name server answers")
def boot_names(guest: Guest) -> None:
    silent_names(guest)
    _booted(guest, with_microsofts_names)
    _start_microsoft(guest)
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587", "127.0.0.1:1995")


@row("W.boot-redis", "it starts at boot while its Redis is not there yet")
def boot_redis(guest: Guest) -> None:
    make_redis_key(guest)
    _booted(guest, with_redis)
    _start_microsoft(guest)
    expect_redis(guest)


@row("W.boot-clock", "it starts at boot while the clock is years back, and logs in once that is right")
def boot_clock(guest: Guest) -> None:
    now = int(guest.do("date +%s"))
    begin = time.monotonic()
    # Else systemd-timesyncd or an orderly end would put the clock forward again.
    guest.do("sync; date --set 2000-01-01 >/dev/null; hwclock --systohc --utc")
    _booted(guest, None)
    year = int(guest.do("date +%Y"))
    guest.notes.append(f"booted in {year}")
    guest.do(f"date --set @{now + int(time.monotonic() - begin)} >/dev/null")
    _start_microsoft(guest)
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))


# Acknowledges on the console, which is on the host, what the commands have promised to keep.
WRITER = f"""\
number=0
while sleep 0.1; do
    number=$((number + 1))
    name=cut-$1-$number
    {GATEPOST} password add {SCANNER} --name $name {CONFIG} >/dev/null && echo "KEPT $name" > /dev/ttyS0
    if [ $((number % 3)) = 0 ]; then
        {GATEPOST} state rotate-key {CONFIG} >/dev/null && echo "ROTATED $name" > /dev/ttyS0
    fi
done
"""


def _written(guest: Guest, word: str, cut: int) -> list[str]:
    return re.findall(rf"{word} (cut-{cut}-\d+)\b", guest.machine.console())


def _cut(guest: Guest, number: int) -> tuple[int, int]:
    """Cuts the power while passwords are made and the key changes; how many of both were acknowledged before."""
    # An account has 64 passwords at most.
    guest.do("systemctl stop gatepost; rm -f /var/lib/gatepost/*; systemctl start gatepost; sync")
    guest.do(f"systemd-run --quiet bash /root/writer.sh {number}")
    guest.wait("the first password is kept", lambda: _written(guest, "KEPT", number))
    # At a random moment of what follows.
    time.sleep(random.uniform(0, 6))
    boot = guest.machine.boot_id()
    guest.machine.cut_power()
    _wait_for_boot(guest, boot)
    kept = _written(guest, "KEPT", number)
    listed = guest.do(f"{GATEPOST} password list {CONFIG}")
    lost = [name for name in kept if not re.search(rf"\b{name}\b", listed)]
    expect(not lost, f"{len(kept)} acknowledged passwords after cut {number}", f"lost {lost}: {listed}")
    expect(guest.show("gatepost", "ActiveState") == "active", "an active service", guest.journal(20))
    return len(kept), len(_written(guest, "ROTATED", number))


@row("H.power", "what a command has acknowledged is there after a power cut in the middle of the next ones")
def power(guest: Guest) -> None:
    guest.put("/root/writer.sh", WRITER)
    guest.do("systemctl enable gatepost 2>&1")
    passwords = rotations = 0
    for number in range(1, guest.power_cuts + 1):
        kept, rotated = _cut(guest, number)
        passwords, rotations = passwords + kept, rotations + rotated
    guest.notes.append(f"{guest.power_cuts} cuts, {passwords} passwords and {rotations} rotations acknowledged")


# Of the accounts at guest/provider.py, whose refresh tokens are good once.
PEOPLE = [f"person{number}@own.example" for number in range(12)]
PROVIDER = """\
[Service]
Type=notify
ExecStart=bash -c 'exec python3 /mnt/provider.py /root/own/server.pem /root/own/server.key /root/own/state.json >/dev/ttyS0'
"""
EVERYBODY = f"""\
while true; do
    for person in {" ".join(PEOPLE)}; do
        curl --silent --max-time 60 --user $person:{DEVICE} imap://127.0.0.1:1143/ &
    done
    wait
done
"""


def _with_provider(configuration: dict[str, Any]) -> None:
    configuration["providers"] = {
        "own": {
            "client_id": "own",
            "grant": "device_code",
            "scope": "mail",
            "token_url": "https://localhost:23443/token",
            "device_url": "https://localhost:23443/device",
            "domains": "own.example",
            "hosts": {"imap": "localhost:23993"},
        }
    }
    [scanner] = [account for account in configuration["accounts"] if account["login"] == SCANNER]
    configuration["accounts"].append({"login": "*@own.example", "passwords": scanner["passwords"]})
    configuration["trust"]["additional_ca"] = "/etc/gatepost/own.pem"


def _replaced(guest: Guest) -> int:
    return len(re.findall(r"REPLACED \d+ \d+", guest.machine.console()))


@row("H.refresh", "no sign-in is lost by a power cut while refresh tokens are replaced, each of which is good once")
def refresh(guest: Guest) -> None:
    guest.do("gatepost cert --directory /root/own && install -m 644 /root/own/ca.pem /etc/gatepost/own.pem")
    guest.put("/etc/systemd/system/provider.service", PROVIDER)
    guest.put("/root/everybody.sh", EVERYBODY)
    guest.configure(_with_provider)
    guest.do("systemctl daemon-reload; systemctl enable gatepost 2>&1; systemctl start provider gatepost")
    for person in PEOPLE:
        guest.do(f"{GATEPOST} login {person} {CONFIG}")
    begin = _replaced(guest)
    for _ in range(guest.power_cuts):
        # It has no access tokens now.
        guest.do("systemctl restart gatepost; sync")
        before = _replaced(guest)
        guest.do("systemd-run --quiet bash /root/everybody.sh")
        guest.wait("a refresh token is replaced", lambda: _replaced(guest) > before)
        # At a random moment of what follows.
        time.sleep(random.uniform(0, 4))
        boot = guest.machine.boot_id()
        guest.machine.cut_power()
        _wait_for_boot(guest, boot)
        guest.do("systemctl start provider")
        for person in PEOPLE:
            guest.expect_login(user=person, password=DEVICE)
    replaced = _replaced(guest) - begin
    guest.notes.append(f"{guest.power_cuts} cuts, {len(PEOPLE)} sign-ins, {replaced} refresh tokens replaced")
