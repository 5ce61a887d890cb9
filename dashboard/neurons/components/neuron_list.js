// Draws a page of neurons as a table of links. `data` is described in neuron_list.py.
// The default export runs again on every change of data or theme.

const tables = new WeakMap(); // by root
const SVG = 'http://www.w3.org/2000/svg';
const NUMBER_COLUMNS = new Set(['match', 'max', 'density', 'kurtosis', 'skewness']);
const DRAW_CELL = {
  neuron: drawNeuron, label: drawLabel, preview: drawPreview, match: drawMatch, spark: drawSpark, share: drawShare,
};

export default function ({ data, parentElement: root, setTriggerValue }) {
  const table = tables.get(root) ?? createTable(root);
  table.send = setTriggerValue;
  const version = JSON.stringify(data);
  if (table.version !== version) {
    table.version = version;
    draw(table, data);
  }
  return () => {
    document.removeEventListener('keydown', table.onKey);
    tables.delete(root);
  };
}

function createTable(root) {
  const table = { root };
  tables.set(root, table);
  root.querySelector('.rows').addEventListener('click', (event) => onClick(table, event));
  root.querySelector('thead').addEventListener('click', (event) => onSort(table, event));
  table.onKey = (event) => onKey(table, event);
  document.addEventListener('keydown', table.onKey);
  return table;
}

// --- the table ---

function draw(table, data) {
  const { root } = table;
  root.querySelector('.caption').textContent = data.caption;
  // A column that was sorted by the keyboard keeps the focus when its head is drawn again.
  const focusedKey = root.querySelector('thead :focus')?.dataset.key ?? root.getRootNode().activeElement?.dataset?.key;
  root.querySelector('thead tr').replaceChildren(element('td', 'rank'), ...data.columns.map(drawColumnHead));
  root.querySelector('.rows').replaceChildren(...data.rows.map((row, i) => drawRow(data, row, data.first_rank + i)));
  if (focusedKey) root.querySelector(`thead button[data-key="${focusedKey}"]`)?.focus();
}

function drawColumnHead({ key, name, help, sort }) {
  const cell = element('th', key);
  cell.scope = 'col';
  cell.title = help;
  if (sort === null) {
    cell.textContent = name;
    return cell;
  }
  cell.setAttribute('aria-sort', sort);
  const sortButton = button('sort', name);
  sortButton.dataset.key = key;
  cell.append(sortButton);
  return cell;
}

function drawRow(data, row, rank) {
  const line = element('tr', row.state === 'dead' ? 'row dead' : 'row');
  line.dataset.layer = row.layer;
  line.dataset.neuron = row.neuron;
  line.append(element('td', 'rank', integer(rank)));
  for (const { key } of data.columns) {
    const cell = element(key === 'neuron' ? 'th' : 'td', NUMBER_COLUMNS.has(key) ? `${key} number` : key);
    if (key === 'neuron') cell.scope = 'row';
    (DRAW_CELL[key] ?? drawPlain)(cell, row, key, data);
    line.append(cell);
  }
  return line;
}

function drawPlain(cell, row, key) {
  cell.textContent = row[key];
}

function drawNeuron(cell, row, key, data) {
  const link = element('a', 'open', data.all_layers ? `${row.layer} · ${row.neuron}` : `${row.neuron}`);
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
  cell.append(document.createTextNode(visible(row.label, { spaces: false })));
  cell.title = row.label;
}

// One example in each line, aligned at the peak tokens.
function drawPreview(cell, row) {
  row.snippets.forEach(({ texts, strengths, peak }, rank) => {
    const line = element('div', 'snippet');
    const before = element('span', 'before');
    const fromPeak = element('span', 'from');
    texts.forEach((text, i) => {
      const token = element('span', i === peak ? 'tok peak' : 'tok', visible(text, { spaces: false }));
      applyTint(token, strengths[i], 100);
      (i < peak ? before : fromPeak).append(token);
    });
    const edit = element('a', 'edit', 'edit');
    edit.href = `editor${row.href.slice(row.href.indexOf('?'))}&example=top-${rank}`;
    edit.dataset.example = `top-${rank}`;
    edit.setAttribute('aria-label', `Edit example ${rank + 1} of neuron ${row.neuron}`);
    line.append(before, fromPeak, edit);
    cell.append(line);
  });
}

function drawSpark(cell, row) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${row.spark.length} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  const bars = row.spark.map((height, i) => (height ? `M${i} 100V${100 - height}h1V100z` : ''));
  path.setAttribute('d', bars.join(''));
  svg.append(path);
  cell.append(svg);
}

function drawMatch(cell, row) {
  cell.append(element('span', '', row.match));
  if (row.match_token) cell.append(element('span', 'on', `on ${row.match_token}`));
}

function drawShare(cell, row) {
  if (!row.source) return;
  const source = element('span', 'source', row.source);
  source.title = row.source;
  const bar = element('span', 'bar');
  bar.style.setProperty('--share', row.source_share);
  cell.append(source, element('span', 'percent', row.share), bar);
}

// --- opening and sorting ---

// A plain click stays in the session; one with a modifier, and the middle button, follow the link.
function onClick(table, event) {
  const row = event.target.closest('.row');
  if (!row || opensElsewhere(event)) return;
  event.preventDefault();
  const { example } = event.target.closest('.edit')?.dataset ?? {};
  table.send('open', { layer: Number(row.dataset.layer), neuron: Number(row.dataset.neuron), example });
}

function onSort(table, event) {
  const sortButton = event.target.closest('.sort');
  if (sortButton) table.send('sort', sortButton.dataset.key);
}

// --- keys: j and k, and the arrows once a row has the focus, move between rows; Enter is the link's own ---

function onKey(table, event) {
  if (hasModifier(event) || event.shiftKey) return;
  const [target] = event.composedPath();
  const hasOwnKeys = target.closest?.('input, textarea, select, [contenteditable], [role="combobox"], [role="listbox"]');
  const isOnRow = target.closest?.('.open') && table.root.contains(target);
  const step = { j: 1, k: -1, ...(isOnRow && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
  if (hasOwnKeys || step === undefined) return;
  const links = [...table.root.querySelectorAll('.open')];
  if (!links.length) return;
  const outside = step > 0 ? -1 : links.length;
  const index = (isOnRow ? links.indexOf(target) : outside) + step;
  event.preventDefault();
  const link = links[Math.max(0, Math.min(links.length - 1, index))];
  link.focus({ preventScroll: true });
  link.closest('.row').scrollIntoView({ block: 'nearest' });
}
