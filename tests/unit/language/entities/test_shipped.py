"""The model that comes with Kalibre: small, without text, quick, and right on plain sentences."""

import re
import time

import numpy as np
import pytest
from tests.unit.language.entities.laws import breaches
from tests.unit.language.entities.toy import sentences

from kalibre.language.bundle import shipped, unpack_arrays
from kalibre.language.entities.fast import from_bundle, train
from kalibre.language.load import load

TEXTS = (
    "Türk Hava Yolları'nın net kârı üçüncü çeyrekte yüzde 12,5 artarak 4,2 milyar TL'ye yükseldi.",
    "Merkez Bankası Başkanı Ayşe Yılmaz, 14 Mayıs'ta Ankara'da konuştu.",
    "GARAN hissesi güne %2,1 yükselişle 98,40 liradan başladı.",
)


@pytest.fixture(scope="module")
def model():
    return load("entities", "builtin:fast")


def test_it_is_small_and_holds_no_text():
    bundle = shipped("entities", "fast")
    assert sum(map(len, bundle.files.values())) < 4_000_000
    arrays = [unpack_arrays(content) for name, content in bundle.files.items() if name.endswith(".npz")]
    assert all(array.dtype.kind in "iuf" for part in arrays for array in part.values())
    words = re.findall(r"[a-zçğıöşü]{4,}", bundle.files["settings.json"].decode().lower())
    known = "ticker money percent time organization person location trust trusted types lean"
    assert set(words) <= set(known.split())


def test_its_card_says_what_it_was_made_of(model):
    card = shipped("entities", "fast").card
    assert {"what", "trained_on", "figures", "limits", "holds"} <= set(card)
    assert card["figures"]["penn_dev"]["f1"] > 0.6
    assert model.version == shipped("entities", "fast").version


def test_plain_sentences(model):
    found = model.predict(TEXTS)
    told = [{(one.text, one.type) for one in row} for row in found]
    assert {("yüzde 12,5", "PERCENT"), ("4,2 milyar TL", "MONEY")} <= told[0]
    assert any(one.type == "ORGANIZATION" and one.link == "THYAO" for one in found[0])
    assert {("Ayşe Yılmaz", "PERSON"), ("14 Mayıs", "TIME"), ("Ankara", "LOCATION")} <= told[1]
    assert {("GARAN", "TICKER"), ("%2,1", "PERCENT"), ("98,40 lira", "MONEY")} <= told[2]
    for text, row in zip(TEXTS, found, strict=True):
        assert breaches(text, row) == []
        assert all(one.probability is not None for one in row)


def test_a_text_takes_less_than_twenty_milliseconds(model):
    took = []
    for round_ in range(40):
        text = f"{TEXTS[round_ % 3]} {round_}"
        begun = time.process_time()
        model.predict([text])
        took.append(time.process_time() - begun)
    assert np.percentile(took, 95) < 0.02


def test_its_lexicon_and_record_serve_what_is_trained_anew():
    made = sentences(60)
    tags = [[tag.replace("ORG", "ORGANIZATION") for tag in one] for _, one in made]
    bundle = train([tokens for tokens, _ in made], tags, seed=3, card={"trained_on": "toy"})
    assert bundle.files["lexicon.npz"] == shipped("entities", "fast").files["lexicon.npz"]
    assert from_bundle(bundle).trusted == load("entities", "builtin:fast").trusted
    assert any(
        one.type == "ORGANIZATION" for one in from_bundle(bundle).predict([" ".join(made[0][0] + made[1][0])])[0]
    )


def test_invisible_marks_belong_to_no_name():
    text = "\u202eSelin Aksoyer\u202c dün \u200fAnkara\u200e'ya gitti"
    told = load("entities", "builtin:fast").predict([text])[0]
    assert {one.text for one in told if one.type in ("PERSON", "LOCATION")} == {"Selin Aksoyer", "Ankara"}
    assert all(text[one.start : one.end] == one.text for one in told)
