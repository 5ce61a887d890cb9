// What the edited text is compared with: the original text, and pinned neurons that read the same text.

// The original with its own activations, or with their change since; tokens that were removed are struck through.
function drawOriginal(editor) {
  const { original, reader } = editor.data;
  editor.original.hidden = !original;
  if (!original) return;
  const { reading } = editor.originalReading;
  const values = reading.values[reader.hook];
  const present = presentValues(editor, values.length);
  const text = editor.original.querySelector('.text') ?? element('div', 'text');
  const runs = values.map((value, i) => {
    const isRemoved = present[i] === null;
    const change = isRemoved ? 0 : present[i] - value;
    const colour = editor.showsChange ? change : value;
    const run = colouredRun(tokenText(original.text, reading, i), colour, editor.reading.scale);
    return isRemoved ? { ...run, className: `${run.className} gone` } : run;
  });
  const strongest = values.indexOf(Math.max(...values));
  if (strongest >= 0) runs[strongest].className += ' peak';
  showRuns(text, runs);
  editor.originalRows = (i) => [
    ['original', number(values[i], 4)],
    ['now', present[i] === null ? 'removed' : number(present[i], 4)],
    ...(present[i] === null ? [] : [['change', signed(present[i] - values[i], 4)]]),
  ];
  const title = original.title + original.detail;
  if (text.isConnected && editor.original.dataset.title === title) return;
  editor.original.dataset.title = title;
  listenToOriginal(editor, text, original.title);
  editor.original.replaceChildren(originalHead(editor, original), text);
}

// For each token of the original its activation in the text as it is now; null where the token was removed.
function presentValues(editor, count) {
  const { original_tokens, values } = editor.reading;
  const present = new Array(count).fill(null);
  original_tokens.forEach((originalToken, i) => {
    if (originalToken >= 0) present[originalToken] = values[editor.data.reader.hook][i];
  });
  return present;
}

function originalHead(editor, { title, detail }) {
  const head = element('div', 'head');
  head.append(element('span', 'label', title), element('span', 'dim', detail));
  const choices = [['activation', false], ['change since', true]].map(([label, showsChange]) => {
    const node = button('option', label, () => {
      editor.showsChange = showsChange;
      for (const choice of choices) setPressed(choice, choice === node);
      drawOriginal(editor);
    });
    setPressed(node, editor.showsChange === showsChange);
    return node;
  });
  head.append(...choices);
  return head;
}

// Tooltips of the original's tokens: under the pointer, or by the arrow keys.
function listenToOriginal(editor, text, title) {
  text.tabIndex = 0;
  text.setAttribute('role', 'group');
  text.setAttribute('aria-label', `${title}. Left and right move between tokens.`);
  const open = (token) => {
    if (!token) {
      editor.tooltip.close();
    } else {
      const index = [...text.children].indexOf(token);
      openTokenTooltip(editor.tooltip, token, token.textContent, editor.originalRows(index));
    }
  };
  text.onmouseover = (event) => open(event.target.closest('.tok'));
  text.onmouseleave = () => editor.tooltip.close();
  text.onblur = () => editor.tooltip.close();
  text.onfocus = () => open(text.querySelector('.tok'));
  text.onkeydown = (event) => {
    if (event.key === 'Escape') editor.tooltip.close();
    const next = indexAfterKey(event, [...text.children].indexOf(editor.tooltip.target), text.children.length);
    if (next === null) return;
    event.preventDefault();
    event.stopPropagation();
    open(text.children[next]);
  };
}

// A line of tokens for each pinned neuron, on its own scale.
function drawPinned(editor) {
  const { reading, readText } = editor;
  const { pinned } = reading;
  while (editor.pinned.children.length > pinned.length) editor.pinned.lastChild.remove();
  pinned.forEach(({ scale, values }, k) => {
    const line = editor.pinned.children[k] ?? pinnedLine(editor.pinned);
    const peak = Math.max(...values);
    const share = scale > 0 && values.length ? `, ${Math.round((100 * peak) / scale)}% of its maximum` : '';
    line.querySelector('.label').textContent = editor.data.pins[k];
    line.querySelector('.dim').textContent = values.length ? `peak ${number(peak, 4)}${share}` : '';
    const runs = values.map((value, i) => colouredRun(tokenText(readText, reading, i), value, scale));
    showRuns(line.querySelector('.text'), runs);
  });
}

function pinnedLine(parent) {
  const line = element('div', 'pin');
  const head = element('div', 'head');
  head.append(element('span', 'label'), element('span', 'dim'));
  line.append(head, element('div', 'text'));
  parent.append(line);
  return line;
}
