"""Who asks, who answers, what is left out: the evaluation protocols, as data.

A protocol is a list of settings; a setting is one row of a result table. `plan` turns it into row numbers of a data
set, and `reidtrain.evaluate` ranks them. A new protocol is one entry of `PROTOCOLS`; one that bears the name that a
source writes into the captures' `dataset` column is taken for that data set without asking.

What holds for all of them: a mode with text asks once per caption, any other once per image; a row takes part when it
has the modalities of its side; the roles of the captures say who is query and who is gallery, and the rows of a
training or validation split are both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from reidtrain.batch import SEVEN_MODES, QueryMode, parse_mode
from reidtrain.errors import UserError
from reidtrain.protocols.infrared import Draw, OnePerCamera
from reidtrain.protocols.planning import PHOTOGRAPHS, missing, plan
from reidtrain.protocols.query_sets import MODALITIES, QuerySet, set_names
from reidtrain.protocols.settings import (
    GALLERY_ROLES,
    NO_CAPTION,
    QUERY_ROLES,
    Benchmark,
    ByRole,
    Part,
    Rows,
    Setting,
    Sides,
    Task,
    Unit,
)
from reidtrain.protocols.sketches import STYLES, PkuSplit, Styles

__all__ = [
    "GALLERY_ROLES",
    "NO_CAPTION",
    "PHOTOGRAPHS",
    "PROTOCOLS",
    "QUERY_ROLES",
    "Benchmark",
    "Part",
    "Rows",
    "Setting",
    "Sides",
    "Task",
    "Unit",
    "choose_protocol",
    "choose_settings",
    "missing",
    "plan",
]

_SEVEN = tuple(Setting(mode) for mode in SEVEN_MODES)
_TEXT, _SKETCH, _INFRARED, _BOTH = (parse_mode(text) for text in ("T", "S", "I", "T+S"))
_BACK = parse_mode("R->I")
_TRIALS = 10
_SEARCHES = {"all": (1, 2, 4, 5), "indoor": (1, 2)}


def _cameras(name: str, about: str) -> Benchmark:
    """Photographs ask photographs of other cameras: Market-1501 and its like."""
    return Benchmark(name, about, (Setting(PHOTOGRAPHS, exclude="same-camera"), *_SEVEN))


def _captions(name: str, about: str) -> Benchmark:
    """Captions ask all test images; with sketches and infrared also the rows of Tri- and CIRS-PEDES."""
    modes = (Setting(mode, exclude="source-image") for mode in SEVEN_MODES[1:])
    plain = Setting(_TEXT, exclude="none")
    removed = Setting(_TEXT, name="T->R, source removed", exclude="source-image")
    return Benchmark(
        name, about, (plain, removed, *modes, Setting(PHOTOGRAPHS)), other=Setting(_TEXT, exclude="source-image")
    )


def _tri(name: str) -> Benchmark:
    """The four rows that UNIReID prints."""
    return Benchmark(
        name,
        "as UNIReID prints it: captions against all test images, then captions, sketches and both, source removed",
        (
            Setting(_TEXT, exclude="none"),
            Setting(_TEXT, name="T->R, source removed", exclude="source-image"),
            Setting(_SKETCH, exclude="source-image"),
            Setting(_BOTH, exclude="source-image"),
        ),
        other=Setting(_BOTH, exclude="source-image"),
    )


def _drawn(mode: QueryMode, select: OnePerCamera, exclude: Literal["sysu", "same-camera"], name: str = "") -> Setting:
    return Setting(mode, name=name, exclude=exclude, unique_identities=True, select=select, trials=_TRIALS)


def _sysu(name: str, draw: Draw, about: str) -> Benchmark:
    infrared = [
        _drawn(
            _INFRARED,
            OnePerCamera(cameras, shots=shots, draw=draw),
            "sysu",
            f"I->R, {search}{', multi-shot' if shots > 1 else ''}",
        )
        for search, cameras in _SEARCHES.items()
        for shots in (1, 10)
    ]
    others = [
        _drawn(mode, OnePerCamera(cameras, draw=draw), "sysu", f"{mode.name}, {search}")
        for search, cameras in _SEARCHES.items()
        for mode in SEVEN_MODES
        if mode != _INFRARED
    ]
    other = _drawn(_INFRARED, OnePerCamera(_SEARCHES["all"], draw=draw), "sysu")
    return Benchmark(name, about, (*infrared, *others), other=other, ranks=(1, 10, 20))


def _llcm(name: str, about: str, *, released: bool) -> Benchmark:
    there = _drawn(_INFRARED, OnePerCamera(), "same-camera")
    back = (
        _drawn(_INFRARED, OnePerCamera(drawn="query"), "same-camera", "I->R, released as R->I")
        if released
        else _drawn(_BACK, OnePerCamera(), "same-camera")
    )
    return Benchmark(name, about, (there, back), other=there, ranks=(1, 10, 20))


def _regdb() -> Benchmark:
    select = ByRole(by_capture=True)
    both = tuple(Setting(mode, exclude="none", select=select) for mode in (parse_mode("R->I"), _INFRARED))
    about = "visible and thermal test images ask each other; ten splits with a model each, so one run is one split"
    return Benchmark("regdb", about, both, other=both[0], ranks=(1, 10, 20))


def _pku(name: str, select: PkuSplit, about: str) -> Benchmark:
    settings = tuple(Setting(mode, exclude="none", select=select, trials=_TRIALS) for mode in (_TEXT, _SKETCH, _BOTH))
    return Benchmark(name, about, settings, other=Setting(_BOTH, select=select, trials=_TRIALS))


def _market_sketch() -> Benchmark:
    every = Setting(_SKETCH, exclude="none", select=Styles())
    styles = tuple(replace(every, name=f"S->R, style {style}", select=Styles(style)) for style in STYLES)
    together = replace(every, name="S->R, multi-query", select=Styles(together=True))
    about = (
        "sketches of six artists: all, by style, and all of a person as one query; of some artists with "
        "--modes 'S->R, styles ABD' or 'S->R, multi-query ABD'"
    )
    settings = (every, *styles, together)
    return Benchmark("market-sketch-1k", about, settings, other=every, ranks=(1, 5, 10, 20), named=_some_styles)


def _some_styles(name: str) -> Setting | None:
    """Sketches of some artists: `S->R, styles ABD`; all of a person's among them as one: `S->R, multi-query ABD`."""
    found = re.fullmatch(r"S->R, (styles?|multi-query) ([A-Z]+)", name)
    if found is None:
        return None
    letters = "".join(sorted(set(found[2])))
    if not set(letters) <= set(STYLES):
        raise UserError(f"setting {name!r} asks for styles that Market-Sketch-1K has not: choose among {STYLES}")
    return Setting(_SKETCH, name=name, exclude="none", select=Styles(letters, together=found[1] == "multi-query"))


