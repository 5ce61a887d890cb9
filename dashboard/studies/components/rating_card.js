// Rating: one card after the other. A verdict goes to `api/rating`, and the next card comes with the answer that says
// it is kept. `data` is described in rating_card.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const PATIENCE = 15000; // ms after which a request without an answer is given up
const AGAIN = 1000; // ms after which it is sent again
const SETTLE = 400; // ms of a new card in which a key is the second press of the last one
const KEYS = { i: 'interpretable', n: 'not', u: 'undo', p: 'pause', '/': 'rule', '?': 'help', 1: 'sure', 2: 'sure', 3: 'sure' };

export default function ({ data, parentElement: root }) {
  let s = instances.get(root);
  if (!s) {
    s = create(root);
    instances.set(root, s);
  }
  const place = `solu-rating ${JSON.stringify([data.study, data.rater])}`;
  if (place !== s.place) open(s, data, place);
  window.addEventListener('keydown', s.onKey);
  window.addEventListener('pagehide', s.store);
  document.addEventListener('visibilitychange', s.look);
  const ticking = setInterval(() => tick(s), 500);
  return () => {
    s.store();
    s.place = null;
    clearInterval(ticking);
    window.removeEventListener('keydown', s.onKey);
    window.removeEventListener('pagehide', s.store);
    document.removeEventListener('visibilitychange', s.look);
  };
}

function create(root) {
  const find = (name) => root.querySelector(name);
  const s = {
    root, section: find('.rating'), count: find('.count'), progress: find('progress'), time: find('.time'), note: find('.note'), instruction: find('.instruction'),
    said: find('.said'), list: find('.snippets'), rule: find('textarea'), rest: find('.rest'), title: find('.rest h2'), words: find('.rest p'),
    start: find('[data-do=start]'), sure: [...root.querySelectorAll('[data-do=sure]')], verdicts: [...root.querySelectorAll('.verdict')],
    undo: find('[data-do=undo]'), pause: find('[data-do=pause]'), help: find('[data-do=help]'), resume: find('[data-do=resume]'),
  };
  s.onKey = (event) => onKey(s, event);
  s.store = () => store(s);
  s.look = () => s.clock?.turn(s.phase === 'card' && !document.hidden);
  s.section.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button) act(s, button.dataset.do, button.value);
  });
  s.rule.addEventListener('keydown', (event) => {
    event.stopPropagation(); // letters here are no keys of the page
    if (event.key === 'Escape' || (event.key === 'Enter' && !event.shiftKey)) {
      event.preventDefault();
      s.list.focus({ preventScroll: true });
    }
  });
  return s;
}

// Goes on with what this tab has kept: a rating that may not have arrived is sent first.
function open(s, data, place) {
  Object.assign(s, { data, place, kept: recall(place), card: null, clock: null, sending: false });
  s.said.textContent = data.instruction;
  s.rule.maxLength = data.most_rule;
  enter(s, 'loading');
  send(s, s.kept.pending ? { rating: s.kept.pending } : {});
}

// --- the server ---

// Until it has answered. A rating that comes twice is one, so it may be sent again; an undo is not.
async function ask(s, request) {
  const place = s.place;
  for (;;) {
    try {
      const response = await fetch(new URL('api/rating', document.baseURI), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ study: s.data.study, rater: s.data.rater, ...request }),
        signal: AbortSignal.timeout(PATIENCE),
      });
      const answer = await response.json();
      if (response.status < 500) return answer;
    } catch {
      // no connection, or a server that is starting
    }
    if (s.place !== place) return null;
    if (request.undo) request = {};
    tell(s, `The server cannot be reached. ${request.rating ? 'Your rating is kept in this tab and sent when it is back.' : 'Trying again.'}`);
    await new Promise((done) => setTimeout(done, AGAIN));
    if (s.place !== place) return null;
  }
}

async function send(s, request) {
  if (s.sending) return;
  s.sending = true;
  const answer = await ask(s, request);
  if (!answer) return;
  s.sending = false;
  delete s.kept.pending;
  tell(s, '');
  for (const button of s.verdicts) button.setAttribute('aria-pressed', 'false');
  if (answer.problem) {
    s.card = null;
    rest(s, 'This cannot be rated', answer.problem);
  } else show(s, answer, request);
}

