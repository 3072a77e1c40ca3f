"""Goes through the rows in one machine for each Debian release. `tests/vm/run` starts it."""

import argparse
import fcntl
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import checks_boot
import checks_commands
import checks_instances
import checks_journal
import checks_package
import checks_service
import checks_sockets
import checks_weather
import image
import packages
import report
from machine import Machine, MachineError, working_accelerator
from prepare import READY, prepare
from rows import ROWS, SUITES, Failure, Row

from guest import Guest

# The checks register their rows when they are imported. This is the order in which they run: what takes long is last.
CHECKS = (
    checks_sockets,
    checks_instances,
    checks_commands,
    checks_service,
    checks_journal,
    checks_package,
    checks_weather,
    checks_boot,
)
PLACE = packages.ROOT / "target/vm"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/vm/run", description="Tests Gatepost's package under a real systemd.")
    parser.add_argument("--suite", action="append", choices=SUITES, help="a Debian release [default: all of them]")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="only these rows: F1, F1.restart, 'H.*'"
    )
    parser.add_argument("--deb", type=Path, help="the package to test [default: build it from this working tree]")
    parser.add_argument("--accel", choices=["kvm", "tcg"], help="QEMU's accelerator [default: kvm where it works]")
    parser.add_argument(
        "--power-cuts", type=int, default=5, metavar="N", help="how often the power is cut [default: 5]"
    )
    parser.add_argument("--side-by-side", action="store_true", help="run the releases at the same time")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("--shell", action="store_true", help="open a shell in a machine that is ready for a row")
    return parser.parse_args()


def side_by_side(options: argparse.Namespace, suites: list[str]) -> int:
    """Runs one process for each release."""
    package = options.deb or packages.build(PLACE)
    own = [word for word in sys.argv[1:] if word != "--side-by-side"]
    running = [
        subprocess.Popen([sys.executable, __file__, *own, "--suite", suite, "--deb", package]) for suite in suites
    ]
    try:
        return max(process.wait() for process in running)
    finally:
        for process in running:
            process.terminate()


def check(row: Row, guest: Guest, machine: Machine) -> report.Outcome:
    """Runs one row from the machine's saved state."""
    guest = replace(guest, notes=[])
    begin, failure = time.monotonic(), None
    try:
        machine.load(READY)
        row.check(guest)
    except Failure as failed:
        failure = str(failed)
    except MachineError as failed:
        failure = f"the machine failed: {failed}"
    except Exception:
        # A mistake in a row must not hide the other rows.
        failure = traceback.format_exc()
    return report.Outcome(row, time.monotonic() - begin, failure, "; ".join(guest.notes))


def test(suite: str, rows: list[Row], options: argparse.Namespace, package: Path) -> bool:
    """Tests one release; whether all rows hold."""
    place = PLACE / suite
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{suite}: waiting for another run, which uses {place}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return _test(suite, rows, options, package, place)


def _test(suite: str, rows: list[Row], options: argparse.Namespace, package: Path, place: Path) -> bool:
    begin = time.monotonic()
    disk = image.build(suite, place)
    files = {"gatepost-1.deb": package, "gatepost-2.deb": packages.with_next_revision(package, place)}
    files |= {file.name: file for file in (image.HERE / "guest").iterdir() if file.suffix == ".py"}
    payload = image.payload(files, place)
    accelerator = options.accel or working_accelerator(disk, payload, place / "console-kvm.log")
    with Machine(disk, payload, place / "console.log", accelerator) as machine:
        guest = prepare(machine, suite, options.power_cuts)
        kernel = guest.do("uname -r").strip()
        systemd = guest.do("systemctl --version").split()[1]
        version = guest.do("dpkg-query --show gatepost").split()[1]
        about = f"systemd {systemd}, Linux {kernel}, QEMU with {accelerator}, gatepost {version}"
        print(
            f"{suite}: {about}; ready after {time.monotonic() - begin:.0f} s; console: {place / 'console.log'}",
            flush=True,
        )
        if options.shell:
            shell(guest)
            return True
        outcomes = []
        for row in rows:
            outcomes.append(check(row, guest, machine))
            print(outcomes[-1].line(suite), flush=True)
    minutes = (time.monotonic() - begin) / 60
    report.write(suite, f"{about}, {minutes:.0f} minutes", outcomes, PLACE)
    return not any(outcome.failure for outcome in outcomes)


def shell(guest: Guest) -> None:
    """Runs the lines of standard input in the machine, one after the other."""
    print("each line is run as root with bash; the end of input (Ctrl-D) switches the machine off", flush=True)
    for line in sys.stdin:
        done = guest.run(line)
        print(f"{done.text}[{done.code}]", flush=True)


def main() -> int:
    # Machines are switched off on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = arguments()
    order = [module.__name__ for module in CHECKS]
    chosen = sorted(
        (row for row in ROWS if row.chosen(options.only)), key=lambda row: order.index(row.check.__module__)
    )
    if options.list:
        for row in chosen:
            print(f"{row.name:<24} {'' if row.suites == SUITES else f'({row.suites[0]} only) '}{row.claim}")
        return 0
    if not chosen:
        print(f"tests/vm/run: no row matches {' '.join(options.only)}; `--list` shows all", file=sys.stderr)
        return 2
    suites = options.suite or list(SUITES)
    PLACE.mkdir(parents=True, exist_ok=True)
    if options.side_by_side and len(suites) > 1:
        return side_by_side(options, suites)
    package = options.deb or packages.build(PLACE)
    hold = [test(suite, [row for row in chosen if suite in row.suites], options, package) for suite in suites]
    return 0 if all(hold) else 1


if __name__ == "__main__":
    sys.exit(main())
