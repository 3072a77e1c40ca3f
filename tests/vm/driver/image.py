"""The disk images of a machine: Debian with a kernel, and what the tests bring along."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
MIRROR = "http://deb.debian.org/debian"

PACKAGES = (
    "systemd systemd-sysv dbus udev kmod linux-image-cloud-amd64 initramfs-tools "
    "python3 curl jq logrotate iproute2 nftables sudo procps openssl ca-certificates redis-server util-linux-extra"
).split()

AGENT_UNIT = """\
[Unit]
Description=Commands of the tests

[Service]
ExecStart=/usr/local/bin/agent
OOMScoreAdjust=-1000

[Install]
WantedBy=multi-user.target
"""

JOURNAL = """\
[Journal]
Storage=persistent
RateLimitBurst=0
"""


@dataclass(frozen=True)
class Image:
    """A bootable disk, which is never written to, with its kernel."""

    disk: Path
    kernel: Path
    initrd: Path


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def _ext4(root: Path, disk: Path, size: str) -> None:
    disk.unlink(missing_ok=True)
    # Without a journal a power cut would prove nothing, so the default features stay.
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, disk, size)


def _settle(root: Path) -> None:
    """Makes the tree a machine for the tests."""

    def write(path: str, text: str, mode: int = 0o644) -> None:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    write("etc/fstab", "/dev/vda / ext4 defaults 0 1\n/dev/vdb /mnt ext4 ro 0 0\n")
    write("etc/hostname", "machine\n")
    # One address for each name: the embedded Microsoft 365 has IPv4 only.
    write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 machine\n::1 ip6-localhost\n")
    write("etc/systemd/system/agent.service", AGENT_UNIT)
    write("etc/systemd/journald.conf.d/tests.conf", JOURNAL)
    write("usr/local/bin/agent", (HERE / "guest/agent.py").read_text(), 0o755)
    # When QEMU goes back to a saved moment, the machine's clock jumps forward by the time since then.
    for service in ("systemd-journald", "systemd-udevd", "systemd-logind"):
        write(f"etc/systemd/system/{service}.service.d/tests.conf", "[Service]\nWatchdogSec=0\n")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    _run("systemctl", f"--root={root}", "enable", "agent.service")
    _run("systemctl", f"--root={root}", "disable", "redis-server.service")
    # The timers would do their work just when a row looks at something. Nobody logs in at the console.
    unwanted = [
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "logrotate.timer",
        "getty@tty1.service",
        "serial-getty@ttyS0.service",
    ]
    _run("systemctl", f"--root={root}", "mask", *unwanted)


def build(suite: str, cache: Path) -> Image:
    """Returns the image of a Debian release; makes it when there is none, or one of other ingredients."""
    ingredients = "\n".join([*PACKAGES, MIRROR, Path(__file__).read_text(), (HERE / "guest/agent.py").read_text()])
    wanted = hashlib.sha256(ingredients.encode()).hexdigest()
    image = Image(cache / "disk.img", cache / "vmlinuz", cache / "initrd.img")
    made_from = cache / "made-from"
    if made_from.exists() and made_from.read_text() == wanted:
        return image
    print(f"{suite}: making the image", flush=True)
    made_from.unlink(missing_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "root"
    shutil.rmtree(root, ignore_errors=True)
    _run("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, root, MIRROR)
    _settle(root)
    for name, target in (("vmlinuz-*", image.kernel), ("initrd.img-*", image.initrd)):
        [found] = (root / "boot").glob(name)
        shutil.copyfile(found, target)
    _ext4(root, image.disk, "3G")
    shutil.rmtree(root)
    made_from.write_text(wanted)
    return image


def payload(files: dict[str, Path], cache: Path) -> Path:
    """Returns a disk with these files, which the machine sees in /mnt."""
    tree, disk = cache / "payload", cache / "payload.img"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name, source in files.items():
        shutil.copy(source, tree / name)
    _ext4(tree, disk, "256M")
    shutil.rmtree(tree)
    return disk
