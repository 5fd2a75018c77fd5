// Prompts that are already there: what the mouse takes hold of, and where it goes when it is dragged.

import { store } from './link.js';

const CATCH = 9; // pixels of the screen around a point, a corner or a line

// The prompt under the mouse. A box is taken at a corner, or as a whole at its border; lines and outlines as a whole.
export function grabAt(view, event) {
  const box = view.stage.getBoundingClientRect(), place = view.place(), near = CATCH * view.ratio;
  const mouse = [(event.clientX - box.left) * view.ratio, (event.clientY - box.top) * view.ratio];
  const to = ([x, y]) => [place.left + (x + 0.5) * place.scaleX, place.top + (y + 0.5) * place.scaleY];
  for (const prompt of store.state.prompts) {
    const path = prompt.places[view.plane]?.path;
    if (!path || !isHere(view, prompt)) continue;
    const start = view.pixel(event);
    if (prompt.kind === 'point' && distance(to(path[0]), mouse) < near) return { prompt, path, start };
    if (prompt.kind === 'box') {
      for (const x of [0, 1]) for (const y of [0, 1]) {
        if (distance(to([path[x][0], path[y][1]]), mouse) < near) return { prompt, path, start, corner: [x, y] };
      }
    }
    if (prompt.kind !== 'point' && alongLine(outline(prompt, path).map(to), mouse) < near / 2) return { prompt, path, start };
  }
  return null;
}

// Where the points of a prompt are when the mouse has gone to a pixel of the slice; shapes stay inside the image.
export function dragged(view, { prompt, path, start, corner }, at) {
  if (prompt.kind === 'point') return [view.clamp(at)];
  if (corner) {
    const [x, y] = view.clamp(at), moved = path.map((point) => [...point]);
    moved[corner[0]][0] = x;
    moved[corner[1]][1] = y;
    return moved;
  }
  const [dx, dy] = [0, 1].map((n) => {
    const values = path.map((point) => point[n]), last = (n ? view.info.rows : view.info.columns) - 0.5;
    return Math.min(Math.max(at[n] - start[n], -0.5 - Math.min(...values)), last - Math.max(...values));
  });
  return path.map(([x, y]) => [x + dx, y + dy]);
}

function isHere(view, prompt) {
  const [first, last] = prompt.places[view.plane].slices;
  if (view.index < first - 0.5 || view.index > last + 0.5) return false;
  return prompt.kind === 'point' || (prompt.plane === view.plane && ['box', 'scribble', 'polygon'].includes(prompt.kind));
}

function outline({ kind }, path) {
  if (kind === 'scribble') return path;
  if (kind === 'polygon') return [...path, path[0]];
  const [[x0, y0], [x1, y1]] = path;
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]];
}

const distance = ([x0, y0], [x1, y1]) => Math.hypot(x1 - x0, y1 - y0);

function alongLine(points, mouse) {
  let least = distance(points[0], mouse);
  for (let n = 1; n < points.length; n++) {
    const [[x0, y0], [x1, y1]] = [points[n - 1], points[n]], length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    const share = length ? Math.min(Math.max(((mouse[0] - x0) * (x1 - x0) + (mouse[1] - y0) * (y1 - y0)) / length, 0), 1) : 0;
    least = Math.min(least, distance([x0 + share * (x1 - x0), y0 + share * (y1 - y0)], mouse));
  }
  return least;
}
