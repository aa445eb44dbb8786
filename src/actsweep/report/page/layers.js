// What happened inside the networks: layers over time, histograms, dying units; and the functions themselves.
const SEQUENTIAL = "Viridis";
const DIED = "#d55e00";
const REVIVED = "#0072b2";
const DIVERGING = [
  [0, "#8c3a00"], [0.25, "#d55e00"], [0.5, "#f4f4f4"], [0.75, "#0072b2"], [1, "#003f66"],
];

const unit = quantity => quantity.unit || "1";
function about(quantity, log) {
  const meaning = quantity.definition ? `: ${quantity.definition}` : " (its diagnostic does not say what it is)";
  return `${quantity.name}${meaning}. Unit: ${unit(quantity)}${log ? "; logarithmic scale" : ""}.`;
}
const ticksOf = layers => {
  const every = Math.ceil(layers.length / 8);
  const at = layers.map((_, i) => i).filter(i => i % every === 0);
  return { tickvals: at, ticktext: at.map(i => label(layers[i], 8)) };
};

// Limits and ticks of a colour scale over everything that is drawn.
function scaleOf(values, log) {
  const known = numbers(values).filter(v => !log || v > 0);
  if (!known.length) return { low: 0, high: 1, colours: SEQUENTIAL, ticks: {} };
  let [low, high] = [lowest(known), highest(known)];
  if (log) {
    [low, high] = [Math.log10(low), Math.log10(high)];
    if (high - low < 0.3) [low, high] = [low - 0.15, high + 0.15];
    const every = Math.max(1, Math.ceil((high - low) / 6)),
      at = [];
    for (let k = Math.ceil(low / every) * every; k <= high; k += every) at.push(k);
    const plain = at.length < 2;
    const marks = plain ? [low, (low + high) / 2, high] : at;
    return {
      low,
      high,
      colours: SEQUENTIAL,
      ticks: {
        tickvals: marks,
        ticktext: marks.map(k => (plain ? number(10 ** k, 2) : `10<sup>${String(k).replace("-", "−")}</sup>`)),
      },
    };
  }
  if (low < 0 && high > 0) {
    high = Math.max(-low, high);
    return { low: -high, high, colours: DIVERGING, ticks: {} };
  }
  if (low >= 0) low = 0;
  return { low, high: high === low ? low + 1 : high, colours: SEQUENTIAL, ticks: {} };
}

