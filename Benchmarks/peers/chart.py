"""The chart of a comparison: horizontal bars, each group with a scale of its own."""
import statistics
from html import escape

from report import OURS, REFERENCES, number, values

WIDTH, LABELS, BARS, ROW, GAP = 760, 100, 500, 17, 34
SHOWN = (
    "one-to-one", "one-to-eight", "four-to-one", "single", "link", "round-trip",
    "round-trip-10k")

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 13px; font-weight: 600 }
  .note { font-size: 11px; fill: #59636e }
  .bar { fill: #b6bec8 } .ours { fill: #2563eb }
  .spread { stroke: #59636e; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 }
    .bar { fill: #4b5563 } .ours { fill: #4f8cff } .spread { stroke: #c9d1d9 }
  }
"""


def text(x, y, words, kind=""):
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'


def bar(name, row, work, y, scale):
    """One bar as long as the median, with a line over it from the least to the most."""
    low, median, high = (LABELS + value / scale * BARS for value in row)
    kind = "bar ours" if name == OURS else "bar"
    middle = y + ROW / 2 - 2
    return [
        text(0, y + 11, name),
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{max(1, median - LABELS):.1f}"'
        f' height="{ROW - 4}"/>',
        f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
        text(round(max(high, median) + 6), y + 11, number(row[1], work))]


def group(work, results, y):
    """The parts of one group, and where the next begins."""
    rows = {}
    for name, rounds in results.items():
        if name in REFERENCES or not rounds:
            continue
        if work.latency:
            # From the median to the 99th percentile, both the medians of all rounds.
            p50, p99 = (statistics.median(values(results, name, f)) for f in ("p50", "p99"))
            rows[name] = (p50, p50, p99)
        else:
            rates = values(results, name, "deliveries_per_second")
            rows[name] = (min(rates), statistics.median(rates), max(rates))
    scale = max(row[2] for row in rows.values())
    meaning = "µs, line to p99, shorter is better" if work.latency else "deliveries a second"
    parts = [text(0, y, work.title, "title"), text(LABELS + 180, y, meaning, "note")]
    y += 8
    for name, row in rows.items():
        parts += bar(name, row, work, y, scale)
        y += ROW
    return parts, y + GAP


def draw(report):
    machine = report.machine
    parts, y = [], 20
    for work, results in report.outcome:
        if work.name in SHOWN and any(name not in REFERENCES for name in results):
            more, y = group(work, results, y)
            parts += more
    # The version is the last word that has a digit and a dot.
    versions = ", ".join(
        f"{name} {short_version(version)}"
        for name, version in report.versions.items() if name not in REFERENCES)
    parts.append(text(0, y, versions, "note"))
    parts.append(text(
        0, y + 16, f"{machine['processor']}, {machine['cores']} cores, Linux"
        f" {machine['kernel']}; payload 128 bytes, medians, lines: least to most", "note"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}"'
        f' width="{WIDTH}" height="{y + 24}" role="img"'
        ' aria-label="Deliveries a second and round trips of several brokers">'
        f"<style>{STYLE}</style>" + "\n".join(parts) + "</svg>\n")


def short_version(version):
    words = [word.lstrip("v=") for word in version.split()]
    return next((word for word in words if word[:1].isdigit() and "." in word), version)
