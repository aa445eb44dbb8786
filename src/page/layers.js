// What happened inside the networks: layers over time, histograms, dying units; and the functions themselves.
const SEQUENTIAL = "Viridis";
const DIVERGING = [[0, "#8c3a00"], [0.25, "#d55e00"], [0.5, "#f4f4f4"], [0.75, "#0072b2"], [1, "#003f66"]];

const unit = quantity => (quantity.unit && quantity.unit !== "1" ? quantity.unit : "1");
const about = (quantity, log) => `${quantity.name}${quantity.definition ? `: ${quantity.definition}` : " (its diagnostic does not say what it is)"}. Unit: ${unit(quantity)}${log ? "; logarithmic scale" : ""}.`;
const ticksOf = layers => { const every = Math.ceil(layers.length / 8); const at = layers.map((_, i) => i).filter(i => i % every === 0); return { tickvals: at, ticktext: at.map(i => label(layers[i], 8)) }; };

// Limits and ticks of a colour scale over everything that is drawn.
function scaleOf(values, log) {
  const known = numbers(values).filter(v => !log || v > 0);
  if (!known.length) return { low: 0, high: 1, axis: {} };
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (log) {
    [low, high] = [Math.log10(low), Math.log10(high)];
    if (high - low < 0.3) [low, high] = [low - 0.15, high + 0.15];
    const every = Math.max(1, Math.ceil((high - low) / 6)), at = [];
    for (let k = Math.ceil(low / every) * every; k <= high; k += every) at.push(k);
    const plain = at.length < 2;
    const marks = plain ? [low, (low + high) / 2, high] : at;
    return { low, high, colours: SEQUENTIAL, ticks: { tickvals: marks, ticktext: marks.map(k => (plain ? number(10 ** k, 2) : `10<sup>${String(k).replace("-", "−")}</sup>`)) } };
  }
  if (low < 0 && high > 0) { high = Math.max(-low, high); return { low: -high, high, colours: DIVERGING, ticks: {} }; }
  if (low >= 0) low = 0;
  return { low, high: high === low ? low + 1 : high, colours: SEQUENTIAL, ticks: {} };
}

function map(figure, width) {
  const quantity = D.layers.quantities[value(figure, "quantity")];
  const having = visible(Object.keys(quantity.settings).map(Number));
  const chosen = having.filter(position => quantity.settings[position].map);
  const log = having.length > 0 && having.every(position => quantity.settings[position].log);
  if (!having.length) return message(NONE);
  if (!chosen.length) return { ...message("Measured at the start and at the end only: the figure below shows both."), note: about(quantity, log) };
  const cells = chosen.map(position => quantity.settings[position].map);
  const scale = scaleOf(cells.flatMap(c => c.z.flat()), log);
  const deepest = Math.max(...cells.map(c => c.layers.length));
  const { layout, on } = panels(chosen.length, width, {
    height: Math.min(260, Math.max(96, 15 * deepest)), narrowest: 220, gap: 40, left: 46, above: 76, titles: chosen.map(p => D.settings[p].label),
    x: i => ({ title: cells[i].step ? "step" : "epoch", nticks: 6, tickformat: ",d", showgrid: false, ...ends(cells[i].x) }),
    y: i => ({ title: "layer", showgrid: false, ...ticksOf(cells[i].layers), range: [-0.5, cells[i].layers.length - 0.5] }),
  });
  layout.coloraxis = {
    cmin: scale.low, cmax: scale.high, colorscale: scale.colours,
    colorbar: { orientation: "h", x: 0, xanchor: "left", xpad: 0, y: 1 - 20 / layout.height, yanchor: "top", yref: "container", ypad: 0, len: Math.min(320, width - 90), lenmode: "pixels", thickness: 12, outlinewidth: 0, nticks: 6, ...scale.ticks },
  };
  layout.annotations.push({ text: label(`${quantity.name} (${unit(quantity)})`, Math.floor(width / 7)), showarrow: false, x: 0, xref: "paper", xanchor: "left", y: 1, yref: "paper", yanchor: "top", yshift: 74, font: { size: 12 } });
  let zeros = 0, broken = 0;
  const traces = chosen.flatMap((position, i) => {
    const c = cells[i], y = c.layers.map((_, k) => k), common = { type: "heatmap", ...on(i), x: c.x, y, hoverinfo: "skip", showscale: false };
    const text = c.z.map((row, k) => row.map((v, t) => `layer ${label(c.layers[k])}, ${c.step ? "step" : "epoch"} ${c.x[t]}: ${number(v)} (n = ${c.n[t]})`));
    const flat = (of, holds) => {
      const z = c.z.map(row => row.map(v => (holds(v) ? 1 : null))), count = z.flat().filter(Boolean).length;
      return [count, count ? [{ ...common, z, colorscale: [[0, css(of)], [1, css(of)]], hovertemplate: "%{text}<extra></extra>", text, hoverinfo: undefined }] : []];
    };
    const [nZero, zero] = log ? flat("--zero", v => v === 0) : [0, []];
    const [nBroken, notFinite] = flat("--broken", v => v === NOT_FINITE);
    zeros += nZero;
    broken += nBroken;
    const fewer = c.n.findIndex(n => n < Math.max(...c.n));
    if (fewer > 0) layout.shapes.push({ type: "line", xref: on(i).xaxis, yref: `${on(i).yaxis} domain`, x0: (c.x[fewer] + c.x[fewer - 1]) / 2, x1: (c.x[fewer] + c.x[fewer - 1]) / 2, y0: 0, y1: 1, line: { color: "#ffffff", width: 1.2, dash: "dot" } });
    return [{ ...common, z: c.z.map(row => row.map(v => (!isNumber(v) || (log && v <= 0) ? null : log ? Math.log10(v) : v))), coloraxis: "coloraxis", showscale: true, text, hoverinfo: undefined, hovertemplate: "%{text}<extra></extra>" }, ...zero, ...notFinite];
  });
  const marks = (zeros ? ` Grey: exactly 0 (${zeros} cells).` : "") + (broken ? ` Orange: NaN or infinite in at least one seed (${broken} cells).` : "");
  return { traces, layout, note: about(quantity, log) + marks };
}
const ends = x => { const half = x.length > 1 ? (x[1] - x[0]) / 2 : 0.5; return { range: [x[0] - half, x.at(-1) + (x.length > 1 ? (x.at(-1) - x.at(-2)) / 2 : 0.5)] }; };

