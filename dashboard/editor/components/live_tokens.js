// Drawing of tokens for the editor: spans that hold text, coloured by value. Text nodes alone.

const shownRuns = new WeakMap(); // by element

function signed(value) {
  return value > 0 ? `+${exact(value)}` : exact(value);
}

// A token as a person reads it where it stands alone.
function visible(text) {
  const escaped = text.replace(ODD, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return [...escaped].map((c) => SEEN[c] ?? c).join('');
}

// A run of text to be shown by `showRuns`; the strongest colour is that of a value of `scale`.
function coloured(text, value, scale) {
  const strength = scale > 0 ? Math.min(1, Math.abs(value) / scale) : 0;
  if (strength <= 0.02) return { text, name: 'tok' };
  return { text, name: value < 0 ? 'tok neg' : 'tok pos', strength: strength.toFixed(3) };
}

// Makes the children of an element spans of runs of text, one each. Spans that say the same stay as they are: those
// at the beginning, those at the end, and between them what changes but in colour or words is only changed.
function showRuns(parent, runs) {
  const old = shownRuns.get(parent) ?? [];
  const same = (a, b) => a.text === b.text && a.name === b.name && a.strength === b.strength;
  const shorter = Math.min(old.length, runs.length);
  let before = 0;
  while (before < shorter && same(old[before], runs[before])) before++;
  let after = 0;
  while (after < shorter - before && same(old.at(-1 - after), runs.at(-1 - after))) after++;
  const both = shorter - before - after;
  for (let k = before; k < before + both; k++) {
    if (!same(old[k], runs[k])) showRun(parent.childNodes[k], runs[k]);
  }
  for (let k = old.length - after - 1; k >= before + both; k--) parent.childNodes[k].remove();
  const following = parent.childNodes[before + both] ?? null;
  for (const run of runs.slice(before + both, runs.length - after)) {
    parent.insertBefore(showRun(document.createElement('span'), run), following);
  }
  shownRuns.set(parent, runs);
}

function showRun(span, { text, name, strength }) {
  if (span.textContent !== text) span.textContent = text;
  span.className = name ?? '';
  if (strength) span.style.setProperty('--a', strength);
  else span.style.removeProperty('--a');
  return span;
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

function drawLegend(s) {
  const { values, scale } = s.answer;
  const { hook } = s.data.ask;
  const negative = Math.min(0, ...values[hook]) < -0.02 * scale;
  const said = `${hook} ${negative} ${scale}`;
  if (s.legend.dataset.said === said) return;
  s.legend.dataset.said = said;
  const ramp = element('span', negative ? 'ramp both' : 'ramp');
  ramp.setAttribute('role', 'img');
  ramp.setAttribute('aria-label', `Colour scale from ${negative ? exact(-scale) : '0'} to ${exact(scale)}`);
  s.legend.replaceChildren(
    element('span', 'dim', `${hook}, the scale of its examples`),
    element('span', '', negative ? exact(-scale) : '0'),
    ramp,
    element('span', '', exact(scale)),
  );
}

// The original as it was: its change of activation since, or its activation. What was taken out is struck.
function drawOriginal(s) {
  const { original, ask } = s.data;
  s.original.hidden = !original;
  if (!original) return;
  const { start, ends, values: byHook } = s.before.reading;
  const values = byHook[ask.hook];
  const now = new Array(values.length).fill(null);
  s.answer.same.forEach((from, i) => {
    if (from >= 0) now[from] = s.answer.values[ask.hook][i];
  });
  const text = s.original.querySelector('.text') ?? element('div', 'text');
  const runs = values.map((value, i) => {
    const colour = s.change ? (now[i] === null ? 0 : now[i] - value) : value;
    const run = coloured(original.text.slice(ends[i - 1] ?? start, ends[i]), colour, s.answer.scale);
    return now[i] === null ? { ...run, name: `${run.name} gone` } : run;
  });
  const strongest = values.indexOf(Math.max(...values));
  if (strongest >= 0) runs[strongest].name += ' peak';
  showRuns(text, runs);
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
      drawOriginal(s);
    };
    button.setAttribute('aria-pressed', String(s.change === change));
    head.append(button);
  }
  text.tabIndex = 0;
  text.setAttribute('role', 'group');
  text.setAttribute('aria-label', `${original.title}. Left and right move between tokens.`);
  const tell = (token) =>
    token ? showTip(s, token, token.textContent, s.tellOriginal([...text.childNodes].indexOf(token))) : hideTip(s);
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
    const from = [...text.childNodes].indexOf(s.on);
    tell(text.children[Math.max(0, Math.min(text.children.length - 1, from + step))]);
  };
  s.original.replaceChildren(head, text);
}

// Pinned neurons read the same text: a line of tokens for each, on its own scale.
function drawPinned(s) {
  const { start, ends, pinned } = s.answer;
  while (s.pinned.children.length > pinned.length) s.pinned.lastChild.remove();
  pinned.forEach(({ scale, values }, k) => {
    const line = s.pinned.children[k] ?? pinnedLine(s.pinned);
    const peak = Math.max(...values);
    const share = scale > 0 && values.length ? `, ${Math.round((100 * peak) / scale)}% of its maximum` : '';
    line.querySelector('.label').textContent = s.data.pins[k];
    line.querySelector('.dim').textContent = values.length ? `peak ${exact(peak)}${share}` : '';
    const runs = values.map((value, i) => coloured(s.read.slice(ends[i - 1] ?? start, ends[i]), value, scale));
    showRuns(line.querySelector('.text'), runs);
  });
}

function pinnedLine(parent) {
  const line = element('div', 'pin');
  const head = element('div', 'head');
  head.append(element('span', 'label'), element('span', 'dim'));
  line.append(head, element('div', 'text'));
  parent.append(line);
  return line;
}
