// Settings compared, learning curves, depth: functions from a figure's controls and width to traces and a layout.
function accuracy(figure, width) {
  const task = D.tasks[figure.dataset.task];
  const rows = task.rows.filter(row => shown.has(row.setting));
  if (!rows.length) return message(NONE);
  if (value(figure, "order") === "table") rows.sort((a, b) => a.setting - b.setting);
  const extents = rows
    .map(row => [...row.values, ...numbers([row.low, row.high])])
    .map(all => [lowest(all), highest(all)]);
  const means = rows.map(row => row.mean),
    ends = extents.flat();
  const log = !task.percent && lowest(ends) > 0 && highest(ends) > 20 * lowest(ends);
  const close = log ? null : near(task.higher ? highest(means) : lowest(means), means, extents);
  show(figure, "range", close);
  const range = (value(figure, "range") === "near" && close) || (log ? null : padded(ends));
  const names = rows.map(row => named(row.setting));
  const said = row => `${scored(task, row.mean)}${between(task, row.low, row.high)}`;
  const layout = rowsOf(width, names, {
    range: range ?? undefined,
    title: `${task.name} (${task.unit})`,
    log,
    outside: rows.map(row => beyond(range, row.mean, scored(task, row.mean))),
    beside: rows.map(row => `${said(row)}, n = ${row.values.length}`),
  });
  const inside = task.chance && task.chance > range[0] && task.chance < range[1];
  if (inside) layout.shapes.push(vertical(task.chance, "dot"));
  const traces = rows.flatMap((row, i) => {
    const of = colour(D.settings[row.setting].colour),
      n = row.values.length;
    const common = { ...HOVER, type: "scatter", mode: "markers" };
    return [
      {
        ...common,
        x: row.values,
        y: row.values.map((_, k) => i + (n > 1 ? 0.48 * (k / (n - 1) - 0.5) : 0)),
        marker: { color: of, size: 6, opacity: 0.55 },
        text: row.values.map((v, k) => `${label(names[i])}, seed ${row.seeds[k]}: ${scored(task, v)} ${task.unit}`),
      },
      {
        ...common,
        x: [row.mean],
        y: [i],
        text: [`${label(names[i])}: mean ${said(row)} ${task.unit}, n = ${n}`],
        marker: { color: of, symbol: "diamond", size: 10, line: { color: css("--page"), width: 1 } },
        ...(isNumber(row.low) ? { error_x: errorBars([row.low], [row.mean], [row.high], of) } : {}),
      },
    ];
  });
  const chance = inside
    ? `Dotted: chance, ${number(task.chance)} %.`
    : `Chance, ${number(task.chance)} %, is outside the axis.`;
  return { traces, layout, note: task.chance ? chance : "" };
}

// A setting's name, and how many of its runs no mean has.
const named = i => D.settings[i].label + (D.settings[i].broken ? ` (${D.settings[i].broken})` : "");
const pairing = row =>
  row.paired ? `paired${row.n < row.seeds ? `, ${row.n} of ${row.seeds} seeds` : ""}` : "unpaired";

// How much better each setting is than the reference, best first.
function differencesFrom(figure) {
  const found = [],
    reference = Number(value(figure, "reference")),
    pairs = D.tasks[figure.dataset.task].pairs[Number(value(figure, "diverged") ?? 0)];
  for (const [a, b, n, paired, seeds, difference, low, high, p, holm, effect, improvement, ilow, ihigh] of pairs) {
    if (a !== reference && b !== reference) continue;
    const minus = v => (isNumber(v) ? 0 - v : v),
      rest = v => (isNumber(v) ? 1 - v : v);
    const same = { n, paired, seeds, p, holm };
    const turned = { difference: minus(difference), low: minus(high), high: minus(low), effect: minus(effect) };
    const lost = { improvement: rest(improvement), ilow: rest(ihigh), ihigh: rest(ilow) };
    const straight = { difference, low, high, effect, improvement, ilow, ihigh };
    found.push(a === reference ? { setting: b, ...same, ...turned, ...lost } : { setting: a, ...same, ...straight });
  }
  return found.sort((a, b) => b.difference - a.difference);
}

