#!/usr/bin/env python3
"""Runs the embedded Microsoft 365 inside the machine: that of `gatepost demo`, on ports that stay the same.

The demonstration chooses other ports at each start. The kernel redirects the fixed ones to them, and the certificate
of the demonstration's authority is copied to where the configuration expects it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

FIXED = {"token endpoint": 21443, "IMAP": 21993, "POP3": 21995, "SMTP": 21587, "Graph": 21444}
AUTHORITY = Path("/etc/gatepost/ca.pem")
# Where the demonstration's own proxy listens, so that it takes none of the ports of the tests.
BASE = 22000


def redirect(ports: dict[str, str]) -> str:
    rules = "\n".join(f"tcp dport {FIXED[name]} redirect to :{port}" for name, port in ports.items())
    return f"""
table ip microsoft
delete table ip microsoft
table ip microsoft {{
    chain output {{
        type nat hook output priority -100;
        {rules}
    }}
}}
"""


def main() -> None:
    demo = subprocess.Popen(
        ["/opt/microsoft/gatepost", "demo", "--port-base", str(BASE)], stdout=subprocess.PIPE, text=True
    )
    ports: dict[str, str] = {}
    for line in demo.stdout:
        print(line, end="", flush=True)
        for name in FIXED:
            if name not in ports and (found := re.match(rf"  {name} +\S*localhost:(\d+)", line)):
                ports[name] = found[1]
        if found := re.match("Gatepost stands in front of it, with (.*)/proxy.yaml", line):
            assert ports.keys() == FIXED.keys(), ports
            subprocess.run(["nft", "-f", "-"], input=redirect(ports), text=True, check=True)
            AUTHORITY.parent.mkdir(exist_ok=True)
            shutil.copyfile(f"{found[1]}/ca.pem", AUTHORITY)
            AUTHORITY.chmod(0o644)
        if "stays up until Ctrl-C" in line:
            subprocess.run(["systemd-notify", "--ready"], check=True)
    sys.exit(demo.wait())


if __name__ == "__main__":
    main()
