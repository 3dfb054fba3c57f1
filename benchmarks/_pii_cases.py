"""Generated texts with personal data in many forms, and with what only looks like it; the checksums are made here anew.

Nothing here is imported from the detectors: numbers are made by their published rules, invalid ones by breaking the
check digit. Sentences come in two halves: `tuned` were at hand while the detectors were mended, `held` were not.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

DIGITS = "0123456789"


@dataclass(frozen=True)
class Case:
    """A text and where personal data of which kind stands in it."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


# --- numbers ----------------------------------------------------------------------------------------------------------


def pick(rng: random.Random, count: int, letters: str = DIGITS) -> str:
    return "".join(rng.choice(letters) for _ in range(count))


def luhn_digit(body: str) -> str:
    doubled = [int(one) * (2 if k % 2 == 0 else 1) for k, one in enumerate(reversed(body))]
    return str(-sum(one // 10 + one % 10 for one in doubled) % 10)


def tckn(rng: random.Random, *, valid: bool = True) -> str:
    d = [rng.randint(1, 9), *(rng.randint(0, 9) for _ in range(8))]
    tenth = (7 * (d[0] + d[2] + d[4] + d[6] + d[8]) - (d[1] + d[3] + d[5] + d[7])) % 10
    last = (sum(d) + tenth) % 10
    if not valid:
        last = (last + rng.randint(1, 9)) % 10
    return "".join(map(str, [*d, tenth, last]))


def vkn(rng: random.Random, *, valid: bool = True) -> str:
    d = [rng.randint(0, 9) for _ in range(9)]
    total = 0
    for place, one in enumerate(d, start=1):
        shifted = (one + 10 - place) % 10
        total += shifted if shifted == 9 else shifted * pow(2, 10 - place, 9) % 9
    last = -total % 10
    return "".join(map(str, d)) + str(last if valid else (last + rng.randint(1, 9)) % 10)


def iban(rng: random.Random, *, valid: bool = True) -> str:
    body = pick(rng, 5) + "0" + pick(rng, 16)
    check = 98 - int(body + "292700") % 97
    if not valid:
        check = (check + rng.randint(1, 90)) % 97 + 2
        if (int(body + "2927" + f"{check:02d}")) % 97 == 1:
            check = check % 97 + 1
    return f"TR{check:02d}{body}"


def card(rng: random.Random, *, valid: bool = True) -> str:
    head, length = rng.choice(
        [("4", 16), ("5" + rng.choice("12345"), 16), ("9792", 16), ("2" + rng.choice("3456"), 16)]
    )
    body = head + pick(rng, length - len(head) - 1)
    last = luhn_digit(body)
    return body + (last if valid else str((int(last) + rng.randint(1, 9)) % 10))


def mobile(rng: random.Random) -> tuple[str, str, str, str]:
    code = rng.choice(
        ["501", "505", "506", "530", "532", "533", "535", "541", "542", "544", "545", "551", "552", "553", "555"]
    )
    return code, str(rng.randint(200, 999)), pick(rng, 2), pick(rng, 2)


# --- how they are written ---------------------------------------------------------------------------------------------


def in_fours(code: str, mark: str = " ") -> str:
    return mark.join(code[k : k + 4] for k in range(0, len(code), 4))


def written(rng: random.Random, kind: str) -> str:
    """Return a valid piece in one of its forms."""
    if kind == "TCKN":
        number = tckn(rng)
        return rng.choice([number] * 4 + [f"{number[:3]} {number[3:6]} {number[6:9]} {number[9:]}"])
    if kind == "VKN":
        number = vkn(rng)
        return rng.choice([number] * 4 + [f"{number[:3]} {number[3:6]} {number[6:]}"])
    if kind == "IBAN":
        code = iban(rng)
        return rng.choice([code, in_fours(code), in_fours(code), in_fours(code).lower(), f"{code[:4]} {code[4:]}"])
    if kind == "CARD":
        number = card(rng)
        return rng.choice([number, in_fours(number), in_fours(number), in_fours(number, "-"), in_fours(number, ".")])
    if kind == "PHONE":
        a, b, c, d = mobile(rng)
        area = rng.choice(["212", "216", "312", "232", "224", "322", "850"])
        return rng.choice(
            [
                f"0{a} {b} {c} {d}",
                f"0{a}{b}{c}{d}",
                f"(0{a}) {b} {c} {d}",
                f"+90 {a} {b} {c} {d}",
                f"+90{a}{b}{c}{d}",
                f"0 {a} {b} {c} {d}",
                f"0{a}-{b}-{c}-{d}",
                f"0{a}.{b}.{c}.{d}",
                f"+90 ({a}) {b} {c} {d}",
                f"0{a} {b}{c}{d}",
                f"0{area} {b} {c} {d}",
                f"0({area}) {b} {c} {d}",
                f"+90 {area} {b} {c} {d}",
                f"0090 {a} {b} {c} {d}",
                f"{a} {b} {c} {d}",
                f"0{a} {b} {c}{d}",
            ]
        )
    if kind == "EMAIL":
        name = rng.choice(["ayse.kaya", "mehmet_demir", "info", "a.yilmaz+borsa", "zeynep85", "cagri-ozturk", "destek"])
        host = rng.choice(
            ["ornek.com", "posta.com.tr", "sirket-grubu.net", "uni.edu.tr", "mail.example.org", "firma.io"]
        )
        return f"{name}{rng.randint(1, 99) if rng.random() < 0.3 else ''}@{host}"
    if kind == "PLATE":
        letters = pick(rng, rng.randint(1, 3), "ABCDEFGHJKLMNPRSTUVYZ")
        digits = pick(rng, rng.choice({1: (4, 5), 2: (3, 4), 3: (2, 3)}[len(letters)]))
        city = f"{rng.randint(1, 81):02d}"
        return rng.choice(
            [
                f"{city} {letters} {digits}",
                f"{city} {letters} {digits}",
                f"{city}{letters}{digits}",
                f"{city}-{letters}-{digits}",
            ]
        )
    return "@" + rng.choice(["borsa_kurdu", "yatirimci34", "ekonomist.tr", "zeynepk", "analiz_merkezi", "AliVeli1905"])


POSITIVE: dict[str, list[str]] = {
    "TCKN": [
        "TC kimlik no: {}",
        "T.C. Kimlik Numarası {} olan müşteri başvurdu.",
        "TCKN {}",
        "{} TCKN'li ortak payını devretti.",
        "Kimlik numaram {}, adım Ayşe.",
        "Vekilin T.C. kimlik numarası {}'dir.",
        "Ortaklardan {} numaralı kişi toplantıya katıldı.",
        "nüfus cüzdanı ve kimlik no ({}) fotokopisi eklendi",
        "Başvuru sahibi: Ali Kaya - {}",
        "Bilgilerim: Mehmet Demir, {}, İzmir",
    ],
    "VKN": [
        "Vergi no: {}",
        "VKN {} olan mükellef",
        "Vergi Kimlik Numarası: {}",
        "Kadıköy V.D. {}",
        "Büyük Mükellefler VD - {}",
        "{} vergi numaralı şirket faaliyetini durdurdu.",
        "Şirketimizin vergi kimlik no'su {}'dır.",
        "Vergi dairesi Beşiktaş, no {}",
    ],
    "IBAN": [
        "IBAN: {}",
        "Ücreti {} hesabına yatırın.",
        "{} nolu hesaba havale yaptım",
        "Havale için {} kullanılacak.",
        "iban {} ali kaya",
        "Aidatlar {}'ya ödenir.",
        "Hesabım ({}) kapandı.",
        "EFT: {}",
    ],
    "CARD": [
        "Kart numarası {}",
        "Kredi kartım {} bloke oldu.",
        "{} nolu kartla ödendi",
        "Visa {} son kullanma 12/27",
        "kartımdan ({}) çekim yapıldı",
        "Ödeme {} ile alındı.",
        "Troy kart: {}",
        "Bankamatik kartı {} kayboldu.",
    ],
    "PHONE": [
        "Tel: {}",
        "Beni {} numarasından arayın.",
        "cep {}",
        "{} whatsapp hattı",
        "İletişim: {}",
        "Gsm {} / Ayşe",
        "Telefonum {}, akşam arayın.",
        "Müşteri hizmetleri {}'dan ulaşılabilir.",
        "Ulaşmak için {}",
        "Faks {}",
    ],
    "EMAIL": [
        "E-posta: {}",
        "{} adresine yazın.",
        "Bana {}'dan ulaşın",
        "mail: {}",
        "Sorularınız için {} ({} dahil değil).",
        "{};",
        "yazışma: <{}>",
    ],
    "PLATE": [
        "{} plakalı araç satıldı.",
        "Plaka: {}",
        "Şirkete ait {} plakalı kamyon",
        "Aracın plakası {}'dir.",
        "Otoparkta {} bekliyor.",
        "{} çekildi, ruhsatı içinde.",
        "Kiralık araç ({}) geri geldi.",
    ],
    "HANDLE": ["{} çok haklı", "Teşekkürler {}!", "takip: {}", "RT {}: hisse uçtu", "({})", "{}, {} ve diğerleri"],
}
PLAIN = [
    "Endeks günü 9.{d3},{d2} puandan tamamladı.",
    "Net kâr {d1}.{d3}.{d3}.{d3} TL oldu.",
    "Toplantı 14.05.20{y} saat 10.30'da yapılacak.",
    "{d4} sayılı Kanunun {d2}. maddesi değişti.",
    "Hissenin ISIN kodu TRA{l5}91{l1}{d1}.",
    "Hacim 2{d1}.{d3}.{d3} lot.",
    "Şirket 20{y} yılında {d3} milyon dolar ihracat yaptı.",
    "Dolar/TL {d2},{d4} seviyesinde.",
    "Emtia 1.9{d2},{d2} dolar/ons.",
    "50 TL 100 kuruş; 20 KG 300 adet.",
    "3Ç{y} bilançosu {d1},{d2} milyar TL.",
    "Karar 20{y}/{d4} esas, 20{y}/{d3} karar.",
    "Sermaye 5{d2}.{d3}.{d3} TL'den 6{d2}.{d3}.{d3} TL'ye çıktı.",
    "BIST 100 endeksi %{d1},{d2} yükseldi.",
    "Oran 1:{d2}, katsayı 0,{d5}.",
    "Bugün @ 5 TL'den {d3} lot aldım.",
    "Adres: Atatürk Cad. No: {d2} D: {d1} Kat {d1} 34{d3} İstanbul",
    "12 MAY 23 vadeli kontrat 10 GB 512",
]
NEGATIVE: list[tuple[str, str]] = [
    ("TCKN {}", "bad tckn"),
    ("T.C. kimlik no {} hatalı girilmiş", "bad tckn"),
    ("{} numaralı kayıt", "bad tckn"),
    ("Sipariş no {}", "tckn"),
    ("Kargo takip numarası: {}", "tckn"),
    ("Fatura no: {} kesildi", "tckn"),
    ("barkod {}", "bad tckn"),
    ("Vergi no {} geçersiz çıktı", "bad vkn"),
    ("VKN: {}", "bad vkn"),
    ("Fatura no {}", "vkn"),
    ("Abone no: {}", "vkn"),
    ("Siparişiniz {} hazır", "vkn"),
    ("{} numaralı dosya", "ten"),
    ("Evrak no {}", "ten"),
    ("Ürün kodu {}", "ten"),
    ("IBAN {}", "bad iban"),
    ("hesap: {}", "bad iban"),
    ("Kart {} reddedildi", "bad card"),
    ("kart no {}", "bad card"),
    ("Takip no {}", "card"),
    ("Referans: {}", "card"),
    ("Dekont no {}", "sixteen"),
    ("İşlem no {}", "sixteen"),
    ("Barkod {}", "ean"),
    ("IMEI {}", "imei"),
    ("Seri no: {}", "eleven"),
    ("Poliçe no {}", "eleven"),
    ("{} adet sattı", "ten"),
    ("sunucu 192.168.{}.10", "ip"),
    ("sürüm {}", "version"),
    ("zaman damgası {}", "stamp"),
    ("{} TL ödendi", "money"),
]


def look_alike(rng: random.Random, kind: str) -> str:
    makers = {
        "bad tckn": lambda: tckn(rng, valid=False),
        "tckn": lambda: tckn(rng),
        "bad vkn": lambda: vkn(rng, valid=False),
        "vkn": lambda: vkn(rng),
        "bad iban": lambda: rng.choice([str, in_fours])(iban(rng, valid=False)),
        "bad card": lambda: rng.choice([str, in_fours])(card(rng, valid=False)),
        "card": lambda: card(rng),
        "ten": lambda: rng.choice("12345678") + pick(rng, 9),
        "eleven": lambda: rng.choice("12345678") + pick(rng, 10),
        "sixteen": lambda: rng.choice("1245") + pick(rng, 15),
        "ean": lambda: "869" + pick(rng, 10),
        "ip": lambda: str(rng.randint(1, 254)),
        "imei": lambda: (body := "35" + pick(rng, 12)) + luhn_digit(body),
        "version": lambda: f"{rng.randint(1, 9)}.{pick(rng, 2)}.{pick(rng, 3)}",
        "stamp": lambda: f"16{pick(rng, 8)}",
        "money": lambda: f"{rng.randint(1, 999)}.{pick(rng, 3)}.{pick(rng, 3)},{pick(rng, 2)}",
    }
    return makers[kind]()


def filler(rng: random.Random) -> str:
    text = rng.choice(PLAIN)
    for mark, make in (
        ("{d1}", lambda: rng.choice("123456789")),
        ("{d2}", lambda: pick(rng, 2)),
        ("{d3}", lambda: pick(rng, 3)),
        ("{d4}", lambda: pick(rng, 4)),
        ("{d5}", lambda: pick(rng, 5)),
        ("{y}", lambda: str(rng.randint(19, 26))),
        ("{l5}", lambda: pick(rng, 5, "ABCDEFGHKLMNPRSTUVYZ")),
        ("{l1}", lambda: pick(rng, 1, "ABCDEFGHKLMN")),
    ):
        while mark in text:
            text = text.replace(mark, make(), 1)
    return text


def cases(count: int, seed: int, half: str) -> list[Case]:
    """Return texts of three to eight sentences; `half` says which contexts they use: `tuned` or `held`."""
    rng = random.Random(f"{seed}-{half}")
    parity = {"tuned": 0, "held": 1}[half]
    found = []
    for _ in range(count):
        text, spans = "", []
        for _ in range(rng.randint(3, 8)):
            draw = rng.random()
            if draw < 0.45:
                kind = rng.choice(list(POSITIVE))
                template = rng.choice(POSITIVE[kind][parity::2])
                for k, part in enumerate(template.split("{}")):
                    if k:
                        piece = written(rng, kind)
                        spans.append((len(text), len(text) + len(piece), kind))
                        text += piece
                    text += part
            elif draw < 0.75:
                template, kind = rng.choice(NEGATIVE[parity::2])
                text += template.format(look_alike(rng, kind))
            else:
                text += filler(rng)
            text += rng.choice([" ", "\n", " ", ". ", "; "])
        found.append(Case(text, tuple(spans)))
    return found
