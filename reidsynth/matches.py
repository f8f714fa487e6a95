"""Pairs of equal and of near images, out of the fingerprints of several splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.fingerprints import distances, near_pairs
from reidsynth.imagescan import HASHED
from reidsynth.schema import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidsynth.imagescan import Scan
    from reidsynth.people import People

EQUAL = -1  # in the place of a distance: the files themselves are equal
_ASKED = [number for number, role in enumerate(ROLES) if "query" in role]
_SEARCHED = [number for number, role in enumerate(ROLES) if "gallery" in role]


@dataclass(frozen=True, slots=True)
class Match:
    """Two images that are equal or near.

    Args:
        first: sample_id of one.
        second: sample_id of the other.
        people: labels, as `data set:person number`.
        distance: bits of 256; None where the files are equal.
    """

    first: str
    second: str
    people: tuple[str, str]
    distance: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """Images of one part with what each is nearest to; arrays run over pairs and hold numbers of images.

    Args:
        images: with a partner.
        partners: the nearest ones.
        distance: bits; EQUAL where the files are equal.
    """

    images: np.ndarray
    partners: np.ndarray
    distance: np.ndarray

    @property
    def equal(self) -> int:
        """Images with an equal file."""
        return int((self.distance == EQUAL).sum())

    @property
    def near(self) -> int:
        """Images with a near one and no equal one."""
        return len(self.images) - self.equal


class Matcher:
    """Compares parts.

    Args:
        scan: fingerprints.
        people: who is on the rows.
        distance: bits within which two hashes are near.
    """

    def __init__(self, scan: Scan, people: People, distance: int) -> None:
        self.scan, self.people = scan, people
        self._of_part = [np.flatnonzero(scan.part == number) for number in range(len(people.places))]
        self._hash, self._edges = _neighbours(scan, distance)

    def state(self, part: int) -> np.ndarray:
        """State of a part's images."""
        states: np.ndarray = self.scan.state[self._of_part[part]]
        return states

    def between(self, part: int, other: int) -> Found:
        """Images of a part with an equal or a near one in another part."""
        here, there = self._of_part[part], self._of_part[other]
        images, partners = _lookup(self.scan.same, here, there)
        rest = np.setdiff1d(here, images, assume_unique=True)
        rest = rest[self._hash[rest] >= 0]
        targets, first = np.unique(self._hash[there], return_index=True)
        targets, first = targets[targets >= 0], first[targets >= 0]
        own = self._hash[rest][np.isin(self._hash[rest], targets)]
        ids, nearest, bits = self._nearest(self._hash[rest], targets, np.unique(own))
        return _joined(
            (images, partners), self._near_images(rest, ids), (there[first][np.searchsorted(targets, nearest)], bits)
        )

    def within(self, part: int) -> Found:
        """Images beyond the first of those with equal files, and images near another one and equal to none."""
        here = self._of_part[part]
        _, first, group, sizes = np.unique(
            self.scan.same[here], return_index=True, return_inverse=True, return_counts=True
        )
        later = here[first][group] != here
        rest = here[(sizes[group] == 1) & (self._hash[here] >= 0)]
        by_hash = here[np.lexsort((here, self.scan.same[here], self._hash[here]))]
        hashes = self._hash[by_hash]
        targets, start, counts = np.unique(hashes, return_index=True, return_counts=True)
        lowest, highest = by_hash[start], by_hash[start + counts - 1]
        known = targets >= 0
        targets, lowest, highest = targets[known], lowest[known], highest[known]
        twice = targets[self.scan.same[lowest] != self.scan.same[highest]]
        ids, nearest, bits = self._nearest(self._hash[rest], targets, twice)
        place = self._near_images(rest, ids)
        at = np.searchsorted(targets, nearest)[place[1]]
        partners = np.where(lowest[at] == place[0], highest[at], lowest[at])
        return Found(
            np.concatenate([here[later], place[0]]),
            np.concatenate([here[first][group][later], partners]),
            np.concatenate([np.full(int(later.sum()), EQUAL), bits[place[1]]]),
        )

    def asked_and_searched(self, part: int) -> int:
        """Queries whose file is in the gallery as another capture."""
        here = self._of_part[part]
        roles = self.people.roles[part][self.scan.row[here]]
        asked, searched = here[np.isin(roles, _ASKED)], here[np.isin(roles, _SEARCHED)]
        rows_of: dict[int, set[int]] = {}
        for key, row in zip(self.scan.same[searched].tolist(), self.scan.row[searched].tolist(), strict=True):
            rows_of.setdefault(key, set()).add(row)
        queries = zip(self.scan.same[asked].tolist(), self.scan.row[asked].tolist(), strict=True)
        return sum(bool(rows_of.get(key, set()) - {row}) for key, row in queries)

    def two_people(self, part: int) -> int:
        """Sets of equal files with several people of one data set."""
        here = self._of_part[part]
        who = self.people.numbers[part][self.scan.row[here]]
        pairs = np.unique(np.stack([self.scan.same[here], who], axis=1)[who >= 0], axis=0)
        seen: set[tuple[int, str]] = set()
        twice: set[int] = set()
        keys, counts = np.unique(pairs[:, 0], return_counts=True)
        for key, number in pairs[np.isin(pairs[:, 0], keys[counts > 1])].tolist():
            label = (key, self.people.dataset_of[number])
            twice |= {key} if label in seen else set()
            seen.add(label)
        return len(twice)

    def people_of(self, found: Found) -> int:
        """Identities on the images found."""
        return len(np.unique([number for number in self._who(found.images).tolist() if number >= 0]))

    def named(self, found: Found, most: int | None = None) -> Iterator[Match]:
        """Name pairs, equal ones first, then the nearest.

        Args:
            found: pairs.
            most: how many; None for all.
        """
        for pair in np.lexsort((found.images, found.distance))[:most].tolist():
            one, other = self._capture(int(found.images[pair])), self._capture(int(found.partners[pair]))
            bits = int(found.distance[pair])
            labels = f"{one['dataset']}:{one['pid']}", f"{other['dataset']}:{other['pid']}"
            yield Match(one["sample_id"], other["sample_id"], labels, None if bits == EQUAL else bits)

    def _who(self, images: np.ndarray) -> np.ndarray:
        numbers = np.full(len(images), -1)
        for part in np.unique(self.scan.part[images]).tolist():
            there = self.scan.part[images] == part
            numbers[there] = self.people.numbers[part][self.scan.row[images[there]]]
        return numbers

    def _capture(self, image: int) -> dict[str, Any]:
        place = self.people.places[int(self.scan.part[image])]
        return place.captures[int(self.scan.row[image])]

    def _nearest(
        self, hashes: np.ndarray, targets: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each hash that has one, the nearest target: (hashes, targets, bits); `own` may be their own target."""
        wanted = np.unique(hashes)
        edges = self._edges[np.isin(self._edges[:, 0], wanted) & np.isin(self._edges[:, 1], targets)]
        own = own[np.isin(own, wanted)]
        edges = np.concatenate([np.stack([own, own, np.zeros_like(own)], axis=1), edges])
        edges = edges[np.lexsort((edges[:, 1], edges[:, 2], edges[:, 0]))]
        ids, first = np.unique(edges[:, 0], return_index=True)
        return ids, edges[first, 1], edges[first, 2]

    def _near_images(self, rest: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images whose hash is among `ids`, and the place of each one's hash there."""
        near = rest[np.isin(self._hash[rest], ids)]
        return near, np.searchsorted(ids, self._hash[near])


def _neighbours(scan: Scan, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of each image's hash (-1 without one; the same for equal hashes of one table), and (hash, hash, bits)."""
    numbers = np.full(len(scan.part), -1, np.int64)
    edges = [np.empty((0, 3), np.int64)]
    total = 0
    for table in np.unique(scan.table).tolist():
        there = np.flatnonzero((scan.table == table) & (scan.state == HASHED))
        if not len(there):
            continue
        unique, inverse = np.unique(scan.hashes[there], axis=0, return_inverse=True)
        numbers[there] = inverse.ravel() + total
        pairs = near_pairs(unique, distance)
        bits = distances(unique[pairs[:, 0]], unique[pairs[:, 1]])[:, None]
        edges.append(np.concatenate([pairs + total, bits], axis=1))
        edges.append(np.concatenate([pairs[:, ::-1] + total, bits], axis=1))
        total += len(unique)
    return numbers, np.concatenate(edges)


def _lookup(keys: np.ndarray, here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of `here` whose key is also there, and the first image there with that key."""
    known, first = np.unique(keys[there], return_index=True)
    images = here[np.isin(keys[here], known)]
    return images, there[first][np.searchsorted(known, keys[images])]


def _joined(
    equal: tuple[np.ndarray, np.ndarray], near: tuple[np.ndarray, np.ndarray], nearest: tuple[np.ndarray, np.ndarray]
) -> Found:
    partners, bits = nearest
    return Found(
        np.concatenate([equal[0], near[0]]),
        np.concatenate([equal[1], partners[near[1]]]),
        np.concatenate([np.full(len(equal[0]), EQUAL), bits[near[1]]]),
    )
