// One slice view: the picture, what is drawn over it, and what the mouse does in it.

import { dragged, grabAt } from './grab.js';
import { getLayers, getSlice, on, send, store, tell } from './link.js';
import { drawOver } from './over.js';
import { Frame, grayTable, paintLayer, paintSlice } from './paint.js';

const WHEEL_STEP = 60; // pixels of a trackpad; a notch of a wheel is at least that much

export class View {
  constructor(plane, parent) {
    this.plane = plane;
    this.index = 0;
    this.zoom = 1;
    this.pan = [0, 0];
    this.drawing = null; // the path being drawn, in slice pixels
    this.wheel = 0;
    this.build(parent);
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  build(parent) {
    this.box = document.createElement('div');
    this.box.className = `view ${this.plane}`;
    this.box.innerHTML = `<div class="bar"><b>${this.plane[0].toUpperCase()}${this.plane.slice(1)}</b>`
      + `<input type="range" min="0" value="0" aria-label="Slice, ${this.plane}"><output></output></div>`
      + '<div class="stage" tabindex="0"><canvas></canvas><canvas></canvas></div>';
    parent.append(this.box);
    this.slider = this.box.querySelector('input');
    this.output = this.box.querySelector('output');
    this.stage = this.box.querySelector('.stage');
    this.stage.dataset.plane = this.plane;
    [this.canvas, this.over] = this.box.querySelectorAll('canvas');
  }

  get info() { return store.info?.views[this.plane]; }

  // Showing --------------------------------------------------------------------------------------------------------

  open() {
    this.zoom = 1;
    this.pan = [0, 0];
    this.data = null;
    this.slider.max = this.info.count - 1;
    this.table = null;
    this.show(store.state.indices[this.plane]);
  }

  // Go to a slice; the picture follows when its data are here, and slices that were passed meanwhile are left out.
  show(index, tellServer = true) {
    if (!this.info) return;
    const before = this.index;
    this.index = Math.min(Math.max(Math.round(index), 0), this.info.count - 1);
    this.slider.value = this.index;
    const mm = this.info.first + this.info.step * this.index;
    this.output.textContent = `${this.index + 1} / ${this.info.count}   ${mm.toFixed(1)} mm`;
    if (tellServer && this.index !== before) this.tellIndex();
    if (this.index !== before) tell('moved');
    this.load().then(() => this.ahead(Math.sign(this.index - before)));
  }

  // What the server encodes ahead is the slice where the user stops, not every slice on the way.
  tellIndex() {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.tellNow(), 60);
  }

  tellNow() {
    clearTimeout(this.telling);
    send({ do: 'look', plane: this.plane, index: this.index, active: store.active === this.plane });
  }

  async load() {
    const index = this.index, number = store.info.case, revision = store.state.revision;
    try {
      const [slice, layers] = await Promise.all([getSlice(this.plane, index), getLayers(this.plane, index)]);
      if (index !== this.index || number !== store.info.case || revision !== store.state.revision) return;
      this.data = { slice, layers, revision };
      this.draw();
      tell('drawn', { plane: this.plane, revision });
    } catch (error) {
      if (number === store.info.case && index === this.index) tell('message', String(error.message ?? error));
    }
  }

