// Draws examples as tokens coloured by activation. Text reaches the page through text nodes alone.
// `data` is described in token_view.py. The default export runs again on every change of data or theme.

const instances = new WeakMap();
const CONTEXTS = { short: [24, 10], medium: [64, 20], all: [Infinity, Infinity] }; // pieces before, after the peak
const settings = { context: 'medium', breaks: 'show', ...stored() };

export default function ({ data, parentElement: root, setTriggerValue }) {
  let s = instances.get(root);
  if (!s) {
    s = { root, view: root.querySelector('.view'), list: root.querySelector('.list'), tip: root.querySelector('.tip') };
    instances.set(root, s);
    s.list.addEventListener('mouseover', (e) => show(s, e.target.closest('.tok')));
    s.list.addEventListener('mouseleave', () => hide(s));
    s.list.addEventListener('focusin', (e) => e.target.classList.contains('text') && step(s, e.target, 0));
    s.list.addEventListener('focusout', () => hide(s));
    s.list.addEventListener('keydown', (e) => onKey(s, e));
    s.list.addEventListener('click', (e) => onClick(s, e));
    drawBar(s);
    s.walk = (event) => walk(s, event);
  }
  window.addEventListener('keydown', s.walk);
  s.edit = (name) => setTriggerValue('edit', name);
  s.whole = (name) => setTriggerValue('whole', name);
  if (s.version !== data.version) {
    s.version = data.version;
    s.data = data;
    hide(s);
    drawLegend(s);
    s.list.replaceChildren(...drawGroups(data));
    apply(s);
    s.list.classList.toggle('blind', data.blind);
    s.list.dataset.version = data.version;
  }
  return () => window.removeEventListener('keydown', s.walk);
}

// --- examples, under headings where there are several groups ---

function drawGroups(data) {
  const items = [];
  let k = 0;
  for (const [title, detail, n] of data.groups) {
    if (title) {
      const heading = element('li', 'group');
      const words = element('h4', '', title);
      heading.append(words, element('span', 'detail', detail));
      items.push(heading);
    }
    for (let rank = 0; rank < n; rank++, k++) items.push(drawExample(data, data.examples[k], k, rank));
  }
  return items;
}

function drawExample(data, example, k, rank) {
  const item = element('li', 'example');
  const head = element('div', 'head');
  head.append(element('span', 'rank', `${rank + 1}`));
  if (!data.blind) head.append(element('b', 'value', exact(example.value)));
  if (typeof example.fits === 'boolean') head.append(element('span', example.fits ? 'yes' : 'no', example.fits ? 'fits' : 'does not fit'));
  for (const hook of data.hooks) {
    if (hook === data.shown || data.blind) continue;
    head.append(element('span', 'other', `${HOOKS[hook]} ${approximate(example, hook, example.peak)}`));
  }
  if (example.source) head.append(element('span', 'source', example.source));
  if (example.lang && example.lang !== 'en') head.append(element('span', '', example.lang));
  if (example.licence) head.append(element('span', 'licence', example.licence));
  const origin = element('span', 'origin');
  origin.append(element('bdi', '', example.origin));
  origin.title = example.origin;
  head.append(origin);
  if (data.address) {
    const edit = element('a', 'act edit', 'edit');
    edit.href = `editor?${data.address}&example=${example.name}`;
    edit.setAttribute('aria-label', `Edit the text of example ${k + 1}`);
    head.append(edit);
  }
  if (data.entire) item.classList.add('expanded');
  else head.append(act('expand', 'more', `Show all of example ${k + 1} that is kept`));
  if (data.asks_whole && example.whole) {
    head.append(act('whole', 'whole', `Show the whole context of example ${k + 1}`));
  }
  head.append(act('copy', 'copy', `Copy the text of example ${k + 1}`));
  if (example.same !== null) {
    item.classList.add('folded');
    const again = element('button', 'again', `the same words as ${rank - (k - example.same) + 1}: show`);
    again.type = 'button';
    head.append(again);
  }

  const text = element('div', 'text');
  text.tabIndex = 0;
  text.dataset.k = k;
  text.setAttribute('role', 'group');
  const said = data.blind ? '' : `, ${exact(example.value)}`;
  text.setAttribute('aria-label', `Example ${k + 1}${said}. Left and right move between tokens.`);
  const [low, high, steps] = example.v[data.shown];
  const fitting = new Set(example.m);
  text.append(element('i', example.start ? 'cut' : 'cut always', '…\u00a0'));
  for (let i = 0; i < example.t.length; i++) {
    const value = i === example.peak ? example.value : low + (steps[i] / 255) * (high - low);
    const token = drawToken(data.texts[example.t[i]]);
    const known = i === example.peak || steps[i] >= 0;
    const strength = known && data.scale > 0 ? Math.min(1, Math.abs(value) / data.scale) : 0;
    if (strength > 0.02) {
      token.classList.add(value < 0 ? 'neg' : 'pos');
      token.style.setProperty('--a', strength.toFixed(3));
    }
    token.dataset.i = i;
    if (i === example.peak) token.classList.add('peak');
    underline(token, example, i);
    if (fitting.has(i)) token.classList.add('fits');
    const from = i - example.peak;
    if (outside(from, 'medium')) token.classList.add('far', 'further');
    else if (outside(from, 'short')) token.classList.add('far');
    text.append(token);
  }
  item.append(head, text);
  return item;
}