function profile(figure, width) {
  const quantity = D.layers.quantities[value(document.querySelector('[data-figure="map"]'), "quantity")];
  const chosen = visible(Object.keys(quantity.settings).map(Number));
  if (!chosen.length) return message(NONE);
  const log = chosen.every(position => quantity.settings[position].log);
  const grouped = [...inPanels(chosen)];
  const whens = ["untrained", "trained"].filter(when => chosen.some(position => quantity.settings[position].ends[when]));
  const drawn = grouped.flatMap(([title, members]) => whens.map(when => ({ when, title: grouped.length > 1 ? `${title}: ${when}` : when, members: members.filter(p => quantity.settings[p].ends[when]) })));
  const all = chosen.flatMap(p => whens.flatMap(when => { const e = quantity.settings[p].ends[when]; return e ? [...e.mean, ...e.low, ...e.high] : []; }));
  const known = numbers(all).filter(v => !log || v > 0);
  const edges = known.length ? [Math.min(...known), Math.max(...known)] : [0.1, 1];
  const pad = log ? Math.max(0.15, 0.08 * Math.log10(edges[1] / edges[0])) : 0.06 * (edges[1] - edges[0] || Math.abs(edges[0]) || 1);
  const range = log ? [Math.log10(edges[0]) - pad, Math.log10(edges[1]) + pad] : [edges[0] - pad, edges[1] + pad];
  const [bottom, top] = log ? range.map(v => 10 ** v) : range;
  const { layout, on } = panels(drawn.length, width, {
    height: 240, narrowest: 250, most: whens.length, left: 64, titles: drawn.map(d => d.title),
    x: i => { const layers = longest(drawn[i].members.map(p => quantity.settings[p].ends[drawn[i].when].layers)); return { title: "layer, from input to output", ...ticksOf(layers), range: [-0.5, layers.length - 0.5] }; },
    y: () => ({ title: cut(`${quantity.name} (${unit(quantity)})`, 44), ...(log ? powers(...edges) : {}), range }),
  });
  const traces = [];
  drawn.forEach(({ when, members }, i) => members.forEach((position, k) => {
    const e = quantity.settings[position].ends[when], { colour: of, dash, symbol, label: name } = D.settings[position];
    const x = e.layers.map((_, j) => j), fits = v => (isNumber(v) && (!log || v > 0) ? v : null), common = { type: "scatter", ...on(i), cliponaxis: false };
    const text = e.layers.map((layer, j) => `${label(name)}, layer ${label(layer)}, ${when}: ${number(e.mean[j])} (${number(e.low[j])} to ${number(e.high[j])}, n = ${e.n})`);
    if (e.n > 1) {
      traces.push({ ...common, mode: "lines", x, y: e.high.map(fits), line: { width: 0 }, hoverinfo: "skip" });
      traces.push({ ...common, mode: "lines", x, y: e.low.map(fits), line: { width: 0 }, fill: "tonexty", fillcolor: faint(of, 0.14), hoverinfo: "skip" });
    }
    const hover = { text, hovertemplate: "%{text}<extra></extra>" };
    traces.push({ ...common, ...hover, mode: "lines+markers", x, y: e.mean.map(fits), line: { color: colour(of), dash, width: 1.8 }, marker: { color: colour(of), symbol, size: 7 } });
    const aside = j => j + (k - (members.length - 1) / 2) * 0.09;
    const marks = (holds, at, shape) => { const where = x.filter(j => holds(e.mean[j])); if (where.length) traces.push({ ...common, ...hover, text: where.map(j => text[j]), mode: "markers", x: where.map(aside), y: where.map(() => at), marker: { symbol: shape, size: 9, color: colour(of), line: { width: 2, color: colour(of) } } }); };
    if (log) marks(v => v === 0, bottom, "triangle-down-open");
    marks(v => v === NOT_FINITE, top, "x-thin-open");
  }));
  return { traces, layout, note: `${quantity.name}${log ? ", logarithmic axis" : ""}.`, legend: chosen.map(p => D.settings[p]) };
}
const longest = lists => lists.reduce((a, b) => (b.length > a.length ? b : a), []);

