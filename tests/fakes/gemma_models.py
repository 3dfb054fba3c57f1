"""A tiny Gemma 3 with drawn weights: transformers' own, and the same weights as the extra reads them."""

from __future__ import annotations

from typing import Any

LAYERS, WIDTH = 4, 32
WORDS = ("▁borsa", "▁kârı", "▁arttı", "▁düştü", "▁güne", "▁örnek", "▁banka", "banka", "sı", "▁faiz")


def vocabulary() -> Any:
    """Return a beginning, an end, bytes, letters, and words with all that they are merged from."""
    from kalibre.language.gemma.vocabulary import Vocabulary

    pieces: list[str | None] = [None, None, None, *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = "▁" + "abcçdefgğhıijklmnoöprsştuüvyzâ" + "ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ" + "0123456789.,'?"
    pieces += list(letters)
    grown = dict.fromkeys(word[:end] for word in WORDS for end in range(2, len(word) + 1))
    pieces += list(grown)
    scores = [-1e6] * (259 + len(letters)) + [-float(at) for at in range(len(grown))]
    return Vocabulary(pieces, scores, begin=2)


def pair(seed: int = 0) -> tuple[Any, Any]:
    """Return transformers' model, reading both ways, and the extra's base with the same weights."""
    import torch
    import transformers

    from kalibre.language.gemma.source import Base, Settings

    known = vocabulary()
    config = transformers.Gemma3TextConfig(
        vocab_size=known.size,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        sliding_window=4,
        query_pre_attn_scalar=8,
        max_position_embeddings=128,
        layer_types=["sliding_attention", "full_attention"] * (LAYERS // 2),
        use_bidirectional_attention=True,
    )
    torch.manual_seed(seed)
    model = transformers.Gemma3TextModel(config).eval()
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.2)
    settings = Settings(
        width=WIDTH, layers=LAYERS, heads=4, kv_heads=2, head=8, inner=48, window=config.sliding_window, every=2
    )
    return model, Base(settings, _named(model.state_dict()), known, "0" * 64, "tiny-gemma")


_NAMES = {
    "into": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
_GAINS = {
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    "norm3": "pre_feedforward_layernorm",
    "norm4": "post_feedforward_layernorm",
}


def _named(state: dict[str, Any]) -> dict[str, Any]:
    import torch

    # Gemma stores a gain as what it is above one; the file that the extra reads holds it whole.
    found = {"pieces": state["embed_tokens.weight"], "norm": state["norm.weight"] + 1.0}
    for layer in range(LAYERS):
        here = f"layers.{layer}."
        for ours, theirs in _NAMES.items():
            found[f"{layer}.{ours}"] = torch.cat([state[f"{here}{name}.weight"] for name in theirs])
        for ours, theirs in _GAINS.items():
            found[f"{layer}.{ours}"] = state[f"{here}{theirs}.weight"] + 1.0
    return found
