"""Horizons learnt from sentences made by rule; what is learnt from nothing is refused."""

import numpy as np
import pytest

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.horizon.fast import CLASSES, from_bundle, train
from kalibre.language.load import load

_FORMS = {
    None: "{} yeni parkını açtı",
    "intraday": "{} hissesi güne düşüşle başladı",
    "daily": "{} çeyrek kârını açıkladı",
    "weekly": "{} için faiz kararı ve kredi notu yılın geri kalanını belirler",
}
_FIRMS = ("Kaya Tarım", "Deniz Çelik", "Ova Gıda", "Yıldız Enerji", "Tepe Cam", "Irmak Tekstil", "Ada Lojistik")


def made(n, seed):
    rng = np.random.default_rng(seed)
    horizons = [list(_FORMS)[k] for k in rng.integers(4, size=n)]
    return [_FORMS[one].format(rng.choice(_FIRMS)) for one in horizons], horizons


def test_learns_what_forms_say():
    texts, horizons = made(120, 1)
    bundle = train(texts, horizons, list(range(120)))
    told = from_bundle(bundle).predict(made(40, 2)[0])
    assert np.mean([one == two for one, two in zip(told, made(40, 2)[1], strict=True)]) > 0.9
    assert "recall" in bundle.card["figures"]["guard"]


def test_horizons_without_sense_collapse_loudly():
    texts = [f"Şirket {'abcdefghij'[i % 10]} duyurusunu yaptı" for i in range(120)]
    horizons = [None] * 90 + ["intraday"] * 10 + ["daily"] * 10 + ["weekly"] * 10
    with pytest.raises(ModelError, match="collapsed"):
        train(texts, [horizons[i] for i in np.random.default_rng(0).permutation(120)], list(range(120)))


def test_too_few_are_refused():
    texts, horizons = made(40, 3)
    with pytest.raises(ModelError, match="too few"):
        train(texts, horizons, list(range(40)))


def test_shipped():
    model = load("horizon")
    assert model.predict(["BIST 100 güne yükselişle başladı", "", "😀"]) == ["intraday", None, None]
    assert model.predict_proba(["Faiz kararı"]).shape == (1, len(CLASSES))
    for odd in (None, b"faiz", "\x00\x01\x02\x03\x04\x05\x06"):
        with pytest.raises(LanguageError):
            model.predict([odd])