// Shares per unit of the value, so that bins of different widths can be compared.
function densities(layer, time) {
  const [low, high, counts] = [layer.low[time], layer.high[time], layer.counts[time]];
  if (!counts) return { words: "not measured" };
  if (!isNumber(low) || !isNumber(high)) return { words: "values are not finite" };
  if (high === low) return { words: `all ${number(low)}` };
  const width = (high - low) / counts.length, total = counts.reduce((a, b) => a + b, 0) || 1;
  return { x: counts.map((_, i) => low + i * width).concat(high), y: counts.map(c => c / total / width).concat(0), width };
}

function histogram(figure, width) {
  const quantity = D.histograms.quantities[value(figure, "quantity")], position = value(figure, "setting");
  const found = D.histograms.settings[position].quantities[quantity.name];
  if (!found) return message("This setting has no such histograms: choose another one.");
  const time = Math.min(Number(value(figure, "time")), found.epochs.length - 1);
  const log = value(figure, "scale") === "log", fixed = value(figure, "axes") === "fixed";
  const each = found.layers.map(layer => densities(layer, time));
  const always = found.layers.map(layer => (fixed ? found.epochs.map((_, t) => densities(layer, t)).filter(d => d.x) : []));
  const extent = i => { const of = fixed ? always[i] : [each[i]]; const x = of.flatMap(d => (d.x ? [d.x[0], d.x.at(-1)] : [])); const y = of.flatMap(d => (d.y ? d.y.filter(v => v > 0) : [])); return x.length && y.length ? { x: [Math.min(...x), Math.max(...x)], y: [Math.min(...y), Math.max(...y)] } : null; };
  const { layout, on } = panels(found.layers.length, width, {
    height: 150, narrowest: width < 500 ? 112 : 150, most: 6, gap: 44, left: 50, titles: found.layers.map((layer, i) => (each[i].words ? `layer ${layer.name}: ${each[i].words}` : `layer ${layer.name}`)),
    x: i => { const e = extent(i); return { title: quantity.unit && quantity.unit !== "1" ? "value" : "value (1)", nticks: 4, ...(e ? { range: e.x } : {}) }; },
    y: i => { const e = extent(i); return { title: "density", nticks: 4, exponentformat: "power", ...(log ? { type: "log", ...(e ? { range: [Math.log10(e.y[0]) - 0.2, Math.log10(e.y[1]) + 0.2] } : {}) } : e ? { range: [0, e.y[1] * 1.05] } : {}) }; },
  });
  const of = D.settings[position].colour;
  const traces = each.map((d, i) => (d.x
    ? { type: "scatter", mode: "lines", ...on(i), x: d.x, y: log ? d.y.map(v => v || null) : d.y, line: { color: colour(of), width: 1.4, shape: "hv" }, fill: log ? "none" : "tozeroy", fillcolor: faint(of, 0.25), hovertemplate: "from %{x:.4g}: density %{y:.3g}<extra></extra>" }
    : { type: "scatter", ...on(i), x: [], y: [] }));
  const left = found.of > found.layers.length ? ` ${found.layers.length} of ${found.of} layers are shown.` : "";
  return { traces, layout, note: `${about(quantity)}${unit(quantity) === "1" ? "" : ` Density in 1 / (${unit(quantity)}).`} ${D.settings[position].label}, seed ${D.histograms.settings[position].seed}, epoch ${found.epochs[time]}.${left}` };
}

