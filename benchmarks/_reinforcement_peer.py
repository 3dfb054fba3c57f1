"""Train stable-baselines3's DQN on Kalibre's own environment; run by `benchmarks.reinforcement` in the peers' venv.

    python _reinforcement_peer.py FOLDER < jobs

Each line of stdin is a job (JSON), each line of stdout its answer. A job names a market (`FOLDER/SEED.npz`), a setting
(`options` of DQN), and how long to train: `steps`, and `cpu_s` (None: no limit). CPU-seconds are the process's, of
training alone; one thread. The greedy policy is then frozen and carried over the later stretch.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from kalibre.learners.reinforcement import MarketEnv

torch.set_num_threads(1)


class StopAfter(BaseCallback):
    """Stop training when so many CPU-seconds are spent."""

    def __init__(self, cpu_s: float) -> None:
        super().__init__()
        self._until = time.process_time() + cpu_s

    def _on_step(self) -> bool:
        return time.process_time() < self._until


def environment(market: Any, stretch: str, fee: float, observation: str) -> MarketEnv:
    """Return a stretch of a market; the same class, rewards and rows as the learner's own."""
    columns = (market[f"{stretch}_{name}"] for name in ("open", "close", "rows"))
    return MarketEnv(*columns, fee=fee, observation=observation)


def carry(model: DQN, env: MarketEnv) -> tuple[float, int]:
    """Return the growth a bar of the greedy policy over an episode, and its fills."""
    chosen = [greedy(model, env, held) for held in (0, 1)]
    env.reset()
    held, trades, total, steps, ended = 0, 0, 0.0, 0, False
    while not ended:
        _, _, _, ended, info = env.step(int(chosen[held][steps]))
        trades += info["held"] != held
        held = info["held"]
        total += info["growth"]
        steps += 1
    return total / steps, trades


def greedy(model: DQN, env: MarketEnv, held: int) -> np.ndarray:
    """Return what `predict(deterministic=True)` says at every row, in one pass: a call a row would take minutes."""
    seen = torch.as_tensor(env.observations(held))
    with torch.no_grad():
        best: np.ndarray = model.q_net(seen).argmax(dim=1).numpy()
    return best


def run(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Do one job."""
    with np.load(folder / f"{job['seed']}.npz") as stored:
        market = dict(stored)
    options = dict(job["options"])
    observation, net = options.pop("observation", "box"), options.pop("net_arch", [64, 64])
    env = environment(market, "train", job["fee"], observation)
    began = time.process_time()
    model = DQN("MlpPolicy", env, seed=job["seed"], device="cpu", policy_kwargs={"net_arch": net}, **options)
    callback = None if job["cpu_s"] is None else StopAfter(job["cpu_s"])
    model.learn(job["steps"], callback=callback)
    cpu_s = time.process_time() - began
    growth, trades = carry(model, environment(market, "test", job["fee"], observation))
    return {"growth": growth, "trades": trades, "cpu_s": cpu_s, "steps": model.num_timesteps}


def main() -> None:
    """Answer jobs until there are no more."""
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps({**job, **run(folder, job)}), flush=True)


if __name__ == "__main__":
    main()
