"""Results of cases, the expected deviations, and the table."""

import collections
import fnmatch
import pathlib

DEVIATIONS = pathlib.Path(__file__).with_name("deviations.tsv")


class Results:
    """What came of each case of each suite."""

    def __init__(self):
        self.cases = collections.OrderedDict()
        self.missing = []
        self.expected = {}
        self.used = set()
        for line in DEVIATIONS.read_text().splitlines():
            if line and not line.startswith("#"):
                suite, case, reason = line.split("\t")
                self.expected[suite, case] = reason

    def reason(self, suite, case):
        """Why this case may fail, if it may."""
        for (of, pattern), reason in self.expected.items():
            if fnmatch.fnmatchcase(suite, of) and fnmatch.fnmatchcase(case, pattern):
                self.used.add((of, pattern))
                return reason
        return None

    def note(self, suite, case, problem=None):
        """Notes a case that passed, or its problem."""
        if (suite, case) in self.cases:
            raise ValueError(f"{suite} has two cases `{case}`")
        self.cases[suite, case] = problem
        if problem and not self.reason(suite, case):
            print(f"  {suite}: {case}: {problem}", flush=True)

    def run(self, suite, case, test, *arguments):
        """Runs a test, which returns its problem or None. An exception is a problem."""
        try:
            problem = test(*arguments)
        except Exception as error:  # Whatever a hostile conversation ends in.
            problem = f"{type(error).__name__}: {error}"
        self.note(suite, case, problem)

    def could_not_get(self, what):
        """Notes a suite that is not to be had here."""
        self.missing.append(what)

    def table(self):
        """Prints the table. The result is the number of unexpected results."""
        suites = list(dict.fromkeys(suite for suite, _ in self.cases))
        print(f"\n{'suite':30} {'cases':>6} {'passed':>7} {'expected deviations':>20} {'unexpected':>11}")
        bad = 0
        for suite in suites:
            problems = {case: problem for (of, case), problem in self.cases.items() if of == suite}
            failed = [case for case, problem in problems.items() if problem]
            deviations = [case for case in failed if self.reason(suite, case)]
            unexpected = len(failed) - len(deviations)
            bad += unexpected
            print(f"{suite:30} {len(problems):6} {len(problems) - len(failed):7} {len(deviations):20} {unexpected:11}")
        for (suite, pattern), reason in self.expected.items():
            if (suite, pattern) in self.used:
                print(f"expected: {suite}: {pattern}: {reason}")
            elif any(fnmatch.fnmatchcase(of, suite) for of in suites):
                # It would hide the next one.
                print(f"expected, but it passes; remove it from {DEVIATIONS.name}: {suite}: {pattern}")
                bad += 1
        for what in self.missing:
            print(f"could not get: {what}")
        return bad
