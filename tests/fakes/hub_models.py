"""Tiny models as transformers writes them: a BERT of two layers with a drawn head, and its word pieces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WORDS = (
    "borsa güne yükselişle başladı şirketin kârı arttı düştü kim nerede ne zaman banka ##sı ##nın örnek ' , . ?"
).split()


def write(folder: Path, kind: str, labels: Sequence[str] = (), *, seed: int = 0) -> Path:
    """Write a model: `kind` is the end of transformers' class name (`ForSequenceClassification`, `Model`, ...)."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [sign for letter in "abcçdefgğhıijklmnoöprsştuüvyzâqwx0123456789" for sign in (letter, f"##{letter}")]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters]
    tokenizer = Tokenizer(
        models.WordPiece({piece: at for at, piece in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    told = {}
    if labels:
        told = {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,
        **told,
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"Bert{kind}")(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
