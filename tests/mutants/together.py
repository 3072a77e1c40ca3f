"""Builds all mutants of some folders into one program, and judges each by the tests that reach it."""

import collections
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

from placing import Placing, ranges

WORK = pathlib.Path(sys.argv[1]).resolve()
TREE = WORK / "tree"
VERDICTS, NOTICED = WORK / "verdicts.tsv", ("caught", "timeout")
AGAIN = "--missed" in sys.argv
FOLDERS = [folder for folder in sys.argv[2:] if folder != "--missed"] or [
    "crates/proto", "crates/oauth", "crates/store", "crates/net/src/tls", "src/login", "src/session",
]  # fmt: skip
MUTANTS = json.loads((WORK / "list.json").read_text())
CHOSEN = [n for n, mutant in enumerate(MUTANTS) if any(mutant["file"].startswith(f.rstrip("/") + "/") for f in FOLDERS)]
# Programs of tests of the whole, which come after the unit tests, and in this order.
INTEGRATION = {"protocol": 1, "program": 2}
# The longest that the tests of one program take for one mutant: longer for the few that were missed before. And the least part
# that must be noticed.
SECONDS, BOUND = 12.0 if AGAIN else 3.0, 0.9
LINTS = ["warnings", "arithmetic_overflow", "unconditional_panic", "unconditional_recursion"]
ENVIRONMENT = dict(
    os.environ,
    CARGO_TARGET_DIR=str(WORK / "build"),
    CARGO_PROFILE_DEV_DEBUG="0",
    PROPTEST_MAX_SHRINK_ITERS="0",
    PROPTEST_RNG_SEED="1",
    # For `--fail-fast` of the test programs.
    RUSTC_BOOTSTRAP="1",
)


def say(text):
    print(f"tests/mutants/all: {text}", flush=True)


def prepare():
    """Gives each crate of the copy its switch, and lets the compiler be silent about what mutants do."""
    manifest = TREE / "Cargo.toml"
    text = manifest.read_text().replace('unsafe_code = "forbid"', "\n".join(f'{lint} = "allow"' for lint in LINTS))
    manifest.write_text(text)
    switch = pathlib.Path("tests/mutants/switch.rs").read_text()
    for library in [TREE / "src/lib.rs", *TREE.glob("crates/*/src/lib.rs")]:
        library.write_text(library.read_text() + switch)
    return {file: (TREE / file).read_bytes() for file in {MUTANTS[n]["file"] for n in CHOSEN}}


def place(sources, unviable):
    """Writes the sources with all mutants but the unviable ones. Returns those that found a place."""
    placed = set()
    for file, source in sources.items():
        numbers = [n for n in CHOSEN if MUTANTS[n]["file"] == file and n not in unviable]
        placing = Placing(source, [(n, MUTANTS[n]) for n in numbers])
        if (TREE / file).read_text() != placing.text:
            (TREE / file).write_text(placing.text)
        placed |= placing.placed
    return placed


