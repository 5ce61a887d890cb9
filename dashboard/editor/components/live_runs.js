// Coloured text as spans, changed in place: a key must not draw a long text again.

const runsOf = new WeakMap(); // the runs that an element shows: { text, className, strength }

// A run of a token's text, coloured by its value.
function colouredRun(text, value, scale) {
  const colour = tint(value, scale);
  return colour ? { text, className: `tok ${colour.sign}`, strength: colour.strength } : { text, className: 'tok' };
}

// The text of a token of a reading.
function tokenText(text, { start, ends }, i) {
  return text.slice(ends[i - 1] ?? start, ends[i]);
}

// Shows runs of text as the children of an element, one span each. Equal spans at the beginning and at the end stay
// untouched; those between them are changed, removed or inserted.
function showRuns(parent, runs) {
  const old = runsOf.get(parent) ?? [];
  const isSame = (a, b) => a.text === b.text && a.className === b.className && a.strength === b.strength;
  const shorter = Math.min(old.length, runs.length);
  let before = 0;
  while (before < shorter && isSame(old[before], runs[before])) before++;
  let after = 0;
  while (after < shorter - before && isSame(old.at(-1 - after), runs.at(-1 - after))) after++;
  const changedEnd = shorter - after;
  for (let k = before; k < changedEnd; k++) {
    if (!isSame(old[k], runs[k])) showRun(parent.childNodes[k], runs[k]);
  }
  for (let k = old.length - after - 1; k >= changedEnd; k--) parent.childNodes[k].remove();
  const following = parent.childNodes[changedEnd] ?? null;
  for (const run of runs.slice(changedEnd, runs.length - after)) {
    parent.insertBefore(showRun(element('span'), run), following);
  }
  runsOf.set(parent, runs);
}

function showRun(span, { text, className, strength }) {
  if (span.textContent !== text) span.textContent = text;
  span.className = className ?? '';
  if (strength) span.style.setProperty('--a', strength);
  else span.style.removeProperty('--a');
  return span;
}
