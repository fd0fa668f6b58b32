// What N noisy samples tell about a direction: the law, and one exact random draw at a time.

"use strict";

laboratory.makers.spike = ({ seed }) => {
  const { element, drawn, Plot, short, spread } = laboratory;
  const random = new lindiff.Random(seed);
  const [HIGH, LOW] = [10, 0.1]; // noise levels of the slider and of the axis
  const SWEEP = 25;
  const SIDES = [4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 50, 64, 80, 100];
  const COUNTS = [1, 2, 3, 5].concat(...[10, 100, 1e3, 1e4, 1e5].map((p) => [1, 1.5, 2, 3, 5, 7].map((m) => m * p)), [1e6]);
  const levels = spread(HIGH, LOW, 181);
  const NO_BREAK = "\u202f";
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, NO_BREAK);

  let draws = []; // { sigma, eigenvalue, squaredCosine, picture }

  const sigma = laboratory.slider({
    label: "Noise", values: levels, value: 0.8, text: (v) => `σ = ${short(v)}`, onInput: show,
  });
  const count = laboratory.slider({
    label: "Samples", values: COUNTS, value: 1000, text: (v) => `N = ${grouped(v)}`, onInput: again,
  });
  const side = laboratory.slider({
    label: "Pixels", values: SIDES, value: 28, text: (v) => `d = ${v}² = ${grouped(v * v)}`, onInput: again,
  });
  const spike = laboratory.slider({
    label: "Signal", values: spread(0.1, 10, 41), value: 1, text: (v) => `λ = ${short(v)}`,
    onInput: again,
  });

  const truth = laboratory.picture("The true direction, as a picture: a ring", 28);
  const estimate = laboratory.picture("The estimated direction", 28);
  const dial = drawn("svg", { viewBox: "0 0 200 200", role: "img", class: "lab-dial" });
  const caption = element("p", {}, "the angle between them");

  const alignment = new Plot({
    label: "Squared cosine against the noise level: the law, and the draws",
    height: 230,
    x: { title: "noise σ", from: HIGH, to: LOW, log: true, ticks: [10, 3, 1, 0.3, 0.1] },
    y: { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  const spectrum = new Plot({
    label: "Eigenvalues of the noisy sample covariance: the bulk of the noise and the largest one",
    height: 170, x: { ticks: [] }, y: { from: 0, to: 1, ticks: [] },
  });
  const status = element("p", { class: "lab-status", role: "status" });

  // A ring, as a unit vector of side² pixels.
  function ring(n) {
    const pixels = Array.from({ length: n * n }, (_, k) => {
      const [x, y] = [((k % n) + 0.5) / n - 0.5, (Math.floor(k / n) + 0.5) / n - 0.5];
      return Math.exp(-(((Math.hypot(1.25 * x, y) - 0.28) / 0.09) ** 2) / 2);
    });
    const length = Math.hypot(...pixels);
    return Float64Array.from(pixels, (one) => one / length);
  }

  function draw(level) {
    const [n, dim] = [count.value, side.value ** 2];
    const one = lindiff.drawAlignment(dim, n, spike.value, level, random);
    draws.push({ sigma: level, ...one });
  }

  function drawHere() {
    draw(sigma.value);
    show();
  }

  function drawEverywhere() {
    spread(HIGH, LOW, SWEEP).forEach(draw);
    draw(sigma.value); // the last one is that of the pictures
    show();
  }

  // Other settings are another law: its draws begin from nothing.
  function again() {
    draws = [];
    drawHere();
  }

  function show() {
    const [level, n, dim, lam] = [sigma.value, count.value, side.value ** 2, spike.value];
    const gamma = dim / n;
    const law = lindiff.alignmentLimit(lam, level, gamma);
    const emergence = lindiff.emergenceSigma(lam, gamma);
    const here = draws.filter((one) => one.sigma === level);
    const last = here.at(-1);
    showPictures(last);
    showDial(law, here);
    const words = `σ* = ${short(emergence)}`;
    alignment.show({
      lines: [{ x: levels, y: levels.map((s) => lindiff.alignmentLimit(lam, s, gamma)), mode: 0 }],
      points: [
        { x: draws.map((one) => one.sigma), y: draws.map((one) => one.squaredCosine), mode: 1, faint: true },
        ...(last ? [{ x: [level], y: [last.squaredCosine], mode: 1 }] : []),
      ],
      marks: [{ x: emergence, words }],
    });
    showSpectrum(level, gamma, lam, last);
    const seen = level < emergence
      ? `The law says c² = ${short(law)}`
      : `The noise is above σ* = ${short(emergence)}: the law says c² = 0`;
    status.textContent = last
      ? `${seen}; the last draw at this level says ${short(last.squaredCosine)}.`
      : `${seen}. Draw at this level to compare.`;
  }

  function showPictures(last) {
    const u = ring(side.value);
    const most = Math.max(...u);
    laboratory.paint(truth, u, -most, most);
    if (last) {
      last.picture ??= lindiff.direction(u, last.squaredCosine, random);
    }
    const pixels = last ? last.picture : new Float64Array(u.length);
    const seen = last ? last.squaredCosine : 1;
    const size = Math.max(most * Math.sqrt(seen), 2.5 * Math.sqrt((1 - seen) / u.length));
    laboratory.paint(estimate, pixels, -size, size);
    estimate.classList.toggle("lab-empty", !last);
    const say = last ? `squared cosine ${short(last.squaredCosine)}` : "nothing drawn at this level yet";
    estimate.setAttribute("aria-label", `The estimated direction: ${say}`);
  }

  // A quarter of a circle: the true direction points up, the law and the draws lean away from it.
  function showDial(law, here) {
    const [x, y, radius] = [22, 178, 150];
    const tip = (square, r) => {
      const [c, s] = [Math.sqrt(square), Math.sqrt(Math.max(1 - square, 0))];
      return [x + r * s, y - r * c];
    };
    const ray = (square, r, name) => {
      const [a, b] = tip(square, r);
      return drawn("line", { x1: x, y1: y, x2: a, y2: b, class: name });
    };
    const arc = drawn("path", { d: `M${x} ${y - radius}A${radius} ${radius} 0 0 1 ${x + radius} ${y}`, class: "lab-axis" });
    const faint = here.slice(0, -1).map((one) => ray(one.squaredCosine, radius, "lab-needle mode-1 lab-faint"));
    const now = here.slice(-1).flatMap((one) => {
      const [a, b] = tip(one.squaredCosine, radius);
      return [
        ray(one.squaredCosine, radius, "lab-needle mode-1"),
        drawn("rect", { x: a - 5, y: b - 5, width: 10, height: 10, class: "lab-point mode-1" }),
      ];
    });
    const [a, b] = tip(law, radius + 20);
    const parts = [
      arc,
      drawn("line", { x1: x, y1: y, x2: x, y2: y - radius - 12, class: "lab-axis" }),
      drawn("line", { x1: x, y1: y, x2: x + radius + 12, y2: y, class: "lab-grid" }),
      drawn("text", { x: x + 6, y: y - radius - 8 }, "u"),
      drawn("text", { x: a + (law > 0.75 ? 4 : -2), y: b + (law > 0.3 ? 4 : -6) }, "law"),
      ray(law, radius + 10, "lab-line mode-0 lab-solid"),
      ...faint,
      ...now,
    ];
    dial.replaceChildren(...parts);
    const degrees = (square) => Math.round((Math.acos(Math.sqrt(square)) * 180) / Math.PI);
    const last = here.at(-1);
    const drawnAngle = last ? `, drawn ${degrees(last.squaredCosine)}°` : "";
    caption.textContent = `angle: law ${degrees(law)}°${drawnAngle}`;
    dial.setAttribute("aria-label", `Angle to the true direction: law ${degrees(law)} degrees${drawnAngle}`);
  }

  function showSpectrum(level, gamma, lam, last) {
    const edges = [-1, 1].map((sign) => level ** 2 * (1 + sign * Math.sqrt(gamma)) ** 2);
    const limit = lindiff.eigenvalueLimit(lam, level, gamma);
    const to = 1.12 * Math.max(edges[1], limit, last?.eigenvalue ?? 0);
    const low = edges[0] > 0.25 * edges[1] ? edges[0] - 0.1 * (to - edges[0]) : 0;
    const from = Math.max(low, 0);
    const grid = Array.from({ length: 201 }, (_, i) => edges[0] + ((edges[1] - edges[0]) * (1 - Math.cos((Math.PI * i) / 200))) / 2);
    const density = grid.map((value) => lindiff.bulk(value, level, gamma));
    // at d = N the density has no maximum: it is cut off where it leaves the plot
    const most = Math.max(...density.filter((_, i) => grid[i] > 0.03 * edges[1]));
    const y = density.map((value) => Math.min((0.8 * value) / most, 1));
    const step = 10 ** Math.floor(Math.log10((to - from) / 2));
    const wide = (to - from) / step > 5 ? 2 * step : (to - from) / step > 2.5 ? step : step / 2;
    const ticks = [];
    for (let value = Math.ceil(from / wide) * wide; value <= to; value += wide) {
      ticks.push(Number(value.toPrecision(6)));
    }
    spectrum.show({
      x: { title: "eigenvalue of the covariance of the samples", from, to, ticks },
      areas: [{ x: grid, y }],
      lines: [{ x: [limit, limit], y: [0, 0.8], mode: 0, extra: "lab-solid" }],
      points: last ? [{ x: [last.eigenvalue], y: [0.4], mode: 1 }] : [],
    });
  }

  drawHere();
  const pair = (canvas, words) => element("div", { class: "lab-picture" }, canvas, words);
  const say = (words) => element("p", {}, words);
  const key = [{ mode: 0, words: "law of large d and N" }, { mode: 1, kind: "point", words: "exact draws" }];
  return [
    element("div", { class: "lab-controls" }, ...[sigma, count, side, spike].map((c) => c.node)),
    element(
      "div",
      { class: "lab-buttons" },
      laboratory.button("Draw once", drawHere, { "data-primary": true }),
      laboratory.button(`Draw at ${SWEEP} levels`, drawEverywhere),
      laboratory.button("Clear", () => {
        draws = [];
        show();
      })
    ),
    element("div", { class: "lab-stage lab-three" }, pair(truth, say("direction u")), pair(estimate, say("estimate û")), pair(dial, caption)),
    status,
    laboratory.titled("Squared cosine c²", alignment, laboratory.legend(key)),
    laboratory.titled("Where the largest eigenvalue stands", spectrum),
  ];
};
