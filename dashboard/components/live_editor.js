// The editor itself. The browser owns the text: it is written from outside only where `reset` changes, and a
// reply colours the tokens of the text that it is about. One request is on its way at a time.
// `data` is described in live_editor.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const drafts = new Map(); // by `reset`: what was typed, should the component be drawn anew without being told
const PAUSE = 8; // ms from a key to the request that tells of it, where none is on its way
const PATIENCE = 2000; // ms after which a request without reply is made again

export default function (component) {
  const { data, parentElement: root } = component;
  const s = instances.get(root) ?? create(root, component);
  s.component = component;
  if (data.reset !== s.reset) {
    const first = s.reset === undefined;
    s.reset = data.reset;
    const text = data.text ?? drafts.get(data.reset) ?? '';
    write(s, text, first);
    s.seq = Math.max(s.seq, data.seq);
    s.sent = { seq: data.seq, text: s.area.value, at: 0 };
    s.waiting = s.dirty = false;
  }
  if (data.seq >= s.sent.seq) {
    s.waiting = false;
    s.data = data;
    s.read = s.sent.text;
    draw(s);
    if (s.dirty) plan(s, 0);
  }
  return () => clearTimeout(s.timer);
}

function create(root, component) {
  const find = (name) => root.querySelector(name);
  const s = {
    section: find('.editor'), choices: find('.choices'), legend: find('.legend'), original: find('.original'), paper: find('.paper'),
    layer: find('.layer'), area: find('textarea'), readout: find('.readout'), notes: find('.notes'),
    pinned: find('.pinned'), tip: find('.tip'), component,
    seq: 0, sent: { seq: 0, text: '' }, keep: component.data.keep, spans: [], cut: 0, caret: null, change: false,
  };
  instances.set(root, s);
  s.area.maxLength = component.data.max_text;
  s.choices.append(element('span', 'dim', 'read'), ...['first', 'last'].map((keep) => contextButton(s, keep)));
  s.area.addEventListener('input', () => changed(s));
  s.area.addEventListener('compositionstart', () => (s.composing = true));
  s.area.addEventListener('compositionend', () => {
    s.composing = false;
    changed(s);
  });
  s.area.addEventListener('paste', (e) => pasted(s, e));
  s.area.addEventListener('keyup', () => moved(s));
  s.area.addEventListener('focus', () => moved(s));
  s.area.addEventListener('click', (e) => moved(s, tokenUnder(s, e)));
  // What moves under a pointer at rest, while one types, is no move of it.
  s.area.addEventListener('mousemove', (e) => (e.movementX || e.movementY) && hover(s, tokenUnder(s, e)));
  s.area.addEventListener('mouseleave', () => hideTip(s));
  s.area.addEventListener('keydown', () => hideTip(s));
  return s;
}

// A text from outside. Where the person is at work already it can be undone like an edit of their own.
function write(s, text, first) {
  s.quiet = true;
  if (!first && text.length < 20000) {
    s.area.focus({ preventScroll: true });
    s.area.select();
    document.execCommand(text ? 'insertText' : 'delete', false, text);
  }
  if (s.area.value !== text) s.area.value = text;
  s.quiet = false;
  s.change = false;
  s.cut = 0;
  s.caret = null;
  drafts.set(s.reset, s.area.value);
}

// --- to the server ---

function changed(s) {
  if (s.quiet) return;
  if (!s.pasting) s.cut = 0;
  drafts.set(s.reset, s.area.value);
  s.caret = s.area.selectionStart;
  paint(s);
  notes(s);
  ask(s);
}

function ask(s) {
  s.dirty = true;
  if (!s.waiting) plan(s, PAUSE);
}

function plan(s, delay) {
  s.timer ||= setTimeout(() => send(s), delay);
}

function send(s) {
  s.timer = 0;
  if (!s.dirty || s.composing) return;
  s.dirty = false;
  s.waiting = true;
  s.seq += 1;
  const text = s.area.value;
  s.sent = { seq: s.seq, text };
  s.component.setStateValue('edit', { text, caret: s.caret, keep: s.keep, reset: s.reset, seq: s.seq });
  setTimeout(() => {
    if (!s.waiting || s.sent.seq !== s.seq) return;
    s.waiting = false;
    ask(s);
  }, PATIENCE);
}

function pasted(s, event) {
  const room = s.area.maxLength - s.area.value.length + (s.area.selectionEnd - s.area.selectionStart);
  const given = (event.clipboardData?.getData('text') ?? '').replace(/\r\n?/g, '\n');
  s.cut = Math.max(0, given.length - room);
  s.pasting = true;
  setTimeout(() => {
    s.pasting = false;
    notes(s);
  });
}

// --- the caret, and the token under the pointer ---

function moved(s, token) {
  const caret = token ? token.end : s.area.selectionStart;
  if (caret === s.caret) return;
  s.caret = caret;
  readout(s);
  if (s.data?.follows && !s.dirty) ask(s);
}

function tokenUnder(s, event) {
  for (const span of s.spans) {
    for (const box of span.node.getClientRects()) {
      const inside = event.clientX >= box.left && event.clientX < box.right;
      if (inside && event.clientY >= box.top && event.clientY < box.bottom) return span;
    }
  }
  return null;
}

