// The formulas of the live figures, as pure functions; nothing here touches the page. Each has a
// counterpart in the package lindiff, and the tests compare the two on random settings.

globalThis.lindiff = (() => {
  "use strict";

  const sum = (list) => list.reduce((total, one) => total + one, 0);
  const grid = (n) => Array.from({ length: n }, (_, i) => (n > 1 ? i / (n - 1) : 0));

  function dot(a, b) {
    let total = 0;
    for (let k = 0; k < a.length; k++) {
      total += a[k] * b[k];
    }
    return total;
  }

  // Add a multiple of one vector to another, in place.
  function add(vector, weight, other) {
    for (let k = 0; k < vector.length; k++) {
      vector[k] += weight * other[k];
    }
  }

  // --- random numbers: a seed makes the same draws on every computer ---------------------------

  // 32 random bits from the state of four words: the generator sfc32 of the PractRand suite.
  function bits(seed) {
    let [a, b, c, counter] = [0x9e3779b9, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 1];
    const next = () => {
      const out = (a + b + counter) >>> 0;
      counter = (counter + 1) >>> 0;
      a = (b ^ (b >>> 9)) >>> 0;
      b = (c + (c << 3)) >>> 0;
      c = (((c << 21) | (c >>> 11)) + out) >>> 0;
      return out;
    };
    for (let i = 0; i < 16; i++) {
      next(); // the seed spreads over the whole state
    }
    return next;
  }

  class Random {
    constructor(seed = 0) {
      this.bits = bits(seed);
      this.spare = null;
    }

    // Uniform on (0, 1): 53 bits, and never an end of the interval.
    uniform() {
      const high = this.bits() >>> 5;
      const low = this.bits() >>> 6;
      return (high * 2 ** 26 + low + 0.5) / 2 ** 53;
    }

    // Standard normal, by the polar method of Marsaglia, which makes two at a time.
    normal() {
      if (this.spare !== null) {
        const spare = this.spare;
        this.spare = null;
        return spare;
      }
      let x, y, square;
      do {
        x = 2 * this.uniform() - 1;
        y = 2 * this.uniform() - 1;
        square = x * x + y * y;
      } while (square >= 1 || square === 0);
      const scale = Math.sqrt((-2 * Math.log(square)) / square);
      this.spare = scale * y;
      return scale * x;
    }

    normals(n) {
      return Float64Array.from({ length: n }, () => this.normal());
    }

    // Gamma of the given shape, by the rejection method of Marsaglia and Tsang: exact.
    gamma(shape) {
      if (shape < 1) {
        return this.gamma(shape + 1) * this.uniform() ** (1 / shape);
      }
      const d = shape - 1 / 3;
      for (;;) {
        const x = this.normal();
        const v = (1 + x / Math.sqrt(9 * d)) ** 3;
        if (v > 0 && Math.log(this.uniform()) < (x * x) / 2 + d * (1 - v + Math.log(v))) {
          return d * v;
        }
      }
    }

    // Length of a standard Gaussian vector in `degrees` dimensions.
    chi(degrees) {
      return Math.sqrt(2 * this.gamma(degrees / 2));
    }
  }

  // --- denoisers -------------------------------------------------------------------------------

  // Gains of the Wiener denoiser: the share of each mode of the noisy data that is signal.
  function wiener(eigenvalues, sigma) {
    return eigenvalues.map((lam) => (lam > 0 ? lam / (lam + sigma ** 2) : 0));
  }

  // Gains of the denoiser with guidance weight w: D_u + w (D_c - D_u).
  function guided(conditional, unconditional, weight, sigma) {
    const free = wiener(unconditional, sigma);
    return wiener(conditional, sigma).map((gain, i) => free[i] + weight * (gain - free[i]));
  }

  // --- schedules: from noise to data, the last level 0 -----------------------------------------

  function karras(steps, low, high, rho) {
    const [a, b] = [high ** (1 / rho), low ** (1 / rho)];
    const levels = grid(steps).map((s) => (b + (1 - s) * (a - b)) ** rho);
    levels[0] = high;
    return [...levels, 0];
  }

  function geometric(steps, low, high) {
    const levels = grid(steps).map((s) => high * (low / high) ** s);
    return [...levels, 0];
  }

  // The levels of a straight path, sigma = tan(angle), with steps of the same angle.
  function angles(steps, high) {
    const levels = grid(steps + 1).map((s) => Math.tan((1 - s) * Math.atan(high)));
    levels[0] = high;
    return levels;
  }

  const SCHEDULES = {
    geometric,
    karras: (steps, low, high) => karras(steps, low, high, 7),
    uniform: (steps, low, high) => karras(steps, low, high, 1),
    angles: (steps, low, high) => angles(steps, high),
  };

  // --- step rules: the factor of each mode, and the standard deviation of the noise it gets ----

  // The family from DDIM (eta = 0) to DDPM (eta = 1).
  function stochastic(eta) {
    return (gains, sigma, lower) => {
      const ratio = lower / sigma;
      const left = 1 - eta ** 2 + (eta * ratio) ** 2;
      const keep = ratio * Math.sqrt(Math.max(left, 0));
      const noise = eta * lower * Math.sqrt(1 - ratio ** 2);
      return gains(sigma).map((gain) => ({ factor: keep + (1 - keep) * gain, noise }));
    };
  }

  // The ancestral step with the posterior covariance of a law, whose gains are `posterior`.
  function ancestral(posterior) {
    return (gains, sigma, lower) => {
      const taken = 1 - (lower / sigma) ** 2;
      const own = posterior(sigma);
      return stochastic(1)(gains, sigma, lower).map(({ factor, noise }, i) => ({
        factor,
        noise: Math.sqrt(noise ** 2 + (taken * sigma) ** 2 * own[i]),
      }));
    };
  }

  function heun(gains, sigma, lower) {
    const next = lower > 0 ? gains(lower) : null;
    return gains(sigma).map((gain, i) => {
      const slope = (1 - gain) / sigma;
      const euler = 1 + (lower - sigma) * slope;
      if (!next) {
        return { factor: euler, noise: 0 };
      }
      const corrected = (slope + (euler * (1 - next[i])) / lower) / 2;
      return { factor: 1 + (lower - sigma) * corrected, noise: 0 };
    });
  }

  // --- the exact law of a sampler --------------------------------------------------------------

  // Response to the initial state and variance, mode by mode, at each level of the schedule.
  function law(gains, sigmas, rule, start) {
    const gain = [start.map(() => 1)];
    const variance = [start];
    for (let t = 1; t < sigmas.length; t++) {
      const step = rule(gains, sigmas[t - 1], sigmas[t]);
      gain.push(step.map(({ factor }, i) => factor * gain[t - 1][i]));
      variance.push(step.map(({ factor, noise }, i) => factor ** 2 * variance[t - 1][i] + noise ** 2));
    }
    return { gain, variance };
  }

  // How many power iterations a map with these gains equals, mode i against the first.
  function clock(gains, eigenvalues) {
    return eigenvalues
      .slice(1)
      .map((lam, i) => Math.log(gains[0] / gains[i + 1]) / Math.log(eigenvalues[0] / lam));
  }

  // Wasserstein distance of two Gaussian laws with common axes and mean.
  function wasserstein(a, b) {
    return Math.sqrt(sum(a.map((one, i) => (Math.sqrt(one) - Math.sqrt(b[i])) ** 2)));
  }

  // What the exact flow makes of wide noise under guidance, and the law p_c^w p_u^(1-w).
  function flowLaw(conditional, unconditional, weight) {
    return conditional.map((lam, i) => lam ** weight * unconditional[i] ** (1 - weight));
  }

  function tiltedLaw(conditional, unconditional, weight) {
    return conditional.map((lam, i) => 1 / (weight / lam - (weight - 1) / unconditional[i]));
  }

  // All that the sampler laboratory shows, from its settings.
  function samplerLaboratory({ modes, slope, steps, schedule, rule, eta, weight, low, high }) {
    const number = Array.from({ length: modes }, (_, i) => i + 1);
    const conditional = number.map((j) => j ** -slope);
    const unconditional = number.map((j) => j ** (-slope / 2));
    const sigmas = SCHEDULES[schedule](steps, low, high);
    const gains = (sigma) => guided(conditional, unconditional, weight, sigma);
    const rules = {
      ddim: stochastic(0),
      eta: stochastic(eta),
      ancestral: ancestral((sigma) => wiener(conditional, sigma)),
      heun,
      rescaled: stochastic(0),
    };
    const start = number.map(() => high ** 2);
    const result = law(gains, sigmas, rules[rule], start);
    let variance = result.variance.at(-1);
    if (rule === "rescaled" && steps > 1) {
      const h = (2 * Math.log(high / low)) / (steps - 1); // a step in log sigma^2
      variance = variance.map((one) => one * Math.exp(h / 4));
    }
    const flow = number.map((_, i) =>
      flowGain(conditional[i], 0, high) ** weight * flowGain(unconditional[i], 0, high) ** (1 - weight)
    );
    return {
      conditional,
      unconditional,
      variance,
      sigmas,
      flow: flowLaw(conditional, unconditional, weight),
      tilted: tiltedLaw(conditional, unconditional, weight),
      clock: clock(result.gain.at(-1), conditional),
      flowClock: clock(flow, conditional),
      distance: wasserstein(variance, conditional),
      evaluations: rule === "heun" ? 2 * steps - 1 : steps,
    };
  }

  // --- the exact flow of a picture -------------------------------------------------------------

  // Gain of the probability-flow ODE from level `high` down to `sigma`, in a mode of variance lam.
  function flowGain(lam, sigma, high) {
    return Math.sqrt((lam + sigma ** 2) / (lam + high ** 2));
  }

  // Rows made orthonormal in their order (Gram and Schmidt, twice: then rounding is all that is left).
  function orthonormal(rows) {
    const done = [];
    for (const row of rows) {
      const rest = Float64Array.from(row);
      for (let pass = 0; pass < 2; pass++) {
        done.forEach((one) => add(rest, -dot(rest, one), one));
      }
      const length = Math.sqrt(dot(rest, rest));
      done.push(rest.map((value) => value / length));
    }
    return done;
  }

  // The linear combination of rows with the given weights, added to `offset`.
  function combine(weights, rows, offset) {
    const out = Float64Array.from(offset);
    weights.forEach((weight, i) => add(out, weight, rows[i]));
    return out;
  }

  // Noise split into its coordinates in a model and the part outside the span of the model.
  function split(model, noise) {
    const inside = model.basis.map((row) => dot(row, noise));
    const outside = combine(inside.map((z) => -z), model.basis, noise);
    return { inside, outside };
  }

  // State and best guess at level sigma, of the flow that started at `high` times the noise.
  function flow(model, parts, sigma, high) {
    const { mean, eigenvalues, basis } = model;
    const state = eigenvalues.map((lam, i) => flowGain(lam, sigma, high) * high * parts.inside[i]);
    const gains = wiener(eigenvalues, sigma);
    const guess = combine(state.map((z, i) => gains[i] * z), basis, mean);
    const inside = combine(state, basis, mean);
    return { state: inside.map((value, k) => value + sigma * parts.outside[k]), guess };
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function rows(list, width) {
    return Array.from({ length: list.length / width }, (_, i) => list.slice(i * width, (i + 1) * width));
  }

  // Models of the digits: a function that makes the Gaussian of class k, or of all classes (10).
  function digitModels(data) {
    const decode = (text) => Float64Array.from(new Int8Array(bytes(text).buffer));
    const pixels = data.side ** 2;
    const basis = orthonormal(rows(decode(data.basis), pixels));
    const mean = decode(data.mean).map((value) => value * data.meanUnit);
    const made = new Map();

    function make(k) {
      if (k === data.classes.length) {
        const { eigenvalues } = data;
        return { mean, eigenvalues, basis: basis.slice(0, eigenvalues.length) };
      }
      const { centre, unit, axes, eigenvalues } = data.classes[k];
      const blank = new Float64Array(pixels);
      return {
        mean: combine(decode(centre).map((value) => value * unit), basis, mean),
        eigenvalues,
        basis: orthonormal(rows(decode(axes), basis.length)).map((row) => combine(row, basis, blank)),
      };
    }

    return (k) => {
      if (!made.has(k)) {
        made.set(k, make(k));
      }
      return made.get(k);
    };
  }

  // --- the spiked covariance model -------------------------------------------------------------

  function eigenvalueLimit(spike, sigma, gamma) {
    const ell = Math.max(spike / sigma ** 2, Math.sqrt(gamma));
    return sigma ** 2 * (1 + ell) * (1 + gamma / ell);
  }

  function alignmentLimit(spike, sigma, gamma) {
    const ell = spike / sigma ** 2;
    return ell > Math.sqrt(gamma) ? (1 - gamma / ell ** 2) / (1 + gamma / ell) : 0;
  }

  function emergenceSigma(spike, gamma) {
    return Math.sqrt(spike / Math.sqrt(gamma));
  }

  // Density of the eigenvalues of pure noise (Marchenko and Pastur), without the zeros of N < d.
  function bulk(value, sigma, gamma) {
    const [low, high] = [-1, 1].map((sign) => sigma ** 2 * (1 + sign * Math.sqrt(gamma)) ** 2);
    const inside = (high - value) * (value - low);
    return inside > 0 ? Math.sqrt(inside) / (2 * Math.PI * gamma * sigma ** 2 * value) : 0;
  }

  // The bidiagonal matrix with the law of N samples of unit noise in d dimensions.
  function bidiagonal(dim, samples, random) {
    const count = Math.min(dim, samples);
    return {
      diagonal: Array.from({ length: count }, (_, i) => random.chi(samples - i)),
      above: Array.from({ length: Math.min(count, dim - 1) }, (_, i) => random.chi(dim - 1 - i)),
    };
  }

  // Top eigenvalue of B'B and squared first entry of its vector, for B bidiagonal with its first
  // column times `scale`. B'B is tridiagonal, and by Perron all entries of the vector are positive.
  function topPair({ diagonal, above }, scale) {
    const columns = above.length + 1;
    const main = new Float64Array(columns);
    const beside = new Float64Array(columns - 1);
    const own = (i) => (i < diagonal.length ? diagonal[i] * (i === 0 ? scale : 1) : 0);
    for (let j = 0; j < columns; j++) {
      main[j] = own(j) ** 2 + (j > 0 ? above[j - 1] ** 2 : 0);
      if (j < columns - 1) {
        beside[j] = own(j) * above[j];
      }
    }
    // Pivots of x - B'B: all of them are positive exactly if x lies above every eigenvalue.
    const pivots = new Float64Array(columns);
    const isAbove = (x) => {
      for (let j = 0; j < columns; j++) {
        pivots[j] = x - main[j] - (j > 0 ? beside[j - 1] ** 2 / pivots[j - 1] : 0);
        if (!(pivots[j] > 0)) {
          return false;
        }
      }
      return true;
    };
    let [low, high] = [0, 0];
    for (let j = 0; j < columns; j++) {
      low = Math.max(low, main[j]);
      high = Math.max(high, main[j] + (beside[j] ?? 0) + (beside[j - 1] ?? 0));
    }
    high *= 1 + 1e-12;
    for (let pass = 0; pass < 100 && high - low > 4e-16 * high; pass++) {
      const middle = (low + high) / 2;
      if (isAbove(middle)) {
        high = middle;
      } else {
        low = middle;
      }
    }
    while (!isAbove(high)) {
      high *= 1 + 4e-16;
    }
    // Inverse iteration with the positive definite high - B'B, from a positive vector.
    let vector = new Float64Array(columns).fill(1 / Math.sqrt(columns));
    for (let pass = 0; pass < 3; pass++) {
      for (let j = 1; j < columns; j++) {
        vector[j] += (beside[j - 1] / pivots[j - 1]) * vector[j - 1];
      }
      for (let j = columns - 1; j >= 0; j--) {
        vector[j] = (vector[j] + (j < columns - 1 ? beside[j] * vector[j + 1] : 0)) / pivots[j];
      }
      const length = Math.sqrt(dot(vector, vector));
      vector = vector.map((value) => value / length);
    }
    return { value: high, squaredCosine: vector[0] ** 2 };
  }

  // One draw of the top eigenvalue and of the alignment, exactly as N noisy samples would give it.
  function drawAlignment(dim, samples, spike, sigma, random) {
    const matrix = bidiagonal(dim, samples, random);
    const { value, squaredCosine } = topPair(matrix, Math.sqrt(spike / sigma ** 2 + 1));
    return { eigenvalue: (sigma ** 2 * value) / samples, squaredCosine };
  }

  // A unit vector with this squared cosine to the unit vector u, otherwise in a random direction:
  // by symmetry this is the law of the estimated direction, given its alignment.
  function direction(u, squaredCosine, random) {
    const noise = random.normals(u.length);
    const along = dot(noise, u);
    const across = noise.map((value, k) => value - along * u[k]);
    const length = Math.sqrt(dot(across, across));
    const [c, s] = [Math.sqrt(squaredCosine), Math.sqrt(1 - squaredCosine)];
    return u.map((value, k) => c * value + (length > 0 ? (s * across[k]) / length : 0));
  }

  return {
    Random, wiener, guided, karras, geometric, angles, stochastic, ancestral, heun, law, clock,
    wasserstein, flowLaw, tiltedLaw, samplerLaboratory, flowGain, orthonormal, split, flow,
    digitModels, eigenvalueLimit, alignmentLimit, emergenceSigma, bulk, bidiagonal, topPair,
    drawAlignment, direction,
  };
})();
