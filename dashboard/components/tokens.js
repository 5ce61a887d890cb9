// What the components that draw tokens share; read before their own script.

const HOOKS = { hook_mid: 'before LayerNorm', hook_post: 'after LayerNorm' };
const SEEN = { ' ': '·', '\n': '↵', '\t': '⇥' };
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function exact(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  return size >= 1e-3 && size < 1e6 ? value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size)))) : value.toExponential(2);
}
