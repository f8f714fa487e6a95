"""Pictures: the answer to one query, rank lists, curves, embeddings, attention; as PNG and as HTML.

Right answers are framed green with a tick, wrong ones red with a cross; where the person looked for is not known, the
frames are grey.
"""

from __future__ import annotations

from reidtrain.figures.attention import attention
from reidtrain.figures.curves import curves
from reidtrain.figures.projection import projection
from reidtrain.figures.ranklists import rank_lists
from reidtrain.figures.strips import rank_strip

__all__ = ["attention", "curves", "projection", "rank_lists", "rank_strip"]
