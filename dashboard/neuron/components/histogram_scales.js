// Scales of a histogram's two axes, and the ticks on them.

const HEIGHT = 150;
const MARGIN = { left: 40, right: 6, top: 20, bottom: 20 };
const FLOOR = HEIGHT - MARGIN.bottom;
const LOG_FLOOR = Math.log10(0.6); // log counts begin a little below one token, so that a single token is seen

// From an activation to a pixel; `invert` goes back.
function xScale(low, high, width) {
  const span = high - low || 1;
  const [from, to] = [MARGIN.left, width - MARGIN.right];
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.invert = (pixel) => low + ((pixel - from) / (to - from)) * span;
  return scale;
}

// From a count to a pixel, on a linear or a logarithmic scale.
function yScale(highest, isLog) {
  const tall = FLOOR - MARGIN.top;
  if (!isLog) return (count) => FLOOR - (count / highest) * tall;
  const top = Math.log10(highest) + 0.15;
  return (count) => (count > 0.6 ? FLOOR - ((Math.log10(count) - LOG_FLOOR) / (top - LOG_FLOOR)) * tall : FLOOR);
}

// Counts to be labelled, each with its label.
function yTicks(highest, isLog) {
  const ticks = [];
  if (isLog) {
    const powers = Math.floor(Math.log10(highest) + 1e-9);
    for (let p = 0; p <= powers; p += powers > 4 ? 2 : 1) ticks.push([10 ** p, p < 4 ? String(10 ** p) : `1e${p}`]);
    return ticks;
  }
  const step = roundStep(highest / 3);
  for (let count = 0; count <= highest; count += step) ticks.push([count, countLabel(count)]);
  return ticks;
}

// Activations to be labelled, at least 55 pixels apart.
function xTicks(low, high, width) {
  const step = roundStep((high - low) / Math.max(2, Math.floor((width - MARGIN.left) / 55)));
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(Number((k * step).toPrecision(6)));
  return ticks;
}

// The smallest of 1, 2, 5 times a power of ten that is not below a step.
function roundStep(step) {
  const power = 10 ** Math.floor(Math.log10(step || 1));
  return [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= step);
}

function countLabel(count) {
  if (count >= 1e6) return `${Number((count / 1e6).toPrecision(3))}M`;
  return count >= 1e3 ? `${Number((count / 1e3).toPrecision(3))}k` : String(count);
}

function activationLabel(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(0) : String(value);
}
