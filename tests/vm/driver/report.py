"""What the rows showed: a line for each, and a table for each release."""

from dataclasses import dataclass
from pathlib import Path

from rows import Row


@dataclass(frozen=True)
class Outcome:
    """How one row ended."""

    row: Row
    seconds: float
    # Why it failed; nothing when the claim holds.
    failure: str | None
    notes: str

    def line(self, suite: str) -> str:
        word = "FAIL" if self.failure else "PASS"
        line = f"{suite}  {word}  {self.row.name:<22} {self.seconds:5.0f} s  {self.row.claim}"
        if self.notes:
            line += f" ({self.notes})"
        if self.failure:
            line += "".join(f"\n      {text}" for text in self.failure.splitlines())
        return line


def _cell(text: str, longest: int = 300) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def table(suite: str, about: str, outcomes: list[Outcome]) -> str:
    """Returns the summary in Markdown."""
    failed = sum(1 for outcome in outcomes if outcome.failure)
    lines = [f"# {suite}: {len(outcomes) - failed} of {len(outcomes)} rows hold", "", about, ""]
    lines += ["| row | | s | claim | seen |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        word = "**FAIL**" if outcome.failure else "pass"
        seen = _cell(outcome.failure or outcome.notes)
        lines.append(f"| {outcome.row.name} | {word} | {outcome.seconds:.0f} | {_cell(outcome.row.claim)} | {seen} |")
    return "\n".join(lines) + "\n"


def write(suite: str, about: str, outcomes: list[Outcome], place: Path) -> None:
    """Writes the summary to the terminal, shortly, and to a file."""
    (place / f"{suite}.md").write_text(table(suite, about, outcomes))
    print(f"\n{suite}: {about}")
    for outcome in outcomes:
        print(f"  {'FAIL' if outcome.failure else 'pass'}  {outcome.row.name:<22} {outcome.row.claim}")
    failed = [outcome.row.name for outcome in outcomes if outcome.failure]
    print(f"{suite}: {len(outcomes) - len(failed)} of {len(outcomes)} rows hold. Table: {place / f'{suite}.md'}")
    if failed:
        print(f"{suite}: failed: {' '.join(failed)}")
    print(flush=True)
