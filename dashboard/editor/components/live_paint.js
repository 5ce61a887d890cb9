// What the editor shows of an answer: the coloured text, what is said of a token, notes.

function draw(s) {
  hideTip(s);
  s.section.classList.toggle('stopped', Boolean(s.problem));
  if (s.answer) {
    drawLegend(s);
    chooseContext(s);
    drawOriginal(s);
    drawPinned(s);
  }
  paint(s);
  notes(s);
  if (!s.problem) s.layer.dataset.read = s.read.length;
  if (s.answer && s.fresh) showPeak(s);
}

// A text that was opened is shown where it is strongest.
function showPeak(s) {
  s.fresh = false;
  for (const [box, token] of [[s.paper, s.chosen?.node], [s.original.querySelector('.text'), s.original.querySelector('.peak')]]) {
    if (!box || !token) continue;
    const from = token.getBoundingClientRect().top - box.getBoundingClientRect().top;
    if (from > box.clientHeight - 30) box.scrollTop += from - box.clientHeight / 2;
  }
}

// Tokens of the text that was read, where they stand in the text as it is now: those before the edit and,
// moved, those after it. The chosen one is that of the caret, or the strongest.
function paint(s) {
  const text = s.area.value;
  const runs = [];
  s.spans = [];
  let from = 0;
  const upTo = (end, name) => {
    if (end > from) runs.push({ text: text.slice(from, end), name });
    from = Math.max(from, end);
  };
  if (s.answer) {
    const { start: first, ends, values, n_read, n_all, scale } = s.answer;
    const shown = values[s.data.ask.hook];
    const { before, after } = unchanged(s.read, text);
    const shift = text.length - s.read.length;
    const now = (offset) => (offset <= before ? offset : offset >= s.read.length - after ? offset + shift : before);
    const long = n_read < n_all;
    if (long) upTo(now(first), 'beyond');
    ends.forEach((end, i) => {
      const start = ends[i - 1] ?? first;
      const by = end <= before ? 0 : start >= s.read.length - after ? shift : null;
      if (by === null || start + by < from) return;
      upTo(start + by);
      s.spans.push({ k: runs.length, i, start: start + by, end: end + by });
      runs.push(coloured(text.slice(start + by, end + by), shown[i], scale));
      from = Math.max(from, end + by);
    });
    upTo(now(ends.at(-1) ?? 0));
    if (long) upTo(text.length, 'beyond');
    s.chosen = chosen(s, shown);
    if (s.chosen) runs[s.chosen.k].name += ' at';
  }
  upTo(text.length);
  runs.push({ text: '\u200b' });
  showRuns(s.layer, runs);
  for (const span of s.spans) span.node = s.layer.childNodes[span.k];
  readout(s);
}

// How many code units two texts have in common at the beginning and at the end.
function unchanged(read, text) {
  const shorter = Math.min(read.length, text.length);
  let before = 0;
  while (before < shorter && read.charCodeAt(before) === text.charCodeAt(before)) before++;
  let after = 0;
  while (after < shorter - before && read.charCodeAt(read.length - 1 - after) === text.charCodeAt(text.length - 1 - after)) after++;
  return { before, after };
}

function chosen(s, values) {
  if (s.caret !== null) return s.spans.find((t) => Math.max(s.caret, 1) > t.start && s.caret <= t.end);
  return s.spans.reduce((best, t) => (best && values[best.i] >= values[t.i] ? best : t), undefined);
}

function readout(s) {
  const span = s.chosen ?? s.spans[0];
  if (!s.answer || !span || s.problem) return s.readout.replaceChildren();
  const parts = [element('b', 'word', visible(s.area.value.slice(span.start, span.end)))];
  for (const [name, value] of tellValues(s, span.i)) {
    const item = element('span', 'value');
    item.append(element('span', 'dim', name), ` ${value}`);
    parts.push(item);
  }
  const peak = Math.max(...s.answer.values[s.data.ask.hook]);
  const last = element('span', 'peak');
  last.append(element('span', 'dim', 'peak of the text '), element('b', '', exact(peak)));
  last.dataset.peak = peak;
  return s.readout.replaceChildren(...parts, last);
}

function notes(s) {
  const lines = [];
  if (s.problem) lines.push(s.problem);
  if (s.cut) lines.push(`The paste was cut: the editor holds ${s.data.max_text.toLocaleString('en')} characters, and the last ${s.cut.toLocaleString('en')} were left out.`);
  if (s.answer && s.answer.n_read < s.answer.n_all) {
    const { n_read, n_all, n_ctx } = s.answer;
    lines.push(
      `The model reads ${n_read.toLocaleString('en')} of ${n_all.toLocaleString('en')} tokens: ` +
        `its context holds ${n_ctx}, the BOS included. The rest is shaded.`,
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
    s.keep = keep;
    chooseContext(s);
    keepDraft(s);
    ask(s);
    tellLater(s, 0);
  };
  button.dataset.keep = keep;
  return button;
}

function chooseContext(s) {
  s.choices.hidden = s.answer.n_read === s.answer.n_all;
  for (const button of s.choices.querySelectorAll('.option')) {
    button.setAttribute('aria-pressed', String(s.keep === button.dataset.keep));
  }
}
