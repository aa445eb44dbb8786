// Untrained networks beside mean-field theory: what each layer does to pre-activations and gradients.
const THEORY = { pre_activation_rms: "√(mean z²)", delta_ratio: "gradient: ‖∂L/∂z‖, layer ÷ next" };

function theory(figure, width) {
  const untrained = (name, p) =>
    D.layers.quantities.find(quantity => quantity.name === name)?.settings[p]?.ends.untrained;
  const having = visible([...D.settings.keys()]).filter(p => untrained("pre_activation_rms_theory", p));
  if (!having.length) return message(NONE);
  const grouped = inPanels(having);
  const [drawn, left] = few(
    grouped.flatMap(([title, members]) => Object.keys(THEORY).map(name => ({ name, title, members }))),
  );
  const positive = values => numbers(values).filter(v => v > 0);
  const scales = drawn.map(({ name, members }) => {
    const known = members.flatMap(p => [untrained(name, p), untrained(`${name}_theory`, p)].flatMap(e => e?.mean ?? []));
    return limits(positive(known), true).axis;
  });
  const { layout, on } = panels(drawn.length, width, {
    height: 200,
    narrowest: 250,
    most: 4,
    left: 64,
    titles: drawn.map(({ name, title }) => (title ? `${title}: ${THEORY[name]}` : THEORY[name])),
    x: i => {
      const layers = longest(drawn[i].members.map(p => untrained("pre_activation_rms_theory", p).layers));
      return { title: "layer, from input to output", ...ticksOf(layers), range: [-0.5, layers.length - 0.5] };
    },
    y: i => ({ title: "(1)", ...scales[i] }),
  });
  const traces = drawn.flatMap(({ name, members }, i) =>
    members.flatMap(p => besideTheory(D.settings[p], untrained(name, p), untrained(`${name}_theory`, p), on(i))),
  );
  return { traces, layout, note: left.trim(), legend: having.map(p => D.settings[p]) };
}
// A setting's predictions as a line and its measurements as points, in the layers that have both.
function besideTheory(setting, found, expected, axes) {
  if (!found || !expected) return [];
  const of = colour(setting.colour),
    x = found.layers.map((_, j) => j).filter(j => found.mean[j] > 0 && expected.mean[j] > 0);
  const text = x.map(j => {
    const percent = number(100 * (found.mean[j] / expected.mean[j] - 1), 2);
    const range = found.n > 1 ? ` (${number(found.low[j])} to ${number(found.high[j])}, n = ${found.n})` : "";
    return `${label(setting.label)}, layer ${label(found.layers[j])}: measured ${number(found.mean[j])}${range}, theory ${number(expected.mean[j])}, error ${percent} %`;
  });
  const common = { ...HOVER, ...axes, type: "scatter", x, text };
  const line = { color: of, dash: setting.dash, width: 1.4 };
  const marker = { color: of, symbol: setting.symbol, size: 6 };
  const bars = found.n > 1 ? { error_y: errorBars(...["low", "mean", "high"].map(k => x.map(j => found[k][j])), of) } : {};
  return [
    { ...common, mode: "lines", y: x.map(j => expected.mean[j]), line },
    { ...common, mode: "markers", y: x.map(j => found.mean[j]), marker, ...bars },
  ];
}
