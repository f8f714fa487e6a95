"""Finds what splits and manifests share: people, equal files, near-equal photographs; and duplicates within a split.

Two images are *equal* when their files are (SHA-256), and *near* when their perceptual hashes differ in at most
`distance` of 256 bits (`reidsynth.fingerprints`). Overlaps between a split that is trained on and one that is not are
leaks. What data sets hold of each other by their owners' word (`reidsynth.containment`) is told besides, for images
that a copy here may not show: cropped anew, or left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from reidsynth.containment import on_record
from reidsynth.errors import UserError
from reidsynth.fingerprints import MOST_DISTANCE
from reidsynth.imagescan import FLAT, UNREAD, Place, scan
from reidsynth.matches import Match, Matcher
from reidsynth.people import People

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Part:
    """One split of one manifest.

    Args:
        name: `manifest:split`.
        captures: rows.
        people: identities, distractors apart.
        datasets: data set -> rows.
        trained_on: whether rows are there to be trained on.
        images: compared.
        unread: images that can't be decoded; compared by checksum only.
        flat: images without structure, or that are not here; compared by checksum only.
        equal: images beyond the first of each set of equal files.
        near: images that are near another one of the part, and equal to none.
        asked_and_searched: images that are a query and, equal, in the gallery as another capture.
        two_people: sets of equal files that show different people by their labels.
        examples: pairs of captures, the nearest first.
    """

    name: str
    captures: int
    people: int
    datasets: dict[str, int]
    trained_on: bool
    images: int
    unread: int
    flat: int
    equal: int
    near: int
    asked_and_searched: int
    two_people: int
    examples: list[Match] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two parts share; pairs of numbers are counted in the first and in the second.

    Args:
        first: name of a part.
        second: name of a part.
        leak: whether one is trained on and the other is not, and they share people or images.
        people: identities with the same number in the same data set, where numbers mean the same person.
        people_shown: identities with an image that is equal or near to one of the other part.
        equal: images with an equal file in the other part.
        near: images with a near one in the other part, and no equal one.
        on_record: data sets whose photographs both hold, by their owners' word.
        examples: pairs of captures, the nearest first.
    """

    first: str
    second: str
    leak: bool
    people: int
    people_shown: tuple[int, int]
    equal: tuple[int, int]
    near: tuple[int, int]
    on_record: list[str]
    examples: list[Match] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.people or self.equal[0] or self.near[0] or self.on_record)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Args:
        parts: every split of every manifest.
        overlaps: every pair of parts.
        distance: bits within which hashes count as near.
    """

    parts: list[Part]
    overlaps: list[Overlap]
    distance: int

    @property
    def leaks(self) -> list[Overlap]:
        """Overlaps between what is trained on and what is not."""
        return [overlap for overlap in self.overlaps if overlap.leak]


def audit(
    manifests: Sequence[Manifest],
    *,
    run: Run,
    distance: int = MOST_DISTANCE,
    tables: Sequence[str] | None = None,
    examples: int = 5,
) -> Audit:
    """Compare the splits of some manifests with each other and with themselves.

    Args:
        manifests: one or several.
        run: engine and progress.
        distance: bits of 256 within which two images are near; 0 asks for equal hashes.
        tables: image tables to compare, each with its like; by default those that cameras and artists made.
        examples: pairs to name for each part and each pair of parts.

    Returns:
        Counts, with the pairs that they rest on.

    Raises:
        UserError: a distance out of range, a table that no manifest holds, the same manifest twice, or a damaged shard.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise UserError(
            f"--distance {distance} is out of range: hashes of 256 bits are compared within 0 to {MOST_DISTANCE}"
        )
    names = _names(manifests)
    places = [Place(m, split, _tables(m, tables)) for m in manifests for split in m.splits]
    held = {name for m in manifests for name, table in m.tables.items() if table.spec.kind == "image"}
    missing = [table for table in tables or () if table not in held]
    if missing:
        raise UserError(f"no manifest has an image table {missing[0]!r}: they hold {', '.join(sorted(held))}")
    people = People(places)
    matcher = Matcher(scan(places, run=run), people, distance)
    labels = [f"{names[str(place.manifest.path)]}:{place.split}" for place in places]
    parts = [_part(number, labels[number], places, people, matcher, examples) for number in range(len(places))]
    overlaps = [
        _overlap(first, second, parts, people, matcher, examples)
        for first, second in combinations(range(len(places)), 2)
    ]
    return Audit(parts, overlaps, distance)


def _names(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Path -> a short name that no other manifest has."""
    paths = [manifest.path for manifest in manifests]
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]} is named twice: splits of one manifest are compared with each other anyway")
    short = Counter(path.resolve().name for path in paths)
    return {str(path): path.resolve().name if short[path.resolve().name] == 1 else str(path) for path in paths}


def _tables(manifest: Manifest, wanted: Sequence[str] | None) -> tuple[str, ...]:
    image = [table for table in manifest.tables.values() if table.spec.kind == "image"]
    if wanted is not None:
        return tuple(table.name for table in image if table.name in wanted)
    taken = tuple(table.name for table in image if table.origin == "real" and table.modality != "mask")
    return taken or ("captures",)


def _part(number: int, name: str, places: Sequence[Place], people: People, matcher: Matcher, examples: int) -> Part:
    place = places[number]
    inside = matcher.within(number)
    state = matcher.state(number)
    return Part(
        name=name,
        captures=place.rows,
        people=len(people.of(number)),
        datasets=people.datasets[number],
        trained_on=people.trained_on[number],
        images=len(state),
        unread=int((state == UNREAD).sum()),
        flat=int((state == FLAT).sum()),
        equal=inside.equal,
        near=inside.near,
        asked_and_searched=matcher.asked_and_searched(number),
        two_people=matcher.two_people(number),
        examples=list(matcher.named(inside, examples)),
    )


def _overlap(
    first: int, second: int, parts: Sequence[Part], people: People, matcher: Matcher, examples: int
) -> Overlap:
    forth, back = matcher.between(first, second), matcher.between(second, first)
    shared = people.shared(first, second)
    apart = parts[first].trained_on != parts[second].trained_on
    return Overlap(
        first=parts[first].name,
        second=parts[second].name,
        leak=apart and bool(shared or forth.equal or forth.near),
        people=shared,
        people_shown=(matcher.people_of(forth), matcher.people_of(back)),
        equal=(forth.equal, back.equal),
        near=(forth.near, back.near),
        on_record=sorted(set(_recorded(parts[first], parts[second]))),
        examples=list(matcher.named(forth, examples)),
    )


def _recorded(first: Part, second: Part) -> Iterator[str]:
    for one in first.datasets:
        for other in second.datasets:
            yield from on_record(one, other)
