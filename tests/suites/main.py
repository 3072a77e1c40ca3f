"""Runs the suites against a service of its own. `tests/suites/run` installs what is needed."""

import os
import pathlib
import sys

import fakes
import http1
import http2
import scanners
import starttls
import tls
import upstream
from results import Results
from world import World

SUITES = {
    "tls": tls.run,
    "testssl": scanners.testssl,
    "sslyze": scanners.sslyze,
    "starttls": starttls.run,
    "upstream": upstream.run,
    "http1": http1.run,
    "http2": http2.run,
}


def main():
    work, *chosen = sys.argv[1:]
    for name in chosen:
        if name not in SUITES:
            sys.exit(f"tests/suites/run: no suite `{name}`; there are {', '.join(SUITES)}")
    results = Results()
    fake = fakes.Fakes()
    world = World(pathlib.Path(work), os.environ["GATEPOST"], fake.ports())
    fake.serve(world.server_tls())
    try:
        for name in chosen or SUITES:
            print(f"== {name}", flush=True)
            SUITES[name](world, fake, results)
        results.note("service", "it still runs", None if world.alive() else "it ended")
        panics = world.panics()
        results.note("service", "no panic", panics[0] if panics else None)
    finally:
        world.end()
    results.could_not_get("tlsfuzzer is in no registry; the suite `tls` has its most important cases, with tlslite-ng")
    results.could_not_get("h2spec is in no registry; the suite `http2` has its most important cases, with hyperframe")
    sys.exit(1 if results.table() else 0)


if __name__ == "__main__":
    main()
