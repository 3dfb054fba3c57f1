"""Against independent rules: the definitions written out anew, and python-stdnum's published examples."""

import random

import pytest

from kalibre.language.pii.checksums import is_card, is_iban, is_luhn, is_tckn, is_vkn


@pytest.mark.parametrize("number", ["17291716060", "10000000146", "19191919190"])
def test_identity_numbers(number):
    assert is_tckn(number)


def test_one_wrong_digit_of_an_identity_number_is_always_seen():
    for k in range(11):
        for other in set("0123456789") - {"10000000146"[k]}:
            assert not is_tckn("10000000146"[:k] + other + "10000000146"[k + 1 :])


@pytest.mark.parametrize("number", ["4540536920", "0010000012"])
def test_tax_numbers(number):
    def check(digits):
        total = 0
        for place in range(1, 10):
            shifted = (int(digits[place - 1]) + 10 - place) % 10
            total += 9 if shifted == 9 else (shifted * 2 ** (10 - place)) % 9
        return str((10 - total % 10) % 10)

    assert is_vkn(number[:9] + check(number))
    assert not is_vkn(number[:9] + str((int(check(number)) + 1) % 10))
    assert is_vkn("4540536920")


@pytest.mark.parametrize("code", ["TR330006100519786457841326", "DE89370400440532013000", "GB29NWBK60161331926819"])
def test_accounts(code):
    assert is_iban(code)
    assert not is_iban(code[:-1])
    assert not is_iban(code[:-1] + str((int(code[-1]) + 1) % 10))
    assert not is_iban("XX" + code[2:])


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "5500000000000004",
        "378282246310005",
        "9792030394440796",
        "6011111111111117",
        "30569309025904",
        "2223003122003222",
    ],
)
def test_cards(number):
    assert is_card(number)
    assert not is_card(number[:-1] + str((int(number[-1]) + 1) % 10))


def test_luhn_sees_every_single_wrong_digit():
    rng = random.Random(5)
    for _ in range(50):
        body = "".join(rng.choice("0123456789") for _ in range(15))
        right = [d for d in "0123456789" if is_luhn(body + d)]
        assert len(right) == 1
