"""Identity samplers: which captures stand together in a batch.

A plan of an epoch is a pure function of (seed, epoch), made alike by every process, each of which takes its own part of
every batch. So a run resumes at (epoch, batch) without replaying anything, and two processes of 32 see what one of 64
sees.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from reidtrain.errors import UserError
from reidtrain.mixing import deal, places_of_sets, spread, visits

Pairing = Literal["capture", "cross", "identity"]


@dataclass(frozen=True, slots=True)
class Draw:
    """What one place of a batch asks of the data set.

    Args:
        rows: modality -> row of the data set, -1 where the identity has none.
        label: identity label.
        caption: which caption of the text's row.
        epoch: counts the visits, so that each has its own augmentation.
    """

    rows: Mapping[str, int]
    label: int
    caption: int
    epoch: int


@dataclass(frozen=True)
class IdentityIndex:
    """What a sampler knows of a data set.

    Args:
        labels: (N,) identity label of each row, contiguous from 0.
        present: modality -> (N,) bool; its keys are the modalities drawn.
        caption_counts: (N,) captions of each row; None where there is no text.
        real: modality -> (N,) bool, rows that hold a real one; None where the difference does not count.
        datasets: (N,) name of each row's data set; None for one.
        shares: data set -> share of the places of a batch, positive; None to draw all captures alike.
    """

    labels: np.ndarray
    present: Mapping[str, np.ndarray]
    caption_counts: np.ndarray | None = None
    real: Mapping[str, np.ndarray] | None = None
    datasets: np.ndarray | None = None
    shares: Mapping[str, float] | None = None


class IdentitySampler(Sampler[list[Draw]]):
    """What identity samplers share: position, a process's part, choice of modalities. Serves as a `batch_sampler`.

    Real before synthetic: an identity that has a modality for real anywhere lends only real ones of it, even to a
    capture with a synthetic one of its own.

    With `shares` in the index, data sets are mixed: every batch holds about their shares of places, within a set every
    identity comes round equally often (with the sampler `random` every capture), and an epoch is as long as unmixed.

    Args:
        index: labels and modalities of the data set's rows.
        batch_size: places of a batch over all processes.
        per_identity: places that one identity takes.
        pairing: `capture`: all modalities come from one capture, and one that it lacks from another capture of the same
            identity, chosen at random; `cross`: the same, but the photograph comes from another capture, as it does in
            a search; `identity`: each modality comes from a capture of its own.
        seed: of all draws.
        part: number of this process and number of processes.
        shuffle_labels: pair every query with a photograph that is drawn from the whole split, anew at each visit, so
            that nothing can be learned: the control experiment that must end at chance. (Without photographs the first
            modality is drawn like that.)

    Raises:
        UserError: when the batch can't be filled or divided.
    """

    def __init__(
        self,
        index: IdentityIndex,
        *,
        batch_size: int,
        per_identity: int = 1,
        pairing: Pairing = "capture",
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
        shuffle_labels: bool = False,
    ) -> None:
        self.batch_size, self.per_identity, self.seed = batch_size, per_identity, seed
        self.rank, self.world_size = part
        if batch_size % (self.world_size * per_identity):
            raise UserError(
                f"a batch of {batch_size} can't be divided among {self.world_size} processes in groups of "
                f"{per_identity}: set sampler.batch_size to a multiple of {self.world_size * per_identity}"
            )
        present = {name: np.asarray(mask, dtype=bool) for name, mask in index.present.items()}
        self.modalities = tuple(present)
        self._main = "rgb" if "rgb" in present else self.modalities[0]
        self._present, self._captions = present, index.caption_counts
        self._same_capture, self._cross, self._shuffle = pairing != "identity", pairing == "cross", shuffle_labels
        self._label_of_row = index.labels
        count = int(index.labels.max()) + 1 if len(index.labels) else 0
        self._lends = {m: _preferred(present[m], (index.real or {}).get(m), index.labels, count) for m in present}
        self._rows = {m: _rows_by_label(index.labels, self._lends[m], count) for m in present}
        anything = np.logical_or.reduce(list(present.values()))
        every = _rows_by_label(index.labels, anything, count)
        mains = _rows_by_label(index.labels, present[self._main], count)
        self._anchors = [mine if len(mine) else other for mine, other in zip(mains, every, strict=True)]
        self._batches = self._count()
        self._datasets, self._shares = index.datasets, dict(index.shares or {})
        if self._shares:
            self._units = self._units_of_sets()
            self._places = self._share_out()
        self._epoch, self._batch = 0, 0

    @abstractmethod
    def _count(self) -> int:
        """Batches of an epoch; raises UserError where not even one can be filled."""

    @abstractmethod
    def plan(self, epoch: int) -> list[np.ndarray]:
        """Anchor captures of every batch of an epoch over all processes, a function of (seed, epoch) alone."""

    def _share_out(self) -> np.ndarray:
        """(batches, sets) places of each data set in each batch of an epoch.

        Raises:
            UserError: where a set has fewer units than it has places in some batch.
        """
        size = self.batch_size // self.per_identity
        places = places_of_sets([self._shares[name] for name in self._units], len(self), size)
        for (name, units), most in zip(self._units.items(), places.max(axis=0).tolist(), strict=True):
            if most > len(units):
                raise UserError(
                    f"a batch of {size} has up to {most} places for {name}, which has only {len(units)} to fill them: "
                    "lower its weight in data.mix, or sampler.batch_size"
                )
        return places

    def _mixed(self, epoch: int) -> list[np.ndarray]:
        """Identities (or captures, as the sampler deals them) of each batch of an epoch, data set after data set."""
        dealt = []
        for number, units in enumerate(self._units.values()):
            counts = self._places[:, number]
            rng = np.random.default_rng([self.seed, 2, epoch, number])
            dealt.append(np.split(units[deal(counts.tolist(), len(units), rng)], np.cumsum(counts)[:-1]))
        return [np.concatenate(parts) for parts in zip(*dealt, strict=True)]

    def _units_of_sets(self) -> dict[str, np.ndarray]:
        """Data set -> what is dealt of it: its identities."""
        return {name: np.unique(self._label_of_row[rows]) for name, rows in self._captures().items()}

    def _captures(self) -> dict[str, np.ndarray]:
        """Data set -> the captures that stand for its identities."""
        rows = np.sort(np.concatenate(self._anchors))
        names = np.full(len(rows), "") if self._datasets is None else self._datasets[rows]
        return {name: rows[names == name] for name in self._shares if bool((names == name).any())}

    def __len__(self) -> int:
        """Batches of an epoch, the same in every epoch and process."""
        return self._batches

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Say where the next iteration begins; it goes on to the end of that epoch."""
        self._epoch, self._batch = epoch, batch

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield this process's part of each batch, from the position set to the end of the epoch."""
        epoch, start = self._epoch, self._batch
        own = self.batch_size // self.world_size
        for number, anchors in enumerate(self.plan(epoch)):
            if number >= start:
                yield self._draws(anchors, epoch, number)[self.rank * own : (self.rank + 1) * own]

    def _draws(self, anchors: np.ndarray, epoch: int, batch: int) -> list[Draw]:
        rng = np.random.default_rng([self.seed, 1, epoch, batch])
        return [self._draw(int(anchor), epoch, rng) for anchor in anchors]

    def _draw(self, anchor: int, epoch: int, rng: np.random.Generator) -> Draw:
        label = int(self._label_of_row[anchor])
        rows: dict[str, int] = {}
        for modality in self.modalities:
            own = self._present if modality == self._main else self._lends
            if (modality == self._main or self._same_capture) and own[modality][anchor]:
                rows[modality] = anchor
            else:
                rows[modality] = _choose(self._rows[modality][label], rng)
        if self._cross and "rgb" in rows:
            others = self._rows["rgb"][label]
            rows["rgb"] = _choose(others[others != anchor], rng) if len(others) > 1 else rows["rgb"]
        if self._shuffle:
            rows[self._main] = _choose(np.flatnonzero(self._present[self._main]), rng)
        text = rows.get("text", -1)
        captions = int(self._captions[text]) if self._captions is not None and text >= 0 else 1
        return Draw(rows, label, int(rng.integers(max(1, captions))), epoch)


