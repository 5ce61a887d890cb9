// A card as the rater sees it: numbered snippets, each piece shaded by its step. Text nodes only.

const STEPS = 15; // the step of the strongest firing of a card

function drawSnippets(card) {
  return card.snippets.map(({ t, s }, k) => {
    const text = element('p', 'text');
    text.dir = 'auto';
    const peak = s.indexOf(Math.max(...s));
    t.forEach((piece, i) => {
      const token = drawToken(piece);
      if (s[i] > 0) {
        token.classList.add('fires');
        token.style.setProperty('--a', (s[i] / STEPS).toFixed(3));
      }
      if (i === peak && s[i] > 0) token.classList.add('peak');
      text.append(token);
    });
    const item = element('li', 'snippet');
    item.append(element('span', 'rank', `${k + 1}`), text);
    return item;
  });
}

function minutes(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
