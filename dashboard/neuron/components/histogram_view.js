// Draws histograms as SVG. `data` is described in histogram_view.py.
// The default export runs again on every change of data or theme.

const views = new WeakMap(); // by root
const SVG = 'http://www.w3.org/2000/svg';
const GAP = 14; // px between panels
const OPTIONS = {
  scale: { on: 'log', label: 'log counts' },
  marks: { on: 'show', label: 'quantiles' },
  intervals: { on: 'show', label: 'ranges' },
  normal: { on: 'show', label: 'normal' },
};
const OPTIONS_KEY = 'solu-histogram-view';
const options = { scale: 'log', marks: 'show', intervals: 'hide', normal: 'hide', ...storedOptions() };

export default function ({ data, parentElement: root, setTriggerValue }) {
  const view = views.get(root) ?? createView(root);
  view.resized.observe(view.section);
  view.openBar = (panel, bar) => view.data.click && setTriggerValue('bar', { panel, bar });
  const version = JSON.stringify(data);
  if (view.version !== version) {
    Object.assign(view, { version, data });
    root.querySelector('.caption').textContent = data.caption;
    view.outlineName.textContent = data.outline_name ? `outline: ${data.outline_name}` : '';
    draw(view);
  }
  return () => view.resized.disconnect();
}

function createView(root) {
  const find = (selector) => root.querySelector(selector);
  const section = find('.view');
  const view = { section, panels: find('.panels'), tooltip: new Tooltip(section, find('.tip')), width: 0 };
  views.set(root, view);
  view.outlineName = element('span', 'outlined');
  find('.choices').append(...Object.keys(OPTIONS).map((name) => optionButton(view, name)), view.outlineName);
  view.resized = new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - view.width) > 1) draw(view);
  });
  return view;
}

// --- the reader's options ---

function optionButton(view, name) {
  const { on, label } = OPTIONS[name];
  const node = button('option', label, () => {
    options[name] = options[name] === on ? 'hide' : on;
    store(OPTIONS_KEY, options);
    setPressed(node, options[name] === on);
    draw(view);
  });
  setPressed(node, options[name] === on);
  return node;
}

function storedOptions() {
  const values = readStored(OPTIONS_KEY);
  const names = Object.keys(OPTIONS).filter((name) => typeof values[name] === 'string');
  return Object.fromEntries(names.map((name) => [name, values[name]]));
}

// --- panels: one for each hook, side by side, their counts on one scale ---

function draw(view) {
  view.tooltip.close();
  view.width = view.section.clientWidth;
  if (!view.data || !view.width) return;
  const { panels } = view.data;
  const width = (view.width - GAP * (panels.length - 1)) / panels.length;
  const highest = Math.max(1, ...panels.flatMap((panel) => [...panel.counts, ...(panel.outline?.counts ?? [])]));
  view.panels.replaceChildren(...panels.map((panel, index) => drawPanel(view, panel, index, width, highest)));
}

