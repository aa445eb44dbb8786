// What all figures share: the page's data, numbers in words, colours, axes and panels.
const D = JSON.parse(document.getElementById("data").textContent);
const NOT_FINITE = "∞";
const FEW = 8; // settings that can be chosen without unfolding a list, which then names their colours, too
const MOST_PANELS = 48; // more make the page slow; a figure that leaves some out says so
const HOVER = { hovertemplate: "%{text}<extra></extra>" };
const best = D.tasks.flatMap(task => task.rows.slice(0, Math.ceil(D.shown / D.tasks.length)).map(row => row.setting));
const shown = new Set(D.settings.length > D.shown && best.length ? best : D.settings.slice(0, D.shown).keys());

// Plotly reads a little HTML in its texts; names are never meant as that.
const safe = text => String(text).replace(/[&<>]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const half = most => Math.floor((most - 1) / 2); // names differ at their ends as often as at their beginnings
const cut = (text, most) =>
  text.length > most ? `${text.slice(0, most - 1 - half(most))}…${text.slice(-half(most))}` : text;
const label = (text, most = 60) => safe(cut(String(text), most));
// Two lines at most, broken between words where that is possible; of what is longer, the end stays: it tells names apart.
function lines(text, most) {
  if (text.length <= most) return [text];
  const space = text.lastIndexOf(" ", most),
    at = space > most / 3 ? space : most,
    rest = text.slice(at).trim();
  return [text.slice(0, at), rest.length > most ? "…" + rest.slice(1 - most) : rest];
}
const wrapped = (text, most) => lines(String(text), most).map(safe).join("<br>");
const isNumber = value => typeof value === "number";
const numbers = values => values.filter(isNumber);
const lowest = values => values.reduce((a, b) => Math.min(a, b), Infinity); // Math.min(...values) is for short lists
const highest = values => values.reduce((a, b) => Math.max(a, b), -Infinity);
const palette = {}; // asking the browser each time would have it lay out the page each time
function css(name) {
  const root = document.documentElement;
  return (palette[root.dataset.theme + name] ??= getComputedStyle(root).getPropertyValue(name).trim());
}
// What would vanish on a dark page: black, and the darkest blue.
const ON_DARK = { "#000000": "#e7e9ec", "#0072b2": "#1f86cc" };
const colour = of => (document.documentElement.dataset.theme === "dark" && ON_DARK[of.toLowerCase()]) || of;
const faint = (of, alpha) => {
  const hex = colour(of).slice(1);
  return `rgba(${[0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)).join()},${alpha})`;
};

function number(value, digits = 3) {
  if (!isNumber(value)) return value === NOT_FINITE ? "not finite" : "–";
  const [mantissa, exponent] = String(Number(value.toPrecision(digits))).split("e");
  if (!exponent && value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) {
    const [m, e] = value.toExponential(digits - 1).split("e");
    return `${Number(m)}e${Number(e)}`.replaceAll("-", "−");
  }
  return (exponent ? `${mantissa}e${Number(exponent)}` : mantissa).replaceAll("-", "−");
}
const scored = (task, value) =>
  !isNumber(value) ? "–" : task.percent ? value.toFixed(2).replace("-", "−") : number(value, 4);
const between = (task, low, high) => (isNumber(low) ? ` [${scored(task, low)}, ${scored(task, high)}]` : "");
const pValue = p => (!isNumber(p) ? "no p-value" : p < 0.001 ? "p < 0.001" : `p = ${number(p, 2)}`);

// Panels of equal size in as many columns as fit, each as wide as it can be.
const ROOM = { height: 190, narrowest: 250, most: 4, left: 56, gap: 54, top: 26, bottom: 46, right: 10, above: 8 };
function panels(count, width, asked) {
  let { height, narrowest, most, titles, x, y, left, gap, top, bottom, right, above } = { ...ROOM, ...asked };
  const fit = Math.max(1, Math.min(count, most, Math.floor((width - left - right + gap) / (narrowest + gap))));
  const rows = Math.ceil(count / fit),
    columns = Math.ceil(count / rows);
  const each = (width - left - right - gap * (columns - 1)) / columns;
  const characters = Math.floor(each / 8);
  if (titles.some(title => title.length > characters)) top += 15;
  const total = above + rows * (height + top) + (rows - 1) * (bottom - 8) + bottom;
  const inner = { w: width - left - right, h: total - above - bottom };
  const layout = {
    width,
    height: total,
    margin: { l: left, r: right, t: above, b: bottom },
    annotations: [],
    shapes: [],
  };
  for (let i = 0; i < count; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const from = column * (each + gap),
      up = inner.h - top - row * (height + top + bottom - 8);
    const id = i ? i + 1 : "";
    layout[`xaxis${id}`] = { domain: [from / inner.w, (from + each) / inner.w], anchor: `y${id}`, ...axis(x(i)) };
    layout[`yaxis${id}`] = {
      domain: [Math.max(0, (up - height) / inner.h), up / inner.h],
      anchor: `x${id}`,
      ...axis(y(i)),
    };
    if (!i) delete layout.yaxis.matches; // the others match it; itself it can't
    if (column) delete layout[`yaxis${id}`].title;
    if (i + columns < count) delete layout[`xaxis${id}`].title;
    layout.annotations.push({
      text: wrapped(titles[i], characters),
      align: "left",
      showarrow: false,
      xref: "paper",
      yref: "paper",
      xanchor: "left",
      yanchor: "bottom",
      x: from / inner.w,
      y: up / inner.h,
      yshift: 2,
      font: { size: 12.5, weight: 600 },
    });
  }
  return { layout, on: i => ({ xaxis: `x${i ? i + 1 : ""}`, yaxis: `y${i ? i + 1 : ""}` }) };
}

const titled = text => ({ title: { text: safe(text), font: { size: 12 } } });
function axis({ title, ...rest }) {
  const looks = {
    exponentformat: "power",
    gridcolor: css("--grid"),
    zeroline: false,
    linecolor: css("--line"),
    ticks: "outside",
    ticklen: 3,
    tickcolor: css("--line"),
  };
  return { ...looks, ...(title ? titled(title) : {}), ...rest, fixedrange: coarse.matches };
}
const coarse = matchMedia("(pointer: coarse)"); // a finger on a figure means to scroll the page
const whole = (low, high) => ({
  tickformat: ",d",
  dtick: high - low < 8 ? 1 : undefined,
  nticks: 7,
  range: [low, high],
});
const powers = (low, high) => ({
  type: "log",
  exponentformat: "power",
  nticks: 6,
  dtick: high / low > 30 ? Math.max(1, Math.round(Math.log10(high / low) / 6)) : "D1",
});
const message = text => ({ traces: [], message: text });
const NONE = "No setting is chosen that has these numbers: choose one above.";

// The range of the rows near the best, with their intervals; null if no row is far out.
function near(anchor, means, extents) {
  const distances = means.map(v => Math.abs(v - anchor)),
    sorted = distances.slice().sort((a, b) => a - b);
  const usual = sorted[Math.floor((sorted.length - 1) * 0.4)] || sorted.find(d => d > 0) || 0;
  if (!usual || sorted.at(-1) < 8 * usual) return null;
  const close = extents
    .filter((_, i) => distances[i] < 8 * usual)
    .flat()
    .concat(anchor);
  const low = lowest(close),
    high = highest(close);
  const pad = 0.06 * (high - low || usual);
  return [low - pad, high + pad];
}
const padded = values => {
  const low = lowest(values),
    high = highest(values);
  const pad = 0.04 * (high - low) || 0.5 * Math.abs(high) || 1;
  return [low - pad, high + pad];
};
const beyond = (range, at, text) =>
  range && at < range[0] ? { text: `◂ ${text}` } : range && at > range[1] ? { text: `${text} ▸`, right: true } : null;
function show(figure, name, visible) {
  const control = figure.querySelector(`[name="${name}"]`);
  if (control) control.closest("label").hidden = !visible;
}
const value = (figure, name) => figure.querySelector(`[name="${name}"]`)?.value;
const visible = positions => positions.filter(position => shown.has(position));
function inPanels(positions) {
  const grouped = new Map();
  positions.forEach(p => grouped.set(D.settings[p].panel, [...(grouped.get(D.settings[p].panel) ?? []), p]));
  return [...grouped];
}
const few = list => [
  list.slice(0, MOST_PANELS),
  list.length > MOST_PANELS ? ` The first ${MOST_PANELS} of ${list.length} are shown.` : "",
];

// From low to high, without lines.
function band(common, x, low, high, of) {
  const edge = { ...common, type: "scatter", mode: "lines", x, line: { width: 0 }, hoverinfo: "skip" };
  return [
    { ...edge, y: high },
    { ...edge, y: low, fill: "tonexty", fillcolor: faint(of, 0.15) },
  ];
}

function errorBars(low, mean, high, of) {
  const reach = (from, to) => from.map((v, i) => (isNumber(v) && isNumber(to[i]) ? to[i] - v : 0));
  const looks = { type: "data", symmetric: false, color: of, thickness: 1.3, width: 4 };
  return { ...looks, array: reach(mean, high), arrayminus: reach(low, mean) };
}

// One row per setting, from top to bottom; where a row lies outside the axis, words at its edge.
function rowsOf(width, names, { range, title, beside, outside, log = false }) {
  const wide = width > 680;
  const left = Math.min(wide ? 250 : 120, 24 + 7 * Math.max(...names.map(n => n.length)));
  const most = Math.floor((left - 14) / 7),
    tall = names.some(name => name.length > most) ? 33 : 26,
    right = wide && beside ? 16 + 6.5 * Math.max(...beside.map(words => words.length)) : 14;
  const layout = {
    width,
    height: tall * names.length + 62,
    margin: { l: left, r: right, t: 6, b: 46 },
    xaxis: axis({
      title,
      range: log ? range?.map(Math.log10) : range,
      type: log ? "log" : "linear",
      nticks: Math.min(8, Math.max(2, Math.floor((width - left - right) / 70))), // side by side: −1.2×10¹³
    }),
    yaxis: axis({
      tickvals: names.map((_, i) => i),
      ticktext: names.map(n => wrapped(n, most)),
      range: [names.length - 0.4, -0.6],
      ticks: "",
    }),
    annotations: [],
    shapes: [],
  };
  const words = { showarrow: false, xref: "paper" };
  names.forEach((_, i) => {
    if (wide && beside)
      layout.annotations.push({
        ...words,
        text: safe(beside[i]),
        x: 1,
        y: i,
        xanchor: "left",
        xshift: 8,
        font: { size: 11.5 },
      });
    const edge = outside[i];
    if (edge)
      layout.annotations.push({
        ...words,
        text: safe(edge.text),
        x: edge.right ? 1 : 0,
        y: i,
        xanchor: edge.right ? "right" : "left",
        font: { size: 11.5, color: css("--quiet") },
      });
  });
  return layout;
}
const vertical = (x, dash = "solid") => ({
  type: "line",
  x0: x,
  x1: x,
  y0: 0,
  y1: 1,
  yref: "paper",
  layer: "below",
  line: { color: css("--quiet"), width: 1, dash },
});
