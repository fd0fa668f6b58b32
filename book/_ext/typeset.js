// MathJax outside a browser: `book/_ext/formulas.py` defines SOURCES and MACROS, and runs this in V8.

var console = {log() {}, info() {}, warn() {}, error() {}};

// The loader of MathJax asks for a component by its path; here each one is a string.
function component(path) {
  const name = path.replace(/^\.\//, "");
  if (!(name in SOURCES)) {
    throw Error(`MathJax asks for ${name}`);
  }
  return (0, eval)(SOURCES[name]);
}

var MathJax = {
  loader: {
    paths: {mathjax: "."},
    load: Object.keys(SOURCES).filter((name) => name !== "startup.js").map((name) => name.slice(0, -3)),
    require: component,
  },
  // Neither `noundefined` nor `noerrors`: a misspelt command is an error, not red letters.
  tex: {packages: ["base", "ams", "boldsymbol", "configmacros"], macros: MACROS},
  chtml: {fontURL: ".", adaptiveCSS: false},
  startup: {typeset: false},
};

function typeset(tex, display) {
  return MathJax.startup.adaptor.outerHTML(MathJax.tex2chtml(tex, {display}));
}

function sheet() {
  return MathJax.startup.adaptor.textContent(MathJax.chtmlStylesheet());
}

component("startup.js");
MathJax.startup.promise; // the value of this script: settled once all components are there
