// Puts the page together: views, tools, keys, and the messages of the server.

import { openFiles, saveFiles, showHelp } from './dialogs.js';
import { lostHelp } from './keep.js';
import { connect, on, send, store, tell } from './link.js';
import { element, setUp } from './panel.js';
import { Solid } from './solid.js';
import { View } from './view.js';

const $ = (id) => document.getElementById(id);

const TOOLS = [
  ['', '', 'Esc', 'Look around: click sets the crosshair.', null],
  ['positive', 'PointPositive', 'P', 'Click inside the target.', 'point'],
  ['negative', 'PointNegative', 'N', 'Click what does not belong to the target.', 'point'],
  ['box', 'Box', 'X', 'Drag a box around the target.', 'box'],
  ['scribble', 'Scribble', 'C', 'Draw a line inside the target.', 'scribble'],
  ['exclude', 'Exclude', 'E', 'Draw a line through what does not belong to it.', 'scribble'],
  ['lasso', 'Lasso', 'L', 'Draw around the target.', 'polygon'],
];
const KEYS = [
  ...TOOLS.filter(([name]) => name).map(([, , key, text]) => [key, text]), ['Esc', 'No tool'], ['D', 'Type a phrase'], ['S', 'Automatic'],
  ['A', 'Accept and lock, or unlock'], ['U, Ctrl+Z', 'Undo'], ['Shift+U, Ctrl+Y', 'Redo'], ['H', 'Hide or show all masks'], ['R', 'Reset the views'], ['O', 'Open'],
];

// Milliseconds from the release of the mouse to the mask on the screen, for measuring.
window.moeseg = { store, timings: [] };
let asked = 0, waiting = null;

function buildTools() {
  const add = (id, icon, text, act) => {
    const picture = icon.endsWith('.svg') ? element('img', { src: icon, alt: '' }) : icon;
    $('tools').append(element('button', { id, title: text, 'aria-label': text, onclick: act }, picture));
  };
  for (const [name, icon, key, text] of TOOLS) {
    add(`tool-${name || 'none'}`, name ? `/icons/${icon}.svg` : '/static/crosshair.svg', `${text} (${key})`, () => setTool(name));
  }
  $('tools').append(element('hr'));
  add('undo', '/icons/Undo.svg', 'Undo (U)', () => send({ do: 'undo' }));
  add('redo', '/icons/Redo.svg', 'Redo (Shift+U)', () => send({ do: 'redo' }));
}

function setTool(name) {
  const button = $(`tool-${name || 'none'}`);
  if (button.disabled) { if (button.title) tell('message', button.title); return; }
  store.tool = name === store.tool ? '' : name;
  for (const [other] of TOOLS) $(`tool-${other || 'none'}`).setAttribute('aria-pressed', String(other === store.tool));
  say(store.tool ? TOOLS.find(([other]) => other === store.tool)[3] : '', false);
  tell('tool');
}

function say(text, alert = true) {
  $('message').textContent = text;
  $('message').title = text;
  $('message').classList.toggle('alert', alert);
}

function refreshTools(state) {
  for (const [name, , key, text, kind] of TOOLS) {
    if (!kind) continue;
    const reason = state.case === null ? 'Open an image first.' : state.why || (state.understands.includes(kind) ? '' : 'The chosen model does not understand this prompt.');
    const button = $(`tool-${name}`);
    button.disabled = Boolean(reason);
    button.title = reason || `${text} (${key})`;
  }
  $('undo').disabled = !state.canUndo;
  $('redo').disabled = !state.canRedo;
}

function setWindow(window) {
  store.window = window;
  const [low, high] = window, digits = high - low < 10 ? 3 : 0;
  $('window-values').textContent = `W ${(high - low).toFixed(digits)}  L ${((low + high) / 2).toFixed(digits)}`;
  const named = Object.entries(store.info.windows).find(([, [a, b]]) => a === low && b === high);
  $('window').value = named ? named[0] : '';
  for (const view of Object.values(store.views)) view.setWindow();
}

function onCase(info) {
  store.opened = false;
  document.title = `${info.name} – MoESeg`;
  $('image-name').textContent = `${info.name}   ${info.modality} ${info.size.join(' × ')}, ${info.spacing.map((mm) => mm.toFixed(2)).join(' × ')} mm`;
  $('window').replaceChildren(...Object.keys(info.windows).map((name) => element('option', { value: name }, name[0].toUpperCase() + name.slice(1))), element('option', { value: '', hidden: true }, 'Own'));
}

