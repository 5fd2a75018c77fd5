// What is drawn over a slice as lines and letters: crosshair, prompts, orientation, scale bar.

import { store } from './link.js';

const COLORS = { axial: '#f3564a', coronal: '#6eb04b', sagittal: '#edd54c' };
const BARS = [1, 2, 5, 10, 20, 50, 100, 200];
const INSIDE = '#1f8fd6', OUTSIDE = '#e2622b';

export function drawOver(view) {
  const context = view.over.getContext('2d'), { ratio } = view;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, view.over.width, view.over.height);
  context.scale(ratio, ratio);
  const place = view.place();
  const to = ([x, y]) => [
    (place.left + (x + 0.5) * place.scaleX) / ratio, (place.top + (y + 0.5) * place.scaleY) / ratio,
  ];
  const size = [view.over.width / ratio, view.over.height / ratio];
  if (store.views) crosshair(context, view, to, size);
  for (const prompt of store.state?.prompts ?? []) drawPrompt(context, view, prompt, to);
  if (view.drawing) unfinished(context, view.drawing.map(to));
  letters(context, view.info.letters, size);
  scaleBar(context, place.perMm / ratio, size);
}

function crosshair(context, view, to, size) {
  const { info } = view;
  const at = (axis, flip, count) => {
    const other = Object.values(store.views).find((one) => one.info.axis === axis);
    return { value: flip ? count - 1 - other.index : other.index, color: COLORS[other.plane] };
  };
  const x = at(info.columnAxis, info.columnFlip, info.columns), y = at(info.rowAxis, info.rowFlip, info.rows);
  const [cx, cy] = to([x.value, y.value]);
  const gap = 14;
  context.globalAlpha = 0.75;
  context.lineWidth = 1;
  for (const [color, lines] of [
    [x.color, [[cx, 0, cx, cy - gap], [cx, cy + gap, cx, size[1]]]],
    [y.color, [[0, cy, cx - gap, cy], [cx + gap, cy, size[0], cy]]],
  ]) {
    context.strokeStyle = color;
    context.beginPath();
    for (const [x0, y0, x1, y1] of lines) {
      context.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
      context.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawPrompt(context, view, prompt, to) {
  const where = prompt.places[view.plane];
  if (!where || view.index < where.slices[0] - 0.5 || view.index > where.slices[1] + 0.5) return;
  const path = (view.moving?.id === prompt.id ? view.moving.path : where.path).map(to);
  if (prompt.kind === 'point') click(context, path[0], prompt.positive);
  else if (prompt.kind === 'box') {
    const [[x0, y0], [x1, y1]] = path;
    const flat = Math.min(Math.abs(x1 - x0), Math.abs(y1 - y0)) < 2; // seen from its side
    twice(context, () => (flat ? trace(context, path, false) : context.rect(x0, y0, x1 - x0, y1 - y0)), INSIDE, [6, 4]);
  } else if (prompt.plane === view.plane && (prompt.kind === 'scribble' || prompt.kind === 'polygon')) {
    const closed = prompt.kind === 'polygon';
    twice(context, () => trace(context, path, closed), prompt.positive ? INSIDE : OUTSIDE, closed ? [6, 4] : []);
    if (!closed) click(context, path[0], prompt.positive);
  }
}

function unfinished(context, path) {
  if (store.tool === 'box' && path.length === 2) {
    const [[x0, y0], [x1, y1]] = path;
    twice(context, () => context.rect(x0, y0, x1 - x0, y1 - y0), '#fff', [6, 4]);
  } else if (store.tool === 'positive' || store.tool === 'negative') click(context, path[0], store.tool === 'positive');
  else if (store.tool !== 'box') twice(context, () => trace(context, path, store.tool === 'lasso'), store.tool === 'exclude' ? OUTSIDE : '#fff', []);
}

function trace(context, path, closed) {
  path.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (closed) context.closePath();
}

// A dark line below a bright one is seen on every gray.
function twice(context, shape, color, dash) {
  for (const [style, width] of [['#000b', 4], [color, 2]]) {
    context.beginPath();
    shape();
    context.setLineDash(dash);
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
  context.setLineDash([]);
}

function click(context, [x, y], positive) {
  context.beginPath();
  context.arc(x, y, 5.5, 0, 7);
  context.fillStyle = positive ? INSIDE : OUTSIDE;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = '#fff';
  context.stroke();
  context.beginPath();
  context.moveTo(x - 2.8, y);
  context.lineTo(x + 2.8, y);
  if (positive) { context.moveTo(x, y - 2.8); context.lineTo(x, y + 2.8); }
  context.lineWidth = 1.6;
  context.stroke();
}

function letters(context, [up, down, left, right], [width, height]) {
  context.font = '600 14px system-ui, "DejaVu Sans", sans-serif';
  const places = [[up, width / 2, 14, 'center'], [down, width / 2, height - 12, 'center'], [left, 8, height / 2, 'left'], [right, width - 8, height / 2, 'right']];
  for (const [letter, x, y, align] of places) write(context, letter, x, y, align);
}

function scaleBar(context, perMm, [width, height]) {
  const millimeters = BARS.filter((length) => length * perMm < width / 4).at(-1);
  if (!millimeters) return;
  const length = millimeters * perMm, x = width - 14 - length, y = height - 12;
  twice(context, () => { context.moveTo(x, y - 4); context.lineTo(x, y); context.lineTo(x + length, y); context.lineTo(x + length, y - 4); }, '#fff', []);
  context.font = '12px system-ui, "DejaVu Sans", sans-serif';
  write(context, millimeters >= 10 ? `${millimeters / 10} cm` : `${millimeters} mm`, x + length / 2, y - 11, 'center');
}

export function write(context, text, x, y, align) {
  context.textAlign = align;
  context.textBaseline = 'middle';
  context.lineWidth = 3;
  context.strokeStyle = '#000c';
  context.strokeText(text, x, y);
  context.fillStyle = '#fff';
  context.fillText(text, x, y);
}
