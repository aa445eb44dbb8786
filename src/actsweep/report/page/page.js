// Controls, themes, tables and printing; figures are drawn again whenever what they show has changed.
const FIGURES = { accuracy, differences, learning, depth, map, profile, theory, histogram, turnover, functions };
const figures = [...document.querySelectorAll("[data-figure]")];
const CONFIG = {
  displaylogo: false,
  responsive: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
  displayModeBar: coarse.matches ? false : "hover",
};
const PAPER = 670; // pixels between the margins of an A4 page
let paper = false;
const make = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};

const SVG = "http://www.w3.org/2000/svg";
const MARKS = {
  circle: "M10.5 6a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",
  square: "M11 2h8v8h-8z",
  "triangle-up": "M15 1l5 9h-10z",
  "triangle-down": "M15 11l5 -9h-10z",
  diamond: "M15 .5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
  cross: "M13.3 1h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
  x: "M11 4.5l2.5 -2.5l1.5 1.5l1.5 -1.5l2.5 2.5l-1.5 1.5l1.5 1.5l-2.5 2.5l-1.5 -1.5l-1.5 1.5l-2.5 -2.5l1.5 -1.5z",
  star: "M15 0l1.6 4.2l4.4 .2l-3.4 2.8l1.1 4.3l-3.7 -2.4l-3.7 2.4l1.1 -4.3l-3.4 -2.8l4.4 -.2z",
};
function swatch({ colour: of, dash, symbol, block }, svg = document.createElementNS(SVG, "svg")) {
  svg.setAttribute("viewBox", "0 0 30 12");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("aria-hidden", "true");
  Object.assign(svg.dataset, { colour: of }, dash && { dash }, symbol && { symbol }, block && { block });
  const dashes = { dash: "7 4", dashdot: "8 3 2 3", dot: "2 3" }[dash] ?? "none";
  const looks = { stroke: colour(of), "stroke-width": block ? 10 : 2.5, "stroke-dasharray": dashes };
  const parts = { line: { x1: 1, x2: 29, y1: 6, y2: 6, ...looks }, path: { d: MARKS[symbol] ?? "", fill: colour(of) } };
  svg.replaceChildren(
    ...Object.entries(parts).map(([kind, looks]) => {
      const part = document.createElementNS(SVG, kind);
      Object.entries(looks).forEach(([name, v]) => part.setAttribute(name, v));
      return part;
    }),
  );
  return svg;
}

function plan(figure) {
  const plot = figure.querySelector(".plot"),
    width = paper ? PAPER : Math.floor(plot.clientWidth) || 600;
  const planned = FIGURES[figure.dataset.figure](figure, width);
  plot.style.height = planned.message ? "auto" : `${planned.layout.height}px`; // before anything is drawn: no jumps
  figure.querySelector(".note").textContent = planned.note ?? "";
  const legend = new Map((planned.legend ?? []).map(look => [look.name, look]));
  figure
    .querySelector(".legend")
    ?.replaceChildren(...[...legend.values()].map(look => make("span", {}, swatch(look), cut(look.name, 80))));
  return planned;
}

function paint(figure, planned) {
  const plot = figure.querySelector(".plot");
  if (planned.message) {
    Plotly.purge(plot);
    plot.replaceChildren(make("p", { className: "missing", textContent: planned.message }));
    return;
  }
  if (!plot.classList.contains("js-plotly-plot")) plot.replaceChildren();
  const look = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: "closest",
    datarevision: NaN, // never the one before: where nothing has changed, matching axes lose their ranges
    dragmode: coarse.matches ? false : "zoom",
    font: { family: "system-ui, 'Liberation Sans', sans-serif", size: 11.5, color: css("--ink") },
    hoverlabel: {
      bgcolor: css("--raised"),
      bordercolor: css("--line"),
      font: { color: css("--ink"), size: 12.5 },
      align: "left",
      namelength: -1,
    },
  };
  Plotly.react(plot, planned.traces, { ...look, ...planned.layout }, CONFIG);
}
const draw = list => list.forEach(figure => paint(figure, plan(figure)));

// Heights first, for all, so that nothing moves later; then one figure after another, so that the page answers soon.
let pass = 0;
function drawAll() {
  const current = ++pass,
    planned = figures.map(figure => [figure, plan(figure)]);
  const next = () => {
    if (current !== pass) return;
    if (!planned.length) return void (document.documentElement.dataset.drawn = pass);
    paint(...planned.shift());
    setTimeout(next);
  };
  next();
}

function options(select, entries) {
  select.replaceChildren(...entries.map(([v, text]) => make("option", { value: v, textContent: cut(text, 90) })));
}
const select = (figure, name) => figure.querySelector(`select[name="${name}"]`);
const of = kind => figures.filter(figure => figure.dataset.figure === kind);

