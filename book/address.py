"""Write the address of the repository into pyproject.toml and CITATION.cff, once it has one.

    LINDIFF_REPOSITORY=https://github.com/OWNER/NAME python book/address.py

Without the variable the address is that of the git remote `origin`, as for the buttons of the
book. Running it again replaces what it wrote before. It needs nothing but Python.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))
from launch import repository

ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r"^\[project\.urls\]\n(?:\w+ = .*\n)*\n", re.M)
PLACE = "[tool.setuptools]\n"
CODE = re.compile(r"^repository-code: .*\n", re.M)


def with_urls(project, address):
    """Return the text of pyproject.toml with a table of addresses below `address`."""
    urls = {
        "Repository": address,
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    bare = TABLE.sub("", project)
    if bare.count(PLACE) != 1:
        raise ValueError(f"pyproject.toml has {bare.count(PLACE)} lines {PLACE!r}; expected one")
    return bare.replace(PLACE, f"[project.urls]\n{lines}\n{PLACE}")


def with_code(citation, address):
    """Return the text of CITATION.cff with `repository-code` before its licence."""
    bare = CODE.sub("", citation)
    return bare.replace("\nlicense:", f'\nrepository-code: "{address}"\nlicense:', 1)


def main(folder=ROOT):
    """Write the address, or say that none is known; return the exit status."""
    address = repository(folder)
    if address is None:
        print(
            "No address is known: set LINDIFF_REPOSITORY to https://github.com/OWNER/NAME, "
            "or give git a remote named origin on github.com.",
            file=sys.stderr,
        )
        return 2
    for name, change in (("pyproject.toml", with_urls), ("CITATION.cff", with_code)):
        path = Path(folder) / name
        path.write_text(change(path.read_text(encoding="utf-8"), address), encoding="utf-8")
    print(f"pyproject.toml and CITATION.cff now name {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
