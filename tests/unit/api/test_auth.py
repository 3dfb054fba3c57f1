"""Keys, scopes, where a server may listen, and the door's checks of Host, Origin and length."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.api.app import create_app
from kalibre.api.auth import ANONYMOUS, SCOPES, ApiKeys, check_bind, is_loopback, keys_of, may_stop
from kalibre.api.guard import MAX_BODY_BYTES, Guard, require
from kalibre.api.service import Service, predict_once
from kalibre.core.errors import ApiError, SettingsError
from kalibre.core.settings import ApiSettings, Settings

LONG = "q7Jw-4zK9tR2mXbV8sLd"


def api(**values: Any) -> ApiSettings:
    return ApiSettings.model_validate(values)


def test_a_key_has_its_scopes_and_admin_has_all() -> None:
    keys = ApiKeys({"one": "read, kill", "two": "admin"})
    assert keys.scopes(b"one") == {"read", "kill"}
    assert keys.scopes(b"two") == set(SCOPES)
    assert keys.scopes(b"three") is None


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""), st.binary())
def test_no_other_key_is_accepted(key: str, tried: bytes) -> None:
    keys = ApiKeys({key: "read"})
    assert (keys.scopes(tried) is not None) == (tried == key.encode("utf-8", "surrogatepass"))


def test_a_key_may_be_given_as_its_hash_and_only_hashes_stay() -> None:
    digest = hashlib.sha256(LONG.encode()).hexdigest()
    keys = ApiKeys({f"sha256:{digest}": "read"})
    assert keys.scopes(LONG.encode()) == {"read"}
    service = Service(Settings(api=api(keys={LONG: "admin"})))
    assert service.settings.api.keys == {}
    held = [repr(vars(part)) for part in (service, service.guard, service.guard.keys, service.live)]
    assert not [text for text in held if LONG in text]


@pytest.mark.parametrize(
    ("keys", "quoted"), [({"k": "reed"}, "'reed'"), ({"k": ""}, "no scopes"), ({" ": "read"}, "empty")]
)
def test_wrong_scopes_are_quoted(keys: dict[str, str], quoted: str) -> None:
    with pytest.raises(SettingsError, match=quoted):
        ApiKeys(keys)


def test_a_fresh_install_reads_freely_and_changes_state_by_a_key_of_its_run() -> None:
    keys, made = keys_of(api())
    assert made is not None
    assert keys.caller(None) == ANONYMOUS
    assert keys.caller(made.encode()) == set(SCOPES)
    assert keys.caller(b"wrong") is None
    with_own, none_made = keys_of(api(keys={"mine": "read"}))
    assert none_made is None
    assert with_own.caller(None) == frozenset()


def test_stopping_takes_fewer_rights_than_releasing() -> None:
    assert [scope for scope in SCOPES if may_stop(frozenset({scope}))] == ["operate", "kill", "admin"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check_bind(api(host=host))


@pytest.mark.parametrize(
    ("values", "quoted"),
    [
        ({}, "public = true"),
        ({"public": True}, "keys is empty"),
        ({"public": True, "keys": {"changeme": "admin"}}, "key 1"),
        ({"public": True, "keys": {LONG: "admin", "short": "read"}}, "key 2"),
        ({"public": True, "keys": {"0000000000000000000": "admin"}}, "key 1"),
    ],
)
def test_a_public_address_is_refused_without_secrets(values: dict[str, Any], quoted: str) -> None:
    with pytest.raises(SettingsError, match=quoted) as caught:
        check_bind(api(host="0.0.0.0", **values))
    assert "changeme" not in str(caught.value)


def test_only_what_listens_is_refused_a_public_address(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, api=api(host="0.0.0.0"))
    with pytest.raises(SettingsError, match="public = true"):
        create_app(settings)
    # A forecast on the command line serves nobody else.
    answer = predict_once(settings, "BTCUSDT")
    assert (answer.signal, answer.model) == ("HOLD", None)
    assert "no model is champion" in answer.reasons[0]


def test_a_public_address_with_secrets_is_allowed() -> None:
    check_bind(api(host="0.0.0.0", public=True, keys={LONG: "admin"}))


def guard(**values: Any) -> Guard:
    settings = api(**values)
    return Guard(settings, keys_of(settings)[0])


def test_a_rebound_name_and_a_foreign_page_stay_outside() -> None:
    door = guard()
    assert door.admit([(b"host", b"127.0.0.1:8617")]) == ANONYMOUS
    assert door.admit([(b"host", b"localhost"), (b"origin", b"http://localhost")]) == ANONYMOUS
    assert door.admit([(b"host", b"[::1]:8617")]) == ANONYMOUS
    for headers, status in [
        ([], 400),
        ([(b"host", b"evil.example:8617")], 400),
        ([(b"host", b"10.0.0.1")], 400),
        ([(b"host", b"localhost"), (b"host", b"localhost")], 400),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.example")], 403),
        ([(b"host", b"localhost:8617"), (b"origin", b"http://localhost:9999")], 403),
        ([(b"host", b"localhost"), (b"origin", b"null")], 403),
        ([(b"host", b"localhost"), (b"x-api-key", b"wrong")], 401),
        ([(b"host", b"localhost"), (b"content-length", b"%d" % (MAX_BODY_BYTES + 1))], 413),
    ]:
        with pytest.raises(ApiError) as caught:
            door.admit(headers)
        assert caught.value.status == status, headers


def test_names_are_added_by_settings_and_addresses_by_a_public_bind() -> None:
    door = guard(host="0.0.0.0", public=True, keys={LONG: "read"}, allowed_hosts=("Kalibre.Example",))
    assert door.admit([(b"host", b"kalibre.example:80"), (b"x-api-key", LONG.encode())]) == {"read"}
    assert door.admit([(b"host", b"192.168.1.7:80"), (b"authorization", b"Bearer " + LONG.encode())]) == {"read"}
    with pytest.raises(ApiError):
        door.admit([(b"host", b"other.example"), (b"x-api-key", LONG.encode())])


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(ApiError, match="'operate'") as caught:
        require(frozenset({"read"}), "operate")
    assert caught.value.status == 403
    with pytest.raises(ApiError) as caught:
        require(frozenset(), "read")
    assert caught.value.status == 401
