// The editor itself. The browser owns the text: the page writes it only when `text_id` changes. The server colours it at
// every key (live_requests.js); the page receives it when typing pauses. `data` is described in live_editor.py.
// The default export runs again on every change of data or theme.

const editors = new WeakMap(); // by root
const PAUSE = 400; // ms without a key after which the page receives the text

export default function (component) {
  const { data, parentElement: root } = component;
  const editor = editors.get(root) ?? createEditor(root, data.max_text);
  Object.assign(editor, { component, data });
  if (data.text_id !== editor.textId) openText(editor);
  updateDraft(editor);
  const readerVersion = JSON.stringify([data.reader, data.version, data.original?.text]);
  if (readerVersion !== editor.readerVersion) {
    editor.readerVersion = readerVersion;
    if (editor.reading && !(data.reader.hook in editor.reading.values)) editor.reading = null; // of another model
    requestReading(editor);
  }
  window.addEventListener('pagehide', storeDraft);
  window.addEventListener('pointerdown', editor.onPress, true);
  return () => {
    storeDraft();
    window.removeEventListener('pagehide', storeDraft);
    window.removeEventListener('pointerdown', editor.onPress, true);
    clearTimeout(editor.requestTimer);
    clearTimeout(editor.reportTimer);
    editor.request?.abort();
    Object.assign(editor, { requestTimer: 0, isOutdated: false, readerVersion: '' });
  };
}

function createEditor(root, maxLength) {
  const find = (selector) => root.querySelector(selector);
  const editor = {
    section: find('.editor'), legend: find('.legend'), choices: find('.choices'), original: find('.original'),
    paper: find('.paper'), layer: find('.layer'), area: find('textarea'), readout: find('.readout'), notes: find('.notes'),
    pinned: find('.pinned'), tooltip: new Tooltip(find('.editor'), find('.tip')), path: location.pathname,
    readText: '', error: '', tokens: [], pastedTooMuch: 0, caret: null, showsChange: false,
  };
  editors.set(root, editor);
  editor.onPress = (event) => (editor.isLeaving = event.composedPath().some((node) => node.tagName === 'A'));
  editor.choices.append(element('span', 'dim', 'read'), keepButton(editor, 'first'), keepButton(editor, 'last'));
  listenToArea(editor, maxLength);
  return editor;
}

function listenToArea(editor, maxLength) {
  const { area } = editor;
  area.maxLength = maxLength;
  area.addEventListener('input', () => onInput(editor));
  // An input method shows unfinished text: it is read when the composition ends.
  area.addEventListener('compositionstart', () => (editor.isComposing = true));
  area.addEventListener('compositionend', () => {
    editor.isComposing = false;
    onInput(editor);
  });
  area.addEventListener('paste', (event) => onPaste(editor, event));
  area.addEventListener('keyup', () => onCaret(editor));
  area.addEventListener('focus', () => onCaret(editor));
  area.addEventListener('blur', () => editor.isUnreported && report(editor));
  area.addEventListener('click', (event) => onCaret(editor, tokenUnder(editor, event)));
  // Text that moves under a pointer at rest, while one types, also raises mousemove.
  area.addEventListener('mousemove', (event) => {
    if (event.movementX || event.movementY) onHover(editor, tokenUnder(editor, event));
  });
  area.addEventListener('mouseleave', () => editor.tooltip.close());
  area.addEventListener('keydown', () => editor.tooltip.close());
}

// --- the text ---

// Opens the text of the page, or a draft of it that was typed before the page was left or the server restarted.
function openText(editor) {
  const { data } = editor;
  const isFirst = editor.textId === undefined;
  const openedDraft = draftOf(data, isFirst);
  const isNewWorkspace = !isFirst && workspaceOf(editor.textId) !== workspaceOf(data.text_id);
  Object.assign(editor, { textId: data.text_id, keep: data.keep, reading: null, isFresh: true });
  writeText(editor, data.text ?? openedDraft?.text ?? '', isFirst);
  if (openedDraft && (openedDraft.text !== editor.area.value || openedDraft.keep !== editor.keep)) {
    writeText(editor, openedDraft.text, false);
    editor.keep = openedDraft.keep;
    reportLater(editor, 0);
  } else if (isNewWorkspace) {
    reportLater(editor, 0); // the new server does not know yet what was chosen beside the text
  }
  requestReading(editor);
}

// After the first text it is written as an edit of the person's own would be, so that it can be undone.
function writeText(editor, text, isFirst) {
  const { area } = editor;
  editor.isWriting = true;
  if (!isFirst && text.length < 20000) {
    area.focus({ preventScroll: true });
    area.select();
    document.execCommand(text ? 'insertText' : 'delete', false, text);
  }
  if (area.value !== text) area.value = text;
  Object.assign(editor, { isWriting: false, showsChange: false, pastedTooMuch: 0, caret: null });
}

function onInput(editor) {
  if (editor.isWriting) return;
  editor.isLeaving = false;
  if (!editor.isPasting) editor.pastedTooMuch = 0;
  editor.caret = editor.area.selectionStart;
  updateDraft(editor);
  drawTokens(editor);
  drawNotes(editor);
  requestReading(editor);
  reportLater(editor, PAUSE);
}

// The text field cuts a paste at its maximum length without a message: count what it leaves out.
function onPaste(editor, event) {
  const { area } = editor;
  const room = area.maxLength - area.value.length + (area.selectionEnd - area.selectionStart);
  const pasted = (event.clipboardData?.getData('text') ?? '').replace(/\r\n?/g, '\n');
  editor.pastedTooMuch = Math.max(0, pasted.length - room);
  editor.isPasting = true;
  setTimeout(() => {
    editor.isPasting = false;
    drawNotes(editor);
  });
}

// --- reports to the page ---

function reportLater(editor, delay) {
  editor.isUnreported = true;
  clearTimeout(editor.reportTimer);
  editor.reportTimer = setTimeout(() => report(editor), delay);
}

// Not after a link was pressed or the address changed: Streamlit would draw an empty page in place of the next one. The
// draft holds the text until the editor is opened again.
function report(editor) {
  clearTimeout(editor.reportTimer);
  storeDraft();
  if (editor.isLeaving || location.pathname !== editor.path) return;
  editor.isUnreported = false;
  const { area, caret, keep, textId } = editor;
  editor.component.setStateValue('edit', { text: area.value, caret, keep, text_id: textId });
}

// --- the caret, and the token under the pointer ---

function onCaret(editor, token) {
  const caret = token ? token.end : editor.area.selectionStart;
  if (caret === editor.caret) return;
  editor.caret = caret;
  drawTokens(editor);
  if (editor.data.follows_caret) reportLater(editor, token ? 0 : PAUSE);
}

// The text field is above the coloured layer and receives the events: find the token by its boxes.
function tokenUnder(editor, { clientX, clientY }) {
  const isInside = (box) => clientX >= box.left && clientX < box.right && clientY >= box.top && clientY < box.bottom;
  return editor.tokens.find((token) => [...token.node.getClientRects()].some(isInside)) ?? null;
}

function onHover(editor, token) {
  const { tooltip, area } = editor;
  if (!token) tooltip.close();
  else if (tooltip.target !== token.node) {
    openTokenTooltip(tooltip, token.node, area.value.slice(token.start, token.end), tokenRows(editor, token.i));
  }
}