def _orbench() -> Benchmark:
    settings = []
    for name in set_names():
        given = {MODALITIES[kind] for kind in name.split("+")}
        mode = QueryMode(tuple(modality for modality in ("text", "sketch", "ir") if modality in given))
        settings.append(Setting(mode, name=name, exclude="none", select=QuerySet(name)))
    return Benchmark("orbench", "32 listed query sets of near infrared, colour pencil, sketch, text", tuple(settings))


_ALL = (
    Benchmark("generic", "seven query modes and photographs, on any manifest", (*_SEVEN, Setting(PHOTOGRAPHS))),
    _cameras("market1501", "photographs, same camera excluded, distractors kept; other modes where there are any"),
    _cameras("msmt17", "photographs, same camera excluded; versions 1 and 2 must not be mixed"),
    _cameras("cuhk03-np", "photographs, same camera excluded; the 767/700 protocol, detected or labelled boxes"),
    _captions("cuhk-pedes", "captions against all test images; with sketches and infrared, source image removed"),
    _captions("icfg-pedes", "captions against all test images; with sketches and infrared, source image removed"),
    _captions("rstpreid", "captions against all test images; with sketches and infrared, source image removed"),
    _tri("tri-cuhk-pedes"),
    _tri("tri-icfg-pedes"),
    _tri("tri-rstpreid"),
    _sysu("sysu-mm01", "agw", "infrared asks ten drawn galleries (seeded as AGW does), all-search and indoor-search"),
    _sysu("sysu-mm01-official", "official", "infrared asks the owners' ten permuted galleries, all and indoor"),
    _llcm("llcm", "both directions as the paper describes them, ten drawn galleries", released=False),
    _llcm("llcm-released-code", "both directions as the released script evaluates them", released=True),
    _regdb(),
    _pku("pku-sketch", PkuSplit(), "mean of ten stratified splits of 50 people, after our own published lists"),
    _pku("pku-sketch-given", PkuSplit("given"), "mean of ten splits, after lists that were read with the data set"),
    _market_sketch(),
    _orbench(),
)
PROTOCOLS: dict[str, Benchmark] = {protocol.name: protocol for protocol in _ALL}


def choose_protocol(datasets: Sequence[str], name: str | None = None) -> Benchmark:
    """Choose a protocol by its name, or by the data sets that a manifest holds.

    Args:
        datasets: values of the captures' `dataset` column.
        name: of the protocol; None chooses the one named as the only data set, else `generic`.

    Returns:
        The protocol.

    Raises:
        UserError: for an unknown name.

    Example:
        >>> choose_protocol(["my-crops"]).name
        'generic'
    """
    if name is None:
        found = set(datasets)
        return PROTOCOLS[found.pop()] if len(found) == 1 and found <= PROTOCOLS.keys() else PROTOCOLS["generic"]
    if name not in PROTOCOLS:
        raise UserError(f"protocol {name!r} is unknown: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def choose_settings(protocol: Benchmark, modes: Sequence[str] | None) -> tuple[Setting, ...]:
    """Choose settings of a protocol by their name or query mode.

    Args:
        protocol: whose settings come first; a mode that it does not know becomes a setting of its own.
        modes: names of settings, or query modes such as `T+S->R`, which stand for all settings of that mode unless one
            bears that name; None means all settings of the protocol.

    Returns:
        The settings, in the order asked for.

    Raises:
        UserError: for something that is neither.
    """
    if modes is None:
        return protocol.settings
    by_name = {setting.name: setting for setting in protocol.settings}
    chosen: dict[str, Setting] = {}
    for text in modes:
        if text not in by_name:
            own = protocol.named(text) if protocol.named else None
            if own is not None:
                chosen[text] = own
                continue
            mode = parse_mode(text)
            same = [by_name[mode.name]] if mode.name in by_name else [s for s in protocol.settings if s.mode == mode]
            new = replace(protocol.other, mode=mode, name="") if protocol.other else Setting(mode)
            chosen |= {setting.name: setting for setting in same or [new]}
        else:
            chosen[text] = by_name[text]
    return tuple(chosen.values())
