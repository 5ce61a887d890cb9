// Draws a reading (the server's response) into the editor: the coloured text, the chosen token's values, notes.

function drawReading(editor) {
  editor.tooltip.close();
  editor.section.classList.toggle('stopped', Boolean(editor.error));
  if (editor.reading) {
    drawLegend(editor);
    showKeepChoice(editor);
    drawOriginal(editor);
    drawPinned(editor);
  }
  drawTokens(editor);
  drawNotes(editor);
  if (!editor.error) editor.layer.dataset.read = editor.readText.length;
  if (editor.reading && editor.isFresh) scrollToPeak(editor);
}

// A text that was just opened is scrolled to its strongest token.
function scrollToPeak(editor) {
  editor.isFresh = false;
  const original = editor.original.querySelector('.text');
  const peaks = [[editor.paper, editor.chosen?.node], [original, original?.querySelector('.peak')]];
  for (const [box, token] of peaks) {
    if (!box || !token) continue;
    const top = token.getBoundingClientRect().top - box.getBoundingClientRect().top;
    if (top > box.clientHeight - 30) box.scrollTop += top - box.clientHeight / 2;
  }
}

function drawLegend(editor) {
  const { values, scale } = editor.reading;
  const { hook } = editor.data.reader;
  const hasNegative = Math.min(0, ...values[hook]) < -0.02 * scale;
  const version = `${hook} ${hasNegative} ${scale}`;
  if (editor.legend.dataset.version === version) return;
  editor.legend.dataset.version = version;
  editor.legend.replaceChildren(
    element('span', 'dim', `${hook}, on the scale of its examples`),
    colourScale(scale, hasNegative),
  );
}

// Colours the tokens of the text that was read where they are in the text as it is now: the tokens before the edit, and
// those after it, moved. Text without a token has no colour until the next reading.
function drawTokens(editor) {
  const text = editor.area.value;
  const runs = [];
  let drawn = 0; // offset up to which the text is in `runs`
  const drawUpTo = (end, className) => {
    if (end > drawn) runs.push({ text: text.slice(drawn, end), className });
    drawn = Math.max(drawn, end);
  };
  editor.tokens = [];
  if (editor.reading) {
    const { start: firstStart, ends, values, n_read, n_all, scale } = editor.reading;
    const activations = values[editor.data.reader.hook];
    const read = editor.readText;
    const { before, after } = commonEnds(read, text);
    const shift = text.length - read.length;
    const toPresent = (offset) => (offset <= before ? offset : offset >= read.length - after ? offset + shift : before);
    const isCut = n_read < n_all;
    if (isCut) drawUpTo(toPresent(firstStart), 'beyond');
    ends.forEach((readEnd, i) => {
      const readStart = ends[i - 1] ?? firstStart;
      const isBefore = readEnd <= before;
      if (!isBefore && readStart < read.length - after) return; // the edit is in this token
      const [start, end] = isBefore ? [readStart, readEnd] : [readStart + shift, readEnd + shift];
      if (start < drawn) return;
      drawUpTo(start);
      editor.tokens.push({ run: runs.length, i, start, end });
      runs.push(colouredRun(text.slice(start, end), activations[i], scale));
      drawn = Math.max(drawn, end);
    });
    drawUpTo(toPresent(ends.at(-1) ?? 0));
    if (isCut) drawUpTo(text.length, 'beyond');
    editor.chosen = chosenToken(editor, activations);
    if (editor.chosen) runs[editor.chosen.run].className += ' at';
  }
  drawUpTo(text.length);
  runs.push({ text: '\u200b' }); // gives a last empty line its height, as in the text field
  showRuns(editor.layer, runs);
  for (const token of editor.tokens) token.node = editor.layer.childNodes[token.run];
  drawReadout(editor);
}

