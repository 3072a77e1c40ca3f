"""The service under test, the embedded Microsoft 365 behind it, and how to talk to it."""

import base64
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

USER = "alice@contoso.example"
PASSWORD = "correct-horse-battery"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

# How long a peer that must answer, or must close, may take on a busy machine.
PATIENCE = 30

# Listeners: name, protocol, TLS towards the client, and settings. The upstream of `imap`, `pop3`, `smtp` and `graph` is the
# sandbox, if none is written.
LISTENERS = [
    ("imaps", "imap", "implicit", ""),
    ("pop3s", "pop3", "implicit", ""),
    ("smtps", "smtp", "implicit", ""),
    ("imap-starttls", "imap", "starttls", ""),
    ("pop3-starttls", "pop3", "starttls", ""),
    ("smtp-starttls", "smtp", "starttls", ""),
    # It takes messages itself.
    ("submission-starttls", "smtp", "starttls", "deliver: graph, graph: localhost:{graph}, "),
    ("graphs", "graph", "implicit", "upstream: localhost:{recorder}, "),
    ("ewss", "ews", "implicit", ""),
    ("graph-plain", "graph", "none", "upstream: localhost:{recorder}, "),
    ("imap-fake", "imap", "none", "upstream: localhost:{fake-imap}, upstream_tls: starttls, "),
    ("pop3-fake", "pop3", "none", "upstream: localhost:{fake-pop3}, upstream_tls: starttls, "),
    ("smtp-fake", "smtp", "none", "upstream: localhost:{fake-smtp}, upstream_tls: starttls, "),
    ("imaps-fake", "imap", "none", "upstream: localhost:{fake-imap}, "),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class World:
    """A running service. `ports` are those of its listeners, by name."""

    def __init__(self, work, gatepost, fakes):
        """`fakes` are the ports of the upstreams that are not the sandbox's."""
        self.directory = pathlib.Path(work).resolve() / "service"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.processes = []
        try:
            self.start(gatepost, fakes)
        except BaseException:
            self.end()
            raise

    def start(self, gatepost, fakes):
        demo = self.start_sandbox(gatepost)
        subprocess.run(
            [gatepost, "cert", "--directory", "certs"], cwd=self.directory, check=True, stdout=subprocess.DEVNULL
        )
        self.certificate = self.directory / "certs/server.pem"
        self.key = self.directory / "certs/server.key"
        self.authority = self.directory / "certs/ca.pem"
        both = (demo / "ca.pem").read_text() + self.authority.read_text()
        (self.directory / "trust.pem").write_text(both)
        text = (demo / "proxy.yaml").read_text()
        upstreams = {}
        for name in ("imap", "pop3", "smtp", "ews", "graph"):
            upstreams[name] = re.search(rf'^  {name}: .*upstream: "localhost:(\d+)"', text, re.M)[1]
        self.ports = {name: free_port() for name, *_ in LISTENERS}
        self.configure(text, {**upstreams, **fakes}, upstreams)
        log = (self.directory / "service.log").open("w")
        self.processes.append(
            subprocess.Popen([gatepost, "run", "--config", "proxy.yaml"], cwd=self.directory, stdout=log, stderr=log)
        )
        for port in self.ports.values():
            self.wait_for(port)

    def start_sandbox(self, gatepost):
        output = self.directory / "demo.log"
        demo = subprocess.Popen(
            [gatepost, "demo"],
            stdout=output.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(self.directory)},
        )
        self.processes.append(demo)
        end = time.monotonic() + 4 * PATIENCE
        while "It stays up until" not in output.read_text():
            if demo.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the sandbox does not start: {output.read_text()}")
            time.sleep(0.1)
        return next(self.directory.glob("gatepost-demo-*"))

    def configure(self, demo, ports, upstreams):
        microsoft = demo[demo.index("microsoft:") : demo.index("accounts:")]
        lines = ["listeners:"]
        for name, protocol, tls, settings in LISTENERS:
            if "upstream" not in settings and "deliver" not in settings:
                settings += f"upstream: localhost:{upstreams[protocol]}, "
            for port, number in ports.items():
                settings = settings.replace(f"{{{port}}}", str(number))
            certificate = "certificate: certs/server.pem, private_key: certs/server.key, " if tls != "none" else ""
            lines.append(
                f'  {name}: {{protocol: {protocol}, bind: "127.0.0.1:{self.ports[name]}", tls: {tls}, '
                f"{certificate}{settings}}}"
            )
        lines += [
            microsoft.rstrip(),
            'accounts: [{login: "*@contoso.example"}]',
            "trust: {system_roots: false, additional_ca: trust.pem}",
            "state: {directory: state}",
            # A wrong login is what many cases end in.
            "limits: {failure_delay: 100ms}",
        ]
        (self.directory / "proxy.yaml").write_text("\n".join(lines) + "\n")

    def wait_for(self, port):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError as error:
                if self.processes[-1].poll() is not None or time.monotonic() > end:
                    log = (self.directory / "service.log").read_text()
                    raise RuntimeError(f"the service does not listen: {log}") from error
                time.sleep(0.05)

    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def panics(self):
        """Lines of the service's log that tell of a panic."""
        log = (self.directory / "service.log").read_text()
        return [line for line in log.splitlines() if "panic" in line]

    def end(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def connect(self, name, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.ports[name]), timeout=timeout)

    def client_tls(self):
        context = ssl.create_default_context(cafile=str(self.authority))
        return context

    def server_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def read_to_end(connection):
    """All octets until the peer closes, and whether it did; a reset counts as a close."""
    octets = b""
    try:
        while piece := connection.recv(65536):
            octets += piece
    except TimeoutError:
        return octets, False
    except (ConnectionError, ssl.SSLError):
        pass
    return octets, True


class Lines:
    """A connection that speaks in lines."""

    def __init__(self, connection):
        self.connection = connection
        self.rest = b""

    def line(self):
        """The next line without its end; None at the end of the connection."""
        while b"\n" not in self.rest:
            try:
                piece = self.connection.recv(4096)
            except (ConnectionError, ssl.SSLError):
                piece = b""
            if not piece:
                return None
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")

    def until(self, last):
        """Lines up to one for which `last` holds, or to the end of the connection."""
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
            if last(line):
                break
        return lines

    def send(self, text):
        self.connection.sendall(text.encode("latin-1"))
