"""The packages: the one that is tested, and the same one with a higher revision, for upgrades."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


def build(place: Path) -> Path:
    """Builds the package of this working tree, with the profile that is quick to build."""
    tool = ROOT / "target/deploy-tools/bin/cargo-deb"
    if not tool.exists():
        _run("tests/deploy/tools")
    # CARGO may name another program, such as one that waits for its turn.
    _run(os.environ.get("CARGO", "cargo"), "build", "--release", "--locked", "--quiet")
    package = place / "gatepost-1.deb"
    _run(tool, "deb", "--no-build", "--fast", "--quiet", "--profile", "release", "--output", package)
    return package


def with_next_revision(package: Path, place: Path) -> Path:
    """Returns the same package with a higher revision."""
    tree, later = place / "package", place / "gatepost-2.deb"
    shutil.rmtree(tree, ignore_errors=True)
    _run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    text, changed = re.subn(r"(?m)^(Version: .*)$", r"\g<1>+next", control.read_text())
    if changed != 1:
        raise RuntimeError(f"{package} has {changed} versions")
    control.write_text(text)
    _run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, later)
    shutil.rmtree(tree)
    return later
