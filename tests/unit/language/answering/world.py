"""A small world in Turkish, made by template."""

from __future__ import annotations

import random

from kalibre.language.answering.examples import Example

NAMES = "Nermin Orhun Tülay Sarper Gökçe Alpay Defne Kuzey Şule Toprak Ilgın Barlas İpek Doruk Yonca Mert".split()
SURNAMES = "Akdoğan Yelkenci Sümer Karataş Özgün Demirtaş Işıldak Çınaroğlu".split()
PLACES = "Kastamonu Iğdır Sinop Edirne Muğla Kars Bartın Rize Mardin Tokat".split()
WORKS = "gemi mühendisi,matematik öğretmeni,harita subayı,saat ustası,gök bilimci".split(",")


def example(number: int, *, shuffled: bool = False) -> Example:
    """Make a paragraph of three sentences and a question over one of them."""
    draw = random.Random(number)
    name = f"{draw.choice(NAMES)} {draw.choice(SURNAMES)}"
    year, later = draw.randint(1820, 1960), draw.randint(1961, 2010)
    born, lived = draw.sample(PLACES, 2)
    work = draw.choice(WORKS)
    context = (
        f"{name}, {year} yılında {born} kentinde doğdu. Uzun yıllar {work} olarak çalıştı ve {lived} kasabasına "
        f"yerleşti. Ödülünü {later} yılında {draw.choice(SURNAMES)} Vakfı verdi."
    )
    question, answer = draw.choice(
        [
            (f"{name} hangi yılda doğdu?", str(year)),
            (f"{name} nerede doğdu?", f"{born} kentinde"),
            (f"{name} uzun yıllar ne olarak çalıştı?", work),
            ("Ödülünü hangi yılda aldı?", str(later)),
        ]
    )
    start = context.index(answer)
    if shuffled:
        words = context.split(" ")
        at = draw.randrange(len(words))
        answer = words[at]
        start = len(" ".join(words[:at])) + bool(at)
    return Example(
        id=str(number), question=question, context=context, answers=((answer, start),), group=f"g{number % 40}"
    )
