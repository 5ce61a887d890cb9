// Drawing of tokens for the editor: spans that hold text, coloured by value. Text nodes alone.

const HOOKS = { hook_mid: 'before LayerNorm', hook_post: 'after LayerNorm' };
const SEEN = { ' ': '·', '\n': '↵', '\t': '⇥' };
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function exact(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  return size >= 1e-3 && size < 1e6 ? value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size)))) : value.toExponential(2);
}

function signed(value) {
  return value > 0 ? `+${exact(value)}` : exact(value);
}

// A token as a person reads it where it stands alone.
function visible(text) {
  const escaped = text.replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return [...escaped].map((c) => SEEN[c] ?? c).join('');
}

function coloured(text, value, scale) {
  const token = element('span', 'tok', text);
  const strength = scale > 0 ? Math.min(1, Math.abs(value) / scale) : 0;
  if (strength > 0.02) {
    token.classList.add(value < 0 ? 'neg' : 'pos');
    token.style.setProperty('--a', strength.toFixed(3));
  }
  return token;
}

// Puts new children in the place of old ones, but for those that both begin and end with: an edit changes few.
// Nodes that stay are the old ones; the list is changed to hold them.
function replaceChanged(parent, nodes) {
  const old = [...parent.childNodes];
  const shorter = Math.min(old.length, nodes.length);
  let before = 0;
  while (before < shorter && old[before].isEqualNode(nodes[before])) before++;
  let after = 0;
  while (after < shorter - before && old.at(-1 - after).isEqualNode(nodes.at(-1 - after))) after++;
  for (const node of old.slice(before, old.length - after)) node.remove();
  const following = after ? old.at(-after) : null;
  for (const node of nodes.slice(before, nodes.length - after)) parent.insertBefore(node, following);
  for (let i = 0; i < before; i++) nodes[i] = old[i];
  for (let i = 1; i <= after; i++) nodes[nodes.length - i] = old.at(-i);
}

function showTip(s, token, word, rows) {
  const grid = element('dl', '');
  for (const [name, value] of rows) grid.append(element('dt', '', name), element('dd', '', value));
  s.tip.replaceChildren(element('div', 'word', visible(word)), grid);
  s.tip.hidden = false;
  s.on?.classList.remove('on');
  s.on = token;
  token.classList.add('on');
  const at = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const home = s.section.getBoundingClientRect();
  const above = at.top > s.tip.offsetHeight + 70;
  const left = Math.max(0, Math.min(at.left - home.left, home.width - s.tip.offsetWidth));
  const top = above ? at.top - home.top - s.tip.offsetHeight - 4 : at.bottom - home.top + 4;
  s.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

function hideTip(s) {
  s.tip.hidden = true;
  s.on?.classList.remove('on');
  s.on = null;
}

function legend(data) {
  const negative = data.reading && Math.min(0, ...data.reading.values[data.shown]) < -0.02 * data.scale;
  const ramp = element('span', negative ? 'ramp both' : 'ramp');
  ramp.setAttribute('role', 'img');
  ramp.setAttribute('aria-label', `Colour scale from ${negative ? exact(-data.scale) : '0'} to ${exact(data.scale)}`);
  return [
    element('span', 'dim', `${data.shown}, the scale of its examples`),
    element('span', '', negative ? exact(-data.scale) : '0'),
    ramp,
    element('span', '', exact(data.scale)),
  ];
}

// The original as it was: its change of activation since, or its activation. What was taken out is struck.
function drawOriginal(s, data) {
  const { original, reading, shown, scale, same } = data;
  s.original.hidden = !original;
  if (!original) return;
  const values = original.values[shown];
  const now = new Array(values.length).fill(null);
  same.forEach((from, i) => {
    if (from >= 0) now[from] = reading.values[shown][i];
  });
  const text = s.original.querySelector('.text') ?? element('div', 'text');
  const tokens = values.map((value, i) => {
    const word = original.text.slice(original.ends[i - 1] ?? 0, original.ends[i]);
    const colour = s.change ? (now[i] === null ? 0 : now[i] - value) : value;
    const token = coloured(word, colour, scale);
    if (now[i] === null) token.classList.add('gone');
    token.dataset.i = i;
    return token;
  });
  text.replaceChildren(...tokens);
  s.tellOriginal = (i) => [
    ['original', exact(values[i])],
    ['now', now[i] === null ? 'removed' : exact(now[i])],
    ...(now[i] === null ? [] : [['change', signed(now[i] - values[i])]]),
  ];
  if (text.isConnected && s.original.dataset.title === original.title + original.detail) return;
  s.original.dataset.title = original.title + original.detail;
  const head = element('div', 'head');
  head.append(element('span', 'label', original.title), element('span', 'dim', original.detail));
  for (const [name, change] of [['activation', false], ['change since', true]]) {
    const button = element('button', 'option', name);
    button.type = 'button';
    button.onclick = () => {
      s.change = change;
      for (const b of head.querySelectorAll('.option')) b.setAttribute('aria-pressed', String(b === button));
      drawOriginal(s, s.data);
    };
    button.setAttribute('aria-pressed', String(s.change === change));
    head.append(button);
  }
  text.tabIndex = 0;
  text.setAttribute('role', 'group');
  text.setAttribute('aria-label', `${original.title}. Left and right move between tokens.`);
  const tell = (token) =>
    token ? showTip(s, token, token.textContent, s.tellOriginal(Number(token.dataset.i))) : hideTip(s);
  text.onmouseover = (e) => tell(e.target.closest('.tok'));
  text.onmouseleave = () => hideTip(s);
  text.onblur = () => hideTip(s);
  text.onfocus = () => tell(text.querySelector('.tok'));
  text.onkeydown = (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (e.key === 'Escape') hideTip(s);
    if (!step || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    e.stopPropagation();
    const from = s.on?.parentElement === text ? Number(s.on.dataset.i) : -1;
    tell(text.children[Math.max(0, Math.min(text.children.length - 1, from + step))]);
  };
  s.original.replaceChildren(head, text);
}

// Pinned neurons read the same text: a line of tokens for each, on its own scale.
function drawPinned(s, data, text) {
  const lines = (data.reading ? data.pinned : []).map((pin) => {
    const line = element('div', 'pin');
    const words = element('div', 'text');
    const peak = Math.max(...pin.values);
    let from = data.reading.start;
    data.reading.ends.forEach((end, i) => {
      words.append(coloured(text.slice(from, end), pin.values[i], pin.scale));
      from = end;
    });
    const head = element('div', 'head');
    const share = pin.scale > 0 && pin.values.length ? `, ${Math.round((100 * peak) / pin.scale)}% of its maximum` : '';
    head.append(element('span', 'label', pin.label));
    head.append(element('span', 'dim', pin.values.length ? `peak ${exact(peak)}${share}` : ''));
    line.append(head, words);
    return line;
  });
  s.pinned.replaceChildren(...lines);
}

