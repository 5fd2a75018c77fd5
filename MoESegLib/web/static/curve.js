// The learning curve: Dice by epoch on patients that were not learned from; dashed is the model without the expert.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 700, HEIGHT = 128, LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 20;
const LINES = [['Box', '#4fb3e8', 1], ['One click', '#f0a35e', 2], ['No prompt', '#8fd18f', 3]];

function draw(tag, attributes, text = '') {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// points: [epoch, box, click, without prompt or null] each; base: [box, click] or null.
export function curve(points, base) {
  const picture = draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': 'Dice by epoch' });
  const last = Math.max(points.at(-1)[0], 1);
  const x = (epoch) => LEFT + (WIDTH - LEFT - RIGHT) * (epoch / last);
  const y = (dice) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - dice);
  for (const dice of [0, 0.5, 1]) {
    picture.append(draw('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: y(dice), y2: y(dice), stroke: '#2f3842' }),
      draw('text', { x: LEFT - 6, y: y(dice) + 4, fill: '#95a1ad', 'font-size': 11, 'text-anchor': 'end' }, dice.toFixed(1)));
  }
  LINES.forEach(([name, color, place], number) => {
    const known = points.filter((point) => point[place] !== null);
    if (!known.length) return;
    picture.append(draw('polyline', { points: known.map((point) => `${x(point[0])},${y(point[place])}`).join(' '), fill: 'none', stroke: color, 'stroke-width': 2 }));
    for (const point of known) picture.append(draw('circle', { cx: x(point[0]), cy: y(point[place]), r: 2.5, fill: color }));
    const before = base?.[place - 1];
    if (before !== undefined) picture.append(draw('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: y(before), y2: y(before), stroke: color, 'stroke-dasharray': '5 4', opacity: 0.8 }));
    picture.append(draw('text', { x: LEFT + 90 * number, y: HEIGHT - 5, fill: color, 'font-size': 11 }, name));
  });
  picture.append(draw('text', { x: WIDTH - RIGHT, y: HEIGHT - 5, fill: '#95a1ad', 'font-size': 11, 'text-anchor': 'end' }, `Dice after ${last} epoch${last === 1 ? '' : 's'}; dashed: without the expert`));
  return picture;
}
