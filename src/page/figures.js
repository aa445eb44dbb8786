"use strict";
// What each figure looks like: functions from the page's data and a figure's controls to plotly traces and a layout.
const D = JSON.parse(document.getElementById("data").textContent);
const NOT_FINITE = "∞";
const DEAD = "#d55e00", REVIVED = "#0072b2";
const shown = new Set(D.settings.slice(0, D.shown).keys());

// Plotly reads a little HTML in its texts; names are never meant as that.
const safe = text => String(text).replace(/[&<>]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const label = (text, most = 60) => safe(cut(String(text), most));
// Two lines at most, broken between words where that is possible.
function lines(text, most) {
  if (text.length <= most) return [text];
  const space = text.lastIndexOf(" ", most), at = space > most / 3 ? space : most;
  return [text.slice(0, at), cut(text.slice(at).trim(), most)];
}
const wrapped = (text, most) => lines(String(text), most).map(safe).join("<br>");
const isNumber = value => typeof value === "number";
const numbers = values => values.filter(isNumber);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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
const scored = (task, value) => (!isNumber(value) ? "–" : task.percent ? value.toFixed(2).replace("-", "−") : number(value, 4));
const between = (task, low, high) => (isNumber(low) ? ` [${scored(task, low)}, ${scored(task, high)}]` : "");
const pValue = p => (!isNumber(p) ? "no p-value" : p < 0.001 ? "p < 0.001" : `p = ${number(p, 2)}`);

// Panels of equal size in as many columns as fit, each as wide as it can be.
function panels(count, width, { height = 190, narrowest = 250, most = 4, titles, x, y, left = 56, gap = 54, top = 26, bottom = 46, right = 10, above = 8 }) {
  const fit = Math.max(1, Math.min(count, most, Math.floor((width - left - right + gap) / (narrowest + gap))));
  const rows = Math.ceil(count / fit), columns = Math.ceil(count / rows);
  const each = (width - left - right - gap * (columns - 1)) / columns;
  const characters = Math.floor(each / 6.8);
  if (titles.some(title => title.length > characters)) top += 15;
  const total = above + rows * (height + top) + (rows - 1) * (bottom - 8) + bottom;
  const inner = { w: width - left - right, h: total - above - bottom };
  const layout = { width, height: total, margin: { l: left, r: right, t: above, b: bottom }, annotations: [], shapes: [] };
  for (let i = 0; i < count; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const from = column * (each + gap), up = inner.h - top - row * (height + top + bottom - 8);
    const id = i ? i + 1 : "";
    layout[`xaxis${id}`] = { domain: [from / inner.w, (from + each) / inner.w], anchor: `y${id}`, ...axis(x(i)) };
    layout[`yaxis${id}`] = { domain: [Math.max(0, (up - height) / inner.h), up / inner.h], anchor: `x${id}`, ...axis(y(i)) };
    if (column) delete layout[`yaxis${id}`].title;
    if (i + columns < count) delete layout[`xaxis${id}`].title;
    layout.annotations.push({
      text: wrapped(titles[i], characters), align: "left", showarrow: false, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom",
      x: from / inner.w, y: up / inner.h, yshift: 2, font: { size: 12.5, weight: 600 },
    });
  }
  return { layout, on: i => ({ xaxis: `x${i ? i + 1 : ""}`, yaxis: `y${i ? i + 1 : ""}` }) };
}

const titled = text => ({ title: { text: safe(text), font: { size: 12 } } });
function axis({ title, ...rest }) {
  const looks = { gridcolor: css("--grid"), zeroline: false, linecolor: css("--line"), ticks: "outside", ticklen: 3, tickcolor: css("--line") };
  return { ...looks, ...(title ? titled(title) : {}), ...rest, fixedrange: coarse.matches };
}
const coarse = matchMedia("(pointer: coarse)"); // a finger on a figure means to scroll the page
const whole = (low, high) => ({ tickformat: ",d", dtick: high - low < 8 ? 1 : undefined, nticks: 7, range: [low, high] });
const powers = (low, high) => ({ type: "log", exponentformat: "power", nticks: 6, dtick: high / low > 30 ? Math.max(1, Math.round(Math.log10(high / low) / 6)) : "D1" });
const message = text => ({ traces: [], message: text });
const NONE = "No setting is chosen that has these numbers: choose one above.";

// The range of the rows near the best, with their intervals; null if no row is far out.
function near(anchor, means, extents) {
  const distances = means.map(v => Math.abs(v - anchor)), sorted = distances.slice().sort((a, b) => a - b);
  const usual = sorted[Math.floor((sorted.length - 1) * 0.4)] || sorted.find(d => d > 0) || 0;
  if (!usual || sorted.at(-1) < 8 * usual) return null;
  const close = extents.filter((_, i) => distances[i] < 8 * usual).concat([[anchor, anchor]]);
  const [low, high] = [Math.min(...close.map(e => e[0])), Math.max(...close.map(e => e[1]))];
  const pad = 0.06 * (high - low || usual);
  return [low - pad, high + pad];
}
const padded = values => { const [low, high] = [Math.min(...values), Math.max(...values)], pad = 0.04 * (high - low) || 0.5 * Math.abs(high) || 1; return [low - pad, high + pad]; };
function show(figure, name, visible) {
  const control = figure.querySelector(`[name="${name}"]`);
  if (control) control.closest("label").hidden = !visible;
}
const value = (figure, name) => figure.querySelector(`[name="${name}"]`)?.value;
const visible = positions => positions.filter(position => shown.has(position));
const inPanels = positions => Map.groupBy ? Map.groupBy(positions, p => D.settings[p].panel)
  : positions.reduce((map, p) => map.set(D.settings[p].panel, [...(map.get(D.settings[p].panel) || []), p]), new Map());

// One row per setting, from top to bottom; where a row lies outside the axis, words at its edge.
function rowsOf(width, names, { range, title, beside, outside, log = false }) {
  const wide = width > 680;
  const left = Math.min(wide ? 250 : 120, 24 + 7 * Math.max(...names.map(n => n.length)));
  const most = Math.floor((left - 14) / 6.3), tall = names.some(name => name.length > most) ? 33 : 26;
  const layout = {
    width, height: tall * names.length + 62, margin: { l: left, r: wide && beside ? 210 : 14, t: 6, b: 46 },
    xaxis: axis({ title, range: log ? range?.map(Math.log10) : range, type: log ? "log" : "linear", nticks: 8 }),
    yaxis: axis({ tickvals: names.map((_, i) => i), ticktext: names.map(n => wrapped(n, most)), range: [names.length - 0.4, -0.6], ticks: "" }),
    annotations: [], shapes: [],
  };
  names.forEach((_, i) => {
    if (wide && beside) layout.annotations.push({ text: safe(beside[i]), x: 1, xref: "paper", xanchor: "left", y: i, showarrow: false, font: { size: 11.5 }, xshift: 8 });
    if (outside[i]) layout.annotations.push({ text: safe(outside[i].text), x: outside[i].right ? 1 : 0, xref: "paper", xanchor: outside[i].right ? "right" : "left", y: i, showarrow: false, font: { size: 11.5, color: css("--quiet") } });
  });
  return layout;
}

function accuracy(figure, width) {
  const task = D.tasks[figure.dataset.task];
  let rows = task.rows.filter(row => shown.has(row.setting));
  if (!rows.length) return message(NONE);
  if (value(figure, "order") === "table") rows = rows.slice().sort((a, b) => a.setting - b.setting);
  const extents = rows.map(row => [Math.min(...row.values, ...numbers([row.low])), Math.max(...row.values, ...numbers([row.high]))]);
  const best = (task.higher ? Math.max : Math.min)(...rows.map(row => row.mean));
  const log = !task.percent && extents.every(([low]) => low > 0) && Math.max(...extents.flat()) > 20 * Math.min(...extents.flat());
  const close = log ? null : near(best, rows.map(row => row.mean), extents);
  show(figure, "range", close);
  const range = (value(figure, "range") === "near" && close) || (log ? null : padded(extents.flat()));
  const names = rows.map(row => D.settings[row.setting].label + (row.broken ? ` (${row.broken})` : ""));
  const outside = rows.map(row => (range && row.mean < range[0] ? { text: `◂ ${scored(task, row.mean)}` } : range && row.mean > range[1] ? { text: `${scored(task, row.mean)} ▸`, right: true } : null));
  const layout = rowsOf(width, names, {
    range: range ?? undefined, title: `${task.name} (${task.unit})`, outside, log,
    beside: rows.map(row => scored(task, row.mean) + between(task, row.low, row.high) + `, n = ${row.values.length}`),
  });
  const colours = rows.map(row => colour(D.settings[row.setting].colour));
  const points = { x: [], y: [], colour: [], text: [] };
  rows.forEach((row, i) => row.values.forEach((v, k) => {
    points.x.push(v);
    points.y.push(i + (row.values.length > 1 ? 0.24 * (k / (row.values.length - 1) - 0.5) * 2 : 0));
    points.colour.push(colours[i]);
    points.text.push(`${label(names[i])}, seed ${row.seeds[k]}: ${scored(task, v)} ${task.unit}`);
  }));
  if (task.chance && (!range || (task.chance > range[0] && task.chance < range[1]))) layout.shapes.push(vertical(task.chance, "dot"));
  const hover = { hovertemplate: "%{text}<extra></extra>" };
  const traces = [
    { ...hover, type: "scatter", mode: "markers", x: points.x, y: points.y, text: points.text, marker: { color: points.colour, size: 6, opacity: 0.55 } },
    ...rows.map((row, i) => ({
      ...hover, type: "scatter", mode: "markers", x: [row.mean], y: [i],
      text: [`${label(names[i])}: mean ${scored(task, row.mean)}${between(task, row.low, row.high)} ${task.unit}, n = ${row.values.length}`],
      marker: { color: colours[i], symbol: "diamond", size: 10, line: { color: css("--page"), width: 1 } },
      ...(isNumber(row.low) ? { error_x: errorBars([row.low], [row.mean], [row.high], colours[i]) } : {}),
    })),
  ];
  return { traces, layout, note: task.chance && !layout.shapes.length ? `Chance, ${number(task.chance)} %, is outside the axis.` : task.chance ? `Dotted: chance, ${number(task.chance)} %.` : "" };
}
const vertical = (x, dash = "solid") => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", layer: "below", line: { color: css("--quiet"), width: 1, dash } });

// How much better each setting is than the reference, best first.
function differencesFrom(task, reference) {
  const found = [];
  for (const [a, b, n, paired, difference, low, high, p, holm, effect, improvement, ilow, ihigh] of task.pairs) {
    if (a !== reference && b !== reference) continue;
    const minus = v => (isNumber(v) ? 0 - v : v), rest = v => (isNumber(v) ? 1 - v : v);
    found.push(a === reference
      ? { setting: b, n, paired, p, holm, difference: minus(difference), low: minus(high), high: minus(low), effect: minus(effect), improvement: rest(improvement), ilow: rest(ihigh), ihigh: rest(ilow) }
      : { setting: a, n, paired, p, holm, difference, low, high, effect, improvement, ilow, ihigh });
  }
  return found.sort((a, b) => b.difference - a.difference);
}

function differences(figure, width) {
  const task = D.tasks[figure.dataset.task], reference = Number(value(figure, "reference"));
  const rows = differencesFrom(task, reference).filter(row => shown.has(row.setting));
  if (!rows.length) return message(NONE);
  const unit = task.percent ? "percentage points" : task.unit;
  const extents = rows.map(row => (isNumber(row.low) ? [row.low, row.high] : [row.difference, row.difference]));
  const close = near(0, rows.map(row => row.difference), extents);
  show(figure, "range", close);
  const range = (value(figure, "range") === "near" && close) || padded(extents.flat().concat(0));
  const words = row => `${scored(task, row.difference)}${between(task, row.low, row.high)}, ${pValue(row.holm)}`;
  const outside = rows.map(row => (range && row.difference < range[0] ? { text: `◂ ${scored(task, row.difference)}` } : range && row.difference > range[1] ? { text: `${scored(task, row.difference)} ▸`, right: true } : null));
  const name = D.settings[reference].label;
  const layout = rowsOf(width, rows.map(row => D.settings[row.setting].label), {
    range: range ?? undefined, title: width > 520 ? `better than ${cut(name, 30)} by (${unit})` : `difference (${unit})`, outside, beside: rows.map(words),
  });
  layout.shapes.push(vertical(0));
  const traces = rows.map((row, i) => {
    const of = colour(D.settings[row.setting].colour);
    return {
      type: "scatter", mode: "markers", x: [row.difference], y: [i], text: [`${label(D.settings[row.setting].label)}: ${words(row)}, n = ${row.n}`],
      hovertemplate: "%{text}<extra></extra>", marker: { color: row.holm < 0.05 ? of : css("--page"), size: 10, line: { color: of, width: 2 } },
      ...(isNumber(row.low) ? { error_x: errorBars([row.low], [row.difference], [row.high], of) } : {}),
    };
  });
  return { traces, layout, note: task.higher ? "" : `The difference is how much lower the ${task.name} is.` };
}

function learning(figure, width) {
  const column = D.learning.columns[value(figure, "column")];
  const chosen = visible(Object.keys(column.settings).map(Number));
  if (!chosen.length) return message(NONE);
  const grouped = [...inPanels(chosen)];
  const everything = chosen.flatMap(p => [column.settings[p].mean, column.settings[p].low || [], ...column.settings[p].alone.map(a => a.y)].flatMap(numbers));
  const log = column.unit !== "%" && everything.every(v => v > 0);
  const ends = chosen.map(p => { const c = column.settings[p]; return numbers(c.mean).at(-1) ?? numbers(c.alone[0].y).at(-1); });
  const top = Math.max(...everything), spread = top - Math.min(...everything);
  const canZoom = column.percent && spread > 25;
  show(figure, "range", canZoom);
  const range = canZoom && value(figure, "range") === "near" ? [Math.max(...ends) - 10, Math.min(100, top + 1)] : undefined;
  const last = Math.max(...chosen.flatMap(p => [...column.settings[p].x, ...column.settings[p].alone.flatMap(a => a.x)]));
  const single = grouped.length === 1;
  const { layout, on } = panels(grouped.length, width, {
    height: single ? Math.min(380, Math.max(260, width * 0.42)) : 200, narrowest: 240, titles: grouped.map(([title]) => (single ? "" : title)),
    x: () => ({ title: "epoch", ...whole(0, last * 1.02) }),
    y: () => ({ title: column.title + (column.unit ? ` (${column.unit})` : ""), ...(log ? powers(Math.min(...everything), top) : {}), ...(range ? { range } : grouped.length > 1 ? { matches: "y" } : {}) }),
  });
  const traces = [];
  grouped.forEach(([, members], i) => members.forEach(position => {
    const { colour: of, dash, label: name } = D.settings[position], c = column.settings[position];
    const line = { color: colour(of), dash, width: 2.2 }, common = { type: "scatter", mode: "lines", ...on(i) };
    const told = { text: label(name), hovertemplate: `%{text}, epoch %{x}: %{y:.4g} ${column.unit}, mean of n = ${c.n}<extra></extra>` };
    if (c.low) {
      traces.push({ ...common, x: c.x, y: c.high, line: { width: 0 }, hoverinfo: "skip" });
      traces.push({ ...common, x: c.x, y: c.low, line: { width: 0 }, fill: "tonexty", fillcolor: faint(of, 0.16), hoverinfo: "skip" });
    }
    c.alone.forEach(a => traces.push({ ...common, x: a.x, y: a.y, line: { ...line, width: 0.9 }, opacity: 0.75, text: label(name), hovertemplate: `%{text}, seed ${a.seed}, epoch %{x}: %{y:.4g} ${column.unit}<extra></extra>` }));
    if (c.x.length) traces.push({ ...common, ...told, x: c.x, y: c.mean, line, mode: c.x.length === 1 ? "markers" : "lines", marker: { color: line.color, size: 7 } });
  }));
  return { traces, layout, note: log ? "Logarithmic axis." : "" };
}

function errorBars(low, mean, high, of) {
  const reach = (from, to) => from.map((v, i) => (isNumber(v) && isNumber(to[i]) ? to[i] - v : 0));
  return { type: "data", symmetric: false, array: reach(mean, high), arrayminus: reach(low, mean), color: of, thickness: 1.3, width: 4 };
}

function depth(figure, width) {
  const task = D.tasks[figure.dataset.task], lines = task.depth;
  const all = lines.flatMap(line => numbers(line.value)), log = !task.percent && all.every(v => v > 0);
  const kinds = [{ part: line => line, title: `${task.name} (${task.unit})`, axis: log ? powers(Math.min(...all), Math.max(...all)) : {}, unit: task.unit }];
  if (task.percent) kinds.push({ part: line => line.trained, title: "runs that trained (%)", axis: { range: [-4, 104] }, unit: "% trained" });
  const titles = [...new Set(lines.map(line => line.panel))];
  const depths = [...new Set(lines.flatMap(line => line.depth))], [low, high] = [Math.min(...depths), Math.max(...depths)];
  const { layout, on } = panels(titles.length * kinds.length, width, {
    height: 240, narrowest: 260, most: kinds.length, gap: 74,
    titles: titles.flatMap(title => kinds.map(kind => (title ? `${title}: ` : "") + kind.title)),
    x: () => ({ title: "hidden layers", range: [low - 0.07 * (high - low), high + 0.07 * (high - low)], tickvals: depths }),
    y: i => kinds[i % kinds.length].axis,
  });
  const traces = [];
  titles.forEach((title, panel) => {
    const members = lines.filter(line => line.panel === title);
    members.forEach((line, k) => kinds.forEach((kind, j) => {
      const { value: v, low: l, high: h, n = line.n } = kind.part(line), of = colour(line.look.colour);
      const aside = (k - (members.length - 1) / 2) * (high - low) * 0.011;
      traces.push({
        type: "scatter", mode: "lines+markers", ...on(panel * kinds.length + j), x: line.depth.map(d => d + aside), y: v,
        line: { color: of, dash: line.look.dash, width: 1.8 }, marker: { color: of, symbol: line.look.symbol, size: 8 },
        error_y: errorBars(l, v, h, of), hovertemplate: "%{text}<extra></extra>",
        text: line.depth.map((d, m) => `${label(line.name)}, depth ${d}: ${number(v[m], 4)}${isNumber(l[m]) ? ` [${number(l[m], 4)}, ${number(h[m], 4)}]` : ""} ${kind.unit}, n = ${n[m]}${line.broken[m] ? `; ${safe(line.broken[m])}` : ""}`),
      });
    }));
  });
  return { traces, layout, note: log ? "Logarithmic axis." : "", legend: lines.map(line => ({ name: line.name, ...line.look })) };
}
