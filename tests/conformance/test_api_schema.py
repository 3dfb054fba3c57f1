"""The running server held to its own OpenAPI description by schemathesis: every answer documented, no 5xx but 503.

`KALIBRE_SCHEMATHESIS_EXAMPLES=500` makes it a long run; a short one belongs to the test command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.serving import Server, appoint, running_server

from kalibre.api.app import create_app
from kalibre.core.settings import Settings
from kalibre.log import open_log

EXAMPLES = int(os.environ.get("KALIBRE_SCHEMATHESIS_EXAMPLES", "15"))
COLUMNS = ("realised_volatility_20", "log_return_1")
ADMIN = "admin-key-00000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    configured = Settings(home=tmp_path_factory.mktemp("schema"))
    start_ms = int(time.time() * 1000) // STEP_MS * STEP_MS - 100 * STEP_MS
    with open_log(configured.log_url) as log:
        log.append(bar_events(random_bars(100, start_ms=start_ms)), writer="test")
        appoint(log, configured, small_bundle(columns=COLUMNS))
    with running_server(configured.home) as running:
        running.wait_until("/healthz", lambda body: body["status"] == "ok")
        yield running


OPERATIONS = [
    (method.upper(), path)
    for path, methods in create_app(Settings()).description()["paths"].items()
    for method in methods
]

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_every_answer_is_as_described(method: str, path: str, server: Server) -> None:
    operation = schemathesis.openapi.from_dict(server.get("/openapi.json"))[path][method]

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def hold(case: schemathesis.Case) -> None:
        if case.path in ("/events", "/hub/stream"):
            # A stream that follows has no end; the finite one is the same code.
            case.query = {**(case.query or {}), "follow": "false", "after": (case.query or {}).get("after", 90)}
        response = case.call(base_url=server.address, headers={"X-API-Key": ADMIN}, timeout=60)
        assert response.status_code < 500 or response.status_code == 503, response.text
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400 and case.path != "/healthz":
            assert response.json()["error"]["message"], response.text

    hold()


def test_the_check_catches_what_is_not_described(server: Server) -> None:
    """A planted failure: an answer whose form the description does not know is noticed."""
    described = server.get("/openapi.json")
    described["components"]["schemas"]["Answer"]["properties"]["p_up"] = {"type": "string"}
    described["components"]["schemas"]["AnswerWithChallenger"]["properties"]["p_up"] = {"type": "string"}
    described["paths"]["/ml/predict"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {
        "$ref": "#/components/schemas/Answer"
    }
    operation = schemathesis.openapi.from_dict(described)["/ml/predict"]["GET"]
    case = operation.Case(query={"symbol": "BTCUSDT"})
    response = case.call(base_url=server.address, headers={"X-API-Key": ADMIN}, timeout=60)
    assert response.status_code == 200
    with pytest.raises(FailureGroup):
        case.validate_response(response, checks=CHECKS)