function fillSelects() {
  const named = list => list.map((each, i) => [i, each.name]);
  of("differences").forEach(figure =>
    options(
      select(figure, "reference"),
      D.tasks[figure.dataset.task].rows
        .filter(row => D.tasks[figure.dataset.task].pairs[0].some(([a, b]) => a === row.setting || b === row.setting))
        .map(row => [row.setting, D.settings[row.setting].label]),
    ),
  );
  of("learning").forEach(figure =>
    options(
      select(figure, "column"),
      D.learning.columns.map((c, i) => [i, c.title + (c.unit ? ` (${c.unit})` : "")]),
    ),
  );
  of("map").forEach(figure => options(select(figure, "quantity"), named(D.layers.quantities)));
  of("histogram").forEach(figure => {
    options(select(figure, "quantity"), named(D.histograms.quantities));
    options(
      select(figure, "setting"),
      Object.entries(D.histograms.settings).map(([p, s]) => [p, `${D.settings[p].label}, seed ${s.seed}`]),
    );
    fitTime(figure, Infinity);
  });
  of("turnover").forEach(figure =>
    options(select(figure, "layer"), [
      ["all", "all layers"],
      ...[...new Set(Object.values(D.layers.turnover).flatMap(c => c.layers))]
        .sort((a, b) => a - b)
        .map(l => [l, `layer ${l}`]),
    ]),
  );
}

// The settings that figures show: chosen in one place, followed everywhere.
function chooser(box) {
  const task = D.tasks[box.closest("figure").dataset.task],
    offered = task ? task.settings : [...D.settings.keys()];
  const chip = i =>
    make(
      "label",
      { className: "chip", title: D.settings[i].label },
      make("input", { type: "checkbox", value: i }),
      swatch(D.settings[i]),
      make("span", { textContent: D.settings[i].label }),
    );
  const chips = offered.map(chip),
    best = new Set((task ?? D.tasks[0]).rows.slice(0, D.shown).map(row => row.setting));
  const button = (text, wanted) =>
    make("button", {
      type: "button",
      textContent: text,
      onclick: () => choose(i => (offered.includes(i) ? wanted(i) : shown.has(i))),
    });
  const fits = i => D.settings[i].label.toLowerCase().includes(filter.value.trim().toLowerCase());
  const filter = make("input", {
    type: "search",
    placeholder: "find settings",
    ariaLabel: "Find settings by name",
    oninput: () => chips.forEach((each, k) => (each.hidden = !fits(offered[k]))),
  });
  const many = offered.length > FEW;
  const tools = make(
    "div",
    { className: "controls" },
    filter,
    button("All found", fits),
    button(`Best ${D.shown}`, i => best.has(i)),
    button(`First ${D.shown}`, i => offered.indexOf(i) < D.shown),
    button("None", () => false),
  );
  box.append(
    make(
      "details",
      { open: !many },
      make("summary"),
      ...(many ? [tools] : []),
      make("div", { className: "chips" }, ...chips),
    ),
  );
  box.addEventListener(
    "change",
    event =>
      event.target.type === "checkbox" &&
      choose(i => (i === Number(event.target.value) ? event.target.checked : shown.has(i))),
  );
}
function choose(wanted) {
  D.settings.forEach((_, i) => (wanted(i) ? shown.add(i) : shown.delete(i)));
  tellChosen();
  drawAll();
}
function tellChosen() {
  document.querySelectorAll("[data-choose]").forEach(box => {
    const boxes = [...box.querySelectorAll("[type=checkbox]")];
    boxes.forEach(input => (input.checked = shown.has(Number(input.value))));
    box.querySelector("summary").textContent =
      `Settings shown: ${boxes.filter(input => input.checked).length} of ${boxes.length}`;
  });
}

// A stepper through time.
function epochsOf(figure) {
  const setting = D.histograms.settings[value(figure, "setting")];
  return setting.quantities[D.histograms.quantities[value(figure, "quantity")].name]?.epochs ?? [0];
}
function fitTime(figure, wanted) {
  const slider = figure.querySelector("[name=time]"),
    epochs = epochsOf(figure);
  slider.max = epochs.length - 1;
  slider.value = Math.max(0, Math.min(wanted, epochs.length - 1));
  const words = `epoch ${epochs[slider.value]}`;
  slider.setAttribute("aria-valuetext", words);
  figure.querySelector("output").textContent = words;
}
const playing = new Map();
function play(figure, on) {
  clearInterval(playing.get(figure));
  const button = figure.querySelector("[name=play]"),
    slider = figure.querySelector("[name=time]");
  button.setAttribute("aria-pressed", on);
  button.textContent = on ? "Pause" : "Play";
  if (!on) return;
  if (slider.value === slider.max) fitTime(figure, 0);
  playing.set(
    figure,
    setInterval(() => {
      if (slider.value === slider.max) return play(figure, false);
      fitTime(figure, Number(slider.value) + 1);
      draw([figure]);
    }, 350),
  );
}

