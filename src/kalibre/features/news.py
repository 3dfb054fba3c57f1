"""News: what the headlines known at a bar's close said for the symbol, as it was written with the bar.

The bar carries both numbers (see `kalibre.bars.news`), so a column is what was known, never a later opinion of it. They
fade by the half-life of each headline's horizon; without news both are 0.
"""

from __future__ import annotations

from kalibre.features.base import Column, Family

FAMILY = Family(
    doc="Headlines known at the close: direction and how sure.",
    columns=(
        Column(
            "snews_impact",
            "Expected direction and strength by the headlines known at the close, -1 to 1; 0 without news.",
            lambda plan: plan.news_impact,
            bounds=(-1.0, 1.0),
        ),
        Column(
            "snews_conf",
            "Probability that at least one of them is right, were they independent, 0 to 1; 0 without news.",
            lambda plan: plan.news_conf,
            bounds=(0.0, 1.0),
        ),
    ),
)