function act(name, label, description) {
  const button = element('button', `act ${name}`, label);
  button.type = 'button';
  button.setAttribute('aria-label', description);
  return button;
}

function outside(from, context) {
  const [before, after] = CONTEXTS[context];
  return from < -before || from > after;
}

// What the neuron adds to the log-probability of the token that came next, where that is asked for.
function underline(token, example, i) {
  if (!example.u) return;
  const [largest, changes] = example.u;
  const share = largest > 0 ? Math.abs(changes[i] ?? 0) / largest : 0;
  if (share < 0.02) return;
  token.classList.add(changes[i] < 0 ? 'less' : 'more');
  token.style.setProperty('--u', Math.sqrt(share).toFixed(3)); // small ones are to be seen too
}

// --- numbers ---

// A value kept as one of 256 steps, with the digits that the step allows.
function approximate(example, hook, i) {
  const [low, high, steps] = example.v[hook];
  if (steps[i] < 0) return 'not known';
  const width = (high - low) / 255;
  const value = low + steps[i] * width;
  if (!(width > 0)) return exact(value);
  const digits = Math.max(0, Math.ceil(-Math.log10(width)));
  const rounded = value.toFixed(Math.min(digits, 9));
  return /^-0\.?0*$/.test(rounded) ? rounded.slice(1) : rounded;
}

// --- tooltip ---

