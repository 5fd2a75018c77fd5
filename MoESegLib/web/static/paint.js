// Draws a slice and what lies over it into an ImageData: linear interpolation, gray window, masks with outlines.
//
// Done here and not by scaling pictures, because a mask must keep a crisp border of even width at every zoom, and a
// gray window must follow the mouse. 600 x 400 pixels with three masks take 3 to 6 ms.

export class Frame {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.marks = new Uint8Array(width * height);
  }
}

// place: left and top of the slice's first pixel on the screen, and screen pixels per slice pixel.
function axis(length, count, start, scale) {
  const low = new Int32Array(length), high = new Int32Array(length), part = new Float32Array(length);
  for (let n = 0; n < length; n++) {
    const at = (n + 0.5 - start) / scale - 0.5;
    if (at < -0.5 || at > count - 0.5) { low[n] = -1; continue; }
    const first = Math.min(Math.max(Math.floor(at), 0), count - 1);
    low[n] = first;
    high[n] = Math.min(first + 1, count - 1);
    part[n] = Math.min(Math.max(at - first, 0), 1);
  }
  return { low, high, part };
}

export function grayTable(window, scale) {
  const table = new Uint8ClampedArray(65536);
  const [low, high] = window;
  const factor = 255 / Math.max(high - low, 1e-9);
  for (let n = 0; n < 65536; n++) table[n] = (scale.low + scale.step * n - low) * factor;
  return table;
}

export function paintSlice(frame, slice, view, place, table, color) {
  const { width, height, pixels } = frame;
  const xs = axis(width, view.columns, place.left, place.scaleX), ys = axis(height, view.rows, place.top, place.scaleY);
  const columns = view.columns;
  pixels.fill(0xff000000);
  for (let y = 0; y < height; y++) {
    if (ys.low[y] < 0) continue;
    const top = ys.low[y] * columns, bottom = ys.high[y] * columns, fy = ys.part[y];
    for (let x = 0, at = y * width; x < width; x++, at++) {
      const left = xs.low[x];
      if (left < 0) continue;
      const right = xs.high[x], fx = xs.part[x];
      if (color) {
        pixels[at] = 0xff000000 | blendColor(slice, top + left, top + right, bottom + left, bottom + right, fx, fy, table);
        continue;
      }
      const upper = slice[top + left] + (slice[top + right] - slice[top + left]) * fx;
      const lower = slice[bottom + left] + (slice[bottom + right] - slice[bottom + left]) * fx;
      const gray = table[(upper + (lower - upper) * fy + 0.5) | 0];
      pixels[at] = 0xff000000 | (gray << 16) | (gray << 8) | gray;
    }
  }
}

function blendColor(slice, a, b, c, d, fx, fy, table) {
  let all = 0;
  for (let part = 2; part >= 0; part--) {
    const upper = slice[3 * a + part] + (slice[3 * b + part] - slice[3 * a + part]) * fx;
    const lower = slice[3 * c + part] + (slice[3 * d + part] - slice[3 * c + part]) * fx;
    all = (all << 8) | table[(upper + (lower - upper) * fy + 0.5) | 0];
  }
  return all;
}

const LOOKS = {
  segment: { fill: 0.28, line: 2 },
  added: { fill: 0.6, line: 0 },
  removed: { fill: 0, line: 2 },
  confidence: { fill: 0.6, line: 0 },
};

export function paintLayer(frame, layer, place, ratio, fill = null) {
  const look = LOOKS[layer.kind];
  const line = Math.max(look.line && 1, Math.round((look.line + (layer.selected ? 0.6 : 0)) * ratio * (look.line ? 0.8 : 0)));
  const box = onScreen(frame, layer.rect, place);
  if (!box) return;
  if (layer.kind === 'confidence') { paintPercent(frame, layer, place, box); return; }
  mark(frame, layer, place, box);
  const [red, green, blue] = layer.color.map((part) => 255 * part);
  const alpha = fill ?? look.fill;
  const { width, pixels, marks } = frame;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left, at = y * width + x; x < box.right; x++, at++) {
      if (!marks[at]) continue;
      const edge = line > 0 && isEdge(frame, x, y, at, line);
      const share = edge ? 1 : alpha;
      if (share === 0) continue;
      const old = pixels[at];
      const r = (old & 255) * (1 - share) + red * share;
      const g = ((old >> 8) & 255) * (1 - share) + green * share;
      const b = ((old >> 16) & 255) * (1 - share) + blue * share;
      pixels[at] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
  }
  for (let y = box.top; y < box.bottom; y++) marks.fill(0, y * width + box.left, y * width + box.right);
}

