"""The parts of the fuzz test lie beside it; tests are no package, so their folder is named here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
