// The demo's stories: the bar with the caption, a hand that shows what is done, and visitors who take over.

import { on, send, store, tell } from './link.js';
import { element } from './panel.js';

const TOUCH_EVERY = 3000; // milliseconds between two reports that a visitor is there
const bar = document.getElementById('stage');
const hand = element('img', { src: '/static/hand.svg', alt: '', class: 'hand', hidden: true });
const frame = element('div', { class: 'handframe', hidden: true });
const ZOOM = 1.2; // there is much air around the demo's body
let shown = '', told = 0, lit = null, here = [0, 0], frameRequest = 0;

const act = (name, more = {}) => send({ do: 'stage', act: name, ...more });
const button = (text, title, onclick, more = {}) => element('button', { title, 'aria-label': title, onclick, ...more }, text);

function draw(stage) {
  bar.hidden = false;
  bar.classList.toggle('playing', stage.playing);
  if (stage.name) bar.replaceChildren(...telling(stage));
  else bar.replaceChildren(element('span', { class: 'quiet' }, 'Watch a story:'), ...choices(stage), element('span', { class: 'spacer' }), loop(stage));
}

function choices(stage) {
  return stage.stories.map((story) => button(story.title, story.why || story.note || 'Plays by itself; pause whenever you like', () => choose(story), { disabled: Boolean(story.why), 'data-story': story.name }));
}

function choose(story) {
  const count = store.state.segments.length;
  if (!count) { act('play', { name: story.name }); return; }
  bar.replaceChildren(element('span', {}, `The story begins without segments: ${count === 1 ? 'the one' : `the ${count}`} you have will be removed.`),
    button('Remove and play', 'Play the story', () => act('play', { name: story.name }), { class: 'primary' }), button('Keep', 'Keep the segments', () => draw(store.stage)));
}

function telling(stage) {
  const over = stage.phase === 'over';
  const number = element('span', { class: 'number' }, `${stage.number} of ${stage.count}`);
  const caption = element('span', { class: 'caption', title: stage.note }, stage.caption);
  if (stage.told) caption.append(element('b', { class: 'told' }, `  ${stage.told}`));
  else if (stage.note) caption.append(element('span', { class: 'quiet note' }, `  ${stage.note}`));
  return [number, caption,
    button('↺', 'From the beginning', () => act('reset')),
    stage.playing ? button('❚❚', 'Pause', () => act('pause')) : button('▶', over ? 'Again' : 'Go on', () => act('go')),
    button('▶❚', 'Next step', () => act('next'), { disabled: over }),
    loop(stage), button('✕', 'End the story', () => act('close'))];
}

function loop(stage) {
  return button('⟳', 'All stories in a loop; they pause when somebody touches the page, and begin again a minute later', () => act('loop'), { 'aria-pressed': String(stage.loop) });
}

function onStage(stage) {
  draw(stage);
  light(stage.name ? stage.target : '');
  const step = `${stage.round}/${stage.number}`;
  if (!stage.name || stage.phase === 'over') { hide(); shown = stage.name ? step : ''; return; }
  if (step === shown) { hand.classList.toggle('press', stage.phase === 'working'); return; }
  if (shown.split('/')[0] !== String(stage.round)) clean(stage);
  shown = step;
  for (const [plane, index] of Object.entries(stage.show)) store.views[plane].show(index);
  if (stage.pointer && stage.phase === 'reading') move(stage.pointer, 1000 * stage.wait); else hide();
}

// Every story is shown in the same views, whatever a visitor made of them.
function clean({ show }) {
  document.getElementById('dialog').close();
  if (store.tool) document.getElementById('tool-none').click();
  store.masks = true;
  const large = document.querySelector('.view.large');
  if (large) tell('enlarge', large);
  for (const view of Object.values(store.views)) { view.zoom = view.plane in show ? ZOOM : 1; view.pan = [0, 0]; view.draw(); }
}

function light(id) {
  lit?.classList.remove('lit');
  lit = id ? document.getElementById(id) : null;
  if (lit?.type === 'checkbox') lit = lit.parentElement;
  lit?.classList.add('lit');
  lit?.scrollIntoView({ block: 'nearest' });
}

// The hand goes to the first point in half of the time, and along the path in the rest, so that the caption is read first.
function move({ plane, path, tool }, duration) {
  cancelAnimationFrame(frameRequest);
  const view = store.views[plane], began = performance.now(), from = hand.hidden ? null : here;
  hand.hidden = false;
  hand.classList.remove('press');
  const step = () => {
    const place = view.place(), box = view.stage.getBoundingClientRect();
    const to = ([x, y]) => [box.x + (place.left + (x + 0.5) * place.scaleX) / view.ratio, box.y + (place.top + (y + 0.5) * place.scaleY) / view.ratio];
    const share = Math.min(1, (performance.now() - began) / (0.92 * duration)), first = path.length > 1 ? 0.6 : 1;
    const start = from ?? [box.x + box.width / 2, box.y + box.height * 0.95];
    here = share < first ? between(start, to(path[0]), smooth(share / first)) : between(to(path[0]), to(path.at(-1)), smooth(first < 1 ? (share - first) / (1 - first) : 1));
    hand.style.left = `${here[0]}px`;
    hand.style.top = `${here[1]}px`;
    frame.hidden = tool !== 'box' || share < first;
    if (!frame.hidden) surround(to(path[0]), here);
    if (share < 1) frameRequest = requestAnimationFrame(step);
    else setTimeout(() => { frame.hidden = true; }, 300);
  };
  step();
}

const smooth = (share) => share * share * (3 - 2 * share);
const between = ([x0, y0], [x1, y1], share) => [x0 + share * (x1 - x0), y0 + share * (y1 - y0)];

function surround([x0, y0], [x1, y1]) {
  frame.style.left = `${Math.min(x0, x1)}px`;
  frame.style.top = `${Math.min(y0, y1)}px`;
  frame.style.width = `${Math.abs(x1 - x0)}px`;
  frame.style.height = `${Math.abs(y1 - y0)}px`;
}

function hide() {
  cancelAnimationFrame(frameRequest);
  hand.hidden = frame.hidden = true;
}

function onTouch(event) {
  const { stage } = store;
  if (!stage || !event.isTrusted || bar.contains(event.target)) return;
  const matters = stage.playing || (stage.visited && performance.now() - told > TOUCH_EVERY);
  if (!matters || (event.type === 'pointermove' && stage.playing)) return;
  told = performance.now();
  act('touch');
}

document.body.append(frame, hand);
on('stage', onStage);
on('lost', hide);
for (const type of ['pointerdown', 'pointermove', 'wheel', 'keydown']) document.addEventListener(type, onTouch, { capture: true, passive: true });