function onState(state) {
  $('curtain').hidden = true;
  refreshTools(state);
  if (state.case === null) { if (!store.asked) { store.asked = true; openFiles(); } return; }
  if (store.info?.case !== state.case) return;
  if (!store.opened) {
    store.opened = true;
    store.revision = state.revision;
    for (const view of Object.values(store.views)) view.open();
    setWindow(store.info.windows.default);
    solid.open();
    solid.refresh();
    return;
  }
  if (state.revision !== store.revision) {
    store.revision = state.revision;
    if (asked && state.answer) { waiting = { start: asked, revision: state.revision, views: new Set(), engine: 1000 * state.answer.seconds }; asked = 0; }
    for (const view of Object.values(store.views)) view.load();
    solid.refresh();
  } else for (const view of Object.values(store.views)) view.drawOver();
}

function onDrawn({ plane, revision }) {
  if (!waiting || revision !== waiting.revision) return;
  waiting.views.add(plane);
  if (waiting.views.size < 3) return;
  const done = waiting;
  waiting = null;
  requestAnimationFrame(() => { window.moeseg.timings.push({ ms: performance.now() - done.start, engine: done.engine }); });
}

function onCross({ plane, ijk }) {
  for (const view of Object.values(store.views)) if (view.plane !== plane) view.show(ijk[view.info.axis]);
}

function enlarge(box) {
  const large = !box.classList.contains('large');
  for (const other of $('views').children) other.classList.remove('large');
  box.classList.toggle('large', large);
  $('views').classList.toggle('one', large);
}

function resetViews() {
  for (const view of Object.values(store.views)) { view.zoom = 1; view.pan = [0, 0]; view.draw(); }
  solid.reset();
}

function press(id) { if (!$(id).disabled) $(id).click(); }

function onKey(event) {
  if (event.target.matches('input:not([type="range"]):not([type="checkbox"]), select') || $('dialog').open) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === 'z') press(event.shiftKey ? 'redo' : 'undo');
    else if (key === 'y') press('redo');
    else if (key === 's') saveFiles();
    else return;
    event.preventDefault();
    return;
  }
  if (event.altKey) return;
  const tool = TOOLS.find(([name, , letter]) => name && letter.toLowerCase() === key);
  const view = store.views[store.active];
  const acts = {
    escape: () => { if (store.tool) setTool(''); }, d: () => $('phrase').focus(), s: () => press('automatic'), a: () => press('accept'),
    u: () => press(event.shiftKey ? 'redo' : 'undo'), r: resetViews, o: openFiles, '?': () => showHelp(KEYS),
    h: () => { store.masks = !store.masks; for (const one of Object.values(store.views)) one.draw(); },
    arrowup: () => view.show(view.index + Math.sign(view.info?.step || 1)), arrowdown: () => view.show(view.index - Math.sign(view.info?.step || 1)),
  };
  const act = tool ? () => setTool(tool[0]) : acts[key];
  if (!act || event.target.matches('input[type="range"]')) return;
  event.preventDefault();
  act();
}

function curtain(text, action) {
  $('curtain').replaceChildren(element('p', {}, text), ...(action ? [element('p', {}, element('button', { class: 'primary', onclick: () => connect(true) }, action))] : []));
  $('curtain').hidden = false;
}

buildTools();
setUp();
const views = {};
for (const plane of ['axial', 'coronal', 'sagittal']) views[plane] = new View(plane, $('views'));
store.views = views;
const solid = new Solid($('views'));
$('views').insertBefore(solid.box, views.coronal.box);
$('open').addEventListener('click', openFiles);
$('save').addEventListener('click', saveFiles);
$('help').addEventListener('click', () => showHelp(KEYS));
$('window').addEventListener('change', () => setWindow(store.info.windows[$('window').value]));
on('case', onCase);
on('state', onState);
on('drawn', onDrawn);
on('cross', onCross);
on('window', setWindow);
on('enlarge', enlarge);
on('message', (text) => say(text));
on('done', (text) => say(text, false));
on('cursor', (text) => { $('cursor').textContent = text; });
on('take', ({ tool }) => { if (store.tool !== tool) setTool(tool); });
on('asked', (time) => { asked = time; });
on('elsewhere', () => curtain('MoESeg is already open in another tab or window.', 'Continue here'));
on('taken', () => curtain('The work goes on in another tab or window.', 'Continue here'));
on('lost', () => curtain(lostHelp()));
document.addEventListener('keydown', onKey);
setTool('');
connect();
