"""Sentences made from a few patterns and made-up names: what a tagger must be able to learn."""

import random

FIRMS = ("Akpınar", "Beyazdağ", "Cevizli", "Demirova", "Ergene", "Fındıklı", "Gökçesu", "Harmanlı")
PLACES = ("Yeşilova", "Karahisarlık", "Taşköprüden", "Ulupınar", "Sarıkum", "Bozyazıören")
PEOPLE = ("Selin Aksoyer", "Murat Denizci", "Elif Karlıova", "Okan Tepebağ")
PATTERNS = (
    "{firm} Holding , {place}'da yeni fabrika kuruyor .",
    "Genel müdür {person} istifa etti .",
    "{firm} Bankası'nın kârı yükseldi .",
    "Toplantı {place}'da yapılacak .",
    "Sayın {person} açıklama yaptı .",
    "Yağış dün akşam yeniden başladı .",
)


def sentences(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Make sentences with IOB2 tags."""
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        tokens: list[str] = []
        tags: list[str] = []
        for word in chance.choice(PATTERNS).split():
            if "{firm}" in word:
                tokens.append(chance.choice(FIRMS))
                tags.append("B-ORG")
            elif word.startswith(("Holding", "Bankası")):
                tokens.append(word)
                tags.append("I-ORG")
            elif "{place}" in word:
                tokens.append(word.replace("{place}", chance.choice(PLACES)))
                tags.append("B-LOC")
            elif "{person}" in word:
                tokens += chance.choice(PEOPLE).split()
                tags += ["B-PER", "I-PER"]
            else:
                tokens.append(word)
                tags.append("O")
        made.append((tokens, tags))
    return made