def cargo(*arguments):
    """Runs cargo, and returns its messages and whether it succeeded."""
    command = ["cargo", *arguments, "--workspace", "--all-features", "--message-format=json"]
    done = subprocess.run(command, cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, done


def blamed(message):
    """The mutants for which the compiler refuses the sources."""
    files = {span["file_name"] for span in spans(message)}
    of = {file: ranges((TREE / file).read_bytes()) for file in files if (TREE / file).is_file()}
    found = set()
    for span in spans(message):
        around = [r for r in of.get(span["file_name"], []) if r[0] <= span["byte_start"] and span["byte_end"] <= r[1]]
        if around:
            found.add(min(around, key=lambda r: r[1] - r[0])[2])
    for span in message["spans"]:
        marks = of.get(span["file_name"], [])
        if found or not span["is_primary"]:
            continue
        if (message["code"] or {}).get("code") == "E0004":
            # Without one of its arms, a match is not exhaustive.
            end = closing((TREE / span["file_name"]).read_bytes(), span["byte_end"])
            found = {n for b, _, n in marks if span["byte_end"] < b < end and MUTANTS[n]["genre"] == "MatchArm"}
        if not found:
            # The value of a mutant has decided the type of a function.
            before = [(end, n) for _, end, n in marks if end <= span["byte_start"] and MUTANTS[n]["genre"] == "FnValue"]
            last = MUTANTS[max(before)[1]]["function"] if before else None
            found = {n for _, n in before if MUTANTS[n]["function"] == last}
    return found


def spans(message):
    yield from message["spans"]
    for child in message["children"]:
        yield from spans(child)


def closing(source, at):
    """The end of the first block after a position."""
    at, depth = source.index(b"{", at), 0
    while True:
        depth += {b"{": 1, b"}": -1}.get(source[at : at + 1], 0)
        if depth == 0:
            return at
        at += 1


def settle(sources):
    """Takes out what the compiler refuses, until nothing is left of it. Returns the mutants that stay."""
    unviable = set()
    while True:
        placed = place(sources, unviable)
        lines, done = cargo("check", "--lib", "--keep-going")
        if done.returncode == 0:
            return placed, unviable
        errors = [line["message"] for line in lines if line.get("reason") == "compiler-message"]
        errors = [error for error in errors if error["level"] == "error" and error["spans"]]
        new = set().union(*map(blamed, errors)) - unviable
        if not new:
            sys.exit("".join(error["rendered"] for error in errors) or done.stderr)
        unviable |= new
        say(f"{len(unviable)} mutants do not compile")


def build():
    """Builds the tests. Returns their programs by name: path and folder of the package."""
    lines, done = cargo("test", "--no-run", "--lib", *(f"--test={name}" for name in INTEGRATION))
    if done.returncode:
        sys.exit(done.stderr)
    programs = {}
    for line in lines:
        if line.get("executable"):
            name = line["target"]["name"] if line["profile"]["test"] else "the program"
            programs[name] = (line["executable"], os.path.dirname(line["manifest_path"]))
    ENVIRONMENT["CARGO_BIN_EXE_gatepost"] = programs.pop("the program", (str(WORK / "build/debug/gatepost"),))[0]
    return programs


def run(program, arguments, deadline, **environment):
    """Runs tests. Returns whether they passed; `None` if they did not end, or were stopped by a bound of memory."""
    executable, folder = program

    def alone():
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    child = subprocess.Popen(
        [executable, "--exact", "-Zunstable-options", "--fail-fast", "--include-ignored", "--test-threads=2", *arguments],
        cwd=folder, env={**ENVIRONMENT, "CARGO_MANIFEST_DIR": folder, **environment}, preexec_fn=alone,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return child.wait(timeout=deadline) == 0
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return None


def names(command, folder):
    """The tests that a program lists."""
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return [line.removesuffix(": test") for line in listed.stdout.splitlines() if line.endswith(": test")]


def reach(programs, pool):
    """Runs each test alone. Returns, for each mutant, the tests that reach it: program, name, seconds."""
    tests = []
    for name, (executable, folder) in programs.items():
        listed, ignored = (names([executable, "--list", "--format=terse", *more], folder) for more in ([], ["--ignored"]))
        # Of those that need another program, only the ones that need Redis, as a part of the store and what replicas share do.
        needed = [test for test in ignored if "redis" in test or "replicas" in test]
        tests += [(name, test) for test in listed if test not in ignored or test in needed]
    notes = WORK / "reached"
    notes.mkdir(exist_ok=True)

    def one(numbered):
        number, (name, test) = numbered
        note = notes / str(number)
        note.unlink(missing_ok=True)
        began = time.monotonic()
        passed = run(programs[name], [test], 300, MUTANTS_REACHED=str(note))
        seconds = time.monotonic() - began
        return passed, (name, test, seconds), {int(n) for n in note.read_text().split()} if note.exists() else set()

    reached = collections.defaultdict(list)
    for done, (passed, test, mutants) in enumerate(pool.map(one, enumerate(tests)), 1):
        if done % 200 == 0:
            say(f"{done} of {len(tests)} tests run")
        if not passed:
            say(f"fails without a mutant: {test[1]}")
            continue
        for mutant in mutants:
            reached[mutant].append(test)
    return reached


def deadline(batch):
    """The time for some tests, in seconds. Without a mutant they took `seconds` each, beside as many others as now."""
    return 5 + 4 * sum(seconds for _, seconds in batch)


def nearness(mutant, test):
    """How many words the path of a test has in common with that of a mutant's file: those of one subject come first."""
    return len(set(re.split(r"\W+", MUTANTS[mutant]["file"].removesuffix(".rs"))) & set(test.split("::")))


def judge(mutant, tests, programs):
    """Whether a test notices a mutant: `caught`, `timeout`, `missed`, or `unreached`."""
    package = MUTANTS[mutant]["package"].replace("-", "_")
    for name in sorted({test[0] for test in tests}, key=lambda name: (INTEGRATION.get(name, 0), name != package)):
        # Near ones first, then quick ones, and for a start alone.
        batches, total = [[], []], 0.0
        of = [(nearness(mutant, test), test, seconds) for program, test, seconds in tests if program == name]
        for near, test, seconds in sorted(of, key=lambda test: (-test[0], test[2])):
            if total + seconds > SECONDS * (2 if near else 1) and total > 0:
                continue
            total += seconds
            batches[total > SECONDS / 5].append((test, seconds))
        for batch in filter(None, batches):
            passed = run(programs[name], [test for test, _ in batch], deadline(batch), MUTANT=str(mutant))
            if not passed:
                return "timeout" if passed is None else "caught"
    return "missed" if tests else "unreached"


def earlier():
    """The verdicts of the run before on what was noticed, by the names of the mutants."""
    verdicts = (line.split("\t") for line in VERDICTS.read_text().splitlines())
    return {name: verdict for verdict, name in verdicts if verdict in NOTICED}


def main():
    if not CHOSEN:
        sys.exit(f"no mutants in {' '.join(FOLDERS)}")
    say(f"{len(CHOSEN)} mutants in {' '.join(FOLDERS)}")
    kept = earlier() if AGAIN else {}
    placed, unviable = settle(prepare())
    programs = build()
    with concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count() + 1) as pool:
        reached = reach(programs, pool)
        verdicts, missed = {}, 0
        order = sorted(placed)

        def verdict_of(n):
            return kept.get(MUTANTS[n]["name"]) or judge(n, reached[n], programs)

        with VERDICTS.open("w", buffering=1) as to:
            for n, verdict in zip(order, pool.map(verdict_of, order)):
                verdicts[n] = verdict
                missed += verdict not in NOTICED
                to.write(f"{verdict}\t{MUTANTS[n]['name']}\n")
                if len(verdicts) % 500 == 0:
                    say(f"{len(verdicts)} of {len(order)} mutants judged, {missed} of them missed")
    low, rows = False, ["| folder | mutants | unviable | left out | caught | timeout | missed | unreached | noticed |"]
    for folder in FOLDERS:
        of = [n for n in CHOSEN if MUTANTS[n]["file"].startswith(folder.rstrip("/") + "/")]
        count = collections.Counter(verdicts.get(n, "unviable" if n in unviable else "left out") for n in of)
        judged = sum(n in verdicts for n in of)
        noticed = sum(count[verdict] for verdict in NOTICED) / max(judged, 1)
        low |= noticed < BOUND
        kinds = ("unviable", "left out", "caught", "timeout", "missed", "unreached")
        rows.append(f"| {folder} | {len(of)} | {' | '.join(str(count[k]) for k in kinds)} | {noticed:.1%} |")
    rows.insert(1, "|" + "---|" * 9)
    (WORK / "table.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    say(f"{missed} mutants that no test notices are among those in {VERDICTS}")
    sys.exit(1 if low else 0)


main()
