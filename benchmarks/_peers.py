"""The environment of the peers that are no dependency of Kalibre: `.venv-peers`, made and filled when first asked for.

Every package is pinned here or by who asks; what is installed already is left alone. One process fills it at a time, so
two benchmarks may ask at once.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PEERS = _ROOT / ".venv-peers"

PINNED = {
    "cloudpickle": "3.1.3",
    "gymnasium": "1.4.0",
    "hmmlearn": "0.3.3",
    "joblib": "1.6.0",
    "lightgbm": "4.7.0",
    "llvmlite": "0.50.0",
    "msgspec": "0.22.0",
    "narwhals": "2.29.0",
    "numba": "0.68.1",
    "numpy": "2.4.6",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "shap": "0.51.0",
    "stable-baselines3": "2.9.2",
    "threadpoolctl": "3.8.0",
    "torch": "2.13.0",
}
"""Versions of what may be asked for by name, and of what all of it stands on."""


def peer_python(*packages: str) -> Path:
    """Return the interpreter of the peers' environment, in which these packages are.

    Parameters
    ----------
    packages
        Names of `PINNED`, or requirements with a version of their own (`shap==0.51.0`), which must not contradict it.
    """
    python = _PEERS / "bin" / "python"
    wanted = dict(_named(package) for package in packages)
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until the file is closed, and no longer than its process lives
        if not (python.exists() and (_PEERS / "made").exists()):
            print(f"making {_PEERS.name} ...", file=sys.stderr)
            subprocess.run([_python311(), "-m", "venv", "--clear", str(_PEERS)], check=True)
            (_PEERS / "made").touch()
        has = _installed(python)
        if missing := [f"{name}=={version}" for name, version in wanted.items() if has.get(name) != version]:
            print(f"installing {', '.join(missing)} into {_PEERS.name} ...", file=sys.stderr)
            constraints = _PEERS / "constraints.txt"
            constraints.write_text("".join(f"{name}=={version}\n" for name, version in {**PINNED, **wanted}.items()))
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*command, "--constraint", str(constraints), *missing], check=True, stdout=sys.stderr)
    return python


def _named(package: str) -> tuple[str, str]:
    name, _, version = package.partition("==")
    name = name.strip().lower().replace("_", "-")
    if not version and name not in PINNED:
        raise SystemExit(f"no version of {package!r} is pinned: say {package}==VERSION or pin it in {__file__}")
    return name, version.strip() or PINNED[name]


def _installed(python: Path) -> dict[str, str]:
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {one["name"].lower().replace("_", "-"): one["version"].partition("+")[0] for one in told}


def _python311() -> str:
    """Return Python 3.11: this one, or the system's."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    return shutil.which("python3.11") or sys.executable
