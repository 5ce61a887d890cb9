// Draws examples as tokens coloured by activation. `data` is described in token_view.py.
// The default export runs again on every change of data or theme.

const views = new WeakMap(); // by root

export default function ({ data, parentElement: root, setTriggerValue }) {
  const view = views.get(root) ?? createView(root);
  window.addEventListener('keydown', view.onWindowKey);
  view.requestEdit = (name) => setTriggerValue('edit', name);
  view.requestContext = (name) => setTriggerValue('context', name);
  if (view.version !== data.version) {
    Object.assign(view, { version: data.version, data });
    view.tooltip.close();
    drawLegend(view);
    view.list.replaceChildren(...drawGroups(data));
    applyOptions(view);
    view.list.classList.toggle('blind', data.blind);
    view.list.dataset.version = data.version;
  }
  return () => window.removeEventListener('keydown', view.onWindowKey);
}

function createView(root) {
  const find = (selector) => root.querySelector(selector);
  const view = { root, list: find('.list'), tooltip: new Tooltip(find('.view'), find('.tip')) };
  views.set(root, view);
  view.onWindowKey = (event) => onWindowKey(view, event);
  view.list.addEventListener('mouseover', (event) => openReadout(view, event.target.closest('.tok')));
  view.list.addEventListener('mouseleave', () => view.tooltip.close());
  view.list.addEventListener('focusin', (event) => {
    if (event.target.classList.contains('text')) onTextFocus(view, event.target);
  });
  view.list.addEventListener('focusout', () => view.tooltip.close());
  view.list.addEventListener('keydown', (event) => onTokenKey(view, event));
  view.list.addEventListener('click', (event) => onClick(view, event));
  drawBar(view);
  return view;
}

function exampleOf(view, node) {
  return view.data.examples[Number(node.closest('.example').querySelector('.text').dataset.k)];
}

// --- examples, under headings where there are several groups ---

function drawGroups(data) {
  const items = [];
  let k = 0; // index of an example in the data
  for (const { title, detail, count } of data.groups) {
    if (title) {
      const heading = element('li', 'group');
      heading.append(element('h4', '', title), element('span', 'detail', detail));
      items.push(heading);
    }
    for (let rank = 0; rank < count; rank++, k++) items.push(drawExample(data, data.examples[k], k, rank));
  }
  return items;
}

function drawExample(data, example, k, rank) {
  const item = element('li', 'example');
  if (data.entire) item.classList.add('expanded');
  if ('same_as' in example) item.classList.add('folded');
  item.append(drawHead(data, example, k, rank), drawText(data, example, k));
  return item;
}

// Rank, values and provenance of an example, and the buttons that it offers.
function drawHead(data, example, k, rank) {
  const head = element('div', 'head');
  head.append(element('span', 'rank', `${rank + 1}`));
  if (!data.blind) head.append(element('b', 'value', number(example.value, 4)));
  if ('fits' in example) head.append(element('span', example.fits ? 'yes' : 'no', example.fits ? 'fits' : 'does not fit'));
  for (const hook of data.hooks) {
    if (hook === data.hook || data.blind) continue;
    head.append(element('span', 'other', `${HOOK_LABELS[hook]} ${activationText(data, example, hook, example.peak)}`));
  }
  if (example.source) head.append(element('span', 'source', example.source));
  if (example.lang && example.lang !== 'en') head.append(element('span', '', example.lang));
  if (example.licence) head.append(element('span', 'licence', example.licence));
  const origin = element('span', 'origin');
  origin.append(element('bdi', '', example.origin)); // right to left, so that its beginning is what is cut
  origin.title = example.origin;
  head.append(origin);
  if (data.address) {
    const edit = element('a', 'option act edit', 'edit');
    edit.href = `editor?${data.address}&example=${example.name}`;
    edit.setAttribute('aria-label', `Edit the text of example ${k + 1}`);
    head.append(edit);
  }
  if (!data.entire) head.append(actionButton('expand', 'more', `Show all tokens of example ${k + 1}`));
  if (data.offers_context && example.has_context) {
    head.append(actionButton('whole', 'whole', `Show the whole context of example ${k + 1}`));
  }
  head.append(actionButton('copy', 'copy', `Copy the text of example ${k + 1}`));
  if ('same_as' in example) {
    head.append(button('option again', `same words as example ${rank - (k - example.same_as) + 1}: show`));
  }
  return head;
}

