// A tour of a page in a line of text. Text reaches the page through text nodes alone.

export default function ({ data, parentElement: root }) {
  const bar = root.querySelector('.tour');
  if (bar.dataset.begun) return;
  bar.dataset.begun = 'yes';
  if (done(data.name)) return;
  let at = 0;
  const words = document.createElement('span');
  words.className = 'words';
  words.setAttribute('aria-live', 'polite');
  const count = document.createElement('span');
  count.className = 'count';
  const next = button('Next', () => (at + 1 < data.steps.length ? show(at + 1) : close()));
  const show = (step) => {
    at = step;
    words.textContent = data.steps[at];
    count.textContent = `${at + 1} of ${data.steps.length}`;
    next.textContent = at + 1 < data.steps.length ? 'Next' : 'Done';
  };
  const close = () => {
    bar.hidden = true;
    try {
      localStorage.setItem(`solu-tour-${data.name}`, 'done');
    } catch {
      // a browser that keeps nothing: it is closed as long as the page is open
    }
  };
  show(0);
  bar.append(count, words, next, button('Close', close));
  bar.hidden = false;
}

function button(label, click) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = label;
  made.onclick = click;
  return made;
}

function done(name) {
  try {
    return localStorage.getItem(`solu-tour-${name}`) === 'done';
  } catch {
    return false;
  }
}
