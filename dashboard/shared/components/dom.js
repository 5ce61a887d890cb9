// Read before the script of every component: elements, numbers, tokens, tooltips, keys, stored settings.
// `MARKS` and `ESCAPED` come from Python, see browser_files.py. Text reaches the page as text nodes only, never as HTML.

// --- elements ---

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, label, onClick) {
  const node = element('button', className, label);
  node.type = 'button';
  if (onClick) node.onclick = onClick;
  return node;
}

function setPressed(node, isPressed) {
  node.setAttribute('aria-pressed', String(isPressed));
}

// A list of names and values, as in tooltips.
function definitions(rows) {
  const list = element('dl');
  for (const [name, value] of rows) list.append(element('dt', '', name), element('dd', '', value));
  return list;
}

// --- numbers, written as `analysis/formatting.py` writes them; a test compares the two ---

function number(value, digits = 3) {
  if (Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return roundHalfEven(value, (v) => v.toExponential(digits - 1)).replace(/e([+-])(\d)$/, 'e$10$2');
  }
  const places = Math.max(0, digits - 1 - (size === 0 ? 0 : Math.floor(Math.log10(size))));
  const [whole, fraction] = roundHalfEven(value, (v) => v.toFixed(places)).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction ? `${grouped}.${fraction}` : grouped;
}

function share(value) {
  if (value > 0 && value < 1e-5) return `${number(1e6 * value)} in a million`;
  return Number.isNaN(value) ? '–' : `${number(100 * value)}%`;
}

function signed(value, digits) {
  return value > 0 ? `+${number(value, digits)}` : number(value, digits);
}

function integer(value) {
  return value.toLocaleString('en');
}

// Python rounds a tie to the even digit, toFixed and toExponential round it away from zero: 1.125 is 1.12 and 1.13.
// Only a tie is written differently when the value moves by one unit in the last place towards zero.
function roundHalfEven(value, format) {
  const away = format(value);
  const toward = format(value * (1 - Number.EPSILON / 2));
  return away === toward || /^[^e]*[02468](e|$)/.test(away) ? away : toward;
}

// --- tokens ---

const ESCAPED_CHARACTER = new RegExp(`[${ESCAPED}]`, 'g');

function escapeInvisible(text) {
  return text.replace(ESCAPED_CHARACTER, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// Text on one line, with marks in place of characters that cannot be seen; as `visible` in `analysis/formatting.py`.
function visible(text, { spaces = true } = {}) {
  return [...escapeInvisible(text)].map((c) => (c === ' ' && !spaces ? c : (MARKS[c] ?? c))).join('');
}

// A token in running text. Line breaks and tabs always have a mark, spaces where the token is nothing else. The style
// sheet draws the marks beside the real characters, so that selected text is the text.
function drawToken(text) {
  const token = element('span', 'tok');
  const isBlank = text.trim() === '';
  let run = '';
  const flush = () => {
    if (run) token.append(document.createTextNode(run));
    run = '';
  };
  for (const c of escapeInvisible(text)) {
    if (c !== '\n' && c !== '\t' && !(c === ' ' && isBlank)) {
      run += c;
      continue;
    }
    flush();
    const mark = element('i', c === ' ' ? 'mark space' : 'mark', c === '\n' ? undefined : c);
    mark.dataset.mark = MARKS[c];
    token.append(mark);
    if (c === '\n') token.append(element('br'));
  }
  flush();
  return token;
}

// Colour of an activation: a class for its sign and a strength up to 1; null below 2% of `scale`, which is not visible.
function tint(value, scale) {
  const strength = scale > 0 ? Math.min(1, Math.abs(value) / scale) : 0;
  return strength > 0.02 ? { sign: value < 0 ? 'neg' : 'pos', strength: strength.toFixed(3) } : null;
}

function applyTint(token, value, scale) {
  const colour = tint(value, scale);
  if (!colour) return;
  token.classList.add(colour.sign);
  token.style.setProperty('--a', colour.strength);
}

// The ramp of a colour scale between its two ends.
function colourScale(scale, hasNegative) {
  const low = hasNegative ? number(-scale, 4) : '0';
  const high = number(scale, 4);
  const ramp = element('span', hasNegative ? 'ramp both' : 'ramp');
  ramp.setAttribute('role', 'img');
  ramp.setAttribute('aria-label', `Colour scale from ${low} to ${high}`);
  const ends = element('span', 'scale');
  ends.append(element('span', '', low), ramp, element('span', '', high));
  return ends;
}

// --- tooltips ---

const HEADER_HEIGHT = 70; // px at the top of the window that Streamlit's header covers

// The tooltip of a component: one box, moved to the token or bar that it describes.
class Tooltip {
  // `area` is the positioned ancestor of `box`.
  constructor(area, box) {
    Object.assign(this, { area, box, target: null });
  }

  open(target, ...content) {
    this.target?.classList.remove('on');
    this.target = target;
    target.classList.add('on');
    this.box.replaceChildren(...content);
    this.box.hidden = false;
  }

  // Above the first line of the target, or below it where there is no room.
  openBeside(target, ...content) {
    this.open(target, ...content);
    const line = target.getClientRects()[0] ?? target.getBoundingClientRect();
    const { left, top } = this.area.getBoundingClientRect();
    const fitsAbove = line.top > this.box.offsetHeight + HEADER_HEIGHT;
    this.moveTo(line.left - left, fitsAbove ? line.top - top - this.box.offsetHeight - 4 : line.bottom - top + 4);
  }

  // Pixels in the area; the box stays within its width.
  moveTo(left, top) {
    const furthest = this.area.clientWidth - this.box.offsetWidth;
    this.box.style.transform = `translate(${Math.round(Math.max(0, Math.min(left, furthest)))}px, ${Math.round(top)}px)`;
  }

  close() {
    this.box.hidden = true;
    this.target?.classList.remove('on');
    this.target = null;
  }
}

// A token's text and a table of its values.
function openTokenTooltip(tooltip, token, text, rows) {
  tooltip.openBeside(token, element('div', 'word', visible(text)), definitions(rows));
}

// --- keys and clicks ---

function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey;
}

function isTyping(event) {
  const [target] = event.composedPath();
  return target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName);
}

function isDialogOpen() {
  return document.querySelector('[role=dialog]') !== null;
}

// The index that an arrow key, Home or End leads to; null for any other key. `index` is -1 before the first key.
function indexAfterKey(event, index, count) {
  if (hasModifier(event)) return null;
  const target = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: count - 1 }[event.key];
  return target === undefined ? null : Math.max(0, Math.min(count - 1, target));
}

// A click that the browser answers itself, with a new tab or window.
function opensElsewhere(event) {
  return event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0;
}

// --- settings and drafts ---

// Storage may be full or forbidden: a value that is not stored lasts as long as the page.
function store(key, value, storage = 'localStorage') {
  try {
    window[storage].setItem(key, JSON.stringify(value));
  } catch {
    // nothing is lost that the page still needs
  }
}

// The object stored under a key; an empty one where there is none.
function readStored(key, storage = 'localStorage') {
  try {
    const value = JSON.parse(window[storage].getItem(key));
    return value && typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}
