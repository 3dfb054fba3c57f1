import pytest

from kalibre.language.text.language_id import detect


@pytest.mark.parametrize(
    "text",
    [
        "Merkez Bankası faizi sabit tuttu",
        "Apple, Microsoft ve Nvidia hisseleri Nasdaq'ta geriledi",
        "JPMorgan: Türkiye için büyüme tahminini yükselttik",
        "TESLA SATIŞLARI DÜŞTÜ",
        "Netflix abonelik ücretlerini artırıyor",
        "Goldman Sachs'tan dolar tahmini",
        "hisse cok dustu ama bence alim firsati var",
        "BORSA ISTANBUL GUNE YUKSELISLE BASLADI",
        "merkez bankasi baskani aciklama yapti",
        "Sirketlerin uretimi gecen yila gore artti",
    ],
)
def test_turkish(text):
    assert detect(text)[0] == "tr"


@pytest.mark.parametrize(
    "text",
    [
        "Turkish central bank holds rates steady",
        "Borsa Istanbul falls as lira hits record low",
        "FED RAISES RATES BY 25 BASIS POINTS",
        "Akbank reports higher quarterly profit",
        "Oil prices climb on supply fears",
        "Koc Holding's profit beats forecasts",
        "Only once in a lifetime",
        "Gun maker shares fall",
        "Compute the inverse of a banded matrix",
    ],
)
def test_english(text):
    assert detect(text)[0] == "en"


@pytest.mark.parametrize(
    "text",
    [
        "Die Börse in Istanbul schließt nach der Entscheidung im Plus",
        "La banque centrale maintient ses taux pour la troisième fois",
        "El banco central mantiene los tipos de interés",
        "La bolsa abre en verde a la espera de la inflación",
        "Azərbaycan manatı möhkəmləndi",
        "Qızılın qiyməti artdı və neft ucuzlaşdı",
        "Центральный банк сохранил ставку",
        "البنك المركزي يرفع أسعار الفائدة",
        "中央银行维持利率不变",
    ],
)
def test_others(text):
    assert detect(text)[0] == "other"


@pytest.mark.parametrize("text", ["", "123,45", "🚀🚀", "THYAO 312,50", "\u200f", "\ud800", "https://kap.org.tr", "x"])
def test_too_little_to_say(text):
    assert detect(text) == ("unknown", 0.0)


def test_how_sure_it_is_lies_between():
    for text in (
        "Merkez Bankası faizi sabit tuttu ve piyasalar yükseldi",
        "The bank holds rates",
        "Die Bank und der Zins",
    ):
        assert 1 / 3 <= detect(text)[1] <= 1
    assert detect("Merkez Bankası faizi sabit tuttu ve piyasalar yükseldi")[1] > 0.95
