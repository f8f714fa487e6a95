"""Pages: one HTML file that holds everything it shows and asks nothing of the net."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
from PIL import Image

from reidtrain.errors import UserError

_STYLE = """
:root { color-scheme: light; --ink: #1e2228; --faint: #747a82; --line: #e2e5e8; --right: #1e8c54; --wrong: #cd3a30; }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); margin: 2rem auto; max-width: 1180px;
  padding: 0 1.2rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1rem; margin: 0 0 .7rem; font-weight: 600; }
section { border-top: 1px solid var(--line); padding: 1.2rem 0; }
figure { margin: 0; display: inline-block; text-align: center; vertical-align: top; }
figcaption { font-size: .72rem; color: var(--faint); margin-top: .15rem; }
img { display: block; border-radius: 2px; }
.query { display: flex; gap: .8rem; align-items: flex-start; flex-wrap: wrap; margin-bottom: .9rem; }
blockquote { margin: 0; padding: .6rem .9rem; background: #f1f3f5; border-radius: 8px; max-width: 26rem; }
.gone div { width: 64px; height: 128px; border: 1px dashed #c8cdd2; border-radius: 2px; box-sizing: border-box; }
.mode { display: flex; gap: 1rem; align-items: center; border-top: 1px solid var(--line); padding: .5rem 0; }
.mode > b { width: 11rem; font-size: .85rem; flex: none; }
.answers { display: flex; gap: .4rem; flex-wrap: wrap; }
.right img { outline: 4px solid var(--right); outline-offset: -1px; }
.wrong img { outline: 4px solid var(--wrong); outline-offset: -1px; }
.answers figure { padding: 4px; }
.key { display: inline-block; width: .9em; height: .9em; vertical-align: -.1em; margin-left: 1em; }
.key.right { background: var(--right); } .key.wrong { background: var(--wrong); }
.none, .note { color: var(--faint); }
.words span { padding: .1em .15em; border-radius: 3px; }
svg { max-width: 100%; height: auto; }
"""


def image_tag(image: np.ndarray, height: int, label: str) -> str:
    """An `img` element that holds its picture.

    Args:
        image: uint8 (H, W, 3).
        height: in pixels of the page; stored at twice that at most.
        label: for readers who do not see it.
    """
    picture = Image.fromarray(image)
    if picture.height > 2 * height:
        width = max(1, round(picture.width * 2 * height / picture.height))
        picture = picture.resize((width, 2 * height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" height="{height}" alt="{html.escape(label)}">'


def write_page(out: str | Path, title: str, body: str) -> Path:
    """Write a page.

    Args:
        out: the file.
        title: of the page, as text.
        body: its HTML.

    Returns:
        The file.

    Raises:
        UserError: when it can't be written.
    """
    path = Path(out)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n', "utf-8")
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): give another file") from error
    return path