function differences(figure, width) {
  const task = D.tasks[figure.dataset.task],
    reference = Number(value(figure, "reference"));
  const rows = differencesFrom(figure).filter(row => shown.has(row.setting));
  if (!rows.length) return message(NONE);
  const unit = task.percent ? "percentage points" : task.unit;
  const extents = rows.map(row => (isNumber(row.low) ? [row.low, row.high] : [row.difference, row.difference]));
  const close = near(
    0,
    rows.map(row => row.difference),
    extents,
  );
  show(figure, "range", close);
  const range = (value(figure, "range") === "near" && close) || padded(extents.flat().concat(0));
  const words = row => `${scored(task, row.difference)}${between(task, row.low, row.high)}, ${pValue(row.holm)}`;
  const names = rows.map(row => named(row.setting)),
    name = cut(D.settings[reference].label, 30);
  const layout = rowsOf(width, names, {
    range,
    title: width > 520 ? `better than ${name} by (${unit})` : `difference (${unit})`,
    outside: rows.map(row => beyond(range, row.difference, scored(task, row.difference))),
    beside: rows.map(words),
  });
  layout.shapes.push(vertical(0));
  const traces = rows.map((row, i) => {
    const of = colour(D.settings[row.setting].colour);
    return {
      type: "scatter",
      mode: "markers",
      x: [row.difference],
      y: [i],
      text: [`${label(names[i])}: ${words(row)}, n = ${row.n}, ${pairing(row)}`],
      ...HOVER,
      marker: { color: row.n > 1 && row.holm < 0.05 ? of : css("--page"), size: 10, line: { color: of, width: 2 } },
      ...(isNumber(row.low) ? { error_x: errorBars([row.low], [row.difference], [row.high], of) } : {}),
    };
  });
  const without = D.settings[reference].broken ? `Compared with ${named(reference)}. ` : "";
  return { traces, layout, note: without + (task.higher ? "" : `The difference is how much lower the ${task.name} is.`) };
}

function learning(figure, width) {
  const column = D.learning.columns[value(figure, "column")];
  const chosen = visible(Object.keys(column.settings).map(Number)),
    curves = chosen.map(p => column.settings[p]);
  if (!chosen.length) return message(NONE);
  const all = numbers(curves.flatMap(c => [c.mean, c.low ?? [], c.high ?? [], ...c.alone.map(a => a.y)].flat()));
  const [bottom, top] = [lowest(all), highest(all)],
    log = !column.percent && bottom > 0;
  const last = highest(curves.flatMap(c => [...c.x, ...c.alone.flatMap(a => a.x)]));
  const ends = curves.map(c => numbers(c.mean).at(-1) ?? highest(c.alone.flatMap(a => numbers(a.y))));
  const canZoom = column.percent && top - bottom > 25;
  show(figure, "range", canZoom);
  const range = canZoom && value(figure, "range") === "near" ? [highest(ends) - 10, Math.min(100, top + 1)] : null;
  const [grouped, left] = few(inPanels(chosen)),
    single = grouped.length === 1;
  const { layout, on } = panels(grouped.length, width, {
    height: single ? Math.min(380, Math.max(260, width * 0.42)) : 200,
    narrowest: 240,
    titles: grouped.map(([title]) => (single ? "" : title)),
    x: () => ({ title: "epoch", ...whole(0, last * 1.02) }),
    y: () => ({
      title: column.title + (column.unit ? ` (${column.unit})` : ""),
      ...(log ? powers(bottom, top) : {}),
      ...(range ? { range } : single ? {} : { matches: "y" }),
    }),
  });
  const traces = grouped.flatMap(([, members], i) =>
    members.flatMap(p => curveOf(D.settings[p], column, column.settings[p], on(i))),
  );
  const legend = D.settings.length > FEW ? chosen.map(p => D.settings[p]) : [];
  return { traces, layout, note: (log ? "Logarithmic axis." : "") + left, legend };
}
function curveOf(setting, column, c, axes) {
  const of = colour(setting.colour),
    line = { color: of, dash: setting.dash, width: 2.2 },
    name = label(setting.label);
  const common = { ...axes, type: "scatter", mode: "lines", text: name };
  const hover = what => `%{text}, ${what}epoch %{x}: %{y:.4g} ${column.unit}`;
  const mean = {
    ...common,
    x: c.x,
    y: c.mean,
    line,
    mode: "lines+markers",
    marker: { color: of, size: 7, symbol: setting.symbol, maxdisplayed: 8 },
    hovertemplate: `${hover("")}, mean of n = ${c.n}<extra></extra>`,
  };
  const alone = c.alone.map(a => ({
    ...common,
    x: a.x,
    y: a.y,
    line: { ...line, width: 0.9 },
    opacity: 0.75,
    hovertemplate: `${hover(`seed ${a.seed}, `)}<extra></extra>`,
  }));
  return [...(c.low ? band(axes, c.x, c.low, c.high, setting.colour) : []), ...alone, ...(c.x.length ? [mean] : [])];
}