function actionButton(name, label, description) {
  const node = button(`option act ${name}`, label);
  node.setAttribute('aria-label', description);
  return node;
}

function drawText(data, example, k) {
  const text = element('div', 'text');
  text.tabIndex = 0;
  text.dataset.k = k;
  text.setAttribute('role', 'group');
  const value = data.blind ? '' : `, activation ${number(example.value, 4)}`;
  text.setAttribute('aria-label', `Example ${k + 1}${value}. Left and right move between tokens.`);
  text.append(element('i', example.begins_context ? 'cut' : 'cut always', '…\u00a0'));
  const fitting = new Set(example.fitting);
  example.pieces.forEach((piece, i) => {
    const token = drawToken(data.texts[piece]);
    token.dataset.i = i;
    applyTint(token, activationOf(data, example, data.hook, i), data.scale);
    if (i === example.peak) token.classList.add('peak');
    if (example.changes) underline(token, example.changes[i] ?? 0, data.largest_change);
    if (fitting.has(i)) token.classList.add('fits');
    const distance = i - example.peak;
    if (isOutside(distance, 'medium')) token.classList.add('far', 'further');
    else if (isOutside(distance, 'short')) token.classList.add('far');
    text.append(token);
  });
  return text;
}

// The neuron's change of the next token's log-probability; the root makes small changes visible.
function underline(token, change, largest) {
  const strength = largest > 0 ? Math.abs(change) / largest : 0;
  if (strength < 0.02) return;
  token.classList.add(change < 0 ? 'less' : 'more');
  token.style.setProperty('--u', Math.sqrt(strength).toFixed(3));
}

// --- clicks ---

function onClick(view, event) {
  const target = event.target;
  const item = target.closest('.example');
  if (target.classList.contains('copy')) copyText(view, target);
  else if (target.classList.contains('expand')) {
    target.textContent = item.classList.toggle('expanded') ? 'less' : 'more';
    view.tooltip.close();
  } else if (target.classList.contains('whole')) view.requestContext(exampleOf(view, target).name);
  else if (target.classList.contains('again')) {
    target.remove();
    item.classList.remove('folded');
  } else if (target.classList.contains('edit') && !opensElsewhere(event)) {
    event.preventDefault();
    view.requestEdit(exampleOf(view, target).name);
  }
}

async function copyText(view, node) {
  const text = exampleOf(view, node).pieces.map((piece) => view.data.texts[piece]).join('');
  try {
    await navigator.clipboard.writeText(text);
    node.textContent = 'copied';
  } catch {
    node.textContent = 'not allowed'; // by the browser's settings, or without https
  }
  setTimeout(() => (node.textContent = 'copy'), 1200);
}

// --- keys of the page: j and k go to the next and the previous example ---

function onWindowKey(view, event) {
  if (!['j', 'k'].includes(event.key) || hasModifier(event) || isTyping(event) || isDialogOpen()) return;
  // Of two lists on a page the one with the focus answers, else the first.
  const focusedList = event.composedPath().find((node) => node.classList?.contains('list'));
  if (event.defaultPrevented || (focusedList && focusedList !== view.list)) return;
  const [target] = event.composedPath();
  const texts = [...view.list.querySelectorAll('.example:not(.folded) .text')];
  const index = texts.indexOf(target);
  const next = texts[event.key === 'j' ? index + 1 : Math.max(0, index - 1)];
  if (!next) return;
  event.preventDefault();
  next.focus({ preventScroll: true });
  next.closest('.example').scrollIntoView({ block: 'center' });
}
