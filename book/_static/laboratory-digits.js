// The first page runs a diffusion model: noise becomes a digit under the exact linear law.

"use strict";

laboratory.makers.digits = ({ place, seed, data }) => {
  const { element, Plot } = laboratory;
  const [HIGH, LOW, FRAMES] = [20, 0.03, 241]; // the levels, and how finely the slider divides them
  const SECONDS = 5;
  const SHOWN = [0, 2, 7, 19, 47]; // components with a curve
  const EVERY = 10; // the model of all digits, after those of the ten classes
  const levels = laboratory.spread(HIGH, LOW, FRAMES);
  const random = new lindiff.Random(seed);
  const model = lindiff.digitModels(data);
  let [digit, noise, parts, running, begun] = [0, null, null, 0, 0];

  const state = laboratory.picture("", data.side);
  const guess = laboratory.picture("", data.side);
  const thumbs = SHOWN.map(() => element("canvas", { class: "lab-thumb", "aria-hidden": true }));
  const status = element("p", { class: "lab-status", role: "status" });

  const plot = new Plot({
    label: "Share of signal in five components of the digit, against the noise level",
    height: 210,
    x: { title: "noise level σ, from noise to data", from: HIGH, to: LOW, log: true, ticks: [20, 5, 1, 0.2, 0.05] },
    y: { from: 0, to: 1, ticks: [0, 0.5, 1] },
  });
  plot.after = () => cursor();

  const level = laboratory.slider({
    label: "Noise level",
    values: levels,
    value: HIGH,
    text: (sigma) => `σ = ${laboratory.short(sigma)}`,
    onInput: () => {
      stop();
      show();
    },
  });
  level.node.classList.add("lab-timeline");

  const fresh = laboratory.button("New noise", () => start(true), { "data-primary": true });
  const play = laboratory.button("Play", () => (running ? stop() : start(false)));

  const digits = element("fieldset", { class: "lab-digits" }, element("legend", {}, "Which digit?"));
  for (let k = 0; k <= EVERY; k++) {
    const input = element("input", { type: "radio", name: "laboratory-digit", value: k });
    input.addEventListener("change", () => {
      choose(k);
      show();
    });
    digits.append(element("label", {}, input, element("span", {}, k === EVERY ? "all" : String(k))));
  }

  // --- the model -------------------------------------------------------------------------------

  function choose(k) {
    digit = k;
    digits.querySelectorAll("input")[k].checked = true;
    const { eigenvalues, basis } = model(k);
    if (noise) {
      parts = lindiff.split(model(k), noise);
    }
    SHOWN.forEach((i, n) => {
      const most = Math.max(...basis[i].map(Math.abs));
      laboratory.paint(thumbs[n], basis[i], -most, most);
    });
    const lines = SHOWN.map((i, mode) => ({
      x: levels,
      y: levels.map((sigma) => lindiff.wiener([eigenvalues[i]], sigma)[0]),
      mode,
    }));
    plot.show({ lines });
  }

  function show() {
    const sigma = level.value;
    const pictures = lindiff.flow(model(digit), parts, sigma, HIGH);
    laboratory.paint(state, pictures.state, -2 * sigma, 1 + 2 * sigma);
    laboratory.paint(guess, pictures.guess, 0, 1);
    const known = model(digit).eigenvalues.filter((lam) => lam > sigma ** 2).length;
    const what = digit === EVERY ? "any digit" : `a ${digit}`;
    state.setAttribute("aria-label", `The state at σ = ${laboratory.short(sigma)}`);
    guess.setAttribute("aria-label", `The best guess of ${what} at σ = ${laboratory.short(sigma)}`);
    cursor();
    if (!running) {
      const all = model(digit).eigenvalues.length;
      status.textContent = `At σ = ${laboratory.short(sigma)}, ${known} of ${all} components are more signal than noise.`;
    }
  }

  function cursor() {
    const { eigenvalues } = model(digit);
    const sigma = level.value;
    plot.cursor(sigma, SHOWN.map((i, mode) => [lindiff.wiener([eigenvalues[i]], sigma)[0], mode]));
  }

  // --- time ------------------------------------------------------------------------------------

  function start(withNewNoise) {
    stop();
    if (withNewNoise) {
      noise = random.normals(data.side ** 2);
      parts = lindiff.split(model(digit), noise);
    }
    if (laboratory.still()) {
      level.value = LOW; // no film: the end of it
      show();
      return;
    }
    const from = withNewNoise || level.value <= LOW ? 0 : Number(level.input.value);
    begun = performance.now() - (1000 * SECONDS * from) / (FRAMES - 1);
    play.textContent = "Pause";
    running = requestAnimationFrame(frame);
  }

  function frame(now) {
    const share = Math.max(0, (now - begun) / (1000 * SECONDS));
    level.value = levels[Math.min(Math.round(share * (FRAMES - 1)), FRAMES - 1)];
    running = share < 1 ? requestAnimationFrame(frame) : 0;
    show();
    if (!running) {
      stop();
    }
  }

  function stop() {
    cancelAnimationFrame(running);
    running = 0;
    play.textContent = "Play";
  }

  // A finger or a pointer on the plot moves the level.
  plot.svg.classList.add("lab-scrub");
  const scrub = (event) => {
    if (event.type === "pointerdown" || event.buttons & 1) {
      stop();
      level.value = plot.valueAt(event.clientX);
      show();
    }
  };
  plot.svg.addEventListener("pointerdown", scrub);
  plot.svg.addEventListener("pointermove", scrub);

  choose(seed % 10);
  start(true);
  show();

  const pair = (canvas, words) => element("div", { class: "lab-picture" }, canvas, element("p", {}, words));
  const names = ["component 1", "3", "8", "20", "48"];
  const key = laboratory.legend(names.map((words, mode) => ({ mode, words, picture: thumbs[mode] })));
  return [
    element(
      "div",
      { class: "lab-stage" },
      pair(state, "state"),
      pair(guess, "best guess"),
      element("div", { class: "lab-side" }, element("div", { class: "lab-buttons" }, fresh, play), digits)
    ),
    laboratory.titled("How much of each component is signal", plot, key),
    level.node,
    status,
  ];
};