// Number of code units that two texts have in common at the beginning and at the end.
function commonEnds(a, b) {
  const shorter = Math.min(a.length, b.length);
  let before = 0;
  while (before < shorter && a.charCodeAt(before) === b.charCodeAt(before)) before++;
  let after = 0;
  while (after < shorter - before && a.charCodeAt(a.length - 1 - after) === b.charCodeAt(b.length - 1 - after)) after++;
  return { before, after };
}

// The token before the caret; without a caret the one with the highest activation.
function chosenToken(editor, activations) {
  const { caret, tokens } = editor;
  if (caret !== null) return tokens.find((token) => Math.max(caret, 1) > token.start && caret <= token.end);
  return tokens.reduce((best, token) => (best && activations[best.i] >= activations[token.i] ? best : token), undefined);
}

function drawReadout(editor) {
  const token = editor.chosen ?? editor.tokens[0];
  if (!editor.reading || !token || editor.error) {
    editor.readout.replaceChildren();
    return;
  }
  const word = element('b', 'word', visible(editor.area.value.slice(token.start, token.end)));
  const values = tokenRows(editor, token.i).map(([name, value]) => {
    const item = element('span', 'value');
    item.append(element('span', 'dim', name), ` ${value}`);
    return item;
  });
  const highest = Math.max(...editor.reading.values[editor.data.reader.hook]);
  const peak = element('span', 'peak');
  peak.append(element('span', 'dim', 'peak of the text '), element('b', '', number(highest, 4)));
  peak.dataset.peak = highest;
  editor.readout.replaceChildren(word, ...values, peak);
}

// Names and values of a token: its activations, and the change since the original.
function tokenRows(editor, i) {
  const { values, original_tokens } = editor.reading;
  const { hook } = editor.data.reader;
  const hooks = Object.keys(values);
  const rows = hooks.map((name) => [hooks.length > 1 ? HOOK_LABELS[name] : name, number(values[name][i], 4)]);
  const original = editor.data.original && editor.originalReading?.reading.values[hook];
  if (original && original_tokens[i] >= 0) rows.push(['change', signed(values[hook][i] - original[original_tokens[i]], 4)]);
  else if (original) rows.push(['in the original', 'no']);
  return rows;
}

function drawNotes(editor) {
  const { error, pastedTooMuch, reading, data } = editor;
  const notes = [];
  if (error) notes.push(error);
  if (pastedTooMuch) {
    notes.push(
      `The editor holds ${integer(data.max_text)} characters: ` +
        `the last ${integer(pastedTooMuch)} of the paste were left out.`,
    );
  }
  if (reading && reading.n_read < reading.n_all) {
    notes.push(
      `The model reads ${integer(reading.n_read)} of ${integer(reading.n_all)} tokens: ` +
        `its context holds ${reading.n_ctx}${reading.has_bos ? ', the BOS included' : ''}. The rest is shaded.`,
    );
  }
  if (reading && reading.n_changed) {
    const named = reading.changed.map(([typed, read]) => `‘${visible(typed)}’ as ‘${visible(read)}’`).join(', ');
    const more = reading.n_changed - reading.changed.length;
    notes.push(`The tokenizer changes the text: the model reads ${named}${more ? ` and ${integer(more)} more` : ''}.`);
  }
  const text = notes.join(' ');
  if (editor.notes.textContent !== text) editor.notes.textContent = text; // a screen reader reads it once
}

// The choice of the tokens that are read of a text that is longer than the model's context.
function keepButton(editor, keep) {
  const node = button('option', `the ${keep} tokens`, () => {
    editor.keep = keep;
    showKeepChoice(editor);
    updateDraft(editor);
    requestReading(editor);
    reportLater(editor, 0);
  });
  node.dataset.keep = keep;
  return node;
}

function showKeepChoice(editor) {
  editor.choices.hidden = editor.reading.n_read === editor.reading.n_all;
  for (const node of editor.choices.querySelectorAll('.option')) setPressed(node, editor.keep === node.dataset.keep);
}