function show(s, token) {
  if (!token) return;
  const text = token.parentElement;
  const example = s.data.examples[Number(text.dataset.k)];
  const i = Number(token.dataset.i);
  const before = example.n ? example.n.slice(0, i).reduce((a, b) => a + b, 0) : i;
  const count = example.n ? example.n[i] : 1;
  const shown = [...s.data.texts[example.t[i]].replace(ODD, (c) => `\\u${c.charCodeAt(0).toString(16)}`)];
  const lines = [element('div', 'word', shown.map((c) => SEEN[c] ?? c).join(''))];
  const grid = element('dl', '');
  const add = (name, value) => grid.append(element('dt', '', name), element('dd', '', value));
  for (const hook of s.data.blind ? [] : s.data.hooks) {
    const peak = hook === s.data.shown && i === example.peak;
    add(s.data.hooks.length > 1 ? HOOKS[hook] : hook, peak ? exact(example.value) : approximate(example, hook, i));
  }
  const change = example.u?.[1][i];
  if (change !== undefined && change !== null) add('adds to the next token', `${change > 0 ? '+' : ''}${exact(change)} nats`);
  if (example.m) add('fits the hypothesis', example.m.includes(i) ? 'yes' : 'no');
  const position = example.first + before;
  add('token of its document', count > 1 ? `${position} to ${position + count - 1}` : `${position}`);
  if (example.source) add('source', example.source);
  lines.push(grid);
  s.tip.replaceChildren(...lines);
  s.tip.hidden = false;
  s.on?.classList.remove('on');
  s.on = token;
  token.classList.add('on');
  const at = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const home = s.view.getBoundingClientRect();
  const above = at.top > s.tip.offsetHeight + 70;
  const left = Math.max(0, Math.min(at.left - home.left, home.width - s.tip.offsetWidth));
  const top = above ? at.top - home.top - s.tip.offsetHeight - 4 : at.bottom - home.top + 4;
  s.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

function hide(s) {
  s.tip.hidden = true;
  s.on?.classList.remove('on');
  s.on = null;
}

// --- keyboard: arrows walk the tokens of the example that has the focus ---

function onKey(s, event) {
  const text = event.target.closest('.text');
  if (!text || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = { ArrowLeft: -1, ArrowRight: 1, Home: 'first', End: 'last' }[event.key];
  if (event.key === 'Escape') hide(s);
  if (move === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  step(s, text, move);
}

function step(s, text, move) {
  const tokens = [...text.querySelectorAll('.tok')].filter((t) => t.offsetParent !== null);
  const from = tokens.findIndex((t) => t === s.on);
  const peak = tokens.findIndex((t) => t.classList.contains('peak'));
  let to = from < 0 ? peak : from + (move === 'first' || move === 'last' ? 0 : move);
  if (move === 'first') to = 0;
  if (move === 'last') to = tokens.length - 1;
  text.setAttribute('aria-describedby', 'tip');
  show(s, tokens[Math.max(0, Math.min(tokens.length - 1, to))]);
}

// --- what a click does ---

function onClick(s, event) {
  const target = event.target;
  const item = target.closest('.example');
  if (target.classList.contains('copy')) copy(s, target);
  else if (target.classList.contains('expand')) {
    target.textContent = item.classList.toggle('expanded') ? 'less' : 'more';
    hide(s);
  } else if (target.classList.contains('whole')) {
    s.whole(s.data.examples[Number(item.querySelector('.text').dataset.k)].name);
  } else if (target.classList.contains('again')) {
    target.remove();
    item.classList.remove('folded');
  } else if (target.classList.contains('edit')) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return; // a tab of its own
    event.preventDefault();
    s.edit(s.data.examples[Number(item.querySelector('.text').dataset.k)].name);
  }
}

// j and k go to the next and the previous example, from wherever one is but a field of text.
function walk(s, event) {
  if (!['j', 'k'].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector('[role=dialog]')) return;
  const [at] = event.composedPath();
  if (at.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(at.tagName)) return;
  // Of two lists on a page the one with the focus answers, else the first.
  const list = event.composedPath().find((e) => e.classList?.contains('list'));
  if (event.defaultPrevented || (list && list !== s.list)) return;
  const texts = [...s.list.querySelectorAll('.example:not(.folded) .text')];
  const now = texts.indexOf(at);
  const next = texts[event.key === 'j' ? now + 1 : Math.max(0, now - 1)];
  if (!next) return;
  event.preventDefault();
  next.focus({ preventScroll: true });
  next.closest('.example').scrollIntoView({ block: 'center' });
}

async function copy(s, button) {
  const example = s.data.examples[Number(button.closest('.example').querySelector('.text').dataset.k)];
  const text = example.t.map((t) => s.data.texts[t]).join('');
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'copied';
  } catch {
    button.textContent = 'not allowed';
  }
  setTimeout(() => (button.textContent = 'copy'), 1200);
}

// --- legend and view options ---

function drawBar(s) {
  const bar = s.root.querySelector('.bar');
  s.legend = element('div', 'legend');
  const context = element('div', 'choices');
  context.setAttribute('role', 'group');
  context.setAttribute('aria-label', 'Context around the peak');
  context.append(element('span', 'label', 'context'));
  for (const name of Object.keys(CONTEXTS)) context.append(option(s, name, 'context', name));
  const breaks = element('div', 'choices');
  breaks.append(option(s, 'hide line breaks', 'breaks', 'hide', 'show'));
  bar.append(s.legend, context, breaks);
}

function option(s, label, setting, value, otherwise) {
  const button = element('button', 'option', label);
  button.type = 'button';
  Object.assign(button.dataset, { setting, value });
  button.onclick = () => {
    settings[setting] = otherwise && settings[setting] === value ? otherwise : value;
    try {
      localStorage.setItem('solu-token-view', JSON.stringify(settings));
    } catch {
      // a browser that keeps nothing: the choice lasts as long as the page
    }
    hide(s);
    apply(s);
  };
  return button;
}

function apply(s) {
  Object.assign(s.list.dataset, { context: settings.context, breaks: settings.breaks });
  for (const button of s.root.querySelectorAll('.option')) {
    button.setAttribute('aria-pressed', String(settings[button.dataset.setting] === button.dataset.value));
  }
}

function drawLegend(s) {
  const { scale, negative, shown, blind } = s.data;
  if (blind) return s.legend.replaceChildren(element('span', 'label', 'activations hidden'));
  const ramp = element('span', negative ? 'ramp both' : 'ramp');
  ramp.setAttribute('role', 'img');
  ramp.setAttribute('aria-label', `Colour scale from ${negative ? exact(-scale) : '0'} to ${exact(scale)}`);
  s.root.querySelector('.choices').hidden = s.data.entire;
  const ends = element('span', 'scale');
  ends.append(element('span', 'end', negative ? exact(-scale) : '0'), ramp, element('span', 'end', exact(scale)));
  s.legend.replaceChildren(element('span', 'label', `${shown}, one scale for all`), ends);
  if (s.data.examples[0]?.m) s.legend.append(element('span', 'fits', 'what fits'));
  const largest = s.data.examples[0]?.u?.[0];
  if (largest === undefined) return;
  const words = element('span', 'label', 'it makes the next token ');
  const more = element('span', 'more', 'likelier');
  const less = element('span', 'less', 'less likely');
  for (const word of [more, less]) word.style.setProperty('--u', '1');
  words.append(more, ' or ', less, `, up to ${exact(largest)} nats`);
  s.legend.append(words);
}

function stored() {
  try {
    const kept = JSON.parse(localStorage.getItem('solu-token-view') ?? '{}');
    return {
      ...(kept.context in CONTEXTS && { context: kept.context }),
      ...(['show', 'hide'].includes(kept.breaks) && { breaks: kept.breaks }),
    };
  } catch {
    return {};
  }
}
