// The time on one card, and what this tab keeps of it: a reload goes on where it was, and a rating that the server
// has not acknowledged is sent when it is back.

const DAY = 86400; // seconds, the most that is said of one card

class Clock {
  // Seconds the card was shown, and seconds it was paused, covered by the instruction or in a tab out of sight.
  constructor({ shown = 0, hidden = 0 } = {}) {
    Object.assign(this, { shown, hidden, showing: false, since: performance.now() });
  }

  turn(showing) {
    const now = performance.now();
    this[this.showing ? 'shown' : 'hidden'] += (now - this.since) / 1000;
    Object.assign(this, { showing, since: now });
    return this;
  }

  read() {
    this.turn(this.showing);
    const [shown, hidden] = [this.shown, this.hidden].map((seconds) => Math.min(DAY, Math.round(seconds * 1000) / 1000));
    return { shown, hidden };
  }
}

// `pending`: a rating on its way; `last`: the one before this card, for undo; `now`: the card that is shown.
function recall(place) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(place));
    return kept && typeof kept === 'object' ? kept : {};
  } catch {
    return {};
  }
}

function keep(place, what) {
  try {
    sessionStorage.setItem(place, JSON.stringify(what));
  } catch {
    // a browser that keeps nothing: a rating on its way lasts as long as the page
  }
}
