// Which law does a sampler make? The exact answer for a spectrum, a schedule and a rule, at once.

"use strict";

laboratory.makers.samplers = () => {
  const { element, Plot, short, plain, even } = laboratory;
  const [MODES, HIGH, LOW] = [64, 40, 0.0005];
  const modes = even(1, MODES, 1);
  const marked = modes.filter((j) => j <= 12 || [14, 16, 18, 20, 23, 26, 29, 32, 36, 40, 45, 50, 57, 64].includes(j));
  const STEPS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 50, 64, 80, 100, 200];
  const RULES = [
    ["ddim", "DDIM"],
    ["eta", "DDIM with noise η"],
    ["ancestral", "ancestral, exact covariance"],
    ["heun", "Heun"],
    ["rescaled", "DDIM, samples rescaled"],
  ];
  const SCHEDULES = [
    ["geometric", "geometric"],
    ["karras", "Karras, ρ = 7"],
    ["uniform", "uniform in σ"],
    ["angles", "equal angles, σ = tan θ"],
  ];

  const rule = laboratory.choice({ label: "Rule", options: RULES, value: "ddim", onInput: show });
  const schedule = laboratory.choice({ label: "Levels", options: SCHEDULES, value: "geometric", onInput: show });
  const eta = laboratory.slider({
    label: "Noise η", values: even(0, 1, 0.05), value: 1, text: (v) => `η = ${v.toFixed(2)}`, onInput: show,
  });
  const steps = laboratory.slider({ label: "Steps", values: STEPS, value: 10, text: String, onInput: show });
  const slope = laboratory.slider({
    label: "Slope", values: even(0.5, 2.5, 0.1), value: 2, text: (v) => `α = ${v.toFixed(1)}`,
    onInput: show,
  });
  const weight = laboratory.slider({
    label: "Guidance", values: even(0, 4, 0.1), value: 1, onInput: show,
    text: (v) => `w = ${v.toFixed(1)}`,
  });

  const axis = { from: 1, to: MODES, log: true, ticks: [1, 2, 4, 8, 16, 32, 64] };
  const spectrum = new Plot({
    label: "Variance of each mode, of the data and of the samples",
    height: 230, x: axis, y: { from: 1e-6, to: 3, log: true, ticks: [1, 0.01, 1e-4, 1e-6] },
  });
  const ratio = new Plot({ label: "Generated over true variance of each mode", height: 150, x: axis, y: {} });
  const clock = new Plot({ label: "Clock of each mode against the first", height: 166, x: { ...axis, title: "mode" }, y: {} });

  const numbers = element("dl", { class: "lab-numbers" });
  const status = element("p", { class: "lab-status", role: "status" });
  const keyPlace = element("div");

  // The squares of some modes: all of them would be a bar.
  const squares = (values, first = 1) => ({ x: marked.filter((j) => j >= first), mode: 1, y: marked.filter((j) => j >= first).map((j) => values[j - first]) });

  // Limits of an axis of ratios: at least `least` each way, and room for all but the wildest.
  function around(values, least) {
    const sizes = values.filter((v) => v > 0 && Number.isFinite(v)).map((v) => Math.abs(Math.log(v)));
    const reach = Math.min(Math.max(...sizes, 0), Math.log(300));
    const steps = [least, 1.5, 2, 4, 10, 30, 100, 300].filter((one) => one >= least);
    const size = steps.find((one) => Math.log(one) >= reach * 1.02) ?? 300;
    const text = (value) => (value === 1 ? "1" : value > 1 ? `×${plain(value)}` : `÷${plain(1 / value)}`);
    return { from: 1 / size, to: size, log: true, ticks: [1 / size, 1, size], text };
  }

  function show() {
    eta.input.disabled = rule.value !== "eta";
    const settings = {
      modes: MODES, high: HIGH, low: LOW, slope: slope.value, steps: steps.value, weight: weight.value,
      schedule: schedule.value, rule: rule.value, eta: eta.value,
    };
    const it = lindiff.samplerLaboratory(settings);
    const isGuided = weight.value !== 1;
    const target = isGuided ? it.tilted : it.conditional;

    const lines = [{ x: modes, y: it.conditional, mode: 0 }];
    const entries = [
      { mode: 0, words: isGuided ? "the class" : "the data" },
      { mode: 1, kind: "point", words: "the samples" },
    ];
    if (isGuided) {
      lines.push(
        { x: modes, y: it.unconditional, mode: 5 },
        { x: modes, y: it.flow, mode: 2 },
        { x: modes, y: it.tilted, mode: 3 }
      );
      entries.push(
        { mode: 5, words: "everything, unguided" },
        { mode: 2, words: "what the exact flow makes" },
        { mode: 3, words: "the law of the densities" }
      );
    }
    keyPlace.replaceChildren(laboratory.legend(entries));
    spectrum.show({ lines, points: [squares(it.variance)] });

    const over = it.variance.map((v, i) => v / it.conditional[i]);
    const curves = isGuided ? [it.flow, it.tilted].map((one) => one.map((v, i) => v / it.conditional[i])) : [];
    ratio.show({
      y: around([over, ...curves].flat(), 1.25),
      lines: [
        { x: [1, MODES], y: [1, 1], mode: 0 },
        ...curves.map((y, i) => ({ x: modes, y, mode: i + 2 })),
      ],
      points: [squares(over)],
    });

    const most = Math.max(1, ...[...it.clock, ...it.flowClock].filter(Number.isFinite));
    const top = most <= 1 ? 1 : Math.min(Math.ceil(most), 8);
    const least = Math.min(0, ...[...it.clock, ...it.flowClock].filter(Number.isFinite));
    const bottom = least < -0.005 ? Math.max(Math.floor(least), -4) : 0;
    clock.show({
      y: { from: bottom, to: top, ticks: [...new Set([bottom, 0, top / 2, top])] },
      lines: [{ x: modes.slice(1), y: it.flowClock, mode: 2 }],
      points: [squares(it.clock, 2)],
    });

    const shown = [
      ["W₂ from the " + (isGuided ? "class" : "data"), short(it.distance)],
      ...(isGuided ? [["W₂ from the densities’ law", short(lindiff.wasserstein(it.variance, target))]] : []),
      ["evaluations", String(it.evaluations)],
      ["of the variance", `${short((100 * total(it.variance)) / total(it.conditional))} %`],
      ["power iterations, mode 8", `${short(it.clock[6])}`],
    ];
    numbers.replaceChildren(
      ...shown.map(([words, value]) => element("div", {}, element("dt", {}, words), element("dd", {}, value)))
    );
    const words = RULES.find(([key]) => key === rule.value)[1];
    status.textContent =
      `${words}, ${steps.value} ${steps.value === 1 ? "step" : "steps"}: distance ${short(it.distance)}, ` +
      `and mode 8 equals ${short(it.clock[6])} power iterations; the exact flow makes it ${short(it.flowClock[6])}.`;
  }

  const total = (list) => list.reduce((sum, one) => sum + one, 0);

  show();
  return [
    element("div", { class: "lab-controls" }, ...[rule, schedule, steps, slope, weight, eta].map((c) => c.node)),
    numbers,
    laboratory.titled("Variance of each mode", spectrum, keyPlace),
    laboratory.titled("Generated over true variance", ratio),
    laboratory.titled("Power iterations: each mode against the first", clock),
    status,
  ];
};
