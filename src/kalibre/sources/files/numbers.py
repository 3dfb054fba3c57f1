"""Numbers as people write them: `1.234,56`, `1,234.56`, `48,06M`. The decimal mark is proved, not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kalibre.core.errors import SourceFormatError
from kalibre.sources.files.table import Table

if TYPE_CHECKING:
    import polars as pl

_EXPONENT = {
    **dict.fromkeys(("k", "bin"), "e3"),
    **dict.fromkeys(("m", "mn", "mln"), "e6"),
    **dict.fromkeys(("b", "bn", "mr", "mlr"), "e9"),
    **dict.fromkeys(("t", "trn"), "e12"),
}
_SUFFIX = r"(?i)\s*(k|bin|m|mn|mln|b|bn|mr|mlr|t|trn)\.?$"
_UNKNOWN = ("", "-", "--", "n/a", "na", "nan", "null", "none")
_INFINITE = r"^(?i)[+-]?inf(inity)?$"

_AMBIGUOUS = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"
"""One mark, three digits behind it, one to three before: `1.234` is 1234 in Ankara and 1.234 in London."""


def find_decimal(table: Table, columns: Sequence[str]) -> str:
    """Find the decimal mark from the cells themselves.

    A cell proves the mark if it holds both marks (the last one is decimal), repeats one (that one groups thousands), or
    holds one that cannot group thousands (`12,5`, `0,125`, `1234,567`). A cell of more than three digits without a mark
    proves that its column does not group thousands. A file whose cells are parted by bare commas can hold no decimal
    comma.

    Returns
    -------
    `.` or `,`.

    Raises
    ------
    SourceFormatError
        If cells prove both, quoting a line of each; or if none proves anything and it matters, quoting the cell.
    """
    if table.comma_proves_point and not any(table.frame[name].str.contains(r"\..*\.").any() for name in columns):
        return "."
    proof: dict[str, tuple[int, str]] = {}
    doubt: tuple[int, str, str] | None = None
    for name in columns:
        cell = _bare(table.frame[name])
        dot, comma = cell.str.count_matches(".", literal=True), cell.str.count_matches(",", literal=True)
        last_is_comma = cell.str.contains(r",[^.]*$")
        both, alone = (dot > 0) & (comma > 0), (dot + comma) == 1
        ambiguous = cell.str.contains(_AMBIGUOUS)
        ungrouped = bool(cell.str.contains(r"^[+-]?\d{4,}$").any())
        proves = alone & ~ambiguous if not ungrouped else alone
        shows_comma = (both & last_is_comma) | ((comma == 0) & (dot > 1)) | (proves & (comma == 1))
        shows_point = (both & ~last_is_comma) | ((dot == 0) & (comma > 1)) | (proves & (dot == 1))
        for mark, shown in ((",", shows_comma), (".", shows_point)):
            if mark not in proof and (at := shown.arg_true()).len():
                proof[mark] = (int(at[0]), table.frame[name][int(at[0])])
        if doubt is None and (at := ambiguous.arg_true()).len():
            doubt = (int(at[0]), name, table.frame[name][int(at[0])])
    if len(proof) == 2:
        (row_a, cell_a), (row_b, cell_b) = proof[","], proof["."]
        raise SourceFormatError(
            f"numbers are written in two ways: {cell_a!r} has a decimal comma ({table.quote(row_a)}), {cell_b!r} a "
            f"decimal point ({table.quote(row_b)}): mend the file or split it"
        )
    if proof:
        return next(iter(proof))
    if doubt is not None:
        row, name, value = doubt
        raise SourceFormatError(
            f"{value!r} in {name!r} can be read in two ways and nothing in the file decides ({table.quote(row)}): "
            "say which mark is the decimal one, with the option decimal = ',' or decimal = '.'"
        )
    return "."


def parse_numbers(table: Table, name: str, decimal: str) -> pl.Series:
    """Read a column of numbers.

    Parameters
    ----------
    table, name
        The table and the heading of the column; cells of text or numbers.
    decimal
        `.` or `,`; the other mark may group thousands, in threes. A suffix multiplies: K or Bin, M, B or Mr, T.

    Returns
    -------
    Float64, NaN where the cell is empty or says that it is unknown. Each value is the double nearest to the decimal
    number that the cell writes, suffix included.

    Raises
    ------
    SourceFormatError
        If a cell is no number in this notation; the message quotes the cell and its line.
    """
    import polars as pl

    column = table.frame[name]
    if column.dtype != pl.String:
        if not (column.dtype.is_numeric() or column.dtype == pl.Null):
            raise SourceFormatError(f"{table.where}: column {name!r} holds {column.dtype}, not numbers")
        return column.cast(pl.Float64).fill_null(float("nan"))
    if decimal == "." and not (plain := column.cast(pl.Float64, strict=False)).has_nulls():
        return plain  # what most files are: nothing to strip, group or scale
    group = "." if decimal == "," else ","
    text = _tidy(column)
    bare = _bare(column)
    grammar = rf"^[+-]?(?:\d{{1,3}}(?:\{group}\d{{3}})+|\d+)?(?:\{decimal}\d*)?(?:[eE][+-]?\d{{1,3}})?$"
    unknown = text.str.to_lowercase().is_in(list(_UNKNOWN))
    infinite = text.str.contains(_INFINITE)
    suffix = text.str.extract(_SUFFIX).str.to_lowercase().fill_null("")
    twice_scaled = (suffix != "") & bare.str.contains("[eE]")
    sound = (~twice_scaled & bare.str.contains(grammar) & bare.str.contains(r"\d")) | unknown | infinite
    if (at := (~sound).arg_true()).len():
        row = int(at[0])
        told = "decimal comma" if decimal == "," else "decimal point"
        raise SourceFormatError(
            f"{column[row]!r} in {name!r} is no number with a {told} ({table.quote(row)}): mend the cell, or set the "
            "option decimal if the file is written otherwise"
        )
    canonical = bare.str.replace_all(group, "", literal=True).str.replace(decimal, ".", literal=True)
    # "48.06" + "e6": the decimal number is scaled as text, so that it is rounded to a double once only.
    written = pl.select(
        pl.when(unknown)
        .then(pl.lit("nan"))
        .when(infinite)
        .then(text.str.to_lowercase())
        .otherwise(canonical + suffix.replace_strict(_EXPONENT, default=""))
    )
    return written.to_series().cast(pl.Float64)


def _tidy(column: pl.Series) -> pl.Series:
    return column.fill_null("").str.replace_all(r"[\s\u{a0}\u{202f}'’]", "").str.replace_all("−", "-", literal=True)


def _bare(column: pl.Series) -> pl.Series:
    """Strip what surrounds the digits: blanks and the suffix."""
    return _tidy(column).str.replace(_SUFFIX, "")
