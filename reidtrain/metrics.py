"""CMC, mean average precision and mean inverse negative penalty of a ranked gallery.

The order is total: descending score, then ascending gallery index. Only the ranks of the relevant items are needed, so
the gallery is never sorted whole: it is counted by bins of score, and sorted only inside the bins that hold a relevant
item. Counts are whole numbers, and `rank_features` takes inner products that are exact in float64 before they are
rounded to float32 once, so the size of a chunk, the number of threads and the device never change a result.

AP is rectangular: the mean over the relevant items of the precision at their rank. INP (Ye et al., "Deep Learning for
Person Re-identification: A Survey and Outlook") is the number of relevant items over the rank of the last one. Both
are taken after the exclusion. A query without a relevant item left is skipped, counted, and part of no mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Exclude = Literal["none", "same-camera", "source-image", "sysu"]
Numbers = Tensor | Sequence[int]
_Pairs = tuple[Tensor, Tensor]  # row, item
_Sides = tuple[Numbers | None, Numbers | None]  # of the queries, of the gallery

SYSU_QUERY_CAMERA, SYSU_HIDDEN_CAMERA = 3, 2  # the two cameras of SYSU-MM01's indoor room 2
_ITEMS_PER_PASS = 1 << 20  # scores ranked at once: some 20 MiB of working memory
_ROWS_PER_PRODUCT = 4096  # gallery rows widened to float64 at once
_STEPS = 2.0**26  # features are rounded to multiples of 2^-26, a quarter of a float32 step just below 1
_HUGE = 1e38  # scores beyond share the outermost bins
_MIN_NORM = 1e-12  # as torch.nn.functional.normalize: a zero feature stays zero


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a ranked gallery is worth, in fractions; parts that contradict each other raise ValueError.

    Args:
        cmc: (max_rank,) float64; `cmc[k - 1]` is the share of valid queries whose first hit is at rank k or better.
            Beyond the gallery's size the last value repeats.
        mAP: mean of `ap` over the valid queries.
        mINP: mean of `inp` over the valid queries.
        valid_queries: queries with a relevant item left after the exclusion.
        skipped_queries: the others.
        ap: (Q,) float64, NaN for a skipped query.
        inp: (Q,) float64, NaN for a skipped query.
        first_hit: (Q,) int64, rank of the first hit as CMC counts it, from 1; 0 for a skipped query.
        relevant: (Q,) int64, relevant items after the exclusion.
        candidates: (Q,) int64, gallery items after the exclusion.
    """

    cmc: Tensor
    mAP: float  # noqa: N815 - the metric's own name, given by the interface
    mINP: float  # noqa: N815 - the metric's own name, given by the interface
    valid_queries: int
    skipped_queries: int
    ap: Tensor
    inp: Tensor
    first_hit: Tensor
    relevant: Tensor
    candidates: Tensor

    def __post_init__(self) -> None:
        queries = self.valid_queries + self.skipped_queries
        _check(self.valid_queries > 0 and self.skipped_queries >= 0, "a ranking needs a valid query")
        _check(self.cmc.ndim == 1 and len(self.cmc) > 0, "cmc must be a vector with at least one rank")
        steps = torch.cat([torch.zeros(1), self.cmc, torch.ones(1)]).diff()
        _check(bool((steps >= 0).all()), "cmc must rise within 0..1")
        for name in ("ap", "inp", "first_hit", "relevant", "candidates"):
            _check(getattr(self, name).shape == (queries,), f"{name} must hold one value per query")
        skipped = self.relevant == 0
        _check(int(skipped.sum()) == self.skipped_queries, "skipped queries are those without a relevant item")
        for name, values in (("ap", self.ap), ("inp", self.inp)):
            _check(torch.equal(values.isnan(), skipped), f"{name} must be NaN for the skipped queries and only there")
            _check(bool(((values > 0) & (values <= 1) | skipped).all()), f"{name} must lie in (0, 1]")
        _check(0.0 < self.mAP <= 1.0 and 0.0 < self.mINP <= 1.0, "mAP and mINP must lie in (0, 1]")

    @property
    def chance(self) -> float:
        """Expected CMC at rank 1 of a random order: the mean share of relevant items among the candidates."""
        valid = self.relevant > 0
        return _mean(self.relevant[valid].double() / self.candidates[valid].double())


