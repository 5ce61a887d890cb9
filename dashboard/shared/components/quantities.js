// What the components that show activations share; read before their own script.

const HOOKS = { hook_mid: 'before LayerNorm', hook_post: 'after LayerNorm' };

function exact(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  return size >= 1e-3 && size < 1e6 ? value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size)))) : value.toExponential(2);
}
