"""What lies in deploy/ is read by the programs it is for, and by Kalibre itself: units, containers, their settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.deployment import APART, COMPOSE, DEPLOY, LEARNERS, ROOT, needs, parses, run

from kalibre.api.auth import check_bind
from kalibre.core.errors import SettingsError
from kalibre.core.settings import load_settings

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("unit", ["kalibre-hub.service", "kalibre-worker@.service"])
def test_systemd_accepts_the_units_and_finds_them_hardened(unit: str, tmp_path: Path) -> None:
    analyze = needs("systemd-analyze", "systemd")
    program = tmp_path / "kalibre"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8").replace("/opt/kalibre/bin/kalibre", str(program))
    (tmp_path / unit).write_text(text, encoding="utf-8")
    verified = run(analyze, "verify", tmp_path / unit)
    # An unknown key is a warning only, and would be a promise that is not kept.
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    judged = run(analyze, "security", "--offline=true", "--threshold=15", tmp_path / unit)
    assert judged.returncode == 0, judged.stdout[-300:]
    for planted in ("NoSuchKey=1", "WatchdogSec=soon", "ExecStart=/no/such/program"):
        (tmp_path / unit).write_text(text.replace("[Service]", f"[Service]\n{planted}", 1), encoding="utf-8")
        assert run(analyze, "verify", tmp_path / unit).stderr, planted
    soft = text.replace("CapabilityBoundingSet=\n", "").replace("ProtectSystem=strict\n", "")
    (tmp_path / unit).write_text(soft, encoding="utf-8")
    assert run(analyze, "security", "--offline=true", "--threshold=15", tmp_path / unit).returncode != 0


def test_the_units_start_what_there_is() -> None:
    for unit, instances in (("kalibre-hub.service", [""]), ("kalibre-worker@.service", [*sorted(APART), *LEARNERS])):
        text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
        (command,) = re.findall(r"^ExecStart=/opt/kalibre/bin/kalibre (.*)$", text, re.MULTILINE)
        for instance in instances:
            parses(shlex.split(command.replace("%i", instance)))


SECRETS = {name: f"{name.lower()}-0123456789abcdef" for name in ("KALIBRE_ADMIN_KEY", "KALIBRE_READ_KEY")}
SECRETS |= {"POSTGRES_PASSWORD": "a-password", "GRAFANA_PASSWORD": "another"}


def filled(text: str, given: dict[str, str]) -> str:
    """Substitute variables as compose does: `${NAME:-default}`, and `${NAME:?message}` that must not be empty."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.group(1), match.group(2), match.group(3)
        found = given.get(name, "")
        if not found and kind == ":?":
            raise KeyError(name)
        return found or (rest if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def kalibre_services() -> dict[str, dict[str, Any]]:
    return {name: one for name, one in COMPOSE["services"].items() if one.get("image") == "kalibre"}


def test_compose_starts_every_worker_once_either_way() -> None:
    services = kalibre_services()
    together = [name for name, one in services.items() if one["profiles"] == ["together"]]
    apart = {name: one for name, one in services.items() if one["profiles"] == ["apart"]}
    assert together == ["hub"]
    assert set(apart) == APART | {"learners"}
    assert set(services) == {*together, *apart}
    for name, one in services.items():
        assert one["command"] == (["hub", "up"] if name == "hub" else ["hub", "worker", name])
        parses(one["command"])
        assert (one["read_only"], one["cap_drop"], one["restart"], one["init"]) == (True, ["ALL"], "always", True)
        assert "no-new-privileges:true" in one["security_opt"]
        assert one["environment"].get("KALIBRE_WORKER", name) == name
    assert apart["learners"]["cpu_shares"] < 1024


def test_compose_is_whole() -> None:
    services = COMPOSE["services"]
    for name, one in services.items():
        assert "image" in one, name
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to others"
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
        assert set(one.get("depends_on", [])) <= set(services)
        assert set(one.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert ":latest" not in one["image"]
        if one["image"] == "kalibre":
            assert (DEPLOY / one["build"]["context"] / one["build"]["dockerfile"]).is_file()
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {name for name, value in example.items() if not value}
    with pytest.raises(KeyError):
        filled(text, example)
    filled(text, {**example, **SECRETS})


def test_the_server_of_compose_may_listen_and_prometheus_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hub", "api"):
        service = kalibre_services()[name]
        with monkeypatch.context() as patched:
            for variable, value in service["environment"].items():
                patched.setenv(variable, filled(str(value), SECRETS))
            settings = load_settings()
            check_bind(settings.api)
            patched.setenv("KALIBRE_API__KEYS", "{}")
            with pytest.raises(SettingsError):
                check_bind(load_settings().api)
        assert settings.log_url.startswith("postgresql://kalibre:a-password@postgres/")
        assert settings.api.keys[SECRETS["KALIBRE_READ_KEY"]] == "read"
        assert set(settings.api.allowed_hosts) == {"kalibre"} == set(service["networks"]["default"]["aliases"])
        (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))[
            "scrape_configs"
        ]
        assert scrape["static_configs"] == [{"targets": [f"kalibre:{settings.api.port}"]}]
        assert service["ports"] == [f"127.0.0.1:{settings.api.port}:{settings.api.port}"]
    assert COMPOSE["secrets"]["read_key"] == {"environment": "KALIBRE_READ_KEY"}
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/read_key"
    from kalibre.api.routes import metrics

    assert [route.path for route in metrics.router.routes] == [scrape["metrics_path"]]  # type: ignore[attr-defined]


def test_the_health_check_of_a_container_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    from kalibre.hub.worker_process import Heart

    check = kalibre_services()["ingest"]["healthcheck"]["test"][1].replace("$$", "$")
    env = {**os.environ, "KALIBRE_HOME": str(tmp_path), "KALIBRE_WORKER": "ingest"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    assert run("sh", "-c", check, env=env).returncode == 1, "it has never beaten"
    heart = Heart("ingest", tmp_path / "run")
    assert run("sh", "-c", check, env=env).returncode == 0
    assert run("sh", "-c", check.replace("120", "0"), env=env).returncode == 1, (
        "it has not beaten for longer than allowed"
    )
    heart.close()
    assert run("sh", "-c", check, env=env).returncode == 1, "it has stopped"


def test_the_image_is_made_of_what_is_here() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    said = [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]
    assert [what.split()[0] for verb, what in said if verb == "FROM"] == ["python:3.11-slim"] * 2
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    for verb, what in said:
        if verb == "COPY" and not what.startswith("--from"):
            for source in what.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.removeprefix('./')}" in ignored, f"{source} would be left out"
    verbs = [verb for verb, _ in said]
    assert "USER" in verbs[verbs.index("ENV") :], "it does not run as root"
    program, words = (json.loads(what) for verb, what in said if verb in ("ENTRYPOINT", "CMD"))
    assert program == ["kalibre"]
    parses(words)
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_no_machine_and_no_package_host_is_named() -> None:
    for file in filter(Path.is_file, DEPLOY.rglob("*")):
        addresses = set(re.findall(r"https?://[^\s/'\"]+", file.read_text(encoding="utf-8")))
        assert addresses <= {"http://prometheus:9090", "http://127.0.0.1:8617"}, file
