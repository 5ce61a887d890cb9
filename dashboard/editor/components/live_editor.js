// The editor itself. The browser owns the text: it is written from outside only where `work` changes. A key is
// answered by the server's route, past Streamlit, one question at a time; the page is told when typing pauses.
// `data` is described in live_editor.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const SOON = 4; // ms from a key to the question, where none is on its way
const PAUSE = 400; // ms without a key after which the page is told
const PATIENCE = 15000; // ms after which a question without an answer is given up
const AGAIN = 1000; // ms after which it is asked again

export default function (component) {
  const { data, parentElement: root } = component;
  const s = instances.get(root) ?? create(root, component);
  s.component = component;
  s.data = data;
  if (data.work !== s.work) open(s, data);
  keepDraft(s);
  const about = JSON.stringify([data.ask, data.version, data.original?.text]);
  if (about !== s.about) {
    s.about = about;
    if (s.answer && !(data.ask.hook in s.answer.values)) s.answer = null; // of another model
    ask(s);
  }
  window.addEventListener('pagehide', storeDraft);
  window.addEventListener('pointerdown', s.press, true);
  return () => {
    storeDraft();
    window.removeEventListener('pagehide', storeDraft);
    window.removeEventListener('pointerdown', s.press, true);
    clearTimeout(s.timer);
    clearTimeout(s.telling);
    s.asking?.abort();
    Object.assign(s, { timer: 0, dirty: false, about: '' });
  };
}

function create(root, component) {
  const find = (name) => root.querySelector(name);
  const s = {
    section: find('.editor'), choices: find('.choices'), legend: find('.legend'), original: find('.original'), paper: find('.paper'),
    layer: find('.layer'), area: find('textarea'), readout: find('.readout'), notes: find('.notes'),
    pinned: find('.pinned'), tip: find('.tip'), component, read: '', problem: '', spans: [], cut: 0, caret: null, change: false,
  };
  instances.set(root, s);
  s.place = location.pathname;
  s.press = (e) => (s.leaving = e.composedPath().some((node) => node.tagName === 'A'));
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
  s.area.addEventListener('blur', () => s.untold && tell(s));
  s.area.addEventListener('click', (e) => moved(s, tokenUnder(s, e)));
  // What moves under a pointer at rest, while one types, is no move of it.
  s.area.addEventListener('mousemove', (e) => (e.movementX || e.movementY) && hover(s, tokenUnder(s, e)));
  s.area.addEventListener('mouseleave', () => hideTip(s));
  s.area.addEventListener('keydown', () => hideTip(s));
  return s;
}

// --- the text ---

// The text that the page opens, and a draft of it that was typed before the page was left or the server began anew.
function open(s, data) {
  const first = s.work === undefined;
  const found = draftOf(data, first);
  const anew = !first && deskOf(s.work) !== deskOf(data.work);
  s.work = data.work;
  s.keep = data.keep;
  s.answer = null;
  s.fresh = true;
  write(s, data.text ?? found?.text ?? '', first);
  if (found && (found.text !== s.area.value || found.keep !== s.keep)) {
    write(s, found.text, false);
    s.keep = found.keep;
    tellLater(s, 0);
  } else if (anew) {
    tellLater(s, 0); // what was chosen beside the text before a new server had drawn this part came to nothing
  }
  ask(s);
}

// Where the person is at work already it can be undone like an edit of their own.
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
}

function changed(s) {
  if (s.quiet) return;
  s.leaving = false;
  if (!s.pasting) s.cut = 0;
  s.caret = s.area.selectionStart;
  keepDraft(s);
  paint(s);
  notes(s);
  ask(s);
  tellLater(s, PAUSE);
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

// --- what the page is told ---

function tellLater(s, delay) {
  s.untold = true;
  clearTimeout(s.telling);
  s.telling = setTimeout(() => tell(s), delay);
}

// Not once a link was pressed or the address is another: told after the way to another page has begun, Streamlit
// would draw an empty one. The draft has it, for when the editor is opened again.
function tell(s) {
  clearTimeout(s.telling);
  storeDraft();
  if (s.leaving || location.pathname !== s.place) return;
  s.untold = false;
  s.component.setStateValue('edit', { text: s.area.value, caret: s.caret, keep: s.keep, work: s.work });
}

// --- questions to the server ---

function ask(s, delay = SOON) {
  s.dirty = true;
  if (!s.asking) s.timer ||= setTimeout(() => send(s), delay);
}

async function send(s) {
  s.timer = 0;
  if (!s.dirty || s.composing) return;
  s.dirty = false;
  const { about, keep, work } = s;
  const text = s.area.value;
  const against = s.data.original?.text ?? null;
  s.asking = new AbortController();
  let again = 0;
  try {
    const before = `${about} ${keep}`;
    if (against !== null && s.before?.key !== before) {
      s.before = { key: before, reading: await question(s, { text: against, keep }) };
    }
    const answer = await question(s, { text, keep, against });
    if (about === s.about && work === s.work) {
      s.answer = answer;
      s.read = text;
      s.problem = '';
      draw(s);
    }
  } catch (error) {
    if (s.asking.signal.aborted) return;
    again = error.refused ? 0 : AGAIN;
    s.problem = error.refused
      ? `Nothing can be computed now: ${error.message}. Your text stays as it is.`
      : 'The server does not answer. Your text stays as it is; it is asked again.';
    s.dirty ||= Boolean(again);
    draw(s);
  } finally {
    s.asking = null;
    if (s.dirty) ask(s, again || SOON);
  }
}

// An answer as in services/answers.py; an error with `refused` where asking again would not help.
async function question(s, about) {
  const { pins, ...who } = s.data.ask;
  const response = await fetch(new URL('api/reading', document.baseURI), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...who, pins, ...about }),
    signal: AbortSignal.any([s.asking.signal, AbortSignal.timeout(PATIENCE)]),
  });
  if (response.ok) return response.json();
  const { problem } = await response.json().catch(() => ({}));
  const error = new Error(problem ?? `the server failed (${response.status})`);
  error.refused = response.status !== 503 && response.status !== 502;
  throw error;
}

// --- the caret, and the token under the pointer ---

function moved(s, token) {
  const caret = token ? token.end : s.area.selectionStart;
  if (caret === s.caret) return;
  s.caret = caret;
  paint(s);
  if (s.data.follows) tellLater(s, token ? 0 : PAUSE);
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
  if (s.on !== span.node) showTip(s, span.node, s.area.value.slice(span.start, span.end), tellValues(s, span.i));
}

function tellValues(s, i) {
  const { values, same } = s.answer;
  const { hook } = s.data.ask;
  const hooks = Object.keys(values);
  const rows = hooks.map((h) => [hooks.length > 1 ? HOOKS[h] : h, exact(values[h][i])]);
  const before = s.data.original && s.before?.reading.values[hook];
  if (before && same[i] >= 0) rows.push(['change', signed(values[hook][i] - before[same[i]])]);
  else if (before) rows.push(['in the original', 'not there']);
  return rows;
}