function map(figure, width) {
  const quantity = D.layers.quantities[value(figure, "quantity")];
  const having = visible(Object.keys(quantity.settings).map(Number));
  if (!having.length) return message(NONE);
  const log = having.every(position => quantity.settings[position].log);
  const [chosen, left] = few(having.filter(position => quantity.settings[position].map));
  if (!chosen.length)
    return {
      ...message("Measured at the start and at the end only: the figure below shows both."),
      note: about(quantity, log),
    };
  const cells = chosen.map(position => quantity.settings[position].map);
  const deepest = highest(cells.map(c => c.layers.length));
  const { layout, on } = panels(chosen.length, width, {
    height: Math.min(260, Math.max(96, 15 * deepest)), narrowest: 220, gap: 40, left: 46, above: 76,
    titles: chosen.map(p => D.settings[p].label),
    x: i => ({
      title: cells[i].step ? "step" : "epoch", nticks: 6, tickformat: ",d", showgrid: false,
      ...ends(cells[i].x),
    }),
    y: i => ({
      title: "layer", showgrid: false, ...ticksOf(cells[i].layers), range: [-0.5, cells[i].layers.length - 0.5],
    }),
  });
  colourBar(
    layout,
    width,
    quantity,
    scaleOf(
      cells.flatMap(c => c.z.flat()),
      log,
    ),
  );
  cells.forEach((c, i) => {
    const fewer = c.n.findIndex(n => n < highest(c.n)),
      x = (c.x[fewer] + c.x[fewer - 1]) / 2;
    const line = { color: "#ffffff", width: 1.2, dash: "dot" },
      axes = on(i);
    if (fewer > 0)
      layout.shapes.push({
        type: "line", xref: axes.xaxis, yref: `${axes.yaxis} domain`, x0: x, x1: x, y0: 0, y1: 1, line,
      });
  });
  const zeros = cells.map((c, i) => (log ? flat(c, on(i), "--zero", v => v === 0) : null));
  const broken = cells.map((c, i) => flat(c, on(i), "--broken", v => v === NOT_FINITE));
  const traces = [...cells.map((c, i) => heat(c, on(i), log)), ...zeros, ...broken].filter(Boolean);
  const counted = list => list.reduce((sum, trace) => sum + (trace ? trace.z.flat().filter(Boolean).length : 0), 0);
  const marks =
    (counted(zeros) ? ` Grey: exactly 0 (${counted(zeros)} cells).` : "") +
    (counted(broken) ? ` Orange: NaN or infinite in at least one seed (${counted(broken)} cells).` : "");
  return { traces, layout, note: about(quantity, log) + marks + left };
}
// The cells that have a colour of the scale; and, over them, those that hold something else, in one colour.
function heat(c, axes, log) {
  const when = c.step ? "step" : "epoch";
  const text = c.z.map((row, k) =>
    row.map((v, t) => `layer ${label(c.layers[k])}, ${when} ${c.x[t]}: ${number(v)} (n = ${c.n[t]})`),
  );
  const z = c.z.map(row => row.map(v => (!isNumber(v) || (log && v <= 0) ? null : log ? Math.log10(v) : v)));
  return { ...HOVER, ...axes, type: "heatmap", x: c.x, y: c.layers.map((_, k) => k), z, text, coloraxis: "coloraxis" };
}
function flat(c, axes, of, holds) {
  const z = c.z.map(row => row.map(v => (holds(v) ? 1 : null)));
  if (!z.flat().some(Boolean)) return null;
  const colorscale = [
    [0, css(of)],
    [1, css(of)],
  ];
  return { ...heat(c, axes, false), coloraxis: undefined, z, colorscale, showscale: false };
}
function colourBar(layout, width, quantity, scale) {
  const colorbar = {
    orientation: "h", x: 0, xanchor: "left", xpad: 0, y: 1 - 20 / layout.height, yanchor: "top",
    yref: "container", ypad: 0, len: Math.min(320, width - 90), lenmode: "pixels", thickness: 12,
    outlinewidth: 0, nticks: 6, ...scale.ticks,
  };
  layout.coloraxis = { cmin: scale.low, cmax: scale.high, colorscale: scale.colours, colorbar };
  layout.annotations.push({
    text: label(`${quantity.name} (${unit(quantity)})`, Math.floor(width / 7)), showarrow: false,
    font: { size: 12 }, x: 0, xref: "paper", xanchor: "left", y: 1, yref: "paper", yanchor: "top", yshift: 74,
  });
}
const ends = x => {
  const half = x.length > 1 ? (x[1] - x[0]) / 2 : 0.5;
  return { range: [x[0] - half, x.at(-1) + (x.length > 1 ? (x.at(-1) - x.at(-2)) / 2 : 0.5)] };
};