// The next card, or the end.
function show(s, answer, request) {
  s.progress.max = answer.total;
  s.progress.value = answer.done;
  s.undo.disabled = answer.done === 0;
  s.card = answer.card;
  if (!s.card) {
    delete s.kept.now;
    s.count.textContent = `${answer.done} of ${answer.total}`;
    const mine = answer.done === 1 ? 'one rating' : `${answer.done} ratings`;
    rest(s, 'All rated, thank you', `Your ${mine} took ${minutes(answer.seconds)} (minutes and seconds). They are kept; you can close this page.`);
    return;
  }
  s.count.textContent = `${answer.done + 1} of ${answer.total}`;
  // Once more after a reload or an undo: with what was said of it, and its time.
  const before = [s.kept.now, s.kept.last].find((kept) => kept?.item === s.card.item);
  s.clock = new Clock({ shown: before?.seconds, hidden: before?.hidden_seconds });
  s.rule.value = before?.rule ?? '';
  choose(s, before?.confidence ?? null);
  s.list.replaceChildren(...drawSnippets(s.card));
  const going = before || request.rating || request.undo;
  if (going) enter(s, 'card');
  else if (answer.done === 0) enter(s, 'instruction');
  else rest(s, 'Welcome back', `You have rated ${answer.done} of ${answer.total}. The time of the next one starts when you go on.`);
  s.section.scrollIntoView({ block: 'start' });
}

// --- what a person does ---

function onKey(s, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector('[role=dialog]')) return;
  const [at] = event.composedPath();
  if (at.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(at.tagName)) return;
  const name = KEYS[event.key.toLowerCase()];
  if (!name) return;
  event.preventDefault();
  if (name === 'interpretable' || name === 'not') act(s, 'rate', name);
  else act(s, name === 'pause' && s.phase === 'paused' ? 'resume' : name, event.key);
}

function act(s, name, value) {
  if (s.sending) return;
  if (name === 'rate') rate(s, value);
  else if (name === 'undo' && !s.undo.disabled && s.phase !== 'instruction') send(s, { undo: true });
  else if (name === 'pause' && s.phase === 'card') rest(s, 'Paused', 'The time stands still.');
  else if (name === 'resume' && s.phase === 'paused') enter(s, 'card');
  else if (name === 'help' && s.phase === 'card') enter(s, 'instruction');
  else if ((name === 'start' || name === 'help') && s.phase === 'instruction') enter(s, 'card');
  else if (name === 'rule' && s.phase === 'card') s.rule.focus();
  else if (name === 'sure' && s.phase === 'card') choose(s, s.confidence === Number(value) ? null : Number(value));
}

function rate(s, verdict) {
  if (s.phase !== 'card' || performance.now() - s.entered < SETTLE) return;
  s.kept.pending = { ...draft(s), verdict };
  s.kept.last = s.kept.pending;
  delete s.kept.now;
  keep(s.place, s.kept);
  for (const button of s.verdicts) button.setAttribute('aria-pressed', String(button.value === verdict));
  send(s, { rating: s.kept.pending });
}

function draft(s) {
  const { shown, hidden } = s.clock.read();
  return { item: s.card.item, rule: s.rule.value.trim().toWellFormed(), confidence: s.confidence, seconds: shown, hidden_seconds: hidden };
}

function choose(s, confidence) {
  s.confidence = confidence;
  for (const button of s.sure) button.setAttribute('aria-pressed', String(Number(button.value) === confidence));
}

// --- what is shown ---

// `loading`, `instruction`, `card`, `paused` (no card is seen) or `over`.
function enter(s, phase) {
  s.phase = phase;
  s.section.dataset.phase = phase;
  s.entered = performance.now();
  s.look();
  tick(s);
  if (phase === 'card') s.list.focus({ preventScroll: true });
  if (phase === 'instruction') s.start.focus({ preventScroll: true });
  if (phase === 'paused') s.resume.focus({ preventScroll: true });
}

function rest(s, title, words) {
  s.title.textContent = title;
  s.words.textContent = words;
  enter(s, s.card ? 'paused' : 'over');
}

function tell(s, words) {
  if (s.note.textContent !== words) s.note.textContent = words;
}

function tick(s) {
  s.time.textContent = s.card ? minutes(s.clock.read().shown) : '';
}

function store(s) {
  if (s.card && !s.kept.pending && s.phase !== 'loading') s.kept.now = draft(s);
  if (s.place) keep(s.place, s.kept);
}
