"""The local Sphinx extension, alone and in two small books: one is right, one has every fault."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import accessible
import formulas
import launch
import light
import nbformat
import offline
import pytest
import slides
import statements
import versions
from bs4 import BeautifulSoup
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ff"
    "ff3f0005fe02fe0def46b80000000049454e44ae426082"
)

# --- what comes from another host ---------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<script src="//cdn.example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://cdn.example.org/a.css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<img alt="x" src="http://example.org/a.png">',
        '<img alt="x" src="a.png" srcset="a.png 1x, https://example.org/b.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        '<video poster="https://example.org/a.png"></video>',
        '<video><source src="https://example.org/a.mp4"></video>',
        '<object data="https://example.org/a.svg"></object>',
        '<svg><image xlink:href="https://example.org/a.png"/></svg>',
        '<div style="background: url(https://example.org/a.png)"></div>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<style>@font-face { src: url("//example.org/a.woff2") }</style>',
        "<script>fetch('https://example.org/data.json')</script>",
        '<script type="module">import x from "https://example.org/x.js"</script>',
        "<button onclick=\"new Image().src='https://example.org/a.gif'\">x</button>",
        '<base href="/elsewhere/">',
    ],
)
def test_every_way_to_load_from_another_host_is_seen(html):
    assert offline.remote_loads(f"<html><body>{html}</body></html>")


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.org">a link</a>',
        '<link rel="canonical" href="https://example.org/page.html">',
        '<img alt="x" src="data:image/png;base64,AAAA//aa">',
        '<script src="_static/a.js"></script>',
        "<script>document.createElementNS('http://www.w3.org/2000/svg', 'svg')</script>",
        "<p>fetch('https://example.org')</p>",
        '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    ],
)
def test_what_loads_nothing_is_welcome(html):
    assert offline.remote_loads(f"<html><body>{html}</body></html>") == []


def test_mathjax_is_found_in_the_installed_package():
    folder = offline.mathjax_folder()
    needed = [offline.FONTS, *formulas.COMPONENTS]
    assert [name for name in needed if not (folder / name).exists()] == []


# --- formulas -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mathjax():
    with formulas.engine({"E": r"\mathbb{E}"}) as engine:
        yield engine


def test_a_formula_becomes_markup_with_words_for_a_screen_reader(mathjax):
    page = f"<p>so {formulas.marked('E<mc^2')} and {formulas.marked('a', True)}</p>"
    shown, faults = formulas.typeset(page, mathjax)
    soup = BeautifulSoup(shown, "html.parser")
    first, second = soup.find_all("mjx-container")
    assert faults == [] and "tex-" not in shown
    assert first.find("mjx-math")["aria-hidden"] == "true"
    assert first.find("math").get_text() == "E<mc2" and first.find("msup")
    assert second["display"] == "true"


@pytest.mark.parametrize(
    ("tex", "fault"),
    [
        (r"\smigma", r"Undefined control sequence \smigma"),
        (r"\frac{1}{2", "Missing close brace"),
        (r"\left( x", r"Extra \left or missing \right"),
        (r"x^2^3", "Double exponent: use braces to clarify"),
        (r"\begin{aligned} x", r"Missing \end{aligned}"),
    ],
)
def test_a_fault_in_a_formula_is_told_with_the_formula(mathjax, tex, fault):
    assert formulas.typeset(formulas.marked(tex), mathjax)[1] == [f"{fault} in {tex!r}"]


def test_macros_are_those_of_the_settings(mathjax):
    assert formulas.typeset(formulas.marked(r"\E x"), mathjax)[1] == []
    assert formulas.typeset(formulas.marked(r"\newcommand{\F}{x}"), mathjax)[1]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("If {}, then", "{},"),
        ("the {}-th one", "{}-th"),
        ("(see {}).", "{})."),
        ("a (non-{}) b", "(non-{})"),
        ("<td>{}</td>", None),
        ("x <em>y</em> {} z", None),
    ],
)
def test_what_touches_a_formula_stays_on_its_line(mathjax, text, kept):
    formula = f'<span class="math notranslate">{formulas.marked("k")}</span>'
    soup = BeautifulSoup(formulas.typeset(text.format(formula), mathjax)[0], "html.parser")
    for container in soup.find_all("mjx-container"):
        container.replace_with("k")
    found = soup.find("span", class_="unbroken")
    assert (found and found.get_text()) == (kept and kept.format("k"))


def test_a_long_picture_inside_a_page_does_not_hold_the_build_up(mathjax):
    page = "<img src='data:image/png;base64," + "A" * 300_000 + "'>"
    assert formulas.typeset(page, mathjax) == (page, [])


def test_the_style_sheet_has_the_characters_of_the_pages_and_no_others(mathjax):
    whole = mathjax.sheet()
    page = formulas.typeset(formulas.marked(r"\{x\}"), mathjax)[0]
    css = formulas.needed(whole, [page])
    for name in ("mjx-c1D465.TEX-I", "mjx-c7B::", "mjx-c7D::"):  # x, and both braces
        assert f"mjx-c.{name}" in css
    assert "mjx-c.mjx-c1D466" in whole and "mjx-c.mjx-c1D466" not in css  # y
    assert css.count("{") - css.count('"{"') == css.count("}") - css.count('"}"')
    assert len(css) < len(whole) / 3 and css.count("@font-face") == whole.count("@font-face")


# --- weight, and sizes of pictures --------------------------------------------------------------

SCRIPTS = (
    '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>\n'
    '<script src="../_static/searchtools.js"></script>\n<script src="../searchindex.js"></script>\n'
)


def test_scripts_that_no_page_uses_are_left_out():
    kept = '<script src="../_static/book.js?v=1"></script>'
    assert light.lighten(SCRIPTS + kept) == kept


def test_the_page_of_search_results_keeps_its_index():
    kept = light.lighten(SCRIPTS, search=True)
    assert "fontawesome" not in kept and "searchtools" in kept and "searchindex" in kept


def picture(width, height, per_inch=None):
    """Return a PNG of the given pixels, as matplotlib would write it."""
    file = io.BytesIO()
    dpi = {} if per_inch is None else {"dpi": (per_inch, per_inch)}
    Image.new("L", (width, height)).save(file, "png", **dpi)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (picture(1120, 400, 200), (538, 192)),
        (picture(560, 200, 100), (538, 192)),
        (picture(300, 200), (300, 200)),
        (b"GIF89a", None),
    ],
)
def test_a_picture_is_as_wide_as_its_inches(data, size):
    assert light.png_size(data) == size


def test_each_picture_of_a_page_gets_its_size_once(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(200, 100, 200))
    inside = base64.b64encode(picture(400, 100, 200)).decode()
    page = (
        f'<img alt="a" src="a.png" style="width: 80%;"/><img src="data:image/png;base64,{inside}">'
        '<img src="logo.svg"><img src="missing.png"><img src="a.png" width="7">'
    )
    soup = BeautifulSoup(once := light.sized(page, tmp_path), "html.parser")
    sizes = [(image.get("width"), image.get("height")) for image in soup.find_all("img")]
    assert sizes == [("96", "48"), ("192", "48"), (None, None), (None, None), ("7", None)]
    assert soup.find("img")["style"] == "width: 80%;"
    assert light.sized(once, tmp_path) == once


# --- words for pictures -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<img src="a.png">',
        '<img src="a.png" alt="">',
        '<img src="a.png" alt="  ">',
        '<img src="_images/0a1b2c.png" alt="_images/0a1b2c.png">',
        '<img src="_images/0a1b2c.png" alt="0a1b2c">',
        '<img src="a.png" alt="../figures/loss-curve.svg">',
        "<svg><path/></svg>",
        "<canvas></canvas>",
    ],
)
def test_an_image_without_words_is_seen(html):
    assert accessible.unspoken_images(html)


@pytest.mark.parametrize(
    "html",
    [
        '<img src="a.png" alt="Two curves that cross at a noise level of one.">',
        '<img src="a.png" alt="" role="presentation">',
        '<svg aria-hidden="true"></svg>',
        '<svg role="img" aria-label="A cloud of points"></svg>',
        "<svg><title>A cloud of points</title></svg>",
    ],
)
def test_an_image_with_words_or_without_meaning_is_welcome(html):
    assert accessible.unspoken_images(html) == []


def test_repairs_leave_their_own_result_alone():
    page = (
        '<div id="pst-primary-sidebar" class="x"></div><table><th></th></table>'
        '<button class="btn search-button-field x" title="Search" aria-label="Search">Search'
        '</button><i class="theme-switch fa-sun" data-mode="light" title="Light"></i>'
        '<div class="citation" id="id2" role="doc-biblioentry"></div>'
        '<summary aria-label="Toggle hidden content">Show</summary><section id="proof-content">'
    )
    once = accessible.repair(page)
    for gone in ("<th></th>", 'aria-label="Search"', "doc-biblioentry", "Toggle", "proof-content"):
        assert gone not in once
    assert 'role="region" aria-label="Site" id="pst-primary-sidebar"' in once
    assert accessible.repair(once) == once


# --- the address of the repository --------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/someone/a-book",
        "https://github.com/someone/a-book.git",
        "https://github.com/someone/a-book/",
        "https://user:token@github.com/someone/a-book.git",
        "git@github.com:someone/a-book.git",
        "ssh://git@github.com/someone/a-book.git",
        "ssh://git@github.com:22/someone/a-book",
    ],
)
def test_all_spellings_of_a_repository_are_one(url):
    assert launch.normalise(url) == "https://github.com/someone/a-book"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "/srv/git/a-book.git",
        "file:///srv/a-book",
        "https://example.org/someone/a-book",
        "https://example.org/github.com/someone/a-book",
        "https://github.com.example.org/someone/a-book",
        "https://github.com/someone",
        "https://github.com/someone/a-book/tree/main",
    ],
)
def test_no_owner_is_invented(url):
    assert launch.normalise(url) is None


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """An empty git repository, and a function that sets its remote."""
    monkeypatch.delenv("LINDIFF_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    def set_remote(url):
        git = ["git", "-C", tmp_path, "remote"]
        subprocess.run([*git, "add", "origin", url], check=True)

    return SimpleNamespace(path=tmp_path, set_remote=set_remote)


def test_the_remote_is_used_when_nothing_is_configured(clone):
    assert launch.repository(clone.path) is None
    clone.set_remote("git@github.com:someone/a-book.git")
    assert launch.repository(clone.path) == "https://github.com/someone/a-book"


def test_the_environment_comes_first(clone, monkeypatch):
    clone.set_remote("git@github.com:someone/a-book.git")
    monkeypatch.setenv("LINDIFF_REPOSITORY", "https://github.com/other/fork")
    assert launch.repository(clone.path) == "https://github.com/other/fork"
    monkeypatch.setenv("LINDIFF_REPOSITORY", "https://user:secret@example.org/a/b")
    with pytest.raises(ValueError, match="on github") as error:
        launch.repository(clone.path)
    assert "secret" not in str(error.value)


def test_without_a_repository_all_buttons_are_left_out(clone):
    options = {"launch_buttons": {"notebook_interface": "jupyterlab"}, "repository_url": ""}
    config = SimpleNamespace(html_theme_options=options)
    launch.add_buttons(SimpleNamespace(srcdir=clone.path), config)
    assert config.html_theme_options == {"launch_buttons": {}}


# --- two small books ----------------------------------------------------------------------------


CHECK = {
    "tags": ["hide-cell"],
    "mystnb": {"code_prompt_show": "Check: one", "code_prompt_hide": "Check: one"},
}


TALK = """# One

