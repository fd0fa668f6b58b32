"""Ask other libraries' samplers whether they draw from the law that their formula promises.

    python book/audit.py            print what was found
    python book/audit.py --store    and write it into book/audit.json and book/audit.md

A library that is not installed is left out, with a line that says so; what is stored of it stays.
"""

import argparse
import json
import logging
import os
import platform
import sys
import warnings
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import audit_cases
import audit_more_cases
import numpy as np

from lindiff import _mistakes
from lindiff.testing import sampler_report

BOOK = Path(__file__).parent
STORE, PAGE = BOOK / "audit.json", BOOK / "audit.md"
BEGIN, END = "<!-- made by `python book/audit.py --store`: begin -->", "<!-- end -->"
DRAWS = 100_000
LIBRARIES = {
    "diffusers": audit_cases.diffusers,
    "azula": audit_cases.azula,
    "k-diffusion": audit_cases.k_diffusion,
    "deepinv": audit_more_cases.deepinv,
    "smalldiffusion": audit_more_cases.smalldiffusion,
    "denoising-diffusion-pytorch": audit_more_cases.denoising_diffusion_pytorch,
}


def examine(case, draws=DRAWS):
    """Return a row of what the oracle finds for one case."""
    row = {
        "sampler": case.sampler,
        "settings": case.settings,
        "rule": _mistakes.rule_name(case.step),
        "steps": len(case.sigmas) - 1,
        "note": case.note,
    }
    settings = {"like": case.like, "law": case.law, "rtol": case.rtol, "rng": 0, "draws": draws}
    try:
        report = sampler_report(
            case.sample, case.sigmas, step=case.step, coordinates=case.coordinates, **settings
        )
    except ValueError as error:
        return row | {"verdict": "fails", "error": str(error)}
    return row | {
        "verdict": "agrees" if report.agrees else "differs",
        "response": float(np.abs(report.response_error).max()),
        "variance": float(np.abs(report.variance_error).max()),
        "bias": float(np.abs(report.bias).max()),
        "draws": int(report.draws),
        "chance": report.chance,
        "tolerance": case.rtol,
        "explanations": list(report.explanations),
    }


def audit(names):
    """Examine the installed libraries among `names`."""
    import torch

    found = {}
    for name in names:
        try:
            release = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        torch.manual_seed(0)
        rows = []
        for case in LIBRARIES[name]():
            rows.append(examine(case))
            print(name, case.sampler, case.settings, *line(rows[-1]), sep=" | ", flush=True)
        found[name] = {
            "version": release,
            "date": date.today().isoformat(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "rows": rows,
        }
    return found


def line(row):
    """Return the cells of one row as text: rule, difference of the variances, finding."""
    if row["verdict"] == "fails":
        return [row["rule"], "–", "returns no numbers"]
    tiny = row["variance"] < 1e-4
    amount = f"{row['variance']:.0e}" if tiny else f"{row['variance']:.2g}"
    if row["draws"] and row["verdict"] == "agrees":
        return [row["rule"], amount, f"agrees (chance {row['chance']:.2g})"]
    words = row["verdict"]
    if row["explanations"]:
        words += ": as if " + ", or ".join(row["explanations"])
    return [row["rule"], amount, words]


def settled(rows):
    """Return how many settings there are, and how many follow the first rule they are held to."""
    first = {}
    for row in rows:
        first.setdefault((row["sampler"], row["settings"]), row["verdict"])
    return len(first), sum(verdict == "agrees" for verdict in first.values())


def table(stored):
    """Return the tables as the page shows them: a summary, then every comparison."""
    heads = ("library", "version", "settings", "follow the rule of their name", "run on", "torch")
    out = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, library in stored.items():
        total, agree = settled(library["rows"])
        cells = (name, library["version"], total, agree, library["date"], library["torch"])
        out += ["| " + " | ".join(map(str, cells)) + " |"]
    for name, library in stored.items():
        out += ["", f"### {name}", ""]
        out += ["| sampler | compared with | variances differ by | finding |", "|---|---|---|---|"]
        for row in library["rows"]:
            sampler = f"`{row['sampler']}`" + f" {row['settings']}" * bool(row["settings"])
            *cells, words = line(row)
            note = f" [why](#{row['note']})" if row["note"] else ""
            out += ["| " + " | ".join([sampler, *cells, words + note]) + " |"]
    return "\n".join(out)


def write(stored, page=PAGE):
    """Replace what stands between the marks of the page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{table(stored)}\n\n{END}{after}", encoding="utf-8")


def main(arguments=None):
    """Run the audit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="*", default=list(LIBRARIES))
    parser.add_argument("--store", action="store_true", help="write audit.json and audit.md")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # those of other libraries
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    found = audit(chosen.libraries)
    if chosen.store:
        old = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
        stored = {name: {**old, **found}[name] for name in LIBRARIES if name in {**old, **found}}
        STORE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        write(stored)


if __name__ == "__main__":
    main()
