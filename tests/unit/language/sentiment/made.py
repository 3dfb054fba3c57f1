"""Sentences made by rule."""

import numpy as np

_FIRMS = ("Kaya Tarım", "Deniz Çelik", "Ova Gıda", "Yıldız Enerji", "Tepe Cam", "Irmak Tekstil", "Ada Lojistik")
_GOOD = ("kârını yüzde {} artırdı", "{} milyon liralık ihale kazandı", "temettü dağıtacak, oran yüzde {}")
_BAD = ("kârı yüzde {} geriledi", "{} milyon lira ceza aldı", "zararını yüzde {} büyüttü")
_PLAIN = ("{} Mayıs günü genel kurulunu yapacak", "yeni logosunu {} ilde tanıttı", "çalışanları için {} fidan dikti")


def sentences(n: int, seed: int):
    """Return texts and labels; the same firms and numbers stand in every class."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(n):
        label, forms = [("positive", _GOOD), ("negative", _BAD), ("neutral", _PLAIN)][int(rng.integers(3))]
        texts.append(f"{rng.choice(_FIRMS)} {rng.choice(forms).format(int(rng.integers(2, 99)))}")
        labels.append(label)
    return texts, labels
