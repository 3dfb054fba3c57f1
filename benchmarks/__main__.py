"""`make bench`: run every claim of this folder, one after the other, and say which bars hold.

Each file is one claim: a command that prints its table beside its named peers and exits 0 if every bar holds.
`make bench ONLY=sweep` style selection: `python -m benchmarks sweep year`. Their output is kept in out/bench/.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

_HERE = Path(__file__).parent
_KEPT = _HERE.parent / "out" / "bench"


def _claims(chosen: list[str]) -> list[str]:
    names = sorted(path.stem for path in _HERE.glob("*.py") if not path.stem.startswith("_"))
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise SystemExit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(names)}")
    return chosen or [name for name in names if name != "fault"]


def main() -> int:
    """Run the chosen claims (all but `fault`, which has its own target) and print a line each."""
    flags = [word for word in sys.argv[1:] if word.startswith("--")]
    claims = _claims([word for word in sys.argv[1:] if not word.startswith("--")])
    _KEPT.mkdir(parents=True, exist_ok=True)
    print(f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}")
    failed = []
    for claim in claims:
        started = time.monotonic()
        kept = _KEPT / f"{claim}.txt"
        with kept.open("w", encoding="utf-8") as stream:
            command = [sys.executable, "-m", f"benchmarks.{claim}", *flags]
            code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        print(f"\n=== {claim} ({time.monotonic() - started:.0f} s, {'PASS' if code == 0 else f'FAIL, exit {code}'})")
        print(kept.read_text(encoding="utf-8").rstrip())
        if code:
            failed.append(claim)
    print(f"\n{len(claims) - len(failed)} of {len(claims)} hold" + (f"; missed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
