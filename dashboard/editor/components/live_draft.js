// The draft: what was typed, kept in this tab's storage. It survives a reload, a visit to another page and a restart of
// the server. There is one draft at a time.

const DRAFT_KEY = 'solu-editor-draft';
let draft = readDraft();

// A `text_id` names a text that the page opened, as WORKSPACE-NUMBER; a new session has another workspace.
function workspaceOf(textId) {
  return textId?.split('-')[0];
}

function readDraft() {
  const stored = readStored(DRAFT_KEY, 'sessionStorage');
  return typeof stored.text === 'string' ? { ...stored, isOfThisPage: false } : null;
}

function updateDraft(editor) {
  const { textId, data, area, keep } = editor;
  draft = { textId, source: data.source, text: area.value, keep, isOfThisPage: true };
}

function storeDraft() {
  store(DRAFT_KEY, { ...draft, isOfThisPage: undefined }, 'sessionStorage');
}

// The draft of the text that is opened, or null. In one session of the server `text_id` names it. After a restart the same
// source is the same text, and an address without a source continues the last draft. A person who came by a new address,
// not by a reload or Back, wants the text of that address.
function draftOf(data, isFirst) {
  if (!draft || draft.textId === data.text_id) return draft;
  const isSameWorkspace = workspaceOf(draft.textId) === workspaceOf(data.text_id);
  const isSameText = draft.source === data.source || (!data.source && !data.text);
  const [arrival] = performance.getEntriesByType('navigation');
  const continues = draft.isOfThisPage || !isFirst || ['reload', 'back_forward'].includes(arrival?.type);
  return !isSameWorkspace && isSameText && continues ? draft : null;
}
