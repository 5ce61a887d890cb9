// Draws histograms as SVG. Text reaches the page through text nodes alone. `data` is described in
// histogram_view.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const NS = 'http://www.w3.org/2000/svg';
const HEIGHT = 150;
const MARGIN = { left: 40, right: 6, top: 20, bottom: 20 };
const CHOICES = { scale: ['log', 'log counts'], marks: ['show', 'quantiles'], intervals: ['show', 'intervals'], normal: ['show', 'normal'] };
const settings = { scale: 'log', marks: 'show', intervals: 'hide', normal: 'hide', ...stored() };

export default function ({ data, parentElement: root, setTriggerValue }) {
  let s = instances.get(root);
  if (!s) {
    s = { panels: root.querySelector('.panels'), tip: root.querySelector('.tip'), view: root.querySelector('.view'), width: 0 };
    instances.set(root, s);
    s.second = element('span', 'second');
    drawChoices(s, root.querySelector('.choices'));
    root.querySelector('.choices').append(s.second);
    s.resized = new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - s.width) > 1) draw(s);
    });
  }
  s.resized.observe(s.view);
  s.open = (place) => s.data.click && setTriggerValue('bar', place);
  const version = JSON.stringify(data);
  if (s.version !== version) {
    s.version = version;
    s.data = data;
    root.querySelector('.of').textContent = data.of;
    s.second.textContent = data.second ? `outline: ${data.second}` : '';
    draw(s);
  }
  return () => s.resized.disconnect();
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shape(tag, attributes, text) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- a panel ---

function draw(s) {
  hide(s);
  s.width = s.view.clientWidth;
  if (!s.data || !s.width) return;
  const width = (s.width - 14 * (s.data.panels.length - 1)) / s.data.panels.length;
  const highest = Math.max(1, ...s.data.panels.flatMap((p) => [...p.counts, ...(p.over ? p.over.counts : [])]));
  s.panels.replaceChildren(...s.data.panels.map((panel, which) => drawPanel(s, panel, which, width, highest)));
}

function drawPanel(s, panel, which, width, highest) {
  const part = element('figure', panel.shown ? 'panel shown' : 'panel');
  part.append(element('figcaption', '', panel.title));
  const { edges, counts } = panel;
  const x = scaleOf(edges[0], edges.at(-1), MARGIN.left, width - MARGIN.right);
  const y = heightOf(highest);
  const floor = HEIGHT - MARGIN.bottom;
  const svg = shape('svg', { width, height: HEIGHT, tabindex: 0, role: 'group' });
  svg.setAttribute('aria-label', `Histogram ${panel.title}, ${counts.length} bars. Left and right move between bars, Enter shows ${s.data.click || 'nothing more'}.`);

  for (const [value, label] of ticksY(highest)) {
    svg.append(shape('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
    svg.append(shape('text', { class: 'tick', x: MARGIN.left - 5, y: y(value) + 4, 'text-anchor': 'end' }, label));
  }
  for (const value of ticksX(edges[0], edges.at(-1), width)) {
    svg.append(shape('text', { class: 'tick', x: x(value), y: HEIGHT - 5, 'text-anchor': 'middle' }, short(value)));
  }
  const bars = counts.map((count, i) => {
    const [left, right] = [x(edges[i]), x(edges[i + 1])];
    const top = Math.min(y(count), floor);
    return shape('rect', { class: 'bar', x: left, width: Math.max(right - left, 0.5), y: top, height: floor - top });
  });
  svg.append(...bars);
  if (panel.over) svg.append(shape('path', { class: 'over', d: outline(panel.over, x, y, floor, edges) }));
  if (settings.normal === 'show') {
    const points = panel.normal.map((n, i) => `${(x(edges[i]) + x(edges[i + 1])) / 2},${Math.min(y(n), floor)}`);
    svg.append(shape('polyline', { class: 'normal', points: points.join(' ') }));
  }
  if (settings.intervals === 'show') {
    for (const edge of panel.intervals) {
      svg.append(shape('line', { class: 'interval', x1: x(edge), x2: x(edge), y1: MARGIN.top, y2: floor + 4 }));
    }
  }
  if (settings.marks === 'show') drawQuantiles(svg, panel, x, floor, width);
  svg.append(shape('line', { class: 'axis', x1: MARGIN.left, x2: width - MARGIN.right, y1: floor, y2: floor }));

  const at = (event) => {
    const value = x.back(event.clientX - svg.getBoundingClientRect().left);
    let i = edges.findIndex((edge) => edge > value) - 1;
    if (i < 0) i = value < edges[0] ? 0 : counts.length - 1;
    return i;
  };
  const show = (i) => point(s, svg, panel, bars, i, x, width);
  svg.addEventListener('mousemove', (event) => show(at(event)));
  svg.addEventListener('mouseleave', () => hide(s));
  svg.addEventListener('blur', () => hide(s));
  svg.addEventListener('click', (event) => s.open([which, at(event)]));
  svg.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const now = s.on ? bars.indexOf(s.on) : -1;
    const steps = { ArrowLeft: Math.max(0, now - 1), ArrowRight: Math.min(bars.length - 1, now + 1), Home: 0, End: bars.length - 1 };
    if (event.key in steps) show(steps[event.key]);
    else if (event.key === 'Enter' && now >= 0) s.open([which, now]);
    else if (event.key === 'Escape') hide(s);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  part.append(svg);
  return part;
}

// Labels from the right: one that would touch its neighbour is left out, its line stays.
function drawQuantiles(svg, panel, x, floor, width) {
  let free = Infinity;
  for (const [label, value] of [...panel.quantiles].reverse()) {
    const at = Math.min(Math.max(x(value), MARGIN.left), width - MARGIN.right);
    svg.append(shape('line', { class: 'quantile', x1: at, x2: at, y1: MARGIN.top - 4, y2: floor }));
    const half = label.length * 3.2;
    const middle = Math.min(at, width - half);
    if (middle + half > free) continue;
    free = middle - half - 3;
    svg.append(shape('text', { class: 'tick', x: middle, y: MARGIN.top - 8, 'text-anchor': 'middle' }, label));
  }
}

function outline({ edges, counts }, x, y, floor, [low]) {
  const high = x.high;
  let path = '';
  counts.forEach((count, i) => {
    const [a, b] = [Math.max(edges[i], low), Math.min(edges[i + 1], high)];
    if (b <= a) return;
    const top = Math.min(y(count), floor);
    path += `${path ? 'L' : 'M'}${x(a)},${top}L${x(b)},${top}`;
  });
  return path || 'M0,0';
}

// --- scales ---

function scaleOf(low, high, from, to) {
  const span = high - low || 1;
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.back = (pixel) => low + ((pixel - from) / (to - from)) * span;
  scale.high = high;
  return scale;
}

function heightOf(highest) {
  const [floor, top] = [HEIGHT - MARGIN.bottom, MARGIN.top];
  if (settings.scale !== 'log') return (count) => floor - (count / highest) * (floor - top);
  const [low, high] = [Math.log10(0.6), Math.log10(highest) + 0.15];
  return (count) => (count > 0.6 ? floor - ((Math.log10(count) - low) / (high - low)) * (floor - top) : floor);
}

function ticksY(highest) {
  if (settings.scale === 'log') {
    const powers = Math.floor(Math.log10(highest) + 1e-9);
    const step = powers > 4 ? 2 : 1;
    const ticks = [];
    for (let p = 0; p <= powers; p += step) ticks.push([10 ** p, p < 4 ? String(10 ** p) : `1e${p}`]);
    return ticks;
  }
  const step = niceStep(highest / 3);
  const ticks = [];
  for (let v = 0; v <= highest; v += step) ticks.push([v, compact(v)]);
  return ticks;
}

function ticksX(low, high, width) {
  const step = niceStep((high - low) / Math.max(2, Math.floor((width - MARGIN.left) / 55)));
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(Number((k * step).toPrecision(6)));
  return ticks;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough);
}

function compact(value) {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  return value >= 1e3 ? `${Number((value / 1e3).toPrecision(3))}k` : String(value);
}

function short(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(0) : String(value);
}

function exact(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  return size >= 1e-3 && size < 1e6 ? value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size)))) : value.toExponential(2);
}

