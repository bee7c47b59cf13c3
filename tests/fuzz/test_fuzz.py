import subprocess
import sys
from pathlib import Path

import pytest

INPUTS = 20_000


@pytest.mark.slow
def test_hostile_input_of_every_kind_gets_an_answer_or_one_line():
    """Less than two minutes on two cores; what the script prints names the call that repeats a failure."""
    script = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, str(script), "--inputs", str(INPUTS)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert outcome.returncode == 0, outcome.stdout[-4000:] + outcome.stderr[-2000:]
    tried = [int(line.split()[1]) for line in outcome.stdout.splitlines() if " inputs, " in line]
    assert sum(tried) >= INPUTS
