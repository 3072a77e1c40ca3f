"""The service itself: ready, reload, restart, drain, watchdog, credentials, hardening."""

import json
from typing import Any

from checks_commands import credentials
from checks_sockets import prepare_socket_units, start_socket_units
from rows import expect, row

from guest import DEVICE, FILE, SCANNER, Guest

# The most that the watchdog may take, and systemd to start the service again, in an emulated machine.
REPLACED = 600


@row("H.ready", "`systemctl start` returns when all listeners are bound and the page answers")
def ready(guest: Guest) -> None:
    guest.start()
    expect(guest.show("gatepost", "StatusText") == "Serving", "Serving", guest.show("gatepost", "StatusText"))
    guest.expect_ports("127.0.0.1:1143", "127.0.0.1:1587")
    said = guest.do("curl -sS http://127.0.0.1:9180/readyz http://127.0.0.1:9180/livez")
    expect("ready" in said and "not ready" not in said, "ready", said)
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))
    stored = int(guest.show("gatepost", "NFileDescriptorStore"))
    expect(stored >= 2, "stored sockets", stored)
    guest.expect_login()


@row("H.hardening", "no capability, no new privileges, system-call filters, and logins work below all that")
def hardening(guest: Guest) -> None:
    guest.start()
    guest.expect_login()
    status = guest.do(f"cat /proc/{guest.pid()}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    expect(int(facts["CapBnd"], 16) == 0 and int(facts["CapEff"], 16) == 0, "no capability", facts["CapBnd"])
    expect(facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", "NoNewPrivs and Seccomp", status)
    expect(int(facts.get("Seccomp_filters", "0")) > 20, "more than twenty filters", facts.get("Seccomp_filters"))
    limits = guest.do(f"grep -E 'open files|core file' /proc/{guest.pid()}/limits").split()
    expect("65536" in limits and limits.count("0") == 2, "65536 files and no core", limits)
    score = guest.do("systemd-analyze security --no-pager gatepost | tail -1")
    expect(" 1.2 " in score, "1.2 of 10", score)


@row(
    "F13",
    "`confinement: require` ends with exit code 3 and is not tried again, where the kernel is too old",
    ("bookworm",),
)
def require_refused(guest: Guest) -> None:
    guest.configure(lambda configuration: configuration.update(confinement="require"))
    done = guest.run("systemctl start gatepost")
    expect(done.code != 0, "no start", done.text)
    facts = {key: guest.show("gatepost", key) for key in ("ExecMainStatus", "NRestarts", "ActiveState")}
    expect(facts == {"ExecMainStatus": "3", "NRestarts": "0", "ActiveState": "failed"}, "exit code 3, once", facts)


@row("F13", "`confinement: require` starts, and logins work below it", ("trixie",))
def require(guest: Guest) -> None:
    guest.configure(lambda configuration: configuration.update(confinement="require"))
    guest.start()
    guest.expect_login()
    guest.do("systemctl reload gatepost")
    expect("only in part" not in guest.journal(), "all of it", guest.journal())


@row("H.files", "directories and files of the service are for gatepost alone, and others may only pass to the sockets")
def files(guest: Guest) -> None:
    guest.start()
    # `gatepost sendmail` comes from any user, and its socket has a mode of its own.
    places = {"/var/lib/gatepost": 700, "/run/gatepost": 711, "/var/log/gatepost": 700}
    rights = guest.do(f"stat --format '%n %U %G %a' {' '.join(places)}").splitlines()
    wanted = [f"{place} gatepost gatepost {mode}" for place, mode in places.items()]
    expect(rights == wanted, str(wanted), rights)
    rights = guest.do("stat --format '%U %a' /var/lib/gatepost/*").split("\n")
    expect(set(rights) - {""} == {"gatepost 600"}, "0600 gatepost", rights)
    done = guest.run("sudo -u nobody gatepost status --socket /run/gatepost/gatepost.sock")
    expect(done.code != 0, "nobody is refused", done.text)


@row("H.reload", "a reload comes by systemctl, by SIGHUP and by itself; a mistake changes nothing")
def reload(guest: Guest) -> None:
    def listen_on(port: int, check: str) -> None:
        def change(configuration: dict[str, Any]) -> None:
            configuration["listeners"]["imap"]["bind"] = f"127.0.0.1:{port}"
            configuration["limits"]["reload_check"] = check

        guest.configure(change)

    listen_on(1143, "0s")
    guest.start()
    pid, held = guest.pid(), guest.hold(2)
    listen_on(2143, "0s")
    guest.do("systemctl reload gatepost")
    guest.expect_ports("127.0.0.1:2143", "127.0.0.1:1587")
    listen_on(3143, "0s")
    guest.do(f"kill -HUP {pid}")
    guest.wait("SIGHUP is obeyed", lambda: "127.0.0.1:3143" in guest.ports())
    listen_on(3143, "1s")
    guest.do("systemctl reload gatepost")
    listen_on(4143, "1s")
    guest.wait("the change is noticed", lambda: "127.0.0.1:4143" in guest.ports())
    guest.expect_ports("127.0.0.1:4143", "127.0.0.1:1587")
    listen_on(4143, "0s")
    guest.do("systemctl reload gatepost")
    cursor = guest.cursor()
    guest.put(FILE, "listeners:\n  imap: {bond: 127.0.0.1:5143}\n")
    done = guest.run("systemctl reload gatepost")
    expect(done.code != 0, "a refused reload", done.text)
    expect("proxy.yaml" in guest.since(cursor), "file and line of the mistake", guest.since(cursor))
    guest.expect_login(4143)
    held.expect_answers()
    held.release()
    expect(guest.pid() == pid, "the same process", guest.pid())


@row("H.restart", "a restart refuses nobody, without socket units")
def restart(guest: Guest) -> None:
    guest.start()
    held, trickle = guest.hold(3), guest.trickle(40)
    guest.do("systemctl restart gatepost")
    held.expect_goodbye()
    trickle.expect_served()


@row("H.kill", "SIGKILL refuses nobody")
def kill(guest: Guest) -> None:
    guest.start()
    # A session that is open at that moment is lost, so the trickle is sparse and begins around it.
    guest.hold(2)
    guest.do("systemctl kill --signal KILL gatepost")
    trickle = guest.trickle(30)
    trickle.expect_served()
    expect(guest.show("gatepost", "NRestarts") == "1", "one restart", guest.show("gatepost", "NRestarts"))


@row("H.restart-sockets", "a restart refuses nobody, with socket units and TLS")
def restart_with_sockets(guest: Guest) -> None:
    start_socket_units(guest)
    trickle = guest.trickle(50, port=993, tls=True)
    guest.do("systemctl restart gatepost")
    trickle.expect_served()


@row("H.drain", "a stop tells every session goodbye within `limits.drain`, and says how it stands meanwhile")
def drain(guest: Guest) -> None:
    guest.configure(lambda configuration: configuration["limits"].update(drain="45s"))
    guest.start()
    busy, idle = guest.hold(6), guest.hold(4, mode="idle")
    cursor = guest.cursor()
    guest.do("systemctl stop --no-block gatepost")

    def said() -> str:
        text = guest.show("gatepost", "StatusText")
        state = guest.show("gatepost", "ActiveState")
        return text if text.startswith("Stopping") else state if state == "inactive" else ""

    text = guest.wait("the status says that it stops", said)
    expect(text.startswith("Stopping, "), "Stopping, and how many connections are left", text)
    answer = guest.run("curl -sS --max-time 60 http://127.0.0.1:9180/readyz").text
    expect("not ready" in answer or guest.show("gatepost", "ActiveState") == "inactive", "not ready", answer)
    busy.expect_goodbye()
    idle.expect_goodbye()
    guest.wait("it has stopped", lambda: guest.show("gatepost", "ActiveState") == "inactive")
    facts = {key: guest.show("gatepost", key) for key in ("Result", "ExecMainStatus")}
    expect(facts == {"Result": "success", "ExecMainStatus": "0"}, "an end by itself", facts)
    expect("SIGKILL" not in guest.since(cursor), "no SIGKILL", guest.since(cursor))


@row("H.watchdog", "a process that no longer does anything is replaced")
def watchdog(guest: Guest) -> None:
    guest.start()
    cursor, pid = guest.cursor(), guest.pid()
    guest.do(f"kill -STOP {pid}")
    guest.wait("systemd has started it again", lambda: guest.show("gatepost", "NRestarts") == "1", REPLACED)
    guest.wait_until_serving()
    guest.expect_login()
    expect("watchdog" in guest.since(cursor).lower(), "the watchdog in the journal", guest.since(cursor))


def _expect_credentials(guest: Guest) -> None:
    guest.start()
    guest.expect_login(1993, scheme="imaps")
    # The device's login needs the client secret.
    guest.expect_login(1993, user=SCANNER, password=DEVICE, scheme="imaps")


@row("H.credentials", "client secret and TLS key come from files that only root can read")
def plain_credentials(guest: Guest) -> None:
    prepare_socket_units(guest)
    guest.configure(credentials)
    rights = guest.do("stat --format '%U %a' /etc/gatepost/client-secret /etc/gatepost/server.key").split("\n")
    expect(set(rights) - {""} == {"root 600"}, "files of root", rights)
    _expect_credentials(guest)


ENCRYPTED = """\
[Service]
LoadCredential=
LoadCredentialEncrypted=client-secret:/etc/gatepost/client-secret.cred
LoadCredentialEncrypted=server.key:/etc/gatepost/server.key.cred
LoadCredentialEncrypted=gatepost.state.key:/etc/gatepost/gatepost.state.key.cred
"""


@row("H.encrypted", "encrypted credentials work, and `gatepost.state.key` is the key of the store")
def encrypted_credentials(guest: Guest) -> None:
    prepare_socket_units(guest)
    guest.do(
        "cd /etc/gatepost; openssl rand -base64 32 > gatepost.state.key; "
        "for name in client-secret server.key gatepost.state.key; do "
        "systemd-creds encrypt --with-key=host --name=$name $name $name.cred; rm $name; done"
    )
    guest.drop_in(ENCRYPTED, name="zz-encrypted")
    guest.configure(credentials)
    _expect_credentials(guest)
    found = guest.do("ls /var/lib/gatepost").split()
    expect("state.key" not in found, "no state.key", found)


@row("H.memory", "with MemoryMax=4M logins are slow, and work")
def memory(guest: Guest) -> None:
    guest.start()
    guest.do("systemctl set-property --runtime gatepost MemoryMax=4M")
    guest.trickle(64, every=1).expect_served()
    expect(guest.show("gatepost", "NRestarts") == "0", "no restart", guest.show("gatepost", "NRestarts"))
    expect(
        guest.do("grep oom_kill /sys/fs/cgroup/system.slice/gatepost.service/memory.events").split()[1] == "0",
        "no kill",
    )


@row("H.status-json", "`gatepost status --json` is one JSON object")
def status_json(guest: Guest) -> None:
    guest.start()
    json.loads(guest.do("sudo -u gatepost gatepost status --json --socket /run/gatepost/gatepost.sock"))