function drawPanel(view, panel, index, width, highest) {
  const { edges, counts } = panel;
  const isLog = options.scale === 'log';
  const x = xScale(edges[0], edges.at(-1), width);
  const y = yScale(highest, isLog);
  const svg = shape('svg', { width, height: HEIGHT, tabindex: 0, role: 'group' });
  const onEnter = view.data.click ? `, Enter shows ${view.data.click}` : '';
  const keys = `Left and right move between bars${onEnter}.`;
  svg.setAttribute('aria-label', `Histogram ${panel.title}, ${counts.length} bars. ${keys}`);

  for (const [count, label] of yTicks(highest, isLog)) {
    svg.append(shape('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(count), y2: y(count) }));
    svg.append(shape('text', { class: 'tick', x: MARGIN.left - 5, y: y(count) + 4, 'text-anchor': 'end' }, label));
  }
  for (const value of xTicks(edges[0], edges.at(-1), width)) {
    const place = { x: x(value), y: HEIGHT - 5 };
    svg.append(shape('text', { class: 'tick', ...place, 'text-anchor': 'middle' }, activationLabel(value)));
  }
  const bars = counts.map((count, i) => {
    const [left, right] = [x(edges[i]), x(edges[i + 1])];
    const top = Math.min(y(count), FLOOR);
    return shape('rect', { class: 'bar', x: left, width: Math.max(right - left, 0.5), y: top, height: FLOOR - top });
  });
  svg.append(...bars);
  if (panel.outline) {
    svg.append(shape('path', { class: 'over', d: outlinePath(panel.outline, x, y, edges[0], edges.at(-1)) }));
  }
  if (options.normal === 'show') {
    const points = panel.normal.map((count, i) => `${(x(edges[i]) + x(edges[i + 1])) / 2},${Math.min(y(count), FLOOR)}`);
    svg.append(shape('polyline', { class: 'normal', points: points.join(' ') }));
  }
  if (options.intervals === 'show') {
    for (const edge of panel.intervals) {
      svg.append(shape('line', { class: 'interval', x1: x(edge), x2: x(edge), y1: MARGIN.top, y2: FLOOR + 4 }));
    }
  }
  if (options.marks === 'show') drawQuantiles(svg, panel, x, width);
  svg.append(shape('line', { class: 'axis', x1: MARGIN.left, x2: width - MARGIN.right, y1: FLOOR, y2: FLOOR }));
  listen(view, svg, panel, index, bars, x);

  const figure = element('figure', panel.coloured ? 'panel coloured' : 'panel');
  figure.append(element('figcaption', '', panel.title), svg);
  return figure;
}

function shape(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Labels from the right: one that would touch its neighbour is left out, its line stays.
function drawQuantiles(svg, panel, x, width) {
  let free = Infinity; // px, to the left of which nothing is written yet
  for (const { label, value } of [...panel.quantiles].reverse()) {
    const at = Math.min(Math.max(x(value), MARGIN.left), width - MARGIN.right);
    svg.append(shape('line', { class: 'quantile', x1: at, x2: at, y1: MARGIN.top - 4, y2: FLOOR }));
    const half = label.length * 3.2; // about half the width of the label at 11 px
    const middle = Math.min(at, width - half);
    if (middle + half > free) continue;
    free = middle - half - 3;
    svg.append(shape('text', { class: 'tick', x: middle, y: MARGIN.top - 8, 'text-anchor': 'middle' }, label));
  }
}

// Steps over another neuron's bars, cut to the range of this one.
function outlinePath({ edges, counts }, x, y, low, high) {
  let path = '';
  counts.forEach((count, i) => {
    const [left, right] = [Math.max(edges[i], low), Math.min(edges[i + 1], high)];
    if (right <= left) return;
    const top = Math.min(y(count), FLOOR);
    path += `${path ? 'L' : 'M'}${x(left)},${top}L${x(right)},${top}`;
  });
  return path || 'M0,0';
}

// --- the bar under the pointer, or reached by the arrow keys ---

function listen(view, svg, panel, index, bars, x) {
  const { edges } = panel;
  const barUnder = (event) => {
    const value = x.invert(event.clientX - svg.getBoundingClientRect().left);
    const bar = edges.findIndex((edge) => edge > value) - 1;
    if (bar >= 0) return bar;
    return value < edges[0] ? 0 : bars.length - 1;
  };
  const open = (bar) => openReadout(view, svg, panel, bars, bar, x);
  svg.addEventListener('mousemove', (event) => open(barUnder(event)));
  svg.addEventListener('mouseleave', () => view.tooltip.close());
  svg.addEventListener('blur', () => view.tooltip.close());
  svg.addEventListener('click', (event) => view.openBar(index, barUnder(event)));
  svg.addEventListener('keydown', (event) => {
    if (hasModifier(event)) return;
    const bar = bars.indexOf(view.tooltip.target);
    const next = indexAfterKey(event, bar, bars.length);
    if (next !== null) open(next);
    else if (event.key === 'Enter' && bar >= 0) view.openBar(index, bar);
    else if (event.key === 'Escape') view.tooltip.close();
    else return;
    event.preventDefault();
    event.stopPropagation(); // the page's own arrow keys go from neuron to neuron
  });
}

function openReadout(view, svg, panel, bars, bar, x) {
  const { edges, counts, normal } = panel;
  const total = counts.reduce((a, b) => a + b, 0);
  const tokens = `${integer(counts[bar])} token${counts[bar] === 1 ? '' : 's'}`;
  const lines = [
    `${number(edges[bar])} to ${number(edges[bar + 1])}`,
    `${tokens}, ${share(counts[bar] / Math.max(total, 1))}`,
  ];
  if (options.normal === 'show') lines.push(`normal: ${normal[bar] >= 0.5 ? integer(Math.round(normal[bar])) : 'under 1'}`);
  if (view.data.click) lines.push(`click: ${view.data.click}`);
  view.tooltip.open(bars[bar], ...lines.map((line) => element('div', '', line)));
  // Below the figure, so that it covers no bar.
  const { left, top } = view.section.getBoundingClientRect();
  const figure = svg.getBoundingClientRect();
  const middle = figure.left - left + (x(edges[bar]) + x(edges[bar + 1])) / 2;
  view.tooltip.moveTo(middle - view.tooltip.box.offsetWidth / 2, figure.bottom - top + 2);
}
