"""Brings a machine to where every row begins: the package is installed, the embedded Microsoft 365 runs."""

from machine import Machine
from rows import expect

from guest import BASE, DEVICE, SCANNER, Guest

READY = "ready"

MICROSOFT = """\
[Unit]
Description=The embedded Microsoft 365

[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=20min
ExecStart=python3 /mnt/microsoft.py
"""


def prepare(machine: Machine, suite: str, power_cuts: int) -> Guest:
    """Makes the machine ready, and keeps it so under the name `READY`."""
    guest = Guest(machine, suite, power_cuts)
    machine.wait_for_agent()
    done = guest.run("systemctl is-system-running --wait", 900)
    expect(
        done.out.strip() == "running", "a machine without failed units", done.text + guest.run("systemctl --failed").out
    )
    guest.do("dpkg --install /mnt/gatepost-1.deb")
    guest.do("mkdir -p /opt/microsoft && cp /usr/bin/gatepost /opt/microsoft/")
    guest.put("/etc/systemd/system/microsoft.service", MICROSOFT)
    guest.do("systemctl daemon-reload && systemctl start microsoft.service", 1200)
    guest.do("mkdir -p /etc/gatepost")
    [scanner] = [account for account in BASE["accounts"] if account["login"] == SCANNER]
    if not scanner["passwords"]:
        scanner["passwords"] = [guest.do(f"echo {DEVICE} | gatepost password hash").strip()]
    guest.configure()
    guest.do("sync")
    machine.save(READY)
    return guest
