"""Tags, files, figures; a planted suffix and planted noise must be seen."""

import itertools

import pytest

from kalibre.core.errors import LanguageError, SourceError, UsageError
from kalibre.language.base import Entity
from kalibre.language.entities.conll import read_conll
from kalibre.language.entities.evaluate import evaluate, onto_tokens
from kalibre.language.entities.metrics import calibration_error, counts, gain, score
from kalibre.language.entities.tags import Mention, bioes, grammar, iob2, labels, mentions
from kalibre.language.files import types_of

FILE = """# kaynak: elle yazıldı
Akpınar\tB-ORG
Holding'in\tI-ORG
kârı\tO

Selin\tB-PER
Denizci\tI-PER
Ankara'da\tB-LOC
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "some.conll").write_text(FILE, encoding="utf-8")
    return tmp_path / "some.conll"


class Marks:
    """A model that marks given words."""

    version = "marks"

    def __init__(self, **types):
        self.types = types

    def predict(self, texts):
        found = []
        for text in texts:
            found.append([])
            for named, kind in self.types.items():
                words = named.replace("_", " ")
                if (at := text.find(words)) >= 0:
                    entity = Entity(start=at, end=at + len(words), text=words, type=kind, probability=0.9)
                    found[-1].append(entity)
        return found


def test_broken_tags_are_read_as_conlleval_does():
    assert [one[:3] for one in mentions(["I-A", "I-B", "B-B", "O", "I-A"])] == [
        (0, 1, "A"), (1, 2, "B"), (2, 3, "B"), (4, 5, "A"),
    ]  # fmt: skip
    assert [one[:3] for one in mentions(["S-A", "B-A", "E-A", "I-A", "E-B"])] == [
        (0, 1, "A"), (1, 3, "A"), (3, 4, "A"), (4, 5, "B"),
    ]  # fmt: skip


def test_tags_and_grammar_agree():
    found = [Mention(0, 1, "A"), Mention(1, 4, "A"), Mention(5, 7, "B")]
    for spell in (iob2, bioes):
        assert mentions(spell(found, 8)) == found
    tags = labels("AB")
    follows, opens, closes = grammar(tags)
    spelt = [tags.index(tag) for tag in bioes(found, 8)]
    assert opens[spelt[0]]
    assert closes[spelt[-1]]
    assert all(follows[a, b] for a, b in itertools.pairwise(spelt))
    assert not follows[tags.index("B-A"), tags.index("O")]
    assert not follows[tags.index("B-A"), tags.index("I-B")]
    assert not opens[tags.index("I-A")]
    assert not closes[tags.index("B-A")]


def test_file_is_read(path):
    read = read_conll(path)
    assert [one.tokens for one in read] == [["Akpınar", "Holding'in", "kârı"], ["Selin", "Denizci", "Ankara'da"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Ankara\n", "line 1 .* is 'Ankara'"),
        (b"Ankara B-LOC\nvar 7\n", "line 2"),
        (b"", "holds no tagged sentence"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, said):
    (tmp_path / "bad.conll").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        read_conll(tmp_path / "bad.conll")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"Ali\x00 B-PER\n"])
def test_binary_files_are_refused(tmp_path, content):
    (tmp_path / "bad.conll").write_bytes(content)
    with pytest.raises(LanguageError, match=r"bad\.conll"):
        read_conll(tmp_path / "bad.conll")


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no\.conll"):
        read_conll(tmp_path / "no.conll")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1254"])
def test_files_of_every_encoding_hold_the_same(path, tmp_path, encoding):
    (tmp_path / "other.conll").write_text(FILE, encoding=encoding)
    assert read_conll(tmp_path / "other.conll") == read_conll(path)


def test_a_number_sign_is_a_token_where_it_has_a_tag(tmp_path):
    (tmp_path / "some.conll").write_text("# metin = # O mu\n# O\nTHYAO B-TICKER\n#\n#\tO\n", encoding="utf-8")
    assert read_conll(tmp_path / "some.conll") == [(["#", "THYAO", "#"], ["O", "B-TICKER", "O"])]


def test_bad_maps_are_refused(path):
    for types in ({}, {"ORG": "COMPANY"}, {"FOO": "PERSON"}):
        with pytest.raises(UsageError):
            evaluate(path, Marks(), types)


def test_perfect_model_scores_one(path):
    model = Marks(Akpınar_Holding="ORGANIZATION", Selin_Denizci="PERSON", Ankara="LOCATION")
    found = evaluate(path, model, types_of("ORG=ORGANIZATION,PER=PERSON,LOC=LOCATION"))
    assert (found["f1"]["value"], found["precision"], found["recall"], found["mentions"]) == (1, 1, 1, 3)
    assert found["by_type"]["PERSON"]["f1"] == {"value": 1, "low": 1, "high": 1}
    assert found["ece"] == pytest.approx(0.1)
    assert found["model"] == "marks"


def test_wrong_edges_and_types_are_seen_and_unnamed_types_left_out(path):
    types = {"ORG": "ORGANIZATION", "PER": "PERSON"}
    short = Marks(Akpınar="ORGANIZATION", Selin_Denizci="ORGANIZATION", Ankara="LOCATION")
    found = evaluate(path, short, types)
    assert (found["f1"]["value"], found["told"], found["mentions"]) == (0, 2, 2)


def test_map_without_a_type_of_the_file_is_refused(path):
    with pytest.raises(UsageError, match="its types are LOC, ORG, PER"):
        evaluate(path, Marks(), {"GPE": "LOCATION"})
    with pytest.raises(UsageError, match="no types are given"):
        evaluate(path, Marks(), {})
    with pytest.raises(UsageError, match="PLACE"):
        evaluate(path, Marks(), {"LOC": "PLACE"})


def test_entities_land_on_tokens():
    tokens = ["Borsa", "İstanbul'da", "THYAO", "arttı"]
    found = [Entity(start=0, end=14, text="Borsa İstanbul", type="ORGANIZATION")]
    assert [one[:3] for one in onto_tokens(tokens, found)] == [(0, 2, "ORGANIZATION")]
    found = [Entity(start=18, end=23, text="THYAO", type="TICKER", probability=0.5)]
    assert onto_tokens(tokens, found) == [Mention(2, 3, "TICKER", 0.5)]


def test_figures_are_those_by_hand():
    true = [[(0, 1, "A"), (2, 3, "B")], [(0, 2, "A")], []]
    told = [[(0, 1, "A")], [(0, 1, "A")], [(4, 5, "B")]]
    assert counts(true, told).sum(axis=0).tolist() == [1, 3, 3]
    found = score(true, told)
    assert (found.f1, found.precision, found.recall) == (pytest.approx(1 / 3), 1 / 3, 1 / 3)
    assert score(true, told, "B").f1 == 0
    assert score([[]], [[]]).f1 == 1
    with pytest.raises(UsageError, match="1 sentences are told, 3 true"):
        score(true, told[:1])


def test_interval_covers_and_gain_is_paired():
    true = [[(k % 3, k % 3 + 1, "A")] for k in range(400)]
    told = [one if k % 4 else [] for k, one in enumerate(true)]
    found = score(true, told)
    assert found.low < found.f1 < found.high
    assert found.high - found.low < 0.1
    more, low, high = gain(true, true, told)
    assert low > 0
    assert low <= more <= high
    assert gain(true, told, told) == (0, 0, 0)


def test_calibration_error_of_liars():
    assert calibration_error([(0.99, False)] * 10) == pytest.approx(0.99)
    assert calibration_error([]) == 0
