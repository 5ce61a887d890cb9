// Reports keys to the page; draws nothing. The default export runs again on every change of data or theme.

const listeners = new WeakMap(); // by root

export default function ({ data, parentElement: root, setTriggerValue }) {
  const listener = listeners.get(root) ?? createListener();
  listeners.set(root, listener);
  listener.keys = data.keys;
  listener.report = (key) => setTriggerValue('pressed', key);
  window.addEventListener('keydown', listener.onKey);
  return () => window.removeEventListener('keydown', listener.onKey);
}

function createListener() {
  const listener = { keys: [] };
  listener.onKey = (event) => {
    if (!listener.keys.includes(event.key) || hasModifier(event) || event.repeat) return;
    if (isTyping(event) || isDialogOpen()) return;
    event.preventDefault();
    listener.report(event.key);
  };
  return listener;
}