class TupleSampler(IdentitySampler):
    """One tuple of modalities for each of `batch_size` distinct identities.

    - Every batch holds `batch_size` distinct identities, so no place is another's positive by accident. (The authors of
      UNIReID draw captures at random, and an identity can meet itself.)
    - An epoch visits every capture once, in an order drawn anew, except those that can't be placed: of an identity with
      more captures than the epoch has batches a random choice, and what the last incomplete batch would hold.
    - Identities with many captures are seen more often than those with few.
    - A caption is drawn among those of the text's capture at each visit.
    - Processes get disjoint identities.
    - Arguments: see `IdentitySampler`; `per_identity` stays 1.

    References: FlexiReID, section 4 ("in a batch, we randomly select 64 identities, each containing a sketch, an
    infrared, a text, and an RGB sample"); UNIReID, section 4.

    Raises:
        UserError: when there are fewer identities than places in a batch.
    """

    def _count(self) -> int:
        counts = np.array([len(rows) for rows in self._anchors])
        identities = int((counts > 0).sum())
        if identities < self.batch_size:
            raise UserError(
                f"a batch of {self.batch_size} distinct identities can't be drawn from {identities}: set "
                f"sampler.batch_size to {identities} or less"
            )
        return _most_batches(counts, self.batch_size)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Deal the captures of an epoch to its batches.

        Identities in random order take places one after another along a row of random permutations of the batches; a
        permutation never gives an identity the same batch twice, and at the seam of two permutations the next one is
        rearranged. All batches end up equally full.
        """
        if self._shares:
            return self._mixed_plan(epoch)
        rng = np.random.default_rng([self.seed, 0, epoch])
        return spread([rows for rows in self._anchors if len(rows)], len(self), self.batch_size, rng)

    def _mixed_plan(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, 0, epoch])
        anchors = np.concatenate(self._anchors)
        rows = visits(self._label_of_row, anchors, np.concatenate(self._mixed(epoch)), rng).reshape(len(self), -1)
        return [rng.permutation(members) for members in rows]


class CaptureSampler(IdentitySampler):
    """Captures in random order, identities not kept apart: one may stand in a batch more than once.

    - An epoch visits every capture once, in an order drawn anew; what the last incomplete batch would hold is dropped.
    - The default of UNIReID's authors. Losses that take every other place for a negative push captures of one identity
      apart where it stands twice; `TupleSampler` is for them.
    - Processes may get captures of the same identity.
    - Arguments: see `IdentitySampler`; `per_identity` stays 1.

    Raises:
        UserError: when there are fewer captures than places in a batch.
    """

    def _count(self) -> int:
        captures = sum(len(rows) for rows in self._anchors)
        if captures < self.batch_size:
            raise UserError(
                f"a batch of {self.batch_size} can't be drawn from {captures} captures: set sampler.batch_size to "
                f"{captures} or less"
            )
        return captures // self.batch_size

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Shuffle the captures of an epoch."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        if self._shares:
            return [rng.permutation(members) for members in self._mixed(epoch)]
        order = rng.permutation(np.concatenate(self._anchors))
        return list(order[: len(self) * self.batch_size].reshape(-1, self.batch_size))

    def _units_of_sets(self) -> dict[str, np.ndarray]:
        """Data set -> what is dealt of it: its captures."""
        return self._captures()


class IdentityGroupSampler(IdentitySampler):
    """P identities with K captures each (P x K), as triplet losses want.

    - Every batch holds `batch_size` / `per_identity` distinct identities with `per_identity` captures of each, side by
      side; other modalities are paired as `pairing` says.
    - An epoch visits an identity once for every K captures that it has, with other captures each time, so that it is
      about as long as one of all captures (what the usual samplers, and the epochs of papers, count). What is left of
      an identity's captures, and of the identities when no batch can be filled, is another choice in every epoch.
    - An identity with fewer than K captures comes once, gives all of them and repeats some.
    - Processes get disjoint identities.
    - Arguments: see `IdentitySampler`; `per_identity` is K.

    References: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification" (arXiv 1703.07737);
    DMF (16 x 4).

    Raises:
        UserError: when there are fewer than P identities.
    """

    def _count(self) -> int:
        self._labels = np.flatnonzero([len(rows) > 0 for rows in self._anchors])
        groups = self.batch_size // self.per_identity
        if len(self._labels) < groups:
            raise UserError(
                f"{groups} identities for a batch can't be drawn from {len(self._labels)}: set sampler.batch_size to "
                f"{len(self._labels) * self.per_identity} or less"
            )
        self._turns = np.array([max(1, len(self._anchors[label]) // self.per_identity) for label in self._labels])
        return _most_batches(self._turns, groups)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Group the identities of an epoch, in random order, and draw captures of each."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        groups = self.batch_size // self.per_identity
        if self._shares:
            batches = [rng.permutation(labels) for labels in self._mixed(epoch)]
        elif int(self._turns.max()) == 1:
            batches = list(rng.permutation(self._labels)[: len(self) * groups].reshape(-1, groups))
        else:
            turns = [np.repeat(label, count) for label, count in zip(self._labels, self._turns, strict=True)]
            batches = spread(turns, len(self), groups, rng)
        left: dict[int, np.ndarray] = {}
        return [np.concatenate([self._next(int(label), left, rng) for label in batch]) for batch in batches]

    def _next(self, label: int, left: dict[int, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """K captures of an identity, others than at its last visits as long as there are enough."""
        if len(left.get(label, ())) < self.per_identity:
            left[label] = _take(self._anchors[label], max(self.per_identity, len(self._anchors[label])), rng)
        chosen, left[label] = left[label][: self.per_identity], left[label][self.per_identity :]
        return chosen


SAMPLERS: Mapping[str, type[IdentitySampler]] = {
    "tuples": TupleSampler,
    "random": CaptureSampler,
    "groups": IdentityGroupSampler,
}


def _choose(rows: np.ndarray, rng: np.random.Generator) -> int:
    return int(rows[rng.integers(len(rows))]) if len(rows) else -1


def _preferred(present: np.ndarray, real: np.ndarray | None, labels: np.ndarray, count: int) -> np.ndarray:
    """Rows that may lend a modality: the real ones of an identity, or all that it has where none is real."""
    if real is None:
        return present
    has_real = np.zeros(count, dtype=bool)
    has_real[labels[present & real]] = True
    lends: np.ndarray = present & (real | ~has_real[labels])
    return lends


def _rows_by_label(labels: np.ndarray, mask: np.ndarray, count: int) -> list[np.ndarray]:
    rows = np.flatnonzero(mask)
    order = rows[np.argsort(labels[rows], kind="stable")]
    ends = np.cumsum(np.bincount(labels[rows], minlength=count))
    return [part for part in np.split(order, ends[:-1])] if count else []


def _most_batches(counts: np.ndarray, size: int) -> int:
    """Largest L for which L batches of `size` distinct identities exist: sum of min(count, L) >= L * size."""
    low, high = 1, int(counts.sum()) // size
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(counts, middle).sum()) >= middle * size:
            low = middle
        else:
            high = middle - 1
    return low


def _take(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` rows, all different as long as there are enough."""
    repeats = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(repeats)])[:count]
