#!/usr/bin/env python3
"""Draws a flame graph: perf script -i perf.data | flame.py TITLE > graph.svg

Width is the share of samples; a frame stands on what called it. Frames under a thousandth
of the samples are left out.
"""
import re
import sys
from html import escape

WIDTH, ROW = 1200, 17


def stacks(lines):
    frames, thread = [], None
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if thread is not None:
                yield [thread, *reversed(frames)]
            frames, thread = [], None
        elif thread is None:
            name = re.match(r"\s*(.+?)\s+\d+(/\d+)?\s", line)
            # Sessions carry their id in the thread's name.
            thread = re.sub(r" [0-9a-f]{6,}$", "", name.group(1)) if name else "?"
        else:
            words = line.strip().split(" ", 1)
            name = words[1].rsplit(" (", 1)[0] if len(words) > 1 else "?"
            name = re.sub(r"\+0x[0-9a-f]+$", "", name)
            frames.append(re.sub(r"::h[0-9a-f]{16}$", "", name))
    if thread is not None:
        yield [thread, *reversed(frames)]


def grow(all_stacks):
    root = {"count": 0, "below": {}}
    for stack in all_stacks:
        node = root
        node["count"] += 1
        for frame in stack:
            node = node["below"].setdefault(frame, {"count": 0, "below": {}})
            node["count"] += 1
    return root


def depth(node, least):
    deeper = [depth(n, least) for n in node["below"].values() if n["count"] >= least]
    return 1 + max(deeper, default=0)


def draw(node, name, x, level, total, height, least):
    width = WIDTH * node["count"] / total
    y = height - (level + 1) * ROW
    hue = 20 + sum(name.encode()) % 40
    share = 100 * node["count"] / total
    shown = escape(name[: max(0, int(width / 7) - 1)])
    print(
        f'<g><title>{escape(name)}: {share:.1f} %</title><rect x="{x:.1f}" y="{y}" '
        f'width="{max(width - 0.3, 0.1):.1f}" height="{ROW - 1}" fill="hsl({hue},80%,68%)"/>'
        f'<text x="{x + 3:.1f}" y="{y + 12}">{shown}</text></g>'
    )
    for below, child in sorted(node["below"].items()):
        if child["count"] >= least:
            draw(child, below, x, level + 1, total, height, least)
            x += WIDTH * child["count"] / total


def main():
    root = grow(stacks(sys.stdin))
    total = max(root["count"], 1)
    least = total / 1000
    height = depth(root, least) * ROW + 30
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="monospace" font-size="11"><text x="4" y="16" font-size="14">'
        f"{escape(sys.argv[1])}: {total} samples</text>"
    )
    draw(root, "all", 0, 0, total, height, least)
    print("</svg>")


main()