  ahead(direction) {
    for (const step of direction ? [1, 2, 3] : [1, -1]) {
      const next = this.index + step * (direction || 1);
      if (next >= 0 && next < this.info.count) getSlice(this.plane, next).catch(() => {});
    }
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.stage.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.stage.clientHeight * this.ratio));
    if (this.frame?.width === width && this.frame?.height === height) return;
    this.frame = new Frame(width, height);
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.draw();
  }

  // Where the slice lies on the screen, in device pixels.
  place() {
    const { rows, columns, rowMm, columnMm } = this.info;
    const { width, height } = this.frame;
    const perMm = this.zoom * Math.min(width / (columns * columnMm), height / (rows * rowMm));
    const scaleX = perMm * columnMm, scaleY = perMm * rowMm;
    return {
      scaleX, scaleY, perMm,
      left: (width - columns * scaleX) / 2 + this.pan[0] * perMm, top: (height - rows * scaleY) / 2 + this.pan[1] * perMm,
    };
  }

  draw() {
    if (!this.frame || !this.data || !this.info) return;
    const place = this.place();
    this.table ??= grayTable(store.window, store.info.color ? { low: 0, step: 1 } : store.info.scale);
    paintSlice(this.frame, this.data.slice, this.info, place, this.table, store.info.color);
    if (store.masks) {
      for (const layer of this.data.layers) {
        const quiet = layer.selected && layer.kind === 'segment' && (store.state.changes || store.state.confidence);
        paintLayer(this.frame, layer, place, this.ratio, quiet ? 0 : null);
      }
    }
    this.canvas.getContext('2d').putImageData(this.frame.image, 0, 0);
    this.drawOver();
  }

  drawOver() {
    if (this.frame && this.info) drawOver(this);
  }

  setWindow() {
    this.table = null;
    this.draw();
  }

  // Mouse ----------------------------------------------------------------------------------------------------------

  // The slice pixel under the mouse; whole numbers are centers.
  pixel(event) {
    const box = this.stage.getBoundingClientRect(), place = this.place();
    return [
      ((event.clientX - box.left) * this.ratio - place.left) / place.scaleX - 0.5,
      ((event.clientY - box.top) * this.ratio - place.top) / place.scaleY - 0.5,
    ];
  }

  inside([x, y]) {
    return x >= -0.5 && y >= -0.5 && x <= this.info.columns - 0.5 && y <= this.info.rows - 0.5;
  }

  clamp([x, y]) {
    return [Math.min(Math.max(x, -0.5), this.info.columns - 0.5), Math.min(Math.max(y, -0.5), this.info.rows - 0.5)];
  }

  listen() {
    const { stage } = this;
    stage.addEventListener('contextmenu', (event) => event.preventDefault());
    stage.addEventListener('wheel', (event) => this.onWheel(event), { passive: false });
    stage.addEventListener('pointerenter', () => this.activate());
    stage.addEventListener('pointerdown', (event) => this.onDown(event));
    stage.addEventListener('pointermove', (event) => this.onMove(event));
    stage.addEventListener('pointerup', (event) => this.onUp(event));
    stage.addEventListener('pointercancel', () => { this.drag = this.drawing = null; this.drawOver(); });
    stage.addEventListener('pointerleave', () => tell('cursor', ''));
    stage.addEventListener('dblclick', () => { if (!store.tool) tell('enlarge', this.box); });
    this.slider.addEventListener('input', () => this.show(Number(this.slider.value)));
    on('moved', () => this.drawOver());
    on('tool', () => { stage.classList.toggle('drawing', store.tool !== ''); this.drawing = null; this.drawOver(); });
  }

  activate() {
    if (store.active === this.plane || !this.info) return;
    store.active = this.plane;
    this.tellNow();
  }

  onWheel(event) {
    event.preventDefault();
    if (!this.info) return;
    if (event.ctrlKey || event.metaKey) { this.zoomAt(event, Math.exp(-event.deltaY / 400)); return; }
    this.wheel += event.deltaMode === 1 ? event.deltaY * WHEEL_STEP : event.deltaY;
    const steps = Math.trunc(this.wheel / WHEEL_STEP);
    if (!steps) return;
    this.wheel = 0;
    // Away from the user is toward right, anterior, superior, as in Slicer.
    this.show(this.index - Math.sign(steps) * Math.sign(this.info.step || 1));
  }

  zoomAt(event, factor) {
    const [x, y] = this.pixel(event);
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 40);
    const [after, below] = this.pixel(event), place = this.place();
    this.pan[0] += ((after - x) * place.scaleX) / place.perMm;
    this.pan[1] += ((below - y) * place.scaleY) / place.perMm;
    this.draw();
  }

  onDown(event) {
    if (!this.info) return;
    this.stage.setPointerCapture(event.pointerId);
    this.stage.focus({ preventScroll: true });
    const at = this.pixel(event);
    this.drag = { x: event.clientX, y: event.clientY, window: [...store.window], pan: [...this.pan] };
    if (event.button === 1 || (event.button === 0 && event.altKey)) this.drag.kind = 'pan';
    else if (event.button === 2) this.drag.kind = 'window';
    else if (store.tool && !this.inside(at)) this.drag = null;
    else if (store.tool) { this.drag.kind = 'draw'; this.drawing = [at]; } else {
      this.drag.grab = grabAt(this, event);
      this.drag.kind = this.drag.grab ? 'prompt' : 'cross';
      if (!this.drag.grab) this.cross(at);
    }
    this.drawOver();
  }

  onMove(event) {
    if (!this.info || !this.data) return;
    const at = this.pixel(event);
    this.readOut(at);
    const { drag } = this;
    if (!drag) {
      this.stage.style.cursor = !store.tool && grabAt(this, event) ? 'grab' : '';
      if (event.shiftKey) this.cross(at);
      return;
    }
    const place = this.place();
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (drag.kind === 'pan') {
      this.pan = [drag.pan[0] + (dx * this.ratio) / place.perMm, drag.pan[1] + (dy * this.ratio) / place.perMm];
      this.draw();
    } else if (drag.kind === 'window') {
      const width = drag.window[1] - drag.window[0], level = (drag.window[0] + drag.window[1]) / 2;
      const unit = Math.max(width, 1e-6) / 250;
      const wide = Math.max(width + dx * unit, width / 100), middle = level + dy * unit;
      tell('window', [middle - wide / 2, middle + wide / 2]);
    } else if (drag.kind === 'cross') this.cross(at);
    else if (drag.kind === 'prompt') { this.moving = { id: drag.grab.prompt.id, path: dragged(this, drag.grab, at) }; this.drawOver(); } else if (drag.kind === 'draw') {
      const point = this.clamp(at), last = this.drawing.at(-1);
      if (store.tool === 'box') this.drawing = [this.drawing[0], point];
      else if (Math.hypot((point[0] - last[0]) * place.scaleX, (point[1] - last[1]) * place.scaleY) > 3 * this.ratio) this.drawing.push(point);
      this.drawOver();
    }
  }

  onUp(event) {
    const { drag, drawing } = this;
    this.drag = this.drawing = null;
    if (drag?.kind === 'draw' && drawing) this.finish(drawing, event);
    if (drag?.kind === 'prompt' && this.moving) {
      tell('asked', performance.now());
      send({ do: 'move_prompt', id: drag.grab.prompt.id, plane: this.plane, index: this.index, xy: this.moving.path });
    }
    this.moving = null;
    this.drawOver();
  }

  finish(path) {
    const kinds = {
      positive: ['point', true], negative: ['point', false], box: ['box', true], scribble: ['scribble', true],
      exclude: ['scribble', false], lasso: ['polygon', true],
    };
    const [kind, positive] = kinds[store.tool];
    const xy = kind === 'point' ? [path[0]] : path;
    const size = Math.max(...[0, 1].map((n) => Math.max(...xy.map((p) => p[n])) - Math.min(...xy.map((p) => p[n]))));
    if (kind === 'box' && (xy.length < 2 || size < 1)) { tell('message', 'Drag from one corner of the box to the other.'); return; }
    if (kind === 'polygon' && xy.length < 3) { tell('message', 'Draw around the target with the button held.'); return; }
    tell('asked', performance.now());
    send({ do: 'prompt', kind, positive, plane: this.plane, index: this.index, xy });
  }

  // Put the crosshair at a slice pixel: the other two views show the slices through it.
  cross(at) {
    const [x, y] = this.clamp(at).map(Math.round), { info } = this;
    const i = [0, 0, 0];
    i[info.columnAxis] = info.columnFlip ? info.columns - 1 - x : x;
    i[info.rowAxis] = info.rowFlip ? info.rows - 1 - y : y;
    tell('cross', { plane: this.plane, ijk: i });
  }

  readOut(at) {
    if (!this.inside(at)) { tell('cursor', ''); return; }
    const x = Math.min(Math.max(Math.round(at[0]), 0), this.info.columns - 1);
    const y = Math.min(Math.max(Math.round(at[1]), 0), this.info.rows - 1);
    const { info } = this, n = y * info.columns + x, { scale, color, matrix, modality } = store.info;
    const ijk = [0, 0, 0];
    ijk[info.axis] = this.index;
    ijk[info.columnAxis] = info.columnFlip ? info.columns - 1 - x : x;
    ijk[info.rowAxis] = info.rowFlip ? info.rows - 1 - y : y;
    const ras = [0, 1, 2].map((row) => matrix[row][3] + ijk.reduce((sum, value, column) => sum + value * matrix[row][column], 0));
    const value = color ? [...this.data.slice.slice(3 * n, 3 * n + 3)].join(' ') : scale.low + scale.step * this.data.slice[n];
    const text = color || scale.step === 1 ? value : value.toPrecision(4);
    tell('cursor', `R ${ras[0].toFixed(1)}  A ${ras[1].toFixed(1)}  S ${ras[2].toFixed(1)} mm   ${text}${modality === 'CT' ? ' HU' : ''}`);
  }
}
