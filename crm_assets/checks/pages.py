"""Pages of Data Docs that need no network.

Belongs here: the look of Great Expectations' pages and their list. Not here: what stands on them (`suite.py`).

Its templates load styles, scripts, fonts and a logo from other people's servers whenever a page is opened. Those are
taken out, a look of our own is put in, and browsers are told to load nothing.
"""

import re
from pathlib import Path

_LOADED = re.compile(r"<link\b[^>]*>|<script\b.*?</script>|<img\b[^>]*>|<footer\b.*?</footer>", re.DOTALL)

_HEAD = """<head>
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""

_LOOK = """<style>
      :root { color-scheme: light dark; --line: #8885; --muted: #777; --shade: #8881; }
      body { font: 15px/1.5 "Noto Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; margin: 2rem auto;
        max-width: 72rem; padding: 0 1rem; }
      body > nav, .sticky .card:first-child, #section-1 .collapse, #section-1 [data-toggle=collapse] { display: none; }
      [href^=".."] { pointer-events: none; text-decoration: none; }
      h4, h5, h6, p { font-size: 1rem; margin: 0 0 .4rem; }
      a { color: inherit; }
      .row:has(> .col-lg-2) { display: grid; gap: 2rem; grid-template-columns: 15rem 1fr; }
      .sticky { max-height: 80vh; overflow: auto; position: sticky; top: 1rem; }
      .sticky ul { list-style: none; padding: 0; }
      .ge-section { border-top: 1px solid var(--line); padding: 1rem 0; }
      .alert h5 { font-size: 1.1rem; }
      .lead { color: var(--muted); }
      table { border-collapse: collapse; margin: .4rem 0 1rem; width: 100%; }
      th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
      th { color: var(--muted); font-weight: normal; }
      .badge { background: var(--shade); border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem; }
      .fas { font-style: normal; font-weight: bold; }
      .fa-check-circle::before { color: #2e8b57; content: "✓"; }
      .fa-times::before { color: #c0392b; content: "✗"; }
      .fa-exclamation-triangle::before { color: #b9770e; content: "!"; }
      @media (max-width: 50rem) { .row:has(> .col-lg-2) { display: block; } .sticky { position: static; } }
    </style>
  </head>"""


def without_network(page: str) -> str:
    """A page of Great Expectations that loads nothing and looks as it should without."""
    page = _LOADED.sub("", page)
    return page.replace("<head>", _HEAD, 1).replace("</head>", _LOOK, 1)


def write_page(folder: Path, name: str, page: str) -> Path:
    """Write a page of Data Docs, and the list of all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.html"
    path.write_text(page, "utf-8")
    pages = sorted(found.stem for found in folder.glob("*.html") if found.stem != "index")
    links = "\n".join(f'<li><a href="{page}.html">{page}</a></li>' for page in pages)
    head = f"{_HEAD}\n    <meta charset=utf-8><title>Data Docs</title>{_LOOK}"
    (folder / "index.html").write_text(
        f"<!doctype html><html>{head}<h1>Data Docs</h1>\n<ul>\n{links}\n</ul>\n", "utf-8"
    )
    return path
