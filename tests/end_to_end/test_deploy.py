"""What lies in deploy/ is run or read by the programs it is for (promtool, systemd-analyze, PM2), and by Kalibre."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from tests.fakes.hub_supervised import wait_for

from kalibre.api.auth import check_bind
from kalibre.api.exposition import exposition
from kalibre.api.service import Service
from kalibre.cli.app import build
from kalibre.core.catalog import part_names
from kalibre.core.errors import SettingsError
from kalibre.core.settings import Settings, load_settings
from kalibre.hub.metrics import BY_NAME
from kalibre.hub.roster import roster

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "kalibre.json").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
LEARNERS = part_names("kalibre.learners")
APART = {"ingest", "judges", "jobs", "outbox", "api"}

pytestmark = pytest.mark.timeout(240)


def needs(program: str, package: str) -> str:
    """Return the path of a program; without it skip, and under CI=true fail."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not here: install it with `apt-get install {package}`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def parses(words: list[str]) -> None:
    """Let the command line parse a command without running it; raises what it would complain of."""
    command: Any = typer.main.get_command(build())
    context = command.make_context("kalibre", list(words))
    while isinstance(command, typer.core.TyperGroup):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"there is no verb {name!r}"
        context = command.make_context(name, list(words), parent=context)


# --- Prometheus -------------------------------------------------------------------------------------------------------


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@functools.cache
def exported() -> dict[str, str]:
    """Return the kind of every metric that the server and the hub export, by name."""
    text = exposition(Service(Settings()))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return kinds | {name: metric.kind for name, metric in BY_NAME.items()}


