"""Personal numbers and addresses in text: found by pattern, checksum and context, masked before anything is stored."""

from kalibre.language.pii.detection import KINDS, Pii, find
from kalibre.language.pii.masking import Masked, mask

__all__ = ["KINDS", "Masked", "Pii", "find", "mask"]
