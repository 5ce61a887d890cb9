// What the components that draw tokens share; read before their own script.

const SEEN = { ' ': '·', '\n': '↵', '\t': '⇥' };
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Blanks that would not be seen get a mark: line breaks and tabs always, spaces where a token is nothing
// else. Marks are drawn by the style sheet over the real characters, so that selected text is the text.
function drawToken(text) {
  const token = element('span', 'tok');
  const blank = text.trim() === '';
  let run = '';
  const flush = () => {
    if (run) token.append(document.createTextNode(run));
    run = '';
  };
  for (const c of text.replace(ODD, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)) {
    if (c !== '\n' && c !== '\t' && !(c === ' ' && blank)) {
      run += c;
      continue;
    }
    flush();
    const mark = element('i', c === ' ' ? 'mark space' : 'mark', c === '\n' ? undefined : c);
    mark.dataset.mark = SEEN[c];
    token.append(mark);
    if (c === '\n') token.append(element('br'));
  }
  flush();
  return token;
}
