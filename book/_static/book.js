// What a page does beyond showing itself: open the fold that a link leads into, open the folds for
// paper, and mark a formula that is too wide for the screen.

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

  document.addEventListener("DOMContentLoaded", () => {
    follow();
    markWide();
    setTimeout(showHits, 50);
  });
  addEventListener("hashchange", follow);
  addEventListener("resize", markWideSoon);
  document.addEventListener("toggle", markWideSoon, true);
})();
