#!/usr/bin/env python3
"""Runs the commands that come over the second serial port, one after the other. Part of the machine's image.

A request is a line of JSON with `id` and `script`; the answer has the same `id`, the exit code and both outputs.
"""

import json
import os
import subprocess
import tempfile
import time

PORT = "/dev/virtio-ports/gatepost.agent"
# More of an output would only make the answer slow.
LARGEST = 2_000_000


def run(script: str, seconds: float) -> dict:
    # Files and not pipes: a command in the background may keep them open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            code = subprocess.run(
                ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=seconds
            ).returncode
        except subprocess.TimeoutExpired:
            code = 124
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(LARGEST).decode(errors="replace"))
    return {"code": code, "out": texts[0], "err": texts[1]}


def main() -> None:
    while not os.path.exists(PORT):
        time.sleep(0.1)
    with open(PORT, "r+b", buffering=0) as port:
        waiting = b""
        while True:
            received = port.read(65536)
            if not received:
                time.sleep(0.1)
                continue
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                try:
                    request = json.loads(line)
                except ValueError:
                    # The rest of a request from before a reset.
                    continue
                answer = run(request["script"], request["seconds"]) | {"id": request["id"]}
                left = memoryview(json.dumps(answer).encode() + b"\n")
                while left:
                    left = left[port.write(left) :]


if __name__ == "__main__":
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", LC_ALL="C.UTF-8")
    main()
