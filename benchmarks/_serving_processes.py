"""The processes of `serving`: three servers of one booster, and a training to disturb them. Run by name."""

from __future__ import annotations

import sys
from pathlib import Path


def kalibre(folder: Path, port: int) -> None:
    """Serve the bundle as `kalibre serve` does."""
    from kalibre.api.serve import serve
    from kalibre.core.settings import Settings

    serve(Settings(home=folder / "home", api={"port": port}))


def fastapi(folder: Path, port: int) -> None:
    """Serve the booster as one would by hand: FastAPI and `Booster.predict`, uvicorn set as for Kalibre."""
    import lightgbm
    import numpy as np
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    app = FastAPI()

    class Row(BaseModel):
        symbol: str
        features: list[float]

    class Prediction(BaseModel):
        symbol: str
        p_up: float

    async def predict(row: Row) -> Prediction:
        return Prediction(symbol=row.symbol, p_up=float(booster.predict(np.array([row.features]))[0]))

    predict.__annotations__ |= {"row": Row, "return": Prediction}
    app.post("/predict")(predict)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )


def training(folder: Path, port: int) -> None:
    """Train models without end, as nicely as can be."""
    import os

    import lightgbm
    import numpy as np

    os.nice(19)
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60_000, 60))
    y = (features[:, 0] + rng.normal(0, 3, 60_000) > 0).astype(float)
    parameters = {"objective": "binary", "num_leaves": 31, "num_threads": 1, "verbosity": -1}
    print("training", flush=True)
    while True:
        lightgbm.train(parameters, lightgbm.Dataset(features, y), num_boost_round=100)


if __name__ == "__main__":
    {"kalibre": kalibre, "fastapi": fastapi, "training": training}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