def rank(
    similarity: Tensor,
    query_pids: Numbers,
    gallery_pids: Numbers,
    *,
    query_keys: Numbers | None = None,
    gallery_keys: Numbers | None = None,
    exclude: Exclude = "none",
    unique_identities: bool = False,
    max_rank: int = 50,
) -> Ranking:
    """Rank a gallery by given similarities.

    Args:
        similarity: (Q, G) scores, higher is closer; float32 and float64 are compared as they are.
        query_pids: (Q,) identity numbers.
        gallery_pids: (G,) identity numbers; an item is relevant to the queries of its own number.
        query_keys: (Q,) camera numbers, or source-image ids for `source-image`.
        gallery_keys: (G,) likewise.
        exclude: which gallery items a query does not see: `none`; `same-camera` and `source-image`: those of its own
            identity and its own key; `sysu`: camera 2 for the queries of camera 3, whatever the identity.
        unique_identities: CMC counts distinct identities, each at its best rank (SYSU-MM01, LLCM). AP and INP stay
            on images.
        max_rank: length of `cmc`; may exceed G.

    Returns:
        The ranking, its tensors on the CPU.

    Raises:
        ValueError: for shapes that do not fit, NaN scores, missing keys, an unknown `exclude`, or when no query has a
            relevant item left.

    Example:
        >>> scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
        >>> found = rank(scores, [7], [1, 7, 2, 7], max_rank=4)
        >>> found.cmc.tolist(), found.mAP, found.mINP
        ([0.0, 1.0, 1.0, 1.0], 0.5, 0.5)
        >>> # Two equal scores: the item that comes first in the gallery is ranked first.
        >>> rank(torch.zeros(1, 2), [7], [1, 7]).first_hit.tolist()
        [2]
        >>> # Distinct identities: the three images of person 1 count once.
        >>> rank(scores, [5], [1, 1, 1, 5], unique_identities=True).first_hit.tolist()
        [2]
    """
    similarity = torch.as_tensor(similarity).detach()
    _check(similarity.ndim == 2, f"similarity has shape {tuple(similarity.shape)}; it must be (queries, gallery)")
    if similarity.dtype != torch.float64:  # halves become float32 and whole numbers float64, without loss
        similarity = similarity.to(torch.float32 if similarity.is_floating_point() else torch.float64)
    shape = (len(similarity), similarity.shape[1])
    labels = _Labels.of((query_pids, gallery_pids), (query_keys, gallery_keys), exclude, shape, similarity.device)
    return _collect([similarity], labels, unique_identities, max_rank)


def rank_features(  # noqa: PLR0913 - the interface is given
    query: Tensor,
    gallery: Tensor,
    query_pids: Numbers,
    gallery_pids: Numbers,
    *,
    query_keys: Numbers | None = None,
    gallery_keys: Numbers | None = None,
    exclude: Exclude = "none",
    unique_identities: bool = False,
    max_rank: int = 50,
    chunk_size: int = 256,
) -> Ranking:
    """Rank a gallery by the cosine similarity of features, without ever holding all similarities.

    Args:
        query: (Q, D) features of any floating dtype, not necessarily normalised; cast to float32 first.
        gallery: (G, D) features on the same device.
        query_pids: this and the other arguments are those of `rank`.
        gallery_pids: likewise.
        query_keys: likewise.
        gallery_keys: likewise.
        exclude: likewise.
        unique_identities: likewise.
        max_rank: likewise.
        chunk_size: queries compared at once; it changes memory, never the result.

    Returns:
        The ranking, its tensors on the CPU.

    Raises:
        ValueError: as `rank`; also for features that are not finite or differ in width.

    Example:
        >>> people = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> rank_features(people[:1], people, [4], [9, 8, 4], chunk_size=1).mAP
        0.5
    """
    _check(chunk_size > 0, f"chunk_size is {chunk_size}; it must be at least 1")
    _check(query.ndim == gallery.ndim == 2, "query and gallery features must be matrices (rows, width)")
    _check(query.shape[1] == gallery.shape[1], f"widths differ: {query.shape[1]} (query), {gallery.shape[1]} (gallery)")
    shape = (len(query), len(gallery))
    labels = _Labels.of((query_pids, gallery_pids), (query_keys, gallery_keys), exclude, shape, query.device)
    return _collect(_products(query, gallery, chunk_size), labels, unique_identities, max_rank)