// --- what a bar holds ---

function point(s, svg, panel, bars, i, x, width) {
  s.on?.classList.remove('on');
  s.on = bars[i];
  s.on.classList.add('on');
  const total = panel.counts.reduce((a, b) => a + b, 0);
  const share = (100 * panel.counts[i]) / Math.max(total, 1);
  const lines = [`${exact(panel.edges[i])} to ${exact(panel.edges[i + 1])}`];
  lines.push(`${panel.counts[i].toLocaleString('en')} token${panel.counts[i] === 1 ? '' : 's'}, ${share >= 0.01 ? share.toPrecision(3) : share.toExponential(1)}%`);
  if (settings.normal === 'show') lines.push(`normal: ${panel.normal[i] >= 0.5 ? Math.round(panel.normal[i]).toLocaleString('en') : 'under 1'}`);
  if (s.data.click) lines.push(`click: ${s.data.click}`);
  s.tip.replaceChildren(...lines.map((line) => element('div', '', line)));
  s.tip.hidden = false;
  const home = s.view.getBoundingClientRect();
  const at = svg.getBoundingClientRect();
  const middle = at.left - home.left + (x(panel.edges[i]) + x(panel.edges[i + 1])) / 2;
  const left = Math.max(0, Math.min(middle - s.tip.offsetWidth / 2, s.width - s.tip.offsetWidth));
  s.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(at.bottom - home.top + 2)}px)`;
}

function hide(s) {
  s.tip.hidden = true;
  s.on?.classList.remove('on');
  s.on = null;
}

// --- the reader's choices ---

function drawChoices(s, bar) {
  for (const [name, [value, label]] of Object.entries(CHOICES)) {
    const button = element('button', 'option', label);
    button.type = 'button';
    const tell = () => button.setAttribute('aria-pressed', String(settings[name] === value));
    button.onclick = () => {
      settings[name] = settings[name] === value ? 'hide' : value;
      try {
        localStorage.setItem('solu-histogram-view', JSON.stringify(settings));
      } catch {
        // a browser that keeps nothing: the choice lasts as long as the page
      }
      tell();
      draw(s);
    };
    tell();
    bar.append(button);
  }
}

function stored() {
  try {
    const kept = JSON.parse(localStorage.getItem('solu-histogram-view') ?? '{}');
    return Object.fromEntries(Object.keys(CHOICES).filter((name) => typeof kept[name] === 'string').map((name) => [name, kept[name]]));
  } catch {
    return {};
  }
}
