"""Fit hmmlearn's GaussianHMM; run by `benchmarks.regimes` in the peers' environment.

    python _regime_peer.py FOLDER

Each line of stdin names an implementation (`scaling` or `log`); the answer is what the fit took in CPU-seconds, and the
log-likelihood per bar of the model that came out. Where to begin is the same for everybody: `FOLDER/given.npz`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from hmmlearn.hmm import GaussianHMM

warnings.simplefilter("ignore")
logging.disable()


def main() -> None:
    with np.load(Path(sys.argv[1]) / "given.npz") as given:
        seen, start, moves, means, variances = (given[name] for name in ("seen", "start", "moves", "means", "vars"))
        rounds = int(given["rounds"])
    print("ready", flush=True)
    for line in sys.stdin:
        model = GaussianHMM(
            n_components=3,
            covariance_type="diag",
            implementation=line.strip(),
            n_iter=rounds,
            tol=-np.inf,  # exactly so many rounds
            init_params="",
            min_covar=0.0,
            covars_prior=0.0,
        )
        model.startprob_, model.transmat_ = start.copy(), moves.copy()
        model.means_, model.covars_ = means.copy(), variances.copy()
        began = time.process_time()
        model.fit(seen)
        took = time.process_time() - began
        print(json.dumps({"seconds": took, "log_likelihood": model.score(seen) / len(seen)}), flush=True)


if __name__ == "__main__":
    main()
