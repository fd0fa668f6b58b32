// What a page does beyond showing itself: open the fold that a link leads into, open the folds for
// paper, mark a formula that is too wide for the screen, and show the hits of a search as plain text.

(() => {
  // Open what hides `element`; true if anything did. The toggles of solutions are no <details>.
  function unfold(element) {
    let hidden = false;
    for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      hidden ||= !fold.open;
      fold.open = true;
    }
    const solution = element.closest(".toggle-hidden");
    if (solution && !element.closest(".admonition-title")) {
      solution.querySelector("button.toggle-button").click();
      hidden = true;
    }
    return hidden;
  }

  function target() {
    const id = decodeURIComponent(location.hash.slice(1));
    return id ? document.getElementById(id) : null;
  }

  function follow() {
    const element = target();
    if (element && unfold(element)) {
      element.scrollIntoView();
    }
  }

  // A search hit may be in a fold, too; Sphinx marks the words a moment after the page is there.
  function showHits() {
    const place = target()?.closest("section") ?? document.querySelector("#main-content");
    place?.querySelectorAll("details .highlighted, .toggle-hidden .highlighted").forEach(unfold);
  }

  // The widths are all read before the first mark is set: the page is laid out once.
  function markWide() {
    const formulas = [...document.querySelectorAll("article .math mjx-container")];
    const boxes = formulas.map((formula) => formula.closest("span.math") ?? formula);
    const wide = boxes.map((box, i) => formulas[i].firstElementChild.offsetWidth > box.clientWidth + 1);
    boxes.forEach((box, i) => {
      box.classList.toggle("wide", wide[i]);
      if (wide[i]) {
        box.tabIndex = 0; // the arrow keys scroll what has the focus
      } else {
        box.removeAttribute("tabindex");
      }
    });
  }

  let waiting = 0;

  function markWideSoon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(markWide);
  }

  let opened = [];

  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("#main-content details:not([open])")];
    opened.forEach((fold) => (fold.open = true));
  });

  addEventListener("afterprint", () => opened.forEach((fold) => (fold.open = false)));

  // Formulas as one reads them, in a line of text.
  const ACCENTS = { "^": "\u0302", "~": "\u0303", "¯": "\u0304", "˙": "\u0307" };
  const RAISED = { 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", "−": "⁻", "∗": "*", "⊤": "⊤" };

  function group(text) {
    return /^[\p{L}\p{N}\p{M}]{0,3}$/u.test(text) ? text : `(${text})`;
  }

  function raise(power) {
    const raised = [...power].map((c) => RAISED[c]);
    return raised.includes(undefined) ? `^${group(power)}` : raised.join("");
  }

  function readFormula(node) {
    if (node.nodeType === Node.TEXT_NODE) {
      return node.data.trim();
    }
    const parts = [...node.childNodes].map(readFormula);
    const [first, second] = parts;
    switch (node.nodeName.toLowerCase()) {
      case "mfrac":
        return `${group(first)}/${group(second)}`;
      case "msqrt":
        return `√${group(parts.join(""))}`;
      case "msup":
        return first + raise(second);
      case "mover":
        return first + (ACCENTS[second] ?? second);
      default:
        return parts.join("");
    }
  }

  // What the search looks for its excerpt in: the text first and then the code, without the list of
  // contents and without the formulas inside strings.
  function plain(html, anchor) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const place = page.querySelector(anchor || "article") ?? page.body;
    place.querySelectorAll(".headerlink, script, style").forEach((one) => one.remove());
    place.querySelectorAll("mjx-container").forEach((one) => {
      one.replaceWith(readFormula(one.querySelector("mjx-assistive-mml math") ?? one));
    });
    const code = [...place.querySelectorAll(".cell_input")];
    code.forEach((one) => one.remove());
    const text = [place, ...code].map((one) => one.textContent).join("\n");
    return text.replace(/\$[^$\n]*\$/g, "…").replace(/\s+/g, " ");
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (typeof Search !== "undefined") {
      Search.htmlToText = plain; // before the search begins: its own listener comes later
    }
    follow();
    markWide();
    setTimeout(showHits, 50);
  });
  addEventListener("hashchange", follow);
  addEventListener("resize", markWideSoon);
  document.addEventListener("toggle", markWideSoon, true);
})();
