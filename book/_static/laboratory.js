// What the live figures are made of: controls, plots, pictures. Each laboratory registers a function
// that fills its place in the page.

globalThis.laboratory = (() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";

  function set(node, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) {
        node.setAttribute(name, value === true ? "" : value);
      }
    }
    return node;
  }

  function element(tag, attributes = {}, ...children) {
    const node = set(document.createElement(tag), attributes);
    node.append(...children);
    return node;
  }

  function drawn(tag, attributes, text) {
    const node = set(document.createElementNS(SVG, tag), attributes);
    if (text !== undefined) {
      node.textContent = text;
    }
    return node;
  }

  // A number with three digits, as one writes it in a text.
  function short(value) {
    if (!Number.isFinite(value)) {
      return "–";
    }
    const size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 5e-4)) {
      const [digits, power] = value.toExponential(1).split("e");
      const raised = [...String(Number(power))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
      return `${Number(digits)}·10${raised.join("")}`.replace("-", "−");
    }
    const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    return value.toFixed(places).replace("-", "−");
  }

  // A round number at an axis.
  function plain(value) {
    const power = Math.round(Math.log10(Math.abs(value)));
    if (value !== 0 && (power < -3 || power > 4)) {
      return short(value).replace(/^1·/, "");
    }
    return String(Number(value.toPrecision(3)));
  }

  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // --- controls --------------------------------------------------------------------------------

  let count = 0;

  // A slider over a list of values, or over `steps` equal steps; `text` says its value in words.
  function slider({ label, values, value, text = short, onInput }) {
    const id = `laboratory-${(count += 1)}`;
    const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
    const output = element("output", { for: id });
    const name = element("label", { for: id }, label);
    const node = element("div", { class: "lab-control" }, name, output, input);
    const control = {
      node,
      input,
      get value() {
        return values[Number(input.value)];
      },
      set value(wanted) {
        const near = values.map((one) => Math.abs(one - wanted));
        input.value = near.indexOf(Math.min(...near));
        control.show();
      },
      show() {
        const words = text(control.value);
        output.textContent = words;
        input.setAttribute("aria-valuetext", words);
      },
    };
    input.addEventListener("input", () => {
      control.show();
      onInput?.();
    });
    control.value = value;
    return control;
  }

  function choice({ label, options, value, onInput }) {
    const id = `laboratory-${(count += 1)}`;
    const input = element(
      "select",
      { id },
      ...options.map(([key, words]) => element("option", { value: key }, words))
    );
    input.value = value;
    input.addEventListener("change", () => onInput());
    const node = element("div", { class: "lab-control" }, element("label", { for: id }, label), input);
    return { node, input, get value() { return input.value; } };
  }

  function button(words, onClick, attributes = {}) {
    const node = element("button", { type: "button", class: "lab-button", ...attributes }, words);
    node.addEventListener("click", onClick);
    return node;
  }

  const even = (low, high, step) =>
    Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => Number((low + i * step).toFixed(6)));

  const spread = (low, high, n) => Array.from({ length: n }, (_, i) => low * (high / low) ** (i / (n - 1)));

  // The legend: the line or the marker of each entry, and its name.
  function legend(entries) {
    const items = entries.map(({ mode = 0, kind = "line", words, picture }) => {
      const sample = drawn("svg", { width: 28, height: 12, "aria-hidden": true });
      sample.append(
        kind === "line"
          ? drawn("line", { x1: 0, x2: 28, y1: 6, y2: 6, class: `lab-line mode-${mode}` })
          : marker(14, 6, mode)
      );
      return element("li", {}, sample, ...(picture ? [picture] : []), words);
    });
    return element("ul", { class: "lab-legend" }, ...items);
  }

  function marker(x, y, mode) {
    if (mode === 1) {
      return drawn("rect", { x: x - 3.5, y: y - 3.5, width: 7, height: 7, class: `lab-point mode-${mode}` });
    }
    return drawn("circle", { cx: x, cy: y, r: 3.5, class: `lab-point mode-${mode}` });
  }

  // --- pictures --------------------------------------------------------------------------------

  // A square picture of a list of pixels; `low` is drawn black and `high` white.
  function picture(label, side) {
    const canvas = element("canvas", { width: side, height: side, role: "img", "aria-label": label });
    return canvas;
  }

  function paint(canvas, pixels, low, high) {
    const side = Math.round(Math.sqrt(pixels.length));
    canvas.width = side;
    canvas.height = side;
    const context = canvas.getContext("2d");
    const image = context.createImageData(side, side);
    for (let k = 0; k < pixels.length; k++) {
      image.data.fill((255 * (pixels[k] - low)) / (high - low), 4 * k, 4 * k + 3);
      image.data[4 * k + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // --- plots -----------------------------------------------------------------------------------

  const ROOM = { left: 46, right: 14, top: 12 };

  // A plot that is drawn again whenever its place changes its width. An axis is
  // { title, from, to, log, ticks, text }; `from` may be larger than `to`.
  class Plot {
    constructor({ label, height, x, y }) {
      Object.assign(this, { height, x, y, width: 0, lines: [], points: [], marks: [], areas: [] });
      this.svg = drawn("svg", { class: "lab-plot", role: "img", "aria-label": label, height });
      this.node = element("div", { class: "lab-plot-box" }, this.svg);
      new ResizeObserver(() => {
        const width = Math.round(this.node.clientWidth);
        if (width > 0 && width !== this.width) {
          this.width = width;
          this.draw();
        }
      }).observe(this.node);
    }

    // Change any of x, y, lines, points, marks, areas, and draw.
    show(changes) {
      Object.assign(this, changes);
      if (this.width > 0) {
        this.draw();
      }
    }

    // Height below the axis: its numbers and, if it has one, its title.
    get bottom() {
      return this.x.title ? 40 : 24;
    }

    share(axis, value) {
      const f = axis.log ? Math.log : (one) => one;
      return (f(value) - f(axis.from)) / (f(axis.to) - f(axis.from));
    }

    across(value) {
      return ROOM.left + this.share(this.x, value) * (this.width - ROOM.left - ROOM.right);
    }

    up(value) {
      return this.height - this.bottom - this.share(this.y, value) * (this.height - ROOM.top - this.bottom);
    }

    // The value on the x axis at a place in the window.
    valueAt(clientX) {
      const left = this.svg.getBoundingClientRect().left + ROOM.left;
      const share = (clientX - left) / (this.width - ROOM.left - ROOM.right);
      const { from, to, log } = this.x;
      const inside = Math.min(Math.max(share, 0), 1);
      return log ? from * (to / from) ** inside : from + inside * (to - from);
    }

    draw() {
      set(this.svg, { width: this.width, viewBox: `0 0 ${this.width} ${this.height}` });
      this.over = drawn("g", {});
      const inside = drawn("svg", {
        x: ROOM.left, y: 0, width: this.width - ROOM.left - ROOM.right, height: this.height,
        viewBox: `${ROOM.left} 0 ${this.width - ROOM.left - ROOM.right} ${this.height}`,
      });
      inside.append(...this.areas.map((area) => this.area(area)));
      inside.append(...this.lines.map((line) => this.line(line)));
      const points = this.points.flatMap((one) => this.cloud(one));
      this.svg.replaceChildren(...this.axes(), ...this.marks.flatMap((mark) => this.mark(mark)), inside, ...points, this.over);
      this.after?.();
    }

    axes() {
      const [left, right] = [ROOM.left, this.width - ROOM.right];
      const [top, bottom] = [ROOM.top, this.height - this.bottom];
      const parts = [];
      for (const value of this.x.ticks) {
        const x = this.across(value);
        parts.push(drawn("line", { x1: x, x2: x, y1: top, y2: bottom, class: "lab-grid" }));
        parts.push(drawn("text", { x, y: bottom + 16, "text-anchor": "middle" }, (this.x.text ?? plain)(value)));
      }
      for (const value of this.y.ticks) {
        const y = this.up(value);
        parts.push(drawn("line", { x1: left, x2: right, y1: y, y2: y, class: "lab-grid" }));
        parts.push(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, (this.y.text ?? plain)(value)));
      }
      parts.push(drawn("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "lab-axis" }));
      parts.push(drawn("text", { x: (left + right) / 2, y: this.height - 6, "text-anchor": "middle" }, this.x.title ?? ""));
      return parts;
    }

    line({ x, y, mode = 0, extra = "" }) {
      const places = x.map((one, k) => [this.across(one), this.up(y[k])]).filter((p) => p.every(Number.isFinite));
      const d = places.map(([a, b], k) => `${k ? "L" : "M"}${a.toFixed(2)} ${b.toFixed(2)}`).join("");
      return drawn("path", { d, class: `lab-line mode-${mode} ${extra}` });
    }

    area({ x, y }) {
      const base = this.up(this.y.from);
      const places = x.map((one, k) => `L${this.across(one).toFixed(2)} ${this.up(y[k]).toFixed(2)}`);
      const d = `M${this.across(x[0])} ${base}${places.join("")}L${this.across(x.at(-1))} ${base}Z`;
      return drawn("path", { d, class: "lab-area" });
    }

    // Markers inside the axes; what lies outside is drawn as a small arrow at the edge.
    cloud({ x, y, mode = 0, faint }) {
      return x.flatMap((one, k) => {
        const [a, share] = [this.across(one), this.share(this.y, y[k])];
        if (!Number.isFinite(a) || !Number.isFinite(share)) {
          return [];
        }
        if (share < -0.005 || share > 1.005) {
          const b = share > 1 ? ROOM.top + 6 : this.height - this.bottom - 6;
          const s = share > 1 ? -1 : 1;
          return [drawn("path", { d: `M${a - 4} ${b - 4 * s}H${a + 4}L${a} ${b + 4 * s}Z`, class: `lab-point mode-${mode}` })];
        }
        const point = marker(a, this.up(y[k]), mode);
        point.classList.toggle("lab-faint", Boolean(faint));
        return [point];
      });
    }

    // A thin line with its name at a place on the x axis.
    mark({ x, words }) {
      const share = this.share(this.x, x);
      if (!(share >= 0 && share <= 1)) {
        return [];
      }
      const place = this.across(x);
      const end = share > 0.55;
      const line = drawn("line", { x1: place, x2: place, y1: ROOM.top, y2: this.height - this.bottom, class: "lab-threshold" });
      const text = drawn("text", { x: place + (end ? -5 : 5), y: ROOM.top + 10, "text-anchor": end ? "end" : "start" }, words);
      return [line, text];
    }

    // A cursor at a value of x, with a dot on each line of the list [value, mode].
    cursor(x, dots) {
      if (!this.over) {
        return;
      }
      const place = this.across(x);
      const line = drawn("line", { x1: place, x2: place, y1: ROOM.top - 4, y2: this.height - this.bottom, class: "lab-cursor" });
      const circles = dots.map(([y, mode]) => drawn("circle", { cx: place, cy: this.up(y), r: 5, class: `lab-dot mode-${mode}` }));
      this.over.replaceChildren(line, ...circles);
    }
  }

  // A heading above a plot: the name of its vertical axis, which then needs no turned text.
  function titled(words, plot, ...more) {
    return element("div", { class: "lab-panel" }, element("p", { class: "lab-heading" }, words), ...more, plot.node);
  }

  // --- the places in the page ------------------------------------------------------------------

  const makers = {};

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".laboratory-live").forEach((place) => {
      const data = place.querySelector("script");
      const seed = Number(place.dataset.seed);
      const make = makers[place.dataset.laboratory];
      const nodes = make({ place, seed, data: data && JSON.parse(data.textContent) });
      place.append(...nodes);
      place.classList.add("lab-ready");
    });
  });

  return {
    makers, element, drawn, short, plain, still, slider, choice, button, even, spread, legend, picture, paint,
    Plot, titled,
  };
})();