function onScreen(frame, [x, y, columns, rows], place) {
  const box = {
    left: Math.max(0, Math.floor(place.left + (x - 1) * place.scaleX)),
    top: Math.max(0, Math.floor(place.top + (y - 1) * place.scaleY)),
    right: Math.min(frame.width, Math.ceil(place.left + (x + columns + 1) * place.scaleX)),
    bottom: Math.min(frame.height, Math.ceil(place.top + (y + rows + 1) * place.scaleY)),
  };
  return box.left < box.right && box.top < box.bottom ? box : null;
}

// Which screen pixels lie in the mask: where it is interpolated to more than one half, nothing lying outside of it.
function mark(frame, layer, place, box) {
  const [x0, y0, columns, rows] = layer.rect;
  const { voxels } = layer;
  for (let y = box.top; y < box.bottom; y++) {
    const v = (y + 0.5 - place.top) / place.scaleY - 0.5 - y0;
    const row = Math.floor(v), fy = v - row;
    const upper = row >= 0 && row < rows ? row * columns : -1;
    const lower = row + 1 >= 0 && row + 1 < rows ? (row + 1) * columns : -1;
    if (upper < 0 && lower < 0) continue;
    for (let x = box.left, at = y * frame.width + x; x < box.right; x++, at++) {
      const u = (x + 0.5 - place.left) / place.scaleX - 0.5 - x0;
      const column = Math.floor(u), fx = u - column;
      let left = 0, right = 0;
      if (column >= 0 && column < columns) {
        left = (upper >= 0 ? voxels[upper + column] * (1 - fy) : 0) + (lower >= 0 ? voxels[lower + column] * fy : 0);
      }
      if (column + 1 >= 0 && column + 1 < columns) {
        right = (upper >= 0 ? voxels[upper + column + 1] * (1 - fy) : 0)
          + (lower >= 0 ? voxels[lower + column + 1] * fy : 0);
      }
      if (left * (1 - fx) + right * fx >= 0.5) frame.marks[at] = 1;
    }
  }
}

function isEdge(frame, x, y, at, line) {
  const { width, height, marks } = frame;
  return x < line || y < line || x >= width - line || y >= height - line
    || !marks[at - line] || !marks[at + line] || !marks[at - line * width] || !marks[at + line * width];
}

// How sure the model is: from blue (doubtful) over yellow to red (sure).
function paintPercent(frame, layer, place, box) {
  const [x0, y0, columns, rows] = layer.rect;
  for (let y = box.top; y < box.bottom; y++) {
    const row = Math.floor((y + 0.5 - place.top) / place.scaleY) - y0;
    if (row < 0 || row >= rows) continue;
    for (let x = box.left, at = y * frame.width + x; x < box.right; x++, at++) {
      const column = Math.floor((x + 0.5 - place.left) / place.scaleX) - x0;
      if (column < 0 || column >= columns) continue;
      const percent = layer.voxels[row * columns + column];
      if (percent < 5) continue;
      const t = percent / 100, share = 0.45;
      const color = [255 * Math.min(1, 2 * t), 255 * (t < 0.5 ? 0.4 + t : 1.4 - t), 255 * Math.max(0, 1 - 2 * t)];
      const old = frame.pixels[at];
      const r = (old & 255) * (1 - share) + color[0] * share;
      const g = ((old >> 8) & 255) * (1 - share) + color[1] * share;
      const b = ((old >> 16) & 255) * (1 - share) + color[2] * share;
      frame.pixels[at] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
  }
}
