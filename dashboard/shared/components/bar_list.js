// Draws rows of a label, a bar and a number. Text reaches the page through text nodes alone.
// `data` is described in bar_list.py. The default export runs again on every change of data or theme.

const drawn = new WeakMap();

export default function ({ data, parentElement: root, setTriggerValue }) {
  const version = JSON.stringify(data);
  const bars = root.querySelector('.bars');
  if (drawn.get(bars) === version) return;
  drawn.set(bars, version);
  bars.replaceChildren(
    ...data.columns.map((column) => {
      const part = element('section', 'column');
      if (column.title) part.append(element('h4', '', column.title));
      const list = element('ol', '');
      list.append(...column.rows.map((row) => drawRow(row, () => setTriggerValue('open', row.query))));
      part.append(list);
      return part;
    }),
  );
}

function drawRow(row, open) {
  const item = element('li', row.detail ? 'row detailed' : 'row');
  const label = element(row.query === null ? 'span' : 'a', 'label', row.label);
  label.title = row.label;
  if (row.query !== null) {
    label.href = `?${row.query}`;
    label.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return; // a tab of its own
      event.preventDefault();
      open();
    };
  }
  const track = element('span', 'track');
  const bar = element('span', row.share < 0 ? 'bar low' : 'bar high');
  bar.style.width = `${(100 * Math.min(1, Math.abs(row.share))).toFixed(1)}%`;
  track.append(bar);
  item.append(label, track, element('span', 'number', row.number));
  if (row.detail) {
    const detail = element('span', 'detail', row.detail);
    detail.title = row.detail;
    item.append(detail);
  }
  return item;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}
