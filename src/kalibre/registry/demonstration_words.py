"""What the demonstration says, in English and Turkish; both languages have the same keys (a test holds them to it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_EN: Final[dict[str, str]] = {
    "EURUSD": "real: EURUSD, hourly, 2017",
    "EDGE": "simulated: planted edge",
    "stored": "{symbol}: {bars} bars checked and stored",
    "judged": "{symbol}: {passed} of {gates} gates passed",
    "champion": "{symbol}: {model} passed every gate and is champion",
    "shadow": "{symbol}: nothing qualifies; {model} runs in shadow",
    "verdict": "verdict",
    "yes": "qualifies",
    "no": "nothing qualifies",
    "gates": "gates passed",
    "gates_value": "{passed} of {gates}",
    "auc": "AUC",
    "ece": "calibration error",
    "sharpe": "Sharpe after costs",
    "max_drawdown": "max drawdown",
    "dsr": "deflated Sharpe",
    "live_bars": "live bars",
    "ledger_champion": "champion's ledger",
    "ledger_challenger": "shadow ledger",
    "ledger_value": "{equity} ({fills} fills)",
    "kill": "kill switch",
    "kill_value": "stopped in {ms} ms",
    "orders_before": "orders before it",
    "orders_after": "orders after it",
    "orders_after_value": "{orders} in {bars} bars",
    "report": "report",
    "took": "took",
    "seconds": "{seconds} s",
    "hub": "Now the hub: every learner learns from each bar of both markets, and is judged beside dummies.",
}

_TR: Final[dict[str, str]] = {
    "EURUSD": "gerçek: EURUSD, saatlik",
    "EDGE": "benzetim: avantajlı piyasa",
    "stored": "{symbol}: {bars} bar denetlendi ve kaydedildi",
    "judged": "{symbol}: {gates} kapıdan {passed} tanesi geçildi",
    "champion": "{symbol}: {model} bütün kapılardan geçti, şampiyon oldu",
    "shadow": "{symbol}: yeterli model yok; {model} gölgede çalışıyor",
    "verdict": "karar",
    "yes": "yeterli",
    "no": "yeterli model yok",
    "gates": "geçilen kapı",
    "gates_value": "{passed} / {gates}",
    "auc": "AUC",
    "ece": "kalibrasyon hatası",
    "sharpe": "maliyet sonrası Sharpe",
    "max_drawdown": "en büyük düşüş",
    "dsr": "indirgenmiş Sharpe",
    "live_bars": "canlı bar",
    "ledger_champion": "şampiyonun hesabı",
    "ledger_challenger": "gölge hesap",
    "ledger_value": "{equity} ({fills} gerçekleşme)",
    "kill": "acil durdurma",
    "kill_value": "{ms} ms içinde durdu",
    "orders_before": "ondan önceki emir",
    "orders_after": "ondan sonraki emir",
    "orders_after_value": "{bars} barda {orders}",
    "report": "rapor",
    "took": "süre",
    "seconds": "{seconds} sn",
    "hub": "Şimdi merkez: bütün öğreniciler iki piyasanın her barından öğrenir, bilgisizlerle yan yana yargılanır.",
}

WORDS: Final[Mapping[str, Mapping[str, str]]] = {"en": _EN, "tr": _TR}
"""By language; the markets' titles stand under their symbols."""
