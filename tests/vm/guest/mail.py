#!/usr/bin/env python3
"""Mail programs inside the machine: sessions that are held, and a trickle of short ones.

`mail.py hold` logs in and stays until the file OUT, with `.stop` in place of `.json`, appears. `mail.py trickle` logs
in and out again and again. Both write what they saw as JSON to OUT, at each change.
"""

import argparse
import json
import os
import socket
import ssl
import threading
import time
from pathlib import Path

ALICE = ("alice@contoso.example", "correct-horse-battery")
# Longest wait for an answer: a connection may wait in a queue for as long as the old process drains.
PATIENCE = 600
# Between two commands of a busy session. Gatepost takes a session for idle that is silent for a 25th of `limits.drain`,
# 5 s at most: with a short drain it finds such a moment between two commands, with a long one it does not.
PAUSE = 4
# Most short sessions at once: in an emulated machine more would only wait for each other.
AT_ONCE = 6


class Ended(Exception):
    """The other side ended the session."""


class Imap:
    """A mail program that speaks as much IMAP as it needs."""

    def __init__(self, host: str, port: int, tls: bool) -> None:
        stream = socket.create_connection((host, port), timeout=PATIENCE)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            stream = context.wrap_socket(stream)
        self.stream = stream
        self.waiting = b""
        self.goodbye = False

    def line(self) -> str:
        while b"\n" not in self.waiting:
            received = self.stream.recv(65536)
            if not received:
                raise Ended
            self.waiting += received
        line, self.waiting = self.waiting.split(b"\n", 1)
        text = line.decode(errors="replace").strip()
        self.goodbye |= text.startswith("* BYE")
        return text

    def ask(self, command: str, answer: str = "a OK") -> None:
        self.stream.sendall(f"a {command}\r\n".encode())
        while not (line := self.line()).startswith(("a ", answer)):
            pass
        if not line.startswith(answer):
            raise RuntimeError(line)

    def log_in(self, user: str, password: str) -> None:
        self.line()
        self.ask(f'LOGIN {user} "{password}"')


class Report:
    """What was seen, in a file that is always whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock, self.seen = path, threading.Lock(), {}

    def note(self, number: int, **what: object) -> None:
        with self.lock:
            self.seen.setdefault(number, {}).update(what)
            fresh = self.path.with_suffix(".new")
            fresh.write_text(json.dumps(list(self.seen.values())))
            os.replace(fresh, self.path)


def hold(options: argparse.Namespace, report: Report, number: int, stop: threading.Event) -> None:
    report.note(number, state="connecting", asked=0)
    imap, asked = None, 0
    try:
        imap = Imap(options.host, options.port, options.tls)
        imap.log_in(options.user, options.password)
        report.note(number, state="held")
        if options.mode == "idle":
            imap.ask("SELECT INBOX")
            imap.ask("IDLE", "+")
            imap.stream.settimeout(0.5)
            while not stop.is_set():
                try:
                    imap.line()
                except TimeoutError:
                    pass
        else:
            while not stop.wait(PAUSE):
                imap.ask("NOOP")
                asked += 1
                report.note(number, asked=asked)
        report.note(number, state="done")
    except (Ended, OSError, RuntimeError) as error:
        report.note(number, state="bye" if imap and imap.goodbye else "cut", error=repr(error))


def trickle(options: argparse.Namespace, report: Report, number: int) -> None:
    report.note(number, state="connecting")
    begin = time.monotonic()
    try:
        imap = Imap(options.host, options.port, options.tls)
        imap.log_in(options.user, options.password)
        imap.ask("LOGOUT")
        state, error = "served", ""
    except ConnectionRefusedError as failed:
        state, error = "refused", repr(failed)
    except (Ended, OSError, RuntimeError) as failed:
        state, error = "cut", repr(failed)
    report.note(number, state=state, error=error, seconds=round(time.monotonic() - begin, 1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["hold", "trickle"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--user", default=ALICE[0])
    parser.add_argument("--password", default=ALICE[1])
    parser.add_argument("--mode", choices=["busy", "idle"], default="busy")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--every", type=float, default=0.5)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    report = Report(options.out)
    threads = []
    if options.what == "hold":
        stop = threading.Event()
        for number in range(options.count):
            threads.append(threading.Thread(target=hold, args=(options, report, number, stop)))
            threads[-1].start()
        marker = options.out.with_suffix(".stop")
        while not marker.exists() and any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
        stop.set()
    else:
        places = threading.Semaphore(AT_ONCE)

        def one(number: int) -> None:
            with places:
                trickle(options, report, number)

        for number in range(options.count):
            with places:
                # There is a place now.
                threads.append(threading.Thread(target=one, args=(number,)))
            threads[-1].start()
            time.sleep(options.every)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
