"""Prometheus' rules and Grafana's dashboard: over what is exported, and each alert proved by breaking it."""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.deployment import COMPOSE, DEPLOY, needs, parses, run

from kalibre.api.exposition import exposition
from kalibre.api.service import Service
from kalibre.api.text_metrics import followed_lines
from kalibre.core.settings import Settings
from kalibre.hub.metrics import BY_NAME
from kalibre.language.headlines.inbox import Standing

RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "kalibre.json").read_text(encoding="utf-8"))

pytestmark = pytest.mark.timeout(240)


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@functools.cache
def exported() -> dict[str, str]:
    """Return the kind of every metric that the server and the hub export, by name."""
    text = exposition(Service(Settings())) + "\n".join(followed_lines([Standing("news:wire", {})]))
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
