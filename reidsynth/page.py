"""A manifest as one HTML file that asks nothing of the net: counts, histograms, captures, rejects with reasons."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from reidsynth.errors import UserError
from reidsynth.qualitycard import shown as measured
from reidsynth.report import rows_of, sheet_rows
from reidsynth.schema import VERDICTS
from reidsynth.stats import place, stats
from reidsynth.storage import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidsynth.manifest import Manifest
    from reidsynth.sheets import Column, Row

_HEIGHT = 336  # twice the height on the page, for screens of two pixels a point


@dataclass(frozen=True, slots=True)
class Reject:
    """Rows of a table that failed for one reason.

    Args:
        table: its name.
        reason: why; numbers in it are left out, so that like rows stand together.
        rows: how many.
        columns: of what is shown.
        shown: some of them.
    """

    table: str
    reason: str
    rows: int
    columns: list[Column]
    shown: list[Row]


def write_report(manifest: Manifest, out: Path, *, rows: int = 12, rejects: int = 4, seed: int = 0) -> Path:
    """Write the page.

    Args:
        manifest: what to show.
        out: HTML file to write; its folder is made.
        rows: captures to show.
        rejects: captures to show for each reason of each table.
        seed: which captures.

    Returns:
        The file.

    Raises:
        UserError: for another extension, a negative number of rows, or a damaged shard.
    """
    from jinja2 import Environment

    from reidsynth.units import bytes_of

    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"a report is an HTML file, received {str(out)!r}: give it the extension .html")
    if rows < 0 or rejects < 0:
        raise UserError(f"numbers of captures to show are 0 or more, received {min(rows, rejects)}")
    source = (Path(__file__).parent / "templates" / "report.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True).from_string(source)
    found = stats(manifest)
    total = sum(table.bytes for table in found.tables.values()) + sum(shard.bytes for shard in manifest.info.captures)
    page = template.render(
        info=manifest.info,
        stats=found,
        sources=", ".join(sorted({source.dataset for source in manifest.info.sources})),
        size=bytes_of(total),
        checksum=manifest.checksum,
        verdicts=VERDICTS,
        share=_share,
        bytes_of=bytes_of,
        picture=_picture,
        shown=sheet_rows(manifest, rows=rows, seed=seed),
        rejects=_rejects(manifest, rejects),
        quality=measured(manifest.info),
    )
    write_text(out, page)
    return out


def _share(verdicts: Mapping[str, int], verdict: str) -> float:
    return round(100 * verdicts[verdict] / max(1, sum(verdicts.values())), 2)


def _picture(image: np.ndarray) -> str:
    """A data URL: JPEG for colour, PNG for greys, no larger than the page shows it."""
    picture = Image.fromarray(image)
    if picture.height > _HEIGHT:
        width = max(1, round(picture.width * _HEIGHT / picture.height))
        picture = picture.resize((width, _HEIGHT), Image.Resampling.LANCZOS)
    grey = image.ndim == 2 or bool((image == image[..., :1]).all())
    buffer = io.BytesIO()
    if grey:
        picture.convert("L").save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=88)
    kind = "png" if grey else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _rejects(manifest: Manifest, most: int) -> list[Reject]:
    found = []
    for name in sorted(manifest.tables, key=lambda table: place(manifest, table)):
        rows: dict[str, int] = {}
        chosen: dict[str, dict[str, list[int]]] = {}
        for split in manifest.splits:
            columns = manifest.table(name, split).columns(["verdict", "reason"]).to_pydict()
            for number, (verdict, told) in enumerate(zip(columns["verdict"], columns["reason"], strict=True)):
                if verdict not in ("fail", "error"):
                    continue
                reason = re.sub(r"\d+", "…", told or verdict)  # like rows under one heading
                rows[reason] = rows.get(reason, 0) + 1
                if rows[reason] <= most:
                    chosen.setdefault(reason, {}).setdefault(split, []).append(number)
        for reason, count in sorted(rows.items(), key=lambda item: (-item[1], item[0])):
            columns_shown, shown = rows_of(manifest, chosen.get(reason, {}))
            found.append(Reject(name, reason, count, columns_shown, shown))
    return found
