"""`builtin:fast`: the reader without torch. Small trees in a row and a linear model over words, all of it hashed.

It reads a passage of any length up to `LARGEST` characters, in windows where it is long.
"""

from __future__ import annotations

import io
import json
import lzma
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.answering import fitting, reading
from kalibre.language.answering.examples import Example
from kalibre.language.answering.passages import windows
from kalibre.language.answering.places import BUCKETS
from kalibre.language.answering.training import RIGHT, Trained, train_stages
from kalibre.language.base import Span
from kalibre.language.bundle import LanguageBundle

Floats = NDArray[np.float32]
LARGEST = 1_000_000
"""Characters of a passage, at most."""

WINDOW = 6_000
LONGEST_QUESTION = 600
TREES = ("sentences", "start", "end", "inside", "worth", "hits", "doubt")


def train(
    examples: Sequence[Example],
    *,
    card: Mapping[str, Any] | None = None,
    folds: int = 3,
    rounds: int = 200,
    say: Callable[[str], None] = lambda _: None,
) -> LanguageBundle:
    """Train the reader.

    Parameters
    ----------
    examples
        Questions with answers; `group` keeps what belongs together on one side of every inner split.
    card
        What the bundle's card says beside the figures.
    folds, rounds
        See `training.train_stages`.
    say
        Is told what is under way.

    Raises
    ------
    ModelError
        If there are too few questions or groups.
    """
    return to_bundle(train_stages(examples, folds=folds, rounds=rounds, say=say), card or {})


def to_bundle(trained: Trained, card: Mapping[str, Any]) -> LanguageBundle:
    """Bring trained stages into files."""
    models = (trained.sentences, *trained.places, trained.worth, trained.hits, trained.doubt)
    files = {
        f"{name}.txt.xz": lzma.compress(model.model_to_string(num_iteration=-1).encode(), preset=6)
        for name, model in zip(TREES, models, strict=True)
    }
    arrays = io.BytesIO()
    np.savez_compressed(arrays, lexical=trained.lexical.astype(np.float16), rarity=trained.rarity.levels)
    files["arrays.npz"] = arrays.getvalue()
    thresholds = {f"{target:.2f}": _threshold(trained, target) for target in (0.5, 0.6, 0.7, 0.8, 0.9)}
    files["settings.json"] = json.dumps(
        {"slope": list(trained.slope), "thresholds": thresholds, "right": RIGHT}, sort_keys=True
    ).encode()
    shown = {**card, "held_out": trained.held_out, "right": f"F1 of at least {RIGHT} with the answer"}
    return LanguageBundle(task="answering", family="fast", files=files, card=shown)


