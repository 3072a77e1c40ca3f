"""A virtual machine: power, commands, snapshots, pauses."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from image import Image

# Longest time until a booting machine takes commands, with an accelerator that works. A host that is busy is slow.
BOOT = 900
# With KVM the kernel speaks within a second. Where it does not, /dev/kvm is there but does not work.
FIRST_WORD_WITH_KVM = 15
BOOT_WITH_KVM = 120
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Longest time for one command, unless a row says otherwise.
COMMAND = 600


@dataclass(frozen=True)
class Done:
    """How a command in the machine ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both outputs."""
        return self.out + self.err


class MachineError(Exception):
    """The machine does not do what a machine does; no row is at fault."""


class Channel:
    """Lines of JSON over a socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._waiting = b""

    def send(self, message: dict) -> None:
        self.send_line(json.dumps(message).encode())

    def send_line(self, line: bytes) -> None:
        self._socket.settimeout(60)
        self._socket.sendall(line + b"\n")

    def receive(self, seconds: float) -> dict | None:
        """Returns the next message, or nothing when none comes in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                received = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            except ConnectionResetError:
                received = b""
            if not received:
                raise MachineError("QEMU has ended")
            self._waiting += received
        line, self._waiting = self._waiting.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:
            # The rest of an answer from before a reset.
            return {}

    def close(self) -> None:
        self._socket.close()


class Machine:
    """One machine from power to power off. What it writes to its disk is gone with it."""

    def __init__(self, image: Image, payload: Path, log: Path, accelerator: str, append: str = "") -> None:
        self._numbers = 0
        self._directory = tempfile.TemporaryDirectory(prefix="machine-", dir=log.parent)
        self._log = log
        sockets = Path(self._directory.name)
        agent, control = sockets / "agent", sockets / "qmp"
        # Paths of sockets are short. QEMU and this process start in the same place.
        agent, control = (Path(os.path.relpath(path)) for path in (agent, control))
        # Going back to a saved moment, and a pause, move the processor's clock forward. Linux would then prefer another
        # clock, which wraps around after seconds.
        clock = "tsc=reliable"
        model = "host" if accelerator == "kvm" else "max"
        command: list[str | Path] = [
            *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-user-config"),
            *("-accel", accelerator, "-cpu", model, "-smp", "1", "-m", "1536", "-nic", "none"),
            *("-kernel", image.kernel, "-initrd", image.initrd),
            *("-append", f"root=/dev/vda rw console=ttyS0 {clock} {append}".strip()),
            *("-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on,cache=writethrough"),
            *("-drive", f"file={payload},format=raw,if=virtio,readonly=on"),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={agent},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=gatepost.agent"),
            *("-qmp", f"unix:{control},server=on,wait=off"),
            *("-chardev", f"file,id=console,path={log}", "-serial", "chardev:console"),
        ]
        # The overlay is as large as what a machine writes: it belongs to the build, not into memory.
        environment = os.environ | {"TMPDIR": str(log.parent.resolve())}
        self._errors = (log.parent / f"{log.stem}.qemu").open("w+")
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self._errors, env=environment)
        try:
            self._control = self._connect(control)
            self._agent = self._connect(agent)
            self._qmp("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, path: Path) -> Channel:
        deadline = time.monotonic() + 60
        while True:
            try:
                return Channel(path)
            except OSError as error:
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    self._errors.seek(0)
                    raise MachineError(f"QEMU does not start: {self._errors.read()}") from error
                time.sleep(0.1)

    def _qmp(self, command: str, **arguments: str) -> object:
        self._control.send({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + 300
        while (left := deadline - time.monotonic()) > 0:
            message = self._control.receive(left) or {}
            if "error" in message:
                raise MachineError(f"{command}: {message['error']}")
            if "return" in message:
                return message["return"]
        raise MachineError(f"{command}: QEMU does not answer")

    def _monitor(self, command: str) -> None:
        answer = self._qmp("human-monitor-command", **{"command-line": command})
        if answer:
            raise MachineError(f"{command}: {answer}")

    def _ask(self, script: str, seconds: float) -> int:
        self._numbers += 1
        # The empty line ends what may be left of a request from before a reset.
        self._agent.send_line(b"")
        self._agent.send({"id": self._numbers, "script": script, "seconds": seconds})
        return self._numbers

    def _poll(self, script: str, accept: Callable[[str], bool], seconds: float) -> str:
        """Runs a script until its output is accepted. A request can be lost with a reset; it is then repeated."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            number = self._ask(script, 60)
            until = min(deadline, time.monotonic() + 20)
            while (left := until - time.monotonic()) > 0:
                answer = self._agent.receive(left) or {}
                if answer.get("id") == number:
                    if accept(answer["out"]):
                        return answer["out"]
                    time.sleep(0.5)
                    break
        raise MachineError(f"the machine does not come up; its console: {self._log}")

    def wait_for_agent(self, seconds: float = BOOT) -> None:
        """Waits until the machine takes commands."""
        self._poll("true", lambda _: True, seconds)

    def boot_id(self) -> str:
        """Returns what is different after each boot."""
        return self.run(f"cat {BOOT_ID}").out

    def wait_for_boot(self, before: str) -> None:
        """Waits until the machine has booted again and takes commands."""
        self._poll(f"cat {BOOT_ID}", lambda now: now not in ("", before), BOOT)

    def run(self, script: str, seconds: float = COMMAND) -> Done:
        """Runs a script with bash as root; 124 is the exit code of one that was ended at its deadline."""
        number = self._ask(script, seconds)
        # The machine's clock may be slower than ours.
        deadline = time.monotonic() + seconds * 2 + 120
        while (left := deadline - time.monotonic()) > 0:
            answer = self._agent.receive(left) or {}
            if answer.get("id") == number:
                return Done(answer["code"], answer["out"], answer["err"])
        raise MachineError(f"no answer to: {script}")

    def save(self, name: str) -> None:
        """Keeps memory and disk under a name."""
        self._monitor(f"savevm {name}")

    def load(self, name: str) -> None:
        """Goes back to what was kept, into the same moment."""
        self._monitor(f"loadvm {name}")
        self.wait_for_agent()

    def freeze(self, seconds: float) -> None:
        """Stops the whole machine so long; its clocks go on, as when it moves to another host."""
        self._qemu.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self._qemu.send_signal(signal.SIGCONT)

    def console(self) -> str:
        """Returns what the machine has written to its console."""
        return self._log.read_text(errors="replace")

    def cut_power(self) -> None:
        """Resets the machine; what it has not written to its disk is lost."""
        self._qmp("system_reset")

    def close(self) -> None:
        """Switches it off."""
        self._qemu.kill()
        self._qemu.wait()
        for channel in ("_control", "_agent"):
            if hasattr(self, channel):
                getattr(self, channel).close()
        self._errors.close()
        self._directory.cleanup()


def working_accelerator(image: Image, payload: Path, log: Path) -> str:
    """Returns `kvm` where a machine boots with it, else `tcg`."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    try:
        with Machine(image, payload, log, "kvm") as machine:
            deadline = time.monotonic() + FIRST_WORD_WITH_KVM
            while log.stat().st_size == 0:
                if time.monotonic() > deadline:
                    return "tcg"
                time.sleep(0.2)
            machine.wait_for_agent(BOOT_WITH_KVM)
        return "kvm"
    except MachineError:
        return "tcg"
