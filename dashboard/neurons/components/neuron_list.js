// Draws a page of neurons as a table of links. Text reaches the page through text nodes alone.
// `data` is described in neuron_list.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const ODD = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const SVG = 'http://www.w3.org/2000/svg';
const NUMBERS = new Set(['match', 'max', 'density', 'kurtosis', 'skewness']);
const DRAW = { neuron: drawNeuron, label: drawLabel, preview: drawPreview, spark: drawSpark, share: drawShare, match: drawMatch };

export default function ({ data, parentElement: root, setTriggerValue }) {
  let s = instances.get(root);
  if (!s) {
    s = { root };
    instances.set(root, s);
    root.querySelector('.rows').addEventListener('click', (event) => onClick(s, event));
    root.querySelector('thead').addEventListener('click', (event) => onSort(s, event));
    s.onKey = (event) => onKey(s, event);
    document.addEventListener('keydown', s.onKey);
  }
  s.send = setTriggerValue;
  const text = JSON.stringify(data);
  if (s.text !== text) {
    s.text = text;
    draw(s, data);
  }
  return () => {
    document.removeEventListener('keydown', s.onKey);
    instances.delete(root);
  };
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- the table ---

function draw(s, data) {
  s.root.querySelector('.caption').textContent = data.caption;
  const focused = s.root.querySelector('thead :focus')?.dataset.key ?? s.root.getRootNode().activeElement?.dataset?.key;
  s.root.querySelector('thead tr').replaceChildren(element('td', 'rank'), ...data.columns.map(drawHead));
  s.root.querySelector('.rows').replaceChildren(...data.rows.map((row, i) => drawRow(data, row, data.first + i)));
  if (focused) s.root.querySelector(`thead button[data-key="${focused}"]`)?.focus();
}

function drawHead({ key, name, help, sort }) {
  const cell = element('th', key);
  cell.scope = 'col';
  cell.title = help;
  if (sort === null) {
    cell.textContent = name;
    return cell;
  }
  cell.setAttribute('aria-sort', sort);
  const button = element('button', 'sort', name);
  button.type = 'button';
  button.dataset.key = key;
  cell.append(button);
  return cell;
}

function drawRow(data, row, rank) {
  const line = element('tr', row.state === 'dead' ? 'row dead' : 'row');
  line.dataset.layer = row.layer;
  line.dataset.neuron = row.neuron;
  line.append(element('td', 'rank', rank.toLocaleString('en')));
  for (const { key } of data.columns) {
    const cell = element(key === 'neuron' ? 'th' : 'td', NUMBERS.has(key) ? `${key} number` : key);
    if (key === 'neuron') cell.scope = 'row';
    (DRAW[key] ?? drawText)(cell, row, key, data);
    line.append(cell);
  }
  return line;
}

function drawText(cell, row, key) {
  cell.textContent = row[key];
}

function drawNeuron(cell, row, key, data) {
  const link = element('a', 'open', data.all ? `${row.layer} · ${row.neuron}` : `${row.neuron}`);
  link.href = row.href;
  link.setAttribute('aria-label', `Layer ${row.layer}, neuron ${row.neuron}`);
  cell.append(link);
  if (row.state) cell.append(element('span', 'state', row.state));
}

function drawLabel(cell, row) {
  if (row.star) {
    const star = element('span', 'star', '★');
    star.setAttribute('role', 'img');
    star.setAttribute('aria-label', 'starred');
    cell.append(star);
  }
  cell.append(document.createTextNode(seen(row.label)));
  cell.title = row.label;
}

// An example a line, the peak tokens below each other.
function drawPreview(cell, row) {
  row.snippets.forEach(({ texts, strengths, peak }, rank) => {
    const line = element('div', 'snippet');
    const before = element('span', 'before');
    const from = element('span', 'from');
    texts.forEach((text, i) => {
      const token = element('span', i === peak ? 'tok peak' : 'tok', seen(text));
      if (Math.abs(strengths[i]) > 2) {
        token.classList.add(strengths[i] < 0 ? 'neg' : 'pos');
        token.style.setProperty('--a', Math.abs(strengths[i]) / 100);
      }
      (i < peak ? before : from).append(token);
    });
    const edit = element('a', 'edit', 'edit');
    edit.href = `editor${row.href.slice(row.href.indexOf('?'))}&example=top-${rank}`;
    edit.dataset.example = `top-${rank}`;
    edit.setAttribute('aria-label', `Edit example ${rank + 1} of neuron ${row.neuron}`);
    line.append(before, from, edit);
    cell.append(line);
  });
}

function drawSpark(cell, row) {
  const picture = document.createElementNS(SVG, 'svg');
  picture.setAttribute('viewBox', `0 0 ${row.spark.length} 100`);
  picture.setAttribute('preserveAspectRatio', 'none');
  picture.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  const bars = row.spark.map((height, i) => (height ? `M${i} 100V${100 - height}h1V100z` : ''));
  path.setAttribute('d', bars.join(''));
  picture.append(path);
  cell.append(picture);
}

function drawMatch(cell, row) {
  cell.append(element('span', '', row.match));
  if (row.on) cell.append(element('span', 'on', `on ${seen(row.on)}`));
}

function drawShare(cell, row) {
  if (!row.source) return;
  const words = element('span', 'source', row.source);
  words.title = row.source;
  const bar = element('span', 'bar');
  bar.style.setProperty('--part', row.part);
  cell.append(words, element('span', 'percent', row.share), bar);
}

function seen(text) {
  return text.replace(ODD, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// --- opening and sorting ---

// A plain click stays in the session; one with a modifier, and the middle button, follow the link.
function onClick(s, event) {
  const row = event.target.closest('.row');
  if (!row || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const { example } = event.target.closest('.edit')?.dataset ?? {};
  s.send('open', { layer: Number(row.dataset.layer), neuron: Number(row.dataset.neuron), example });
}

function onSort(s, event) {
  const button = event.target.closest('.sort');
  if (button) s.send('sort', button.dataset.key);
}

// --- keyboard: j and k, and the arrows once a row has the focus, move between rows; Enter is the link's own ---

function onKey(s, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const [target] = event.composedPath();
  const typing = target.closest?.('input, textarea, select, [contenteditable], [role="combobox"], [role="listbox"]');
  const inside = target.closest?.('.open') && s.root.contains(target);
  const step = { j: 1, k: -1, ...(inside && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
  if (typing || step === undefined) return;
  const links = [...s.root.querySelectorAll('.open')];
  if (!links.length) return;
  const at = inside ? links.indexOf(target) : step > 0 ? -1 : links.length;
  event.preventDefault();
  const link = links[Math.max(0, Math.min(links.length - 1, at + step))];
  link.focus({ preventScroll: true });
  link.closest('.row').scrollIntoView({ block: 'nearest' });
}
