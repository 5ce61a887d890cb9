// Draws rows of a label, a bar and a number. `data` is described in bar_list.py.
// The default export runs again on every change of data or theme.

const drawnVersions = new WeakMap(); // by container

export default function ({ data, parentElement: root, setTriggerValue }) {
  const version = JSON.stringify(data);
  const bars = root.querySelector('.bars');
  if (drawnVersions.get(bars) === version) return;
  drawnVersions.set(bars, version);
  bars.replaceChildren(...data.columns.map((column) => drawColumn(column, (query) => setTriggerValue('open', query))));
}

function drawColumn({ title, rows }, open) {
  const column = element('section', 'column');
  if (title) column.append(element('h4', '', title));
  const list = element('ol');
  list.append(...rows.map((row) => drawRow(row, open)));
  column.append(list);
  return column;
}

function drawRow(row, open) {
  const track = element('span', 'track');
  const bar = element('span', row.share < 0 ? 'bar low' : 'bar high');
  bar.style.width = `${(100 * Math.min(1, Math.abs(row.share))).toFixed(1)}%`;
  track.append(bar);
  const item = element('li', row.detail ? 'row detailed' : 'row');
  item.append(drawLabel(row, open), track, element('span', 'number', row.number));
  if (row.detail) {
    const detail = element('span', 'detail', row.detail);
    detail.title = row.detail;
    item.append(detail);
  }
  return item;
}

function drawLabel({ label, query }, open) {
  const node = element(query === null ? 'span' : 'a', 'label', label);
  node.title = label;
  if (query === null) return node;
  node.href = `?${query}`;
  node.onclick = (event) => {
    if (opensElsewhere(event)) return;
    event.preventDefault();
    open(query);
  };
  return node;
}