def unknown_names(expression: str) -> set[str]:
    """Return the metrics of an expression that nobody exports, and labels that the hub's own do not carry."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    wrong = set()
    for name, braces in re.findall(r"\b(kalibre_\w+)(\{[^}]*\})?", bare):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        kind = exported().get(name) or (exported().get(family) == "histogram" and "histogram")
        if not kind:
            wrong.add(name)
        elif name in BY_NAME:
            wrong |= {f"{name}{{{label}}}" for label in re.findall(r"(\w+) *[=!]", braces)} - {
                f"{name}{{{label}}}" for label in BY_NAME[name].labels
            }
    return wrong


def expressions() -> dict[str, str]:
    found = {name: rule["expr"] for name, rule in rules().items()}
    for panel in DASHBOARD["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", [])}
    found |= {variable["name"]: variable["definition"] for variable in DASHBOARD["templating"]["list"]}
    return found


def test_no_rule_and_no_panel_names_what_is_not_exported() -> None:
    assert {name: wrong for name, text in expressions().items() if (wrong := unknown_names(text))} == {}
    assert unknown_names('rate(kalibre_hub_jobs{state="x"}[5m]) + kalibre_ml_predictions_total') == set()
    assert unknown_names('kalibre_made_up{a="kalibre_b"} > kalibre_hub_jobs{worker="x"}') == {
        *("kalibre_made_up", "kalibre_hub_jobs{worker}")
    }


def test_everything_that_the_hub_measures_is_looked_at() -> None:
    everything = "\n".join(expressions().values())
    assert {name for name in BY_NAME if name not in everything} == set()


def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    promtool = needs("promtool", "prometheus")
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "key").touch()
    (tmp_path / "prometheus.yml").write_text(
        text.replace("/run/secrets/read_key", str(tmp_path / "key")), encoding="utf-8"
    )
    shutil.copy(RULES, tmp_path)
    checked = run(promtool, "check", "config", "--lint-fatal", tmp_path / "prometheus.yml")
    assert (checked.returncode, "SUCCESS" in checked.stdout) == (0, True), checked.stdout + checked.stderr
    tested = run(promtool, "test", "rules", "rules_test.yml", cwd=RULES.parent)
    assert tested.returncode == 0, tested.stdout + tested.stderr


NEVER = [(r" >=? -?[\d.e]+", " > 1e300"), (r" < -?[\d.e]+", " < -1e300"), (r" == [01]", " == 7")]
ALWAYS = [(r" >=? -?[\d.e]+", " > -1e300"), (r" < -?[\d.e]+", " < 1e300"), (r" == [01]", " >= 0")]


@pytest.mark.parametrize("alert", sorted(rules()))
def test_a_rule_that_is_wrong_would_be_seen(alert: str, tmp_path: Path) -> None:
    """Each alert is bent: never firing, always firing, firing too soon, saying something else; its test has to fail."""
    promtool = needs("promtool", "prometheus")
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text(encoding="utf-8"))
    tests["tests"] = [test for test in tests["tests"] if test["name"] == alert]
    assert len(tests["tests"]) == 1, "each alert has its test"
    (tmp_path / "rules_test.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    rule = rules()[alert]
    groups = {"groups": [{"name": "alone", "rules": [rule]}]}
    whole = dict(rule)

    def bent(changes: list[tuple[str, str]]) -> str:
        expression = whole["expr"]
        for pattern, instead in changes:
            expression = re.sub(pattern, instead, expression)
        assert expression != whole["expr"]
        return expression

    planted: list[dict[str, Any]] = [{"expr": bent(NEVER)}, {"expr": bent(ALWAYS)}]
    planted += [{"for": "0s"}] if "for" in rule else []
    planted += [{"annotations": {**whole["annotations"], "mend": "pray"}}]
    for change in ({}, *planted):
        rule.clear()
        rule.update({**whole, **change})
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups), encoding="utf-8")
        tested = run(promtool, "test", "rules", "rules_test.yml", cwd=tmp_path)
        assert (tested.returncode == 0) == (not change), (change, tested.stdout, tested.stderr)


def test_what_mends_is_a_command_that_there_is() -> None:
    for alert, rule in rules().items():
        assert set(rule["annotations"]) == {"summary", "description", "mend"}, alert
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        for command in rule["annotations"]["mend"].split(";"):
            program, *words = shlex.split(re.sub(r"\{\{[^}]*\}\}", "X", command))
            assert program == "kalibre"
            parses(words)
    with pytest.raises(AssertionError, match="no verb 'explode'"):
        parses(["hub", "explode"])
    with pytest.raises(Exception, match="No such option"):
        parses(["hub", "league", "--of", "X"])


# --- Grafana ----------------------------------------------------------------------------------------------------------


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    promtool = needs("promtool", "prometheus")
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    asked += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    assert len(asked) > 20
    recorded = [
        {"record": f"asked:{at}", "expr": expr.replace("$__rate_interval", "5m")} for at, expr in enumerate(asked)
    ]
    (tmp_path / "asked.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "asked", "rules": recorded}]}), encoding="utf-8"
    )
    checked = run(promtool, "check", "rules", tmp_path / "asked.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_laid_out_and_wired() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "two panels overlap"
    assert max(x for x, _ in cells) < 24
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    used = set(re.findall(r'"type": "prometheus",\s*"uid": "(\w+)"', json.dumps(DASHBOARD)))
    assert used == {source["uid"] for source in sources}
    assert all(panel.get("targets") or panel["type"] == "row" for panel in panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    named = set(re.findall(r"\$(\w+)", " ".join(expressions().values()))) - {"__rate_interval"}
    assert named == variables
    for panel in panels:
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                names = [BY_NAME[name] for name in re.findall(r"kalibre_\w+", target["expr"]) if name in BY_NAME]
                assert not names or any(label in metric.labels for metric in names), panel["title"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "kalibre.yaml").read_text(encoding="utf-8"))[
        "providers"
    ]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in COMPOSE["services"]["grafana"]["volumes"]}
    assert (DEPLOY / mounted[provider["options"]["path"]] / "kalibre.json").is_file()


# --- systemd ----------------------------------------------------------------------------------------------------------


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


# --- compose ----------------------------------------------------------------------------------------------------------

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


# --- PM2 --------------------------------------------------------------------------------------------------------------

_STAND_IN = """#!{python}
import os, sys, threading
sys.path.insert(0, {source!r})
from kalibre.hub.worker_process import adopt

assert sys.argv[1:3] == ["hub", "worker"]
with adopt(sys.argv[3], heartbeat_limit_s=1.5) as worker:
    threads = {{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}}
    print(f"threads {{threads}}", flush=True)
    beats = 0
    while not worker.wait(0.02):
        beats += 1
        worker.beat(beats)
        if os.path.exists(os.path.join(os.environ["KALIBRE_HOME"], "hang-" + worker.name)):
            os.unlink(os.path.join(os.environ["KALIBRE_HOME"], "hang-" + worker.name))
            threading.Event().wait()
"""


@pytest.fixture(scope="module")
def pm2_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install PM2 from npm into a folder of its own."""
    npm = needs("npm", "npm")
    folder = tmp_path_factory.mktemp("pm2")
    made = run(npm, "install", "--no-audit", "--no-fund", "--prefix", folder, "pm2", cwd=folder)
    program = folder / "node_modules" / ".bin" / "pm2"
    if made.returncode != 0 or not program.is_file():
        message = f"npm cannot install pm2 here: {made.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program


Pm2 = Callable[..., str]