function hover(s, span) {
  if (!span) return hideTip(s);
  if (s.on !== span.node) showTip(s, span.node, s.area.value.slice(span.start, span.end), tell(s, span.i));
}

function tell(s, i) {
  const { reading, hooks, original, same, shown } = s.data;
  const rows = hooks.map((hook) => [hooks.length > 1 ? HOOKS[hook] : hook, exact(reading.values[hook][i])]);
  if (original && same[i] >= 0) rows.push(['change', signed(reading.values[shown][i] - original.values[shown][same[i]])]);
  else if (original) rows.push(['in the original', 'not there']);
  return rows;
}

// --- drawing ---

function draw(s) {
  const { data } = s;
  hideTip(s);
  s.legend.replaceChildren(...legend(data));
  chooseContext(s);
  s.section.classList.toggle('stopped', Boolean(data.problem));
  drawOriginal(s, data);
  drawPinned(s, data, s.read);
  paint(s);
  notes(s);
  s.layer.dataset.read = s.read.length;
}

// Tokens of the text that was read, where they stand in the text as it is now: those before the edit and,
// moved, those after it.
function paint(s) {
  const { reading, shown, scale } = s.data ?? {};
  const text = s.area.value;
  s.spans = [];
  const nodes = [];
  let from = 0;
  const upTo = (end, name) => {
    const part = text.slice(from, end);
    if (part) nodes.push(name ? element('span', name, part) : document.createTextNode(part));
    from = Math.max(from, end);
  };
  if (reading) {
    const shorter = Math.min(s.read.length, text.length);
    let before = 0;
    while (before < shorter && s.read.charCodeAt(before) === text.charCodeAt(before)) before++;
    let after = 0;
    while (after < shorter - before && s.read.charCodeAt(s.read.length - 1 - after) === text.charCodeAt(text.length - 1 - after)) after++;
    const moved = text.length - s.read.length;
    const settled = moved === 0 && before === text.length;
    const now = (offset) => (offset <= before ? offset : offset >= s.read.length - after ? offset + moved : before);
    const long = reading.n_read < reading.n_all;
    if (long) upTo(now(reading.start), 'beyond');
    reading.ends.forEach((last, i) => {
      const start = reading.ends[i - 1] ?? reading.start;
      const shift = last <= before ? 0 : start >= s.read.length - after ? moved : null;
      if (shift === null) return;
      upTo(start + shift);
      if (start + shift < from) return;
      const node = coloured(text.slice(start + shift, last + shift), reading.values[shown][i], scale);
      if (settled && i === reading.at) node.classList.add('at');
      s.spans.push({ k: nodes.length, i, start: start + shift, end: last + shift });
      nodes.push(node);
      from = last + shift;
    });
    const end = now(reading.ends.at(-1) ?? 0);
    upTo(end);
    if (long) upTo(text.length, 'beyond');
  }
  upTo(text.length);
  nodes.push(document.createTextNode('\u200b'));
  replaceChanged(s.layer, nodes);
  for (const span of s.spans) span.node = nodes[span.k];
  readout(s);
}

function readout(s) {
  const chosen = (t) => (s.caret === null ? t.i === s.data.reading.at : s.caret > t.start && s.caret <= t.end);
  const span = s.spans.find(chosen) ?? s.spans[0];
  if (!span || s.data.problem) return s.readout.replaceChildren();
  const parts = [element('b', 'word', visible(s.area.value.slice(span.start, span.end)))];
  for (const [name, value] of tell(s, span.i)) {
    const item = element('span', 'value');
    item.append(element('span', 'dim', name), ` ${value}`);
    parts.push(item);
  }
  const peak = Math.max(...s.data.reading.values[s.data.shown]);
  const last = element('span', 'peak');
  last.append(element('span', 'dim', 'peak of the text '), element('b', '', exact(peak)));
  last.dataset.peak = peak;
  return s.readout.replaceChildren(...parts, last);
}

function notes(s) {
  const { reading, problem, max_text } = s.data ?? {};
  const lines = [];
  if (problem) lines.push(problem);
  if (s.cut) lines.push(`The paste was cut: the editor holds ${max_text.toLocaleString('en')} characters, and the last ${s.cut.toLocaleString('en')} were left out.`);
  if (reading && reading.n_read < reading.n_all) {
    lines.push(
      `The model reads ${reading.n_read.toLocaleString('en')} of ${reading.n_all.toLocaleString('en')} tokens: ` +
        `its context holds ${reading.n_ctx}, the BOS included. The rest is shaded.`,
    );
  }
  const said = lines.join(' ');
  if (s.notes.textContent !== said) s.notes.textContent = said;
}

// Which end of a long text is read.
function contextButton(s, keep) {
  const button = element('button', 'option', `the ${keep} tokens`);
  button.type = 'button';
  button.onclick = () => {
    s.keep = button.dataset.keep;
    chooseContext(s);
    ask(s);
  };
  button.dataset.keep = keep;
  return button;
}

function chooseContext(s) {
  const { reading } = s.data;
  s.choices.hidden = !reading || reading.n_read === reading.n_all;
  for (const button of s.choices.querySelectorAll('.option')) {
    button.setAttribute('aria-pressed', String(s.keep === button.dataset.keep));
  }
}
