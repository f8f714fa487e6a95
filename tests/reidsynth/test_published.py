"""Published sizes: parts add up to their whole, so a slip of the pen in one of them shows."""

from __future__ import annotations

import pytest

from reidsynth.published import Count, Published
from reidsynth.schema import Record
from reidsynth.sources import SOURCES, published_by, source_class

NEED_FILES = {"demo", "finegpr", "folder", "manifest"}  # theirs depend on what is there


def counts(name, **parameters):
    return published_by(source_class(name)(root="nowhere", **parameters)).counts


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - NEED_FILES))
@pytest.mark.parametrize("what", ["captures", "identities", "captions"])
def test_splits_add_up_to_the_whole(name, what):
    found = counts(name)
    whole = [getattr(count, what) for count in found if count.label == "all" and getattr(count, what)]
    parts: dict[str, list[int]] = {}
    for count in found:
        plain = count == Count(splits=count.splits, sure=count.sure, **{w: getattr(count, w) for w in WHATS})
        if len(count.splits) == 1 and plain and getattr(count, what) is not None:
            parts.setdefault(count.splits[0], []).append(getattr(count, what))
    assert all(len(set(values)) == 1 for values in parts.values())
    if whole and {"train", "test"} <= parts.keys():
        assert sum(values[0] for values in parts.values()) == whole[0]


WHATS = ("captures", "identities", "captions")


def total(found, **wanted):
    """Sum of the captures that are counted for rows like these, camera by camera or role by role."""
    return sum(
        count.captures
        for count in found
        if count.captures is not None and all(getattr(count, key) in value for key, value in wanted.items())
    )


def test_cameras_and_modalities_add_up():
    sysu, msmt, llcm, market = counts("sysu-mm01"), counts("msmt17"), counts("llcm"), counts("market1501")
    assert total(sysu, splits=[("train",)], camid=[1, 2, 4, 5]) == 20_284
    assert total(sysu, splits=[("train",)], camid=[3, 6]) == 9929
    assert total(sysu, splits=[("test",)], camid=[1, 2, 4, 5]) == 6775
    assert total(sysu, splits=[("test",)], camid=[3, 6]) == 3803
    assert total(msmt, camid=range(1, 16)) == total(msmt, splits=[("train",), ("val",)]) == 32_621
    assert 32_621 + total(msmt, splits=[("test",)]) == 126_441
    assert total(llcm, splits=[()], modality=["rgb", "ir"]) == 46_767
    assert total(llcm, splits=[("train",), ("test",)], modality=["rgb"]) == 25_626
    assert total(llcm, splits=[("train",), ("test",)], modality=["ir"]) == 21_141
    assert total(market, splits=[("train",), ("test",)]) == total(market, splits=[()])


@pytest.mark.parametrize("boxes", ["detected", "labelled"])
def test_cuhk03_lists_cover_all_files(boxes):
    found = counts("cuhk03-np", boxes=boxes)
    assert total(found, splits=[("train",), ("test",)]) == {"detected": 14_097, "labelled": 14_096}[boxes]


def test_a_count_is_of_the_rows_that_fit_all_it_says():
    row = Record("d/cam3/1", 7, 3, "query", "ir", "cam3/0007/1.jpg")
    assert Count().fits("test", row)
    assert Count(splits=("val", "test"), roles=("query",), modality="ir", camid=3, folder="cam3").fits("test", row)
    for other in (
        Count(splits=("train",)),
        Count(roles=("gallery",)),
        Count(modality="rgb"),
        Count(camid=6),
        Count(folder="cam"),
    ):
        assert not other.fits("test", row)


def test_numbers_are_compared_within_their_group_only():
    published = Published(people=(("train", "val"), ("test",)), shared=(("train", "val"),))
    assert not published.comparable("train", "val")
    assert not published.comparable("val", "test")
    assert Published().comparable("train", "test")
