"""The checksums of Turkish identity and tax numbers, of bank accounts and of cards."""

from __future__ import annotations

_IBAN_LENGTHS = {
    "TR": 26, "DE": 22, "FR": 27, "GB": 22, "IT": 27, "ES": 24, "NL": 18, "BE": 16, "AT": 20, "CH": 21,
    "LU": 20, "IE": 22, "PT": 25, "GR": 27, "CY": 28, "BG": 22, "RO": 24, "HU": 28, "CZ": 24, "SK": 24,
    "PL": 28, "SE": 24, "NO": 15, "DK": 18, "FI": 18, "EE": 20, "LV": 21, "LT": 20, "HR": 21, "SI": 19,
    "MT": 31, "AZ": 28, "GE": 22, "KZ": 20, "UA": 29, "MD": 24, "RS": 22, "BA": 20, "ME": 22, "MK": 19,
    "AL": 28, "XK": 20, "AE": 23, "SA": 24, "QA": 29, "KW": 30, "BH": 22, "JO": 30, "IL": 23, "LB": 28,
    "PK": 24, "EG": 29, "TN": 24, "IS": 26, "LI": 21, "MC": 27, "SM": 27, "AD": 24, "VA": 22, "BY": 28,
}  # fmt: skip


def is_tckn(digits: str) -> bool:
    """Say whether 11 digits are a Turkish identity number.

    The tenth digit is seven times the odd ones less the even ones, the eleventh the sum of the ten, both modulo 10.

    Examples
    --------
    >>> is_tckn("10000000146"), is_tckn("10000000147")
    (True, False)
    """
    if len(digits) != 11 or digits[0] == "0":
        return False
    d = [ord(one) - 48 for one in digits]
    return (7 * sum(d[0:9:2]) - sum(d[1:8:2])) % 10 == d[9] and sum(d[:10]) % 10 == d[10]


def is_vkn(digits: str) -> bool:
    """Say whether 10 digits are a Turkish tax number, by the rule of the revenue administration.

    Examples
    --------
    >>> is_vkn("4540536920"), is_vkn("4540536921")
    (True, False)
    """
    if len(digits) != 10:
        return False
    total = 0
    for k, one in enumerate(digits[:9]):
        shifted = (ord(one) - 48 + 9 - k) % 10
        total += 9 if shifted == 9 else shifted * 2 ** (9 - k) % 9
    return (10 - total % 10) % 10 == ord(digits[9]) - 48


def is_iban(code: str) -> bool:
    """Say whether letters and digits without blanks are an IBAN: its country's length, and 1 modulo 97 (ISO 13616).

    Examples
    --------
    >>> is_iban("TR330006100519786457841326"), is_iban("TR330006100519786457841327")
    (True, False)
    """
    if len(code) != _IBAN_LENGTHS.get(code[:2], -1):
        return False
    turned = code[4:] + code[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1


def iban_length(country: str) -> int:
    """Return how many characters an IBAN of a country has, 0 where it has none."""
    return _IBAN_LENGTHS.get(country, 0)


def is_luhn(digits: str) -> bool:
    """Say whether digits end in their Luhn check digit (ISO/IEC 7812).

    Examples
    --------
    >>> is_luhn("4111111111111111"), is_luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for k, one in enumerate(reversed(digits)):
        digit = (ord(one) - 48) * (1 + k % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Say whether digits are a card's number: the range of a known scheme (Troy among them), its length, and Luhn.

    Examples
    --------
    >>> is_card("9792030394440796"), is_card("1234567812345670")
    (True, False)
    """
    n, head = len(digits), digits[:4]
    known = (
        (head[0] == "4" and n in (13, 16, 19))
        or ("51" <= head[:2] <= "55" and n == 16)
        or ("2221" <= head <= "2720" and n == 16)
        or (head[:2] in ("34", "37") and n == 15)
        or (head == "9792" and n == 16)
        or ((head == "6011" or head[:2] in ("65", "62") or "644" <= head[:3] <= "649") and 16 <= n <= 19)
        or ("3528" <= head <= "3589" and n == 16)
        or ((head[:2] in ("36", "38", "39") or "300" <= head[:3] <= "305") and n == 14)
        or (head[:2] in ("50", "56", "57", "58", "63", "67") and n in (16, 18, 19))
    )
    return known and is_luhn(digits)
