"""What a row is: a claim about Gatepost under systemd, and the function that looks whether it holds."""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guest import Guest

SUITES = ("bookworm", "trixie")


class Failure(Exception):
    """A claim does not hold: what was expected, and what was seen."""


def expect(holds: object, expected: str, seen: object = "") -> None:
    """Fails the row unless this holds."""
    if not holds:
        raise Failure(f"expected {expected}; seen: {seen}")


@dataclass(frozen=True)
class Row:
    """One claim."""

    name: str
    claim: str
    suites: tuple[str, ...]
    check: Callable[["Guest"], None]

    def chosen(self, patterns: list[str]) -> bool:
        """Whether one of the patterns is its name, or the part before a dot, or a pattern of a shell for it."""
        name = self.name.lower()
        return not patterns or any(
            fnmatch.fnmatchcase(name, pattern.lower()) or name.startswith(f"{pattern.lower()}.") for pattern in patterns
        )


ROWS: list[Row] = []


def row(name: str, claim: str, suites: tuple[str, ...] = SUITES) -> Callable:
    """Makes a function a row."""

    def register(check: Callable[["Guest"], None]) -> Callable[["Guest"], None]:
        ROWS.append(Row(name, claim, suites, check))
        return check

    return register
