"""The gates: what a model has to prove before it may act, with figure, bar and a sentence in two languages.

Which gate looks where. The *pooled walk-forward* is every fold's test part, where each fold's model, calibrator and
thresholds came from earlier bars; it is long, so what needs statistical power is judged there. The *final window* was
touched by nothing and is judged once, with exactly the bundle that would be promoted; it is short, so there the bundle
must not fall short of what a model without skill would show: a Sharpe bar of 1.2 on ten weeks would refuse one good
model in four and hardly a bad one more. For the same reason its log-loss gain is refused only where it is negative
beyond chance (an upper bound as far above the gain as the lower one is below it), and its ECE bar is the usual one or,
where the window is too short to measure so finely, what chance alone gives a perfectly calibrated forecast (the top of
the consistency band). A figure that is not a number passes nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from kalibre.core.settings import GateSettings
from kalibre.evaluation.significance import LEAST_TRADES

Window = Literal["walk_forward", "final", "pipeline"]

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_WHERE: Final = {
    "walk_forward": ("out of sample (walk-forward)", "örneklem dışında (ileri yürüyüş)"),
    "final": ("in the untouched final window", "dokunulmamış son pencerede"),
    "pipeline": ("from bars to signals", "barlardan sinyallere kadar"),
}
_WORDS: Final = {
    "<=": ("at most", "≤"),
    "<": ("below", "<"),
    ">=": ("at least", "≥"),
    ">": ("above", ">"),
}
_DUMMIES: Final = {
    "base_rate": ("base rate", "taban oran"),
    "persistence": ("persistence", "süreklilik"),
    "buy_and_hold": ("buy and hold", "al ve tut"),
    "shuffled_labels": ("shuffled labels", "karıştırılmış etiket"),
}


@dataclass(frozen=True)
class GateVerdict:
    """One gate's judgement. `explanation` is English, `explanation_tr` Turkish; both quote the figure and the bar."""

    name: str
    window: Window
    figure: float
    comparison: str
    bar: float
    passed: bool
    explanation: str
    explanation_tr: str

    def text(self, lang: str = "en") -> str:
        """Return the sentence in `tr` or, for anything else, English."""
        return self.explanation_tr if lang == "tr" else self.explanation

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values; a figure that is not a finite number is None."""
        content = asdict(self)
        content["figure"] = self.figure if math.isfinite(self.figure) else None
        return content


@dataclass(frozen=True)
class GateWindow:
    """The figures of one out-of-sample window that gates look at; `ece_chance` is the top of the consistency band."""

    ece: float
    auc: float
    auc_low: float
    log_loss_gain: float
    log_loss_gain_low: float
    sharpe: float
    max_drawdown: float
    ece_chance: float = 0.0


@dataclass(frozen=True)
class GateFigures:
    """Everything the gates judge on.

    `n_trades` counts the closed trades of the pooled walk-forward: of fewer than `LEAST_TRADES` no DSR passes.
    `unbeaten` names the dummies that the model did not beat on the pooled walk-forward; `dirty_columns` counts what the
    verification found; `final` is None and `final_seen` False where the final window was not judged.
    """

    walk_forward: GateWindow
    final: GateWindow | None
    dsr: float
    n_trials: int
    n_trades: int
    dirty_columns: int
    unbeaten: tuple[str, ...] = field(default=())
    final_seen: bool = False


def judge(figures: GateFigures, settings: GateSettings) -> list[GateVerdict]:
    """Judge a study's figures; a model qualifies if every verdict has passed.

    Parameters
    ----------
    figures
        Out-of-sample figures only.
    settings
        The bars; the defaults are those of the house.

    Examples
    --------
    >>> good = GateWindow(0.01, 0.62, 0.60, 0.02, 0.01, 4.0, 0.05)
    >>> verdicts = judge(GateFigures(good, good, dsr=0.99, n_trials=1, n_trades=300, dirty_columns=0), GateSettings())
    >>> all(verdict.passed for verdict in verdicts)
    True
    >>> poor = GateFigures(good, good, dsr=0.61, n_trials=40, n_trades=300, dirty_columns=0)
    >>> [verdict.explanation for verdict in judge(poor, GateSettings()) if not verdict.passed]
    ['DSR out of sample (walk-forward) is 0.610, but has to be at least 0.95 (deflated for 40 distinct trials).']
    """
    pooled = figures.walk_forward
    trials = (
        f" (deflated for {figures.n_trials} distinct trial{'' if figures.n_trials == 1 else 's'})",
        f" ({figures.n_trials} ayrı denemeye göre indirgenmiş)",
    )
    dsr = figures.dsr
    if figures.n_trades < LEAST_TRADES:
        dsr = math.nan
        trials = (
            f" (closed trades: {figures.n_trades}; fewer than {LEAST_TRADES} cannot tell skill from luck)",
            f" (kapanan işlem sayısı: {figures.n_trades}; {LEAST_TRADES} işlemden azı beceriyi şanstan ayıramaz)",
        )
    names, names_tr = (", ".join(_DUMMIES.get(name, (name, name))[i] for name in figures.unbeaten) for i in (0, 1))
    beaten = (f" (not beaten: {names})", f" (geçilemeyen: {names_tr})") if figures.unbeaten else ("", "")
    verdicts = [
        _gate("ece", "walk_forward", "ECE", "ECE", pooled.ece, "<=", settings.max_ece),
        _gate(
            "log_loss",
            "walk_forward",
            "Lower bound of the log-loss gain over the base rate",
            "Taban orana göre log-kayıp kazancının alt sınırı",
            pooled.log_loss_gain_low,
            ">",
            0.0,
        ),
        _gate("auc", "walk_forward", "Lower bound of the AUC", "AUC alt sınırı", pooled.auc_low, ">", 0.5),
        _gate("dsr", "walk_forward", "DSR", "DSR", dsr, ">=", settings.min_dsr, trials),
        _gate(
            "sharpe",
            "walk_forward",
            "Sharpe ratio after costs",
            "Maliyet sonrası Sharpe oranı",
            pooled.sharpe,
            ">",
            settings.min_sharpe,
        ),
        _gate(
            "drawdown",
            "walk_forward",
            "Largest drawdown",
            "En büyük düşüş",
            pooled.max_drawdown,
            "<",
            settings.max_drawdown,
        ),
        _gate(
            "dummies",
            "walk_forward",
            "Number of dummies not beaten",
            "Geçilemeyen kukla sayısı",
            float(len(figures.unbeaten)),
            "<=",
            0.0,
            beaten,
        ),
        _gate(
            "verification",
            "pipeline",
            "Number of columns that look ahead, are skewed or depend on the start",
            "İleriye bakan, kayan ya da başlangıca bağlı sütun sayısı",
            float(figures.dirty_columns),
            "<=",
            0.0,
        ),
        *_final(figures, settings),
    ]
    return verdicts


def _final(figures: GateFigures, settings: GateSettings) -> list[GateVerdict]:
    unseen = (
        GateVerdict(
            name="final_unseen",
            window="final",
            figure=1.0,
            comparison="<=",
            bar=0.0,
            passed=False,
            explanation="The final window was looked at before: it cannot promote; wait for new bars, then train or "
            "judge again.",
            explanation_tr="Son pencereye daha önce bakıldı: terfi ettiremez; yeni barları bekleyip yeniden eğitin ya "
            "da yargılayın.",
        )
        if figures.final_seen
        else GateVerdict(
            name="final_unseen",
            window="final",
            figure=0.0,
            comparison="<=",
            bar=0.0,
            passed=figures.final is not None,
            explanation="The final window was judged once."
            if figures.final is not None
            else "The final window was not judged: run the study with its final window to promote.",
            explanation_tr="Son pencere bir kez değerlendirildi."
            if figures.final is not None
            else "Son pencere değerlendirilmedi: terfi için çalışmayı son pencereyle yürütün.",
        )
    )
    final = figures.final
    if final is None:
        return [unseen]
    return [
        unseen,
        _gate("final_ece", "final", "ECE", "ECE", final.ece, "<=", max(settings.max_ece, _known(final.ece_chance))),
        _gate("final_auc", "final", "AUC", "AUC", final.auc, ">", 0.5),
        _gate(
            "final_log_loss",
            "final",
            "Upper bound of the log-loss gain over the base rate",
            "Taban orana göre log-kayıp kazancının üst sınırı",
            2.0 * final.log_loss_gain - final.log_loss_gain_low,
            ">",
            0.0,
        ),
        _gate(
            "final_sharpe",
            "final",
            "Sharpe ratio after costs",
            "Maliyet sonrası Sharpe oranı",
            final.sharpe,
            ">",
            0.0,
        ),
        _gate(
            "final_drawdown",
            "final",
            "Largest drawdown",
            "En büyük düşüş",
            final.max_drawdown,
            "<",
            settings.max_drawdown,
        ),
    ]


def _gate(
    name: str,
    window: Window,
    noun: str,
    noun_tr: str,
    figure: float,
    comparison: str,
    bar: float,
    detail: tuple[str, str] = ("", ""),
) -> GateVerdict:
    figure, bar = float(figure), float(bar)
    passed = math.isfinite(figure) and _COMPARE[comparison](figure, bar)
    word, word_tr = _WORDS[comparison]
    where, where_tr = _WHERE[window]
    shown, needed = _numbers(figure, bar)
    ending = "as it has to be" if passed else "but has to be"
    return GateVerdict(
        name=name,
        window=window,
        figure=figure,
        comparison=comparison,
        bar=bar,
        passed=passed,
        explanation=f"{noun} {where} is {shown or 'not known'}, {ending} {word} {needed}{detail[0]}.",
        explanation_tr=f"{noun_tr} {where_tr} {shown or 'bilinmiyor'}; olması gereken: {word_tr} {needed}{detail[1]}.",
    )


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _numbers(figure: float, bar: float) -> tuple[str, str]:
    """Write figure and bar with as many digits as it takes to tell a near miss; an unknown figure is empty."""
    if not math.isfinite(figure):
        return "", f"{bar:g}"
    if figure == round(figure) and bar == round(bar):
        return f"{figure:.0f}", f"{bar:.0f}"
    digits = next((d for d in range(3, 12) if figure == bar or round(figure, d) != round(bar, d)), 12)
    return f"{figure:.{digits}f}", f"{bar:.{digits}g}"
