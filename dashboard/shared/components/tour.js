// A tour of a page, one line of text at a time. The browser remembers that it was closed.

export default function ({ data, parentElement: root }) {
  const bar = root.querySelector('.tour');
  if (bar.dataset.begun) return;
  bar.dataset.begun = 'yes';
  if (!isClosed(data.name)) drawTour(bar, data);
}

function drawTour(bar, { name, steps }) {
  let index = 0;
  const count = element('span', 'count');
  const words = element('span', 'words');
  words.setAttribute('aria-live', 'polite');
  const isLast = () => index + 1 === steps.length;
  const close = () => {
    bar.hidden = true;
    rememberClosed(name);
  };
  const next = button('', 'Next', () => {
    if (isLast()) close();
    else show(index + 1);
  });
  const show = (step) => {
    index = step;
    words.textContent = steps[index];
    count.textContent = `${index + 1} of ${steps.length}`;
    next.textContent = isLast() ? 'Done' : 'Next';
  };
  show(0);
  bar.append(count, words, next, button('', 'Close', close));
  bar.hidden = false;
}

function rememberClosed(name) {
  try {
    localStorage.setItem(`solu-tour-${name}`, 'done');
  } catch {
    // storage is full or forbidden: the tour is closed until the page is opened again
  }
}

function isClosed(name) {
  try {
    return localStorage.getItem(`solu-tour-${name}`) === 'done';
  } catch {
    return false;
  }
}