function profile(figure, width) {
  const quantity = D.layers.quantities[value(document.querySelector('[data-figure="map"]'), "quantity")];
  const chosen = visible(Object.keys(quantity.settings).map(Number));
  if (!chosen.length) return message(NONE);
  const log = chosen.every(position => quantity.settings[position].log);
  const at = (position, when) => quantity.settings[position].ends[when];
  const whens = ["untrained", "trained"].filter(when => chosen.some(p => at(p, when)));
  const grouped = inPanels(chosen);
  const [drawn, left] = few(
    grouped.flatMap(([title, members]) =>
      whens.map(when => ({
        when,
        title: grouped.length > 1 ? `${when}: ${title}` : when,
        members: members.filter(p => at(p, when)),
      })),
    ),
  );
  const known = numbers(
    chosen.flatMap(p => Object.values(quantity.settings[p].ends)).flatMap(e => [...e.mean, ...e.low, ...e.high]),
  );
  const { axis: y, edges } = limits(
    known.filter(v => !log || v > 0),
    log,
  );
  const { layout, on } = panels(drawn.length, width, {
    height: 240, narrowest: 250, most: whens.length, left: 64, titles: drawn.map(d => d.title),
    x: i => {
      const layers = longest(drawn[i].members.map(p => at(p, drawn[i].when).layers));
      return { title: "layer, from input to output", ...ticksOf(layers), range: [-0.5, layers.length - 0.5] };
    },
    y: () => ({ title: cut(`${quantity.name} (${unit(quantity)})`, 44), ...y }),
  });
  const traces = drawn.flatMap(({ when, members }, i) =>
    members.flatMap((p, k) =>
      alongLayers(D.settings[p], at(p, when), {
        when, log, edges, axes: on(i), aside: (k - (members.length - 1) / 2) * 0.09,
      }),
    ),
  );
  const legend = chosen.map(p => D.settings[p]);
  return { traces, layout, note: `${quantity.name}${log ? ", logarithmic axis" : ""}.${left}`, legend };
}
// A y axis that holds the values, and the values at its edges.
function limits(known, log) {
  const [low, high] = known.length ? [lowest(known), highest(known)] : [0.1, 1];
  if (!log) {
    const range = padded([low, high]);
    return { axis: { range }, edges: range };
  }
  const pad = Math.max(0.15, 0.08 * Math.log10(high / low)),
    range = [Math.log10(low) - pad, Math.log10(high) + pad];
  return { axis: { ...powers(low, high), range }, edges: range.map(v => 10 ** v) };
}
// A setting's line and band; on the axis' edges, aside of each other, the layers for which there is no height.
function alongLayers(setting, e, { when, log, edges, axes, aside }) {
  const of = colour(setting.colour),
    x = e.layers.map((_, j) => j),
    fits = v => (isNumber(v) && (!log || v > 0) ? v : null);
  const text = e.layers.map((layer, j) => {
    const range = e.n > 1 ? `${number(e.low[j])} to ${number(e.high[j])}, ` : "";
    return `${label(setting.label)}, layer ${label(layer)}, ${when}: ${number(e.mean[j])} (${range}n = ${e.n})`;
  });
  const common = { ...HOVER, ...axes, type: "scatter", cliponaxis: false };
  const marks = (holds, edge, symbol) => {
    const where = x.filter(j => holds(e.mean[j]));
    const marker = { symbol, size: 9, color: of, line: { width: 2, color: of } };
    return where.length
      ? [
          {
            ...common, mode: "markers", x: where.map(j => j + aside), y: where.map(() => edge),
            text: where.map(j => text[j]), marker,
          },
        ]
      : [];
  };
  const line = { color: of, dash: setting.dash, width: 1.8 },
    marker = { color: of, symbol: setting.symbol, size: 7 };
  return [
    ...(e.n > 1 ? band({ ...axes, cliponaxis: false }, x, e.low.map(fits), e.high.map(fits), setting.colour) : []),
    { ...common, mode: "lines+markers", x, y: e.mean.map(fits), text, line, marker },
    ...(log ? marks(v => v === 0, edges[0], "triangle-down-open") : []),
    ...marks(v => v === NOT_FINITE, edges[1], "x-thin-open"),
  ];
}
const longest = lists => lists.reduce((a, b) => (b.length > a.length ? b : a), []);

// Shares per unit of the value, so that bins of different widths can be compared.
function densities(layer, time) {
  const [low, high, counts] = [layer.low[time], layer.high[time], layer.counts[time]];
  if (!counts) return { words: "not measured" };
  if (!isNumber(low) || !isNumber(high) || !counts.some(Boolean)) return { words: "values are not finite" };
  if (high === low) return { words: `all ${number(low)}` };
  const width = (high - low) / counts.length,
    total = counts.reduce((a, b) => a + b, 0) || 1;
  return {
    x: counts.map((_, i) => low + i * width).concat(high),
    y: counts.map(c => c / total / width).concat(0),
    width,
  };
}

function histogram(figure, width) {
  const quantity = D.histograms.quantities[value(figure, "quantity")],
    position = value(figure, "setting");
  const found = D.histograms.settings[position].quantities[quantity.name];
  if (!found) return message("This setting has no such histograms: choose another one.");
  const time = Math.min(Number(value(figure, "time")), found.epochs.length - 1);
  const log = value(figure, "scale") === "log",
    fixed = value(figure, "axes") === "fixed";
  const each = found.layers.map(layer => densities(layer, time));
  const extents = found.layers.map((layer, i) =>
    extentOf(fixed ? found.epochs.map((_, t) => densities(layer, t)) : [each[i]]),
  );
  const heights = e =>
    log ? { type: "log", range: [Math.log10(e.y[0]) - 0.2, Math.log10(e.y[1]) + 0.2] } : { range: [0, e.y[1] * 1.05] };
  const { layout, on } = panels(found.layers.length, width, {
    height: 150, narrowest: width < 500 ? 112 : 150, most: 6, gap: 44, left: 50,
    titles: found.layers.map((layer, i) => `layer ${layer.name}${each[i].words ? `: ${each[i].words}` : ""}`),
    x: i => ({
      title: unit(quantity) === "1" ? "value (1)" : "value",
      nticks: 4,
      ...(extents[i] ? { range: extents[i].x } : {}),
    }),
    y: i => ({ title: "density", nticks: 4, ...(extents[i] ? heights(extents[i]) : {}) }),
  });
  const setting = D.settings[position],
    line = { color: colour(setting.colour), width: 1.4, shape: "hv" };
  const traces = each.map((d, i) => ({
    ...on(i), type: "scatter", mode: "lines", x: d.x ?? [], y: (d.y ?? []).map(v => (log ? v || null : v)),
    line, fill: log ? "none" : "tozeroy", fillcolor: faint(setting.colour, 0.25),
    hovertemplate: "from %{x:.4g}: density %{y:.3g}<extra></extra>",
  }));
  const left = found.of > found.layers.length ? ` ${found.layers.length} of ${found.of} layers are shown.` : "";
  const per = unit(quantity) === "1" ? "" : ` Density in 1 / (${unit(quantity)}).`;
  const which = ` ${setting.label}, seed ${D.histograms.settings[position].seed}, epoch ${found.epochs[time]}.`;
  return { traces, layout, note: about(quantity) + per + which + left };
}
function extentOf(all) {
  const x = all.flatMap(d => (d.x ? [d.x[0], d.x.at(-1)] : [])),
    y = all.flatMap(d => (d.y ?? []).filter(v => v > 0));
  return x.length && y.length ? { x: [lowest(x), highest(x)], y: [lowest(y), highest(y)] } : null;
}