![](fig-dot)

- $a<b_1$

Note: 3 minutes. Slowly.

---

Block: The end

## Two

. . .

- at last

Note: 1 minute.

---

Hand-out: no

## The answer is three

Note: 1 minute.
"""


def notebook(source, text="The gain is $1/2$."):
    cells = [
        nbformat.v4.new_markdown_cell(f"# A chapter\n\n{text}"),
        nbformat.v4.new_code_cell(source),
        nbformat.v4.new_code_cell("# @title Check: one\nassert 1 == 1", metadata=CHECK),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


def build(folder, pages, **environment):
    """Build a book of the given pages with the settings of the real one."""
    shutil.copy(ROOT / "_config.yml", folder)
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, folder / "book" / name)
    (folder / "book" / "references.bib").write_text(
        "@misc{known, title={A book}, author={Some, One}, year={1901}}\n"
    )
    (folder / "book" / "dot.png").write_bytes(PNG)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n"
        + "".join(f"  - file: {Path(name).with_suffix('')}\n" for name in list(pages)[1:])
    )
    (folder / "book" / "slides").mkdir()
    (folder / "book" / "slides" / "talk.md").write_text(TALK)
    for name, text in pages.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder]
    return subprocess.run(
        [*command, "--all", "-n", "-W", "--keep-going"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


@pytest.fixture(scope="module")
def good_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    pages = {
        "book/index.md": "# A book\n\nSee {cite}`known`, and $x^2$.\n\n"
        "```{figure} dot.png\n:name: fig-dot\n:alt: One white dot.\n\nA dot\n```\n\n"
        "```{versions}\nnumpy\n```\n\n"
        "```{bibliography}\n```\n",
        "notebooks/chapter.ipynb": notebook("print(1 / 2)"),
    }
    url = "https://user:secret@github.com/someone/a-book.git"
    result = build(folder, pages, LINDIFF_REPOSITORY=url)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder / "_build" / "html"


def test_the_buttons_open_the_repository(good_book):
    page = (good_book / "notebooks" / "chapter.html").read_text()
    where = "someone/a-book"
    assert f"mybinder.org/v2/gh/{where}/main?urlpath=lab/tree/notebooks/chapter.ipynb" in page
    assert f"colab.research.google.com/github/{where}/blob/main/notebooks/chapter.ipynb" in page
    assert f'href="https://github.com/{where}"' in page
    assert "secret" not in page


def test_the_pages_bring_what_they_need(good_book):
    for page in offline.built_pages(good_book):
        text = page.read_text()
        assert offline.remote_loads(text) == []
        assert "thebe" not in text.lower()
        assert text.count("let toggleHintShow") <= 1
        assert "fontawesome.js" not in text
        assert ("searchindex.js" in text) == (page.name == "search.html")
    mathjax = good_book / "_static" / "mathjax"
    assert sum(file.stat().st_size for file in mathjax.iterdir()) < 0.6e6
    fonts = re.findall(r'url\("([^"]+)"\)', (mathjax / "formulas.css").read_text())
    assert len(fonts) > 15 and all((mathjax / font).is_file() for font in fonts)


def test_the_formulas_are_set(good_book):
    for name in ("book/index.html", "notebooks/chapter.html", "slides/talk.html"):
        text = (good_book / name).read_text()
        assert "<mjx-container" in text and "tex-inline" not in text
        assert re.search(r'mathjax/formulas\.css\?v=[0-9a-f]{8}"', text)


def test_the_code_of_a_fold_does_not_repeat_its_summary(good_book):
    page = BeautifulSoup((good_book / "notebooks" / "chapter.html").read_text(), "html.parser")
    fold = page.find("details", class_="hide")
    assert fold.find("summary").find("p").get_text() == "Check: one"
    assert fold.find("pre").get_text().strip() == "assert 1 == 1"


def test_the_versions_are_those_of_this_environment(good_book):
    import numpy

    text = (good_book / "book" / "index.html").read_text()
    assert numpy.__version__ in text
    assert versions.__doc__


def test_the_slides_show_figures_of_the_book(good_book):
    page = (good_book / "slides" / "talk.html").read_text()
    first, second, _ = slides.BeautifulSoup(page, "html.parser").find_all("section")
    assert first.find("a")["href"] == "../book/index.html#fig-dot"
    assert first.find("img").attrs == {"src": "../_images/dot.png", "alt": "One white dot."}
    assert first.find("li").find("math").get_text() == "a<b1"
    assert first.find("aside").get_text(" ", strip=True) == "3 minutes. Slowly."
    assert second.find("h2").get_text() == "Two" and "Block" not in second.get_text()
    assert second.find(class_="fragment").get_text(strip=True) == "at last"
    for name in slides.REVEAL:
        assert (good_book / "_static" / "reveal" / name).stat().st_size > 0


def test_the_hand_out_asks_and_leaves_room_for_the_answer(good_book):
    page = (good_book / "slides" / "talk-handout.html").read_text()
    first, second, third = slides.BeautifulSoup(page, "html.parser").find_all("section")
    assert first.find("img")["alt"] == "One white dot." and first.find(class_="line") is None
    assert len(second.find_all(class_="line")) == len(third.find_all(class_="line")) == slides.LINES
    assert "at last" not in page and "Slowly" not in page and "three" not in page


@pytest.fixture(scope="module")
def bad_book(tmp_path_factory):
    pages = {
        "book/index.md": "# A book\n\n[known](nowhere.md) {ref}`no-such-label` {cite}`unknown`\n\n"
        "![](dot.png)\n\n<script src='https://cdn.example.org/a.js'></script>\n",
        "notebooks/formula.ipynb": notebook("1", r"The gain is $\smigma$."),
        "notebooks/failing.ipynb": notebook("raise ValueError('the cell failed')"),
        "notebooks/noisy.ipynb": notebook("import sys\nsys.stderr.write('a complaint')"),
    }
    return build(tmp_path_factory.mktemp("bad"), pages)


@pytest.mark.parametrize(
    "words",
    [
        "nowhere.md",
        "no-such-label",
        "unknown",
        "loads from another host",
        "alternative text",
        "talk.md shows 'fig-dot'",
        r"notebooks/formula.html: Undefined control sequence \smigma in '\\smigma'",
        "failing.ipynb",
        "stderr",
    ],
)
def test_the_strict_build_fails_and_names_each_fault(bad_book, words):
    assert bad_book.returncode != 0
    warnings = [line for line in bad_book.stderr.splitlines() if "WARN" in line or "ERROR" in line]
    assert any(words in line for line in warnings), bad_book.stderr[-3000:]


# --- statements ---------------------------------------------------------------------------------


def a_chapter():
    new, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    cells = [
        text("# A chapter"),
        new("assert 0 == 0"),
        text(":::{prf:theorem} Two\n:label: thm-two\n\nTwo.\n:::\n\n:::{prf:proof}\nYes.\n:::"),
        text(":::{prf:lemma} Too\n:label: lem-too\n\nToo.\n:::"),
        new("def f():\n    assert 1 < 2, 'one'\n\n\nnp.testing.assert_allclose(\n    2, 2\n)\nf()"),
        text("More."),
        new("x = 2\nassert x == 2\nprint(x)"),
        new("plot(x)"),
        text("## Next\n\n:::{prf:lemma} None\n:label: lem-none\n\nNone.\n:::"),
        text("## After"),
        new("assert 3"),
    ]
    cells[6].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    return nbformat.v4.new_notebook(cells=cells)


def test_statements_have_the_assertions_that_follow_them_in_their_section():
    first, second = statements.groups(a_chapter())
    assert first == (
        (("thm-two", "Two"), ("lem-too", "Too")),
        ("assert 1 < 2, 'one'", "np.testing.assert_allclose(\n    2, 2\n)", "assert x == 2"),
        ("2",),
    )
    assert second == ((("lem-none", "None"),), (), ())


def test_an_entry_shows_what_is_asserted_and_printed_or_says_that_nothing_is():
    first, second = map(statements.entry, statements.groups(a_chapter()))
    lines = "- {prf:ref}`thm-two` Two\n- {prf:ref}`lem-too` Too\n\n::::{dropdown} 3 assertions\n"
    assert first.startswith(lines)
    assert "assert x == 2\n```\n\nprints\n\n```text\n2\n```\n::::" in first
    assert second == "- {prf:ref}`lem-none` None; argued in the text, no cell checks it"


def test_every_chapter_is_on_the_page():
    root = Path(__file__).parents[1]
    page = (root / "book" / "reproducibility.md").read_text()
    listed = [line.split()[1] for line in page.splitlines() if line.startswith("```{statements}")]
    chapters = sorted((root / "notebooks").glob("*.ipynb"))
    assert listed == [path.relative_to(root).as_posix() for path in chapters]
    notebooks = [nbformat.read(path, as_version=4) for path in chapters]
    assert all(map(statements.groups, notebooks))
    titles = [re.search("^# (.*)$", nb.cells[0].source, re.M)[1] for nb in notebooks]
    assert re.findall("^### (.*)$", page, re.M) == titles
