"""Which data sets hold photographs of which others, as their owners and papers tell."""

from __future__ import annotations

CONTAINS: dict[str, tuple[str, ...]] = {
    "cuhk-pedes": ("market1501", "cuhk01", "cuhk03-np", "viper", "cuhk-sysu"),
    "msmt17-all": ("msmt17",),
    "icfg-pedes": ("msmt17",),
    "rstpreid": ("msmt17",),
    "market-sketch-1k": ("market1501",),
    "synth-pedes": ("luperson-nl", "lpw"),
    "orbench": ("sysu-mm01", "llcm"),
    "tri-cuhk-pedes": ("cuhk-pedes",),
    "tri-icfg-pedes": ("icfg-pedes",),
    "tri-rstpreid": ("rstpreid",),
    "cirs-cuhk-pedes": ("cuhk-pedes",),
    "cirs-icfg-pedes": ("icfg-pedes",),
    "cirs-rstpreid": ("rstpreid",),
    "cirs-sysu-mm01": ("sysu-mm01",),
}
"""Data set -> data sets whose photographs it holds; ORBench's file names tell whose, others are on record."""


def origins(dataset: str) -> frozenset[str]:
    """A data set and all whose photographs it holds.

    Example:
        >>> sorted(origins("market-sketch-1k"))
        ['market-sketch-1k', 'market1501']
    """
    return frozenset({dataset}.union(*(origins(inner) for inner in CONTAINS.get(dataset, ()))))


def on_record(first: str, second: str) -> frozenset[str]:
    """Data sets whose photographs two different data sets both hold; empty for a data set and itself.

    Example:
        >>> sorted(on_record("rstpreid", "icfg-pedes"))
        ['msmt17']
    """
    return frozenset() if first == second else origins(first) & origins(second)
