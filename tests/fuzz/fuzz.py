"""Feed hostile input of every kind to what reads it, and see a right answer or one clear line come of each.

    python tests/fuzz/fuzz.py [--seed 0] [--inputs 20000] [--kind NAME [--number N]]

Each input follows from kind, seed and number alone; a failure is printed with the call that repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from channelfm.processes import share_cores

share_cores()

from kinds import KINDS, Attempt  # noqa: E402  (loads NumPy)

from channelfm.errors import LONGEST_MESSAGE, ChannelfmError  # noqa: E402

LONGEST_S = 10.0


@dataclass
class Outcome:
    """What came of the inputs of one kind: how many were answered and refused, what failed, and the seconds."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(kind: str, seed: int, numbers: range, folder: Path, show: bool = False) -> Outcome:
    """Try inputs ``numbers`` of a kind."""
    outcome, begin = Outcome(), time.perf_counter()
    attempt = KINDS[kind].prepared(folder)
    for number in numbers:
        start = time.perf_counter()
        try:
            refusal = _refusal(attempt, random.Random(f"{kind} {seed} {number}"))
            if refusal is None:
                outcome.answered += 1
            else:
                _check_message(str(refusal), folder)
                outcome.refused[type(refusal).__name__] += 1
            if show:
                print(f"{type(refusal).__name__}: {refusal}")
        except Exception as error:
            told = traceback.format_exc() if show else f"{type(error).__name__}: {str(error)[:300]}"
            outcome.failures.append(f"python {__file__} --kind {kind} --seed {seed} --number {number}: {told}")
        if time.perf_counter() - start > LONGEST_S:
            outcome.failures.append(f"--kind {kind} --seed {seed} --number {number}: takes too long")
    outcome.seconds = time.perf_counter() - begin
    return outcome


def _refusal(attempt: Attempt, rng: random.Random) -> ChannelfmError | None:
    """Our error, where an input is refused; whatever else is raised passes."""
    try:
        attempt(rng)
    except ChannelfmError as error:
        return error
    return None


def _check_message(message: str, folder: Path) -> None:
    """A message is one line, not long, and says something."""
    told = message.replace(str(folder), "")
    if "\n" in message or not told.strip() or len(told) > LONGEST_MESSAGE:
        raise AssertionError(f"a message of {len(told)} characters, or of several lines: {message[:2000]!r}")


def main() -> None:
    """Run all kinds, one kind, or one input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--number", type=int)
    options = parser.parse_args()
    failed = 0
    for kind in [options.kind] if options.kind else KINDS:
        share = options.inputs if options.kind else round(options.inputs * KINDS[kind].share)
        numbers = range(share) if options.number is None else range(options.number, options.number + 1)
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(kind, options.seed, numbers, Path(folder), options.number is not None)
        refused = ", ".join(f"{count} {name}" for name, count in sorted(outcome.refused.items()))
        print(f"{kind:20} {len(numbers):6} inputs, {outcome.answered:6} answered, {refused}; {outcome.seconds:.1f} s")
        for failure in outcome.failures[:20]:
            print(f"  {failure}")
        failed += len(outcome.failures)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
