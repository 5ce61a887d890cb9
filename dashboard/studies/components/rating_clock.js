// The time on one card, and what this tab stores of it: a reload continues the card, and a rating that the server has not
// acknowledged is sent again.

const MAX_SECONDS = 86400; // reported for one card

// Seconds the card was shown, and seconds it was paused, covered by the instruction or in a hidden tab.
class Clock {
  constructor({ shown = 0, hidden = 0 } = {}) {
    Object.assign(this, { shown, hidden, isShowing: false, since: performance.now() });
  }

  turn(isShowing) {
    const now = performance.now();
    this[this.isShowing ? 'shown' : 'hidden'] += (now - this.since) / 1000;
    Object.assign(this, { isShowing, since: now });
  }

  read() {
    this.turn(this.isShowing);
    const rounded = (seconds) => Math.min(MAX_SECONDS, Math.round(seconds * 1000) / 1000);
    return { shown: rounded(this.shown), hidden: rounded(this.hidden) };
  }
}

// The state of a study and a rater. `pending`: a rating on its way; `last`: the one before this card, for undo; `draft`:
// the card that is shown.
function readState(key) {
  return readStored(key, 'sessionStorage');
}

function storeState(key, state) {
  store(key, state, 'sessionStorage');
}

function minutes(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
