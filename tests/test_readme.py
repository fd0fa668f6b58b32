"""The programs in the README run as they stand, one after the other."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_the_programs_run_and_give_what_the_text_says(capsys):
    programs = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    names = {}
    for program in programs:
        exec(compile(program, "README.md", "exec"), names)
    assert len(programs) == 2
    made = np.array(capsys.readouterr().out.strip("[]\n").split(), dtype=float)
    data = names["denoiser_of_digits"].model.eigenvalues[:5]
    np.testing.assert_allclose(made, data, rtol=0.06)  # twenty steps: exact up to some percent
    assert names["pairs"].eigenvectors.shape == (5, 28 * 28)
    assert np.all(np.diff(names["pairs"].eigenvalues) < 0)