def _threshold(trained: Trained, precision: float) -> float:
    """Return the least probability from which on the cross-fitted answers are right with that precision."""
    order = np.argsort(-trained.probability, kind="stable")
    so_far = np.cumsum(trained.right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(so_far >= precision)
    return float(trained.probability[order[good[-1]]]) if len(good) else 1.0


@dataclass(frozen=True, eq=False)
class FastReader:
    """Reads answers out of passages; keeps the protocol `Reader`."""

    version: str
    thresholds: Mapping[str, float]
    rarity: reading.Rarity
    lexical: Floats
    slope: tuple[float, float]
    trees: Mapping[str, Any]

    def read(self, question: str, passages: Sequence[str], *, limit: int = 5) -> list[Span]:
        """Return the likeliest spans, the best first: at most one a passage, before further ones of the best passage.

        Parameters
        ----------
        question
            Read up to 600 characters.
        passages
            Each at most `LARGEST` characters.
        limit
            Spans, at most.

        Raises
        ------
        LanguageError
            If a passage is larger than `LARGEST`.
        """
        asked: list[tuple[int, int, reading.Sighting]] = []
        for at, passage in enumerate(passages):
            if len(passage) > LARGEST:
                raise LanguageError(
                    f"passage {at} has {len(passage):,} characters, at most {LARGEST:,} are read: index it "
                    "(kalibre.language.answering.retrieval) and ask the index"
                )
            for begin, end in windows(passage, WINDOW):
                seen = reading.sight(question[:LONGEST_QUESTION], passage[begin:end], self.rarity)
                if seen is not None:
                    asked.append((at, begin, seen))
        if not asked or limit < 1:
            return []
        return self._spans(asked, passages, limit)

    def _spans(self, asked: list[tuple[int, int, reading.Sighting]], passages: Sequence[str], limit: int) -> list[Span]:
        seen = [one for _, _, one in asked]
        scores = fitting.said(self.trees["sentences"], [one.sentences for one in seen], raw_score=True)
        close = [reading.choose(one, score) for one, score in zip(seen, scores, strict=True)]
        words = [reading.lexical_scores(one, near, self.lexical) for one, near in zip(seen, close, strict=True)]
        tables = [reading.place_table(*given) for given in zip(seen, close, words, strict=True)]
        heads = [fitting.said(self.trees[head], tables, raw_score=True) for head in reading.HEADS]
        logits = [np.column_stack(three) for three in zip(*heads, strict=True)]
        offers = [reading.offer(*given) for given in zip(seen, close, words, logits, strict=True)]
        worth = fitting.said(self.trees["worth"], [one.rows for one in offers])
        hits = fitting.said(self.trees["hits"], [one.rows for one in offers])
        doubts = np.stack(
            [reading.doubt_features(*given) for given in zip(seen, close, offers, worth, hits, strict=True)]
        )
        logit = fitting.said(self.trees["doubt"], [doubts], raw_score=True)[0]
        sure = 1 / (1 + np.exp(-(self.slope[0] * logit + self.slope[1])))
        found: list[Span] = []
        for at in np.argsort(-sure, kind="stable").tolist():
            if any(one.passage == asked[at][0] for one in found):
                continue
            value = reading.blend(worth[at], hits[at])
            found.append(self._span(asked[at], offers[at].spans[int(np.argmax(value))], float(sure[at]), passages))
        rest = self._others(asked, offers, worth, hits, sure, passages)
        taken = {(one.passage, one.start, one.end) for one in found}
        found += [one for one in rest if (one.passage, one.start, one.end) not in taken]
        return found[:limit]

    def _others(
        self,
        asked: list[tuple[int, int, reading.Sighting]],
        offers: list[reading.Offer],
        worth: list[Floats],
        hits: list[Floats],
        sure: Floats,
        passages: Sequence[str],
    ) -> list[Span]:
        """Return the next spans of the surest window, apart from its best and from each other."""
        at = int(np.argmax(sure))
        value = reading.blend(worth[at], hits[at])
        best = float(value.max())
        found: list[tuple[NDArray[np.int64], float]] = []
        for one in np.argsort(-value, kind="stable").tolist():
            span = offers[at].spans[one]
            if all(span[0] > other[1] or span[1] < other[0] for other, _ in found):
                found.append((span, float(sure[at]) * max(0.0, float(value[one])) / max(best, 1e-6)))
        return [self._span(asked[at], span, min(1.0, chance), passages) for span, chance in found[1:6]]

    def _span(
        self,
        asked: tuple[int, int, reading.Sighting],
        units: NDArray[np.int64],
        probability: float,
        passages: Sequence[str],
    ) -> Span:
        passage, shift, seen = asked
        cut = seen.found.laid.passage
        start, end = shift + int(cut.starts[units[0]]), shift + int(cut.ends[units[1]])
        return Span(passage=passage, start=start, end=end, text=passages[passage][start:end], probability=probability)


def from_bundle(bundle: LanguageBundle) -> FastReader:
    """Make the reader that a bundle holds.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be.
    """
    import lightgbm as lgb

    try:
        trees = {name: lgb.Booster(model_str=lzma.decompress(bundle.file(f"{name}.txt.xz")).decode()) for name in TREES}
        with np.load(io.BytesIO(bundle.file("arrays.npz")), allow_pickle=False) as held:
            lexical, rarity = held["lexical"].astype(np.float32), held["rarity"]
        settings = json.loads(bundle.file("settings.json"))
        slope = (float(settings["slope"][0]), float(settings["slope"][1]))
        thresholds = {str(key): float(value) for key, value in settings["thresholds"].items()}
    except (ValueError, KeyError, TypeError, IndexError, OSError, lzma.LZMAError, lgb.basic.LightGBMError) as error:
        raise ModelError(f"{bundle.version} cannot be read as a reader ({error}): restore or retrain it") from error
    if lexical.shape != (3, BUCKETS + 1) or not math.isfinite(slope[0]):
        raise ModelError(f"{bundle.version} holds arrays of shape {lexical.shape}: restore or retrain it")
    return FastReader(bundle.version, thresholds, reading.Rarity(rarity), lexical, slope, trees)
