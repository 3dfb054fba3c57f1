import pytest

from kalibre.language.text.sentences import split

CASES = [
    (
        "Prof. Dr. Kaya 14. maddeyi okudu. Endeks 9.850,5 puana çıktı!",
        ["Prof. Dr. Kaya 14. maddeyi okudu.", "Endeks 9.850,5 puana çıktı!"],
    ),
    (
        "THYAO %4,5 arttı. GARAN.IS 125.40 TL'den kapandı. Sonra düştü.",
        ["THYAO %4,5 arttı.", "GARAN.IS 125.40 TL'den kapandı.", "Sonra düştü."],
    ),
    (
        "Şirket 14.05.2023 tarihinde açıkladı. Kâr 2.5 milyar TL oldu.",
        ["Şirket 14.05.2023 tarihinde açıkladı.", "Kâr 2.5 milyar TL oldu."],
    ),
    (
        "Bkz. Ek 3. Bölüm ve örn. Tablo 2. Bu tablo günceldir.",
        ["Bkz. Ek 3. Bölüm ve örn. Tablo 2.", "Bu tablo günceldir."],
    ),
    ("Enflasyon yüzde 14. Merkez Bankası faizi artırdı.", ["Enflasyon yüzde 14.", "Merkez Bankası faizi artırdı."]),
    (
        "Yargıtay 11. Hukuk Dairesi karar verdi. Karar kesindir.",
        ["Yargıtay 11. Hukuk Dairesi karar verdi.", "Karar kesindir."],
    ),
    ("II. Dünya Savaşı 1945'te bitti. XIX. yüzyıl uzundu.", ["II. Dünya Savaşı 1945'te bitti.", "XIX. yüzyıl uzundu."]),
    ("“Faizi indireceğiz.” dedi. Piyasa inanmadı.", ["“Faizi indireceğiz.” dedi.", "Piyasa inanmadı."]),
    ("“Faizi indireceğiz.” Piyasa inanmadı.", ["“Faizi indireceğiz.”", "Piyasa inanmadı."]),
    ('"Ne zaman geleceksin?" diye sordu. Cevap yoktu.', ['"Ne zaman geleceksin?" diye sordu.', "Cevap yoktu."]),
    (
        "M. Kemal Atatürk 1919'da Samsun'a çıktı. Halk karşıladı.",
        ["M. Kemal Atatürk 1919'da Samsun'a çıktı.", "Halk karşıladı."],
    ),
    (
        "Türk Hava Yolları A.Ş. Genel Müdürü konuştu. Bolat umutluydu.",
        ["Türk Hava Yolları A.Ş. Genel Müdürü konuştu.", "Bolat umutluydu."],
    ),
    (
        "Sözleşmeyi Deniz Yapı A.Ş. imzaladı. Tutar açıklanmadı.",
        ["Sözleşmeyi Deniz Yapı A.Ş. imzaladı.", "Tutar açıklanmadı."],
    ),
    ("İhaleyi kazanan Deniz Yapı A.Ş. Bu şirket yenidir.", ["İhaleyi kazanan Deniz Yapı A.Ş.", "Bu şirket yenidir."]),
    ("Elma, armut vb. Ürünler pahalandı.", ["Elma, armut vb.", "Ürünler pahalandı."]),
    (
        "Elma, armut vb. ürünler pahalandı. Fiyatlar yükseldi.",
        ["Elma, armut vb. ürünler pahalandı.", "Fiyatlar yükseldi."],
    ),
    ("Satışlar arttı.Kâr düştü. Borç aynı kaldı.", ["Satışlar arttı.", "Kâr düştü.", "Borç aynı kaldı."]),
    ("Toplantı saat 14.00. Herkes gelsin.", ["Toplantı saat 14.00.", "Herkes gelsin."]),
    ("Gelir 2023'te arttı... Gider de arttı.", ["Gelir 2023'te arttı...", "Gider de arttı."]),
    ("Acaba... evet, belki. Sonra konuşuruz.", ["Acaba... evet, belki.", "Sonra konuşuruz."]),
    ("hisse çok düştü. ben de sattım. sonra yükseldi", ["hisse çok düştü.", "ben de sattım.", "sonra yükseldi"]),
    ("1. Giriş ve amaç\n2. Yöntem", ["1. Giriş ve amaç", "2. Yöntem"]),
    ("Dolar 18,50 lirayı aştı! Euro da yükseldi.", ["Dolar 18,50 lirayı aştı!", "Euro da yükseldi."]),
    (
        "www.kap.org.tr adresinde yayımlandı. Ayrıntılar orada.",
        ["www.kap.org.tr adresinde yayımlandı.", "Ayrıntılar orada."],
    ),
    (
        "Adres: Büyükdere Cad. No: 5 Kat. 3 İstanbul. Telefon yok.",
        ["Adres: Büyükdere Cad. No: 5 Kat. 3 İstanbul.", "Telefon yok."],
    ),
    ("T.C. Merkez Bankası karar aldı. Faiz sabit.", ["T.C. Merkez Bankası karar aldı.", "Faiz sabit."]),
    ("Sn. Ahmet Yılmaz geldi. Av. Ayşe Demir de geldi.", ["Sn. Ahmet Yılmaz geldi.", "Av. Ayşe Demir de geldi."]),
    ("Bugün 3. çeyrek bilançosu geldi. Kâr 5 milyar TL.", ["Bugün 3. çeyrek bilançosu geldi.", "Kâr 5 milyar TL."]),
    ("Bilanço (bkz. s. 12) olumlu. Hedef fiyat 50 TL.", ["Bilanço (bkz. s. 12) olumlu.", "Hedef fiyat 50 TL."]),
    ("Fiyat 5 TL. 3 gün sonra 6 TL oldu.", ["Fiyat 5 TL.", "3 gün sonra 6 TL oldu."]),
    ("Yahoo! hisseleri düştü. Google yükseldi.", ["Yahoo! hisseleri düştü.", "Google yükseldi."]),
    ("Ne oldu? Hiç.", ["Ne oldu?", "Hiç."]),
    ("Nasılsın? iyiyim.", ["Nasılsın?", "iyiyim."]),
    ("Seans bitti (BIST 100: 9.800). Yarın tatil.", ["Seans bitti (BIST 100: 9.800).", "Yarın tatil."]),
    (
        "BIST 100 endeksi günü artıda bitirdi. 100 puanlık artış vardı.",
        ["BIST 100 endeksi günü artıda bitirdi.", "100 puanlık artış vardı."],
    ),
    ("Toplam 250 kişi. Yeni başvuru yok.", ["Toplam 250 kişi.", "Yeni başvuru yok."]),
    ("Kurul 2023. Yıl sonu hedefini korudu.", ["Kurul 2023.", "Yıl sonu hedefini korudu."]),
    ("Ltd. Şti. olarak kuruldu. Ankara'dadır.", ["Ltd. Şti. olarak kuruldu.", "Ankara'dadır."]),
    ("Fed'in kararı 18. Fiyatlandı.", ["Fed'in kararı 18.", "Fiyatlandı."]),
    ("AB ve ABD. Bu iki blok anlaştı.", ["AB ve ABD.", "Bu iki blok anlaştı."]),
    ("Hedef 3.500 dolar. ABD verisi bekleniyor.", ["Hedef 3.500 dolar.", "ABD verisi bekleniyor."]),
    ("Mehmet Ş. gözaltına alındı. Soruşturma sürüyor.", ["Mehmet Ş. gözaltına alındı.", "Soruşturma sürüyor."]),
    ("“Satmayın. Bekleyin.” dedi. Sattılar.", ["“Satmayın.", "Bekleyin.” dedi.", "Sattılar."]),
    ("Madde 5. Bu kanun yayımı tarihinde yürürlüğe girer.", ["Madde 5.", "Bu kanun yayımı tarihinde yürürlüğe girer."]),
    ("Sonuç: 2-1. Maç bitti.", ["Sonuç: 2-1.", "Maç bitti."]),
]


@pytest.mark.parametrize(("text", "sentences"), CASES)
def test_sentences(text, sentences):
    assert [text[start:end] for start, end in split(text)] == sentences


def test_lines_and_blanks():
    text = "  Birinci satır\nİkinci satır sürer\nküçük harfle. Son.\n\n\nBaşlık\n"
    assert [text[start:end] for start, end in split(text)] == [
        "Birinci satır",
        "İkinci satır sürer\nküçük harfle.",
        "Son.",
        "Başlık",
    ]


@pytest.mark.parametrize("text", ["", " \n\t ", "\u200f", "...", "🚀🚀", "\ud800", "\0"])
def test_nothing_to_split(text):
    assert len(split(text)) <= 1
