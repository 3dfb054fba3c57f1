"""Where Kalibre does not run, it says so before it does anything."""

from __future__ import annotations

import subprocess
import sys


def test_a_system_without_its_file_locks_is_told_which_ones_have_them() -> None:
    elsewhere = (
        "import sys\nsys.modules['fcntl'] = None\n"
        "try:\n    import kalibre\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, check=True).stdout
    assert said.startswith("UsageError Kalibre runs on Linux and macOS")
    here = subprocess.run([sys.executable, "-W", "error", "-c", "import kalibre"], capture_output=True, check=False)
    assert (here.returncode, here.stderr) == (0, b"")