// The table below the differences, of the chosen reference.
function pairsTable(figure) {
  const task = D.tasks[figure.dataset.task],
    box = document.querySelector(`[data-pairs="${figure.dataset.task}"]`);
  const share = v => (isNumber(v) ? number(100 * v) : "–");
  const headings = [
    "setting",
    "n",
    "pairing",
    `better by, ${task.percent ? "percentage points" : task.unit}`,
    "p, Holm",
    "p",
    "effect size",
    "P(improvement), %",
  ];
  const cells = row => [
    [named(row.setting)],
    [row.n, row.n],
    [pairing(row)],
    [scored(task, row.difference), row.difference, between(task, row.low, row.high)],
    [number(row.holm, 2), row.holm],
    [number(row.p, 2), row.p],
    [number(row.effect), row.effect],
    [share(row.improvement), row.improvement, isNumber(row.ilow) ? `[${share(row.ilow)}, ${share(row.ihigh)}]` : ""],
  ];
  const cell = ([text, sort, below], i) => {
    const made = make(i ? "td" : "th", { textContent: text });
    if (!i) made.scope = "row";
    if (sort !== undefined) made.dataset.sort = isNumber(sort) ? sort : "";
    if (below) made.append(make("span", { className: "below", textContent: below.trim() }));
    return made;
  };
  const head = headings.map(text =>
    make("th", { scope: "col" }, make("button", { type: "button", textContent: text })),
  );
  const rows = differencesFrom(figure).map(row => make("tr", {}, ...cells(row).map(cell)));
  box.replaceChildren(
    make("table", { className: "sortable" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)),
  );
}

function changed(figure, control) {
  const kind = figure.dataset.figure;
  if (kind === "histogram") {
    fitTime(figure, control.name === "time" ? Number(control.value) : Number(value(figure, "time")));
    if (control.name === "time") play(figure, false);
  }
  if (kind === "differences") pairsTable(figure);
  draw(kind === "map" ? [figure, ...of("profile")] : [figure]);
}
figures.forEach(figure => {
  figure.addEventListener(
    "change",
    event => event.target.closest(".controls") && event.target.matches("select") && changed(figure, event.target),
  );
  figure.addEventListener("input", event => event.target.matches("[name=time]") && changed(figure, event.target));
  figure.addEventListener("click", event => {
    const name = event.target.closest("button")?.name,
      now = Number(value(figure, "time"));
    if (name === "play") play(figure, event.target.getAttribute("aria-pressed") !== "true");
    if (name === "back" || name === "on") {
      play(figure, false);
      fitTime(figure, now + (name === "on" ? 1 : -1));
      draw([figure]);
    }
  });
});
document.addEventListener("click", async event => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  try {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(copy.previousElementSibling); // no page may copy that came over http
    copy.textContent = "Selected";
  }
});

// Themes and paper.
function recolour() {
  document.querySelectorAll("svg.swatch").forEach(svg => swatch(svg.dataset, svg));
}
themed = () => {
  recolour();
  drawAll();
};
let folded = [];
function onPaper(wanted) {
  if (paper === wanted) return;
  paper = wanted;
  if (paper) folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach(details => (details.open = paper));
  applyTheme(paper ? "light" : theme);
  recolour();
  pass++;
  draw(figures);
}
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
matchMedia("print").addEventListener("change", event => onPaper(event.matches));

fillSelects();
document.querySelectorAll("[data-choose]").forEach(chooser);
tellChosen();
recolour();
// Of a page that one comes back to, the browser has set the controls as they were.
addEventListener("pageshow", () => {
  of("histogram").forEach(figure => fitTime(figure, Number(value(figure, "time"))));
  of("differences").forEach(pairsTable);
  choose(i => document.querySelector(`.chip [value="${i}"]`)?.checked ?? shown.has(i));
});
let known = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== known && !paper) {
    known = innerWidth;
    drawAll();
  }
});

const links = new Map([...document.querySelectorAll(".contents a")].map(a => [a.hash.slice(1), a]));
const inView = new IntersectionObserver(
  entries =>
    entries.forEach(({ target, isIntersecting }) =>
      isIntersecting
        ? links.get(target.id)?.setAttribute("aria-current", "true")
        : links.get(target.id)?.removeAttribute("aria-current"),
    ),
  { rootMargin: "-20% 0px -70% 0px" },
);
document.querySelectorAll("main section").forEach(section => inView.observe(section));
