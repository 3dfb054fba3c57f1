"""The page's words: both languages say the same things, and everything that the page says is said in both."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from kalibre.api.routes.pages import assets

FOLDER = resources.files("kalibre.dashboard")
SCRIPTS = {name: FOLDER.joinpath(name).read_text() for name in assets() if name.endswith(".js")}
PAGES = {name: FOLDER.joinpath(name).read_text() for name in ("page.html", "login.html")}
WORDS = {lang: json.loads(FOLDER.joinpath(f"words.{lang}.json").read_text()) for lang in ("en", "tr")}
HELD = re.compile(r"\{(\w+)\}")


def used() -> set[str]:
    """Return every key that the page asks for by its whole name."""
    found: set[str] = set()
    for text in SCRIPTS.values():
        found |= set(re.findall(r"""\bt\(\s*"([\w. ]+)\"""", text))
    for text in PAGES.values():
        found |= set(re.findall(r"\{\{([\w. ]+)\}\}", text)) | set(re.findall(r'data-[tl]="([\w. ]+)"', text))
    return found - {"lang", "token"}


def test_both_languages_have_the_same_keys_and_the_same_places() -> None:
    assert WORDS["en"].keys() == WORDS["tr"].keys()
    for key, text in WORDS["en"].items():
        assert set(HELD.findall(text)) == set(HELD.findall(WORDS["tr"][key])), key
        assert text.strip(), key
        assert WORDS["tr"][key].strip(), key


def test_everything_that_is_asked_for_is_there() -> None:
    assert len(used()) > 80
    assert used() <= WORDS["en"].keys()


_VERBS = {"pause", "resume", "reset", "restore", "checkpoint", "retrain", "restart", "stop", "start", "kill", "release"}
_FAMILIES = {
    "state": {"online", "offline", "error", "starting", "restarting", "benched", "paused"},
    **{family: {*_VERBS, "test_alert"} for family in ("act", "ask", "ask_what")},
    "range": {"live", "day", "week", "month", "year"},
    "theme": {"auto", "light", "dark"},
    "action": {"ENTRY", "EXIT", "HOLD"},
    "link": {"linked", "lost", "refused", "trouble"},
    "why": set(re.findall(r"""/, "(\w+)"\]""", SCRIPTS["text.js"])),
    "history_note": {"accuracy", "loss", "reward"},
}


@pytest.mark.parametrize("prefix", _FAMILIES)
def test_families_of_words_are_whole(prefix: str) -> None:
    """Keys that are put together: what the scripts put after the dot is there."""
    known = {key.removeprefix(f"{prefix}.") for key in WORDS["en"] if key.startswith(f"{prefix}.")}
    assert _FAMILIES[prefix] <= known


def test_turkish_is_turkish() -> None:
    same = {key for key, text in WORDS["en"].items() if text == WORDS["tr"][key]}
    assert all(len(WORDS["en"][key]) <= 12 or key.startswith("test.") for key in same), same


def test_scripts_never_make_markup_of_what_a_log_says() -> None:
    for name, text in SCRIPTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), name
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
        assert "https://" not in text, name


def test_nothing_is_fetched_from_elsewhere() -> None:
    for name, text in PAGES.items():
        assert not re.search(r"(src|href|action)=\"(https?:)?//", text), name
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), name
        assert "style=" not in text, name
    assert "url(" not in FOLDER.joinpath("page.css").read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    named = {name for text in PAGES.values() for name in re.findall(r'"/page/([\w.]+)"', text)}
    named |= {name for text in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert named <= assets().keys()
    modules = {name for text in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    preloaded = set(re.findall(r'modulepreload" href="/page/([\w.]+)"', PAGES["page.html"]))
    assert modules == preloaded, "each module is asked for at once, not one after the other"
