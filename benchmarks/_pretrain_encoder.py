"""Pretrain the project's encoder: text prepared here, trained where a GPU is lent, brought back in parts.

    python -m benchmarks._pretrain_encoder prepare                  # here: mix, take tests out, cut, pack -> .encoder/
    python -m benchmarks._pretrain_encoder train --minutes 7.5      # there, with .encoder carried; parts under $OUT
    python -m benchmarks._pretrain_encoder collect FOLDER           # here: parts -> .encoder/made/
    python -m benchmarks._pretrain_encoder smoke --minutes 4        # here: a small one on a small text, on a CPU

A run goes on from the last one's weights with `--begin FOLDER`; runs that others follow leave out the fall of the rate
with `--more`. `.encoder/` belongs into .git/info/exclude: it holds text that is not ours to publish.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from kalibre.language.encoder.blocks import Blocks, from_bytes, pack, to_bytes
from kalibre.language.encoder.model import EncoderSettings, from_safetensors, to_safetensors
from kalibre.language.encoder.pieces import Pieces
from kalibre.language.encoder.pretrain import Recipe, pretrain

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".encoder"
MADE = ROOT / ".encoder-made"
"""Where a run leaves its weights on the machine that it ran on: a second command there finds them."""

PART = 15 * 1024 * 1024
"""Bytes of a file that comes back from a lent machine, at most 16 MiB; eight files at most."""

TOKENIZER = ROOT / "src/kalibre/language/weights/tokenizer"


def _say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def tokenizer_bytes(path: Path) -> bytes:
    """Return a SentencePiece model: a file, or the only `.model` of a folder."""
    found = sorted(path.glob("*.model")) if path.is_dir() else [path]
    if len(found) != 1:
        raise SystemExit(f"{path} holds {len(found)} tokenizers: name one with --tokenizer")
    return found[0].read_bytes()


# --- here: text -------------------------------------------------------------------------------------------------------


def prepare(tokenizer: Path, home: Path, *, length: int, most: int | None = None) -> Blocks:
    """Mix, exclude, cut and pack; print how much of each source stays."""
    from benchmarks._encoder_text import TWICE, sources, test_texts
    from benchmarks._labelled import require_sets

    from kalibre.language.exclusion import exclude, verify

    require_sets()
    pieces = Pieces(tokenizer_bytes(tokenizer))
    tests = test_texts()
    _say(f"{len(tests):,} test texts are kept out")
    mixed = list(sources(most))
    names = [source.name for source in mixed for _ in source.documents]
    kept = exclude((document for source in mixed for document in source.documents), tests)
    verify(kept.documents, tests)
    documents: list[str] = []
    table = {source.name: {"characters": 0, "given": source.characters} for source in mixed}
    for document, owner in zip(kept.documents, kept.owners, strict=True):
        name = names[owner]
        table[name]["characters"] += len(document)
        documents += [document] * (2 if name in TWICE else 1)
    _say(f"{kept.lines_dropped:,} of {kept.lines:,} lines dropped; {json.dumps(table)}")
    blocks = pack(documents, pieces, length=length)
    home.mkdir(exist_ok=True)
    (home / "blocks.npz").write_bytes(to_bytes(blocks))
    (home / "tokenizer.model").write_bytes(pieces.model)
    facts = {
        "sources": table,
        "tests": len(tests),
        "lines_dropped": [kept.lines_dropped, kept.lines],
        "blocks": [len(blocks.train), len(blocks.held_out)],
        "length": length,
        "pieces": pieces.size,
        "unigram_nats": blocks.unigram_nats,
    }
    (home / "text.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    _say(f"{blocks.train.size:,} pieces to train on, {(home / 'blocks.npz').stat().st_size / 1e6:.1f} MB")
    return blocks


def opened(home: Path) -> tuple[Blocks, Pieces]:
    """Open what `prepare` left."""
    if not (home / "blocks.npz").is_file():
        raise SystemExit(f"{home} holds no text: run `python -m benchmarks._pretrain_encoder prepare` first")
    return from_bytes((home / "blocks.npz").read_bytes()), Pieces((home / "tokenizer.model").read_bytes())


# --- there: training --------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train from `.encoder/`, tell the curve line by line, and leave the weights in parts."""
    import torch

    out = Path(os.environ.get("OUT", str(HOME / "out")))
    out.mkdir(parents=True, exist_ok=True)
    blocks, pieces = opened(args.home)
    settings = EncoderSettings(
        vocabulary=pieces.size, width=args.width, layers=args.layers, heads=args.width // 64, inner=args.inner,
        length=blocks.train.shape[1],
    )  # fmt: skip
    begin = None
    if args.begin:
        begin, settings = from_safetensors((args.begin / "encoder.safetensors").read_bytes())
    recipe = Recipe(
        minutes=args.minutes,
        steps=args.steps,
        batch=args.batch,
        rate=args.rate,
        pieces_rate=args.rate,
        decay=0.0 if args.more else 0.35,
        seed=args.seed,
        look_s=args.look,
        compiled=args.compile and torch.cuda.is_available(),
    )
    place = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    _say(f"{settings.parameters:,} parameters on {place}, torch {torch.__version__}, {recipe}")
    with (out / "curve.jsonl").open("w", encoding="utf-8") as curve:

        def told(point: dict[str, Any]) -> None:
            line = json.dumps({**point, "per_second": round(point["pieces"] / max(point["seconds"], 1e-9))})
            print(line, file=curve, flush=True)
            _say(line)

        run = pretrain(
            blocks, pieces, settings, recipe, begin=begin, told=told, keep=lambda w: leave(w, settings, pieces, out)
        )
    leave(run.weights, settings, pieces, out)
    _say(f"final: {run.curve[-1]}")


