// The bar above the examples: the colour scale, and the reader's choice of context and line breaks.

const CONTEXTS = { short: [24, 10], medium: [64, 20], all: [Infinity, Infinity] }; // pieces before and after the peak
const OPTIONS_KEY = 'solu-token-view';
const options = { context: 'medium', breaks: 'show', ...storedOptions() };

function storedOptions() {
  const { context, breaks } = readStored(OPTIONS_KEY);
  return {
    ...(context in CONTEXTS && { context }),
    ...(['show', 'hide'].includes(breaks) && { breaks }),
  };
}

function isOutside(distance, context) {
  const [before, after] = CONTEXTS[context];
  return distance < -before || distance > after;
}

function drawBar(view) {
  view.legend = element('div', 'legend');
  view.contextChoice = element('div', 'choices');
  view.contextChoice.setAttribute('role', 'group');
  view.contextChoice.setAttribute('aria-label', 'Context around the peak');
  view.contextChoice.append(element('span', 'label', 'context'));
  for (const name of Object.keys(CONTEXTS)) view.contextChoice.append(optionButton(view, name, 'context', name));
  const breaks = element('div', 'choices');
  breaks.append(optionButton(view, 'hide line breaks', 'breaks', 'hide', 'show'));
  view.root.querySelector('.toolbar').append(view.legend, view.contextChoice, breaks);
}

// A button that gives a setting a value or, pressed again, its `other` value.
function optionButton(view, label, setting, value, other = value) {
  const node = button('option', label, () => {
    options[setting] = options[setting] === value ? other : value;
    store(OPTIONS_KEY, options);
    view.tooltip.close();
    applyOptions(view);
  });
  Object.assign(node.dataset, { setting, value });
  return node;
}

// The style sheet hides what is outside the context: no example is drawn again.
function applyOptions(view) {
  Object.assign(view.list.dataset, { context: options.context, breaks: options.breaks });
  for (const node of view.root.querySelectorAll('.choices .option')) {
    setPressed(node, options[node.dataset.setting] === node.dataset.value);
  }
}

function drawLegend(view) {
  const { scale, has_negative, has_marks, hook, blind, entire, largest_change } = view.data;
  view.contextChoice.hidden = entire;
  if (blind) {
    view.legend.replaceChildren(element('span', 'label', 'activations hidden'));
    return;
  }
  const title = element('span', 'label', `${hook}, one scale for all`);
  view.legend.replaceChildren(title, colourScale(scale, has_negative));
  if (has_marks) view.legend.append(element('span', 'fits', 'fits'));
  if (largest_change !== null) view.legend.append(changeLegend(largest_change));
}

function changeLegend(largest) {
  const legend = element('span', 'label', 'it makes the next token ');
  const likelier = element('span', 'more', 'likelier');
  const lessLikely = element('span', 'less', 'less likely');
  for (const word of [likelier, lessLikely]) word.style.setProperty('--u', '1');
  legend.append(likelier, ' or ', lessLikely, `, up to ${number(largest)} nats`);
  return legend;
}
