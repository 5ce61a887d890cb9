// The values of one token: in a tooltip, under the pointer or reached by the arrow keys.

function openReadout(view, token) {
  if (!token) return;
  const example = exampleOf(view, token);
  const i = Number(token.dataset.i);
  openTokenTooltip(view.tooltip, token, view.data.texts[example.pieces[i]], readoutRows(view.data, example, i));
}

function readoutRows(data, example, i) {
  const rows = [];
  for (const hook of data.blind ? [] : data.hooks) {
    rows.push([data.hooks.length > 1 ? HOOK_LABELS[hook] : hook, activationText(data, example, hook, i)]);
  }
  const change = example.changes?.[i];
  if (typeof change === 'number') rows.push(['adds to the next token', `${signed(change)} nats`]);
  if (example.fitting) rows.push(['fits the hypothesis', example.fitting.includes(i) ? 'yes' : 'no']);
  rows.push(['position in its document', positionText(example, i)]);
  if (example.source) rows.push(['source', example.source]);
  return rows;
}

// A piece of several tokens has a range of positions.
function positionText(example, i) {
  const counts = example.token_counts;
  const first = example.position + (counts ? counts.slice(0, i).reduce((a, b) => a + b, 0) : i);
  const count = counts?.[i] ?? 1;
  return count > 1 ? `${first} to ${first + count - 1}` : `${first}`;
}

// Activation of a piece; exact at the peak, elsewhere one of 256 steps. NaN where it is not known.
function activationOf(data, example, hook, i) {
  if (hook === data.hook && i === example.peak) return example.value;
  const [low, high, steps] = example.activations[hook];
  return steps[i] < 0 ? NaN : low + (steps[i] / 255) * (high - low);
}

// With no more digits than the width of a step allows.
function activationText(data, example, hook, i) {
  const value = activationOf(data, example, hook, i);
  if (Number.isNaN(value)) return 'not known';
  const [low, high] = example.activations[hook];
  const width = (high - low) / 255;
  const isExact = hook === data.hook && i === example.peak;
  if (isExact || !(width > 0)) return number(value, 4);
  const places = Math.max(0, Math.ceil(-Math.log10(width)));
  const rounded = value.toFixed(Math.min(places, 9));
  return /^-0\.?0*$/.test(rounded) ? rounded.slice(1) : rounded; // no negative zero
}

function onTokenKey(view, event) {
  const text = event.target.closest('.text');
  if (!text) return;
  if (event.key === 'Escape') view.tooltip.close();
  const tokens = visibleTokens(text);
  const index = tokens.indexOf(view.tooltip.target);
  const next = indexAfterKey(event, index, tokens.length);
  if (next === null) return;
  event.preventDefault();
  event.stopPropagation(); // the page's own arrow keys go from neuron to neuron
  const isFirstArrow = index < 0 && event.key.startsWith('Arrow');
  openReadout(view, isFirstArrow ? text.querySelector('.peak') : tokens[next]);
}

// Tokens that the chosen context shows.
function visibleTokens(text) {
  return [...text.querySelectorAll('.tok')].filter((token) => token.offsetParent !== null);
}

// A focused example shows the values at its peak.
function onTextFocus(view, text) {
  text.setAttribute('aria-describedby', 'tip');
  openReadout(view, text.querySelector('.peak'));
}
