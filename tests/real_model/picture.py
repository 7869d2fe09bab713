"""Figures of a report page, side by side, as one SVG file for a README.

  python3 tests/real_model/picture.py report.html out.svg "Change of later predictions, skipped in the past"
      "Top-5 overlap with the final prediction"
"""

import html
import re
import sys

page, out, *titles = sys.argv[1:]
text = open(page, encoding="utf-8").read()
style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
style = "\n".join(rule for rule in style.split("\n") if not rule.startswith(("body", "h1", ".wide", "th,"))).replace(
    ".figures { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; }", ""
)
style = re.sub(r"svg \{[^}]*\}", "", style)
figures, x, height = [], 0, 0
for title in titles:
    found = re.search(
        r'<svg viewBox="0 0 ([0-9.]+) ([0-9.]+)"[^>]*aria-label="' + re.escape(html.escape(title)) + r'">(.*?)</svg>',
        text,
        re.S,
    )
    if not found:
        sys.exit(f"error: {page}: expected a figure {title!r}, found none")
    figures.append(f'<g transform="translate({x:g} 0)">{found.group(3)}</g>')
    x, height = x + float(found.group(1)) + 20, max(height, float(found.group(2)))
with open(out, "w", encoding="utf-8") as file:
    file.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x - 20:g} {height:g}" role="img"'
        f' aria-label="{html.escape("; ".join(titles))}">\n<style>{style}</style>\n<rect width="100%" height="100%"'
        ' style="fill: var(--page)"/>\n'
        + "\n".join(figures)
        + "\n</svg>\n"
    )
