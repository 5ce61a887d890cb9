// Rating, one card after the other. A verdict is sent to `api/rating`, and the next card comes with the response that
// acknowledges it. `data` is described in rating_card.py. The default export runs again on every change of data or theme.

const sessions = new WeakMap(); // by root
const TIMEOUT = 15000; // ms after which a request without a response is given up
const RETRY_DELAY = 1000; // ms after which it is sent again
const SETTLE = 400; // ms of a new card in which a verdict is taken for the second press of the last one
const MAX_STEP = 15; // shade of the strongest activation of a card
const ACTIONS = {
  i: 'interpretable', n: 'not', u: 'undo', p: 'pause', '/': 'rule', '?': 'help', 1: 'sure', 2: 'sure', 3: 'sure',
};

export default function ({ data, parentElement: root }) {
  const session = sessions.get(root) ?? createSession(root);
  const key = `solu-rating ${JSON.stringify([data.study, data.rater])}`;
  if (key !== session.key) begin(session, data, key);
  window.addEventListener('keydown', session.onKey);
  window.addEventListener('pagehide', session.onLeave);
  document.addEventListener('visibilitychange', session.turnClock);
  const ticking = setInterval(() => drawTime(session), 500);
  return () => {
    session.onLeave();
    session.key = null;
    clearInterval(ticking);
    window.removeEventListener('keydown', session.onKey);
    window.removeEventListener('pagehide', session.onLeave);
    document.removeEventListener('visibilitychange', session.turnClock);
  };
}

function createSession(root) {
  const find = (selector) => root.querySelector(selector);
  const session = {
    section: find('.rating'), count: find('.count'), progress: find('progress'), time: find('.time'), note: find('.note'),
    question: find('.question'), snippets: find('.snippets'), rule: find('textarea'),
    restTitle: find('.rest h2'), restText: find('.rest p'),
    start: find('[data-do=start]'), undo: find('[data-do=undo]'), resume: find('[data-do=resume]'),
    sure: [...root.querySelectorAll('[data-do=sure]')], verdicts: [...root.querySelectorAll('.verdict')],
  };
  sessions.set(root, session);
  session.onKey = (event) => onKey(session, event);
  session.onLeave = () => storeDraft(session);
  session.turnClock = () => session.clock?.turn(session.phase === 'card' && !document.hidden);
  session.section.addEventListener('click', (event) => {
    const pressed = event.target.closest('button');
    if (pressed) act(session, pressed.dataset.do, pressed.value);
  });
  session.rule.addEventListener('keydown', (event) => {
    event.stopPropagation(); // letters in the rule are no keys of the page
    if (event.key === 'Escape' || (event.key === 'Enter' && !event.shiftKey)) {
      event.preventDefault();
      session.snippets.focus({ preventScroll: true });
    }
  });
  return session;
}

// Continues from this tab's stored state: a rating that may not have arrived is sent first.
function begin(session, data, key) {
  Object.assign(session, { data, key, state: readState(key), card: null, clock: null, isSending: false });
  session.question.textContent = data.instruction;
  session.rule.maxLength = data.most_rule;
  enter(session, 'loading');
  send(session, session.state.pending ? { rating: session.state.pending } : {});
}

// --- requests ---