function turnover(figure, width) {
  const [chosen, left] = few(visible(Object.keys(D.layers.turnover).map(Number)));
  if (!chosen.length) return message(NONE);
  const layer = value(figure, "layer"),
    cells = chosen.map(position => D.layers.turnover[position]);
  const counts = (c, name) =>
    c.x.map((_, t) =>
      c[name].reduce((sum, row, k) => sum + (layer === "all" || c.layers[k] === layer ? (row[t] ?? 0) : 0), 0),
    );
  const bars = cells.map(c => ({ died: counts(c, "units_died"), revived: counts(c, "units_revived") }));
  const most = highest(bars.flatMap(b => [...b.died, ...b.revived]));
  const { layout, on } = panels(chosen.length, width, {
    height: 140, narrowest: 220, gap: 30, titles: chosen.map(p => D.settings[p].label),
    x: i => ({ title: cells[i].step ? "step" : "epoch", nticks: 6, tickformat: ",d" }),
    y: () => ({
      title: "units", range: [-1.08 * (most || 1), 1.08 * (most || 1)], zeroline: true,
      zerolinecolor: css("--quiet"), nticks: 5,
    }),
  });
  Object.assign(layout, { barmode: "relative", bargap: 0.15 });
  const when = c => (c.width > 1 ? `${c.width} measurements from ` : "") + (c.step ? "step" : "epoch");
  const traces = chosen.flatMap((_, i) =>
    [
      ["died", DIED, 1],
      ["revived", REVIVED, -1],
    ].map(([what, of, sign]) => ({
      ...HOVER, ...on(i), type: "bar", x: cells[i].x, y: bars[i][what].map(n => sign * n),
      marker: { color: of }, textposition: "none",
      text: cells[i].x.map((x, t) => `${when(cells[i])} ${x}: ${number(bars[i][what][t])} ${what} (n = ${cells[i].n})`),
    })),
  );
  const widest = highest(cells.map(c => c.width)),
    added = widest > 1 ? `, added up over up to ${widest} measurements per bar` : "";
  const legend = [
    { name: "died", colour: DIED, block: true },
    { name: "revived", colour: REVIVED, block: true },
  ];
  return {
    traces, layout, note: `Units per measurement${added}.${most ? "" : " No unit died or revived."}${left}`,
    legend,
  };
}

function functions(figure, width) {
  const all = D.functions,
    { layout, on } = panels(all.length, width, {
      height: 130, narrowest: width < 500 ? 130 : 170, most: 6, gap: 36, left: 44, titles: all.map(f => f.name),
      x: () => ({ title: "input x (1)", nticks: 5, zeroline: true, zerolinecolor: css("--line") }),
      y: () => ({ title: "φ, φ′ (1)", nticks: 5, zeroline: true, zerolinecolor: css("--line"), matches: "y" }),
    });
  const traces = all.flatMap((f, i) =>
    [
      ["φ", f.value, "solid", 2.2],
      ["φ′", f.slope, "dash", 1.4],
    ].map(([name, y, dash, thick]) => ({
      type: "scatter", mode: "lines", ...on(i), x: f.x, y,
      line: { color: colour(f.look.colour), dash, width: thick },
      hovertemplate: `${name}(%{x:.2f}) = %{y:.3g}<extra></extra>`,
    })),
  );
  return { traces, layout, note: "" };
}
