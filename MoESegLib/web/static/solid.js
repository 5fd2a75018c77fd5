// The 3D view: surfaces of the segments, drawn in JavaScript with a depth buffer, so that neither this computer nor the
// server needs a graphics driver. 40,000 triangles take 10 to 20 ms.

import { getSurface, on, store, tell } from './link.js';
import { write } from './over.js';

const COLORS = { axial: [243, 86, 74], coronal: [110, 176, 75], sagittal: [237, 213, 76] };
const START = { turn: 0.45, tilt: 0.3 };

export class Solid {
  constructor(parent) {
    this.surfaces = new Map();
    this.view = { ...START, zoom: 1 };
    this.box = document.createElement('div');
    this.box.className = 'view solid';
    this.box.innerHTML = '<div class="bar"><b>3D</b><span class="spacer"></span><output></output></div>'
      + '<div class="stage" tabindex="0"><canvas></canvas><div class="hint"></div></div>';
    parent.append(this.box);
    this.stage = this.box.querySelector('.stage');
    this.canvas = this.box.querySelector('canvas');
    this.hint = this.box.querySelector('.hint');
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.stage);
    on('moved', () => this.soon());
  }

  listen() {
    const { stage } = this;
    stage.addEventListener('contextmenu', (event) => event.preventDefault());
    stage.addEventListener('pointerdown', (event) => {
      stage.setPointerCapture(event.pointerId);
      this.drag = { x: event.clientX, y: event.clientY, ...this.view };
    });
    stage.addEventListener('pointermove', (event) => {
      if (!this.drag) return;
      this.view.turn = this.drag.turn + (event.clientX - this.drag.x) / 120;
      this.view.tilt = Math.min(Math.max(this.drag.tilt + (event.clientY - this.drag.y) / 120, -1.57), 1.57);
      this.soon();
    });
    stage.addEventListener('pointerup', () => { this.drag = null; });
    stage.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.view.zoom = Math.min(Math.max(this.view.zoom * Math.exp(-event.deltaY / 500), 0.4), 12);
      this.soon();
    }, { passive: false });
    stage.addEventListener('dblclick', () => tell('enlarge', this.box));
  }

  reset() {
    this.view = { ...START, zoom: 1 };
    this.soon();
  }

  open() {
    this.surfaces.clear();
    this.reset();
  }

  resize() {
    this.canvas.width = Math.max(1, this.stage.clientWidth);
    this.canvas.height = Math.max(1, this.stage.clientHeight);
    this.depth = new Float32Array(this.canvas.width * this.canvas.height);
    this.image = new ImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.draw();
  }

  // Fetch the surfaces that changed; later, when answers follow each other.
  refresh() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.fetch(), 120);
  }

  async fetch() {
    const { case: number, segments } = store.state;
    for (const segment of segments) {
      const known = this.surfaces.get(segment.id);
      if (known?.stamp === segment.stamp) continue;
      try {
        const surface = segment.milliliters > 0 ? await getSurface(segment.id) : { points: new Float32Array(0), triangles: new Uint32Array(0) };
        if (number !== store.state.case) return;
        this.surfaces.set(segment.id, { ...surface, stamp: segment.stamp, normals: normalsOf(surface) });
      } catch { /* the segment is gone; the next state says so */ }
    }
    this.draw();
    tell('solid');
  }

  soon() {
    if (this.queued) return;
    this.queued = requestAnimationFrame(() => { this.queued = 0; this.draw(); });
  }

  camera() {
    const { matrix, size } = store.info;
    const center = [0, 1, 2].map((row) => matrix[row][3] + [0, 1, 2].reduce((sum, n) => sum + matrix[row][n] * (size[n] - 1) / 2, 0));
    const lengths = [0, 1, 2].map((n) => Math.hypot(matrix[0][n], matrix[1][n], matrix[2][n]) * size[n]);
    const scale = this.view.zoom * 0.92 * Math.min(this.canvas.width, this.canvas.height) / Math.hypot(...lengths);
    const ct = Math.cos(this.view.turn), st = Math.sin(this.view.turn), cp = Math.cos(this.view.tilt), sp = Math.sin(this.view.tilt);
    // From the front: the patient's left is on the right, superior is up. Rows: to the right, up, toward the viewer.
    const rows = [[-ct, st, 0], [-st * sp, -ct * sp, cp], [st * cp, ct * cp, sp]];
    return { center, scale, rows };
  }

  draw() {
    if (!this.pixels) return;
    const context = this.canvas.getContext('2d');
    if (!store.info) { context.clearRect(0, 0, this.canvas.width, this.canvas.height); return; }
    this.pixels.fill(0xff18130f);
    this.depth.fill(-Infinity);
    const camera = this.camera();
    let count = 0;
    for (const segment of store.state?.segments ?? []) {
      const surface = this.surfaces.get(segment.id);
      if (!surface || !segment.visible) continue;
      this.paint(surface, segment.color, camera);
      count += surface.triangles.length / 3;
    }
    this.hint.textContent = count ? '' : 'The segments appear here in 3D.';
    const marks = this.frameLines(camera);
    context.putImageData(this.image, 0, 0);
    context.font = '600 13px system-ui, "DejaVu Sans", sans-serif';
    for (const [letter, [x, y]] of marks) write(context, letter, x, y, 'center');
  }

  project(point, { center, scale, rows }) {
    const d = [point[0] - center[0], point[1] - center[1], point[2] - center[2]];
    const at = rows.map((row) => (row[0] * d[0] + row[1] * d[1] + row[2] * d[2]) * scale);
    return [this.canvas.width / 2 + at[0], this.canvas.height / 2 - at[1], at[2]];
  }

  paint({ points, triangles, normals }, color, camera) {
    const n = points.length / 3;
    const xs = new Float32Array(n), ys = new Float32Array(n), zs = new Float32Array(n), light = new Float32Array(n);
    const { rows, center, scale } = camera;
    const width = this.canvas.width, height = this.canvas.height;
    for (let k = 0; k < n; k++) {
      const a = points[3 * k] - center[0], b = points[3 * k + 1] - center[1], c = points[3 * k + 2] - center[2];
      xs[k] = width / 2 + scale * (rows[0][0] * a + rows[0][1] * b + rows[0][2] * c);
      ys[k] = height / 2 - scale * (rows[1][0] * a + rows[1][1] * b + rows[1][2] * c);
      zs[k] = scale * (rows[2][0] * a + rows[2][1] * b + rows[2][2] * c);
      const u = normals[3 * k], v = normals[3 * k + 1], w = normals[3 * k + 2];
      const facing = Math.abs(rows[2][0] * u + rows[2][1] * v + rows[2][2] * w);
      light[k] = 0.22 + 0.78 * facing + 0.25 * facing ** 24;
    }
    for (let t = 0; t < triangles.length; t += 3) {
      this.triangle(xs, ys, zs, light, triangles[t], triangles[t + 1], triangles[t + 2], color);
    }
  }

  triangle(xs, ys, zs, light, a, b, c, color) {
    const width = this.canvas.width, height = this.canvas.height;
    const x0 = xs[a], y0 = ys[a], ax = xs[b] - x0, ay = ys[b] - y0, bx = xs[c] - x0, by = ys[c] - y0;
    const area = ax * by - ay * bx;
    if (Math.abs(area) < 1e-9) return;
    const left = Math.max(0, Math.ceil(Math.min(x0, xs[b], xs[c]))), right = Math.min(width - 1, Math.floor(Math.max(x0, xs[b], xs[c])));
    const top = Math.max(0, Math.ceil(Math.min(y0, ys[b], ys[c]))), bottom = Math.min(height - 1, Math.floor(Math.max(y0, ys[b], ys[c])));
    for (let y = top; y <= bottom; y++) {
      for (let x = left, at = y * width + x; x <= right; x++, at++) {
        const dx = x - x0, dy = y - y0;
        const u = (dx * by - dy * bx) / area, v = (ax * dy - ay * dx) / area;
        if (u < -1e-6 || v < -1e-6 || u + v > 1.000001) continue;
        const depth = zs[a] + u * (zs[b] - zs[a]) + v * (zs[c] - zs[a]);
        if (depth <= this.depth[at]) continue;
        this.depth[at] = depth;
        const shade = 255 * (light[a] + u * (light[b] - light[a]) + v * (light[c] - light[a]));
        const r = Math.min(255, color[0] * shade), g = Math.min(255, color[1] * shade), bl = Math.min(255, color[2] * shade);
        this.pixels[at] = 0xff000000 | (bl << 16) | (g << 8) | r;
      }
    }
  }

  // The edges of the image, the slices shown, and where the letters go.
  frameLines(camera) {
    const { matrix, size, views } = store.info;
    const world = (ijk) => [0, 1, 2].map((row) => matrix[row][3] + ijk.reduce((sum, value, n) => sum + value * matrix[row][n], 0));
    const corner = (a, b, c) => this.project(world([a ? size[0] - 0.5 : -0.5, b ? size[1] - 0.5 : -0.5, c ? size[2] - 0.5 : -0.5]), camera);
    for (const [p, q] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      this.line(corner(0, p, q), corner(1, p, q), [92, 104, 116]);
      this.line(corner(p, 0, q), corner(p, 1, q), [92, 104, 116]);
      this.line(corner(p, q, 0), corner(p, q, 1), [92, 104, 116]);
    }
    for (const [plane, view] of Object.entries(views)) {
      const index = store.views?.[plane].index ?? 0;
      const at = (x, y) => {
        const ijk = [0, 0, 0];
        ijk[view.axis] = index;
        ijk[view.columnAxis] = x ? view.columns - 0.5 : -0.5;
        ijk[view.rowAxis] = y ? view.rows - 0.5 : -0.5;
        return this.project(world(ijk), camera);
      };
      const ring = [at(0, 0), at(1, 0), at(1, 1), at(0, 1)];
      ring.forEach((point, n) => this.line(point, ring[(n + 1) % 4], COLORS[plane]));
    }
    return this.letterPlaces(world, size, camera);
  }

  letterPlaces(world, size, camera) {
    const middle = size.map((length) => (length - 1) / 2), center = world(middle), marks = [];
    const far = 18 / camera.scale; // 18 pixels outside of the image
    for (let axis = 0; axis < 3; axis++) {
      for (const end of [-0.5, size[axis] - 0.5]) {
        const ijk = [...middle];
        ijk[axis] = end;
        const face = world(ijk), d = face.map((value, n) => value - center[n]), length = Math.hypot(...d);
        const at = face.map((value, n) => value + (d[n] / length) * far);
        const most = d.map(Math.abs).indexOf(Math.max(...d.map(Math.abs)));
        marks.push([(d[most] > 0 ? 'RAS' : 'LPI')[most], this.project(at, camera)]);
      }
      const [one, other] = marks.slice(-2).map(([, at]) => at);
      if (Math.hypot(one[0] - other[0], one[1] - other[1]) < 70) marks.splice(-2); // they would lie on the segments
    }
    return marks;
  }

  line([x0, y0, z0], [x1, y1, z1], [r, g, b]) {
    const steps = Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1));
    const color = 0xff000000 | (b << 16) | (g << 8) | r, { width, height } = this.canvas;
    for (let n = 0; n <= steps; n++) {
      const t = n / steps, x = Math.round(x0 + t * (x1 - x0)), y = Math.round(y0 + t * (y1 - y0)), z = z0 + t * (z1 - z0);
      if (x < 0 || y < 0 || x >= width || y >= height) continue;
      if (z > this.depth[y * width + x]) this.pixels[y * width + x] = color;
    }
  }
}

// Of every point, the mean of its triangles' directions, weighted by their areas.
function normalsOf({ points, triangles }) {
  const normals = new Float32Array(points.length);
  for (let t = 0; t < triangles.length; t += 3) {
    const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
  }
  for (let k = 0; k < normals.length; k += 3) {
    const length = Math.hypot(normals[k], normals[k + 1], normals[k + 2]) || 1;
    normals[k] /= length; normals[k + 1] /= length; normals[k + 2] /= length;
  }
  return normals;
}