const TRAINED = { range: [-4, 104] };
function depth(figure, width) {
  const task = D.tasks[figure.dataset.task],
    lines = task.depth;
  const all = lines.flatMap(line => numbers(line.value)),
    log = !task.percent && lowest(all) > 0;
  const kinds = [
    {
      part: line => line,
      title: `${task.name} (${task.unit})`,
      axis: log ? powers(lowest(all), highest(all)) : {},
      unit: task.unit,
    },
  ];
  if (task.percent)
    kinds.push({ part: line => line.trained, title: "runs that trained (%)", axis: TRAINED, unit: "% trained" });
  const titles = [...new Set(lines.map(line => line.panel))];
  const depths = [...new Set(lines.flatMap(line => line.depth))],
    [low, high] = [Math.min(...depths), Math.max(...depths)];
  const { layout, on } = panels(titles.length * kinds.length, width, {
    height: 240,
    narrowest: 260,
    most: kinds.length,
    gap: 74,
    titles: titles.flatMap(title => kinds.map(kind => kind.title + (title ? `: ${title}` : ""))),
    x: () => ({
      title: "hidden layers",
      range: [low - 0.07 * (high - low), high + 0.07 * (high - low)],
      tickvals: depths,
    }),
    y: i => kinds[i % kinds.length].axis,
  });
  const traces = [];
  titles.forEach((title, panel) => {
    const members = lines.filter(line => line.panel === title);
    members.forEach((line, k) =>
      kinds.forEach((kind, j) => {
        const { value: v, low: l, high: h, n = line.n } = kind.part(line),
          of = colour(line.look.colour);
        const aside = (k - (members.length - 1) / 2) * (high - low) * 0.011;
        traces.push({
          type: "scatter",
          mode: "lines+markers",
          ...on(panel * kinds.length + j),
          x: line.depth.map(d => d + aside),
          y: v,
          line: { color: of, dash: line.look.dash, width: 1.8 },
          marker: { color: of, symbol: line.look.symbol, size: 8 },
          error_y: errorBars(l, v, h, of),
          ...HOVER,
          text: line.depth.map((d, m) => {
            const interval = isNumber(l[m]) ? ` [${number(l[m], 4)}, ${number(h[m], 4)}]` : "";
            const broken = D.settings[line.settings[m]].broken ? `; ${D.settings[line.settings[m]].broken}` : "";
            return `${label(line.name)}, depth ${d}: ${number(v[m], 4)}${interval} ${kind.unit}, n = ${n[m]}${broken}`;
          }),
        });
      }),
    );
  });
  return {
    traces,
    layout,
    note: log ? "Logarithmic axis." : "",
    legend: lines.map(line => ({ name: line.name, ...line.look })),
  };
}
