"""SYSU-MM01 and LLCM: a gallery of one (or ten) images for each identity and camera, drawn anew in every trial.

SYSU-MM01: A. Wu et al., "RGB-Infrared Cross-Modality Person Re-identification", ICCV 2017. Queries are all infrared
test images; the gallery holds cameras 1, 2, 4, 5 (all-search) or 1, 2 (indoor-search). Two ways of drawing are in use,
and their numbers differ a little:

- `agw`: `random.seed(trial)`, then `random.choice` over the sorted files of each folder, identities in the outer loop
  and cameras in the inner one, absent folders skipped without a draw (M. Ye et al., TPAMI 2021, and those who follow).
  That code has single-shot galleries only; for multi-shot ones we take `random.sample` of ten in the same loops.
- `official`: the owners' fixed permutations (`rand_perm_cam.mat`), the first (or the first ten) of the trial's row.

LLCM: Y. Zhang and H. Wang, "Diverse Embedding Expansion Network", CVPR 2023; the same draw over all nine cameras. What
the released script evaluates as visible-to-infrared is in truth drawn infrared queries against all visible images;
`drawn="query"` does that.

Queries with text or sketch are not part of either benchmark; CIRS-PEDES (FlexiReID) adds them to SYSU-MM01. There they
are decided thus: a query without infrared is a test photograph's text or sketch, and the photograph is not in the
trial's gallery; a query with infrared is an infrared image together with text or sketch of another photograph of that
person, again none of the trial's gallery, chosen by hash(trial, sample id).
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reidtrain.batch import QueryMode
from reidtrain.errors import UserError
from reidtrain.protocols.settings import GALLERY_ROLES, QUERY_ROLES, Rows, Sides, has

SYSU, PERMUTATIONS = "sysu-mm01", "rand-perm-cam"

Draw = Literal["agw", "official"]
Groups = dict[tuple[int, int], list[int]]


@dataclass(frozen=True, slots=True)
class OnePerCamera:
    """A drawn gallery.

    Args:
        cameras: of the gallery, None for all.
        shots: images of each (identity, camera).
        draw: `agw` or `official`, see the module.
        drawn: which side is drawn; the other side holds all images of its modality.
    """

    cameras: tuple[int, ...] | None = None
    shots: int = 1
    draw: Draw = "agw"
    drawn: Literal["gallery", "query"] = "gallery"
    draws = True

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """Draw the sides of one trial.

        Raises:
            UserError: for `official` on a manifest without permutations, or with some that do not fit.
        """
        drawn = self._draw(mode.gallery if self.drawn == "gallery" else mode.query, rows, trial)
        if self.drawn == "query":
            gallery = np.flatnonzero(_camera_side(rows, mode.gallery, GALLERY_ROLES) & has(rows, mode.gallery))
            return Sides(drawn[has(rows, mode.query)[drawn]], gallery)
        gallery = drawn[has(rows, mode.gallery)[drawn]]
        if _camera(mode.query) == "ir":
            return _infrared_queries(mode, rows, gallery, trial)
        # Text and sketches belong to photographs: those of the trial's gallery do not ask.
        asking = _camera_side(rows, mode.query, QUERY_ROLES if mode.gallery == ("ir",) else GALLERY_ROLES)
        asking[drawn] = False
        able = asking & has(rows, mode.query)
        return Sides(np.flatnonzero(able), gallery, int(asking.sum() - able.sum()))

    def _draw(self, modalities: tuple[str, ...], rows: Rows, trial: int) -> np.ndarray:
        """Rows drawn, by identity and then camera. Rows that can't be read are drawn too: a draw follows the files."""
        side = _camera_side(rows, modalities, GALLERY_ROLES + QUERY_ROLES)
        groups: Groups = {}
        order = sorted(np.flatnonzero(side).tolist(), key=lambda row: str(rows.source_paths[row]))
        for row in order:  # as the files of one folder are sorted
            camera = int(rows.camids[row])
            if self.cameras is None or camera in self.cameras:
                groups.setdefault((int(rows.labels[row]), camera), []).append(row)
        chosen = self._official(groups, rows, trial) if self.draw == "official" else self._seeded(groups, trial)
        return np.asarray(chosen, dtype=np.int64)

    def _seeded(self, groups: Groups, trial: int) -> list[int]:
        draw = random.Random(trial)
        if self.shots == 1:
            return [draw.choice(groups[key]) for key in sorted(groups)]
        return [row for key in sorted(groups) for row in draw.sample(groups[key], min(self.shots, len(groups[key])))]

    def _official(self, groups: Groups, rows: Rows, trial: int) -> list[int]:
        kept = rows.lists.get(SYSU, {}).get(PERMUTATIONS)
        if kept is None:
            raise UserError(
                "the manifest keeps no permutations: put the owners' rand_perm_cam.mat into exp/ and ingest SYSU-MM01 "
                "again, or use the seeded draws (protocol sysu-mm01)"
            )
        chosen = []
        for (_, camera), members in sorted(groups.items()):
            pid = int(rows.pids[members[0]])
            try:
                order = kept[camera - 1][pid - 1][trial]
                if sorted(order) != list(range(1, len(members) + 1)):
                    raise IndexError
                chosen += [members[number - 1] for number in order[: self.shots]]
            except IndexError as error:
                raise UserError(
                    f"the permutations of SYSU-MM01 do not fit person {pid} at camera {camera} in trial {trial + 1} "
                    f"({len(members)} images here): check that the copy of the data set is complete"
                ) from error
        return chosen


def _camera(modalities: tuple[str, ...]) -> str:
    """What the camera behind a side took: infrared where the side holds it, photographs otherwise."""
    return "ir" if "ir" in modalities else "rgb"


def _camera_side(rows: Rows, modalities: tuple[str, ...], roles: tuple[str, ...]) -> np.ndarray:
    side: np.ndarray = np.isin(rows.roles, roles) & (rows.captured == _camera(modalities))
    return side


def _infrared_queries(mode: QueryMode, rows: Rows, gallery: np.ndarray, trial: int) -> Sides:
    """All infrared images ask; what else the mode needs is lent by a photograph outside the gallery."""
    asking = _camera_side(rows, ("ir",), QUERY_ROLES)
    query = np.flatnonzero(asking & has(rows, ("ir",)))
    wanted = tuple(modality for modality in mode.query if modality != "ir")
    if wanted:
        able = has(rows, wanted)
        able[gallery] = False
        lenders: dict[int, list[int]] = {}
        for row in np.flatnonzero(able).tolist():
            lenders.setdefault(int(rows.labels[row]), []).append(row)
        query = np.asarray([row for row in query if int(rows.labels[row]) in lenders], dtype=np.int64)
        lent = [_pick(lenders[int(rows.labels[row])], trial, str(rows.sample_ids[row])) for row in query]
        partner = np.asarray(lent, dtype=np.int64)
        return Sides(query, gallery, int(asking.sum()) - len(query), dict.fromkeys(wanted, partner))
    return Sides(query, gallery, int(asking.sum()) - len(query))


def _pick(members: list[int], trial: int, sample_id: str) -> int:
    digest = hashlib.blake2b(f"{trial}\x1f{sample_id}".encode(), digest_size=8).digest()
    return members[int.from_bytes(digest, "little") % len(members)]
