"""A plugin for nbval: printed numbers are compared as numbers, everything else as text.

    python -m pytest -p nbval_numbers --nbval notebooks/*.ipynb     (with tests/ on PYTHONPATH)

Two outputs are the same if the words around their numbers are, line by line, and each number
agrees within one unit of its last printed digit: 0.734 with 0.735, and 5e-07 with 4e-07, but not
0.73 with 0.75. A whole number without a decimal point is a count and must be equal. Spaces do not
matter, since NumPy aligns columns by them.

A cell whose numbers may differ by more, such as a count of iterations, says so in its metadata:
``{"numbers": {"rtol": 0.1}}`` allows a tenth of the larger number, whole numbers included.
"""

import re

import nbval.plugin

# Not inside a word: the 2 of W2 and the 8 of float8 are text.
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")


def unit(text):
    """Return one unit of the last printed digit; zero for a whole number.

    >>> unit("0.25"), unit("3e-4"), unit("12"), unit("2.")
    (0.01, 0.0001, 0.0, 0.0)
    """
    digits, _, exponent = text.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    if not decimals and not exponent:
        return 0.0
    return float(f"1e{int(exponent or 0) - decimals}")


def close(first, second, rtol=0.0):
    """Whether two printed numbers agree.

    >>> close("0.734", "0.735"), close("0.734", "0.736"), close("7", "8"), close("7", "8", 0.2)
    (True, False, False, True)
    """
    a, b = (float(text.replace("−", "-")) for text in (first, second))
    # NumPy trims zeros: 2. stands for 2.00 where its neighbour says 2.01
    units = [size for size in (unit(first), unit(second)) if size > 0]
    room = min(units, default=0.0) + rtol * max(abs(a), abs(b))
    return abs(a - b) <= room * (1 + 1e-9)


def same_text(first, second, rtol=0.0):
    """Whether two printed texts agree.

    >>> same_text("error 0.51 of [ 1.  -0.2]", "error 0.50 of [1. -0.2]")
    True
    >>> same_text("error 0.51", "Error 0.51"), same_text("0.51", "0.53"), same_text("a", "a\\nb")
    (False, False, False)
    """
    lines = [text.rstrip("\n").split("\n") for text in (first, second)]
    return len(lines[0]) == len(lines[1]) and all(
        _same_line(a, b, rtol) for a, b in zip(*lines, strict=True)
    )


def _same_line(first, second, rtol):
    numbers = [NUMBER.findall(line) for line in (first, second)]
    words = [re.sub(r"\s+", "", NUMBER.sub("#", line)) for line in (first, second)]
    return words[0] == words[1] and all(close(a, b, rtol) for a, b in zip(*numbers, strict=True))


class Printed(str):
    """Text that is equal to text with the same words and close numbers."""

    rtol = 0.0

    def __eq__(self, other):
        return same_text(self, other, self.rtol)

    def __ne__(self, other):
        return not self == other

    __hash__ = None


def pytest_configure(config):
    """Let nbval compare such texts instead of plain ones."""
    plain = nbval.plugin.IPyNbCell.sanitize

    def sanitize(cell, text):
        clean = plain(cell, text)
        if not isinstance(clean, str):
            return clean
        printed = Printed(clean)
        printed.rtol = cell.cell.metadata.get("numbers", {}).get("rtol", 0.0)
        return printed

    nbval.plugin.IPyNbCell.sanitize = sanitize