def cosine(query: Tensor, gallery: Tensor) -> Tensor:
    """Cosine similarities, rounded once to float32, the same for any blocking, thread count and device.

    Normalised features are rounded to multiples of 2^-26, so every product is a multiple of 2^-52 and every partial
    sum, at most 1 in size, has one exact float64 value whatever the order of summation. The rounding moves a similarity
    by about 1e-8, less than a float32 product does.

    Args:
        query: (Q, D) finite features.
        gallery: (G, D) finite features.

    Returns:
        (Q, G) float32.
    """
    return torch.cat(list(_products(query, gallery, max(1, len(query)))))


def _products(query: Tensor, gallery: Tensor, chunk_size: int) -> Iterator[Tensor]:
    codes = _quantise(gallery, "gallery")
    for rows in query.split(chunk_size):
        wide = _quantise(rows, "query").double()
        scores = torch.empty(len(rows), len(codes), device=query.device)
        for start in range(0, len(codes), _ROWS_PER_PRODUCT):
            block = codes[start : start + _ROWS_PER_PRODUCT].double()
            scores[:, start : start + len(block)] = (wide @ block.T) * (1 / _STEPS**2)
        yield scores


def _quantise(features: Tensor, side: str) -> Tensor:
    """Normalise rows and express them in whole steps of 2^-26, (N, D) int32."""
    steps = torch.empty(features.shape, dtype=torch.int32, device=features.device)
    for start in range(0, len(features), _ROWS_PER_PRODUCT):
        block = features[start : start + _ROWS_PER_PRODUCT].detach().float().double()
        _check(bool(block.isfinite().all()), f"{side} features are not finite; look for NaN or inf in the encoder")
        norm = _tree_sum(block * block).sqrt().clamp(min=_MIN_NORM)
        steps[start : start + len(block)] = (block / norm[:, None] * _STEPS).round().int()
    return steps


def _tree_sum(values: Tensor) -> Tensor:
    """Sum (N, D) over D by halving: one fixed order, and zeros appended to a row change nothing."""
    width = 1 << max(0, values.shape[1] - 1).bit_length()
    values = torch.nn.functional.pad(values, (0, width - values.shape[1]))
    while width > 1:
        width //= 2
        values = values[:, :width] + values[:, width:]
    return values[:, 0]


def _mean(values: Tensor) -> float:
    return math.fsum(values.tolist()) / len(values)  # fsum is exact, so the order of summation does not matter


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True, eq=False)
class _Labels:
    """Who is whom: the gallery grouped by identity, so that no (Q, G) mask is ever needed."""

    group: Tensor  # (Q,) identity of each query as a gallery group, or the empty group at the end
    bounds: Tensor  # (groups + 2,) where each group starts in `members`
    members: Tensor  # (G,) gallery items by identity, ascending index within one
    item_group: Tensor  # (G,)
    query_keys: Tensor
    gallery_keys: Tensor
    exclude: Exclude

    @classmethod
    def of(cls, pids: _Sides, keys: _Sides, exclude: Exclude, shape: tuple[int, int], device: torch.device) -> _Labels:
        """Check the labels against the (Q, G) shape and group the gallery."""
        _check(exclude in get_args(Exclude), f"exclude is {exclude!r}; valid are {', '.join(get_args(Exclude))}")
        _check(min(shape) > 0, f"there are {shape[0]} queries and {shape[1]} gallery items; both must be at least 1")
        queries = _numbers(pids[0], "query_pids", shape[0], device)
        gallery = _numbers(pids[1], "gallery_pids", shape[1], device)
        if exclude == "none":
            keys = (queries, gallery)
        known, item_group, sizes = gallery.unique(return_inverse=True, return_counts=True)
        group = torch.searchsorted(known, queries)
        absent = known[group.clamp(max=len(known) - 1)] != queries
        bounds = torch.cat([sizes.new_zeros(1), sizes.cumsum(0), sizes.new_full((1,), shape[1])])
        members = item_group.sort(stable=True).indices
        query_keys = _numbers(keys[0], "query_keys", shape[0], device)
        gallery_keys = _numbers(keys[1], "gallery_keys", shape[1], device)
        group = group.masked_fill(absent, len(known))
        return cls(group, bounds, members, item_group, query_keys, gallery_keys, exclude)