function turnover(figure, width) {
  const chosen = visible(Object.keys(D.layers.turnover).map(Number));
  if (!chosen.length) return message(NONE);
  const layer = value(figure, "layer"), cells = chosen.map(position => D.layers.turnover[position]);
  const summed = (c, name) => c.x.map((_, t) => c[name].reduce((sum, row, k) => sum + (layer === "all" || c.layers[k] === layer ? row[t] ?? 0 : 0), 0));
  const bars = cells.map(c => ({ died: summed(c, "units_died"), revived: summed(c, "units_revived").map(v => -v) }));
  const most = Math.max(1, ...bars.flatMap(b => [...b.died, ...b.revived.map(Math.abs)])) * 1.08;
  const { layout, on } = panels(chosen.length, width, {
    height: 140, narrowest: 220, gap: 30, titles: chosen.map(p => D.settings[p].label),
    x: i => ({ title: cells[i].step ? "step" : "epoch", nticks: 6, tickformat: ",d" }),
    y: () => ({ title: "units", range: [-most, most], zeroline: true, zerolinecolor: css("--quiet"), nticks: 5 }),
  });
  layout.barmode = "relative";
  layout.bargap = 0.15;
  const per = c => (c.width > 1 ? `${c.width} measurements from ${c.step ? "step" : "epoch"}` : c.step ? "step" : "epoch");
  const traces = chosen.flatMap((position, i) => [["died", DEAD], ["revived", REVIVED]].map(([what, of]) => ({
    type: "bar", ...on(i), x: cells[i].x, y: bars[i][what], marker: { color: of }, text: cells[i].x.map((x, t) => `${per(cells[i])} ${x}: ${number(Math.abs(bars[i][what][t]))} ${what} (n = ${cells[i].n})`), textposition: "none", hovertemplate: "%{text}<extra></extra>",
  })));
  const total = chosen.every((_, i) => [...bars[i].died, ...bars[i].revived].every(v => !v)) ? " No unit died or revived." : "";
  const wide = [...new Set(cells.map(c => c.width))].filter(w => w > 1);
  return { traces, layout, note: `Units per measurement${wide.length ? `, added up over up to ${Math.max(...wide)} measurements per bar` : ""}.${total}`, legend: [{ name: "died", colour: DEAD, dash: "solid", block: true }, { name: "revived", colour: REVIVED, dash: "solid", block: true }] };
}

function functions(figure, width) {
  const all = D.functions, { layout, on } = panels(all.length, width, {
    height: 130, narrowest: width < 500 ? 130 : 170, most: 6, gap: 36, left: 44, titles: all.map(f => f.name),
    x: () => ({ title: "input x (1)", nticks: 5, zeroline: true, zerolinecolor: css("--line") }),
    y: () => ({ title: "φ, φ′ (1)", nticks: 5, zeroline: true, zerolinecolor: css("--line"), matches: "y" }),
  });
  const traces = all.flatMap((f, i) => [["φ", f.value, "solid", 2.2], ["φ′", f.slope, "dash", 1.4]].map(([name, y, dash, thick]) => (
    { type: "scatter", mode: "lines", ...on(i), x: f.x, y, line: { color: colour(f.look.colour), dash, width: thick }, hovertemplate: `${name}(%{x:.2f}) = %{y:.3g}<extra></extra>` })));
  return { traces, layout, note: "" };
}
