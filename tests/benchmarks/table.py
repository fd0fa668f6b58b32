"""Write the results of `make bench` into the book's performance page.

    python tests/benchmarks/table.py results.json book/performance.md

The page keeps its prose; what stands between the two marks is replaced.
"""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

SPACE = "\u00a0"  # a number stays with its unit
BEGIN, END = "<!-- made by `make bench`: begin -->", "<!-- made by `make bench`: end -->"


def duration(seconds):
    """A time with three digits and a fitting unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}{SPACE}{unit}"
    return f"{seconds * 1e9:.3g}{SPACE}ns"


def rows(results):
    """One row for each peer of each comparison."""
    for one in results["benchmarks"]:
        info, mine = one["extra_info"], duration(one["stats"]["median"])
        if "note" in info:
            yield f"| {info['work']} | {info['note']} | | {mine} | |"
        for peer in info.get("peers", []):
            name = peer["name"]
            if peer["share"] < 1:
                name += f" ({peer['share']:.0%} of it, scaled)"
            seconds = duration(peer["seconds"])
            ratio = f"{peer['ratio']:.1f}" if peer["ratio"] < 10 else f"{peer['ratio']:.0f}"
            yield f"| {info['work']} | {name} | {ratio}{SPACE}× | {mine} | {seconds} |"


def equal_residuals(results):
    """The table of ratios at equal residuals, one row for each solver and each problem."""
    found = [b["extra_info"] for b in results["benchmarks"] if "ratios" in b["extra_info"]]
    if found:
        targets = [f"{target:.0e}" for target in found[0]["residuals"]]
        yield f"\n| at equal residuals | solver | {' | '.join(targets)} |"
        yield "|---|---|" + "---|" * len(targets)
    for info in found:
        for solver, ratios in info["ratios"].items():
            shown = " | ".join("–" if ratio is None else f"{ratio:.2f}{SPACE}×" for ratio in ratios)
            yield f"| {info['work']} | {solver} | {shown} |"


def table(results):
    """The table and the line that says where it was made."""
    head = "| work | peer | ratio | ours | its time |\n|---|---|---|---|---|"
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "torch")
    )
    made = (
        f"Medians of interleaved rounds, one BLAS thread, {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}; command `make bench`."
    )
    return "\n".join([head, *rows(results), *equal_residuals(results), "", made])


def main(source, page):
    """Replace the table of `page` by that of the results in `source`."""
    page = Path(page)
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = table(json.loads(Path(source).read_text(encoding="utf-8")))
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