@pytest.fixture
def pm2(pm2_program: Path, tmp_path: Path) -> Iterator[Pm2]:
    """Return a function that speaks to a PM2 of this test's own, with a stand-in for `kalibre`."""
    program = tmp_path / "kalibre"
    program.write_text(_STAND_IN.format(python=sys.executable, source=str(ROOT / "src")), encoding="utf-8")
    program.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="pm2-") as home:  # its sockets want a short path
        env = {name: value for name, value in os.environ.items() if not name.startswith(("KALIBRE_", "PM2_"))}
        env |= {"PM2_HOME": home, "KALIBRE_BIN": str(program), "KALIBRE_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}

        def speak(*words: str) -> str:
            said = run(pm2_program, *words, env=env, cwd=tmp_path)
            assert said.returncode == 0, said.stdout + said.stderr
            return said.stdout

        try:
            yield speak
        finally:
            speak("kill")


def jobs_of(pm2: Pm2) -> dict[str, dict[str, Any]]:
    # PM2 greets on its first call; the list is the last line.
    return {job["name"]: job for job in json.loads(pm2("jlist").strip().splitlines()[-1])}


def test_pm2_runs_the_orchestrator_and_one_job_per_learner(pm2: Pm2, tmp_path: Path) -> None:
    run_dir = tmp_path / "home" / "run"

    def online() -> dict[str, int]:
        return {seen.name: seen.beat.pid for seen in roster(run_dir) if seen.beat.phase == "online" and seen.age_s < 2}

    (tmp_path / "home").mkdir()
    pm2("start", str(DEPLOY / "ecosystem.config.js"))
    names = {*APART, *LEARNERS}
    first = wait_for(lambda: len(online()) == len(names) and online(), 60, "every worker's heartbeat")
    assert set(first) == names
    jobs = jobs_of(pm2)
    told = {name: (job["pm2_env"]["namespace"], job["pid"]) for name, job in jobs.items()}
    expected = {name: ("orchestrator" if name in APART else "learners", first[name]) for name in names}
    assert told == expected
    assert all(job["pm2_env"]["max_memory_restart"] > 0 for job in jobs.values())

    # What is killed is started again; so is what hangs, which ends itself and says where.
    os.kill(first["online"] if "online" in first else first["ingest"], signal.SIGKILL)
    (tmp_path / "home" / "hang-judges").touch()
    killed = "online" if "online" in first else "ingest"
    again = wait_for(
        lambda: (
            (now := online())
            and len(now) == len(names)
            and {now[killed], now["judges"]} - set(first.values()) == {now[killed], now["judges"]}
            and now
        ),
        60,
        "the return of both",
    )
    assert {name for name in names if again[name] != first[name]} == {killed, "judges"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert "Timeout" in Path(jobs["judges"]["pm2_env"]["pm_err_log_path"]).read_text(encoding="utf-8")
    words = Path(jobs["api"]["pm2_env"]["pm_out_log_path"]).read_text(encoding="utf-8")
    assert "threads {'OMP_NUM_THREADS': '1', 'POLARS_MAX_THREADS': '1'}" in words

    pm2("restart", "learners")
    renewed = wait_for(
        lambda: (
            (now := online())
            and len(now) == len(names)
            and not {now[n] for n in LEARNERS} & set(again.values())
            and now
        ),
        60,
        "learners that were started again",
    )
    assert {name: renewed[name] for name in APART} == {name: again[name] for name in APART}

    pm2("stop", "all")
    assert {seen.name for seen in roster(run_dir) if seen.stopped} == names, "each said goodbye"
    assert all(job["pm2_env"]["status"] == "stopped" for job in jobs_of(pm2).values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in renewed.values())


def test_pm2_runs_the_learners_that_the_settings_name(tmp_path: Path) -> None:
    node = needs("node", "nodejs")
    script = f"console.log(JSON.stringify(require({json.dumps(str(DEPLOY / 'ecosystem.config.js'))}).apps))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
    everything = json.loads(run(node, "-e", script, env=env).stdout)
    assert [app["name"] for app in everything if app["namespace"] == "learners"] == sorted(LEARNERS)
    assert {app["script"] for app in everything} == {"kalibre"}
    assert len({app["cron_restart"] for app in everything}) == len(everything), "not all at once"
    for app in everything:
        parses(app["args"])
        assert app["env"] == {**app["env"], "NUMBA_NUM_THREADS": "1"}
        assert {"max_memory_restart", "exp_backoff_restart_delay", "kill_timeout"} <= set(app)
    some = json.loads(run(node, "-e", script, env={**env, "KALIBRE_HUB__LEARNERS": "online, agents"}).stdout)
    assert [app["name"] for app in some if app["namespace"] == "learners"] == ["online", "agents"]
