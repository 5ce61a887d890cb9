// What was typed, kept in this tab: it is there again after a reload, a visit to another page, or a new start of the
// server. One draft at a time; sessionStorage where the browser lets us.

const DRAFT = 'solu-editor-draft';
let draft = readDraft();

// The desk that a `work` is on: another one in every session.
function deskOf(work) {
  return work?.split('-')[0];
}

function readDraft() {
  try {
    const found = JSON.parse(sessionStorage.getItem(DRAFT));
    return typeof found?.text === 'string' ? { ...found, here: false } : null;
  } catch {
    return null;
  }
}

function keepDraft(s) {
  draft = { work: s.work, source: s.data.source, text: s.area.value, keep: s.keep, here: true };
}

function storeDraft() {
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify({ ...draft, here: undefined }));
  } catch {
    // No storage, or no room: this page still has it.
  }
}

// The draft of what is opened now, or null. In a session of the server it is known by `work`. In a new one the same
// source is the same text; an address that names none goes on with the last. A person who came by a new
// address, not by a reload or Back, asked for the text as it was.
function draftOf(data, first) {
  if (!draft || draft.work === data.work) return draft;
  const sameDesk = deskOf(draft.work) === deskOf(data.work);
  const sameText = draft.source === data.source || (!data.source && !data.text);
  const [arrival] = performance.getEntriesByType('navigation');
  const goesOn = draft.here || !first || ['reload', 'back_forward'].includes(arrival?.type);
  return !sameDesk && sameText && goesOn ? draft : null;
}