def leave(weights: dict[str, Any], settings: EncoderSettings, pieces: Pieces, out: Path) -> None:
    """Write weights, 16 bits a number, in parts that come back, and whole for a second command there."""
    content = to_safetensors(weights, settings, half=True)
    for number, begin in enumerate(range(0, len(content), PART)):
        (out / f"encoder.{number}.part").write_bytes(content[begin : begin + PART])
    (out / "encoder.sha256").write_text(hashlib.sha256(content).hexdigest(), encoding="utf-8")
    MADE.mkdir(exist_ok=True)
    (MADE / "encoder.safetensors").write_bytes(content)
    (MADE / "tokenizer.model").write_bytes(pieces.model)


def collect(folder: Path, home: Path) -> Path:
    """Join the parts of a run and check them."""
    parts = sorted(folder.rglob("encoder.*.part"), key=lambda path: int(path.name.split(".")[1]))
    content = b"".join(path.read_bytes() for path in parts)
    wanted = next(iter(folder.rglob("encoder.sha256"))).read_text(encoding="utf-8").strip()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise SystemExit(f"the parts in {folder} are not those of one run: collect the last run's files")
    weights, settings = from_safetensors(content)
    made = home / "made"
    made.mkdir(parents=True, exist_ok=True)
    (made / "encoder.safetensors").write_bytes(content)
    (made / "tokenizer.model").write_bytes((home / "tokenizer.model").read_bytes())
    for curve in folder.rglob("curve.jsonl"):
        (made / "curve.jsonl").write_bytes(curve.read_bytes())
    _say(f"{settings.parameters:,} parameters ({len(weights)} weights) in {made}")
    return made


# --- here: smoke ------------------------------------------------------------------------------------------------------


def smoke(args: argparse.Namespace) -> None:
    """Run the whole way small: text, tokenizer where none is given, training, a second run from weights, ONNX."""
    import numpy as np
    import torch

    from kalibre.language.encoder.export import check_parity, parity, to_onnx
    from kalibre.language.encoder.hiding import held_out_loss

    torch.set_num_threads(args.threads)
    blocks, pieces = opened(args.home)
    settings = EncoderSettings(
        vocabulary=pieces.size, width=128, layers=4, heads=2, inner=320, length=blocks.train.shape[1]
    )
    _say(f"{settings.parameters:,} parameters, {blocks.train.size:,} pieces, unigram {blocks.unigram_nats:.3f} nats")
    recipe = Recipe(minutes=args.minutes, batch=16, rate=6e-3, pieces_rate=6e-3, look_s=30, decay=0.3)
    first = pretrain(blocks, pieces, settings, recipe, told=lambda point: _say(json.dumps(point)))
    speed = first.curve[-1]["pieces"] / first.curve[-1]["seconds"]
    stored = to_safetensors(first.weights, settings)
    again, _ = from_safetensors(stored)
    gap = abs(
        held_out_loss(again, settings, blocks, pieces)[0] - held_out_loss(first.weights, settings, blocks, pieces)[0]
    )
    short = Recipe(steps=20, minutes=5, batch=16, rate=2e-3, pieces_rate=2e-3, look_steps=20, seed=1)
    more = pretrain(blocks, pieces, settings, short, begin=again)
    rows = [row[row < pieces.size + 4].astype(np.int64).tolist() for row in blocks.held_out[:8]]
    content = to_onnx(first.weights, settings)
    figures = check_parity(parity(content, first.weights, settings, "hidden", rows), agree=0.8)
    print(json.dumps({
        "parameters": settings.parameters, "pieces_per_second": round(speed), "unigram": first.curve[-1]["unigram"],
        "held_out": [first.curve[0]["held_out"], first.curve[-1]["held_out"]], "right": first.curve[-1]["right"],
        "resume_gap": gap, "resumed": [point["held_out"] for point in more.curve], "onnx_bytes": len(content),
        "onnx": figures,
    }, indent=1))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("prepare", "train", "collect", "smoke"):
        one = verbs.add_parser(verb)
        one.add_argument("--home", type=Path, default=HOME)
        if verb == "prepare":
            one.add_argument("--tokenizer", type=Path, default=TOKENIZER)
            one.add_argument("--length", type=int, default=512)
            one.add_argument("--most", type=int, default=None, help="characters of each source: for smoke runs")
        if verb == "collect":
            one.add_argument("folder", type=Path)
        if verb in ("train", "smoke"):
            one.add_argument("--minutes", type=float, default=7.5)
            one.add_argument("--threads", type=int, default=1)
        if verb == "train":
            one.add_argument("--steps", type=int, default=None)
            one.add_argument("--batch", type=int, default=128)
            one.add_argument("--width", type=int, default=384)
            one.add_argument("--layers", type=int, default=8)
            one.add_argument("--inner", type=int, default=1024)
            one.add_argument("--rate", type=float, default=3e-3)
            one.add_argument("--seed", type=int, default=0)
            one.add_argument("--look", type=float, default=20.0)
            one.add_argument("--begin", type=Path, default=None)
            one.add_argument("--more", action="store_true", help="another run follows: keep the rate up to the end")
            one.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    if args.verb != "prepare" and importlib.util.find_spec("torch") is None:
        raise SystemExit(f"`{args.verb}` needs torch: pip install 'kalibre[encoder]'")
    if args.verb == "prepare":
        prepare(args.tokenizer, args.home, length=args.length, most=args.most)
    elif args.verb == "train":
        train(args)
    elif args.verb == "collect":
        collect(args.folder, args.home)
    else:
        smoke(args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
