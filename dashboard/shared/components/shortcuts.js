// Tells the page of a key. Nothing is drawn. The default export runs again on every change of data or theme.

const instances = new WeakMap();

export default function ({ data, parentElement: root, setTriggerValue }) {
  let s = instances.get(root);
  if (!s) {
    s = {};
    s.listen = (event) => {
      if (!s.keys.includes(event.key) || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const [at] = event.composedPath();
      if (at.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(at.tagName)) return;
      if (document.querySelector('[role=dialog]')) return;
      event.preventDefault();
      s.tell(event.key);
    };
    instances.set(root, s);
  }
  window.addEventListener('keydown', s.listen);
  s.keys = data.keys;
  s.tell = (key) => setTriggerValue('pressed', key);
  return () => window.removeEventListener('keydown', s.listen);
}
