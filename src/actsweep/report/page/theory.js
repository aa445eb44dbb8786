// Untrained networks beside mean-field theory: what each layer does to pre-activations and gradients.
const THEORY = {
  pre_activation_rms: "√(mean z²)",
  delta_ratio: "gradient: ‖∂L/∂z‖, layer ÷ next",
  correlation: "mean correlation of two inputs’ z",
  jacobian_mean_square: "Jacobian ∂outputs/∂layer, mean square",
};
const LINEAR = "correlation";
const untrained = (name, p) => D.layers.quantities.find(quantity => quantity.name === name)?.settings[p]?.ends.untrained;
const predicted = (name, p) => untrained(`${name}_theory`, p);

function theory(figure, width) {
  const names = Object.keys(THEORY);
  const having = visible([...D.settings.keys()]).filter(p => names.some(name => predicted(name, p)));
  if (!having.length) return message(NONE);
  const some = names.filter(name => having.some(p => predicted(name, p)));
  const [drawn, left] = few(
    inPanels(having).flatMap(([title, members]) =>
      some.map(name => ({ name, title, of: members.map(p => ({ p, ...besideTheory(name, p) })).filter(e => e.x) })),
    ),
  );
  const axes = drawn.map(({ name, of }) => {
    const log = name !== LINEAR;
    const known = numbers(of.flatMap(e => [...e.y, ...e.theory, ...e.low, ...e.high, ...e.ends]));
    return limits(log ? known.filter(v => v > 0) : known, log).axis;
  });
  const { layout, on } = panels(drawn.length, width, {
    height: 200,
    narrowest: 250,
    most: 4,
    left: 64,
    titles: drawn.map(({ name, title }) => (title ? `${THEORY[name]}: ${title}` : THEORY[name])),
    x: () => {
      const layers = longest(having.flatMap(p => some.map(name => untrained(name, p)?.layers ?? [])));
      return { title: "layer, from input to output", ...ticksOf(layers), range: [-0.5, layers.length - 0.5] };
    },
    y: i => ({ title: "(1)", ...axes[i] }),
  });
  const traces = drawn.flatMap(({ of }, i) => of.flatMap(e => lineAndPoints(D.settings[e.p], e, on(i))));
  return { traces, layout, note: left.trim(), legend: having.map(p => D.settings[p]) };
}
// A setting's measurements and predictions in the layers that have both; nothing without predictions. The correlation
// map goes from what is measured in the first layer. Low and high: between these theory expects 95 % of networks.
function besideTheory(name, p) {
  const found = untrained(name, p),
    expected = predicted(name, p);
  if (!found || !expected) return {};
  const by = e => Object.fromEntries((e?.layers ?? []).map((layer, j) => [layer, e.mean[j]]));
  const theory = by(expected),
    noise = by(untrained(`${name}_noise`, p));
  if (name === LINEAR) theory[found.layers[0]] ??= found.mean[0];
  const fits = v => isNumber(v) && (name === LINEAR || v > 0);
  const x = found.layers.map((_, j) => j).filter(j => fits(found.mean[j]) && fits(theory[found.layers[j]]));
  const layers = x.map(j => found.layers[j]);
  const edge = sign =>
    layers.map(l => (isNumber(noise[l]) ? theory[l] * Math.exp(sign * 1.96 * noise[l] - noise[l] ** 2) : null));
  return {
    ...{ name, found, x, layers, low: edge(-1), high: edge(1) },
    y: x.map(j => found.mean[j]),
    theory: layers.map(l => theory[l]),
    ends: x.flatMap(j => [found.low[j], found.high[j]]),
  };
}
function lineAndPoints(setting, { name, found, x, layers, y, theory, low, high }, axes) {
  const of = colour(setting.colour),
    percent = j => number(100 * (y[j] / theory[j] - 1), 2),
    error = j => (name === LINEAR ? `difference ${number(y[j] - theory[j], 2)}` : `error ${percent(j)} %`);
  const text = x.map((place, j) => {
    const range = found.n > 1 ? ` (${number(found.low[place])} to ${number(found.high[place])}, n = ${found.n})` : "";
    return `${label(setting.label)}, layer ${label(layers[j])}: measured ${number(y[j])}${range}, theory ${number(theory[j])}, ${error(j)}`;
  });
  const common = { ...HOVER, ...axes, type: "scatter", x, text };
  const line = { color: of, dash: setting.dash, width: 1.4 };
  const marker = { color: of, symbol: setting.symbol, size: 6 };
  const bars = found.n > 1 ? { error_y: errorBars(...["low", "mean", "high"].map(k => x.map(j => found[k][j])), of) } : {};
  return [
    ...(low.some(isNumber) ? band(axes, x, low, high, setting.colour) : []),
    { ...common, mode: "lines", y: theory, line },
    { ...common, mode: "markers", y, marker, ...bars },
  ];
}
