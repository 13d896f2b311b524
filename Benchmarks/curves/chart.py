"""A chart with both axes logarithmic, as SVG, without libraries."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 46


def text(number):
    """1,000,000 as 1M; 0.5 as it is."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def decades(low, high):
    """Powers of ten that hold all between them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0 ** power for power in range(first, max(last, first + 1) + 1)]


class Axis:
    def __init__(self, low, high, start, end):
        self.marks = decades(low, high)
        self.start, self.end = start, end

    def place(self, value):
        low, high = math.log10(self.marks[0]), math.log10(self.marks[-1])
        part = (math.log10(max(value, self.marks[0])) - low) / (high - low)
        return self.start + part * (self.end - self.start)


def line(points, x, y, style):
    where = " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in points)
    return f'<polyline points="{where}" fill="none" {style}/>'


def grid(x, y):
    parts = []
    for mark in y.marks:
        at = y.place(mark)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
                     'stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text(mark)}</text>')
    for mark in x.marks:
        at = x.place(mark)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
                     'stroke="#eee"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
                     f"{text(mark)}</text>")
    return parts


def chart(title, points, promise, axis, unit, promised):
    """Measured points as a line, what is promised dashed beside it.

    promise: (size, cost) pairs; promised: in a word.
    """
    sizes = [point[0] for point in points]
    costs = [cost for _, cost in points + promise]
    x = Axis(min(sizes), max(sizes), LEFT, WIDTH - RIGHT)
    y = Axis(min(costs), max(costs), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="34">{escape(unit)}; dashed: {escape(promised)}</text>',
        *grid(x, y),
        line(promise, x, y, 'stroke="#999" stroke-dasharray="5 4"'),
        line(points, x, y, 'stroke="#0a62a8" stroke-width="2"'),
    ]
    parts += [f'<circle cx="{x.place(a):.1f}" cy="{y.place(b):.1f}" r="3" fill="#0a62a8">'
              f"<title>{a:,} → {b:,.1f}</title></circle>" for a, b in points]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" '
                 f'text-anchor="middle">{escape(axis)}</text>')
    return "\n".join(parts + ["</svg>", ""])