// Tries until the server responds; null where the session ended meanwhile. A rating may be sent twice, since the server
// stores it once; an undo may not.
async function request(session, content) {
  const { key, data } = session;
  for (;;) {
    try {
      const response = await fetch(new URL('api/rating', document.baseURI), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ study: data.study, rater: data.rater, ...content }),
        signal: AbortSignal.timeout(TIMEOUT),
      });
      const body = await response.json();
      if (response.status < 500) return body;
    } catch {
      // no connection, or a server that is starting
    }
    if (session.key !== key) return null;
    if (content.undo) content = {};
    const consequence = content.rating ? 'Your rating is kept in this tab and sent when the server responds.' : 'Trying again.';
    drawNote(session, `The server cannot be reached. ${consequence}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
    if (session.key !== key) return null;
  }
}

async function send(session, content) {
  if (session.isSending) return;
  session.isSending = true;
  const response = await request(session, content);
  if (!response) return;
  session.isSending = false;
  delete session.state.pending;
  drawNote(session, '');
  for (const verdict of session.verdicts) setPressed(verdict, false);
  if (response.error) {
    session.card = null;
    rest(session, 'This study cannot be rated', response.error);
  } else drawResponse(session, response, content);
}

// The next card, or the end.
function drawResponse(session, { done, total, seconds, card }, content) {
  const { state } = session;
  session.progress.max = total;
  session.progress.value = done;
  session.undo.disabled = done === 0;
  session.card = card;
  if (!card) {
    delete state.draft;
    session.count.textContent = `${done} of ${total}`;
    const ratings = done === 1 ? 'one rating' : `${done} ratings`;
    const time = `Your ${ratings} took ${minutes(seconds)} (minutes and seconds).`;
    rest(session, 'All rated, thank you', `${time} They are saved; you can close this page.`);
    return;
  }
  session.count.textContent = `${done + 1} of ${total}`;
  // After a reload or an undo the card comes again: restore its rule, confidence and time.
  const earlier = [state.draft, state.last].find((rating) => rating?.item === card.item);
  session.clock = new Clock({ shown: earlier?.seconds, hidden: earlier?.hidden_seconds });
  session.rule.value = earlier?.rule ?? '';
  chooseConfidence(session, earlier?.confidence ?? null);
  session.snippets.replaceChildren(...drawSnippets(card));
  if (earlier || content.rating || content.undo) enter(session, 'card');
  else if (done === 0) enter(session, 'instruction');
  else rest(session, 'Welcome back', `You have rated ${done} of ${total}. The clock of the next card starts when you continue.`);
  session.section.scrollIntoView({ block: 'start' });
}

// Numbered snippets, each piece shaded by its step. A card is stored with the study as `t` (texts) and `s` (steps).
function drawSnippets(card) {
  return card.snippets.map(({ t: texts, s: steps }, k) => {
    const text = element('p', 'text');
    text.dir = 'auto';
    const peak = steps.indexOf(Math.max(...steps));
    texts.forEach((piece, i) => {
      const token = drawToken(piece);
      if (steps[i] > 0) {
        token.classList.add('active');
        token.style.setProperty('--a', (steps[i] / MAX_STEP).toFixed(3));
      }
      if (i === peak && steps[i] > 0) token.classList.add('peak');
      text.append(token);
    });
    const item = element('li', 'snippet');
    item.append(element('span', 'rank', `${k + 1}`), text);
    return item;
  });
}

// --- actions ---

function onKey(session, event) {
  if (hasModifier(event) || event.repeat || isDialogOpen() || isTyping(event)) return;
  const action = ACTIONS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  if (action === 'interpretable' || action === 'not') act(session, 'rate', action);
  else act(session, action === 'pause' && session.phase === 'paused' ? 'resume' : action, event.key);
}

function act(session, action, value) {
  const { phase } = session;
  if (session.isSending) return;
  if (action === 'rate') rate(session, value);
  else if (action === 'undo' && !session.undo.disabled && phase !== 'instruction') send(session, { undo: true });
  else if (action === 'pause' && phase === 'card') rest(session, 'Paused', 'The clock is stopped.');
  else if (action === 'resume' && phase === 'paused') enter(session, 'card');
  else if (action === 'help' && phase === 'card') enter(session, 'instruction');
  else if ((action === 'start' || action === 'help') && phase === 'instruction') enter(session, 'card');
  else if (action === 'rule' && phase === 'card') session.rule.focus();
  else if (action === 'sure' && phase === 'card') {
    chooseConfidence(session, session.confidence === Number(value) ? null : Number(value));
  }
}

function rate(session, verdict) {
  if (session.phase !== 'card' || performance.now() - session.entered < SETTLE) return;
  const { state, key } = session;
  state.pending = { ...draftOf(session), verdict };
  state.last = state.pending;
  delete state.draft;
  storeState(key, state);
  for (const node of session.verdicts) setPressed(node, node.value === verdict);
  send(session, { rating: state.pending });
}

// The rating of the card that is shown, without a verdict.
function draftOf({ card, clock, rule, confidence }) {
  const { shown, hidden } = clock.read();
  return { item: card.item, rule: rule.value.trim().toWellFormed(), confidence, seconds: shown, hidden_seconds: hidden };
}

function chooseConfidence(session, confidence) {
  session.confidence = confidence;
  for (const node of session.sure) setPressed(node, Number(node.value) === confidence);
}

function storeDraft(session) {
  const { card, state, phase, key } = session;
  if (card && !state.pending && phase !== 'loading') state.draft = draftOf(session);
  if (key) storeState(key, state);
}

// --- phases ---

// `loading`, `instruction`, `card`, `paused` (no card is visible) or `over`.
function enter(session, phase) {
  session.phase = phase;
  session.section.dataset.phase = phase;
  session.entered = performance.now();
  session.turnClock();
  drawTime(session);
  if (phase === 'card') session.snippets.focus({ preventScroll: true });
  if (phase === 'instruction') session.start.focus({ preventScroll: true });
  if (phase === 'paused') session.resume.focus({ preventScroll: true });
}

// A message in place of the card.
function rest(session, title, text) {
  session.restTitle.textContent = title;
  session.restText.textContent = text;
  enter(session, session.card ? 'paused' : 'over');
}

function drawNote(session, text) {
  if (session.note.textContent !== text) session.note.textContent = text; // a screen reader reads it once
}

function drawTime(session) {
  session.time.textContent = session.card ? minutes(session.clock.read().shown) : '';
}
