#!/usr/bin/env python3
"""A provider of mail inside the machine whose refresh tokens are good once, and which forgets nothing in a power cut.

`provider.py CERTIFICATE KEY STATE` serves a token service and an IMAP server on fixed ports, both with TLS, and tells
systemd when it does (`Type=notify`). The token service writes to the file STATE, and waits until the disk has it,
before it answers. A token that was replaced is good until its successor was used, because the answer with the successor
may be lost. After that, its use ends the sign-in (RFC 9700, section 4.14.2).
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import urllib.parse
from pathlib import Path
from typing import Any

TOKENS, IMAP = 23443, 23993


class SignIns:
    """What is known of each sign-in: its newest refresh token, the newest one that was used, and why it has ended."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.all: list[list[Any]] = json.loads(file.read_text()) if file.exists() else []

    def keep(self) -> None:
        new = self.file.with_suffix(".new")
        with new.open("w") as to:
            json.dump(self.all, to)
            to.flush()
            os.fsync(to.fileno())
        new.rename(self.file)
        directory = os.open(self.file.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        if "grant_type" not in form:
            code = {"device_code": "device", "user_code": "CODE", "verification_uri": "https://localhost/"}
            return 200, code | {"expires_in": 900, "interval": 1}
        if form["grant_type"] == "refresh_token":
            which, number = map(int, form["refresh_token"].split("-")[1:])
            sign_in = self.all[which]
            if number < sign_in[1]:
                sign_in[2] = f"{number} came after {sign_in[1]}"
            sign_in[1] = max(sign_in[1], number)
        else:
            which, sign_in = len(self.all), [0, 0, ""]
            self.all.append(sign_in)
        if not sign_in[2]:
            sign_in[0] += 1
        self.keep()
        # The console is outside the machine.
        print(f"REPLACED {which} {sign_in[0]}", flush=True)
        if sign_in[2]:
            return 400, {"error": "invalid_grant"}
        tokens = {"access_token": f"access-{which}", "refresh_token": f"refresh-{which}-{sign_in[0]}"}
        return 200, tokens | {"token_type": "Bearer", "expires_in": 61}


async def give_tokens(sign_ins: SignIns, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        form = dict(urllib.parse.parse_qsl((await reader.readexactly(length)).decode()))
        status, answer = sign_ins.answer(form)
        body = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()


async def serve_mail(_: SignIns, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lets everybody in, and has one folder."""
    writer.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready\r\n")
    while line := (await reader.readline()).decode().split():
        tag, verb = line[0], line[1].upper()
        said = {"LIST": '* LIST () "/" INBOX\r\n', "CAPABILITY": "* CAPABILITY IMAP4rev1\r\n", "LOGOUT": "* BYE\r\n"}
        writer.write(f"{said.get(verb, '')}{tag} OK done\r\n".encode())
        await writer.drain()
        if verb == "LOGOUT":
            writer.close()
            return


async def main() -> None:
    certificate, key, file = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    sign_ins = SignIns(Path(file))
    for port, serve in (TOKENS, give_tokens), (IMAP, serve_mail):

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve=serve) -> None:
            try:
                await serve(sign_ins, reader, writer)
            except (asyncio.IncompleteReadError, OSError):
                writer.close()

        await asyncio.start_server(one, "127.0.0.1", port, ssl=context)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await asyncio.Event().wait()


asyncio.run(main())
