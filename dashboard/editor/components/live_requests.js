// Requests to `api/reading`, past Streamlit: one at a time, the next one when the response is drawn.

const SOON = 4; // ms from a key to the request, if no other request is pending
const TIMEOUT = 15000; // ms after which a request without a response is given up
const RETRY_DELAY = 1000; // ms after which it is sent again

function requestReading(editor, delay = SOON) {
  editor.isOutdated = true;
  if (!editor.request) editor.requestTimer ||= setTimeout(() => sendRequest(editor), delay);
}

async function sendRequest(editor) {
  editor.requestTimer = 0;
  if (!editor.isOutdated || editor.isComposing) return;
  editor.isOutdated = false;
  const { readerVersion, keep, textId } = editor;
  const text = editor.area.value;
  const original = editor.data.original?.text ?? null;
  editor.request = new AbortController();
  let retryDelay = 0;
  try {
    const key = `${readerVersion} ${keep}`;
    if (original !== null && editor.originalReading?.key !== key) {
      editor.originalReading = { key, reading: await fetchReading(editor, { text: original, keep }) };
    }
    const reading = await fetchReading(editor, { text, keep, original });
    if (readerVersion === editor.readerVersion && textId === editor.textId) {
      Object.assign(editor, { reading, readText: text, error: '' });
      drawReading(editor);
    }
  } catch (error) {
    if (editor.request.signal.aborted) return;
    retryDelay = error.isFinal ? 0 : RETRY_DELAY;
    editor.error = error.isFinal
      ? `The text cannot be read: ${error.message}. Your text is kept.`
      : 'The server does not respond. Your text is kept; the request is repeated.';
    editor.isOutdated ||= Boolean(retryDelay);
    drawReading(editor);
  } finally {
    editor.request = null;
    if (editor.isOutdated) requestReading(editor, retryDelay || SOON);
  }
}

// A response as in reading_route.py. An error is final where a retry would not help.
async function fetchReading(editor, about) {
  const response = await fetch(new URL('api/reading', document.baseURI), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...editor.data.reader, ...about }),
    signal: AbortSignal.any([editor.request.signal, AbortSignal.timeout(TIMEOUT)]),
  });
  if (response.ok) return response.json();
  const { error: message } = await response.json().catch(() => ({}));
  const error = new Error(message ?? `the server failed (${response.status})`);
  error.isFinal = response.status !== 503 && response.status !== 502;
  throw error;
}
