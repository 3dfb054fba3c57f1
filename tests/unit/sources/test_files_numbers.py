"""Numbers in any notation: the round trip is exact, and the decimal mark is proved or refused, never wrong."""

from __future__ import annotations

import math
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.errors import SourceFormatError
from kalibre.sources.files.numbers import find_decimal, parse_numbers
from kalibre.sources.files.table import Table

SUFFIXES = {"": 0, "K": 3, "Bin": 3, " M": 6, "Mn": 6, "B": 9, "Mr": 9, "T": 12}


def table(*cells: str, comma_proves_point: bool = False) -> Table:
    lines = [f"<{cell}>" for cell in cells]
    frame = pl.DataFrame({"Hac.": list(cells)}, schema={"Hac.": pl.String})
    return Table("'x.csv'", frame, lines, list(range(2, 2 + len(cells))), comma_proves_point)


def write(value: Decimal, decimal: str, *, grouped: bool, suffix: str = "") -> str:
    group = "." if decimal == "," else ","
    sign, digits = ("-", -value) if value < 0 else ("", value)
    whole, _, fraction = format(digits, "f").partition(".")
    if grouped:
        whole = f"{int(whole):,}".replace(",", group)
    return sign + whole + (decimal + fraction if fraction else "") + suffix


DECIMALS = st.integers(0, 8).flatmap(
    lambda places: st.integers(-(10**13), 10**13).map(lambda n: Decimal(n).scaleb(-places))
)


@given(
    st.lists(st.tuples(DECIMALS, st.sampled_from(sorted(SUFFIXES))), min_size=1), st.sampled_from(",."), st.booleans()
)
def test_each_cell_reads_back_as_the_nearest_double(
    values: list[tuple[Decimal, str]], decimal: str, grouped: bool
) -> None:
    cells = [write(value, decimal, grouped=grouped, suffix=suffix) for value, suffix in values]
    expected = [float(value.scaleb(SUFFIXES[suffix])) for value, suffix in values]
    assert parse_numbers(table(*cells), "Hac.", decimal).to_list() == expected


@given(st.lists(DECIMALS, min_size=1, max_size=30), st.sampled_from(",."), st.booleans())
def test_the_mark_is_proved_or_refused_but_never_the_wrong_one(
    values: list[Decimal], decimal: str, grouped: bool
) -> None:
    cells = table(*(write(value, decimal, grouped=grouped) for value in values))
    try:
        found = find_decimal(cells, ["Hac."])
    except SourceFormatError as error:
        assert "two ways" in str(error)  # noqa: PT017 (both outcomes are lawful)
        return
    expected = [float(value) for value in values]
    assert parse_numbers(cells, "Hac.", found).to_list() == expected


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["283,50"], ","),
        (["1.234,5", "1.234"], ","),
        (["1.234.567"], ","),
        (["0,125"], ","),
        (["48,06M"], ","),
        (["1234,567"], ","),
        (["1,234.5"], "."),
        (["1,234,567"], "."),
        (["0.125", "1.250"], "."),
        ([".5"], "."),
        (["10234", "1.234"], "."),
        (["10234", "1,234"], ","),
        (["12", "345"], "."),
        (["", "-"], "."),
    ],
)
def test_what_proves_the_mark(cells: list[str], mark: str) -> None:
    assert find_decimal(table(*cells), ["Hac."]) == mark


@pytest.mark.parametrize("cell", ["1.234", "1,234", "999.999", "-12,345", "1.234M"])
def test_what_proves_nothing_is_refused_with_its_line(cell: str) -> None:
    with pytest.raises(SourceFormatError, match=rf"{cell}.*two ways.*line 3.*decimal = ','"):
        find_decimal(table("7", cell), ["Hac."])


def test_bare_commas_between_cells_rule_out_a_decimal_comma() -> None:
    assert find_decimal(table("109.123", comma_proves_point=True), ["Hac."]) == "."


def test_two_notations_in_one_file_are_refused_with_both_lines() -> None:
    with pytest.raises(SourceFormatError, match=r"'1,5'.*line 2.*'2\.5'.*line 3"):
        find_decimal(table("1,5", "2.5"), ["Hac."])


@pytest.mark.parametrize("cell", ["", " ", "-", "n/a", "NaN", "null"])
def test_what_is_unknown_is_nan(cell: str) -> None:
    assert math.isnan(parse_numbers(table(cell), "Hac.", ",")[0])


def test_infinity_is_passed_on_for_the_checks_to_quarantine() -> None:
    assert parse_numbers(table("inf", "-Infinity"), "Hac.", ".").to_list() == [math.inf, -math.inf]


@pytest.mark.parametrize(
    "cell", ["abc", "12a", "1.2.3", "1.23,4", "12,34,5", "5,88%", "--5", "1e5M", "M", ",", "1,2,3M", "0x10", "1_000"]
)
def test_what_is_no_number_is_refused_with_its_line(cell: str) -> None:
    with pytest.raises(SourceFormatError, match=r"no number with a decimal comma.*line 3"):
        parse_numbers(table("1,5", cell), "Hac.", ",")


@pytest.mark.parametrize(
    ("cell", "value"), [("1 234,5", 1234.5), ("1\u00a0234,5", 1234.5), ("1'234,5", 1234.5), ("\u22123,5", -3.5)]
)
def test_blanks_and_typographic_signs(cell: str, value: float) -> None:
    assert parse_numbers(table(cell), "Hac.", ",")[0] == value
