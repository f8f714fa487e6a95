"""Losses: pure functions of tensors.

Every loss is computed in float32 (float64 stays float64), whatever the precision of its inputs: in float16 the
epsilon of SDM underflows and the entropy of a certain routing is NaN. A feature of length zero counts as a direction
without any similarity (cosine 0) and receives a gradient of zero.

With several processes the features are gathered first (`reidtrain.gather`), so that a loss sees the whole batch.
"""

from __future__ import annotations

from reidtrain.losses.binding import feature_binding, soft_margin_triplet
from reidtrain.losses.classes import identity_ce, masked_attribute_ce
from reidtrain.losses.features import unit
from reidtrain.losses.pairs import cmpm, info_nce, sdm
from reidtrain.losses.routing import routing_entropy
from reidtrain.losses.tasks import unireid

__all__ = [
    "cmpm",
    "feature_binding",
    "identity_ce",
    "info_nce",
    "masked_attribute_ce",
    "routing_entropy",
    "sdm",
    "soft_margin_triplet",
    "unireid",
    "unit",
]