def _numbers(values: Numbers | None, name: str, length: int, device: torch.device) -> Tensor:
    if values is None:
        raise ValueError(f"{name} is missing; every exclude but 'none' needs the keys of both sides")
    tensor = torch.as_tensor(values)
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    _check(whole, f"{name} has dtype {tensor.dtype}; it must hold whole numbers")
    _check(tensor.shape == (length,), f"{name} has shape {tuple(tensor.shape)}; it must be ({length},)")
    return tensor.to(device=device, dtype=torch.int64)


def _collect(chunks: Iterable[Tensor], labels: _Labels, unique_identities: bool, max_rank: int) -> Ranking:
    _check(max_rank > 0, f"max_rank is {max_rank}; it must be at least 1")
    parts, start = [], 0
    for chunk in chunks:
        for scores in chunk.split(max(1, _ITEMS_PER_PASS // chunk.shape[1])):
            rows = slice(start, start + len(scores))
            parts.append(_rank_block(scores.contiguous(), rows, labels, unique_identities))
            start = rows.stop
    per_query = [torch.cat(column) for column in zip(*parts, strict=True)]
    ap, inp, first_hit, relevant, _ = per_query
    valid = relevant > 0
    count = int(valid.sum())
    _check(count > 0, f"none of the {len(valid)} queries has a relevant gallery item left (exclude {labels.exclude!r})")
    hits = torch.bincount(first_hit[valid].clamp(max=max_rank + 1), minlength=max_rank + 2)
    cmc = hits[1 : max_rank + 1].cumsum(0).double() / count
    return Ranking(cmc, _mean(ap[valid]), _mean(inp[valid]), count, len(valid) - count, *per_query)


def _rank_block(scores: Tensor, rows: slice, labels: _Labels, unique_identities: bool) -> tuple[Tensor, ...]:
    """Rank a (B, G) block: ap, inp, first hit, relevant items and candidates, each (B,) on the CPU.

    Scores fall into equal bins. Whatever shares a bin with a relevant item is sorted, the rest is counted by bin. The
    bins decide how much is sorted, never the order.
    """
    own, relevant, hidden, removed = _own_items(rows, labels)
    bins = _bins(scores)
    bins[hidden] = 0  # below every other bin, so never ahead of anything
    height = len(scores)
    flat = (bins + torch.arange(height, device=bins.device, dtype=bins.dtype)[:, None] * _bin_count(scores)).flatten()
    counts = torch.bincount(flat, minlength=height * _bin_count(scores)).view(height, -1)
    wanted = torch.zeros_like(counts, dtype=torch.bool)
    row, slot = relevant.nonzero(as_tuple=True)
    wanted[row, bins[row, own[row, slot]].long()] = True
    chosen = wanted.flatten().index_select(0, flat).nonzero()[:, 0]
    row, item = chosen // scores.shape[1], chosen % scores.shape[1]
    order = (scores[row, item] + 0.0).sort(descending=True, stable=True).indices  # + 0.0: minus zero equals zero
    order = order[row[order].sort(stable=True).indices]
    row, item = row[order], item[order]
    # Items in a higher bin that are no candidates, plus the candidates ahead in the same row.
    passed = counts.masked_fill(wanted, 0).flip(1).cumsum(1).flip(1)[row, bins[row, item].long()]
    position = passed + _place_in_row(row, height)
    hit = labels.item_group[item] == labels.group[rows][row]
    row, item, position = row[hit], item[hit], position[hit] + 1
    count = relevant.sum(1)
    if unique_identities:
        first = 1 + _identities_before(scores, row, item, hidden, labels)
    ranks = torch.ones_like(own)
    ranks[row, _place_in_row(row, height)] = position
    ranks, count = ranks.cpu(), count.cpu()
    if not unique_identities:
        first = ranks[:, 0]
    kth = torch.arange(1, ranks.shape[1] + 1)
    precision = (kth / ranks.double()).masked_fill(kth > count[:, None], 0.0)
    last = ranks.gather(1, (count[:, None] - 1).clamp(min=0))[:, 0]
    skipped = count == 0
    ap = (_tree_sum(precision) / count).masked_fill(skipped, math.nan)
    inp = (count.double() / last).masked_fill(skipped, math.nan)
    return ap, inp, first.cpu().masked_fill(skipped, 0), count, (scores.shape[1] - removed).cpu()


def _own_items(rows: slice, labels: _Labels) -> tuple[Tensor, Tensor, _Pairs, Tensor]:
    """Items of each query's identity (B, W), the relevant among them, the excluded (row, item) pairs, their number."""
    group = labels.group[rows]
    start, size = labels.bounds[group], labels.bounds[group + 1] - labels.bounds[group]
    slot = torch.arange(max(1, int(size.max())), device=group.device)
    inside = slot < size[:, None]
    items = labels.members[(start[:, None] + slot).clamp(max=len(labels.members) - 1)]
    query_keys, item_keys = labels.query_keys[rows, None], labels.gallery_keys[items]
    if labels.exclude == "sysu":
        blind = query_keys == SYSU_QUERY_CAMERA
        relevant = inside & ~(blind & (item_keys == SYSU_HIDDEN_CAMERA))
        unseen = (labels.gallery_keys == SYSU_HIDDEN_CAMERA).nonzero()[:, 0]
        pairs = torch.cartesian_prod(blind.nonzero()[:, 0], unseen)
        return items, relevant, (pairs[:, 0], pairs[:, 1]), blind[:, 0] * len(unseen)
    hidden = inside & (query_keys == item_keys) if labels.exclude != "none" else torch.zeros_like(inside)
    row, column = hidden.nonzero(as_tuple=True)
    return items, inside & ~hidden, (row, items[row, column]), hidden.sum(1)


def _bin_count(scores: Tensor) -> int:
    return 2 + min(4096, scores.shape[1] // 4)


def _bins(scores: Tensor) -> Tensor:
    """Place scores in 1.._bin_count - 1, a larger one never in a lower bin; (B, G) int32."""
    low, high = scores.aminmax(dim=1, keepdim=True)
    _check(not bool(low.isnan().any()), "similarity holds NaN; look for it in the features")
    if not bool((torch.maximum(low.abs(), high.abs()) < _HUGE).all()):
        scores, low, high = (values.clamp(-_HUGE, _HUGE) for values in (scores, low, high))  # keeps high - low finite
    scale = ((_bin_count(scores) - 2) / (high - low)).nan_to_num(0.0).clamp(max=_HUGE)
    return ((scores - low) * scale).int().add_(1)


def _place_in_row(row: Tensor, height: int) -> Tensor:
    """Number the entries of each row from 0; `row` is sorted."""
    sizes = torch.bincount(row, minlength=height)
    return torch.arange(len(row), device=row.device) - (sizes.cumsum(0) - sizes)[row]


def _identities_before(scores: Tensor, row: Tensor, item: Tensor, hidden: _Pairs, labels: _Labels) -> Tensor:
    """Count the distinct identities with an item ahead of the first hit, (B,); `row` and `item` are the sorted hits."""
    best = _place_in_row(row, len(scores)) == 0
    first = torch.zeros(len(scores), 1, dtype=torch.int64, device=scores.device)
    first[row[best], 0] = item[best]
    score = scores.gather(1, first)
    index = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores > score) | (scores == score) & (index < first)
    ahead[hidden] = False
    where, column = ahead.nonzero(as_tuple=True)
    seen = torch.zeros(len(scores), len(labels.bounds), dtype=torch.bool, device=scores.device)
    seen[where, labels.item_group[column]] = True
    return seen.sum(1)
