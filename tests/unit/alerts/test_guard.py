"""The guard: which addresses are public, and that no way of connecting leads past it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import requests
from tests.fakes.alert_receivers import Answer, Receiver, http_receiver, pointing

from kalibre.alerts.guard import Guard, guarded, reserved

PUBLIC = "1.1.1.1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as running:
        yield running


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1", "239.1.1.1", "255.255.255.255"),
        *("240.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.0.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "2001:db8::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1"),
    ],
)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert reserved(ip_address(text))
    with pytest.raises(PermissionError):
        Guard().check((text, 443))


@pytest.mark.parametrize(
    "text",
    [
        *("1.1.1.1", "8.8.8.8", "149.154.167.220", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1"),
        *("2606:4700:4700::1111", "2001:67c:4e8:f004::9", "::ffff:8.8.8.8", "64:ff9b::808:808"),
    ],
)
def test_what_is_public_passes(text: str) -> None:
    assert reserved(ip_address(text)) == ""
    Guard().check((text, 443))


@pytest.mark.parametrize(
    "target", [("localhost", 80), ("", 80), ("127.1", 80), ("0x7f.1", 80), ("2130706433", 80), "/run/docker.sock", ()]
)
def test_what_is_no_plain_address_is_refused(target: object) -> None:
    with pytest.raises(PermissionError):
        Guard().check(target)


def test_a_network_that_is_allowed_opens_itself_only() -> None:
    guard = Guard(["10.20.0.0/16", "fd00:1::/64"])
    for text in ("10.20.3.4", "::ffff:10.20.3.4", "fd00:1::5"):
        guard.check((text, 80))
    for text in ("10.21.0.1", "127.0.0.1", "fd00:2::5"):
        with pytest.raises(PermissionError):
            guard.check((text, 80))


def test_both_ways_in_which_a_socket_connects_are_held(receiver: Receiver) -> None:
    address = ("127.0.0.1", receiver.port)
    with guarded(Guard()):
        with socket.socket() as plug, pytest.raises(PermissionError):
            plug.connect(address)
        with socket.socket() as plug:
            assert plug.connect_ex(address) != 0
        with pytest.raises(PermissionError):
            socket.create_connection(address)
    with socket.create_connection(address):
        pass  # outside, nothing is held


def test_another_thread_is_not_held(receiver: Receiver) -> None:
    done: list[int] = []

    def connect() -> None:
        done.append(requests.post(f"http://127.0.0.1:{receiver.port}/", timeout=5).status_code)

    with guarded(Guard()):
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
    assert done == [200]


def test_a_name_that_is_bound_anew_between_check_and_connection_gains_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([(PUBLIC, None), *[("127.0.0.1", receiver.port)] * 9])
    asked = pointing(monkeypatch, {"rebinding.example": lambda: next(answers)})
    address = f"http://rebinding.example:{receiver.port}/hook"

    # Planted: what many do, a check of the name before the request. It passes, and the request goes to loopback.
    assert reserved(ip_address(socket.getaddrinfo("rebinding.example", 80)[0][4][0])) == ""
    assert requests.post(address, timeout=5).status_code == 200
    assert [got.path for got in receiver.got] == ["/hook"], "the trap works"

    receiver.got.clear()
    guard = Guard()
    with guarded(guard), pytest.raises(requests.ConnectionError):
        requests.post(address, timeout=5)
    assert receiver.got == []
    assert "127.0.0.1" in guard.refused
    assert len(asked) == 3


def test_a_redirect_to_a_private_address_is_refused_at_its_own_connection(receiver: Receiver) -> None:
    def lead_on(request: object) -> Answer:
        return Answer(307, headers={"Location": f"http://127.0.0.1:{receiver.port}/inside"})

    with http_receiver("127.0.0.2", answer=lead_on) as outside:
        address = f"http://127.0.0.2:{outside.port}/hook"
        assert requests.post(address, timeout=5).status_code == 200
        assert [got.path for got in receiver.got] == ["/inside"], "the trap works"
        receiver.got.clear()
        guard = Guard(["127.0.0.2/32"])
        with guarded(guard), pytest.raises(requests.ConnectionError):
            requests.post(address, timeout=5)
        assert len(outside.got) == 2, "the first hop was let through"
    assert receiver.got == []
    assert guard.checks == 2


def test_a_name_with_a_public_and_a_private_address_leads_to_the_public_one_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def both(host: str, *args: object, **kwargs: object) -> object:
        if host != "both.example":
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        plug = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*plug, ("127.0.0.1", receiver.port)), (*plug, ("127.0.0.2", receiver.port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with guarded(Guard(["127.0.0.2/32"])), pytest.raises(requests.ConnectionError, match="refused"):
        requests.post(f"http://both.example:{receiver.port}/", timeout=5)
    assert receiver.got == [], "nobody listens at the allowed one, and the other was not tried"
